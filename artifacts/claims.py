"""The success criteria, as they were fixed before the runs, against what was measured.

Knows how to compute each `value` that a claim can name, and nothing of how it is printed. The verdict compares the
measured value (of the worst run, where the claim is about each run) with the threshold; only where the claim's test is
`interval` does the whole 95 % interval have to comply. Else an interval is shown beside the value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from artifacts import adaptation, attribution, power
from artifacts.costs import TIMED
from artifacts.numbers import Format
from artifacts.predictors import find
from artifacts.render import Table, spread
from artifacts.results import Results, target_name
from artifacts.stats import LEVEL, Estimate, Held, bootstrap_mae, bootstrap_r2, measured_range, paired_r2
from spinn.claims import refuse
from spinn.record import BASELINES, CLAIMS

Holds = Literal["holds", "fails", "not decidable", "not evaluated"]
_SIGNS = {"above": ">", "at-least": "≥", "below": "<", "at-most": "≤"}
_CHECKS: dict[str, Callable[[float, Any], bool]] = {
    "above": lambda value, bound: value > bound,
    "at-least": lambda value, bound: value >= bound,
    "below": lambda value, bound: value < bound,
    "at-most": lambda value, bound: value <= bound,
    "within": lambda value, bound: bound[0] <= value <= bound[1],
}
EFFECT, POWER = "decidable effect", "power (%)"
_STATED = ("statement", "threshold", "margin")


@dataclass(frozen=True)
class Measured:
    """What a claim is about: `low`, `high` are an interval, or the extreme runs.

    `reason`: why there is no value, or no verdict; `source`: what it comes from beside the variant that is measured.
    """

    value: float | int | None
    low: float | int | None = None
    high: float | int | None = None
    reason: str = ""
    source: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A claim with what was measured and whether it holds."""

    claim: dict[str, Any]
    measured: Measured
    verdict: Holds

    def able(self) -> Power | None:
        """What these cases could decide; None where no interval decides the claim, or there is none."""
        low, high, margin = self.measured.low, self.measured.high, self.claim["margin"]
        if self.claim["test"] != "interval" or low is None or high is None:
            return None
        error = power.standard_error(low, high)
        if self.claim["comparison"] == "within":
            least, most = self.claim["threshold"]
            return Power(power.smallest(error, both_sides=True), power.within((most - least) / 2, error))
        known = isinstance(margin, int | float) and margin > 0
        return Power(power.smallest(error), power.one_sided(margin, error) if known else None)


@dataclass(frozen=True)
class Power:
    """The smallest effect that is decided with `power.GOAL`, in the claim's unit, and the power at the margin.

    Of a claim that a value is within a range: half of the narrowest range, and the power where the truth is in the
    middle of the claim's own.
    """

    effect: float
    at_margin: float | None


def evaluate(results: Results) -> tuple[Outcome, ...]:
    """Every planned claim, in the order of the file.

    Raises:
        InputError: a claim lacks a key, names a comparison or a test that does not exist, or states something else.
    """
    return tuple(_evaluate(results, claim) for claim in results.claims)


def _evaluate(results: Results, claim: dict[str, Any]) -> Outcome:
    refuse(claim)
    where = claim["applies_to"].get("data", ["any"])
    if "any" not in where and results.plan.dataset.source not in where:
        return Outcome(claim, Measured(None, reason="not claimed for this data"), "not evaluated")
    measured = measure(results, str(claim["value"]))
    if measured.value is None:
        return Outcome(claim, measured, "not evaluated")
    if claim["test"] == "interval":
        return _by_interval(claim, measured)
    compared = [measured.value]
    if claim["test"] == "exact":
        compared += [value for value in (measured.low, measured.high) if value is not None]
    holds = all(_CHECKS[claim["comparison"]](value, claim["threshold"]) for value in compared)
    return Outcome(claim, measured, "holds" if holds else "fails")


def _by_interval(claim: dict[str, Any], measured: Measured) -> Outcome:
    """Holds where the whole interval complies, fails where nothing in it does; else the cases do not decide it."""
    low, high, bound = measured.low, measured.high, claim["threshold"]
    if low is None or high is None:
        return Outcome(claim, replace(measured, reason="no interval could be drawn"), "not decidable")
    inside = [bound[0]] if claim["comparison"] == "within" and low <= bound[0] <= high else []
    complies = [_CHECKS[claim["comparison"]](end, bound) for end in (low, high)]
    if all(complies):
        return Outcome(claim, measured, "holds")
    if not any(complies) and not inside:
        return Outcome(claim, measured, "fails")
    return Outcome(claim, replace(measured, reason="the interval holds values on both sides"), "not decidable")


