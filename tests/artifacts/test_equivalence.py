"""Two one-sided tests against closed forms, and where they say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from artifacts.equivalence import paired, pseudo_values, welch

FEW, MORE = np.array([1.0, 1.02, 0.98, 1.01]), np.array([1.01, 0.97, 1.0, 1.02, 1.0])


def test_the_p_value_is_that_of_two_welch_tests():
    """The larger p of scipy's tests that the difference is above -margin, and below it."""
    found = welch(FEW, MORE, 0.1)
    above = stats.ttest_ind(MORE + 0.1, FEW, equal_var=False, alternative="greater")[1]
    below = stats.ttest_ind(MORE - 0.1, FEW, equal_var=False, alternative="less")[1]
    assert found.p == pytest.approx(np.max(np.array([above, below])), rel=1e-9)
    assert found.shown


def test_a_difference_beyond_the_margin_is_not_shown_equivalent():
    """However many values there are."""
    assert not welch(FEW, MORE + 0.2, 0.1).shown
    assert not paired(FEW, FEW + 0.2 + 0.001 * np.arange(4), 0.1).shown


def test_values_that_scatter_too_much_prove_nothing():
    """Equal means are no proof: the margin is lost in the scatter, and the power says so."""
    found = welch(FEW * 100, MORE * 100, 0.1)
    assert not found.shown
    assert found.power == 0.0


def test_power_is_the_share_of_tests_that_show_equal_means_equal():
    """Against 4,000 simulated pairs; the closed form is an approximation."""
    random = np.random.default_rng(0)
    sides = random.normal(size=(2, 4000, 12))
    shown = np.mean([welch(one, other, 1.2).shown for one, other in zip(*sides, strict=True)])
    powers = [welch(one, other, 1.2).power for one, other in zip(*sides, strict=True)]
    assert np.mean([power or 0 for power in powers]) == pytest.approx(shown, abs=0.05)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (FEW[:1], MORE, "a variance needs at least two values, there are 1 and 5 seeds"),
        (np.ones(3), MORE, "a variance over seeds is zero"),
        (FEW, np.ones(3), "a variance over seeds is zero"),
    ],
)
def test_without_a_variance_nothing_is_shown(first, second, reason):
    """One value, or values that do not vary, pass no test: the reason is stated."""
    found = welch(first, second, 10.0)
    assert not found.shown
    assert found.reason.startswith(reason)


def test_pairs_that_do_not_vary_pass_no_test():
    """Neither a side without variance, nor a difference without."""
    assert "is zero" in paired(np.ones(4), FEW, 1.0).reason
    assert "the same in all cases" in paired(FEW, FEW + 0.0, 1.0).reason
    assert "at least two" in paired(FEW[:1], FEW[:1], 1.0).reason


def test_pseudo_values_of_a_mean_are_the_values():
    """Tukey 1958."""
    without = (FEW.sum() - FEW) / (len(FEW) - 1)
    np.testing.assert_allclose(pseudo_values(float(FEW.mean()), without), FEW)
