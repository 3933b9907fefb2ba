"""Online adaptation of a finished experiment: every held-out tool lives its life under each method; one record.

Knows plans, folders of runs and what is written; how a network learns is `spinn.online`'s, a law `spinn.law_updates`',
and training anew `spinn.retraining`'s. Networks that adapt do so for every seed; the laws, which have none, and
retraining, for its cost, are for the first one alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch

from spinn import checkpoint, law_updates
from spinn.cohort import fit_settings
from spinn.config import PhysicsConfig
from spinn.data.dataset import Dataset
from spinn.errors import DataError, RecordError
from spinn.masks import Masks
from spinn.model import Network, from_checkpoints, to_checkpoint
from spinn.online import Tool, life_flops, live, revived, tools_of
from spinn.record import (
    ADAPTATION,
    ADAPTATION_COLUMNS,
    RECORD,
    AdaptationMethod,
    AdaptationRecord,
    AdaptationResult,
    AdaptedTool,
    Plan,
    PlannedRun,
    Record,
    adapted_name,
    checkpoint_name,
    plan_digest,
    read_model,
    run_folder,
    write_model,
)
from spinn.retraining import LABELS, retrain
from spinn.storage import digest_file, write_atomic

METHODS: tuple[AdaptationMethod, ...] = get_args(AdaptationMethod)


def refuse_unadaptable(plan: Plan, dataset: Dataset) -> None:
    """See, before anything is trained, that the wear law has labels to be fitted on in every fold.

    Raises:
        DataError: flank wear is measured in the held-out cases of a fold alone, or nowhere.
    """
    measured = set(dataset.frame["case"][dataset.frame["VB"].notna()])
    for run in plan.runs if plan.experiment.adaptation else ():
        if measured <= set(run.test):
            raise DataError(
                f"adaptation, fold {run.fold}: VB is measured in {sorted(measured) or 'no case'}, expected in a case "
                "that is not held out too; use data with more labels, or leave adaptation out"
            )


def is_finished(plan: Plan, out: Path) -> bool:
    """Whether `out` has all that `evaluate` would write, of these runs."""
    return plan.experiment.adaptation is None or len(_kept(plan, out)) == len(METHODS)


def evaluate(plan: Plan, dataset: Dataset, out: Path, device: torch.device) -> Iterator[str]:
    """Write `adaptation/` below `out`, if the plan has it; a method that is finished is left as it is.

    Yields:
        A line about each method that was done.
    """
    if plan.experiment.adaptation is None:
        return
    done, begun = {result.name: result for result in _kept(plan, out)}, _begun(plan, out)
    for name in METHODS:
        if name in done:
            continue
        start = time.perf_counter()
        parts, about = _METHODS[name](plan, dataset, out, device)
        seconds = time.perf_counter() - start
        table = pd.concat([_table(tool, dataset, values) for tool, values, _ in parts])
        path = out / ADAPTATION / f"{name}.csv"
        write_atomic(path, table.to_csv(index=False, lineterminator="\n").encode())
        tools = tuple(
            AdaptedTool(
                fold=tool.run.fold,
                seed=tool.run.seed,
                case=tool.case,
                cuts=len(tool.rows),
                labels=tool.labels,
                flops=flops,
            )
            for tool, _, flops in parts
        )
        done[name] = AdaptationResult(
            name=name, tools=tools, seconds=seconds, predictions_digest=digest_file(path), **about
        )
        found = AdaptationRecord(
            plan_digest=plan_digest(plan),
            variant=plan.experiment.variants[0].name,
            settings=plan.experiment.adaptation,
            begun=begun,
            methods=tuple(done[method] for method in METHODS if method in done),
        )
        write_model(out / ADAPTATION / RECORD, found)
        yield f"adaptation, {name}: {len(tools)} tools in {seconds:.1f} s"


Parts = list[tuple[Tool, np.ndarray, int | None]]
"""Of each tool: it, its predictions, and its FLOPs."""


def _kept(plan: Plan, out: Path) -> tuple[AdaptationResult, ...]:
    """The methods that are finished: on this plan, beginning with the checkpoints that there are now."""
    try:
        found = read_model(out / ADAPTATION / RECORD, AdaptationRecord)
        begun = _begun(plan, out)
    except RecordError:
        return ()
    if found.plan_digest != plan_digest(plan) or found.begun != begun:
        return ()
    return tuple(method for method in found.methods if (out / ADAPTATION / f"{method.name}.csv").exists())


def _begun(plan: Plan, out: Path) -> dict[str, str]:
    name = checkpoint_name(len(plan.experiment.variants[0].stages))
    records = {run.run_id: read_model(run_folder(out, run.run_id) / RECORD, Record) for run in _runs(plan)}
    return {run_id: record.files[name] for run_id, record in records.items()}


def _runs(plan: Plan, seed: int | None = None) -> list[PlannedRun]:
    """The runs of the first variant, or those of a seed."""
    first = plan.experiment.variants[0].name
    return [run for run in plan.runs if run.variant == first and seed in (None, run.seed)]


def _stacks(plan: Plan, dataset: Dataset, runs: Sequence[PlannedRun], least: int = 0) -> Iterator[list[Tool]]:
    """The tools of `runs` that have `least` labels, as many together as the plan stacks runs."""
    tools = [tool for tool in tools_of(runs, dataset) if tool.labels >= least]
    size = plan.experiment.stack or len(tools)
    for first in range(0, len(tools), size):
        yield tools[first : first + size]


# --- the methods ----------------------------------------------------------------------------------------------------


def _networks(
    plan: Plan, dataset: Dataset, out: Path, device: torch.device, *, learning: bool
) -> tuple[Parts, dict[str, Any]]:
    """The networks as training left them, or adapting; of the first seed's adapted ones a checkpoint is kept."""
    config = plan.experiment.adaptation
    assert config is not None
    stage, steps = len(plan.experiment.variants[0].stages), config.steps if learning else 0
    settings = replace(
        fit_settings(plan.experiment, plan.experiment.variants[0], stage),
        epochs=config.steps,
        learning_rate=config.learning_rate,
        batch=len(dataset.frame),
        physics=PhysicsConfig(),
        recorded=False,
    )
    parts: Parts = []
    came_back, checkpoints = 0, {}
    for seed in plan.experiment.seeds:
        for tools in _stacks(plan, dataset, _runs(plan, seed)):
            stored = [checkpoint.read(run_folder(out, tool.run.run_id) / checkpoint_name(stage)) for tool in tools]
            network, masks = from_checkpoints(stored, device)
            assert masks is not None  # the experiment's schema sees to it
            predicted = live(network, masks, tools, dataset, plan, settings if learning else None)
            parts += [
                (tool, values, life_flops(network.layers, tool, steps))
                for tool, values in zip(tools, predicted, strict=True)
            ]
            came_back += revived(network, masks)
            if learning and seed == plan.experiment.seeds[0]:
                checkpoints |= _keep(network, masks, tools, out)
    return parts, {"revived": came_back, "checkpoints": checkpoints} if learning else {}


