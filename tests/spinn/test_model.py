"""The stacked network computes what its runs would alone, its tangent is exact, and compaction changes no output."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spinn.errors import InputError
from spinn.masks import Masks
from spinn.model import Network, compact, from_checkpoints, neurons_of, to_checkpoint
from verify import strategies

LAYERS = (3, 5, 4, 2)
F64 = torch.float64


def stack(runs: int = 2, layers: tuple[int, ...] = LAYERS) -> Network:
    """A float64 stack with biases that are not zero."""
    network = Network.initialise(layers, range(runs), dtype=F64)
    generator = torch.Generator().manual_seed(99)
    with torch.no_grad():
        for bias in network.biases:
            bias.copy_(torch.randn(bias.shape, generator=generator, dtype=F64))
    return network


def rows(runs: int, batch: int = 6, width: int = 3, seed: int = 0) -> Tensor:
    """Inputs `[runs, batch, width]`."""
    return torch.randn((runs, batch, width), generator=torch.Generator().manual_seed(seed), dtype=F64)


def plainly(network: Network, run: int, x: Tensor) -> Tensor:
    """The outputs of one run, written out as a chain of matrix products."""
    for weight, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
        x = torch.tanh(x @ weight[run].T + bias[run])
    return x @ network.weights[-1][run].T + network.biases[-1][run]


def test_shapes_and_counts_of_the_real_network():
    """18-512-512-512-256-2 has 665,088 weights and 1,794 biases, all of them leaves that learn."""
    network = Network.initialise((18, 512, 512, 512, 256, 2), [0])
    assert network.layers == (18, 512, 512, 512, 256, 2)
    assert network.runs == 1
    assert network.device == torch.device("cpu")
    assert sum(weight.numel() for weight in network.weights) == 665_088
    assert sum(bias.numel() for bias in network.biases) == 1_794
    assert all(p.is_leaf and p.requires_grad and p.dtype == torch.float32 for p in network.parameters())


@given(seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), position=st.integers(0, 3))
def test_a_run_is_initialised_by_its_own_seed_alone(seeds: list[int], position: int):
    """Bitwise the same network at any place in any stack."""
    run = position % len(seeds)
    stacked, alone = Network.initialise(LAYERS, seeds), Network.initialise(LAYERS, [seeds[run]])
    for a, b in zip(stacked.parameters(), alone.parameters(), strict=True):
        assert torch.equal(a[run], b[0])


def test_initialisation_does_not_touch_the_global_generator():
    """Drawing a network changes no other random number of the process."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Network.initialise(LAYERS, [1, 2])
    assert torch.equal(torch.rand(3), expected)


def test_initial_weights_follow_glorot_and_bengio():
    """Uniform within ±√(6/(in+out)): inside the bound, mean 0 and variance 2/(in+out) within five sigma."""
    network = Network.initialise((18, 128, 64, 2), [0, 1], dtype=F64)
    for weight, bias in zip(network.weights, network.biases, strict=True):
        out, inputs = weight.shape[1:]
        bound = math.sqrt(6 / (inputs + out))
        assert weight.abs().max() <= bound
        variance, n = bound**2 / 3, weight[0].numel()
        for run in weight.detach():
            assert abs(float(run.mean())) < 5 * math.sqrt(variance / n)
            # a uniform variable's fourth moment is 9/5 of its squared variance
            assert abs(float(run.square().mean()) - variance) < 5 * variance * math.sqrt(0.8 / n)
        assert not bias.any()


def test_each_run_computes_on_its_own_rows():
    """The stack's outputs are those of each run's chain of matrix products."""
    network, x = stack(3), rows(3)
    y = network(x)
    assert y.shape == (3, 6, 2)
    for run in range(3):
        torch.testing.assert_close(y[run], plainly(network, run, x[run]), rtol=1e-13, atol=1e-13)


def test_gradients_do_not_cross_runs():
    """A loss on one run leaves every other run's gradient at zero."""
    network = stack(3)
    network(rows(3))[1].square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad[1].any()
        assert not parameter.grad[[0, 2]].any()


