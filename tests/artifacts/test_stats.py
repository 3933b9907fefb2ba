"""Errors and intervals: closed forms, invariances, coverage on simulated cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts import stats
from artifacts.stats import Held


def held(measured: list[float], *columns: list[float], case: list[str] | None = None) -> Held:
    """One `Held` from lists; every cut is a case of its own unless `case` says otherwise."""
    names = case or [str(index) for index in range(len(measured))]
    return Held(np.array(names), np.array(measured, float), np.array(columns, float).T)


def test_r2_of_perfect_mean_and_worked_example():
    """R² is 1 for exact predictions, 0 for the mean, and 1 − 2/8 for residuals ±1 on (0, 2, 4)."""
    measured = np.array([0.0, 2.0, 4.0])
    assert stats.r2(measured, measured) == 1.0
    assert stats.r2(measured, np.full(3, 2.0)) == 0.0
    assert stats.r2(measured, measured + np.array([1.0, 0.0, -1.0])) == pytest.approx(1 - 2 / 8)


def test_r2_without_variation_does_not_exist():
    """Equal measured values explain nothing: no R², and no interval."""
    assert stats.r2(np.ones(3), np.zeros(3)) is None
    assert stats.bootstrap_r2([held([1, 1], [0, 2])]) == stats.Estimate(None)


def test_several_seeds_are_averaged_after_pooling():
    """The value over seeds is the mean of the seeds' pooled R², not the R² of the mean prediction."""
    both = held([0, 2, 4], [0, 2, 4], [2, 2, 2])
    assert stats.bootstrap_r2([both]).value == pytest.approx(0.5)


def test_the_ensemble_predicts_the_mean_over_seeds():
    """Its R² is that of the mean prediction; errors that cancel between seeds vanish; one seed is its own ensemble."""
    both = held([0, 2, 4], [0, 2, 4], [2, 2, 2])
    assert stats.bootstrap_r2([stats.ensemble(both)]).value == pytest.approx(1 - 2 / 8)
    opposite = held([0, 2, 4], [1, 3, 5], [-1, 1, 3])
    assert stats.bootstrap_r2([stats.ensemble(opposite)]).value == pytest.approx(1.0)
    one = held([0, 2, 4], [1, 2, 3])
    assert np.array_equal(stats.ensemble(one).prediction, one.prediction)


def test_squared_error_is_bias_and_scatter():
    """RMSE² is bias² plus the variance of the errors; a constant offset is all bias, with its sign."""
    random = np.random.default_rng(4)
    one = held(list(random.normal(size=20)), list(random.normal(size=20)), list(random.normal(1, 2, 20)))
    errors = one.prediction - one.measured[:, None]
    assert stats.root_mean_square_error(one) ** 2 == pytest.approx(stats.bias(one) ** 2 + errors.var())
    low = held([0, 2, 4], [-0.5, 1.5, 3.5])
    assert stats.bias(low) == pytest.approx(-0.5)
    assert stats.root_mean_square_error(low) == pytest.approx(0.5)


def test_subsets_weigh_to_the_whole():
    """Mean squared errors of two parts, weighted by their cuts, make the whole's; a part keeps its cases and seeds."""
    whole = held([0, 2, 4, 7], [1, 2, 3, 5], [0, 0, 0, 9], case=["a", "a", "b", "c"])
    rows = np.array([True, False, True, False])
    parts = [stats.subset(whole, rows), stats.subset(whole, ~rows)]
    assert list(parts[0].case) == ["a", "b"]
    assert parts[0].prediction.tolist() == [[1, 0], [3, 0]]
    mean = np.mean([stats.root_mean_square_error(part) ** 2 for part in parts])
    assert mean == pytest.approx(stats.root_mean_square_error(whole) ** 2)


def test_overall_is_the_mean_over_targets():
    """Two targets with R² 1 and 0 have the overall value 0.5."""
    assert stats.bootstrap_r2([held([0, 2, 4], [0, 2, 4]), held([0, 2, 4], [2, 2, 2])]).value == pytest.approx(0.5)


def test_resamples_draw_as_many_cases_as_there_are():
    """Each resample has n cases, each drawn once on average, and the same seed draws the same ones."""
    draws = stats.resample(16, 2000, seed=3)
    assert (draws.sum(axis=1) == 16).all()
    assert draws.mean(axis=0) == pytest.approx(np.ones(16), abs=0.1)
    assert np.array_equal(draws, stats.resample(16, 2000, seed=3))
    assert not np.array_equal(draws, stats.resample(16, 2000, seed=4))


def test_resampled_r2_is_that_of_the_repeated_rows():
    """The matrix product gives what concatenating the drawn cases' cuts gives."""
    random = np.random.default_rng(0)
    case = np.repeat(np.array(["a", "b", "c", "d"]), [3, 5, 2, 4])
    measured = 100 + random.normal(size=14)
    predicted = measured[:, None] + random.normal(0, 0.5, (14, 2))
    one = Held(case, measured, predicted)
    draws = stats.resample(4, 40, seed=1)
    fast = stats._sums(one, ["a", "b", "c", "d"]).r2(draws)
    mae = stats._sums(one, ["a", "b", "c", "d"]).mae(draws)
    for row, value, error in zip(draws.astype(int), fast, mae, strict=True):
        index = np.concatenate([np.tile(np.flatnonzero(case == name), n) for name, n in zip("abcd", row, strict=True)])
        each = [stats.r2(measured[index], column[index]) for column in predicted.T]
        assert value == pytest.approx(np.mean(np.array(each, float)))
        assert error == pytest.approx(np.abs(predicted[index] - measured[index, None]).mean())