def measure(results: Results, value: str) -> Measured:
    """The value that a claim names, of the variant this work stands for, in the claim's unit.

    Known are `parameters`, `reduction` (%), `file-bytes`, `latency-p95` (ms), `adaptation-compute` (% of retraining's),
    `adaptation-gain` (mm), `attribution-gain.<score>` (the pruner's area less that of a random choice), and, for a
    target or `overall`, `r2.<target>`, `r2-loss.<target>` (% of the dense network's), `mae-share.<target>` (% of the
    measured range), `r2-gain-over-<baseline>.<target>`, `r2-difference.<target>.<predictor>`: R² minus that of a
    variant, a baseline, `dense`, or `wear-law`, the best of the wear laws. Anything else is not evaluated, with
    the reason.
    """
    kind, _, rest = value.partition(".")
    target, _, other = rest.partition(".")
    if kind in ("parameters", "reduction", "file-bytes"):
        return _counts(results, kind)
    if kind == "latency-p95":
        return _latency(results)
    if kind in ("adaptation-compute", "adaptation-gain"):
        return _adaptation(results, kind)
    if kind == "attribution-gain":
        return _measured(
            attribution.gain(results, target, results.primary), 1.0, "no physics term was on, or no run lost a weight"
        )
    if not target or bool(other) != (kind == "r2-difference"):
        return Measured(None, reason="no record of these runs measures it")
    chosen = results.targets if target == "overall" else (target,)
    last = results.last_stage(results.primary)
    sparse = [results.held(results.primary, last, name) for name in chosen if name in results.targets]
    known = [held for held in sparse if held is not None]
    if len(known) < len(chosen):
        return Measured(None, reason=f"{target} has no label in this data")
    if other:
        return _difference(results, other, chosen, known)
    return _errors(results, kind, chosen, known)


def _difference(results: Results, name: str, targets: tuple[str, ...], sparse: list[Held]) -> Measured:
    other = find(results, name, targets)
    if other is None:
        return Measured(None, reason=f"no predictor {name} for it in these runs")
    change = paired_r2(sparse, [other.held[target] for target in targets])
    measured = _measured(change, 1.0, "R² is not defined: the measured values do not vary")
    return replace(measured, source=other.source)


def _errors(results: Results, kind: str, targets: tuple[str, ...], sparse: list[Held]) -> Measured:
    if kind == "r2":
        return _measured(bootstrap_r2(sparse), 1.0, "R² is not defined: the measured values do not vary")
    if kind == "mae-share" and len(sparse) == 1:
        reach = measured_range(sparse[0])
        scale = 100 / reach if reach > 0 else None
        return _measured(bootstrap_mae(sparse[0]), scale, "the measured values do not vary")
    if kind == "r2-loss":
        dense = [results.held(results.primary, 0, name) for name in targets]
        change = paired_r2(sparse, [held for held in dense if held is not None], relative=True)
        return _measured(change, -100.0, "a share has no meaning: the dense network's R² is not above 0")
    if kind.startswith("r2-gain-over-"):
        name = kind.removeprefix("r2-gain-over-")
        others = [held for held in (results.held_baseline(name, target) for target in targets) if held is not None]
        if len(others) < len(sparse):
            return Measured(None, reason=f"no baseline {name} for it in these runs")
        gain = _measured(paired_r2(sparse, others), 1.0, "R² is not defined: the measured values do not vary")
        return replace(gain, source=results.source(f"{BASELINES}/{name}"))
    return Measured(None, reason="no record of these runs measures it")


def _measured(estimate: Estimate, scale: float | None, reason: str) -> Measured:
    if estimate.value is None or scale is None:
        return Measured(None, reason=reason)
    if estimate.low is None or estimate.high is None:
        return Measured(estimate.value * scale)
    low, high = sorted((estimate.low * scale, estimate.high * scale))
    return Measured(estimate.value * scale, low, high)


def _counts(results: Results, kind: str) -> Measured:
    stages = results.stages
    at = stages[(stages["variant"] == results.primary) & (stages["stage"] == results.last_stage(results.primary))]
    values = {
        "parameters": at["parameters"],
        "reduction": 100 * (1 - at["parameters"] / results.total_parameters()),
        "file-bytes": at["checkpoint_bytes"],
    }[kind]
    return Measured(*spread(values))


def _adaptation(results: Results, kind: str) -> Measured:
    if results.adaptation is None:
        return Measured(None, reason="these runs adapted to no tool")
    if kind == "adaptation-gain":
        return _measured(adaptation.gain(results), 1.0, "no labelled cut comes so late")
    shares = adaptation.shares(results, "adapted")
    if not shares:
        return Measured(None, reason=f"no tool was trained for again: none has {adaptation.LATE} labels")
    return Measured(*spread(shares))


