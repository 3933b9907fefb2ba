"""Binary masks of a stacked network: refine, count, and hold them while an optimizer runs.

Knows which weights are pruned; not how they were chosen (`spinn.pruning`) nor what the network computes
(`spinn.model`). Biases are never pruned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from spinn.errors import InputError


@runtime_checkable
class HasWeights(Protocol):
    """Anything that has weight matrices `[runs, out, in]`, layer by layer, as `spinn.model.Network` does."""

    weights: list[Tensor]


@dataclass(frozen=True, eq=False)
class Masks:
    """For each layer a boolean tensor `[runs, out, in]`: True where the weight is kept, False where it is pruned."""

    layers: tuple[Bool[Tensor, "runs _ _"], ...]

    @classmethod
    def ones_like(cls, network: HasWeights) -> Masks:
        """The masks of a network that has not been pruned."""
        return cls(tuple(torch.ones_like(weight, dtype=torch.bool) for weight in network.weights))

    @property
    def runs(self) -> int:
        """How many networks are stacked."""
        return self.layers[0].shape[0]

    def refuse_other_shapes(self, network: HasWeights) -> None:
        """Raises InputError: these are not the shapes of the network's weights."""
        _same_shapes("masks", [mask.shape for mask in self.layers], [weight.shape for weight in network.weights])

    def kept_by_layer(self) -> list[list[int]]:
        """Kept weights, exactly, as `[run][layer]`."""
        return torch.stack([mask.sum(dim=(1, 2)) for mask in self.layers], dim=1).tolist()

    def kept(self) -> list[int]:
        """Kept weights of each run, exactly, over all layers."""
        return [sum(layers) for layers in self.kept_by_layer()]

    def refine(self, keep: Masks) -> Masks:
        """The masks of the next stage: `keep`, which may prune more and never less than these.

        Raises:
            InputError: `keep` has other shapes, or keeps a weight that is already pruned here.
        """
        _same_shapes("keep", [mask.shape for mask in keep.layers], [mask.shape for mask in self.layers])
        for index, (old, new) in enumerate(zip(self.layers, keep.layers, strict=True)):
            revived = (new & ~old).sum(dim=(1, 2)).tolist()
            for run, count in enumerate(revived):
                if count:
                    raise InputError(
                        f"keep, layers.{index}.weight of run {run} = {count} pruned weights kept again: masks only "
                        "shrink; choose among the weights that are still active"
                    )
        return Masks(tuple(mask.clone() for mask in keep.layers))


class Enforcer:
    """Holds pruned weights at zero while `network` is trained by `optimizer`.

    In each step: `gradients()` after backward and before clipping, so that a pruned connection does not move the clip
    norm; then the optimizer's step; then `weights()` and `state()`, which an optimizer that moves nothing without
    gradient and state can do without (`spinn.step.Steps`). The bits of every pruned entry are cleared, not
    multiplied, so inf and NaN in a pruned position vanish, and what is left there is +0.0, whose bits are all 0
    (`inf * 0` is NaN and `-w * 0` is −0.0). On the CPU this takes a tenth of the time of `masked_fill_`.
    Nothing here waits for the device, so a step may be captured in a CUDA graph.

    Raises:
        InputError: the masks do not have the shapes of the network's weights.
    """

    def __init__(self, network: HasWeights, masks: Masks, optimizer: torch.optim.Optimizer | None = None) -> None:
        masks.refuse_other_shapes(network)
        self._held = [(w, _bits(mask, w.dtype)) for w, mask in zip(network.weights, masks.layers, strict=True)]
        self._optimizer = optimizer

    def weights(self) -> None:
        """Set pruned weights to exactly +0.0."""
        with torch.no_grad():
            for weight, bits in self._held:
                _clear(weight, bits)

    def gradients(self) -> None:
        """Set the gradients of pruned weights to zero; call it before clipping."""
        with torch.no_grad():
            for weight, bits in self._held:
                if (
                    weight.grad is not None and weight.grad.is_sparse
                ):  # of SparseAdam: whole rows, among them pruned ones
                    dense = weight.grad.to_dense()
                    _clear(dense, bits)
                    weight.grad = dense.to_sparse(weight.grad.sparse_dim())
                elif weight.grad is not None:
                    _clear(weight.grad, bits)

    def state(self) -> None:
        """Set the optimizer's state of pruned weights to zero, wherever it is kept per weight.

        State that has not the weight's shape is left alone: step counters, and what Adafactor, LBFGS and Muon keep
        for a whole matrix or a whole network. With those the weights alone are held.
        """
        if self._optimizer is None:
            return
        with torch.no_grad():
            for weight, bits in self._held:
                for value in self._optimizer.state.get(weight, {}).values():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        _clear(value, bits)


_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _bits(mask: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Int[Tensor, "*shape"]:
    """All bits set where the weight is kept, none where it is pruned, in integers as wide as `dtype`."""
    return -mask.to(_INTEGERS[dtype.itemsize])


def _clear(tensor: Tensor, bits: Int[Tensor, "*shape"]) -> None:
    """Set pruned entries to +0.0, in place."""
    if tensor.dtype.itemsize == bits.dtype.itemsize:
        tensor.view(bits.dtype).bitwise_and_(bits)
    else:  # optimizer state in another precision than the weights
        tensor.masked_fill_(bits == 0, 0)


def _same_shapes(name: str, shapes: list[torch.Size], expected: list[torch.Size]) -> None:
    if shapes != expected:
        raise InputError(
            f"{name} = masks of shape {[tuple(shape) for shape in shapes]}: expected "
            f"{[tuple(shape) for shape in expected]}; make them with Masks.ones_like(network)"
        )
