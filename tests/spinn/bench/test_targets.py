"""What the targets of the benchmarks are made of: on made-up times, and on what each way really does."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from spinn import training
from spinn.bench import inference, limits, train
from spinn.bench.inference import Key
from spinn.config import PhysicsConfig

SIZES = train.Sizes(layers=(18, 24, 16, 2), small=(8, 5), rows=50, batch=20, stack=2, rounds=1, cuda_stack=2)
STACK = "stack of 16, per run"
EPOCHS = {
    train.PRUNE: [9.0, 9.0],
    train.MULTIPLIED: [8.0, 8.0],
    train.PLAIN: [6.0, 6.0],
    train.BESIDE: [7.0, 7.0],
    train.ONE: [4.0, 4.0],
    train.PHYSICAL: [10.0, 10.0],
    train.DENSE: [3.0, 3.0],
    train.SMALL: [0.5, 0.5],
    STACK: [2.0, 2.0],
}


def test_targets_of_training_are_the_ratios_that_they_say():
    """Of made-up seconds an epoch; 2.4 s are the products' alone."""
    found = {target.name: target for target in train._targets(EPOCHS, STACK, 2.4, None, train.PAPER)}
    values = {name: target.value for name, target in found.items()}
    assert values == pytest.approx(
        {
            "one run over the plain loop: times": 6 / 4,
            f"{STACK}, over the plain loop: times": 7 / 2,
            "one run, without physics: share of the matrix-product rate": 2.4 / 4,
            "one run, physics over none: times the cost": 10 / 4,
            "neurons removed, over dense: times": 3 / 0.5,
            "64 runs on a CUDA device, stacked over one after another: times": None,
            "the paper experiment on a CUDA device: minutes": None,
        }
    )
    required = [(target.required, target.at_most) for target in found.values()]
    assert required == [
        (1.15, False),
        (1.3, False),
        (0.5, False),
        (2.8, True),
        (5.0, False),
        (20.0, False),
        (10.0, True),
    ]


def test_the_report_puts_each_time_where_it_belongs(monkeypatch: pytest.MonkeyPatch):
    """A stack of two takes 7 and 9 s an epoch, so 4 s a run; 50 FLOP/s are possible, in the stack 100.

    Its peer is the mean of the plain loop's four epochs beside it, 7 s; the others have the shorter of two, 6 s.
    """
    named = {name: times for name, times in EPOCHS.items() if name not in (STACK, train.BESIDE)}
    named[train.PLAIN] = [6.0, 8.0]
    ways = {name: lambda count, times=times: times * (count // 2) for name, times in named.items()}
    monkeypatch.setattr(train, "_ways", lambda _: ways)
    monkeypatch.setattr(train, "ours", lambda *_: lambda count: [7.0, 9.0][:count])
    rates = {train.ONE: 50.0, train.PHYSICAL: 50.0, train.SMALL: 50.0, "stack": 100.0}
    monkeypatch.setattr(train, "_products", lambda _: rates)
    report = train.measure(lambda _: None, SIZES)
    rows = {row.name: row for row in report.rows}
    targets = {target.name: target for target in report.targets}
    flops = train._flops(train.ONE, SIZES)
    stack = rows["stack of 2, per run: speed"]
    assert (stack.value, stack.ratio_to_limit, stack.ratio_to_peer) == pytest.approx((1 / 4, flops / 4 / 100, 7 / 4))
    assert targets["stack of 2, per run, over the plain loop: times"].value == pytest.approx(7 / 4)
    assert rows[f"{train.BESIDE}: speed"].value == pytest.approx(1 / 7)
    share = targets["one run, without physics: share of the matrix-product rate"].value
    assert share == pytest.approx(flops / 4 / 50) == rows[f"{train.ONE}: speed"].ratio_to_limit


def test_a_row_of_training_is_its_speed_its_share_of_the_limit_and_of_the_peer():
    """An epoch of 4 s and 100 FLOPs where 50 FLOP/s are possible."""
    row = train._row(train.ONE, EPOCHS, 100, 50.0)
    assert (row.value, row.ratio_to_limit, row.ratio_to_peer) == pytest.approx((0.25, 0.5, 1.5))


def test_the_best_runtime_is_the_fastest_on_one_thread():
    """And the exported network's latency is ONNX Runtime's, bound or not."""
    times = {
        Key("dense", inference.TORCH, 1, 1): [100e-6],
        Key("dense", inference.C, 1, 1): [80e-6],
        Key("dense", inference.ONNX, 1, 2): [1e-6],
        Key("dense", inference.ONNX, 1024, 1): [2e-6],
        Key("compacted", inference.C, 1, 1): [8e-6],
        Key("compacted", inference.ONNX, 1, 1): [20e-6],
        Key("compacted", inference.BOUND, 1, 1): [12e-6],
    }
    assert inference._best(times, "dense", 1) == Key("dense", inference.C, 1, 1)
    assert inference._best(times, "compacted", 1) == Key("compacted", inference.C, 1, 1)
    assert inference._exported(times) == pytest.approx(12.0)


def test_every_way_does_the_work_of_an_epoch():
    """By torch's counter: ours what `_flops` says and a validation pass, a peer's less by at most a filled row."""
    ways = train._ways(SIZES)
    for name, way in ways.items():
        layers = SIZES.layers if name != train.SMALL else (18, *SIZES.small, 2)
        ours = train._flops(name, SIZES) + limits.forward_flops(layers, SIZES.batch)
        if name in (train.PLAIN, train.MULTIPLIED, train.PRUNE):
            dense = train._flops(train.ONE, SIZES) + limits.forward_flops(layers, SIZES.batch)
            a_row = dense / (SIZES.rows + SIZES.batch / 3)
            assert dense - 2 * a_row < _an_epoch(way) <= dense, name
        else:
            assert _an_epoch(way) == ours, name


def test_what_is_held_and_what_is_trained_is_what_the_name_says(monkeypatch: pytest.MonkeyPatch):
    """Masks of `one run` and of it with physics, with the planned count; physics in the one that is called so."""
    seen: dict[str, tuple[bool, bool]] = {}
    sound, name = training.fit, ""

    def fit(*arguments: Any, masks: Any, **options: Any) -> Any:
        settings = arguments[3]
        seen[name] = (masks is not None, settings.physics != PhysicsConfig())
        return sound(*arguments, masks=masks, **options)

    monkeypatch.setattr(training, "fit", fit)
    for name, way in train._ways(SIZES).items():  # noqa: B007  `fit` reads it
        way(1)
    assert seen == {
        train.ONE: (True, False),
        train.PHYSICAL: (True, True),
        train.DENSE: (False, False),
        train.SMALL: (False, False),
    }


def _an_epoch(way: Any) -> int:
    """FLOPs of two epochs less those of one; what comes before the first is in both."""
    counts = []
    for epochs in (1, 2):
        with FlopCounterMode(display=False) as counter:
            way(epochs)
        counts.append(counter.get_total_flops())
    return counts[1] - counts[0]
