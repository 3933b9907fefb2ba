"""The two wear laws of the baselines, with least-squares fits of the judge's own; reads no file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.folder import Table

DOC_REFERENCE, FEED_REFERENCE = 0.75, 0.25  # mm, mm/rev
FIT_SLACK = 1e-4  # relative excess of the sum of squares that a converged fit may have
_SMALL = 1e-3  # of g·r·t; below, a quotient of differences loses digits that its series keeps


@dataclass(frozen=True)
class Law:
    """Flank wear VB (mm) at some cuts: r·t, or with `growth` (exp(g·r·t) − 1) / g, which is r·t at g = 0.

    r = exp(a + b·ln(DOC/0.75) + c·ln(feed/0.25) + d·steel) in mm/min, t in minutes; coefficients are a, b, c, d and,
    with growth, g, at least 0 per mm.
    """

    time: np.ndarray
    design: np.ndarray
    measured: np.ndarray
    growth: bool

    @classmethod
    def of(cls, columns: Table, rows: np.ndarray, *, growth: bool = False) -> Law:
        """The law at the chosen cuts (a mask or positions)."""
        depth, feed = columns["DOC"][rows] / DOC_REFERENCE, columns["feed"][rows] / FEED_REFERENCE
        design = np.stack([np.ones(len(depth)), np.log(depth), np.log(feed), columns["steel"][rows]], axis=1)
        return cls(columns["time"][rows], design, columns["VB"][rows], growth)

    def wear(self, coefficients: np.ndarray) -> np.ndarray:
        """Flank wear in mm."""
        worn = self.time * np.exp(self.design @ coefficients[:4])
        if not self.growth:
            return worn
        grown = coefficients[4] * worn
        with np.errstate(invalid="ignore", divide="ignore"):
            return worn * np.where(grown == 0, 1.0, np.expm1(grown) / grown)

    def squares(self, coefficients: np.ndarray) -> float:
        """Sum of squared errors; inf where the law overflows."""
        with np.errstate(over="ignore", invalid="ignore"):
            squares = float(((self.wear(coefficients) - self.measured) ** 2).sum())
        return squares if np.isfinite(squares) else np.inf

    def least_squares(self, start: np.ndarray) -> float:
        """Least sum of squares that damped Gauss-Newton steps find, from `start` and from a log-linear fit."""
        if not np.isfinite(self.design).all():
            return np.inf  # a depth or feed that is not above 0: nothing can be fitted
        positive = (self.measured > 0) & (self.time > 0)
        rate = np.log(self.measured[positive] / self.time[positive])
        linear = np.linalg.lstsq(self.design[positive], rate, rcond=None)[0]
        starts = [np.append(linear, g) for g in (0.0, 0.5)] if self.growth else [linear]
        return min(self._descend(begin) for begin in (start, *starts))

    def _slope(self, coefficients: np.ndarray) -> np.ndarray:
        """Derivative of `wear` with respect to each coefficient, `[cuts, coefficients]`."""
        worn = self.time * np.exp(self.design @ coefficients[:4])
        if not self.growth:
            return worn[:, None] * self.design
        u = coefficients[4] * worn
        with np.errstate(invalid="ignore", divide="ignore"):
            far = (u * np.exp(u) - np.expm1(u)) / u**2
        by_growth = worn**2 * np.where(u < _SMALL, 0.5 + u / 3 + u**2 / 8, far)
        return np.column_stack([(worn * np.exp(u))[:, None] * self.design, by_growth])

    def _descend(self, coefficients: np.ndarray, steps: int = 200) -> float:
        """Levenberg (1944, Q. Appl. Math. 2, 164), damped in proportion to the diagonal as Marquardt has it."""
        best, damping = self.squares(coefficients), 1e-3
        for _ in range(steps):
            if not np.isfinite(best) or damping > 1e12:
                break
            slope = self._slope(coefficients)
            normal, pull = slope.T @ slope, slope.T @ (self.measured - self.wear(coefficients))
            damped = normal + damping * np.diag(np.diag(normal) + 1e-12)
            trial = coefficients + np.linalg.lstsq(damped, pull, rcond=None)[0]
            trial[4:] = np.maximum(trial[4:], 0.0)
            squares = self.squares(trial)
            if squares < best:
                gained = best - squares
                coefficients, best, damping = trial, squares, damping / 10
                if gained <= 1e-12 * best:
                    break
            else:
                damping *= 10
        return best
