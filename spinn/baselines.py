"""What a sceptical reader would try first: the training mean, and a wear law with four coefficients.

Each is fitted on every case but the held-out ones (it needs no validation cases) and predicts those.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd

from spinn.config import BaselineName
from spinn.data.dataset import Dataset
from spinn.errors import DataError
from spinn.record import (
    BASELINE_COLUMNS,
    BASELINES,
    BaselineFold,
    BaselineRecord,
    Plan,
    digest_file,
    plan_digest,
    write_atomic,
    write_model,
)
from spinn.wear_law import fit_wear_law, wear_law


def refuse_unfittable(plan: Plan, dataset: Dataset) -> None:
    """See, before anything is trained, that every planned baseline has labels to be fitted on in every fold.

    Raises:
        DataError: a target is measured in the held-out cases of a fold alone; names baseline, target and fold.
    """
    tests = {run.fold: run.test for run in plan.runs}
    for name in plan.experiment.baselines:
        for target in _targets(plan, name):
            measured = set(dataset.frame["case"][dataset.frame[target].notna()])
            for fold, test in sorted(tests.items()):
                if measured <= set(test):
                    raise DataError(
                        f"baseline {name!r}, fold {fold}: {target} is measured in none of the cases that it is fitted "
                        f"on, in {sorted(measured)} alone; use data with more labels, or leave it out of baselines"
                    )


def _targets(plan: Plan, name: BaselineName) -> tuple[str, ...]:
    return plan.dataset.targets if name == "mean" else ("VB",)


def evaluate(plan: Plan, dataset: Dataset, out: Path) -> None:
    """Fit every planned baseline over all folds; write `baselines/<name>.csv` and `.json` below `out`."""
    for name in plan.experiment.baselines:
        target = out / BASELINES / f"{name}.json"
        if not (target.exists() and target.with_suffix(".csv").exists()):
            _evaluate_one(plan, dataset, name, target)


def _evaluate_one(plan: Plan, dataset: Dataset, name: BaselineName, target: Path) -> None:
    start = time.perf_counter()
    targets = _targets(plan, name)
    folds, parts = [], []
    tests = {run.fold: run.test for run in plan.runs}
    for fold, test in sorted(tests.items()):
        held_out = dataset.frame["case"].isin(test)
        train, rows = dataset.frame[~held_out], dataset.frame[held_out]
        if name == "mean":
            coefficients = {column: float(train[column].mean()) for column in targets}
            predicted = {column: np.full(len(rows), coefficients[column]) for column in targets}
        else:
            solution = fit_wear_law(train)
            coefficients = dict(zip("abcd", map(float, solution), strict=True))
            predicted = {"VB": wear_law(rows, solution)}
        parts.extend(_prediction_rows(fold, rows, column, values) for column, values in predicted.items())
        others = tuple(case for case in dataset.cases if case not in test)
        folds.append(BaselineFold(fold=fold, train=others, test=test, coefficients=coefficients))
    seconds = time.perf_counter() - start
    table = pd.concat(parts)[list(BASELINE_COLUMNS)]
    predictions = target.with_suffix(".csv")
    write_atomic(predictions, table.to_csv(index=False, lineterminator="\n").encode())
    record = BaselineRecord(
        name=name,
        plan_digest=plan_digest(plan),
        targets=targets,
        parameters=len(folds[0].coefficients),
        folds=tuple(folds),
        seconds=seconds,
        predictions_digest=digest_file(predictions),
    )
    write_model(target, record)


def _prediction_rows(fold: int, rows: pd.DataFrame, target: str, values: np.ndarray) -> pd.DataFrame:
    table = rows[["case", "run", "time"]].assign(fold=fold, target=target, prediction=values)
    return table.assign(measured=rows[target])
