"""Exact pruning arithmetic: ratios to a ledger of integer counts, criteria, and the schedules that meet them.

Knows layer widths, ratios and file sizes; knows nothing of weights, tensors or training, and imports the standard
library only. There is no float in here: a ratio is a `Fraction`, a count an `int`.

*Prunable* are the weight matrices; biases are never pruned. A stage ratio applies to the weights still active,
or, where whole neurons go (`plan_neurons`), to the neurons that each hidden layer still has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement, pairwise
from typing import Literal

from spinn.errors import ScheduleError

Shape = Literal["uniform", "cubic"]

_RATIO = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)|[0-9]+/[0-9]+")
_LONGEST_RATIO = 64
_DIGITS = (2, 3, 4, 6, 9, 12)  # decimals of a solved ratio, the fewest that do
_OVERSHOOT = Fraction(1, 1000)  # a solved schedule passes its target by less, or takes one more decimal
_LARGEST_SHIFT = Fraction(1, 10)  # a suggestion moves earlier stages too rather than one stage further than this
_MOST_COEFFICIENTS, _LONGEST_COEFFICIENT = 12, 16


def parse_ratio(text: str | Fraction, name: str = "ratio") -> Fraction:
    """The exact value of a stage ratio written as a decimal ('0.30', '.3') or as a quotient ('3/10').

    Args:
        text: the ratio, or a Fraction; a float is refused, because 0.3 as a float is not 3/10.
        name: what the message calls it.

    Raises:
        ScheduleError: none of these, or not at least 0 and below 1.
    """
    value = _fraction(text, name)
    if not 0 <= value < 1:
        raise ScheduleError(f"{name} = {_written(text)}: a stage ratio is at least 0 and below 1; write 30 % as 0.30")
    return value


def parse_reduction(text: str | Fraction, name: str = "target reduction") -> Fraction:
    """The exact value of a target reduction: a share of all parameters, above 0 and below 1, written like a ratio."""
    value = _fraction(text, name)
    if not 0 < value < 1:
        raise ScheduleError(f"{name} = {_written(text)}: a reduction is above 0 and below 1; write 71.5 % as 0.715")
    return value


def _fraction(text: str | Fraction, name: str) -> Fraction:
    if isinstance(text, Fraction):
        return text
    if not isinstance(text, str):
        kind = type(text).__name__
        raise ScheduleError(f"{name} = {text!r}: a string such as '0.30', which is held exactly, not a {kind}")
    stripped = text.strip()
    denominator = stripped.partition("/")[2]
    if len(stripped) > _LONGEST_RATIO or not _RATIO.fullmatch(stripped) or (denominator and not int(denominator)):
        raise ScheduleError(f"{name} = {stripped[:40]!r}: a decimal such as 0.30, or a quotient such as 3/10")
    return Fraction(stripped)


def _written(text: str | Fraction) -> str:
    return decimal(text) if isinstance(text, Fraction) else text.strip()


def check_layers(layers: Sequence[int]) -> tuple[int, ...]:
    """The widths from input to output, as a tuple.

    Raises:
        ScheduleError: fewer than two, or one that is not a whole number of at least 1.
    """
    for index, width in enumerate(layers):
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise ScheduleError(f"layers[{index}] = {width!r}: a width is a whole number of at least 1")
    if len(layers) < 2:
        raise ScheduleError(f"layers = {list(layers)}: at least an input and an output width, such as 18,512,2")
    return tuple(layers)


def prunable_weights(layers: Sequence[int]) -> int:
    """Entries of all weight matrices `[out, in]` of a network with these widths."""
    widths = check_layers(layers)
    return sum(a * b for a, b in pairwise(widths))


def total_parameters(layers: Sequence[int]) -> int:
    """Weights and biases."""
    return prunable_weights(layers) + sum(layers[1:])


# --- the ledger ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """One line of the ledger: `pruned` of the `active` weights go, `kept_weights` stay, with biases `parameters`.

    `stage` counts from 1; `ratio_text` is the ratio as it was written; `dense_weights` are the prunable weights, and
    `dense_parameters` all parameters, of the network before any pruning. `widths` are those of the network after the
    stage, from input to output, where neurons go; None where single weights do.
    """

    stage: int
    ratio: Fraction
    ratio_text: str
    active: int
    pruned: int
    kept_weights: int
    parameters: int
    dense_weights: int
    dense_parameters: int
    widths: tuple[int, ...] | None = None

    @property
    def weight_sparsity(self) -> Fraction:
        """Share of the prunable weights that is gone after this stage."""
        return Fraction(self.dense_weights - self.kept_weights, self.dense_weights)

    @property
    def reduction(self) -> Fraction:
        """Share of all parameters that is gone after this stage."""
        return Fraction(self.dense_parameters - self.parameters, self.dense_parameters)


def plan(layers: Sequence[int], ratios: Sequence[str | Fraction]) -> tuple[Stage, ...]:
    """The ledger of a schedule: each ratio prunes round-half-even(ratio · active) of the weights still active.

    Args:
        layers: widths from input to output.
        ratios: one per stage, see `parse_ratio`.

    Raises:
        ScheduleError: a width or ratio without meaning, or no ratio at all.
    """
    dense, biases = prunable_weights(layers), sum(layers[1:])
    stages, active = [], dense
    for number, (text, ratio) in enumerate(_each(ratios), start=1):
        pruned = _pruned(active, ratio)
        kept = active - pruned
        stages.append(Stage(number, ratio, _written(text), active, pruned, kept, kept + biases, dense, dense + biases))
        active = kept
    return tuple(stages)


def plan_neurons(layers: Sequence[int], ratios: Sequence[str | Fraction]) -> tuple[Stage, ...]:
    """The ledger of a schedule that removes neurons: round-half-even(ratio · neurons) of those each hidden layer has.

    The networks before and after a stage are fully connected; their weights and parameters are what the ledger counts.

    Raises:
        ScheduleError: as `plan`; or there is no hidden layer, or one would be empty.
    """
    before = check_layers(layers)
    dense, parameters = prunable_weights(before), total_parameters(before)
    if len(before) < 3:
        raise ScheduleError(f"layers = {list(before)}: no hidden layer whose neurons could go; prune single weights")
    stages = []
    for number, (text, ratio) in enumerate(_each(ratios), start=1):
        after = (before[0], *(neurons - _pruned(neurons, ratio) for neurons in before[1:-1]), before[-1])
        if 0 in after:
            raise ScheduleError(
                f"ratio[{number}] = {_written(text)}: layers[{after.index(0)}] loses all its neurons; prune less"
            )
        active, kept = prunable_weights(before), prunable_weights(after)
        counts = (active, active - kept, kept, total_parameters(after))
        stages.append(Stage(number, ratio, _written(text), *counts, dense, parameters, after))
        before = after
    return tuple(stages)


def _each(ratios: Sequence[str | Fraction]) -> list[tuple[str | Fraction, Fraction]]:
    """Every ratio as it was written, and its exact value."""
    if isinstance(ratios, str) or len(ratios) == 0:
        raise ScheduleError(f"ratios = {ratios!r}: one string for each stage, such as 0.30, 0.30, 0.24, 0.24")
    return [(text, parse_ratio(text, f"ratio[{number}]")) for number, text in enumerate(ratios, start=1)]


def _pruned(active: int, ratio: Fraction) -> int:
    return round(ratio * active)  # round() of a Fraction is exact, half to even


def size_on_disk(layers: Sequence[int], kept_weights: int) -> int:
    """Upper bound, in bytes, of a sparse checkpoint (layout: `spinn.checkpoint`) whose pruned weights are zero.

    4 bytes for each kept weight and bias, a packed mask of ceil(in · out / 8) bytes for each matrix, and the
    safetensors header (8 bytes of length, then JSON padded to a multiple of 8), every number in it written as wide as
    the largest one. Up to 12 learned coefficients with names of up to 16 characters are allowed for. The rest of the
    bound does not depend on `kept_weights`.
    """
    widths = check_layers(layers)
    sizes = [a * b for a, b in pairwise(widths)]
    masks = sum(-(-size // 8) for size in sizes)
    coefficients = 8 * _MOST_COEFFICIENTS
    wide = "9" * len(str(4 * total_parameters(widths) + masks + coefficients))
    names = [f"layers.{i}.{part}" for i in range(len(sizes)) for part in ("weight.mask", "weight.values", "bias")]
    return 4 * (kept_weights + sum(widths[1:])) + masks + coefficients + _header(widths, names, wide)


def compact_size_on_disk(layers: Sequence[int]) -> int:
    """Upper bound, in bytes, of the checkpoint of a network from which neurons were removed, of these widths.

    4 bytes for each parameter and for each hidden neuron's number in the dense network; the rest as in `size_on_disk`.
    """
    widths = check_layers(layers)
    size = 4 * (total_parameters(widths) + sum(widths[1:-1])) + 8 * _MOST_COEFFICIENTS
    wide = "9" * len(str(size))
    names = [f"layers.{i}.{part}" for i in range(len(widths) - 1) for part in ("weight", "bias", "neurons")]
    return size + _header(widths, names, f"{wide},{wide}")


def _header(widths: Sequence[int], names: Sequence[str], wide: str) -> int:
    """Bytes of a safetensors header at most, with every shape and offset as wide as `wide`."""
    names = [*names, *["physics." + "x" * _LONGEST_COEFFICIENT] * _MOST_COEFFICIENTS]
    entries = (f',"{name}":{{"dtype":"F32","shape":[{wide}],"data_offsets":[{wide},{wide}]}}' for name in names)
    return 8 + len('{"__metadata__":{"layers":"' + str(list(widths)) + '"}' + "".join(entries) + "}") + 7


# --- criteria --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Criteria:
    """What the last stage has to reach; None is not asked.

    `reduction` is over all parameters, `parameter_range` is inclusive, `size_bytes` is the most a checkpoint may take.
    """

    reduction: Fraction | None = None
    parameter_range: tuple[int, int] | None = None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.reduction is not None and not (isinstance(self.reduction, Fraction) and 0 < self.reduction < 1):
            raise ScheduleError(f"target reduction = {self.reduction!r}: a Fraction above 0 and below 1")
        if self.parameter_range is not None:
            low, high = self.parameter_range
            if not 0 <= low <= high:
                raise ScheduleError(f"parameter range = {low}:{high}: at least 0, the smaller number first")
        if self.size_bytes is not None and self.size_bytes < 1:
            raise ScheduleError(f"size = {self.size_bytes}: a number of bytes of at least 1")


@dataclass(frozen=True)
class CriterionVerdict:
    """Whether one criterion holds. `shortfall` says by how much it fails, and is empty where it holds."""

    name: str
    holds: bool
    value: Fraction | int
    required: Fraction | int | tuple[int, int]
    shortfall: str


def judge(layers: Sequence[int], stages: Sequence[Stage], criteria: Criteria) -> tuple[CriterionVerdict, ...]:
    """A verdict on the last of `stages` for each criterion asked for, in the order of `Criteria`."""
    last = stages[-1]
    verdicts = []
    if criteria.reduction is not None:
        excess = last.parameters - _most_parameters(layers, criteria.reduction)
        missing = criteria.reduction - last.reduction
        decimals = next((count for count in (2, 4, 6) if round(missing * 10 ** (count + 2))), 9)
        short = f"{percent(missing, decimals)} short, {excess:,} parameters too many"
        holds = missing <= 0
        verdicts.append(
            CriterionVerdict("target-reduction", holds, last.reduction, criteria.reduction, "" if holds else short)
        )
    if criteria.parameter_range is not None:
        low, high = criteria.parameter_range
        value = last.parameters
        short = f"{value - high:,} parameters too many" if value > high else f"{low - value:,} parameters too few"
        holds = low <= value <= high
        verdicts.append(
            CriterionVerdict("parameter-range", holds, value, criteria.parameter_range, "" if holds else short)
        )
    if criteria.size_bytes is not None:
        size = compact_size_on_disk(last.widths) if last.widths else size_on_disk(layers, last.kept_weights)
        holds = size <= criteria.size_bytes
        short = f"{size - criteria.size_bytes:,} bytes too many"
        verdicts.append(CriterionVerdict("size-on-disk", holds, size, criteria.size_bytes, "" if holds else short))
    return tuple(verdicts)


def percent(share: Fraction, decimals: int = 2) -> str:
    """A share in per cent, rounded half to even: 7/10 is '70.00 %'."""
    scale = 10**decimals
    units = round(share * 100 * scale)
    return f"{'-' if units < 0 else ''}{abs(units) // scale}.{abs(units) % scale:0{decimals}d} %"


def _most_parameters(layers: Sequence[int], reduction: Fraction) -> int:
    return int(total_parameters(layers) * (1 - reduction))  # int() of a positive Fraction rounds down


def _kept_range(layers: Sequence[int], criteria: Criteria) -> tuple[int, int]:
    """Smallest and largest number of kept weights with which all criteria hold and no layer need be empty."""
    dense, biases = prunable_weights(layers), sum(layers[1:])
    low, high = len(layers) - 1, dense
    if criteria.reduction is not None:
        high = min(high, _most_parameters(layers, criteria.reduction) - biases)
    if criteria.parameter_range is not None:
        low = max(low, criteria.parameter_range[0] - biases)
        high = min(high, criteria.parameter_range[1] - biases)
    if criteria.size_bytes is not None:
        high = min(high, (criteria.size_bytes - size_on_disk(layers, 0)) // 4)
    if low > high:
        raise ScheduleError(
            f"criteria = {_wanted(criteria)}: no number of kept weights of the layers {','.join(map(str, layers))} "
            f"meets them ({dense + biases:,} parameters, of which {biases:,} biases stay, "
            "and each layer keeps a weight); relax one"
        )
    return low, high


def _wanted(criteria: Criteria) -> str:
    parts = []
    if criteria.reduction is not None:
        parts.append(f"reduction {percent(criteria.reduction)}")
    if criteria.parameter_range is not None:
        parts.append("{:,} to {:,} parameters".format(*criteria.parameter_range))
    if criteria.size_bytes is not None:
        parts.append(f"{criteria.size_bytes:,} bytes")
    return ", ".join(parts)


# --- schedules that meet criteria ------------------------------------------------------------------------------------


def solve(
    layers: Sequence[int],
    criteria: Criteria | Fraction | str,
    *,
    stages: int = 4,
    fix_first: Sequence[str | Fraction] = (),
    shape: Shape = "uniform",
) -> tuple[str, ...]:
    """Ratios of `stages` stages that meet `criteria`, as short decimals, the target passed by as little as they allow.

    Args:
        layers: widths from input to output.
        criteria: all of them hold for the result; a Fraction or string is a target reduction.
        stages: how many in all, the fixed ones included.
        fix_first: ratios of the leading stages, kept as they are.
        shape: `uniform`: the free stages share one ratio (the last one may differ where counts are so small that no
            common ratio fits). `cubic`: cumulative weight sparsity s_t = s_f + (s_i − s_f)·(1 − t/n)³ over the n free
            stages, from s_i (0, or what the fixed stages reach) to s_f (Zhu & Gupta 2017, To prune, or not to prune,
            eq. 1), turned into ratios of the weights still active.

    Raises:
        ScheduleError: no such schedule, or an argument without meaning.
    """
    if not isinstance(criteria, Criteria):
        criteria = Criteria(reduction=parse_reduction(criteria))
    if shape not in ("uniform", "cubic"):
        raise ScheduleError(f"shape = {shape!r}: uniform or cubic")
    if isinstance(stages, bool) or not isinstance(stages, int) or not len(fix_first) < stages <= 100:
        raise ScheduleError(f"stages = {stages!r}: at most 100, and more than the {len(fix_first)} fixed first")
    low, high = _kept_range(layers, criteria)
    fixed = [parse_ratio(text, f"fix-first[{number}]") for number, text in enumerate(fix_first, start=1)]
    start, free = _kept(prunable_weights(layers), fixed), stages - len(fixed)
    if start < low:
        raise ScheduleError(
            f"fix-first = {','.join(map(_written, fix_first))}: leaves {start:,} weights, "
            f"fewer than the {low:,} wanted at the end; fix smaller ratios"
        )
    best: list[Fraction] | None = None
    for digits in _DIGITS if shape == "uniform" else _DIGITS[1:]:
        best = _free_ratios(start, (low, high), free, shape, digits) or best
        close = best is not None and high - _kept(start, best) <= _OVERSHOOT * total_parameters(layers)
        if close or (best is not None and digits >= 4):
            break
    if best is None:
        raise ScheduleError(f"criteria = {_wanted(criteria)}: not met by {free} {shape} stages; take the uniform shape")
    return (*map(_written, fix_first), *map(decimal, best))


def _free_ratios(start: int, wanted: tuple[int, int], free: int, shape: Shape, digits: int) -> list[Fraction] | None:
    """Ratios of the free stages, each a multiple of 10^-digits, that end inside `wanted`; None if there are none."""
    low, high = wanted
    step = Fraction(1, 10**digits)

    def smallest(ratios: Callable[[int], list[Fraction]]) -> int:
        return _first(10**digits - 1, lambda units: _kept(start, ratios(units)) <= high)

    if shape == "uniform":
        units = smallest(lambda units: [units * step] * free)
        if low <= _kept(start, [units * step] * free) <= high:
            return [units * step] * free
        leading = [max(units - 1, 0) * step] * (free - 1)
    else:
        leading = [round(ratio / step) * step for ratio in _cubic(start, high, free)]
        leading = leading[:-1]
    units = smallest(lambda units: [*leading, units * step])
    ratios = [*leading, units * step]
    return ratios if low <= _kept(start, ratios) <= high else None


def _cubic(first: int, last: int, free: int) -> list[Fraction]:
    """Ratios with which the kept weights fall from `first` to `last` as Zhu & Gupta's cubic does."""
    counts = [last + (first - last) * (1 - Fraction(t, free)) ** 3 for t in range(free + 1)]
    return [max(1 - after / before, Fraction(0)) for before, after in pairwise(counts)]


