"""What may stand in a line of a CSV file that a stranger wrote, before anything is made of it.

Knows lengths and letters; no column, no unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from spinn.documents import unseen
from spinn.errors import DataError

LONGEST_LINE = 1 << 20
"""Letters of a line; a cut with a thousand features takes some 20,000."""
MOST_COLUMNS = 2048
LONGEST_NAME = 200
"""Letters of the name of a tool or of a feature."""


def bounded(stream: TextIO) -> Iterator[str]:
    """The lines of a text, none of which is read beyond `LONGEST_LINE`.

    Raises:
        ValueError: one is longer.
    """
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise ValueError(f"line {number} is longer than {LONGEST_LINE:,} letters")
        yield line


def refuse_unprintable(name: str, where: str) -> None:
    """Refuse a name that looks like another one, or like nothing, or that would move the terminal it is printed on.

    Raises:
        DataError: there is a control or formatting character in it (a reversal of the direction of writing, say), or
            it is longer than `LONGEST_NAME`.
    """
    if len(name) > LONGEST_NAME:
        raise DataError(f"{where} = {name!r:.40}: {len(name):,} letters: at most {LONGEST_NAME} expected in a name")
    if letter := unseen(name):
        raise DataError(f"{where} = {name!a:.60}: U+{ord(letter):04X} is no letter that is seen; take it out")
