"""Masks are exact counts that only shrink."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinn.errors import InputError
from spinn.masks import Enforcer, Masks
from spinn.model import Network

LAYERS = (3, 5, 4, 2)


def network(runs: int = 2) -> Network:
    """A small stack, run i from seed i."""
    return Network.initialise(LAYERS, range(runs))


def random_masks(like: Network, seed: int, density: float = 0.5) -> Masks:
    """Masks for `like` with about `density` of its weights kept."""
    generator = torch.Generator().manual_seed(seed)
    return Masks(tuple(torch.rand(w.shape, generator=generator) < density for w in like.weights))


def test_a_new_network_keeps_every_weight():
    """Masks start at one: 3·5 + 5·4 + 4·2 weights are kept in each run."""
    masks = Masks.ones_like(network(3))
    assert masks.runs == 3
    assert masks.kept_by_layer() == [[15, 20, 8]] * 3
    assert masks.kept() == [43] * 3


def test_counts_are_python_integers():
    """Counts can stand beside the ledger's integers without a float in between."""
    assert all(type(count) is int for count in random_masks(network(), 0).kept())


@given(seed=st.integers(0, 10_000), density=st.floats(0, 1))
def test_counts_are_those_of_the_masks(seed: int, density: float):
    """Every run and layer is counted by itself, and the total is the sum of its layers."""
    masks = random_masks(network(3), seed, density)
    by_layer = [[int(mask[run].sum()) for mask in masks.layers] for run in range(3)]
    assert masks.kept_by_layer() == by_layer
    assert masks.kept() == [sum(layers) for layers in by_layer]


@given(seed=st.integers(0, 10_000), density=st.floats(0, 1))
def test_refining_with_a_subset_gives_the_subset(seed: int, density: float):
    """What a stage kept out of the active weights is what the next stage starts from."""
    old = random_masks(network(), seed)
    subset = Masks(
        tuple(a & b for a, b in zip(old.layers, random_masks(network(), seed + 1, density).layers, strict=True))
    )
    refined = old.refine(subset)
    assert all(torch.equal(a, b) for a, b in zip(refined.layers, subset.layers, strict=True))


def test_refining_shares_nothing_with_its_argument():
    """Masks of a stage cannot be changed through the tensors they were made from."""
    old = Masks.ones_like(network())
    keep = random_masks(network(), 1)
    refined = old.refine(keep)
    keep.layers[0].fill_(True)
    assert not refined.layers[0].all()


@given(layer=st.integers(0, 2), run=st.integers(0, 1), position=st.integers(0, 7), seed=st.integers(0, 2**16))
def test_a_single_revived_weight_is_refused(layer: int, run: int, position: int, seed: int):
    """Masks only shrink: the layer, the run and the count of the revived weights are named."""
    old = random_masks(network(), seed)
    old.layers[layer][run].view(-1)[position] = False
    keep = Masks(tuple(mask.clone() for mask in old.layers))
    keep.layers[layer][run].view(-1)[position] = True
    with pytest.raises(InputError, match=rf"layers\.{layer}\.weight of run {run} = 1 pruned weights kept again"):
        old.refine(keep)


def test_masks_of_another_network_are_refused():
    """Neither refine nor an enforcer accepts masks whose shapes are not the network's."""
    other = Masks.ones_like(Network.initialise((3, 5, 2), [0, 1]))
    with pytest.raises(InputError, match=r"keep = masks of shape .*: expected"):
        Masks.ones_like(network()).refine(other)
    with pytest.raises(InputError, match=r"masks = masks of shape .*: expected"):
        Enforcer(network(), other)
    with pytest.raises(InputError, match=r"masks = masks of shape .*: expected"):
        Enforcer(network(2), Masks.ones_like(network(1)))


def test_masks_are_frozen():
    """The tensors of a stage are not exchanged behind its back."""
    with pytest.raises(dataclasses.FrozenInstanceError, match="layers"):
        Masks.ones_like(network()).layers = ()  # type: ignore[misc]


def test_the_refusals_say_how_to_mend_it():
    """Name, value, what was expected, and what to call instead."""
    old = Masks.ones_like(network())
    old.layers[1][1].view(-1)[:3] = False
    message = (
        "keep, layers.1.weight of run 1 = 3 pruned weights kept again: masks only shrink; choose among the weights "
        "that are still active"
    )
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        old.refine(Masks.ones_like(network()))
    shapes = "[(1, 5, 3), (1, 4, 5), (1, 2, 4)]"
    message = f"masks = masks of shape {shapes}: expected [(1, 2, 3)]; make them with Masks.ones_like(network)"
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        Enforcer(Network.initialise((3, 2), [0]), Masks.ones_like(network(1)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_pruned_entries_are_cleared_in_every_precision(dtype: torch.dtype):
    """Weights, gradients, and state of the same and of another precision; whatever stands there, and nothing else."""
    weight = torch.full((1, 2, 2), -torch.inf, dtype=dtype)
    weight[0, 0, 1] = 0.1
    holder = Holder([weight.clone().requires_grad_()])
    held = holder.weights[0]
    held.grad = weight.clone()
    optimizer = torch.optim.SGD([held])
    original = weight.clone()
    others = {name: weight.to(name, copy=True) for name in (torch.float16, torch.float32, torch.float64)}
    optimizer.state[held] = {"step": torch.tensor(3.0), "count": 4, "part": weight[0].clone(), **others}
    enforcer = Enforcer(holder, Masks((weight == torch.tensor(0.1, dtype=dtype),)), optimizer)
    enforcer.weights()
    enforcer.gradients()
    enforcer.state()
    for tensor in (held.detach(), held.grad, *(optimizer.state[held][name] for name in others)):
        expected = torch.zeros_like(tensor)
        expected[0, 0, 1] = torch.tensor(0.1, dtype=dtype)
        assert torch.equal(tensor, expected)
        assert not torch.signbit(tensor).any()
    assert torch.equal(optimizer.state[held]["part"], original[0])
    assert optimizer.state[held]["step"] == 3.0


@dataclasses.dataclass
class Holder:
    """Something that has weights."""

    weights: list[torch.Tensor]
