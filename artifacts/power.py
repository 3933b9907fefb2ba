"""What claims that an interval decides could have decided with these cases: power at the margin, smallest effect.

Knows an interval, a threshold and a margin, nothing of claims or records. Power is given at a difference that was
fixed before the runs, never at the one that was measured: that would only restate the p value (Hoenig & Heisey 2001,
The Abuse of Power, Am. Stat. 55, 19–24).
"""

from __future__ import annotations

from scipy import stats as scipy_stats

from artifacts.stats import LEVEL

GOAL = 0.80  # the power at which an effect counts as one that could have been decided


def standard_error(low: float, high: float) -> float:
    """(high − low) ÷ 2z, z = z_{(1+level)/2}: of a normal variable whose interval at `stats.LEVEL` this would be.

    A percentile interval by case bootstrap need not be symmetric; half its width stands for both sides.
    """
    return (high - low) / (2 * quantile())


def one_sided(margin: float, error: float) -> float | None:
    """The probability that the whole interval lies beyond the threshold, if the truth lies `margin` beyond it.

    Φ(margin ÷ error − z), z = z_{(1+level)/2} (Cohen 1988, Statistical Power Analysis, ch. 2, with the normal
    distribution in place of t). None without a spread.
    """
    return float(scipy_stats.norm.cdf(margin / error - quantile())) if error > 0 else None


def within(half: float, error: float) -> float | None:
    """The probability that the whole interval lies in a range `half` to either side, if the truth is in its middle.

    max(0, 2Φ(half ÷ error − z) − 1) (Phillips 1990, J. Pharmacokinet. Biopharm. 18, 137–144, on two one-sided tests,
    Schuirmann 1987, ibid. 15, with the normal distribution in place of t). None without a spread.
    """
    return max(0.0, 2 * float(scipy_stats.norm.cdf(half / error - quantile())) - 1) if error > 0 else None


def smallest(error: float, *, both_sides: bool = False) -> float:
    """The effect beyond the threshold that is decided with the probability `GOAL`: (z + z_goal) · error.

    With `both_sides`, half of the narrowest range that holds the interval so often when the truth is in its middle:
    there z_goal is the quantile at (1 + GOAL) / 2.
    """
    goal = (1 + GOAL) / 2 if both_sides else GOAL
    return float(quantile() + scipy_stats.norm.ppf(goal)) * error


def quantile() -> float:
    """Z = z_{(1+level)/2} of the normal distribution, for intervals at `stats.LEVEL`."""
    return float(scipy_stats.norm.ppf((1 + LEVEL) / 2))
