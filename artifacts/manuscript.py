"""Whether the LaTeX of the paper says what numbers.json and the tables do: its numbers, verdicts, cells and names.

Each stands in a mark that says what it is (`artifacts.paper`); what has none may have no number. Reads what was built.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Set
from functools import lru_cache
from pathlib import PurePosixPath

from artifacts import marks
from artifacts.build import NUMBERS, REPORT
from artifacts.cells import Cells, Places, Problem, between, column_of, csv_rows, text_of
from artifacts.constants import Constants
from artifacts.notes import of_markdown
from artifacts.numbers import Number, latex_escape, latex_number
from artifacts.typed import typed, whole
from artifacts.typeset import BIBLIOGRAPHY, CONSTANTS
from spinn.errors import InputError
from spinn.numerals import split

DECLARED, CITED = f"paper/{CONSTANTS}", f"paper/{BIBLIOGRAPHY}"
Files = Mapping[str, bytes]


def differences(files: Files, numbers: Mapping[str, Number], places: Places, changed: Set[str]) -> Iterator[Problem]:
    """Everything that the LaTeX of the paper says otherwise than numbers.json and the tables.

    Args:
        files: name → content, of everything that was built and is there.
        numbers: what numbers.json says.
        places: `cells.by_table` of it.
        changed: files that are known not to be as they were built; blamed first.
    """
    constants = None
    try:
        constants = _constants(files.get(DECLARED, b""), files.get(CITED, b""))
    except InputError as error:
        yield Problem(DECLARED, str(error))
    for file, content in files.items():
        if not re.fullmatch(r"paper/.*\.tex", file):
            continue
        yield from _told_otherwise(file, content, files)
        for line, text in _bare(content, constants) if constants else ():
            yield Problem(file, f"line {line}: {text}: no named value printed it")
        if not any(name.startswith("tables/") for name in changed):
            yield from _called_otherwise(file, content, files, places)
        yield from _cells_otherwise(file, content, files, changed)
        blamed = NUMBERS if NUMBERS in changed and file not in changed else file
        for name, text in _marked(content):
            number = numbers.get(name)
            if number is None:
                yield Problem(blamed, f"{name}: {file} prints it, and it is not in {NUMBERS}")
            elif text != latex_number(number.text):
                yield Problem(blamed, f"{name}: {text} in {file}, but {NUMBERS} says {latex_number(number.text)}")


def _told_otherwise(file: str, content: bytes, files: Files) -> Iterator[Problem]:
    """A verdict that the table of claims has not, and a mark that nothing can be compared with."""
    claims = csv_rows(files.get("tables/claims.csv", b""))
    verdicts = {row[0]: row[-1].partition(":")[0] for row in claims[1:] if row}
    for name, text in marks.VERDICT.findall(text_of(content)):
        if verdicts.get(name) != text:
            yield Problem(file, f"{name}: {text} in {file}, but tables/claims.csv says {verdicts.get(name)}")
    for line, text in marks.by_hand(marks.unmarked(text_of(content))):
        yield Problem(file, f"line {line}: {text}: not as the builder writes or defines it")


def _cells_otherwise(file: str, content: bytes, files: Files, changed: Set[str]) -> Iterator[Problem]:
    """A cell that is a name, and is not what its table has in that row and column."""
    for table, row, column, text in dict.fromkeys(marks.CELL.findall(text_of(content))):
        source = f"tables/{table}.csv"
        header, *rows = csv_rows(files.get(source, b"")) or ((),)
        there = rows[int(row)][int(column)] if int(row) < len(rows) and int(column) < len(rows[int(row)]) else "nothing"
        wanted = latex_escape(" ".join(there.split()))
        if text != wanted:
            blamed = source if source in changed and file not in changed else file
            what = header[int(column)] if int(column) < len(header) else ""
            place = f"row {int(row) + 1}, {what or f'column {int(column) + 1}'}"
            yield Problem(blamed, f"{table}, {place}: {text} in {file}, but {wanted} in {source}")


def _called_otherwise(file: str, content: bytes, files: Files, places: Places) -> Iterator[Problem]:
    """What is said to be a name, digits and all, and is none of this build: a value says which one it is."""
    labels, texts = _names(files, places)
    for name in sorted(set(marks.CALLED.findall(text_of(content)))):
        worded = any(character.isalpha() for character in name)  # a part of a text; a bare number is none
        if name not in labels and not (worded and whole(name).search(texts)):
            yield Problem(file, f"{name}: said to be what something is called, and no table has it")


def _names(files: Files, places: Places) -> tuple[Set[str], str]:
    """What is called something, and the texts that stand in tables and around them, as LaTeX has both."""
    labels, texts = set(_title(files.get(REPORT, b""))), []
    for file, content in files.items():
        if re.fullmatch(r"tables/.*\.csv", file):
            found = _labels(content, places.get(PurePosixPath(file).stem, ()))
            labels |= found[0]
            texts.append(found[1])
        elif re.fullmatch(r"tables/.*\.md", file):
            texts.append(_around(content))
    return labels, "\n".join(texts)


@lru_cache(256)
def _labels(content: bytes, cells: Cells) -> tuple[Set[str], str]:
    """Columns and labels of a table, and its texts without the numbers that they state, which have names."""
    header, *rows = csv_rows(content) or ((),)
    places = [(row, column_of(place)) for (row, place), _ in cells]
    stated = {(row, column): bool(nth) for row, (column, _, nth) in places}
    labels, texts = {*map(latex_escape, header)}, [*map(latex_escape, header)]
    for index, row in enumerate(rows):
        for column, cell in zip(header, row, strict=False):
            text, told = " ".join(cell.split()), stated.get((index, column))
            if told is None:
                labels.add(latex_escape(text))
            if told is not False:
                texts += map(latex_escape, split(text) if told else [text])
    return labels, "\n".join(texts)


@lru_cache(256)
def _around(content: bytes) -> str:
    """The caption of a table, and its notes without the numbers in them: where paper prints one, they have names."""
    caption, notes = of_markdown(content)[:1], of_markdown(content)[1:]
    return "\n".join(map(latex_escape, (*caption, *(part for note in notes for part in split(note)))))


@lru_cache(8)
def _title(page: bytes) -> Set[str]:
    """The words of the report's title: what the experiment and its data are called is among them."""
    title = html.unescape("".join(between(text_of(page), "<title>", "</title>")))
    return frozenset(map(latex_escape, title.split()))


@lru_cache(8)
def _constants(declared: bytes, cited: bytes) -> Constants:
    """Those that lie beside the paper: those that it was built with."""
    return Constants.parse(declared, cited, DECLARED)


@lru_cache(8)
def _bare(content: bytes, constants: Constants) -> tuple[tuple[int, str], ...]:
    """Numbers without a mark."""
    return tuple(sorted(set(typed(marks.unmarked(text_of(content)), constants))))


@lru_cache(8)
def _marked(content: bytes) -> tuple[tuple[str, str], ...]:
    return tuple(marks.VALUE.findall(text_of(content)))
