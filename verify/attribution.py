"""Was removal compared with physics as the record says? Gradients and areas again, from weights and data.

The backward pass through outputs and rates is the judge's own, in numpy and float64; so is the random choice. Sources:
`spinn.attribution` names them; what is computed is in the docstrings here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from verify.folder import Fault, Folder, Run
from verify.head import Head
from verify.network import Network
from verify.neurons import training_rows
from verify.replay import fits, scaled_inputs
from verify.residuals import Trajectories, trajectories, wear_rate_when_new

TOLERANCE = 0.005  # of an area from 0 to 1: gradients in float32 there, scores rounded to 8 bits in both places
Gradients = list[np.ndarray]


def recomputed(folder: Folder, run: Run) -> Iterator[Fault]:
    """The areas that the record gives of a stage follow from the network before it, the masks after it and the data.

    A stage of which the record gives none makes no claim.
    """
    if not run.checked.physics_terms or not fits(folder, run):
        return  # `predictions-replayed` says what does not fit
    way = trajectories(folder, run)
    for earlier, later in pairwise(run.checked.stages):
        if later.attribution is None:
            continue
        before, after = run.network(earlier.stage), run.network(later.stage)
        own = _areas(folder, run, way, before, after, later.stage)
        if set(own) != set(later.attribution):
            names = sorted(later.attribution)
            yield Fault(f"stage {later.stage}: attribution of {names}, expected of {sorted(own)}")
            continue
        for name, stated in later.attribution.items():
            if not abs(stated - own[name]) <= TOLERANCE:
                message = f"stage {later.stage}: attribution {name} = {stated:.4f} is recorded, the checkpoints give"
                data = {"stage": later.stage, "name": name, "stated": stated, "own": own[name]}
                yield Fault(f"{message} {own[name]:.4f}", data)


def _areas(
    folder: Folder, run: Run, way: Trajectories, before: Network, after: Network, stage: int
) -> dict[str, float]:
    """By score and choice: how often a weight that stays scores above one that goes, a tie counting half."""
    active = np.concatenate([mask.ravel() for mask in before.masks])
    kept = np.concatenate([mask.ravel() for mask in after.masks])[active]
    weight = np.concatenate([values.ravel() for values in before.weights])[active].astype(float)
    physics = _physics_slopes(folder, run, before, way)
    data = _data_slopes(before, *training_rows(folder, run))
    of_physics, of_data = (np.concatenate([g.ravel() for g in found])[active] * weight for found in (physics, data))
    count = int((~kept).sum())
    numbers = np.random.PCG64(np.random.SeedSequence([run.planned.seed, stage, 1])).random_raw(weight.size)
    choices = {"pruner": kept, "magnitude": _all_but_lowest(np.abs(weight), count)}
    choices["random"] = _all_but_lowest(numbers, count)
    scores = {"physics": np.abs(of_physics), "data": np.abs(of_data), "physics_signed": -of_physics}
    levels = {name: _levels(score) for name, score in scores.items()}
    pairs = [(score, choice) for score in levels for choice in choices]
    return {f"{score}_{choice}": _area(levels[score], choices[choice]) for score, choice in pairs}


def _data_slopes(network: Network, inputs: np.ndarray, labels: np.ndarray, head: Head) -> Gradients:
    """∂L/∂w of the data loss: mean square over the labels of each target, then over the labelled targets."""
    counts = (~np.isnan(labels)).sum(0)

    def outward(outputs: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        error = np.nan_to_num(head.standardised(outputs) - labels, nan=0.0) * head.slope(outputs)
        return 2 * error / np.maximum(counts, 1) / max(int((counts > 0).sum()), 1), np.zeros_like(error)

    return backward(network, inputs, np.zeros_like(inputs), outward)


def _physics_slopes(folder: Folder, run: Run, network: Network, way: Trajectories) -> Gradients:
    """∂L/∂w of the weighted physics terms, as `verify.residuals` has them: at the middle of each way, and at starts."""
    scaler, planned = run.checked.scaler, folder.plan.variant(run.planned.variant)
    on = {term: getattr(folder.plan.experiment.physics_of(planned), term) for term in run.checked.physics_terms}.get
    mean, spread, plain = np.array(scaler.target_mean), np.array(scaler.target_scale), scaler.law is None
    pace = spread / scaler.feature_scale[0]
    head = Head(mean, spread) if plain else Head.at(scaler, way.law)
    power, known = way.conditions[:, 3], ~np.isnan(way.conditions[:, 3])
    growth = wear_rate_when_new(network, way.conditions)
    law = {name: network.coefficients.get(name, np.nan) for name in ("g", "k", "tau")}

    def along(outputs: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (vb, delta), (vb_rate, delta_rate) = head.targets(outputs).T, head.rates(outputs, rates, way.law_rate).T
        by_state, by_rate = np.zeros_like(outputs), np.zeros_like(outputs)
        if on("wear_rate"):
            wear = 2 * on("wear_rate", 0.0) * (vb_rate - growth * (1 + law["g"] * vb)) / pace[0] ** 2 / vb.size
            by_rate[:, 0] += wear
            by_state[:, 0] -= wear * growth * law["g"]
        if on("heat"):
            off = np.where(known, delta_rate - law["k"] * power + delta / law["tau"], 0.0)
            heat = 2 * on("heat", 0.0) * off / pace[1] ** 2 / known.sum()
            by_rate[:, 1] += heat
            by_state[:, 1] += heat / law["tau"]
        by_rate[:, 0] += 2 * on("monotone", 0.0) * np.minimum(vb_rate, 0) / pace[0] ** 2 / vb.size
        by_state[:, 0] += 2 * on("nonnegative", 0.0) * np.minimum(vb, 0) / spread[0] ** 2 / vb.size
        slope = head.slope(outputs) * spread  # of a target and of its rate alike, by the output and by its rate
        return by_state * slope + by_rate * head.rates_by_output(outputs, rates, way.law_rate), by_rate * slope

    def at_start(outputs: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        born = head.targets(outputs) / spread * way.labelled
        return 2 * on("initial", 0.0) * born / (len(born) * way.labelled.sum()), rates

    def at_cuts(outputs: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = Head.of(scaler, folder.dataset, way.cuts)
        assert at.law is not None
        corrected = np.zeros_like(outputs)
        corrected[:, 0] = 2 * on("law", 0.0) * (at.targets(outputs)[:, 0] - at.law) / spread[0] / len(outputs)
        return corrected * at.slope(outputs), rates

    parts = [backward(network, way.inputs, way.speed, along)]
    if on("initial"):  # never of a network that corrects a law, which is 0 there
        parts.append(backward(network, way.starts, np.zeros_like(way.starts), at_start))
    if on("law") and not plain:  # a term without its law is found out by `physics-alive`
        inputs = scaled_inputs(folder, run)[way.cuts]
        parts.append(backward(network, inputs, np.zeros_like(inputs), at_cuts))
    return [np.sum(slopes, axis=0) for slopes in zip(*parts, strict=True)]


Outward = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def backward(network: Network, inputs: np.ndarray, speed: np.ndarray, outward: Outward) -> Gradients:
    """∂L/∂w of every weight matrix, where `outward(outputs, rates)` gives ∂L/∂outputs and ∂L/∂rates, `[rows, targets]`.

    A layer takes values h and rates v to h' = tanh(z), z = W·h + b, and v' = (1 − h'²)·u, u = W·v; the last one is
    linear. So ∂L/∂u = (1 − h'²)·∂L/∂v', ∂L/∂z = (1 − h'²)·(∂L/∂h' − 2·h'·u·∂L/∂v') and ∂L/∂W = ∂L/∂z·h + ∂L/∂u·v.
    """
    weights = [weight.astype(float) for weight in network.weights]
    values, rates, moved = [inputs], [speed], []
    for weight, bias in zip(weights[:-1], network.biases[:-1], strict=True):
        moved.append(rates[-1] @ weight.T)
        values.append(np.tanh(values[-1] @ weight.T + bias))
        rates.append((1 - values[-1] ** 2) * moved[-1])
    by_value, by_rate = outward(values[-1] @ weights[-1].T + network.biases[-1], rates[-1] @ weights[-1].T)
    found = []
    for layer in reversed(range(len(weights))):
        if layer < len(weights) - 1:
            out, bend = values[layer + 1], 1 - values[layer + 1] ** 2
            by_value, by_rate = bend * (by_value - 2 * out * moved[layer] * by_rate), bend * by_rate
        found.append(by_value.T @ values[layer] + by_rate.T @ rates[layer])
        by_value, by_rate = by_value @ weights[layer], by_rate @ weights[layer]
    return found[::-1]


def _all_but_lowest(values: np.ndarray, count: int) -> np.ndarray:
    """False at the `count` lowest."""
    stays = np.ones(values.size, bool)
    stays[np.argpartition(values, count - 1)[:count] if count else []] = False
    return stays


def _levels(score: np.ndarray) -> np.ndarray:
    """The scores as numbers of levels 1/128 of their size apart, in order: the first 16 bits of a float32."""
    bits = np.abs(score).astype(np.float32).view(np.int32) >> 16
    return np.where(score < 0, -bits, bits) + 2**15


def _area(level: np.ndarray, stays: np.ndarray) -> float:
    """P(level of one that stays > of one that goes) + ½ P(equal)."""
    kept, gone = (np.bincount(level[side], minlength=2**16).astype(float) for side in (stays, ~stays))
    return float(kept @ (np.cumsum(gone) - gone / 2) / (kept.sum() * gone.sum()))
