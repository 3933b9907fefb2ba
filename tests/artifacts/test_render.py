"""A table in all its forms: the same rows, the same texts, nothing of a stranger's text executed."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.numbers import Format
from artifacts.render import Table, clean, displayed, fold, spread


def make(case: str = "1") -> Table:
    """Two rows: one with an interval, one without a value."""
    rows = [[case, 0.88612, 0.80, 0.92, 12], ["wear_law & more", None, None, None, 1200]]
    frame = pd.DataFrame(rows, columns=["case", "R²", "R² low", "R² high", "cuts"], dtype=object)
    formats = {"R²": Format(2), "cuts": Format(0)}
    return Table("accuracy", "Accuracy & 95 %.", frame, ("A note_.",), formats, ("case",), {"R²": "1 - a / b"})


def test_intervals_fold_into_their_cell():
    """Ends of an interval stand in brackets behind the value; without width they are left out."""
    assert make().shown() == [
        ["case", "R²", "cuts"],
        ["1", "0.89 [0.80, 0.92]", "12"],
        ["wear_law & more", "–", "1,200"],
    ]
    assert fold("5", "5", "5") == "5"
    assert fold("5", None, None) == "5"
    assert displayed(["a", "a low", "b high"]) == ["a", "b high"]


def test_every_numeric_cell_is_a_number_once():
    """Each value has one number, with its cell, text and expression; missing values have none."""
    found = make().numbers()
    assert {name: number.text for name, number in found.items()} == {
        "accuracy.1.r2": "0.89",
        "accuracy.1.r2-low": "0.80",
        "accuracy.1.r2-high": "0.92",
        "accuracy.1.cuts": "12",
        "accuracy.wear-law-more.cuts": "1,200",
    }
    assert found["accuracy.1.r2"].expression == "1 - a / b"
    assert found["accuracy.1.r2"].cells == (("accuracy", 0, "R²"),)


def test_a_number_names_the_ends_of_its_interval():
    """The value with a lower and an upper end beside it names both; the ends, and values without any, name none."""
    found = {name: number.interval for name, number in make().numbers().items()}
    assert {name: ends for name, ends in found.items() if ends} == {
        "accuracy.1.r2": ("accuracy.1.r2-low", "accuracy.1.r2-high")
    }
    lonely = pd.DataFrame([["1", 0.5, 0.4]], columns=["case", "R²", "R² low"], dtype=object)
    assert all(number.interval is None for number in Table("t", "", lonely, labels=("case",)).numbers().values())


def test_a_format_may_be_of_a_column_in_some_rows():
    """What is said of a column in the rows of a label goes before what is said of the column, and of the row."""
    frame = pd.DataFrame([["x", 1.0, 2.0], ["y", 3.0, 4.0]], columns=["target", "MAE", "n"], dtype=object)
    formats = {("MAE", "x"): Format(1, "mm"), "MAE": Format(2, "m"), "x": Format(3, "s"), "": Format(4, "kg")}
    found = Table("t", "", frame, (), formats, ("target",)).numbers()
    assert {name: (number.text, number.unit) for name, number in found.items()} == {
        "t.x.mae": ("1.0", "mm"),
        "t.y.mae": ("3.00", "m"),
        "t.x.n": ("2.000", "s"),
        "t.y.n": ("4.0000", "kg"),
    }


def test_rows_that_would_share_a_name_are_told_apart():
    """Two rows with the same labels give two numbers."""
    frame = pd.DataFrame([["x", 1], ["X!", 2]], columns=["case", "n"], dtype=object)
    names = Table("t", "", frame, labels=("case",)).numbers()
    assert sorted(names) == ["t.x.n", "t.x.n.2"]


def test_csv_keeps_every_bit():
    """CSV values read back to the same float."""
    rows = list(csv.DictReader(io.StringIO(make().csv().decode())))
    assert float(rows[0]["R²"]) == 0.88612
    assert rows[1]["R²"] == ""


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=30))
def test_strangers_cases_break_no_form(case: str):
    """Whatever a case is called, every form has two rows of the same width, on one line each."""
    table = make(case)
    lines = [line for line in table.markdown().decode().split("\n") if line.startswith("| ")]
    assert [len(re.split(r"(?<!\\)\|", re.sub(r"\\\\", "", line))) for line in lines] == [5, 5, 5, 5]
    body = table.latex().decode().partition("\\midrule\n")[2].partition("\\bottomrule")[0].strip().split("\n")
    assert [len(re.findall(r"(?<!\\)&", line)) for line in body] == [2, 2]
    assert all(line.endswith("\\\\") for line in body)
    assert len(list(csv.reader(io.StringIO(table.csv().decode(), newline="")))) == 3


def test_infinite_values_are_refused():
    """No table prints inf; NaN is a missing value."""
    assert clean(float("nan")) is None
    with pytest.raises(ValueError, match="a finite number expected"):
        clean(float("inf"))


def test_spread_keeps_equal_integers():
    """Counts that agree stay integers; what is missing is left out; nothing gives nothing."""
    assert json.dumps(spread(np.array([92, 92]))) == "[92, 92, 92]"
    assert spread([1, 2, None, float("nan")]) == (1.5, 1, 2)
    assert spread([None]) == (None, None, None)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path):
    """A table with hostile text compiles without an error."""
    body = make("50% & more_$ #1 ~^\\{}<>|[é漢] a{1 }b").latex().decode()
    assert body.count("{") == body.count("}")
    packages = "\\usepackage[T1]{fontenc}\\usepackage{booktabs,textcomp}"
    (tmp_path / "t.tex").write_text(f"\\documentclass{{article}}{packages}\\begin{{document}}{body}\\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
