"""Numbers typed by hand in a template: found in its source, and once more in what it was made into.

A template prints what it looks up by name. What stands in it by itself is text: a number there is a literal, and so is
one in an expression, unless it is the name of something looked up. Where an expression hides one (parts that it joins,
letters that it takes), the text that comes out has a number that no mark calls by its name. Knows nothing of records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifacts.numbers import Number
from artifacts.typed import WORDS, Constants, blank, typed, unmarked
from spinn.errors import InputError

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

DELIMITERS: dict[str, Any] = {
    "block_start_string": r"\BLOCK{",
    "block_end_string": "}",
    "variable_start_string": r"\VAR{",
    "variable_end_string": "}",
    "comment_start_string": r"\COMMENT{",
    "comment_end_string": "}",
}
LOOKUPS = ("n", "q", "ci", "has", "verdict", "tabular", "parts")
"""What a template calls to look something up: the texts given to it are names."""
UNPRINTED = ("where", "wrap")  # of their arguments: which rows, and how wide a column is
_FIRST = ("accuracy", "progression", "claims", "count", "config", "comparisons")
_NAMED = 3  # names that are given for one literal
_SIGNS = "-+−–±"
# A sign or a point that stands by hand before a value makes another of it.
_SIGNED = re.compile(rf"(?:[{_SIGNS}]|\\(?:textminus|pm|mp)\b)(?:[{{}}$~\s]|\\[,;!]|\\text\{{)*\\VAR\{{|\.\\VAR\{{")
_MARK = re.compile(r"(?<!command\{)\\(?:val|verdict|called|cell)\b")  # which the builder writes, and nobody else


@dataclass(frozen=True)
class Literal:
    """A number typed by hand: where, what, and the named values of which it could be a retype."""

    file: str
    line: int
    text: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.names:
            known = f"{' or '.join(self.names)} retyped, perhaps rounded"
            return f'{self.file}:{self.line}: {self.text}: {known}; write \\VAR{{n("{self.names[0]}")}} in its place'
        if self.text.endswith("\\VAR{"):
            told = "a sign or a point typed before a value makes another of it; print the value alone"
            return f"{self.file}:{self.line}: {self.text}: {told}"
        if self.text.startswith("\\"):
            return f"{self.file}:{self.line}: {self.text}: can print a number that is not read here; write it otherwise"
        return (
            f"{self.file}:{self.line}: {self.text}: a number typed by hand; print a named value in its place, or "
            "declare a constant of an equation in paper/constants.toml"
        )


def literals(source: str, file: str, constants: Constants, known: Mapping[str, Number]) -> list[Literal]:
    """Every number that the template `source` has by itself, by line; `known` are the named values."""
    text = _text(source)
    found = {*typed(text, constants), *_in_expressions(source, constants)}
    for pattern, where in ((_MARK, text), (_SIGNED, source)):
        found |= {(where.count("\n", 0, one.start()) + 1, one.group()) for one in pattern.finditer(where)}
    return _named(found, file, known)


def unnamed(tex: str, file: str, constants: Constants, known: Mapping[str, Number]) -> list[Literal]:
    """Every number in what a template was made into that no mark calls by its name."""
    return _named(set(typed(unmarked(tex), constants)), file, known)


def refuse_words(function: str, words: Sequence[str], source: str, file: str) -> None:
    """Refuse a template that compares what a function answers with another word than it has: no branch would be true.

    Raises:
        InputError: names file, line and word.
    """
    from jinja2 import nodes

    with _read() as jinja:
        tree = jinja.parse(source)
    for node in tree.find_all(nodes.Compare):
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        if not any(isinstance(one, nodes.Call) and getattr(one.node, "name", None) == function for one in sides):
            continue
        for one in (
            one for side in sides if not isinstance(side, nodes.Call) for one in (side, *side.find_all(nodes.Const))
        ):
            if isinstance(one, nodes.Const) and one.value not in words:
                told = f"{function} is never {one.value!r}; expected one of {', '.join(words)}"
                raise InputError(f"{file}:{one.lineno}: {told}")


def refuse(found: list[Literal]) -> None:
    """Refuse a text that has a number of its own.

    Raises:
        InputError: names file, line and value of each, and what they retype.
    """
    if found:
        raise InputError("\n".join(map(str, found)))


def _named(found: set[tuple[int, str]], file: str, known: Mapping[str, Number]) -> list[Literal]:
    return [Literal(file, line, text, retyped(text, known)) for line, text in sorted(found)]


def retyped(text: str, known: Mapping[str, Number]) -> tuple[str, ...]:
    """Names of values whose rounding to the digits of `text` is `text`; those that print as it does come first."""
    plain = text.replace("{,}", "").replace("\\,", "").replace(",", "")
    if text.lower() in WORDS:
        plain = str(WORDS.index(text.lower()) + 2)
    try:
        value = float(plain)
    except ValueError:
        return ()
    digits = len(plain.partition(".")[2])
    if not digits and len(plain.rstrip("0")) > 1:  # about 190,000
        digits = len(plain.rstrip("0")) - len(plain)
    near = [name for name, one in known.items() if round(abs(float(one.value)), digits) == value]
    near.sort(key=lambda name: (known[name].text != text, _rank(name), abs(abs(known[name].value) - value), name))
    return tuple(near[:_NAMED])


def _rank(name: str) -> int:
    """Of several values that are printed alike, what a text is likely to speak of comes first."""
    table = name.partition(".")[0]
    return _FIRST.index(table) if table in _FIRST else len(_FIRST)


@contextmanager
def _read() -> Iterator[Environment]:
    """What a template is read with; one that is none is bad input."""
    import jinja2

    try:
        yield jinja2.Environment(**DELIMITERS, autoescape=False, keep_trailing_newline=True)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"template, line {error.lineno}: {error.message}") from None


def _text(source: str) -> str:
    """What a template has beside its expressions and comments, each of which is as many blanks."""
    with _read() as jinja:
        tokens = list(jinja.lex(source))
    return "".join(text if kind == "data" else blank(text) for _, kind, text in tokens)


def _in_expressions(source: str, constants: Constants) -> Iterator[tuple[int, str]]:
    """Numbers in expressions, and texts with a number that are not the name of something looked up."""
    from jinja2 import nodes

    with _read() as jinja:
        tree = jinja.parse(source)
    names = {id(one) for node in tree.find_all((nodes.Call, nodes.Compare, nodes.Getitem)) for one in _names(node)}
    for node in tree.find_all(nodes.Const):
        if isinstance(node.value, bool) or node.value is None:
            continue
        number = isinstance(node.value, int | float)  # the position in a list, too: a list has its first and its last
        text = str(node.value)
        if number or (id(node) not in names and (text.rstrip().endswith(tuple(_SIGNS)) or any(typed(text, constants)))):
            yield node.lineno, text


def _names(node: nodes.Node) -> Iterator[nodes.Node]:
    """The constants that name something: looked up, compared, a key. A heading is printed."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getitem):
        yield node.arg
    elif isinstance(node, nodes.Compare):
        for one in (node.expr, *(operand.expr for operand in node.ops)):
            yield from one.items if isinstance(one, nodes.Tuple | nodes.List) else (one,)
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name in LOOKUPS:
        yield from node.args
        for argument in (*node.args, *(one.value for one in node.kwargs)):
            yield from (pair.key for pair in argument.find_all(nodes.Pair))
        for one in node.kwargs:
            if one.key in UNPRINTED:
                yield from one.value.find_all(nodes.Const)
