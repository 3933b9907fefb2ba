"""What `verify.watch` costs a training step of the real network: the same step with and without it, in turns.

Prints the machine and the ratio of the medians; `--json` for machine output.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils import prune

import verify
from spinn.masks import Enforcer, Masks
from spinn.model import Network
from spinn.schedule import total_parameters

LAYERS = (18, 512, 512, 512, 256, 2)
BATCH, ROUNDS, STEPS, WARM_UP = 512, 15, 6, 3
SHARE = 0.715  # of the weights is pruned

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
    """This project's network with its own enforcement."""
    network = Network.initialise(LAYERS, [0])
    masks = Masks(tuple(torch.rand_like(weight) > SHARE for weight in network.weights))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    enforcer = Enforcer(network, masks, optimizer)
    enforcer.weights()
    x, y = torch.randn(1, BATCH, LAYERS[0]), torch.randn(1, BATCH, LAYERS[-1])

    def step() -> None:
        optimizer.zero_grad()
        (network(x) - y).square().mean().backward()
        enforcer.gradients()
        optimizer.step()
        enforcer.weights()
        enforcer.state()

    return network, optimizer, masks, step


def measure(made: tuple[Any, Any, Any, Step]) -> dict[str, float]:
    """Seconds of a step, plain and watched in turns, so that both meet the same noise."""
    model, optimizer, masks, step = made
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(ROUNDS):
        for watched in (False, True):
            around = verify.watch(model, optimizer, masks, gradients=True) if watched else contextlib.nullcontext()
            with around:
                for number in range(WARM_UP + STEPS):
                    start = time.perf_counter()
                    step()
                    if number >= WARM_UP:
                        times[watched].append(time.perf_counter() - start)
    plain, seen = (statistics.median(times[watched]) for watched in (False, True))
    ratios = [b / a for a, b in zip(sorted(times[False]), sorted(times[True]), strict=True)]
    return {
        "plain_ms": 1e3 * plain,
        "watched_ms": 1e3 * seen,
        "ratio": seen / plain,
        "p95_ratio": ratios[int(0.95 * len(ratios))],
    }


def main() -> None:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    torch.manual_seed(0)
    result = {
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
        | {"torch": torch.__version__},
        "parameters": total_parameters(LAYERS),
        "torch.nn.utils.prune": measure(by_torch()),
        "spinn.masks": measure(by_spinn()),
    }
    if as_json:
        print(json.dumps(result, indent=1))
        return
    print(f"{result['parameters']:,} parameters, batch {BATCH}, Adam, {result['machine']}")
    for name in ("torch.nn.utils.prune", "spinn.masks"):
        line = result[name]
        print(
            f"{name:22} {line['plain_ms']:7.2f} ms a step, {line['watched_ms']:7.2f} ms watched: "
            f"ratio {line['ratio']:.3f} (95th percentiles: {line['p95_ratio']:.3f})"
        )


if __name__ == "__main__":
    main()
