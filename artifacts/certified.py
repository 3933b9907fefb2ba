"""The certificate as tables, and read again where it was stored: what was reproduced, in the report of the runs.

Knows the form of certificate.json; which rung a number stands on was decided by `artifacts.reproduce`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from artifacts.beside import read_output
from artifacts.ladder import ALPHA, FAILS, MULTIPLE, ROUNDING, RUNGS, Rung, Value
from artifacts.numbers import Format, Number
from artifacts.render import Table, table_frame
from spinn.errors import RecordError
from spinn.record import Plan, plan_digest
from spinn.storage import digest_file, digest_of

if TYPE_CHECKING:
    from artifacts.claims import Outcome

CERTIFICATE = "certificate.json"
JUDGED = ("accuracy", "progression", "comparisons", "schedule", "before-after")
"""Tables whose numbers a build compares with its certificate's."""


class _Part(BaseModel):
    """Of what is stored, what is printed; the rest is for whoever reads the file."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Test(_Part):
    """Two one-sided tests of equivalence; None: not defined."""

    p: float | None
    power: float | None


class Entry(_Part):
    """A claim or a table cell, and the rung it stands on."""

    name: str
    rung: Rung
    reference: Value
    reproduced: Value
    test: Test | None = None
    tolerance: float | None = None
    verdicts: dict[str, str] = Field(default_factory=dict)
    reason: str = ""

    @model_validator(mode="after")
    def _as_it_stands(self) -> Entry:
        a, b = self.reference, self.reproduced
        if self.rung == "bitwise" and (a is None or a != b):
            raise ValueError(f"{self.name:.80}: {a} and {b} are not bitwise equal")
        if self.rung == "within tolerance":
            near = a is not None and b is not None and self.tolerance is not None and abs(a - b) <= self.tolerance
            if not near:
                raise ValueError(f"{self.name:.80}: {a} and {b} are not within a tolerance of {self.tolerance}")
        if self.rung == "equivalent" and (self.test is None or self.test.p is None or self.test.p >= ALPHA):
            raise ValueError(f"{self.name:.80}: equivalent by no test")
        if self.rung in ("bitwise", "within tolerance", "equivalent") and len(set(self.verdicts.values())) > 1:
            raise ValueError(
                f"{self.name:.80}: {self.rung}, with two verdicts: {', '.join(self.verdicts.values()):.80}"
            )
        return self


class _Side(_Part):
    plan: str
    sha256: str = ""
    weights: bool = True


class Stored(_Part):
    """What certificate.json says."""

    holds: bool
    refused: tuple[str, ...]
    differences: tuple[str, ...] = Field(alias="plan")
    left_out: tuple[str, ...] = Field(alias="not asked for", default=())
    reference: _Side
    reproduction: _Side
    claims: tuple[Entry, ...]
    cells: tuple[Entry, ...]

    @model_validator(mode="after")
    def _verdict(self) -> Stored:
        names = [entry.name for entry in (*self.claims, *self.cells)]
        if len(set(names)) < len(names) or (self.holds and not self.cells):
            raise ValueError("each claim and each number of the tables expected once")
        failing = [entry for entry in (*self.claims, *self.cells) if entry.rung in FAILS]
        if self.holds != (not (self.refused or self.differences or failing)):
            found = failing[0].name if failing else "a difference" if self.refused or self.differences else "nothing"
            raise ValueError(f"holds = {str(self.holds).lower()}, and what speaks against it is {found:.80}")
        return self


@dataclass(frozen=True)
class Certified:
    """A stored certificate of the plan with digest `own`; `digest` is its file's."""

    stored: Stored
    digest: str
    own: str

    @classmethod
    def read(cls, path: Path, plan: Plan) -> Certified:
        """Read the certificate of a reproduction of runs that `plan` planned, or of what they reproduce.

        Raises:
            RecordError: it is none, or one of other runs; says what is wrong with it.
        """
        found = read_output(path, Stored, "spinn-artifacts reproduce", "write it again with `make reproduce`")
        own, plans = plan_digest(plan), [side.plan for side in (found.reference, found.reproduction)]
        if own not in plans:
            told = f"a certificate of the plans {plans[0]:.12} and {plans[1]:.12}"
            raise RecordError(f"{path}: {told}, and these runs are of {own:.12}; give the one of these runs")
        listed = [entry.name for entry in found.claims]
        missing = [name for name in plan.claims.names if name not in listed]
        if missing and not found.differences:
            raise RecordError(
                f"{path}: claim {missing[0]} of the plan is not in it; write it again with `make reproduce`"
            )
        return cls(found, digest_file(path), own)

    def refuse(self, outcomes: Sequence[Outcome], numbers: Mapping[str, Number]) -> None:
        """Refuse a certificate whose rungs the claims do not allow, or that says of neither side what these runs say.

        Compared are the claims, value and verdict, and the numbers of the tables in `JUDGED`, which no withheld file
        has a part in. Where these runs are the reference, and a part of them was not asked for, there is nothing to
        compare with.

        Raises:
            RecordError: names the first claim or number, with what the certificate and these runs say of it.
        """
        mend = "give the certificate of these runs, or reproduce them again"
        known = {str(one.claim["name"]): one for one in outcomes}
        for entry in self.stored.claims:
            if entry.name in known and (told := _unearned(entry, known[entry.name].claim["margin"])):
                raise RecordError(f"{CERTIFICATE}: claim {entry.name}: {told}; {mend}")
        sides = ["reproduced"] if self.own == self.stored.reproduction.plan else []
        sides += ["reference"] if self.own == self.stored.reference.plan and not self.stored.left_out else []
        other = [list(self._others(side, known, numbers)) for side in sides]
        if other and all(other):
            raise RecordError(f"{CERTIFICATE}: {min(other, key=len)[0]} by these runs; {mend}")

    def _others(self, side: str, known: Mapping[str, Outcome], numbers: Mapping[str, Number]) -> Iterator[str]:
        """What the certificate says otherwise of a side than these runs do."""
        for entry in self.stored.claims:
            if entry.name in known:
                value, verdict = known[entry.name].measured.value, known[entry.name].verdict
                told = getattr(entry, side), entry.verdicts.get(side, verdict)
                if told != (value, verdict):
                    yield f"claim {entry.name} is {told[0]} ({told[1]}) in it, and {value} ({verdict})"
        if self.stored.differences:  # of another plan, other numbers
            return
        cells = {entry.name: getattr(entry, side) for entry in self.stored.cells}
        for name, number in numbers.items():
            if number.cells[0][0] in JUDGED and cells.get(name) != number.value:
                yield f"{name} is {cells.get(name)} in it, and {number.value}"

    def sources(self) -> dict[str, dict[str, str]]:
        """The group that every number here names, with its file's digest."""
        return {CERTIFICATE: {CERTIFICATE: self.digest}}

    def tables(self) -> list[Table]:
        """As `tables`, each number traced to the file."""
        source = tuple(f"{group} sha256:{digest_of(files)}" for group, files in self.sources().items())
        verdict = "Reproduced" if self.stored.holds else "NOT reproduced"
        verdict += f"; the reference is sha256:{self.stored.reference.sha256}." if self.stored.reference.sha256 else "."
        verdict += f" Not asked for: {'; '.join(self.stored.left_out)}." if self.stored.left_out else ""
        if not self.stored.reproduction.weights:
            verdict += " The reproduction has no weights: that its predictions are theirs was not seen."
        return tables(self.stored.claims, self.stored.cells, source, verdict)


