"""Prediction intervals and what they really cover: conformal by case, and the spread of the seeds.

Knows arrays only, as `stats.py`. Both intervals are centred on the mean prediction over seeds; what an interval
promises and what was measured of it on held-out cases are two numbers, and only the second is a result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

from artifacts.stats import Held

NOMINAL = 0.90


@dataclass(frozen=True)
class Coverage:
    """How an interval fared: `cuts`, the share of cuts inside it; `by_case`, that share per case, mean over cases.

    `whole` counts the cases all of whose cuts are inside, `width` is the mean over cuts, in the target's unit.
    """

    cuts: float
    by_case: float
    whole: int
    width: float


def measure(held: Held, half_width: np.ndarray) -> Coverage:
    """The coverage of mean prediction ± `half_width` `[cuts]`; an end of the interval belongs to it."""
    inside = np.abs(held.measured - held.prediction.mean(axis=1)) <= half_width
    where = np.unique(held.case, return_inverse=True)[1]
    shares = np.bincount(where, weights=inside) / np.bincount(where)
    return Coverage(
        float(inside.mean()), float(shares.mean()), int((shares == 1.0).sum()), float(2 * half_width.mean())
    )


def conformal_half_widths(held: Held, level: float = NOMINAL) -> np.ndarray | None:
    """Half-width `[cuts]` of the interval of each cut, the same for all cuts of a case, calibrated on the other cases.

    Split conformal prediction (Vovk, Gammerman & Shafer 2005; Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018,
    J. Am. Stat. Assoc. 113) with |y − ŷ| as score and the case as what is exchangeable. Each of K cases is the new one
    in turn; its half-width is the `level` quantile of the others' held-out scores, where every case weighs 1/K, shared
    equally by its cuts, and the new case's own 1/K is put at infinity: hierarchical conformal prediction, Lee, Barber &
    Willett 2023 (arXiv 2306.06342), after the pooled distribution of Dunn, Wasserman & Ramdas (arXiv 1809.07441). With
    one cut a case it is the ⌈level·K⌉-th smallest of the other scores. The score is absolute because a relative one
    needs a floor, chosen by someone; the price is that the width does not follow the wear.

    What it promises is a random cut of a new case, not all cuts of a tool at once. As applied here even that is not a
    theorem: the scores of the other cases come from models that were fitted with the new case among their training
    cases, as in the jackknife (Barber, Candès, Ramdas & Tibshirani 2021, Ann. Stat. 49); a theorem would need fits with
    two cases left out. So the coverage is measured.

    Returns:
        None where the cases are too few for the level: K·(1 − level) < 1, below 10 cases for 90 %.
    """
    score = np.abs(held.measured - held.prediction.mean(axis=1))
    cases, where = np.unique(held.case, return_inverse=True)
    if len(cases) < fewest(level):
        return None
    order = np.argsort(score, kind="stable")
    weight = (1.0 / (len(cases) * np.bincount(where)))[where][order]
    half = np.empty(len(score))
    for new in range(len(cases)):
        mass = np.cumsum(np.where(where[order] == new, 0.0, weight))
        reached = np.flatnonzero(mass >= level - 1e-12)[0]  # 9/10 in steps of 1/10 is a little less than 0.9
        half[where == new] = score[order][reached]
    return half


def fewest(level: float) -> int:
    """The smallest number of cases K that give a conformal interval of this level: K·(1 − level) ≥ 1."""
    return math.ceil(1 / (1 - level) - 1e-9)  # 1/(1 - 0.9) is a little more than 10


def seed_half_widths(held: Held, level: float = NOMINAL) -> np.ndarray | None:
    """Half-width `[cuts]` from the spread of S seeds: t_{(1+level)/2, S−1} · s · √(1 + 1/S), s with divisor S − 1.

    Student's interval for one more draw (Hahn & Meeker 1991, Statistical Intervals, ch. 4) from the ensemble's mean
    and deviation, which Lakshminarayanan, Pritzel & Blundell 2017 read as predictive uncertainty. It holds the
    prediction of another seed; it knows nothing of what all seeds have wrong together, nor of noise in the measurement.

    Returns:
        None for a single seed, which has no spread.
    """
    seeds = held.prediction.shape[1]
    if seeds < 2:
        return None
    factor = float(scipy_stats.t.ppf((1 + level) / 2, seeds - 1)) * np.sqrt(1 + 1 / seeds)
    return factor * held.prediction.std(axis=1, ddof=1)
