"""Whether the sentence of a claim says what the claim says, and what is planned: the same numbers, the same direction.

The paper prints the sentence and decides by the threshold, so neither may say what the other does not. Knows English
words; nothing of what is measured.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from spinn.numerals import numerals, split, value

PHRASES = {
    "at-least": ("at least", "no less than", "no fewer than", "not less than", "not below", "or more", "≥"),
    "at-most": ("at most", "no more than", "not more than", "not above", "or less", "or fewer", "up to", "≤"),
    "above": ("above", "more than", "greater than", "higher than", "better than", "exceeds", ">"),
    "below": ("below", "less than", "lower than", "worse than", "under", "<"),
    "within": ("within",),
}
"""How a sentence says each comparison that a claim can make."""
_MEANT = {phrase: comparison for comparison, phrases in PHRASES.items() for phrase in phrases}
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WORD = re.compile(rf"(?<![\w-])(?:{'|'.join(_WORDS)})(?!\w)", re.IGNORECASE)
_PHRASE = re.compile(rf"(?<!\w)(?:{'|'.join(_MEANT)})(?![a-z])")


def contradiction(statement: str, comparison: str, bounds: Sequence[float]) -> str:
    """What in a claim contradicts its statement; empty where nothing does.

    Args:
        statement: a sentence. Its numbers may have thousands separators and zeros at their end.
        comparison: of the claim. A range has both of its ends, so that it may be told as at least and at most.
        bounds: the threshold, or both ends of a range. A bound of 0 need not be named ("better than"); the sign of
            those around 0 need not either ("within 0.02 of").
    """
    named = numerals(statement)
    around = len(bounds) == 2 and bounds[0] < 0 < bounds[1]
    known = {abs(value(one)) if around else value(one) for one in named}
    for bound in bounds:
        if bound and (abs(bound) if around else bound) not in known:
            return f"threshold = {bound:,} is not in the statement, which has {', '.join(named) or 'no number':.80}"
    allowed = ("at-least", "at-most", "within") if comparison == "within" else (comparison,)
    for phrase in _PHRASE.findall(" ".join(statement.lower().split())):
        if _MEANT[phrase] not in allowed:
            return f"comparison = {comparison!r} is not what the statement says, {phrase!r}"
    return ""


def miscount(statement: str, bounds: Sequence[float], counts: Mapping[str, Collection[float]]) -> str:
    """The first number of a statement that is neither a count, as it has to be, nor else the threshold; or "".

    Args:
        statement: a sentence, with numbers in digits or in words.
        bounds: as `contradiction` has them.
        counts: by what is counted, in the singular ("stage"), how many of it there are.
    """
    told = [
        (spelled, value(spelled), behind)
        for spelled, behind in zip(numerals(statement), split(statement)[1:], strict=True)
    ]
    words = _WORD.finditer(statement)
    told += [(word[0], _WORDS.index(word[0].lower()) + 1, statement[word.end() :]) for word in words]
    for spelled, number, behind in told:
        counted = re.match(r"[\s-]+(\w+?)s?(?!\w)", behind)
        if counted and counted[1] in counts:
            known = counts[counted[1]]
            if number not in known:
                return f"{spelled}{counted[0]}: {' or '.join(f'{count:,}' for count in sorted(known))} in this plan"
        elif spelled.isalpha() and (number == 1 or behind.startswith("-")):  # one of them, two-sided
            continue
        elif abs(number) not in map(abs, bounds):
            return f"{spelled}: neither its threshold nor a count of its {', '.join(counts)}"
    return ""
