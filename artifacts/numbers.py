"""One number, formatted once: its value, its text, its unit, where it comes from, and its LaTeX macro.

Tables, figures, report and paper all print `Number.text`; nothing formats a value a second time. Knows nothing of what
the numbers mean.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spinn.documents import parse_json
from spinn.errors import InputError

_DIGITS = {
    "0": "Zero",
    "1": "One",
    "2": "Two",
    "3": "Three",
    "4": "Four",
    "5": "Five",
    "6": "Six",
    "7": "Seven",
    "8": "Eight",
    "9": "Nine",
}
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\textbraceleft{}",  # not \{, so that braces in LaTeX are pairs
    "}": r"\textbraceright{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "]": "{]}",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
    "°": r"\textdegree{}",
    "µ": r"\textmu{}",
    "μ": r"\textmu{}",
    "±": r"\textpm{}",
    "×": r"\texttimes{}",
    "÷": r"\textdiv{}",
    "·": r"\textperiodcentered{}",
    "−": r"$-$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "→": r"$\rightarrow$",
    "∞": r"$\infty$",
    "Σ": r"$\Sigma$",
    "Φ": r"$\Phi$",
    "Δ": r"$\Delta$",
    "α": r"$\alpha$",
    "δ": r"$\delta$",
    "η": r"$\eta$",
    "θ": r"$\theta$",
    "τ": r"$\tau$",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "\u00a0": "~",
}
NOT_MEASURED = "not measured"
_LARGEST = 1e300  # of a number that is printed
_NUMBER = re.compile(r"(?P<digits>\d+(?:\.\d+)?)e(?P<exponent>[+-]?\d+)|-(?=[\d.])")


def latex_escape(text: str) -> str:
    """`text` so that LaTeX (pdflatex, T1, textcomp) prints it and runs nothing of it.

    Letters of western alphabets stay; what pdflatex has no glyph for is spelled by its code point, `[U+6F22]`.
    """
    out = []
    for character in unicodedata.normalize("NFC", text):
        if character in _LATEX:
            out.append(_LATEX[character])
        elif " " <= character <= "~" or _western(character):
            out.append(character)
        elif character.isspace() or unicodedata.category(character) in {"Cc", "Cf", "Zs"}:
            out.append(" ")
        else:
            out.append(f"{{[}}U+{ord(character):04X}{{]}}")
    return "".join(out)


def _western(character: str) -> bool:
    base = unicodedata.normalize("NFD", character)[0]
    accented = "\u00c0" <= character <= "\u017e" and base.isascii() and base.isalpha()
    return accented or character in "ßæÆøØœŒłŁ"


def latex_number(text: str) -> str:
    """A formatted number, or several, as LaTeX prints it: a true minus sign, a power of ten."""

    def printed(found: re.Match[str]) -> str:
        return f"${found['digits']}\\times10^{{{int(found['exponent'])}}}$" if found["digits"] else "$-$"

    return _NUMBER.sub(printed, latex_escape(text))


@dataclass(frozen=True)
class Format:
    """How a value becomes text: digits after the point, thousands separated; `unit` is the one the value is in.

    With `tiny`, a value whose text would be all zeros is given in scientific notation instead; with `significant`,
    `digits` are those that count, and larger values are whole.
    """

    digits: int = 3
    unit: str = ""
    missing: str = "–"
    tiny: bool = False
    significant: bool = False

    def text(self, value: float | int | None) -> str:
        """The text of `value`; `missing` for None."""
        if value is None:
            return self.missing
        if self.significant:
            shown = f"{value or 0:,.{self.digits}g}"
            return f"{value:,.0f}" if "e+" in shown else shown
        shown = f"{value:,.{self.digits}f}"
        if re.search("[1-9]", shown):
            return shown
        return f"{value:.1e}" if value and self.tiny else shown.removeprefix("-")


@dataclass(frozen=True)
class Number:
    """One value that is printed somewhere.

    `cells` names each table cell that shows it, as table, row and column; `interval` the numbers that are the lower
    and upper end of its interval, where it has one.
    """

    name: str
    value: float | int
    text: str
    unit: str
    digits: int
    source: tuple[str, ...]
    expression: str
    cells: tuple[tuple[str, int, str], ...] = field(default=())
    interval: tuple[str, str] | None = None

    def as_json(self) -> dict[str, object]:
        """What numbers.json says about it."""
        return {
            "value": self.value,
            "text": self.text,
            "unit": self.unit,
            "digits": self.digits,
            "source": list(self.source),
            "expression": self.expression,
            "cells": [list(cell) for cell in self.cells],
            "interval": self.interval and list(self.interval),
        }


def slug(text: str) -> str:
    """`text` as part of a number's name: lower-case letters, digits, hyphens; what has no letter is spelled by code."""
    plain = unicodedata.normalize("NFKD", text.replace("÷", " over ").replace("%", " percent ").replace("|", " abs "))
    kept = "".join(c if c.isascii() and c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    words = "-".join(kept.lower().split())
    return words or "-".join(f"u{ord(c):x}" for c in text) or "none"


def macro(name: str) -> str:
    r"""Letters-only LaTeX macro name of a number: `accuracy.vb.r2` → `SpinnAccuracyVbRTwo`."""
    words: list[str] = re.findall("[a-z]+|[0-9]", name.lower())
    return "Spinn" + "".join(_DIGITS.get(word, word.capitalize()) for word in words)


def macros(names: Iterable[str]) -> dict[str, str]:
    """A macro for each name; names that would share one are told apart by a letter, in their sorted order."""
    out: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(names):
        candidate, count = macro(name), 0
        while candidate in taken:
            count += 1
            candidate = macro(name) + "X" + "".join(chr(ord("a") + int(digit)) for digit in str(count))
        taken.add(candidate)
        out[name] = candidate
    return out


def encode_json(numbers: Mapping[str, Number]) -> bytes:
    """The bytes of numbers.json."""
    content = {name: numbers[name].as_json() for name in sorted(numbers)}
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def encode_tex(texts: Mapping[str, str]) -> bytes:
    r"""The bytes of numbers.tex: a `\newcommand` for each number's text."""
    named = macros(texts)
    lines = [f"\\newcommand{{\\{named[name]}}}{{{latex_number(texts[name])}}}  % {name}" for name in sorted(texts)]
    return (
        "% Written by spinn-artifacts build; one macro for each number in numbers.json.\n" + "\n".join(lines) + "\n"
    ).encode()


def decode_json(content: bytes, path: str) -> dict[str, Number]:
    """Read numbers.json back.

    Raises:
        InputError: it is not one.
    """
    try:
        return {name: as_number(name, **entry) for name, entry in parse_json(content).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a numbers file ({error!r:.200}); run `spinn-artifacts build` again") from None


def as_number(
    name: str, *, value: Any, text: Any, unit: Any, digits: Any, source: Any, expression: Any, cells: Any, interval: Any
) -> Number:
    """A number as JSON has it.

    Raises:
        ValueError: something in it is of another kind.
    """
    known = type(value) in (int, float) and -_LARGEST < value < _LARGEST and type(digits) is int
    texts = (text, unit, expression, *source) if isinstance(source, list | tuple) else (None,)
    ends = interval is None or (isinstance(interval, list) and [type(end) for end in interval] == [str, str])
    places = tuple(tuple(cell) for cell in cells)
    placed = all(tuple(map(type, place)) == (str, int, str) and place[1] >= 0 for place in places)
    if not (known and placed and ends and all(isinstance(one, str) for one in texts)):
        raise ValueError(f"{name:.80}: not a number with its text, unit, sources, cells and interval")
    between = None if interval is None else (interval[0], interval[1])
    return Number(name, value, text, unit, digits, tuple(source), expression, places, between)
