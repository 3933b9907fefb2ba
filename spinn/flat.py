"""A stack's parameters side by side: all weights in one tensor, all biases in another, and so their gradients.

Knows memory alone. What goes over every parameter in each step (masks, norm, clipping, Adam) then goes over two tensors
in place of two a layer: for a small network most of that time is in starting the work, not in doing it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spinn.masks import Masks
from spinn.model import Network


class Flat:
    """Moves the parameters of `network` together, until `restore`: its own tensors are views of where they are now.

    Attributes:
        weights: one leaf tensor `[runs, 1, weights]`.
        biases: one leaf tensor `[runs, biases]`.
        gradients: for each parameter of the network a view, in its shape, of the gradients of these two.
    """

    def __init__(self, network: Network) -> None:
        self.weights, self.biases = [_together(network.weights)[:, None]], [_together(network.biases)]
        self.gradients: list[Tensor] = []
        self._before = [(parameter, parameter.data) for parameter in network.parameters()]
        for (leaf,), own in ((self.weights, network.weights), (self.biases, network.biases)):
            leaf.requires_grad_().grad = gradients = torch.empty_like(leaf)
            for parameter, place, gradient in zip(own, _apart(leaf, own), _apart(gradients, own), strict=True):
                parameter.data = place
                self.gradients.append(gradient)

    def restore(self) -> None:
        """Move the parameters back to where they were before, with the values that they have now; no gradients stay."""
        for parameter, before in self._before:
            before.copy_(parameter.detach())
            parameter.data, parameter.grad = before, None

    def parameters(self) -> list[Tensor]:
        """The two leaf tensors."""
        return [*self.weights, *self.biases]


def flat_masks(masks: Masks) -> Masks:
    """The masks in the form of `Flat.weights`."""
    return Masks((_together(masks.layers)[:, None],))


def _together(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten(1) for tensor in tensors], 1)


def _apart(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = flat.detach().flatten(1).split([tensor[0].numel() for tensor in like], 1)
    return [part.unflatten(1, tensor.shape[1:]) for part, tensor in zip(parts, like, strict=True)]
