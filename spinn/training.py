"""The one trainer: fit and fine-tune a stack of networks, with physics, masks and per-run early stopping.

Knows epochs and which weights a run keeps; nothing of files, pruning criteria or variants. One run is a stack of one.
What happens to a run depends on its own data, seed and stage, never on its neighbours (up to the rounding of batched
matrix products).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinn.config import PhysicsTerm
from spinn.determinism import generator
from spinn.errors import InputError, NonFiniteError
from spinn.masks import Masks
from spinn.model import Network
from spinn.physics import Coefficients
from spinn.record import history_columns
from spinn.step import FitSettings, Steps, with_physics
from spinn.task import Task

OnEpoch = Callable[[int, int, np.ndarray], object]


@dataclass(frozen=True)
class FitResult:
    """What happened, one entry a run.

    `history[run]` has a row an epoch, keyed by `spinn.record.history_columns(task.terms)`; `epochs_run` its length,
    `selected_epoch` (from 1) and `selected_loss` its lowest validation loss. Without any epoch they are 0 and the
    validation loss of the given weights; without validation cases the last epoch and None. `residuals[run]` are those
    of the weights that it ends with.
    """

    history: list[list[dict[str, int | float]]]
    epochs_run: list[int]
    selected_epoch: list[int]
    selected_loss: list[float | None]
    residuals: list[dict[PhysicsTerm, float]]


def fit(
    network: Network,
    coefficients: Coefficients,
    task: Task,
    settings: FitSettings,
    *,
    seeds: Sequence[int],
    stage: int,
    masks: Masks | None = None,
    enforced: bool = True,
    on_epoch: OnEpoch | None = None,
) -> FitResult:
    """Train in place; each run ends with the weights and coefficients of its lowest validation loss.

    Without validation cases it ends with those of the last epoch. A run whose validation loss has not fallen for
    `patience` epochs is finished; the others go on. The validation loss is the data loss on the validation cases, after
    the epoch's last step. `spinn.step.Steps` has the order of a step.

    Args:
        network: The stack.
        coefficients: The physics coefficients that `task.terms` need.
        task: The data, of as many runs.
        settings: Of this phase.
        seeds: Of the runs; with `stage` they alone decide every random draw.
        stage: 0 for the dense phase, 1, 2, … for fine-tuning.
        masks: The kept weights; None for a dense network.
        enforced: False leaves pruned weights to the optimizer, the fault of the first version.
        on_epoch: Called with epoch, epochs and the validation loss of each run, or without one the training loss.

    Raises:
        NonFiniteError: a loss or gradient of a run that is still training became inf or NaN.
        InputError: network, coefficients, task and seeds are not of one size; or patience without validation cases.
    """
    if settings.patience is not None and not task.selects:
        raise InputError(
            f"patience = {settings.patience}: there are no validation cases; leave it out to run all epochs"
        )
    _same_size(network, coefficients, task, seeds)
    steps = Steps(network, coefficients, task, settings, masks if enforced else None)
    draws = [generator(seed, stage) for seed in seeds]
    best = _Best(network, coefficients)
    book = _Book(task, stage, settings)
    try:
        for epoch in range(1, settings.epochs + 1):
            losses = steps.epoch(draws)
            if task.selects:
                losses = torch.vstack([losses, steps.validation()])
            improved = book.enter(epoch, losses)
            if task.selects:
                best.keep(improved)
            if on_epoch is not None:
                on_epoch(epoch, settings.epochs, book.last.copy())
            if not book.training.any():
                break
        if settings.epochs and task.selects:
            best.restore()
        elif task.selects:
            book.best = steps.validation().to("cpu", torch.float64).numpy()
    finally:
        steps.release()
    return book.result(residuals(network, coefficients, task))


@torch.no_grad()
def residuals(network: Network, coefficients: Coefficients, task: Task) -> list[dict[PhysicsTerm, float]]:
    """`terms_of` the networks as they stand, one mapping a run."""
    terms = terms_of(network, coefficients, task)
    return [{term: float(loss[run]) for term, loss in terms.items()} for run in range(task.runs)]


def terms_of(network: Network, coefficients: Coefficients, task: Task) -> dict[PhysicsTerm, Float[Tensor, " runs"]]:
    """Each of `task.terms` of each run, unweighted, differentiable.

    In place of random collocation points it takes the middle of every segment of the training cases, so that whoever
    has weights and data can compute it again; the start of each tool's life, and all labelled cuts.
    """
    counts = torch.tensor(task.segments.counts, device=task.device)[:, None]
    places = torch.arange(max(task.segments.counts), device=task.device).expand(task.runs, -1)
    weight = (places < counts).to(task.dtype)
    index = torch.where(places < counts, places, 0)
    middles = (index, torch.full_like(weight, 0.5), weight) if task.moving else None
    return with_physics(network, coefficients, task, task.train, middles)[1]


def _same_size(network: Network, coefficients: Coefficients, task: Task, seeds: Sequence[int]) -> None:
    sizes = {"network": network.runs, "coefficients": len(coefficients.raw), "task": task.runs, "seeds": len(seeds)}
    if len(set(sizes.values())) != 1:
        raise InputError(f"runs = {sizes}: network, coefficients, task and seeds need the same number of runs")
    if network.layers[0] != task.train.x.shape[2]:
        raise InputError(f"layers[0] = {network.layers[0]}: expected {task.train.x.shape[2]}, the data's features")


class _Best:
    """The weights and coefficients that each run ends with."""

    def __init__(self, network: Network, coefficients: Coefficients) -> None:
        self.live = [*network.parameters(), *coefficients.parameters()]
        self.kept = [parameter.detach().clone() for parameter in self.live]

    @torch.no_grad()
    def keep(self, improved: np.ndarray) -> None:
        """Copy what the runs that `improved` have now."""
        runs = torch.from_numpy(np.flatnonzero(improved)).to(self.live[0].device)
        for kept, live in zip(self.kept, self.live, strict=True):
            kept.index_copy_(0, runs, live.index_select(0, runs))

    @torch.no_grad()
    def restore(self) -> None:
        """Put the kept ones back in place."""
        for kept, live in zip(self.kept, self.live, strict=True):
            live.copy_(kept)


class _Book:
    """History, best epochs and which runs are still training; on the host."""

    def __init__(self, task: Task, stage: int, settings: FitSettings) -> None:
        runs, self.selects = task.runs, task.selects
        self.columns, self.stage, self.settings = history_columns(task.terms), stage, settings
        self.names = ("loss", "data", *task.terms, "gradient_norm", *(["validation_loss"] if self.selects else []))
        self.history: list[list[dict[str, int | float]]] = [[] for _ in range(runs)]
        self.training = np.ones(runs, bool)
        self.last = np.full(runs, np.nan)
        self.best = np.full(runs, np.inf)
        self.selected = np.zeros(runs, int)

    def enter(self, epoch: int, losses: Float[Tensor, "losses runs"]) -> np.ndarray:
        """Write down an epoch of the runs still training; returns which of them are better than ever.

        Without a validation loss each epoch takes the place of the one before.
        """
        table = losses.to("cpu", torch.float64).numpy()
        self._refuse_non_finite(epoch, table)
        for run in np.flatnonzero(self.training):
            row: dict[str, int | float] = {
                "stage": self.stage,
                "epoch": epoch,
                "learning_rate": self.settings.learning_rate,
            }
            row |= {name: float(value) for name, value in zip(self.names, table[:, run], strict=True)}
            self.history[run].append({column: row.get(column, math.nan) for column in self.columns})
        shown = table[-1] if self.selects else table[0]
        self.last = np.where(self.training, shown, self.last)
        improved = self.training & (shown < self.best) if self.selects else self.training
        self.best = np.where(improved, shown, self.best)
        self.selected = np.where(improved, epoch, self.selected)
        if self.settings.patience is not None:
            self.training &= epoch - self.selected < self.settings.patience
        return improved

    def _refuse_non_finite(self, epoch: int, table: np.ndarray) -> None:
        bad = ~np.isfinite(table) & self.training
        if bad.any():
            name, run = (int(i) for i in np.argwhere(bad)[0])
            raise NonFiniteError(
                f"{self.names[name]} of run {run} in stage {self.stage}, epoch {epoch} = {table[name, run]}: "
                "expected a finite number; lower learning_rate or the physics weights, or look for outliers in the data"
            )

    def result(self, residuals: list[dict[PhysicsTerm, float]]) -> FitResult:
        return FitResult(
            history=self.history,
            epochs_run=[len(rows) for rows in self.history],
            selected_epoch=self.selected.tolist(),
            selected_loss=[float(loss) if self.selects else None for loss in self.best],
            residuals=residuals,
        )
