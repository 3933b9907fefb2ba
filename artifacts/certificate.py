"""The certificate: what was proven of a reproduction and what was not, as JSON, as tables and as text.

Which rung a number stands on was decided by `artifacts.reproduce`. In the report of the runs it stands as it is
computed, of both folders: what somebody wrote into a certificate.json is never read again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artifacts.ladder import ALPHA, FAILS, MULTIPLE, RUNGS, Step
from artifacts.numbers import Format
from artifacts.plans import Differences
from artifacts.render import Table, table_frame
from spinn.storage import write_atomic

CERTIFICATE, PAGE = "certificate.json", "certificate.txt"
_RUNGS = (
    f"Within tolerance: no further apart than {MULTIPLE} times the largest difference between repeats of the "
    f"reference, nor than the margin of the claim. Equivalent: two one-sided tests at {100 * ALPHA:.0f} % with that "
    "margin; power is that of showing it if there were no difference. Different: neither, or another verdict on the "
    "claim. Costs of another machine are not compared."
)


@dataclass(frozen=True)
class Certificate:
    """What was proven, and what was not.

    `refused`: why a folder's audit let no number through. `runs` maps each planned run of the reference to whether
    its files are bitwise equal; None: this reproduction did not run it. `files` has the digests of the reference's
    files by group, and `source` what each number of the tables is traced to: those groups, and the reproduction's.
    """

    reference: dict[str, Any]
    reproduction: dict[str, Any]
    refused: tuple[str, ...]
    differences: Differences
    runs: dict[str, bool | None]
    claims: tuple[Step, ...]
    cells: tuple[Step, ...]
    files: Mapping[str, dict[str, str]] = field(default_factory=dict)
    source: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all that the reproduction ran is reproduced."""
        failing = any(step.rung in FAILS for step in (*self.claims, *self.cells))
        return not (self.refused or self.differences.plan or failing)

    @property
    def exit_status(self) -> int:
        """0 reproduced, 1 something is different or missing."""
        return 0 if self.holds else 1

    def as_json(self) -> dict[str, Any]:
        """The content of certificate.json."""
        return {
            "holds": self.holds,
            "refused": list(self.refused),
            "plan": list(self.differences.plan),
            "reasons": list(self.differences.reasons),
            "code": self.differences.code,
            "not asked for": list(self.differences.left_out),
            "reference": self.reference,
            "reproduction": self.reproduction,
            "multiple of the spread": MULTIPLE,
            "runs": self.runs,
            "claims": [step.as_json() for step in self.claims],
            "cells": [step.as_json() for step in self.cells],
        }

    def sources(self) -> dict[str, dict[str, str]]:
        """The groups of the reference that the numbers of its tables name."""
        return dict(self.files)

    def tables(self) -> list[Table]:
        """The claims, each on its rung, and how many cells of each table stand on which, where any were compared."""
        return [self._claims(), self._cells()] if self.cells else [self._claims()]

    def text(self) -> str:
        """The certificate for a terminal: the verdict first."""
        shown = [table.text() for table in self.tables()]
        steps = [*self.claims, *(step for step in self.cells if step.rung in FAILS)]
        why = [f"{step.name}: {step.rung}: {step.reason}" for step in steps if step.reason]
        told = ["\n".join(self._verdict()), *shown, *(["\n".join(why)] if why else [])]
        return "\n\n".join(told) + "\n"

    def _verdict(self) -> list[str]:
        """Whether it holds, of what, and all that differs or was not seen, a line each."""
        known = [equal for equal in self.runs.values() if equal is not None]
        lines = ["reproduced" if self.holds else "NOT reproduced"]
        lines += [f"the reference is sha256:{self.reference['sha256']}"] if "sha256" in self.reference else []
        lines += [f"refused: {reason}" for reason in self.refused]
        lines += [f"the plan differs: {difference}" for difference in self.differences.plan]
        lines += [f"not as in the reference: {reason}" for reason in self.differences.reasons]
        if self.differences.code and not all(known):
            lines += [self.differences.code]
        lines += [f"not asked for: {part}" for part in self.differences.left_out]
        if not self.reproduction.get("weights", True):
            lines += ["the reproduction has no weights: that its predictions are theirs was not seen"]
        apart = sum(step.rung == "incomparable" for step in self.cells)
        if apart:
            lines += [f"{apart} numbers of tables are not compared: costs, and those that no claim fixes a margin for"]
        equal = f"{sum(known)} of {len(known)} runs are bitwise equal in history and predictions"
        return [*lines, equal] if known else lines

    def _notes(self) -> tuple[str, ...]:
        return tuple(f"{line[0].upper()}{line[1:]}." for line in self._verdict())

    def _claims(self) -> Table:
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
            for entry in self.claims
        ] or [{"claim": "none is stated"}]
        notes = (*self._notes(), _RUNGS)
        formats = {"": Format(6, significant=True), "p": Format(3), "power (%)": Format(0, "%")}
        expressions = {"": "the claim's value on this side", "p": "the larger p of two one-sided tests"}
        caption = "What was reproduced."
        return Table(
            "certificate", caption, table_frame(rows), notes, formats, ("claim",), expressions, {"": self.source}
        )

    def _cells(self) -> Table:
        counted = Counter((entry.name.partition(".")[0], entry.rung) for entry in self.cells)
        names = dict.fromkeys(table for table, _ in counted)
        rows = [{"table": name, **{rung: counted[name, rung] for rung in RUNGS}} for name in names]
        caption = "Numbers of the tables, by how they were reproduced."
        expressions = {"": "cells of the table on this rung"}
        formats = {"": Format(0)}
        return Table(
            "certificate-cells", caption, table_frame(rows), (), formats, ("table",), expressions, {"": self.source}
        )


def write(certificate: Certificate, out: Path) -> None:
    """Write certificate.json and certificate.txt into `out`."""
    content = json.dumps(certificate.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(out / CERTIFICATE, content.encode())
    write_atomic(out / PAGE, certificate.text().encode())
