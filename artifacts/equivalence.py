"""Two one-sided tests: whether two means differ by less than a margin, and how likely the test was to see it.

Schuirmann (1987), J. Pharmacokinet. Biopharm. 15, 657. Knows arrays only. Not rejecting a difference proves nothing;
here the difference has to be shown small. Where a variance is undefined or zero nothing is tested, and why is said.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from artifacts.ladder import ALPHA


@dataclass(frozen=True)
class Equivalence:
    """What the two tests say of `difference`, second mean less first.

    `p` is the larger of both; `power` the probability of both rejecting, were the true difference zero; `reason` why
    nothing was tested, else empty.
    """

    of: str  # what the values are: seeds, or cases
    margin: float
    difference: float | None = None
    error: float | None = None
    degrees: float | None = None
    p: float | None = None
    power: float | None = None
    reason: str = ""

    @property
    def shown(self) -> bool:
        """Whether the means are shown to differ by less than the margin."""
        return self.p is not None and self.p < ALPHA

    def text(self) -> str:
        """One line."""
        if self.reason:
            return f"no test: {self.reason}"
        return (
            f"difference {self.difference:.3g}, standard error {self.error:.2g} over {self.of}, margin "
            f"{self.margin:g}, p = {self.p:.2g}, power {100 * (self.power or 0):.0f} %"
        )

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self) | {"shown": self.shown, "level": ALPHA}


def welch(first: np.ndarray, second: np.ndarray, margin: float, of: str = "seeds") -> Equivalence:
    """Independent values `[n]`, `[m]`: the standard error has both variances, degrees of freedom by Welch (1947)."""
    if min(len(first), len(second)) < 2:
        counted = f"{len(first)} and {len(second)} {of}"
        return Equivalence(of, margin, reason=f"a variance needs at least two values, there are {counted}")
    parts = np.array([np.var(values, ddof=1) / len(values) for values in (first, second)])
    if not parts.all():
        return Equivalence(of, margin, reason=f"a variance over {of} is zero: it says nothing of chance")
    degrees = parts.sum() ** 2 / (parts[0] ** 2 / (len(first) - 1) + parts[1] ** 2 / (len(second) - 1))
    return _tested(float(np.mean(second) - np.mean(first)), float(np.sqrt(parts.sum())), degrees, margin, of)


def paired(
    first: np.ndarray, second: np.ndarray, margin: float, difference: float | None = None, of: str = "cases"
) -> Equivalence:
    """Values `[n]` of the same things on both sides: both variances, and their covariance, are in the standard error.

    `difference` is what is tested, where it is known better than as the mean of differences.
    """
    if len(first) < 2:
        return Equivalence(of, margin, reason=f"a variance needs at least two values, there are {len(first)} {of}")
    if not (np.var(first) and np.var(second)):
        return Equivalence(of, margin, reason=f"a variance over {of} is zero: it says nothing of chance")
    change = second - first
    error = float(np.std(change, ddof=1) / np.sqrt(len(change)))
    if error == 0:
        return Equivalence(of, margin, reason=f"the difference is the same in all {of}: it says nothing of chance")
    return _tested(float(change.mean()) if difference is None else difference, error, len(change) - 1, margin, of)


def _tested(difference: float, error: float, degrees: float, margin: float, of: str) -> Equivalence:
    from scipy import stats

    least = (margin - abs(difference)) / error
    p = float(stats.t.sf(least, degrees))
    reach = margin / error - float(stats.t.isf(ALPHA, degrees))
    power = max(0.0, 2 * float(stats.t.cdf(reach, degrees)) - 1)
    return Equivalence(of, margin, difference, error, float(degrees), p, power)


def pseudo_values(whole: float, without: np.ndarray) -> np.ndarray:
    """What each case adds: n·θ − (n − 1)·θ without it `[cases]` (Tukey 1958), for a value that is no mean of cases."""
    cases = len(without)
    return cases * whole - (cases - 1) * without
