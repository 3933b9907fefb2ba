"""The luck of the split: every choice of three cases, the quantiles that the audit finds with code of its own."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from artifacts import luck
from artifacts.results import Results
from artifacts.stats import Held, r2

COLUMNS = {
    "r2": "R², all cases",
    "least": "least",
    "p05": "5 %",
    "median": "median",
    "p95": "95 %",
    "most": "most",
    "choices": "choices",
    "cases": "cases chosen",
}
"""Of the audit's note, the columns of the table that say the same."""


def make_held(cases: int, seeds: int = 2) -> Held:
    """Five cuts a case, predicted with an error that differs from case to case."""
    random = np.random.default_rng(3)
    case = np.repeat([f"c{index:02d}" for index in range(cases)], 5)
    measured = random.normal(0, 1, len(case))
    spread = np.repeat(np.linspace(0.1, 0.9, cases), 5)[:, None]
    return Held(case, measured, measured[:, None] + spread * random.normal(0, 1, (len(case), seeds)))


def test_every_choice_counts_once():
    """R² of all ten choices of three of five cases, as found cut by cut."""
    held = make_held(5)
    size, values = luck.distribution(held)
    names = sorted(set(held.case))
    by_hand = []
    for chosen in combinations(names, 3):
        rows = np.isin(held.case, chosen)
        by_hand.append(np.mean([r2(held.measured[rows], column[rows]) or np.nan for column in held.prediction.T]))
    assert size == 3
    assert np.allclose(values, by_hand)


def test_three_cases_leave_no_choice_and_many_are_drawn(monkeypatch: pytest.MonkeyPatch):
    """Below four cases there is no distribution; beyond the most choices, so many are drawn, the same each time."""
    assert luck.distribution(make_held(3))[1].size == 0
    monkeypatch.setattr(luck, "MOST_CHOICES", 50)
    first, second = (luck.distribution(make_held(9))[1] for _ in range(2))
    assert len(first) == 50
    assert np.array_equal(first, second)


def test_a_choice_without_spread_has_no_value():
    """Where the measured values of three cases are all alike, that choice is left out."""
    held = make_held(5)
    flat = np.where(np.isin(held.case, ["c00", "c01", "c02"]), 0.5, held.measured)
    assert len(luck.distribution(Held(held.case, flat, held.prediction))[1]) == 9


def test_quantiles_are_those_that_the_audit_states(found: Results):
    """The note of the audit on each variant and target has the same numbers as the table."""
    frame = luck.table(found).frame
    (note,) = [finding for finding in found.verdict.findings if finding.check == "split-luck"]
    said = [fault for fault in note.data["faults"] if fault["variant"] == "sparse"]
    assert [fault["target"] for fault in said] == ["VB", "thermal"]
    for fault, (_, row) in zip(said, frame[frame["predictor"] == "sparse"].iterrows(), strict=True):
        for key, column in COLUMNS.items():
            assert row[column] == pytest.approx(fault[key])


def test_yardsticks_have_luck_too(found: Results):
    """Every predictor of a target has a row; one that does not predict it has none."""
    frame = luck.table(found).frame
    assert list(frame[frame["target"] == "flank wear VB (mm)"]["predictor"]) == [
        "dense",
        "sparse",
        "first-version †",
        "mean",
        "wear-law",
    ]
    assert "wear-law" not in set(frame[frame["target"] != "flank wear VB (mm)"]["predictor"])
