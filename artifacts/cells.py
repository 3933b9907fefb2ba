"""The cells of each table as every file of a build says them, read back and compared one by one.

A table's CSV has values, which are those of numbers.json; its LaTeX, its Markdown and the report print the texts of
numbers.json. Where two files differ, one of them is blamed: the one known to be changed, else the one that is alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import PurePosixPath

from artifacts.numbers import Number, latex_escape, latex_number
from artifacts.render import HIGH, LOW, displayed, escape_markdown, fold, interval_at, spell
from artifacts.stated import PLACE
from spinn.numerals import numerals, value

Grid = tuple[tuple[str, ...], ...]
"""A table as it is printed: header, then rows."""
Cells = tuple[tuple[tuple[int, str], Number], ...]
"""Row, column and number of each cell of a table that shows a number."""
Places = Mapping[str, Cells]
_READ_AGAIN = 256  # files whose cells are remembered: the same bytes are read once


@dataclass(frozen=True)
class Problem:
    """Something in a built folder that is not as it was built: `file` is relative to the folder."""

    file: str
    message: str

    def as_json(self) -> dict[str, str]:
        """The problem as `--json` prints it."""
        return {"file": self.file, "message": self.message}


@dataclass(frozen=True)
class Printed:
    """A cell as it has to be printed: `text` (None: a value that does not exist), and where that comes from."""

    text: str | None
    column: str
    source: str  # the file that says so
    names: str  # of the numbers in it


def by_table(numbers: Mapping[str, Number]) -> Places:
    """The numbers of each table, each with its row and column."""
    out: dict[str, list[tuple[tuple[int, str], Number]]] = {}
    for number in numbers.values():
        for table, row, column in number.cells:
            out.setdefault(table, []).append(((row, column), number))
    return {table: tuple(cells) for table, cells in out.items()}


def differences(
    files: Mapping[str, bytes], places: Places, changed: Set[str], numbers_file: str, page_file: str
) -> Iterator[Problem]:
    """Every cell that two files tell differently.

    Args:
        files: name → content, of everything that was built and is there.
        places: `by_table` of what `numbers_file` says.
        changed: files that are known not to be as they were built; blamed first.
        numbers_file: what the values come from.
        page_file: the report.
    """
    names = [PurePosixPath(name).stem for name in files if name.startswith("tables/") and name.endswith(".csv")]
    for table in sorted(places.keys() - set(names)):
        for _, number in places[table]:
            yield Problem(numbers_file, f"{number.name}: there is no table {table}")
    page = html_tables(files.get(page_file, b""))
    for name in names:
        forms = {
            f"tables/{name}.md": markdown_rows(files.get(f"tables/{name}.md", b"")),
            f"tables/{name}.tex": latex_rows(files.get(f"tables/{name}.tex", b"")),
            page_file: page.get(name, ()),
        }
        csv_file = f"tables/{name}.csv"
        there = tuple((form, grid) for form, grid in forms.items() if form in files)
        known = frozenset(changed & {numbers_file, csv_file, *forms})
        yield from _table(csv_file, files[csv_file], places.get(name, ()), there, known, numbers_file)


@lru_cache(_READ_AGAIN)
def _table(
    csv_file: str,
    content: bytes,
    cells: Cells,
    forms: tuple[tuple[str, Grid], ...],
    changed: frozenset[str],
    numbers_file: str,
) -> tuple[Problem, ...]:
    """What is wrong with one table."""
    header, *rows = csv_rows(content) or ((),)
    numbers = dict(cells)
    wanted = _printed(header, rows, numbers, csv_file, numbers_file)
    return (
        *_intervals(numbers, numbers_file),
        *_values(csv_file, header, rows, numbers, numbers_file, changed),
        *_forms(dict(forms), wanted, csv_file, changed),
    )


def _intervals(cells: Mapping[tuple[int, str], Number], numbers_file: str) -> Iterator[Problem]:
    """A number names as its interval those that stand beside it as its ends."""
    names = {cell: number.name for cell, number in cells.items()}
    for cell, number in cells.items():
        if number.interval != (beside := interval_at(cell, names)):
            yield Problem(numbers_file, f"{number.name}: its interval is {number.interval}, but beside it is {beside}")


def _values(
    file: str,
    header: tuple[str, ...],
    rows: list[tuple[str, ...]],
    cells: Mapping[tuple[int, str], Number],
    numbers_file: str,
    changed: Set[str],
) -> Iterator[Problem]:
    """The values of the CSV are those of the numbers, digit for digit."""
    at = {column: index for index, column in enumerate(header)}
    for (row, place), number in cells.items():
        where, (column, _, nth) = f"row {row + 1}, {place} ({number.name})", column_of(place)
        if row >= len(rows) or column not in at or at[column] >= len(rows[row]):
            yield Problem(_blamed(changed, numbers_file, file), f"{where}: it is missing, {numbers_file} has it")
            continue
        text = rows[row][at[column]]
        if nth:  # within a text, which has it as it is printed
            found = numerals(text)[int(nth) - 1 : int(nth)]
            right = [(one, value(one)) for one in found] == [(number.text, number.value)]
        else:
            right = text == spell(number.value)
        if not right:
            blamed = _blamed(changed, numbers_file, file)
            yield Problem(blamed, f"{where}: {text} in {file}, but {number.value!r} in {numbers_file}")


def column_of(place: str) -> tuple[str, str, str]:
    """The column of a place, and which of the numbers in its text is meant."""
    column, found, nth = place.rpartition(PLACE)
    return (column, found, nth) if found and re.fullmatch("[1-9][0-9]{0,3}", nth) else (place, "", "")


def _printed(
    header: tuple[str, ...],
    rows: list[tuple[str, ...]],
    numbers: Mapping[tuple[int, str], Number],
    csv_file: str,
    numbers_file: str,
) -> list[list[Printed]]:
    """What the printed forms have to say: texts of numbers, intervals folded, and the labels of the CSV."""
    columns = displayed(list(header))
    lines = [[Printed(column, column, csv_file, "") for column in columns]]
    for index, row in enumerate(rows):
        cells = dict(zip(header, row, strict=False))
        line = []
        for column in columns:
            parts = [numbers.get((index, column + end)) for end in ("", LOW, HIGH)]
            text, low, high = (part.text if part else None for part in parts)
            if text is None:
                line.append(Printed(" ".join(cells.get(column, "").split()) or None, column, csv_file, ""))
            else:
                names = ", ".join(part.name for part in parts if part)
                line.append(Printed(fold(text, low, high), column, numbers_file, names))
        lines.append(line)
    return lines


def _forms(forms: dict[str, Grid], wanted: list[list[Printed]], csv_file: str, changed: Set[str]) -> Iterator[Problem]:
    """Each printed form says what it has to; a text that none of them prints is itself the odd one."""
    shape = [len(line) for line in wanted]
    shaped = {}
    for form, grid in forms.items():
        if [len(row) for row in grid] == shape:
            shaped[form] = grid
        else:
            message = f"{form} has {len(grid)} rows, but {csv_file} has {len(shape)}, or rows of another width"
            yield Problem(_blamed(changed, csv_file, form), message)
    for row, line in enumerate(wanted):
        for position, cell in enumerate(line):
            texts = {form: grid[row][position] for form, grid in shaped.items()}
            if cell.text is None:  # how a value that does not exist is printed is known to no file but these
                yield from _missing(texts, row, cell, changed)
                continue
            odd = [form for form, text in texts.items() if not _says(form, text, cell.text)]
            alone = len(odd) == len(texts) > 1
            for form in odd:
                blamed = _blamed(changed, cell.source, form, default=cell.source if alone else form)
                told = f"row {row}, {cell.column}{f' ({cell.names})' if cell.names else ''}"
                yield Problem(blamed, f"{told}: {texts[form]} in {form}, but {cell.text} in {cell.source}")
                if blamed == cell.source:
                    break  # the other forms would say the same of it


def _missing(texts: dict[str, str], row: int, cell: Printed, changed: Set[str]) -> Iterator[Problem]:
    forms = list(texts)
    plain = texts[forms[-1]] if forms else ""  # the page's: it is escaped by none
    odd = [form for form in forms[:-1] if not _says(form, texts[form], plain)]
    for form in odd:
        blamed = _blamed(changed, forms[-1], form, default=forms[-1] if len(odd) == len(forms) - 1 > 1 else form)
        yield Problem(blamed, f"row {row}, {cell.column}: {texts[form]} in {form}, but {plain} in {forms[-1]}")


def _says(form: str, found: str, text: str) -> bool:
    """Whether a cell of a file prints `text`, by the rules of that file's language."""
    if form.endswith(".md"):
        return found == escape_markdown(text).strip()
    if form.endswith(".tex"):
        return found in (latex_escape(text).strip(), latex_number(text).strip())
    return found == text.strip()


