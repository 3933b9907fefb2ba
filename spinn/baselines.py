"""What a sceptical reader would try first, from the training mean to networks of the usual kinds, on the same splits.

Knows which baseline is fitted on which cases, and how its record is written. Each is fitted on every case but the
held-out ones (it needs no validation cases) and predicts those; the small network (`spinn.small_network`) takes the
training and validation cases of the plan's runs. Laws are in `spinn.wear_laws`, regressors in `spinn.regressors`, the
recurrent network, which is chosen as they are, in `spinn.gru`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from scipy.linalg import svd

from spinn import regressors
from spinn.config import BaselineName, RegressorName
from spinn.data.dataset import TARGETS, Dataset
from spinn.data.sensors import without
from spinn.errors import DataError
from spinn.record import (
    BASELINE_COLUMNS,
    BASELINES,
    BaselineFold,
    BaselineRecord,
    Choice,
    Plan,
    Target,
    plan_digest,
    write_model,
)
from spinn.storage import digest_file, write_atomic
from spinn.wear_laws import COEFFICIENTS, fit_wear_law, fit_wear_law_growth, wear_law, wear_law_growth

REGRESSORS: tuple[RegressorName, ...] = get_args(RegressorName)
SMALL: tuple[BaselineName, ...] = ("small-network", "small-network-no-sensors")
CHOSEN: tuple[BaselineName, ...] = (*REGRESSORS, "gru")
_SECONDS_BETWEEN_LINES = 20


@dataclass(frozen=True)
class Fit:
    """One fit: its entry in the record, what it predicts at its held-out cuts (mm, µm), and how many numbers it keeps.

    `predicted` maps a target to `[held-out cuts]`, in the data's order.
    """

    entry: BaselineFold
    predicted: dict[Target, np.ndarray]
    parameters: int


def refuse_unfittable(plan: Plan, dataset: Dataset) -> None:
    """See, before anything is trained, that every planned baseline has labels to be fitted on in every fold.

    The small network trains on what the runs train on, which `spinn.sweep` looks at.

    Raises:
        DataError: a target is measured in too few of the cases that a fold fits on; names baseline, target and fold.
        InputError: no dense network is as small as the pruned one.
    """
    tests = {run.fold: run.test for run in plan.runs}
    for name in plan.experiment.baselines:
        if name in SMALL:
            from spinn.small_network import small_layers

            small_layers(plan)
        if name in (*SMALL, "last-value"):
            continue
        for target in _targets(plan, name):
            measured = set(dataset.frame["case"][dataset.frame[target].notna()])
            for fold, test in sorted(tests.items()):
                left = len(measured - set(test))
                if not left:
                    raise DataError(
                        f"baseline {name!r}, fold {fold}: {target} is measured in none of the cases that it is fitted "
                        f"on, in {sorted(measured)} alone; use data with more labels, or leave it out of baselines"
                    )
                if name in CHOSEN and left == 1:
                    raise DataError(
                        f"baseline {name!r}, fold {fold}: {target} is measured in 1 of the cases that it is fitted on; "
                        "its settings are chosen by holding some of these out, which needs 2; use data with more "
                        "labels, or leave it out of baselines"
                    )


def _targets(plan: Plan, name: BaselineName) -> tuple[Target, ...]:
    return ("VB",) if name.startswith("wear-law") else plan.dataset.targets


def take_memory() -> None:
    """Have OpenBLAS take the memory that it works in: later, where there is none, it would try again without an end.

    numpy and scipy have one each, and either keeps what it has.
    """
    square = np.eye(128)
    svd(square @ square)


def evaluate(plan: Plan, dataset: Dataset, out: Path, device: str = "cpu") -> None:
    """Fit every planned baseline over all folds; write `baselines/<name>.csv` and `.json` below `out`.

    A baseline whose two files are there is left as it is. Standard error says what is at work. `device` is where the
    networks are trained; all else runs on the processor.
    """
    for name in plan.experiment.baselines:
        target = out / BASELINES / f"{name}.json"
        if not (target.exists() and target.with_suffix(".csv").exists()):
            _evaluate_one(plan, dataset, name, target, device)


def _evaluate_one(plan: Plan, dataset: Dataset, name: BaselineName, target: Path, device: str) -> None:
    progress = _Progress(name)
    if name in SMALL:
        fits = list(_trained(plan, dataset, name, device, progress.now_and_then))
    elif name == "gru":
        fits = list(_recurrent(plan, dataset, device, progress.now_and_then))
    else:
        fits = []
        for fit in _fits(plan, dataset, name):
            fits.append(fit)
            progress.now_and_then(f"{len(fits)} fits, fold {fit.entry.fold}")
    seconds = progress.seconds()
    table = pd.concat([_prediction_rows(dataset, fit, column) for fit in fits for column in fit.predicted])
    predictions = target.with_suffix(".csv")
    write_atomic(predictions, table[list(BASELINE_COLUMNS)].to_csv(index=False, lineterminator="\n").encode())
    record = BaselineRecord(
        name=name,
        plan_digest=plan_digest(plan),
        targets=_targets(plan, name),
        parameters=max(fit.parameters for fit in fits),
        library=_library(name),
        folds=tuple(fit.entry for fit in fits),
        seconds=seconds,
        predictions_digest=digest_file(predictions),
    )
    write_model(target, record)
    progress.say(f"{len(fits)} fits in {seconds:.1f} s")


class _Progress:
    """What is said on standard error while a baseline is fitted, and how long that takes."""

    def __init__(self, name: BaselineName) -> None:
        self._name, self._start = name, time.perf_counter()
        self._said = self._start

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def say(self, message: str) -> None:
        print(f"baseline {self._name}: {message}", file=sys.stderr, flush=True)
        self._said = time.perf_counter()

    def now_and_then(self, message: str) -> None:
        if time.perf_counter() - self._said > _SECONDS_BETWEEN_LINES:
            self.say(f"{message}, after {self.seconds():.0f} s")


def _library(name: BaselineName) -> str:
    if name in REGRESSORS:
        return regressors.library()
    return f"torch {version('torch')}" if name in (*SMALL, "gru") else ""


def _trained(
    plan: Plan, dataset: Dataset, name: BaselineName, device: str, say: Callable[[str], object]
) -> Iterator[Fit]:
    """A network for every fold and seed, on the cases of the first variant's runs, in their cohorts."""
    from spinn import small_network

    if name == "small-network-no-sensors":
        dataset = without(dataset)
    runs = [run for run in plan.runs if run.variant == plan.experiment.variants[0].name]
    for cohort in dict.fromkeys(run.cohort for run in runs):
        of_cohort = [run for run in runs if run.cohort == cohort]
        for run, predicted, parameters in small_network.train(plan, dataset, of_cohort, device, say):
            held_out = dataset.frame["case"].isin(run.test).to_numpy()
            yield Fit(
                BaselineFold(
                    fold=run.fold,
                    seed=run.seed,
                    train=run.train,
                    validation=run.validation,
                    test=run.test,
                    coefficients={},
                ),
                {target: predicted[held_out, TARGETS.index(target)] for target in plan.dataset.targets},
                parameters,
            )


