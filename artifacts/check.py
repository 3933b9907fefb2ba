"""Whether a built folder still says what was built: digests first, then every cell against numbers.json.

Two independent looks: a changed file no longer has its digest in build.json; and should that have been changed too,
what reads differently in two places gives it away: cells, sources, the summary, the figures in the report, the numbers
in the paper. Rebuilds nothing, reads no records.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from artifacts.build import IN_BRIEF, MACROS, MANIFEST, NUMBERS, REPORT, SUMMARY
from artifacts.numbers import Number, decode_json, encode_tex, latex_escape, latex_number
from artifacts.paper import MARKED
from artifacts.render import HIGH, LOW, displayed, escape_markdown, fold, spell
from spinn.errors import RecordError
from spinn.storage import digest_file, digest_of


@dataclass(frozen=True)
class Problem:
    """Something in a built folder that is not as it was built: `file` is relative to the folder."""

    file: str
    message: str

    def as_json(self) -> dict[str, str]:
        """The problem as `--json` prints it."""
        return {"file": self.file, "message": self.message}


def check(out: Path) -> tuple[Problem, ...]:
    """Everything in `out` that differs from what was built; empty where all is as it was.

    Raises:
        RecordError: `out` holds no build.json that can be read.
    """
    try:
        manifest = json.loads((out / MANIFEST).read_bytes())
        outputs, holds = dict(manifest["outputs"]), bool(manifest["holds"])
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(
            f"{out / MANIFEST}: no such file; a folder to check is what `spinn-artifacts build` wrote"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{out / MANIFEST}: not the manifest of a build ({error!r}); build again") from None
    problems = [*_digests(out, outputs), *_strays(out, outputs)]
    if not holds:
        return (*problems, Problem(REPORT, "the audit of these records failed: nothing but the report was built"))
    if NUMBERS not in outputs:
        return (*problems, Problem(MANIFEST, f"{NUMBERS} is not among its outputs; build again"))
    broken = {problem.file for problem in problems}
    if NUMBERS not in broken:
        looks = (
            _cells(out, outputs, broken),
            _sources(out, manifest),
            _brief(out, outputs, broken),
            _shown(out, outputs, broken),
            _paper(out, outputs),
        )
        problems += [problem for look in looks for problem in look if problem.file not in broken]
    return tuple(problems)


def _digests(out: Path, outputs: dict[str, str]) -> Iterator[Problem]:
    for name, digest in outputs.items():
        if not (out / name).is_file():
            yield Problem(name, "it is missing; build again")
        elif digest_file(out / name) != digest:
            yield Problem(name, "it was changed after the build; build again")


def _strays(out: Path, outputs: dict[str, str]) -> Iterator[Problem]:
    """Files beside the tables, the figures and the paper that the build did not write."""
    for folder in ("tables", "figures", "paper"):
        for path in sorted((out / folder).rglob("*")):
            name = path.relative_to(out).as_posix()
            if path.is_file() and name not in outputs:
                yield Problem(name, "the build did not write it; take it away")


def _sources(out: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    """The digest that a number names is that of its source's files, and those are the files that were read."""
    sources, inputs = manifest.get("sources"), manifest.get("inputs")
    records = inputs.get("records") if isinstance(inputs, dict) else None
    if not isinstance(sources, dict) or not isinstance(records, dict):
        yield Problem(MANIFEST, "it does not say what the numbers were made from; build again")
        return
    for group, files in sources.items():
        for name, digest in dict(files).items():
            if records.get(name) != digest:
                yield Problem(MANIFEST, f"source {group}: {name} has another digest among the inputs")
    digests = {group: digest_of(files) for group, files in sources.items()}
    for number in decode_json((out / NUMBERS).read_bytes(), str(out / NUMBERS)).values():
        for source in number.source:
            group, _, digest = source.partition(" sha256:")
            if digests.get(group) != digest:
                yield Problem(NUMBERS, f"{number.name}: its source {group} is not the one in {MANIFEST}")


def _brief(out: Path, outputs: dict[str, str], broken: set[str]) -> Iterator[Problem]:
    """Every row of a table in summary.txt reads as in the table's Markdown, in the same order."""
    lines = [" ".join(line.split()) for line in _read(out / SUMMARY).splitlines()]
    for name in IN_BRIEF:
        file = f"tables/{name}.md"
        if file not in outputs or file in broken:
            continue
        rows = [[re.sub(r"\\(.)", r"\1", cell) for cell in row] for row in _markdown_rows(_read(out / file))]
        header, *wanted = [" ".join(" ".join(row).split()) for row in rows]
        if header not in lines:
            yield Problem(SUMMARY, f"it has no table {name}")
            continue
        start = lines.index(header) + 2
        found = lines[start : start + len(wanted) + 1]
        for index, (text, cell) in enumerate(zip(found, [*wanted, ""], strict=False), 1):
            if text != cell:
                yield Problem(SUMMARY, f"{name}, row {index}: {text!r}, but {file} says {cell!r}")
                break


def _shown(out: Path, outputs: dict[str, str], broken: set[str]) -> Iterator[Problem]:
    """The report shows the figures that lie in figures/, and no other."""
    shown = set()
    for text in re.findall(r'src="data:image/png;base64,([^"]*)"', _read(out / REPORT)):
        try:
            shown.add(base64.b64decode(text, validate=True))
        except binascii.Error:
            yield Problem(REPORT, "an image in it is not base64")
    names = [name for name in outputs if name.startswith("figures/") and name.endswith(".png")]
    there = {name: (out / name).read_bytes() for name in names if (out / name).is_file()}
    for name, content in there.items():
        if content not in shown:
            yield Problem(name, f"it is not the figure that {REPORT} shows")
    if shown - set(there.values()) and broken.isdisjoint(names):
        yield Problem(REPORT, "it shows a figure that does not lie in figures/")


