"""Numbers: one text for one value, names that LaTeX can call, text that it cannot be harmed by."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts import numbers
from artifacts.numbers import Format, Number
from spinn.errors import InputError

SPECIAL = re.compile(r"(?<!\\)[&%#_]")


def test_texts():
    """Thousands are separated, digits are kept, nothing prints as minus zero, and what is missing says so."""
    assert Format(0).text(666882) == "666,882"
    assert Format(2).text(71.4999) == "71.50"
    assert Format(3).text(-0.0001) == "0.000"
    assert Format(3).text(-16.9) == "-16.900"
    assert Format(4, tiny=True).text(1.23e-7) == "1.2e-07"
    assert Format(0, missing="not measured").text(None) == "not measured"


def test_texts_of_digits_that_count():
    """As many digits as are asked for, whole where that is more, thousands separated, small ones scientific."""
    four = Format(4, significant=True)
    shown = {23.58641: "23.59", 0.99832: "0.9983", 12345.678: "12,346", 999.99: "1,000", 1.1: "1.1", 3.0: "3"}
    shown |= {1e-5: "1e-05", 0.0: "0", -1.23456: "-1.235", 850000.0: "850,000"}
    assert {value: four.text(value) for value in shown} == shown
    assert (four.text(-0.0), four.text(None)) == ("0", "–")


@settings(deadline=None, max_examples=200)
@given(st.floats(-1e9, 1e9), st.integers(0, 6))
def test_text_reads_back_within_its_last_digit(value: float, digits: int):
    """The text of a number differs from its value by at most half of its last digit."""
    shown = float(Format(digits).text(value).replace(",", ""))
    assert abs(shown - value) <= 0.5000001 * 10**-digits + 1e-6


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40))
def test_escaped_text_holds_no_active_character(text: str):
    """After escaping, no character that LaTeX acts upon is left bare, and pdflatex has a glyph for each letter."""
    escaped = numbers.latex_escape(text)
    assert not SPECIAL.search(escaped.replace(r"\\", ""))
    assert "\n" not in escaped
    bare = re.sub(r"\\[{}]", "", escaped)
    assert bare.count("{") == bare.count("}")
    assert all(character < "\u017f" for character in escaped)


def test_escape_is_what_latex_prints():
    """The characters of this project's tables, and those of strangers' case names, by example."""
    assert numbers.latex_escape("R² (µm) † 5 % & a_b$") == (
        r"R\textsuperscript{2} (\textmu{}m) \textdagger{} 5 \% \& a\_b\$"
    )
    assert numbers.latex_escape(r"\input{x}") == r"\textbackslash{}input\textbraceleft{}x\textbraceright{}"
    assert numbers.latex_escape("é漢") == "é{[}U+6F22{]}"
    assert numbers.latex_number("-1.5 [-2, 3]") == "$-$1.5 {[}$-$2, 3{]}"
    assert numbers.latex_number("-2.3e-04") == r"$-$$2.3\times10^{-4}$"
    assert numbers.latex_number("1e+06") == r"$1\times10^{6}$"


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=20, unique=True))
def test_macros_are_letters_only_and_all_different(names: list[str]):
    """Whatever a case is called, each number gets a macro of its own that LaTeX can call."""
    named = numbers.macros(names)
    assert len(set(named.values())) == len(names)
    assert all(re.fullmatch("[A-Za-z]+", name) for name in named.values())


def test_macro_spells_digits():
    """Digits become words."""
    assert numbers.macro("accuracy.vb.stage-12.r2") == "SpinnAccuracyVbStageOneTwoRTwo"


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=20))
def test_slug_is_plain(text: str):
    """A slug has only small letters, digits and hyphens, and is never empty."""
    assert re.fullmatch("[a-z0-9-]+", numbers.slug(text)), unicodedata.name(text[0])


def test_json_reads_back():
    """numbers.json gives back each number, value to the last bit."""
    told = ("mm", 3, ("sparse sha256:0",), "mean", (("a", 0, "b"),))
    for one in (Number("a.b", 0.1 + 0.2, "0.300", *told), Number("a.b", 0.3, "0.300", *told, ("a.b-low", "a.b-high"))):
        assert numbers.decode_json(numbers.encode_json({"a.b": one}), "numbers.json") == {"a.b": one}


def test_a_file_that_is_no_numbers_file_is_refused():
    """Broken JSON, or JSON of something else, is one clear error."""
    right = {"value": 1, "text": "1", "unit": "", "digits": 0, "source": [], "expression": "", "cells": []}
    wrong = [json.dumps({"a": right | {"interval": ends}}).encode() for ends in ("ab", ["a"], ["a", 1], {"a": "b"})]
    for content in (b"{", b'{"a": {"value": 1}}', b"[1]", json.dumps({"a": right}).encode(), *wrong):
        with pytest.raises(InputError, match="not a numbers file"):
            numbers.decode_json(content, "numbers.json")
