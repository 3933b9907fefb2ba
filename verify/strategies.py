"""Hypothesis strategies of pruning: schedules, networks, awkward weights, masks, optimizers, interruptions.

For the property tests of any torch project; this one's own draw from here. Needs hypothesis, which the extra `test` of
this package brings.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from spinn.masks import Masks
from spinn.model import Network

NOT_PER_WEIGHT = ("Adafactor", "LBFGS", "Muon")
"""Optimizers whose state belongs to a matrix or to the whole network."""
REFUSING = ("SparseAdam",)
"""Optimizers that refuse the dense gradients which a network has."""


# --- arithmetic -----------------------------------------------------------------------------------------------------


def ratios() -> st.SearchStrategy[str]:
    """A stage ratio, at least 0 and below 1: decimals of one to thirty digits, quotients, 0, and nearly 1."""
    decimals = st.integers(1, 30).flatmap(lambda n: st.integers(0, 10**n - 1).map(lambda units: f"0.{units:0{n}d}"))
    quotients = st.integers(2, 10**6).flatmap(lambda n: st.integers(0, n - 1).map(lambda part: f"{part}/{n}"))
    return st.sampled_from(["0", "0.5", "0.30", ".24", "0.125", "1/3", "0.999999"]) | decimals | quotients


def schedules(min_stages: int = 1, max_stages: int = 5) -> st.SearchStrategy[tuple[str, ...]]:
    """Ratios of the stages, in order."""
    return st.lists(ratios(), min_size=min_stages, max_size=max_stages).map(tuple)


def widths(max_width: int = 12, max_layers: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    """Widths of a network from input to output, two at least: a network has one to `max_layers` weight matrices."""
    return st.lists(st.integers(1, max_width), min_size=2, max_size=max_layers + 1).map(tuple)


# --- weights and networks -------------------------------------------------------------------------------------------


def poisons() -> st.SearchStrategy[float]:
    """What must not stand, or not matter, in a pruned position."""
    return st.sampled_from([float("nan"), float("inf"), float("-inf"), -0.0, 3e38, -3e38, 1e-45])


def weights(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> st.SearchStrategy[Tensor]:
    """A finite tensor of `shape`: of ordinary, of tied, of mostly zero, or of extreme values, or of all mixed.

    Ties are of magnitudes, with either sign; zeros of either sign; the extremes are subnormal or near the largest that
    `dtype` has.
    """
    limits = torch.finfo(dtype)
    extremes = [0.0, -0.0, limits.smallest_normal / 4, -limits.smallest_normal / 4, limits.max, -limits.max]
    pools: list[list[float]] = [[], [0.5, -0.5], [0.0, -0.0, 0.0, 0.25], extremes, [*extremes, 0.5, -0.5, 1e-3]]

    def make(seed: int, pool: list[float], share: float) -> Tensor:
        draw = torch.Generator().manual_seed(seed)
        tensor = torch.randn(tuple(shape), generator=draw, dtype=dtype)
        if pool:
            chosen = torch.randint(len(pool), tuple(shape), generator=draw)
            awkward = torch.tensor(pool, dtype=dtype)[chosen]
            tensor = torch.where(torch.rand(tuple(shape), generator=draw) < share, awkward, tensor)
        return tensor

    return st.builds(make, st.integers(0, 2**32 - 1), st.sampled_from(pools), st.sampled_from([0.3, 0.9, 1.0]))


@st.composite
def networks(
    draw: st.DrawFn,
    runs: st.SearchStrategy[int] | None = None,
    layers: st.SearchStrategy[tuple[int, ...]] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Network:
    """A stack of one to three networks, `weights[i]` `[runs, out, in]`, with awkward weights and biases."""
    count = draw(st.integers(1, 3) if runs is None else runs)
    shapes = [(out, width) for width, out in pairwise(draw(widths() if layers is None else layers))]
    matrices = [draw(weights((count, *shape), dtype)) for shape in shapes]
    biases = [draw(weights((count, out), dtype)) for out, _ in shapes]
    with _undisturbed():
        return Network(matrices, biases)


@st.composite
def modules(draw: st.DrawFn) -> torch.nn.Sequential:
    """A plain `torch.nn.Sequential` of Linear and Tanh with awkward weights."""
    parts: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(draw(widths())):
        layer = torch.nn.Linear(inputs, outputs)
        with torch.no_grad():
            layer.weight.copy_(draw(weights(layer.weight.shape)))
        parts += [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*parts[:-1])


@st.composite
def masks_like(draw: st.DrawFn, network: Network) -> Masks:
    """Masks of any density, empty and full ones among them; each layer of each run keeps a weight."""
    layers = []
    for weight in network.weights:
        density, generator = draw(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])), torch.Generator()
        kept = torch.rand(weight.shape, generator=generator.manual_seed(draw(st.integers(0, 2**32 - 1)))) < density
        kept.flatten(1)[:, 0] = True
        layers.append(kept)
    with _undisturbed():
        return Masks(tuple(layers))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Leave `random` as it was: beartype, where it checks types, picks items with it, and hypothesis minds."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@st.composite
def module_masks(draw: st.DrawFn, module: torch.nn.Module) -> dict[str, Tensor]:
    """A boolean mask for each parameter with at least two dimensions, by its name; each keeps an entry."""
    masks = {}
    for name, parameter in module.named_parameters():
        if parameter.dim() >= 2:
            generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
            masks[name] = torch.rand(parameter.shape, generator=generator) < draw(st.sampled_from([0.2, 0.5, 0.9]))
            masks[name].view(-1)[0] = True
    return masks


# --- training -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Optimizer:
    """A class of torch.optim with hyperparameters; `element_wise` says that all its state is per weight."""

    cls: type[torch.optim.Optimizer]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def element_wise(self) -> bool:
        """Whether each weight is moved by itself."""
        return self.cls.__name__ not in NOT_PER_WEIGHT

    def make(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """The optimizer of `parameters`."""
        return self.cls(parameters, **self.settings)  # type: ignore[call-arg]


def optimizer_classes() -> dict[str, type[torch.optim.Optimizer]]:
    """Every optimizer of the installed torch.optim that takes dense gradients, a new one too."""
    return {
        name: value
        for name, value in sorted(vars(torch.optim).items())
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer)
        if value is not torch.optim.Optimizer and name not in REFUSING
    }


def optimizers(names: Sequence[str] | None = None) -> st.SearchStrategy[Optimizer]:
    """An optimizer of torch.optim, over its hyperparameters; of every class but Muon unless `names` says which.

    Muon takes matrices alone, and refuses a network's biases: name it where there are none.
    Rates from 1e-4 to 1e-1, weight decay up to 0.3, momentum and moments up to 0.99, and each switch that changes the
    arithmetic or the kernel (foreach, fused). A class that is unknown here is drawn with its defaults.
    """
    classes = optimizer_classes()
    return st.sampled_from([name for name in classes if name != "Muon"] if names is None else list(names)).flatmap(
        lambda name: (
            st.fixed_dictionaries({}, optional=_hyperparameters(name))
            .map(lambda settings: _valid(name, settings))
            .map(lambda settings: Optimizer(classes[name], settings))
        )
    )


def _hyperparameters(name: str) -> dict[str, st.SearchStrategy[Any]]:
    share, switch = st.floats(0.0, 0.99), st.booleans()
    small = st.sampled_from([1e-10, 1e-8, 1e-3])
    every = {"lr": st.sampled_from([1e-4, 1e-2, 1e-1]), "maximize": switch, "foreach": switch}
    decayed = {**every, "weight_decay": st.sampled_from([0.0, 0.01, 0.3])}
    moments = {**decayed, "betas": st.tuples(share, st.floats(0.5, 0.999)), "eps": small}
    adam = {**moments, "amsgrad": switch, "fused": switch}
    return {
        "Adadelta": {**decayed, "rho": share, "eps": small},
        "Adafactor": {**decayed, "beta2_decay": st.floats(-1.0, -0.1), "d": st.floats(1.0, 2.0)},
        "Adagrad": {**decayed, "lr_decay": share, "initial_accumulator_value": share, "eps": small, "fused": switch},
        "Adam": adam,
        "AdamW": adam,
        "Adamax": moments,
        "ASGD": {**decayed, "lambd": share, "alpha": share, "t0": st.sampled_from([0.0, 2.0])},
        "LBFGS": {"lr": every["lr"], "max_iter": st.integers(1, 4), "history_size": st.integers(1, 5),
                  "line_search_fn": st.sampled_from([None, "strong_wolfe"])},
        "Muon": {"lr": every["lr"], "weight_decay": decayed["weight_decay"], "momentum": share, "nesterov": switch,
                 "ns_steps": st.integers(1, 5)},
        "NAdam": {**moments, "decoupled_weight_decay": switch, "momentum_decay": share},
        "RAdam": {**moments, "decoupled_weight_decay": switch},
        "RMSprop": {**decayed, "alpha": share, "momentum": share, "centered": switch, "eps": small},
        "Rprop": {**every, "etas": st.tuples(st.floats(0.1, 0.9), st.floats(1.1, 2.0)),
                  "step_sizes": st.tuples(st.floats(1e-7, 1e-4), st.floats(0.1, 50.0))},
        "SGD": {**decayed, "momentum": share, "dampening": share, "nesterov": switch, "fused": switch},
    }.get(name, {})  # fmt: skip


def _valid(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters that torch accepts together."""
    if name == "SGD" and settings.get("nesterov"):
        settings = {**settings, "dampening": 0.0, "momentum": max(settings.get("momentum", 0.0), 0.5)}
    if settings.get("fused") and settings.get("foreach"):
        settings = {**settings, "foreach": False}
    return settings


def interruptions(steps: int) -> st.SearchStrategy[tuple[int, ...]]:
    """After which of `steps` steps a training is broken off and gone on with; none, some or all."""
    return st.sets(st.integers(1, steps), max_size=steps).map(lambda chosen: tuple(sorted(chosen)))


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal to the last bit, the sign of zero and NaN among it."""
    return a.shape == b.shape and np.array_equal(_bits(a), _bits(b))


def _bits(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().view(torch.uint8).numpy()
