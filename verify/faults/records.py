"""Faults of the records: what is missing, edited, stale, or of another network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from spinn import cohort, experiment, journal, masks, pruning
from spinn.record import PLAN, PREDICTIONS, RUNS
from verify.faults.mutant import EXPERIMENT, Mutant, Patches, once

EXCUSED = EXPERIMENT.replace('pruner = "global', 'expected_findings = ["resurrection"]\npruner = "global')


def _dropped_seed() -> Patches:
    """The plan leaves a seed out."""
    sound = experiment.make_plan

    def plan(*arguments: Any) -> Any:
        whole = sound(*arguments)
        return whole.model_copy(update={"runs": tuple(run for run in whole.runs if run.seed != 1)})

    return [mock.patch.object(experiment, "make_plan", plan)]


def _unrecorded_run() -> Patches:
    """A run is planned, and its record never written."""
    sound = journal.Journal.finish

    def finish(self: journal.Journal, *arguments: Any) -> None:
        if self.record.seed != 1:
            sound(self, *arguments)

    return [mock.patch.object(journal.Journal, "finish", finish)]


def _edited_metric() -> Patches:
    """R² is a little better than the predictions say."""
    sound = journal.metrics_of

    def metrics(predictions: Any) -> Any:
        return tuple(m.model_copy(update={"r2": None if m.r2 is None else m.r2 + 0.05}) for m in sound(predictions))

    return [mock.patch.object(journal, "metrics_of", metrics)]


def _edited_predictions() -> Patches:
    """Predictions drawn towards the measured values before they are written."""
    sound = cohort.Cohort._predictions

    def predictions(self: Any, *arguments: Any) -> Any:
        table = sound(self, *arguments)
        drawn = 0.9 * table["prediction"] + 0.1 * table["measured"]
        return table.assign(prediction=drawn.where(table["measured"].notna(), table["prediction"]))

    return [mock.patch.object(cohort.Cohort, "_predictions", predictions)]


def _stale_checkpoint() -> Patches:
    """The checkpoint of a stage holds the weights from before its fine-tuning."""
    sound = cohort.to_checkpoint
    before: dict[int, Any] = {}

    def stale(network: Any, held: masks.Masks | None, run: int, *more: Any) -> Any:
        now = sound(network, held, run, *more)
        earlier, before[run] = before.get(run, now), now
        if now.masks is None:
            return now
        pairs = zip(earlier.weights, now.masks, strict=True)
        return replace(now, weights=tuple(np.where(mask, weight, np.float32(0)) for weight, mask in pairs))

    return [mock.patch.object(cohort, "to_checkpoint", stale)]


def _swapped_targets() -> Patches:
    """Wear is predicted by the output for thermal displacement, and the other way round."""
    sound = cohort.Cohort._predictions

    def predictions(self: Any, run: Any, stage: int, predicted: np.ndarray) -> Any:
        return sound(self, run, stage, predicted[:, ::-1])

    return [mock.patch.object(cohort.Cohort, "_predictions", predictions)]


def _infinite_weight() -> Patches:
    """A bias overflows and is written all the same."""
    sound = cohort.to_checkpoint

    def overflowing(network: Any, held: masks.Masks | None, run: int, *more: Any) -> Any:
        now = sound(network, held, run, *more)
        now.biases[0][0] = np.inf
        return now

    return [mock.patch.object(cohort, "to_checkpoint", overflowing)]


def _statistics_of_all() -> Patches:
    """Layer statistics are taken over pruned weights too."""
    sound = pruning.layer_statistics

    def statistics(network: Any, held: masks.Masks, run: int, *layers: Any) -> Any:
        everything = sound(network, masks.Masks.ones_like(network), run, *layers)
        return tuple(wrong.model_copy(update={"kept": right.kept}) for wrong, right in
                     zip(everything, sound(network, held, run, *layers), strict=True))  # fmt: skip

    return [mock.patch.object(pruning, "layer_statistics", statistics)]


def _edited_file(path: Path, runs: Path) -> None:
    """Predictions are mended by hand after the runs."""
    once(path, runs)
    table = next((runs / RUNS).rglob(PREDICTIONS))
    table.write_text(table.read_text().replace("0.1", "0.2", 1))


def _edited_plan(path: Path, runs: Path) -> None:
    """The target is lowered in the plan after the runs."""
    once(path, runs)
    plan = json.loads((runs / PLAN).read_text())
    plan["experiment"]["target"]["reduction"] = "0.30"
    (runs / PLAN).write_text(json.dumps(plan))


FAULTS = (
    Mutant("dropped-seed", "planned-runs-present", _dropped_seed),
    Mutant("unrecorded-run", "planned-runs-present", _unrecorded_run),
    Mutant("edited-metric", "metrics-recomputed", _edited_metric),
    Mutant("statistics-of-all-weights", "metrics-recomputed", _statistics_of_all),
    Mutant("edited-predictions", "predictions-replayed", _edited_predictions),
    Mutant("swapped-targets", "predictions-replayed", _swapped_targets),
    Mutant("stale-checkpoint", "predictions-replayed", _stale_checkpoint),
    Mutant("infinite-bias", "non-finite", _infinite_weight),
    Mutant("file-edited-after-the-run", "digests", list, drive=_edited_file),
    Mutant("plan-edited-after-the-runs", "plan-unchanged", list, drive=_edited_plan),
    Mutant("excused-without-need", "unexpected-absent", list, EXCUSED),
)
