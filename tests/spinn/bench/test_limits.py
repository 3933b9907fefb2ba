"""Limits and peers do what they say: FLOPs by torch's counter, masks that prune, times of every call."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from spinn import runtimes
from spinn.bench import compaction, limits, networks, peers, train
from spinn.bench.timing import in_turns, p95, times_faster

LAYERS = (3, 6, 5, 2)
shapes = st.lists(st.integers(1, 8), min_size=2, max_size=5)


def counted(call) -> int:
    """FLOPs by torch."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@given(layers=shapes, rows=st.integers(1, 9), runs=st.integers(1, 3), columns=st.booleans())
def test_training_products_are_counted_exactly(layers: list[int], rows: int, runs: int, columns: bool):
    """In both layouts, for one run and for a stack."""
    made = limits.training_products(layers, rows, runs, columns=columns)
    assert counted(made) == runs * limits.training_flops(layers, rows)


@given(layers=shapes, rows=st.integers(1, 9))
def test_forward_products_are_counted_exactly(layers: list[int], rows: int):
    """Of a prediction."""
    assert counted(limits.forward_products(layers, rows)) == limits.forward_flops(layers, rows)


def test_training_products_are_those_of_a_training_step():
    """A step of a plain module needs as many FLOPs: no gradient of the data among them."""
    model, x = peers.network(LAYERS), torch.randn(7, 3)
    assert counted(lambda: model(x).square().mean().backward()) == limits.training_flops(LAYERS, 7)


def test_the_onnx_products_run():
    """Of one batch, to outputs of the last width."""
    model = limits.onnx_products(LAYERS)
    assert runtimes.by_onnxruntime(model, 1)(np.ones((4, 3), np.float32)).shape == (4, 2)


def test_reading_and_copying_name_their_bytes():
    """What is summed is all of the numbers, as often as asked; a copy reads and writes."""
    read, count = limits.reads(4 * 100, times=3)
    read()
    assert count == 1200
    copy, moved = limits.copies(1)
    assert moved == 2 * 2**20
    copy()


@pytest.mark.parametrize("make", [peers.masked_loop, peers.prune_loop])
def test_peers_prune(make, monkeypatch: pytest.MonkeyPatch):
    """After an epoch, so many of the weights that the model multiplies with are zeros."""
    made = []
    network = peers.network
    monkeypatch.setattr(peers, "network", lambda layers: made.append(network(layers)) or made[-1])
    data = TensorDataset(torch.randn(20, 30), torch.randn(20, 2))
    seconds = make((30, 40, 2), data, data, 8, 0.7)(2)
    weights = torch.cat([layer.weight.detach().flatten() for layer in peers.linear(made[0])])
    assert float((weights == 0).float().mean()) == pytest.approx(0.7, abs=0.05)
    assert len(seconds) == 2
    assert all(second > 0 for second in seconds)


def test_the_plain_loop_learns():
    """It is a training loop, not a stand-in for one."""
    x = torch.randn(64, 3)
    data = TensorDataset(x, x[:, :2])
    torch.manual_seed(0)
    made = peers.network((3, 16, 2))
    with torch.no_grad():
        before = float((made(x) - x[:, :2]).square().mean())
    peers._loop(made, data, data, 8, {})(20)
    with torch.no_grad():
        assert float((made(x) - x[:, :2]).square().mean()) < before / 2


def test_peers_and_ours_begin_with_an_epoch_that_is_not_counted():
    """Three epochs are taken for two that are timed, of either: a first one is never compared with a second."""
    sizes = train.Sizes(layers=LAYERS, rows=24, batch=8)
    data = TensorDataset(torch.randn(sizes.rows, 3), torch.randn(sizes.rows, 2))
    steps = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    try:
        for epochs in (
            peers.plain_loop(LAYERS, data, data, sizes.batch),
            peers.masked_loop(LAYERS, data, data, sizes.batch, 0.5),
            peers.prune_loop(LAYERS, data, data, sizes.batch, 0.5),
            train.ours(networks.dense(LAYERS), None, sizes),
        ):
            steps.clear()
            assert len(epochs(2)) == 2
            assert len(steps) == 3 * sizes.steps
    finally:
        hook.remove()


def test_removal_of_neurons_is_compared_with_torch_pruning():
    """The same parameters are left; outputs stay with us, and with Torch-Pruning where biases are zero."""
    rows = {row.name: row for row in compaction.rows(networks.dense(LAYERS), (3, 2), rounds=2)}

    def value(who: str, what: str) -> float:
        found = rows[f"{who}: {what}"].value
        assert found is not None
        return found

    for who in (compaction.HERE, compaction.PEER):
        assert value(who, "parameters") == 3 * 3 + 3 + 3 * 2 + 2 + 2 * 2 + 2
        assert value(who, "outputs off, biases 0") < 1e-6
        assert value(who, "time") > 0
    assert value(compaction.HERE, "outputs off") < 1e-6
    assert value(compaction.PEER, "outputs off") > 1e-3
    assert rows[f"{compaction.PEER}: time"].ratio_to_peer == 1


def test_without_torch_pruning_its_row_says_so(monkeypatch: pytest.MonkeyPatch):
    """A value of None, and ours is measured all the same."""
    monkeypatch.setattr(compaction, "find_spec", lambda _: None)
    rows = {row.name: row.value for row in compaction.rows(networks.dense(LAYERS), (3, 2), rounds=1)}
    assert rows[f"{compaction.PEER}: time"] is None
    assert rows[f"{compaction.HERE}: time"] is not None


def test_every_call_has_its_turns():
    """At least one in each round, more where it is short; the first two are not counted, nor the first in a turn."""
    calls = []
    times = in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert {name: len(seen) for name, seen in times.items()} == {"a": 3, "b": 3}
    assert calls == ["a", "a", "b", "b", *["a", "a", "b", "b"] * 3]
    assert len(in_turns({"a": lambda: None}, 2, seconds=0.01)["a"]) > 2


@given(times=st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_the_95th_percentile_is_the_smallest_that_covers_95_percent(times: list[float]):
    """By definition."""
    at = p95(times)
    assert at in times
    assert 100 * sum(one <= at for one in times) >= 95 * len(times)
    assert 100 * sum(one < at for one in times) < 95 * len(times)


def test_faster_is_the_median_of_neighbours():
    """Round by round, so that a slow round slows both."""
    times = {"slow": [2.0, 40.0, 6.0], "fast": [1.0, 10.0, 2.0]}
    assert times_faster(times, "slow", "fast") == statistics.median([2.0, 4.0, 3.0])
