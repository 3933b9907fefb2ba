"""Honest evaluation: disjoint groups, no identifiers among the inputs, scalers and selection blind to test cases.

Works on the plan, the record and dataset.csv; fits nothing but means and standard deviations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from spinn.data.dataset import TARGETS
from verify.folder import Data, Fault, Folder, Run, Table
from verify.laws import FIT_SLACK, Law
from verify.records import aligned, labelled_cases

IDENTIFIERS = ("case", "run", "tool", "id", "index", "cut", "experiment")
CONDITIONS = ("DOC", "feed", "steel")
PHYSICAL = ("time", *CONDITIONS)  # settings of the cut and the time spent; few levels, so they may coincide
TWIN_CUTS = 5  # labelled cuts below which two tools may have the same times and labels, as coarse as these are read
FEWEST = 10  # rows below which a column may rise or fall all the way by chance
SETTING_LEVELS = 4  # values that a setting nobody declared may have; a column with more tells groups of tools apart
JITTER = 1e-2  # spread within a label, of the distance to the next one, below which it is no measurement
CONSTANT = 1e-9  # relative spread below which a column is a constant and rounding
SCALER_TOLERANCE = 1e-9  # relative; sums of the same float64 values in another order
PREDICTION_TOLERANCE = 1e-4  # of a target's scale: what float32 arithmetic may move a prediction by


def groups_disjoint(folder: Folder, run: Run) -> Iterator[Fault]:
    """Train, validation and test share no tool, leave no case out, and predictions.csv says the same."""
    planned = run.planned
    sides = {"train": planned.train, "validation": planned.validation, "test": planned.test}
    for side, cases in sides.items():
        if not cases and (side != "validation" or folder.plan.experiment.split.validation_cases):
            yield Fault(f"{side}: no cases")
    for case, times in Counter(case for cases in sides.values() for case in cases).items():
        if times > 1:
            where = ", ".join(side for side, cases in sides.items() if case in cases)
            yield Fault(f"case {case} stands on more than one side ({where})", {"case": case})
    everything = {case for cases in sides.values() for case in cases}
    if everything != set(folder.plan.dataset.cases):
        yield Fault(
            f"cases {sorted(everything ^ set(folder.plan.dataset.cases))} are not divided, or are not in the data"
        )
    table = run.predictions()
    for case, split in sorted(set(zip(table["case"].tolist(), table["split"].tolist(), strict=True))):
        if case in everything and case not in sides.get(split, ()):
            yield Fault(f"predictions.csv: case {case} is called {split}", {"case": case})
    yield from _twins_apart(folder, sides)


def _twins_apart(folder: Folder, sides: dict[str, tuple[str, ...]]) -> Iterator[Fault]:
    """No tool stands on two sides under two names, with the same times and labels in all its labelled cuts."""
    data = folder.dataset
    table = np.stack([data.columns[name] for name in ("time", *TARGETS)], axis=1)
    labelled = ~np.isnan(table[:, 1:]).all(axis=1)
    seen: dict[bytes, tuple[str, str]] = {}
    for side, case in [(side, case) for side, cases in sides.items() for case in cases]:
        cuts = table[labelled & (data.cases == case)]
        other, where = seen.setdefault(cuts.tobytes(), (case, side))
        if len(cuts) >= TWIN_CUTS and other != case and where != side:
            message = f"case {case} ({side}) is case {other} ({where}) under another name: the same times and labels"
            yield Fault(message, {"case": case, "other": other})


def every_case_tested_once(folder: Folder) -> Iterator[Fault]:
    """For each variant and seed, the folds' test cases are all labelled cases, each once; one fold, one test set."""
    groups: dict[tuple[str, int], list[str]] = {}
    tests: dict[int, set[tuple[str, ...]]] = {}
    for run in folder.plan.runs:
        groups.setdefault((run.variant, run.seed), []).extend(run.test)
        tests.setdefault(run.fold, set()).add(tuple(sorted(run.test)))
        if folder.plan.experiment.split.kind == "leave-one-case-out" and len(run.test) != 1:
            yield Fault(f"{run.run_id}: {len(run.test)} test cases; leave-one-case-out has one")
    wanted = sorted(labelled_cases(folder))
    for (variant, seed), cases in groups.items():
        if sorted(cases) != wanted:
            wrong = sorted(case for case in {*cases, *wanted} if cases.count(case) != 1)
            yield Fault(f"variant {variant}, seed {seed}: cases {wrong} are not tested exactly once")
    for fold, sets in tests.items():
        if len(sets) > 1:
            yield Fault(f"fold {fold}: its test cases differ between runs")


