"""What `verify.watch` costs a training step of the real network: the same step with and without it, in turns.

Of neighbours in time, which meet the same noise. `--json` for machine output.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils import prune

import verify
from spinn.bench.report import Report, Row, Target, machine
from spinn.bench.show import script
from spinn.masks import Enforcer, Masks
from spinn.model import Network
from spinn.passes import Passes

LAYERS = (18, 512, 512, 512, 256, 2)
BATCH, ROUNDS, STEPS, WARM_UP = 512, 40, 15, 3
SHARE = 0.715  # of the weights is pruned
MOST = 1.10  # times a plain step

Step = Callable[[], None]


def by_torch() -> tuple[Any, Any, None, Step]:
    """A module under torch.nn.utils.prune."""
    model = torch.nn.Sequential()
    for inputs, outputs in itertools.pairwise(LAYERS):
        model.extend([torch.nn.Linear(inputs, outputs), torch.nn.Tanh()])
    del model[-1]
    linear = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
    prune.global_unstructured(
        [(layer, "weight") for layer in linear], pruning_method=prune.L1Unstructured, amount=SHARE
    )
    optimizer = torch.optim.Adam(model.parameters())
    x, y = torch.randn(BATCH, LAYERS[0]), torch.randn(BATCH, LAYERS[-1])

    def step() -> None:
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()

    return model, optimizer, None, step


def by_spinn() -> tuple[Any, Any, Masks, Step]:
    """This project's network, its passes in kept memory, and its masks: what a step of it is made of."""
    network = Network.initialise(LAYERS, [0])
    masks = Masks(tuple(torch.rand_like(weight) > SHARE for weight in network.weights))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    enforcer, passes = Enforcer(network, masks, optimizer), Passes(network)
    enforcer.weights()
    x, y = torch.randn(1, BATCH, LAYERS[0]), torch.randn(1, BATCH, LAYERS[-1])

    def step() -> None:
        optimizer.zero_grad()
        (passes(x) - y).square().mean().backward()
        passes.backward()
        enforcer.gradients()
        optimizer.step()

    return network, optimizer, masks, step


def compare(made: tuple[Any, Any, Any, Step]) -> dict[str, float]:
    """A step, plain and watched in turns: the ratio is of neighbours, which meet the same noise."""
    model, optimizer, masks, step = made
    ways: dict[str, Callable[[], Any]] = {
        "plain": contextlib.nullcontext,
        "watched": lambda: verify.watch(model, optimizer, masks),
        "with_gradients": lambda: verify.watch(model, optimizer, masks, gradients=True),
    }
    medians: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, around in ways.items():
            times = []
            with around():
                for _ in range(WARM_UP + STEPS):
                    start = time.perf_counter()
                    step()
                    times.append(time.perf_counter() - start)
            medians[way].append(statistics.median(times[WARM_UP:]))
    result = {"plain_ms": 1e3 * statistics.median(medians["plain"])}
    for way in ("watched", "with_gradients"):
        ratios = sorted(seen / plain for seen, plain in zip(medians[way], medians["plain"], strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4)
        result |= {f"{way}_ratio": middle, f"{way}_quartile_1": low, f"{way}_quartile_3": high}
    return result


def rows(name: str, seen: dict[str, float]) -> list[Row]:
    """A library's step: the plain one is the peer of the watched ones."""
    made = [Row(f"{name}: plain step", seen["plain_ms"], "ms")]
    for way in ("watched", "with_gradients"):
        made += [
            Row(
                f"{name}, {way.replace('_', ' ')}: over plain", seen[f"{way}_ratio"], "", None, 1 / seen[f"{way}_ratio"]
            ),
            Row(f"{name}, {way.replace('_', ' ')}: first quartile", seen[f"{way}_quartile_1"], ""),
            Row(f"{name}, {way.replace('_', ' ')}: third quartile", seen[f"{way}_quartile_3"], ""),
        ]
    return made


def measure(progress: Callable[[str], object]) -> Report:
    """Both libraries."""
    torch.manual_seed(0)
    report = Report("watch", machine())
    for name, make in (("torch.nn.utils.prune", by_torch), ("spinn.masks", by_spinn)):
        progress(f"a step of {name}, plain and watched")
        seen = compare(make())
        report.rows += rows(name, seen)
        report.targets.append(Target(f"watched over plain step, {name}", seen["watched_ratio"], MOST, at_most=True))
    return report


if __name__ == "__main__":
    script("watch", measure, __doc__ or "")
