"""Is everything there, unchanged and finite, and do the record's numbers follow from its predictions?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from spinn.record import (
    ADAPTATION,
    BASELINES,
    CLAIMS,
    DATACARD,
    DATASET,
    DEPLOYED,
    HISTORY,
    PLAN,
    PREDICTIONS,
    PROGRESS,
    RECORD,
    RUNS,
    Record,
    checkpoint_name,
)
from spinn.storage import digest_of
from verify import card
from verify.findings import LISTED
from verify.folder import Fault, Folder, Run, UnavailableError, adaptation_files, is_sealed, read_json

RELATIVE = 1e-9  # metrics are float64 sums over the same rows; only their order may differ


# --- the folder as a whole ------------------------------------------------------------------------------------------


def planned_runs(folder: Folder) -> Iterator[Fault]:
    """Every variant × fold × seed of the experiment is planned once, and nothing unplanned lies in runs/."""
    experiment = folder.plan.experiment
    split = experiment.split
    folds = len(labelled_cases(folder)) if split.folds is None else split.folds
    planned = [(run.variant, run.fold, run.seed) for run in folder.plan.runs]
    there, seeds, variants = set(planned), set(experiment.seeds), {variant.name for variant in experiment.variants}
    strange = {one for one in there if one[0] not in variants or one[1] not in range(folds) or one[2] not in seeds}
    # Looked for only until all that are missing are found: a plan may ask for more runs than there is memory for.
    missing = len(variants) * folds * len(seeds) - len(there - strange)
    asked = ((v.name, f, s) for v in experiment.variants for f in range(folds) for s in experiment.seeds)
    if missing > LISTED:
        yield Fault(f"{missing:,} runs are asked for by the experiment and left out by the plan")
    for variant, fold, seed in islice((one for one in asked if one not in there), min(missing, LISTED)):
        yield Fault(f"variant {variant}, fold {fold}, seed {seed}: the experiment asks for it, the plan leaves it out")
    for variant, fold, seed in sorted(strange):
        yield Fault(f"variant {variant}, fold {fold}, seed {seed}: planned, but the experiment does not ask for it")
    ids = {run.run_id for run in folder.plan.runs}
    if len(there) != len(planned) or len(ids) != len(planned):
        yield Fault("a run is planned more than once")
    for name in folder.folders():
        if name not in ids:
            yield Fault(f"runs/{name}: not planned")
    known = {f"{BASELINES}/{name}.{kind}" for name in experiment.baselines for kind in ("json", "csv")}
    known |= adaptation_files(folder.plan)
    for name in sorted(folder.digests):
        lost = name.startswith(f"{RUNS}/") and name.count("/") == 1
        stray = name.startswith((f"{BASELINES}/", f"{ADAPTATION}/")) and name not in known
        if (lost or stray) and not _is_hidden(name):
            yield Fault(f"{name}: no file of this plan's; keep notes elsewhere, or run with --fresh", {"file": name})


def _is_hidden(name: str) -> bool:
    """What a killed write leaves behind begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


def labelled_cases(folder: Folder) -> tuple[str, ...]:
    """Cases with a label of any target: only they can be tested; all cases where the data cannot be read."""
    if isinstance(folder.data, Exception):
        return folder.plan.dataset.cases
    data = folder.dataset
    known = ~np.isnan(data.columns["VB"]) | ~np.isnan(data.columns["thermal"])
    labelled = set(data.cases[known].tolist())
    return tuple(case for case in folder.plan.dataset.cases if case in labelled)


def run_present(folder: Folder, run: Run) -> Iterator[Fault]:
    """The run's record is there, and is the planned run's."""
    if run.unfinished:
        yield Fault("unfinished: progress.json is there, record.json is not; the same `spinn run` goes on with it")
        return
    if run.record is None:
        yield Fault("no run was recorded" if RECORD not in run.digests else run.problem)
        return
    for name in ("run_id", "variant", "fold", "seed", "cohort"):
        if getattr(run.record, name) != getattr(run.planned, name):
            yield Fault(f"{name} = {getattr(run.record, name)!r}, planned {getattr(run.planned, name)!r}")
    place = (run.planned.cohort, run.planned.variant)
    if run.record.cohort_runs != tuple(mate.planned.run_id for mate in folder.stacks[place]):
        yield Fault("cohort_runs are not the runs that the plan puts into this cohort")
    if PROGRESS in run.digests:
        message = f"{PROGRESS} lies beside {RECORD}: the run was begun again and not finished"
        yield Fault(f"{message}; roll it back with --from-stage, or run with --fresh", {"file": PROGRESS})
    stages = len(folder.plan.variant(run.planned.variant).stages)
    known = {RECORD, PROGRESS, HISTORY, PREDICTIONS, *(checkpoint_name(stage) for stage in range(stages + 1))}
    known |= {DEPLOYED} if run.deploys else set()
    for name in sorted(set(run.digests) - known):
        if not _is_hidden(name):
            yield Fault(f"{name}: not a file of a run; keep notes elsewhere", {"file": name})


