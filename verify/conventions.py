"""Ways to turn stage ratios into counts: the ledger's, others that are sound, and mistakes that have been made.

Works on integers; a verifier that compares counts has to say by which of these it counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate

from verify.schedules import half_to_even

LEDGER = "rounded half to even at each stage, of the weights still active"


def ledger_of(active: int, ratios: Sequence[str]) -> list[int]:
    """Kept weights after each stage by the ledger's convention, from `active` weights before the first."""
    return _staged(active, ratios, half_to_even)


def sound(layers: Sequence[int], ratios: Sequence[str]) -> dict[str, list[int]]:
    """Kept weights after each stage by conventions that reach the same share, from `layers` active weights each."""
    active = sum(layers)
    by_layer = [ledger_of(count, ratios) for count in layers]
    return {
        "rounded once, from the share that should be left": _at_once(active, ratios),
        "rounded down at each stage": _staged(active, ratios, lambda share, count: math.floor(share * count)),
        "rounded up at each stage": _staged(active, ratios, lambda share, count: math.ceil(share * count)),
        "rounded half up at each stage": _staged(
            active, ratios, lambda share, count: math.floor(share * count + Fraction(1, 2))
        ),
        "each layer rounded by itself": [sum(counts) for counts in zip(*by_layer, strict=True)],
    }


def mistaken(active: int, ratios: Sequence[str]) -> dict[str, list[int]]:
    """Kept weights after each stage by readings of the ratios that do not reach the share they seem to."""
    shares = [Fraction(text) for text in ratios]
    return {
        "the ratios are taken of all weights and added up, not of the weights still active": [
            max(active - half_to_even(share, active), 0) for share in accumulate(shares)
        ],
        "each stage prunes its ratio of all weights anew, those pruned before among them: stages do not add up": [
            active - half_to_even(share, active) for share in shares
        ],
    }


def _staged(active: int, ratios: Sequence[str], count: Callable[[Fraction, int], int]) -> list[int]:
    kept = []
    for text in ratios:
        active -= count(Fraction(text), active)
        kept.append(active)
    return kept


def _at_once(active: int, ratios: Sequence[str]) -> list[int]:
    left, kept = Fraction(1), []
    for text in ratios:
        left *= 1 - Fraction(text)
        kept.append(active - half_to_even(1 - left, active))
    return kept
