"""The regressors among the baselines, fitted again by scikit-learn with preparation and inner folds of the judge's own.

Of the recurrent network, which is chosen in the same way and keeps no weights, what was tried and chosen is looked at.

Knows the settings that each has to be tried with: a weak opponent is as easily made by a poor choice as by a poor fit.
scikit-learn is imported where a model is made. Reads no file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from spinn.record import BaselineFold, BaselineRecord, Choice
from verify.folder import Folder
from verify.science import PHYSICAL, standardisation

Settings = Mapping[str, int | float | str]
TRIED: dict[str, tuple[Settings, ...]] = {
    "ridge": ({"alpha": 1.0}, {"alpha": 10.0}, {"alpha": 100.0}),
    "random-forest": (
        {"n_estimators": 100, "max_features": 1 / 3},
        {"n_estimators": 100, "max_features": 2 / 3},
        {"n_estimators": 100, "max_features": 1.0},
    ),
    "gradient-boosting": (
        {"n_estimators": 100, "learning_rate": 0.1, "subsample": 0.7, "max_depth": 1},
        {"n_estimators": 100, "learning_rate": 0.1, "subsample": 0.7, "max_depth": 2},
        {"n_estimators": 100, "learning_rate": 0.1, "subsample": 0.7, "max_depth": 3},
    ),
    "gaussian-process": ({"kernel": "rbf"}, {"kernel": "matern-3/2"}, {"kernel": "rbf + linear"}),
    "support-vector": (
        {"kernel": "rbf", "epsilon": 0.05, "C": 1.0},
        {"kernel": "rbf", "epsilon": 0.05, "C": 10.0},
        {"kernel": "rbf", "epsilon": 0.05, "C": 100.0},
    ),
    "gru": (
        {"learning_rate": 1e-3, "epochs": 100},
        {"learning_rate": 1e-3, "epochs": 300},
        {"learning_rate": 3e-3, "epochs": 100},
        {"learning_rate": 3e-3, "epochs": 300},
        {"learning_rate": 1e-2, "epochs": 100},
        {"learning_rate": 1e-2, "epochs": 300},
    ),
}
SEEDED = ("random-forest", "gradient-boosting", "gru")
CHEAP = ("ridge", "support-vector")  # every score of every fold; of the others all of the first fold, else the best one
INNER_FOLDS = 5
DECIMALS = 6  # of standardised values, so that the last bit of a mean decides no tie between splits of a tree
TOLERANCE = 1e-6  # relative: the same library on the same numbers, summed in another order at most


class Refit:
    """One target of a folder of runs, and the fits of one regressor to it."""

    def __init__(self, folder: Folder, name: str, target: str) -> None:
        self.data, self.name, self.target = folder.dataset, name, target
        self.features = folder.plan.dataset.features
        self.labels = self.data.columns[target]
        self.first_seed = folder.plan.experiment.seeds[0]

    def fit(
        self, settings: Settings, inputs: str, train: Sequence[str], rows: np.ndarray, seed: int
    ) -> tuple[np.ndarray, int]:
        """Predictions at `rows`, and how many numbers the model keeps, of a fit on the labelled cuts of `train`."""
        seen = self.data.of(train)
        known = seen & ~np.isnan(self.labels)
        prepared = []
        for name in self.features if inputs == "all" else PHYSICAL:
            column = self.data.columns[name]
            mean, scale = standardisation(column[seen])
            prepared.append(np.nan_to_num((column - mean) / scale, nan=0.0).round(DECIMALS))
        x, (mean, scale) = np.stack(prepared, axis=1), standardisation(self.labels[known])
        model, count = _estimator(self.name, settings, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a hyperparameter at its bound; what is not finite is a finding anyway
            model.fit(x[known], ((self.labels[known] - mean) / scale).round(DECIMALS))
            return model.predict(x[rows]) * scale + mean, count(model)

    def score(self, settings: Settings, inputs: str, train: Sequence[str]) -> float:
        """Mean squared error over labelled cuts of `train` when their cases are held out in five turns."""
        labelled = [case for case in train if not np.isnan(self.labels[self.data.of([case])]).all()]
        turns = min(INNER_FOLDS, len(labelled))
        squares: list[float] = []
        for turn in range(turns):
            out = {case for place, case in enumerate(labelled) if place % turns == turn}
            rows = self.data.of(sorted(out)) & ~np.isnan(self.labels)
            inner = [case for case in train if case not in out]
            predicted, _ = self.fit(settings, inputs, inner, rows, self.first_seed)
            squares.extend(((predicted - self.labels[rows]) ** 2).tolist())
        return float(np.mean(squares))

    def score_faults(self, fold: BaselineFold, choice: Choice, *, every: bool) -> Iterator[str]:
        """Scores that the training cases of a fold do not give; `every`: of all candidates, not of the best alone."""
        for place in range(len(choice.candidates)) if every else (choice.chosen,):
            candidate = choice.candidates[place]
            own = self.score(candidate.settings, candidate.inputs, fold.train)
            if not abs(own - candidate.score) <= TOLERANCE * abs(own):
                yield (
                    f"fold {fold.fold}, {self.target}: candidate {place} scores {candidate.score:.6g}, held-out "
                    f"training cases alone give {own:.6g}"
                )


def faults(folder: Folder, name: str, record: BaselineRecord, *, again: bool) -> Iterator[str]:
    """What is wrong with how a baseline was chosen, fold by fold; its predictions are `predicted`'s business.

    `again`: the scores are computed again too.
    """
    first = record.folds[0].fold
    chosen: dict[int, tuple[Choice, ...]] = {}
    for fold in record.folds:
        if tuple(choice.target for choice in fold.choices) != record.targets:
            yield f"fold {fold.fold}, seed {fold.seed}: not one choice for each target"
        elif fold.fold in chosen:
            if fold.choices != chosen[fold.fold]:
                yield f"fold {fold.fold}, seed {fold.seed}: another choice than with the fold's first seed"
        else:
            chosen[fold.fold] = fold.choices
            for choice in fold.choices:
                wrong = _choice_fault(name, choice)
                if wrong:
                    yield f"fold {fold.fold}, {choice.target}: {wrong}"
                elif again:
                    every = name in CHEAP or fold.fold == first
                    yield from Refit(folder, name, choice.target).score_faults(fold, choice, every=every)


def _choice_fault(name: str, choice: Choice) -> str:
    """What is wrong with a choice that can be seen without a fit."""
    stated = [(candidate.inputs, candidate.settings) for candidate in choice.candidates]
    tried_on = ("all",) if name == "gru" else ("all", "process")
    if stated != [(inputs, settings) for settings in TRIED[name] for inputs in tried_on]:
        return f"the candidates are not the six that every {name} is tried with"
    scores = [candidate.score for candidate in choice.candidates]
    if choice.chosen not in range(len(scores)) or not all(scores[choice.chosen] <= score for score in scores):
        return f"candidate {choice.chosen} is chosen, it is not the one with the lowest score"
    return ""


def predicted(folder: Folder, name: str, fold: BaselineFold, target: str, rows: np.ndarray) -> tuple[np.ndarray, int]:
    """What the chosen candidate predicts at `rows` when it is fitted again, and how many numbers it keeps."""
    choice = next(choice for choice in fold.choices if choice.target == target)
    chosen = choice.candidates[choice.chosen]
    return Refit(folder, name, target).fit(chosen.settings, chosen.inputs, fold.train, rows, fold.seed)


def tolerance(folder: Folder, target: str) -> float:
    """How far a prediction may be from that of a second fit, in the target's unit."""
    return TOLERANCE * float(np.nanstd(folder.dataset.columns[target]))


