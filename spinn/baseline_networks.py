"""Networks among the baselines: a dense one as small as the sparse one, with and without sensors, and a recurrent one.

Both are trained on the cases of the plan's own runs, stopped by their validation cases where they have any, with their
seeds. The dense one shows what pruning is worth, and without sensors what these are worth: all but that is as in the
plan. The recurrent one knows no physics.
Knows plans and data sets; how a dense network is trained is `spinn.training`'s business, and what a recurrent one is
`spinn.recurrent`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch

from spinn import recurrent, task, training
from spinn.cohort import fit_settings
from spinn.config import PhysicsConfig
from spinn.data.dataset import TARGETS, Dataset
from spinn.errors import InputError
from spinn.model import Network
from spinn.physics import Coefficients
from spinn.record import Plan, PlannedRun, Scaler
from spinn.recurrent import Recurrent, Sequences

Predicted = tuple[PlannedRun, np.ndarray, int]
"""A run, its predictions for every cut `[cuts, 2]` in mm and µm, and how many parameters its network has."""


def small_layers(plan: Plan) -> tuple[int, ...]:
    """Widths of the widest dense network with no more parameters than the pruned one is left with.

    As deep as the experiment's network, hidden widths in its ratio, rounded; pruned is the first variant that declares
    no finding, or simply the first.

    Raises:
        InputError: with one neuron in each hidden layer it has more.
    """
    variants = plan.experiment.variants
    sound = next((variant for variant in variants if not variant.expected_findings), variants[0])
    most = plan.ledger[sound.name][-1].parameters
    inputs, *hidden, outputs = plan.experiment.layers
    for widest in range(max(hidden, default=0), 0, -1):
        widths = (inputs, *(max(1, round(width * widest / max(hidden))) for width in hidden), outputs)
        if parameters(widths) <= most:
            return widths
    raise InputError(
        f"baseline 'small-network': variant {sound.name} ends at {most:,} parameters, no dense network of its depth "
        "has as few; prune less, or leave it out of baselines"
    )


def parameters(layers: Sequence[int]) -> int:
    """Weights and biases of a dense network."""
    return sum((a + 1) * b for a, b in pairwise(layers))


def small(
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


def gru(
    plan: Plan, dataset: Dataset, runs: Sequence[PlannedRun], device: str, say: Callable[[str], object]
) -> Iterator[Predicted]:
    """Train the recurrent network of every run, and predict every cut from those up to it.

    It runs as many epochs as the dense phase has, at most `recurrent.MOST_EPOCHS`.
    """
    scalers = task.build(dataset, runs, PhysicsConfig(), device, planned=plan.runs).scalers
    dense = plan.experiment.dense_of(plan.variant(runs[0].variant))
    network = Recurrent(len(dataset.features), [run.seed for run in runs], device)
    data, places = _sequences(dataset, runs, scalers, device)
    with _one_thread():
        recurrent.fit(
            network,
            data,
            epochs=min(dense.epochs, recurrent.MOST_EPOCHS),
            learning_rate=dense.learning_rate,
            patience=dense.patience,
            clip_norm=dense.clip_norm,
            on_epoch=say,
        )
        with torch.no_grad():
            outputs = network(data.x).to("cpu", torch.float64).numpy()
    for run, scaler, of_run in zip(runs, scalers, outputs, strict=True):
        yield run, of_run[places] * np.array(scaler.target_scale) + np.array(scaler.target_mean), network.size


@contextmanager
def _one_thread() -> Iterator[None]:
    """The products of one cut are so small that threads wait for one another longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _sequences(
    dataset: Dataset, runs: Sequence[PlannedRun], scalers: Sequence[Scaler], device: str
) -> tuple[Sequences, tuple[np.ndarray, np.ndarray]]:
    """The sequences of all tools for every run; and for each cut of the data its tool, and its place in the tool."""
    frame = dataset.frame
    case = frame["case"].to_numpy(dtype=str)
    tool = np.array([dataset.cases.index(name) for name in case])
    place = frame.groupby("case", sort=False).cumcount().to_numpy()

    def padded(values: np.ndarray) -> np.ndarray:
        out = np.zeros((len(dataset.cases), place.max() + 1, values.shape[1]))
        out[tool, place] = values
        return out

    raw, labels = frame[list(dataset.features)].to_numpy(np.float64), frame[list(TARGETS)].to_numpy(np.float64)
    x, y, sides = [], [], {"train": [], "validation": []}
    for run, scaler in zip(runs, scalers, strict=True):
        scaled = (raw - np.array(scaler.feature_mean)) / np.array(scaler.feature_scale)
        x.append(padded(np.nan_to_num(scaled)))
        seen = np.isin(case, (*run.train, *run.validation))[:, None] & ~np.isnan(labels)
        standard = (labels - np.array(scaler.target_mean)) / np.array(scaler.target_scale)
        y.append(padded(np.where(seen, standard, 0.0)))
        for side, masks in sides.items():
            masks.append(padded(seen & np.isin(case, getattr(run, side))[:, None]))
    stacked = [torch.tensor(np.stack(part), dtype=torch.float32, device=device) for part in (x, y, *sides.values())]
    return Sequences(*stacked), (tool, place)
