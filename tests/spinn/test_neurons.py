"""Neurons go in exact numbers, by their score, and the network that is left says what the masked one says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinn.errors import InputError, NonFiniteError
from spinn.model import Network
from spinn.neurons import SCORES, both_sides, first_order, incoming, keep_neurons

LAYERS = (3, 6, 5, 4, 2)


def stack(runs: int = 2, layers: Sequence[int] = LAYERS) -> Network:
    """Networks in float64 whose biases are not zero."""
    network = Network.initialise(layers, list(range(runs)), dtype=torch.float64)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for bias in network.biases:
            bias.copy_(torch.randn(bias.shape, generator=generator, dtype=torch.float64))
    return network


def silenced(network: Network, kept: Sequence[torch.Tensor]) -> Network:
    """The network with every weight into a removed neuron at zero."""
    copy = network.clone()
    with torch.no_grad():
        for weight, numbers in zip(copy.weights, kept, strict=False):
            for run in range(copy.runs):
                gone = torch.ones(weight.shape[1], dtype=torch.bool)
                gone[numbers[run]] = False
                weight[run, gone] = 0.0
    return copy


def gradients_of(network: Network, x: torch.Tensor) -> list[torch.Tensor]:
    """Of the mean square of all outputs."""
    return list(torch.autograd.grad(network(x).square().mean((1, 2)).sum(), network.parameters()))


@given(
    widths=st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4)),
    name=st.sampled_from(sorted(SCORES)),
    seed=st.integers(0, 2**32),
)
def test_the_smaller_network_equals_the_silenced_one(widths: tuple[int, ...], name: str, seed: int):
    """To 1e-12 in float64, whatever the widths, the score and the inputs; the widths are exact for every run."""
    inputs = torch.Generator().manual_seed(seed)
    network, x = stack(), torch.randn(2, 7, 3, dtype=torch.float64, generator=inputs)
    small, kept = keep_neurons(network, widths, SCORES[name], gradients_of(network, x))
    assert small.layers == (3, *widths, 2)
    assert [tuple(numbers.shape) for numbers in kept] == [(2, width) for width in widths]
    torch.testing.assert_close(small(x), silenced(network, kept)(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(SCORES))
def test_the_neurons_with_the_highest_scores_stay(name: str):
    """No neuron that went has a higher score than one that stayed, run by run."""
    network, x = stack(3), torch.randn(3, 7, 3, dtype=torch.float64)
    gradients = gradients_of(network, x)
    _, kept = keep_neurons(network, (3, 2, 2), SCORES[name], gradients)
    for layer, numbers in enumerate(kept):
        scores = SCORES[name](network, layer, gradients)
        for run in range(3):
            gone = [neuron for neuron in range(scores.shape[1]) if neuron not in numbers[run].tolist()]
            assert scores[run, gone].max() <= scores[run, numbers[run]].min()
            assert numbers[run].tolist() == sorted(numbers[run].tolist())


def test_scores_of_a_closed_form():
    """Two hidden neurons: what goes in, what goes in and out, and what the loss would lose to first order."""
    weights = [torch.tensor([[[1.0, -2.0], [0.5, 0.5]]]), torch.tensor([[[3.0, -4.0]]])]
    network = Network(weights, [torch.tensor([[0.0, 1.0]]), torch.zeros(1, 1)])
    assert incoming(network, 0).tolist() == [[3.0, 1.0]]
    assert both_sides(network, 0).tolist() == [[6.0, 5.0]]
    gradients = [torch.zeros(1, 2, 2), torch.tensor([[[0.5, 0.25]]]), torch.zeros(1, 2), torch.tensor([[2.0]])]
    stays = 4 * (2.0 * math.tanh(1.0) - 0.25)  # of the second neuron, whose bias is 1
    assert first_order(network, 0, gradients)[0].tolist() == pytest.approx([1.5, stays])


def test_first_order_predicts_the_change_of_the_loss():
    """ε of the way from a neuron to its constant changes the loss by ε times its score, to order ε²."""
    network, x, eps = stack(1), torch.randn(1, 9, 3, dtype=torch.float64), 1e-6
    scores = first_order(network, 1, gradients_of(network, x))
    before = network(x).square().mean()
    for neuron in range(LAYERS[2]):
        scaled = network.clone()
        with torch.no_grad():
            scaled.biases[2] += eps * scaled.weights[2][:, :, neuron] * scaled.biases[1][:, neuron].tanh()
            scaled.weights[2][:, :, neuron] *= 1 - eps
        change = (scaled(x).square().mean() - before).abs() / eps
        torch.testing.assert_close(change, scores[0, neuron], rtol=1e-3, atol=1e-6)


def test_of_equal_scores_the_lower_number_stays():
    """Ties are broken by a declared order, the same for every run."""
    network = stack()
    with torch.no_grad():
        network.weights[0].fill_(0.5)
    _, kept = keep_neurons(network, (2, 5, 4))
    assert kept[0].tolist() == [[0, 1], [0, 1]]


def test_a_stack_is_what_its_runs_are_alone():
    """A run's neurons depend on that run alone."""
    network = stack(3)
    small, kept = keep_neurons(network, (4, 3, 2))
    for run in range(3):
        alone = Network([w[run : run + 1] for w in network.weights], [b[run : run + 1] for b in network.biases])
        one, numbers = keep_neurons(alone, (4, 3, 2))
        assert all(torch.equal(a[run], b[0]) for a, b in zip(kept, numbers, strict=True))
        assert all(torch.equal(a[run], b[0]) for a, b in zip(small.parameters(), one.parameters(), strict=True))


def test_what_cannot_be_kept_is_refused():
    """Widths that do not fit, and scores that are not finite: one line that says which."""
    network = stack()
    for widths in ((6, 5), (7, 5, 4), (0, 5, 4)):
        with pytest.raises(InputError, match=r"one for each of the hidden layers \(6, 5, 4\)"):
            keep_neurons(network, widths)
    with pytest.raises(NonFiniteError, match=r"layers\.1\.weight = inf or NaN among its neurons' scores"):
        keep_neurons(network, (3, 3, 3), lambda network, layer, _: torch.full((2, 6 - layer), [0.0, torch.nan][layer]))


@pytest.mark.parametrize("layer", range(4))
@pytest.mark.parametrize("kind", ["weight", "bias"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_network_that_diverged_is_refused(layer: int, kind: str, value: float):
    """Wherever it shows: a bias is folded, and no score of incoming weights sees the last layer."""
    network = stack()
    with torch.no_grad():
        (network.weights if kind == "weight" else network.biases)[layer][1, 0] = value
    with pytest.raises(NonFiniteError, match=rf"layers\.{layer}\.{kind} = inf or NaN: expected finite ones; training"):
        keep_neurons(network, (3, 3, 3))
