"""Prediction intervals: closed forms, invariances, and that they cover what they promise where that is a theorem."""

from __future__ import annotations

import math

import numpy as np
import pytest

from artifacts import coverage
from artifacts.stats import Held


def of_errors(errors: np.ndarray, case: np.ndarray, seeds: int = 1) -> Held:
    """Cuts that are measured at 0 and predicted off by `errors`, by equal seeds."""
    return Held(case, np.zeros(len(errors)), np.repeat(errors[:, None], seeds, axis=1))


def numbered(count: int, cuts: int = 1) -> np.ndarray:
    """Names of `count` cases with `cuts` cuts each."""
    return np.repeat([f"{index:03d}" for index in range(count)], cuts)


def test_one_cut_a_case_is_split_conformal_prediction():
    """Of 16 cases the half-width of each is the ⌈0.9·16⌉ = 15th, that is the largest, of the 15 other scores."""
    errors = np.arange(1.0, 17.0)
    half = coverage.conformal_half_widths(of_errors(errors, numbered(16)))
    assert half is not None
    assert half.tolist() == [16.0] * 15 + [15.0]
    middle = coverage.conformal_half_widths(of_errors(errors, numbered(16)), level=0.5)
    assert middle is not None
    assert middle.tolist() == [9.0] * 8 + [8.0] * 8  # the 8th of the others


def test_sign_order_and_repetition_do_not_matter():
    """Too high counts as too low; the order of cuts and a case's cuts taken twice change no width; units scale it."""
    random = np.random.default_rng(0)
    case = random.permutation(np.repeat(numbered(12), random.integers(1, 9, 12)))
    errors = random.normal(size=len(case))
    half = coverage.conformal_half_widths(of_errors(errors, case))
    assert half is not None
    assert coverage.conformal_half_widths(of_errors(-errors, case)) == pytest.approx(half)
    assert coverage.conformal_half_widths(of_errors(1000 * errors, case)) == pytest.approx(1000 * half)
    shuffled = random.permutation(len(case))
    assert coverage.conformal_half_widths(of_errors(errors[shuffled], case[shuffled])) == pytest.approx(half[shuffled])
    twice = np.concatenate([np.arange(len(case)), np.flatnonzero(case == case[0])])
    assert coverage.conformal_half_widths(of_errors(errors[twice], case[twice])) == pytest.approx(half[twice])


def test_a_case_does_not_calibrate_its_own_interval():
    """However wrong one case is, its own interval stays as the others make it, and it is not covered."""
    errors = np.concatenate([np.linspace(0.1, 1, 60), np.full(4, 50.0)])
    held = of_errors(errors, numbered(16, 4))
    half = coverage.conformal_half_widths(held)
    assert half is not None
    assert half[-1] <= 1
    found = coverage.measure(held, half)
    assert found.whole <= 15
    assert found.cuts <= 60 / 64


def test_too_few_cases_have_no_interval():
    """Nine cases cannot give 90 %: the new one alone weighs more than a tenth. Ten can."""
    assert coverage.conformal_half_widths(of_errors(np.arange(9.0), numbered(9))) is None
    assert [coverage.fewest(level) for level in (0.5, 0.8, 0.9, 0.95)] == [2, 5, 10, 20]
    assert coverage.conformal_half_widths(of_errors(np.arange(10.0), numbered(10))) is not None
    assert coverage.conformal_half_widths(of_errors(np.arange(3.0), numbered(3)), level=0.5) is not None


def test_exchangeable_cases_are_covered_as_promised():
    """A random cut of a new case is inside in at least 90 % and at most about 1/K more, though cuts err together.

    With all other cuts in one pot, and nothing set aside for the new case, fewer are.
    """
    random = np.random.default_rng(5)
    shares, pooled = [], []
    for _ in range(400):
        case = numbered(16, 6)
        errors = np.repeat(random.standard_t(3, 16), 6) + 0.1 * random.normal(size=96)
        held = of_errors(errors, case)
        half = coverage.conformal_half_widths(held)
        assert half is not None
        shares.append(coverage.measure(held, half).by_case)
        other = case != "000"
        pooled.append(float((np.abs(errors[~other]) <= np.quantile(np.abs(errors[other]), 0.9)).mean()))
    tolerance = 3 * np.std(shares) / math.sqrt(400)
    assert 0.9 - tolerance <= np.mean(shares) <= 0.9 + 1 / 16 + tolerance
    assert np.mean(pooled) < np.mean(shares)


def test_the_centre_is_the_mean_over_seeds():
    """Seeds whose errors cancel have scores of 0, and an interval without width that covers all."""
    held = Held(numbered(10), np.zeros(10), np.tile([[-1.0, 1.0]], (10, 1)))
    half = coverage.conformal_half_widths(held)
    assert half is not None
    assert coverage.measure(held, half) == coverage.Coverage(1.0, 1.0, 10, 0.0)


def test_seeds_spread_by_students_interval():
    """Two seeds a distance 2 apart: t_{0.95, 1} = tan(0.45π), s = √2, so the half-width is t·√2·√1.5."""
    held = Held(numbered(2), np.zeros(2), np.array([[-1.0, 1.0], [3.0, 3.0]]))
    half = coverage.seed_half_widths(held)
    assert half == pytest.approx([math.tan(0.45 * math.pi) * math.sqrt(3), 0.0])
    assert coverage.seed_half_widths(of_errors(np.ones(2), numbered(2))) is None


def test_seed_intervals_hold_another_seed_and_not_a_common_error():
    """Where the truth is one more draw, 90 % are covered; where all seeds share an error, hardly any."""
    random = np.random.default_rng(6)
    draws = random.normal(size=(4000, 6))
    held = Held(numbered(4000), draws[:, 0], draws[:, 1:])
    half = coverage.seed_half_widths(held)
    assert half is not None
    assert coverage.measure(held, half).cuts == pytest.approx(0.9, abs=3 * math.sqrt(0.09 / 4000))
    wrong = Held(held.case, held.measured + 100, held.prediction)
    assert coverage.measure(wrong, half).cuts == 0.0


def test_coverage_counts_cuts_cases_and_whole_cases():
    """Worked example: case a has 1 of 3 cuts inside, case b its only one; ends count as inside."""
    held = of_errors(np.array([1.0, 2.0, 3.0, -1.0]), np.array(["a", "a", "a", "b"]))
    found = coverage.measure(held, np.array([1.0, 1.0, 2.0, 4.0]))
    assert found.cuts == pytest.approx(2 / 4)
    assert found.by_case == pytest.approx((1 / 3 + 1) / 2)
    assert (found.whole, found.width) == (1, pytest.approx(4.0))
