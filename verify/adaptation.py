"""Online adaptation, looked at again: is every cut of every tool there, and did each method know only what it may?

Laws are fitted again, by a least-squares fit of the judge's own. Of the networks that adapt, what is stored is looked
at: predictions before the first label, and the networks after the last one, their masks and predictions; how they got
from the one to the other is not trained again. What retraining costs is counted again in `verify.retraining`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from spinn.errors import RecordError
from spinn.record import (
    ADAPTATION,
    ADAPTATION_COLUMNS,
    RECORD,
    AdaptationMethod,
    AdaptationRecord,
    AdaptationResult,
    adapted_name,
    checkpoint_name,
    read_model,
)
from verify import retraining
from verify.baselines import RELATIVE
from verify.folder import WITHHELD, Fault, Folder, Run, Table, UnavailableError, is_sealed, read_csv, read_network
from verify.head import Head
from verify.laws import FIT_SLACK, Law
from verify.network import Network
from verify.records import aligned
from verify.replay import TOLERANCE, forward, scaled_inputs

METHODS = get_args(AdaptationMethod)
EVERY_SEED = ("none", "adapted")  # the others are for the first one
SAME = 1e-6  # relative: what two passes of one network in float32 may differ by


Lives = dict[tuple[int, int, str], np.ndarray]
"""Predictions of one method, by the tool's key."""

Predicted = dict[str, Lives]


@dataclass(frozen=True)
class Tool:
    """A held-out tool: `rows` are its cuts in the data, by time; `seen` counts measured wear at earlier ones."""

    run: Run
    case: str
    rows: np.ndarray
    seen: np.ndarray
    labels: int

    @property
    def key(self) -> tuple[int, int, str]:
        """What tells it from the other tools of a method."""
        return self.run.planned.fold, self.run.planned.seed, self.case


def recomputed(folder: Folder) -> Iterator[Fault]:
    """The record is this plan's, complete and unchanged, and each method's predictions and costs are what they say."""
    experiment = folder.plan.experiment
    if experiment.adaptation is None:
        return
    try:
        record = read_model(folder.path / ADAPTATION / RECORD, AdaptationRecord)
    except (RecordError, UnicodeDecodeError) as error:
        yield Fault(f"{ADAPTATION}/{RECORD}: {error}")
        return
    yield from map(Fault, _of_plan(folder, record))
    found = {method.name: method for method in record.methods}
    predicted: Predicted = {}
    reasons: list[str] = []
    for name in METHODS:
        if name not in found:
            yield Fault(
                f"adaptation, {name}: not in the record; the same `spinn run` goes on with it", {"method": name}
            )
            continue
        tools = tools_of(folder, experiment.seeds if name in EVERY_SEED else experiment.seeds[:1])
        try:
            predicted[name] = _predictions(folder, found[name], tools)
            for message in _judged(folder, found[name], tools, predicted):
                yield Fault(f"adaptation, {name}: {message}", {"method": name})
        except _WrongError as error:
            yield Fault(f"adaptation, {name}: {error}", {"method": name})
        except UnavailableError as error:  # the other methods are judged all the same
            reasons.append(f"adaptation, {name}: {error}")
    if reasons:
        raise UnavailableError("; ".join(reasons))


def _judged(folder: Folder, method: AdaptationResult, tools: Sequence[Tool], predicted: Predicted) -> Iterator[str]:
    yield from _tools(folder, method, tools)
    yield from _method(folder, method, tools, predicted)
    if method.name == "adapted":
        if not any(name.startswith(f"{ADAPTATION}/") and name.endswith(".safetensors") for name in folder.digests):
            raise UnavailableError(WITHHELD)
        yield from _networks(folder, method, predicted["adapted"])


class _WrongError(Exception):
    """A method's table is such that nothing more can be asked of it."""


def tools_of(folder: Folder, seeds: Sequence[int]) -> list[Tool]:
    """The tools that the first variant's runs of these seeds hold out, in planned order."""
    data, first = folder.dataset, folder.plan.experiment.variants[0].name
    found = []
    for run in folder.runs:
        if run.planned.variant == first and run.planned.seed in seeds:
            for case in run.planned.test:
                rows = np.flatnonzero(data.cases == case)
                rows = rows[np.argsort(data.columns["time"][rows], kind="stable")]
                known = ~np.isnan(data.columns["VB"][rows])
                found.append(Tool(run, case, rows, np.cumsum(known) - known, int(known.sum())))
    return found


