"""What the checkpoints hold, counted again: planned and achieved counts, shrinking masks, weights outside them.

Works on decoded arrays; knows nothing of how the pruning was done.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np

from spinn.record import LayerStatistics, StageRecord, checkpoint_name
from verify.folder import Fault, Folder, Run
from verify.network import Network
from verify.schedules import Line, expected_ledger, half_to_even, reduction, weights_and_biases

REDUCTION_TOLERANCE = 1e-9  # a reported reduction is a ratio of two integers below 2⁵³, in float64
STATISTICS_TOLERANCE = 1e-9  # relative; both are float64 sums of the same float32 values


def ledger_achieved(folder: Folder, run: Run) -> Iterator[Fault]:
    """Planned counts = counts of the masks in the checkpoints = the record's own numbers, stage by stage."""
    record, layers = run.checked, folder.plan.experiment.layers
    weights, biases = weights_and_biases(layers)
    dense = Line(0, "0", weights, 0, weights, weights + biases, None)
    planned = (dense, *expected_ledger(folder, folder.plan.variant(run.planned.variant)))
    numbers = [stage.stage for stage in record.stages]
    if numbers != [line.stage for line in planned]:
        yield Fault(f"stages {numbers} are recorded, 0 to {len(planned) - 1} are planned")
        return
    before = weights
    for line, stage in zip(planned, record.stages, strict=True):
        network = run.network(stage.stage)
        counted = _counted(network, before)
        for name, value in {**counted, "widths": network.widths}.items():
            if getattr(line, name) != value:
                message = f"stage {stage.stage}: {name} planned {getattr(line, name)}, in the checkpoint {value}"
                yield Fault(message, {"stage": stage.stage, "quantity": name})
        yield from _stage_counts(stage, counted)
        yield from _layer_counts(stage, network)
        true = float(reduction(layers, network.parameters))
        if not abs(stage.reported_reduction - true) <= REDUCTION_TOLERANCE:
            message = f"stage {stage.stage}: a reduction of {100 * stage.reported_reduction:.2f} % is reported"
            data = {"stage": stage.stage, "reported": stage.reported_reduction, "true": true}
            yield Fault(f"{message}, it is {100 * true:.2f} %", data)
        before = network.kept_weights


def _counted(network: Network, before: int) -> dict[str, int]:
    """What a stage left, counted in its checkpoint; `before` weights were active before it."""
    kept = network.kept_weights
    return {"active": before, "pruned": before - kept, "kept_weights": kept, "parameters": network.parameters}


def record_of_checkpoints(folder: Folder, run: Run) -> Iterator[Fault]:
    """Every number that the record gives of a checkpoint is the checkpoint's.

    The counts are looked at by `ledger_achieved` too; but a run may be declared to miss its plan, and none to lie.
    """
    for stage in run.checked.stages:
        yield from _claimed_reduction(folder, run, stage)
    if run.withheld():
        return  # `ledger-achieved` says so
    before = weights_and_biases(folder.plan.experiment.layers)[0]
    for stage in run.checked.stages:
        network, name = run.network(stage.stage), checkpoint_name(stage.stage)
        yield from _stage_counts(stage, _counted(network, before))
        before = network.kept_weights
        yield from _layer_counts(stage, network)
        size = (run.folder / name).stat().st_size
        if (stage.checkpoint, stage.checkpoint_bytes) != (name, size):
            stated = f"{stage.checkpoint!r} of {stage.checkpoint_bytes} bytes"
            yield Fault(f"stage {stage.stage}: checkpoint {stated} is recorded, {name!r} has {size}")
        if stage.coefficients != network.coefficients:
            yield Fault(f"stage {stage.stage}: the recorded physics coefficients are not the checkpoint's")
        for layer, weight, mask in zip(stage.layers, network.weights, network.masks, strict=False):
            yield from _statistics(stage.stage, layer, weight[mask].astype(np.float64))


