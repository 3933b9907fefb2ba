"""The same work on new inputs, again and again: on a CUDA device recorded once as a graph, and replayed.

Knows nothing of networks. Launching the hundred small kernels of a training step from Python takes longer than they
take to run; a replayed graph is a single launch (CUDA programming guide, CUDA graphs; torch.cuda.CUDAGraph).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

EAGER_CALLS = 3
"""Calls before the recording: they let libraries choose kernels and optimizers make their state, which a graph must
not contain. They are work like any other."""


class Replayed:
    """One work on tensors whose shapes never change; what a call gives is valid until the next one.

    The work may change tensors in place (weights, optimizer state), and on a CUDA device must not wait for the device
    nor depend on anything else that changes. On other devices, or not `recorded`, it is called as it is. It comes
    with every call and is not kept: its owner owns this, and a cycle would hold the graph's memory until Python looks
    for cycles.
    """

    def __init__(self, device: torch.device, *, recorded: bool = True) -> None:
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" and recorded else None
        self._inputs: Sequence[Tensor] = ()
        self._result: Tensor | None = None

    def __call__(self, work: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """What `work`, the same in every call, gives for these inputs."""
        if self._stream is None:
            return work(*inputs)
        if self._calls < EAGER_CALLS:
            self._calls += 1
            return _beside(self._stream, work, inputs)
        if self._graph is None:
            self._inputs = [tensor.clone() for tensor in inputs]
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self._result = work(*self._inputs)
        for kept, new in zip(self._inputs, inputs, strict=True):
            kept.copy_(new)
        self._graph.replay()
        assert self._result is not None
        return self._result


def _beside(stream: torch.cuda.Stream, work: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Eagerly, on the stream that will record, so that its memory is not shared with others."""
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        result = work(*inputs)
    torch.cuda.current_stream(stream.device).wait_stream(stream)
    return result
