"""Which neurons go: scores of hidden neurons, exact counts for each layer, and the smaller network that is left.

Knows weights and, where a score asks for them, gradients; nothing of training. All runs of a stack come to the same
widths, so that they stay a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spinn.errors import InputError, NonFiniteError
from spinn.masks import Masks
from spinn.model import Network, compact

_DIVERGED = "training diverged, lower its learning rate or roll back a stage"

Gradients = Sequence[Tensor]
"""Of the loss, one for each of `Network.parameters()`: the weight matrices `[runs, out, in]`, then the biases."""

Score = Callable[[Network, int, Gradients], Float[Tensor, "runs neurons"]]


def incoming(network: Network, layer: int, gradients: Gradients = ()) -> Float[Tensor, "runs neurons"]:
    """Sum of the magnitudes of the weights into each neuron of hidden layer `layer` (0 is the first).

    Li et al. 2017 (Pruning filters for efficient ConvNets, section 3.1), for a neuron in place of a filter.
    """
    return network.weights[layer].detach().abs().sum(2)


def both_sides(network: Network, layer: int, gradients: Gradients = ()) -> Float[Tensor, "runs neurons"]:
    """Sum of the magnitudes of the weights into and out of each neuron."""
    return incoming(network, layer) + network.weights[layer + 1].detach().abs().sum(1)


def first_order(network: Network, layer: int, gradients: Gradients) -> Float[Tensor, "runs neurons"]:
    """How much the loss would change, to first order, if a neuron's activation a were its constant, tanh of its bias.

    |Σ ∂L/∂a · (tanh(b) − a)| over the rows: |Σ w · (tanh(b) · ∂L/∂b' − ∂L/∂w)| over the weights w out of it and the
    biases b' that they lead to. Molchanov et al. 2019 (Importance estimation for neural network pruning, eq. 6),
    without the square, for the removal that `keep_neurons` does: there a neuron is set to 0.
    """
    weight, stays = network.weights[layer + 1].detach(), network.biases[layer].detach().tanh()
    of_weight, of_bias = gradients[layer + 1], gradients[len(network.weights) + layer + 1]
    return (weight * (stays[:, None] * of_bias[..., None] - of_weight)).sum(1).abs()


SCORES: dict[str, Score] = {"incoming": incoming, "both-sides": both_sides, "first-order": first_order}


def keep_neurons(
    network: Network, widths: Sequence[int], score: Score = incoming, gradients: Gradients = ()
) -> tuple[Network, list[Int[Tensor, "runs kept"]]]:
    """Keep the `widths` highest-scoring neurons of each hidden layer; the others' activations become constants.

    A removed neuron loses the weights into it; what then is left of it, tanh of its bias, is folded into the next bias
    (`spinn.model.compact`), so that the outputs equal those of the network with these weights at zero. All layers are
    scored before any neuron goes. Of equal scores the neuron with the lower number stays.

    Args:
        network: The stack; it is not changed.
        widths: Of the hidden layers, at least 1 and at most what they are.
        score: See `SCORES`.
        gradients: What `first_order` needs.

    Returns:
        The smaller stack, and for each hidden layer the kept neurons' numbers in `network`, ascending.

    Raises:
        InputError: a width that the network cannot come to.
        NonFiniteError: a weight, a bias or a score is inf or NaN.
    """
    hidden = network.layers[1:-1]
    if len(widths) != len(hidden) or not all(1 <= new <= old for new, old in zip(widths, hidden, strict=True)):
        raise InputError(f"widths = {tuple(widths)}: one for each of the hidden layers {hidden}, at least 1, not more")
    _refuse_non_finite(network)
    masks, kept = Masks.ones_like(network), []
    for layer, width in enumerate(widths):
        scores = score(network, layer, gradients)
        if not bool(torch.isfinite(scores).all()):
            raise NonFiniteError(
                f"layers.{layer}.weight = inf or NaN among its neurons' scores: expected finite ones; {_DIVERGED}"
            )
        order = scores.sort(dim=1, descending=True, stable=True).indices
        kept.append(order[:, :width].sort(1).values)
        masks.layers[layer].fill_(False).scatter_(1, kept[-1][..., None].expand(-1, -1, network.layers[layer]), True)
    small = [one for one, _ in compact(network, masks)]
    pairs = zip(*((one.weights, one.biases) for one in small), strict=True)
    weights, biases = ([torch.cat(parts) for parts in zip(*side, strict=True)] for side in pairs)
    return Network(weights, biases), kept


def _refuse_non_finite(network: Network) -> None:
    for kind, layers in (("weight", network.weights), ("bias", network.biases)):
        for layer, values in enumerate(layers):
            if not bool(torch.isfinite(values).all()):
                raise NonFiniteError(f"layers.{layer}.{kind} = inf or NaN: expected finite ones; {_DIVERGED}")