def test_interval_of_a_mean_is_the_bootstrap_closed_form():
    """One cut a case: the percentile interval of the MAE is mean ± 1.96·s/√n, s with divisor n (Efron 1979)."""
    random = np.random.default_rng(5)
    errors = np.abs(random.normal(1, 0.2, 400))
    estimate = stats.bootstrap_mae(held([0.0] * 400, list(errors)), resamples=8000)
    half = 1.96 * errors.std() / math.sqrt(400)
    assert estimate.low == pytest.approx(errors.mean() - half, abs=0.1 * half)
    assert estimate.high == pytest.approx(errors.mean() + half, abs=0.1 * half)


def test_case_intervals_cover_where_cuts_are_dependent():
    """With errors shared within a case, resampling cases covers the true MAE about as often as it says."""
    random = np.random.default_rng(11)
    true = 2 / math.sqrt(2 * math.pi)  # E|e|, e ~ N(0, 1), the same for all cuts of a case
    inside = 0
    for _ in range(200):
        error = np.repeat(random.normal(size=30), 6)
        one = Held(np.repeat(np.arange(30).astype(str), 6), np.zeros(180), error[:, None])
        estimate = stats.bootstrap_mae(one, resamples=400)
        assert estimate.low is not None
        assert estimate.high is not None
        inside += estimate.low <= true <= estimate.high
    assert 0.87 <= inside / 200 <= 0.985


def test_paired_difference_of_equal_predictions_is_exactly_zero():
    """A predictor does not differ from itself in any resample: value and interval are 0."""
    one = held([0, 2, 4, 7], [1, 2, 3, 5])
    assert stats.paired_r2([one], [one]) == stats.Estimate(0.0, 0.0, 0.0)


def test_paired_interval_is_narrower_than_the_two_apart():
    """Two predictors with almost the same errors differ surely, though each alone is uncertain."""
    random = np.random.default_rng(2)
    measured = random.normal(size=60)
    shared = random.normal(0, 0.8, 60)
    worse = held(list(measured), list(measured + 1.1 * shared))
    better = held(list(measured), list(measured + shared))
    paired, alone = stats.paired_r2([worse], [better]), stats.bootstrap_r2([better])
    assert paired.low is not None
    assert paired.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert paired.high < 0
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_relative_difference_has_no_meaning_below_zero():
    """A share of an R² that is not above 0 is not given."""
    good, bad = held([0, 2, 4], [0, 2, 4]), held([0, 2, 4], [4, 2, 0])
    assert stats.paired_r2([good], [bad], relative=True).value is None
    half = held([0, 2, 4], [1, 2, 3])
    assert stats.paired_r2([half], [good], relative=True).value == pytest.approx(-0.25)


def test_pairs_must_be_of_the_same_cuts():
    """Predictions of other cuts are refused."""
    with pytest.raises(ValueError, match="the same cuts in the same order"):
        stats.paired_r2([held([0, 1], [0, 1])], [held([0, 2], [0, 1])])
    with pytest.raises(ValueError, match="the same cuts in the same order"):
        stats.paired_r2([held([0, 1], [0, 1])], [held([0, 1], [0, 1], case=["x", "y"])])


def test_shapes_are_checked():
    """A prediction without a column per seed, or without cuts, is refused."""
    with pytest.raises(ValueError, match=r"\[cuts, seeds\]"):
        Held(np.array(["1"]), np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match="at least one cut"):
        Held(np.array([], str), np.ones(0), np.ones((0, 1)))


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.sampled_from("abcd")), min_size=4, max_size=30),
    st.floats(0.1, 10),
    st.floats(-100, 100),
)
def test_r2_does_not_depend_on_unit_or_zero(rows: list[tuple[float, float, str]], scale: float, shift: float):
    """R² and its interval are the same in mm and in µm, and for another zero of the scale."""
    measured, predicted, case = (list(column) for column in zip(*rows, strict=True))
    if np.std(measured) < 0.1:
        return
    one = stats.bootstrap_r2([held(measured, predicted, case=case)], resamples=50)
    moved = [scale * value + shift for value in measured], [scale * value + shift for value in predicted]
    other = stats.bootstrap_r2([held(moved[0], moved[1], case=case)], resamples=50)
    assert other.value == pytest.approx(one.value, rel=1e-6, abs=1e-6)


def test_a_mean_of_values_is_drawn_by_the_cases_that_they_were_found_on():
    """Values of one case go together: two cases at ±1 give an interval from −1 to 1, with any number of values each."""
    values, cases = np.array([1.0, 1.0, 1.0, -1.0]), [["a"], ["a"], ["a"], ["b"]]
    found = stats.bootstrap_mean(values, cases)
    assert (found.value, found.low, found.high) == (0.5, -1.0, 1.0)
    assert stats.bootstrap_mean(np.full(4, 0.25), cases) == stats.Estimate(0.25, 0.25, 0.25)


def test_a_value_found_on_two_cases_counts_as_often_as_they_on_average():
    """All values on all cases: each resample has the plain mean."""
    found = stats.bootstrap_mean(np.array([1.0, 3.0]), [["a", "b"], ["a", "b"]])
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