def _paper(out: Path, outputs: dict[str, str]) -> Iterator[Problem]:
    """Every number in the LaTeX of the paper reads as the entry of numbers.json that it names."""
    numbers = decode_json((out / NUMBERS).read_bytes(), str(out / NUMBERS))
    for file in (name for name in outputs if name.startswith("paper/") and name.endswith(".tex")):
        for name, text in MARKED.findall(_read(out / file)):
            number = numbers.get(name)
            if number is None:
                yield Problem(file, f"{name}: it is not in {NUMBERS}")
            elif text != latex_number(number.text):
                yield Problem(file, f"{name}: {text}, but {NUMBERS} says {latex_number(number.text)}")


def _cells(out: Path, outputs: dict[str, str], broken: set[str]) -> Iterator[Problem]:
    numbers = decode_json((out / NUMBERS).read_bytes(), str(out / NUMBERS))
    by_cell = {cell: number for number in numbers.values() for cell in number.cells}
    if _read(out / MACROS).encode() != encode_tex({name: number.text for name, number in numbers.items()}):
        yield Problem(MACROS, f"its macros are not those of {NUMBERS}")
    page = _Page(_read(out / REPORT))
    names = [Path(name).stem for name in outputs if name.startswith("tables/") and name.endswith(".csv")]
    for number in numbers.values():
        for table, _, _ in number.cells:
            if table not in names:
                yield Problem(NUMBERS, f"{number.name}: there is no table {table}")
    for name in names:
        if f"tables/{name}.csv" in broken:
            continue  # its other forms would be compared with a file that is known to be wrong
        yield from _table(out, name, by_cell, page.tables.get(name, []))


def _table(
    out: Path, name: str, numbers: dict[tuple[str, int, str], Number], page: list[list[str]]
) -> Iterator[Problem]:
    """Compare one table's CSV with the numbers, then each printed form with both."""
    file = f"tables/{name}.csv"
    header, *rows = list(csv.reader(_read(out / file).splitlines(keepends=True)))
    shown: list[list[str | None]] = []
    for index, row in enumerate(rows):
        cells = dict(zip(header, row, strict=False))
        texts: dict[str, str] = {}
        for column, text in cells.items():
            number = numbers.get((name, index, column))
            if number is not None:
                texts[column] = number.text
                if text != spell(number.value):
                    yield Problem(file, f"row {index + 1}, {column}: {text}, but {NUMBERS} has {number.value!r}")
        shown.append(
            [
                fold(texts[column], texts.get(column + LOW), texts.get(column + HIGH))
                if column in texts
                else (" ".join(cells[column].split()) or None)
                for column in displayed(header)
            ]
        )
    columns: list[str | None] = list(displayed(header))
    missing = [key for key in numbers if key[0] == name and not (key[1] < len(rows) and key[2] in header)]
    if missing:
        yield Problem(file, f"row {missing[0][1] + 1}, {missing[0][2]}: it is missing, {NUMBERS} has it")
    forms: dict[str, tuple[list[list[str]], Callable[[str], str] | None]] = {
        f"tables/{name}.md": (_markdown_rows(_read(out / f"tables/{name}.md")), escape_markdown),
        f"tables/{name}.tex": (_latex_rows(_read(out / f"tables/{name}.tex")), None),
        REPORT: (page, lambda text: text),
    }
    for where, (found, escape) in forms.items():
        yield from _compare(where, found, [columns, *shown], escape)


def _compare(
    where: str, found: list[list[str]], wanted: list[list[str | None]], escape: Callable[[str], str] | None
) -> Iterator[Problem]:
    if [len(row) for row in found] != [len(row) for row in wanted]:
        yield Problem(where, f"{len(found)} rows, but the CSV beside it has {len(wanted)} of its width")
        return
    for index, (row, cells) in enumerate(zip(found, wanted, strict=True)):
        for text, cell in zip(row, cells, strict=True):
            if cell is None:  # a value that does not exist: how that is printed is not a number
                continue
            allowed = (escape(cell),) if escape else (latex_escape(cell), latex_number(cell))
            if text.strip() not in [form.strip() for form in allowed]:
                yield Problem(where, f"row {index}: {text.strip()}, but {NUMBERS} and the CSV say {cell}")


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace") if path.is_file() else ""


def _markdown_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return rows[:1] + rows[2:]


def _latex_rows(text: str) -> list[list[str]]:
    inside = text.partition("\\toprule\n")[2].partition("\\bottomrule")[0]
    lines = [line.removesuffix("\\\\") for line in inside.splitlines() if line.endswith("\\\\")]
    return [[cell.strip() for cell in line.split(" & ")] for line in lines]


class _Page(HTMLParser):
    """Collects the cells of every table of the report that names itself with `data-table`."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] | None = None
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = dict(attrs).get("data-table")
        if tag == "table":
            self._rows = self.tables.setdefault(name, []) if name else None
        elif self._rows is not None and tag == "tr":
            self._rows.append([])
        elif self._rows is not None and tag in ("td", "th"):
            self._rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False
        elif tag == "table":
            self._rows = None

    def handle_data(self, data: str) -> None:
        if self._cell and self._rows:
            self._rows[-1][-1] += data