def _fits(plan: Plan, dataset: Dataset, name: BaselineName) -> Iterator[Fit]:
    """Every fit of `name`, fold by fold."""
    for entry in _folds(plan, dataset):
        if name in REGRESSORS:
            yield from _regressed(plan, dataset, name, entry)
        else:
            yield _fitted(plan, dataset, name, entry)


def _folds(plan: Plan, dataset: Dataset) -> Iterator[BaselineFold]:
    """Every fold, with all cases but its test cases to be fitted on."""
    for fold, test in sorted({run.fold: run.test for run in plan.runs}.items()):
        train = tuple(case for case in dataset.cases if case not in test)
        yield BaselineFold(fold=fold, train=train, test=test, coefficients={})


def _fitted(plan: Plan, dataset: Dataset, name: BaselineName, entry: BaselineFold) -> Fit:
    """A baseline with a handful of coefficients, or none."""
    held_out = dataset.frame["case"].isin(entry.test)
    train, rows = dataset.frame[~held_out], dataset.frame[held_out]
    predicted: dict[Target, np.ndarray]
    coefficients: dict[str, float]
    if name == "last-value":
        coefficients = {}
        predicted = {target: last_value(rows, target) for target in _targets(plan, name)}
    elif name == "mean":
        means = {target: float(train[target].mean()) for target in _targets(plan, name)}
        predicted = {target: np.full(len(rows), means[target]) for target in _targets(plan, name)}
        coefficients = {str(target): mean for target, mean in means.items()}
    else:
        fit, law = (fit_wear_law, wear_law) if name == "wear-law" else (fit_wear_law_growth, wear_law_growth)
        solution = fit(train)
        coefficients = dict(zip(COEFFICIENTS[name], map(float, solution), strict=True))
        predicted = {"VB": law(rows, solution)}
    return Fit(entry.model_copy(update={"coefficients": coefficients}), predicted, len(coefficients))