def _unearned(entry: Entry, margin: float | str) -> str:
    """What is wrong with the rung of a claim that fixes this margin; nothing where nothing is."""
    a, b = entry.reference, entry.reproduced
    if entry.rung == "incomparable" and margin != "none" and (a, b) != (None, None):
        return f"incomparable, and its margin is {margin}"
    if entry.rung in ("within tolerance", "equivalent") and not isinstance(margin, str):
        apart = abs(a - b) if a is not None and b is not None else math.inf
        if apart > max(margin, ROUNDING * abs(a or 0)):
            return f"{entry.rung}, and {a} and {b} are further apart than its margin, {margin}"
    return ""


def tables(claims: Sequence[Any], cells: Sequence[Any], source: tuple[str, ...] = (), verdict: str = "") -> list[Table]:
    """The claims, each on its rung, and how many cells of each table stand on which; those that have no row left out.

    Args:
        claims: with name, rung, reference, reproduced and test, as `Entry` has them.
        cells: likewise.
        source: what the numbers are traced to.
        verdict: the first note.
    """
    return [made for made in (_claims(claims, source, verdict), _cells(cells, source)) if len(made.frame)]


def _claims(entries: Sequence[Entry], source: tuple[str, ...], verdict: str) -> Table:
    rows = [
        {
            "claim": entry.name,
            "reference": entry.reference,
            "reproduced": entry.reproduced,
            "rung": entry.rung,
            "p": entry.test.p if entry.test else None,
            "power (%)": 100 * entry.test.power if entry.test and entry.test.power is not None else None,
            "why": entry.reason,
        }
        for entry in entries
    ]
    notes = (
        *([verdict] if verdict else []),
        f"Within tolerance: no further apart than {MULTIPLE} times the largest difference between repeats of the "
        "reference, nor than the margin of the claim. Equivalent: two one-sided tests at 5 % with that margin; power "
        "is that of showing it if there were no difference. Different: neither, or another verdict on the claim. Costs "
        "of another machine are not compared.",
    )
    formats = {"": Format(6, significant=True), "p": Format(3), "power (%)": Format(0, "%")}
    expressions = {"": f"the claim's value, as {CERTIFICATE} has it", "p": "the larger p of two one-sided tests"}
    caption = "What was reproduced."
    return Table("certificate", caption, table_frame(rows), notes, formats, ("claim",), expressions, {"": source})


def _cells(entries: Sequence[Entry], source: tuple[str, ...]) -> Table:
    counted = Counter((entry.name.partition(".")[0], entry.rung) for entry in entries)
    names = dict.fromkeys(table for table, _ in counted)
    rows = [{"table": name, **{rung: counted[name, rung] for rung in RUNGS}} for name in names]
    caption = "Numbers of the tables, by how they were reproduced."
    expressions = {"": "cells of the table on this rung"}
    formats = {"": Format(0)}
    return Table("certificate-cells", caption, table_frame(rows), (), formats, ("table",), expressions, {"": source})
