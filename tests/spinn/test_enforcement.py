"""Pruned weights stay at +0.0 under every optimizer of torch.optim, and the rest trains as if they did not exist.

The optimizers are the classes that this torch has, whichever they are: one that is new is tried as an element-wise
one with its defaults, and fails here if it is not.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinn.masks import Enforcer, Masks
from spinn.model import Network
from verify import strategies

LAYERS = (3, 5, 4, 2)
ALL = strategies.optimizer_classes()
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {"lr": 0.05},
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.5, "maximize": True},
    ],
    "Adam": [{}, {"weight_decay": 0.1, "amsgrad": True}, {"foreach": False}, {"fused": True}],
    "AdamW": [{}, {"weight_decay": 0.1, "amsgrad": True}],
    "NAdam": [{}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "RAdam": [{}, {"weight_decay": 0.1}],
    "Adamax": [{}, {"weight_decay": 0.1}],
    "Adagrad": [{}, {"weight_decay": 0.1, "initial_accumulator_value": 0.5, "lr_decay": 0.1}],
    "Adadelta": [{}, {"weight_decay": 0.1}],
    "RMSprop": [{}, {"centered": True, "momentum": 0.9, "weight_decay": 0.1}],
    "Rprop": [{}, {"lr": 0.1, "etas": (0.4, 1.3)}],
    "ASGD": [{}, {"t0": 0.0, "weight_decay": 0.1}],
}
ELEMENT_WISE = [
    pytest.param(ALL[name], settings, id=f"{name}-{settings}")
    for name in sorted(ALL.keys() - set(strategies.NOT_PER_WEIGHT))
    for settings in SETTINGS.get(name, [{}])
]
POISONS = (torch.nan, torch.inf, -torch.inf, -0.0, 3e38)


def stack(runs: int = 2) -> tuple[Network, Masks]:
    """A small stack and masks that keep about half of its weights."""
    network = Network.initialise(LAYERS, range(runs))
    generator = torch.Generator().manual_seed(7)
    return network, Masks(tuple(torch.rand(w.shape, generator=generator) < 0.5 for w in network.weights))


def poison(tensors: list[torch.Tensor], masks: Masks, value: float) -> None:
    """Write `value` into every pruned position."""
    with torch.no_grad():
        for tensor, mask in zip(tensors, masks.layers, strict=True):
            tensor.masked_fill_(~mask, value)


def backward(network: Network, step: int) -> None:
    """The gradients of a loss that differs from step to step."""
    for parameter in network.parameters():
        parameter.grad = None
    x = torch.randn((network.runs, 6, LAYERS[0]), generator=torch.Generator().manual_seed(step))
    (network(x) - x[..., :2]).square().mean().backward()


def gradients(network: Network) -> list[torch.Tensor]:
    """The gradients of the weights, which must be there."""
    grads = [weight.grad for weight in network.weights if weight.grad is not None]
    assert len(grads) == len(network.weights)
    return grads


def state_of(optimizer: torch.optim.Optimizer, weight: torch.Tensor) -> list[torch.Tensor]:
    """What the optimizer keeps per weight."""
    values = optimizer.state.get(weight, {}).values()
    return [value for value in values if isinstance(value, torch.Tensor) and value.shape == weight.shape]


def assert_held(network: Network, masks: Masks) -> None:
    """Every pruned weight is +0.0, sign included, and every kept one is finite."""
    for weight, mask in zip(network.weights, masks.layers, strict=True):
        pruned = weight.detach()[~mask]
        assert torch.equal(pruned, torch.zeros_like(pruned)), "a pruned weight is not 0"
        assert not torch.signbit(pruned).any(), "a pruned weight is not +0.0 but -0.0"
        assert torch.isfinite(weight[mask]).all()


def train(optimizer_class: type[torch.optim.Optimizer], settings: dict[str, Any], value: float | None) -> Network:
    """Five enforced steps; with a `value`, that is written into pruned weights, gradients and state all along."""
    network, masks = stack()
    optimizer = optimizer_class(network.parameters(), **settings)  # type: ignore[call-arg]
    enforcer = Enforcer(network, masks, optimizer)
    if value is not None:
        poison(network.weights, masks, value)
    enforcer.weights()
    for step in range(5):
        backward(network, step)
        if value is not None:
            poison(gradients(network), masks, value)
        enforcer.gradients()
        assert all(not grad[~mask].any() for grad, mask in zip(gradients(network), masks.layers, strict=True))
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        if value is not None:
            poison(network.weights, masks, value)
            for weight, mask in zip(network.weights, masks.layers, strict=True):
                for kept in state_of(optimizer, weight):
                    kept.masked_fill_(~mask, value)
        enforcer.weights()
        enforcer.state()
        assert_held(network, masks)
        for weight, mask in zip(network.weights, masks.layers, strict=True):
            for kept in state_of(optimizer, weight):
                assert not kept[~mask].any()
                assert torch.isfinite(kept[mask]).all()
    return network


def test_every_setting_is_for_an_optimizer_that_exists():
    """A misspelt name would test nothing."""
    assert SETTINGS.keys() <= ALL.keys()


@pytest.mark.parametrize(("optimizer_class", "settings"), ELEMENT_WISE)
def test_pruned_weights_gradients_and_state_are_zero_after_every_step(
    optimizer_class: type[torch.optim.Optimizer], settings: dict[str, Any]
):
    """Held at +0.0 in each step, and the kept weights move: training is not simply switched off."""
    network = train(optimizer_class, settings, None)
    start, masks = stack()
    for weight, before, mask in zip(network.weights, start.weights, masks.layers, strict=True):
        assert (weight[mask] != before[mask]).any()


@pytest.mark.parametrize(("optimizer_class", "settings"), ELEMENT_WISE)
def test_whatever_stands_in_a_pruned_position_reaches_no_kept_weight(
    optimizer_class: type[torch.optim.Optimizer], settings: dict[str, Any]
):
    """inf, NaN, −0.0 or a huge value in pruned weights, gradients and state: the kept ones end bitwise the same."""
    clean = train(optimizer_class, settings, None)
    for value in POISONS:
        poisoned = train(optimizer_class, settings, value)
        for a, b in zip(clean.parameters(), poisoned.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(("optimizer_class", "settings"), ELEMENT_WISE)
def test_kept_weights_train_as_if_the_pruned_ones_did_not_exist(
    optimizer_class: type[torch.optim.Optimizer], settings: dict[str, Any]
):
    """The same optimizer over the kept weights alone, as one flat vector a layer, takes the same steps."""
    network, masks = stack()
    optimizer = optimizer_class(network.weights, **settings)  # type: ignore[call-arg]
    enforcer = Enforcer(network, masks, optimizer)
    enforcer.weights()
    alone = [w.detach()[mask].clone().requires_grad_() for w, mask in zip(network.weights, masks.layers, strict=True)]
    reference = optimizer_class(alone, **settings)  # type: ignore[call-arg]
    for step in range(5):
        backward(network, step)
        enforcer.gradients()
        for vector, grad, mask in zip(alone, gradients(network), masks.layers, strict=True):
            vector.grad = grad[mask].clone()
        optimizer.step()
        enforcer.weights()
        enforcer.state()
        reference.step()
        for vector, weight, mask in zip(alone, network.weights, masks.layers, strict=True):
            torch.testing.assert_close(vector, weight[mask])


@dataclass(frozen=True)
class Course:
    """A drawn training: any masks, hyperparameters, clip norm, and steps after which it is broken off."""

    optimizer: strategies.Optimizer
    masks: Masks
    clip: float | None
    broken_off: tuple[int, ...]

    def run(self, value: float) -> Network:
        """Four enforced steps with `value` in pruned weights, gradients and state all along.

        An interruption makes a new optimizer and enforcer that go on with the old one's saved state.
        """
        network = Network.initialise(LAYERS, [0, 1])
        optimizer = self.optimizer.make(network.parameters())
        enforcer = Enforcer(network, self.masks, optimizer)
        poison(network.weights, self.masks, value)
        enforcer.weights()
        for step in range(1, 5):
            backward(network, step)
            poison(gradients(network), self.masks, value)
            enforcer.gradients()
            assert not any(kept.any() for kept in self.pruned(gradients(network)))
            if self.clip is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), self.clip)
            optimizer.step()
            poison(network.weights, self.masks, value)
            for kept in self.state(optimizer, network):
                poison(kept, self.masks, value)
            enforcer.weights()
            enforcer.state()
            for tensors in (network.weights, *self.state(optimizer, network)):
                assert all(strategies.same_bits(part, torch.zeros_like(part)) for part in self.pruned(tensors))
            if step in self.broken_off:
                saved = copy.deepcopy(optimizer.state_dict())
                optimizer = self.optimizer.make(network.parameters())
                optimizer.load_state_dict(saved)
                enforcer = Enforcer(network, self.masks, optimizer)
        return network

    def pruned(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """The pruned entries of a tensor a layer."""
        return [tensor.detach()[~mask] for tensor, mask in zip(tensors, self.masks.layers, strict=True)]

    def state(self, optimizer: torch.optim.Optimizer, network: Network) -> list[list[torch.Tensor]]:
        """What the optimizer keeps per weight, one list of layers for each kind."""
        return [list(kind) for kind in zip(*(state_of(optimizer, weight) for weight in network.weights), strict=True)]


@pytest.mark.parametrize("name", sorted(ALL.keys() - set(strategies.NOT_PER_WEIGHT)))
@given(data=st.data(), value=strategies.poisons(), clip=st.sampled_from([None, 1e-3, 0.5, 1e3]))
def test_nothing_pruned_comes_back_whatever_the_hyperparameters(
    name: str, data: st.DataObject, value: float, clip: float | None
):
    """Weights, gradients and state are +0.0 in each step, and the kept weights end as if nothing had stood there.

    To the last bit, NaN among it: a centred RMSprop whose variance rounds below zero makes one by itself.
    """
    masks = data.draw(strategies.masks_like(Network.initialise(LAYERS, [0, 1])))
    course = Course(data.draw(strategies.optimizers([name])), masks, clip, data.draw(strategies.interruptions(4)))
    clean, poisoned = course.run(0.0), course.run(value)
    for a, b in zip(clean.parameters(), poisoned.parameters(), strict=True):
        assert strategies.same_bits(a, b)


@pytest.mark.parametrize("name", sorted(ALL.keys() & set(strategies.NOT_PER_WEIGHT)))
@given(data=st.data(), value=strategies.poisons(), clip=st.sampled_from([None, 1e-3, 0.5, 1e3]))
def test_weights_are_held_where_state_is_not_per_weight(
    name: str, data: st.DataObject, value: float, clip: float | None
):
    """For one run, `value` in pruned weights and gradients: they are +0.0 after each step, the others the same bits."""
    chosen = data.draw(strategies.optimizers([name]))
    masks = data.draw(strategies.masks_like(Network.initialise(LAYERS, [0])))
    clean, poisoned = (_held_by_hand(chosen, masks, clip, one) for one in (0.0, value))
    for a, b in zip(clean.parameters(), poisoned.parameters(), strict=True):
        assert strategies.same_bits(a, b)


def _held_by_hand(chosen: strategies.Optimizer, masks: Masks, clip: float | None, value: float) -> Network:
    """Three steps of an optimizer that may call its closure, and so use the weights, several times within a step.

    Muon takes matrices and no biases, so it is given one run's weights as such; they share memory with the stack.
    """
    network = Network.initialise(LAYERS, [0])
    matrices = [weight.detach()[0].requires_grad_() for weight in network.weights]
    muon = chosen.cls.__name__ == "Muon"
    optimizer = chosen.make(matrices if muon else network.parameters())
    enforcer = Enforcer(network, masks, optimizer)

    def closure() -> torch.Tensor:
        enforcer.weights()
        backward(network, 0)
        poison(gradients(network), masks, value)
        enforcer.gradients()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        for matrix, grad in zip(matrices, gradients(network), strict=True):
            matrix.grad = grad[0]
        return network(torch.ones((1, 1, 3))).square().mean()

    for _ in range(3):
        poison(network.weights, masks, value)
        if muon:
            closure()
        optimizer.step(closure)  # type: ignore[arg-type]
        enforcer.weights()
        enforcer.state()
        for weight, mask in zip(network.weights, masks.layers, strict=True):
            assert strategies.same_bits(weight[~mask], torch.zeros_like(weight[~mask]))
    return network


def test_the_clip_norm_is_that_of_the_kept_weights():
    """Gradients of pruned weights are gone before clipping; left in, they would make the norm larger."""
    network, masks = stack()
    backward(network, 0)
    kept = [grad[mask] for grad, mask in zip(gradients(network), masks.layers, strict=True)]
    biases = [bias.grad.flatten() for bias in network.biases if bias.grad is not None]
    expected = torch.cat([*kept, *biases]).norm()
    before = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    Enforcer(network, masks).gradients()
    after = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    torch.testing.assert_close(after, expected)
    assert before > 1.05 * after


def test_without_an_enforcer_pruned_weights_come_back():
    """The first version's second fault: zeroed once, they return with the first gradients."""
    network, masks = stack()
    Enforcer(network, masks).weights()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    backward(network, 0)
    optimizer.step()
    with pytest.raises(AssertionError, match="a pruned weight is not 0"):
        assert_held(network, masks)


