"""How fast one network predicts: dense, masked, compacted, in every runtime, beside the machine's limit.

Small and large batches, one thread and all; sizes on disk and in memory; exports compared with PyTorch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spinn import checkpoint, runtimes
from spinn.bench import compaction, limits, networks
from spinn.bench.report import Report, Row, Target, machine
from spinn.bench.resident import resident
from spinn.bench.timing import Call, in_turns, median, p95
from spinn.checkpoint import Checkpoint
from spinn.errors import InputError
from spinn.export import import_extra, to_onnx
from spinn.model import to_checkpoint
from spinn.neurons import keep_neurons
from spinn.runtimes import Predict, by_onnxruntime

TORCH, ONNX, BOUND, C = "PyTorch", "ONNX Runtime", "ONNX Runtime, bound", "C"
DENSE, MASKED, COMPACTED = "dense", "masked", "compacted"
SPARSE_BYTES, TOLERANCE, LATENCY_US, SHARE = 0.85e6, 1e-5, 25.0, 0.9

_LATENCY_BATCH = 1024  # above it a call's own cost no longer counts, and the runtime that saves only that is left out
_NOTES = (
    "An unstructured mask alone makes nothing faster: the masked network has the dense one's shapes, and its pruned "
    "weights are multiplied as zeros. It is smaller on disk. Removing neurons makes it faster.",
    "of the limit: matrix products of the same shapes, PyTorch's or ONNX Runtime's, whichever are faster; at batch 1 "
    "reading the weights, from the cache where they fit. of the peer: the dense network in PyTorch, batch, threads.",
    "ONNX Runtime, bound: its buffers are bound once. C: spinn.c_source, compiled here; it has one thread.",
    "Resident memory is a whole process's, most of it the runtime.",
)


@dataclass(frozen=True)
class Sizes:
    """What is measured: widths, hidden widths after compaction, batches, and how long each call is timed."""

    layers: tuple[int, ...] = networks.LAYERS
    small: tuple[int, ...] = networks.SMALL
    ratios: tuple[str, ...] = networks.RATIOS
    batches: tuple[int, ...] = (1, 32, 1024, 65536)
    rounds: int = 5
    seconds: float = 0.3
    copy_megabytes: int = 256


PAPER = Sizes()


@dataclass(frozen=True)
class Key:
    """What a time belongs to."""

    network: str
    runtime: str
    batch: int
    threads: int

    def __str__(self) -> str:
        return f"{self.network}, {self.runtime}, batch {self.batch:,}, {_threads(self.threads)}"


def measure(progress: Callable[[str], object], sizes: Sizes | None = None) -> Report:
    """Measure everything; `progress` is told what is under way.

    Raises:
        InputError: the packages of the extra `export` are not installed.
    """
    for package in ("onnx", "onnxruntime"):
        import_extra(package)
    sizes = sizes or PAPER
    report = Report("inference", machine(), notes=list(_NOTES))
    progress("making networks ready")
    made = _networks(sizes)
    models = {name: to_onnx(network) for name, network in made.items()}
    compiled = _compiled(made, report)
    files, sparse_bytes = _files(made, models, progress)
    times: dict[Key, list[float]] = {}
    before = torch.get_num_threads()
    try:
        for threads in dict.fromkeys((1, before)):  # torch's own choice: as many as the cores it may run on
            torch.set_num_threads(threads)
            report.limit[f"memory bandwidth, {_threads(threads)}, GB/s"] = _bandwidth(sizes)
            for batch in sizes.batches:
                progress(f"batch {batch:,}, {_threads(threads)}")
                predicts = _predicts(made, models, compiled, batch, threads)
                report.rows += _timed(made, predicts, batch, threads, sizes, times, report.limit)
        torch.set_num_threads(1)
        progress("comparing exports, and removal of neurons")
        off = _difference(made, models, compiled)
        dense = networks.dense(sizes.layers)
        report.rows += [*files, *compaction.rows(dense, sizes.small)]
    finally:
        torch.set_num_threads(before)
    report.targets = [
        *(_speed_up(made, times, batch, report) for batch in (1, 1024) if batch in sizes.batches),
        Target("batch 1, compacted, ONNX Runtime, one thread: median µs", _exported(times), LATENCY_US, at_most=True),
        Target("sparse checkpoint, bytes", sparse_bytes, SPARSE_BYTES, at_most=True),
        Target("largest difference of an export from PyTorch", off, TOLERANCE, at_most=True),
    ]
    return report


def _networks(sizes: Sizes) -> dict[str, Checkpoint]:
    dense = networks.dense(sizes.layers)
    pruned, masks = networks.masked(dense, sizes.ratios)
    return {
        DENSE: to_checkpoint(dense, None, 0, {}),
        MASKED: to_checkpoint(pruned, masks, 0, {}),
        COMPACTED: to_checkpoint(keep_neurons(dense, sizes.small)[0], None, 0, {}),
    }


def _compiled(made: dict[str, Checkpoint], report: Report) -> dict[str, Predict]:
    """The networks in C; none, and a note, where there is no compiler."""
    try:
        return {name: runtimes.by_c(network) for name, network in made.items()}
    except InputError as error:
        report.notes.append(f"C was not measured: {error}")
        return {}


def _files(
    made: dict[str, Checkpoint], models: dict[str, bytes], progress: Callable[[str], object]
) -> tuple[list[Row], int]:
    """Rows of every file and of the process that loads it; and the size of the sparse checkpoint."""
    rows, sizes = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, network in made.items():
            progress(f"memory of a process with the {name} network")
            for runtime, suffix, content in ((TORCH, "safetensors", None), (ONNX, "onnx", models[name])):
                path = Path(folder) / f"{name}.{suffix}"
                content = checkpoint.encode(network) if content is None else content
                path.write_bytes(content)
                subject = f"{name}, {runtime}, .{suffix}"
                sizes[name, runtime] = len(content)
                rows.append(Row(f"{subject}: file", len(content), "bytes"))
                rows.append(Row(f"{subject}: resident memory", resident(path, network.layers[0]) / 1e6, "MB"))
    return rows, sizes[MASKED, TORCH]


def _bandwidth(sizes: Sizes) -> float:
    copy, moved = limits.copies(sizes.copy_megabytes)
    return moved / min(in_turns({"copy": copy}, sizes.rounds)["copy"]) / 1e9


def _predicts(
    made: dict[str, Checkpoint], models: dict[str, bytes], compiled: dict[str, Predict], batch: int, threads: int
) -> dict[Key, Predict]:
    """Every network in every runtime that is meant for such a batch and so many threads."""
    predicts: dict[Key, Predict] = {}
    for name, network in made.items():
        offered: dict[str, Callable[[], Predict]] = {
            TORCH: lambda network=network: runtimes.by_torch(network),
            ONNX: lambda name=name: runtimes.by_onnxruntime(models[name], threads),
        }
        if batch <= _LATENCY_BATCH:
            offered[BOUND] = lambda name=name: runtimes.by_onnxruntime_bound(models[name], threads)
        if threads == 1 and name in compiled:
            offered[C] = lambda name=name: compiled[name]
        predicts |= {Key(name, runtime, batch, threads): make() for runtime, make in offered.items()}
    return predicts


def _timed(
    made: dict[str, Checkpoint],
    predicts: dict[Key, Predict],
    batch: int,
    threads: int,
    sizes: Sizes,
    times: dict[Key, list[float]],
    limit: dict[str, float],
) -> list[Row]:
    """Time every prediction and its limit in turns; adds to `times` and `limit`."""
    x = np.random.default_rng(0).standard_normal((batch, sizes.layers[0]), np.float32)
    calls: dict[str, Callable[[], object]] = {
        str(key): lambda predict=predict: predict(x) for key, predict in predicts.items()
    }
    floors = {name: _limits(made[name].layers, batch, threads) for name in (DENSE, COMPACTED)}
    floor_calls = {f"{name} {way}": call for name, ways in floors.items() for way, (call, _) in ways.items()}
    measured = in_turns(calls | floor_calls, sizes.rounds, sizes.seconds)
    least = {
        name: min(min(measured[f"{name} {way}"]) / count for way, (_, count) in ways.items())
        for name, ways in floors.items()
    }
    least[MASKED] = least[DENSE]  # the same shapes
    for name in floors:
        rate = limits.forward_flops(made[name].layers, batch) / least[name] / 1e9
        what = "reading the weights" if batch == 1 else "matrix products"
        limit[f"{what}, {name}, batch {batch:,}, {_threads(threads)}, GFLOP/s"] = rate
    times |= {key: measured[str(key)] for key in predicts}
    peer = median(measured[str(Key(DENSE, TORCH, batch, threads))])
    return [row for key in predicts for row in _rows(key, times[key], least[key.network], peer)]


def _limits(layers: Sequence[int], batch: int, threads: int) -> dict[str, tuple[Call, int]]:
    """The same products alone, or reads of the weights, by who does it, and how many predictions' worth a call does.

    All rows at once: what keeps a block of rows in the cache through all layers, as the C file does, can be faster.
    """
    if batch > 1:
        x, chain = np.zeros((batch, layers[0]), np.float32), by_onnxruntime(limits.onnx_products(layers), threads)
        return {"torch": (limits.forward_products(layers, batch), 1), "onnxruntime": (lambda: chain(x), 1)}
    weights = limits.forward_flops(layers, 1) // 2
    return {"reads": (limits.reads(4 * weights, times=32)[0], 32)}


def _rows(key: Key, times: Sequence[float], least: float, peer: float) -> list[Row]:
    middle = median(times)
    return [
        Row(f"{key}: median", 1e6 * middle, "µs", least / middle, peer / middle),
        Row(f"{key}: 95th percentile", 1e6 * p95(times), "µs"),
        Row(f"{key}: throughput", key.batch / middle, "rows/s", least / middle, peer / middle),
    ]


def _difference(made: dict[str, Checkpoint], models: dict[str, bytes], compiled: dict[str, Predict]) -> float:
    """Of any exported network's outputs, float32, over standard normal features."""
    worst = 0.0
    for name, network in made.items():
        x = np.random.default_rng(1).standard_normal((1000, network.layers[0]), np.float32)
        expected = runtimes.by_torch(network)(x)
        others = [runtimes.by_onnxruntime(models[name], 1), *([compiled[name]] if name in compiled else [])]
        worst = max(worst, *(float(np.abs(predict(x) - expected).max()) for predict in others))
    return worst


