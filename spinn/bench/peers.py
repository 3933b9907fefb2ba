"""What a user would run instead: a plain PyTorch loop, torch.nn.utils.prune in it, Torch-Pruning's removal of neurons.

Written as the first version's scripts and the tutorials have it, not slowed down.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

Epochs = Callable[[int], list[float]]
"""Train for one epoch that is not counted and so many more; the seconds of each of these."""


def network(layers: Sequence[int]) -> nn.Sequential:
    """Linear and Tanh in turns, the last layer linear."""
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(layers):
        parts += [nn.Linear(inputs, outputs), nn.Tanh()]
    return nn.Sequential(*parts[:-1])


def linear(model: nn.Sequential) -> list[nn.Linear]:
    """Its weight layers."""
    return [layer for layer in model if isinstance(layer, nn.Linear)]


def plain_loop(layers: Sequence[int], train: TensorDataset, validation: TensorDataset, batch: int) -> Epochs:
    """The loop with a dense network."""
    return _loop(network(layers), train, validation, batch, {})


def masked_loop(
    layers: Sequence[int], train: TensorDataset, validation: TensorDataset, batch: int, sparsity: float
) -> Epochs:
    """The loop with weights multiplied by their mask after each step; momentum and gradients stay as they are."""
    model = network(layers)
    masks = {layer.weight: (torch.rand_like(layer.weight) >= sparsity).float() for layer in linear(model)}
    return _loop(model, train, validation, batch, masks)


def prune_loop(
    layers: Sequence[int], train: TensorDataset, validation: TensorDataset, batch: int, sparsity: float
) -> Epochs:
    """The loop with the masks of torch.nn.utils.prune, which multiplies in each forward pass."""
    return _loop(pruned(network(layers), sparsity), train, validation, batch, {})


def pruned(model: nn.Sequential, sparsity: float) -> nn.Sequential:
    """The model, its smallest weights pruned in place by torch.nn.utils.prune."""
    pairs = [(layer, "weight") for layer in linear(model)]
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=sparsity)
    return model


def without_neurons(model: nn.Sequential, removed: Sequence[Sequence[int]]) -> nn.Sequential:
    """A copy of the model without these neurons of each hidden layer, by Torch-Pruning's dependency graph.

    A removed neuron's constant activation is lost there: outputs stay what they were only where its bias is 0.

    Raises:
        ModuleNotFoundError: the package torch-pruning is not installed.
    """
    from importlib import import_module

    pruning: Any = import_module("torch_pruning")
    smaller = copy.deepcopy(model)
    example = torch.zeros(1, linear(smaller)[0].in_features)
    graph = pruning.DependencyGraph().build_dependency(smaller, example_inputs=example)
    for layer, neurons in zip(linear(smaller), removed, strict=False):
        if neurons:
            graph.get_pruning_group(layer, pruning.prune_linear_out_channels, idxs=list(neurons)).prune()
    return smaller


def _loop(
    model: nn.Module, train: TensorDataset, validation: TensorDataset, batch: int, masks: Mapping[Tensor, Tensor]
) -> Epochs:
    loader = DataLoader(train, batch_size=batch, shuffle=True)
    held_out = DataLoader(validation, batch_size=batch)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.MSELoss()

    def epoch() -> None:
        model.train()
        total = 0.0
        for rows, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(rows), targets)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for weight, mask in masks.items():
                    weight.mul_(mask)
            total += loss.item()
        model.eval()
        with torch.no_grad():
            for rows, targets in held_out:
                total += criterion(model(rows), targets).item()

    def epochs(count: int) -> list[float]:
        seconds = []
        epoch()
        for _ in range(count):
            start = time.perf_counter()
            epoch()
            seconds.append(time.perf_counter() - start)
        return seconds

    return epochs