def _blamed(changed: Set[str], source: str, form: str, default: str = "") -> str:
    """Which of two files that differ: the one known to be changed, else `default`, else the second."""
    if form in changed:
        return form
    return source if source in changed else default or form


# --- the cells of a file --------------------------------------------------------------------------------------------


def text_of(content: bytes) -> str:
    """The content of a file that is a text; what is none of UTF-8 in it is replaced."""
    return content.decode("utf-8", errors="replace")


@lru_cache(_READ_AGAIN)
def csv_rows(content: bytes) -> Grid:
    """Header and rows of a table's CSV; of what no build writes, none."""
    try:
        return tuple(map(tuple, csv.reader(text_of(content).splitlines(keepends=True))))
    except csv.Error:  # a field of more than 128 KiB; every number of the table is missing then
        return ()


@lru_cache(_READ_AGAIN)
def markdown_rows(content: bytes) -> Grid:
    """Header and rows of a table's Markdown, still escaped."""
    lines = [line for line in text_of(content).splitlines() if line.startswith("| ")]
    rows = [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines]
    return tuple(rows[:1] + rows[2:])


@lru_cache(_READ_AGAIN)
def latex_rows(content: bytes) -> Grid:
    """Header and rows of a table's LaTeX, still escaped."""
    inside = text_of(content).partition("\\toprule\n")[2].partition("\\bottomrule")[0]
    lines = [line.removesuffix("\\\\") for line in inside.splitlines() if line.endswith("\\\\")]
    return tuple(tuple(cell.strip() for cell in line.split(" & ")) for line in lines)


