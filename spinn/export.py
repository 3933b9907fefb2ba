"""A network for other programs: its ONNX model, and the layers of it that compute anything.

Knows checkpoints and the file format; runs and measures nothing. Inputs and outputs are standardised, as the network
has them: the run's record holds the scaler.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from spinn.checkpoint import Checkpoint
from spinn.errors import InputError

OPSET, IR_VERSION = 17, 8  # of 2022: older runtimes read them too
INPUT, OUTPUT = "features", "targets"

Layer = tuple[np.ndarray, np.ndarray]
"""Weight `[out, in]` and bias `[out]`, float32."""


def live_layers(network: Checkpoint) -> list[Layer]:
    """The network's layers, none of width 0.

    Behind a hidden layer that lost every neuron (`spinn.model.compact`) the network is a constant: it begins there with
    a bias, and what it is given is multiplied by zeros.
    """
    layers = list(zip(network.weights, network.biases, strict=True))
    empty = [index for index, weight in enumerate(network.weights) if weight.shape[1] == 0]
    if not empty:
        return layers
    bias = network.biases[empty[-1]]
    cut_off = np.zeros((len(bias), network.layers[0]), np.float32)
    return [(cut_off, bias), *layers[empty[-1] + 1 :]]


def to_onnx(network: Checkpoint) -> bytes:
    """The network as an ONNX model: `features` `[batch, inputs]` to `targets` `[batch, outputs]`, float32.

    A layer is a Gemm (https://onnx.ai/onnx/operators/onnx__Gemm.html), a hidden one with Tanh after it. Pruned weights
    are zeros in it: it is for compacted networks, and for comparing with what is not compacted.

    Raises:
        InputError: the package onnx is not installed.
    """
    onnx = import_extra("onnx")
    from onnx import TensorProto, helper, numpy_helper

    layers = live_layers(network)
    nodes, tensors, value = [], [], INPUT
    for index, (weight, bias) in enumerate(layers):
        tensors += [numpy_helper.from_array(weight, f"weight.{index}"), numpy_helper.from_array(bias, f"bias.{index}")]
        last = index == len(layers) - 1
        out = OUTPUT if last else f"sum.{index}"
        nodes.append(helper.make_node("Gemm", [value, f"weight.{index}", f"bias.{index}"], [out], transB=1))
        if not last:
            value = f"hidden.{index}"
            nodes.append(helper.make_node("Tanh", [out], [value]))
    graph = helper.make_graph(
        nodes,
        "spinn",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", network.layers[0]])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", network.layers[-1]])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def import_extra(name: str) -> ModuleType:
    """A package of the optional extra `export`.

    Raises:
        InputError: it is not installed; says how to install it.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise InputError(f"{name} is not installed: export needs it; pip install 'spinn[export]'") from None
