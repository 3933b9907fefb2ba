"""Numbers that stand within a text: `146 of 167 cuts`, `≥ 70 %`. Each becomes a named value like any other.

Knows nothing of where a text comes from.
"""

from __future__ import annotations

from collections.abc import Iterator

from artifacts.numbers import Number
from spinn.numerals import numerals, split, value

PLACE = " #"
"""Within the column that a number names as its cell: which of the numbers in that cell's text it is, from 1."""


def stated(
    text: str,
    name: str,
    *,
    unit: str = "",
    source: tuple[str, ...] = (),
    expression: str = "",
    cell: tuple[str, int, str] | None = None,
) -> Iterator[Number]:
    """The numbers in `text`: `name` where there is one, else `name.1`, `name.2`, …; `cell` is where it stands.

    `unit` is that of what the text measures; `in 104 cuts` counts, and has none.
    """
    found = numerals(text)
    for nth, (numeral, behind) in enumerate(zip(found, split(text)[1:], strict=True), 1):
        cells = ((*cell[:2], f"{cell[2]}{PLACE}{nth}"),) if cell else ()
        own = name if len(found) == 1 else f"{name}.{nth}"
        digits = 0 if "e" in numeral else len(numeral.partition(".")[2])
        counted = behind.startswith(" cuts")
        yield Number(own, value(numeral), numeral, "" if counted else unit, digits, source, expression, cells)
