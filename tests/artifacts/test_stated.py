"""Numbers within a text are found where a reader would see numbers, and become values with name, unit and cell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.stated import stated
from spinn.numerals import numerals, split, value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("146 of 167 cuts, 21 without", ["146", "167", "21"]),
        ("180,000 – 210,000", ["180,000", "210,000"]),
        ("0 to 1.53", ["0", "1.53"]),
        ("18-384-384-2", ["18", "384", "384", "2"]),
        ("≥ 70 %, then (-0.02) or =-3, −5.", ["70", "-0.02", "-3", "−5"]),
        ("1e-05 and 2.5e+03", ["1e-05", "2.5e+03"]),
        ("label: 21 (no wear); 8.", ["21", "8"]),
    ],
)
def test_numbers_are_found_as_they_stand(text: str, found: list[str]):
    """Signs, thousands, decimals and exponents belong to a number; a full stop behind it does not."""
    assert numerals(text) == found


@pytest.mark.parametrize("text", ["2.13.0", "sha256", "c00", "670eb4b9", "smcAC_2", "R²", "10⁶", "1234,567"])
def test_names_are_no_numbers(text: str):
    """What is a part of a word, a version or a digest is called so, and states no number."""
    assert numerals(text) == []


@given(st.integers(-(10**9), 10**9))
def test_a_printed_number_says_its_value(number: int):
    """With thousands or without: the numeral of a number has its value."""
    for text in (str(number), f"{number:,}"):
        assert [value(one) for one in numerals(f"at most {text} of them")] == [number]


@given(st.text("0123456789., -ab%²\n", max_size=30))
def test_a_text_is_its_parts_and_its_numbers(text: str):
    """Nothing of a text is lost where it is divided at its numbers."""
    parts, found = split(text), numerals(text)
    assert len(parts) == len(found) + 1
    assert parts[0] + "".join(a + b for a, b in zip(found, parts[1:], strict=True)) == text


def test_each_number_has_its_name_unit_digits_and_cell():
    """One number has the name itself; of several, each has its place in the text behind it."""
    (one,) = stated("below 0.25 mm", "levels.low", unit="mm", cell=("levels", 3, "level"))
    assert (one.name, one.value, one.text, one.unit, one.digits) == ("levels.low", 0.25, "0.25", "mm", 2)
    assert one.cells == (("levels", 3, "level #1"),)
    levels = [*stated("0.75 in 104 cuts, 1.5 in 63 cuts", "data.doc", unit="mm")]
    assert [(number.text, number.unit) for number in levels] == [("0.75", "mm"), ("104", ""), ("1.5", "mm"), ("63", "")]
    first, second = stated("1,000 of 2,000", "data.cuts", source=("card",), expression="counted")
    assert [(n.name, n.value, n.digits) for n in (first, second)] == [
        ("data.cuts.1", 1000, 0),
        ("data.cuts.2", 2000, 0),
    ]
    assert (first.source, first.expression, first.cells) == (("card",), "counted", ())
