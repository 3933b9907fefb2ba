"""What the networks learned of the laws: the table of coefficients beside the truth, and that of the residuals.

A coefficient's interval comes from the folds themselves: each has learned it without one case. Knows records and the
data card; the jackknife knows arrays only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from artifacts.numbers import Format
from artifacts.render import HIGH, LOW, Table, spread_columns, table_frame
from artifacts.results import Results
from artifacts.stats import LEVEL, Estimate
from spinn.record import COEFFICIENT_UNITS, DATACARD, PLAN
from verify.laws import DOC_REFERENCE, FEED_REFERENCE

LAWS = (("a", "b", "c", "d", "g"), ("k", "tau"))
RATE = "r"
"""e^a in mm/min, the wear rate at the reference conditions: 5 % of ln(mm/min) would be a lax bound, of r it is none."""

UNITS = {**COEFFICIENT_UNITS, RATE: "mm/min"}
_DIGITS = {RATE: 6, "k": 7}
FORMATS = {name: Format(_DIGITS.get(name, 3), "" if unit == "1" else unit) for name, unit in UNITS.items()}


def jackknife(without: np.ndarray, learned_together: int, level: float = LEVEL) -> Estimate:
    """Mean of delete-one estimates, with Student's interval around it.

    `without[i]` `[cases]` is the estimate that was made without case i. Its variance is (n − 1)/n · Σ(θ₍ᵢ₎ − θ̄)²
    (Tukey 1958, Ann. Math. Stat. 29, 614; Efron & Stein 1981, Ann. Stat. 9, 586: on average it is not too small). Of a
    mean it is the usual s²/n. Degrees of freedom are n − p where p coefficients are fitted together, since the n
    deviations obey p linear conditions (Hinkley 1977, Technometrics 19, 285), as in a regression on n cases.

    What it knows of is the difference from case to case; a bias that all cases share it does not see. What training
    leaves to chance, anew in each fold, counts n − 1 times in the variance, so that intervals of networks are too wide
    rather than too narrow, the more so where tools hardly differ in a coefficient.

    Args:
        without: the estimates.
        learned_together: p.
        level: coverage of the interval.

    Returns:
        No interval where n is not above p, or one estimate is not finite.
    """
    n, mean = len(without), float(np.mean(without))
    freedom = n - learned_together
    if freedom < 1 or not math.isfinite(mean):
        return Estimate(mean)
    error = math.sqrt((n - 1) / n * float(np.square(without - mean).sum()))
    half = float(scipy_stats.t.ppf((1 + level) / 2, freedom)) * error
    return Estimate(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Learned:
    """A coefficient of a variant after its last stage, with its truth, in `UNITS`; None where nobody knows it."""

    name: str
    estimate: Estimate
    truth: float | None

    @property
    def deviation(self) -> float | None:
        """Percent of the truth; None of a, whose zero depends on the unit, and of a truth of 0."""
        if self.name == "a" or not self.truth or self.estimate.value is None:
            return None
        return 100 * (self.estimate.value - self.truth) / abs(self.truth)

    @property
    def covered(self) -> bool | None:
        """Whether the truth lies in the interval; None without either."""
        low, high = self.estimate.low, self.estimate.high
        if self.truth is None or low is None or high is None:
            return None
        return low <= self.truth <= high


def learned(results: Results, variant: str) -> list[Learned]:
    """Every coefficient of a variant, in the order of the laws, r after a; empty where it learns none."""
    records = [record for record in results.records if record.variant == variant]
    values: dict[int, list[Mapping[str, float]]] = {}
    for record in records:
        values.setdefault(record.fold, []).append(record.stages[-1].coefficients)
    truth: Mapping[str, float] = results.datacard.get("truth", {})
    found = []
    for law in LAWS:
        for name in law:
            if any(name not in one for ones in values.values() for one in ones):
                continue
            folds = np.array([np.mean([one[name] for one in ones]) for ones in values.values()])
            estimate = jackknife(folds, len(law)) if one_case_each(results) else Estimate(float(folds.mean()))
            found.append(Learned(name, estimate, truth.get(name)))
            if name == "a":
                found.append(_rate(found[-1]))
    return found


def one_case_each(results: Results) -> bool:
    """Whether each fold's networks lack exactly one case, another one in each: what a jackknife needs."""
    split = results.plan.experiment.split
    return split.kind == "leave-one-case-out" and split.validation_cases == 0


def _rate(a: Learned) -> Learned:
    """The rate e^a, and the ends of its interval likewise."""
    ends = (None if end is None else math.exp(end) for end in (a.estimate.value, a.estimate.low, a.estimate.high))
    return Learned(RATE, Estimate(*ends), None if a.truth is None else math.exp(a.truth))


