"""The table of mutants: which named fault is caught by the check that is made for it, and by which others.

Reads what `spinn-verify mutants --json` printed, since running the faults takes minutes and torch. Knows the form of
that output, nothing of a fault; whether a fault is caught is read off its checks, no verdict is taken on trust.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from artifacts.beside import MUTANTS, read_output, traced
from artifacts.numbers import Format
from artifacts.render import Table, table_frame
from spinn.config import Strict
from spinn.errors import RecordError
from spinn.storage import digest_file


class Mutant(Strict):
    """A fault, the check that must find it (None: the control, in which nothing is to be found), and what did."""

    name: str = Field(min_length=1)
    expected: str | None
    caught_by: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """The expected check found it; of the control, none found anything."""
        return self.expected in self.caught_by if self.expected else not self.caught_by

    @property
    def others(self) -> list[str]:
        """The checks that found it and are not made for it."""
        return [name for name in self.caught_by if name != self.expected]


class _Output(Strict):
    mutants: tuple[Mutant, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Mutants:
    """The outcome of every fault, in the order in which they were run; `digest` is the file's."""

    listed: tuple[Mutant, ...]
    digest: str

    @classmethod
    def read(cls, path: Path) -> Mutants:
        """Read a stored output.

        Raises:
            RecordError: it is none, or names a fault twice; says what is wrong with it.
        """
        mend = "write it again with `make mutants`"
        found = read_output(path, _Output, "spinn-verify mutants --json", mend)
        names = [mutant.name for mutant in found.mutants]
        twice = next(((name, count) for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise RecordError(f"{path}: mutant {twice[0]} stands in it {twice[1]} times, once expected; {mend}")
        return cls(found.mutants, digest_file(path))

    def sources(self) -> dict[str, dict[str, str]]:
        """The group that every number here names, with its file's digest."""
        return {MUTANTS: {MUTANTS: self.digest}}

    def tables(self) -> list[Table]:
        """One, with a row a fault: the check it is made for, whether that caught it, and every other check that did."""
        rows = [
            {
                "fault": mutant.name,
                "check made for it": mutant.expected or "none: the control",
                "outcome": ("caught" if mutant.expected else "clean") if mutant.holds else "MISSED",
                "other checks that caught it": ", ".join(mutant.others) or "–",
                "checks": len(mutant.caught_by),
            }
            for mutant in self.listed
        ]
        faults = [mutant for mutant in self.listed if mutant.expected]
        caught = sum(mutant.holds for mutant in faults)
        checks = {name for mutant in faults for name in mutant.caught_by}
        notes = (
            f"{caught} of {len(faults)} faults are caught by the check that is made for them; {len(checks)} checks "
            "caught one or more. Each fault is planted in the system, which then plans, trains, prunes and records a "
            "tiny network; the audit, which knows nothing of the fault, judges the folder. As stored by `spinn-verify "
            "mutants --json`; the build does not run them again.",
        )
        sources = {"": traced(self.sources())}
        expressions = {"checks": "checks that found an error in the records of the fault"}
        caption = "Named faults, and the checks that catch them."
        formats = {"": Format(0)}
        return [Table("mutants", caption, table_frame(rows), notes, formats, ("fault",), expressions, sources)]
