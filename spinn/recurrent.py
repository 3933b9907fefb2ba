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
CLIP_NORM = 1.0


@dataclass(frozen=True)
class Sequences:
    """The tools of a data set as sequences of cuts, padded at their ends, standardised as each run has it.

    `known` is 1 where a label of a training case is measured; `y` is 0 elsewhere, so that no label of a held-out case
    is here.
    """

    x: Float[Tensor, "runs cases cuts features"]
    y: Float[Tensor, "runs cases cuts"]
    known: Float[Tensor, "runs cases cuts"]


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
            "out": (HIDDEN, 1),
            "out_bias": (1,),
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

    def __call__(self, x: Float[Tensor, "runs cases cuts features"]) -> Float[Tensor, "runs cases cuts"]:
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
        out = torch.baddbmm(self._named["out_bias"][:, None], flat, self._named["out"])
        return out.squeeze(2).unflatten(1, (cases, cuts))


def fit(
    network: Recurrent, data: Sequences, *, epochs: int, learning_rate: float, on_epoch: Callable[[str], object]
) -> None:
    """Train in place with Adam on whole sequences, for all epochs; a run never depends on its neighbours.

    Raises:
        NonFiniteError: the loss of a run became inf or NaN.
    """
    parameters = network.parameters()
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    for epoch in range(epochs):
        losses = loss(network(data.x), data)
        if not torch.isfinite(losses).all():
            raise NonFiniteError(
                f"the loss of a recurrent network in epoch {epoch} is not finite: expected a finite number; look for "
                "outliers in the data"
            )
        optimizer.zero_grad()
        losses.sum().backward()
        _clip([parameter.grad for parameter in parameters if parameter.grad is not None])
        optimizer.step()
        on_epoch(f"epoch {epoch + 1} of {epochs}")


def loss(outputs: Float[Tensor, "runs cases cuts"], data: Sequences) -> Float[Tensor, " runs"]:
    """Mean square error over each run's labels."""
    error = ((outputs - data.y).square() * data.known).sum((1, 2))
    return error / data.known.sum((1, 2)).clamp(min=1)


def _clip(gradients: Sequence[Tensor]) -> None:
    """Scale each run's gradient, over all its parameters, down to a norm of `CLIP_NORM`."""
    norm = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    factor = (CLIP_NORM / norm.clamp(min=1e-12)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))
