"""State dicts as stages of pruning: which tensors are prunable, which of their entries are kept, what else there is.

Knows how libraries name masks and parametrised weights; judges nothing. Prunable are the tensors that have a mask in
any of the states, or where there are no masks at all, the floating-point tensors with at least two dimensions. A state
without masks has them by its zeros, apart from what has never been anything but zero; a state with masks has them by
its zeros, too, where these are too many for chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import accumulate

import numpy as np

from spinn.errors import InputError
from verify.entries import Entries, Entry, entries_of, is_mask_by_name
from verify.infinities import faults_and_notes
from verify.state_files import State

# Zeros of a stage beside its masks that are more than chance: of trained weights hardly one in a million is zero, and
# in a small network hardly a handful.
_RARE = 1e-6
_HANDFUL = 8

Places = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Weight:
    """A prunable tensor: `used` as the network computes with it, `kept` its mask.

    Attributes:
        used: The values that the network computes with.
        kept: Which entries are not pruned.
        stored: What lies in the file, where its mask is multiplied with it at each use; what is under that does no
            harm. None where it is `used`.
        stated: Whether the file has a mask of it, or only zeros.
        proven: Whether, or where, the file shows that the network multiplies `stored` with its mask; elsewhere it may.
        known: Whether the file can say what is kept: not where a parametrization's mask is left out, or is none.
        idle: Where it is zero by no mask, and was in every state so far; that counts as kept, if not `read` otherwise.
        beside: Where the stated mask keeps what is zero, and was not in an earlier state; that counts as pruned, if not
            `read` otherwise.
    """

    used: np.ndarray
    kept: np.ndarray
    idle: np.ndarray
    beside: np.ndarray
    stored: np.ndarray | None = None
    stated: bool = False
    proven: bool | np.ndarray = True
    known: bool = True


Reading = Callable[[Weight], Weight]

# What zeros that no mask states are taken for, in all stages alike, by what is said of counts; the likeliest first.
READINGS: dict[str, Reading] = {
    "": lambda weight: weight,
    ", zeros of the dense network counted as pruned": lambda weight: replace(weight, kept=weight.kept & ~weight.idle),
    ", zeros beside the masks counted as kept": lambda weight: replace(weight, kept=weight.kept | weight.beside),
}


@dataclass(frozen=True)
class Stage:
    """One state dict: `number` 0 is the dense network.

    Attributes:
        number: Its place among the states.
        name: What messages call it.
        weights: Its prunable tensors by the name of the parameter, `0.weight`.
        others: How many parameters it has that are not prunable.
        spared: Tensors with at least two dimensions that are not prunable, or ignored.
        wild: Tensor → entries that are inf or NaN, which is a fault.
        infinite: Tensor → entries that are inf, which may be meant.
        unmasked: Parametrised tensors whose mask, if it is one, is not in the file, or is not 0 and 1.
        gated: Those among them that have something else than 0 and 1 by the name of a mask.
        lost: Tensors of torch.nn.utils.prune whose mask is gone.
        skipped: Entries of the state that are no tensors.
        misfits: Buffers that may be masks, of other shapes than the tensors beside them.
    """

    number: int
    name: str
    weights: dict[str, Weight]
    others: int
    spared: tuple[str, ...] = ()
    wild: dict[str, int] = field(default_factory=dict)
    infinite: dict[str, int] = field(default_factory=dict)
    unmasked: tuple[str, ...] = ()
    gated: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    misfits: tuple[str, ...] = ()

    @property
    def kept(self) -> dict[str, int]:
        """Kept weights of each layer."""
        return {name: int(np.count_nonzero(weight.kept)) for name, weight in self.weights.items()}

    @property
    def size(self) -> int:
        """Prunable weights that it has places for."""
        return sum(weight.kept.size for weight in self.weights.values())

    def read(self, reading: Reading) -> Stage:
        """The same where zeros are read otherwise."""
        return replace(self, weights={name: reading(weight) for name, weight in self.weights.items()})


def stages_of(
    states: Sequence[State], names: Sequence[str], ignored_layers: Sequence[str] = ()
) -> tuple[list[Stage], dict[str, str]]:
    """Read states as stages.

    Args:
        states: The dense network's, then one for each stage.
        names: What messages call them.
        ignored_layers: Names of tensors or modules that are not pruned on purpose; `*` and `?` stand for anything.

    Returns:
        The stages, and tied weights: other name → the name under which the tensor is counted.

    Raises:
        InputError: a state without weights, a pattern that no tensor matches, or a mask that is none.
    """
    read = [entries_of(name, state) for name, state in zip(names, states, strict=True)]
    read = _alike(read)
    read = [read[0], *(entries.as_in(read[0]) for entries in read[1:])]
    tied = _tied(read)
    read = [entries.merged(tied) for entries in read]
    ignored = _ignored(read, ignored_layers)
    prunable = _prunable(read, ignored)
    _check_masks(read, prunable)
    asleep = _always(read, prunable, lambda entry: entry.tensor == 0)
    idle = _always(read, prunable, lambda entry: (entry.tensor == 0) & _keeps(entry))
    beside = [_beside(entries, zero) for entries, zero in zip(read, asleep, strict=True)]
    many = any(map(_are_many, beside))
    stages = []
    for number, entries in enumerate(read):
        zeros = (idle[number], beside[number] if many else {})
        weights = dict(_weights(entries, prunable, *zeros, is_dense=number == 0))
        if not weights:
            raise InputError(f"{entries.name}: {_nothing(entries, ignored)}")
        stages.append(_stage(number, entries, weights, _lost(entries, read), ignored))
    return stages, tied


# --- names ----------------------------------------------------------------------------------------------------------


def _alike(read: Sequence[Entries]) -> list[Entries]:
    """The states without the prefix that some have before all names and others have not: Lightning's `model.`."""
    plain = min((set(entries.entries) for entries in read), key=lambda names: sum(map(len, names)))
    return [entries.without(_added(set(entries.entries), plain)) for entries in read]