def _keep(network: Network, masks: Masks, tools: Sequence[Tool], out: Path) -> dict[str, str]:
    """Write a checkpoint for each tool; returns their sha256 by name."""
    digests = {}
    for number, tool in enumerate(tools):
        path = out / ADAPTATION / adapted_name(tool.run, tool.case)
        checkpoint.write(path, to_checkpoint(network, masks, number, {}))
        digests[path.name] = digest_file(path)
    return digests


def _law(plan: Plan, dataset: Dataset, update: law_updates.Update) -> tuple[Parts, dict[str, Any]]:
    parts: Parts = []
    laws = []
    for tool in tools_of(_runs(plan, plan.experiment.seeds[0]), dataset):
        predicted, fitted = law_updates.follow(tool, dataset, update)
        parts.append((tool, predicted, None))
        laws += fitted
    return parts, {"laws": tuple(laws)}


def _retrained(plan: Plan, dataset: Dataset, out: Path, device: torch.device) -> tuple[Parts, dict[str, Any]]:
    """Networks that are trained again after the label number `LABELS`; until then, and without it, as they were."""
    runs, variant = _runs(plan, plan.experiment.seeds[0]), plan.experiment.variants[0]
    first = plan.model_copy(
        update={"experiment": plan.experiment.model_copy(update={"seeds": plan.experiment.seeds[:1]})}
    )
    unchanged, _ = _networks(first, dataset, out, device, learning=False)
    anew: dict[str, tuple[np.ndarray, int]] = {}
    epochs: tuple[int, ...] = ()
    for tools in _stacks(plan, dataset, runs, LABELS):
        found = retrain(tools, dataset, plan, variant, device)
        anew |= {tool.case: (values, found.flops) for tool, values in zip(tools, found.predicted, strict=True)}
        epochs = tuple(map(max, found.epochs, epochs or found.epochs))
    parts: Parts = []
    for tool, before, flops in unchanged:
        after, training = anew.get(tool.case, (before, 0))
        parts.append((tool, np.where(np.isnan(after), before, after), (flops or 0) + training))
    return parts, {"epochs": epochs, "labels": LABELS}


_METHODS = {
    "none": lambda plan, dataset, out, device: _networks(plan, dataset, out, device, learning=False),
    "adapted": lambda plan, dataset, out, device: _networks(plan, dataset, out, device, learning=True),
    "refitted-law": lambda plan, dataset, out, device: _law(plan, dataset, law_updates.refitted),
    "rescaled-law": lambda plan, dataset, out, device: _law(plan, dataset, law_updates.rescaled),
    "retrained": _retrained,
}


def _table(tool: Tool, dataset: Dataset, predicted: np.ndarray) -> pd.DataFrame:
    own = dataset.frame.iloc[tool.rows]
    table = own[["case", "run", "time"]].assign(
        fold=tool.run.fold, seed=tool.run.seed, labels_seen=tool.seen, measured=own["VB"], prediction=predicted
    )
    return table[list(ADAPTATION_COLUMNS)]
