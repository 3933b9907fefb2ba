"""spinn.stack: as many runs together as fit, in stacks of nearly one size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import spinn.data
from spinn import experiment, stack
from spinn.config import STACK, Experiment
from spinn.data.dataset import Dataset
from spinn.record import PlannedRun


@given(runs=st.integers(1, 5_000), each=st.integers(1, 10**9), free=st.integers(0, 10**12))
def test_stacks_fit_and_none_is_wasted(runs: int, each: int, free: int):
    """As few stacks as memory allows, the largest no larger than it has to be."""
    size = stack.fitting(runs, each, free)
    most = max(free // each, 1)
    assert 1 <= size <= min(runs, most)
    stacks = -(-runs // size)
    assert stacks == -(-runs // min(runs, most))
    assert size == 1 or stacks * (size - 1) < runs


@pytest.fixture(scope="module")
def quick(root: Path) -> tuple[Experiment, Dataset, list[PlannedRun]]:
    """The quick experiment, its data, and its runs, one of each fold and seed."""
    loaded = experiment.load(root / "paper" / "experiments" / "quick.toml")
    dataset = spinn.data.load("simulator")
    return loaded, dataset, [r for r in experiment.make_plan(loaded, dataset, ()).runs if r.variant == "sparse"]


def test_a_processor_stacks_a_fixed_number(quick):
    """Whatever its memory: a plan made on one machine is that of another."""
    loaded, dataset, runs = quick
    assert stack.choose(loaded, dataset, runs, torch.device("cpu")) == STACK


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which this machine has not")
def test_a_device_stacks_what_fits(quick):
    """All 32 runs of the quick experiment, on any device that is in use today."""
    loaded, dataset, runs = quick
    assert stack.choose(loaded, dataset, runs, torch.device("cuda")) == 32
