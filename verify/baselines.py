"""The baselines, computed again: mean and last value exactly, laws and regressors by fits of the judge's own.

The networks keep no weights: of them the cases, the cuts and the number of parameters are checked, and what the
recurrent one was chosen among; the rest is unchecked.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
from threadpoolctl import threadpool_limits

from spinn.config import RegressorName
from spinn.errors import RecordError
from spinn.record import BASELINE_COLUMNS, BASELINES, BaselineFold, BaselineRecord, read_model
from verify import regressors
from verify.folder import Fault, Folder, Table, UnavailableError, is_sealed, read_csv, read_folder
from verify.laws import FIT_SLACK, Law
from verify.schedules import expected_ledger

LAWS = {"wear-law": ("a", "b", "c", "d"), "wear-law-growth": ("a", "b", "c", "d", "g")}
SMALL = ("small-network", "small-network-no-sensors")
NETWORKS = (*SMALL, "gru")
REGRESSORS = get_args(RegressorName)
HIDDEN = 32  # units of the recurrent network
RELATIVE = 1e-9
NO_WEIGHTS = "its weights are not kept: only its cases, cuts and number of parameters were checked"


def recomputed(folder: Folder) -> Iterator[Fault]:
    """Every planned baseline is there, fitted without its test cases, and predicts what its fit predicts."""
    unchecked: list[str] = []
    for name, (faults, reason) in _judged(folder).items():
        unchecked += [f"baseline {name}: {reason}"] if reason else []
        yield from (Fault(f"baseline {name}: {message}", {"baseline": name}) for message in faults)
    if unchecked:
        raise UnavailableError("; ".join(unchecked))


def _judged(folder: Folder) -> dict[str, tuple[list[str], str]]:
    """What is wrong with each planned baseline, and why something of it cannot be computed again.

    Those that take long are fitted in processes beside each other: scikit-learn's loops over trees hold the
    interpreter's lock, so that threads gain nothing.
    """
    names = folder.plan.experiment.baselines
    slow = [name for name in names if name in REGRESSORS and name not in regressors.CHEAP]
    if len(slow) < 2:
        return {name: _judge(folder, name) for name in names}
    from joblib import Parallel, cpu_count, delayed

    tasks = [delayed(_read_and_judge)(folder.path, folder.digests, name) for name in slow]
    beside: Any = Parallel(n_jobs=min(len(slow), cpu_count()))(tasks)
    fitted = dict(zip(slow, beside, strict=True))
    return {name: fitted[name] if name in fitted else _judge(folder, name) for name in names}


def _read_and_judge(path: Path, digests: dict[str, str], name: str) -> tuple[list[str], str]:
    """The same of one baseline, in another process."""
    with np.errstate(all="ignore"), threadpool_limits(1, user_api="blas"):  # as in the audit's own
        return _judge(read_folder(path, digests), name)


def _judge(folder: Folder, name: str) -> tuple[list[str], str]:
    path = folder.path / BASELINES / f"{name}.json"
    try:
        record = read_model(path, BaselineRecord)
        if f"{BASELINES}/{name}.csv" not in folder.digests:
            raise UnavailableError(f"{name}.csv: no such file")
        table = read_csv(path.with_suffix(".csv"), BASELINE_COLUMNS, text=("case", "target"))
    except (RecordError, UnicodeDecodeError, UnavailableError) as error:
        return [str(error)], ""
    faults: list[str] = []
    try:
        for fault in _faults(folder, name, record, table):
            faults.append(fault)
    except UnavailableError as error:
        return faults, str(error)
    return faults, _beyond(name, record)


def _beyond(name: str, record: BaselineRecord) -> str:
    """Why the predictions of a baseline cannot be computed again; nothing where they can."""
    if name in NETWORKS:
        return NO_WEIGHTS
    if name in REGRESSORS and record.library != regressors.library():
        return f"fitted by {record.library or 'nobody knows what'}, here is {regressors.library()}"
    return ""


def _faults(folder: Folder, name: str, record: BaselineRecord, table: Table) -> Iterator[str]:
    plan = folder.plan
    if not is_sealed(record):
        yield "its content is not what was sealed; it was edited"
    if record.plan_digest != folder.plan_digest:
        yield "made under another plan"
    if folder.digests[f"{BASELINES}/{name}.csv"] != record.predictions_digest:
        yield "the sha256 of its predictions is not the recorded one"
    if record.name != name or record.targets != (("VB",) if name in LAWS else plan.dataset.targets):
        yield "its name or targets are wrong"
        return
    drawn = name in SMALL or name in regressors.SEEDED
    tests = {run.fold: run.test for run in plan.runs}
    wanted = [(fold, seed) for fold in sorted(tests) for seed in (sorted(plan.experiment.seeds) if drawn else (0,))]
    if sorted((fold.fold, fold.seed) for fold in record.folds) != wanted or set(
        zip(table["fold"].tolist(), table["seed"].tolist(), strict=True)
    ) != set(wanted):
        there = sorted({fold.fold for fold in record.folds}), sorted({fold.seed for fold in record.folds})
        yield f"folds {there[0]} and seeds {there[1]} are not all there, once, of those planned: {wanted}"
        return
    names = LAWS.get(name, plan.dataset.targets if name == "mean" else ())
    for fold in record.folds:
        if set(fold.coefficients) != set(names):
            yield f"fold {fold.fold}: coefficients {sorted(fold.coefficients)}, expected {sorted(names)}"
            return
        if (set(fold.train), set(fold.validation), set(fold.test)) != _sides(folder, name, fold):
            yield f"fold {fold.fold}: it is not fitted on {_fitted_on(name)}"
            return
    again = not _beyond(name, record)
    wrong = list(regressors.faults(folder, name, record, again=again)) if name in regressors.TRIED else []
    yield from wrong
    again = again and not wrong  # what was chosen wrongly is not fitted again
    most = record.parameters
    if name in SMALL:
        most = _parameters_of_small(folder)
    elif name == "gru":
        most = _parameters_of_recurrent(folder)
    if again:
        fits = [_fit_again(folder, name, fold) for fold in record.folds]
        most = max(kept for _, kept in fits)
    else:
        fits = [({}, 0)] * len(record.folds)
    if record.parameters != most:
        yield f"{record.parameters} parameters are recorded, it has {most}"
    for fold, (own, _) in zip(record.folds, fits, strict=True):
        yield from _coefficient_faults(folder, fold, name)
        for target in record.targets:
            tolerance = RELATIVE if name not in REGRESSORS else regressors.tolerance(folder, target)
            yield from _prediction_faults(folder, fold, table, target, own.get(target), tolerance)


def _fitted_on(name: str) -> str:
    return "the cases of the plan's run" if name in SMALL else "every case but the test cases"


def _sides(folder: Folder, name: str, fold: BaselineFold) -> tuple[set[str], set[str], set[str]]:
    """Training, validation and test cases as planned."""
    run = next(
        run for run in folder.plan.runs if run.fold == fold.fold and (run.seed == fold.seed or name not in SMALL)
    )
    if name in SMALL:
        return set(run.train), set(run.validation), set(run.test)
    return set(folder.plan.dataset.cases) - set(run.test), set(), set(run.test)


def _fit_again(folder: Folder, name: str, fold: BaselineFold) -> tuple[dict[str, np.ndarray], int]:
    """What a baseline says of the test cuts, by target, and how many numbers it keeps."""
    data, targets = folder.dataset, folder.plan.dataset.targets
    test = np.flatnonzero(data.of(fold.test))
    if name in REGRESSORS:
        fitted = {target: regressors.predicted(folder, name, fold, target, test) for target in targets}
        return {target: values for target, (values, _) in fitted.items()}, sum(kept for _, kept in fitted.values())
    if name == "last-value":
        return {target: np.array([_last_before(folder, cut, target) for cut in test]) for target in targets}, 0
    if name == "mean":
        return {target: np.full(len(test), _mean(folder, fold, target)) for target in targets}, len(targets)
    law = Law.of(data.columns, test, growth=name == "wear-law-growth")
    return {"VB": law.wear(np.array([fold.coefficients[key] for key in LAWS[name]]))}, len(LAWS[name])


def _mean(folder: Folder, fold: BaselineFold, target: str) -> float:
    return float(np.nanmean(folder.dataset.columns[target][folder.dataset.of(fold.train)]))


def _coefficient_faults(folder: Folder, fold: BaselineFold, name: str) -> Iterator[str]:
    """Means that are not the training cases', coefficients that are not the best."""
    data = folder.dataset
    if name == "mean":
        for target, stated in fold.coefficients.items():
            mean = _mean(folder, fold, target)
            if not abs(stated - mean) <= RELATIVE * abs(mean):
                yield f"fold {fold.fold}: the mean of {target} is {mean:.6g}, recorded {stated:.6g}"
    if name in LAWS:
        known = data.of(fold.train) & ~np.isnan(data.columns["VB"])
        law = Law.of(data.columns, known, growth=name == "wear-law-growth")
        coefficients = np.array([fold.coefficients[key] for key in LAWS[name]])
        if law.growth and not coefficients[4] >= 0:
            yield f"fold {fold.fold}: g = {coefficients[4]:.6g}, expected at least 0"
            return
        found, least = law.squares(coefficients), law.least_squares(coefficients)
        if not found <= least * (1 + FIT_SLACK) + 1e-12:
            yield f"fold {fold.fold}: its sum of squares is {found:.6g}, a fit reaches {least:.6g}"


