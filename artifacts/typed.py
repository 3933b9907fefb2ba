r"""Numbers that a text of LaTeX prints by itself: digits, glyphs and words, wherever a reader would see them.

What is no number of the work is taken out first: arguments that say where and how (`\ref`, lengths, columns of a
table), years beside a name of the bibliography, section numbers, and the constants of an equation as
`paper/constants.toml` declares them. A comment is read like all else: whether a `%` begins one is TeX's to say. Knows
nothing of templates.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from spinn.documents import parse_toml
from spinn.errors import InputError

# Commands whose arguments are no text: so many of `{…}`, and `[…]` before the last of them.
STRUCTURE = {
    **dict.fromkeys(("label", "ref", "eqref", "pageref", "autoref", "cref", "Cref", "nameref"), 1),
    **dict.fromkeys(("cite", "citep", "citet", "textcite", "parencite", "citeauthor", "citeyear", "nocite"), 1),
    **dict.fromkeys(("documentclass", "usepackage", "usetikzlibrary", "tikzset", "graphicspath"), 1),
    **dict.fromkeys(("includegraphics", "bibliography", "bibliographystyle", "vspace", "hspace", "cmidrule"), 1),
    **dict.fromkeys(("vspace*", "hspace*", "pdftrailerid", "enlargethispage", "parbox", "scalebox", "raisebox"), 1),
    **dict.fromkeys(("multicolumn", "multirow", "cline"), 1),
    **dict.fromkeys(("resizebox", "rule", "setlength", "addtolength"), 2),
}
PRINTING = ("cite", "citep", "citet", "textcite", "parencite")  # what they have in `[…]` is text
# Arguments of \begin{…} after its name.
BODIES = {"tabular": 1, "tabular*": 2, "minipage": 1, "tabularx": 2, "subfigure": 1}
DRAWING = ("tikzpicture", "scope")  # environments whose `[…]` says how
DISPLAYS = ("equation", "equation*", "align", "align*")
WORDS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
"""Two to twenty, in their order."""
_PARTS = "third|quarter|fifth|sixth|seventh|eighth|ninth|twelfth|twentieth|(?:four|fif|six|seven|eigh|nine)teenth"
_PARTS += "|tenth|eleventh|thirteenth|hundredth|thousandth"
_COUNT = f"(?:an?|one|{'|'.join(WORDS[:8])})"
_THAN = "less|more|fewer|better|worse|lower|higher|smaller|larger|faster|slower|as|than|when|where|in"
_MORE = (
    *("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
    *("tens", "hundreds?", "thousands?", "millions?", "billions?", "dozens?", "half", "halves", "twice", "thrice"),
    *("(?:doubl|tripl|trebl|quadrupl|quintupl)(?:e[ds]?|ing)", "halv(?:ed?|ing)"),
    rf"(?:{'|'.join(WORDS)}|hundred|thousand|million|\w+ty)-?fold",
    rf"{_COUNT}-(?:{_PARTS})s?",
    rf"{_COUNT}[ ~\n](?:{_PARTS})(?:s\b|(?=[ ~\n]*[.,;:)]))",
    rf"{_COUNT}[ ~\n](?:{_PARTS})(?=[ ~\n]+(?:{_THAN})\b)",
    rf"by[ ~\n]{_COUNT}[ ~\n](?:{_PARTS})",
    rf"(?:{_PARTS})s?(?=[ ~\n]+of\b)",
    rf"every[ ~\n](?:second|fourth|{_PARTS})",
    r"(?:an?|one|single|whole)(?:[ ~\n-]|\\,)+per[ ~\n-]?(?:cent|mille)",
    *(r"percentage[ ~\n-]points?", r"orders?[ ~\n]of[ ~\n]magnitude", r"(?:pair|couple)[ ~\n]of"),
)
_NUMERAL = re.compile(r"\d+(?:(?:[.,]|\{,\}|\\,)\d+)*|(?<!\d)\.\d+")
_WORD = re.compile(rf"\b(?:{'|'.join((*_MORE, *WORDS))})\b", re.IGNORECASE)
_ROMAN = re.compile(r"\b(?=[IVXL]{2})X{0,3}L?X{0,3}(?:IX|IV|V?I{0,3})\b")
_READ = "input|include|csvautotabular|csvreader|lstinputlisting|verbatiminput"  # what is not searched is not read
_HIDDEN = re.compile(
    rf"\^\^.|\\(?:{_READ})(?=[{{\[])"
    r"|\\(?:char|symbol|romannumeral|Roman|ding|textcircled|today|text(?:one|two|three|half)[a-z]+)(?![a-zA-Z])"
)
_FLOATS = "(?:dbl)?(?:top|bottom|floatpage)fraction|textfraction"
_DATED = (
    re.compile(r"\b([A-Z][\w'-]+|al\.)\\?[ ~]\((\d{4})\)"),  # Archard (1953), Lee et al.\ (2019)
    re.compile(r"\b([A-Z][\w'-]+|al\.),[ ~](\d{4})\b"),  # Agogino and Goebel, 2007
)
_ALLOWED = (
    re.compile(r"\b(?:Sections?|Sec\.|Appendix)[ ~][1-9]\d?(?:\.[1-9]\d?)*(?:[ ~]and[ ~][1-9]\d?(?:\.[1-9]\d?)*)?"),
    re.compile(r"\\cite\w*\[pp?\.[ ~]\d+(?:--?\d+)?\]"),
    re.compile(r"\\(?:url|href)\{https?://[^{}\s]*\}"),
    re.compile(r"\b(?:one|two)-sided\b"),
    re.compile(rf"\\renewcommand\{{\\(?:{_FLOATS})\}}\{{[\d.]+\}}"),  # how much of a page floats may fill
    re.compile(r"\\setcounter\{(?:(?:dbl)?topnumber|bottomnumber|totalnumber)\}\{\d\}"),  # and how many there may be
    re.compile(r"(?<!\\)#\d"),  # the argument of a macro
    re.compile(r"(?<=\})\[\d\](?=\{)"),  # \newcommand{\val}[2]{…}
)
_GROUP = r"\{(?:[^{}]|\{[^{}]*\})*\}"
_MARKS = re.compile(rf"\\(?:(?:val|verdict){_GROUP}|called){_GROUP}")


@dataclass(frozen=True)
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
            content, cited = path.read_bytes(), bibliography.read_bytes()
        except FileNotFoundError as error:
            raise InputError(f"{error}; it has the constants of the paper's equations, or what it cites") from None
        return cls.parse(content, cited, str(path))

    @classmethod
    def parse(cls, content: bytes, bibliography: bytes, path: str) -> Constants:
        """What the bytes of the file at `path` declare, and those of a BibTeX file have.

        Raises:
            InputError: they are not TOML, or a constant lacks its value, meaning or source.
        """
        try:
            entries = parse_toml(content).get("constant", [])
        except ValueError as error:
            raise InputError(f"{path}: {error}; it declares the constants of the paper's equations") from None
        equations: dict[str, set[str]] = {}
        inline: set[str] = set()
        texts: set[str] = set()
        for number, entry in enumerate(entries, 1):
            for key in ("value", "meaning", "source"):
                if not str(entry.get(key, "")).strip():
                    raise InputError(
                        f"{path}: constant {number}: {key} is missing; say what it is and where it is from"
                    )
            for label in entry.get("equations", ()):
                equations.setdefault(label, set()).add(str(entry["value"]))
            inline |= set(entry.get("inline", ()))
            texts |= set(entry.get("text", ()))
        by_label = {label: frozenset(values) for label, values in equations.items()}
        return cls(by_label, frozenset(inline), frozenset(texts), frozenset(_cited(bibliography)))


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


def typed(text: str, constants: Constants) -> Iterator[tuple[int, str]]:
    """Line and text of each number that LaTeX would print of `text`."""
    text = _without_mathematics(text, constants)  # before labels go, by which its constants are declared
    text = _without_structure(text)
    for pattern in _DATED:
        text = pattern.sub(lambda dated: _blanked(dated) if dated.groups() in constants.cited else dated[0], text)
    for pattern in _ALLOWED:
        text = pattern.sub(_blanked, text)
    yield from _numbers(text, constants)


def unmarked(text: str) -> str:
    """`text` less what its marks say is a named value, a verdict or a name."""
    return _MARKS.sub(_blanked, text)


def has_number(text: str) -> bool:
    """Whether there is a digit, a glyph or a word for a number in a text."""
    return any(_numbers(text, NONE))


def blank(text: str) -> str:
    """As many blanks, line ends kept, so that positions stay."""
    return re.sub(r"[^\n]", " ", text)


def _blanked(match: re.Match[str]) -> str:
    return blank(match.group())


def _numbers(text: str, constants: Constants) -> Iterator[tuple[int, str]]:
    for known in sorted(constants.texts, key=len, reverse=True):
        text = text.replace(known, blank(known))
    for pattern in (_NUMERAL, _WORD, _ROMAN, _HIDDEN):
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match.group()
    for at, character in enumerate(text):
        if not character.isascii() and _is_numeric(character):
            yield text.count("\n", 0, at) + 1, character


def _is_numeric(character: str) -> bool:
    """Whether a glyph says a number, as ½ does; digits of any script are found as numerals."""
    return unicodedata.numeric(character, None) is not None and not character.isdecimal()


def _closing(text: str, at: int) -> int:
    """The position after the bracket that closes the one at `at`; `at` itself where none does: nothing is taken out."""
    pairs, depth = {"{": "}", "[": "]"}, 0
    opening, closing = text[at], pairs[text[at]]
    for position in range(at, len(text)):
        if text[position] in (opening, closing) and (position == at or text[position - 1] != "\\"):
            depth += 1 if text[position] == opening else -1
            if not depth:
                return position + 1
    return at


@cache
def _structural() -> re.Pattern[str]:
    names = "|".join(sorted(map(re.escape, STRUCTURE), key=len, reverse=True))
    return re.compile(rf"\\({names})(?![a-zA-Z*])(?:\([lr]+\))?|\\begin\{{([a-zA-Z]+\*?)\}}|\\\\\*?(?=\[)")


def _without_structure(text: str) -> str:
    """`text` less the arguments that say where and how."""
    position = 0
    while match := _structural().search(text, position):
        command, environment = match.groups()
        groups = STRUCTURE[command] if command else BODIES.get(environment, 0)
        how = not command and environment in (None, *DRAWING)
        position = match.end()
        while (bracket := text[position : position + 1]) and bracket in ("{[" if groups else "[" if how else ""):
            end = _closing(text, position)
            if end == position:
                break
            if bracket == "{" or command not in PRINTING:
                text = text[:position] + blank(text[position:end]) + text[end:]
            position, groups, how = end, groups - (bracket == "{"), False
    return text


def _without_mathematics(text: str, constants: Constants) -> str:
    """`text` less the numerals that are declared; others stay, and are found."""
    shown = "|".join(map(re.escape, DISPLAYS))
    for match in re.finditer(rf"\\begin\{{({shown})\}}(.*?)\\end\{{\1\}}", text, re.DOTALL):
        label = re.search(r"\\label\s*\{([^}]*)\}", match[0])
        declared = constants.equations.get(label.group(1), frozenset()) if label else frozenset()
        body = match[0]
        for one in _NUMERAL.finditer(body):
            if one.group() in declared:
                body = body[: one.start()] + blank(one.group()) + body[one.end() :]
        text = text[: match.start()] + body + text[match.end() :]
    for formula in sorted(constants.inline, key=len, reverse=True):
        text = text.replace(f"${formula}$", blank(f"${formula}$"))
    return text
