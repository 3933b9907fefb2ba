"""What the paper may say without a named value: `paper/constants.toml`, each entry with its source, and cited years.

Knows what is declared; whether a text keeps to it is `artifacts.typed`'s to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, ValidationError

from spinn.config import Strict
from spinn.documents import parse_toml
from spinn.errors import InputError
from spinn.record import first_problem
from spinn.storage import read_file

_Told = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Constant(Strict):
    """An entry of the file, whose head says what each key is."""

    value: _Told
    meaning: _Told
    source: _Told
    equations: tuple[_Told, ...] = ()
    inline: tuple[_Told, ...] = ()
    text: tuple[_Told, ...] = ()


class _Declared(Strict):
    constant: tuple[_Constant, ...] = ()


@dataclass(frozen=True, eq=False)
class Constants:
    """What may stand by itself: numerals by the label of their equation, inline formulas, pieces of a text, and years.

    `cited` has each name of the bibliography with its year.
    """

    equations: Mapping[str, frozenset[str]]
    inline: frozenset[str]
    texts: frozenset[str] = frozenset()
    cited: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def read(cls, path: Path, bibliography: Path) -> Constants:
        """Read `paper/constants.toml`, and whose work of which year the bibliography has.

        Raises:
            InputError: it is not there, or as `parse`.
        """
        try:
            content, cited = read_file(path), read_file(bibliography)
        except FileNotFoundError as error:
            raise InputError(f"{error}; it has the constants of the paper's equations, or what it cites") from None
        except ValueError as error:
            raise InputError(f"{path}: {error}; it declares the constants of the paper's equations") from None
        return cls.parse(content, cited, str(path))

    @classmethod
    def parse(cls, content: bytes, bibliography: bytes, path: str) -> Constants:
        """What the bytes of the file at `path` declare, and those of a BibTeX file have.

        Raises:
            InputError: they are not TOML, or an entry lacks its value, meaning or source, or has what none has.
        """
        try:
            declared = _Declared.model_validate(parse_toml(content)).constant
        except ValidationError as error:
            raise InputError(f"{path}: {first_problem(error)}; its head says what a constant states") from None
        except ValueError as error:
            raise InputError(f"{path}: {error}; it declares the constants of the paper's equations") from None
        equations: dict[str, set[str]] = {}
        for one in declared:
            for label in one.equations:
                equations.setdefault(label, set()).add(one.value)
        return cls(
            {label: frozenset(values) for label, values in equations.items()},
            frozenset(formula for one in declared for formula in one.inline),
            frozenset(text for one in declared for text in one.text),
            frozenset(_cited(bibliography)),
        )


def _cited(bibliography: bytes) -> Iterator[tuple[str, str]]:
    """Each surname of an entry with the entry's year; and `al.` with it."""
    for entry in bibliography.decode("utf-8", errors="replace").split("\n@"):
        author = re.search(r"\bauthor\s*=\s*\{(.*)\}", entry)
        year = re.search(r"\byear\s*=\s*\{(\d{4})\}", entry)
        if author and year:
            names = (name.partition(",")[0].split()[-1:] for name in author[1].split(" and "))
            yield from ((surname, year[1]) for name in names for surname in name)
            yield "al.", year[1]


NONE = Constants({}, frozenset())
