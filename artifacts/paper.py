r"""The paper: its LaTeX from templates and named values, with every number traceable in the source that it prints.

A template looks numbers up by name and prints nothing else: each becomes `\val{name}{text}`, so that paper.tex says of
every number which entry of numbers.json it is; digits of a name stand in `\called{…}`, and a cell of a table that is a
name in `\cell{table.row.column}{…}`. Hyperparameters are values too,
read from the executed plan. Knows how a template is filled; what it says is in `paper/*.tex.j2`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from artifacts import prose, typeset
from artifacts.constants import Constants
from artifacts.numbers import Format, Number, latex_escape, latex_number, slug
from artifacts.render import Table, clean, displayed
from artifacts.stated import stated
from artifacts.typed import LENGTH, has_number
from artifacts.typeset import BIBLIOGRAPHY, CLAIMS, CONSTANTS, PAGES, TEMPLATES
from spinn.claims import read as read_claims
from spinn.errors import InputError
from spinn.numerals import split

if TYPE_CHECKING:
    from artifacts.claims import Outcome
    from artifacts.results import Results

FOLDER = Path(__file__).parent.parent / "paper"
_WRONG = (TypeError, ValueError, AttributeError, SyntaxError)  # the last: of what a template was made into
COLUMN = 250.0  # points: a figure that is wider goes over both columns
SETTINGS = 2  # columns of settings that have room beside R² and its intervals
ROWS, ROWS_WRAPPED = 60, 40
"""Of a table on one page, where each row is a line, and where texts break their lines."""


ABSENT = "absent"
"""What a template is told of a claim that the plan has not."""


class Tex(str):
    """A text that is LaTeX already."""


class Name(str):
    """What something is called: of a variant, a stage, an experiment. Digits in it are no number."""


@dataclass(frozen=True)
class Part:
    """What one page has of a table: its rows, and what its caption says more."""

    rows: Sequence[int]
    more: str


def outputs(
    results: Results,
    tables: Sequence[Table],
    outcomes: Sequence[Outcome],
    known: Mapping[str, Number],
    figures: Mapping[str, Mapping[str, bytes]],
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files of the paper by their path, and what is wrong with pages of it, a line for each PDF that is not there.

    The files are sources and figures, and the PDFs where there is a LaTeX and its pages are as they should be.

    Args:
        results: for what was run: data, targets, variants.
        tables: whose columns the templates choose from.
        outcomes: the claims, each of which has to be printed.
        known: every named value, those of `executed` among them.
        figures: name → ending → bytes.

    Raises:
        InputError: a template has a number of its own, looks up what is not there, or drops a claim.
    """
    from artifacts.claims import Holds

    constants, words = Constants.read(FOLDER / CONSTANTS, FOLDER / BIBLIOGRAPHY), (*get_args(Holds), ABSENT)
    named = sorted(
        {str(one.claim["name"]) for one in outcomes} | {str(one["name"]) for one in read_claims(FOLDER / CLAIMS)}
    )
    made = {f"figures/{name}.pdf": files["pdf"] for name, files in figures.items()}
    made |= {name: (FOLDER / name).read_bytes() for name in (BIBLIOGRAPHY, CONSTANTS)}
    wide = frozenset(name for name, files in figures.items() if _width(files["pdf"]) > COLUMN)
    content = Content(results, {table.name: table for table in tables}, outcomes, known, frozenset(figures), wide)
    texts = []
    for name in TEMPLATES:
        source = (FOLDER / name).read_text(encoding="utf-8")
        prose.refuse(prose.literals(source, f"paper/{name}", constants, known))
        prose.refuse_verdicts(source, f"paper/{name}", words, named)
        texts.append(fill(source, content, name))
        prose.refuse(prose.unnamed(texts[-1], f"paper/{name.removesuffix('.j2')}", constants, known))
        made[name.removesuffix(".j2")] = texts[-1].encode()
    dropped = [one.claim["name"] for one in outcomes if not any(_verdict_mark(one) in text for text in texts)]
    if dropped:
        raise InputError(f"claim {dropped[0]}: the paper does not print its verdict; a claim is never dropped")
    out = {f"paper/{path}": data for path, data in made.items()}
    faults = []
    if not typeset.missing():
        with ThreadPoolExecutor() as pool:  # LaTeX is a process of its own
            typed = {name: pool.submit(typeset.typeset, name, made, pages) for name, pages in PAGES.items()}
        for name, pdf in typed.items():
            try:
                out[f"{name}.pdf"] = pdf.result()
            except typeset.TypesetError as error:
                faults.append(str(error))
    return out, tuple(faults)


