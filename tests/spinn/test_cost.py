"""Cost: FLOPs against torch's own counter, and meters that read what happened."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import SimpleNamespace
from unittest import mock

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
        x = torch.randn(runs, rows, layers[0])
        value, rate = network.with_tangent(x, torch.randn(runs, tangent_rows, layers[0]))
        (value.square().sum() + rate.square().sum()).backward()
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
    tangent_rows = min(rows, tangent_rows)
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


# --- energy ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """RAPL as a machine with two packages shows it: parts of a package, and the platform that contains both."""

    def zone(name: str, called: str, joules: float, wraps_at: float = 200_000.0) -> None:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, text in (("name", called), ("energy_uj", joules * 1e6), ("max_energy_range_uj", wraps_at * 1e6)):
            (folder / file).write_text(f"{text if file == 'name' else int(text)}\n")

    for name, called, joules in (
        ("intel-rapl:0", "package-0", 100.0),
        ("intel-rapl:0:0", "core", 40.0),
        ("intel-rapl:0:1", "dram", 20.0),
        ("intel-rapl:1", "package-1", 1_000.0),
        ("intel-rapl:2", "psys", 9_000.0),
        ("intel-rapl-mmio:0", "package-0", 100.0),
    ):
        zone(name, called, joules)
    monkeypatch.setattr(cost, "_POWERCAP", tmp_path)
    return zone


def test_energy_is_that_of_the_packages_alone(packages):
    """Neither their parts nor the platform that contains them is added to them."""
    with cost.measure(torch.device("cpu")) as meter:
        packages("intel-rapl:0", "package-0", 103.0)
        packages("intel-rapl:0:0", "core", 42.0)
        packages("intel-rapl:1", "package-1", 1_004.0)
        packages("intel-rapl:2", "psys", 9_050.0)
    assert meter.energy_joules == pytest.approx(7.0)


def test_a_counter_that_went_round_once_is_read_on(packages):
    """In a time in which it cannot have gone round twice, one that stands lower has gone round once."""
    with cost.measure(torch.device("cpu")) as meter:
        packages("intel-rapl:0", "package-0", 30.0)
    assert meter.energy_joules == pytest.approx(200_000.0 - 70.0)


def test_a_counter_that_may_have_gone_round_unseen_measures_nothing(packages):
    """A block as long as 1 kW needs for the whole range: one reading fits many energies."""
    before = cost._energy(torch.device("cpu"))
    packages("intel-rapl:0", "package-0", 150.0)
    after = cost._energy(torch.device("cpu"))
    assert cost._spent(before, after, 199.9) == pytest.approx(50.0)
    assert cost._spent(before, after, 200.0) is None


@pytest.mark.parametrize("missing", ["energy_uj", "max_energy_range_uj", "all"])
def test_without_a_readable_counter_energy_is_not_measured(packages, tmp_path, missing):
    """None, never a guess: where one package cannot be read the others are no whole."""
    for zone in list(tmp_path.iterdir()):
        if missing == "all":
            for file in zone.iterdir():
                file.unlink()
            zone.rmdir()
    if missing != "all":
        (tmp_path / "intel-rapl:1" / missing).unlink()
    with cost.measure(torch.device("cpu")) as meter:
        pass
    assert meter.energy_joules is None


def test_the_energy_of_a_device_is_asked_for_by_its_uuid(monkeypatch):
    """A process that sees the second device of a machine alone calls it 0; NVML's 0 is another device."""
    joules = {"GPU-second": iter((5_000, 9_000))}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="second"))
    monkeypatch.setattr(cost.pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(cost.pynvml, "nvmlDeviceGetHandleByIndex", lambda index: f"GPU-{index}")
    monkeypatch.setattr(cost.pynvml, "nvmlDeviceGetHandleByUUID", lambda name: name)
    monkeypatch.setattr(cost.pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda name: next(joules[name]))
    before, after = (cost._energy(torch.device("cuda", 0)) for _ in range(2))
    assert cost._spent(before, after, 1e6) == pytest.approx(4.0)
    monkeypatch.setattr(cost.pynvml, "nvmlDeviceGetHandleByUUID", mock.Mock(side_effect=cost.pynvml.NVMLError(1)))
    assert cost._spent(before, cost._energy(torch.device("cuda", 0)), 1.0) is None
