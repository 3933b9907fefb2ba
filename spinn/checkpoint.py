"""One network on disk: safetensors with the active values and the packed mask. numpy only, no torch, no pickle.

A dense file holds `layers.<i>.weight` `[out, in]` and `layers.<i>.bias` `[out]`, float32. A sparse file holds, instead
of each weight, `layers.<i>.weight.mask` (uint8, `numpy.packbits` of the mask in C order) and
`layers.<i>.weight.values` (float32, the weights where the mask is 1, in C order). Where weights outside the mask are
not zero, which is a fault that must stay visible, `layers.<i>.weight.outside` (float32 `[out, in]`) holds them.
A network from which neurons were removed is dense, of its own widths, and has for each hidden layer
`layers.<i>.neurons` (int32 `[out]`): the numbers, ascending, that its neurons had in the dense network.
`physics.<name>` are the learned coefficients (float64 scalars). The file's metadata gives `layers` (widths, as JSON).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from spinn.config import MOST_WEIGHTS
from spinn.documents import parse_json
from spinn.errors import RecordError
from spinn.storage import refuse_special, write_atomic


@dataclass(frozen=True)
class Checkpoint:
    """A single network: `weights[i]` `[out, in]`, `biases[i]` `[out]`, `masks[i]` bool `[out, in]` or None if dense.

    `neurons[i]` int32 `[out]`, of each hidden layer, are the numbers that its neurons had in the dense network; None
    where none were removed.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray, ...] | None
    coefficients: dict[str, float]
    neurons: tuple[np.ndarray, ...] | None = None

    @property
    def layers(self) -> tuple[int, ...]:
        """Widths from input to output."""
        return (self.weights[0].shape[1], *(weight.shape[0] for weight in self.weights))


def pack(mask: np.ndarray) -> np.ndarray:
    """Bits of a boolean mask in C order, eight to a byte."""
    return np.packbits(mask.reshape(-1))


def unpack(packed: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The inverse of `pack` for a mask of `shape`."""
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(bool)


def encode(checkpoint: Checkpoint) -> bytes:
    """The bytes of the file; equal networks give equal bytes."""
    tensors: dict[str, np.ndarray] = {}
    for index, (weight, bias) in enumerate(zip(checkpoint.weights, checkpoint.biases, strict=True)):
        name = f"layers.{index}.weight"
        if checkpoint.masks is None:
            tensors[name] = np.ascontiguousarray(weight, dtype=np.float32)
        else:
            mask = checkpoint.masks[index]
            tensors[f"{name}.mask"] = pack(mask)
            tensors[f"{name}.values"] = np.ascontiguousarray(weight[mask], dtype=np.float32)
            outside = np.where(mask, np.float32(0), weight).astype(np.float32)
            if outside.view(np.uint32).any():  # bits, not values: a -0.0 is a trace of an unenforced mask too
                tensors[f"{name}.outside"] = outside
        tensors[f"layers.{index}.bias"] = np.ascontiguousarray(bias, dtype=np.float32)
    for index, numbers in enumerate(checkpoint.neurons or ()):
        tensors[f"layers.{index}.neurons"] = np.ascontiguousarray(numbers, dtype=np.int32)
    for key, value in checkpoint.coefficients.items():
        tensors[f"physics.{key}"] = np.array([value], dtype=np.float64)
    return safetensors.numpy.save(tensors, metadata={"layers": json.dumps(list(checkpoint.layers))})


def write(path: Path, checkpoint: Checkpoint) -> int:
    """Write atomically; returns the file's size in bytes."""
    content = encode(checkpoint)
    write_atomic(path, content)
    return len(content)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        RecordError: missing, truncated, not safetensors, or not laid out as this module says.
    """
    try:
        refuse_special(path)
        with safetensors.safe_open(path, framework="numpy") as stream:
            layers = _widths((stream.metadata() or {})["layers"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
        return _decode(layers, tensors)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such checkpoint; it was deleted, or the run did not get this far") from None
    except (safetensors.SafetensorError, KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise RecordError(f"{path}: not a readable checkpoint ({error!s:.200}); roll back a stage") from None


def _widths(text: str) -> list[int]:
    widths = parse_json(text)
    if not isinstance(widths, list) or len(widths) < 2 or not all(type(width) is int and width > 0 for width in widths):
        raise ValueError(f"layers = {text:.40}: expected two widths or more")
    if sum(inputs * outputs for inputs, outputs in pairwise(widths)) > MOST_WEIGHTS:
        raise ValueError(f"layers = {text:.40}: at most {MOST_WEIGHTS:,} weights expected")
    return widths


def _decode(layers: Sequence[int], tensors: dict[str, np.ndarray]) -> Checkpoint:
    """The network in `tensors`, each of which has to have its dtype and size, and its place; ValueError otherwise."""
    weights, biases, masks, neurons = [], [], [], []
    for index, (inputs, outputs) in enumerate(pairwise(layers)):
        name, shape = f"layers.{index}.weight", (outputs, inputs)
        if name in tensors:
            weight = _take(tensors, name, np.float32, shape)
        else:
            mask = unpack(_take(tensors, f"{name}.mask", np.uint8, (-(-inputs * outputs // 8),)), shape)
            outside = f"{name}.outside"
            weight = _take(tensors, outside, np.float32, shape).copy() if outside in tensors else np.zeros(shape, "f4")
            weight[mask] = _take(tensors, f"{name}.values", np.float32, (int(mask.sum()),))
            masks.append(mask)
        weights.append(weight)
        biases.append(_take(tensors, f"layers.{index}.bias", np.float32, (outputs,)))
        if f"layers.{index}.neurons" in tensors:
            neurons.append(_take(tensors, f"layers.{index}.neurons", np.int32, (outputs,)))
    names = [name for name in tensors if name.startswith("physics.")]
    coefficients = {name.removeprefix("physics."): float(_take(tensors, name, np.float64, (1,))[0]) for name in names}
    if tensors or len(masks) not in (0, len(weights)):
        raise ValueError(f"tensors {sorted(tensors)} have no place in it" if tensors else "dense and sparse layers")
    if neurons and (masks or len(neurons) != len(weights) - 1):
        raise ValueError(f"neurons of {len(neurons)} layers: expected of each hidden layer of a network without masks")
    return Checkpoint(tuple(weights), tuple(biases), tuple(masks) or None, coefficients, tuple(neurons) or None)


def _take(tensors: dict[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    tensor = tensors.pop(name)
    if tensor.dtype != dtype or tensor.shape != shape:
        raise ValueError(f"{name} is {tensor.dtype}{list(tensor.shape)}, expected {np.dtype(dtype)}{list(shape)}")
    return tensor
