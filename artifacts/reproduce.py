"""The certificate: what a fresh set of runs reproduces of a reference, claim by claim and cell by cell, and what not.

Both folders are audited first. Each number stands on a rung of `artifacts.ladder`; a step down always states why. The
tests of equivalence are over seeds where both sides have three or more, else over the cases that both held out.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from artifacts import claims, comparisons, tables
from artifacts.beside import REFERENCE, grouped, traced
from artifacts.certificate import Certificate
from artifacts.equivalence import Equivalence, paired, pseudo_values, welch
from artifacts.ladder import Step, climb, judged
from artifacts.numbers import Number
from artifacts.plans import Differences, compare
from artifacts.reference import audited, digest, is_cost, machine, read_spread, values
from artifacts.results import RefusedError, Results
from artifacts.slices import of_seeds, without_case
from spinn.record import HISTORY, PLAN, PREDICTIONS, Plan, plan_digest, read_model

FEWEST_SEEDS = 3
# Which claims fix the margin of a column: those about the same quantity.
_MARGINS = {
    "R²": "r2.",
    "R², mean prediction": "r2.",
    "MAE ÷ range (%)": "mae-share.",
    "R² difference": "r2-difference.",
}


def reproduce(runs: Path, reference: Path) -> Certificate:
    """Compare the folder `runs` with the folder `reference`.

    Raises:
        InputError: one of them is not a folder of runs.
        RecordError: a file in one cannot be read as what it should be.
    """
    plans = [read_model(folder / PLAN, Plan) for folder in (runs, reference)]
    spread = read_spread(reference)
    sides, refused = [], []
    for folder, which in ((runs, "the reproduction"), (reference, "the reference")):
        try:
            sides.append(audited(folder))
        except RefusedError as error:
            refused.append(f"{which}: {error}")
    if not refused:
        ours, theirs = sides
        certificate = certify(ours, theirs, spread)
        files = grouped(REFERENCE, theirs.sources())
        source = traced({name: group for name, group in ours.sources().items() if group} | files)
        stated = certificate.reference | {"sha256": digest(reference)}
        return replace(certificate, reference=stated, files=files, source=source)
    missing = tuple(Step(name, "not run", "the audit refused the records") for name in plans[1].claims.names)
    nothing: dict[str, bool | None] = {run.run_id: None for run in plans[1].runs}
    stated = [{"plan": plan_digest(plan)} for plan in plans]
    return Certificate(stated[1], stated[0], tuple(refused), Differences(), nothing, missing, ())


def certify(ours: Results, theirs: Results, spread: dict[str, Any]) -> Certificate:
    """The certificate of two audited sets of results; `spread` is what `artifacts.reference.read_spread` gives."""
    differences = compare(ours, theirs)
    ran = {record.run_id: record for record in ours.records}
    equal = {record.run_id: _bitwise(record, ran.get(record.run_id)) for record in theirs.records}
    about = {"repeats": spread["folders"], "repeats made on": spread["machines"]}
    stated = [{"plan": plan_digest(side.plan), "machine": machine(side)} for side in (theirs, ours)]
    stated[1]["weights"] = ours.recounted
    pair = _Pair(*_alike(ours, theirs), differences)
    steps = pair.claims(spread["claims"]), pair.cells(spread["numbers"])
    return Certificate(stated[0] | about, stated[1], (), differences, equal, *steps)


def _bitwise(theirs: Any, ours: Any) -> bool | None:
    """By the recorded digests, which the audit has compared with the files that are there."""
    return None if ours is None else all(ours.files[name] == theirs.files[name] for name in (HISTORY, PREDICTIONS))


def _alike(ours: Results, theirs: Results) -> tuple[Results, Results]:
    """Both sides cut to the seeds that they share, and to the histories that the reference kept."""
    asked = [side.plan.experiment.seeds for side in (ours, theirs)]
    shared = tuple(seed for seed in asked[1] if seed in asked[0])
    kept = ours.history["run_id"].isin(set(theirs.history["run_id"]))
    ours = replace(ours, history=ours.history[kept])
    if not shared:
        return ours, theirs
    return ours if asked[0] == shared else of_seeds(ours, shared), theirs if asked[1] == shared else of_seeds(
        theirs, shared
    )


class _Pair:
    """The two sides and what is computed of them only where a number is beyond its tolerance."""

    def __init__(self, ours: Results, theirs: Results, differences: Differences):
        self.sides = (theirs, ours)
        self.differences = differences
        reasons = (*differences.reasons, *differences.plan, *filter(None, [differences.code]))
        self.why = (
            "; ".join(reasons) or "nothing that the records state of machine, libraries, code, data and plan differs"
        )
        self.by_seed = all(len(side.plan.experiment.seeds) >= FEWEST_SEEDS for side in self.sides)

    def claims(self, spread: dict[str, float]) -> tuple[Step, ...]:
        """A step for each claim of the reference."""
        there, here = ({str(one.claim["name"]): one for one in claims.evaluate(side)} for side in self.sides)
        return tuple(self._judged(one, here.get(name), spread.get(name, 0.0)) for name, one in there.items())

    def _judged(self, one: claims.Outcome, other: claims.Outcome | None, spread: float) -> Step:
        name, reference = str(one.claim["name"]), one.measured.value
        if other is None:
            return Step(name, "not run", "the reproduction's plan has no such claim", reference)
        found, changed = other.measured.value, [key for key in one.claim if other.claim.get(key) != one.claim[key]]
        if changed:
            told = f"{changed[0]} = {one.claim[changed[0]]} in the reference, {other.claim.get(changed[0])} here"
            step = Step(name, "different", f"the claim was changed: {told}", reference, found)
        else:
            step = self._claim(one.claim, reference, found, spread)
        return judged(step, one.verdict, other.verdict)

    def _claim(self, claim: dict[str, Any], reference: Any, found: Any, spread: float) -> Step:
        name, margin = str(claim["name"]), claim["margin"]
        if margin == "none":
            return Step(name, "incomparable", f"a time: {self._machines()}", reference, found)

        def test() -> Equivalence:
            measured = [self._measured(part, claim["value"]) for part in self.parts]
            return self._test(margin, reference, found, *measured)

        # A margin of 0 is for counts and sizes: there is nothing to test, and no machine may change them.
        tested = test if margin else None
        return climb(name, reference, found, spread, reasons=self.why, elsewhere=False, margin=margin, test=tested)

    def cells(self, spread: dict[str, float]) -> tuple[Step, ...]:
        """A step for each number of the reference's tables."""
        theirs, ours = (values(side) for side in self.sides)
        return tuple(self._cell(number, ours.get(name), spread.get(name, 0.0)) for name, number in theirs.items())

    def _cell(self, number: Number, found: Number | None, spread: float) -> Step:
        name = number.name
        if is_cost(number) and found is not None:
            return Step(name, "incomparable", f"a cost: {self._machines()}", number.value, found.value)
        if is_cost(number) and self.differences.elsewhere:  # not every machine has a meter
            return Step(name, "incomparable", f"a cost that was not measured here: {self._machines()}", number.value)
        if found is None:
            return Step(name, "not run", f"no such cell in the reproduction; {self.why}", number.value)
        margin = self._margin(number)

        def test() -> Equivalence:
            parts = [np.array([part.get(name, np.nan) for part in side], float) for side in self.tested_cells]
            return self._test(margin or 0.0, number.value, found.value, *parts)

        return climb(
            name,
            number.value,
            found.value,
            spread,
            reasons=self.why,
            elsewhere=self.differences.elsewhere,
            margin=margin,
            test=test if margin else None,
        )

    def _machines(self) -> str:
        if self.differences.elsewhere:
            return f"measured otherwise; {self.why}"
        return "shown, and not judged: the same machine is not always as busy"

    def _margin(self, number: Number) -> float | None:
        """The margin that the claims fix for this quantity; None where none does."""
        table, _, column = number.cells[0]
        kind = "r2." if table == "progression" and column.startswith("R²") else _MARGINS.get(column)
        if kind is None or table not in ("accuracy", "progression", "comparisons"):
            return None
        fixed = [claim["margin"] for claim in self.sides[0].claims if str(claim["value"]).startswith(kind)]
        return min((float(margin) for margin in fixed if margin != "none"), default=None)

    @cached_property
    def parts(self) -> tuple[list[Results], list[Results]]:
        """Of each side its single seeds, or itself without each case."""
        theirs, ours = self.sides
        if self.by_seed:
            cut = [[of_seeds(side, (seed,)) for seed in side.plan.experiment.seeds] for side in self.sides]
            return cut[0], cut[1]
        held = [{case for run in side.plan.runs for case in run.test} for side in self.sides]
        cases = sorted(held[0] & held[1])
        return [without_case(theirs, case) for case in cases], [without_case(ours, case) for case in cases]

    @cached_property
    def tested_cells(self) -> tuple[list[dict[str, float]], ...]:
        """The numbers for which a claim fixes a margin, of each part of each side."""
        return tuple([_tested(part) for part in side] for side in self.parts)

    def _measured(self, parts: list[Results], value: str) -> np.ndarray:
        found = [claims.measure(part, value).value for part in parts]
        return np.array([np.nan if one is None else one for one in found], float)

    def _test(self, margin: float, reference: Any, found: Any, theirs: np.ndarray, ours: np.ndarray) -> Equivalence:
        of = "seeds" if self.by_seed else "cases"
        if not (np.isfinite(theirs).all() and np.isfinite(ours).all()):
            return Equivalence(of, margin, reason=f"it is not defined in every part of the {of}")
        if self.by_seed:
            return welch(theirs, ours, margin)
        first, second = pseudo_values(reference, theirs), pseudo_values(found, ours)
        return paired(first, second, margin, difference=found - reference)


def _tested(part: Results) -> dict[str, float]:
    made = (tables.accuracy(part), tables.progression(part), comparisons.comparisons(part))
    return {name: float(n.value) for table in made if table is not None for name, n in table.numbers().items()}
