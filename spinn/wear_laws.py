"""The two wear laws that a network has to beat: flank wear linear in cutting time, and flank wear that feeds itself.

Knows their formulas and least-squares fits, over rows of a data set; knows no folds, files or networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult, least_squares
from scipy.special import exprel

from spinn.data.dataset import DOC_REFERENCE, FEED_REFERENCE

COEFFICIENTS = {"wear-law": "abcd", "wear-law-growth": "abcdg"}
_GROWTHS = (0.1, 1.0)  # g times the greatest wear, where its search starts: nearly linear, and at a rate that doubles


def wear_law(frame: pd.DataFrame, coefficients: Sequence[float] | np.ndarray) -> np.ndarray:
    """Flank wear (mm) by VB = t · exp(a + b·ln(DOC/0.75) + c·ln(f/0.25) + d·steel), t in minutes, VB = 0 at t = 0.

    A power law of depth of cut and feed, as in extended Taylor equations, at a constant rate for each tool.
    """
    return _linear(_Cuts.of(frame), coefficients)


def wear_law_growth(frame: pd.DataFrame, coefficients: Sequence[float] | np.ndarray) -> np.ndarray:
    """Flank wear (mm) by dVB/dt = r·(1 + g·VB), VB = 0 at t = 0: VB = (exp(g·r·t) − 1) / g, which is r·t at g = 0.

    r (mm/min) is that of `wear_law` with the coefficients a, b, c, d; g (per mm, at least 0) comes last. A worn edge
    rubs on a wider land and so wears faster: the law that the physics terms of the network have (`spinn.physics`).
    """
    return _growing(_Cuts.of(frame), coefficients)


def fit_wear_law(frame: pd.DataFrame) -> np.ndarray:
    """Least-squares a, b, c, d over the labelled rows of `frame`; starts from the pooled rate ΣVB / Σt."""
    rows = frame[frame["VB"].notna()]
    rate = max(rows["VB"].sum(), 1e-12) / max(rows["time"].sum(), 1e-12)
    return _least_squares(_linear, rows, np.array([np.log(rate), 0.0, 0.0, 0.0]), -np.inf).x


def fit_wear_law_growth(frame: pd.DataFrame) -> np.ndarray:
    """Least-squares a, b, c, d, g with g at least 0, over the labelled rows of `frame`; starts from the linear law."""
    rows, linear = frame[frame["VB"].notna()], fit_wear_law(frame)
    least = np.array([-np.inf] * 4 + [0.0])
    most = max(rows["VB"].max(), 1e-12)
    found = [_least_squares(_growing, rows, np.append(linear, growth / most), least) for growth in _GROWTHS]
    return min(found, key=lambda one: one.cost).x


class _Cuts(NamedTuple):
    """What the laws are functions of: minutes, ln(DOC/0.75), ln(f/0.25), 1 for steel; `[rows]` each."""

    time: np.ndarray
    depth: np.ndarray
    feed: np.ndarray
    steel: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Cuts:
        time, depth, feed, steel = (frame[name].to_numpy() for name in ("time", "DOC", "feed", "steel"))
        return cls(time, np.log(depth / DOC_REFERENCE), np.log(feed / FEED_REFERENCE), steel)


def _linear(cuts: _Cuts, coefficients: Sequence[float] | np.ndarray) -> np.ndarray:
    a, b, c, d = coefficients
    return cuts.time * np.exp(a + b * cuts.depth + c * cuts.feed + d * cuts.steel)


def _growing(cuts: _Cuts, coefficients: Sequence[float] | np.ndarray) -> np.ndarray:
    *linear, g = coefficients
    worn = _linear(cuts, linear)
    return worn * exprel(g * worn)


def _least_squares(
    law: Callable[[_Cuts, np.ndarray], np.ndarray],
    rows: pd.DataFrame,
    start: np.ndarray,
    least: np.ndarray | float,
) -> OptimizeResult:
    cuts, measured = _Cuts.of(rows), rows["VB"].to_numpy()
    # Of a depth, feed or material that is the same in all rows nobody knows the coefficient: it stays at its start,
    # where rounding would carry it anywhere, and a prediction at another one with it.
    told = np.ones(len(start), bool)
    told[1:4] = [np.ptp(column) > 0 for column in cuts[1:]]

    def whole(free: np.ndarray) -> np.ndarray:
        coefficients = start.copy()
        coefficients[told] = free
        return coefficients

    def residuals(free: np.ndarray) -> np.ndarray:
        return law(cuts, whole(free)) - measured

    bounds = (np.broadcast_to(least, start.shape)[told], np.inf)
    with np.errstate(over="ignore", invalid="ignore"):  # a step that goes too far is inf, and is taken back
        found = least_squares(residuals, start[told], bounds=bounds, xtol=1e-12, ftol=1e-12, gtol=1e-12)
    found.x = whole(found.x)
    return found