# torch.func.jvp loads decompositions that torch itself still compiles with torch.jit.script
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is not supported:DeprecationWarning")
def test_the_tangent_is_that_of_forward_mode():
    """Equal to torch.func.jvp of the plain network, for a different direction in every row."""
    network, x, dx = stack(3), rows(3), rows(3, seed=1)
    y, dy = network.with_tangent(x, dx)
    expected_y, expected_dy = torch.func.jvp(network, (x,), (dx,))  # type: ignore[misc]
    torch.testing.assert_close(y, expected_y, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(dy, expected_dy, rtol=1e-12, atol=1e-13)


def test_central_differences_converge_to_the_tangent():
    """Halving the step divides their distance from it by four: second order, so the limit is the tangent."""
    network, x, dx = stack(), rows(2), rows(2, seed=1)
    _, dy = network.with_tangent(x, dx)

    def distance(step: float) -> float:
        difference = (network(x + step * dx) - network(x - step * dx)) / (2 * step)
        return float((difference - dy).detach().abs().max())

    assert distance(1e-2) / distance(5e-3) == pytest.approx(4, rel=0.02)
    assert distance(1e-5) < 1e-8


def test_the_tangent_of_a_linear_network_is_its_matrix():
    """One layer: dy = W dx, whatever x and the bias are."""
    network, dx = stack(2, (3, 2)), rows(2, seed=1)
    _, dy = network.with_tangent(rows(2), dx)
    torch.testing.assert_close(dy, dx @ network.weights[0].transpose(1, 2), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("moving", [4, 3, 1, 0])
def test_gradients_flow_through_the_tangent(moving):
    """A loss on outputs and tangent has the gradients that finite differences of that loss have, whatever moves."""
    network, x, dx = stack(2, (2, 3, 3, 1)), rows(2, 4, 2), rows(2, 4, 2, seed=1)[:, 4 - moving :]

    def loss(*parameters: Tensor) -> Tensor:
        half = len(parameters) // 2
        probe = stack(2, (2, 3, 3, 1))
        probe.weights, probe.biases = list(parameters[:half]), list(parameters[half:])
        y, dy = probe.with_tangent(x, dx)
        return (dy - 0.3 * y[:, 4 - moving :]).square().sum() + (y - 0.1).square().sum()

    assert torch.autograd.gradcheck(loss, tuple(network.parameters()))
    loss(*network.parameters()).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.weights)


def test_the_tangent_of_a_saturated_network_is_zero_and_finite():
    """Where tanh is flat to the last bit its derivative is 0, not NaN."""
    network = stack()
    _, dy = network.with_tangent(1e8 * rows(2), rows(2, seed=1))
    assert torch.equal(dy, torch.zeros_like(dy))


def test_a_clone_shares_nothing():
    """Training the copy leaves the original as it was."""
    network = stack()
    copy = network.clone()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), copy.parameters(), strict=True))
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter += 1
    assert all((a != b).all() for a, b in zip(network.parameters(), copy.parameters(), strict=True))
    assert all(p.is_leaf and p.requires_grad for p in copy.parameters())


# --- compaction -----------------------------------------------------------------------------------------------------


def masked_outputs(network: Network, masks: Masks, x: Tensor) -> Tensor:
    """Outputs with every pruned weight at zero."""
    masked = network.clone()
    with torch.no_grad():
        for weight, mask in zip(masked.weights, masks.layers, strict=True):
            weight.masked_fill_(~mask, 0.0)
    return masked(x)


@given(data=st.data(), depth=st.integers(1, 4))
def test_a_compact_network_has_the_masked_networks_outputs(data: st.DataObject, depth: int):
    """To 1e-12 in float64, at any sparsity, and no neuron is left that could still go."""
    layers = (3, *[6, 5, 4][: depth - 1], 2)
    network, x = stack(2, layers), rows(2)
    masks = data.draw(strategies.masks_like(network))
    expected = masked_outputs(network, masks, x)
    for run, (small, held) in enumerate(compact(network, masks)):
        assert small.runs == 1
        assert (small.layers[0], small.layers[-1]) == (3, 2)
        torch.testing.assert_close(small(x[run : run + 1])[0], expected[run], rtol=0, atol=1e-12)
        for into, out_of in zip(small.weights[:-1], small.weights[1:], strict=True):
            assert (into[0] != 0).any(dim=1).all()
            assert (out_of[0] != 0).any(dim=0).all()
        for weight, mask in zip(small.weights, held.layers, strict=True):
            assert not weight[~mask].any()
        assert held.kept()[0] <= masks.kept()[run]


def test_an_unpruned_network_is_not_compacted():
    """Nothing is masked, nothing goes, and no bit changes."""
    network = stack()
    for run, (small, _) in enumerate(compact(network, Masks.ones_like(network))):
        assert small.layers == LAYERS
        assert all(torch.equal(a[0], b[run]) for a, b in zip(small.parameters(), network.parameters(), strict=True))


def test_a_constant_neuron_is_folded_into_the_next_bias():
    """One hidden neuron without inputs: its tanh(bias), times its weight, moves into the output's bias."""
    network = stack(1, (2, 3, 1))
    masks = Masks.ones_like(network)
    masks.layers[0][0, 1] = False
    ((small, _),) = compact(network, masks)
    assert small.layers == (2, 2, 1)
    folded = network.biases[1][0, 0] + network.weights[1][0, 0, 1] * torch.tanh(network.biases[0][0, 1])
    torch.testing.assert_close(small.biases[1][0, 0], folded, rtol=1e-15, atol=0)


