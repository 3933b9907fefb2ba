"""A small recurrent network over the life of a tool, stacked over runs: the cuts so far say how worn it is.

The sequence is that of the cuts, each with all features of the network, in the order of time; not the signal within a
cut, of which the features are statistics. Knows tensors and labels; nothing of data sets, plans or records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from spinn.errors import NonFiniteError

HIDDEN = 32
MOST_EPOCHS = 300


@dataclass(frozen=True)
class Sequences:
    """The tools of a data set as sequences of cuts, padded at their ends, standardised as each run's scaler has it.

    `train` and `validation` are 1 where a label of that side is measured; `y` is 0 wherever neither is 1, so that no
    label of a test case is here.
    """

    x: Float[Tensor, "runs cases cuts features"]
    y: Float[Tensor, "runs cases cuts 2"]
    train: Float[Tensor, "runs cases cuts 2"]
    validation: Float[Tensor, "runs cases cuts 2"]


class Recurrent:
    """Gated recurrent units with a linear output after each cut; one network a run.

    Cho et al. 2014 (Learning phrase representations using RNN encoder-decoder), in the form of `torch.nn.GRU`, whose
    initialisation it has too: uniform within ±1/√32, from the run's own seed.
    """

    def __init__(self, features: int, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        shapes = {
            "into": (features, 3 * HIDDEN),  # gates: reset, update, new
            "into_bias": (3 * HIDDEN,),
            "onward": (HIDDEN, 3 * HIDDEN),
            "onward_bias": (3 * HIDDEN,),
            "out": (HIDDEN, 2),
            "out_bias": (2,),
        }
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        bound = 1 / math.sqrt(HIDDEN)
        self._named = {
            name: torch.stack([torch.empty(shape).uniform_(-bound, bound, generator=one) for one in generators])
            .to(device)
            .requires_grad_()
            for name, shape in shapes.items()
        }

    def parameters(self) -> list[Tensor]:
        """Every leaf tensor, `[runs, …]`."""
        return list(self._named.values())

    @property
    def size(self) -> int:
        """Parameters of one run."""
        return sum(tensor[0].numel() for tensor in self.parameters())

    def __call__(self, x: Float[Tensor, "runs cases cuts features"]) -> Float[Tensor, "runs cases cuts 2"]:
        """Outputs after each cut, from that cut and those before it."""
        runs, cases, cuts, _ = x.shape
        into = torch.baddbmm(self._named["into_bias"][:, None], x.flatten(1, 2), self._named["into"])
        state, states = x.new_zeros(runs, cases, HIDDEN), []
        for step in into.unflatten(1, (cases, cuts)).unbind(2):
            onward = torch.baddbmm(self._named["onward_bias"][:, None], state, self._named["onward"])
            gates = torch.sigmoid(step[..., : 2 * HIDDEN] + onward[..., : 2 * HIDDEN])
            reset, update = gates.split(HIDDEN, 2)
            new = torch.tanh(step[..., 2 * HIDDEN :] + reset * onward[..., 2 * HIDDEN :])
            state = (1 - update) * new + update * state
            states.append(state)
        flat = torch.stack(states, 2).flatten(1, 2)
        return torch.baddbmm(self._named["out_bias"][:, None], flat, self._named["out"]).unflatten(1, (cases, cuts))


def fit(
    network: Recurrent,
    data: Sequences,
    *,
    epochs: int,
    learning_rate: float,
    patience: int | None,
    clip_norm: float | None,
    on_epoch: Callable[[str], object],
) -> None:
    """Train in place with Adam on whole sequences; each run ends with the weights of its lowest validation loss.

    A run whose validation loss has not fallen for `patience` epochs (None: all are run) keeps what it has; runs without
    validation labels are trained for all epochs. A run never depends on its neighbours.

    Raises:
        NonFiniteError: the loss of a run that is still training became inf or NaN.
    """
    parameters = network.parameters()
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    kept = [parameter.detach().clone() for parameter in parameters]
    stops = (data.validation.flatten(1).sum(1) > 0).cpu()
    best = torch.full_like(stops, math.inf, dtype=torch.float32)
    selected, training = torch.zeros_like(stops, dtype=torch.long), torch.ones_like(stops)
    for epoch in range(epochs + 1):  # the outputs of an epoch's weights serve their validation and the next step alike
        outputs = network(data.x)
        losses = _loss(outputs, data, data.train)
        scored = torch.where(stops, _loss(outputs.detach(), data, data.validation).cpu(), -float(epoch))
        if not torch.isfinite(torch.where(training, scored + losses.detach().cpu(), 0.0)).all():
            raise NonFiniteError(
                f"the loss of a recurrent network in epoch {epoch} is not finite: expected a finite number; lower "
                "learning_rate, or look for outliers in the data"
            )
        improved = training & (scored < best)
        best, selected = torch.where(improved, scored, best), torch.where(improved, epoch, selected)
        _copy(parameters, kept, improved)
        if patience is not None:
            training &= epoch - selected < patience
        if epoch == epochs or not training.any():
            break
        optimizer.zero_grad()
        losses.sum().backward()
        _clip(parameters, clip_norm)
        optimizer.step()
        on_epoch(f"epoch {epoch + 1} of {epochs}")
    _copy(kept, parameters, torch.ones_like(training))


def _loss(
    outputs: Float[Tensor, "runs cases cuts 2"], data: Sequences, labelled: Float[Tensor, "runs cases cuts 2"]
) -> Float[Tensor, " runs"]:
    """Mean square error over the labels of each target, then over the labelled targets, as `spinn.step.data_loss`."""
    count = labelled.sum((1, 2))
    error = ((outputs - data.y).square() * labelled).sum((1, 2)) / count.clamp(min=1)
    return error.sum(1) / (count > 0).sum(1).clamp(min=1)


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor], runs: Tensor) -> None:
    chosen = torch.nonzero(runs).flatten().to(source[0].device)
    for one, other in zip(source, target, strict=True):
        other.index_copy_(0, chosen, one.index_select(0, chosen))


def _clip(parameters: Sequence[Tensor], bound: float | None) -> None:
    """Scale each run's gradient, over all its parameters, down to a norm of `bound`."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if bound is not None:
        norm = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        factor = (bound / norm.clamp(min=1e-12)).clamp(max=1)
        for gradient in gradients:
            gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))