def suggest(layers: Sequence[int], ratios: Sequence[str | Fraction], criteria: Criteria) -> tuple[str, ...] | None:
    """The schedule nearest to `ratios` that meets all `criteria`, with as many stages; None if there is none.

    Leading stages are kept: what moves is the last run of equal ratios, and one stage more at a time while some ratio
    would have to move by more than 0.10. Among those, nearest is the smallest sum of squared shifts, in steps of 0.01
    (finer ones only where no schedule on the coarser grid holds), later stages never moving less than earlier ones;
    up to four of them are tried within six steps of the same shift for all, more of them within one.
    """
    stages = plan(layers, ratios)
    exact = [stage.ratio for stage in stages]
    try:
        wanted = _kept_range(layers, criteria)
    except ScheduleError:
        return None
    nearest: list[Fraction] | None = None
    for moving in range(_last_run(exact), len(exact) + 1):
        fixed = exact[: len(exact) - moving]
        start = _kept(stages[0].active, fixed)
        tail = next(filter(None, (_nearest(start, exact[-moving:], wanted, digits) for digits in _DIGITS)), None)
        if tail is None:
            continue
        nearest = [*fixed, *tail]
        if max(abs(a - b) for a, b in zip(nearest, exact, strict=True)) <= _LARGEST_SHIFT:
            break
    if nearest is not None:
        return tuple(map(decimal, nearest))
    try:  # counts so small that no even shift ends inside the range
        return solve(layers, criteria, stages=len(ratios))
    except ScheduleError:
        return None


