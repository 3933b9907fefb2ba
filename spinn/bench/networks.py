"""The networks that the benchmarks run: the paper's dense one, its masked one and its compacted one, untrained."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spinn import schedule
from spinn.masks import Enforcer, Masks
from spinn.model import Network
from spinn.pruning import global_magnitude

LAYERS, SMALL = (18, 512, 512, 512, 256, 2), (160, 160, 160, 80)
RATIOS = (".30", ".30", ".24", ".24")


def dense(layers: Sequence[int], runs: int = 1, device: str | torch.device = "cpu") -> Network:
    """Networks with biases that are not zero, as training leaves them."""
    network = Network.initialise(layers, range(runs), device)
    generator = torch.Generator().manual_seed(runs)
    with torch.no_grad():
        for bias in network.biases:
            bias.copy_(0.1 * torch.randn(bias.shape, generator=generator))
    return network


def masked(network: Network, ratios: Sequence[str] = RATIOS) -> tuple[Network, Masks]:
    """A copy pruned in stages by magnitude, its pruned weights at zero, and its masks."""
    pruned, masks = network.clone(), Masks.ones_like(network)
    for stage in schedule.plan(network.layers, ratios):
        masks = global_magnitude(network, masks, stage.pruned)
    Enforcer(pruned, masks).weights()
    return pruned, masks


def parameters(network: Network) -> int:
    """Of one run."""
    return schedule.total_parameters(network.layers)