def _added(names: set[str], plain: set[str]) -> str | None:
    """The modules that `names` have before all of `plain`; None where the two differ in more, or in nothing."""
    if not names or len(names) != len(plain):
        return None
    prefix = min(names).removesuffix(min(plain))
    return prefix if prefix.endswith(".") and names == {prefix + name for name in plain} else None


# --- what is prunable -----------------------------------------------------------------------------------------------


def _prunable(read: Sequence[Entries], ignored: set[str]) -> set[str]:
    """Names of prunable tensors, the same for all states; one that the dense network has no entries of is none.

    A mask of ones that is learned later is no mask, and those of layers that are ignored say nothing of others.
    """
    learned = {name for entries in read for name, entry in entries.entries.items() if entry.unreadable}
    stated = {name for entries in read for name, entry in entries.entries.items() if entry.mask is not None}
    hidden = {name for entries in read for name, entry in entries.entries.items() if entry.unknown}
    flat = {name for entries in read for name, entry in entries.entries.items() if entry.tensor.ndim >= 2}
    empty = {name for name, entry in read[0].entries.items() if not entry.tensor.size}
    gates = {name for name in flat if ".parametrizations." in f".{name}" and is_mask_by_name(name)}
    return (stated | hidden if stated - learned - ignored else flat - gates) - empty - ignored


def _check_masks(read: Sequence[Entries], prunable: set[str]) -> None:
    """Refuse masks of torch.nn.utils.prune that are none; of a parametrization, a learned gate has that name too."""
    for entries in read:
        for name, entry in entries.entries.items():
            if name in prunable and entry.unreadable and entry.key.endswith("_orig"):
                shape = entry.tensor.shape
                raise InputError(
                    f"{entries.name}: the mask of {entry.key} is not 0 and 1 in the shape {shape}; is it a mask?"
                )


def _ignored(read: Sequence[Entries], patterns: Sequence[str]) -> set[str]:
    names = list(dict.fromkeys(name for entries in read for name in entries.entries))
    buffers = dict.fromkeys(name for entries in read for name in entries.buffers)
    ignored: set[str] = set()
    for pattern in patterns:
        matched = {
            name for name in (*names, *buffers) if any(fnmatchcase(part, pattern) for part in _with_parents(name))
        }
        if not matched:
            raise InputError(f"ignored_layers = {pattern}: no tensor or module has that name; there are {_some(names)}")
        ignored |= matched
    return ignored


def _with_parents(name: str) -> list[str]:
    """A tensor's name and those of the modules that it is in: a.b.weight, a.b, a."""
    return list(accumulate(name.split("."), lambda path, part: f"{path}.{part}"))


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _tied(read: Sequence[Entries]) -> dict[str, str]:
    """Tensors that are the same storage in every state that has both: other name → name that every state has."""
    tied: dict[str, str] = {}
    for other, first in dict(pair for entries in read for pair in entries.aliases.items()).items():
        both = [entries for entries in read if other in entries.entries and first in entries.entries]
        if any(entries.aliases.get(other) != first for entries in both):
            continue
        if all(first in entries.entries for entries in read):
            tied[other] = first
        elif all(other in entries.entries for entries in read):
            tied[first] = other
    return tied


