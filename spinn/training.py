"""The one trainer: fit and fine-tune a stack of networks, with physics, masks and per-run early stopping.

Knows the order of a step and which weights a run keeps; nothing of files, pruning criteria or variants. One run is a
stack of one. What happens to a run depends on its own data, seed and stage, never on its neighbours (up to the rounding
of batched matrix products).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from spinn.determinism import generator
from spinn.errors import InputError, NonFiniteError
from spinn.masks import Enforcer, Masks
from spinn.model import Network
from spinn.physics import Coefficients, initial_loss, motion_losses
from spinn.record import PhysicsConfig, PhysicsTerm, history_columns
from spinn.task import COLLOCATION_POINTS, Rows, Task, gather

COEFFICIENT_RATE = 5.0
"""Learning rate of the physics coefficients, as a multiple of the network's: they are few and of order one, and have
to travel that far within the epochs of the dense phase (Adam moves a parameter by about its rate in each step)."""

OnEpoch = Callable[[int, int, np.ndarray], object]


@dataclass(frozen=True)
class FitSettings:
    """How one phase trains: Adam over at most `epochs`; `patience` None runs them all.

    `batch` rows a step, or all where the whole data set has no more; `clip_norm` bounds each run's gradient norm (None:
    no bound); `physics` are the weights of the terms.
    """

    epochs: int
    learning_rate: float
    batch: int = 512
    patience: int | None = None
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)


@dataclass(frozen=True)
class FitResult:
    """What happened, one entry a run.

    `history[run]` has a row an epoch, keyed by `spinn.record.history_columns(task.terms)`; `epochs_run` its length,
    `selected_epoch` (from 1) and `selected_loss` its lowest validation loss. Without any epoch they are 0 and the
    validation loss of the given weights. `residuals[run]` are those of the weights that it ends with.
    """

    history: list[list[dict[str, int | float]]]
    epochs_run: list[int]
    selected_epoch: list[int]
    selected_loss: list[float]
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

    Each step: backward, gradients of pruned weights to zero, gradient norm and clipping per run, Adam, pruned weights
    and their optimizer state to zero. A run whose validation loss has not fallen for `patience` epochs is finished; the
    others go on. The validation loss is the data loss on the validation cases, after the epoch's last step.

    Args:
        network: The stack.
        coefficients: The physics coefficients that `task.terms` need.
        task: The data, of as many runs.
        settings: Of this phase.
        seeds: Of the runs; with `stage` they alone decide every random draw.
        stage: 0 for the dense phase, 1, 2, … for fine-tuning.
        masks: The kept weights; None for a dense network.
        enforced: False leaves pruned weights to the optimizer, the fault of the first version.
        on_epoch: Called with epoch, epochs and the validation loss of each run.

    Raises:
        NonFiniteError: a loss or gradient of a run that is still training became inf or NaN.
        InputError: network, coefficients, task and seeds are not of one size.
    """
    _same_size(network, coefficients, task, seeds)
    optimizer = _optimizer(network, coefficients, settings)
    enforcer = Enforcer(network, masks, optimizer) if masks is not None and enforced else None
    if enforcer is not None:
        enforcer.weights()
    step = _Step(network, coefficients, task, settings, optimizer, enforcer)
    draws = [generator(seed, stage) for seed in seeds]
    best = _Best(network, coefficients)
    book = _Book(task.runs, stage, settings, task.terms)
    for epoch in range(1, settings.epochs + 1):
        losses = step.epoch(draws)
        with torch.no_grad():
            validation = _data_loss(network(task.validation.x), task.validation)
        improved = book.enter(epoch, torch.vstack([losses, validation]))
        best.keep(improved)
        if on_epoch is not None:
            on_epoch(epoch, settings.epochs, book.last.copy())
        if not book.training.any():
            break
    if settings.epochs == 0:
        with torch.no_grad():
            book.best = _data_loss(network(task.validation.x), task.validation).to("cpu", torch.float64).numpy()
    else:
        best.restore()
    return book.result(residuals(network, coefficients, task))


@torch.no_grad()
def residuals(network: Network, coefficients: Coefficients, task: Task) -> list[dict[PhysicsTerm, float]]:
    """Each of `task.terms` for the networks as they stand, unweighted, one mapping a run.

    In place of random collocation points it takes the middle of every segment of the training cases, and the start of
    each tool's life, so that whoever has weights and data can compute it again.
    """
    counts = torch.tensor(task.segments.counts, device=task.device)[:, None]
    places = torch.arange(max(task.segments.counts), device=task.device).expand(task.runs, -1)
    weight = (places < counts).to(task.dtype)
    index = torch.where(places < counts, places, 0)
    middles = (index, torch.full_like(weight, 0.5), weight)
    terms = _with_physics(network, coefficients, task, task.starts[:, :0], lambda: middles)[1]
    return [{term: float(loss[run]) for term, loss in terms.items()} for run in range(task.runs)]


