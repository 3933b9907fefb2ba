"""One cohort: the runs that are trained together, from the dense network to their records.

The dense phase is trained once and shared by all variants, so that dense and sparse are paired. A stage starts with a
new optimizer, and with random numbers that depend on seed and stage only: going on from a stage's end gives the same
bytes as never having stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pandas as pd
import torch

from spinn import (
    attribution,
    checkpoint,
    cost,
    determinism,
    estimate,
    inference,
    pruning,
    step,
    task,
    training,
    variants,
)
from spinn.config import Experiment, Variant
from spinn.data.dataset import TARGETS, Dataset
from spinn.data.sensors import seen
from spinn.journal import Journal, is_finished, stages_done
from spinn.model import Network, from_checkpoints, neurons_of, to_checkpoint
from spinn.physics import Coefficients
from spinn.pruning import Stack
from spinn.record import (
    PREDICTION_COLUMNS,
    PROGRESS,
    PhaseCost,
    Plan,
    PlannedRun,
    Record,
    StageRecord,
    checkpoint_name,
    plan_digest,
    run_folder,
)


class Phase(Protocol):
    """Progress of one phase of training."""

    def epoch(self, epoch: int, loss: float) -> None:
        """`epoch` is over; `loss` is the mean over the runs."""

    def end(self, seconds: float, epochs: int) -> None:
        """The phase is over."""


def fit_settings(experiment: Experiment, variant: Variant, stage: int) -> step.FitSettings:
    """How the dense phase (stage 0) or a stage of `variant` is trained."""
    dense = experiment.dense_of(variant)
    config = dense if stage == 0 else variant.stages[stage - 1]
    return step.FitSettings(
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        batch=dense.batch,
        patience=dense.patience if stage == 0 else None,
        weight_decay=dense.weight_decay,
        clip_norm=dense.clip_norm,
        physics=experiment.physics_of(variant),
    )


@dataclass
class _State:
    """The stacked runs between two stages."""

    stack: Stack
    coefficients: Coefficients


@dataclass(frozen=True)
class _Phase:
    """What one phase of training gave: the fit, its cost, and the counts that pruning changed."""

    stage: int
    fitted: training.FitResult
    cost: PhaseCost
    active: Sequence[int]  # before pruning, per run
    reported_reduction: float
    attribution: Sequence[dict[str, float]]  # per run; empty where there is none


@dataclass
class Cohort:
    """The runs of the cohort called `name`; `phase(label, epochs)` is called when a phase of training begins.

    `rate` is how many FLOPs a second training is expected to do, all runs together.
    """

    plan: Plan
    name: str
    dataset: Dataset
    folder: Path
    device: torch.device
    phase: Callable[[str, int], Phase]
    rate: float

    def execute(self, from_stage: int | None = None) -> None:
        """Bring every run of the cohort to its record, from where each variant stands or from `from_stage`.

        Raises:
            RecordError: what an earlier call left cannot be gone on from; says how to mend it.
            TamperedError: a checkpoint to go on from was changed.
        """
        done = {variant: self._stage_of(variant, from_stage) for variant in self.plan.experiment.variants}
        # Everything is read, and so checked, before anything is changed.
        journals = {
            variant.name: [Journal.read(self._folder(run), self._plan_digest, stage) for run in self._runs(variant)]
            for variant, stage in done.items()
            if stage is not None and stage >= 0
        }
        for family in self.plan.experiment.families():
            behind = [variant for variant in family if done[variant] == -1]
            ahead = [variant for variant in family if done[variant] != -1]
            if behind and ahead:  # trained once, so that what is shared has one cost
                self._copy_dense(ahead[0], behind)
            elif behind:
                self._train_dense(behind)
        for variant, stage in done.items():
            if stage is not None:
                self._prune(variant, max(stage, 0), journals.get(variant.name))

    def _stage_of(self, variant: Variant, from_stage: int | None) -> int | None:
        """The stage that all runs of `variant` go on from: -1 for none yet; None where all are finished."""
        folders = [self._folder(run) for run in self._runs(variant)]
        if from_stage is None and all(is_finished(folder, self._plan_digest) for folder in folders):
            for folder in folders:
                (folder / PROGRESS).unlink(missing_ok=True)  # left by a kill just before it would have been removed
            return None
        stage = min(stages_done(folder) for folder in folders)
        return stage if from_stage is None else min(stage, from_stage)

    def _runs(self, variant: Variant) -> list[PlannedRun]:
        return self.plan.cohort(self.name, variant)

    def _folder(self, run: PlannedRun) -> Path:
        return run_folder(self.folder, run.run_id)

    @cached_property
    def _units(self) -> list[PlannedRun]:
        """Fold and seed of every place in the stack; the same for each variant."""
        return self._runs(self.plan.experiment.variants[0])

    def _task(self, variant: Variant) -> task.Task:
        """The data of the runs of `variant`; what shares its dense network shares it too."""
        family = next(family for family in self.plan.experiment.families() if variant in family)
        if family[0].name not in self._tasks:
            self._tasks[family[0].name] = task.of_plan(self.dataset, self._runs(variant), self.plan, self.device)
        return self._tasks[family[0].name]

    @cached_property
    def _tasks(self) -> dict[str, task.Task]:
        return {}

    @cached_property
    def _plan_digest(self) -> str:
        return plan_digest(self.plan)

    def _copy_dense(self, source: Variant, behind: Sequence[Variant]) -> None:
        journals = [Journal.read(self._folder(run), self._plan_digest, 0) for run in self._runs(source)]
        for variant in behind:
            runs = self._runs(variant)
            for journal, run in zip(journals, runs, strict=True):
                journal.copy_dense(run, runs, self._folder(run))

    # --- training ---------------------------------------------------------------------------------------------------

    def _train_dense(self, family: Sequence[Variant]) -> None:
        """The dense network that the variants of `family` share."""
        experiment, built = self.plan.experiment, self._task(family[0])
        network = Network.initialise(experiment.layers, [run.seed for run in self._units], self.device)
        state = _State(Stack.dense(network), Coefficients.initial(built))
        active = state.stack.masks.kept()
        fitted, spent = self._fit(family[0], 0, state, enforced=None)
        environment = determinism.environment(self.device)
        for variant in family:
            runs = self._runs(variant)
            journals = [
                Journal.start(
                    self._folder(run),
                    Record(
                        run_id=run.run_id,
                        plan_digest=self._plan_digest,
                        variant=variant.name,
                        fold=run.fold,
                        seed=run.seed,
                        cohort=self.name,
                        cohort_runs=tuple(other.run_id for other in runs),
                        environment=environment,
                        features=self.dataset.features,
                        scaler=scaler,
                        physics_terms=built.terms,
                        stages=(),
                        metrics=(),
                        cost=(),
                        latency=(),
                        warnings=tuple(built.warnings),
                        files={},
                    ),
                )
                for run, scaler in zip(runs, built.scalers, strict=True)
            ]
            self._write(journals, runs, state, _Phase(0, fitted, spent, active, 0.0, [{}] * len(runs)))

    def _prune(self, variant: Variant, done: int, journals: list[Journal] | None) -> None:
        """Every stage of `variant` after `done`, then its records; without `journals` they are read from disk."""
        experiment, pruner, runs = self.plan.experiment, pruning.PRUNERS[variant.pruner], self._runs(variant)
        if journals is None:
            journals = [Journal.read(self._folder(run), self._plan_digest, done) for run in runs]
        environment = determinism.environment(self.device)
        for journal in journals:
            journal.roll_back(environment)
        state, built = self._load(journals, done), self._task(variant)
        ledger = variants.ledger(variant.pruner, experiment.layers, [stage.ratio for stage in variant.stages])
        for stage in ledger[done:]:
            active = state.stack.masks.kept()
            before = replace(state.stack, network=state.stack.network.clone())  # the first version sets weights to 0
            gradients, seeds = partial(step.loss_gradients, task=built), [run.seed for run in self._units]
            state.stack = pruner.select(state.stack, stage, gradients, seeds)
            attributed = [{}] * len(runs)
            if built.terms:
                physics, laws = experiment.physics_of(variant), state.coefficients
                attributed = attribution.measure(before, state.stack, laws, built, physics, seeds, stage.stage)
            fitted, spent = self._fit(variant, stage.stage, state, enforced=pruner.enforced)
            reported = float(pruner.reported(ledger[: stage.stage], experiment.layers))
            self._write(journals, runs, state, _Phase(stage.stage, fitted, spent, active, reported, attributed))
        last = state.stack
        deployed = inference.deploy(last.network, last.masks) if pruner.enforced else [None] * len(journals)
        for index, (journal, content) in enumerate(zip(journals, deployed, strict=True)):
            files: dict[Literal["dense", "sparse"], str] = {
                "dense": checkpoint_name(0),
                "sparse": checkpoint_name(len(ledger)),
            }
            timed = files if index == 0 else {}  # one run speaks for its stack: the networks have one shape
            rows = [inference.latency(journal.folder / file, model) for model, file in timed.items()]
            journal.finish(rows, content)

    def _load(self, journals: Sequence[Journal], stage: int) -> _State:
        stored = [checkpoint.read(journal.folder / checkpoint_name(stage)) for journal in journals]
        network, masks = from_checkpoints(stored, self.device)
        coefficients = Coefficients.from_dicts([one.coefficients for one in stored], self.device)
        stack = Stack.dense(network) if masks is None else Stack(network, masks)
        return _State(replace(stack, neurons=neurons_of(stored, self.device)), coefficients)

    def _fit(
        self, variant: Variant, stage: int, state: _State, *, enforced: bool | None
    ) -> tuple[training.FitResult, PhaseCost]:
        """Train the stack in place; `enforced` says whether masks are held, None that there are none yet."""
        experiment, built = self.plan.experiment, self._task(variant)
        dense = "dense" if len(experiment.families()) == 1 else f"{variant.name} dense"
        label = dense if stage == 0 else f"{variant.name} stage {stage}"
        settings = fit_settings(experiment, variant, stage)
        shown = self.phase(f"{self.name} {label}, {len(self._units)} runs", settings.epochs)
        with cost.measure(self.device) as meter:
            fitted = training.fit(
                state.stack.network,
                state.coefficients,
                built,
                settings,
                seeds=[run.seed for run in self._units],
                stage=stage,
                masks=None if enforced is None else state.stack.masks,
                enforced=bool(enforced),
                on_epoch=lambda epoch, _, losses: shown.epoch(epoch, float(losses.mean())),
            )
        epochs = max(fitted.epochs_run, default=0)
        epoch_flops = cost.training_flops(state.stack.network.layers, *built.epoch_rows(settings.batch), 1)
        expected = estimate.phase_flops(self.plan, built, variant, stage)
        shown.end(meter.seconds, epochs)
        spent = PhaseCost(
            key=f"{self.name}/{label}",
            phase="dense" if stage == 0 else f"stage-{stage}",
            runs=len(self._units),
            seconds=meter.seconds,
            epochs=epochs,
            flops=epoch_flops * epochs,
            peak_memory_bytes=meter.peak_memory_bytes,
            energy_joules=meter.energy_joules,
            estimated_flops=expected,
            estimated_seconds=expected * len(self._units) / self.rate,
        )
        return fitted, spent

    # --- writing ----------------------------------------------------------------------------------------------------

    def _write(self, journals: Sequence[Journal], runs: Sequence[PlannedRun], state: _State, phase: _Phase) -> None:
        stack, layers = state.stack, self.plan.experiment.layers
        variant = self.plan.variant(runs[0].variant)
        built = self._task(variant)
        predicted = task.predict(stack.network, seen(self.dataset, self.plan.experiment, variant), built.scalers)
        learned, kept = state.coefficients.as_dicts(), stack.masks.kept()
        masks = None if phase.stage == 0 or stack.neurons is not None else stack.masks
        for index, (journal, run) in enumerate(zip(journals, runs, strict=True)):
            stored = to_checkpoint(stack.network, masks, index, learned[index], stack.neurons)
            content = checkpoint.encode(stored)
            entry = StageRecord(
                stage=phase.stage,
                active=phase.active[index],
                pruned=phase.active[index] - kept[index],
                kept_weights=kept[index],
                parameters=kept[index] + sum(bias.size for bias in stored.biases),
                nonzero_weights=sum(int(np.count_nonzero(weight)) for weight in stored.weights),
                reported_reduction=phase.reported_reduction,
                layers=pruning.layer_statistics(stack.network, stack.masks, index, layers),
                epochs_run=phase.fitted.epochs_run[index],
                selected_epoch=phase.fitted.selected_epoch[index],
                selected_by="validation" if built.selects else "last",
                selected_loss=phase.fitted.selected_loss[index],
                coefficients=learned[index],
                residuals=phase.fitted.residuals[index],
                attribution=phase.attribution[index] or None,
                checkpoint=checkpoint_name(phase.stage),
                checkpoint_bytes=len(content),
            )
            table = self._predictions(run, phase.stage, predicted[index])
            journal.add_stage(entry, content, phase.fitted.history[index], table, phase.cost)

    def _predictions(self, run: PlannedRun, stage: int, predicted: np.ndarray) -> pd.DataFrame:
        """Every cut × measured target after `stage`; `predicted` `[cuts, targets]` in mm and µm."""
        targets = self.plan.dataset.targets
        place = run.fold, run.seed
        if place not in self._cuts:  # the same after every stage of every variant
            split_of = {case: name for name in ("train", "validation", "test") for case in getattr(run, name)}
            cuts = self.dataset.frame[["case", "run", "time", *targets]]
            cuts = cuts.assign(split=cuts["case"].map(split_of))
            parts = [cuts.assign(target=target, measured=cuts[target]) for target in targets]
            self._cuts[place] = pd.concat(parts)
        values = np.concatenate([predicted[:, TARGETS.index(target)] for target in targets])
        return self._cuts[place].assign(stage=stage, prediction=values)[list(PREDICTION_COLUMNS)]

    @cached_property
    def _cuts(self) -> dict[tuple[int, int], pd.DataFrame]:
        return {}
