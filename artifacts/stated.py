"""Numbers that stand within a text: `146 of 167 cuts`, `≥ 70 %`. Each becomes a named value like any other.

What is part of a word, of a version or of a digest (`sha256`, `2.13.0`, `c00`) is a name and no number. Knows nothing
of where a text comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from artifacts.numbers import Number

PLACE = " #"
"""Within the column that a number names as its cell: which of the numbers in that cell's text it is, from 1."""
_NUMERAL = re.compile(
    r"(?<![\w.,])(?:(?<![^\s(\[=:])[-−])?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,30})(?:\.[0-9]{1,30})?(?:e[+-]?[0-9]{1,2})?"
    r"(?![\w^]|[.,][0-9])"
)


def numerals(text: str) -> list[str]:
    """The numbers in a text, as they stand there, in their order."""
    return _NUMERAL.findall(text)


def split(text: str) -> list[str]:
    """The text before, between and after its numbers: one part more than there are `numerals`."""
    return _NUMERAL.split(text)


def value(numeral: str) -> int | float:
    """What a numeral says."""
    plain = numeral.replace(",", "").replace("−", "-")
    return float(plain) if "." in plain or "e" in plain else int(plain)


def stated(
    text: str,
    name: str,
    *,
    unit: str = "",
    source: tuple[str, ...] = (),
    expression: str = "",
    cell: tuple[str, int, str] | None = None,
) -> Iterator[Number]:
    """The numbers in `text`: `name` where there is one, else `name.1`, `name.2`, …; `cell` is where it stands."""
    found = numerals(text)
    for nth, numeral in enumerate(found, 1):
        cells = ((*cell[:2], f"{cell[2]}{PLACE}{nth}"),) if cell else ()
        own = name if len(found) == 1 else f"{name}.{nth}"
        digits = 0 if "e" in numeral else len(numeral.partition(".")[2])
        yield Number(own, value(numeral), numeral, unit, digits, source, expression, cells)
