"""TOML and JSON that a stranger may have written, as values: within bounds, or one ValueError. Standard library only.

Knows the two languages and what their readers do with hostile text; nothing of what a document means.
"""

from __future__ import annotations

import json
import tomllib
import unicodedata
from pathlib import Path
from typing import Any

from spinn.errors import InputError
from spinn.storage import refuse_special

DEEPEST = 64
"""Lists and tables within each other; readers and writers of values are recursive, and give up at some depth."""
MOST_TOML = 64 << 10
LONGEST_LINE = 1024
"""Bytes of a TOML text, and letters of a line, and so of a key: time and memory grow with the square of its dots."""


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON in UTF-8 (NaN is not), has a number with thousands of digits or half a
            letter, or is nested deeper than `DEEPEST`.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse_constant)
        if "\\ud" in text.lower():  # two of them spell one letter; one alone is none, and cannot be written again
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _refuse_depth(value)
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file in UTF-8; no more is read of it than it may have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no file, or not TOML, has a number of more than 64 bits, or goes beyond the bounds here.
    """
    refuse_special(path)
    with open(path, "rb") as stream:
        return parse_toml(stream.read(MOST_TOML + 1))


def unseen(text: str) -> str:
    """The first letter that looks like another, or like nothing, or would move the terminal it is printed on; or ""."""
    return next((one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")), "")


def read_stated(path: Path, example: str) -> dict[str, Any]:
    """The tables of a TOML file that somebody wrote, as `read_toml`; `example` is one that is here.

    Raises:
        InputError: it cannot be read; says why.
    """
    try:
        return read_toml(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a TOML file such as {example}") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder; expected a TOML file such as {example}") from None
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}; name another file") from None
    except ValueError as error:  # of what it says, and of a name that no file can have
        raise InputError(f"{path}: not a TOML file ({error})") from None


def parse_toml(content: bytes) -> dict[str, Any]:
    """The tables of TOML in UTF-8.

    Raises:
        ValueError: as `read_toml`.
    """
    if len(content) > MOST_TOML:
        raise ValueError(f"more than {MOST_TOML:,} bytes: leave out what it does not need")
    text = content.decode("utf-8")
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > LONGEST_LINE:
            raise ValueError(f"line {number} has {len(line):,} letters: at most {LONGEST_LINE:,} expected; break it")
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _refuse_depth(tables)
    _refuse_large(tables)
    return tables


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _refuse_depth(value: object) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(_too_deep())


def _refuse_large(value: object) -> None:
    """TOML has numbers of 64 bits; of one with thousands of digits not even a message can be made."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _refuse_large(inner)
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError("a whole number of more than 64 bits, which TOML does not have")


def _too_deep() -> str:
    return f"lists or tables are nested more than {DEEPEST} deep: none of this project's files are"
