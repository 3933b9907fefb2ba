"""Ways to turn stage ratios into counts: the ledger's, others that are sound, and mistakes that have been made.

A verifier that compares counts has to say by which of these it counts. All work on integers, apart from those that say
what a product in floating point gives, since that is how torch.nn.utils.prune, `int(ratio * count)` and
`int((1 - ratio) * count)` round. What goes and what is kept round alike in integers (up here is down there), but for
ties, and not in floating point: (1 - .9) * 100 is a little less than 10 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate

from verify.schedules import half_to_even

Rounding = Callable[[Fraction, int], int]

LEDGER = "rounded half to even at each stage, of the weights still active"

# How many of `count` go, by the words that follow "rounded": what a stage prunes of the weights still active.
_ROUNDINGS: dict[str, Rounding] = {
    "half to even": half_to_even,
    "down": lambda share, count: math.floor(share * count),
    "up": lambda share, count: math.ceil(share * count),
    "half up": lambda share, count: math.floor(share * count + Fraction(1, 2)),
    "half to even after a product in floating point": lambda share, count: round(float(share) * count),
    "down after a product in floating point": lambda share, count: math.floor(float(share) * count),
    "half to even on the kept side": lambda share, count: count - half_to_even(1 - share, count),
    "half to even on the kept side after a product in floating point": lambda share, count: (
        count - round((1 - float(share)) * count)
    ),
    "down on the kept side after a product in floating point": lambda share, count: (
        count - math.floor((1 - float(share)) * count)
    ),
}
# A quantile of `count` magnitudes lies at the place share · (count − 1), between two of them (numpy.quantile and
# torch.quantile interpolate); a loop prunes what is `<=` or `<` it.
_QUANTILES: dict[str, Rounding] = {
    "cut at the quantile of what is active, which goes too": lambda share, count: (
        math.floor(share * (count - 1)) + 1 if share else 0
    ),
    "cut at the quantile of what is active, which stays": lambda share, count: math.ceil(share * (count - 1)),
}
# Of the share that should be left after all stages so far, taken of all weights at once.
_ONCE = ("half to even", "down", "up", "half to even on the kept side")
# The same in floating point: the share that should be left is a product of 1 − ratio, rounded at each.
_ONCE_IN_FLOATS: dict[str, Callable[[float], int]] = {
    "half to even on the kept side after a product in floating point": round,
    "down on the kept side after a product in floating point": math.floor,
}


def ledger_of(active: int, ratios: Sequence[str]) -> list[int]:
    """Kept weights after each stage by the ledger's convention, from `active` weights before the first."""
    return _staged(active, ratios, half_to_even)


def sound(active: int, ratios: Sequence[str]) -> dict[str, list[int]]:
    """Kept weights after each stage by every convention that reaches the same share, from `active` weights.

    Args:
        active: Weights before the first stage: of the network, or of a layer that is pruned by itself.
        ratios: Share of the still active weights that each stage prunes.

    Returns:
        Name of the convention → kept weights after each stage. Several may give the same counts; the commonest is
        first.
    """
    staged = {f"rounded {words} at each stage": rounding for words, rounding in _ROUNDINGS.items()}
    once = {_once_name(words): _at_once(active, ratios, _ROUNDINGS[words]) for words in _ONCE}
    once |= {_once_name(words): _at_once_in_floats(active, ratios, kept) for words, kept in _ONCE_IN_FLOATS.items()}
    return {name: _staged(active, ratios, rounding) for name, rounding in staged.items()} | once | {
        name: _staged(active, ratios, rounding) for name, rounding in _QUANTILES.items()
    }  # fmt: skip


def by_layer(layers: Sequence[int], ratios: Sequence[str]) -> dict[str, list[list[int]]]:
    """Kept weights of each layer after each stage where every layer is pruned by itself: name → [stage][layer]."""
    each = [sound(active, ratios) for active in layers]
    return {f"each layer by itself, {name}": [list(stage) for stage in zip(*(kept[name] for kept in each), strict=True)]
            for name in (each[0] if each else {})}  # fmt: skip


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


def gone_by(ratios: Sequence[str]) -> list[Fraction]:
    """The share of all weights that should be gone after each stage."""
    left = accumulate((1 - Fraction(text) for text in ratios), lambda a, b: a * b)
    return [1 - share for share in left]


def _staged(active: int, ratios: Sequence[str], count: Rounding) -> list[int]:
    kept = []
    for text in ratios:
        active -= count(Fraction(text), active)
        kept.append(active)
    return kept


def _once_name(words: str) -> str:
    return "rounded once, from the share that should be left" + ("" if words == "half to even" else f", {words}")


def _at_once(active: int, ratios: Sequence[str], count: Rounding) -> list[int]:
    return [active - count(share, active) for share in gone_by(ratios)]


def _at_once_in_floats(active: int, ratios: Sequence[str], kept: Callable[[float], int]) -> list[int]:
    left = accumulate((1 - float(Fraction(text)) for text in ratios), lambda a, b: a * b)
    return [kept(active * share) for share in left]
