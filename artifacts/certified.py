"""The certificate as tables, and read again where it was stored: what was reproduced, in the report of the runs.

Knows the form of certificate.json; which rung a number stands on was decided by `artifacts.reproduce`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from artifacts.beside import read_output
from artifacts.ladder import ALPHA, FAILS, MULTIPLE, RUNGS, Rung, Value
from artifacts.numbers import Format
from artifacts.render import Table, table_frame
from spinn.errors import RecordError
from spinn.record import Plan, plan_digest
from spinn.storage import digest_file, digest_of

CERTIFICATE = "certificate.json"


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

    def refuse(self, claims: Mapping[str, float | int | None]) -> None:
        """Refuse a certificate that says of neither side what the claims of these runs are, by name.

        Nothing is compared where these runs are the reference and a part of them was not asked for.

        Raises:
            RecordError: names the first claim with another value.
        """
        sides = ["reproduced"] if self.own == self.stored.reproduction.plan else []
        sides += ["reference"] if self.own == self.stored.reference.plan and not self.stored.left_out else []
        listed = [entry for entry in self.stored.claims if entry.name in claims]
        other = {side: [one for one in listed if getattr(one, side) != claims[one.name]] for side in sides}
        if other and all(other.values()):
            first = min(other.values(), key=len)[0]
            raise RecordError(
                f"{CERTIFICATE}: claim {first.name} is {first.reference} and {first.reproduced} in it, and "
                f"{claims[first.name]} by these runs; give the certificate of these runs, or reproduce them again"
            )

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