def test_multiplying_by_the_mask_does_not_hold_it():
    """Why entries are overwritten: inf · 0 is NaN and −w · 0 is −0.0, and either is seen here."""
    for value in (torch.inf, -1.0):
        network, masks = stack()
        poison(network.weights, masks, value)
        with torch.no_grad():
            for weight, mask in zip(network.weights, masks.layers, strict=True):
                weight *= mask
        with pytest.raises(AssertionError, match="a pruned weight is not"):
            assert_held(network, masks)


def test_nothing_happens_before_the_first_backward():
    """No gradient and no state yet is not an error, and biases are never touched."""
    network, masks = stack()
    with torch.no_grad():
        for bias in network.biases:
            bias.fill_(-1.0)
    enforcer = Enforcer(network, masks, torch.optim.Adam(network.parameters()))
    enforcer.gradients()
    enforcer.weights()
    enforcer.state()
    Enforcer(network, masks).state()
    assert_held(network, masks)
    assert all((bias == -1.0).all() for bias in network.biases)


@dataclass
class Rows:
    """What an enforcer needs of a network."""

    weights: list[torch.Tensor]


@given(value=strategies.poisons(), rows=st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True))
def test_sparse_adam_is_held_where_gradients_are_sparse(value: float, rows: list[int]):
    """An embedding's rows have gradients, its pruned entries none: weights, gradients and state are +0.0."""
    weight = torch.linspace(-1.0, 1.0, 15).reshape(1, 5, 3).requires_grad_()
    mask = torch.arange(15).reshape(1, 5, 3) % 3 != 0
    network, masks = Rows([weight]), Masks((mask,))
    optimizer = torch.optim.SparseAdam([weight], lr=0.05)
    enforcer = Enforcer(network, masks, optimizer)
    enforcer.weights()
    before = weight.detach().clone()
    for _ in range(3):
        index = torch.tensor([[0] * len(rows), rows])
        values = torch.ones(len(rows), 3).masked_fill(~mask[0, rows], value)
        weight.grad = torch.sparse_coo_tensor(index, values, weight.shape, check_invariants=True)
        enforcer.gradients()
        assert weight.grad.is_sparse
        optimizer.step()
        enforcer.weights()
        enforcer.state()
        for tensor in (weight, weight.grad.to_dense(), *state_of(optimizer, weight)):
            pruned = tensor.detach()[~mask]
            assert strategies.same_bits(pruned, torch.zeros_like(pruned))
    assert (weight[0, rows] != before[0, rows])[mask[0, rows]].all()


def test_sparse_adam_refuses_the_gradients_of_a_network():
    """It cannot train a network of this project at all, held or not."""
    network, _ = stack()
    optimizer = torch.optim.SparseAdam(network.parameters())
    backward(network, 0)
    with pytest.raises(RuntimeError, match="does not support dense gradients"):
        optimizer.step()
