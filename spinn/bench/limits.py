"""What the machine can do, measured in the same process: the rate of the very matrix products, and memory bandwidth.

Results go into buffers that are there already: nothing but the products, or the reading, is timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from spinn.bench.timing import Call
from spinn.export import INPUT, IR_VERSION, OPSET, OUTPUT


def training_products(
    layers: Sequence[int], batch: int, runs: int = 1, device: str | torch.device = "cpu", *, columns: bool = False
) -> Call:
    """The matrix products of one training step and nothing else: forward, and backward to weights and inputs.

    The gradient of the data itself is not among them. `columns`: samples side by side as columns, in place of rows;
    which of the two is faster depends on the library.
    """
    products: list[tuple[Tensor, Tensor, Tensor]] = []
    for index, (width, out) in enumerate(pairwise(layers)):
        weight, x, slope = (
            torch.randn(runs, *shape, device=device) for shape in ((out, width), (batch, width), (batch, out))
        )
        if columns:
            x, slope = x.mT.contiguous(), slope.mT.contiguous()
            products += [(weight, x, torch.empty_like(slope)), (slope, x.mT, torch.empty_like(weight))]
            products += [(weight.mT, slope, torch.empty_like(x))] if index else []
        else:
            products += [(x, weight.mT, torch.empty_like(slope)), (slope.mT, x, torch.empty_like(weight))]
            products += [(slope, weight, torch.empty_like(x))] if index else []

    def step() -> None:
        with torch.inference_mode():
            for left, right, result in products:
                torch.bmm(left, right, out=result)
        if result.is_cuda:
            torch.cuda.synchronize(result.device)

    return step


def training_flops(layers: Sequence[int], rows: int) -> int:
    """Of `training_products` over so many rows: six for each weight and row, but four in the first layer."""
    weights = sum(a * b for a, b in pairwise(layers))
    return (6 * weights - 2 * layers[0] * layers[1]) * rows


def forward_products(layers: Sequence[int], batch: int) -> Call:
    """The matrix products of one prediction."""
    products = [
        (torch.randn(batch, width), torch.randn(out, width).T, torch.empty(batch, out))
        for width, out in pairwise(layers)
    ]

    def predict() -> None:
        with torch.inference_mode():
            for x, weight, result in products:
                torch.mm(x, weight, out=result)

    return predict


def onnx_products(layers: Sequence[int]) -> bytes:
    """The same matrix products, one after the other, as an ONNX model: for ONNX Runtime, whose own may be faster."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, tensors, value = [], [], INPUT
    for index, (width, out) in enumerate(pairwise(layers)):
        tensors.append(numpy_helper.from_array(torch.randn(width, out).numpy() / width**0.5, f"weight.{index}"))
        target = OUTPUT if index == len(layers) - 2 else f"product.{index}"
        nodes.append(helper.make_node("MatMul", [value, f"weight.{index}"], [target]))
        value = target
    ends = [(INPUT, layers[0]), (OUTPUT, layers[-1])]
    given, result = ([helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", width])] for n, width in ends)
    graph = helper.make_graph(nodes, "products", given, result, tensors)
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION).SerializeToString()


def forward_flops(layers: Sequence[int], rows: int) -> int:
    """Of `forward_products`."""
    return 2 * sum(a * b for a, b in pairwise(layers)) * rows


def reads(size_bytes: int, times: int = 32) -> tuple[Call, int]:
    """Reading float32 numbers of that size so many times in a row, and the bytes that are read.

    What fits into a cache is read from there, as weights are that predict again and again.
    """
    numbers = torch.ones(1, size_bytes // 4).expand(times, -1)
    sums = torch.empty(times)

    def read() -> None:
        with torch.inference_mode():
            torch.sum(numbers, 1, out=sums)

    return read, times * (size_bytes // 4) * 4


def copies(megabytes: int = 256) -> tuple[Call, int]:
    """A copy between two arrays larger than any cache, and the bytes that it reads and writes."""
    source = torch.ones(megabytes * 2**18)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2 * source.numel() * source.element_size()
