"""Which weights go, or which neurons: the pruners of an experiment by name, the faulty first version among them.

Knows weights and masks; nothing of training. Counts come from the ledger (`spinn.schedule`), as integers. How neurons
are scored and removed is in `spinn.neurons`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spinn.draw import keep_at_random
from spinn.errors import InputError, NonFiniteError
from spinn.masks import Masks
from spinn.model import Network
from spinn.neurons import SCORES, Gradients, first_order, keep_neurons
from spinn.record import LayerStatistics
from spinn.schedule import Stage
from spinn.variants import NEURON_PRUNERS, shares


def global_magnitude(
    network: Network, masks: Masks, prune: int | Sequence[int], allow_empty_layer: bool = False
) -> Masks:
    """Prune exactly `prune` active weights of each run: the smallest magnitudes, all layers ranked together.

    Magnitude pruning after Han et al. 2015 (Learning both weights and connections for efficient neural networks),
    with one threshold for the whole network. Among weights that tie at the threshold the choice follows a fixed
    permutation of their positions in the network (`_priority`), which scatters it over all layers in proportion to
    their tied weights. A run's choice depends on that run alone.

    Args:
        network: the weights to rank; they are not changed.
        masks: what is still active.
        prune: how many weights go, for every run alike or one count for each run.
        allow_empty_layer: whether a layer may lose its last weight.

    Returns:
        The refined masks.

    Raises:
        InputError: a count is negative or more than is active, or a layer would be emptied.
        NonFiniteError: an active weight is inf or NaN.
    """
    counts = [prune] * network.runs if isinstance(prune, int) else list(prune)
    if len(counts) != network.runs:
        raise InputError(f"prune = {counts}: expected one count for each of {network.runs} runs; or give one integer")
    active = masks.kept()
    for run, (count, available) in enumerate(zip(counts, active, strict=True)):
        if not 0 <= count <= available:
            raise InputError(
                f"prune, run {run} = {count}: expected 0 to {available}, the weights still active; check the schedule"
            )
    return _refined(masks, _keep_largest(network, masks, counts), allow_empty_layer)


def layerwise_magnitude(network: Network, masks: Masks, stage: Stage, allow_empty_layer: bool = False) -> Masks:
    """Prune the smallest magnitudes of each layer, ranked by themselves, the stage's ratio of each layer's weights.

    Magnitude pruning after Han et al. 2015, with a threshold for each layer, as they had. How many go from each layer
    is decided by `spinn.variants.shares`, so that together they are what the ledger plans. Ties are broken as in
    `global_magnitude`, by the position in the layer.

    Args:
        network: the weights to rank; they are not changed.
        masks: what is still active.
        stage: the line of the ledger.
        allow_empty_layer: whether a layer may lose its last weight.

    Returns:
        The refined masks.

    Raises:
        InputError: a layer would be emptied.
        NonFiniteError: an active weight is inf or NaN.
    """
    _refuse_non_finite_active(network, masks)
    counts = [shares(stage.ratio, stage.pruned, active) for active in masks.kept_by_layer()]
    parts = []
    for layer, mask in enumerate(masks.layers):
        alone = Network([network.weights[layer]], [network.biases[layer]])
        parts += _keep_largest(alone, Masks((mask,)), [of_run[layer] for of_run in counts]).layers
    return _refined(masks, Masks(tuple(parts)), allow_empty_layer)


def random(
    network: Network, masks: Masks, prune: int, seeds: Sequence[int], stage: int, allow_empty_layer: bool = False
) -> Masks:
    """Prune exactly `prune` active weights of each run, drawn from all layers alike (`spinn.draw`).

    Args:
        network: its weights decide nothing, but have to be finite.
        masks: what is still active.
        prune: how many weights go, from every run alike.
        seeds: of the runs; with `stage` they alone decide the draw.
        stage: number of the stage.
        allow_empty_layer: whether a layer may lose its last weight.

    Returns:
        The refined masks.

    Raises:
        InputError: a layer would be emptied.
        NonFiniteError: an active weight is inf or NaN.
    """
    _refuse_non_finite_active(network, masks)
    return _refined(masks, keep_at_random(masks, [prune] * masks.runs, seeds, stage), allow_empty_layer)


def first_version(network: Network, ratio: Fraction) -> Masks:
    """The first version's pruner, kept faithful to its fault so that it can be measured; do not prune with it.

    At each stage it ranks all weights again, the ones pruned earlier included, cuts at the `ratio` quantile of their
    magnitudes, and returns new masks that know nothing of the earlier ones: stages do not add up. It sets the weights
    below the cut to zero, here, once; nothing holds them there. The quantile is taken as a count, round-half-even of
    `ratio` times all weights with the sound pruner's tie-break, so that what it leaves is the same on every machine.

    Args:
        network: the weights to rank; changed in place.
        ratio: share of all weights, at least 0 and below 1.

    Returns:
        Masks with 1 − `ratio` of all weights kept, whatever happened at earlier stages.

    Raises:
        NonFiniteError: a weight is inf or NaN.
    """
    everything = Masks.ones_like(network)
    counts = [round(ratio * weights) for weights in everything.kept()]
    masks = _keep_largest(network, everything, counts)
    with torch.no_grad():
        for weight, keep in zip(network.weights, masks.layers, strict=True):
            weight.masked_fill_(~keep, 0.0)
    return masks


def layer_statistics(
    network: Network, masks: Masks, run: int, layers: Sequence[int] | None = None
) -> tuple[LayerStatistics, ...]:
    """Counts and magnitudes of each weight matrix of one run; where nothing is kept the magnitudes are 0.

    `std` is the population's; `nonzero` counts every weight that is not 0, pruned or not, so that a pruned weight
    that came back shows.

    Args:
        network: the stack.
        masks: what of it is kept.
        run: which run of it.
        layers: widths of the dense network, whose matrices `weights` counts; None if they are this network's.

    Raises:
        NonFiniteError: a kept weight is inf or NaN.
    """
    rows = []
    widths = network.layers if layers is None else layers
    for index, (weights, mask) in enumerate(zip(network.weights, masks.layers, strict=True)):
        weight, keep = weights[run].detach(), mask[run]
        kept = weight[keep].double()
        _refuse_non_finite(kept, index, run)
        magnitudes = kept.abs()
        some = kept.numel() > 0
        rows.append(
            LayerStatistics(
                name=f"layers.{index}.weight",
                weights=widths[index] * widths[index + 1],
                kept=kept.numel(),
                nonzero=int(torch.count_nonzero(weight)),
                mean_abs=float(magnitudes.mean()) if some else 0.0,
                std=float(kept.std(correction=0)) if some else 0.0,
                min_abs=float(magnitudes.min()) if some else 0.0,
                max_abs=float(magnitudes.max()) if some else 0.0,
            )
        )
    return tuple(rows)


@dataclass(frozen=True)
class Stack:
    """The networks of a cohort as the stages so far have left them.

    Attributes:
        network: what is trained on.
        masks: which of its weights are kept; all, where neurons were removed instead.
        neurons: for each hidden layer the numbers `[runs, kept]`, ascending, that its neurons had in the dense
            network; None while there are all of them.
    """

    network: Network
    masks: Masks
    neurons: tuple[Int[Tensor, "runs _"], ...] | None = None

    @classmethod
    def dense(cls, network: Network) -> Stack:
        """Networks before any pruning."""
        return cls(network, Masks.ones_like(network))


@dataclass(frozen=True)
class Pruner:
    """A way of pruning that an experiment can name.

    Attributes:
        name: as experiment files spell it.
        select: what a stage leaves, from what there is, the stage's line of the ledger, and a function that gives the
            gradients of the data loss where a score asks for them, and the seeds of the runs.
        enforced: whether there are masks that are held while the network is fine-tuned.
        reported: the reduction this pruner claims after the given stages, for a network of the given widths.
    """

    name: str
    select: Callable[[Stack, Stage, Callable[[Network], Gradients], Sequence[int]], Stack]
    enforced: bool
    reported: Callable[[Sequence[Stage], Sequence[int]], float]


def _true_reduction(stages: Sequence[Stage], layers: Sequence[int]) -> float:
    return float(stages[-1].reduction) if stages else 0.0


def _sum_of_ratios(stages: Sequence[Stage], layers: Sequence[int]) -> float:
    """The first version added its ratios up: 0.20 + 0.20 + 0.15 + 0.15 = 70 %, which was never true."""
    return float(sum(stage.ratio for stage in stages))


def _select_sound(stack: Stack, stage: Stage, gradients: object, seeds: object) -> Stack:
    return replace(stack, masks=global_magnitude(stack.network, stack.masks, stage.pruned))


def _select_layerwise(stack: Stack, stage: Stage, gradients: object, seeds: object) -> Stack:
    return replace(stack, masks=layerwise_magnitude(stack.network, stack.masks, stage))


def _select_random(stack: Stack, stage: Stage, gradients: object, seeds: Sequence[int]) -> Stack:
    return replace(stack, masks=random(stack.network, stack.masks, stage.pruned, seeds, stage.stage))


def _select_first_version(stack: Stack, stage: Stage, gradients: object, seeds: object) -> Stack:
    return replace(stack, masks=first_version(stack.network, stage.ratio))


def _select_neurons(
    name: str, stack: Stack, stage: Stage, gradients: Callable[[Network], Gradients], seeds: object
) -> Stack:
    """Without the neurons that have the lowest scores of this name, what is left is a stack of smaller networks."""
    assert stage.widths is not None
    score = SCORES[name]
    needed = gradients(stack.network) if score is first_order else ()
    small, kept = keep_neurons(stack.network, stage.widths[1:-1], score, needed)
    if stack.neurons is not None:  # kept counts in the network of the stage before
        kept = [numbers.gather(1, places) for numbers, places in zip(stack.neurons, kept, strict=True)]
    return Stack(small, Masks.ones_like(small), tuple(kept))


PRUNERS: dict[str, Pruner] = {
    pruner.name: pruner
    for pruner in (
        Pruner("global-magnitude", _select_sound, enforced=True, reported=_true_reduction),
        Pruner("layerwise-magnitude", _select_layerwise, enforced=True, reported=_true_reduction),
        Pruner("random", _select_random, enforced=True, reported=_true_reduction),
        Pruner("first-version", _select_first_version, enforced=False, reported=_sum_of_ratios),
        *(
            Pruner(
                name,
                partial(_select_neurons, name.removeprefix("neurons-")),
                enforced=False,
                reported=_true_reduction,
            )
            for name in NEURON_PRUNERS
        ),
    )
}


def _keep_largest(network: Network, masks: Masks, counts: Sequence[int]) -> Masks:
    """`masks` less the `counts[run]` smallest magnitudes of each run; one run at a time, so memory stays small."""
    chosen = [mask.clone() for mask in masks.layers]
    for run, count in enumerate(counts):
        magnitudes = []
        for index, (weight, mask) in enumerate(zip(network.weights, masks.layers, strict=True)):
            magnitude = weight[run].detach().abs().masked_fill(~mask[run], torch.inf)
            _refuse_non_finite(magnitude[mask[run]], index, run)
            magnitudes.append(magnitude.flatten())
        keep = ~_smallest(torch.cat(magnitudes), count)
        for mask, part in zip(chosen, keep.split([m.numel() for m in magnitudes]), strict=True):
            mask[run] &= part.view(mask.shape[1:])
    return Masks(tuple(chosen))


def _smallest(magnitudes: Float[Tensor, " weights"], count: int) -> Bool[Tensor, " weights"]:
    """Exactly `count` of the smallest `magnitudes`, ties broken by `_priority`."""
    if count == 0:
        return torch.zeros_like(magnitudes, dtype=torch.bool)
    # topk, not kthvalue: the latter has no deterministic kernel on a GPU. Only its values are used.
    threshold = torch.topk(magnitudes, count, largest=False, sorted=False).values.max()
    chosen = magnitudes < threshold
    tied = torch.nonzero(magnitudes == threshold).flatten()
    missing = count - int(chosen.sum())
    chosen[tied[torch.topk(_priority(tied), missing, largest=False).indices]] = True
    return chosen


def _priority(positions: Int[Tensor, " tied"]) -> Int[Tensor, " tied"]:
    """A fixed pseudo-random permutation of flat positions (layers in order, each in C order): the lowest goes first.

    The 32-bit finaliser of MurmurHash3 (A. Appleby), a bijection, so no two positions tie; in int64, whose
    multiplication wraps and leaves the low 32 bits right.
    """
    low = 0xFFFFFFFF
    value = positions ^ (positions >> 16)
    value = (value * 0x85EBCA6B) & low
    value = value ^ (value >> 13)
    value = (value * 0xC2B2AE35) & low
    return value ^ (value >> 16)


def _refined(masks: Masks, keep: Masks, allow_empty_layer: bool) -> Masks:
    """The masks of the next stage; one that empties a layer is refused unless that is allowed."""
    refined = masks.refine(keep)
    if not allow_empty_layer:
        _refuse_emptied(masks, refined)
    return refined


def _refuse_emptied(before: Masks, after: Masks) -> None:
    for run, (old, new) in enumerate(zip(before.kept_by_layer(), after.kept_by_layer(), strict=True)):
        for index, (kept_before, kept_after) in enumerate(zip(old, new, strict=True)):
            if kept_before and not kept_after:
                raise InputError(
                    f"layers.{index}.weight of run {run} = {kept_before} active weights, all pruned: a layer keeps at "
                    "least one; prune less, or pass allow_empty_layer=True"
                )


def _refuse_non_finite_active(network: Network, masks: Masks) -> None:
    for index, (weight, mask) in enumerate(zip(network.weights, masks.layers, strict=True)):
        for run in range(masks.runs):
            _refuse_non_finite(weight[run][mask[run]], index, run)


def _refuse_non_finite(values: Float[Tensor, " weights"], index: int, run: int) -> None:
    wrong = int((~torch.isfinite(values)).sum())
    if wrong:
        raise NonFiniteError(
            f"layers.{index}.weight of run {run} = {wrong} active weights inf or NaN: expected finite ones; training "
            "diverged, lower its learning rate or roll back a stage"
        )
