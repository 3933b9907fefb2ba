"""The regressors of scikit-learn that a reader would try before a network, each tuned with the same small budget.

Knows their settings and how one is chosen: by an inner cross-validation over the training cases. Knows arrays, cases
and targets; nothing of experiments or files. scikit-learn is imported where a model is made, not before.

Every regressor gets six candidates, `GRID`'s three settings times `INPUTS`: all features of the network, or time, DOC,
feed and material alone. Features and target are standardised with the training cases' mean and standard deviation, as
the network's are; a missing feature becomes 0, the mean of training.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

import numpy as np

from spinn.config import RegressorName
from spinn.data.dataset import Dataset
from spinn.data.features import PROCESS
from spinn.record import Candidate, Choice, Target

INNER_FOLDS = 5
DECIMALS = 6
"""Of standardised values: far below any label's precision, and what two splits of a tree have in common is then a tie
on every machine, and not decided by the last bit of a mean."""
Inputs = Literal["all", "process"]
INPUTS: tuple[Inputs, ...] = get_args(Inputs)
Settings = dict[str, int | float | str]
GRID: dict[RegressorName, tuple[Settings, ...]] = {
    "ridge": tuple({"alpha": alpha} for alpha in (1.0, 10.0, 100.0)),
    "random-forest": tuple({"n_estimators": 100, "max_features": share} for share in (1 / 3, 2 / 3, 1.0)),
    "gradient-boosting": tuple(
        {"n_estimators": 100, "learning_rate": 0.1, "subsample": 0.7, "max_depth": depth} for depth in (1, 2, 3)
    ),
    "gaussian-process": ({"kernel": "rbf"}, {"kernel": "matern-3/2"}, {"kernel": "rbf + linear"}),
    "support-vector": tuple({"kernel": "rbf", "epsilon": 0.05, "C": c} for c in (1.0, 10.0, 100.0)),
}
"""Settings by scikit-learn's names, and for the Gaussian process the kernel (see `_kernel`)."""
SEEDED: tuple[RegressorName, ...] = ("random-forest", "gradient-boosting")
"""Those that draw random numbers, and so are fitted once for each seed of an experiment."""


@dataclass(frozen=True)
class Arrays:
    """A data set and one target: features `[cuts, features]`, NaN where missing; labels `[cuts]` in mm or µm."""

    case: np.ndarray
    x: np.ndarray
    y: np.ndarray
    target: Target

    @classmethod
    def of(cls, dataset: Dataset, target: Target) -> Arrays:
        """The arrays of `dataset`; its first features are those of the process."""
        frame = dataset.frame
        names = [*PROCESS, *(name for name in dataset.features if name not in PROCESS)]
        y = frame[target].to_numpy(np.float64)
        return cls(frame["case"].to_numpy(dtype=str), frame[names].to_numpy(np.float64), y, target)

    def rows(self, cases: Sequence[str]) -> np.ndarray:
        """True at the cuts of `cases`."""
        return np.isin(self.case, list(cases))

    def labelled(self, cases: Sequence[str]) -> list[str]:
        """Those of `cases` with a label, in their order."""
        known = set(self.case[~np.isnan(self.y)].tolist())
        return [case for case in cases if case in known]


def choose(name: RegressorName, arrays: Arrays, train: Sequence[str], seed: int) -> Choice:
    """Score every candidate by cross-validation over the cases of `train`; the first of the best is chosen.

    The i-th case with a label is held out in inner fold i mod 5, or i mod their number where they are fewer than five;
    cases without labels are never held out.
    """
    turns, candidates = list(inner_turns(arrays, train)), list(product(GRID[name], INPUTS))
    predicted = [
        [fit_predict(name, settings, inputs, arrays, inner, rows, seed)[0] for inner, rows in turns]
        for settings, inputs in candidates
    ]
    return best(arrays, candidates, [rows for _, rows in turns], predicted)


def inner_turns(arrays: Arrays, train: Sequence[str]) -> Iterator[tuple[list[str], np.ndarray]]:
    """For each inner fold the cases that are fitted on, and the labelled cuts `[cuts]` of those held out."""
    labelled = arrays.labelled(train)
    for first in range(min(INNER_FOLDS, len(labelled))):
        held_out = labelled[first::INNER_FOLDS]
        yield [case for case in train if case not in held_out], arrays.rows(held_out) & ~np.isnan(arrays.y)


