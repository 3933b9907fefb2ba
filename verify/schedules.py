"""The plan's ledger, recomputed from ratio strings and layer widths in integers; shares no code with the planner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from spinn.config import TargetConfig, Variant
from spinn.record import checkpoint_name
from verify.folder import Fault, Folder, Run


@dataclass(frozen=True)
class Line:
    """One stage of the recomputed ledger; `widths` after it where neurons go, from input to output."""

    stage: int
    ratio: str
    active: int
    pruned: int
    kept_weights: int
    parameters: int
    widths: tuple[int, ...] | None


def weights_and_biases(layers: Sequence[int]) -> tuple[int, int]:
    """How many weights (prunable) and biases (never pruned) a fully connected network has."""
    return sum(a * b for a, b in pairwise(layers)), sum(layers[1:])


def ledger(layers: Sequence[int], ratios: Sequence[str]) -> tuple[Line, ...]:
    """Each ratio applies to the weights still active; the count is rounded half to even, in integers."""
    active, biases = weights_and_biases(layers)
    lines = []
    for stage, text in enumerate(ratios, start=1):
        pruned = half_to_even(Fraction(text), active)
        lines.append(Line(stage, text, active, pruned, active - pruned, active - pruned + biases, None))
        active -= pruned
    return tuple(lines)


def neuron_ledger(layers: Sequence[int], ratios: Sequence[str]) -> tuple[Line, ...]:
    """Each ratio applies to the neurons that each hidden layer still has; what is left is fully connected."""
    inputs, *hidden, outputs = layers
    lines = []
    for stage, text in enumerate(ratios, start=1):
        active, _ = weights_and_biases((inputs, *hidden, outputs))
        hidden = [neurons - half_to_even(Fraction(text), neurons) for neurons in hidden]
        kept, biases = weights_and_biases((inputs, *hidden, outputs))
        lines.append(Line(stage, text, active, active - kept, kept, kept + biases, (inputs, *hidden, outputs)))
    return tuple(lines)


def half_to_even(share: Fraction, count: int) -> int:
    """`share` of `count`, in integers, a half rounded to the even neighbour."""
    whole, rest = divmod(share.numerator * count, share.denominator)
    return whole + (2 * rest > share.denominator or (2 * rest == share.denominator and whole % 2 == 1))


def reduction(layers: Sequence[int], parameters: int) -> Fraction:
    """Share of all parameters, biases included, that is gone."""
    total = sum(weights_and_biases(layers))
    return Fraction(total - parameters, total)


def expected_ledger(folder: Folder, variant: Variant) -> tuple[Line, ...]:
    """The ledger that the plan should hold for `variant`."""
    planned = neuron_ledger if variant.pruner.startswith("neurons-") else ledger
    return planned(folder.plan.experiment.layers, [stage.ratio for stage in variant.stages])


def ledger_arithmetic(folder: Folder) -> Iterator[Fault]:
    """The plan's ledger is the one its ratios and layers give, and the network fits the data."""
    experiment, planned = folder.plan.experiment, folder.plan.ledger
    names = {variant.name for variant in experiment.variants}
    for stranger in sorted(set(planned) - names):
        yield Fault(f"ledger.{stranger}: no variant has this name")
    for variant in experiment.variants:
        lines = planned.get(variant.name, ())
        computed = expected_ledger(folder, variant)
        if len(lines) != len(computed):
            yield Fault(f"ledger.{variant.name}: {len(lines)} stages, expected {len(computed)}")
        for line, own in zip(lines, computed, strict=False):
            for name, value in vars(own).items():
                if getattr(line, name) != value:
                    message = f"ledger.{variant.name}, stage {own.stage}: {name} = {getattr(line, name)}"
                    yield Fault(f"{message}, recomputed {value}", {"variant": variant.name, "stage": own.stage})
    if len(folder.plan.dataset.features) != experiment.layers[0]:
        yield Fault(f"layers[0] = {experiment.layers[0]}: {len(folder.plan.dataset.features)} features are planned")


def reaches_target(folder: Folder, run: Run) -> Iterator[Fault]:
    """What the schedule of this run's variant ends at is what the experiment asked of it."""
    experiment = folder.plan.experiment
    variant = folder.plan.variant(run.planned.variant)
    last = expected_ledger(folder, variant)[-1]
    target = experiment.target_of(variant)
    yield from _misses(target, experiment.layers, last)
    size, limit = _size(run, last.stage), target.size_bytes
    if limit is not None and size and size > limit:
        yield Fault(f"{checkpoint_name(last.stage)} has {size} bytes, at most {limit} are asked for", {"size": size})


def _misses(target: TargetConfig, layers: Sequence[int], last: Line) -> Iterator[Fault]:
    reached = reduction(layers, last.parameters)
    data = {"parameters": last.parameters, "reduction": float(reached)}
    shown = f"{float(100 * reached):.2f} %"
    if target.reduction is not None and reached < Fraction(target.reduction):
        asked = f"{float(100 * Fraction(target.reduction)):g} %"
        yield Fault(f"the schedule ends at {last.parameters} parameters, {shown} fewer; {asked} is asked for", data)
    if target.parameter_range is not None:
        low, high = target.parameter_range
        if not low <= last.parameters <= high:
            message = f"the schedule ends at {last.parameters} parameters; {low} to {high} are asked for"
            yield Fault(message, data)
    if target.size_bytes is not None:
        mask = weights_and_biases(layers)[0] // 8 if last.widths is None else 0
        least = 4 * last.parameters + mask
        if least > target.size_bytes:
            message = f"{last.parameters} parameters{' and their mask' if mask else ''} take at least {least} bytes"
            yield Fault(f"{message}; {target.size_bytes} are allowed", data)


def _size(run: Run, stage: int) -> int | None:
    name = checkpoint_name(stage)
    return (run.folder / name).stat().st_size if name in run.digests else None
