"""Each way to count, by hand: the ledger's, the sound ones beside it, and the mistakes."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.conventions import LEDGER, by_layer, gone_by, ledger_of, mistaken, sound

FLOATS = "on the kept side after a product in floating point"


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
        ("rounded half to even after a product in floating point at each stage", [7, 5, 5]),
        ("rounded down after a product in floating point at each stage", [7, 5, 5]),
        ("rounded half to even on the kept side at each stage", [6, 4, 4]),
        ("rounded half to even on the kept side after a product in floating point at each stage", [6, 4, 4]),
        ("rounded down on the kept side after a product in floating point at each stage", [6, 4, 3]),
        ("rounded once, from the share that should be left", [7, 5, 4]),
        ("rounded once, from the share that should be left, down", [7, 5, 5]),
        ("rounded once, from the share that should be left, up", [6, 4, 4]),
        ("rounded once, from the share that should be left, half to even on the kept side", [6, 5, 4]),
        (f"rounded once, from the share that should be left, half to even {FLOATS}", [6, 5, 4]),
        (f"rounded once, from the share that should be left, down {FLOATS}", [6, 4, 4]),
        ("cut at the quantile of what is active, which goes too", [6, 4, 3]),
        ("cut at the quantile of what is active, which stays", [7, 5, 4]),
    ]


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
        (10, ["0.5", "0.5"], "rounded once, from the share that should be left, half to even on the kept side", [5, 2]),
        (100, ["0.9", "0.5"], f"rounded once, from the share that should be left, down {FLOATS}", [9, 4]),
        (15, ["0.7", "0"], f"rounded once, from the share that should be left, half to even {FLOATS}", [5, 5]),
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
    assert each["each layer by itself, rounded half to even at each stage"] == [[3, 3], [2, 2], [2, 2]]
    assert each["each layer by itself, rounded up at each stage"] == [[3, 3], [2, 2], [1, 1]]
    assert list(each) == [f"each layer by itself, {name}" for name in sound(7, ["0.5"])]
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
