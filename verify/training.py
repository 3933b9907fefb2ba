"""Was each stage trained as the plan says: its learning rate, its epochs, and when it stopped?

Reads plan, record and history.csv; trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from verify.folder import Fault, Folder, Run

RELATIVE = 1e-12  # the rate is copied from the plan; only its spelling in a table may move its last digit


def as_planned(folder: Folder, run: Run) -> Iterator[Fault]:
    """Each stage has the planned rate and epochs 1, 2, 3, …; the dense one may stop early, by its patience alone."""
    variant = folder.plan.variant(run.planned.variant)
    dense = folder.plan.experiment.dense_of(variant)
    stages = enumerate(variant.stages, start=1)
    planned = {0: (dense.epochs, dense.learning_rate)}
    planned |= {number: (stage.epochs, stage.learning_rate) for number, stage in stages}
    history = run.history()
    strange = sorted(set(history["stage"].tolist()) - set(planned))
    if strange:
        yield Fault(f"history.csv: stages {strange} are not planned")
    for stage in run.checked.stages:
        if stage.stage not in planned:
            continue  # `ledger-achieved` says so
        rows = history["stage"] == stage.stage
        patience = dense.patience if stage.stage == 0 else None
        for message in _faults(history, rows, stage.epochs_run, *planned[stage.stage], patience):
            yield Fault(f"stage {stage.stage}: {message}", {"stage": stage.stage})


def _faults(
    history: dict[str, np.ndarray], rows: np.ndarray, run: int, planned: int, rate: float, patience: int | None
) -> Iterator[str]:
    """What is wrong with the `rows` of one stage, of which `run` epochs are recorded and `planned` were asked for."""
    epochs = history["epoch"][rows]
    if len(epochs) != run:
        yield f"{run} epochs are recorded, history.csv has {len(epochs)}"
    if epochs.tolist() != list(range(1, len(epochs) + 1)):
        yield "its epochs in history.csv are not 1, 2, 3, … in this order"
        return
    wrong = int((~(np.abs(history["learning_rate"][rows] - rate) <= RELATIVE * rate)).sum())
    if wrong:
        yield f"the learning rate of {wrong} of {len(epochs)} epochs is not {rate:g}, the planned one"
    wanted = epochs_due(history["validation_loss"][rows].tolist(), planned, patience)
    if len(epochs) != wanted:
        stopping = "" if patience is None else f", or {patience} epochs without a better validation loss"
        yield f"it ran {len(epochs)} epochs, {planned} are planned{stopping}: {wanted} were due"


def epochs_due(losses: Sequence[float], planned: int, patience: int | None) -> int:
    """The epoch after which training ends: `patience` epochs after the best one so far, and `planned` at the latest."""
    best, selected = np.inf, 0
    for epoch, loss in enumerate(losses[:planned], start=1):
        if loss < best:
            best, selected = loss, epoch
        if patience is not None and epoch - selected >= patience:
            return epoch
    return planned
