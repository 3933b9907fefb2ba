"""A page of measurements: above its mark it is written by people, all below is made from what was stored.

Knows Markdown and how numbers look in it, nothing of what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spinn.errors import InputError


def anew(text: str, mark: str, parts: Sequence[str], name: object) -> str:
    """The page `text`, all that follows its line `mark` replaced by the parts.

    Raises:
        InputError: there is no mark in the page, which is called `name`.
    """
    above, found, _ = text.partition(mark)
    if not found:
        raise InputError(f"{name}: the line {mark!r} is missing; restore it")
    return above + mark + "\n\n" + "\n\n".join(parts) + "\n"


def measured_on(about: dict[str, Any]) -> str:
    """A sentence on the machine, as `report.machine` describes it, without its end."""
    return (
        f"Measured on {about['processor']}, {about['cores']} cores, {about['threads']} threads of training, "
        f"{about['memory_bytes'] / 2**30:.0f} GiB, torch {about['packages']['torch']}, Python {about['python']}; load "
        f"average {about['load_average']:.2f} as it began"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells as they are to be read."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def three(value: float) -> str:
    """Three digits, or whole where that is more."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
