"""Cost: FLOPs against torch's own counter, and meters that read what happened."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from spinn import cost, step, task, training
from spinn.config import PhysicsConfig
from spinn.data import load
from spinn.model import Network
from spinn.physics import Coefficients
from spinn.record import PlannedRun

LAYERS = (5, 7, 6, 2)


def _counted(layers: Sequence[int], rows: int, tangent_rows: int, runs: int) -> int:
    network = Network.initialise(layers, range(runs))
    with FlopCounterMode(display=False) as counter:
        loss = network(torch.randn(runs, rows, layers[0])).square().sum()
        if tangent_rows:
            x = torch.randn(runs, tangent_rows, layers[0])
            value, rate = network.with_tangent(x, torch.randn_like(x))
            loss = loss + value.square().sum() + rate.square().sum()
        loss.backward()
    return counter.get_total_flops()


def test_forward_flops_are_those_that_torch_counts():
    """The analytic count of a forward pass is exactly the counted one."""
    network = Network.initialise(LAYERS, [0])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.randn(1, 11, 5))
    weights = 5 * 7 + 7 * 6 + 6 * 2
    assert counter.get_total_flops() == cost.forward_flops(weights, 11)


@given(
    layers=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    rows=st.integers(1, 12),
    tangent_rows=st.integers(0, 12),
    runs=st.integers(1, 3),
)
def test_training_flops_differ_from_the_counted_ones_by_the_input_gradient_alone(
    layers: list[int], rows: int, tangent_rows: int, runs: int
):
    """Backward costs twice forward, but for the gradient of the inputs; for any widths, each run of a stack."""
    counted = cost.training_flops(layers, rows, tangent_rows, 1)
    counted -= cost.input_gradient_flops(layers, rows, tangent_rows, 1)
    assert runs * counted == _counted(layers, rows, tangent_rows, runs)


@pytest.mark.parametrize("terms", [(), ("initial",), ("initial", "monotone")])
@pytest.mark.parametrize("steps", [1, 3])
def test_training_flops_of_an_epoch_are_those_that_torch_counts(terms, steps):
    """In one step or several: collocation points and starts of life are evaluated in each, labelled cuts once."""
    data = load("simulator")
    train, validation = data.cases[:3], data.cases[3:4]
    run = PlannedRun(
        run_id="r", variant="v", fold=0, seed=0, cohort="c", train=train, validation=validation, test=data.cases[4:]
    )
    physics = PhysicsConfig(**dict.fromkeys(terms, 1.0))
    built = task.build(data, [run], physics)
    layers, batch = (len(data.features), 7, 6, 2), math.ceil(built.cuts / steps)
    network, coefficients = Network.initialise(layers, [0]), Coefficients.initial(built)
    with FlopCounterMode(display=False) as counter:
        training.fit(
            network,
            coefficients,
            built,
            step.FitSettings(epochs=2, learning_rate=1e-3, batch=batch, physics=physics),
            seeds=[0],
            stage=0,
        )
    rows, tangent_rows = built.epoch_rows(batch)
    weights = layers[0] * 7 + 7 * 6 + 6 * 2
    not_needed = cost.input_gradient_flops(layers, rows, tangent_rows, 2)
    validated = cost.forward_flops(weights, built.validation.counts[0])
    with FlopCounterMode(display=False) as at_the_end:
        training.residuals(network, coefficients, built)
    trained = counter.get_total_flops() - at_the_end.get_total_flops()
    counted = trained - 2 * validated + not_needed
    assert cost.training_flops(layers, rows, tangent_rows, 2) == counted


def test_a_meter_reads_time_and_memory_of_its_block():
    """Sleeping takes at least that long, and memory that the block touched is in its peak."""
    with cost.measure(torch.device("cpu")) as empty:
        pass
    with cost.measure(torch.device("cpu")) as meter:
        time.sleep(0.05)
        block = torch.ones(50_000_000)
        del block
    assert meter.seconds >= 0.05
    assert meter.peak_memory_bytes >= empty.peak_memory_bytes
    assert meter.peak_memory_bytes >= 200_000_000
    assert meter.energy_joules is None or meter.energy_joules >= 0