def single_seed(folder: Folder) -> Iterator[Fault]:
    """More than one seed was run."""
    if len(folder.plan.experiment.seeds) == 1:
        claims = ", ".join(folder.plan.claims.names)
        message = "one seed only: nothing here says how much of a difference is chance"
        yield Fault(
            f"{message}; claims that rest on it: {claims or 'none'}", {"claims": list(folder.plan.claims.names)}
        )


# --- inputs ---------------------------------------------------------------------------------------------------------


def identifier_features(folder: Folder) -> Iterator[Fault]:
    """No feature is, equals, or encodes one-to-one, the case, the run or the row, or has a number for each tool."""
    data = folder.dataset
    for name in folder.plan.dataset.features:
        if name.lower() in IDENTIFIERS:
            yield Fault(f"feature {name!r} is an identifier by its name", {"feature": name})
            continue
        values = data.columns[name]
        if name in PHYSICAL:
            continue
        told = [column for column, labels in (("case", data.cases), ("run", data.runs))
                if _encodes(values, labels) or _clusters(values, labels)]  # fmt: skip
        for column in told:
            yield Fault(f"feature {name!r} tells the {column}: it encodes it one-to-one", {"feature": name})
        if not told and (_counts_rows(values) or _counts_cuts(data, values)):
            message = f"feature {name!r} tells the row: it counts the cuts, through all cases or in each of them"
            yield Fault(message, {"feature": name})
        if not told and _labels_tools(data, values):
            message = f"feature {name!r} tells groups of tools: it is constant in each case, and no setting of the cut"
            yield Fault(message, {"feature": name})
    if len(set(folder.plan.dataset.features)) != len(folder.plan.dataset.features):
        yield Fault("a feature is named twice")


def features_of_record(folder: Folder, run: Run) -> Iterator[Fault]:
    """The run's inputs are the planned features, in their order."""
    if run.checked.features != folder.plan.dataset.features:
        others = sorted(set(run.checked.features) ^ set(folder.plan.dataset.features))
        yield Fault(f"features of the record are not the planned ones, in their order (they differ in {others})")


def _encodes(values: np.ndarray, labels: np.ndarray) -> bool:
    """True if value and label determine one another, other than because every row has a label of its own."""
    known = ~np.isnan(values)
    pairs = list(zip(values[known].tolist(), labels[known].tolist(), strict=True))
    distinct = set(pairs)
    if len({label for _, label in distinct}) < 2:
        return False
    if not len(distinct) == len({label for _, label in distinct}) == len({value for value, _ in distinct}):
        return False
    if len(distinct) < len(pairs):
        return True
    return _on_a_line(pairs)


def _on_a_line(pairs: list[tuple[Any, Any]]) -> bool:
    """True if the values follow the labels, which are all different, as a straight line does."""
    try:
        x, y = np.array([float(label) for _, label in pairs]), np.array([value for value, _ in pairs])
    except ValueError:
        return False
    if len(pairs) < 3:
        return False
    x, y = x - x.mean(), y - y.mean()
    return bool(np.allclose(y, x * (x @ y) / (x @ x), rtol=0, atol=1e-9 * float(np.abs(y).max())))


def _clusters(values: np.ndarray, labels: np.ndarray) -> bool:
    """True if each label has a value of its own but for a jitter: a number to tell it by, with noise on it."""
    known = ~np.isnan(values)
    groups = [values[known & (labels == label)] for label in np.unique(labels[known])]
    if len(groups) < 3 or min(map(len, groups)) < 2:
        return False
    centres = np.sort([group.mean() for group in groups])
    return bool(max(np.ptp(group) for group in groups) < JITTER * np.diff(centres).min())


