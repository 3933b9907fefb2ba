"""How fast training is: this project's trainer, one run and a stack, beside a plain loop and the matrix products alone.

The network of the paper on made rows of its size; what is timed is whole epochs, the validation pass among them, and
without what happens once: set-up before the first epoch and the residuals after the last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

import torch
from torch.utils.data import TensorDataset

from spinn import schedule, step, training
from spinn.bench import limits, networks, peers
from spinn.bench.peers import Epochs
from spinn.bench.report import Report, Row, Target, machine
from spinn.bench.timing import in_turns, median, times_faster
from spinn.config import PhysicsConfig
from spinn.masks import Masks
from spinn.model import Network
from spinn.neurons import keep_neurons
from spinn.physics import Coefficients, Scales
from spinn.record import Scaler
from spinn.task import Rows, Segments, Task

PHYSICS = PhysicsConfig(wear_rate=0.1, heat=0.1, initial=0.1, monotone=0.1, nonnegative=0.1)
COEFFICIENTS = {"a": -3.0, "b": 1.0, "c": 0.75, "d": 0.0, "g": 0.5, "k": 0.1, "tau": 2.0}
CASES = 16

PLAIN, BESIDE, MULTIPLIED, PRUNE = (
    "plain loop",
    "plain loop, beside the stack",
    "plain loop, masks multiplied",
    "torch.nn.utils.prune in the loop",
)
ONE, PHYSICAL, DENSE, SMALL = "one run", "one run, physics", "one run, dense", "one run, neurons removed"

EPOCHS = 2
"""That are timed in each turn, after one that is not; the shorter counts, of peers as of ours."""

_NOTES = (
    "of the limit: FLOPs of the epoch's matrix products (as spinn.cost counts them, less the gradient of the data) "
    "over the rate of such products, same shapes, alone. of the peer: the plain loop, which enforces no masks.",
    "The paper experiment's minutes are not measured here: they are those of its own command on a CUDA device.",
    "64 runs on a CUDA device, no masks: one after another they are eager, as a recorded step is the stack's.",
    f"The masks of `{ONE}` hold as DESIGN asks: gradients, weights and optimizer state of pruned weights are zero.",
)


@dataclass(frozen=True)
class Sizes:
    """What is measured: widths, hidden widths after removal of neurons, rows, rows a step, runs of a stack, rounds."""

    layers: tuple[int, ...] = networks.LAYERS
    small: tuple[int, ...] = networks.SMALL
    ratios: tuple[str, ...] = networks.RATIOS
    rows: int = 8730
    batch: int = 512
    stack: int = 16
    rounds: int = 9
    cuda_stack: int = 64

    @property
    def steps(self) -> int:
        """Of one epoch."""
        return math.ceil(self.rows / self.batch)


PAPER = Sizes()


def measure(progress: Callable[[str], object], sizes: Sizes | None = None) -> Report:
    """Time everything in turns; `progress` is told what is under way."""
    sizes = sizes or PAPER
    torch.manual_seed(0)
    report = Report("train", machine(), notes=list(_NOTES))
    progress("making networks and data ready")
    stack = f"stack of {sizes.stack}, per run"
    ways = _ways(sizes)
    epochs: dict[str, list[float]] = {name: [] for name in (*ways, stack)}
    products: dict[str, list[float]] = {ONE: [], PHYSICAL: [], SMALL: [], stack: []}
    stacked = ours(*networks.masked(networks.dense(sizes.layers, sizes.stack), sizes.ratios), sizes)
    # A stack takes seconds an epoch: a quiet moment does not help it as it does the shorter of two short epochs. So
    # it is compared with a plain loop of as many epochs, right before or after it, means with means.
    epochs[BESIDE] = []
    long = {
        stack: lambda: mean(stacked(EPOCHS)) / sizes.stack,
        BESIDE: lambda: mean(ways[PLAIN](EPOCHS * sizes.stack)),
    }
    for number in range(sizes.rounds):
        for name, way in ways.items():
            progress(f"round {number + 1} of {sizes.rounds}: {name}")
            epochs[name].append(min(way(EPOCHS)))
        for name in list(long) if number % 2 else reversed(long):
            progress(f"round {number + 1} of {sizes.rounds}: {name}")
            epochs[name].append(long[name]())
        for name, rate in _products(sizes).items():
            products[stack if name == "stack" else name].append(rate)
    rates = {name: max(seen) for name, seen in products.items()}
    report.limit = {f"matrix products, {name}, GFLOP/s": rate / 1e9 for name, rate in rates.items()}
    report.rows = [_row(name, epochs, _flops(name, sizes), rates.get(name, rates[ONE])) for name in epochs]
    progress("a stack on a CUDA device")
    report.rows.append(cuda_row(sizes))
    report.targets = _targets(epochs, stack, _flops(ONE, sizes) / rates[ONE], report.rows[-1].value, sizes)
    return report


def _ways(sizes: Sizes) -> dict[str, Epochs]:
    """Everything that trains one network; what is compared stands side by side, since machines drift."""
    sparsity = float(schedule.plan(sizes.layers, sizes.ratios)[-1].weight_sparsity)
    made = (TensorDataset(torch.randn(n, sizes.layers[0]), torch.randn(n, 2)) for n in (sizes.rows, sizes.batch))
    train, validation = made
    dense = networks.dense(sizes.layers)
    return {
        PRUNE: peers.prune_loop(sizes.layers, train, validation, sizes.batch, sparsity),
        MULTIPLIED: peers.masked_loop(sizes.layers, train, validation, sizes.batch, sparsity),
        PLAIN: peers.plain_loop(sizes.layers, train, validation, sizes.batch),
        ONE: ours(*networks.masked(dense, sizes.ratios), sizes),
        PHYSICAL: ours(*networks.masked(dense, sizes.ratios), sizes, physics=True),
        DENSE: ours(dense.clone(), None, sizes),
        SMALL: ours(keep_neurons(dense, sizes.small)[0], None, sizes),
    }


def ours(
    network: Network, masks: Masks | None, sizes: Sizes, *, physics: bool = False, recorded: bool = True
) -> Epochs:
    """Epochs of `spinn.training.fit`; the first one of each call, which has the set-up in it, is not counted."""
    made = task(network, sizes, physics)
    coefficients = Coefficients.initial(made)

    def epochs(count: int) -> list[float]:
        settings = step.FitSettings(
            epochs=count + 1,
            learning_rate=1e-3,
            batch=sizes.batch,
            physics=PHYSICS if physics else PhysicsConfig(),
            recorded=recorded,
        )
        ends: list[float] = []
        training.fit(
            network,
            coefficients,
            made,
            settings,
            seeds=range(network.runs),
            stage=1,
            masks=masks,
            on_epoch=lambda *_: ends.append(time.perf_counter()),
        )
        return [end - start for start, end in pairwise(ends)]

    return epochs


def _products(sizes: Sizes) -> dict[str, float]:
    """FLOP/s of a training step's products, the faster of both layouts, for the shapes of each network."""
    small = (sizes.layers[0], *sizes.small, sizes.layers[-1])
    rates = {}
    rows = _columns(sizes) // sizes.steps  # of a step: all have as many
    for name, layers, width, runs in (
        (ONE, sizes.layers, rows, 1),
        (PHYSICAL, sizes.layers, _columns(sizes, physics=True) // sizes.steps, 1),
        (SMALL, small, rows, 1),
        ("stack", sizes.layers, rows, sizes.stack),
    ):
        times = in_turns(
            {str(way): limits.training_products(layers, width, runs, columns=way) for way in (False, True)},
            rounds=3 if runs > 1 else 9,
        )
        rates[name] = runs * limits.training_flops(layers, width) / min(map(min, times.values()))
    return rates


def _flops(name: str, sizes: Sizes) -> int:
    """Of the matrix products of one epoch of one run, the validation pass not counted."""
    layers = sizes.layers
    if name == SMALL:
        layers = (layers[0], *sizes.small, layers[-1])
    return limits.training_flops(layers, _columns(sizes, physics=name == PHYSICAL))


def _columns(sizes: Sizes, *, physics: bool = False) -> int:
    """Rows and derivatives that pass through the network in an epoch."""
    return sum(task(networks.dense(sizes.layers), sizes, physics).epoch_rows(sizes.batch))


def _row(name: str, epochs: Mapping[str, list[float]], flops: int, rate: float) -> Row:
    seconds = median(epochs[name])
    peer = BESIDE if name.startswith("stack") else PLAIN
    return Row(f"{name}: speed", 1 / seconds, "epochs/s", flops / seconds / rate, times_faster(epochs, peer, name))


def _targets(
    epochs: Mapping[str, list[float]], stack: str, least: float, cuda: float | None, sizes: Sizes
) -> list[Target]:
    peer = "over the plain loop: times"
    return [
        Target(f"one run {peer}", times_faster(epochs, PLAIN, ONE), 1.15),
        Target(f"{stack}, {peer}", times_faster(epochs, BESIDE, stack), 1.3),
        Target("one run, without physics: share of the matrix-product rate", least / median(epochs[ONE]), 0.5),
        Target("one run, physics over none: times the cost", times_faster(epochs, PHYSICAL, ONE), 2.8, at_most=True),
        Target("neurons removed, over dense: times", times_faster(epochs, DENSE, SMALL), 5.0),
        Target(f"{sizes.cuda_stack} runs on a CUDA device, stacked over one after another: times", cuda, 20.0),
        Target("the paper experiment on a CUDA device: minutes", None, 10.0, at_most=True),
    ]


def cuda_row(sizes: Sizes, device: str = "cuda") -> Row:
    """How many times faster a stack trains on a device than as many eager runs in turn; None without such a device."""
    name = f"{sizes.cuda_stack} runs on a CUDA device, stacked over one after another"
    if device == "cuda" and not torch.cuda.is_available():
        return Row(f"{name}: speed-up", None, "times")
    name = f"{name} ({machine(device)['device']}): speed-up"  # the rest of the report is the processor's
    stacked = ours(networks.dense(sizes.layers, sizes.cuda_stack, device), None, sizes)
    alone = ours(networks.dense(sizes.layers, 1, device), None, sizes, recorded=False)
    faster = sizes.cuda_stack * min(alone(3)) / min(stacked(3))
    return Row(name, faster, "times", None, faster)


def task(network: Network, sizes: Sizes, physics: bool) -> Task:
    """Made rows, each the end of a way from the row before it, so that there is a collocation point for each."""
    runs, features, device = network.runs, network.layers[0], network.device

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(runs, *shape, device=device)

    def ones(*shape: int) -> torch.Tensor:
        return torch.ones(runs, *shape, device=device)

    def rows(count: int) -> Rows:
        return Rows(drawn(count, features), drawn(count, 2), ones(count, 2), ones(count), (count,) * runs)

    scaler = Scaler(
        fitted_on=("1",),
        feature_mean=(0.0,) * features,
        feature_scale=(1.0,) * features,
        target_mean=(0.0, 0.0),
        target_scale=(1.0, 1.0),
    )
    return Task(
        train=rows(sizes.rows),
        validation=rows(sizes.batch),
        segments=Segments(
            x=drawn(sizes.rows, features),
            dx=0.1 * drawn(sizes.rows, features),
            per_minute=ones(sizes.rows),
            conditions=1.0 + 0.1 * drawn(sizes.rows, 4).abs(),
            dconditions=torch.zeros(runs, sizes.rows, 4, device=device),
            powered=ones(sizes.rows),
            law=ones(sizes.rows),
            dlaw=ones(sizes.rows),
            counts=(sizes.rows,) * runs,
        ),
        ends=torch.arange(sizes.rows, device=device).expand(runs, -1),
        moves=ones(sizes.rows),
        starts=drawn(CASES, features),
        starts_measured=ones(CASES, 2),
        target_mean=torch.zeros(runs, 2, device=device),
        scales=Scales(ones(2), ones(2)),
        scalers=(scaler,) * runs,
        terms=PHYSICS.enabled() if physics else (),
        warnings=(),
        coefficients=(COEFFICIENTS if physics else {},) * runs,
        cuts=sizes.rows,
        points=sizes.batch,
    )
