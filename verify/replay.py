"""Predictions made again from checkpoint and data, in a forward pass of the judge's own (numpy, float64)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spinn.data.dataset import TARGETS
from spinn.record import Scaler
from verify.folder import Fault, Folder, Network, Run
from verify.records import aligned

TOLERANCE = 1e-4  # of a target's scale: float32 arithmetic through five layers stays two orders below


def replayed(folder: Folder, run: Run) -> Iterator[Fault]:
    """Every prediction of predictions.csv is what the stage's checkpoint gives for that cut."""
    data, stated = folder.dataset, run.checked.scaler
    unknown = [name for name in run.checked.features if name not in data.columns]
    unknown += [] if len(stated.target_mean) == len(stated.target_scale) == len(TARGETS) else ["targets"]
    if (
        unknown
        or not len(run.checked.features) == len(stated.feature_mean) == len(stated.feature_scale) == run.layers[0]
    ):
        yield Fault("features, scaler and network inputs of the record do not fit each other")
        return
    inputs = scale(np.stack([data.columns[name] for name in run.checked.features], axis=1), stated)
    for (stage, target), predicted in aligned(folder, run).predicted.items():
        outputs = run.once(f"outputs {stage}", lambda stage=stage: forward(run.network(stage), inputs))
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
