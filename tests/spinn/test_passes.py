"""Training's own passes are those of the plain network: the same outputs, and the gradients that autograd gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from spinn.model import Network
from spinn.passes import Passes

F64 = torch.float64


def stack(layers: list[int], runs: int, dtype: torch.dtype = F64) -> Network:
    """Networks whose biases are not zero."""
    network = Network.initialise(layers, range(runs), dtype=dtype)
    with torch.no_grad():
        for bias in network.biases:
            bias.copy_(torch.randn(bias.shape, generator=torch.Generator().manual_seed(9), dtype=dtype))
    return network


def rows(seed: int, *shape: int, dtype: torch.dtype = F64) -> Tensor:
    """Made inputs."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def loss(y: Tensor, rate: Tensor | None) -> Tensor:
    """Of which no gradient is zero, and which joins outputs and rates, as the residual of a law does."""
    value = (y - 0.1).square().sum()
    if rate is not None and rate.shape[1]:
        value = value + (rate - 0.3 * y[:, y.shape[1] - rate.shape[1] :]).square().sum()
    return value


def plainly(network: Network, x: Tensor, dx: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """Outputs and gradients by autograd."""
    y, rate = (network(x), None) if dx is None else network.with_tangent(x, dx)
    gradients = torch.autograd.grad(loss(y, rate), network.parameters())
    return torch.cat([y, *([] if rate is None else [rate])], 1).detach(), list(gradients)


def passed(passes: Passes, network: Network, x: Tensor, dx: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """The same by the passes that keep their memory."""
    y, rate = (passes(x), None) if dx is None else passes.with_tangent(x, dx)
    loss(y, rate).backward()
    outputs = torch.cat([y, *([] if rate is None else [rate])], 1).detach()
    passes.backward()
    return outputs, [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.property
@given(
    layers=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    runs=st.integers(1, 3),
    calls=st.lists(st.tuples(st.integers(1, 7), st.integers(0, 7) | st.none()), min_size=1, max_size=4),
)
def test_outputs_and_gradients_are_those_of_autograd(
    layers: list[int], runs: int, calls: list[tuple[int, int | None]]
) -> None:
    """Whatever the widths, however many rows, and of these those that move; call after call, of any sizes."""
    network = stack(layers, runs)
    passes = Passes(network)
    for seed, (batch, moving) in enumerate(calls):
        x = rows(seed, runs, batch, layers[0])
        dx = None if moving is None else rows(seed + 50, runs, min(moving, batch), layers[0])
        outputs, gradients = passed(passes, network, x, dx)
        expected, by_autograd = plainly(network, x, dx)
        torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-13)
        assert len(gradients) == len(by_autograd)
        for ours, theirs in zip(gradients, by_autograd, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


def test_the_paper_s_network_has_the_gradients_of_autograd_in_single_precision() -> None:
    """666,882 parameters, to float tolerance of the largest gradient in a layer."""
    network = stack([18, 512, 512, 512, 256, 2], 1, torch.float32)
    x, dx = (rows(seed, 1, 48, 18, dtype=torch.float32) for seed in (1, 2))
    outputs, gradients = passed(Passes(network), network, x, dx[:, :32])
    expected, by_autograd = plainly(network, x, dx[:, :32])
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(gradients, by_autograd, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_activations_and_gradients_have_their_place_from_the_first_step_on() -> None:
    """The same memory in every step: after it, the way back allocates nothing."""
    network = stack([3, 8, 4, 2], 2)
    passes = Passes(network)
    seen = set()
    for seed in range(3):
        y, rate = passes.with_tangent(rows(seed, 2, 6, 3), rows(seed, 2, 4, 3))
        loss(y, rate).backward()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            passes.backward()
        allocated = [event.key for event in profiled.key_averages() if event.self_cpu_memory_usage > 0]
        assert seed == 0 or allocated == []
        gradients = [parameter.grad for parameter in network.parameters()]
        seen.add((y.data_ptr(), *(gradient.data_ptr() for gradient in gradients if gradient is not None)))
    assert len(seen) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_activation_is_tanh_to_a_few_units_in_the_last_place_of_1(dtype: torch.dtype) -> None:
    """Over the whole range, and exactly 0, 1 and -1 where tanh is."""
    z = torch.cat([torch.linspace(-12, 12, 200_001, dtype=torch.float64), torch.tensor([0.0, 1e-8, 50.0, -50.0, 1e30])])
    network = Network([torch.ones(1, 1, 1, dtype=dtype)] * 2, [torch.zeros(1, 1, dtype=dtype)] * 2)
    ours = Passes(network)(z.to(dtype)[None, :, None]).detach().flatten()
    error = (ours.double() - torch.tanh(z.to(dtype).double())).abs()
    assert error.max() < 4 * torch.finfo(dtype).eps
    assert ours[-5] == 0
    assert ours[-3:].tolist() == [1, -1, 1]


def test_the_derivative_of_a_saturated_network_is_zero_and_finite() -> None:
    """Where tanh is flat to the last bit nothing flows back, and nothing is NaN."""
    network = stack([3, 5, 2], 1)
    passes = Passes(network)
    y, rate = passes.with_tangent(1e8 * rows(0, 1, 4, 3), rows(1, 1, 4, 3))
    loss(y, rate).backward()
    passes.backward()
    assert torch.equal(rate, torch.zeros_like(rate))
    assert network.weights[0].grad is not None
    assert not network.weights[0].grad.any()
