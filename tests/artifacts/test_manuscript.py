"""What the paper says otherwise than numbers and tables is found, also where the manifest was changed to match."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from forgery import forge

from artifacts.cells import Problem
from artifacts.check import check


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (r"\verdict{final-parameters}{holds}", r"\verdict{final-parameters}{fails}", "final-parameters: fails in"),
        (r"\section{Results}", r"The error is 0.99. \section{Results}", "0.99: no named value printed it"),
    ],
)
def test_what_the_paper_says_otherwise_is_found_without_its_digest(out: Path, old: str, new: str, told: str):
    """A verdict that is not the table's, and a number without a name."""
    path = out / "paper" / "paper.tex"
    text = path.read_text()
    if old not in text:
        old, new = new, old
        told = told.replace("fails", "holds")
    assert old in text
    path.write_text(text.replace(old, new, 1))
    forge(out, "paper/paper.tex")
    assert any(told in problem.message for problem in check(out))


def test_a_number_called_a_name_is_noticed(out: Path):
    """What the paper says that something is called stands in a table: in a cell, a text, a caption or a note."""
    path = out / "paper" / "paper.tex"
    told = path.read_text()
    assert r"\called{" in told
    forged = re.sub(r"\\val\{accuracy[^{}]*\}\{((?:[^{}]|\{[^{}]*\})*)\}", r"\\called{0.999}", told, count=1)
    assert forged != told
    path.write_text(forged)
    forge(out, "paper/paper.tex")
    message = "0.999: said to be what something is called, and no table has it"
    assert check(out) == (Problem("paper/paper.tex", message),)


@pytest.mark.parametrize("said", ["161", "95", "0.30", "20070101"])
def test_a_number_of_a_table_or_a_note_is_no_name(out: Path, said: str):
    """Neither a value of a table, nor one that a text of it states, nor what a note says."""
    assert said in "".join(path.read_text() for path in (out / "tables").glob("*.md"))
    path = out / "paper" / "paper.tex"
    told = path.read_text()
    forged = re.sub(r"\\val\{[^{}]*\}\{92\}", rf"\\called{{{said}}}", told, count=1)
    assert forged != told
    path.write_text(forged)
    forge(out, "paper/paper.tex")
    message = f"{said}: said to be what something is called, and no table has it"
    assert check(out) == (Problem("paper/paper.tex", message),)


@pytest.mark.parametrize("page", ["paper", "supplement"])
def test_a_cell_that_is_a_name_is_compared_with_its_table(out: Path, page: str):
    """Each of them, one digit changed in turn and the digest with it, is named by table, row and column."""
    path = out / "paper" / f"{page}.tex"
    told = path.read_text()
    cells = list(re.finditer(r"(\\cell\{([^{}]*)\.(\d+)\.\d+\}\{(?:[^{}]|\{[^{}]*\})*?)(\d)", told))
    assert cells
    for cell in cells:
        other = str((int(cell[4]) + 1) % 10)
        path.write_text(told[: cell.start()] + cell[1] + other + told[cell.end() :])
        forge(out, f"paper/{page}.tex")
        (problem,) = check(out)
        assert problem.file == f"paper/{page}.tex"
        assert problem.message.startswith(f"{cell[2]}, row {int(cell[3]) + 1}, ")


def test_a_cell_that_no_table_has_is_named(out: Path):
    """Of another table, row or column."""
    path = out / "paper" / "paper.tex"
    told = path.read_text()
    for place in ("nothing.0.1", "schedule.99.1", "schedule.0.99"):
        path.write_text(told.replace(r"\cell{schedule.0.1}", rf"\cell{{{place}}}", 1))
        forge(out, "paper/paper.tex")
        (problem,) = check(out)
        assert "1 in paper/paper.tex, but nothing in tables/" in problem.message


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (r"\val{progression.sparse.2.parameters}{", r"\val{progression.{sparse}.2.parameters}{9", r"\val: not as the"),
        (r"\verdict{final-parameters}{holds}", r"\verdict{final-parameters}{{fails}}", r"\verdict: not as the"),
        (r"\verdict{final-parameters}{holds}", r"\verdict{#}{fails}", "#: fails in"),
        (r"\verdict{final-parameters}{holds}", r"\verdict{x}{0{}.99}", ".99: no named value"),
        (r"\cell{schedule.0.1}{1}", r"\cell{schedule}{0.99}", "0.99: no named value"),
        (r"\cell{schedule.0.1}{1}", rf"\cell{{schedule.{'9' * 5000}.1}}{{1}}", r"\cell: not as the"),
        (r"\section{Results}", r"\called{0.99 \emph{\val{a}{5}}}\section{Results}", "0.99: no named value"),
        (r"\section{Results}", r"\cell{a.0.0}{0.99 \emph{\val{a}{5}}}\section{Results}", "0.99: no named value"),
        (r"\section{Results}", r"\verdict{a}{holds \val{a}{5}}\section{Results}", r"\verdict: not as the"),
        (r"\newcommand{\val}[2]{#2}", r"\newcommand{\val}[2]{#2#1}", r"\val: not as the builder writes or defines"),
        (r"\newcommand{\cell}[2]{#2}", r"\newcommand{\cell}[2]{#1}", r"\cell: not as the builder writes or defines"),
        (r"\section{Results}", r"\renewcommand{\verdict}[2]{holds}\section{Results}", r"\verdict: not as the"),
    ],
)
def test_a_mark_that_cannot_be_looked_up_is_found_without_its_digest(out: Path, old: str, new: str, told: str):
    """What is taken for a mark is compared; all else is a text, whose numbers have no name."""
    path = out / "paper" / "paper.tex"
    text = path.read_text()
    old, new = (old, new) if old in text else (old.replace("holds", "fails"), new.replace("fails", "holds"))
    told = told if new in told or "fails in" not in told else told.replace("fails", new.rpartition("{")[2][:-1])
    assert old in text
    path.write_text(text.replace(old, new, 1))
    forge(out, "paper/paper.tex")
    assert any(told in problem.message for problem in check(out))


def test_an_experiment_may_have_digits_in_its_name(out: Path):
    """It stands in the title of the report, and in no table."""
    paper, page = out / "paper" / "supplement.tex", out / "report.html"
    assert r"\texttt{fabricated}" in paper.read_text()
    paper.write_text(paper.read_text().replace(r"\texttt{fabricated}", r"\texttt{\called{run-2}}", 1))
    forge(out, "paper/supplement.tex")
    assert [problem.message.partition(":")[0] for problem in check(out)] == ["run-2"]
    page.write_text(page.read_text(encoding="utf-8").replace("xperiment fabricated", "xperiment run-2"), "utf-8")
    forge(out, "report.html")
    assert check(out) == ()
