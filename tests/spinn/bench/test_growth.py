"""spinn.bench.growth: laws are recovered, and errors are what they are called."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinn.bench import growth

SIZES = (125, 250, 500, 1000)


@given(st.floats(0, 1e3), st.floats(1e-3, 1e3))
def test_a_linear_cost_does_not_steepen_whatever_is_fixed(fixed: float, each: float):
    """The fixed part cancels: 1."""
    assert growth.steepening(SIZES, [fixed + each * size for size in SIZES]) == pytest.approx(1)


def test_a_quadratic_cost_steepens_behind_a_fixed_one():
    """Cost over size falls from one size to the next here, and would call it better than linear."""
    costs = [100 + 1e-4 * size**2 for size in SIZES]
    assert costs[-1] / SIZES[-1] < costs[0] / SIZES[0]
    assert growth.steepening(SIZES, costs) == pytest.approx(1500 / 625)


def test_noise_is_no_measurement():
    """A folder that costs no more than a smaller one does not show that costs are linear, and no target holds by it."""
    assert math.isnan(growth.steepening(SIZES, [1, 2, 4, 3.9]))
    assert math.isnan(growth.steepening(SIZES, [5, 2, 4, 8]))


@given(st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=3))
def test_a_known_law_is_recovered(law: list[float]):
    """From costs without noise, whatever the orders of magnitude of its coefficients."""
    terms = [(1, runs, runs * size) for runs in (2, 8, 32) for size in (0.01, 1, 3)]
    costs = [growth.predicted(law, one) for one in terms]
    found = growth.fit(terms, costs)
    assert [growth.predicted(found, one) for one in terms] == pytest.approx(costs, rel=1e-6)


def test_each_point_counts_by_its_relative_error():
    """Two points and one coefficient: the minimum of (a·1/1 − 1)² + (a·100/200 − 1)² is at 1.5/1.25."""
    assert growth.fit([[1], [100]], [1, 200]) == pytest.approx((1.2,))


def test_no_coefficient_is_below_zero():
    """A cost that falls has no part that grows: the line is flat, and not one that foretells costs below 0."""
    assert growth.fit([(1, 1), (1, 2), (1, 3)], [3, 2, 1])[1] == 0


def test_an_error_is_the_share_of_the_measured_cost():
    """Above is positive."""
    assert growth.relative_error(3, 2) == 0.5
    assert growth.relative_error(1, 2) == -0.5
