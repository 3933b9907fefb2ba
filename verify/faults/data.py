"""Faults of data and splits: leaks, identifiers, and labels that were never measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

import spinn.data
from spinn import baselines, regressors, rundata, task
from spinn.data import splits
from spinn.data.dataset import Dataset
from verify.faults.mutant import EXPERIMENT, Mutant, Patches


def _scaler_on_all() -> Patches:
    """The scaler sees every case."""
    sound = rundata.fit_scaler

    def fit(table: rundata.Table, run: Any, _: np.ndarray, *rest: Any) -> Any:
        return sound(table, run, np.arange(len(table.features)), *rest)

    return [mock.patch.object(rundata, "fit_scaler", fit)]


def _law_on_all() -> Patches:
    """The wear law that the network corrects is fitted to every case, the test cases among them."""
    sound = rundata._fit_law

    def fit(table: rundata.Table, run: Any, _: np.ndarray, correction: float) -> Any:
        return sound(table, run, np.arange(len(table.features)), correction)

    return [mock.patch.object(rundata, "_fit_law", fit)]


def _selection_on_test() -> Patches:
    """The epochs are selected on the test cases."""
    sound = rundata.RunData._rows

    def rows(self: Any, table: Any, positions: np.ndarray, split: str) -> Any:
        cases = table.positions(self.run, self.run.test) if split == "validation" else positions
        return sound(self, table, cases, split)

    return [mock.patch.object(rundata.RunData, "_rows", rows)]


def _trained_on_test() -> Patches:
    """The labels of the test cases are trained on as well; plan, scaler and predictions.csv know nothing of it."""
    sound = rundata.RunData._rows

    def rows(self: Any, table: Any, positions: np.ndarray, split: str) -> Any:
        more = table.positions(self.run, self.run.test if split == "train" else ())
        return sound(self, table, np.concatenate([positions, more]), split)

    return [mock.patch.object(rundata.RunData, "_rows", rows)]


def _leaking_split() -> Patches:
    """A test case is trained on as well."""
    sound = splits.folds

    def folds(*arguments: Any, **named: Any) -> list[splits.Fold]:
        return [replace(fold, train=(*fold.train, fold.test[0])) for fold in sound(*arguments, **named)]

    return [mock.patch.object(splits, "folds", folds)]


def _identifier() -> Patches:
    """A sensor channel carries the number of the tool."""
    sound = spinn.data.load

    def load(*source: Any) -> Dataset:
        dataset = sound(*source)
        number = {case: float(index) for index, case in enumerate(dataset.cases)}
        frame = dataset.frame.assign(**{dataset.features[-1]: dataset.frame["case"].map(number)})  # type: ignore[arg-type]
        return replace(dataset, frame=frame)

    return [mock.patch.object(spinn.data, "load", load)]


def _changed_data() -> Patches:
    """The networks train on other data than was planned: a channel is scaled after the fingerprint was taken."""
    sound = task.build

    def build(dataset: Dataset, *rest: Any, **named: Any) -> task.Task:
        frame = dataset.frame.copy()
        frame[dataset.features[4]] *= 1.05
        return sound(replace(dataset, frame=frame), *rest, **named)

    return [mock.patch.object(task, "build", build)]


def _dropped_case() -> Patches:
    """A test case on which the model does badly is left out."""
    sound = splits.folds

    def folds(*arguments: Any, **named: Any) -> list[splits.Fold]:
        first, *others = sound(*arguments, **named)
        return [replace(first, test=first.test[1:]), *others]

    return [mock.patch.object(splits, "folds", folds)]


def _computed_target() -> Patches:
    """Thermal displacement is a constant times the last sensor channel."""
    sound = spinn.data.load

    def load(*source: Any) -> Dataset:
        dataset = sound(*source)
        frame = dataset.frame.copy()
        frame["thermal"] = 1.7 * frame[dataset.features[-1]]
        return replace(dataset, frame=frame)

    return [mock.patch.object(spinn.data, "load", load)]


def _warmed_by_the_clock() -> Patches:
    """Thermal displacement is a law of the cutting time, the same for every tool."""
    sound = spinn.data.load

    def load(*source: Any) -> Dataset:
        dataset = sound(*source)
        return replace(dataset, frame=dataset.frame.assign(thermal=20 * -np.expm1(-dataset.frame["time"] / 30)))

    return [mock.patch.object(spinn.data, "load", load)]


def _handicapped_baseline() -> Patches:
    """The wear law is fitted badly, so that the network beats it."""
    sound = baselines.fit_wear_law
    return [mock.patch.object(baselines, "fit_wear_law", lambda frame: sound(frame) + np.array([0.2, 0, 0, 0]))]


def _baseline_tuned_on_test() -> Patches:
    """The settings of a regressor are chosen on every case, those it is tested on among them."""
    sound = regressors.choose

    def choose(name: Any, arrays: Any, train: Any, seed: int) -> Any:
        return sound(name, arrays, list(dict.fromkeys(arrays.case.tolist())), seed)

    return [mock.patch.object(regressors, "choose", choose)]


_CORRECTED = EXPERIMENT.replace("seeds =", "correction = 0.3\nseeds =").replace("initial = 0.1", "law = 0.1")
_WITH_RIDGE = EXPERIMENT.replace("seeds =", 'baselines = ["mean", "wear-law", "ridge"]\nseeds =')

FAULTS = (
    Mutant("scaler-on-all-cases", "scaler-on-train-only", _scaler_on_all),
    Mutant("wear-law-on-all-cases", "scaler-on-train-only", _law_on_all, experiment=_CORRECTED),
    # dataset.csv is the planned one, so its fingerprint and card hold; the networks' losses are of other rows than its.
    # (That the scaler is another too is an accident of this change: one that keeps all moments would not show there.)
    Mutant("data-changed-after-planning", "training-loss-replayed", _changed_data),
    Mutant("selection-on-test", "selection-not-on-test", _selection_on_test),
    Mutant("trained-on-test-cases", "training-loss-replayed", _trained_on_test),
    Mutant("leaking-split", "groups-disjoint", _leaking_split),
    Mutant("inconvenient-case-left-out", "groups-disjoint", _dropped_case),
    Mutant("identifier-as-feature", "identifier-features", _identifier),
    Mutant("target-computed-from-an-input", "target-leakage", _computed_target),
    Mutant("target-computed-from-time", "target-leakage", _warmed_by_the_clock),
    Mutant("handicapped-baseline", "baselines-recomputed", _handicapped_baseline),
    Mutant("baseline-tuned-on-test", "baselines-recomputed", _baseline_tuned_on_test, experiment=_WITH_RIDGE),
)