def fill(source: str, content: Content, name: str) -> str:
    """A template with its values in place.

    Raises:
        InputError: it is no template, or asks for what is not there.
    """
    import jinja2
    from jinja2.exceptions import SecurityError

    from artifacts.sandbox import Sandbox

    environment = Sandbox(
        **prose.DELIMITERS,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printed,
    )
    try:
        return environment.from_string(source).render(content.names())
    except jinja2.UndefinedError as error:
        raise InputError(f"paper/{name}: {error.message}; ask `has` or `shows` first where it can be absent") from None
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"paper/{name}:{error.lineno}: {error.message}") from None
    except SecurityError as error:
        told = str(error).rstrip(".")
        raise InputError(f"paper/{name}: {told}; a template reaches what it is given, and nothing else") from None
    except (jinja2.TemplateError, ArithmeticError, LookupError, *_WRONG) as error:
        raise InputError(f"paper/{name}: {error!r:.200}; a template looks values up by name, and prints them") from None
    except RecursionError:
        raise InputError(f"paper/{name}: it calls itself, or is nested, without an end") from None


def _printed(value: Any) -> Any:
    """What an expression prints: LaTeX as it is, other text escaped, no bare number."""
    if isinstance(value, Tex):
        return value
    if isinstance(value, Name):
        return _called(value)
    if isinstance(value, str):
        return latex_escape(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise InputError(f"a template prints {value}: a number is printed by its name, with n(…)")
    return value


@dataclass(frozen=True)
class Content:
    """What a template can name; see `names`."""

    results: Results
    tables: Mapping[str, Table]
    outcomes: Sequence[Outcome]
    known: Mapping[str, Number]
    figures: frozenset[str] = frozenset()
    wide: frozenset[str] = frozenset()

    def names(self) -> dict[str, Any]:
        """The variables and functions of a template."""
        from artifacts.predictors import WEAR_LAW, find
        from artifacts.results import target_label, target_name

        found, experiment = self.results, self.results.plan.experiment
        law = find(found, WEAR_LAW, ("VB",))
        variant = found.plan.variant(found.primary)
        functions: tuple[Callable[..., Any], ...] = (
            self.n,
            self.ci,
            self.q,
            self.has,
            self.caption,
            self.float,
            self.notes,
            self.tabular,
            self.parts,
            self.verdict,
        )
        return {
            **{function.__name__: function for function in functions},
            "source": Name(found.plan.dataset.source.partition(" ")[0]),
            "simulated": found.plan.dataset.source == "simulator",
            "experiment": Name(experiment.name),
            "targets": [(target_name(target), target_label(target)) for target in found.targets],
            "primary": Name(found.label(found.primary)),
            "pruner": Name(variant.pruner),
            "stages": [Name(stage) for stage in range(1, found.last_stage(found.primary) + 1)],
            "last": Name(found.last_stage(found.primary)),
            "variants": {name: Name(found.label(name)) for name in found.variants},
            "baselines": tuple(baseline.name for baseline in found.baselines),
            "best_law": law.label if law else WEAR_LAW,
            "terms": self._terms(),
            "corrects": experiment.correction_of(variant) is not None,
            "relative": experiment.sensors_of(variant) == "relative",
            "split": experiment.split.kind,
            "widths": Tex("-".join(self.n("config", "layers", str(i)) for i in range(len(experiment.layers)))),
            "served": self._served(),
            "recounted": found.recounted,
            "validates": experiment.split.validation_cases > 0,
            "otherwise": [Name(one) for one in found.variants if one != found.primary and one not in found.marked],
            "shortened": found.shortened,
            "footnotes": [self._told(note, f"note.mark.{at}") for at, note in enumerate(found.footnotes, 1)],
            "remarks": [self._told(note, f"note.data.{at}") for at, note in enumerate(self.tables["data"].notes, 1)],
            "tables": frozenset(self.tables),
            "figures": self.figures,
            **self._settings(),
        }

    def _terms(self) -> tuple[str, ...]:
        """The physics terms that the networks were trained with, as their histories have them."""
        found = self.results
        history = found.history[found.history["variant"] == found.primary]
        enabled = found.plan.experiment.physics_of(found.plan.variant(found.primary)).enabled()
        return tuple(term for term in enabled if term in history and history[term].notna().any())

    def _served(self) -> tuple[str, ...]:
        """Which rows of the training cost are the primary variant's: its own phases, and the dense one it shares."""
        rows = self.tables["training-cost"].frame["variants"] if "training-cost" in self.tables else ()
        primary = self.results.label(self.results.primary)
        return tuple(dict.fromkeys(row for row in rows if primary in row.split(", ")))

    def _settings(self) -> dict[str, Any]:
        """What was `varied` in the table by settings, and its columns in parts that fit a page.

        `settings` are those that the paper prints below each other: R² of each target, with the settings beside it
        where they have room, else in a part of their own before it; `kept`, for the supplement, is how well laws are
        kept.
        """
        from artifacts.results import target_name

        if "settings" not in self.tables:
            return {"varied": [], "settings": [], "kept": {}}
        table = self.tables["settings"]
        columns = displayed(list(table.frame))
        named = [column for column, left in zip(columns, table.left_aligned(), strict=True) if left]
        label, *varied = named
        beside = named if len(varied) <= SETTINGS else [label]
        scores = [[c for c in columns if c.startswith(f"R², {target_name(one)},")] for one in self.results.targets]
        shown = [*([] if beside == named else [named]), *([*beside, *found] for found in scores)]
        rest = [column for column in columns if column not in named and not any(column in found for found in scores)]
        return {
            "varied": [Name(one) for one in varied],
            "settings": [{column: column for column in part} for part in shown],
            "kept": {column: column for column in (label, *rest)} if rest else {},
        }

    def _told(self, text: str, name: str) -> Tex:
        """A text with the numbers that it states, which `artifacts.executed` named."""
        return _text(text, [self.known[one.name] for one in stated(text, name)])

    def number(self, *parts: str) -> Number:
        """The value that is called so; each part but the first is spelled as a table has it."""
        name = ".".join([parts[0], *(slug(part) for part in parts[1:])])
        if name not in self.known:
            near = difflib.get_close_matches(name, self.known, n=1)
            hint = f"; perhaps {near[0]}" if near else ""
            raise InputError(f"the paper asks for {name}: no such value in numbers.json{hint}")
        return self.known[name]

    def n(self, *parts: str) -> Tex:
        """A value as it is printed everywhere."""
        return _mark(self.number(*parts))

    def q(self, *parts: str) -> Tex:
        """A value with its unit."""
        one = self.number(*parts)
        return Tex(f"{_mark(one)}\\,{latex_escape(one.unit)}" if one.unit else _mark(one))

    def ci(self, *parts: str) -> Tex:
        """A value with its interval, where it has one."""
        return _folded(self.number(*parts), self.known)

    def has(self, *parts: str) -> bool:
        """Whether there is such a value."""
        return ".".join([parts[0], *(slug(part) for part in parts[1:])]) in self.known

    def caption(self, name: str) -> Tex:
        """The caption of a table, without its full stop."""
        return _called(self.tables[name].caption.rstrip("."))

    def float(self, name: str) -> Tex:
        """The environment of a figure: over both columns where it is wider than one."""
        return Tex("figure*" if name in self.wide else "figure")

    def notes(self, name: str) -> list[Tex]:
        """What a table says of its marked variants, a note each."""
        return [self._told(text, called) for called, text in _footnotes(self.tables[name])]

    def verdict(self, name: str) -> str:
        """Whether a claim holds, as `claims.Holds` has it; absent, where the plan has none of that name."""
        return next((one.verdict for one in self.outcomes if one.claim["name"] == name), ABSENT)

    def tabular(
        self,
        name: str,
        columns: Mapping[str, str] | None = None,
        where: Mapping[str, Any] | None = None,
        intervals: bool = True,
        wrap: Mapping[str, str] | None = None,
        rows: Sequence[int] | None = None,
        stacked: bool = False,
    ) -> Tex:
        r"""Chosen columns and rows of a table, as a `tabular`.

        Args:
            name: of the table.
            columns: those to print, each with the heading it gets; all of them if left out.
            where: the values (one, or several) that a column has in the rows to print.
            intervals: whether cells have theirs.
            wrap: columns of text that break their lines, with their width as LaTeX has it.
            rows: those to print, of a table in `parts`; all of them if left out.
            stacked: whether headings break their lines, behind each comma and full stop.
        """
        table, wrap = self.tables[name], wrap or {}
        columns = columns or {column: column for column in displayed(list(table.frame))}
        missing = [column for column in (*columns, *(where or {})) if column not in table.frame]
        if missing:
            raise InputError(f"the paper asks for column {missing[0]!r} of table {name}; it has {list(table.frame)}")
        for column, width in wrap.items():
            if not re.fullmatch(LENGTH, width):
                raise InputError(f"table {name}, wrap[{column!r}] = {width!r}: a width is a length, as 1.2in")
        rows = self._rows(name, where) if rows is None else rows
        marks = {one.cells[0][1:]: one for one in table.numbers().values()}
        left = dict(zip(displayed(list(table.frame)), table.left_aligned(), strict=True))
        broken = ">{\\raggedright\\arraybackslash}"
        form = "".join(f"{broken}p{{{wrap[c]}}}" if c in wrap else "l" if left[c] else "r" for c in columns)
        lines = [" & ".join(_cell(table, row, column, marks, intervals) for column in columns) for row in rows]
        if stacked:
            named = [_stacked(heading, left[name]) for name, heading in columns.items()]
        else:
            named = [_called(name) if name == heading else latex_escape(heading) for name, heading in columns.items()]
        head = " & ".join(named) + " \\\\\n\\midrule\n"
        head = head if any(columns.values()) else ""
        body = " \\\\\n".join(lines) + " \\\\" if lines else ""
        return Tex(f"\\begin{{tabular}}{{@{{}}{form}@{{}}}}\n\\toprule\n{head}{body}\n\\bottomrule\n\\end{{tabular}}")

    def parts(self, name: str, where: Mapping[str, Any] | None = None, wrapped: bool = False) -> list[Part]:
        """A table that may be longer than a page, in parts that are not; `where` as in `tabular`."""
        rows, most = self._rows(name, where), ROWS_WRAPPED if wrapped else ROWS
        starts = range(0, max(len(rows), 1), most)  # an empty table is one part too
        return [Part(rows[first : first + most], ", continued" if first else "") for first in starts]

    def _rows(self, name: str, where: Mapping[str, Any] | None) -> list[int]:
        table = self.tables[name]
        return [row for row in range(len(table.frame)) if _chosen(table, row, where or {})]


def noted(tables: Iterable[Table]) -> dict[str, Number]:
    """The numbers in what these tables say of their marked variants, each a value from all that its table is from."""
    known: dict[str, Number] = {}
    for table in tables:
        how: dict[str, Any] = {"source": table.sources.get("", ()), "expression": f"note of table {table.name}"}
        known |= {one.name: one for name, text in _footnotes(table) for one in stated(text, name, **how)}
    return known


def _footnotes(table: Table) -> list[tuple[str, str]]:
    """What a table says of its marked variants: the name that numbers in a note begin with, and the note."""
    from artifacts.results import MARK

    told = [note for note in table.notes if note.startswith(MARK)]
    return [(f"note.{slug(table.name)}.{at}", note) for at, note in enumerate(told, 1)]


def _chosen(table: Table, row: int, where: Mapping[str, Any]) -> bool:
    for column, wanted in where.items():
        value = clean(table.frame.iat[row, table.frame.columns.get_loc(column)])
        if value not in ([wanted] if isinstance(wanted, str) else list(wanted)):
            return False
    return True


def _cell(table: Table, row: int, column: str, marks: Mapping[tuple[int, str], Number], intervals: bool) -> str:
    value = clean(table.frame.iat[row, table.frame.columns.get_loc(column)])
    if value is None:
        return latex_escape(table.pick(table.formats, row, column, Format()).missing)
    if isinstance(value, str):
        text, verdict = " ".join(value.split()), ""
        if table.name == "claims" and column == "verdict":
            verdict, colon, reason = text.partition(":")
            text, verdict = colon + reason, f"\\verdict{{{table.frame.iat[row, 0]}}}{{{latex_escape(verdict)}}}"
        numbers, escaped = table.told(row, column), latex_escape(text)
        if numbers or verdict or not has_number(escaped):
            return verdict + _text(text, numbers)
        return f"\\cell{{{table.name}.{row}.{list(table.frame).index(column)}}}{{{escaped}}}"
    return _folded(marks[row, column], table.numbers()) if intervals else _mark(marks[row, column])


def _text(text: str, numbers: Sequence[Number]) -> Tex:
    """A text with each of its numbers marked; what else in it looks like one is a name."""
    if not numbers:
        return _called(text)
    first, *others = split(text)
    return Tex(_called(first) + "".join(_mark(one) + _called(part) for one, part in zip(numbers, others, strict=True)))


def _called(text: str) -> Tex:
    """A text whose digits, if any, are a name's."""
    escaped = latex_escape(text)
    return Tex(f"\\called{{{escaped}}}" if has_number(escaped) else escaped)


def _stacked(heading: str, left: bool) -> str:
    """The name of a column, a line for each of its parts."""
    lines = [_called(part.strip()) for part in re.split(r"(?<=[,.])", heading)]
    side = "l" if left else "r"
    return "".join([f"\\shortstack[{side}]{{", r" \\ ".join(lines), "}"]) if len(lines) > 1 else lines[0]


def _width(pdf: bytes) -> float:
    """Of the page of a figure, in points."""
    box = re.search(rb"/MediaBox\s*\[\s*\S+\s+\S+\s+([\d.]+)", pdf)
    return float(box[1]) if box else 0.0


def _folded(one: Number, known: Mapping[str, Number]) -> Tex:
    """A value with its interval, which is left out where it has no width as printed."""
    ends = [known[name] for name in one.interval or ()]
    if all(end.text == one.text for end in ends):
        return _mark(one)
    return Tex(f"{_mark(one)} [{', '.join(map(_mark, ends))}]")


def _mark(number: Number) -> Tex:
    return Tex(f"\\val{{{number.name}}}{{{latex_number(number.text)}}}")


def _verdict_mark(outcome: Outcome) -> str:
    return f"\\verdict{{{outcome.claim['name']}}}{{{latex_escape(outcome.verdict)}}}"
