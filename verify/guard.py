"""One weight while it is watched: which of its entries are pruned, and what a look at a tensor of its shape shows.

Knows one weight's bits; nothing of models, optimizers or findings.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from spinn.errors import InputError
from verify.places import Place, Weight

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Room = dict[tuple[torch.dtype, torch.device], Tensor]
"""For results that are needed for a moment: one for all weights, so that it stays in the cache."""


class Guard:
    """One weight: which of its entries are pruned, as bits to test tensors with, and what these were when they went.

    Attributes:
        pruned: How many entries are pruned. Where none is, there is nothing to ask.
        zeros: How many entries were zero at first, of a weight with two dimensions or more that has had no mask.
        assumed: Whether those were taken for pruned: where they count, and are not the whole weight, which nothing
            tells from a layer that begins at zero.
        leaf: The parameter that was last judged, which another one may stand in for (torch.func.functional_call).
        largest_before: `largest` of what lies under a mask, as it was when it was pruned.
    """

    largest_before: int

    def __init__(self, place: Place, room: Room, *, zeros_count: bool) -> None:
        self.place = place
        weight = place.read()
        self.leaf = weight.leaf
        leaf = weight.leaf.detach()
        self.zeros = int((leaf == 0).sum()) if weight.mask is None and leaf.dim() >= 2 else 0
        self.assumed = zeros_count and 0 < self.zeros < leaf.numel()
        if weight.mask is not None:
            self.gone = weight.mask.detach() == 0
        else:
            self.gone = leaf == 0 if self.assumed else torch.zeros_like(leaf, dtype=torch.bool)
        self._mask: Tensor | None = None  # as it was when it was last looked at
        self._before = leaf.clone() if weight.masked else None
        self.pruned = int(self.gone.sum())
        self._grown = 0
        self._bits: dict[torch.dtype, Tensor] = {}
        self._room = room

    def shrink(self, weight: Weight) -> int:
        """Take over the mask as it is now; returns how many entries it keeps that were pruned at some time.

        The whole mask is compared each time: torch's own count of changes does not see `mask.data` nor numpy.

        Raises:
            InputError: the weight has another shape than when the watch began.
        """
        if weight.leaf.shape != self.gone.shape:
            now, then = tuple(weight.leaf.shape), tuple(self.gone.shape)
            raise InputError(
                f"{self.place.name} = {now}: it was {then} when the watch began; end the block before the model is "
                "rebuilt, and watch the new one"
            )
        mask = weight.mask
        if mask is None:
            return 0
        if self._mask is not None and _same(mask.detach(), self._mask):
            return self._grown
        self.zeros = 0
        self._mask = mask.detach().clone(memory_format=torch.contiguous_format)
        now = mask.detach() == 0
        self._grown = int((self.gone & ~now).sum())
        leaf = weight.leaf.detach()
        if weight.masked:
            self._before = leaf.clone() if self._before is None else torch.where(self.gone, self._before, leaf)
        self.gone = self.gone | now  # what came back stays watched
        self.pruned = int(self.gone.sum())
        self._bits.clear()
        if self.pruned and self._before is not None:
            self.largest_before = self.largest(self._before)
        return self._grown

    def forget_zeros(self) -> None:
        """Take none of the entries that were zero for pruned any more."""
        self.assumed, self.gone, self.pruned = False, torch.zeros_like(self.gone), 0
        self._bits.clear()

    def is_quiet(self, weight: Weight, state: list[Tensor]) -> bool:
        """Whether the pruned entries are as they have to be: under a mask as they were, else zero, and zero in `state`.

        One question of all tensors at once, which takes two thirds of the time of one each; where the answer is no,
        `has_moved` and `largest` tell of which. A tensor of another type than the weight's is not quiet.
        """
        if weight.masked and self.largest_before >= inf_bits(weight.leaf.dtype):
            return False
        found, *others = _integers(weight.leaf), *map(_integers, state)
        bits, scratch = self._tools(found)
        if any(other.dtype != bits.dtype for other in others):
            return False
        if weight.masked:
            assert self._before is not None
            found = torch.bitwise_xor(found, _integers(self._before), out=scratch)
        for other in others:
            found = torch.bitwise_or(found, other, out=scratch)
        return not int(torch.bitwise_and(found, bits, out=scratch).amax())

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
        """The pruned entries under the mask that are not what they were, nor zero, as they are now.

        Asked where some moved. What moved to zero has nothing to come back with.
        """
        assert self._before is not None
        now = self.of(leaf)
        return now[(now != self.of(self._before)) & (now != 0)]

    def settle(self, leaf: Tensor) -> None:
        """Compare with what lies under the mask now from here on."""
        self._before = leaf.detach().clone()
        self.largest_before = self.largest(self._before)

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
        bits = self._bits[integers.dtype]
        room = self._room.get((bits.dtype, bits.device))
        if room is None or room.numel() < bits.numel():
            room = self._room[bits.dtype, bits.device] = bits.new_empty(bits.numel())
        return bits, room[: bits.numel()].view(bits.shape)


def _same(mask: Tensor, known: Tensor) -> bool:
    """Whether two masks are equal bit by bit, eight bytes at a time where they are laid out so: half the time."""
    if mask.dtype != known.dtype:
        return False
    # a mask may begin in the middle of one vector that holds all masks
    if mask.is_contiguous() and not (mask.numel() * mask.itemsize % 8 or mask.storage_offset() * mask.itemsize % 8):
        return torch.equal(mask.view(-1).view(torch.int64), known.view(-1).view(torch.int64))
    return torch.equal(mask, known)


def _integers(tensor: Tensor) -> Tensor:
    """The bits of a dense tensor of floats, as integers of their size; `[..., 2]` of a complex one."""
    tensor = tensor.detach()
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return real.view(_INTEGERS[real.dtype.itemsize])


@functools.cache
def inf_bits(dtype: torch.dtype) -> int:
    """The bits of inf in `dtype`, as `Guard.largest` gives them."""
    return int(_integers(torch.tensor(torch.inf, dtype=dtype)).max())