def library() -> str:
    """Name and version of what fits here."""
    import sklearn

    return f"scikit-learn {sklearn.__version__}"


def _estimator(name: str, settings: Settings, seed: int) -> tuple[Any, Any]:
    """An estimator that is not fitted, and a function that counts what it keeps once it is."""
    from sklearn import ensemble, gaussian_process, linear_model, svm

    given: dict[str, Any] = dict(settings)
    match name:
        case "ridge":
            return linear_model.Ridge(**given), lambda model: model.coef_.size + 1
        case "random-forest":
            forest = ensemble.RandomForestRegressor(random_state=seed, **given)
            return forest, lambda model: sum(tree.tree_.node_count for tree in model.estimators_)
        case "gradient-boosting":
            boosted = ensemble.GradientBoostingRegressor(random_state=seed, **given)
            return boosted, lambda model: sum(tree.tree_.node_count for tree in model.estimators_[:, 0])
        case "gaussian-process":
            process = gaussian_process.GaussianProcessRegressor(_kernel(given["kernel"]))
            return process, lambda model: model.X_train_.shape[0] + model.kernel_.theta.size
    return svm.SVR(**given), lambda model: model.support_.size + 1


def _kernel(shape: str) -> Any:
    """Amplitude · shape + noise, with the hyperparameters' starts and bounds, in standardised units."""
    from sklearn.gaussian_process import kernels

    length = {"length_scale": 2.0, "length_scale_bounds": (0.1, 100.0)}
    form = kernels.Matern(nu=1.5, **length) if shape == "matern-3/2" else kernels.RBF(**length)
    if shape == "rbf + linear":
        form = form + kernels.DotProduct(sigma_0=1.0, sigma_0_bounds=(0.01, 100.0))
    noise = kernels.WhiteKernel(noise_level=0.1, noise_level_bounds=(1e-4, 10.0))
    return kernels.ConstantKernel(constant_value=1.0, constant_value_bounds=(0.01, 1000.0)) * form + noise