def _last_run(ratios: Sequence[Fraction]) -> int:
    run = 1
    while run < len(ratios) and ratios[-run - 1] == ratios[-1]:
        run += 1
    return run


def _nearest(start: int, ratios: Sequence[Fraction], wanted: tuple[int, int], digits: int) -> list[Fraction] | None:
    """`ratios` shifted by whole steps of 10^-digits, as little as needed to end inside `wanted`."""
    low, high = wanted
    kept = _kept(start, ratios)
    if low <= kept <= high:
        return list(ratios)
    more = kept > high  # has to go; otherwise less
    step = Fraction(1 if more else -1, 10**digits)

    def shifted(steps: Sequence[int]) -> list[Fraction]:
        moved = [ratio + count * step for ratio, count in zip(ratios, steps, strict=True)]
        return [min(max(ratio, Fraction(0)), 1 - abs(step)) for ratio in moved]

    def passes(count: int) -> bool:
        kept = _kept(start, shifted([count] * len(ratios)))
        return kept <= high if more else kept >= low

    together = _first(10**digits, passes)
    spread = 6 if len(ratios) <= 4 else 1  # there are too many to try them all
    around = range(max(together - spread, 0), together + spread)
    candidates = sorted(
        combinations_with_replacement(around, len(ratios)), key=lambda steps: (sum(n * n for n in steps), sum(steps))
    )
    found = (shifted(steps) for steps in candidates)
    return next((moved for moved in found if low <= _kept(start, moved) <= high), None)


def _kept(active: int, ratios: Sequence[Fraction]) -> int:
    for ratio in ratios:
        active -= _pruned(active, ratio)
    return active


def _first(most: int, holds: Callable[[int], bool]) -> int:
    """The smallest number up to `most` for which the monotone condition `holds`; `most` if it never does."""
    least = 0
    while least < most:
        middle = (least + most) // 2
        if holds(middle):
            most = middle
        else:
            least = middle + 1
    return least


def decimal(ratio: Fraction) -> str:
    """The ratio as a decimal of at least two places, '0.30'; as a quotient where no decimal is exact."""
    for digits in range(2, _LONGEST_RATIO):
        units = ratio * 10**digits
        if units.denominator == 1:
            whole, part = divmod(units.numerator, 10**digits)
            return f"{whole}.{part:0{digits}d}"
    return f"{ratio.numerator}/{ratio.denominator}"
