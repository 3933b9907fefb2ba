"""Which weights go where chance decides: a draw by seed, stage and position alone, that anybody can repeat.

Knows masks; nothing of weights. The numbers come from numpy's PCG64, whose stream is the same in every version and on
every machine (NEP 19), so that the judge draws them again with code of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from spinn.masks import Masks

PRUNING, CONTROL = 0, 1
"""What a draw is for; draws for different purposes are independent of each other."""


def keep_at_random(
    masks: Masks, prune: Sequence[int], seeds: Sequence[int], stage: int, purpose: int = PRUNING
) -> Masks:
    """`masks` less `prune[run]` kept weights of each run, every choice of as many being equally likely.

    Each kept position of the network (layers in order, each matrix `[out, in]` row by row) gets a number of 64 bits;
    those with the lowest numbers go, of equal numbers the first ones.

    Args:
        masks: What is still active.
        prune: How many go, from 0 to what is active; one count for each run.
        seeds: Of the runs, from 0 to 2³² − 1.
        stage: The draws of different stages are independent.
        purpose: As are those for different purposes.
    """
    sizes = [mask[0].numel() for mask in masks.layers]
    chosen = [mask.clone() for mask in masks.layers]
    for run, (count, seed) in enumerate(zip(prune, seeds, strict=True)):
        keep = np.concatenate([mask[run].flatten().cpu().numpy() for mask in masks.layers])
        active = np.flatnonzero(keep)
        entropy = np.random.SeedSequence([seed, stage, purpose])
        numbers = np.asarray(np.random.PCG64(entropy).random_raw(active.size), np.uint64)
        keep[active[_lowest(numbers, count)]] = False
        for mask, part in zip(chosen, np.split(keep, np.cumsum(sizes)[:-1]), strict=True):
            mask[run] = torch.from_numpy(part).view(mask.shape[1:])
    return Masks(tuple(chosen))


def _lowest(numbers: np.ndarray, count: int) -> np.ndarray:
    """True at exactly `count` of the lowest `numbers`, the first ones of those that tie."""
    if count == 0:
        return np.zeros(numbers.size, bool)
    cut = np.partition(numbers, count - 1)[count - 1]
    chosen = numbers < cut
    chosen[np.flatnonzero(numbers == cut)[: count - int(chosen.sum())]] = True
    return chosen
