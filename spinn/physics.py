"""Wear and heat laws, their learned coefficients, and the terms they add to the loss.

Knows formulas, units and sources; knows no network and no data file. Every tensor has a leading run axis, quantities
come in physical units (VB in mm, thermal displacement in µm, time in min, power in W), and every term leaves as a pure
number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from spinn.config import PhysicsTerm
from spinn.data.dataset import DOC_REFERENCE, FEED_REFERENCE
from spinn.errors import InputError

WEAR = ("a", "b", "c", "d", "g")
HEAT = ("k", "tau")
POSITIVE = ("g", "k", "tau")  # learned as logarithms

Values = Mapping[str, Float[Tensor, " runs"]]


@runtime_checkable
class Guess(Protocol):
    """Where learning of the coefficients starts: what `spinn.task.Task` knows of its training cases."""

    @property
    def coefficients(self) -> Sequence[Mapping[str, float]]:
        """One mapping a run, in physical units."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the run's tensors are."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the run's tensors."""
        ...


@dataclass(frozen=True)
class Coefficients:
    """The learned coefficients of a stack of runs: `raw` `[runs, names]`, positive ones as logarithms.

    There are none where no enabled term needs any.
    """

    names: tuple[str, ...]
    raw: Tensor

    @classmethod
    def initial(cls, guess: Guess) -> Coefficients:
        """Start from the values that the training data suggests."""
        return cls.from_dicts(guess.coefficients, guess.device, guess.dtype)

    @classmethod
    def from_dicts(
        cls,
        values: Sequence[Mapping[str, float]],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Coefficients:
        """The inverse of `as_dicts`.

        Raises:
            InputError: runs with different coefficients, an unknown name, or a value outside its range.
        """
        names = tuple(name for name in (*WEAR, *HEAT) if name in values[0])
        for run, given in enumerate(values):
            if set(given) != set(names):
                raise InputError(f"coefficients of run {run} = {sorted(given)}: expected {sorted(names)}, as in run 0")
            for name, value in given.items():
                if not math.isfinite(value) or (name in POSITIVE and value <= 0):
                    wanted = "a finite number above 0" if name in POSITIVE else "a finite number"
                    raise InputError(f"coefficient {name} of run {run} = {value}: {wanted}; start from another value")
        rows = [[math.log(given[n]) if n in POSITIVE else given[n] for n in names] for given in values]
        raw = torch.tensor(rows, dtype=torch.float64).reshape(len(values), len(names))
        return cls(names, raw.to(device=device, dtype=dtype).requires_grad_())

    def parameters(self) -> list[Tensor]:
        """The one leaf tensor, or nothing where there is nothing to learn."""
        return [self.raw] if self.names else []

    def values(self) -> dict[str, Float[Tensor, " runs"]]:
        """Each coefficient in its physical unit, differentiable."""
        columns = zip(self.names, self.raw.unbind(1), strict=True)
        return {name: column.exp() if name in POSITIVE else column for name, column in columns}

    def as_dicts(self) -> list[dict[str, float]]:
        """One plain mapping a run, in physical units (`spinn.record.COEFFICIENT_UNITS`)."""
        table = self.raw.detach().to("cpu", torch.float64).tolist()
        return [
            {n: math.exp(value) if n in POSITIVE else value for n, value in zip(self.names, row, strict=True)}
            for row in table
        ]


@dataclass(frozen=True)
class Conditions:
    """What a cut is made with: depth of cut (mm), feed (mm/rev), steel (0 or 1), spindle power (W)."""

    doc: Float[Tensor, "runs rows"]
    feed: Float[Tensor, "runs rows"]
    steel: Float[Tensor, "runs rows"]
    power: Float[Tensor, "runs rows"]


def wear_rate(vb: Float[Tensor, "runs rows"], conditions: Conditions, values: Values) -> Float[Tensor, "runs rows"]:
    """Rate of flank wear in mm/min: r·(1 + g·VB), ln r = a + b·ln(DOC/0.75) + c·ln(feed/0.25) + d·steel.

    Archard (1953, J. Appl. Phys. 24, 981): worn volume = K·F·s/H, so at constant speed the rate grows with the force.
    Kienzle (1952, Z. VDI 94, 299): F = k_c1·b·h^(1−m), so the force is a power of depth and feed, with a factor of
    the material. A worn edge presses harder: the factor 1 + g·VB, linear in the wear land.

    Args:
        vb: Flank wear, mm.
        conditions: The cut.
        values: a [ln(mm/min)], b, c, d [1] and g [1/mm], one a run.
    """
    log_rate = (
        values["a"][:, None]
        + values["b"][:, None] * torch.log(conditions.doc / DOC_REFERENCE)
        + values["c"][:, None] * torch.log(conditions.feed / FEED_REFERENCE)
        + values["d"][:, None] * conditions.steel
    )
    return torch.exp(log_rate) * (1 + values["g"][:, None] * vb)


def heat_rate(
    delta: Float[Tensor, "runs rows"], power: Float[Tensor, "runs rows"], values: Values
) -> Float[Tensor, "runs rows"]:
    """Rate of thermal displacement in µm/min: k·P − δ/τ.

    Lumped capacitance (Incropera & DeWitt, Fundamentals of Heat and Mass Transfer, ch. 5): C·dθ/dt = η·P − G·θ. With
    the linear expansion δ = α·L·θ this is dδ/dt = k·P − δ/τ, k = α·L·η/C and τ = C/G.

    Args:
        delta: Thermal displacement, µm.
        power: Spindle power, W.
        values: k [µm/(W·min)] and tau [min], one a run.
    """
    return values["k"][:, None] * power - delta / values["tau"][:, None]


@dataclass(frozen=True)
class Motion:
    """The network along the tools' trajectories: targets and their exact derivatives along cutting time.

    `state` (mm, µm) and `rate` (mm/min, µm/min) are `[runs, rows, 2]`: flank wear, thermal displacement. `weight` is 1
    where a row is a collocation point of its run and 0 where it only fills the stack up; `powered` likewise, and 0
    where the spindle power is not known.
    """

    state: Float[Tensor, "runs rows 2"]
    rate: Float[Tensor, "runs rows 2"]
    conditions: Conditions
    weight: Float[Tensor, "runs rows"]
    powered: Float[Tensor, "runs rows"]


@dataclass(frozen=True)
class Scales:
    """What makes residuals pure numbers: spread of each target (mm, µm) and that over the spread of time (per min)."""

    target: Float[Tensor, "runs 2"]
    rate: Float[Tensor, "runs 2"]


def mean_over(values: Float[Tensor, "runs rows"], weight: Float[Tensor, "runs rows"]) -> Float[Tensor, " runs"]:
    """Weighted mean over the rows of each run; 0 where a run has no weight at all."""
    total = weight.sum(1)
    return (values * weight).sum(1) / torch.where(total > 0, total, torch.ones_like(total))


def wear_residual(motion: Motion, scales: Scales, values: Values) -> Float[Tensor, "runs rows"]:
    """How far dVB/dt is from the wear law, in units of the characteristic wear rate."""
    expected = wear_rate(motion.state[..., 0], motion.conditions, values)
    return (motion.rate[..., 0] - expected) / scales.rate[:, 0, None]


def heat_residual(motion: Motion, scales: Scales, values: Values) -> Float[Tensor, "runs rows"]:
    """How far dδ/dt is from the heat balance, in units of the characteristic rate of displacement."""
    expected = heat_rate(motion.state[..., 1], motion.conditions.power, values)
    return (motion.rate[..., 1] - expected) / scales.rate[:, 1, None]


def initial_loss(
    start: Float[Tensor, "runs cases 2"], measured: Float[Tensor, "runs cases 2"], scales: Scales
) -> Float[Tensor, " runs"]:
    """A new, cold tool has no wear and no displacement: mean square of both at time 0, over the measured targets.

    Args:
        start: Flank wear (mm) and thermal displacement (µm) predicted for the start of each tool's life.
        measured: 1 where the run has such a tool and labels of that target.
        scales: Of the targets.
    """
    error = (start / scales.target[:, None]).square()
    return mean_over(error.flatten(1), measured.flatten(1))


def law_loss(
    wear: Float[Tensor, "runs rows"],
    law: Float[Tensor, "runs rows"],
    measured: Float[Tensor, "runs rows"],
    scales: Scales,
) -> Float[Tensor, " runs"]:
    """How far the network's correction takes it from its wear law: mean square, in units of the spread of wear.

    Args:
        wear: Flank wear (mm) predicted for labelled cuts.
        law: The same by the law.
        measured: 1 where the flank wear of the cut is measured.
        scales: Of the targets.
    """
    return mean_over(((wear - law) / scales.target[:, :1]).square(), measured)


def motion_losses(
    terms: Sequence[PhysicsTerm], motion: Motion, scales: Scales, values: Values
) -> dict[PhysicsTerm, Float[Tensor, " runs"]]:
    """The terms that live on collocation points, each a mean square per run.

    wear_rate and heat: of their residuals. monotone: of max(0, −dVB/dt), wear does not heal. nonnegative: of
    max(0, −VB). A term that is not asked for is not computed.
    """
    losses: dict[PhysicsTerm, Tensor] = {}
    if "wear_rate" in terms:
        losses["wear_rate"] = mean_over(wear_residual(motion, scales, values).square(), motion.weight)
    if "heat" in terms:
        losses["heat"] = mean_over(heat_residual(motion, scales, values).square(), motion.powered)
    if "monotone" in terms:
        falling = torch.relu(-motion.rate[..., 0]) / scales.rate[:, 0, None]
        losses["monotone"] = mean_over(falling.square(), motion.weight)
    if "nonnegative" in terms:
        below = torch.relu(-motion.state[..., 0]) / scales.target[:, 0, None]
        losses["nonnegative"] = mean_over(below.square(), motion.weight)
    return losses