Points = tuple[Int[Tensor, "runs points"], Float[Tensor, "runs points"], Float[Tensor, "runs points"]]
"""Collocation points: the segment's number, the place on it from 0 to 1, and weight 0 where a run has no such point."""


def _with_physics(
    network: Network,
    coefficients: Coefficients,
    task: Task,
    x: Float[Tensor, "runs rows features"],
    points: Callable[[], Points],
) -> tuple[Float[Tensor, "runs rows 2"], dict[PhysicsTerm, Float[Tensor, " runs"]]]:
    """Outputs for the rows `x`, and each of `task.terms`, in one pass; `points` is asked if a term needs them."""
    losses: dict[PhysicsTerm, Tensor] = {}
    still = torch.cat([x, task.starts], 1) if "initial" in task.terms else x
    if set(task.terms) - {"initial"}:
        y, motion = task.motion(network, still, *points())
        losses |= motion_losses(task.terms, motion, task.scales, coefficients.values())
    else:
        y = network(still)
    if "initial" in task.terms:
        losses["initial"] = initial_loss(task.physical(y[:, x.shape[1] :]), task.starts_measured, task.scales)
    return y[:, : x.shape[1]], losses


def _same_size(network: Network, coefficients: Coefficients, task: Task, seeds: Sequence[int]) -> None:
    sizes = {"network": network.runs, "coefficients": len(coefficients.raw), "task": task.runs, "seeds": len(seeds)}
    if len(set(sizes.values())) != 1:
        raise InputError(f"runs = {sizes}: network, coefficients, task and seeds need the same number of runs")
    if network.layers[0] != task.train.x.shape[2]:
        raise InputError(f"layers[0] = {network.layers[0]}: expected {task.train.x.shape[2]}, the data's features")


def _optimizer(network: Network, coefficients: Coefficients, settings: FitSettings) -> torch.optim.Adam:
    groups: list[dict] = [
        {"params": network.weights, "weight_decay": settings.weight_decay},
        {"params": network.biases, "weight_decay": 0.0},
    ]
    if coefficients.parameters():
        rate = COEFFICIENT_RATE * settings.learning_rate
        groups.append({"params": coefficients.parameters(), "weight_decay": 0.0, "lr": rate})
    return torch.optim.Adam(groups, lr=settings.learning_rate, fused=True)