def last_value(frame: pd.DataFrame, target: str) -> np.ndarray:
    """The tool's last measured value before each cut of `frame`, `[cuts]`; 0 for a tool not measured before.

    Cuts at the same time are not before one another. It is the one baseline that sees labels of the held-out tool.
    """
    case, minutes, values = frame["case"].to_numpy(), frame["time"].to_numpy(), frame[target].to_numpy()
    predicted = np.zeros(len(frame))
    for tool in dict.fromkeys(case):
        known = np.flatnonzero((case == tool) & ~np.isnan(values))
        of_tool = np.flatnonzero(case == tool)
        earlier = np.searchsorted(minutes[known], minutes[of_tool], side="left")
        predicted[of_tool] = np.concatenate([[0.0], values[known]])[earlier]
    return predicted


def _regressed(plan: Plan, dataset: Dataset, name: RegressorName, entry: BaselineFold) -> Iterator[Fit]:
    """A regressor, chosen once with the first seed of the experiment, then fitted with every seed where it has one."""
    seeds = plan.experiment.seeds
    rows = dataset.frame["case"].isin(entry.test).to_numpy()
    arrays = [regressors.Arrays.of(dataset, target) for target in _targets(plan, name)]
    choices = tuple(regressors.choose(name, one, entry.train, seeds[0]) for one in arrays)
    for seed in seeds if name in regressors.SEEDED else (0,):
        fitted = [_refitted(name, one, choice, entry, rows, seed) for one, choice in zip(arrays, choices, strict=True)]
        predicted: dict[Target, np.ndarray] = {
            one.target: values for one, (values, _) in zip(arrays, fitted, strict=True)
        }
        stated = entry.model_copy(update={"seed": seed, "choices": choices})
        yield Fit(stated, predicted, sum(size for _, size in fitted))


def _refitted(
    name: RegressorName, arrays: regressors.Arrays, choice: Choice, entry: BaselineFold, rows: np.ndarray, seed: int
) -> tuple[np.ndarray, int]:
    chosen = choice.candidates[choice.chosen]
    return regressors.fit_predict(name, chosen.settings, chosen.inputs, arrays, entry.train, rows, seed)


def _recurrent(plan: Plan, dataset: Dataset, device: str, say: Callable[[str], object]) -> Iterator[Fit]:
    """The recurrent network, chosen in every fold with the first seed of the experiment, then trained with each."""
    from spinn import gru

    folds, seeds = list(_folds(plan, dataset)), plan.experiment.seeds
    entries = [entry.model_copy(update={"seed": seed}) for entry in folds for seed in seeds]
    choices: list[tuple[Choice, ...]] = [()] * len(entries)
    predicted: list[dict[Target, np.ndarray]] = [{} for _ in entries]
    sizes = [0] * len(entries)
    for target in _targets(plan, "gru"):
        arrays = regressors.Arrays.of(dataset, target)
        of_fold = dict(zip(
            [entry.fold for entry in folds],
            gru.choose(arrays, [entry.train for entry in folds], seeds[0], device, say), strict=True,
        ))  # fmt: skip
        wanted = [gru.chosen(of_fold[entry.fold], entry.train, entry.seed) for entry in entries]
        for place, values in enumerate(gru.predict(arrays, wanted, device, say)):
            entry = entries[place]
            predicted[place][target] = values[arrays.rows(entry.test)]
            choices[place] += (of_fold[entry.fold],)
            sizes[place] += gru.size(arrays)
    for entry, chosen, values, size in zip(entries, choices, predicted, sizes, strict=True):
        yield Fit(entry.model_copy(update={"choices": chosen}), values, size)


def _prediction_rows(dataset: Dataset, fit: Fit, target: Target) -> pd.DataFrame:
    rows = dataset.frame[dataset.frame["case"].isin(fit.entry.test)]
    table = rows[["case", "run", "time"]].assign(fold=fit.entry.fold, seed=fit.entry.seed, target=target)
    return table.assign(measured=rows[target], prediction=fit.predicted[target])
