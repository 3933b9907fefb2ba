"""Each way to count, by hand: the ledger's, the sound ones beside it, and the mistakes."""

from __future__ import annotations

from verify.conventions import LEDGER, ledger_of, mistaken, sound


def test_the_ledger_rounds_half_to_even_of_what_is_active() -> None:
    """Of 13: half are 6.5, 6 go; of 7, 2.1; of 5, half a weight, which is none."""
    assert ledger_of(13, ["0.5", "0.3", "0.1"]) == [7, 5, 5]
    assert ledger_of(7, ["1/2"]) == [3]
    assert LEDGER == "rounded half to even at each stage, of the weights still active"


def test_sound_conventions_by_hand() -> None:
    """Two layers, 13 weights: where each way to round leads, and by which name it goes."""
    assert sound([7, 6], ["0.5", "0.3", "0.1"]) == {
        "rounded once, from the share that should be left": [7, 5, 4],
        "rounded down at each stage": [7, 5, 5],
        "rounded up at each stage": [6, 4, 3],
        "rounded half up at each stage": [6, 4, 4],
        "each layer rounded by itself": [6, 4, 4],
    }


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