def _of_plan(folder: Folder, record: AdaptationRecord) -> Iterator[str]:
    first, names = folder.plan.experiment.variants[0], [method.name for method in record.methods]
    if not is_sealed(record):
        yield f"{ADAPTATION}/{RECORD}: its content is not what was sealed; it was edited"
    if record.plan_digest != folder.plan_digest:
        yield "adaptation: made under another plan"
    if record.variant != first.name or record.settings != folder.plan.experiment.adaptation:
        yield "adaptation: its variant or its settings are not the planned ones"
    if len(set(names)) != len(names):
        yield f"adaptation: methods {names}: each stands once"
    last = checkpoint_name(len(first.stages))
    runs = [run for run in folder.runs if run.planned.variant == first.name and run.record is not None]
    began = {run.planned.run_id: run.checked.files.get(last) for run in runs}
    if record.begun != began:
        yield "adaptation: it began with other checkpoints than those of the runs' last stage"


# --- tables ---------------------------------------------------------------------------------------------------------


def _predictions(folder: Folder, method: AdaptationResult, tools: Sequence[Tool]) -> Lives:
    """Each tool's predictions, in its order; every cut is there once, with what the data says of it."""
    name, data = f"{ADAPTATION}/{method.name}.csv", folder.dataset
    if folder.digests.get(name) != method.predictions_digest:
        raise _WrongError(f"{method.name}.csv: missing, or its sha256 is not the recorded one")
    try:
        table = read_csv(folder.path / name, ADAPTATION_COLUMNS, text=("case",))
    except UnavailableError as error:
        raise _WrongError(str(error)) from None
    columns = ("fold", "seed", "case", "run")
    keys = list(zip(*(table[column].tolist() for column in columns), strict=True))
    line = {key: number for number, key in enumerate(keys)}
    wanted = [(*tool.key, run) for tool in tools for run in data.runs[tool.rows].tolist()]
    if len(line) != len(keys) or set(line) != set(wanted):
        raise _WrongError("its table does not have each cut of each held-out tool once")
    found = {}
    for tool in tools:
        lines = np.array([line[(*tool.key, run)] for run in data.runs[tool.rows].tolist()])
        _refuse_other(tool, data.columns, {column: table[column][lines] for column in ADAPTATION_COLUMNS})
        found[tool.key] = table["prediction"][lines]
    return found


def _refuse_other(tool: Tool, columns: Table, given: Table) -> None:
    where = f"fold {tool.key[0]}, seed {tool.key[1]}, case {tool.case}"
    if not np.array_equal(given["time"], columns["time"][tool.rows]):
        raise _WrongError(f"{where}: times are not the data's")
    if not np.array_equal(given["measured"], columns["VB"][tool.rows], equal_nan=True):
        raise _WrongError(f"{where}: measured values are not the data's")
    if not np.array_equal(given["labels_seen"], tool.seen):
        raise _WrongError(f"{where}: labels_seen does not count the measured earlier cuts")
    if not np.isfinite(given["prediction"]).all():
        raise _WrongError(f"{where}: a prediction is not finite")


def _tools(folder: Folder, method: AdaptationResult, tools: Sequence[Tool]) -> Iterator[str]:
    """Who lived under the method, and what it cost."""
    stated = [(tool.fold, tool.seed, tool.case, tool.cuts, tool.labels) for tool in method.tools]
    if stated != [(*tool.key, len(tool.rows), tool.labels) for tool in tools]:
        yield "its tools, or their numbers of cuts and labels, are not those of plan and data"
        return
    if not 0 <= method.seconds < np.inf:
        yield f"seconds = {method.seconds}: expected a time"
    config, weights = folder.plan.experiment.adaptation, retraining.weights(folder)
    steps = config.steps if config is not None and method.name == "adapted" else 0
    for tool, given in zip(tools, method.tools, strict=True):
        if method.name == "retrained":
            continue  # `retraining.faults`
        own = 2 * weights * len(tool.rows) + 6 * weights * steps * tool.labels * (tool.labels + 1) // 2
        if given.flops != (own if method.name in EVERY_SEED else None):
            yield f"case {tool.case}: flops = {given.flops}, recomputed {own}"


# --- what each method knew ------------------------------------------------------------------------------------------


def _method(folder: Folder, method: AdaptationResult, tools: Sequence[Tool], predicted: Predicted) -> Iterator[str]:
    if method.name == "none":
        yield from _as_recorded(folder, tools, predicted["none"])
    elif method.name in ("adapted", "retrained") and "none" in predicted:
        labels = 1 if method.name == "adapted" else retraining.LABELS
        for tool in tools:
            early = tool.seen < labels
            own, given = predicted["none"][tool.key][early], predicted[method.name][tool.key][early]
            if not np.allclose(given, own, rtol=SAME, atol=SAME):
                yield f"fold {tool.key[0]}, case {tool.case}: it differs from `none` before label {labels} was there"
    elif method.name not in ("adapted", "retrained"):
        yield from _laws(folder, method, tools, predicted[method.name])
    if method.name == "adapted" and method.revived != 0:
        yield f"revived = {method.revived}: pruned weights came back"
    if method.name == "retrained":
        yield from retraining.faults(folder, method, tools)


