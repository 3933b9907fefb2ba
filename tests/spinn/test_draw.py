"""A random choice is uniform, exact, and the same wherever and with whomever it is drawn."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinn.draw import CONTROL, PRUNING, keep_at_random
from spinn.masks import Masks
from spinn.model import Network
from verify import strategies


def flat(masks: Masks, run: int = 0) -> np.ndarray:
    """One run, all layers in flat order."""
    return np.concatenate([mask[run].flatten().numpy() for mask in masks.layers])


def everything(layers: tuple[int, ...], runs: int = 1) -> Masks:
    """The masks of a network before pruning."""
    return Masks.ones_like(Network.initialise(layers, range(runs)))


@given(network=strategies.networks(), stage=st.integers(1, 9), data=st.data())
def test_exactly_the_count_goes_of_what_is_active(network: Network, stage: int, data: st.DataObject):
    """A count for each run, all or nothing included; masks shrink, and the ones given are not changed."""
    masks = Masks.ones_like(network)
    seeds = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=network.runs, max_size=network.runs))
    for _ in range(2):
        before = [mask.clone() for mask in masks.layers]
        counts = [data.draw(st.integers(0, kept)) for kept in masks.kept()]
        refined = masks.refine(keep_at_random(masks, counts, seeds, stage))
        assert refined.kept() == [kept - count for kept, count in zip(masks.kept(), counts, strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(before, masks.layers, strict=True))
        masks = refined


def test_every_layer_and_row_gives_its_share():
    """Over all layers alike, within sampling error (four sigma of the hypergeometric distribution)."""
    masks = everything((18, 64, 64, 32, 2))
    sizes = [mask.numel() for mask in masks.layers]
    drawn = keep_at_random(masks, [sum(sizes) // 2], [3], 1)
    for kept, size in zip(drawn.kept_by_layer()[0], sizes, strict=True):
        sigma = math.sqrt(size * 0.25 * (sum(sizes) - size) / (sum(sizes) - 1))
        assert abs(kept - size / 2) <= 4 * sigma
    rows = drawn.layers[1][0].double().mean(1)
    assert (rows - 0.5).abs().max() < 5 * 0.5 / 8


def test_every_pair_of_positions_is_drawn_equally_often():
    """Two of six, over 3,000 seeds: each of the fifteen pairs about 200 times (chi-squared, 14 degrees of freedom)."""
    masks = everything((2, 2, 1))
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(3000):
        pair = tuple(np.flatnonzero(~flat(keep_at_random(masks, [2], [seed], 1))).tolist())
        counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 15
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 36.1  # exceeded once in a thousand


def test_the_draw_is_the_one_that_is_declared():
    """PCG64 of seed, stage and purpose, the lowest numbers of the active positions: what the judge draws again."""
    masks = everything((3, 4, 2))
    for stage, purpose in ((1, PRUNING), (2, PRUNING), (1, CONTROL)):
        kept = flat(keep_at_random(masks, [7], [5], stage, purpose))
        numbers = np.random.PCG64(np.random.SeedSequence([5, stage, purpose])).random_raw(20)
        assert sorted(np.flatnonzero(~kept)) == sorted(np.argsort(numbers)[:7])


def test_draws_for_other_stages_seeds_and_purposes_are_others():
    """Four draws of half of 7,000 weights share about half of what they keep, two by two."""
    masks = everything((18, 64, 64, 2))
    half = masks.kept()[0] // 2
    draws = [flat(keep_at_random(masks, [half], [seed], *how)) for seed, *how in ((0, 1), (0, 2), (1, 1), (0, 1, 1))]
    for first in range(4):
        for second in range(first):
            assert abs((draws[first] & draws[second]).mean() - 0.25) < 0.03
