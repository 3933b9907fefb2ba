"""The test over cases and Holm's correction: closed forms, every pattern by hand, the level that they keep."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from artifacts import significance, stats
from artifacts.stats import Held


def random_held(random: np.random.Generator, seeds: int, noise: float, measured: np.ndarray, case: np.ndarray) -> Held:
    """Predictions of `measured` by several seeds, with independent errors."""
    return Held(case, measured, measured[:, None] + random.normal(0, noise, (len(measured), seeds)))


def test_differences_add_up_to_the_difference_of_pooled_r2():
    """Σ d ÷ SS_tot is R² of the reference minus R² of the other, each the mean over its own number of seeds."""
    random = np.random.default_rng(0)
    measured, case = random.normal(size=40), np.repeat(np.array(list("ecabd")), 8)
    reference = random_held(random, 5, 0.3, measured, case)
    other = random_held(random, 2, 0.6, measured, case)
    d = significance.case_differences(reference, other)
    paired = stats.paired_r2([reference], [other])
    assert d.sum() / ((measured - measured.mean()) ** 2).sum() == pytest.approx(paired.value)
    here = case == "b"
    by_hand = ((other.prediction - measured[:, None]) ** 2)[here].sum() / 2
    by_hand -= ((reference.prediction - measured[:, None]) ** 2)[here].sum() / 5
    assert d[1] == pytest.approx(by_hand)
    assert significance.case_differences(other, reference) == pytest.approx(-d)


def test_differences_need_the_same_cuts():
    """Predictions of other cuts are refused."""
    one = Held(np.array(["1", "2"]), np.array([0.0, 1.0]), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="the same cuts in the same order"):
        significance.case_differences(one, Held(one.case, one.measured + 1, one.prediction))


def test_all_signs_alike_give_the_smallest_p_there_is():
    """Where every case favours the same predictor, only the two unanimous patterns are as extreme: p = 2^(1−n)."""
    random = np.random.default_rng(1)
    for n in (1, 2, 5, 12, 16):
        d = random.uniform(0.1, 1, n)
        assert significance.sign_flip_p(np.array([d, -d])) == pytest.approx([2.0 ** (1 - n)] * 2)


def test_p_counts_all_patterns():
    """For a few cases p is the share of all 2^n sign patterns whose sum is at least as far from zero."""
    random = np.random.default_rng(2)
    d = random.normal(0.4, 1, (5, 7))
    sums = np.array([d @ np.array(signs) for signs in product((1.0, -1.0), repeat=7)])
    by_hand = (np.abs(sums) >= np.abs(d.sum(axis=1)) - 1e-12).mean(axis=0)
    assert significance.sign_flip_p(d) == pytest.approx(by_hand)


def test_equal_sizes_give_the_sign_test():
    """With |d| = 1 everywhere the test is the sign test, p = 2·P(Binomial(16, ½) ≥ 12) for 12 of 16 cases."""
    d = np.array([[1.0] * 12 + [-1.0] * 4])
    assert significance.sign_flip_p(d)[0] == pytest.approx(2 * binom.sf(11, 16, 0.5))


def test_beyond_sixteen_cases_patterns_are_drawn_the_same_each_time():
    """For 30 cases p is close to the sign test's closed form, never 0, and the same each time."""
    d = np.array([[1.0] * 21 + [-1.0] * 9, [1.0] * 30])
    p = significance.sign_flip_p(d)
    closed = 2 * binom.sf(20, 30, 0.5)
    assert p[0] == pytest.approx(closed, abs=4 * float(np.sqrt(closed / significance.SIGN_PATTERNS)))
    assert p[1] == pytest.approx(2 / (significance.SIGN_PATTERNS + 1))
    assert significance.sign_flip_p(d) == pytest.approx(p, abs=0)


def test_no_difference_is_no_evidence():
    """Equal predictors have p = 1."""
    assert significance.sign_flip_p(np.zeros((1, 8))) == pytest.approx([1.0])


def test_the_level_is_kept_and_a_real_difference_found():
    """With symmetric heavy-tailed differences p ≤ 0.05 comes in at most 5 % of studies; with a shift, in most."""
    random = np.random.default_rng(3)
    scale = random.uniform(0.1, 10, 10)  # cases of very different sizes
    null = scale * random.standard_t(2, (1000, 10))
    p = significance.sign_flip_p(null)
    assert (p <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)
    assert (significance.sign_flip_p(random.normal(1.5, 1, (200, 10))) <= 0.05).mean() > 0.8


def test_holm_of_a_worked_example():
    """Of four, 0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02; one alone stays; none is above 1."""
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([0.2]) == [0.2]
    assert significance.holm([0.9, 0.8, 0.7]) == [1.0, 1.0, 1.0]
    assert significance.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5), st.randoms())
def test_holm_rejects_what_the_procedure_rejects(p: list[float], alpha: float, random):
    """Adjusted p ≤ α exactly where stepping down, stopped at the first p_(i) > α/(m − i + 1), rejects; in any order."""
    order, rejected = sorted(range(len(p)), key=lambda i: p[i]), set()
    for rank, index in enumerate(order):
        if (len(p) - rank) * p[index] > alpha:
            break
        rejected.add(index)
    adjusted = significance.holm(p)
    assert {i for i, value in enumerate(adjusted) if value <= alpha} == rejected
    assert all(value >= raw for value, raw in zip(adjusted, p, strict=True))
    shuffled = list(range(len(p)))
    random.shuffle(shuffled)
    again = significance.holm([p[i] for i in shuffled])
    assert sorted(again) == pytest.approx(sorted(adjusted), abs=0)
