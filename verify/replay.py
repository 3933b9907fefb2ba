"""Predictions and training losses made again from checkpoint and data, in a forward pass of the judge's own.

numpy, float64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from spinn.data.dataset import TARGETS
from spinn.record import Scaler
from verify.folder import Fault, Folder, Run, UnavailableError
from verify.head import Head
from verify.network import Network
from verify.records import aligned

TOLERANCE = 1e-4  # of a target's scale: float32 arithmetic through five layers stays two orders below
DEPLOYED_TOLERANCE = 1e-5  # of a scaled output: both are computed in float64, and only the folded biases were rounded


def replayed(folder: Folder, run: Run) -> Iterator[Fault]:
    """Every prediction of predictions.csv is what the stage's checkpoint gives for that cut."""
    data, stated = folder.dataset, run.checked.scaler
    if not fits(folder, run):
        yield Fault("features, scaler and network inputs of the record do not fit each other")
        return
    inputs, head = scaled_inputs(folder, run), Head.of(stated, data, np.arange(len(data.cases)))
    for (stage, target), predicted in aligned(folder, run).predicted.items():
        outputs = _outputs(run, stage, inputs)
        index = TARGETS.index(target)
        own = head.targets(outputs)[:, index]
        error = np.abs(predicted - own)
        wrong = ~(error <= TOLERANCE * (stated.target_scale[index] + np.abs(own)))
        if wrong.any():
            worst = int(np.argmax(np.where(wrong, np.nan_to_num(error, nan=np.inf), -1.0)))
            where = (
                f"case {data.cases[worst]}, run {data.runs[worst]}: {predicted[worst]:.6g}, replayed {own[worst]:.6g}"
            )
            message = (
                f"stage {stage}: {int(wrong.sum())} of {len(own)} predictions of {target} are not the checkpoint's"
            )
            yield Fault(f"{message} ({where})", {"stage": stage, "target": target})


def deployed(folder: Folder, run: Run) -> Iterator[Fault]:
    """The deployed network, from which neurons were removed, says what the masked network of the last stage says."""
    if not run.deploys or not run.checked.stages or not fits(folder, run):
        return
    inputs = scaled_inputs(folder, run)
    masked, own = _outputs(run, run.checked.stages[-1].stage, inputs), forward(run.deployed(), inputs)
    error = np.abs(own - masked)
    wrong = ~(error <= DEPLOYED_TOLERANCE * (1 + np.abs(masked)))
    if wrong.any():
        largest = float(np.nan_to_num(error, nan=np.inf).max())
        message = f"{int(wrong.any(axis=1).sum())} of {len(own)} outputs are not those of the masked network"
        yield Fault(f"{message}; the largest difference is {largest:.3g} standard deviations", {"largest": largest})


def training_loss(folder: Folder, run: Run) -> Iterator[Fault]:
    """The data loss in history.csv, where its network is known, is that network's on the planned training cases.

    An epoch's loss is taken before its step. So the epoch after the selected one has the loss of the stage's
    checkpoint, and a stage's first epoch that of the checkpoint before under the new mask. A network that was trained
    on other rows as well, or a loss that was edited, shows there; in the epochs between them it does not.
    """
    if not fits(folder, run):
        return  # `predictions-replayed` says so
    plan = folder.plan
    cuts, batch = plan.dataset.cuts, plan.experiment.dense_of(plan.variant(run.planned.variant)).batch
    if cuts > batch:
        raise UnavailableError(f"{cuts} cuts in batches of {batch}: the loss of an epoch is no single network's")
    stages, losses = run.checked.stages, _losses_before(run)
    places = [((stage.stage, stage.selected_epoch + 1), stage.stage, None) for stage in stages]
    places += [((after.stage, 1), before.stage, after.stage) for before, after in pairwise(stages)]
    known = [place for place in places if place[0] in losses]
    if not known:
        raise UnavailableError("no epoch of history.csv begins with a network that was kept")
    for (stage, epoch), kept, mask in known:
        network = run.network(kept) if mask is None else _masked(run.network(kept), run.network(mask))
        own, stated = _data_loss(folder, run, network), losses[stage, epoch]
        # Each output within TOLERANCE moves the root of their mean square by as much at most.
        if not abs(stated - own) <= TOLERANCE * (2 * np.sqrt(own) + TOLERANCE):
            message = f"stage {stage}, epoch {epoch}: data = {stated:.6g} in history.csv"
            shown = f"the network it began with has {own:.6g} on the training cases"
            yield Fault(f"{message}; {shown}", {"stage": stage, "epoch": epoch, "stated": stated, "own": own})