def _claimed_reduction(folder: Folder, run: Run, stage: StageRecord) -> Iterator[Fault]:
    """The reported reduction is what the variant's pruner claims: the first version the sum of its ratios so far."""
    variant = folder.plan.variant(run.planned.variant)
    if variant.pruner == "first-version":
        own = float(sum(Fraction(line.ratio) for line in variant.stages[: stage.stage]))
    else:
        own = float(reduction(folder.plan.experiment.layers, stage.parameters))
    if not abs(stage.reported_reduction - own) <= REDUCTION_TOLERANCE:
        message = f"stage {stage.stage}: reported_reduction = {stage.reported_reduction:.6g}"
        data = {"stage": stage.stage, "reported": stage.reported_reduction, "claimed": own}
        yield Fault(f"{message}, its pruner {variant.pruner!r} claims {own:.6g}", data)


def _stage_counts(stage: StageRecord, counted: dict[str, int]) -> Iterator[Fault]:
    for name, value in counted.items():
        if getattr(stage, name) != value:
            message = f"stage {stage.stage}: {name} recorded {getattr(stage, name)}, in the checkpoint {value}"
            yield Fault(message, {"stage": stage.stage, "quantity": name})


def _layer_counts(stage: StageRecord, network: Network) -> Iterator[Fault]:
    nonzero = [int(np.count_nonzero(weight)) for weight in network.weights]
    if stage.nonzero_weights != sum(nonzero):
        yield Fault(f"stage {stage.stage}: nonzero_weights = {stage.nonzero_weights}, in the checkpoint {sum(nonzero)}")
    if len(stage.layers) != len(network.weights):
        yield Fault(f"stage {stage.stage}: statistics of {len(stage.layers)} layers, expected {len(network.weights)}")
    for index, (layer, mask, filled) in enumerate(zip(stage.layers, network.masks, nonzero, strict=False)):
        if layer.name != f"layers.{index}.weight":
            yield Fault(f"stage {stage.stage}: statistics {index} are of {layer.name!r}, not of layers.{index}.weight")
        counted = {"weights": mask.size, "kept": int(mask.sum()), "nonzero": filled}
        for name, value in counted.items():
            if getattr(layer, name) != value:
                message = (
                    f"stage {stage.stage}, {layer.name}: {name} = {getattr(layer, name)}, in the checkpoint {value}"
                )
                yield Fault(message, {"stage": stage.stage, "layer": layer.name, "quantity": name})


def monotone(folder: Folder, run: Run) -> Iterator[Fault]:
    """No weight that was pruned at one stage is active at a later one."""
    stages = [stage.stage for stage in run.checked.stages]
    for earlier, later in pairwise(stages):
        pairs = list(zip(run.network(earlier).masks, run.network(later).masks, strict=True))
        revived = {f"layers.{index}": int((now & ~then).sum()) for index, (then, now) in enumerate(pairs)}
        count = sum(revived.values())
        if count:
            where = ", ".join(name for name, number in revived.items() if number)
            message = f"stage {later}: {count} weights pruned by stage {earlier} are active again ({where})"
            yield Fault(message, {"stage": later, "count": count, "layers": revived})


def resurrection(folder: Folder, run: Run) -> Iterator[Fault]:
    """Every weight outside the mask is exactly +0.0 at the end of every stage."""
    for stage in (stage.stage for stage in run.checked.stages):
        network = run.network(stage)
        outside = [weight[~mask] for weight, mask in zip(network.weights, network.masks, strict=True)]
        counts = {f"layers.{i}": int(((w != 0) | np.signbit(w)).sum()) for i, w in enumerate(outside)}
        count = sum(counts.values())
        if count:
            largest = max(float(np.abs(w).max()) for w in outside if w.size)
            where = ", ".join(name for name, number in counts.items() if number)
            message = f"stage {stage}: {count} pruned weights are not +0.0 ({where}); the largest is {largest:.3g}"
            yield Fault(message, {"stage": stage, "count": count, "layers": counts, "largest": largest})


