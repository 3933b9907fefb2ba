"""Did the right neurons go? Their scores computed again, in float64, from the network that they were ranked in.

Scores: Li et al. 2017 (weights into a neuron), the same with the weights out of it, and, after Molchanov et al. 2019,
what the removal changes in the data loss, to first order; its gradients come from a backward pass of the judge's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from spinn.data.dataset import TARGETS
from verify.folder import Fault, Folder, Run, UnavailableError
from verify.head import Head
from verify.network import Network
from verify.replay import fits, scaled_inputs

ROUNDING = 1e-5  # relative: sums of float32 values in float32
OUTPUT_ROUNDING = 3e-6  # of a scaled output, through five layers in float32; against the error that drives a gradient
Scores = list[tuple[np.ndarray, np.ndarray]]  # of each hidden layer's neurons: score, and by how much it may be off


def neuron_order(folder: Folder, run: Run) -> Iterator[Fault]:
    """Of a pruner of neurons, each stage took those of each layer that had the lowest scores in the network before it.

    The checkpoint of the stage before holds the very network that was scored, and its recorded scaler the inputs.
    """
    pruner = folder.plan.variant(run.planned.variant).pruner
    if not pruner.startswith("neurons-"):
        return
    for earlier, later in pairwise(stage.stage for stage in run.checked.stages):
        before, after = run.network(earlier), run.network(later)
        for layer, (scores, rounding) in enumerate(_scores(folder, run, pruner, before)):
            there = before.present(layer)
            left, gone = there & after.present(layer), there & ~after.present(layer)
            if not gone.any() or not left.any():
                continue
            lowest = scores[left].min()
            wrong = gone & (scores - lowest > rounding + rounding[left].max())
            if wrong.any():
                message = f"stage {later}, layers.{layer}: {int(wrong.sum())} neurons went whose score is higher than"
                data = {"stage": later, "layer": layer, "count": int(wrong.sum()), "smallest_kept": lowest}
                largest = scores[wrong].max()
                yield Fault(f"{message} one that stayed has ({largest:.3g} went, {lowest:.3g} stayed)", data)


def _scores(folder: Folder, run: Run, pruner: str, network: Network) -> Scores:
    if pruner == "neurons-first-order":
        return first_order(network, *training_rows(folder, run))
    weights = [np.abs(weight.astype(float)) for weight in network.weights]
    out = [following.sum(0) if pruner == "neurons-both-sides" else 0.0 for following in weights[1:]]
    sums = [weight.sum(1) + beyond for weight, beyond in zip(weights, out, strict=False)]
    return [(score, ROUNDING * score) for score in sums]


def first_order(network: Network, inputs: np.ndarray, labels: np.ndarray, head: Head) -> Scores:
    """|Σ ∂L/∂h · (tanh(b) − h)| over the rows: the activation h of a hidden neuron becomes tanh of its bias b.

    Args:
        network: the network.
        inputs: scaled, `[rows, features]`.
        labels: scaled, `[rows, targets]`, NaN where there is none; L is the mean square over the labels of each target,
            then over the labelled targets.
        head: what the outputs mean.
    """
    activations = [inputs]
    weights = [weight.astype(float) for weight in network.weights]
    for weight, bias in zip(weights[:-1], network.biases[:-1], strict=True):
        activations.append(np.tanh(activations[-1] @ weight.T + bias))
    outputs = activations[-1] @ weights[-1].T + network.biases[-1]
    error = np.nan_to_num(head.standardised(outputs) - labels, nan=0.0)
    counts = (~np.isnan(labels)).sum(0)
    gradient = 2 * error * head.slope(outputs) / np.maximum(counts, 1) / max(int((counts > 0).sum()), 1)
    rounding = ROUNDING + OUTPUT_ROUNDING / max(float(np.sqrt(np.mean(error**2))), OUTPUT_ROUNDING)
    scores: Scores = []
    for layer in reversed(range(len(weights) - 1)):
        hidden, stays = activations[layer + 1], np.tanh(network.biases[layer].astype(float))
        gradient = gradient @ weights[layer + 1]
        changes = np.abs(((stays - hidden) * gradient).sum(0))
        scores.append((changes, rounding * ((np.abs(stays) + np.abs(hidden)) * np.abs(gradient)).sum(0)))
        gradient = gradient * (1 - hidden**2)  # tanh′ = 1 − tanh²
    return scores[::-1]


def training_rows(folder: Folder, run: Run) -> tuple[np.ndarray, np.ndarray, Head]:
    """Scaled inputs and labels of the labelled cuts of the run's training cases, and what outputs mean there."""
    if not fits(folder, run):
        raise UnavailableError("the record's features, scaler and networks do not fit each other")
    data, scaler = folder.dataset, run.checked.scaler
    labels = np.stack([data.columns[target] for target in TARGETS], axis=1)
    rows = data.of(run.planned.train) & ~np.isnan(labels).all(axis=1)
    scaled = (labels - np.array(scaler.target_mean)) / np.array(scaler.target_scale)
    return scaled_inputs(folder, run)[rows], scaled[rows], Head.of(scaler, data, rows)
