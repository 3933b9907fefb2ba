"""How a cost grows: whether it does so linearly, and a law of it, fitted to some points and tried on others.

Knows numbers alone, nothing of runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls


def steepening(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """What one more costs between the two largest sizes, over what it costs from the smallest to the last but one.

    1 where the cost is linear, whatever does not grow at all: a fixed cost would make cost over size fall, and hide a
    part that grows faster. Sizes of 1, 2, 4 and 8 give 2.4 where the cost is quadratic. NaN where a larger size costs
    no more: what was measured then is noise.

    Args:
        sizes: Three or more, ascending.
        costs: One of each.
    """
    last = (costs[-1] - costs[-2]) / (sizes[-1] - sizes[-2])
    before = (costs[-2] - costs[0]) / (sizes[-2] - sizes[0])
    return last / before if last > 0 and before > 0 else math.nan


def fit(terms: Sequence[Sequence[float]], costs: Sequence[float]) -> tuple[float, ...]:
    """Coefficients of cost = Σ coefficient · term with the least sum of squared relative errors; none below 0.

    Relative, since costs differ by orders of magnitude and each is to count alike. Non-negative least squares: Lawson
    and Hanson, Solving Least Squares Problems, 1974, chapter 23.

    Args:
        terms: `[points, terms]`, none below 0; a constant is a term that is 1 throughout.
        costs: `[points]`, above 0.
    """
    relative = np.asarray(terms, np.float64) / np.asarray(costs, np.float64)[:, None]
    unit = relative.max(axis=0)
    coefficients, _ = nnls(relative / unit, np.ones(len(relative)))
    return tuple(float(value) for value in coefficients / unit)


def predicted(coefficients: Sequence[float], terms: Sequence[float]) -> float:
    """What the law says of one point."""
    return float(np.dot(coefficients, terms))


def relative_error(said: float, measured: float) -> float:
    """By what share of the measured cost the law is above it."""
    return said / measured - 1