def test_an_unread_neuron_takes_its_sources_with_it():
    """Without weights out of the last hidden layer's neuron 0, the neuron that only fed it goes as well."""
    network = stack(1, (2, 3, 3, 1))
    masks = Masks.ones_like(network)
    masks.layers[2][0, :, 0] = False
    masks.layers[1][0, 1:, 2] = False
    ((small, _),) = compact(network, masks)
    assert small.layers == (2, 2, 2, 1)
    torch.testing.assert_close(small(rows(1, width=2)), masked_outputs(network, masks, rows(1, width=2)))


def test_runs_are_compacted_to_widths_of_their_own():
    """Each run loses its own neurons, and what stands in a pruned position, NaN even, is not carried along."""
    network = stack(2, (2, 3, 1))
    masks = Masks.ones_like(network)
    masks.layers[1][1, 0, 0] = False
    with torch.no_grad():
        network.weights[1][1, 0, 0] = torch.nan
    assert [small.layers for small, _ in compact(network, masks)] == [(2, 3, 1), (2, 2, 1)]
    assert torch.isfinite(compact(network, masks)[1][0](rows(1, width=2))).all()


def test_an_emptied_layer_leaves_a_constant():
    """With no weight left in one layer the network has no hidden neurons, and its outputs are one constant."""
    network = stack(1)
    masks = Masks.ones_like(network)
    masks.layers[1].fill_(False)
    ((small, _),) = compact(network, masks)
    assert small.layers == (3, 0, 0, 2)
    x = rows(1)
    torch.testing.assert_close(small(x), masked_outputs(network, masks, x), rtol=0, atol=1e-12)
    y, dy = small.with_tangent(x, x)
    assert torch.equal(y[:, 0], y[:, -1])
    assert not dy.any()


# --- stacking checkpoints -------------------------------------------------------------------------------------------


def test_checkpoints_of_a_stack_restore_it_bitwise():
    """Out and back in any order, dense or sparse, and the arrays do not follow later training."""
    network = stack(3)
    masks = Masks(tuple(weight > 0 for weight in network.weights))
    for given_masks in (None, masks):
        out = [to_checkpoint(network, given_masks, run, {"a": float(run)}) for run in (2, 0, 1)]
        assert [checkpoint.coefficients for checkpoint in out] == [{"a": 2.0}, {"a": 0.0}, {"a": 1.0}]
        back, back_masks = from_checkpoints(out)
        assert back.layers == LAYERS
        assert all(torch.equal(a, b[[2, 0, 1]]) for a, b in zip(back.parameters(), network.parameters(), strict=True))
        assert all(p.is_leaf and p.requires_grad for p in back.parameters())
        if given_masks is None:
            assert back_masks is None
        else:
            assert back_masks is not None
            assert all(torch.equal(a, b[[2, 0, 1]]) for a, b in zip(back_masks.layers, masks.layers, strict=True))
    before = out[0].weights[0].copy()
    with torch.no_grad():
        network.weights[0].add_(1)
        back.weights[0].add_(1)
    assert (out[0].weights[0] == before).all()


def test_numbers_of_kept_neurons_restore_too():
    """Out and back in any order; there are none where no neuron was removed."""
    network = stack(3)
    neurons = tuple(torch.arange(3)[:, None] + torch.arange(width) for width in LAYERS[1:-1])
    out = [to_checkpoint(network, None, run, {}, neurons) for run in (2, 0, 1)]
    back = neurons_of(out)
    assert back is not None
    assert all(torch.equal(a, b[[2, 0, 1]]) for a, b in zip(back, neurons, strict=True))
    assert neurons_of([to_checkpoint(network, None, 0, {})]) is None


def test_checkpoints_that_do_not_stack_are_refused():
    """No checkpoint, different widths, or dense beside sparse: one line that says which."""
    network = stack(1)
    dense, sparse = (to_checkpoint(network, masks, 0, {}) for masks in (None, Masks.ones_like(network)))
    other = to_checkpoint(stack(1, (3, 2)), None, 0, {})
    with pytest.raises(InputError, match=r"checkpoints, layers = \[\]: expected one shape"):
        from_checkpoints([])
    with pytest.raises(InputError, match=r"checkpoints, layers = \[\(3, 2\), \(3, 5, 4, 2\)\]"):
        from_checkpoints([dense, other])
    with pytest.raises(InputError, match="checkpoints = 1 sparse among 2"):
        from_checkpoints([dense, sparse])
