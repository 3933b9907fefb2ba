"""The unit in which a layer was pruned, as its masks show: whole slices, kernels or blocks, where they went as wholes.

Attention heads are equal groups of slices.

Works on masks and on the shapes of layers that shrank; knows nothing of libraries. torch.nn.utils.prune.ln_structured
and WeightNormSparsifier round their ratio to a number of slices or blocks, so that the weights come out near the
planned number, within less than one unit a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from math import gcd, log2

import numpy as np

PROOF = 16  # weights that went or stayed with their unit, before a unit is believed: by chance, once in 2¹⁶
# Sides of blocks that hardware and libraries use; 1 × 1 is no block.
_SIDES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Kind:
    """Which weights make a unit: all with the same index along `axes`, or in the same block of `block` sides.

    `group`: how many slices along an axis make one unit.
    """

    axes: tuple[int, ...] = ()
    block: tuple[int, int] = (1, 1)
    group: int = 1

    def __str__(self) -> str:
        if self.axes:
            slices = f"slices of dimension {' and '.join(map(str, self.axes))}"
            return slices if self.group == 1 else f"groups of {self.group} {slices}"
        return f"blocks of {self.block[0]} × {self.block[1]}"

    def counts(self, mask: np.ndarray) -> np.ndarray | None:
        """How many weights each unit keeps; None where the tensor has no such units."""
        if self.axes:
            if max(self.axes) >= mask.ndim:
                return None
            slices = np.count_nonzero(mask, axis=tuple(set(range(mask.ndim)) - set(self.axes))).ravel()
            return np.add.reduceat(slices, range(0, slices.size, self.group)) if self.group > 1 else slices
        if mask.ndim != 2:
            return None
        height, width = self.block
        rows = np.add.reduceat(mask.astype(np.int64), range(0, mask.shape[0], height))
        return np.add.reduceat(rows, range(0, mask.shape[1], width), axis=1).ravel()


_SMALLEST = (Kind(block=(1, 2)), Kind(block=(2, 1)))


@dataclass(frozen=True)
class Cut:
    """What a stage did to a layer in units of a kind: how many had weights before, and how many have some after.

    `kind` None: single weights. `weights` is the most that a unit had; `proof` how many weights went or stayed because
    others of their unit did.
    """

    kind: Kind | None
    active: int
    kept: int
    weights: int = 1
    proof: int = 0

    def meets(self, share: Fraction) -> bool:
        """Whether it prunes a share of its units, to within less than one."""
        return abs(self.active - self.kept - share * self.active) < 1


def cuts_of(before: np.ndarray, after: np.ndarray) -> list[Cut]:
    """What a stage did to a layer, in single weights and in every larger unit that stayed or went as a whole.

    Args:
        before: Mask of the layer, any shape.
        after: Its mask a stage later: of the same shape, or where the layer itself shrank, of a smaller one.

    Returns:
        The cuts, single weights first; none where nothing or everything went, so that any unit explains it.
    """
    if before.shape != after.shape:
        return [_shrunk(before, after)]
    single = Cut(None, int(before.sum()), int(after.sum()))
    if (after & ~before).any():  # what came back is no unit
        return [single]
    if not after.any() or (after == before).all():
        return []
    if before.ndim == 2 and not any(_cut(kind, before, after) for kind in _SMALLEST):
        return [single]  # larger units are made of these
    return [single, *(cut for kind in _kinds(before.shape) if (cut := _cut(kind, before, after)) is not None)]


def chosen(layers: Sequence[Sequence[Cut]]) -> list[Cut | None]:
    """One cut for each layer: in the largest unit that all of them show, or else in the largest that each shows.

    What is pruned in blocks of four has by chance, in a small layer, gone in blocks of eight; and neighbouring rows are
    blocks, too.
    """
    shown = [{cut.kind: cut for cut in cuts} for cuts in layers if cuts]
    common = [kind for kind in (shown[0] if shown else {}) if all(kind in cuts for cuts in shown)]
    best = max(common, key=lambda kind: _rank([cuts[kind] for cuts in shown]), default=None)
    if best is not None and any(cuts[best].weights > 1 for cuts in shown):
        return [next(cut for cut in cuts if cut.kind == best) if cuts else None for cuts in layers]
    return [_largest(cuts) for cuts in layers]


def _largest(cuts: Sequence[Cut]) -> Cut | None:
    return max(cuts, key=lambda cut: _rank([cut]), default=None)


def grouped(masks: Sequence[tuple[np.ndarray, np.ndarray]], layers: Sequence[Sequence[Cut]]) -> list[Cut | None]:
    """The largest cut of each layer, slices in the largest groups that went or stayed as wholes in all, as heads do.

    The places where what went begins and ends have to be multiples of the group, in so many different places that
    this is not chance.

    Args:
        masks: Of each layer before and after a stage.
        layers: The cuts of each.
    """
    cuts = [_largest(shown) for shown in layers]
    lines = [_edges(cut, *layer) for layer, cut in zip(masks, cuts, strict=True)]
    places = {place for line in lines for place in line[:-1]}
    size = gcd(*(place for line in lines for place in line))
    if len(places) * log2(max(size, 1)) < PROOF:
        return cuts
    return [cut if cut is None or cut.kind is None or not line else _cut(replace(cut.kind, group=size), *layer)
            for layer, cut, line in zip(masks, cuts, lines, strict=True)]  # fmt: skip


def _edges(cut: Cut | None, before: np.ndarray, after: np.ndarray) -> list[int]:
    """Where slices of a layer begin or cease to be there, before or after, and their number; none of other units."""
    if cut is None or cut.kind is None or len(cut.kind.axes) != 1 or before.shape != after.shape:
        return []
    there = [counts > 0 for mask in (before, after) if (counts := cut.kind.counts(mask)) is not None]
    return [*(int(place) + 1 for line in there for place in np.flatnonzero(np.diff(line))), there[0].size]


def _rank(cuts: Sequence[Cut]) -> tuple[bool, int]:
    """Slices before blocks, then the larger unit; a slice of one weight is none."""
    sliced = any(cut.kind is not None and cut.kind.axes and cut.weights > 1 for cut in cuts)
    return sliced, sum(cut.weights for cut in cuts)


def in_kind(kind: Kind | None, before: np.ndarray, after: np.ndarray) -> Cut | None:
    """The cut of a layer of which nothing or everything went, in units of a kind that other layers show."""
    counts = before.ravel() if kind is None else kind.counts(before)
    if counts is None:
        return None
    units = int(np.count_nonzero(counts))
    return Cut(kind, units, units if after.any() else 0)


def dimensions(before: np.ndarray, after: np.ndarray) -> list[Cut] | None:
    """Slices that went along each dimension, where what is left is a grid of whole ones; None where it is not.

    A network whose neurons are removed loses rows of one layer and columns of the next.
    """
    if before.ndim != after.ndim:
        return None
    if before.shape != after.shape:
        cuts = [Cut(Kind((axis,)), old, after.shape[axis]) for axis, old in enumerate(before.shape)
                if old != after.shape[axis]]  # fmt: skip
        return cuts if all(cut.kept < cut.active for cut in cuts) else None
    grid, cuts = before.copy(), []
    for axis in range(before.ndim):
        rest = tuple(set(range(before.ndim)) - {axis})
        old, new = before.any(axis=rest), after.any(axis=rest)
        grid &= np.expand_dims(new, rest)
        if (old != new).any():
            cuts.append(Cut(Kind((axis,)), int(old.sum()), int(new.sum())))
    return cuts if (grid == after).all() else None


def _kinds(shape: Sequence[int]) -> Iterator[Kind]:
    yield from (Kind((axis,)) for axis in range(len(shape)))
    if len(shape) > 2:
        yield Kind((0, 1))  # kernels of a convolution
    if len(shape) == 2:
        yield from (Kind(block=sides) for sides in product(_SIDES, _SIDES) if sides != (1, 1))


def _cut(kind: Kind, before: np.ndarray, after: np.ndarray) -> Cut | None:
    """The cut in units of a kind, if each unit stayed as it was or went as a whole."""
    old, new = kind.counts(before), kind.counts(after)
    if old is None or new is None or not ((new == old) | (new == 0)).all():
        return None
    units = int(np.count_nonzero(old))
    return Cut(kind, units, int(np.count_nonzero(new)), int(old.max()), proof=int(old.sum()) - units)


def _shrunk(before: np.ndarray, after: np.ndarray) -> Cut:
    """A layer that is smaller along just one dimension lost whole slices of it."""
    cuts = dimensions(before, after)
    if cuts is None or len(cuts) != 1:
        return Cut(None, int(before.sum()), int(after.sum()))
    weights = before.size // cuts[0].active
    return Cut(cuts[0].kind, cuts[0].active, cuts[0].kept, weights, proof=before.size - cuts[0].active)
