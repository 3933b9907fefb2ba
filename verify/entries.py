"""The tensors of one state dict by the names of their parameters, each with its mask if the state has one.

Knows the names that libraries give: prefixes of wrappers, `<name>_orig` and `<name>_mask` (torch.nn.utils.prune), a
buffer `mask` or `<name>_mask` beside its weight (layers written by hand), parametrizations (torch.nn.utils.parametrize,
with any number of masks; torch.ao.pruning's has a mask or leaves it out), spectral_norm's `_u` and `_v`, weight_norm's
magnitude and direction.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from os.path import commonprefix

import numpy as np

from verify.infinities import is_added
from verify.state_files import State

_WRAPPERS = re.compile(r"^((module|_orig_mod)\.)+")  # torch.nn.DataParallel and AveragedModel, torch.compile
_AVERAGED = "n_averaged"  # how many states an AveragedModel is the mean of, beside its `module.`
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", _AVERAGED)
_MASKED_OUT = -1e4  # what is added to keep attention away is this or less, down to −inf; no weight is
# more than ten parts no parametrization has, and a file that has them makes each of them look for all masks
_PARAMETRISED = re.compile(r"(?s)(?P<path>(?:.+\.)?)parametrizations\.(?P<tensor>[^.]+)\.original(?P<part>\d?)\Z")

Arrays = Mapping[str, np.ndarray]


class _Named(dict[str, np.ndarray]):
    """Arrays by name, and those whose names begin alike, without looking at all the others."""

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self)

    def beginning(self, start: str) -> Iterator[str]:
        """The names that begin so."""
        for at in range(bisect_left(self._sorted, start), len(self)):
            if not self._sorted[at].startswith(start):
                return
            yield self._sorted[at]


@dataclass(frozen=True)
class Entry:
    """A tensor as it is stored under `key`, its mask of 0 and 1, and whether the two are multiplied at each use.

    `proven`: whether, or where, the state shows that they are; a buffer beside the tensor, which any code may use or
    not, does not. `unknown`: it is parametrised, by what the state does not say, so that there may be a mask.
    `unreadable`: what is called its mask is not 0 and 1 in its shape.
    """

    key: str
    tensor: np.ndarray
    mask: np.ndarray | None = None
    masked: bool = False
    proven: bool | np.ndarray = True
    unknown: bool = False
    unreadable: bool = False


@dataclass(frozen=True)
class Entries:
    """All of a state: parameters by name, and what has no name here.

    Attributes:
        name: What messages call the state.
        entries: Name of the parameter → entry.
        others: Parameters that belong to an entry and are never pruned: magnitudes of weight_norm.
        buffers: All other tensors by name: statistics, masks, magnitudes, integers.
        aliases: Name → an earlier name of the same storage.
        orphans: Names of parameters that are stored as `<name>_orig` without a mask.
        skipped: Entries that are no tensors.
        misfits: Buffers of 0 and 1 that are called as the masks of tensors of another shape.
    """

    name: str
    entries: dict[str, Entry]
    others: int = 0
    buffers: dict[str, np.ndarray] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    orphans: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    misfits: tuple[str, ...] = ()

    def merged(self, tied: Mapping[str, str]) -> Entries:
        """The same with each tied tensor once: an entry is kept where any of its uses keeps it."""
        entries: dict[str, Entry] = {}
        for name, entry in self.entries.items():
            home = tied.get(name, name)
            entries[home] = _union(entries[home], entry) if home in entries else entry
        return replace(self, entries=entries)

    def as_in(self, dense: Entries) -> Entries:
        """The same where what is called a mask, or looks like one, is a parameter if it is one in the dense network.

        A parameter of which nothing is left looks like a mask of zeros, one of which only a −inf is left like a mask
        that is added, and a mask that is learned from ones on like a parameter later.
        """
        strangers = {name for name in self.entries if is_mask_by_name(name) and name not in dense.entries}
        found = {name for name, tensor in self.buffers.items()
                 if name in dense.entries and (is_mask_by_name(name) or is_added(tensor))}  # fmt: skip
        kept = {name: entry for name, entry in self.entries.items() if name not in strangers}
        rest = {name: tensor for name, tensor in self.buffers.items() if name not in found}
        return replace(
            self,
            entries=kept | {name: Entry(name, self.buffers[name]) for name in found},
            buffers=rest | {name: self.entries[name].tensor for name in strangers},
        )

    def without(self, prefix: str | None) -> Entries:
        """The same with a prefix, if there is one, taken off the names of all parameters."""
        if prefix is None:
            return self
        return replace(
            self,
            entries={name.removeprefix(prefix): entry for name, entry in self.entries.items()},
            buffers={name.removeprefix(prefix): tensor for name, tensor in self.buffers.items()},
            aliases={name.removeprefix(prefix): first.removeprefix(prefix) for name, first in self.aliases.items()},
            orphans=tuple(name.removeprefix(prefix) for name in self.orphans),
        )


def entries_of(name: str, state: State) -> Entries:
    """The parameters of a state, which messages call `name`."""
    prefix = _prefix(state.tensors)
    tensors = _Named({key.removeprefix(prefix): tensor for key, tensor in state.tensors.items()})
    aliases = {key.removeprefix(prefix): first.removeprefix(prefix) for key, first in state.aliases.items()}
    names = {key: _name(key, tensors) for key, tensor in tensors.items()
             if _is_number(tensor) and not _is_beside(key, tensors)}  # fmt: skip
    shared = {plain for plain, count in Counter(names.values()).items() if count > 1}
    names = {key: key if plain in shared else plain for key, plain in names.items()}
    entries = {plain: _entry(key, plain, tensors, state.applied) for key, plain in names.items()
               if not _is_magnitude(key, tensors)}  # fmt: skip
    return Entries(
        name,
        entries,
        others=sum(tensors[key].size for key in names if _is_magnitude(key, tensors)),
        buffers={plain: tensor for key, tensor in tensors.items() if (plain := names.get(key, key)) not in entries},
        aliases={names[key]: names[first] for key, first in aliases.items() if key in names and first in names},
        orphans=tuple(plain for plain, entry in entries.items() if _is_orphan(plain, entry, tensors)),
        skipped=state.skipped,
        misfits=tuple(
            mask
            for key, plain in names.items()
            for mask in _buffers(plain, tensors)
            if _is_binary(tensors[mask]) and not _fits(tensors[mask], tensors[key])
        ),
    )


def _prefix(tensors: Arrays) -> str:
    """What wrappers put before all names; a number that was saved beside the matrices has no module."""
    names = [key for key in tensors if not key.endswith(_AVERAGED)]
    names = [key for key in names if tensors[key].ndim >= 2] or names
    common = commonprefix(names)  # noqa: RUF071 - compares letters, but the pattern ends at a dot
    prefix = common.removesuffix(_WRAPPERS.sub("", common))
    clash = len({key.removeprefix(prefix) for key in tensors}) < len(tensors)
    return "" if clash else prefix


def _union(one: Entry, other: Entry) -> Entry:
    if one.mask is None or other.mask is None:
        unknown, unreadable = one.unknown or other.unknown, one.unreadable or other.unreadable
        return replace(one, mask=None, masked=False, unknown=unknown, unreadable=unreadable)
    return replace(one, mask=(one.mask != 0) | (other.mask != 0), proven=one.proven & other.proven)


# --- masks ----------------------------------------------------------------------------------------------------------


def _registered(key: str, tensors: _Named) -> list[str]:
    """The names of the masks that torch itself multiplies with tensor `key` in the forward pass, one after another."""
    if _PARAMETRISED.match(key):
        held = key.rpartition("original")[0]
        return [name for name in tensors.beginning(held) if name.endswith(".mask")]
    mask = f"{key.removesuffix('_orig')}_mask"
    return [mask] if key.endswith("_orig") and mask in tensors else []


def _buffers(plain: str, tensors: _Named) -> list[str]:
    """The names of buffers beside parameter `plain` that its author may have meant as its mask."""
    path, _, leaf = plain.rpartition(".")
    beside = [f"{plain}_mask", *([f"{path}.mask" if path else "mask"] if leaf == "weight" else [])]
    return [mask for mask in beside if mask in tensors]


def _is_binary(mask: np.ndarray) -> bool:
    return bool(((mask == 0) | (mask == 1)).all())


def _fits(mask: np.ndarray, tensor: np.ndarray) -> bool:
    """Whether an array is 0 and 1 in the shape of a tensor, but that it may be the same along whole dimensions."""
    if mask.ndim != tensor.ndim or not _is_binary(mask):
        return False
    return bool((np.equal(mask.shape, tensor.shape) | np.equal(mask.shape, 1)).all())


def _entry(key: str, plain: str, tensors: _Named, applied: bool) -> Entry:
    """Tensor `key` of parameter `plain` with the product of all its masks: torch's own, and those that lie beside."""
    tensor, registered = tensors[key], _registered(key, tensors)
    if not all(_fits(tensors[mask], tensor) for mask in registered):
        return Entry(key, tensor, unknown=True, unreadable=True)
    own = [tensors[mask] for mask in registered]
    beside = [tensors[mask] for mask in _buffers(plain, tensors)
              if mask not in registered and _fits(tensors[mask], tensor)]  # fmt: skip
    if _is_unknown(key, tensors) or not own + beside:
        return Entry(key, tensor, unknown=_is_unknown(key, tensors))
    mask = _product([*own, *beside], tensor.shape)
    if own:
        return Entry(key, tensor, mask, masked=True, proven=_product(own, tensor.shape) == 0 if beside else True)
    return Entry(key, tensor, mask, masked=not applied, proven=applied)


