"""The steps of one epoch over a whole stack: what they are fed, their losses, and the order in which masks act.

Knows tasks, networks and masks; nothing of early stopping or history. Everything random is drawn on the host before an
epoch begins, so that on a CUDA device nothing waits for the host inside of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spinn.config import PhysicsConfig, PhysicsTerm
from spinn.flat import Flat, flat_masks
from spinn.masks import Enforcer, Masks
from spinn.model import Network
from spinn.passes import Passes
from spinn.physics import Coefficients, initial_loss, law_loss, motion_losses
from spinn.replay import Replayed
from spinn.task import Rows, Task, gather

COEFFICIENT_RATE = 5.0
"""Learning rate of the physics coefficients, as a multiple of the network's: they are few and of order one, and have
to travel that far within the epochs of the dense phase (Adam moves a parameter by about its rate in each step)."""

Points = tuple[Int[Tensor, "runs points"], Float[Tensor, "runs drawn"], Float[Tensor, "runs points"]]
"""Collocation points: the segment's number, of those that are drawn the place on it from 0 to 1 (before them come those
at the last rows of the step), and weight 0 where a run has no such point."""


@dataclass(frozen=True)
class FitSettings:
    """How one phase trains: Adam over at most `epochs`; `patience` None runs them all.

    `batch` rows a step, or all where the whole data set has no more; `clip_norm` bounds each run's gradient norm (None:
    no bound); `physics` are the weights of the terms. `recorded`: on a CUDA device the step is recorded once and
    replayed, which changes no result.
    """

    epochs: int
    learning_rate: float
    batch: int = 512
    patience: int | None = None
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    recorded: bool = True


class Steps:
    """A stack in training: its optimizer, and the masks that are held.

    Each step: backward to the outputs, of the data loss by its formula and of the terms by autograd, and by `Passes`
    from there; gradients of pruned weights to zero, gradient norm and clipping per run, Adam. Pruned weights are set to
    +0.0 before the first one, when Adam has no state yet. From there a gradient of zero keeps both moments at zero and
    the weight at 0 − rate · 0 / ε = +0.0 in every bit, weight decay included, so that clearing weights and moments
    again after each step would be three passes over memory that change nothing (`spinn.masks.Enforcer` has them for
    optimizers of which that is not true).
    """

    def __init__(
        self, network: Network, coefficients: Coefficients, task: Task, settings: FitSettings, masks: Masks | None
    ) -> None:
        self.network, self.coefficients, self.task, self.settings = network, coefficients, task, settings
        if masks is not None:
            masks.refuse_other_shapes(network)  # before they lie side by side, where nothing tells layers apart
        self._flat = flat = Flat(network)
        self.optimizer = _optimizer(flat, coefficients, settings)
        self.enforcer = None if masks is None else Enforcer(flat, flat_masks(masks), self.optimizer)
        if self.enforcer is not None:
            self.enforcer.weights()
        self._parameters = [*flat.parameters(), *coefficients.parameters()]
        self._weights = [getattr(settings.physics, term) for term in task.terms]
        train = task.train
        law, moves = (column[..., None] for column in (train.law, task.moves))
        self._table = torch.cat([train.x, train.y, law, train.measured, moves], 2)  # for one gather an epoch
        # Decided by the whole data set, so that a run takes as many steps whatever runs it is stacked with.
        self._batches = math.ceil(task.cuts / settings.batch)
        self._passes = Passes(network, flat.gradients)
        self._held_out = Passes(network, flat.gradients)  # whose rows are others, and so its memory
        self._held_out_shares = shares(task.validation.measured)
        self._step = Replayed(task.device, recorded=settings.recorded)

    def epoch(self, draws: Sequence[torch.Generator]) -> Float[Tensor, "losses runs"]:
        """One pass over the training rows; returns loss, data, terms and gradient norm, means over the steps."""
        inputs = self._inputs(draws)
        seen: list[Tensor] = []
        for number in range(self._batches):
            seen.append(self._step(self._take, *(tensor[number] for tensor in inputs)).clone())
        return seen[0] if len(seen) == 1 else torch.stack(seen).mean(0)

    @torch.no_grad()
    def validation(self) -> Float[Tensor, " runs"]:
        """The data loss on the validation cases, by the weights as they are."""
        rows = self.task.validation
        return data_loss_and_slope(self.task, self._held_out(rows.x), rows, self._held_out_shares)[0]

    def release(self) -> None:
        """Give the network its own memory back, and let go of all gradients; there is no step after it.

        Gradients lie in the memory of the recorded step: nothing of it outlives the phase.
        """
        self._flat.restore()
        for parameter in self._parameters:
            parameter.grad = None

    def _inputs(self, draws: Sequence[torch.Generator]) -> list[Tensor]:
        """What `_losses` takes, of all steps, `[steps, runs, …]` on the device.

        Rows of the table, 0 in its last three columns where a shorter run repeats one; the `shares` of their labels;
        and where a term needs derivatives along cutting time the numbers of these rows, and what is drawn of `Points`.
        """
        train, segments, steps = self.task.train, self.task.segments, range(self._batches)
        if self._batches == 1 and not self.task.moving:
            return [self._table[None], shares(train.measured)[None]]
        orders = [torch.randperm(count, generator=draw) for count, draw in zip(train.counts, draws, strict=True)]
        index, weight = self._placed(_stacked([order[number :: self._batches] for number in steps for order in orders]))
        rows = gather(self._table, index)
        rows[..., -3:] *= weight[..., None]
        inputs = [rows, shares(rows[..., -3:-1])]
        if self.task.moving:
            chosen, places = [], []
            for _ in steps:
                for count, draw in zip(segments.counts, draws, strict=True):
                    chosen.append(torch.randperm(count, generator=draw)[: self.task.drawn])
                    places.append(torch.rand(len(chosen[-1]), generator=draw))
            number, there = _stacked(chosen)
            inputs += [index, *self._placed([number, _padded(places), there])]
        return inputs

    def _placed(self, drawn: Sequence[Tensor]) -> list[Tensor]:
        """On the device: floats in the precision of the data, row numbers as they are."""
        device, dtype = self.task.device, self.task.dtype
        placed = [tensor.to(device, dtype if tensor.is_floating_point() else None) for tensor in drawn]
        return [tensor.unflatten(0, (self._batches, self.task.runs)) for tensor in placed]

    def _take(self, *inputs: Tensor) -> Float[Tensor, "losses runs"]:
        """One step: changes weights, coefficients and the optimizer's state in place."""
        losses = self._losses(*inputs)
        self._passes.backward()
        if self.enforcer is not None:
            self.enforcer.gradients()
        norm = self._clip()
        self.optimizer.step()
        return torch.vstack([losses, norm])

    def _losses(
        self, rows: Float[Tensor, "runs rows columns"], share: Float[Tensor, "runs rows 2"], *drawn: Tensor
    ) -> Float[Tensor, "losses runs"]:
        """Weighted sum, data loss, and each term of `task.terms`, unweighted.

        Leaves the gradients of the sum at the outputs and the coefficients.
        """
        x, y, law, measured, moves = rows.split([rows.shape[2] - 6, 2, 1, 2, 1], 2)
        taken, points = Rows(x, y, measured, law[..., 0], ()), None
        if drawn:
            index, number, place, there = drawn
            at = slice(index.shape[1] - self.task.at_cuts(index.shape[1]), None)
            number = torch.cat([self.task.ends.gather(1, index[:, at]), number], 1)
            points = number, place, torch.cat([moves[:, at, 0], there], 1)
        y, losses = with_physics(self._passes, self.coefficients, self.task, taken, points)
        data, slope = data_loss_and_slope(self.task, y.detach(), taken, share)
        terms = [losses[term] for term in self.task.terms]
        weighted = [weight * loss for weight, loss in zip(self._weights, terms, strict=True)]
        if weighted:
            for parameter in self.coefficients.parameters():
                parameter.grad = None  # where autograd adds; those of the network are written over
            sum(weighted, (y * slope).sum((1, 2))).sum().backward()  # slope · y has the gradient slope
        else:
            y.grad = slope
        return torch.stack([sum(weighted, data), data, *terms]).detach()

    @torch.no_grad()
    def _clip(self) -> Float[Tensor, " runs"]:
        """The gradient norm of each run, over all it learns; a larger one than allowed is scaled down to it."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norms = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients]
        norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        bound = self.settings.clip_norm
        # A factor of 1 changes no bit, so the pass over all gradients is saved where nothing has to wait for it.
        if bound is not None and (norm.device.type != "cpu" or any(one > bound for one in norm.tolist())):
            factor = torch.where(norm > bound, bound / norm, torch.ones_like(norm))
            for gradient in gradients:
                gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))
        return norm


def with_physics(
    network: Network | Passes,
    coefficients: Coefficients,
    task: Task,
    rows: Rows,
    points: Points | None,
) -> tuple[Float[Tensor, "runs rows 2"], dict[PhysicsTerm, Float[Tensor, " runs"]]]:
    """Outputs for `rows`, and each of `task.terms`, in one pass; without `points` no term may need them."""
    losses: dict[PhysicsTerm, Tensor] = {}
    still = torch.cat([task.starts, rows.x], 1) if "initial" in task.terms else rows.x
    if points is not None:
        y, motion = task.motion(network, still, *points)
        losses |= motion_losses(task.terms, motion, task.scales, coefficients.values())
    else:
        y = network(still)
    born = still.shape[1] - rows.x.shape[1]
    if "initial" in task.terms:
        at_start = task.physical(y[:, :born], torch.zeros_like(y[:, :born, 0]))  # a new tool has no wear by any law
        losses["initial"] = initial_loss(at_start, task.starts_measured, task.scales)
        y = y[:, born:]
    if "law" in task.terms:
        wear = task.physical(y, rows.law)[..., 0]
        losses["law"] = law_loss(wear, rows.law, rows.measured[..., 0], task.scales)
    return y, losses


def data_loss(task: Task, y: Float[Tensor, "runs rows 2"], rows: Rows) -> Float[Tensor, " runs"]:
    """Mean square error of the standardised targets: over the labels of each target, then over the labelled targets.

    `y` are the network's outputs for `rows`.
    """
    return data_loss_and_slope(task, y, rows, shares(rows.measured))[0]


def data_loss_and_slope(
    task: Task, y: Float[Tensor, "runs rows 2"], rows: Rows, share: Float[Tensor, "runs rows 2"]
) -> tuple[Float[Tensor, " runs"], Float[Tensor, "runs rows 2"]]:
    """`data_loss`, and its gradient at `y`: by formula, in a fraction of autograd's time for so few numbers."""
    error = task.standardised(y, rows.law) - rows.y
    slope = error * share
    return (error * slope).sum((1, 2)), task.standardised_rate(y, 2 * slope, rows.law)


