"""What the record says of costs, as far as it can be counted again: sizes, FLOPs, epochs, and who was trained together.

Seconds, bytes and joules were measured once; of them only what is impossible is found here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from spinn.config import Variant
from spinn.record import Latency, PhaseCost, Record
from verify.folder import Fault, Folder, Run
from verify.schedules import expected_ledger, weights_and_biases

MODELS = ("dense", "sparse")


def recomputed(folder: Folder, run: Run) -> Iterator[Fault]:
    """One cost a stage, the cohort's; latency rows that fit their checkpoints, in one run of a cohort at least."""
    record = run.checked
    mates = _mates(folder, run)
    yield from _phases(folder, run, mates)
    models = sorted(latency.model for latency in record.latency)
    if models not in ([], list(MODELS)):
        yield Fault(f"latency is recorded of {models}: expected of dense and sparse, once each, or of none")
    elif record.stages:
        for latency in record.latency:
            yield from _latency(folder, run, latency)
    first = record.cohort_runs[:1] == (record.run_id,)
    if first and not any(mate.latency for mate in mates):
        yield Fault(f"no run of cohort {record.cohort}, variant {record.variant}, has a latency")


def _mates(folder: Folder, run: Run) -> list[Record]:
    """Records of the runs trained together with `run`, its own among them, as far as they can be read."""
    together = folder.stacks[run.planned.cohort, run.planned.variant]
    return [other.record for other in together if other.record]


def _phases(folder: Folder, run: Run, mates: Sequence[Record]) -> Iterator[Fault]:
    record, variant = run.checked, folder.plan.variant(run.planned.variant)
    size = len(record.cohort_runs)
    wanted = ["dense", *(f"stage-{stage}" for stage in range(1, len(variant.stages) + 1))]
    phases = [cost.phase for cost in record.cost]
    if phases != wanted:
        yield Fault(f"costs are recorded of phases {phases}, expected {wanted}")
        return
    for place, cost in enumerate(record.cost):
        for message in (*_phase(cost, size), *_estimate(folder, variant, cost, place)):
            yield Fault(f"cost of {cost.phase}: {message}", {"phase": cost.phase})
        if len(mates) != size or any(len(mate.stages) != len(wanted) for mate in mates):
            continue  # the longest of the cohort is not known
        longest = max(mate.stages[place].epochs_run for mate in mates)
        if cost.epochs != longest:
            message = f"cost of {cost.phase}: epochs = {cost.epochs}, the cohort's longest run has {longest}"
            yield Fault(message, {"phase": cost.phase})
    if any(mate.cost != record.cost for mate in mates):
        yield Fault("runs that were trained together have different costs recorded")


def _phase(cost: PhaseCost, size: int) -> Iterator[str]:
    if cost.runs != size:
        yield f"runs = {cost.runs}, its cohort has {size}"
    least = {"seconds": 0.0, "flops": 0 if cost.epochs == 0 else 1, "peak_memory_bytes": 1, "energy_joules": 0.0}
    for name, bound in least.items():
        value = getattr(cost, name)
        if value is not None and not value >= bound:
            yield f"{name} = {value}: expected at least {bound:g}"


def _estimate(folder: Folder, variant: Variant, cost: PhaseCost, stage: int) -> Iterator[str]:
    """What was expected is what all planned epochs take, each as many FLOPs as those that were run."""
    phase = folder.plan.experiment.dense_of(variant) if stage == 0 else variant.stages[stage - 1]
    planned = phase.epochs
    if cost.estimated_flops * cost.epochs != cost.flops * planned:
        yield f"estimated_flops = {cost.estimated_flops}: {planned} epochs are planned, {cost.epochs} took {cost.flops}"
    if not 0 <= cost.estimated_seconds < math.inf or (cost.estimated_seconds == 0) != (cost.estimated_flops == 0):
        yield f"estimated_seconds = {cost.estimated_seconds}: expected the time of {cost.estimated_flops} FLOPs"


def _latency(folder: Folder, run: Run, latency: Latency) -> Iterator[Fault]:
    record, variant = run.checked, folder.plan.variant(run.planned.variant)
    small = None if latency.model == "dense" else expected_ledger(folder, variant)[-1].widths
    weights, biases = weights_and_biases(small or folder.plan.experiment.layers)
    stage = record.stages[0 if latency.model == "dense" else -1]
    active = weights if latency.model == "dense" else stage.kept_weights
    own = {"file_bytes": stage.checkpoint_bytes, "memory_bytes": 4 * (weights + biases), "flops": 2 * active}
    for name, value in own.items():
        if getattr(latency, name) != value:
            message = f"latency of the {latency.model} network: {name} = {getattr(latency, name)}, recomputed {value}"
            yield Fault(message, {"model": latency.model, "quantity": name})
    if not 0 < latency.median_ms <= latency.p95_ms or latency.repeats < 1:
        stated = f"median {latency.median_ms} ms, 95 % within {latency.p95_ms} ms, {latency.repeats} repeats"
        yield Fault(f"latency of the {latency.model} network: {stated} cannot be", {"model": latency.model})
