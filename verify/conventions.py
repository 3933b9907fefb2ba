"""Ways to turn stage ratios into counts: the ledger's, others that are sound, and mistakes that have been made.

A verifier that compares counts has to say by which of these it counts. A convention is a way to round a share, and
which share that is: of each stage, of the weights still active, or of all stages so far, of all weights. Shares are
exact, or what floating point makes of them, since that is how torch.nn.utils.prune, `int(ratio * count)` and
`int((1 - ratio) ** stage * count)` round. What goes and what is kept round alike in integers (up here is down there),
but for ties, and not in floating point: (1 - .9) * 100 is a little less than 10 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from verify.schedules import half_to_even

LEDGER = "rounded half to even at each stage, of the weights still active"


@dataclass(frozen=True)
class Share:
    """What goes and what is left of some weights: exactly, or as a program has both in floating point."""

    gone: Fraction | float
    left: Fraction | float


Rounding = Callable[[Share, int], int]

# How many of `count` weights are kept, by the words that follow "rounded".
_ROUNDINGS: dict[str, Rounding] = {
    "half to even": lambda share, count: count - round(share.gone * count),
    "down": lambda share, count: count - math.floor(share.gone * count),
    "up": lambda share, count: count - math.ceil(share.gone * count),
    "half up": lambda share, count: count - math.floor(share.gone * count + Fraction(1, 2)),
    "half to even on the kept side": lambda share, count: round(share.left * count),
}
# Exactly, these two are up and down.
_MIRRORED: dict[str, Rounding] = {
    "down on the kept side": lambda share, count: math.floor(share.left * count),
    "up on the kept side": lambda share, count: math.ceil(share.left * count),
}
# A threshold is the magnitude at a rounded place in their order, counted from 0, and what is `<=` it goes: one more
# than the place says. open_lth (pruning/sparse_global.py) rounds the place up, `int` rounds it down.
_THRESHOLDS: dict[str, Rounding] = {
    "up": lambda share, count: count - math.ceil(share.gone * count) - 1 if share.gone else count,
    "down": lambda share, count: count - math.floor(share.gone * count) - 1 if share.gone else count,
}
# A quantile of `count` magnitudes lies at the place share · (count − 1), between two of them (numpy.quantile and
# torch.quantile interpolate); a loop prunes what is `<=` or `<` it.
_QUANTILES: dict[str, Rounding] = {
    "goes too": lambda share, count: count - (math.floor(share.gone * (count - 1)) + 1 if share.gone else 0),
    "stays": lambda share, count: count - math.ceil(share.gone * (count - 1)),
}


@dataclass(frozen=True)
class Family:
    """Conventions that differ in how they round or cut.

    Attributes:
        form: Their names, with a place for the words of a rounding.
        roundings: By those words.
        once: Whether the shares are those of all stages so far, of all weights, and not each stage's of the active.
        floats: Whether the shares are those of floating point.
    """

    form: str
    roundings: dict[str, Rounding]
    once: bool = False
    floats: bool = False


_FLOATS = "after a product in floating point"
_ONCE = "rounded once, from the share that should be left, {}"
_PLACE = ", and the weight at that place goes too"
_FAMILIES = [  # the commonest first: several may give the same counts
    Family("rounded {} at each stage", _ROUNDINGS),
    Family(f"rounded {{}} {_FLOATS} at each stage", _ROUNDINGS | _MIRRORED, floats=True),
    Family(_ONCE, _ROUNDINGS, once=True),
    Family(f"{_ONCE} {_FLOATS}", _ROUNDINGS | _MIRRORED, once=True, floats=True),
    Family("cut at the quantile of what is active, which {}", _QUANTILES),
    Family(f"cut at the quantile of what is active {_FLOATS}, which {{}}", _QUANTILES, floats=True),
    Family("cut at the quantile of all weights, which {}", _QUANTILES, once=True),
    Family(f"cut at the quantile of all weights {_FLOATS}, which {{}}", _QUANTILES, once=True, floats=True),
    Family(f"rounded {{}} {_FLOATS} at each stage{_PLACE}", _THRESHOLDS, floats=True),
    Family(f"{_ONCE} {_FLOATS}{_PLACE}", _THRESHOLDS, once=True, floats=True),
]


def ledger_of(active: int, ratios: Sequence[str]) -> list[int]:
    """Kept weights after each stage by the ledger's convention, from `active` weights before the first."""
    kept = []
    for text in ratios:
        active -= half_to_even(Fraction(text), active)
        kept.append(active)
    return kept


def sound(active: int, ratios: Sequence[str]) -> dict[str, list[int]]:
    """Kept weights after each stage by every convention that reaches the same share, from `active` weights.

    Args:
        active: Weights before the first stage: of the network, or of a layer that is pruned by itself.
        ratios: Share of the still active weights that each stage prunes.

    Returns:
        Name of the convention → kept weights after each stage. Several may give the same counts.
    """
    return {
        family.form.format(words): _kept(active, _shares(ratios, family), rounding, family.once)
        for family in _FAMILIES
        for words, rounding in family.roundings.items()
    }


def by_layer(layers: Sequence[int], ratios: Sequence[str]) -> dict[str, list[list[int]]]:
    """Kept weights of each layer after each stage where every layer is pruned by itself: name → [stage][layer]."""
    each = [sound(active, ratios) for active in layers]
    return {name: [list(stage) for stage in zip(*(kept[name] for kept in each), strict=True)]
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


def _shares(ratios: Sequence[str], family: Family) -> list[Share]:
    """What each stage should prune and leave of the weights still active, or all stages up to it of all weights."""
    gone = [float(Fraction(text)) if family.floats else Fraction(text) for text in ratios]
    left = accumulate((1 - share for share in gone), lambda a, b: a * b)
    return [Share(1 - share, share) for share in left] if family.once else [Share(share, 1 - share) for share in gone]


def _kept(active: int, shares: Sequence[Share], rounding: Rounding, once: bool) -> list[int]:
    if once:
        return [rounding(share, active) for share in shares]
    return list(accumulate(shares, lambda count, share: rounding(share, count), initial=active))[1:]