@lru_cache(8)
def html_tables(content: bytes) -> dict[str, Grid]:
    """Header and rows of every table of the report that names itself with `data-table`."""
    start, end = "<table data-table=", "</table>"
    return dict(_html_table(f"{start}{inside}{end}") for inside in between(text_of(content), start, end))


def between(text: str, start: str, end: str) -> Iterator[str]:
    """What stands between each `start` and the `end` after it, in time that grows as the text does."""
    at = 0
    while (found := text.find(start, at)) >= 0 and (closed := text.find(end, found + len(start))) >= 0:
        yield text[found + len(start) : closed]
        at = closed + len(end)


@lru_cache(_READ_AGAIN)
def _html_table(text: str) -> tuple[str, Grid]:
    page = _Page()
    page.feed(text)
    return page.name, tuple(tuple(cell.strip() for cell in row) for row in page.rows)


class _Page(HTMLParser):
    """Collects the cells of a table."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.name = ""
        self.rows: list[list[str]] = []
        self._cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a table, a row or a cell."""
        if tag == "table":
            self.name = dict(attrs).get("data-table") or ""
        elif tag == "tr":
            self.rows.append([])
            self._cell = False
        elif tag in ("td", "th"):
            self.rows = self.rows or [[]]
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        """End a cell."""
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        """Text of a cell; what stands between cells is none."""
        if self._cell:
            self.rows[-1][-1] += data
