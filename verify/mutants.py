"""Named faults: each replaces one function of the real system by its smallest wrong version, and must be caught.

A mutant runs the whole way: the experiment is planned, trained, pruned and recorded with the fault in place, on a tiny
network; then the audit, which knows nothing of the fault, judges the folder with replay. This file alone of the judge
imports the whole system.
"""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import spinn.data
from spinn import baselines, cohort, experiment, journal, masks, pruning, rundata, schedule, task, training
from spinn.data import splits
from spinn.data.dataset import Dataset
from spinn.errors import SpinnError
from verify.audit import audit

EXPERIMENT = """
name = "mutant"
data = "simulator"
seeds = [0, 1]
layers = [18, 6, 5, 2]

[split]
kind = "grouped"
folds = 2
validation_cases = 2

[dense]
epochs = 3
learning_rate = 1e-2

[physics]
wear_rate = 0.1
heat = 0.1
initial = 0.1

[target]
reduction = "0.40"

[[variants]]
name = "sparse"
pruner = "global-magnitude"
stages = [
    { ratio = "0.31", epochs = 2, learning_rate = 5e-3 },
    { ratio = "0.24", epochs = 2, learning_rate = 5e-3 },
]
"""
UNREACHABLE = EXPERIMENT.replace("0.31", "0.20").replace("0.24", "0.15")
REFUSED = "refused"  # the system itself stopped with a clear error, before there was anything to audit

Patches = Sequence[Any]


@dataclass(frozen=True)
class Mutant:
    """A fault, the check that must find it (None: nothing to find), and the patches that put it in place."""

    name: str
    expected: str | None
    patches: Callable[[], Patches]
    experiment: str = EXPERIMENT


@dataclass(frozen=True)
class Outcome:
    """The checks that found an error in a mutant's records."""

    mutant: Mutant
    caught_by: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """True if the expected check is among them; for the control, if none is."""
        return self.mutant.expected in self.caught_by if self.mutant.expected else not self.caught_by

    def as_json(self) -> dict[str, Any]:
        """The outcome as `--json` prints it."""
        return {"name": self.mutant.name, "expected": self.mutant.expected, "caught_by": list(self.caught_by)}


