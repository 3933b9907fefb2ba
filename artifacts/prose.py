r"""Numbers typed by hand in a LaTeX template: found in its source, before anything is rendered.

What a reader would see is text: prose, captions, cells of tables, mathematics. A digit or a number word there is a
literal, and so is one in an expression that prints itself (`\VAR{0.9}`). What is no number of the work is taken out
first: comments, arguments that say where and how (`\ref`, `\cite`, lengths, columns of a table), years of a citation,
section numbers, and the constants of an equation as `paper/constants.toml` declares them. Knows nothing of records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from artifacts.numbers import Number
from spinn.documents import read_toml
from spinn.errors import InputError

DELIMITERS: dict[str, Any] = {
    "block_start_string": r"\BLOCK{",
    "block_end_string": "}",
    "variable_start_string": r"\VAR{",
    "variable_end_string": "}",
    "comment_start_string": r"\COMMENT{",
    "comment_end_string": "}",
}
# Commands whose arguments are no text: all of `[…]` and so many of `{…}` after them are taken out.
STRUCTURE = {
    **dict.fromkeys(("label", "ref", "eqref", "pageref", "cite", "citep", "citet", "input", "url", "doi"), 1),
    **dict.fromkeys(("documentclass", "usepackage", "usetikzlibrary", "tikzset", "hypersetup", "graphicspath"), 1),
    **dict.fromkeys(("includegraphics", "bibliography", "bibliographystyle", "vspace", "hspace", "cmidrule"), 1),
    **dict.fromkeys(("vspace*", "hspace*", "affil", "pdftrailerid", "enlargethispage"), 1),
    "parbox": 1,
    **dict.fromkeys(("setlength", "addtolength", "setcounter"), 2),
}
BODIES = {"tabular": 1, "tabular*": 2, "minipage": 1, "tabularx": 2}  # arguments of \begin{…} after its name
DISPLAYS = ("equation", "equation*", "align", "align*")
WORDS = [
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "hundred",
    "thousand",
    "million",
    "dozen",
    "half",
    "twice",
]
_NUMERAL = re.compile(r"\d+(?:(?:[.,]|\{,\}|\\,)\d+)*|(?<!\d)\.\d+")
_WORD = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)
_ALLOWED = (
    re.compile(r"(?<=[\w.~])[ ~]\((?:19|20)\d\d\)"),  # Archard (1953)
    re.compile(r"\b(?:Section|Sec\.|Appendix)[ ~]\d+(?:\.\d+)*"),
    re.compile(r"\\renewcommand\{\\\w+fraction\}\{[\d.]+\}"),  # how much of a page floats may fill
    re.compile(r"#\d"),  # the argument of a macro
    re.compile(r"(?<=\})\[\d\](?=\{)"),  # \newcommand{\val}[2]{…}
)
_SPELLED = 19  # two to twenty, in their order
_NAMED = 3  # names that are given for one literal


@dataclass(frozen=True)
class Literal:
    """A number typed by hand: where, what, and the named values of which it could be a retype."""

    file: str
    line: int
    text: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.names:
            known = f"{self.names[0]} retyped, perhaps rounded"
            return f'{self.file}:{self.line}: {self.text}: {known}; write \\VAR{{n("{self.names[0]}")}} in its place'
        return (
            f"{self.file}:{self.line}: {self.text}: a number typed by hand; print a named value in its place, or "
            "declare a constant of an equation in paper/constants.toml"
        )


@dataclass(frozen=True)
class Constants:
    """What may stand in mathematics: numerals by the label of their equation, and whole inline formulas."""

    equations: Mapping[str, frozenset[str]]
    inline: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> Constants:
        """Read `paper/constants.toml`.

        Raises:
            InputError: it is not there, or a constant lacks its value, meaning or source.
        """
        try:
            entries = read_toml(path).get("constant", [])
        except (FileNotFoundError, ValueError) as error:
            raise InputError(f"{path}: {error}; it declares the constants of the paper's equations") from None
        equations: dict[str, set[str]] = {}
        inline: set[str] = set()
        for number, entry in enumerate(entries, 1):
            for key in ("value", "meaning", "source"):
                if not str(entry.get(key, "")).strip():
                    raise InputError(
                        f"{path}: constant {number}: {key} is missing; say what it is and where it is from"
                    )
            for label in entry.get("equations", ()):
                equations.setdefault(label, set()).add(str(entry["value"]))
            inline |= set(entry.get("inline", ()))
        return cls({label: frozenset(values) for label, values in equations.items()}, frozenset(inline))


def literals(source: str, file: str, constants: Constants, known: Mapping[str, Number]) -> list[Literal]:
    """Every number that the template `source` has by itself, by line; `known` are the named values."""
    found = [(at, text) for at, text in _in_text(source, constants)] + list(_in_expressions(source))
    return [Literal(file, line, text, retyped(text, known)) for line, text in sorted(set(found))]


def refuse(source: str, file: str, constants: Constants, known: Mapping[str, Number]) -> None:
    """Refuse a template that has a number of its own.

    Raises:
        InputError: names file, line and value of each, and what they retype.
    """
    found = literals(source, file, constants, known)
    if found:
        raise InputError("\n".join(map(str, found)))


def retyped(text: str, known: Mapping[str, Number]) -> tuple[str, ...]:
    """Names of values whose rounding to the digits of `text` is `text`; those that print as it does come first."""
    plain = text.replace("{,}", "").replace("\\,", "").replace(",", "")
    if text.lower() in WORDS[:_SPELLED]:
        plain = str(WORDS.index(text.lower()) + 2)
    try:
        value = float(plain)
    except ValueError:
        return ()
    digits = len(plain.partition(".")[2])
    near = [name for name, one in known.items() if round(abs(float(one.value)), digits) == value]
    near.sort(key=lambda name: (known[name].text != text, abs(abs(known[name].value) - value), name))
    return tuple(near[:_NAMED])


# --- what jinja prints by itself ------------------------------------------------------------------------------------


def _in_expressions(source: str) -> Iterator[tuple[int, str]]:
    """Numbers in expressions, and texts with digits that are not the name of something looked up."""
    import jinja2
    from jinja2 import nodes

    try:
        tree = jinja2.Environment(**DELIMITERS, autoescape=False).parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"template, line {error.lineno}: {error.message}") from None
    looked_up: set[int] = set()
    for node in tree.find_all((nodes.Call, nodes.Getitem, nodes.Compare, nodes.For)):
        looked_up |= {id(one) for one in node.find_all(nodes.Const)}
    for node in tree.find_all(nodes.Const):
        if isinstance(node.value, bool) or node.value is None:
            continue
        number = isinstance(node.value, int | float)  # the position in a list, too: a list has its first and its last
        if number or (id(node) not in looked_up and _has_number(str(node.value))):
            yield node.lineno, str(node.value)


def _has_number(text: str) -> bool:
    return bool(_NUMERAL.search(text) or _WORD.search(text))


# --- what LaTeX prints ----------------------------------------------------------------------------------------------


def _in_text(source: str, constants: Constants) -> Iterator[tuple[int, str]]:
    text = _without_jinja(source)
    text = re.sub(r"(?<!\\)%[^\n]*", _blank, text)
    text = _without_mathematics(text, constants)  # before labels go, by which its constants are declared
    text = _without_structure(text)
    for pattern in _ALLOWED:
        text = pattern.sub(_blank, text)
    for pattern in (_NUMERAL, _WORD):
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match.group()


def _blank(match: re.Match[str] | str) -> str:
    """As many blanks, line ends kept, so that positions stay."""
    return re.sub(r"[^\n]", " ", match if isinstance(match, str) else match.group())


def _without_jinja(text: str) -> str:
    start = re.compile(r"\\(?:VAR|BLOCK|COMMENT)\{")
    while match := start.search(text):
        end = _closing(text, match.end() - 1)
        text = text[: match.start()] + _blank(text[match.start() : end]) + text[end:]
    return text


def _closing(text: str, at: int) -> int:
    """The position after the bracket that closes the one at `at`; the end of the text where none does."""
    pairs, depth = {"{": "}", "[": "]"}, 0
    opening, closing = text[at], pairs[text[at]]
    for position in range(at, len(text)):
        if text[position] in (opening, closing) and (position == at or text[position - 1] != "\\"):
            depth += 1 if text[position] == opening else -1
            if not depth:
                return position + 1
    return len(text)


@cache
def _structural() -> re.Pattern[str]:
    names = "|".join(sorted(map(re.escape, STRUCTURE), key=len, reverse=True))
    return re.compile(rf"\\({names})(?![a-zA-Z*])|\\begin\{{([a-zA-Z]+\*?)\}}|\\\\(?=\[)")


def _without_structure(text: str) -> str:
    """`text` less the arguments that say where and how."""
    position = 0
    while match := _structural().search(text, position):
        command, environment = match.group(1), match.group(2)
        groups = STRUCTURE.get(command or "", 0) if command else BODIES.get(environment or "", 0)
        end = match.end()
        while end < len(text) and (text[end] == "[" or (text[end] == "{" and groups)):
            groups -= text[end] == "{"
            end = _closing(text, end)
        text = text[: match.end()] + _blank(text[match.end() : end]) + text[end:]
        position = max(end, match.end())
    return text


def _without_mathematics(text: str, constants: Constants) -> str:
    """`text` less the numerals that are declared; others stay, and are found."""
    shown = "|".join(map(re.escape, DISPLAYS))
    for match in re.finditer(rf"\\begin\{{({shown})\}}(.*?)\\end\{{\1\}}", text, re.DOTALL):
        label = re.search(r"\\label\s*\{([^}]*)\}", match[0])
        declared = constants.equations.get(label.group(1), frozenset()) if label else frozenset()
        body = _NUMERAL.sub(lambda one, known=declared: _blank(one) if one.group() in known else one.group(), match[0])
        text = text[: match.start()] + body + text[match.end() :]
    for formula in sorted(constants.inline, key=len, reverse=True):
        text = text.replace(f"${formula}$", _blank(f"${formula}$"))
    return text
