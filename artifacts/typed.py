r"""Numbers that a text of LaTeX prints by itself: digits, glyphs and words, wherever a reader would see them.

What is no number of the work is taken out first: arguments that say where and how (`\ref`, lengths, columns of a
table), years beside a name of the bibliography, section numbers, and the constants of an equation as
`paper/constants.toml` declares them. Each is taken out in its usual form only; in any other it is read, and a command
that could print a number unread is found as one. A comment is read like all else: whether a `%` begins one is TeX's to
say. Knows nothing of templates.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from artifacts.constants import NONE, Constants

_UNIT = r"(?:pt|in|cm|mm|em|ex|bp|pc|\\(?:line|text|column)width|\\textheight)"
LENGTH = rf"-?(?:\d+\.?\d*|\.\d+){_UNIT}"
"""A length as LaTeX has it, and nothing beside it."""
_SIZE = rf"(?:-?[\d.]*(?:{_UNIT}|\\[a-zA-Z]+)?|[!*]|\d+-\d+)"
_SETTING = rf"[a-z]+(?:={_SIZE})?"
_KEYED = "label|ref|eqref|pageref|autoref|cref|Cref|nameref|usetikzlibrary|bibliography|bibliographystyle|pdftrailerid"
_LOADED = "documentclass|usepackage"
_CITING = "cite|citep|citet|textcite|parencite|citeauthor|citeyear|nocite"
_SIZED = "vspace|hspace|enlargethispage|parbox|scalebox|raisebox|multicolumn|multirow|cline|cmidrule"
_SIZED_TWICE = "resizebox|rule|setlength|addtolength"
_FLOATS = "(?:dbl)?(?:top|bottom|floatpage)fraction|textfraction"
_COUNTERS = "(?:dbl)?topnumber|bottomnumber|totalnumber"
_COLUMNS = rf"(?:[lcrX|\s]|[pmb]\{{{LENGTH}\}}|[@!<>]\{{(?:\\[a-zA-Z]+)*\}}|\*\{{\d+\}}\{{[lcr|]+\}})*"
_HOW = rf"(?:\[(?:[tcb]|{LENGTH})\]|\([lr]+\))*"
# Where and how things stand. Each has to be what it is for to the last letter, so that no text goes with it.
_STRUCTURE = (
    re.compile(rf"\\(?:{_KEYED})\*?\{{[^{{}}\\]*\}}"),
    re.compile(rf"\\(?:{_LOADED})(?:\[[^][{{}}\\]*\])?\{{[^{{}}\\]*\}}"),
    re.compile(rf"\\(?:{_SIZED})\*?{_HOW}\{{{_SIZE}\}}"),
    re.compile(rf"\\(?:{_SIZED_TWICE}){_HOW}\{{{_SIZE}\}}\{{{_SIZE}\}}"),
    re.compile(rf"\\includegraphics(?:\[{_SETTING}(?:,\s*{_SETTING})*\])?\{{[^{{}}\\]*\}}"),
    re.compile(rf"\\begin\{{(?:minipage|subfigure)\}}{_HOW}\{{{_SIZE}\}}"),
    re.compile(rf"\\begin\{{tabular(?:[*x]\}}\{{{_SIZE})?\}}{_HOW}\{{{_COLUMNS}\}}"),
    re.compile(rf"\\\\\*?\[{LENGTH}\]"),
    re.compile(rf"\\renewcommand\{{\\(?:{_FLOATS})\}}\{{[\d.]+\}}"),  # how much of a page floats may fill
    re.compile(rf"\\setcounter\{{(?:{_COUNTERS})\}}\{{\d\}}"),  # and how many there may be
)
_PAGES = re.compile(r"(?<=\[)pp?\.[ ~]\d+(?:--?\d+)?(?=\])")
_CITATION = re.compile(rf"(\\(?:{_CITING})\*?)((?:\[[^][]*\])*)(\{{[^{{}}\\]*\}})")  # what it has in […] is printed
_ENVIRONMENTS = "tabular[*x]?|minipage|subfigure"
# Of what stood as above nothing is left; a name that is left is defined anew, printed, or given something else.
_LEFT = re.compile(
    rf"\\(?:{_KEYED}|{_LOADED}|{_CITING}|{_SIZED}|{_SIZED_TWICE}|includegraphics|{_ENVIRONMENTS}|{_FLOATS})(?![a-zA-Z])"
    rf"|(?:{_COUNTERS})\b|\\\w*(?:def|[cC]ommand)\*?[\s{{]*\\(?:(?:re)?newcommand|setcounter|url|href|begin|\\)(?![a-zA-Z])"
)
_GROUP = r"\{(?:[^{}]|\{[^{}]*\})*\}"
_DRAWING = re.compile(rf"\\begin\{{(?:tikzpicture|scope)\}}\[(?:[^][{{}}]|{_GROUP})*\]|\\tikzset{_GROUP}")
_DRAWN = re.compile(
    r"(?<=[,[{\s])(?:(?:text|line) width|minimum (?:width|height|size)|node distance|(?:inner|outer) sep|[xy]shift)"
    rf"={LENGTH}(?=[],}}])"
)
DISPLAYS = ("equation", "equation*", "align", "align*")
WORDS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
"""Two to twenty, in their order."""
_PARTS = "third|quarter|fifth|sixth|seventh|eighth|ninth|twelfth|twentieth|(?:four|fif|six|seven|eigh|nine)teenth"
_PARTS += "|tenth|eleventh|thirteenth|hundredth|thousandth"
_COUNT = f"(?:an?|one|{'|'.join(WORDS[:8])})"
# What is counted in its order, not divided: a third option.
_ORDERED = "option|time|kind|way|case|tool|cut|stage|run|step|party|network|variant|column|row|table|figure|term|law"
_ORDERED += "|question|reason|point|method|test|experiment|fold|seed|label|epoch|layer"
# What follows a zero that is a place on an axis, not a count: an interval above zero where …
_PLACED = "at|in|on|for|to|by|as|and|or|nor|but|if|is|are|was|where|when|elsewhere|after|before|with|than|the|then"
_MORE = (
    *("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
    *("tens", "hundreds?", "thousands?", "(?:m|b|tr|quadr)illions?", "dozens?", "half", "halves", "twice", "thrice"),
    r"(?!double[ ~\n-]precision)(?:doubl|tripl|trebl|(?:quadr|quint|sext|sept|oct|dec|cent)upl)(?:e[ds]?|ing)",
    "halv(?:ed?|ing)",
    rf"(?:{'|'.join(WORDS)}|hundred|thousand|million|\w+ty)-?fold",
    rf"{_COUNT}(?:-|[ ~\n]+)(?:{_PARTS})s?\b(?!-[a-z]|[ ~\n]+(?:{_ORDERED})s?\b)",
    rf"(?!(?<=\bthe[ ~\n])\w+[ ~\n]of[ ~\n]th[eo]se)(?:{_PARTS})s?(?=[ ~\n]+of\b)",
    rf"every[ ~\n](?:second|fourth|{_PARTS})",
    rf"(?:zero|nought)[ ~\n]+(?!(?:{_PLACED})\b)[a-z]+",
    r"(?:zero|nought)(?=(?:[ ~\n]|\\,)*\\%)",
    r"(?:an?|one|single|whole)(?:[ ~\n-]|\\,)+per[ ~\n-]?(?:cent|mille)",
    *(r"percentage[ ~\n-]points?", r"orders?[ ~\n]of[ ~\n]magnitude", r"(?:pair|couple)[ ~\n]of"),
)
_NUMERAL = re.compile(r"\d+(?:(?:[.,]|\{,\}|\\,)\d+)*|(?<!\d)\.\d+")
_WORD = re.compile(rf"\b(?:{'|'.join((*_MORE, *WORDS))})\b", re.IGNORECASE)
_ROMAN = re.compile(
    r"(?<![Tt]ype[ ~])(?<!Appendix[ ~])\b(?=[IVXLC]{2,}\b|(?:(?<=case\{)|(?<=textsc\{))[ivxlc]{2,}\b)"
    r"(?i:(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3}))(?!\w)"
)
_GLYPHS = f"zero|half|one|{'|'.join(WORDS[:8])}"
# What is not searched is not read.
_READ = "input|include|InputIfFileExists|csvautotabular|csvreader|lstinputlisting|verbatiminput"
_COUNTED = r"the|number|numexpr|pgfmath\w+|char|symbol|[rR]oman(?:numeral)?|ding|textcircled|today|meaning"
_QUOTED = r"string|detokenize|verb|lstinline|begin\{(?:[vV]erbatim|lstlisting|alltt)"  # in these nothing is structure
_DEFINED = r"let|csname|@name(?:def|use)|renewenvironment|\w+Document(?:Command|Environment)"  # what a name is no more
_HIDDEN = re.compile(rf"\^\^.|\\@*(?:{_READ}|{_COUNTED}|{_QUOTED}|{_DEFINED}|text(?:{_GLYPHS})[a-z]+)(?![a-zA-Z])")
# Within a word these print nothing; after a command they end its name.
_PARTED = re.compile(r"((?<!\\)\\[a-zA-Z]+)?(?<=[a-zA-Z])(?:\{\}|\\/)+(?=[a-zA-Z])")
_AFTER = (
    r"(?![.,]?\d)(?=[ ~\n]?(?:[].,;:)}]|\Z|(?:and|or|to|has|have|says?|shows?|gives?)\b))"  # no unit, nothing counted
)
_DATED = (
    re.compile(r"\b([A-Z][\w'-]+|al\.)\\?[ ~]\((\d{4})\)"),  # Archard (1953), Lee et al.\ (2019)
    re.compile(rf"\b([A-Z][\w'-]+|al\.),[ ~](\d{{4}}){_AFTER}"),  # Agogino and Goebel, 2007
)
_SECTION = r"[1-9]\d?(?:\.[1-9]\d?)*"
_ALLOWED = (
    re.compile(rf"\b(?:Sections?|Sec\.|Appendix)[ ~]{_SECTION}(?:[ ~]and[ ~]{_SECTION})?{_AFTER}"),
    re.compile(r"\\(?:url|href)\{https?://[^{}\s]*\}"),
    re.compile(r"\b(?:one|two)-sided\b"),
    re.compile(r"(?<!\\)#\d"),  # the argument of a macro
    re.compile(r"\\(?:re)?newcommand\{\\[a-zA-Z]+\}\[\d\](?=\{)"),  # \newcommand{\val}[2]{…}
)


def typed(text: str, constants: Constants) -> Iterator[tuple[int, str]]:
    """Line and text of each number that LaTeX would print of `text`, and of each command that could hide one."""
    text = _plain(text)
    yield from found(_HIDDEN, text)
    text = _without_mathematics(text, constants)  # before labels go, by which its constants are declared
    text = _without_structure(text)
    yield from found(_LEFT, text)
    for pattern in _DATED:
        text = pattern.sub(lambda dated: _blanked(dated) if dated.groups() in constants.cited else dated[0], text)
    for pattern in _ALLOWED:
        text = pattern.sub(_blanked, text)
    yield from _numbers(text, constants)


def has_number(text: str) -> bool:
    """Whether there is a digit, a glyph, a word or a command for a number in a text."""
    text = _plain(text)
    return bool(_HIDDEN.search(text)) or any(_numbers(text, NONE))


def _plain(text: str) -> str:
    """`text` with its ligatures as letters, as ﬁ is two, and its words whole: no place is left where one may part."""
    text = _PARTED.sub(lambda one: one[0] if one[1] else "", text.replace("\\-", ""))
    kept = (one for one in text if unicodedata.category(one) != "Cf")
    return "".join(unicodedata.normalize("NFKC", one) if one.isalpha() else one for one in kept)


def blank(text: str) -> str:
    """As many blanks, line ends kept, so that positions stay."""
    return re.sub(r"[^\n]", " ", text)


@lru_cache(1024)
def whole(text: str) -> re.Pattern[str]:
    """A text that is no part of a longer word or number."""
    before, after = (r"(?<![\w.])" if text[:1].isalnum() else ""), (r"(?!\w|\.\d)" if text[-1:].isalnum() else "")
    return re.compile(before + re.escape(text) + after)


def _blanked(match: re.Match[str]) -> str:
    return blank(match.group())


def found(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each match."""
    for match in pattern.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group()


def _numbers(text: str, constants: Constants) -> Iterator[tuple[int, str]]:
    for known in sorted(constants.texts, key=len, reverse=True):
        text = whole(known).sub(_blanked, text)
    for pattern in (_NUMERAL, _WORD, _ROMAN):
        yield from found(pattern, text)
    for at, character in enumerate(text):
        if not character.isascii() and _is_numeric(character):
            yield text.count("\n", 0, at) + 1, character


def _is_numeric(character: str) -> bool:
    """Whether a glyph says a number, as ½ does; digits of any script are found as numerals."""
    return unicodedata.numeric(character, None) is not None and not character.isdecimal()


def _without_structure(text: str) -> str:
    """`text` less what says where and how."""
    for pattern in _STRUCTURE:
        text = pattern.sub(_blanked, text)
    text = _DRAWING.sub(lambda drawing: _DRAWN.sub(_blanked, drawing[0]), text)
    return _CITATION.sub(lambda cited: blank(cited[1]) + _PAGES.sub(_blanked, cited[2]) + blank(cited[3]), text)


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