def _counts_rows(values: np.ndarray) -> bool:
    """True if the values rise from every row to the next, or fall: the table's own order, case by case, cut by cut."""
    steps = np.diff(values[~np.isnan(values)])
    return len(steps) >= FEWEST - 1 and bool((steps > 0).all() or (steps < 0).all())


def _counts_cuts(data: Data, values: np.ndarray) -> bool:
    """True if a cut later is the same step further in every case, wherever each case begins: 10·case + run."""
    known = ~np.isnan(values)
    cases, runs, values = data.cases[known], data.runs[known], values[known]
    within = (cases[1:] == cases[:-1]) & (runs[1:] != runs[:-1])
    steps = np.diff(values)[within] / np.diff(runs)[within]
    if len(steps) < FEWEST - 1:
        return False
    rounding = CONSTANT * float(np.abs(values).max())
    return bool(np.ptp(steps) <= rounding < abs(steps.mean()))


def _labels_tools(data: Data, values: np.ndarray) -> bool:
    """True if a tool has one value in all its cuts that neither its conditions give, nor a setting with few levels."""
    known = ~np.isnan(values)
    levels = {case: set(values[known & (data.cases == case)].tolist()) for case in dict.fromkeys(data.cases.tolist())}
    if any(len(found) > 1 for found in levels.values()) or known.sum() < 2 * sum(map(bool, levels.values())):
        return False
    settings = zip(*(data.columns[name][known].tolist() for name in CONDITIONS), strict=True)
    given = set(zip(settings, values[known].tolist(), strict=True))
    return len(given) > len({setting for setting, _ in given}) and len(set().union(*levels.values())) > SETTING_LEVELS


# --- scaler ---------------------------------------------------------------------------------------------------------


def scaler(folder: Folder, run: Run) -> Iterator[Fault]:
    """Means and standard deviations of features and targets are those of the training cases' cuts, and of no others."""
    stated = run.checked.scaler
    if sorted(stated.fitted_on) != sorted(run.planned.train):
        cases = list(run.planned.train)
        yield Fault(f"the scaler is fitted on cases {list(stated.fitted_on)}, training cases are {cases}")
    data = folder.seen_by(run)
    rows = data.of(run.planned.train)
    features = ("feature", folder.plan.dataset.features, stated.feature_mean, stated.feature_scale)
    for kind, names, means, scales in (features, ("target", TARGETS, stated.target_mean, stated.target_scale)):
        if not len(names) == len(means) == len(scales):
            yield Fault(f"the scaler has {len(means)} {kind} means and {len(scales)} scales, expected {len(names)}")
            continue
        for name, mean, spread in zip(names, means, scales, strict=True):
            own_mean, own_spread = standardisation(data.columns[name][rows])
            allowed = SCALER_TOLERANCE * max(abs(own_mean), own_spread)
            if not (abs(mean - own_mean) <= allowed and abs(spread - own_spread) <= allowed):
                message = f"{kind} {name!r} is scaled with mean {mean:.6g} and scale {spread:.6g}"
                shown = f"the training cases give {own_mean:.6g} and {own_spread:.6g}"
                yield Fault(f"{message}; {shown}", {kind: name})
    yield from _law_faults(folder, run)


def _law_faults(folder: Folder, run: Run) -> Iterator[Fault]:
    """The wear law that the network corrects is planned, and a least-squares fit to the training cases alone."""
    stated, data = run.checked.scaler.law, folder.dataset
    planned = folder.plan.experiment.correction_of(folder.plan.variant(run.planned.variant))
    if stated is None or planned is None:
        if stated is not None or planned is not None:
            yield Fault("a wear law that the network corrects is planned, and none recorded, or the other way round")
        return
    if stated.correction != planned:
        yield Fault(f"a correction by {stated.correction} of the wear law is recorded, {planned} is planned")
    law = Law.of(data.columns, data.of(run.planned.train) & ~np.isnan(data.columns["VB"]))
    found = law.squares(np.array(stated.coefficients))
    least = law.least_squares(np.array(stated.coefficients))
    if not found <= least * (1 + FIT_SLACK) + 1e-12:
        message = f"the wear law's sum of squares over the training cases is {found:.6g}"
        yield Fault(f"{message}, a fit reaches {least:.6g}", {"found": found, "least": least})