def magnitude_order(folder: Folder, run: Run) -> Iterator[Fault]:
    """Of a magnitude pruner, each stage took the smallest active weights of the network before it.

    Over all layers, or, where the pruner ranks each layer by itself, within each. The checkpoint of the stage before
    holds the very weights that were ranked.
    """
    pruner = folder.plan.variant(run.planned.variant).pruner
    if pruner not in ("global-magnitude", "layerwise-magnitude"):
        return
    for earlier, later in pairwise(stage.stage for stage in run.checked.stages):
        before, after = run.network(earlier), run.network(later)
        layers = list(zip(before.weights, before.masks, after.masks, strict=True))
        if pruner == "global-magnitude":
            yield from _order(later, f"stage {later}", layers)
            continue
        for index, layer in enumerate(layers):
            yield from _order(later, f"stage {later}, layers.{index}.weight", [layer])


def _order(stage: int, where: str, layers: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Iterator[Fault]:
    """A weight that went is no larger than one that stayed; `layers` are weights, masks before and masks after."""
    gone = np.concatenate([np.abs(weight[old & ~new]) for weight, old, new in layers])
    left = np.concatenate([np.abs(weight[old & new]) for weight, old, new in layers])
    if gone.size and left.size and not gone.max() <= left.min():
        wrong = int((gone > left.min()).sum())
        message = f"{where}: {wrong} weights were pruned that are larger than one that was kept"
        data = {"stage": stage, "count": wrong, "largest_pruned": gone.max(), "smallest_kept": left.min()}
        yield Fault(f"{message} ({gone.max():.3g} went, {left.min():.3g} stayed)", data)


def layer_shares(folder: Folder, run: Run) -> Iterator[Fault]:
    """Of a pruner that ranks each layer by itself, each stage took its ratio of every layer's active weights.

    In whole weights: as many as the ledger plans for the stage, the layers with the largest fractions rounded up.
    """
    variant = folder.plan.variant(run.planned.variant)
    if variant.pruner != "layerwise-magnitude":
        return
    kept = [[int(mask.sum()) for mask in run.network(stage.stage).masks] for stage in run.checked.stages]
    for number, (stage, before, after) in enumerate(zip(variant.stages, kept, kept[1:], strict=False), start=1):
        ratio = Fraction(stage.ratio)
        parts = [divmod(ratio.numerator * active, ratio.denominator) for active in before]
        missing = half_to_even(ratio, sum(before)) - sum(whole for whole, _ in parts)
        largest = sorted(range(len(parts)), key=lambda layer, parts=parts: (-parts[layer][1], layer))[:missing]
        for layer, (whole, _) in enumerate(parts):
            planned, gone = whole + (layer in largest), before[layer] - after[layer]
            if gone != planned:
                message = f"stage {number}, layers.{layer}.weight: pruned planned {planned}, in the checkpoint {gone}"
                yield Fault(message, {"stage": number, "layer": f"layers.{layer}.weight", "quantity": "pruned"})


def biases_kept(folder: Folder, run: Run) -> Iterator[Fault]:
    """Biases are never pruned: none that was at work is exactly zero after a later stage, unless its neuron is gone."""
    for earlier, later in pairwise(stage.stage for stage in run.checked.stages):
        left = run.network(later)
        pairs = list(zip(run.network(earlier).biases, left.biases, strict=True))
        zeroed = [
            int(((before != 0) & (after == 0) & left.present(layer)).sum())
            for layer, (before, after) in enumerate(pairs)
        ]
        layers = {f"layers.{index}.bias": number for index, number in enumerate(zeroed)}
        count = sum(zeroed)
        if count:
            where = ", ".join(name for name, number in layers.items() if number)
            data = {"stage": later, "count": count, "layers": layers}
            yield Fault(f"stage {later}: {count} biases are zero ({where}); biases are never pruned", data)


def _statistics(stage: int, layer: LayerStatistics, kept: np.ndarray) -> Iterator[Fault]:
    size = np.abs(kept) if kept.size else np.zeros(1)
    own = {
        "mean_abs": size.mean(),
        "std": kept.std() if kept.size else 0.0,
        "min_abs": size.min(),
        "max_abs": size.max(),
    }
    for name, value in own.items():
        if not abs(getattr(layer, name) - value) <= STATISTICS_TOLERANCE * value:
            message = f"stage {stage}, {layer.name}: {name} = {getattr(layer, name):.6g}, in the checkpoint {value:.6g}"
            yield Fault(message, {"stage": stage, "layer": layer.name, "quantity": name})
