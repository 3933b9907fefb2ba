"""One weight while it is watched: which of its entries are pruned, and what a look at a tensor of its shape shows.

Knows one weight's bits; nothing of models, optimizers or findings.
"""

from __future__ import annotations

import torch
from torch import Tensor

from verify.places import Place, Weight

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Guard:
    """One weight: which of its entries are pruned, as bits to test tensors with, and what these were when they went.

    Attributes:
        pruned: How many entries are pruned. Where none is, there is nothing to ask.
        largest_before: `largest` of what lies under a mask, as it was when it was pruned.
    """

    largest_before: int

    def __init__(self, place: Place, *, zeros_count: bool) -> None:
        self.place = place
        weight = place.read()
        leaf = weight.leaf.detach()
        self.zeros = int((leaf == 0).sum()) if weight.mask is None and leaf.dim() >= 2 else 0
        if weight.mask is not None:
            self.gone = weight.mask.detach() == 0
        else:
            self.gone = leaf == 0 if zeros_count and leaf.dim() >= 2 else torch.zeros_like(leaf, dtype=torch.bool)
        self._mask: Tensor | None = None  # as it was when it was last looked at
        self._seen: tuple[Tensor | None, tuple[int, int] | None] = (None, None)
        self._before = leaf.clone() if weight.masked else None
        self.pruned = int(self.gone.sum())
        self._bits: dict[torch.dtype, Tensor] = {}
        self._scratch: dict[torch.dtype, Tensor] = {}

    def shrink(self, weight: Weight, thoroughly: bool) -> int:
        """Take over the mask as it is now; returns how many pruned entries it keeps again.

        A mask that is the same tensor, by torch's own count not written to since, is compared only `thoroughly`: what
        was written behind that count (`mask.data`) shows at the end.
        """
        mask = weight.mask
        if mask is None:
            return 0
        state = None if mask.is_inference() else (mask._version, mask.data_ptr())
        known = mask is self._seen[0] and state is not None and state == self._seen[1]
        self._seen = (mask, state)
        if known and not thoroughly:
            return 0
        if self._mask is not None and mask.dtype == self._mask.dtype and torch.equal(mask, self._mask):
            return 0
        self._mask = mask.detach().clone()
        now = mask.detach() == 0
        grown = int((self.gone & ~now).sum())
        leaf = weight.leaf.detach()
        if weight.masked:
            self._before = leaf.clone() if self._before is None else torch.where(self.gone, self._before, leaf)
        self.gone = self.gone | now  # what came back stays watched
        self.pruned = int(self.gone.sum())
        self._bits.clear()
        if self.pruned and self._before is not None:
            self.largest_before = self.largest(self._before)
        return grown

    def largest(self, tensor: Tensor) -> int:
        """Magnitude bits of the largest pruned entry of `tensor`: 0 if all are zero, at least inf's if not finite.

        Without their sign the bits of floats are ordered as their magnitudes are, NaN above inf (IEEE 754), so a
        single pass over integers answers both questions.
        """
        integers = _integers(tensor)
        bits, scratch = self._tools(integers)
        return int(torch.bitwise_and(integers, bits, out=scratch).amax())

    def has_moved(self, leaf: Tensor) -> bool:
        """Whether a pruned entry under the mask is not what it was when it was pruned, but for its sign alone."""
        assert self._before is not None
        integers = _integers(leaf)
        bits, scratch = self._tools(integers)
        # passes over integers take a quarter of the time of a comparison and `any`
        torch.bitwise_xor(integers, _integers(self._before), out=scratch)
        return bool(scratch.bitwise_and_(bits).amax())

    def moved(self, leaf: Tensor) -> Tensor:
        """The pruned entries under the mask that are not what they were, as they are now. Asked where some moved."""
        assert self._before is not None
        now = self.of(leaf)
        return now[now != self.of(self._before)]

    def nonzero(self, tensor: Tensor) -> Tensor:
        """The pruned entries that are not zero."""
        pruned = self.of(tensor)
        return pruned[pruned != 0]

    def negative_zeros(self, tensor: Tensor) -> int:
        """How many numbers at pruned entries are −0.0."""
        pruned = self.of(tensor)
        pruned = torch.view_as_real(pruned) if pruned.is_complex() else pruned
        return int(((pruned == 0) & torch.signbit(pruned)).sum())

    def of(self, tensor: Tensor) -> Tensor:
        """The pruned entries."""
        return tensor.detach()[self.gone]

    def _tools(self, integers: Tensor) -> tuple[Tensor, Tensor]:
        """Every bit but the sign's at pruned entries, and room for a result; a complex entry is two numbers."""
        if integers.dtype not in self._bits:
            gone = self.gone if integers.dim() == self.gone.dim() else self.gone[..., None].expand_as(integers)
            largest = torch.iinfo(integers.dtype).max
            self._bits[integers.dtype] = torch.where(gone, largest, 0).to(integers.dtype)
            self._scratch[integers.dtype] = torch.empty_like(self._bits[integers.dtype])
        return self._bits[integers.dtype], self._scratch[integers.dtype]


def _integers(tensor: Tensor) -> Tensor:
    """The bits of a dense tensor of floats, as integers of their size; `[..., 2]` of a complex one."""
    tensor = tensor.detach()
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return real.view(_INTEGERS[real.dtype.itemsize])


def inf_bits(dtype: torch.dtype) -> int:
    """The bits of inf in `dtype`, as `Guard.largest` gives them."""
    return int(_integers(torch.tensor(torch.inf, dtype=dtype)).max())
