"""Removal of neurons, beside Torch-Pruning's: the same neurons go, and time, parameters and outputs are compared."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import torch

from spinn.bench import peers
from spinn.bench.report import Row
from spinn.bench.timing import Call, in_turns, median
from spinn.model import Network
from spinn.neurons import keep_neurons

HERE, PEER = "removal of neurons by spinn", "removal of neurons by Torch-Pruning"


def rows(network: Network, widths: Sequence[int], rounds: int = 5) -> list[Row]:
    """Time of both, parameters that are left, and how far the outputs are from the network with these neurons silent.

    Two networks are made smaller: `network`, and a copy whose biases are 0, where Torch-Pruning, which drops the
    constant that a silent neuron adds, has nothing to lose.
    """
    small, kept = keep_neurons(network, widths)
    removed = [sorted(set(range(old)) - set(k[0].tolist())) for old, k in zip(network.layers[1:-1], kept, strict=True)]
    calls: dict[str, Call] = {HERE: lambda: keep_neurons(network, widths)}
    made: dict[str, Sequence[Network]] = {HERE: (small, keep_neurons(_unbiased(network), widths)[0])}
    if find_spec("torch_pruning") is None:
        return [*_rows(HERE, in_turns(calls, rounds), network, removed, made[HERE]), Row(f"{PEER}: time", None, "ms")]
    model, plain = _module(network), _module(_unbiased(network))
    calls[PEER] = lambda: peers.without_neurons(model, removed)
    made[PEER] = [_stacked(peers.without_neurons(one, removed)) for one in (model, plain)]
    times = in_turns(calls, rounds)
    return [row for name in calls for row in _rows(name, times, network, removed, made[name])]


def _rows(
    name: str, times: dict[str, list[float]], network: Network, removed: list[list[int]], made: Sequence[Network]
) -> list[Row]:
    ratio = median(times[PEER]) / median(times[name]) if PEER in times else None
    x = torch.randn(1, 64, network.layers[0], generator=torch.Generator().manual_seed(1))
    wholes = [_silent(one, removed) for one in (network, _unbiased(network))]
    with torch.no_grad():
        far = [float((whole(x) - small(x)).abs().max()) for whole, small in zip(wholes, made, strict=True)]
    return [
        Row(f"{name}: time", 1e3 * median(times[name]), "ms", None, ratio),
        Row(f"{name}: parameters", sum(p.numel() for p in made[0].parameters()), ""),
        Row(f"{name}: outputs off", far[0], ""),
        Row(f"{name}: outputs off, biases 0", far[1], ""),
    ]


def _unbiased(network: Network) -> Network:
    return Network(network.weights, [torch.zeros_like(bias) for bias in network.biases])


def _silent(network: Network, removed: list[list[int]]) -> Network:
    """The network with every weight into a removed neuron at zero."""
    copy = network.clone()
    with torch.no_grad():
        for weight, neurons in zip(copy.weights, removed, strict=False):
            weight[:, neurons] = 0.0
    return copy


def _module(network: Network) -> torch.nn.Sequential:
    model = peers.network(network.layers)
    with torch.no_grad():
        for layer, weight, bias in zip(peers.linear(model), network.weights, network.biases, strict=True):
            layer.weight.copy_(weight[0])
            layer.bias.copy_(bias[0])
    return model


def _stacked(model: torch.nn.Sequential) -> Network:
    layers = peers.linear(model)
    return Network([layer.weight[None] for layer in layers], [layer.bias[None] for layer in layers])