class _Step:
    """Steps of one epoch over the whole stack, and the losses it had on the way."""

    def __init__(
        self,
        network: Network,
        coefficients: Coefficients,
        task: Task,
        settings: FitSettings,
        optimizer: torch.optim.Adam,
        enforcer: Enforcer | None,
    ) -> None:
        self.network, self.coefficients, self.task, self.settings = network, coefficients, task, settings
        self.optimizer, self.enforcer = optimizer, enforcer
        self.parameters = [*network.parameters(), *coefficients.parameters()]
        self.weights = [getattr(settings.physics, term) for term in task.terms]
        # Decided by the whole data set, so that a run takes as many steps whatever runs it is stacked with.
        self.batches = math.ceil(task.cuts / settings.batch)

    def epoch(self, draws: Sequence[torch.Generator]) -> Float[Tensor, "losses runs"]:
        """One pass over the training rows; returns loss, data, terms and gradient norm, means over the steps."""
        seen = []
        for rows in self._batches(draws):
            losses = self._losses(rows, draws)
            self.optimizer.zero_grad(set_to_none=True)
            losses[0].sum().backward()
            if self.enforcer is not None:
                self.enforcer.gradients()
            norm = self._clip()
            self.optimizer.step()
            if self.enforcer is not None:
                self.enforcer.weights()
                self.enforcer.state()
            seen.append(torch.vstack([losses.detach(), norm]))
        return seen[0] if len(seen) == 1 else torch.stack(seen).mean(0)

    def _batches(self, draws: Sequence[torch.Generator]) -> list[Rows]:
        train = self.task.train
        if self.batches == 1:
            return [train]
        orders = [torch.randperm(count, generator=draw) for count, draw in zip(train.counts, draws, strict=True)]
        batches = []
        for number in range(self.batches):
            chosen = [order[number :: self.batches] for order in orders]
            index, weight = self._stacked(chosen)
            measured = gather(train.measured, index) * weight[..., None]
            counts = tuple(len(rows) for rows in chosen)
            batches.append(Rows(gather(train.x, index), gather(train.y, index), measured, counts))
        return batches

    def _losses(self, rows: Rows, draws: Sequence[torch.Generator]) -> Float[Tensor, "losses runs"]:
        """Weighted sum, data loss, and each term of `task.terms`, unweighted."""
        terms = self.task.terms
        y, losses = _with_physics(self.network, self.coefficients, self.task, rows.x, lambda: self._points(draws))
        data = _data_loss(y, rows)
        weighted = [weight * losses[term] for weight, term in zip(self.weights, terms, strict=True)]
        return torch.stack([torch.stack([data, *weighted]).sum(0), data, *(losses[term] for term in terms)])

    def _points(self, draws: Sequence[torch.Generator]) -> Points:
        """Fresh collocation points, at most one on a segment."""
        chosen, places = [], []
        for count, draw in zip(self.task.segments.counts, draws, strict=True):
            chosen.append(torch.randperm(count, generator=draw)[:COLLOCATION_POINTS])
            places.append(torch.rand(len(chosen[-1]), generator=draw))
        index, weight = self._stacked(chosen)
        return index, _stack(places).to(weight.device, weight.dtype), weight

    def _stacked(self, chosen: Sequence[Tensor]) -> tuple[Int[Tensor, "runs rows"], Float[Tensor, "runs rows"]]:
        """Row numbers of each run side by side, and weight 0 where a shorter run repeats its row 0."""
        train = self.task.train.x
        weight = _stack([torch.ones(len(rows)) for rows in chosen])
        return _stack(chosen).to(train.device), weight.to(train.device, train.dtype)

    @torch.no_grad()
    def _clip(self) -> Float[Tensor, " runs"]:
        """The gradient norm of each run, over all it learns; a larger one than allowed is scaled down to it."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]).square().sum(0).sqrt()
        bound = self.settings.clip_norm
        # A factor of 1 changes no bit, so the pass over all gradients is saved where nothing has to wait for it.
        if bound is not None and (norm.is_cuda or bool((norm > bound).any())):
            factor = torch.where(norm > bound, bound / norm, torch.ones_like(norm))
            for gradient in gradients:
                gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))
        return norm


def _data_loss(y: Float[Tensor, "runs rows 2"], rows: Rows) -> Float[Tensor, " runs"]:
    """Mean square error of the standardised targets: over the labels of each target, then over the labelled targets."""
    labels = rows.measured.sum(1)
    error = ((y - rows.y).square() * rows.measured).sum(1) / labels.clamp(min=1)
    return error.sum(1) / (labels > 0).sum(1).clamp(min=1)


def _stack(parts: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)


class _Best:
    """The weights and coefficients that each run ends with."""

    def __init__(self, network: Network, coefficients: Coefficients) -> None:
        self.live = [*network.parameters(), *coefficients.parameters()]
        self.kept = [parameter.detach().clone() for parameter in self.live]

    @torch.no_grad()
    def keep(self, improved: np.ndarray) -> None:
        """Copy what the runs that `improved` have now."""
        for run in np.flatnonzero(improved):
            for kept, live in zip(self.kept, self.live, strict=True):
                kept[run].copy_(live[run])

    @torch.no_grad()
    def restore(self) -> None:
        """Put the kept ones back in place."""
        for kept, live in zip(self.kept, self.live, strict=True):
            live.copy_(kept)


class _Book:
    """History, best epochs and which runs are still training; on the host."""

    def __init__(self, runs: int, stage: int, settings: FitSettings, terms: Sequence[str]) -> None:
        self.columns, self.stage, self.settings = history_columns(terms), stage, settings
        self.names = ("loss", "data", *terms, "gradient_norm", "validation_loss")
        self.history: list[list[dict[str, int | float]]] = [[] for _ in range(runs)]
        self.training = np.ones(runs, bool)
        self.last = np.full(runs, np.nan)
        self.best = np.full(runs, np.inf)
        self.selected = np.zeros(runs, int)

    def enter(self, epoch: int, losses: Float[Tensor, "losses runs"]) -> np.ndarray:
        """Write down an epoch of the runs still training; returns which of them are better than ever."""
        table = losses.to("cpu", torch.float64).numpy()
        self._refuse_non_finite(epoch, table)
        for run in np.flatnonzero(self.training):
            row: dict[str, int | float] = {
                "stage": self.stage,
                "epoch": epoch,
                "learning_rate": self.settings.learning_rate,
            }
            row |= {name: float(value) for name, value in zip(self.names, table[:, run], strict=True)}
            self.history[run].append({column: row[column] for column in self.columns})
        self.last = np.where(self.training, table[-1], self.last)
        improved = self.training & (table[-1] < self.best)
        self.best = np.where(improved, table[-1], self.best)
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
            selected_loss=[float(loss) for loss in self.best],
            residuals=residuals,
        )