def standardisation(values: np.ndarray) -> tuple[float, float]:
    """Mean and population standard deviation of what was measured; scale 1 for a constant, (0, 1) without values."""
    known = values[~np.isnan(values)]
    if not known.size:
        return 0.0, 1.0
    mean, spread = float(known.mean()), float(known.std())
    return mean, (spread if spread > CONSTANT * max(abs(mean), 1e-30) else 1.0)


# --- selection ------------------------------------------------------------------------------------------------------


def selection(folder: Folder, run: Run) -> Iterator[Fault]:
    """Each stage kept the epoch with the least validation loss, and that loss is the validation cases' own.

    Where the plan has no validation cases nothing is selected: the last epoch was kept, and no validation loss stated.
    """
    if set(run.planned.validation) & set(run.planned.test):
        yield Fault("a validation case is a test case")
    history, by = run.history(), "validation" if run.planned.validation else "last"
    for stage in run.checked.stages:
        if stage.selected_by != by:
            message = f"stage {stage.stage}: the epoch is selected by {stage.selected_by}, planned is by {by}"
            yield Fault(message, {"stage": stage.stage})
            return
    if by == "last":
        yield from _nothing_selected(run, history)
        return
    for stage in run.checked.stages:
        rows = history["stage"] == stage.stage
        epochs, losses = history["epoch"][rows], history["validation_loss"][rows]
        if not len(epochs):
            continue  # `trained-as-planned` says so where some were planned
        best = int(np.argmin(losses))
        if stage.selected_epoch != epochs[best]:
            message = f"stage {stage.stage}: epoch {stage.selected_epoch} is selected"
            yield Fault(f"{message}, the least validation loss is at epoch {epochs[best]}", {"stage": stage.stage})
        elif stage.selected_loss is None or not np.isclose(stage.selected_loss, losses[best], rtol=1e-12, atol=0):
            yield Fault(f"stage {stage.stage}: selected_loss = {stage.selected_loss}, in history.csv {losses[best]}")
    yield from _loss_is_of_validation(folder, run)


def _nothing_selected(run: Run, history: Table) -> Iterator[Fault]:
    """The last epoch was kept; nobody states a validation loss."""
    for stage in run.checked.stages:
        if stage.selected_epoch != stage.epochs_run:
            message = f"stage {stage.stage}: epoch {stage.selected_epoch} of {stage.epochs_run} was kept"
            yield Fault(f"{message}; without validation cases it is the last", {"stage": stage.stage})
        stated = history["validation_loss"][history["stage"] == stage.stage]
        if stage.selected_loss is not None or not np.isnan(stated).all():
            yield Fault(f"stage {stage.stage}: a validation loss is stated, and there are no validation cases")


def _loss_is_of_validation(folder: Folder, run: Run) -> Iterator[Fault]:
    """The selected loss is what the kept network gives on the validation cases.

    That is the mean square error in scaled units, over the labels of each target and then over the labelled targets.
    """
    predictions = aligned(folder, run)
    if len(run.checked.scaler.target_scale) != len(TARGETS):
        return  # `scaler-on-train-only` says so
    scales = dict(zip(TARGETS, run.checked.scaler.target_scale, strict=True))
    for stage in run.checked.stages:
        means = []
        for target in folder.plan.dataset.targets:
            measured = folder.dataset.columns[target]
            rows = (predictions.side == "validation") & ~np.isnan(measured)
            error = (predictions.predicted[stage.stage, target] - measured)[rows] / scales[target]
            means.extend([float((error**2).mean())] if rows.any() else [])
        own = float(np.mean(means)) if means else np.nan
        allowed = PREDICTION_TOLERANCE * (2 * np.sqrt(own) + PREDICTION_TOLERANCE)
        if stage.selected_loss is None or not abs(own - stage.selected_loss) <= allowed:
            message = f"stage {stage.stage}: selected_loss = {stage.selected_loss}"
            shown = f"the kept network's loss on the validation cases is {own:.6g}"
            yield Fault(f"{message}; {shown}", {"stage": stage.stage})
