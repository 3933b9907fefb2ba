"""The network, stacked over runs: forward pass, exact tangent, checkpoints, compaction of removed neurons.

Knows tanh layers and masks; nothing of data, units, losses or optimizers. A stack of one run is the case runs = 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spinn.checkpoint import Checkpoint
from spinn.errors import InputError
from spinn.masks import Masks


class Network:
    """Independent multilayer perceptrons of one shape, stacked: tanh in the hidden layers, the last layer linear.

    Attributes:
        weights: one leaf tensor `[runs, out, in]` for each layer, with gradients.
        biases: one leaf tensor `[runs, out]` for each layer, with gradients.
    """

    def __init__(self, weights: Sequence[Float[Tensor, "runs _ _"]], biases: Sequence[Float[Tensor, "runs _"]]) -> None:
        self.weights: list[Tensor] = [weight.detach().requires_grad_() for weight in weights]
        self.biases: list[Tensor] = [bias.detach().requires_grad_() for bias in biases]

    @classmethod
    def initialise(
        cls,
        layers: Sequence[int],
        seeds: Sequence[int],
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Network:
        """Draw a network for each seed; a run depends on its own seed alone, on every device.

        Weights are uniform within ±√(6 / (in + out)), biases zero: the normalised initialisation for tanh networks
        of Glorot & Bengio 2010 (Understanding the difficulty of training deep feedforward neural networks, eq. 16).

        Args:
            layers: widths from input to output.
            seeds: one for each run.
            device: where the parameters live; they are drawn on the CPU.
            dtype: float32, or float64 where a test compares with closed forms.
        """
        shapes = list(zip(layers[1:], layers[:-1], strict=True))
        weights = [torch.empty((len(seeds), *shape), dtype=dtype) for shape in shapes]
        for run, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            for weight in weights:
                torch.nn.init.xavier_uniform_(weight[run], generator=generator)
        biases = [torch.zeros((len(seeds), out), dtype=dtype) for out, _ in shapes]
        return cls([weight.to(device) for weight in weights], [bias.to(device) for bias in biases])

    @property
    def layers(self) -> tuple[int, ...]:
        """Widths from input to output."""
        return (self.weights[0].shape[2], *(weight.shape[1] for weight in self.weights))

    @property
    def runs(self) -> int:
        """How many networks are stacked."""
        return self.weights[0].shape[0]

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.weights[0].device

    def parameters(self) -> list[Tensor]:
        """Every leaf tensor: the weights, then the biases."""
        return [*self.weights, *self.biases]

    def __call__(self, x: Float[Tensor, "runs batch inputs"]) -> Float[Tensor, "runs batch outputs"]:
        """Outputs of each run for its own rows."""
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = torch.baddbmm(bias[:, None], x, weight.mT).tanh_()
        return torch.baddbmm(self.biases[-1][:, None], x, self.weights[-1].mT)

    def with_tangent(
        self, x: Float[Tensor, "runs batch inputs"], dx: Float[Tensor, "runs moving inputs"]
    ) -> tuple[Float[Tensor, "runs batch outputs"], Float[Tensor, "runs moving outputs"]]:
        """Outputs, and the exact derivative of the last `moving` of them in the direction `dx`, carried forward.

        With the last rows of `x` moving at `dx` per minute the second result is their outputs' rate per minute.
        Gradients of both flow to the parameters.
        """
        still = x.shape[1] - dx.shape[1]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = torch.baddbmm(bias[:, None], x, weight.mT).tanh()
            dx = (1 - x[:, still:].square()) * torch.bmm(dx, weight.mT)
        last = self.weights[-1].mT
        return torch.baddbmm(self.biases[-1][:, None], x, last), torch.bmm(dx, last)

    def clone(self) -> Network:
        """A copy that shares nothing with this one."""
        return Network([weight.detach().clone() for weight in self.weights], [b.detach().clone() for b in self.biases])


def to_checkpoint(
    network: Network,
    masks: Masks | None,
    run: int,
    coefficients: dict[str, float],
    neurons: Sequence[Int[Tensor, "runs _"]] | None = None,
) -> Checkpoint:
    """One run of the stack as arrays of its own; weights outside the masks are kept as they are, zero or not.

    `neurons` are those of each hidden layer, numbered as in the dense network, where some were removed.
    """
    return Checkpoint(
        weights=tuple(_array(weight[run]) for weight in network.weights),
        biases=tuple(_array(bias[run]) for bias in network.biases),
        masks=None if masks is None else tuple(_array(mask[run]) for mask in masks.layers),
        coefficients=dict(coefficients),
        neurons=None if neurons is None else tuple(_array(numbers[run].int()) for numbers in neurons),
    )


def from_checkpoints(
    checkpoints: Sequence[Checkpoint], device: str | torch.device = "cpu"
) -> tuple[Network, Masks | None]:
    """Stack checkpoints, in their order, back into a network, and masks where they have them.

    Raises:
        InputError: there is none, their widths differ, or some are dense and some sparse.
    """
    shapes = sorted({checkpoint.layers for checkpoint in checkpoints})
    if len(shapes) != 1:
        raise InputError(f"checkpoints, layers = {shapes}: expected one shape; stack networks of the same widths")
    sparse = [checkpoint.masks for checkpoint in checkpoints if checkpoint.masks is not None]
    if len(sparse) not in (0, len(checkpoints)):
        raise InputError(
            f"checkpoints = {len(sparse)} sparse among {len(checkpoints)}: expected all dense or all sparse; "
            "read the same stage of every run"
        )
    network = Network(
        [_stack(arrays, device) for arrays in zip(*(c.weights for c in checkpoints), strict=True)],
        [_stack(arrays, device) for arrays in zip(*(c.biases for c in checkpoints), strict=True)],
    )
    if not sparse:
        return network, None
    return network, Masks(tuple(_stack(arrays, device) for arrays in zip(*sparse, strict=True)))


def neurons_of(
    checkpoints: Sequence[Checkpoint], device: str | torch.device = "cpu"
) -> tuple[Int[Tensor, "runs _"], ...] | None:
    """For each hidden layer the numbers that its neurons had in the dense network; None where none were removed."""
    kept = [checkpoint.neurons for checkpoint in checkpoints if checkpoint.neurons is not None]
    return tuple(_stack(arrays, device).long() for arrays in zip(*kept, strict=True)) if kept else None


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _stack(arrays: Sequence[np.ndarray], device: str | torch.device) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).to(device)


def compact(network: Network, masks: Masks) -> list[tuple[Network, Masks]]:
    """For each run the smaller network (a stack of one), and its masks, whose outputs equal the masked network's.

    A hidden neuron goes when all weights into it are pruned, since its activation tanh(bias) is a constant, which is
    folded into the next layer's bias; or when all weights out of it are pruned, since nothing reads it. Removing one
    may leave another without inputs or outputs, which then goes too. Inputs and outputs stay. A hidden layer that
    loses every neuron has width 0, and the network is then a constant.
    """
    return [_compact_run(network, masks, run) for run in range(network.runs)]


def _compact_run(network: Network, masks: Masks, run: int) -> tuple[Network, Masks]:
    keeps = [mask[run] for mask in masks.layers]
    dtype = network.weights[0].dtype
    # Folded in float64, so that a float32 network loses no more than the final rounding.
    weights = [w[run].detach().double().masked_fill(~keep, 0.0) for w, keep in zip(network.weights, keeps, strict=True)]
    biases = [bias[run].detach().double() for bias in network.biases]
    hidden = range(len(weights) - 1)
    for index in hidden:  # forwards: a constant that is folded may leave constants behind it
        alive = keeps[index].any(dim=1)
        biases[index + 1] = _folded(biases[index], alive, weights[index + 1], biases[index + 1])
        _remove(index, alive, weights, biases, keeps)
    for index in reversed(hidden):  # backwards: a neuron that nobody reads may have been another's only reader
        _remove(index, keeps[index + 1].any(dim=0), weights, biases, keeps)
    small = Network([w.to(dtype).unsqueeze(0) for w in weights], [bias.to(dtype).unsqueeze(0) for bias in biases])
    return small, Masks(tuple(keep.unsqueeze(0) for keep in keeps))


def _folded(
    bias: Float[Tensor, " neurons"],
    alive: Bool[Tensor, " neurons"],
    weight: Float[Tensor, "next neurons"],
    following: Float[Tensor, " next"],
) -> Float[Tensor, " next"]:
    """The `following` bias with what the neurons that are not `alive` always add to it."""
    return following + weight @ torch.tanh(bias).masked_fill(alive, 0.0)


def _remove(
    index: int, alive: Bool[Tensor, " neurons"], weights: list[Tensor], biases: list[Tensor], keeps: list[Tensor]
) -> None:
    """Drop, in place, the neurons between layer `index` and the next one that are not `alive`."""
    for matrices in (weights, keeps):
        matrices[index] = matrices[index][alive]
        matrices[index + 1] = matrices[index + 1][:, alive]
    biases[index] = biases[index][alive]
