"""The wear law with four coefficients: what a network has to beat, or may start from.

Knows a frame of cuts and a least-squares fit; nothing of folds, networks or records.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from spinn.data.dataset import DOC_REFERENCE, FEED_REFERENCE


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


def fit_wear_law(frame: pd.DataFrame) -> np.ndarray:
    """Least-squares a, b, c, d over the labelled rows of `frame`; starts from the pooled rate ΣVB / Σt."""
    rows = frame[frame["VB"].notna()]
    measured = rows["VB"].to_numpy()
    rate = max(measured.sum(), 1e-12) / max(rows["time"].sum(), 1e-12)
    start = np.array([np.log(rate), 0.0, 0.0, 0.0])

    def residuals(coefficients: np.ndarray) -> np.ndarray:
        return wear_law(rows, coefficients) - measured

    return least_squares(residuals, start, xtol=1e-12, ftol=1e-12, gtol=1e-12).x
