r"""Marks in the LaTeX of the paper, which say of a number, a verdict, a name or a cell which one it is.

A mark has one pattern, by which it is looked up and taken out: what no pattern reads is no mark, and is found as text.
The builder alone writes them (`artifacts.paper`); they print their last argument, and a paper defines them as that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from artifacts.typed import blank, found

_NAME, _TEXT = r"([^{}]*)", r"((?:[^{}]|\{[^{}]*\})*)"
VALUE = re.compile(rf"\\val\{{{_NAME}\}}\{{{_TEXT}\}}")
r"""`\val{name in numbers.json}{text}`"""
VERDICT = re.compile(rf"\\verdict\{{{_NAME}\}}\{{{_NAME}\}}")
r"""`\verdict{name of the claim}{verdict}`"""
CELL = re.compile(rf"\\cell\{{{_NAME}\.(\d{{1,6}})\.(\d{{1,6}})\}}\{{{_TEXT}\}}")
r"""`\cell{table.row.column}{text}`, both counted from 0"""
CALLED = re.compile(rf"\\called\{{{_TEXT}\}}")
r"""`\called{what something is called}`"""
# In one pass: what stands within a mark is looked up as it stands there, and is none where it has marks of its own.
_MARK = re.compile("|".join(pattern.pattern for pattern in (VALUE, VERDICT, CELL, CALLED)))
_NAMED = re.compile(r"\\(?:val|verdict|cell|called)(?![a-zA-Z])")
_DEFINITIONS = (
    r"\newcommand{\val}[2]{#2}",
    r"\newcommand{\verdict}[2]{#2}",
    r"\newcommand{\cell}[2]{#2}",
    r"\newcommand{\called}[1]{#1}",
)


def unmarked(text: str) -> str:
    """`text` less what its marks say is a named value, a verdict, a name or a cell."""
    return _MARK.sub(lambda mark: blank(mark[0]), text)


def by_hand(text: str) -> Iterator[tuple[int, str]]:
    """Line and command of each mark that no pattern reads, or that is defined otherwise than the builder's are."""
    for definition in _DEFINITIONS:
        text = text.replace(definition, blank(definition), 1)
    yield from found(_NAMED, text)
