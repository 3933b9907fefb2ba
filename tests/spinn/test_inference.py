"""Deployment: what the latency row says of the file it was read from."""

from __future__ import annotations

import torch

from spinn import checkpoint, inference
from spinn.masks import Enforcer, Masks
from spinn.model import Network, to_checkpoint

LAYERS = (6, 20, 10, 2)
WEIGHTS, BIASES = 6 * 20 + 20 * 10 + 10 * 2, 32


def test_latency_counts_active_weights_and_measures_both_sizes(tmp_path):
    """A masked network needs fewer FLOPs and a smaller file, and not one byte less of memory."""
    network = Network.initialise(LAYERS, [0])
    masks = Masks(tuple(weight.detach().abs() > 0.2 for weight in network.weights))
    dense, sparse = tmp_path / "dense.safetensors", tmp_path / "stage-1.safetensors"
    checkpoint.write(dense, to_checkpoint(network, None, 0, {}))
    Enforcer(network, masks).weights()
    checkpoint.write(sparse, to_checkpoint(network, masks, 0, {}))
    threads = torch.get_num_threads()
    rows = [inference.latency(dense, "dense"), inference.latency(sparse, "sparse")]
    assert torch.get_num_threads() == threads
    assert [row.flops for row in rows] == [2 * WEIGHTS, 2 * masks.kept()[0]]
    assert [row.memory_bytes for row in rows] == [4 * (WEIGHTS + BIASES)] * 2
    assert [row.file_bytes for row in rows] == [path.stat().st_size for path in (dense, sparse)]
    assert all(0 < row.median_ms <= row.p95_ms for row in rows)
