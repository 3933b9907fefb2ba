"""spinn.flat: parameters of a stack side by side, and the network as it was."""

from __future__ import annotations

import torch

from spinn.flat import Flat, flat_masks
from spinn.masks import Masks
from spinn.model import Network


def _network() -> Network:
    network = Network.initialise((4, 5, 3, 2), [1, 2, 3])
    with torch.no_grad():
        for bias in network.biases:
            bias.uniform_(-1, 1)
    return network


def test_the_network_is_as_it_was():
    """Shapes, values and outputs; no gradient yet."""
    network, before = _network(), _network()
    for bias, own in zip(before.biases, network.biases, strict=True):
        bias.data = own.detach().clone()
    x = torch.randn(3, 7, 4)
    flat = Flat(network)
    for mine, own in zip(network.parameters(), before.parameters(), strict=True):
        assert torch.equal(mine, own)
        assert mine.grad is None
    assert torch.equal(network(x), before(x))
    assert [leaf.shape for leaf in flat.parameters()] == [(3, 1, 4 * 5 + 5 * 3 + 3 * 2), (3, 10)]


def test_a_step_of_the_two_leaves_is_one_of_every_parameter():
    """What is written to a gradient's place, and what the optimizer does, is seen on both sides, run by run."""
    network, plain = _network(), _network()
    for bias, own in zip(plain.biases, network.biases, strict=True):
        bias.data = own.detach().clone()
    flat = Flat(network)
    for place, parameter in zip(flat.gradients, plain.parameters(), strict=True):
        parameter.grad = torch.randn_like(parameter)
        place.copy_(parameter.grad)
    for parameters in (flat.parameters(), plain.parameters()):
        torch.optim.SGD(parameters, lr=0.5).step()
    for mine, own in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, own, rtol=1e-6, atol=1e-7)


def test_masks_lie_as_the_weights_do():
    """A mask of nonzero weights is, flat, that of the nonzero flat weights."""
    network = _network()
    with torch.no_grad():
        for weight in network.weights:
            weight[torch.rand_like(weight) < 0.5] = 0.0
    masks = Masks(tuple(weight.detach() != 0 for weight in network.weights))
    assert torch.equal(flat_masks(masks).layers[0], Flat(network).weights[0] != 0)