def _lost(entries: Entries, read: Sequence[Entries]) -> tuple[str, ...]:
    """`<name>_orig` without a mask, where the name or another state says that torch.nn.utils.prune wrote it."""
    plain = {name for other in read for name in set(other.entries) - set(other.orphans)}
    return tuple(name for name in entries.orphans if name in plain or name.rpartition(".")[2] in ("weight", "bias"))


# --- weights --------------------------------------------------------------------------------------------------------


def _nothing(entries: Entries, ignored: set[str]) -> str:
    """Why a state has no weights."""
    flat = [name for name, entry in entries.entries.items() if entry.tensor.ndim >= 2 and name not in ignored]
    if any(entries.entries[name].tensor.size for name in flat):
        return f"the layers that other states have masks of are not in it, but {_some(flat)}; are the names the same?"
    hint = f"; no tensors, and not read: {_some(entries.skipped)}" if entries.skipped else ""
    return f"no weights; expected floating-point tensors with at least two dimensions that are not ignored{hint}"


def _stage(
    number: int, entries: Entries, weights: dict[str, Weight], lost: tuple[str, ...], ignored: set[str]
) -> Stage:
    tensors = {name: entry.tensor for name, entry in entries.entries.items()}
    buffers = {name: tensor for name, tensor in entries.buffers.items() if not is_mask_by_name(name)}
    wild, infinite = faults_and_notes(tensors | buffers, ignored, tensors)
    unmasked = {name: entry for name, entry in entries.entries.items() if entry.unknown and name in weights}
    rest = {name: entry.tensor for name, entry in entries.entries.items() if name not in weights}
    return Stage(
        number,
        entries.name,
        weights,
        others=entries.others + sum(tensor.size for tensor in rest.values()),
        spared=tuple(name for name, tensor in rest.items() if tensor.ndim >= 2),
        wild=wild,
        infinite=infinite,
        unmasked=tuple(entry.key for entry in unmasked.values()),
        gated=tuple(entry.key for entry in unmasked.values() if entry.unreadable),
        lost=lost,
        skipped=entries.skipped,
        misfits=entries.misfits,
    )


def _weights(
    entries: Entries, prunable: set[str], idle: Places, beside: Places, *, is_dense: bool
) -> Iterator[tuple[str, Weight]]:
    for name, entry in entries.entries.items():
        if name not in prunable:
            continue
        nowhere = np.zeros(entry.tensor.shape, bool)
        if entry.mask is None:
            whole = is_dense or entry.unknown
            rests = nowhere if whole else idle.get(name, nowhere)
            kept = np.ones_like(nowhere) if whole else (entry.tensor != 0) | rests
            yield name, Weight(entry.tensor, kept, rests, nowhere, known=not entry.unknown)
            continue
        with np.errstate(invalid="ignore"):  # inf · 0 is NaN, for the network too
            used = entry.tensor * (entry.mask != 0) if entry.masked else entry.tensor
        zero = beside.get(name, nowhere)
        kept, stored = (entry.mask != 0) & ~zero, entry.tensor if entry.masked else None
        yield name, Weight(used, kept, nowhere, zero, stored, stated=True, proven=entry.proven)


def _keeps(entry: Entry) -> np.ndarray:
    return np.ones(entry.tensor.shape, bool) if entry.mask is None else entry.mask != 0


def _always(read: Sequence[Entries], prunable: set[str], holds: Callable[[Entry], np.ndarray]) -> list[Places]:
    """Of each state where something holds, and held in every state before it; only of tensors of the same shape."""

    def both(before: Places, now: Places) -> Places:
        return {name: place & before[name] for name, place in now.items()
                if name in before and before[name].shape == place.shape}  # fmt: skip

    found = ({name: holds(entry) for name, entry in entries.entries.items() if name in prunable} for entries in read)
    return list(accumulate(found, both))


def _beside(entries: Entries, asleep: Places) -> Places:
    """Where masks keep what is zero, but was not in every state before."""
    masked = {name: (entry.mask != 0, entry.tensor) for name, entry in entries.entries.items()
              if entry.mask is not None and name in asleep}  # fmt: skip
    return {name: keeps & (tensor == 0) & ~asleep[name] for name, (keeps, tensor) in masked.items()}


def _are_many(beside: Places) -> bool:
    """Whether a state has more zeros beside its masks, over all layers, than chance puts there."""
    zeros, weights = sum(int(places.sum()) for places in beside.values()), sum(map(np.size, beside.values()))
    return zeros >= max(_HANDFUL, _RARE * weights)