def best(
    arrays: Arrays,
    candidates: Sequence[tuple[Settings, Inputs]],
    rows: Sequence[np.ndarray],
    predicted: Sequence[Sequence[np.ndarray]],
) -> Choice:
    """The first candidate with the least mean square error; `predicted` has for each what it says of all `rows`."""
    measured = np.concatenate([arrays.y[held_out] for held_out in rows])
    scored = [
        Candidate(inputs=inputs, settings=settings, score=float(((np.concatenate(said) - measured) ** 2).mean()))
        for (settings, inputs), said in zip(candidates, predicted, strict=True)
    ]
    chosen = min(range(len(scored)), key=lambda place: scored[place].score)
    return Choice(target=arrays.target, candidates=tuple(scored), chosen=chosen)


def fit_predict(
    name: RegressorName,
    settings: Settings,
    inputs: Inputs,
    arrays: Arrays,
    train: Sequence[str],
    rows: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, int]:
    """Fit on the labelled cuts of `train`; returns predictions at `rows` (mm or µm), and how many numbers it keeps."""
    x, y, (y_mean, y_scale) = standardised(arrays, inputs, train)
    known = ~np.isnan(y)
    model = _model(name, settings, seed)
    with warnings.catch_warnings():
        from sklearn.exceptions import ConvergenceWarning

        # A hyperparameter of the Gaussian process at its bound: an input that does not matter, or hardly any noise.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x[known], y[known])
    return model.predict(x[rows]) * y_scale + y_mean, _size(name, model)


def standardised(
    arrays: Arrays, inputs: Inputs, train: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Features `[cuts, features]` of all cuts, labels `[cuts]` of `train` (NaN elsewhere), and their mean and scale."""
    columns = arrays.x if inputs == "all" else arrays.x[:, : len(PROCESS)]
    fitted_on = arrays.rows(train)
    mean, scale = (np.array(values) for values in zip(*map(_moments, columns[fitted_on].T), strict=True))
    y = np.where(fitted_on, arrays.y, np.nan)
    y_mean, y_scale = _moments(y)
    x = np.round(np.where(np.isnan(columns), 0.0, (columns - mean) / scale), DECIMALS)
    return x, np.round((y - y_mean) / y_scale, DECIMALS), (y_mean, y_scale)


def library() -> str:
    """Name and version of what fits."""
    import sklearn

    return f"scikit-learn {sklearn.__version__}"


def _moments(column: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of what was measured; scale 1 of a constant, 0 and 1 of nothing."""
    values = column[~np.isnan(column)]
    if not len(values):
        return 0.0, 1.0
    mean, scale = float(values.mean()), float(values.std())
    return mean, scale if scale > 1e-9 * max(abs(mean), 1e-30) else 1.0


def _model(name: RegressorName, settings: Settings, seed: int) -> Any:
    """An estimator of scikit-learn that is not fitted yet."""
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.linear_model import Ridge
    from sklearn.svm import SVR

    given: dict[str, Any] = dict(settings)
    if name == "ridge":
        return Ridge(**given)
    if name == "random-forest":
        return RandomForestRegressor(random_state=seed, **given)
    if name == "gradient-boosting":
        return GradientBoostingRegressor(random_state=seed, **given)
    if name == "gaussian-process":
        return GaussianProcessRegressor(_kernel(given["kernel"]))
    return SVR(**given)


def _kernel(shape: str) -> Any:
    """Amplitude · `shape` + white noise; their hyperparameters are those of the greatest marginal likelihood.

    Rasmussen & Williams 2006 (Gaussian Processes for Machine Learning), sections 4.2 and 5.4.1. One length scale for
    all inputs; bounds in units of standardised inputs and targets.
    """
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Matern, WhiteKernel

    length = (0.1, 100.0)
    form = {
        "rbf": RBF(2.0, length),
        "matern-3/2": Matern(2.0, length, nu=1.5),
        "rbf + linear": RBF(2.0, length) + DotProduct(1.0, (1e-2, 1e2)),
    }[shape]
    return ConstantKernel(1.0, (1e-2, 1e3)) * form + WhiteKernel(0.1, (1e-4, 10.0))


def _size(name: RegressorName, model: Any) -> int:
    """Numbers that a fitted model keeps: weights, a threshold or value a node, a weight a kept cut."""
    if name == "ridge":
        return model.coef_.size + 1
    if name == "random-forest":
        return sum(tree.tree_.node_count for tree in model.estimators_)
    if name == "gradient-boosting":
        return sum(tree.tree_.node_count for tree in model.estimators_.flat)
    if name == "gaussian-process":
        return len(model.X_train_) + len(model.kernel_.theta)
    return len(model.support_) + 1
