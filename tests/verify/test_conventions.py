"""Each way to count, by hand: the ledger's, the sound ones beside it, and the mistakes."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.conventions import LEDGER, by_layer, gone_by, ledger_of, mistaken, sound

PRODUCT = "after a product in floating point"
FLOATS = f"on the kept side {PRODUCT}"
ONCE = "rounded once, from the share that should be left"
TOO = "and the weight at that place goes too"


def test_the_ledger_rounds_half_to_even_of_what_is_active() -> None:
    """Of 13: half are 6.5, 6 go; of 7, 2.1; of 5, half a weight, which is none."""
    assert ledger_of(13, ["0.5", "0.3", "0.1"]) == [7, 5, 5]
    assert ledger_of(7, ["1/2"]) == [3]
    assert LEDGER == "rounded half to even at each stage, of the weights still active"


def test_sound_conventions_by_hand() -> None:
    """Of 13 weights: where each way to round leads, and by which name it goes, the commonest first."""
    assert list(sound(13, ["0.5", "0.3", "0.1"]).items()) == [
        ("rounded half to even at each stage", [7, 5, 5]),
        ("rounded down at each stage", [7, 5, 5]),
        ("rounded up at each stage", [6, 4, 3]),
        ("rounded half up at each stage", [6, 4, 4]),
        ("rounded half to even on the kept side at each stage", [6, 4, 4]),
        (f"rounded half to even {PRODUCT} at each stage", [7, 5, 5]),
        (f"rounded down {PRODUCT} at each stage", [7, 5, 5]),
        (f"rounded up {PRODUCT} at each stage", [6, 4, 3]),
        (f"rounded half up {PRODUCT} at each stage", [6, 4, 4]),
        (f"rounded half to even on the kept side {PRODUCT} at each stage", [6, 4, 4]),
        (f"rounded down on the kept side {PRODUCT} at each stage", [6, 4, 3]),
        (f"rounded up on the kept side {PRODUCT} at each stage", [7, 5, 5]),
        (f"{ONCE}, half to even", [7, 5, 4]),
        (f"{ONCE}, down", [7, 5, 5]),
        (f"{ONCE}, up", [6, 4, 4]),
        (f"{ONCE}, half up", [6, 5, 4]),
        (f"{ONCE}, half to even on the kept side", [6, 5, 4]),
        (f"{ONCE}, half to even {PRODUCT}", [7, 5, 4]),
        (f"{ONCE}, down {PRODUCT}", [7, 5, 5]),
        (f"{ONCE}, up {PRODUCT}", [6, 4, 4]),
        (f"{ONCE}, half up {PRODUCT}", [6, 5, 4]),
        (f"{ONCE}, half to even on the kept side {PRODUCT}", [6, 5, 4]),
        (f"{ONCE}, down on the kept side {PRODUCT}", [6, 4, 4]),
        (f"{ONCE}, up on the kept side {PRODUCT}", [7, 5, 5]),
        ("cut at the quantile of what is active, which goes too", [6, 4, 3]),
        ("cut at the quantile of what is active, which stays", [7, 5, 4]),
        (f"cut at the quantile of what is active {PRODUCT}, which goes too", [6, 4, 3]),
        (f"cut at the quantile of what is active {PRODUCT}, which stays", [7, 5, 4]),
        ("cut at the quantile of all weights, which goes too", [6, 5, 4]),
        ("cut at the quantile of all weights, which stays", [7, 5, 4]),
        (f"cut at the quantile of all weights {PRODUCT}, which goes too", [6, 5, 4]),
        (f"cut at the quantile of all weights {PRODUCT}, which stays", [7, 5, 4]),
        (f"rounded up {PRODUCT} at each stage, {TOO}", [5, 2, 0]),
        (f"rounded down {PRODUCT} at each stage, {TOO}", [6, 4, 3]),
        (f"{ONCE}, up {PRODUCT}, {TOO}", [5, 3, 3]),
        (f"{ONCE}, down {PRODUCT}, {TOO}", [6, 4, 4]),
    ]


def test_a_ratio_of_zero_prunes_nothing() -> None:
    """Not even the one weight that a threshold takes with it."""
    assert {name for name, kept in sound(20, ["0", "0"]).items() if kept != [20, 20]} == set()


def test_products_in_floating_point_are_those_of_python() -> None:
    """torch.nn.utils.prune rounds 0.575 · 100 = 57.49999999999999 down, and int(0.29 · 100) is 28."""
    rounded, cut = sound(100, ["0.575"]), sound(100, ["0.29"])
    assert rounded["rounded half to even at each stage"] == [42]
    assert rounded["rounded half to even after a product in floating point at each stage"] == [43]
    assert cut["rounded down at each stage"] == [71]
    assert cut["rounded down after a product in floating point at each stage"] == [72]


@pytest.mark.parametrize(
    ("active", "ratios", "name", "kept"),
    [
        (100, ["0.9"], f"rounded down {FLOATS} at each stage", [9]),
        (100, ["0.8"], f"rounded down {FLOATS} at each stage", [19]),
        (15, ["0.7"], f"rounded half to even {FLOATS} at each stage", [5]),
        (15, ["1/2", "1/2"], "rounded half to even on the kept side at each stage", [8, 4]),
        (9, ["1/2"], "rounded half to even on the kept side at each stage", [4]),
        (10, ["0.5", "0.5"], f"{ONCE}, half to even on the kept side", [5, 2]),
        (100, ["0.9", "0.5"], f"{ONCE}, down {FLOATS}", [9, 4]),
        (15, ["0.7", "0"], f"{ONCE}, half to even {FLOATS}", [5, 5]),
        (10, ["0.7"], f"rounded up {FLOATS} at each stage", [4]),
        (10, ["0.7", "0"], f"{ONCE}, up {FLOATS}", [4, 4]),
    ],
)
def test_what_is_kept_may_be_what_is_rounded(active: int, ratios: list[str], name: str, kept: list[int]) -> None:
    """As Python has `int((1 - r) * n)` and `round((1 - r) * n)`: (1 - .9) * 100 is 9.999…, (1 - .7) * 15 above 4.5."""
    assert sound(active, ratios)[name] == kept


@given(st.integers(1, 300), st.lists(st.fractions(0, "0.99", max_denominator=100), min_size=1, max_size=3))
def test_rounding_what_is_kept_is_as_a_loop_would(active: int, shares: list[Fraction]) -> None:
    """In Python's own arithmetic, stage by stage; rounded down exactly, it is the other side rounded up."""
    kept = sound(active, [str(share) for share in shares])
    ways = {
        "rounded up": lambda share, count: math.floor((1 - share) * count),
        "rounded half to even on the kept side": lambda share, count: round((1 - share) * count),
        f"rounded down {FLOATS}": lambda share, count: int((1 - float(share)) * count),
        f"rounded half to even {FLOATS}": lambda share, count: round((1 - float(share)) * count),
    }
    for name, way in ways.items():
        count = active
        for number, share in enumerate(shares):
            count = way(share, count)
            assert kept[f"{name} at each stage"][number] == count


