"""The two wear laws that a network has to beat: flank wear linear in cutting time, and flank wear that feeds itself.

Knows their formulas and least-squares fits, over rows of a data set; knows no folds, files or networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeResult, least_squares
from scipy.special import exprel

from spinn.data.dataset import DOC_REFERENCE, FEED_REFERENCE

_GROWTHS = (0.1, 1.0)  # g times the greatest wear, where its search starts: nearly linear, and at a rate that doubles


def wear_law(frame: pd.DataFrame, coefficients: Sequence[float] | np.ndarray) -> np.ndarray:
    """Flank wear (mm) by VB = t · exp(a + b·ln(DOC/0.75) + c·ln(f/0.25) + d·steel), t in minutes, VB = 0 at t = 0.

    A power law of depth of cut and feed, as in extended Taylor equations, at a constant rate for each tool.
    """
    a, b, c, d = coefficients
    log_rate = (
        a
        + b * np.log(frame["DOC"].to_numpy() / DOC_REFERENCE)
        + c * np.log(frame["feed"].to_numpy() / FEED_REFERENCE)
        + d * frame["steel"].to_numpy()
    )
    return frame["time"].to_numpy() * np.exp(log_rate)


def wear_law_growth(frame: pd.DataFrame, coefficients: Sequence[float] | np.ndarray) -> np.ndarray:
    """Flank wear (mm) by dVB/dt = r·(1 + g·VB), VB = 0 at t = 0: VB = (exp(g·r·t) − 1) / g, which is r·t at g = 0.

    r (mm/min) is that of `wear_law` with the coefficients a, b, c, d; g (per mm, at least 0) comes last. A worn edge
    rubs on a wider land and so wears faster: the law that the physics terms of the network have (`spinn.physics`).
    """
    *linear, g = coefficients
    worn = wear_law(frame, linear)
    return worn * exprel(g * worn)


def fit_wear_law(frame: pd.DataFrame) -> np.ndarray:
    """Least-squares a, b, c, d over the labelled rows of `frame`; starts from the pooled rate ΣVB / Σt."""
    rows = frame[frame["VB"].notna()]
    rate = max(rows["VB"].sum(), 1e-12) / max(rows["time"].sum(), 1e-12)
    return _least_squares(wear_law, rows, np.array([np.log(rate), 0.0, 0.0, 0.0]), -np.inf).x


def fit_wear_law_growth(frame: pd.DataFrame) -> np.ndarray:
    """Least-squares a, b, c, d, g with g at least 0, over the labelled rows of `frame`; starts from the linear law."""
    rows, linear = frame[frame["VB"].notna()], fit_wear_law(frame)
    least = np.array([-np.inf] * 4 + [0.0])
    most = max(rows["VB"].max(), 1e-12)
    found = [_least_squares(wear_law_growth, rows, np.append(linear, growth / most), least) for growth in _GROWTHS]
    return min(found, key=lambda one: one.cost).x


def _least_squares(
    law: Callable[[pd.DataFrame, np.ndarray], np.ndarray],
    rows: pd.DataFrame,
    start: np.ndarray,
    least: np.ndarray | float,
) -> OptimizeResult:
    measured = rows["VB"].to_numpy()

    def residuals(coefficients: np.ndarray) -> np.ndarray:
        return law(rows, coefficients) - measured

    with np.errstate(over="ignore", invalid="ignore"):  # a step that goes too far is inf, and is taken back
        return least_squares(residuals, start, bounds=(least, np.inf), xtol=1e-12, ftol=1e-12, gtol=1e-12)
