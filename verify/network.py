"""A checkpoint as arrays, decoded by code of the judge's own; a network without its removed neurons as a dense one.

Every stage has the shape of the dense network here, so that stages can be compared: a removed neuron has no weights,
no bias, and, tanh(0) being 0, no part in any output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from spinn.config import MOST_WEIGHTS


@dataclass(frozen=True)
class Network:
    """One decoded checkpoint: `weights[i]` and `masks[i]` `[out, in]`, `biases[i]` `[out]`; dense masks are ones.

    Where neurons were removed, `neurons` has the numbers of those that were kept, for each hidden layer; None else.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray, ...]
    coefficients: dict[str, float]
    neurons: tuple[np.ndarray, ...] | None = None

    @property
    def kept_weights(self) -> int:
        """Ones of all masks."""
        return sum(int(mask.sum()) for mask in self.masks)

    @property
    def parameters(self) -> int:
        """Kept weights, and the biases of all neurons that are there."""
        return self.kept_weights + sum(int(self.present(layer).sum()) for layer in range(len(self.biases)))

    @property
    def widths(self) -> tuple[int, ...] | None:
        """Neurons from input to output, where some were removed."""
        if self.neurons is None:
            return None
        return (self.weights[0].shape[1], *(len(kept) for kept in self.neurons), self.biases[-1].size)

    def present(self, layer: int) -> np.ndarray:
        """True at the neurons of `layer` (0 is the first hidden one) that are there, `[out]`."""
        if self.neurons is None or layer == len(self.neurons):
            return np.ones(self.biases[layer].size, bool)
        there = np.zeros(self.biases[layer].size, bool)
        there[self.neurons[layer]] = True
        return there


def decode(tensors: dict[str, np.ndarray], layers: Sequence[int]) -> Network:
    """Tensors of a checkpoint file as a network of the widths `layers`; the layout is that of spinn/checkpoint.py.

    Raises:
        KeyError: a tensor is missing.
        ValueError: a tensor has no place in it, or is not as the layout says.
    """
    if sum(inputs * outputs for inputs, outputs in pairwise(layers)) > MOST_WEIGHTS:  # a mask has eight in a byte
        raise ValueError(f"layers {tuple(layers)!s:.60}: at most {MOST_WEIGHTS:,} weights expected")
    left = dict(tensors)
    hidden = range(len(layers) - 2)
    if not any(f"layers.{index}.neurons" in left for index in hidden):
        return _decode(left, layers)
    neurons = tuple(_numbers(left, index, layers[index + 1]) for index in hidden)
    if "layers.0.weight" not in left:
        raise ValueError("neurons were removed, and there are masks besides")
    small = _decode(left, (layers[0], *(len(kept) for kept in neurons), layers[-1]))
    return _expanded(small, layers, neurons)


def _numbers(left: dict[str, np.ndarray], index: int, width: int) -> np.ndarray:
    """Numbers of the kept neurons of a hidden layer that had `width` of them: ascending, each once, at least one."""
    name = f"layers.{index}.neurons"
    kept = _take(left, name, np.int32, (left[name].size,))
    if not kept.size or kept[0] < 0 or kept[-1] >= width or not (np.diff(kept.astype(np.int64)) > 0).all():
        raise ValueError(f"{name} are not ascending numbers from 0 to {width - 1}, at least one")
    return kept.astype(np.int64)


def _expanded(small: Network, layers: Sequence[int], neurons: tuple[np.ndarray, ...]) -> Network:
    """The network in the shape of the dense one; nothing leads into or out of a removed neuron, and its bias is 0."""
    places = (np.arange(layers[0]), *neurons, np.arange(layers[-1]))
    weights, biases, masks = [], [], []
    for index, (weight, bias) in enumerate(zip(small.weights, small.biases, strict=True)):
        shape, here = (layers[index + 1], layers[index]), np.ix_(places[index + 1], places[index])
        weights.append(np.zeros(shape, np.float32))
        weights[-1][here] = weight
        masks.append(np.zeros(shape, bool))
        masks[-1][here] = True
        biases.append(np.zeros(shape[0], np.float32))
        biases[-1][places[index + 1]] = bias
    return Network(tuple(weights), tuple(biases), tuple(masks), small.coefficients, neurons)


def _decode(left: dict[str, np.ndarray], layers: Sequence[int]) -> Network:
    """All of the tensors `left` as weights, masks and biases of these widths."""
    weights, biases, masks = [], [], []
    dense = "layers.0.weight" in left
    for index in range(len(layers) - 1):
        shape = (layers[index + 1], layers[index])
        name = f"layers.{index}.weight"
        if dense:
            weight = _take(left, name, np.float32, shape)  # first: what is made of this size has to be there
            mask = np.ones(shape, bool)
        else:
            size = shape[0] * shape[1]
            bits = np.unpackbits(_take(left, f"{name}.mask", np.uint8, ((size + 7) // 8,)))
            if bits[size:].any():
                raise ValueError(f"{name}.mask has ones beyond its {size} weights")
            mask = bits[:size].reshape(shape).astype(bool)
            values = _take(left, f"{name}.values", np.float32, (int(mask.sum()),))
            outside = f"{name}.outside"
            weight = _take(left, outside, np.float32, shape).copy() if outside in left else np.zeros(shape, np.float32)
            weight[mask] = values
        weights.append(weight)
        masks.append(mask)
        biases.append(_take(left, f"layers.{index}.bias", np.float32, (shape[0],)))
    names = [name for name in left if name.startswith("physics.")]
    coefficients = {name.removeprefix("physics."): float(_take(left, name, np.float64, (1,))[0]) for name in names}
    if left:
        raise ValueError(f"tensor {sorted(left)[0]!r} does not belong to layers {tuple(layers)}")
    return Network(tuple(weights), tuple(biases), tuple(masks), coefficients)


def _take(tensors: dict[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor `name`, taken out of `tensors`; ValueError if it is of another type or shape."""
    tensor = tensors.pop(name)
    if tensor.dtype != dtype or tensor.shape != shape:
        expected = f"{np.dtype(dtype).name}{list(shape)}"
        raise ValueError(f"{name} is {tensor.dtype}{list(tensor.shape)}, expected {expected}")
    return tensor
