"""One network on disk: safetensors with the active values and the packed mask. numpy only, no torch, no pickle.

A dense file holds `layers.<i>.weight` `[out, in]` and `layers.<i>.bias` `[out]`, float32. A sparse file holds, instead
of each weight, `layers.<i>.weight.mask` (uint8, `numpy.packbits` of the mask in C order) and
`layers.<i>.weight.values` (float32, the weights where the mask is 1, in C order). Where weights outside the mask are
not zero, which is a fault that must stay visible, `layers.<i>.weight.outside` (float32 `[out, in]`) holds them.
`physics.<name>` are the learned coefficients (float64 scalars). The file's metadata gives `layers` (widths, as JSON).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from spinn.errors import RecordError
from spinn.record import write_atomic


@dataclass(frozen=True)
class Checkpoint:
    """A single network: `weights[i]` `[out, in]`, `biases[i]` `[out]`, `masks[i]` bool `[out, in]` or None if dense."""

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray, ...] | None
    coefficients: dict[str, float]

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
            if outside.any():
                tensors[f"{name}.outside"] = outside
        tensors[f"layers.{index}.bias"] = np.ascontiguousarray(bias, dtype=np.float32)
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
        with safetensors.safe_open(path, framework="numpy") as stream:
            layers = json.loads((stream.metadata() or {})["layers"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
        return _decode(layers, tensors)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such checkpoint; it was deleted, or the run did not get this far") from None
    except (safetensors.SafetensorError, KeyError, ValueError, IndexError, TypeError) as error:
        raise RecordError(f"{path}: not a readable checkpoint ({error}); roll back to an earlier stage") from None


def _decode(layers: Sequence[int], tensors: dict[str, np.ndarray]) -> Checkpoint:
    weights, biases, masks = [], [], []
    for index, shape in enumerate(zip(layers[1:], layers[:-1], strict=True)):
        name = f"layers.{index}.weight"
        if name in tensors:
            weight = tensors[name].reshape(shape)
        else:
            mask = unpack(tensors[f"{name}.mask"], shape)
            weight = tensors.get(f"{name}.outside", np.zeros(shape, np.float32)).reshape(shape).copy()
            weight[mask] = tensors[f"{name}.values"]
            masks.append(mask)
        weights.append(weight)
        biases.append(tensors[f"layers.{index}.bias"].reshape(shape[0]))
    coefficients = {key[len("physics.") :]: float(v[0]) for key, v in tensors.items() if key.startswith("physics.")}
    return Checkpoint(tuple(weights), tuple(biases), tuple(masks) or None, coefficients)