def _losses_before(run: Run) -> dict[tuple[int, int], float]:
    """`data` of history.csv by stage and epoch; those that stand there twice are left to `trained-as-planned`."""
    table = run.history()
    keys = list(zip(table["stage"].tolist(), table["epoch"].tolist(), strict=True))
    times = Counter(keys)
    return {key: loss for key, loss in zip(keys, table["data"].tolist(), strict=True) if times[key] == 1}


def _masked(network: Network, after: Network) -> Network:
    """`network` as the next stage begins with it: under the masks of `after`.

    A neuron that is removed loses the weights into it alone. What its bias then always adds to the next layer goes into
    that layer's bias, which is the same in sum.
    """
    masks = after.masks
    if after.neurons is not None:
        masks = tuple(after.present(layer)[:, None] for layer in range(len(masks)))
    pairs = zip(network.weights, masks, strict=True)
    return replace(network, weights=tuple(np.where(mask, weight, 0) for weight, mask in pairs))


def _data_loss(folder: Folder, run: Run, network: Network) -> float:
    """Mean square error in scaled units over the labels of each target, then over the labelled targets."""
    rows, stated = folder.dataset.of(run.planned.train), run.checked.scaler
    outputs = forward(network, scaled_inputs(folder, run)[rows])
    answers, means = Head.of(stated, folder.dataset, rows).standardised(outputs), []
    for index, target in enumerate(TARGETS):
        measured = (folder.dataset.columns[target][rows] - stated.target_mean[index]) / stated.target_scale[index]
        error = (answers[:, index] - measured)[~np.isnan(measured)]
        means.extend([float((error**2).mean())] if error.size else [])
    return float(np.mean(means)) if means else np.nan


def fits(folder: Folder, run: Run) -> bool:
    """Whether the record's features, its scaler and its networks go together; `replayed` says so where they do not."""
    stated, names = run.checked.scaler, run.checked.features
    inputs = len(names) == len(stated.feature_mean) == len(stated.feature_scale) == run.layers[0]
    outputs = len(stated.target_mean) == len(stated.target_scale) == len(TARGETS)
    return inputs and outputs and all(name in folder.dataset.columns for name in names)


def scaled_inputs(folder: Folder, run: Run) -> np.ndarray:
    """Scaled features `[cuts, features]`."""
    columns = [folder.seen_by(run).columns[name] for name in run.checked.features]
    return scale(np.stack(columns, axis=1), run.checked.scaler)


def _outputs(run: Run, stage: int, inputs: np.ndarray) -> np.ndarray:
    return run.once(f"outputs {stage}", lambda: forward(run.network(stage), inputs))


def forward(network: Network, inputs: np.ndarray) -> np.ndarray:
    """Outputs `[cuts, targets]` for scaled inputs `[cuts, features]`: tanh, and a linear last layer."""
    *hidden, last = [
        (weight.astype(float), bias.astype(float)) for weight, bias in zip(network.weights, network.biases, strict=True)
    ]
    for weight, bias in hidden:
        inputs = np.tanh(inputs @ weight.T + bias)
    weight, bias = last
    return inputs @ weight.T + bias


def scale(values: np.ndarray, scaler: Scaler) -> np.ndarray:
    """Features `[cuts, features]` standardised; a missing one becomes 0."""
    scaled = (values - np.array(scaler.feature_mean)) / np.array(scaler.feature_scale)
    return np.where(np.isnan(scaled), 0.0, scaled)
