"""Physics residuals computed again from weights and data: the judge's own laws, trajectories and exact derivative.

A derivative that was taken wrongly, a residual that an error zeroed, or a law with a slip in it gives other numbers.
numpy, float64. Sources of the laws: DESIGN, section 8; Archard 1953 and Kienzle 1952 for wear, a lumped heat balance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spinn.data.dataset import DOC_REFERENCE, FEED_REFERENCE, TARGETS
from verify.folder import Fault, Folder, Run, UnavailableError
from verify.head import Head
from verify.laws import Law
from verify.network import Network
from verify.replay import fits, forward, scale, scaled_inputs

TOLERANCE = 1e-3  # relative: a mean square of differences of float32 rates
SMALLEST = 1e-6  # in squares of a characteristic rate or spread: below, the difference is rounding
CONDITIONS = ("DOC", "feed", "steel", "power")


def recomputed(folder: Folder, run: Run) -> Iterator[Fault]:
    """The physics terms that the record gives of each stage are those of its checkpoint."""
    record = run.checked
    if not record.physics_terms or not fits(folder, run):
        return  # `predictions-replayed` says what does not fit
    way = trajectories(folder, run)
    for stage in record.stages:
        if set(stage.residuals) != set(record.physics_terms):
            terms = sorted(record.physics_terms)
            yield Fault(f"stage {stage.stage}: residuals of {sorted(stage.residuals)}, expected of {terms}")
            continue
        own = _terms(folder, run, run.network(stage.stage), way)
        for term, stated in stage.residuals.items():
            if not abs(stated - own[term]) <= TOLERANCE * own[term] + SMALLEST:
                message = (
                    f"stage {stage.stage}: {term} = {stated:.6g} is recorded, the checkpoint gives {own[term]:.6g}"
                )
                yield Fault(message, {"stage": stage.stage, "term": term, "stated": stated, "own": own[term]})


@dataclass(frozen=True)
class Trajectories:
    """The training cases from cut to cut, at the middle of each way, and at their start.

    `inputs` and `starts` `[rows, features]` are standardised, `speed` `[rows, features]` is the inputs' change per
    minute; `conditions` `[rows, 4]` are DOC, feed, steel and power (NaN where it is unknown), `law` and `law_rate`
    `[rows]` (mm, mm/min) the wear that the network corrects, 0 where it corrects none; `labelled` `[2]` says which
    targets the training cases have labels of. `cuts` are the training cuts with measured flank wear.
    """

    inputs: np.ndarray
    speed: np.ndarray
    conditions: np.ndarray
    law: np.ndarray
    law_rate: np.ndarray
    starts: np.ndarray
    labelled: np.ndarray
    cuts: np.ndarray


def trajectories(folder: Folder, run: Run) -> Trajectories:
    """From each case's start, at time 0 in the conditions of its first cut, on to every later cut.

    A signal known at one end of a way only is held there: a gap is no movement.
    """
    data, names = folder.seen_by(run), run.checked.features
    if "time" not in names or not set(run.planned.train) <= set(data.cases.tolist()):
        raise UnavailableError("the data has not the cutting time of every training case")
    every, law = np.arange(len(data.cases)), run.checked.scaler.law
    wear = np.zeros(len(every)) if law is None else Law.of(data.columns, every).wear(np.array(law.coefficients))
    table = np.stack([*(data.columns[name] for name in (*names, *CONDITIONS)), wear], axis=1)
    ways, starts = [], []
    for case in run.planned.train:
        cuts = table[data.cases == case]
        start = cuts[0].copy()
        start[[names.index("time"), -1]] = 0.0
        path = np.vstack([start, cuts])
        passes = np.diff(path[:, names.index("time")]) > 0
        ways.append(np.stack([path[:-1][passes], path[1:][passes]]))
        starts.append(start)
    begin, end = np.concatenate(ways, axis=1)
    begin, end = np.where(np.isnan(begin), end, begin), np.where(np.isnan(end), begin, end)
    minutes = (end - begin)[:, names.index("time"), None]
    first, last = (scale(rows[:, : len(names)], run.checked.scaler) for rows in (begin, end))
    rows = data.of(run.planned.train)
    return Trajectories(
        inputs=(first + last) / 2,
        speed=(last - first) / minutes,
        conditions=((begin + end) / 2)[:, len(names) : -1],
        law=((begin + end) / 2)[:, -1],
        law_rate=((end - begin) / minutes)[:, -1],
        starts=scale(np.array(starts)[:, : len(names)], run.checked.scaler),
        labelled=np.array([not np.isnan(data.columns[target][rows]).all() for target in TARGETS]),
        cuts=np.flatnonzero(rows & ~np.isnan(data.columns["VB"])),
    )


def _terms(folder: Folder, run: Run, network: Network, way: Trajectories) -> dict[str, float]:
    """Every term, as the mean square of a residual in units of a characteristic rate or spread; NaN without its law."""
    scaler = run.checked.scaler
    spread, plain = np.array(scaler.target_scale), scaler.law is None
    pace = spread / scaler.feature_scale[0]
    outputs, output_rates = with_rate(network, way.inputs, way.speed)
    head = Head.of(scaler, folder.dataset, way.cuts) if plain else Head.at(scaler, way.law)
    (vb, delta), (vb_rate, delta_rate) = head.targets(outputs).T, head.rates(outputs, output_rates, way.law_rate).T
    power = way.conditions[:, 3]
    law = {name: network.coefficients.get(name, np.nan) for name in ("g", "k", "tau")}
    wear = vb_rate - wear_rate_when_new(network, way.conditions) * (1 + law["g"] * vb)
    heat = delta_rate - (law["k"] * power - delta / law["tau"])
    known = ~np.isnan(power)
    new = head if plain else Head.at(scaler, np.zeros(len(way.starts)))
    born = new.targets(with_rate(network, way.starts, np.zeros_like(way.starts))[0])
    at_cuts = Head.of(scaler, folder.dataset, way.cuts)
    corrected = at_cuts.targets(forward(network, scaled_inputs(folder, run)[way.cuts]))[:, 0]
    return {
        "wear_rate": _mean_square(wear / pace[0]),
        "heat": _mean_square(heat[known] / pace[1]),
        "initial": _mean_square((born / spread)[:, way.labelled]),
        "monotone": _mean_square(np.minimum(vb_rate, 0) / pace[0]),
        "nonnegative": _mean_square(np.minimum(vb, 0) / spread[0]),
        "law": np.nan if at_cuts.law is None else _mean_square((corrected - at_cuts.law) / spread[0]),
    }


def wear_rate_when_new(network: Network, conditions: np.ndarray) -> np.ndarray:
    """exp(a + b·ln(DOC/DOC₀) + c·ln(f/f₀) + d·steel), mm/min, at `conditions` `[rows, 4]`; NaN without its law."""
    law = {name: network.coefficients.get(name, np.nan) for name in ("a", "b", "c", "d")}
    doc, feed, steel, _ = conditions.T
    log_rate = law["a"] + law["b"] * np.log(doc / DOC_REFERENCE) + law["c"] * np.log(feed / FEED_REFERENCE)
    return np.exp(log_rate + law["d"] * steel)


def with_rate(network: Network, inputs: np.ndarray, speed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs `[rows, targets]` for scaled inputs, and their rate where the inputs change by `speed` a minute."""
    last = len(network.weights) - 1
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        inputs, speed = inputs @ weight.astype(float).T + bias.astype(float), speed @ weight.astype(float).T
        if index < last:
            inputs = np.tanh(inputs)
            speed = speed * (1 - inputs**2)
    return inputs, speed


def _mean_square(values: np.ndarray) -> float:
    return float(np.mean(values**2)) if values.size else 0.0
