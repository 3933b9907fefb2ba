"""A table of raw values, and the same table as CSV, LaTeX, Markdown, HTML cells and plain text.

A `Table` holds values; where a text states numbers (`146 of 167`), each of them is a named value too. Columns `X low`
and `X high` are the interval of column `X`: the CSV has all three, every other form folds them into one cell. Knows
nothing of records.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from artifacts.numbers import Format, Number, latex_escape, latex_number, slug
from artifacts.stated import PLACE, stated

Frame: TypeAlias = Any  # a pandas DataFrame: its annotations say "Series | ndarray | bool" where code knows better
LOW, HIGH = " low", " high"
_UNIT = re.compile(r"\((%|mm|µm|ms|s|min|J|MB|bytes)\)$")
_WRAP = 45  # characters; longer text gets a column that breaks its lines
_Kept = TypeVar("_Kept")


@dataclass(frozen=True)
class Table:
    """A table before it is printed.

    `frame` holds str (labels), int, float or None (not measured, not defined). The columns in `labels` name a row;
    they are text, and digits in them are names, but where `stated` has the column, or it and one of the row's labels.
    A column that ends with a unit in brackets has that one where its format has none. `formats`, `expressions` and
    `sources` are keyed by a column (without ` low`/` high`), which goes first, or by a row's label; the key "" is what
    holds for everything else. A format may also be of a column in the rows of one label. `expressions` say what was
    computed.
    """

    name: str
    caption: str
    frame: Frame
    notes: tuple[str, ...] = ()
    formats: Mapping[str, Format] | Mapping[str | tuple[str, str], Format] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    expressions: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stated: tuple[str | tuple[str, str], ...] = ()

    def pick(self, options: Mapping[Any, _Kept], row: int, column: str, default: _Kept) -> _Kept:
        """What `options` says about one cell: by column and label, by the column, by the row's labels, in general."""
        own, labels = plain(column), [*reversed(self._row_labels[row])]
        for key in (*((own, label) for label in labels), own, *labels, ""):
            if key in options:
                return options[key]
        return default

    def numbers(self) -> dict[str, Number]:
        """Every numeric cell, and every number in a text, as a number named `<table>.<row labels>.<column>`."""
        return dict(self._numbers)

    @cached_property
    def _row_labels(self) -> list[tuple[Any, ...]]:
        return list(zip(*(self.frame[label] for label in self.labels), strict=True)) or [()] * len(self.frame)

    def _is_stated(self, row: int, column: str) -> bool:
        return column in self.stated or any((column, label) in self.stated for label in self._row_labels[row])

    @cached_property
    def _numbers(self) -> dict[str, Number]:
        out: dict[str, Number] = {}
        for row in range(len(self.frame)):
            labels = dict(zip(self.labels, self._row_labels[row], strict=False))
            for position, column in enumerate(self.frame.columns):
                value = clean(self.frame.iat[row, position])
                if value is None or (column in self.labels and not self._is_stated(row, column)):
                    continue
                how = self.pick(self.formats, row, column, Format())
                how = how if how.unit else replace(how, unit=_unit_of(plain(column)))
                parts = [slug(str(label)) for of, label in labels.items() if of != column]
                name = base = ".".join([self.name, *parts, slug(column)])
                count = 1
                while name in out or f"{name}.1" in out:
                    count += 1
                    name = f"{base}.{count}"
                expression = self.pick(self.expressions, row, column, "")
                source = self.pick(self.sources, row, column, ())
                cell = (self.name, row, str(column))
                if isinstance(value, str):
                    told = {"unit": how.unit, "source": source, "expression": expression, "cell": cell}
                    out |= {number.name: number for number in stated(" ".join(value.split()), name, **told)}
                    continue
                out[name] = Number(name, value, how.text(value), how.unit, how.digits, source, expression, (cell,))
        at = {number.cells[0][1:]: name for name, number in out.items()}
        return {name: replace(number, interval=interval_at(number.cells[0][1:], at)) for name, number in out.items()}

    def told(self, row: int, column: str) -> list[Number]:
        """The numbers that the text of a cell states, in their order."""
        return self._told.get((row, column), [])

    @cached_property
    def _told(self) -> dict[tuple[int, str], list[Number]]:
        out: dict[tuple[int, str], list[Number]] = {}
        for number in self._numbers.values():
            _, row, place = number.cells[0]
            column, found, _ = place.rpartition(PLACE)
            if found:
                out.setdefault((row, column), []).append(number)
        return out

    def shown(self) -> list[list[str]]:
        """The printed table: header, then rows, intervals folded; the only place where a cell's text is made."""
        texts = {number.cells[0][1:]: number.text for number in self.numbers().values()}
        columns = displayed([str(column) for column in self.frame.columns])
        rows = [columns]
        for row in range(len(self.frame)):
            line = []
            for column in columns:
                value = clean(self.frame.iat[row, self.frame.columns.get_loc(column)])
                if value is None:
                    line.append(self.pick(self.formats, row, column, Format()).missing)
                elif isinstance(value, str):
                    line.append(" ".join(value.split()))
                else:
                    line.append(
                        fold(texts[row, column], texts.get((row, column + LOW)), texts.get((row, column + HIGH)))
                    )
            rows.append(line)
        return rows

    def csv(self) -> bytes:
        """All values, unrounded, one line a row; an empty cell is a value that does not exist."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.frame.columns)
        for row in self.frame.itertuples(index=False):
            cells = ["" if clean(value) is None else spell(clean(value)) for value in row]
            writer.writerow(cell.replace("\r", "\n") for cell in cells)  # csv quotes the line end it writes, no other
        return stream.getvalue().encode()

    def markdown(self) -> bytes:
        """A Markdown table with its caption and notes."""
        header, *rows = [[escape_markdown(cell) for cell in line] for line in self.shown()]
        rule = ["---" if left else "---:" for left in self.left_aligned()]
        lines = [
            f"**{escape_markdown(self.caption)}**",
            "",
            *("| " + " | ".join(line) + " |" for line in (header, rule, *rows)),
        ]
        lines += [line for note in self.notes for line in ("", escape_markdown(note))]
        return ("\n".join(lines) + "\n").encode()

    def latex(self) -> bytes:
        """A booktabs table float; needs booktabs and, for accented letters, T1 fonts."""
        import pandas as pd

        header, *rows = self.shown()
        number = [not left for left in self.left_aligned()]
        cells = [[latex_number(c) if n else latex_escape(c) for c, n in zip(row, number, strict=True)] for row in rows]
        frame = pd.DataFrame(cells, columns=pd.Index([latex_escape(column) for column in header]), dtype=object)
        body = frame.style.hide(axis="index").to_latex(
            hrules=True,
            position="tbp",
            position_float="centering",
            column_format=_column_format(cells, number),
            caption=latex_escape(self.caption),
            label=f"tab:{self.name}",
        )
        notes = "".join(f"\\par\\smallskip\\footnotesize {latex_escape(note)}\n" for note in self.notes)
        return body.replace("\\end{table}", notes + "\\end{table}").encode()

    def text(self) -> str:
        """The table as aligned plain text for a terminal, without its notes."""
        header, *rows = self.shown()
        widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
        left = self.left_aligned()

        def line(cells: list[str]) -> str:
            pairs = zip(cells, widths, left, strict=True)
            return "  ".join(c.ljust(width) if to_left else c.rjust(width) for c, width, to_left in pairs).rstrip()

        return "\n".join([self.caption, line(header), line(["-" * width for width in widths]), *map(line, rows)])

    def left_aligned(self) -> list[bool]:
        """For each printed column, whether it is text (left) or numbers (right)."""
        return [column in self.labels or self._is_text(column) for column in displayed(list(self.frame.columns))]

    def _is_text(self, column: str) -> bool:
        values = [clean(value) for value in self.frame[column]]
        return any(isinstance(value, str) for value in values) and not any(isinstance(v, int | float) for v in values)


def _unit_of(column: str) -> str:
    """The unit that the name of a column ends with, in brackets."""
    found = _UNIT.search(column)
    return found[1] if found else ""


def _column_format(cells: Sequence[Sequence[str]], number: Sequence[bool]) -> str:
    """Numbers right, text left; long text shares 60 % of the line and breaks there."""
    long = [max(map(len, column), default=0) > _WRAP for column in zip(*cells, strict=True)] or [False] * len(number)
    width = f"p{{{0.6 / max(sum(long), 1):.2g}\\linewidth}}"
    return "".join("r" if right else width if wrap else "l" for right, wrap in zip(number, long, strict=True))


def table_frame(rows: Iterable[dict[str, Any]]) -> Frame:
    """Rows as a frame of Python values, columns in the order in which they first appear."""
    import pandas as pd

    listed = list(rows)
    columns = list(dict.fromkeys(key for row in listed for key in row))
    return pd.DataFrame([[row.get(key) for key in columns] for row in listed], columns=columns, dtype=object)


def spread(values: Iterable[float | int | None]) -> tuple[float | int | None, float | int | None, float | int | None]:
    """Mean, smallest and largest of some values; None where there is none. Equal integers stay integers."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None, None, None
    low, high = min(known), max(known)
    mean = low if low == high else math.fsum(known) / len(known)
    return tuple(v.item() if hasattr(v, "item") else v for v in (mean, low, high))  # type: ignore[return-value]


