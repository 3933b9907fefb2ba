"""A stack's forward and backward pass in memory that is kept from step to step: training's way, in place of autograd.

Knows layers and their derivatives; nothing of losses, masks or optimizers. What each layer gives, and each gradient,
has its place from the first step on; a pass allocates what is small, and the inputs one below the other. The plain
passes are those of `spinn.model.Network`, which these equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from spinn.model import Network


class Passes:
    """Call it as the network; when the loss has gone backward to the outputs, `backward` goes on to the parameters.

    Outputs are leaves: autograd begins at them. They, and the gradients that `backward` leaves at the parameters, are
    valid until the next call. `gradients` is the memory for these, one tensor a parameter; without it there is new one.
    """

    def __init__(self, network: Network, gradients: Sequence[Tensor] | None = None) -> None:
        self._network = network
        self._gradients = gradients or [torch.empty_like(parameter) for parameter in network.parameters()]
        self._values = 0
        self._given: list[Tensor] = []  # what each layer was given
        self._kept: list[Tensor] = []  # what each layer gave
        self._outputs = torch.empty(0)
        self._slopes: tuple[Tensor, ...] = ()

    def __call__(self, x: Float[Tensor, "runs batch inputs"]) -> Float[Tensor, "runs batch outputs"]:
        """`Network.__call__`."""
        return self._forward(x, x.shape[1])

    def with_tangent(
        self, x: Float[Tensor, "runs batch inputs"], dx: Float[Tensor, "runs moving inputs"]
    ) -> tuple[Float[Tensor, "runs batch outputs"], Float[Tensor, "runs moving outputs"]]:
        """`Network.with_tangent`."""
        count = x.shape[1]
        outputs = self._forward(torch.cat([x, dx], 1), count)
        return outputs[:, :count], outputs[:, count:]

    @torch.no_grad()
    def _forward(self, rows: Float[Tensor, "runs rows inputs"], values: int) -> Float[Tensor, "runs rows outputs"]:
        """Values in the first rows, in the rest the tangents of the last of them."""
        self._make_room(rows.shape[1])
        self._values, self._given = values, [rows, *self._kept[:-1]]
        still = 2 * values - rows.shape[1]
        last = len(self._kept) - 1
        layers = zip(self._network.weights, self._network.biases, self._kept, strict=True)
        for layer, (weight, bias, result) in enumerate(layers):
            torch.bmm(rows, weight.mT, out=result)
            value = result[:, :values]
            if layer < last:
                _activate(value, bias[:, None])
                if values < rows.shape[1]:
                    _times_slope(result[:, values:], value[:, still:])
            else:
                value += bias[:, None]
            rows = result
        self._outputs = rows.detach().requires_grad_()
        return self._outputs

    @torch.no_grad()
    def backward(self) -> None:
        """The gradients of all parameters, from those of the outputs.

        With v = tanh(z) and v̇ = (1 − v²)·ż, and v̄ and t̄ the gradients of v and v̇ (t̄ = 0 for what is still):
        z̄ = (1 − v²)·v̄ − 2·v·v̇·t̄ and ż̄ = (1 − v²)·t̄, both linear in what the next layer hands back.
        """
        given = self._outputs.grad
        assert given is not None
        weights, values = self._network.weights, self._values
        if not self._slopes:  # two gradients and a product in turns, which so stay in the cache
            widest = max(kept.numel() for kept in self._kept)
            self._slopes = tuple(given.new_empty(widest) for _ in range(3))
        still = 2 * values - given.shape[1]
        for layer in reversed(range(len(weights))):
            kept = self._kept[layer]
            value, slope = kept[:, :values], given[:, :values]
            if layer < len(weights) - 1:
                _times_slope(slope, value)
                if values < given.shape[1]:
                    moving, tangent = value[:, still:], given[:, values:]
                    product = _part(self._slopes[2], tangent)
                    torch.mul(moving, kept[:, values:], out=product)
                    slope[:, still:].addcmul_(product, tangent, value=-2)
                    _times_slope(tangent, moving)
            torch.bmm(given.mT, self._given[layer], out=self._gradients[layer])
            torch.sum(slope, 1, out=self._gradients[len(weights) + layer])
            if layer:
                before = _part(self._slopes[layer % 2], self._given[layer])
                given = torch.bmm(given, weights[layer], out=before)
        for parameter, gradient in zip(self._network.parameters(), self._gradients, strict=True):
            parameter.grad = gradient

    def _make_room(self, rows: int) -> None:
        """For what every layer gives; `backward` makes its own."""
        if self._kept and self._kept[0].shape[1] == rows:
            return
        weights = self._network.weights
        self._kept = [weight.new_empty((weight.shape[0], rows, weight.shape[1])) for weight in weights]
        self._slopes = ()


def _activate(tensor: Float[Tensor, "runs rows out"], bias: Float[Tensor, "runs 1 out"]) -> None:
    """tanh(z + b), in place; on a processor as 2·σ(2·z + 2·b) − 1, which torch has in half the time.

    The two differ by less than 4 units in the last place of 1, so that in float32 what is below 1e-7 may become 0.
    """
    if tensor.device.type == "cpu":
        torch.add(2 * bias, tensor, alpha=2, out=tensor).sigmoid_()
        torch.add(tensor.new_tensor(-1.0), tensor, alpha=2, out=tensor)
    else:
        tensor.add_(bias).tanh_()


def _times_slope(tensor: Float[Tensor, "*shape"], value: Float[Tensor, "*shape"]) -> None:
    """Multiply by 1 − value², in place: the derivative of tanh is a function of its value."""
    torch.ops.aten.tanh_backward.grad_input(tensor, value, grad_input=tensor)


def _part(room: Tensor, like: Tensor) -> Tensor:
    return room[: like.numel()].view(like.shape)
