"""Full retraining of a network for one tool: from new weights, through all stages, with the tool's first labels added.

What online adaptation saves is measured against it. Knows stacks and phases; nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch

from spinn import cost, pruning, step, task, training, variants
from spinn.cohort import fit_settings
from spinn.config import Variant
from spinn.data.dataset import Dataset
from spinn.model import Network
from spinn.online import Tool, wear
from spinn.physics import Coefficients
from spinn.pruning import Stack
from spinn.record import Plan, PlannedRun

LABELS = 3
"""A tool's network is trained again once, when this many of its cuts have a label."""


@dataclass(frozen=True)
class Retrained:
    """Flank wear (mm) predicted for each tool's cuts after its first `LABELS` labels, `[cuts]`, NaN before them.

    `flops` are those of training one network of the stack, `epochs` what each phase ran.
    """

    predicted: list[np.ndarray]
    flops: int
    epochs: tuple[int, ...]


def retrain(tools: Sequence[Tool], dataset: Dataset, plan: Plan, variant: Variant, device: torch.device) -> Retrained:
    """Train the networks of `tools` again, in one stack, on their runs' training cases and their own first labels.

    A tool's cuts up to its label number `LABELS` are one more training case, for the scaler, the wear law, the labels
    and the places at which physics must hold alike.
    """
    extended, runs = _extended(tools, dataset)
    physics, correction = plan.experiment.physics_of(variant), plan.experiment.correction_of(variant)
    built = task.build(extended, runs, physics, device, planned=plan.runs, correction=correction)
    built = replace(built, cuts=len(dataset.frame))  # so that an epoch has as many steps as it had
    seeds, experiment = [tool.run.seed for tool in tools], plan.experiment
    stack, coefficients = Stack.dense(Network.initialise(experiment.layers, seeds, device)), Coefficients.initial(built)
    pruner, flops, epochs = pruning.PRUNERS[variant.pruner], 0, []
    ledger = variants.ledger(variant.pruner, experiment.layers, [stage.ratio for stage in variant.stages])
    for number in range(len(ledger) + 1):
        if number:
            gradients = partial(step.loss_gradients, task=built)
            stack = pruner.select(stack, ledger[number - 1], gradients, seeds)
        settings = fit_settings(experiment, variant, number)
        masks = stack.masks if number else None
        fitted = training.fit(stack.network, coefficients, built, settings, seeds=seeds, stage=number, masks=masks)
        epochs.append(max(fitted.epochs_run, default=0))
        flops += cost.training_flops(stack.network.layers, *built.epoch_rows(settings.batch), epochs[-1])
    predicted = []
    for number, tool in enumerate(tools):
        due = tool.seen >= LABELS
        values = np.full(len(tool.rows), np.nan)
        if due.any():
            values[due] = wear(stack.network, number, tool.rows[due], dataset, built)
        predicted.append(values)
    return Retrained(predicted, flops, tuple(epochs))


def _extended(tools: Sequence[Tool], dataset: Dataset) -> tuple[Dataset, list[PlannedRun]]:
    """The data with, for each tool, its cuts up to its label number `LABELS` as a case of their own, to train on."""
    frames, runs = [dataset.frame], []
    for tool in tools:
        rows = tool.rows[
            : int(np.searchsorted(np.cumsum(dataset.frame["VB"].notna().to_numpy()[tool.rows]), LABELS)) + 1
        ]
        name = f"first {LABELS} labels of {tool.case}"
        frames.append(dataset.frame.iloc[rows].assign(case=name))
        runs.append(tool.run.model_copy(update={"train": (*tool.run.train, name), "test": ()}))
    return replace(dataset, frame=pd.concat(frames, ignore_index=True)), runs
