"""The small network among the baselines: dense, with as many parameters as the sparse one has, with or without sensors.

It is trained on the cases of the plan's own runs, stopped by their validation cases where they have any, with their
seeds: it shows what pruning is worth, and without sensors what these are worth; all but that is as in the plan.
Knows plans and data sets; how a network is trained is `spinn.training`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from spinn import task, training
from spinn.cohort import fit_settings
from spinn.data.dataset import Dataset
from spinn.errors import InputError
from spinn.model import Network
from spinn.physics import Coefficients
from spinn.record import Plan, PlannedRun

Predicted = tuple[PlannedRun, np.ndarray, int]
"""A run, its predictions for every cut `[cuts, 2]` in mm and µm, and how many parameters its network has."""


def small_layers(plan: Plan) -> tuple[int, ...]:
    """Widths of the widest dense network with no more parameters than the pruned one is left with.

    As deep as the experiment's network, hidden widths in its ratio, rounded; the pruned one is its primary variant.

    Raises:
        InputError: with one neuron in each hidden layer it has more.
    """
    pruned = plan.experiment.primary.name
    most = plan.ledger[pruned][-1].parameters
    inputs, *hidden, outputs = plan.experiment.layers
    for widest in range(max(hidden, default=0), 0, -1):
        widths = (inputs, *(max(1, round(width * widest / max(hidden))) for width in hidden), outputs)
        if parameters(widths) <= most:
            return widths
    raise InputError(
        f"baseline 'small-network': variant {pruned} ends at {most:,} parameters, no dense network of its depth "
        "has as few; prune less, or leave it out of baselines"
    )


def parameters(layers: Sequence[int]) -> int:
    """Weights and biases of a dense network."""
    return sum((a + 1) * b for a, b in pairwise(layers))


def train(
    plan: Plan, dataset: Dataset, runs: Sequence[PlannedRun], device: str, say: Callable[[str], object]
) -> Iterator[Predicted]:
    """Train the small dense network of every run, as the dense phase trains the large one, and predict every cut.

    Physics, wear law and validation cases are those of `runs`, so that nothing but the pruning differs.
    """
    built = task.of_plan(dataset, runs, plan, device)
    seeds, layers = [run.seed for run in runs], small_layers(plan)
    network = Network.initialise(layers, seeds, device)
    training.fit(
        network,
        Coefficients.initial(built),
        built,
        fit_settings(plan.experiment, plan.variant(runs[0].variant), 0),
        seeds=seeds,
        stage=0,
        on_epoch=lambda epoch, epochs, _: say(f"epoch {epoch} of {epochs}"),
    )
    predicted = task.predict(network, dataset, built.scalers)
    yield from ((run, values, parameters(layers)) for run, values in zip(runs, predicted, strict=True))
