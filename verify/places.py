"""Where a model keeps its weights and their masks: torch.nn.utils.prune, torch.ao.pruning, this project's, by hand.

Knows the layouts of those libraries; judges nothing. What is read is the model's own tensors, never a copy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spinn.errors import InputError
from spinn.masks import Masks


@dataclass(frozen=True)
class Weight:
    """A weight as it stands now.

    Attributes:
        leaf: the parameter that the optimizer moves.
        mask: which entries are kept (not 0), of the same shape; None where the model keeps no mask any more.
        masked: whether the weight in use is `leaf · mask`, so that what lies under the mask is hidden.
    """

    leaf: Tensor
    mask: Tensor | None
    masked: bool


@dataclass(frozen=True)
class Place:
    """A weight's name, and how to read it, again and again: masks come and go while a model is trained.

    `owner` is the module that uses the weight when it is called; None where the model is no module.
    """

    name: str
    read: Callable[[], Weight]
    owner: torch.nn.Module | None = None


def find_places(model: Any, masks: Any = None) -> list[Place]:
    """Every parameter of `model` that may have pruned entries, one that is used twice once.

    Args:
        model: A `torch.nn.Module`, or anything with `weights`, a list of tensors `[runs, out, in]`.
        masks: None, `spinn.masks.Masks`, or a dict from parameter name to mask, beside those that the model holds; what
            the dict names later is a mask from then on.

    Raises:
        InputError: `model` is neither, or a mask does not fit.
    """
    if isinstance(model, torch.nn.Module):
        found = _of_module(model)
    elif isinstance(getattr(model, "weights", None), list):
        found = {f"layers.{i}.weight": _plain(f"layers.{i}.weight", w) for i, w in enumerate(model.weights)}
    else:
        raise InputError(f"model = {type(model).__name__}: a torch.nn.Module, or a network with a list of weights")
    places = list(dict.fromkeys(found.values()))
    if masks is None:
        return places
    if isinstance(masks, Masks):
        if len(masks.layers) != len(places):
            raise InputError(f"masks = {len(masks.layers)} layers: the model has {len(places)} weights; one for each")
        masks = dict(zip((place.name for place in places), masks.layers, strict=True))
    elif not isinstance(masks, Mapping):
        kind = type(masks).__name__
        raise InputError(f"masks = {kind}: None, spinn.masks.Masks, or a dict from parameter name to mask")
    named = _Named(masks, found)
    return [named.over(place) for place in places]


def why_unreadable(leaf: Tensor) -> str:
    """Why a weight has no bits to compare; empty where it has: dense, with memory, in a type that torch computes in.

    Nor has a subclass that answers torch's operations itself, as DTensor does: its memory lies in other tensors.
    https://docs.pytorch.org/docs/stable/notes/extending.html#extending-torch-native-api
    """
    if type(leaf).__torch_dispatch__ is not Tensor.__torch_dispatch__:  # type: ignore[attr-defined]
        return type(leaf).__name__
    if leaf.device.type == "meta" or leaf.layout != torch.strided:
        return str(leaf.device if leaf.device.type == "meta" else leaf.layout)
    return str(leaf.dtype) if leaf.is_floating_point() and leaf.itemsize == 1 else ""


class _Named:
    """Masks that a caller names: read anew at each look, and those that are new among them taken up then."""

    def __init__(self, masks: Mapping[str, Any], found: dict[str, Place]) -> None:
        self._masks, self._found = masks, found
        self._taken: set[str] = set()
        self._take_up()

    def over(self, place: Place) -> Place:
        """`place` with what is named of it, by the name that was given; masks of tied weights are multiplied."""
        names = [name for name, known in self._found.items() if known is place]

        def read() -> Weight:
            # a name that takes the place of another one leaves that one's mask missing, which is refused
            if len(self._masks) != len(self._taken):
                self._take_up()
            weight = place.read()
            given = [self._mask(name, weight) for name in names if name in self._taken]
            return Weight(weight.leaf, functools.reduce(torch.mul, given), masked=False) if given else weight

        return Place(next((name for name in names if name in self._taken), place.name), read, place.owner)

    def _take_up(self) -> None:
        """Check each mask that is new."""
        for name in [name for name in self._masks if name not in self._taken]:
            if name not in self._found:
                known = ", ".join(self._found) or "none"
                raise InputError(f"masks[{name!r}]: no such weight; expected one of {known}")
            self._mask(name, self._found[name].read())
            mask = self._masks[name]  # where it is; its weight may be on meta
            if not bool(((mask == 0) | (mask == 1)).all()):
                raise InputError(
                    f"masks[{name!r}]: expected 0 where a weight is pruned and 1 where it is kept, nothing else"
                )
            self._taken.add(name)

    def _mask(self, name: str, weight: Weight) -> Tensor:
        """The mask as its owner has it now."""
        if name not in self._masks:
            raise InputError(f"masks[{name!r}]: gone; a mask that prunes nothing is one of ones")
        if weight.masked:
            raise InputError(f"masks[{name!r}]: the model holds a mask of this weight itself; leave it out of masks")
        now, leaf = self._masks[name], weight.leaf
        if not isinstance(now, Tensor):
            raise InputError(f"masks[{name!r}] = {type(now).__name__}: expected a tensor of the weight's shape")
        if now.shape != leaf.shape:
            raise InputError(f"masks[{name!r}] = {tuple(now.shape)}: expected a tensor of shape {tuple(leaf.shape)}")
        return now.to(leaf.device)


def _plain(name: str, tensor: Tensor) -> Place:
    return Place(name, lambda: Weight(tensor, None, masked=False))


def _of_module(model: torch.nn.Module) -> dict[str, Place]:
    """A place for each parameter under its plain name: `0.weight`, however a library has renamed what is behind it.

    Tied weights have one place under all their names.
    """
    places: dict[tuple[int, int], Place] = {}
    named: dict[str, Place] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if _is_parametrisation(path):
            continue
        if isinstance(module, torch.jit.ScriptModule):
            called = path or "model"
            raise InputError(f"{called} = {type(module).__name__}: watch the module that it was scripted from")
        names = [name.removesuffix("_orig") if f"{name.removesuffix('_orig')}_mask" in module._buffers else name
                 for name, parameter in module._parameters.items() if parameter is not None]  # fmt: skip
        parametrised = [name for name, steps in getattr(module, "parametrizations", {}).items() if _masks_of(steps, {})]
        for tensor in (*names, *parametrised):
            place = _of_tensor(f"{path}.{tensor}" if path else tensor, module, tensor)
            weight = place.read()
            if torch.nn.parameter.is_lazy(weight.leaf):
                raise InputError(f"{place.name}: has no shape yet; run a forward pass before it is watched")
            # tied weights are one parameter, but each of their modules may have a mask of its own
            key = id(weight.leaf), 0 if weight.mask is None else id(module)
            named[place.name] = places.setdefault(key, place)
    return named


def _is_parametrisation(path: str) -> bool:
    return "parametrizations" in path.split(".")


def _of_tensor(name: str, module: torch.nn.Module, tensor: str) -> Place:
    masking: dict[Any, bool] = {}

    def read() -> Weight:
        mask = module._buffers.get(f"{tensor}_mask")  # torch.nn.utils.prune
        hidden = module._parameters.get(f"{tensor}_orig")
        if mask is not None and hidden is not None:
            return Weight(hidden, mask, masked=True)
        parametrizations: Any = module._modules.get("parametrizations", {})
        if tensor in parametrizations:  # torch.nn.utils.parametrize, which torch.ao.pruning builds on
            return _parametrised(name, parametrizations[tensor], masking)
        plain = module._parameters.get(tensor)
        if plain is None:
            raise InputError(f"{name}: the weight is gone from the model; watch the model after it is rebuilt")
        return Weight(plain, None, masked=False)

    return Place(name, read, module)


def _parametrised(name: str, steps: Any, masking: dict[Any, bool]) -> Weight:
    """A weight under masks one after the other; of weight_norm its direction, which has the weight's shape."""
    leaf = steps.original if steps.is_tensor else getattr(steps, "original1", steps.original0)
    masks = _masks_of(steps, masking)
    if not masks:
        return Weight(leaf, None, masked=False)
    mask = functools.reduce(torch.mul, masks)
    try:
        return Weight(leaf, mask.expand(leaf.shape), masked=True)
    except RuntimeError:
        shape, stored = tuple(mask.shape), tuple(leaf.shape)
        raise InputError(
            f"{name}: its mask is {shape}, and what is stored of it {stored}; it cannot be watched"
        ) from None


def _masks_of(steps: Any, masking: dict[Any, bool]) -> list[Tensor]:
    """Masks among the parametrizations of a tensor, as `FakeSparsity` of torch.ao.pruning has one.

    A gate that is learned, or has other values than 0 and 1, may be called `mask` too. Which are masks is decided as
    each is first seen and kept in `masking`, since to look at all values takes time; in a mask that has other values
    later, what is not 0 is kept.
    """
    called = [(step, step.mask) for step in steps if isinstance(getattr(step, "mask", None), Tensor)]
    for step, mask in called:
        if step not in masking:
            masking[step] = _is_mask(mask)
    return [mask for step, mask in called if masking[step]]


def _is_mask(tensor: Tensor) -> bool:
    """Of 0 and 1, and not learned; on meta there are no values, and the weight is not looked at either."""
    return not tensor.requires_grad and (tensor.is_meta or bool(((tensor == 0) | (tensor == 1)).all()))
