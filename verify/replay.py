"""Predictions made again from checkpoint and data, in a forward pass of the judge's own (numpy, float64)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spinn.data.dataset import TARGETS
from spinn.record import Scaler
from verify.folder import Fault, Folder, Run
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
    inputs = scaled_inputs(folder, run)
    for (stage, target), predicted in aligned(folder, run).predicted.items():
        outputs = _outputs(run, stage, inputs)
        index = TARGETS.index(target)
        own = outputs[:, index] * stated.target_scale[index] + stated.target_mean[index]
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


def fits(folder: Folder, run: Run) -> bool:
    """Whether the record's features, its scaler and its networks go together; `replayed` says so where they do not."""
    stated, names = run.checked.scaler, run.checked.features
    inputs = len(names) == len(stated.feature_mean) == len(stated.feature_scale) == run.layers[0]
    outputs = len(stated.target_mean) == len(stated.target_scale) == len(TARGETS)
    return inputs and outputs and all(name in folder.dataset.columns for name in names)


def scaled_inputs(folder: Folder, run: Run) -> np.ndarray:
    """Scaled features `[cuts, features]`."""
    columns = [folder.dataset.columns[name] for name in run.checked.features]
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
