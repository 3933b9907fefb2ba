"""What an interval could have decided: closed forms, and the share of intervals that do decide, drawn at random."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts import power

Z = 1.959964


def test_half_of_the_interval_is_z_standard_errors():
    """A normal interval gives its standard error back."""
    assert power.standard_error(0.3 - Z * 0.1, 0.3 + Z * 0.1) == pytest.approx(0.1)


def test_power_is_the_share_of_intervals_that_decide():
    """Of intervals around a normal estimate, as many lie beyond the threshold, or within the range, as power says."""
    estimates = np.random.default_rng(0).normal(0.0, 0.1, 200_000)
    for margin in (0.05, 0.196, 0.3):
        share = np.mean(estimates + margin - Z * 0.1 > 0)
        assert power.one_sided(margin, 0.1) == pytest.approx(share, abs=0.005)
    for half in (0.25, 0.35):
        share = np.mean(np.abs(estimates) + Z * 0.1 < half)
        assert power.within(half, 0.1) == pytest.approx(share, abs=0.005)
    assert power.within(0.1, 0.1) == 0.0  # narrower than the interval: never


def test_the_smallest_effect_is_decided_with_the_goal():
    """At that effect, or in so narrow a range, the power is 80 %."""
    assert power.one_sided(power.smallest(0.1), 0.1) == pytest.approx(0.80)
    assert power.within(power.smallest(0.1, both_sides=True), 0.1) == pytest.approx(0.80)
    assert power.smallest(0.1) == pytest.approx(0.1 * (Z + 0.841621))


def test_without_spread_there_is_no_power():
    """An interval of no width tells nothing of other samples."""
    assert power.one_sided(0.1, 0.0) is None
    assert power.within(0.1, 0.0) is None
