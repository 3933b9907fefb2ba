"""Numbers typed by hand in a template: found in its source, and once more in what it was made into.

A template prints what it looks up by name. What stands in it by itself is text: a number there is a literal, and so is
one in an expression, unless it is the name of something looked up. Where an expression hides one (parts that it joins,
letters that it takes), the text that comes out has a number that no mark calls by its name. A verdict, too, is asked
for in the open or refused. Knows nothing of records.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from artifacts.constants import Constants
from artifacts.marks import by_hand, unmarked
from artifacts.numbers import Number
from artifacts.typed import WORDS, blank, typed
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
    found = {*typed(text, constants), *by_hand(text), *_in_expressions(source, constants)}
    found |= {(source.count("\n", 0, one.start()) + 1, one.group()) for one in _SIGNED.finditer(source)}
    return _named(found, file, known)


def unnamed(tex: str, file: str, constants: Constants, known: Mapping[str, Number]) -> list[Literal]:
    """Every number in what a template was made into that no mark calls by its name."""
    left = unmarked(tex)
    return _named({*typed(left, constants), *by_hand(left)}, file, known)


def refuse_verdicts(source: str, file: str, words: Sequence[str], claims: Sequence[str]) -> None:
    """Refuse a template that asks for the verdict on no claim, or takes it for a word that no verdict is.

    Every verdict is asked for by the claim's name as it stands, also in branches that other data take; and is printed
    alone, or compared with a word by `==` or `!=`: in any other form, or where a block keeps what it prints, a wrong
    word would go unseen.

    Raises:
        InputError: names file, line and what is wrong.
    """
    from jinja2 import nodes

    with _read() as jinja:
        tree = jinja.parse(source)
    for block in tree.find_all((nodes.Macro, nodes.AssignBlock, nodes.FilterBlock, nodes.CallBlock)):
        if getattr(block, "name", "") == "verdict" or any(map(_asks, block.find_all(nodes.Call))):
            raise InputError(f"{file}:{block.lineno}: a block keeps what it prints, and a verdict is printed at once")
    calls = {id(one): one for output in tree.find_all(nodes.Output) for one in output.nodes if _asks(one)}
    for compared in tree.find_all(nodes.Compare):
        sides = [compared.expr, *(operand.expr for operand in compared.ops)]
        told = [side.value for side in sides if isinstance(side, nodes.Const)]
        asked = {id(side): side for side in sides if _asks(side)}
        if asked and len(sides) == 2 and told and compared.ops[0].op in ("eq", "ne"):  # a verdict, and a word
            if told[0] not in words:
                expected = f"expected one of {', '.join(words)}"
                raise InputError(f"{file}:{compared.lineno}: verdict is never {told[0]!r}; {expected}")
            calls |= asked
    seen = {id(call.node) for call in calls.values()}
    for name in tree.find_all(nodes.Name):
        if name.name == "verdict" and id(name) not in seen:
            raise InputError(f'{file}:{name.lineno}: verdict("claim") is printed alone, or compared by == with a word')
    for call in calls.values():
        claim = call.args[0].value if len(call.args) == 1 and isinstance(call.args[0], nodes.Const) else None
        if claim is None or call.kwargs or call.dyn_args or call.dyn_kwargs:
            raise InputError(f'{file}:{call.lineno}: verdict("claim") has the name of one claim in it, and no more')
        if claim not in claims:
            near = difflib.get_close_matches(str(claim), claims, n=1)
            raise InputError(f"{file}:{call.lineno}: {claim}: no such claim{f'; perhaps {near[0]}' if near else ''}")


def _asks(node: nodes.Node) -> TypeGuard[nodes.Call]:
    """Whether it is a call of `verdict`."""
    from jinja2 import nodes

    return isinstance(node, nodes.Call) and getattr(node.node, "name", "") == "verdict"


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
