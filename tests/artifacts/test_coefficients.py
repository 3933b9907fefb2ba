"""The jackknife against closed forms; coefficients beside their truth; residuals that fall, and whether they did."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from artifacts import coefficients
from artifacts.coefficients import jackknife, learned
from artifacts.results import Results

# --- the interval ---------------------------------------------------------------------------------------------------


def test_of_a_mean_it_is_the_standard_error():
    """Delete-one means of n numbers give s / √n, and with one coefficient Student's interval of a mean."""
    sample = np.random.default_rng(0).normal(3.0, 2.0, 16)
    without = np.array([np.delete(sample, i).mean() for i in range(16)])
    found = jackknife(without, 1)
    mean, error = sample.mean(), sample.std(ddof=1) / 4
    low, high = scipy_stats.t.interval(0.95, 15, mean, error)
    assert (found.value, found.low, found.high) == pytest.approx((mean, low, high))


def test_of_a_regression_it_covers_the_truth_as_often_as_it_says():
    """Four coefficients over sixteen cases, two at each of eight conditions: 95 % of 4000 experiments, and little more.

    Here a quarter of each case's error is fitted away, and the jackknife takes back a third too much: its variance is
    (n - 1) / (n - p) = 1.25 times the true one, whose coverage is 96.9 % at most.
    """
    random = np.random.default_rng(1)
    levels = np.array([[1, a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)] * 2, float)
    inverse = np.linalg.inv(levels.T @ levels)
    solve, leverage = inverse @ levels.T, np.einsum("ij,jk,ik->i", levels, inverse, levels)
    covered = []
    for error in random.normal(size=(4000, 16)):
        residual = (error - levels @ (solve @ error)) / (1 - leverage)
        without = (solve @ error)[:, None] - solve * residual  # what each coefficient is without each case
        ends = [jackknife(row, 4) for row in without]
        covered.append([end.low <= 0 <= end.high for end in ends if end.low is not None and end.high is not None])
    most = 2 * scipy_stats.t.cdf(scipy_stats.t.ppf(0.975, 12) * 1.25**0.5, 12) - 1
    found = np.mean(covered, axis=0)
    assert (found > 0.94).all()
    assert (found < most + 0.01).all()


@pytest.mark.parametrize("without", [np.array([1.0, 2.0]), np.array([1.0, np.nan, 2.0, 3.0])])
def test_too_few_cases_or_no_number_give_no_interval(without: np.ndarray):
    """Two cases say nothing about two coefficients; a network that learned NaN has no spread."""
    found = jackknife(without, 2)
    assert (found.low, found.high) == (None, None)


# --- the table ------------------------------------------------------------------------------------------------------


def test_estimates_are_means_over_seeds_and_folds_beside_their_truth(found: Results, learning: Any):
    """Seeds are averaged before folds; r is e^a, and its deviation is that of the rate, not of its logarithm."""
    told = learning(found, lambda fold, seed, name: learning.truth[name] + 0.1 * fold + 0.05 * seed)
    ours = {one.name: one for one in learned(told, "sparse")}
    assert list(ours) == ["a", "r", "b", "c", "d", "g", "k", "tau"]
    assert ours["a"].estimate.value == pytest.approx(-5.1 + 0.15 + 0.025)
    assert ours["r"].estimate.value == pytest.approx(math.exp(-5.1 + 0.175))
    assert ours["r"].deviation == pytest.approx(100 * (math.exp(0.175) - 1))
    assert ours["b"].deviation == pytest.approx(100 * 0.175 / 0.6)
    assert (ours["a"].deviation, ours["d"].deviation) == (None, None)
    again = jackknife(1.025 + 0.1 * np.arange(4), 2)
    assert (ours["k"].estimate.low, ours["k"].estimate.high) == pytest.approx((again.low, again.high))
    assert ours["k"].covered is True
    assert (ours["b"].estimate.low, ours["b"].covered) == (None, None)  # four cases, five coefficients
    table = coefficients.table(told)
    assert table is not None
    frame = table.frame[table.frame["variant"] == "sparse"].set_index("coefficient")
    assert frame["truth"]["tau"] == 2.0
    assert frame["unit"]["r"] == "mm/min"
    assert frame["estimate low"]["k"] == ours["k"].estimate.low


def test_an_interval_that_misses_the_truth_says_so(found: Results, learning: Any):
    """Folds that agree on something else than the truth do not cover it."""
    told = learning(found, lambda fold, seed, name: 3.0 + 1e-3 * fold)
    assert [one.covered for one in learned(told, "sparse") if one.name == "k"] == [False]


def test_with_validation_cases_there_is_no_interval(found: Results, learning: Any):
    """Then networks lack other cases besides the held-out one, and the note says what to do."""
    told = learning(found, lambda fold, seed, name: learning.truth[name] + 0.1 * fold, validation=1)
    assert all(one.estimate.low is None for one in learned(told, "sparse"))
    table = coefficients.table(told)
    assert table is not None
    assert any("validation_cases = 0" in note for note in table.notes)


def test_each_coefficient_is_in_its_unit(found: Results, learning: Any, monkeypatch: pytest.MonkeyPatch):
    """Estimate, truth and ends of the interval, a pure number in none; and the note says the level of the interval."""
    monkeypatch.setattr(coefficients, "LEVEL", 0.9)
    table = coefficients.table(learning(found, lambda fold, seed, name: learning.truth[name] + 0.1 * fold))
    assert table is not None
    for number in table.numbers().values():
        _, row, column = number.cells[0]
        unit = "%" if column == "deviation (%)" else table.frame["unit"][row]
        assert number.unit == ("" if unit == "1" else unit), number.name
    assert {number.unit for number in table.numbers().values()} >= {"", "1/mm", "mm/min", "min", "%"}
    assert any("In brackets: 90 % interval" in note for note in table.notes)


def test_where_nobody_knows_the_truth_none_is_printed(found: Results):
    """Measured data has no truth, and the table no such column."""
    table = coefficients.table(found)
    assert table is not None
    assert "truth" not in table.frame
    assert "deviation (%)" not in table.frame


def test_where_nothing_is_learned_there_are_no_tables(found: Results):
    """Without wear rate and heat there is no coefficient, without terms no residual."""
    records = []
    for record in found.records:
        stages = tuple(stage.model_copy(update={"coefficients": {}}) for stage in record.stages)
        records.append(record.model_copy(update={"stages": stages, "physics_terms": ()}))
    without = replace(found, records=tuple(records))
    assert coefficients.table(without) is None
    assert coefficients.residuals(without) is None


def test_residuals_are_those_of_the_records_and_falling_is_counted(found: Results):
    """First epoch from the history, then the stages; a run that ends higher than it began is not counted."""
    table = coefficients.residuals(found)
    assert table is not None
    row = table.frame.set_index("variant").loc["sparse"]
    ours = [record for record in found.records if record.variant == "sparse"]
    assert row["first epoch"] == pytest.approx(0.5)
    assert row["dense"] == pytest.approx(np.mean([record.stages[0].residuals["wear_rate"] for record in ours]))
    ended = [record.stages[-1].residuals["wear_rate"] for record in ours]
    assert row["last stage"] == pytest.approx(np.mean(ended))
    assert (row["runs"], row["fell in runs"]) == (len(ours), sum(end < 0.5 for end in ended))
    risen = replace(found, history=found.history.assign(wear_rate=0.0))
    table = coefficients.residuals(risen)
    assert table is not None
    assert set(table.frame["fell in runs"]) == {0}