def _product(masks: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(reduce(np.multiply, masks), shape)


# --- names ----------------------------------------------------------------------------------------------------------


def _is_number(tensor: np.ndarray) -> bool:
    """Floating-point or complex: what may be trained."""
    return bool(np.issubdtype(tensor.dtype, np.inexact))


def is_mask_by_name(key: str) -> bool:
    """Whether a tensor is called a mask."""
    return key.rpartition(".")[2] == "mask" or key.endswith("_mask")


def _is_mask(tensor: np.ndarray) -> bool:
    """Whether the values of a tensor are those of a mask: 0 and 1, or some that keep attention away."""
    return _is_binary(tensor) or bool((np.real(tensor) <= _MASKED_OUT).any())


def _is_beside(key: str, tensors: _Named) -> bool:
    """Buffers: running statistics, masks that are no weight's, and the vectors of spectral_norm."""
    if key.endswith(_BUFFERS) or (is_mask_by_name(key) and _is_mask(tensors[key])):
        return True
    if is_added(tensors[key]) and not _registered(key, tensors):
        return True
    if key.endswith(("_u", "_v")):
        return ".parametrizations." in f".{key}" or f"{key[:-2]}_orig" in tensors
    return False


def _is_magnitude(key: str, tensors: _Named) -> bool:
    """The magnitude of weight_norm, g of Salimans and Kingma (2016): one number for each row of its direction v."""
    parametrised = _PARAMETRISED.match(key)
    if parametrised:
        return parametrised["part"] == "0" and f"{key[:-1]}1" in tensors
    return key.endswith("_g") and _is_normed(key[:-2], tensors)


def _is_normed(plain: str, tensors: _Named) -> bool:
    """Whether a parameter is stored as weight_norm's `<name>_g` and `<name>_v`."""
    if f"{plain}_g" not in tensors or f"{plain}_v" not in tensors or plain in tensors:
        return False
    magnitude, direction = tensors[f"{plain}_g"], tensors[f"{plain}_v"]
    return magnitude.ndim in (0, direction.ndim) and magnitude.size in (1, *direction.shape)


def _name(key: str, tensors: _Named) -> str:
    """The name of the parameter that is stored under `key`."""
    parametrised = _PARAMETRISED.match(key)
    plain = key.removesuffix("_orig")
    if parametrised:
        plain = f"{parametrised['path']}{parametrised['tensor']}" if parametrised["part"] in ("", "1") else key
    elif key.endswith("_v") and _is_normed(key[:-2], tensors):
        plain = key[:-2]
    return key if plain in tensors else plain


def _is_unknown(key: str, tensors: _Named) -> bool:
    """Whether nothing beside a parametrised tensor says by what it is, as with FakeSparsity of torch.ao.pruning."""
    parametrised = _PARAMETRISED.match(key)
    if not parametrised or parametrised["part"]:
        return False
    held = key.removesuffix("original")
    return not any(name != key for name in tensors.beginning(held))


def _is_orphan(plain: str, entry: Entry, tensors: _Named) -> bool:
    """`<name>_orig` without a mask; beside `<name>_u` it is spectral_norm's."""
    return entry.key == f"{plain}_orig" and f"{plain}_mask" not in tensors and f"{plain}_u" not in tensors
