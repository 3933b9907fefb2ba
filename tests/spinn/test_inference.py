"""Deployment: what the latency row says of its file, and that a network without dead neurons says the same."""

from __future__ import annotations

import torch

from spinn import checkpoint, inference
from spinn.masks import Enforcer, Masks
from spinn.model import Network, from_checkpoints, to_checkpoint

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


def test_the_deployed_network_is_the_masked_one_without_dead_neurons(tmp_path):
    """A neuron that nothing reaches is not in the file, each run has its own, and no output moves."""
    network = Network.initialise(LAYERS, [0, 1])
    masks = Masks.ones_like(network)
    masks.layers[0][1, 3] = False
    with torch.no_grad():
        network.biases[0].fill_(0.7)
    Enforcer(network, masks).weights()
    x, widths = torch.randn(2, 8, LAYERS[0]), [(6, 20, 10, 2), (6, 19, 10, 2)]
    for run, (content, layers) in enumerate(zip(inference.deploy(network, masks), widths, strict=True)):
        (tmp_path / "deployed.safetensors").write_bytes(content)
        small, held = from_checkpoints([checkpoint.read(tmp_path / "deployed.safetensors")])
        assert small.layers == layers
        assert held is not None
        torch.testing.assert_close(small(x[run : run + 1])[0], network(x)[run], rtol=0, atol=1e-5)