def plan_unchanged(folder: Folder) -> Iterator[Fault]:
    """Plan, claims and data are what was fixed before the runs."""
    plan = folder.plan
    spelled = (json.dumps(plan.model_dump(mode="json"), indent=1) + "\n").encode()
    if (folder.path / PLAN).read_bytes() != spelled:
        yield Fault(f"{PLAN}: not spelled as it was written; it was edited")
    for name, digest in ((CLAIMS, plan.claims.digest), (DATACARD, plan.dataset.card)):
        try:
            if digest_of(read_json(folder.path / name)) != digest:
                yield Fault(f"{name}: its content is not what the plan was made with")
        except (UnavailableError, ValueError) as error:
            yield Fault(str(error))
    if folder.digests.get(DATASET) != plan.dataset.fingerprint:
        yield Fault(f"{DATASET}: missing, or its sha256 is not the plan's fingerprint")
    if isinstance(folder.data, Exception):
        yield Fault(str(folder.data))
        return
    data = folder.dataset
    found = (tuple(dict.fromkeys(data.cases.tolist())), len(data.cases), data.measured())
    if found != (plan.dataset.cases, plan.dataset.cuts, plan.dataset.targets):
        yield Fault(f"{DATASET}: its cases, number of cuts or measured targets are not the planned ones")
    yield from card.recounted(folder)


def plan_of_record(folder: Folder, run: Run) -> Iterator[Fault]:
    """The record was made under this plan."""
    if run.checked.plan_digest != folder.plan_digest:
        yield Fault("plan_digest is not that of plan.json: the plan was changed after the run, or the run is another's")


# --- the files of one run -------------------------------------------------------------------------------------------


def digests(folder: Folder, run: Run) -> Iterator[Fault]:
    """Every file of the run has the recorded bytes and can be read; all checkpoints may be withheld, not some."""
    recorded = run.checked.files
    if not is_sealed(run.checked):
        yield Fault(f"{RECORD}: its content is not what was sealed; it was edited", {"file": RECORD})
    for name in run.files():
        if name not in recorded:
            yield Fault(f"{name}: the record has no digest of it", {"file": name})
    for name in sorted({*recorded, *run.files()}):
        if name not in run.digests:
            left_out = run.history_withheld() if name == HISTORY else name.endswith(".safetensors") and run.withheld()
            if not left_out:
                yield Fault(f"{name}: missing", {"file": name})
        elif name in recorded and run.digests[name] != recorded[name]:
            yield Fault(f"{name}: its sha256 is not the recorded one", {"file": name})
    for problem in run.unreadable():
        yield Fault(problem)


def non_finite(folder: Folder, run: Run) -> Iterator[Fault]:
    """No inf or NaN in the record, the history, the predictions or the weights."""
    yield from _record_numbers(run.checked)
    history = run.history()
    for name, values in history.items():
        if name == "validation_loss" and not run.planned.validation:
            continue  # there is none, and `selection-not-on-test` sees to that
        bad = int((~np.isfinite(values)).sum())
        if bad:
            yield Fault(f"history.csv: {name} is not finite in {bad} of {len(values)} rows")
    for name in ("time", "prediction"):
        bad = int((~np.isfinite(run.predictions()[name])).sum())
        if bad:
            yield Fault(f"predictions.csv: {name} is not finite in {bad} rows")
    for stage in (stage.stage for stage in run.checked.stages):
        network = run.network(stage)
        arrays = {f"layers.{i}.weight": w for i, w in enumerate(network.weights)}
        arrays |= {f"layers.{i}.bias": b for i, b in enumerate(network.biases)}
        arrays |= {f"physics.{name}": np.array(value) for name, value in network.coefficients.items()}
        for name, values in arrays.items():
            bad = int((~np.isfinite(values)).sum())
            if bad:
                yield Fault(f"stage {stage}: {name} holds {bad} values that are not finite", {"stage": stage})


def _record_numbers(record: Record) -> Iterator[Fault]:
    for name, value in _numbers(record.model_dump(exclude={"environment", "files"}), "record"):
        if not np.isfinite(value):
            yield Fault(f"{name} = {value}: expected a finite number")


