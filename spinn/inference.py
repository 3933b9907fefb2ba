"""A network as it is deployed: without what pruning cut off, and how long one prediction takes."""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import Literal

import torch

from spinn import checkpoint
from spinn.cost import forward_flops
from spinn.masks import Masks
from spinn.model import Network, compact, from_checkpoints, to_checkpoint
from spinn.record import Latency

_WARM_UP, _REPEATS = 20, 200


def deploy(network: Network, masks: Masks) -> list[bytes]:
    """For each run the file to put to work: its masked network without the neurons that nothing reaches or reads.

    Its outputs are the masked network's to float32 rounding; the layout is `spinn.checkpoint`'s, with masks.
    """
    return [checkpoint.encode(to_checkpoint(small, held, 0, {})) for small, held in compact(network, masks)]


def latency(path: Path, model: Literal["dense", "sparse"]) -> Latency:
    """Time one forward pass of the network in the file `path`: batch 1, one thread, on the CPU.

    The masked network is run as PyTorch runs it: all its weights, the pruned ones as zeros.

    Raises:
        RecordError: the file is not a checkpoint.
    """
    stored = checkpoint.read(path)
    network, masks = from_checkpoints([stored], "cpu")
    kept = sum(weight.size for weight in stored.weights) if masks is None else masks.kept()[0]
    rows = torch.zeros(1, 1, network.layers[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(_WARM_UP):
                network(rows)
            times = sorted(_milliseconds(network, rows) for _ in range(_REPEATS))
    finally:
        torch.set_num_threads(threads)
    return Latency(
        model=model,
        median_ms=statistics.median(times),
        p95_ms=times[math.ceil(0.95 * _REPEATS) - 1],
        repeats=_REPEATS,
        flops=forward_flops(kept, 1),
        file_bytes=path.stat().st_size,
        memory_bytes=sum(tensor.numel() * tensor.element_size() for tensor in network.parameters()),
    )


def _milliseconds(network: Network, rows: torch.Tensor) -> float:
    start = time.perf_counter()
    network(rows)
    return (time.perf_counter() - start) * 1e3