def spread_columns(column: str, values: Iterable[Any]) -> dict[str, Any]:
    """Mean over runs with smallest and largest, as the three columns of an interval."""
    mean, low, high = spread(values)
    return {column: mean, column + LOW: low, column + HIGH: high}


def plain(column: str) -> str:
    """The column an interval's end belongs to, or the column itself."""
    return str(column).removesuffix(LOW).removesuffix(HIGH)


def interval_at(cell: tuple[int, str], names: Mapping[tuple[int, str], str]) -> tuple[str, str] | None:
    """The numbers in a table that are the ends of the interval of the one in `cell` (row, column), if both are."""
    row, column = cell
    low, high = (names.get((row, column + end)) for end in (LOW, HIGH))
    return (low, high) if low and high else None


def displayed(columns: list[str]) -> list[str]:
    """The columns that are printed: ends of intervals stand in the cell of their column."""
    return [column for column in columns if plain(column) == column or plain(column) not in columns]


def fold(text: str, low: str | None, high: str | None) -> str:
    """A value with its interval in one cell; an interval that has no width as printed is left out."""
    if low is None or high is None or low == text == high:
        return text
    return f"{text} [{low}, {high}]"


def clean(value: Any) -> str | int | float | None:
    """A cell as a Python value; NaN and None are None.

    Raises:
        ValueError: an infinite number: no table prints one.
    """
    if value is None or isinstance(value, str):
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise ValueError(f"cell = {value}: a finite number expected; what was it divided by?")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def spell(value: str | int | float | None) -> str:
    """The shortest exact spelling of a value in a CSV file."""
    return repr(value) if isinstance(value, float) else str(value)


def escape_markdown(text: str) -> str:
    """`text` so that Markdown prints it as it is, on one line."""
    out = " ".join(text.split())
    for character in "\\`*_{}[]<>#|$":
        out = out.replace(character, "\\" + character)
    return out