def table(results: Results) -> Table | None:
    """Each variant's coefficients, with intervals and truths where there are any; None where nothing is learned."""
    rows, known = [], bool(results.datacard.get("truth"))
    for variant in results.variants:
        for one in learned(results, variant):
            row: dict[str, Any] = {
                "variant": results.label(variant),
                "coefficient": one.name,
                "unit": UNITS[one.name],
                "estimate": one.estimate.value,
                "estimate" + LOW: one.estimate.low,
                "estimate" + HIGH: one.estimate.high,
            }
            if known:
                row |= {"truth": one.truth, "deviation (%)": one.deviation}
            rows.append(row)
    if not rows:
        return None
    notes = (
        f"Wear: dVB/dt = r (1 + g VB), ln r = a + b ln(DOC / {DOC_REFERENCE:g} mm) + c ln(feed / {FEED_REFERENCE:g} "
        "mm/rev) + d [steel]; heat: d(delta)/dt = k P - delta / tau. Mean over the networks after the last stage.",
        _intervals(results),
        *(
            [
                "Truth: what the simulator was told; where tools differ, a is the mean of theirs. No deviation is "
                "given of a, a logarithm whose size depends on the unit: that of r = e^a is."
            ]
            if known
            else []
        ),
        *results.footnotes,
    )
    expressions = {
        "estimate": "coefficient after the last stage, mean over seeds and folds",
        "truth": "truth in datacard.json",
        "deviation (%)": "100 (estimate - truth) / |truth|",
    }
    formats = {**FORMATS, "deviation (%)": Format(1, "%")}
    sources = {results.label(name): results.source(*([DATACARD] if known else []), name) for name in results.variants}
    labels = ("variant", "coefficient", "unit")
    caption = "What was learned of the laws."
    return Table("coefficients", caption, table_frame(rows), notes, formats, labels, expressions, sources)


def _intervals(results: Results) -> str:
    if one_case_each(results):
        return (
            f"In brackets: {100 * LEVEL:.0f} % interval, by the jackknife over cases (Tukey 1958; Efron & Stein "
            "1981), seeds averaged first, Student's t with as many degrees of freedom as cases less coefficients of "
            "the law (Hinkley 1977). It covers chance in which tools were measured, and no error that all networks "
            "share; chance in training, which is in each fold anew, widens it."
        )
    return (
        "No interval is given: each network lacks several cases. One needs leave-one-case-out and validation_cases = 0."
    )


def residuals(results: Results) -> Table | None:
    """Each physics term from the first epoch to the end, for each variant; None where no term was on."""
    rows = []
    first = results.history[(results.history["stage"] == 0) & (results.history["epoch"] == 1)].set_index("run_id")
    for variant in results.variants:
        records = [record for record in results.records if record.variant == variant and record.run_id in first.index]
        for term in records[0].physics_terms if records else ():
            began = [float(first.loc[record.run_id, term]) for record in records]
            dense = [record.stages[0].residuals[term] for record in records]
            ended = [record.stages[-1].residuals[term] for record in records]
            rows.append(
                {
                    "variant": results.label(variant),
                    "term": term,
                    **spread_columns("first epoch", began),
                    **spread_columns("dense", dense),
                    **spread_columns("last stage", ended),
                    "runs": len(records),
                    "fell in runs": sum(end < begin for begin, end in zip(began, ended, strict=True)),
                }
            )
    if not rows:
        return None
    notes = (
        "Each term of the loss, unweighted, a pure number: in the first epoch, of the trained dense network, and after "
        "the last stage. Mean over runs; in brackets: smallest and largest run. 'Fell': is smaller at the end than in "
        "the first epoch. A term that a new network does not violate has nothing to fall from. A run whose "
        "history was left out of the records is not among them.",
        *results.footnotes,
    )
    expressions = {
        "first epoch": "the term in history.csv, stage 0, epoch 1, mean over runs",
        "dense": "residuals of stage 0 in record.json, mean over runs",
        "last stage": "residuals of the last stage in record.json, mean over runs",
        "fell in runs": "runs whose term is smaller after the last stage than in the first epoch",
        "runs": "runs of the variant that have a history",
    }
    formats = {"": Format(4, tiny=True), "runs": Format(0), "fell in runs": Format(0)}
    sources = {results.label(name): results.source(PLAN, name) for name in results.variants}
    caption, labels = "Physics terms, before and after training.", ("variant", "term")
    return Table("residuals", caption, table_frame(rows), notes, formats, labels, expressions, sources)
