"""How well held-out predictions keep the laws: from each cut of a tool to its next one, against the laws' solutions.

A physics term that is off has no residual in the records, and of R² a law may take as much as it gives, where tools
differ from it. This is the same question to every network, whatever it was trained with. It needs the true laws, and so
simulated data. Knows predictions at cuts; no network and no derivative.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from artifacts.results import Results
from artifacts.stats import Estimate, bootstrap_mean, paired_rms
from verify.laws import DOC_REFERENCE, FEED_REFERENCE

NAMES = {"VB": "wear law missed (mm)", "thermal": "heat balance missed (µm)"}
WHAT = (
    "A law missed: root mean square of what is predicted for a held-out cut less what the true law makes of the "
    "prediction for the tool's cut before it; after the last stage, over all seeds."
)


@dataclass(frozen=True)
class Steps:
    """The ways from cut to cut of held-out tools: `case` `[steps]`, and the squared miss `[steps]`, mean over seeds."""

    case: np.ndarray
    square: np.ndarray


def wear_after(
    vb: np.ndarray, minutes: np.ndarray, conditions: Mapping[str, np.ndarray], truth: Mapping[str, float]
) -> np.ndarray:
    """Flank wear (mm) that the law has `minutes` after `vb`: ((1 + g·VB)·e^(r·g·t) − 1)/g, of dVB/dt = r·(1 + g·VB).

    ln r = a + b·ln(DOC/0.75) + c·ln(feed/0.25) + d·steel (`spinn.data.simulator`).
    """
    rate = np.exp(
        truth["a"]
        + truth["b"] * np.log(conditions["DOC"] / DOC_REFERENCE)
        + truth["c"] * np.log(conditions["feed"] / FEED_REFERENCE)
        + truth["d"] * conditions["steel"]
    )
    growth = np.expm1(rate * truth["g"] * minutes) / truth["g"] if truth["g"] else rate * minutes
    return vb + growth * (1 + truth["g"] * vb)


def heat_after(
    delta: np.ndarray, minutes: np.ndarray, power: np.ndarray, later: np.ndarray, truth: Mapping[str, float]
) -> np.ndarray:
    """Thermal displacement (µm) `minutes` after `delta`, of dδ/dt = k·P − δ/τ, P linear from `power` to `later` (W).

    δ·e^(−t/τ) + k·τ·(P₀·(1 − e^(−t/τ)) + s·(t − τ·(1 − e^(−t/τ)))), s the slope of P.
    """
    tau, lost = truth["tau"], -np.expm1(-minutes / truth["tau"])
    slope = (later - power) / minutes
    return delta * (1 - lost) + truth["k"] * tau * (power * lost + slope * (minutes - tau * lost))


def steps(results: Results, variant: str, target: str) -> Steps | None:
    """What a variant's held-out predictions miss after its last stage; None where there is no truth, or no step."""
    truth, data = results.datacard.get("truth"), results.data
    if not truth or data is None:
        return None
    frame = results.predictions
    frame = frame[(frame["variant"] == variant) & (frame["split"] == "test") & (frame["target"] == target)]
    frame = frame[frame["stage"] == results.last_stage(variant)]
    table = frame.pivot(index=["case", "run"], columns="seed", values="prediction")
    cases, squares = [], []
    for case in dict.fromkeys(data.cases.tolist()):
        rows = np.flatnonzero(data.cases == case)
        keys = list(zip([case] * len(rows), data.runs[rows].tolist(), strict=True))
        if not len(rows) or not all(key in table.index for key in keys):
            continue
        columns = {name: data.columns[name][rows] for name in ("time", "DOC", "feed", "steel", "power")}
        predicted, minutes = table.loc[keys].to_numpy(dtype=float), np.diff(columns["time"])
        moves = minutes > 0
        before, minutes = predicted[:-1][moves], minutes[moves][:, None]
        at = {name: values[:-1][moves][:, None] for name, values in columns.items()}
        later = columns["power"][1:][moves][:, None]
        after = (
            wear_after(before, minutes, at, truth)
            if target == "VB"
            else heat_after(before, minutes, at["power"], later, truth)
        )
        square = np.square(predicted[1:][moves] - after).mean(axis=1)
        known = np.isfinite(square)
        cases.append(np.full(known.sum(), case))
        squares.append(square[known])
    found = Steps(np.concatenate([*cases, np.empty(0, str)]), np.concatenate([*squares, np.empty(0)]))
    return found if len(found.case) else None


def missed(results: Results, variant: str, first: str, target: str) -> tuple[Estimate, Estimate] | None:
    """The root mean square, and its ratio to that of the variant `first`, paired; None where nothing can be said."""
    ours, other = steps(results, variant, target), steps(results, first, target)
    if ours is None or other is None or not math.isfinite(float(ours.square.sum())):
        return None
    ratio = Estimate(None) if variant == first else paired_rms(ours.case, ours.square, other.square)
    square = bootstrap_mean(ours.square, [[case] for case in ours.case.tolist()])
    ends = (None if end is None else math.sqrt(end) for end in (square.value, square.low, square.high))
    return Estimate(*ends), ratio