def _last_before(folder: Folder, cut: np.intp, target: str) -> float:
    """The label of the same tool at the latest time before that of `cut`; 0 where there is none."""
    data = folder.dataset
    minutes, labels = data.columns["time"], data.columns[target]
    earlier = (data.cases == data.cases[cut]) & (minutes < minutes[cut]) & ~np.isnan(labels)
    return (
        float(labels[earlier][np.flatnonzero(minutes[earlier] == minutes[earlier].max())[-1]]) if earlier.any() else 0.0
    )


def _prediction_faults(
    folder: Folder, fold: BaselineFold, table: Table, target: str, own: np.ndarray | None, tolerance: float
) -> Iterator[str]:
    """Cuts, measured values and times are the data's; predictions are the judge's `own`, where it has any."""
    data = folder.dataset
    test, where = np.flatnonzero(data.of(fold.test)), f"fold {fold.fold}, seed {fold.seed}"
    rows = (table["fold"] == fold.fold) & (table["seed"] == fold.seed) & (table["target"] == target)
    given = dict(zip(zip(table["case"][rows].tolist(), table["run"][rows].tolist(), strict=True),
                     np.flatnonzero(rows).tolist(), strict=True))  # fmt: skip
    wanted = list(zip(data.cases[test].tolist(), data.runs[test].tolist(), strict=True))
    if set(given) != set(wanted) or int(rows.sum()) != len(wanted):
        yield f"{where}: predictions of {target} do not cover each test cut once"
        return
    lines = np.array([given[key] for key in wanted])
    if not np.array_equal(table["measured"][lines], data.columns[target][test], equal_nan=True):
        yield f"{where}: measured values of {target} are not the data's"
    if not np.array_equal(table["time"][lines], data.columns["time"][test]):
        yield f"{where}: times are not the data's"
    if not np.isfinite(table["prediction"][lines]).all():
        yield f"{where}: a prediction of {target} is not finite"
    elif own is not None and not np.allclose(table["prediction"][lines], own, rtol=tolerance, atol=tolerance):
        yield f"{where}: predictions of {target} are not those of its fit"


def _parameters_of_recurrent(folder: Folder) -> int:
    """Parameters of the recurrent networks of one fit, one for each target.

    Each has three gates with weights of input and state and two biases; then the linear output.
    """
    dataset = folder.plan.dataset
    return len(dataset.targets) * (3 * HIDDEN * (len(dataset.features) + HIDDEN + 2) + HIDDEN + 1)


def _parameters_of_small(folder: Folder) -> int:
    """Parameters of the widest dense network that has no more than the pruned network."""
    experiment = folder.plan.experiment
    inputs, *hidden, outputs = experiment.layers
    sound = [variant for variant in experiment.variants if not variant.expected_findings]
    most = expected_ledger(folder, (sound or experiment.variants)[0])[-1].parameters
    fitting = [0]
    for widest in range(1, max(hidden, default=0) + 1):
        widths = [inputs, *(max(1, round(width * widest / max(hidden))) for width in hidden), outputs]
        fitting.append(sum((a + 1) * b for a, b in pairwise(widths)))
    return max(count for count in fitting if count <= most)
