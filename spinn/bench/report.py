"""What a benchmark says: the machine, its limit, a row for each measurement, and which targets hold.

Knows how a report looks, as JSON and as tables; measures nothing.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spinn import determinism

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One measurement; None is what was not measured here.

    `name` is "subject: quantity"; the printed table has a line for each subject. `ratio_to_limit` and `ratio_to_peer`
    are shares of the speed that the machine allows and of the peer's: 1 is as fast, 2 twice as fast.
    """

    name: str
    value: float | None
    unit: str
    ratio_to_limit: float | None = None
    ratio_to_peer: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The row as `--json` prints it."""
        numbers = {name: finite(getattr(self, name)) for name in ("value", "ratio_to_limit", "ratio_to_peer")}
        return {"name": self.name, "value": numbers.pop("value"), "unit": self.unit, **numbers}


@dataclass(frozen=True)
class Target:
    """What a measurement has to reach, at least or `at_most`; `value` None where it was not measured here.

    The direction is a part of the name that is printed.
    """

    name: str
    value: float | None
    required: float
    at_most: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the value is on the good side (NaN is not); None where there is none."""
        if self.value is None:
            return None
        return self.value <= self.required if self.at_most else self.value >= self.required

    def as_json(self) -> dict[str, Any]:
        """The target as `--json` prints it; `value` and `holds` are null where it was not measured."""
        name = f"{self.name}, {'at most' if self.at_most else 'at least'}"
        return {"name": name, "value": finite(self.value), "required": self.required, "holds": self.holds}


@dataclass
class Report:
    """All of one benchmark; `limit` maps what bounds it to its measured value, units in the names."""

    name: str
    machine: dict[str, Any]
    limit: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether no measured target is missed."""
        return all(target.holds is not False for target in self.targets)

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "machine": self.machine,
            "limit": {name: finite(value) for name, value in self.limit.items()},
            "rows": [row.as_json() for row in self.rows],
            "targets": [target.as_json() for target in self.targets],
        }

    def as_line(self) -> dict[str, Any]:
        """The report as the history keeps it: with its name and notes."""
        return {"name": self.name, **self.as_json(), "notes": self.notes}

    def as_tables(self) -> RenderableType:
        """The report for people."""
        limits = [f"limit: {name} {number(value)}" for name, value in self.limit.items()]
        head = [f"{name}: {value}" for name, value in self.machine.items() if name != "packages"]
        return Group(
            Text(f"{self.name}\n" + "\n".join([*head, *limits]) + "\n"),
            *_row_tables(self.rows),
            _target_table(self.targets),
            Text("\n".join(["", *self.notes])),
        )


def finite(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if value is not None and math.isfinite(value) else None


def machine(device: torch.device | str = "cpu") -> dict[str, Any]:
    """The machine and the libraries, and how busy it was: what runs beside a benchmark makes its times longer."""
    described = determinism.environment(torch.device(device)).model_dump()
    return described | {"load_average": os.getloadavg()[0]}


def number(value: float | None) -> str:
    """Four digits, or whole where that is more; what was not measured says so."""
    if value is None:
        return NOT_MEASURED
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def _row_tables(rows: list[Row]) -> list[Table]:
    """Rows of one subject side by side; subjects with the same quantities in one table."""
    subjects: dict[str, dict[str, Row]] = {}
    for row in rows:
        subject, _, quantity = row.name.rpartition(": ")
        subjects.setdefault(subject, {})[f"{quantity}, {row.unit}" if row.unit else quantity] = row
    tables: dict[tuple[str, ...], list[str]] = {}
    for subject, quantities in subjects.items():
        tables.setdefault(tuple(quantities), []).append(subject)
    return [_row_table(columns, [(name, subjects[name]) for name in names]) for columns, names in tables.items()]


def _row_table(columns: tuple[str, ...], lines: list[tuple[str, dict[str, Row]]]) -> Table:
    table = Table("", *columns, "of the limit", "of the peer")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, quantities in lines:
        values = [quantities[column] for column in columns]
        ratios = [
            next((ratio for row in values if (ratio := getattr(row, of)) is not None), None)
            for of in ("ratio_to_limit", "ratio_to_peer")
        ]
        shown = ["" if ratio is None else f"{ratio:.3g}" for ratio in ratios]
        table.add_row(name, *(number(row.value) for row in values), *shown)
    return table


def _target_table(targets: list[Target]) -> Table:
    table = Table("target", "value", "required", "")
    for target in targets:
        word = {True: "holds", False: "missed", None: NOT_MEASURED}[target.holds]
        bound = f"{'at most' if target.at_most else 'at least'} {number(target.required)}"
        table.add_row(target.name, number(target.value), bound, word)
    return table
