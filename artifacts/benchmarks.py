"""The tables of the benchmarks: what was measured on which machine, and which targets it holds.

Reads the history that every benchmark appends its report to, and prints the newest report of each. Knows the form of a
report, nothing of what a benchmark measures; a verdict that its own numbers do not give is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import AwareDatetime, Field, FiniteFloat, ValidationError, model_validator

from artifacts.beside import BENCHMARKS, traced
from artifacts.numbers import NOT_MEASURED, Format
from artifacts.render import Table, table_frame
from spinn.bench.history import read_history
from spinn.config import Strict
from spinn.errors import RecordError
from spinn.record import Environment, first_problem
from spinn.storage import digest_file

_SHARES = "1 is as fast, 2 twice as fast; '–': there is nothing to compare it with."
_VERDICTS = {True: "holds", False: "missed", None: NOT_MEASURED}
_MEASURED = Format(4, missing=NOT_MEASURED, significant=True)
_SHARE = Format(3, significant=True)


class Machine(Environment):
    """The machine of a report, and how busy it was."""

    load_average: FiniteFloat

    def __str__(self) -> str:
        return f"{self.processor}, {_count(self.cores, 'core')}, device {self.device}"


class Row(Strict):
    """One measurement; None is what was not measured there, or is not compared with anything."""

    name: str
    value: FiniteFloat | None
    unit: str
    ratio_to_limit: FiniteFloat | None
    ratio_to_peer: FiniteFloat | None

    @property
    def what(self) -> str:
        """Its name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


class Target(Strict):
    """What had to be reached; its name ends with the direction. A value that was no number is None, and missed."""

    name: str = Field(pattern=", (at least|at most)$")
    value: FiniteFloat | None
    required: FiniteFloat
    holds: bool | None

    @model_validator(mode="after")
    def _verdict(self) -> Target:
        if self.value is None:
            fits = self.holds is not True
        else:
            within = self.value <= self.required if self.name.endswith("at most") else self.value >= self.required
            fits = self.holds is within
        if not fits:
            raise ValueError(f"holds = {self.holds} is not what value = {self.value}, required = {self.required} give")
        return self


class Report(Strict):
    """One line of the history."""

    time: AwareDatetime
    name: str
    machine: Machine
    limit: dict[str, FiniteFloat | None]
    rows: tuple[Row, ...] = Field(min_length=1)
    targets: tuple[Target, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Benchmarks:
    """The newest report of each benchmark, in the order in which their names first appear; `digest` is the file's."""

    reports: tuple[Report, ...]
    digest: str

    @classmethod
    def read(cls, path: Path) -> Benchmarks:
        """Read a history.

        Raises:
            RecordError: there is no report in it, or a line is none; says which.
        """
        try:
            lines = read_history(path)
        except UnicodeDecodeError:
            raise RecordError(f"{path}: not a text in UTF-8; a history of benchmarks expected") from None
        newest: dict[str, Report] = {}
        for number, line in enumerate(lines, start=1):
            try:
                report = Report.model_validate_json(json.dumps(line), strict=True)
            except ValidationError as error:
                problem = first_problem(error)
                raise RecordError(f"{path}, line {number}: not a benchmark's report: {problem}; remove it") from None
            if report.name not in newest or report.time >= newest[report.name].time:
                newest[report.name] = report
        if not newest:
            raise RecordError(f"{path}: no report in it; `make bench` and `spinn bench` append one each")
        return cls(tuple(newest.values()), digest_file(path))

    def sources(self) -> dict[str, dict[str, str]]:
        """The group that every number here names, with its file's digest."""
        return {BENCHMARKS: {BENCHMARKS: self.digest}}

    def tables(self) -> list[Table]:
        """The measurements, and the targets where there are any."""
        return [self._measurements(), *([self._targets()] if any(report.targets for report in self.reports) else [])]

    def _measurements(self) -> Table:
        rows = [
            {
                "benchmark": report.name,
                "what": row.what,
                "value": row.value,
                "of the limit": row.ratio_to_limit,
                "of the peer": row.ratio_to_peer,
            }
            for report in self.reports
            for row in report.rows
        ]
        measured = [row for report in self.reports for row in report.rows]
        formats = {row.what: Format(4, row.unit, NOT_MEASURED, significant=True) for row in measured}
        formats |= {"of the limit": _SHARE, "of the peer": _SHARE}
        expressions = {
            "value": "the newest report of the benchmark, as it was measured",
            "of the limit": "speed over the speed that the machine allows, by the report",
            "of the peer": "speed over that of the peer, by the report",
        }
        notes = [
            f"Of the limit, of the peer: shares of the speed that the machine allows and of the peer's. {_SHARES}",
            *(note for report in self.reports for note in (self._where(report), _limit(report), *_own(report))),
        ]
        return self._table("benchmarks", "Benchmarks", rows, notes, formats, ("benchmark", "what"), expressions)

    def _targets(self) -> Table:
        rows = [
            {
                "benchmark": report.name,
                "target": target.name,
                "value": "no number" if target.value is None and target.holds is False else target.value,
                "required": target.required,
                "verdict": _VERDICTS[target.holds],
            }
            for report in self.reports
            for target in report.targets
        ]
        notes = [self._where(report) for report in self.reports if report.targets]
        expressions = {
            "value": "the newest report of the benchmark, as it was measured",
            "required": "the newest report of the benchmark, as it states the target",
        }
        labels = ("benchmark", "target")
        formats = {"": _MEASURED}
        return self._table("benchmark-targets", "Targets of the benchmarks", rows, notes, formats, labels, expressions)

    def _table(
        self,
        name: str,
        what: str,
        rows: list[dict[str, str | float | None]],
        notes: list[str],
        formats: dict[str, Format],
        labels: tuple[str, ...],
        expressions: dict[str, str],
    ) -> Table:
        machines = {str(report.machine) for report in self.reports}
        caption = f"{what}, on {machines.pop() if len(machines) == 1 else 'different machines: see the notes'}."
        sources = {"": traced(self.sources())}
        return Table(name, caption, table_frame(rows), tuple(notes), formats, labels, expressions, sources)

    def _where(self, report: Report) -> str:
        """When and on which machine, and of which others the machine was another one."""
        when, machine = f"{report.time:%Y-%m-%d %H:%M} {report.time.tzname()}", report.machine
        busy = f"{_count(machine.threads, 'thread')}, load average {machine.load_average:.2f}"
        text = f"{report.name}: measured {when} on {machine}; {busy}"
        elsewhere = [other.name for other in self.reports if str(other.machine) != str(machine)]
        return f"{text}; not the machine of {', '.join(elsewhere)}." if elsewhere else f"{text}."


def _limit(report: Report) -> str:
    values = [f"{name} {_MEASURED.text(value)}" for name, value in report.limit.items()]
    return f"{report.name}, limit of the machine: {'; '.join(values) or NOT_MEASURED}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _own(report: Report) -> list[str]:
    return [f"{report.name}: {note}" for note in report.notes]