def _numbers(value: object, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{name}[{index}]")
    elif isinstance(value, float):
        yield name, value


# --- metrics --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Aligned:
    """predictions.csv in the order of the data: `predicted[stage, target]` is `[cuts]`, `side` of each cut."""

    predicted: dict[tuple[int, str], np.ndarray]
    side: np.ndarray


def metrics(folder: Folder, run: Run) -> Iterator[Fault]:
    """predictions.csv covers every cut, target and stage once, and gives the metrics of the record."""
    faults = coverage(folder, run)
    if faults:
        yield from faults
        return
    predictions = aligned(folder, run)
    recorded = {(metric.stage, metric.target, metric.split): metric for metric in run.checked.metrics}
    if len(recorded) != len(run.checked.metrics):
        yield Fault("a metric of the record stands there more than once")
    for (stage, target), predicted in predictions.predicted.items():
        measured = folder.dataset.columns[target]
        for side in ("train", "validation", "test"):
            metric = recorded.pop((stage, target, side), None)
            rows = ~np.isnan(measured) & (predictions.side == side)
            own = score(measured[rows], predicted[rows]) if rows.any() else {}
            where = f"stage {stage}, {side}, {target}"
            if metric is None:
                if own:
                    yield Fault(f"{where}: the record has no metric")
                continue
            for name, value in (own or {"n": 0}).items():
                if not _same(getattr(metric, name), value):
                    message = f"{where}: {name} = {getattr(metric, name)}, recomputed {value}"
                    yield Fault(message, {"stage": stage, "split": side, "target": target, "quantity": name})
    for stage, target, side in recorded:
        yield Fault(f"stage {stage}, {side}, {target}: a metric is recorded for what is not planned")


def score(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float | int | None]:
    """n, R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)², mean absolute and root mean squared error."""
    error = measured - predicted
    spread = float(((measured - measured.mean()) ** 2).sum())
    return {
        "n": len(measured),
        "r2": 1 - float((error**2).sum()) / spread if measured.min() < measured.max() else None,
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
    }


def _same(recorded: float | None, own: float | None) -> bool:
    if recorded is None or own is None:
        return recorded is own
    return abs(recorded - own) <= RELATIVE * max(1.0, abs(own))


def coverage(folder: Folder, run: Run) -> list[Fault]:
    """predictions.csv has each cut × measured target × stage once, with the data's measured value and time."""
    return run.once("coverage", lambda: list(_coverage(folder, run)))


def _coverage(folder: Folder, run: Run) -> Iterator[Fault]:
    table, data = run.predictions(), folder.dataset
    wanted = {(stage.stage, target) for stage in run.checked.stages for target in folder.plan.dataset.targets}
    groups: dict[tuple[int, str], list[int]] = {key: [] for key in wanted}
    cuts = _cuts(folder)
    strange = unequal = 0
    rows = zip(*(table[name].tolist() for name in ("stage", "target", "case", "run")), strict=True)
    for line, (stage, target, case, number) in enumerate(rows):
        cut = cuts.get((case, number))
        if cut is None or (stage, target) not in wanted:
            strange += 1
            continue
        groups[stage, target].append(cut)
        measured, true = table["measured"][line], data.columns[target][cut]
        same = measured == true or (np.isnan(measured) and np.isnan(true))
        unequal += not same or table["time"][line] != data.columns["time"][cut]
    missing = sum(len(cuts) - len(set(group)) for group in groups.values())
    twice = sum(len(group) - len(set(group)) for group in groups.values())
    if len(cuts) != len(data.cases):
        yield Fault("dataset.csv: two cuts have the same case and run")
    if missing:
        yield Fault(f"predictions.csv: {missing} of {len(cuts) * len(wanted)} predictions are missing")
    if twice:
        yield Fault(f"predictions.csv: {twice} predictions stand there more than once")
    if strange:
        yield Fault(f"predictions.csv: {strange} rows are of no known cut, stage or measured target")
    if unequal:
        yield Fault(f"predictions.csv: measured values or times of {unequal} rows are not those of dataset.csv")


def aligned(folder: Folder, run: Run) -> Aligned:
    """The predictions of `run`; raises `UnavailableError` where predictions.csv does not cover the data."""
    return run.once("aligned", lambda: _align(folder, run))


def _align(folder: Folder, run: Run) -> Aligned:
    if coverage(folder, run):
        raise UnavailableError("predictions.csv does not cover the data once")
    table, cuts = run.predictions(), _cuts(folder)
    order = np.array([cuts[key] for key in zip(table["case"].tolist(), table["run"].tolist(), strict=True)], dtype=int)
    predicted = {}
    for stage in run.checked.stages:
        for target in folder.plan.dataset.targets:
            rows = (table["stage"] == stage.stage) & (table["target"] == target)
            values = np.empty(len(cuts))
            values[order[rows]] = table["prediction"][rows]
            predicted[stage.stage, target] = values
    side_of = {case: side for side in ("train", "validation", "test") for case in getattr(run.planned, side)}
    return Aligned(predicted, np.array([side_of.get(case, "") for case in folder.dataset.cases.tolist()]))


def _cuts(folder: Folder) -> dict[tuple[str, int], int]:
    data = folder.dataset
    return {key: row for row, key in enumerate(zip(data.cases.tolist(), data.runs.tolist(), strict=True))}
