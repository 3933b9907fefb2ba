"""What a stage's pruning has to do with physics: how its choice goes with the first-order saliency of each weight.

Knows networks before and after a stage, and gradients; chooses nothing. "Pruning removes what violates physics" is a
claim about these numbers; what they say of it is in the records and in the table `attribution`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spinn.config import PhysicsConfig
from spinn.draw import CONTROL, keep_at_random
from spinn.masks import Masks
from spinn.physics import Coefficients
from spinn.pruning import Stack, global_magnitude
from spinn.step import loss_gradients
from spinn.task import Task
from spinn.training import terms_of

SCORES, CHOICES = ("physics", "data", "physics_signed"), ("pruner", "magnitude", "random")
_LEVELS = 2**16  # of bfloat16


def measure(
    before: Stack,
    after: Stack,
    coefficients: Coefficients,
    task: Task,
    physics: PhysicsConfig,
    seeds: Sequence[int],
    stage: int,
) -> list[dict[str, float]]:
    """For each run and each `<score>_<choice>` the chance that a weight that stayed scores above one that went.

    One half says that the choice and the score have nothing to do with each other; one, that exactly the lowest scores
    went (the area under the ROC curve; Mann & Whitney 1947, Annals of Mathematical Statistics 18, 50). Of each weight w
    with the loss L of the network before the stage:

    - physics: |w · ∂L/∂w|, L the weighted sum of the physics terms as in `spinn.training.terms_of`: what its removal
      changes in L, to first order (Mozer & Smolensky 1989, Skeletonization, eq. 5, for a neuron; Molchanov et al. 2017,
      Pruning convolutional neural networks, eq. 8);
    - data: the same of the data loss over all training rows;
    - physics_signed: −w · ∂L/∂w, with its sign: below zero where, to first order, L falls as the weight goes, so that
      it is the weight that stands against physics. Unlike the other two it is not larger for larger weights as such.

    The choices: the pruner's own; of as many weights the smallest magnitudes over all layers; as many at random. A
    neuron's weights are those into it and out of it. Scores are compared in 8 bits (bfloat16), ties count one half.

    Args:
        before: The stack that the pruner chose from, its weights as they were.
        after: What it left.
        coefficients: Of the laws.
        task: The data.
        physics: The weights of the terms.
        seeds: Of the runs; with the stage they decide the random choice.
        stage: Number of the stage.

    Returns:
        One mapping a run; an empty one for a run that lost no weight, or all.
    """
    weights = before.network.weights
    terms = terms_of(before.network, coefficients, task)
    loss = torch.stack([getattr(physics, term) * value for term, value in terms.items()]).sum()
    of_physics = torch.autograd.grad(loss, weights)
    of_data = loss_gradients(before.network, task)[: len(weights)]
    left = _left(before, after)
    gone = [old - new for old, new in zip(before.masks.kept(), left.kept(), strict=True)]
    smallest = global_magnitude(before.network, before.masks, gone, allow_empty_layer=True)
    chosen = (left, smallest, keep_at_random(before.masks, gone, seeds, stage, CONTROL))
    found = []
    for run in range(before.network.runs):
        active = _flat(before.masks.layers, run)
        weight, physical, measured = (_flat(values, run)[active] for values in (weights, of_physics, of_data))
        change = -weight * physical
        stays = [_flat(masks.layers, run)[active] for masks in chosen]
        scores = zip(SCORES, (change.abs(), (weight * measured).abs(), change), strict=True)
        areas = {
            f"{name}_{choice}": area
            for name, score in scores
            for choice, area in zip(CHOICES, areas_under(score, stays), strict=True)
        }
        found.append(areas if 0 < gone[run] < active.sum() else {})
    return found


def areas_under(score: Float[Tensor, " weights"], stays: Sequence[Bool[Tensor, " weights"]]) -> list[float]:
    """For each choice P(score of one that stays > of one that goes) + ½ P(equal), scores rounded to bfloat16.

    Args:
        score: Finite.
        stays: For each choice which weights stay; NaN comes of one where all do, or none.
    """
    bits = (score.detach() + 0.0).bfloat16().view(torch.int16).int()  # + 0.0: −0 and 0 are one level
    level = torch.where(bits < 0, ~bits, bits + _LEVELS // 2)  # sign and magnitude, in order
    places = torch.arange(len(stays), dtype=torch.int32, device=score.device)[:, None]
    sets = (torch.stack(list(stays)).int() << places).sum(0, dtype=torch.int32)
    codes = ((level << len(stays)) | sets).cpu().numpy()
    counts = np.bincount(codes, minlength=_LEVELS << len(stays))
    counts = counts.reshape(_LEVELS, -1)
    counts = counts[counts.any(1)].astype(np.float64)
    areas = []
    for place in range(len(stays)):
        member = (np.arange(1 << len(stays)) >> place & 1).astype(bool)
        kept, gone = counts[:, member].sum(1), counts[:, ~member].sum(1)
        below = np.cumsum(gone) - gone / 2
        with np.errstate(invalid="ignore"):
            areas.append(float(np.divide(kept @ below, kept.sum() * gone.sum())))
    return areas


def _left(before: Stack, after: Stack) -> Masks:
    """Which weights of the network before are still there: by the masks, or by the neurons at both their ends."""
    if after.neurons is None:
        pairs = zip(before.masks.layers, after.masks.layers, strict=True)
        return Masks(tuple(old & new for old, new in pairs))
    network = before.network
    ends = [torch.ones(network.runs, network.layers[0], dtype=torch.bool, device=network.device)]
    for layer, kept in enumerate(after.neurons):
        dense = torch.arange(network.layers[layer + 1], device=network.device).expand(network.runs, -1)
        numbers = dense if before.neurons is None else before.neurons[layer]
        ends.append((numbers[:, :, None] == kept[:, None]).any(2))
    ends.append(torch.ones(network.runs, network.layers[-1], dtype=torch.bool, device=network.device))
    return Masks(tuple(out[:, :, None] & into[:, None] for into, out in pairwise(ends)))


def _flat(layers: Sequence[Tensor], run: int) -> Tensor:
    return torch.cat([layer[run].detach().flatten() for layer in layers])
