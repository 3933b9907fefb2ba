"""Numbers as they stand in a text: `146 of 167 cuts`, `≥ 70 %`.

What is part of a word, of a version or of a digest (`sha256`, `2.13.0`, `c00`) is a name and no number.
"""

from __future__ import annotations

import re

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
