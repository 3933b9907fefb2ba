"""A claim and its sentence say the same number and the same direction, however the number is spelled."""

from __future__ import annotations

import re

import pytest

from spinn.statements import contradiction, miscount

SAME: dict[str, tuple[str, str, list[float]]] = {
    "as it is": ("It costs less than 5 %.", "below", [5.0]),
    "zeros at the end": ("It is above 0.70.", "above", [0.7]),
    "no zeros at the end": ("It leaves at least 70 % fewer.", "at-least", [70.0]),
    "thousands": ("It takes at most 1,850,000.5 bytes.", "at-most", [1850000.5]),
    "a range": ("From 180,000 to 210,000 are left.", "within", [180000, 210000]),
    "a range with hyphens": ("It has 180,000-210,000 of them.", "within", [180000, 210000]),
    "a range of two phrases": ("At least 3, and at most 5.", "within", [3.0, 5.0]),
    "a range around zero": ("Of 67,602 it is within 0.02.", "within", [-0.02, 0.02]),
    "a range around zero, with signs": ("It is from −0.03 to 0.02.", "within", [-0.03, 0.02]),
    "below zero": ("It is above -5, and so a loss.", "above", [-5.0]),
    "nothing to name": ("It is better than the other.", "above", [0.0]),
    "no more than": ("It takes no more\n than 5.", "at-most", [5.0]),
    "no less than": ("NO LESS THAN 5.", "at-least", [5.0]),
    "or more": ("It leaves 5 or more.", "at-least", [5.0]),
    "a sign": ("It is >5.", "above", [5.0]),
    "a part of a word": ("The higher thanks, 5.", "below", [5.0]),
}
OTHER: dict[str, tuple[str, str, list[float], str]] = {
    "another number": ("It costs 5 %.", "below", [7.0], "threshold = 7.0 is not in the statement, which has 5"),
    "no number": ("It is fast.", "below", [100.0], "threshold = 100.0 is not in the statement, which has no number"),
    "one digit": ("At most 850,000.", "at-most", [85000], "threshold = 85,000 is not in .*, which has 850,000$"),
    "a part of a name": ("The R2 of it.", "above", [2.0], "threshold = 2.0 is not in the statement, which has no"),
    "a part of a number": ("It is above 0.75.", "above", [75.0], "threshold = 75.0 is not .* has 0.75$"),
    "the other sign": ("It is above 5.", "above", [-5.0], "threshold = -5.0 is not in the statement, which has 5"),
    "a minus": ("It is above −5.", "above", [5.0], "threshold = 5.0 is not in the statement, which has −5"),
    "an end of a range": ("From 3 to 5.", "within", [3.0, 6.0], "threshold = 6.0 is not .* has 3, 5$"),
    "an end around zero": ("Within 0.02.", "within", [-0.03, 0.02], "threshold = -0.03 is not .* has 0.02$"),
    "a range above zero": ("From -3 to 5.", "within", [3.0, 5.0], "threshold = 3.0 is not .* has -3, 5$"),
}
PHRASES = {
    "at least": "at-least",
    "at most": "at-most",
    "above": "above",
    "below": "below",
    "less than": "below",
    "more than": "above",
    "greater than": "above",
    "better than": "above",
    "lower than": "below",
    "under": "below",
    "up to": "at-most",
    "not above": "at-most",
    "not below": "at-least",
    "≥": "at-least",
    ">": "above",
}


@pytest.mark.parametrize(("statement", "comparison", "bounds"), SAME.values(), ids=SAME)
def test_what_says_the_same_is_no_contradiction(statement: str, comparison: str, bounds: list[float]):
    """Whatever the spelling of number and phrase."""
    assert contradiction(statement, comparison, bounds) == ""


@pytest.mark.parametrize(("statement", "comparison", "bounds", "told"), OTHER.values(), ids=OTHER)
def test_a_bound_that_is_not_stated_is_named(statement: str, comparison: str, bounds: list[float], told: str):
    """With the numbers that the statement has."""
    assert re.match(told, contradiction(statement, comparison, bounds))


@pytest.mark.parametrize("comparison", ["above", "at-least", "below", "at-most"])
@pytest.mark.parametrize("phrase", PHRASES)
def test_each_phrase_is_of_one_comparison(phrase: str, comparison: str):
    """Every other comparison contradicts it, also where another phrase of the statement agrees."""
    told = contradiction(f"It is {phrase} 5.", comparison, [5.0])
    both = contradiction(f"It is {comparison.replace('-', ' ')} 5 and {phrase} 5.", comparison, [5.0])
    if PHRASES[phrase] == comparison:
        assert told == both == ""
    else:
        assert told == both == f"comparison = {comparison!r} is not what the statement says, {phrase!r}"


@pytest.mark.parametrize("phrase", ["above", "below", "less than", "more than"])
def test_a_range_has_both_of_its_ends(phrase: str):
    """A phrase that leaves an end out contradicts it."""
    assert contradiction(f"From 3 to 5, {phrase} 3.", "within", [3.0, 5.0]) == (
        f"comparison = 'within' is not what the statement says, {phrase!r}"
    )


COUNTS = {"stage": {3}, "parameter": {190_030, 189_839}}
MISCOUNTED: dict[str, tuple[str, str]] = {
    "parameters": ("67,602 parameters are left.", "67,602 parameters: 189,839 or 190,030 in this plan"),
    "a word": ("In four stages it is better.", "four stages: 3 in this plan"),
    "a capital": ("Two stages are enough.", "Two stages: 3 in this plan"),
    "one": ("In one stage it is better.", "one stage: 3 in this plan"),
    "a hyphen": ("Six-stage pruning, or 3-stage pruning.", "Six-stage: 3 in this plan"),
    "digits and a hyphen": ("4-stage pruning is better.", "4-stage: 3 in this plan"),
    "something else": ("In seven of 16 cases it is.", "16: neither its threshold nor a count of its stage, parameter"),
    "a word for something else": ("In seven cases it is.", "seven: neither its threshold"),
    "another threshold": ("Less than 7 %, or 5 %.", "7: neither its threshold"),
    "a count that is the threshold": ("Five stages cost less than 5 %.", "Five stages: 3 in this plan"),
}


@pytest.mark.parametrize(("statement", "told"), MISCOUNTED.values(), ids=MISCOUNTED)
def test_a_statement_has_no_number_but_its_threshold_and_what_is_planned(statement: str, told: str) -> None:
    """The paper prints the sentence as it stands, and nothing else looks at that number."""
    assert miscount(statement, [5.0], COUNTS).startswith(told)


def test_what_is_planned_may_be_told() -> None:
    """Its threshold, its sign aside, and counts, in digits or words; what is part of a name is no number."""
    told = "In three stages, 190,030 parameters left, it is within 0.02 of one (95th percentile), a two-sided R2."
    assert not miscount(told, [-0.02, 0.02], COUNTS)
    assert not miscount("A three-stage schedule costs no more than −0.02.", [0.02], COUNTS)