def shares(measured: Float[Tensor, "*stack rows 2"]) -> Float[Tensor, "*stack rows 2"]:
    """Of each label in the data loss: the same for all labels of a target, together 1 where there are any."""
    labels = measured.sum(-2, keepdim=True)
    return measured / (labels.clamp(min=1) * (labels > 0).sum(-1, keepdim=True).clamp(min=1))


def loss_gradients(network: Network, task: Task) -> list[Float[Tensor, "runs ..."]]:
    """Gradient of each run's data loss over all its training rows, one for each of `network.parameters()`."""
    losses = data_loss(task, network(task.train.x), task.train)
    return list(torch.autograd.grad(losses.sum(), network.parameters()))


def _optimizer(flat: Flat, coefficients: Coefficients, settings: FitSettings) -> torch.optim.Adam:
    groups: list[dict] = [
        {"params": flat.weights, "weight_decay": settings.weight_decay},
        {"params": flat.biases, "weight_decay": 0.0},
    ]
    if coefficients.parameters():
        rate = COEFFICIENT_RATE * settings.learning_rate
        groups.append({"params": coefficients.parameters(), "weight_decay": 0.0, "lr": rate})
    # capturable: the count of steps stays on the device, so that a graph advances it
    return torch.optim.Adam(
        groups, lr=settings.learning_rate, fused=True, capturable=flat.biases[0].device.type == "cuda"
    )


def _stacked(chosen: Sequence[Tensor]) -> list[Tensor]:
    """Row numbers side by side, and weight 0 where a shorter run repeats its row 0, before its own."""
    return [_padded(chosen), _padded([torch.ones(len(rows)) for rows in chosen])]


def _padded(parts: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_side="left")