def _latency(results: Results) -> Measured:
    frame = results.latency
    if frame.empty:
        return Measured(None, reason="these runs timed no prediction")
    return Measured(*spread(frame[(frame["variant"] == results.primary) & (frame["model"] == "sparse")]["p95_ms"]))


def threshold_text(claim: dict[str, Any]) -> str:
    """The threshold with its comparison, as a table prints it."""
    bound, unit = claim["threshold"], f" {claim['unit']}" if claim["unit"] else ""
    if claim["comparison"] == "within":
        return f"{bound[0]:,} – {bound[1]:,}{unit}"
    shown = f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
    return f"{_SIGNS[claim['comparison']]} {shown}{unit}"


def margin_text(claim: dict[str, Any]) -> str:
    """How far a reproduction may be off, as a table prints it."""
    margin = claim["margin"]
    return str(margin) if isinstance(margin, str) else f"{margin:g} {claim['unit']}".rstrip()


def _format(claim: dict[str, Any]) -> Format:
    digits = {"": 3, "%": 2, "ms": 3, "bytes": 0}.get(claim["unit"], 3)
    return Format(0 if claim["value"] == "parameters" else digits, claim["unit"], tiny=True)


def table(results: Results, outcomes: tuple[Outcome, ...]) -> Table:
    """The claims as a table."""
    columns = ["claim", "statement", "value", "value low", "value high", "threshold", "test", "margin"]
    columns += [EFFECT, POWER, "verdict"]
    able = [outcome.able() for outcome in outcomes]
    rows = [
        [
            outcome.claim["name"],
            outcome.claim["statement"],
            outcome.measured.value,
            outcome.measured.low,
            outcome.measured.high,
            threshold_text(outcome.claim),
            outcome.claim["test"],
            margin_text(outcome.claim),
            could.effect if could else None,
            100 * could.at_margin if could and could.at_margin is not None else None,
            outcome.verdict + (f": {outcome.measured.reason}" if outcome.measured.reason else ""),
        ]
        for outcome, could in zip(outcomes, able, strict=True)
    ]
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    measured = ", ".join(target_name(target) for target in results.targets)
    notes = (
        "The criteria as they stood in the plan before any run. A claim about counts and sizes has to hold in every "
        "run (in brackets: smallest and largest run), one about times in every network that was timed; for errors the "
        f"measured value is compared, and the brackets give its {100 * LEVEL:.0f} % interval by case bootstrap; for "
        "the compute of adaptation, a mean over tools, the smallest and the largest tool. A loss is a share of "
        "the dense network's R². Where the claim's test is 'interval', the interval decides: a claim that only a part "
        "of it meets is not decidable. No claim is corrected for how many there are; table comparisons has p values "
        f"that are, for its comparisons. {TIMED}",
        "Margin: how far the value of a reproduction may lie from this one and still count as equal. Where the "
        f"interval decides: '{EFFECT}' is the effect beyond the threshold that is decided with {100 * power.GOAL:.0f} "
        f"% probability, (z + z_goal)·s, and '{POWER}' the probability to decide in favour if the truth lies the "
        "margin beyond the threshold, Φ(margin/s − z), with s = width of the interval / 2z and z = "
        f"{power.quantile():.2f} (Cohen 1988); of a claim on a range, half of the narrowest range, and the "
        "probability if the truth is in the middle of the claim's, 2Φ(half range/s − z) − 1 (Phillips 1990). Power "
        "at what was measured would say nothing new (Hoenig & Heisey 2001).",
        f"Variant: {results.label(results.primary)}. Measured targets: {measured}; overall is the mean of their R².",
    )
    by_claim = {outcome.claim["name"]: outcome for outcome in outcomes}
    formats = {name: _format(outcome.claim) for name, outcome in by_claim.items()} | {POWER: Format(0, "%")}
    expressions = {name: str(outcome.claim["value"]) for name, outcome in by_claim.items()}
    expressions |= {EFFECT: "(z + z_goal) · width of the interval / 2z", POWER: "100 Φ(margin · 2z / width - z)"}
    expressions |= dict.fromkeys(_STATED, "as claims.toml states it, fixed before the runs")
    ours = results.source(CLAIMS, results.primary)
    sources = {name: tuple(dict.fromkeys((*ours, *outcome.measured.source))) for name, outcome in by_claim.items()}
    sources |= dict.fromkeys(_STATED, results.source(CLAIMS))
    return Table("claims", "Success criteria.", frame, notes, formats, ("claim",), expressions, sources)