def _best(times: dict[Key, list[float]], network: str, batch: int) -> Key:
    """The runtime with the lowest median on one thread."""
    keys = [key for key in times if (key.network, key.batch, key.threads) == (network, batch, 1)]
    return min(keys, key=lambda key: median(times[key]))


def _speed_up(made: dict[str, Checkpoint], times: dict[Key, list[float]], batch: int, report: Report) -> Target:
    """Of the compacted network over the dense one, each in its best runtime; adds a row and what was the best."""
    dense, small = (_best(times, name, batch) for name in (DENSE, COMPACTED))
    flops = limits.forward_flops(made[DENSE].layers, 1) / limits.forward_flops(made[COMPACTED].layers, 1)
    faster = median(times[dense]) / median(times[small])
    name = f"compacted over dense, batch {batch:,}, each in its best runtime, one thread"
    report.rows.append(Row(f"{name}: speed-up", faster, "times", faster / flops, faster))
    report.notes.append(
        f"Best at batch {batch:,} on one thread: {dense.runtime} for the dense network, {small.runtime} for the "
        f"compacted one; FLOP ratio {flops:.2f}."
    )
    return Target(f"{name}: times", faster, SHARE * flops)


def _exported(times: dict[Key, list[float]]) -> float | None:
    found = [median(times[key]) for key in times if key in (Key(COMPACTED, ONNX, 1, 1), Key(COMPACTED, BOUND, 1, 1))]
    return 1e6 * min(found) if found else None


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
