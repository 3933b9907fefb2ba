"""Faults of the arithmetic: rounding, denominators, and schedules that cannot reach their target."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any
from unittest import mock

from spinn import experiment, pruning, schedule
from verify.faults.mutant import EXPERIMENT, NEURONS, Mutant, Patches

UNREACHABLE = EXPERIMENT.replace("0.31", "0.20").replace("0.24", "0.15")
HALVES = EXPERIMENT.replace("0.31", "0.125").replace("0.24", "0.375")  # 0.125 of 148 weights is 18.5
FLOATS = (  # 0.2725 of 200 weights is 54.5, and in floats a little more
    EXPERIMENT.replace("[18, 6, 5, 2]", "[18, 10, 2]").replace("0.31", "0.2725")
)
THIRDS = NEURONS.replace("0.31", "0.34").replace("0.24", "0.34")  # of 4 neurons 1 goes, of the 6 there were 2
APART = EXPERIMENT.replace("0.24", "0.28")  # 73 of 148 weights are left if each stage is rounded, 74 if only the last


def _unreachable() -> Patches:
    """The check before the run is gone: 20/15 can never reach 40 %."""
    return [mock.patch.object(experiment, "refuse_unreachable")]


def _float_rounding() -> Patches:
    """Counts by float arithmetic: a half is not a half any more."""
    return [mock.patch.object(schedule, "plan", _planned_by(lambda ratio, active: round(float(ratio) * active)))]


def _truncated() -> Patches:
    """Counts rounded down, as `int` does."""
    return [mock.patch.object(schedule, "plan", _planned_by(lambda ratio, active: int(ratio * active)))]


def _half_up() -> Patches:
    """Counts rounded up: one weight too many in some stage."""
    return [mock.patch.object(schedule, "plan", _planned_by(lambda ratio, active: math.ceil(ratio * active)))]


def _ratio_of_all() -> Patches:
    """Each ratio is taken of all weights, not of the active ones: the stages add up, as the first version believed."""
    return [mock.patch.object(schedule, "plan", _planned_by(lambda ratio, _, dense: round(ratio * dense), dense=True))]


def _planned_by(count: Callable[..., int], *, dense: bool = False) -> Callable[..., tuple[schedule.Stage, ...]]:
    sound = schedule.plan

    def plan(layers: Sequence[int], ratios: Sequence[Any]) -> tuple[schedule.Stage, ...]:
        stages, active = [], schedule.prunable_weights(layers)
        for stage in sound(layers, ratios):
            pruned = count(stage.ratio, active, stage.dense_weights) if dense else count(stage.ratio, active)
            kept = active - pruned
            parameters = kept + stage.parameters - stage.kept_weights
            stages.append(replace(stage, active=active, pruned=pruned, kept_weights=kept, parameters=parameters))
            active = kept
        return tuple(stages)

    return plan


def _ratio_of_all_neurons() -> Patches:
    """Each ratio is taken of the dense network's neurons again, stage after stage."""
    sound = schedule.plan_neurons

    def plan(layers: Sequence[int], ratios: Sequence[Any]) -> tuple[schedule.Stage, ...]:
        stages, before = [], tuple(layers)
        for stage in sound(layers, ratios):
            neurons = zip(before[1:-1], layers[1:-1], strict=True)
            widths = (layers[0], *(left - round(stage.ratio * dense) for left, dense in neurons), layers[-1])
            active, kept = schedule.prunable_weights(before), schedule.prunable_weights(widths)
            counts = {"active": active, "pruned": active - kept, "kept_weights": kept, "widths": widths}
            stages.append(replace(stage, parameters=schedule.total_parameters(widths), **counts))
            before = widths
        return tuple(stages)

    return [mock.patch.object(schedule, "plan_neurons", plan)]


def _biases_counted() -> Patches:
    """Biases are counted among the prunable weights."""
    sound = schedule.prunable_weights
    return [mock.patch.object(schedule, "prunable_weights", lambda layers: sound(layers) + sum(layers[1:]))]


def _half_up_not_even() -> Patches:
    """A half is rounded up, not to the even neighbour."""
    return [
        mock.patch.object(
            schedule, "plan", _planned_by(lambda ratio, active: math.floor(ratio * active + Fraction(1, 2)))
        )
    ]


def _rounded_once() -> Patches:
    """The share that should be left is rounded once, at each stage from the dense network on."""
    left: list[Fraction] = []

    def count(ratio: Fraction, active: int, dense: int) -> int:
        if active == dense:
            left[:] = [Fraction(1)]
        left[0] *= 1 - ratio
        return active - round(left[0] * dense)

    return [mock.patch.object(schedule, "plan", _planned_by(count, dense=True))]


def _sum_reported() -> Patches:
    """The reduction that is reported is the sum of the ratios."""
    sound = pruning.PRUNERS["global-magnitude"]
    wrong = replace(sound, reported=lambda stages, _: float(sum(stage.ratio for stage in stages)))
    return [mock.patch.dict(pruning.PRUNERS, {sound.name: wrong})]


FAULTS = (
    Mutant("unreachable-schedule", "schedule-reaches-target", _unreachable, UNREACHABLE),
    Mutant("float-rounding", "ledger-arithmetic", _float_rounding, FLOATS),
    Mutant("truncated", "ledger-arithmetic", _truncated),
    Mutant("rounded-up", "ledger-arithmetic", _half_up),
    Mutant("half-up-not-even", "ledger-arithmetic", _half_up_not_even, HALVES),
    Mutant("rounded-once-at-the-end", "ledger-arithmetic", _rounded_once, APART),
    Mutant("ratio-of-all-weights", "ledger-arithmetic", _ratio_of_all),
    Mutant("ratio-of-all-neurons", "ledger-arithmetic", _ratio_of_all_neurons, THIRDS),
    Mutant("biases-counted", "ledger-arithmetic", _biases_counted),
    Mutant("sum-of-ratios-reported", "ledger-achieved", _sum_reported),
)
