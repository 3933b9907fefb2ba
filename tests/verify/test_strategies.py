"""The public strategies draw what they promise, the awkward values and every optimizer among it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from spinn.model import Network
from spinn.schedule import parse_ratio, plan
from verify import strategies

SOME = settings(max_examples=2000, derandomize=True, database=None)


@given(strategies.widths(), strategies.schedules())
def test_schedules_are_planned(widths: tuple[int, ...], ratios: tuple[str, ...]) -> None:
    """Each drawn schedule is one that the arithmetic accepts."""
    assert len(plan(widths, ratios)) == len(ratios)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda text: parse_ratio(text) == 0,
        lambda text: parse_ratio(text) > parse_ratio("0.99"),
        lambda text: "/" in text and text != "1/3",
        lambda text: len(text) > 25,
    ],
    ids=["zero", "nearly-one", "quotient", "long"],
)
def test_ratios_of_every_kind(wanted: Callable[[str], bool]) -> None:
    """0, nearly 1, quotients, and more digits than a float holds."""
    find(strategies.ratios(), wanted, settings=SOME)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "wanted",
    [
        lambda w: (w == 0).any() and torch.signbit(w[w == 0]).any(),
        lambda w: ((w != 0) & (w.abs() < torch.finfo(w.dtype).smallest_normal)).any(),
        lambda w: (w.abs() == torch.finfo(w.dtype).max).any(),
        lambda w: len(w.abs().unique()) == 1 and len(w.unique()) == 2,
        lambda w: len(w.abs().unique()) == w.numel(),
        lambda w: not w.any(),
    ],
    ids=["negative-zero", "subnormal", "largest", "ties", "distinct", "zeros"],
)
def test_weights_of_every_kind(wanted: Callable[[torch.Tensor], Any], dtype: torch.dtype) -> None:
    """Each awkward kind turns up."""
    find(strategies.weights((3, 2), dtype), lambda w: bool(wanted(w)), settings=SOME)


@given(st.data())
def test_networks_and_masks_fit(data: st.DataObject) -> None:
    """Finite weights, masks of their shapes, and a weight left in each layer of each run."""
    network = data.draw(strategies.networks())
    masks = data.draw(strategies.masks_like(network))
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    assert [m.shape for m in masks.layers] == [w.shape for w in network.weights]
    assert min(min(layers) for layers in masks.kept_by_layer()) >= 1
    module = data.draw(strategies.modules())
    for name, mask in data.draw(strategies.module_masks(module)).items():
        assert mask.shape == module.get_parameter(name).shape
        assert mask.any()


@pytest.mark.parametrize("name", list(strategies.optimizer_classes()))
@given(data=st.data())
def test_every_optimizer_is_made_and_steps(name: str, data: st.DataObject) -> None:
    """Whatever hyperparameters are drawn, torch accepts them, and a step moves a weight."""
    drawn = data.draw(strategies.optimizers([name]))
    start = torch.full((3, 2), 1e-6)  # so small that float32 shows the smallest of steps
    weight = start.clone().requires_grad_()
    optimizer = drawn.make([weight])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (weight * torch.tensor([1.0, -2.0])).square().sum() + weight.sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    assert (weight != start).any()
    assert drawn.element_wise is (name not in strategies.NOT_PER_WEIGHT)


def test_every_hyperparameter_is_one_that_its_class_has() -> None:
    """A misspelt name would be refused by torch; here all of them are given at once."""
    for name, cls in strategies.optimizer_classes().items():
        assert set(strategies._hyperparameters(name)) <= set(cls.__init__.__code__.co_varnames), name


@given(module=strategies.modules(), optimizer=strategies.optimizers())
def test_an_optimizer_takes_any_module(module: torch.nn.Module, optimizer: strategies.Optimizer) -> None:
    """As they are drawn, without a word more."""
    assert optimizer.make(module.parameters()).param_groups


@given(st.data(), st.integers(1, 20))
def test_interruptions_are_steps_in_order(data: st.DataObject, steps: int) -> None:
    """Each at most once."""
    chosen = data.draw(strategies.interruptions(steps))
    assert list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(range(1, steps + 1))


def test_bits_tell_what_equality_does_not() -> None:
    """−0.0 equals 0.0, and NaN is not equal to itself."""
    assert not strategies.same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert strategies.same_bits(torch.tensor([torch.nan]), torch.tensor([torch.nan]))


def test_stacks_of_the_asked_size() -> None:
    """Runs, widths and precision can be fixed."""
    network = find(
        strategies.networks(st.just(2), st.just((3, 4, 2)), torch.float64),
        lambda n: isinstance(n, Network),
        settings=SOME,
    )
    assert (network.runs, network.layers, network.weights[0].dtype) == (2, (3, 4, 2), torch.float64)
