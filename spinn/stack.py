"""How many runs train together: a fixed number on a processor, on a CUDA device what its free memory holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from spinn import task, training
from spinn.config import STACK, Experiment
from spinn.data.dataset import Dataset
from spinn.masks import Masks
from spinn.model import Network
from spinn.physics import Coefficients
from spinn.record import PlannedRun
from spinn.replay import EAGER_CALLS
from spinn.step import FitSettings

_SHARE = 0.8  # of the free memory; the rest is for predictions, and for what the allocator cannot use


def choose(experiment: Experiment, dataset: Dataset, runs: Sequence[PlannedRun], device: torch.device) -> int:
    """The number of runs in a stack; `runs` are all that are to be stacked, one of each fold and seed.

    What one more run takes is measured: peak memory of two runs in training, less that of one.
    """
    if device.type != "cuda":
        return STACK
    one, two = (_peak(experiment, dataset, runs[:number], device) for number in (1, 2))
    torch.cuda.empty_cache()  # what the measurement still holds is free too
    free, _ = torch.cuda.mem_get_info(device)
    return fitting(len(runs), max(two - one, 1), int(_SHARE * free))


def fitting(runs: int, bytes_each: int, bytes_free: int) -> int:
    """The size of the fewest stacks, nearly equal ones, that hold `runs` and fit one at a time; at least 1."""
    most = max(bytes_free // bytes_each, 1)
    return math.ceil(runs / math.ceil(runs / most))


def _peak(experiment: Experiment, dataset: Dataset, runs: Sequence[PlannedRun], device: torch.device) -> int:
    """Bytes that torch holds while it trains masked networks that nobody keeps, the recorded step included."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    # of all variants the one with the most physics terms; a run lacks no term that it may have
    variant = max(experiment.variants, key=lambda one: len(experiment.physics_of(one).enabled()))
    physics, dense = experiment.physics_of(variant), experiment.dense_of(variant)
    built = task.build(dataset, runs, physics, device, correction=experiment.correction_of(variant))
    network = Network.initialise(experiment.layers, [run.seed for run in runs], device)
    settings = FitSettings(EAGER_CALLS + 2, dense.learning_rate, dense.batch, physics=physics)
    seeds, masks = [run.seed for run in runs], Masks.ones_like(network)
    training.fit(network, Coefficients.initial(built), built, settings, seeds=seeds, stage=0, masks=masks)
    return torch.cuda.max_memory_reserved(device)
