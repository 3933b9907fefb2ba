"""What training will cost, before it starts: FLOPs from the plan alone, seconds from a few epochs that are thrown away.

FLOPs are an upper bound: all epochs that the plan allows. Early stopping ends sooner, and the record says when. Seconds
are no bound: they are these FLOPs at the rate of the moment, and a busy machine is slower later, or was slower then.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from itertools import pairwise

from spinn import cost, training
from spinn.config import Variant
from spinn.model import Network
from spinn.physics import Coefficients
from spinn.record import Plan
from spinn.step import FitSettings
from spinn.task import Task

EPOCHS, WARM_UP = 8, 4  # on a CUDA device the fourth step is recorded


def phase_flops(plan: Plan, task: Task, variant: Variant, stage: int = 0) -> int:
    """FLOPs of one run of `variant` in its dense phase, or in `stage` (from 1), if it trains all its epochs."""
    layers, dense = plan.experiment.layers, plan.experiment.dense_of(variant)
    epochs = dense.epochs
    if stage:
        layers, epochs = plan.ledger[variant.name][stage - 1].widths or layers, variant.stages[stage - 1].epochs
    return cost.training_flops(layers, *task.epoch_rows(dense.batch), epochs)


def cohort_flops(plan: Plan, task: Task, family: Sequence[Variant]) -> int:
    """FLOPs of a cohort: the dense networks that the variants of `family` share, and all their stages."""
    stages = [(variant, stage) for variant in family for stage in range(1, len(variant.stages) + 1)]
    return task.runs * (phase_flops(plan, task, family[0]) + sum(phase_flops(plan, task, *one) for one in stages))


def flops_per_second(plan: Plan, task: Task, variant: Variant) -> float:
    """How fast this machine trains the stack of `task`, the runs of `variant`, now; all its networks together.

    A few epochs of dense networks that nobody keeps: the median of those after the warm-up.
    """
    experiment = plan.experiment
    seeds = range(task.runs)
    network = Network.initialise(experiment.layers, seeds, task.device)
    dense, physics = experiment.dense_of(variant), experiment.physics_of(variant)
    settings = FitSettings(EPOCHS, dense.learning_rate, dense.batch, physics=physics)
    ends: list[float] = []

    def look(*_: object) -> None:
        ends.append(time.perf_counter())  # the epoch's losses have been read: the device is done

    training.fit(network, Coefficients.initial(task), task, settings, seeds=seeds, stage=0, on_epoch=look)
    seconds = statistics.median(later - earlier for earlier, later in pairwise(ends[WARM_UP - 1 :]))
    epoch = cost.training_flops(experiment.layers, *task.epoch_rows(settings.batch), 1)
    return task.runs * epoch / max(seconds, time.get_clock_info("perf_counter").resolution)  # of a clock that stands
