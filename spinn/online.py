"""Networks that meet their held-out tools cut by cut: predict first, then learn from the label if one comes.

Knows stacks of networks with their masks, and tools; nothing of files. Each tool has a network of its own, and a cut's
prediction depends on the labels of its tool's earlier cuts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from spinn import task
from spinn.config import PhysicsConfig
from spinn.cost import forward_flops, training_flops
from spinn.data.dataset import Dataset
from spinn.errors import NonFiniteError
from spinn.masks import Masks
from spinn.model import Network
from spinn.physics import Coefficients
from spinn.record import Plan, PlannedRun
from spinn.step import FitSettings, Steps
from spinn.task import Rows, Task


@dataclass(frozen=True)
class Tool:
    """A held-out tool, and the run that never saw it.

    `rows` `[cuts]` are its places in the data, in order of time, and `seen` `[cuts]` counts the earlier cuts whose
    flank wear was measured; `labels` counts all of those.
    """

    run: PlannedRun
    case: str
    rows: np.ndarray
    seen: np.ndarray
    labels: int


def tools_of(runs: Sequence[PlannedRun], dataset: Dataset) -> list[Tool]:
    """The test cases of `runs`, run by run."""
    case, measured = dataset.frame["case"].to_numpy(), dataset.frame["VB"].notna().to_numpy()
    found = []
    for run in runs:
        for name in run.test:
            rows = np.flatnonzero(case == name)
            known = measured[rows]
            found.append(Tool(run, name, rows, np.cumsum(known) - known, int(known.sum())))
    return found


def live(
    network: Network,
    masks: Masks,
    tools: Sequence[Tool],
    dataset: Dataset,
    plan: Plan,
    settings: FitSettings | None,
) -> list[np.ndarray]:
    """Flank wear (mm) predicted for every cut of each tool, `[cuts]`.

    After each label a tool's network takes `settings.epochs` steps of a new Adam on the labels of that tool so far,
    all of them together, with the run's own data loss; None takes none. Few small steps are what holds it near the
    network that it began as. Its masks are held throughout (`spinn.step.Steps`).

    Args:
        network: A network for each tool; changed in place.
        masks: Its kept weights.
        tools: As many as networks.
        dataset: Their cuts.
        plan: What the networks were trained by.
        settings: Of the steps.

    Raises:
        NonFiniteError: a network diverged.
    """
    built = _task(tools, dataset, plan, network.device)
    predicted = [np.full(len(tool.rows), np.nan) for tool in tools]
    for labels in range(max(tool.labels for tool in tools) + 1):
        there = [number for number, tool in enumerate(tools) if tool.labels >= labels]
        if labels and settings is not None:
            _learn(network, masks, built, there, labels, settings)
        for number in there:
            tool = tools[number]
            due = tool.seen == labels
            if due.any():
                predicted[number][due] = wear(network, number, tool.rows[due], dataset, built)
    for tool, values in zip(tools, predicted, strict=True):
        if not np.isfinite(values).all():
            raise NonFiniteError(
                f"prediction of case {tool.case}, run {tool.run.run_id} = {values[~np.isfinite(values)][0]}: expected "
                "a finite number; lower adaptation.learning_rate"
            )
    return predicted


def wear(network: Network, number: int, rows: np.ndarray, dataset: Dataset, built: Task) -> np.ndarray:
    """Flank wear (mm) that one network of the stack predicts for some cuts."""
    one = Network(
        [weight[number : number + 1] for weight in network.weights],
        [bias[number : number + 1] for bias in network.biases],
    )
    cuts = replace(dataset, frame=dataset.frame.iloc[rows])
    return task.predict(one, cuts, built.scalers[number : number + 1])[0, :, 0]


def revived(network: Network, masks: Masks) -> int:
    """Pruned weights that are not 0, over the whole stack."""
    pairs = zip(network.weights, masks.layers, strict=True)
    return sum(int(torch.count_nonzero(weight.detach()[~keep])) for weight, keep in pairs)


def life_flops(layers: Sequence[int], tool: Tool, steps: int) -> int:
    """FLOPs of a tool's life: a forward pass for each cut, and `steps` on the labels so far after each label.

    By the convention of `spinn.cost`: a masked network executes the products of the dense one.
    """
    weights = sum(a * b for a, b in pairwise(layers))
    learnt = sum(training_flops(layers, labels, 0, steps) for labels in range(1, tool.labels + 1))
    return forward_flops(weights, len(tool.rows)) + learnt


def _task(tools: Sequence[Tool], dataset: Dataset, plan: Plan, device: torch.device) -> Task:
    """The labelled cuts of each tool, as `validation`, in the units of its run; those with measured wear come first.

    A cut without it is no label: nothing is learnt from it.
    """
    runs = [tool.run.model_copy(update={"validation": (tool.case,)}) for tool in tools]
    correction = plan.experiment.correction_of(plan.variant(runs[0].variant))
    built = task.build(dataset, runs, PhysicsConfig(), device, correction=correction)
    rows = built.validation
    order = torch.argsort(rows.measured[..., 0], dim=1, descending=True, stable=True)
    table = torch.cat([rows.x, rows.y, rows.measured, rows.law[..., None]], 2)
    x, y, measured, law = task.gather(table, order).split([rows.x.shape[2], 2, 2, 1], 2)
    return replace(built, validation=Rows(x, y, measured, law[..., 0], rows.counts))


def _learn(network: Network, masks: Masks, built: Task, there: list[int], labels: int, settings: FitSettings) -> None:
    """Steps of the networks of the tools that have so many labels, on these; the others stay as they are."""
    chosen = torch.tensor(there, device=network.device)
    rows = built.validation
    x, y, measured, law = (values[chosen, :labels] for values in (rows.x, rows.y, rows.measured, rows.law))
    taken = Rows(x, y, measured, law, (labels,) * len(there))
    scales = built.scales
    small = replace(
        built,
        train=taken,
        ends=torch.zeros_like(taken.law, dtype=torch.long),
        moves=torch.zeros_like(taken.law),
        starts=built.starts[chosen],
        starts_measured=built.starts_measured[chosen],
        target_mean=built.target_mean[chosen],
        scales=replace(scales, target=scales.target[chosen], rate=scales.rate[chosen]),
        scalers=tuple(built.scalers[number] for number in there),
        cuts=labels,
    )
    learner = Network([weight[chosen] for weight in network.weights], [bias[chosen] for bias in network.biases])
    held = Masks(tuple(mask[chosen] for mask in masks.layers))
    steps = Steps(learner, Coefficients.from_dicts([{}] * len(there)), small, settings, held)
    for _ in range(settings.epochs):
        steps.epoch(())
    with torch.no_grad():
        for mine, learnt in zip(network.parameters(), learner.parameters(), strict=True):
            mine[chosen] = learnt
