"""Errors of predictions and how far they can be trusted: pooled R², MAE, intervals by resampling cases.

Cuts of one tool resemble each other, so the case, not the cut, is what is drawn again. Knows arrays only: nothing of
records, variants or tables. Everything a statistic needs is summed per case once; a resample is a matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 4000
LEVEL = 0.95
SEED = 20070101


@dataclass(frozen=True)
class Held:
    """Held-out predictions of one target: exactly one a cut and seed.

    `case` `[cuts]` (str), `measured` `[cuts]` (the target's unit), `prediction` `[cuts, seeds]` (same unit).
    """

    case: np.ndarray
    measured: np.ndarray
    prediction: np.ndarray

    def __post_init__(self) -> None:
        cuts = len(self.measured)
        if len(self.case) != cuts or self.prediction.ndim != 2 or len(self.prediction) != cuts or cuts == 0:
            shapes = (self.case.shape, self.measured.shape, self.prediction.shape)
            raise ValueError(f"shapes = {shapes}: [cuts], [cuts], [cuts, seeds] with at least one cut expected")


@dataclass(frozen=True)
class Estimate:
    """A statistic with its percentile interval; `low` and `high` are None where no interval could be drawn."""

    value: float | None
    low: float | None = None
    high: float | None = None


def r2(measured: np.ndarray, prediction: np.ndarray) -> float | None:
    """Coefficient of determination 1 − Σ(y − ŷ)² ÷ Σ(y − ȳ)²; None below two distinct measured values."""
    if len(np.unique(measured)) < 2:
        return None
    residual = float(np.sum((measured - prediction) ** 2))
    return 1.0 - residual / float(np.sum((measured - measured.mean()) ** 2))


def seed_r2(held: Held) -> np.ndarray | None:
    """Pooled R² of each seed `[seeds]`, over all cuts of `held`; None below two distinct measured values."""
    values = [r2(held.measured, column) for column in held.prediction.T]
    return None if any(value is None for value in values) else np.array(values, dtype=float)


def mean_absolute_error(held: Held) -> float:
    """MAE over all cuts and seeds, in the target's unit."""
    return float(np.abs(held.prediction - held.measured[:, None]).mean())


def bias(held: Held) -> float:
    """Mean of prediction minus measured value over all cuts and seeds, in the target's unit; above 0: too high."""
    return float((held.prediction - held.measured[:, None]).mean())


def root_mean_square_error(held: Held) -> float:
    """√(mean of (ŷ − y)²) over all cuts and seeds, in the target's unit."""
    return float(np.sqrt(((held.prediction - held.measured[:, None]) ** 2).mean()))


def ensemble(held: Held) -> Held:
    """The mean prediction over seeds as a predictor of its own, with one column."""
    return Held(held.case, held.measured, held.prediction.mean(axis=1, keepdims=True))


def subset(held: Held, rows: np.ndarray) -> Held:
    """The cuts that the mask `rows` `[cuts]` picks."""
    return Held(held.case[rows], held.measured[rows], held.prediction[rows])


def measured_range(held: Held) -> float:
    """Largest minus smallest measured value: what an error is divided by to compare targets."""
    return float(held.measured.max() - held.measured.min())


@dataclass(frozen=True)
class _CaseSums:
    """Sums per case: cuts, Σy, Σy² `[cases]` (y centred: nothing cancels); Σ(y − ŷ)², Σ|y − ŷ| `[cases, seeds]`."""

    cuts: np.ndarray
    total: np.ndarray
    square: np.ndarray
    residual: np.ndarray
    absolute: np.ndarray

    def r2(self, draws: np.ndarray) -> np.ndarray:
        """R², mean over seeds, of each resample in `draws` `[resamples, cases]`; NaN where y does not vary."""
        cuts, total = draws @ self.cuts, draws @ self.total
        spread = draws @ self.square - total**2 / np.maximum(cuts, 1)
        floor = 1e-12 * max(float(self.square.sum()), np.finfo(float).tiny)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = (draws @ self.residual) / spread[:, None]
        return np.where(spread > floor, 1.0 - ratio.mean(axis=1), np.nan)

    def mae(self, draws: np.ndarray) -> np.ndarray:
        """MAE, mean over seeds, of each resample in `draws` `[resamples, cases]`."""
        cuts = draws @ self.cuts
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(cuts > 0, (draws @ self.absolute).mean(axis=1) / cuts, np.nan)


def _sums(held: Held, cases: Sequence[str]) -> _CaseSums:
    row = {case: index for index, case in enumerate(cases)}
    where = np.array([row[case] for case in held.case])
    centred = held.measured - held.measured.mean()
    error = held.prediction - held.measured[:, None]

    def add(values: np.ndarray) -> np.ndarray:
        out = np.zeros((len(cases), *values.shape[1:]))
        np.add.at(out, where, values)
        return out

    ones = np.ones(len(where))
    return _CaseSums(add(ones), add(centred), add(centred**2), add(error**2), add(np.abs(error)))


def resample(cases: int, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """How often each case is drawn in each resample: counts `[resamples, cases]`, every row sums to `cases`."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(cases, np.full(cases, 1.0 / cases), size=resamples).astype(float)


def _interval(value: float | None, drawn: np.ndarray, level: float) -> Estimate:
    finite = drawn[np.isfinite(drawn)]
    if value is None or len(finite) < len(drawn) / 2:
        return Estimate(value)
    low, high = np.percentile(finite, [50 * (1 - level), 50 * (1 + level)])
    return Estimate(value, float(low), float(high))


def _cases(helds: Sequence[Held]) -> list[str]:
    return sorted({str(case) for held in helds for case in held.case})


def _mean_r2(helds: Sequence[Held]) -> float | None:
    values = [seed_r2(held) for held in helds]
    if any(value is None for value in values):
        return None
    return float(np.mean([value.mean() for value in values if value is not None]))


def bootstrap_r2(
    helds: Sequence[Held], *, resamples: int = RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> Estimate:
    """Pooled R², mean over seeds and then over the targets in `helds`, with its case-bootstrap interval.

    Percentile interval (Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13). Cases are drawn for all
    targets at once. A resample in which a target does not vary has no R² and is left out; where that happens to more
    than half of them, no interval is given.
    """
    cases = _cases(helds)
    draws = resample(len(cases), resamples, seed)
    drawn = np.mean([_sums(held, cases).r2(draws) for held in helds], axis=0)
    return _interval(_mean_r2(helds), drawn, level)


def chosen_r2(held: Held, counts: np.ndarray) -> np.ndarray:
    """Pooled R², mean over seeds, of test sets with each case as often as `counts` `[sets, cases]` has it: `[sets]`.

    Cases are in sorted order; NaN where the measured values do not vary.
    """
    return _sums(held, _cases([held])).r2(counts)


def bootstrap_mae(held: Held, *, resamples: int = RESAMPLES, seed: int = SEED, level: float = LEVEL) -> Estimate:
    """MAE, mean over seeds, with its case-bootstrap interval, in the target's unit."""
    cases = _cases([held])
    drawn = _sums(held, cases).mae(resample(len(cases), resamples, seed))
    return _interval(mean_absolute_error(held), drawn, level)


def bootstrap_mean(
    values: np.ndarray,
    cases: Sequence[Sequence[str]],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Estimate:
    """Mean of `values` `[values]` with its case-bootstrap interval, where each was found on some `cases`.

    All values found on a case are drawn with it; one found on several counts as often as these on average. A resample
    without any value has no mean and is left out.
    """
    names = sorted({case for found_on in cases for case in found_on})
    share = np.array([[found_on.count(name) / len(found_on) for found_on in map(list, cases)] for name in names])
    weight = resample(len(names), resamples, seed) @ share
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = weight @ values / weight.sum(axis=1)
    return _interval(float(np.mean(values)), drawn, level)


def paired_rms(case: np.ndarray, first: np.ndarray, second: np.ndarray) -> Estimate:
    """Root mean square of the errors whose squares are `first`, over that of `second`, both of the same rows of `case`.

    Args:
        case: `[rows]`; what is drawn, for both at once.
        first: `[rows]`, squared errors.
        second: likewise; no value where they are all 0.
    """
    where = np.unique(case, return_inverse=True)[1]
    sums = np.stack([np.bincount(where, weights=squares) for squares in (first, second)], axis=1)
    if not sums[:, 1].any():
        return Estimate(None)
    drawn = resample(len(sums)) @ sums
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.sqrt(drawn[:, 0] / drawn[:, 1])
    return _interval(float(np.sqrt(first.sum() / second.sum())), ratios, LEVEL)


def refuse_other_cuts(first: Held, second: Held) -> None:
    """Raise ValueError unless both speak of the same cuts in the same order; only then are they pairs."""
    if not (np.array_equal(first.measured, second.measured) and np.array_equal(first.case, second.case)):
        raise ValueError("first, second: the same cuts in the same order expected; a paired difference needs pairs")


def paired_r2(
    first: Sequence[Held],
    second: Sequence[Held],
    *,
    relative: bool = False,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> Estimate:
    """R² of `first` minus R² of `second`, both over the same cuts and in the same resamples of cases.

    Args:
        first: one `Held` a target.
        second: the same targets, the same cuts in the same order; the number of seeds may differ.
        relative: divide by the R² of `second`: the share that is lost is the negative of it. No value where that R²
            is not above 0, since a share of it then has no meaning.
        resamples: how many times the cases are drawn.
        seed: of the draws.
        level: coverage of the interval.

    Raises:
        ValueError: the two do not speak of the same cuts.
    """
    for one, other in zip(first, second, strict=True):
        refuse_other_cuts(one, other)
    cases = _cases(first)
    draws = resample(len(cases), resamples, seed)
    a = np.mean([_sums(held, cases).r2(draws) for held in first], axis=0)
    b = np.mean([_sums(held, cases).r2(draws) for held in second], axis=0)
    value_a, value_b = _mean_r2(first), _mean_r2(second)
    if value_a is None or value_b is None or (relative and value_b <= 0):
        return Estimate(None)
    if not relative:
        return _interval(value_a - value_b, a - b, level)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.where(b > 0, (a - b) / b, np.nan)
    return _interval((value_a - value_b) / value_b, drawn, level)
