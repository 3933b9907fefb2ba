"""What a pruner makes of a stage: how many weights each layer loses where the ratio holds within each."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinn.variants import shares


@given(active=st.lists(st.integers(0, 10**6), min_size=1, max_size=6), ratio=st.fractions(0, Fraction(999, 1000)))
def test_shares_add_up_to_the_ledger_and_are_nearest(active: list[int], ratio: Fraction):
    """Together exactly the planned count, each less than one weight from its own ratio, never more than there are."""
    pruned = round(ratio * sum(active))
    found = shares(ratio, pruned, active)
    assert sum(found) == pruned
    assert all(abs(count - ratio * weights) < 1 for count, weights in zip(found, active, strict=True))
    assert all(0 <= count <= weights for count, weights in zip(found, active, strict=True))


@pytest.mark.parametrize(
    ("ratio", "active", "expected"),
    [
        ("1/2", (3, 3, 3, 3), (2, 2, 1, 1)),  # six of twelve: equal fractions, the first layers give
        ("1/2", (3, 2), (1, 1)),  # 2.5 of 5 is 2, half to even
        ("0.3", (10, 15, 6), (3, 4, 2)),  # 3, 4.5 and 1.8: 9.3 is 9, the largest fraction is rounded up
        ("0", (4, 5), (0, 0)),
    ],
)
def test_the_largest_fractions_are_rounded_up(ratio: str, active: tuple[int, ...], expected: tuple[int, ...]):
    """By hand."""
    exact = Fraction(ratio)
    assert shares(exact, round(exact * sum(active)), active) == expected


def test_no_layer_of_the_real_network_is_more_than_a_weight_off():
    """The default's first stage: 30 % of each matrix of 18-512-512-512-256-2."""
    found = shares(Fraction("0.30"), 199_526, (9_216, 262_144, 262_144, 131_072, 512))
    assert found == (2_765, 78_643, 78_643, 39_322, 153)