def test_what_should_be_gone_may_be_a_little_less_in_floating_point() -> None:
    """`int((1 - (1 - .2) ** stage) * 1000)` is 199, and then 359."""
    assert [1000 - int((1 - (1 - 0.2) ** stage) * 1000) for stage in (1, 2)] == [801, 641]
    assert sound(1000, ["0.2", "0.2"])[f"{ONCE}, down {PRODUCT}"] == [801, 641]


@given(st.integers(1, 300), st.floats(0.01, 0.99), st.integers(1, 4))
def test_rounding_what_should_be_gone_is_as_a_loop_would(active: int, ratio: float, stages: int) -> None:
    """A share of all weights grows from stage to stage, in Python's own arithmetic; the place of a threshold, too."""
    kept = sound(active, [str(Fraction(ratio))] * stages)
    left = 1.0
    for stage in range(stages):
        left *= 1 - ratio
        gone = (1 - left) * active
        assert kept[f"{ONCE}, half to even {PRODUCT}"][stage] == active - round(gone)
        assert kept[f"{ONCE}, down {PRODUCT}"][stage] == active - int(gone)
        assert kept[f"{ONCE}, up {PRODUCT}"][stage] == active - math.ceil(gone)
        assert kept[f"{ONCE}, half up {PRODUCT}"][stage] == active - int(gone + 0.5)
        assert kept[f"{ONCE}, down {PRODUCT}, {TOO}"][stage] == active - int(gone) - 1
        assert kept[f"{ONCE}, up {PRODUCT}, {TOO}"][stage] == active - math.ceil(gone) - 1
    assert kept[f"rounded up {PRODUCT} at each stage, {TOO}"][0] == active - math.ceil(ratio * active) - 1
    assert kept[f"rounded down {PRODUCT} at each stage, {TOO}"][0] == active - int(ratio * active) - 1


@given(st.integers(1, 10**6), st.fractions("0.01", "0.99", max_denominator=100))
def test_a_single_stage_is_explained_within_two_weights_of_its_share(active: int, share: Fraction) -> None:
    """No convention takes fewer than the share, nor more than it and two, but for what floating point does to it."""
    gone = {active - kept for (kept,) in sound(active, [str(share)]).values()}
    exact, slack = share * active, Fraction(active, 2**48)  # what a few roundings of the share leave
    assert min(gone) >= math.floor(exact - slack)
    assert max(gone) <= math.ceil(exact + slack) + 1


@given(
    st.integers(1, 300),
    st.fractions(0, 1, max_denominator=20).filter(lambda share: share < 1),
)
def test_a_quantile_takes_as_many_as_numpy_says(count: int, share: Fraction) -> None:
    """Of distinct magnitudes, those up to the quantile, or below it; at an integer place both are exact."""
    place = share * (count - 1)
    magnitudes = [Fraction(number) for number in range(count)]
    kept = sound(count, [str(share)])
    goes, stays = (kept[f"cut at the quantile of what is active, which {what}"] for what in ("goes too", "stays"))
    assert goes == [count - sum(magnitude <= place for magnitude in magnitudes) * (share > 0)]
    assert stays == [count - sum(magnitude < place for magnitude in magnitudes)]


def test_layers_by_themselves() -> None:
    """Each is counted alone, by every convention; no layers, no conventions."""
    each = by_layer([7, 6], ["0.5", "0.3", "0.1"])
    assert each["rounded half to even at each stage"] == [[3, 3], [2, 2], [2, 2]]
    assert each["rounded up at each stage"] == [[3, 3], [2, 2], [1, 1]]
    assert list(each) == list(sound(7, ["0.5"]))
    assert by_layer([], ["0.5"]) == {}


def test_the_share_that_is_gone() -> None:
    """What is left multiplies."""
    assert gone_by(["0.5", "0.3", "0.1"]) == [Fraction(1, 2), Fraction(65, 100), Fraction(685, 1000)]


def test_mistakes_by_hand() -> None:
    """Added up, 2.5, 7.5 and 12.5 of ten would go, and no network keeps fewer than none; anew, 2.5, 5 and 5."""
    assert mistaken(10, ["0.25", "0.5", "0.5"]) == {
        "the ratios are taken of all weights and added up, not of the weights still active": [8, 2, 0],
        "each stage prunes its ratio of all weights anew, those pruned before among them: stages do not add up": [
            8,
            5,
            5,
        ],
    }
