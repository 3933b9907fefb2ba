"""What stands around each table, its caption and its notes, as every file of a build says it: read back and compared.

The Markdown, the LaTeX and the report have them; a CSV has neither. Numbers in them are no named values, so that what
gives a changed digit away is that the other two say something else.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import lru_cache
from itertools import zip_longest
from pathlib import PurePosixPath
from typing import TypeAlias

from artifacts.cells import Problem, between
from artifacts.numbers import latex_escape

Told: TypeAlias = tuple[str, ...]
"""The caption, then the notes; white space as one blank."""
_READ_AGAIN = 256  # files that are remembered: the same bytes are read once
_NOTE = "\\par\\smallskip\\footnotesize "


def differences(files: Mapping[str, bytes], changed: Set[str], page_file: str) -> Iterator[Problem]:
    """Every caption and every note that two files tell differently.

    Args:
        files: name → content, of everything that was built and is there.
        changed: files that are known not to be as they were built; blamed first.
        page_file: the report.
    """
    page = of_page(files.get(page_file, b""))
    for file, content in files.items():
        if not re.fullmatch(r"tables/.*\.md", file):
            continue
        latex, name = file.removesuffix("md") + "tex", PurePosixPath(file).stem
        forms = {latex: of_latex(files.get(latex, b"")), page_file: page.get(name, ())}
        there = tuple((form, told) for form, told in forms.items() if form in files)
        yield from _compared(file, of_markdown(content), there, frozenset(changed & {file, *forms}))


def counted(runs: object, cases: object, seeds: object, layers: Iterable[object]) -> str:
    """What the report says in its first sentence of how much was run."""
    network = "-".join(map(str, layers))
    return f"{runs} runs, {cases} cases, {seeds} seed{'' if seeds == 1 else 's'}, network {network}."


def verdicts(column: Iterable[str]) -> str:
    """What the report says above the table of claims: how many have which verdict; a reason stands behind a colon."""
    counts = Counter(text.partition(":")[0] for text in column)
    plural = {"holds": "hold", "fails": "fail"}
    said = [f"{number} {plural.get(verdict, verdict) if number > 1 else verdict}" for verdict, number in counts.items()]
    return f"Of {counts.total()} {'criterion' if counts.total() == 1 else 'criteria'}: {', '.join(said)}."


@lru_cache(_READ_AGAIN)
def _compared(
    file: str, told: Told, forms: tuple[tuple[str, Told], ...], changed: frozenset[str]
) -> tuple[Problem, ...]:
    """What is wrong with one table: of three files the one that is alone is blamed, where none is known to be."""
    found = []
    for form, theirs in forms:
        ours = tuple(" ".join(latex_escape(text).split()) for text in told) if form.endswith(".tex") else told
        pairs = enumerate(zip_longest(ours, theirs, fillvalue="nothing"))
        found += [(at, form, one, other) for at, (one, other) in pairs if one != other][:1]
    alone = len(found) == len(forms) > 1
    problems = {}
    for at, form, one, other in found:
        own = form in changed or not (alone or file in changed)
        what = f"note {at}" if at else "caption"
        parting = next((k for k, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
        start = max(0, parting - 30)  # a note may be long
        message = f"{what}: {other[start : start + 60]} in {form}, but {one[start : start + 60]} in {file}"
        problems.setdefault(form if own else file, message)
    return tuple(Problem(blamed, message) for blamed, message in problems.items())


@lru_cache(_READ_AGAIN)
def of_markdown(content: bytes) -> Told:
    """Caption and notes of a table's Markdown, as they were before they were escaped."""
    lines = [line for line in _lines(content) if line and not line.startswith("|")]
    lines[:1] = [line.removeprefix("**").removesuffix("**") for line in lines[:1]]
    return tuple(" ".join(re.sub(r"\\(.)", r"\1", line).split()) for line in lines)


@lru_cache(_READ_AGAIN)
def of_latex(content: bytes) -> Told:
    """Caption and notes of a table's LaTeX, still escaped."""
    lines = _lines(content)
    caption = [line.removeprefix("\\caption{").removesuffix("}") for line in lines if line.startswith("\\caption{")]
    told = [*caption, *(line.removeprefix(_NOTE) for line in lines if line.startswith(_NOTE))]
    return tuple(" ".join(line.replace("~", " ").split()) for line in told)


@lru_cache(8)
def of_page(content: bytes) -> dict[str, Told]:
    """Caption and notes of every table of the report that names itself with `data-table`."""
    out = {}
    for inside in between(content.decode("utf-8", errors="replace"), '<table data-table="', "</section>"):
        told = [*between(inside, "<caption>", "</caption>"), *between(inside, '<p class="note">', "</p>")]
        out[html.unescape(inside.partition('"')[0])] = tuple(" ".join(html.unescape(text).split()) for text in told)
    return out


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", errors="replace").split("\n")
