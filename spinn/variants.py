"""What the pruner of a variant means for its schedule: which ledger it follows, and what would hold instead.

Standard library only, as `spinn.schedule`, whose arithmetic it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from spinn import schedule
from spinn.errors import ScheduleError
from spinn.schedule import Criteria, Stage

NEURON_PRUNERS = ("neurons-incoming", "neurons-both-sides", "neurons-first-order")
"""Pruners that remove whole neurons; named after the scores of `spinn.neurons.SCORES`."""

PRUNERS = ("global-magnitude", "layerwise-magnitude", "random", "first-version", *NEURON_PRUNERS)
"""Every pruner that an experiment can name; what each does is in `spinn.pruning`."""

_STEPS = (Fraction(1, 100), Fraction(1, 1000))  # of a suggestion: the coarser grid where it has a schedule that holds


def ledger(pruner: str, layers: Sequence[int], ratios: Sequence[str | Fraction]) -> tuple[Stage, ...]:
    """The ledger of a variant.

    Args:
        pruner: as experiment files spell it.
        layers: widths from input to output.
        ratios: one per stage, of the weights or neurons still there.

    Raises:
        ScheduleError: see `spinn.schedule.plan` and `plan_neurons`.
    """
    return (schedule.plan_neurons if pruner in NEURON_PRUNERS else schedule.plan)(layers, ratios)


def shares(ratio: Fraction, pruned: int, active: Sequence[int]) -> tuple[int, ...]:
    """How many weights each layer loses where a stage's ratio holds within each; together exactly `pruned`.

    Each layer loses the whole part of ratio · its active weights. What is missing to `pruned` goes, one weight each, to
    the layers with the largest fractional parts, of equal ones to the first: the method of largest remainders (Balinski
    & Young 2001, Fair Representation, ch. 3). No layer is further than one weight from ratio · its active weights.

    Args:
        ratio: of the stage.
        pruned: what the ledger plans: round_half_even(ratio · all active weights).
        active: weights that each layer still has.
    """
    exact = [ratio * weights for weights in active]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda layer: whole[layer] - exact[layer])
    more = by_remainder[: pruned - sum(whole)]
    return tuple(count + (layer in more) for layer, count in enumerate(whole))


def suggest(pruner: str, layers: Sequence[int], ratios: Sequence[str], criteria: Criteria) -> tuple[str, ...] | None:
    """The schedule nearest to `ratios` that meets all `criteria`, with as many stages; None if there is none.

    Where neurons go, all ratios are shifted alike, by as few steps of 0.01, or else of 0.001, as do; elsewhere see
    `spinn.schedule.suggest`.
    """
    if pruner not in NEURON_PRUNERS:
        return schedule.suggest(layers, ratios, criteria)
    exact = [schedule.parse_ratio(ratio) for ratio in ratios]
    for step in _STEPS:
        for shift in sorted(range(1 - step.denominator, step.denominator), key=abs):
            moved = [ratio + shift * step for ratio in exact]
            if all(0 <= ratio < 1 for ratio in moved) and _holds(layers, moved, criteria):
                return tuple(map(schedule.decimal, moved))
    return None


def _holds(layers: Sequence[int], ratios: Sequence[Fraction], criteria: Criteria) -> bool:
    try:
        stages = schedule.plan_neurons(layers, ratios)
    except ScheduleError:  # a layer would be empty
        return False
    return all(verdict.holds for verdict in schedule.judge(layers, stages, criteria))