def run(mutants: Sequence[Mutant] | None = None) -> Iterator[Outcome]:
    """Run `mutants` (all of them by default) one after another, on one thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for mutant in MUTANTS if mutants is None else mutants:
            with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
                yield Outcome(mutant, _caught_by(mutant, Path(folder)))
    finally:
        torch.set_num_threads(threads)


def _caught_by(mutant: Mutant, folder: Path) -> tuple[str, ...]:
    path = folder / "mutant.toml"
    path.write_text(mutant.experiment)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        for patch in mutant.patches():
            stack.enter_context(patch)
        try:
            experiment.run(path, out=folder / "runs", device="cpu")
        except SpinnError:
            return (REFUSED,)
    findings = audit(folder / "runs", replay=True).findings
    return tuple(dict.fromkeys(finding.check for finding in findings if finding.severity == "error"))


# --- arithmetic and schedule ----------------------------------------------------------------------------------------


def _unreachable() -> Patches:
    """The check before the run is gone: 20/15 can never reach 40 %."""
    return [mock.patch.object(experiment, "refuse_unreachable")]


def _float_rounding() -> Patches:
    """Counts by float arithmetic that truncates."""
    return [mock.patch.object(schedule, "plan", _planned_by(lambda ratio, active: int(float(ratio) * active)))]


def _half_up() -> Patches:
    """Counts rounded up: one weight too many in some stage."""
    return [mock.patch.object(schedule, "plan", _planned_by(lambda ratio, active: math.ceil(ratio * active)))]


def _ratio_of_all() -> Patches:
    """Each ratio is taken of all weights, not of the active ones: the stages add up, as the first version believed."""
    return [mock.patch.object(schedule, "plan", _planned_by(lambda ratio, _, dense: round(ratio * dense), dense=True))]


def _planned_by(count: Callable[..., int], *, dense: bool = False) -> Callable[..., tuple[schedule.Stage, ...]]:
    sound = schedule.plan

    def plan(layers: Sequence[int], ratios: Sequence[Any]) -> tuple[schedule.Stage, ...]:
        stages, active = [], schedule.prunable_weights(layers)
        for stage in sound(layers, ratios):
            pruned = count(stage.ratio, active, stage.dense_weights) if dense else count(stage.ratio, active)
            kept = active - pruned
            parameters = kept + stage.parameters - stage.kept_weights
            stages.append(replace(stage, active=active, pruned=pruned, kept_weights=kept, parameters=parameters))
            active = kept
        return tuple(stages)

    return plan


def _biases_counted() -> Patches:
    """Biases are counted among the prunable weights."""
    sound = schedule.prunable_weights
    return [mock.patch.object(schedule, "prunable_weights", lambda layers: sound(layers) + sum(layers[1:]))]


# --- pruning and masks ----------------------------------------------------------------------------------------------


def _restarting_thresholds() -> Patches:
    """Each stage ranks all weights again, zeros included."""
    sound = pruning.global_magnitude

    def prune(network: Any, current: masks.Masks, count: Any, allow_empty_layer: bool = False) -> masks.Masks:
        return sound(network, masks.Masks.ones_like(network), count, allow_empty_layer)

    return [mock.patch.object(pruning, "global_magnitude", prune)]


def _off_by_one() -> Patches:
    """One weight fewer goes than planned."""
    sound = pruning.global_magnitude
    return [mock.patch.object(pruning, "global_magnitude", lambda n, m, count, *rest: sound(n, m, count - 1, *rest))]


class _Idle(masks.Enforcer):
    """Nothing holds the masks."""

    def weights(self) -> None:
        """Nothing."""

    def gradients(self) -> None:
        """Nothing."""

    def state(self) -> None:
        """Nothing."""


class _Once(masks.Enforcer):
    """Pruned weights are set to zero once, before fine-tuning."""

    _done = False

    def weights(self) -> None:
        """The first time only."""
        if not self._done:
            super().weights()
        self._done = True

    def gradients(self) -> None:
        """Nothing."""

    def state(self) -> None:
        """Nothing."""


class _Multiplying(masks.Enforcer):
    """Pruned weights are multiplied by their mask: a negative one becomes −0.0."""

    def __init__(self, network: Any, held: masks.Masks, optimizer: Any = None) -> None:
        super().__init__(network, held, optimizer)
        self._pairs = list(zip(network.weights, held.layers, strict=True))

    def weights(self) -> None:
        """The product."""
        with torch.no_grad():
            for weight, mask in self._pairs:
                weight.mul_(mask)

    def gradients(self) -> None:
        """Nothing."""

    def state(self) -> None:
        """Nothing."""


def _enforcer(wrong: type[masks.Enforcer]) -> Callable[[], Patches]:
    return lambda: [mock.patch.object(training, "Enforcer", wrong)]


def _sum_reported() -> Patches:
    """The reduction that is reported is the sum of the ratios."""
    sound = pruning.PRUNERS["global-magnitude"]
    wrong = replace(sound, reported=lambda stages, _: float(sum(stage.ratio for stage in stages)))
    return [mock.patch.dict(pruning.PRUNERS, {sound.name: wrong})]


# --- data and splits ------------------------------------------------------------------------------------------------


def _scaler_on_all() -> Patches:
    """The scaler sees every case."""
    sound = rundata.fit_scaler
    return [
        mock.patch.object(
            rundata, "fit_scaler", lambda table, run, _: sound(table, run, np.arange(len(table.features)))
        )
    ]


def _selection_on_test() -> Patches:
    """The epochs are selected on the test cases."""
    sound = rundata.RunData._rows

    def rows(self: Any, table: Any, positions: np.ndarray, split: str) -> Any:
        cases = table.positions(self.run, self.run.test) if split == "validation" else positions
        return sound(self, table, cases, split)

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

    def load(source: str) -> Dataset:
        dataset = sound(source)
        number = {case: float(index) for index, case in enumerate(dataset.cases)}
        frame = dataset.frame.assign(**{dataset.features[-1]: dataset.frame["case"].map(number)})  # type: ignore[arg-type]
        return replace(dataset, frame=frame)

    return [mock.patch.object(spinn.data, "load", load)]


def _changed_data() -> Patches:
    """The networks train on other data than was planned: a channel is scaled after the fingerprint was taken."""
    sound = task.build

    def build(dataset: Dataset, *rest: Any) -> task.Task:
        frame = dataset.frame.copy()
        frame[dataset.features[4]] *= 1.05
        return sound(replace(dataset, frame=frame), *rest)

    return [mock.patch.object(task, "build", build)]


# --- training -------------------------------------------------------------------------------------------------------


def _silent_physics() -> Patches:
    """The residuals are zero: an error on the way to them was swallowed."""
    sound = training.motion_losses

    def losses(*arguments: Any) -> Any:
        return {term: torch.zeros_like(loss) for term, loss in sound(*arguments).items()}

    return [mock.patch.object(training, "motion_losses", losses)]


def _detached_physics() -> Patches:
    """The residuals are logged, and no gradient flows from them."""
    sound = training.motion_losses

    def losses(*arguments: Any) -> Any:
        return {term: loss.detach() for term, loss in sound(*arguments).items()}

    return [mock.patch.object(training, "motion_losses", losses)]


def _last_epoch() -> Patches:
    """The last epoch's weights are kept, the best one's loss is recorded."""
    return [
        mock.patch.object(training._Best, "restore"),
        mock.patch.object(training._Book, "enter", _first_is_best(training._Book.enter)),
    ]


def _first_is_best(sound: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Loss of later epochs a little higher, so that the last epoch is never the best."""

    def enter(self: Any, epoch: int, losses: torch.Tensor) -> np.ndarray:
        losses = losses.clone()
        losses[-1] += 10.0 * (epoch - 1)
        return sound(self, epoch, losses)

    return enter