def _as_recorded(folder: Folder, tools: Sequence[Tool], given: Lives) -> Iterator[str]:
    stage = len(folder.plan.experiment.variants[0].stages)
    for tool in tools:
        own = aligned(folder, tool.run).predicted[stage, "VB"][tool.rows]
        scale = tool.run.checked.scaler.target_scale[0]
        if not (np.abs(given[tool.key] - own) <= TOLERANCE * (scale + np.abs(own))).all():
            yield f"{tool.run.planned.run_id}, case {tool.case}: predictions are not those of the run's last stage"


def _laws(folder: Folder, method: AdaptationResult, tools: Sequence[Tool], given: Lives) -> Iterator[str]:
    """Each law is the least-squares one of the rows that it may know, and predicts what is predicted."""
    data = folder.dataset
    wanted = [(tool.key[0], tool.case, labels) for tool in tools for labels in range(tool.labels + 1)]
    if [(law.fold, law.case, law.labels_seen) for law in method.laws] != wanted:
        yield "it does not have one law for each tool and number of labels"
        return
    known, laws = ~np.isnan(data.columns["VB"]), iter(method.laws)
    least: dict[bytes, float] = {}
    for tool in tools:
        others = known & ~data.of(tool.run.planned.test)
        for labels in range(tool.labels + 1):
            law, where = next(laws), f"fold {tool.key[0]}, case {tool.case}, after {labels} labels"
            fitted, own = others.copy(), tool.rows[(tool.seen < labels) & known[tool.rows]]
            if method.name == "refitted-law":
                fitted[own] = True
            coefficients, rows = np.array(law.coefficients), Law.of(data.columns, fitted)
            key = fitted.tobytes()
            if key not in least:
                least[key] = rows.least_squares(coefficients)
            squares = rows.squares(coefficients)
            if not squares <= least[key] * (1 + FIT_SLACK) + 1e-12:
                yield f"{where}: its sum of squares is {squares:.6g}, a fit reaches {least[key]:.6g}"
            factor = _factor(Law.of(data.columns, own), coefficients) if method.name == "rescaled-law" else 1.0
            if not abs(law.factor - factor) <= RELATIVE * max(1.0, abs(factor)):
                yield f"{where}: factor = {law.factor:.6g}, recomputed {factor:.6g}"
            due = tool.seen == labels
            said = law.factor * Law.of(data.columns, tool.rows[due]).wear(coefficients)
            if not np.allclose(given[tool.key][due], said, rtol=RELATIVE, atol=RELATIVE):
                yield f"{where}: predictions are not those of its law"


def _factor(law: Law, coefficients: np.ndarray) -> float:
    """The multiple of a law that comes nearest to the measured wear; 1 where the law has none to be multiplied."""
    wear = law.wear(coefficients)
    squares = float((wear**2).sum())
    return float((wear * law.measured).sum()) / squares if squares > 0 else 1.0


# --- the adapted networks -------------------------------------------------------------------------------------------


def _networks(folder: Folder, method: AdaptationResult, given: Lives) -> Iterator[str]:
    """The first seed's networks after the last label: unchanged files, the run's masks, +0.0 where pruned."""
    tools = tools_of(folder, folder.plan.experiment.seeds[:1])
    if set(method.checkpoints) != {adapted_name(tool.run.planned, tool.case) for tool in tools}:
        yield "its checkpoints are not one for each tool of the first seed"
        return
    for tool in tools:
        name = adapted_name(tool.run.planned, tool.case)
        if folder.digests.get(f"{ADAPTATION}/{name}") != method.checkpoints[name]:
            yield f"{name}: missing, or its sha256 is not the recorded one"
            continue
        try:
            network = read_network(folder.path / ADAPTATION / name, folder.plan.experiment.layers)
        except UnavailableError as error:
            yield str(error)
            continue
        yield from (f"{name}: {message}" for message in _ended(folder, tool, network, given[tool.key]))


def _ended(folder: Folder, tool: Tool, network: Network, given: np.ndarray) -> Iterator[str]:
    began = tool.run.network(len(folder.plan.experiment.variants[0].stages))
    if not all(map(np.array_equal, network.masks, began.masks)):
        yield "its masks are not those that the run ended with"
    pairs = zip(network.weights, network.masks, strict=True)
    back = sum(int(np.count_nonzero(np.ascontiguousarray(weight[~mask]).view(np.int32))) for weight, mask in pairs)
    if back:
        yield f"{back} pruned weights are not +0.0"
    due = tool.seen == tool.labels
    rows, stated = tool.rows[due], tool.run.checked.scaler
    if rows.size:
        outputs = forward(network, scaled_inputs(folder, tool.run)[rows])
        own = Head.of(stated, folder.dataset, rows).targets(outputs)[:, 0]
        if not (np.abs(given[due] - own) <= TOLERANCE * (stated.target_scale[0] + np.abs(own))).all():
            yield "predictions after the last label are not its own"
