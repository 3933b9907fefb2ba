"""What full retraining costs, counted again from plan and data; nothing is trained.

FLOPs by the convention of the records: six times the weights for each row that passes forward and backward, derivatives
along time alike; and two for each cut that is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from spinn.data.dataset import TARGETS
from spinn.record import AdaptationResult
from verify.folder import Folder

if TYPE_CHECKING:
    from verify.adaptation import Tool

LABELS = 3  # after how many labels of a tool its network is trained again
POINTS = 16  # collocation points at labelled cuts of a step, and drawn anywhere: at most so many of each


def weights(folder: Folder) -> int:
    """Entries of the weight matrices of the dense network, all of which a masked one multiplies."""
    return sum(a * b for a, b in pairwise(folder.plan.experiment.layers))


def faults(folder: Folder, method: AdaptationResult, tools: Sequence[Tool]) -> Iterator[str]:
    """Epochs as planned, and FLOPs that follow from them."""
    plan, counted = folder.plan, []
    first = plan.experiment.variants[0]
    dense = plan.experiment.dense_of(first)
    planned = (dense.epochs, *(stage.epochs for stage in first.stages))
    patient, again = dense.patience is not None, [tool for tool in tools if tool.labels >= LABELS]
    if method.labels != LABELS:
        yield f"labels = {method.labels}: a tool's network is trained again after label {LABELS}"
    epochs, due = method.epochs, planned if again else ()
    within = len(epochs) == len(due) and all(0 < a <= b if b else a == b for a, b in zip(epochs, due, strict=True))
    if epochs != due and not (patient and within and epochs[1:] == due[1:]):
        yield f"epochs = {list(epochs)}: {list(due)} are planned"
        return
    size = plan.experiment.stack or len(again)
    for start in range(0, len(again), size):
        stack = again[start : start + size]
        counted += [6 * weights(folder) * sum(epochs) * _rows(folder, stack)] * len(stack)
    trained = {tool.key: flops for tool, flops in zip(again, counted, strict=True)}
    # Where training may stop early, each of several stacks does so by itself, and the longest is recorded.
    several = patient and len(again) > size
    for tool, stated in zip(tools, method.tools, strict=False):
        own = 2 * weights(folder) * len(tool.rows) + trained.get(tool.key, 0)
        if stated.flops is None or not (stated.flops <= own if several else stated.flops == own):
            yield f"case {tool.case}: flops = {stated.flops}, recomputed {own}"


def _rows(folder: Folder, stack: Sequence[Tool]) -> int:
    """Rows and derivatives that pass through a network of the stack in one epoch: those of the run with the most."""
    data, experiment = folder.dataset, folder.plan.experiment
    terms = stack[0].run.checked.physics_terms
    missing: np.ndarray = np.isnan(np.stack([data.columns[target] for target in TARGETS]))
    labelled: np.ndarray = np.logical_not(np.all(missing, axis=0))
    labels, segments, cases = [], [], []
    for tool in stack:
        train = tool.run.planned.train
        seen = np.append(tool.seen, tool.labels)  # before each cut, and in the end
        until = tool.rows[: int(np.argmax(seen == LABELS))]
        parts = [*(np.flatnonzero(data.of([case])) for case in train), until]
        labels.append(sum(int(labelled[rows].sum()) for rows in parts))
        segments.append(sum(int((np.diff(data.columns["time"][rows], prepend=0.0) > 0).sum()) for rows in parts))
        cases.append(len(parts))
    steps = math.ceil(len(data.cases) / experiment.dense_of(experiment.variants[0]).batch)
    a_step = math.ceil(max(labels) / steps)
    moving = bool(set(terms) - {"initial", "law"})
    drawn, at_cuts = (min(max(segments), POINTS), min(a_step, POINTS)) if moving else (0, 0)
    born = max(cases) if "initial" in terms else 0
    return steps * (a_step + born + drawn + at_cuts + drawn)