# --- records --------------------------------------------------------------------------------------------------------


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

    def finish(self: journal.Journal, latency: Any) -> None:
        if self.record.seed != 1:
            sound(self, latency)

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

    def stale(network: Any, held: masks.Masks | None, run: int, coefficients: dict[str, float]) -> Any:
        now = sound(network, held, run, coefficients)
        earlier, before[run] = before.get(run, now), now
        if now.masks is None:
            return now
        pairs = zip(earlier.weights, now.masks, strict=True)
        return replace(now, weights=tuple(np.where(mask, weight, np.float32(0)) for weight, mask in pairs))

    return [mock.patch.object(cohort, "to_checkpoint", stale)]


def _handicapped_baseline() -> Patches:
    """The wear law is fitted badly, so that the network beats it."""
    sound = baselines.fit_wear_law
    return [mock.patch.object(baselines, "fit_wear_law", lambda frame: sound(frame) + np.array([0.2, 0, 0, 0]))]


MUTANTS: tuple[Mutant, ...] = (
    Mutant("none", None, list),
    Mutant("restarting-thresholds", "ledger-achieved", _restarting_thresholds),
    Mutant("no-enforcement", "resurrection", _enforcer(_Idle)),
    Mutant("enforced-once", "resurrection", _enforcer(_Once)),
    Mutant("masks-multiplied", "resurrection", _enforcer(_Multiplying)),
    Mutant("unreachable-schedule", "schedule-reaches-target", _unreachable, UNREACHABLE),
    Mutant("pruned-off-by-one", "ledger-achieved", _off_by_one),
    Mutant("float-rounding", "ledger-arithmetic", _float_rounding),
    Mutant("rounded-up", "ledger-arithmetic", _half_up),
    Mutant("ratio-of-all-weights", "ledger-arithmetic", _ratio_of_all),
    Mutant("biases-counted", "ledger-arithmetic", _biases_counted),
    Mutant("sum-of-ratios-reported", "ledger-achieved", _sum_reported),
    Mutant("scaler-on-all-cases", "scaler-on-train-only", _scaler_on_all),
    Mutant("selection-on-test", "selection-not-on-test", _selection_on_test),
    Mutant("leaking-split", "groups-disjoint", _leaking_split),
    Mutant("identifier-as-feature", "identifier-features", _identifier),
    Mutant("data-changed-after-planning", "scaler-on-train-only", _changed_data),
    Mutant("silent-physics", "physics-alive", _silent_physics),
    Mutant("detached-physics", "physics-alive", _detached_physics),
    Mutant("last-epoch-kept", "selection-not-on-test", _last_epoch),
    Mutant("dropped-seed", "planned-runs-present", _dropped_seed),
    Mutant("unrecorded-run", "planned-runs-present", _unrecorded_run),
    Mutant("edited-metric", "metrics-recomputed", _edited_metric),
    Mutant("edited-predictions", "predictions-replayed", _edited_predictions),
    Mutant("stale-checkpoint", "predictions-replayed", _stale_checkpoint),
    Mutant("handicapped-baseline", "baselines-recomputed", _handicapped_baseline),
)
