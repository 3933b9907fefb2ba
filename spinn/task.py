"""What a stack of runs trains on: standardised rows, trajectories to draw collocation points from, scalers.

Stacks the arrays of `spinn.rundata` on the device, padded, with weights; knows no loss and no optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from spinn.config import PhysicsConfig, PhysicsTerm
from spinn.data.dataset import Dataset
from spinn.data.sensors import seen
from spinn.errors import InputError
from spinn.model import Network
from spinn.passes import Passes
from spinn.physics import Conditions, Motion, Scales
from spinn.record import Plan, PlannedRun, Scaler
from spinn.rundata import Labelled, RunData, Table, scaled
from spinn.wear_laws import wear_law

COLLOCATION_POINTS = 32
"""Points of a run in each step: half of them labelled cuts of the step, whose outputs are computed anyway, half drawn
anywhere on its trajectories; of both as many as there are."""

_CHUNK_ROWS = 2048
_NEEDS_WEAR: tuple[PhysicsTerm, ...] = ("wear_rate", "monotone", "nonnegative", "law")


@dataclass(frozen=True)
class Rows:
    """Labelled cuts: features and targets standardised; `measured` is 1 where a target has a label, else 0.

    `law` is the flank wear (mm) that the network corrects, 0 where it corrects none. `counts` are the rows each run
    really has; what follows them only fills the stack up.
    """

    x: Float[Tensor, "runs rows features"]
    y: Float[Tensor, "runs rows 2"]
    measured: Float[Tensor, "runs rows 2"]
    law: Float[Tensor, "runs rows"]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Segments:
    """The way of a tool from one cut to its next one, in standardised features and physical conditions.

    At u in [0, 1) a segment stands at `x + u * dx`, and moves along it by `dx * per_minute` each minute of cutting.
    `conditions` `[runs, segments, 4]` are DOC (mm), feed (mm/rev), steel, power (W), at its start, and `dconditions`
    their change along it; `law` and `dlaw` are the same of the flank wear (mm) that the network corrects. `powered` is
    1 where the power is known. Each tool's first segment begins at time 0.
    """

    x: Float[Tensor, "runs segments features"]
    dx: Float[Tensor, "runs segments features"]
    per_minute: Float[Tensor, "runs segments"]
    conditions: Float[Tensor, "runs segments 4"]
    dconditions: Float[Tensor, "runs segments 4"]
    powered: Float[Tensor, "runs segments"]
    law: Float[Tensor, "runs segments"]
    dlaw: Float[Tensor, "runs segments"]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Task:
    """A stack of runs, ready to train.

    Attributes:
        train: Labelled cuts of the training cases.
        validation: Labelled cuts of the validation cases.
        segments: Trajectories of the training cases, unlabelled cuts included.
        ends: For each row of `train` the segment that ends in it.
        moves: 1 where there is such a segment, 0 where not.
        starts: `[runs, cases, features]`, the training cases' inputs at time 0.
        starts_measured: `[runs, cases, 2]`, 1 where the run has that case and labels of that target.
        target_mean: `[runs, 2]` in mm and µm.
        scales: Of the targets and their rates.
        scalers: One a run, as its record states it.
        terms: The physics terms that are switched on and can be computed on this data.
        warnings: What was dropped, and why.
        coefficients: One a run: where learning of the coefficients of `terms` starts, in physical units.
        cuts: Cuts of the whole data set.
        correction: The share of a wear law that the network may add to it or take away; None where it has no law.
        points: Collocation points of a run in each step; of those that are drawn at most one on a segment.
    """

    train: Rows
    validation: Rows
    segments: Segments
    ends: Int[Tensor, "runs rows"]
    moves: Float[Tensor, "runs rows"]
    starts: Float[Tensor, "runs cases features"]
    starts_measured: Float[Tensor, "runs cases 2"]
    target_mean: Float[Tensor, "runs 2"]
    scales: Scales
    scalers: tuple[Scaler, ...]
    terms: tuple[PhysicsTerm, ...]
    warnings: tuple[str, ...]
    coefficients: tuple[dict[str, float], ...]
    cuts: int
    correction: float | None = None
    points: int = COLLOCATION_POINTS

    @property
    def runs(self) -> int:
        """How many runs are stacked."""
        return len(self.scalers)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.train.x.device

    @property
    def dtype(self) -> torch.dtype:
        """Their precision."""
        return self.train.x.dtype

    @property
    def selects(self) -> bool:
        """Whether there are validation cases, whose loss selects an epoch."""
        return max(self.validation.counts) > 0

    def physical(
        self, y: Float[Tensor, "runs rows 2"], law: Float[Tensor, "runs rows"]
    ) -> Float[Tensor, "runs rows 2"]:
        """Outputs of a network in mm and µm.

        Each in units of its target's spread about the target's mean; but where there is a wear law the network corrects
        it, VB = law · (1 + c·tanh(y)), c the largest correction.
        """
        plain = y * self.scales.target[:, None] + self.target_mean[:, None]
        if self.correction is None:
            return plain
        return torch.stack([law * (1 + self.correction * y[..., 0].tanh()), plain[..., 1]], 2)

    def standardised(
        self, y: Float[Tensor, "runs rows 2"], law: Float[Tensor, "runs rows"]
    ) -> Float[Tensor, "runs rows 2"]:
        """Outputs of a network in the units of `Rows.y`."""
        if self.correction is None:
            return y
        return (self.physical(y, law) - self.target_mean[:, None]) / self.scales.target[:, None]

    def standardised_rate(
        self, y: Float[Tensor, "runs rows 2"], rate: Float[Tensor, "runs rows 2"], law: Float[Tensor, "runs rows"]
    ) -> Float[Tensor, "runs rows 2"]:
        """The derivative of `standardised` where outputs change at `rate` and nothing else does.

        Each number there comes of one output alone, so that this is as well the gradient at the outputs where `rate` is
        the one at `standardised`.
        """
        if self.correction is None:
            return rate
        return self._physical_rate(y, rate, law, torch.zeros_like(law)) / self.scales.target[:, None]

    def _physical_rate(
        self,
        y: Float[Tensor, "runs rows 2"],
        rate: Float[Tensor, "runs rows 2"],
        law: Float[Tensor, "runs rows"],
        law_rate: Float[Tensor, "runs rows"],
    ) -> Float[Tensor, "runs rows 2"]:
        """The derivative of `physical` in time (mm/min and µm/min), with the rates of the outputs and of the law."""
        plain = rate * self.scales.target[:, None]
        if self.correction is None:
            return plain
        share = y[..., 0].tanh()
        wear = law_rate * (1 + self.correction * share)
        wear = wear + law * self.correction * (1 - share.square()) * rate[..., 0]
        return torch.stack([wear, plain[..., 1]], 2)

    def motion(
        self,
        network: Network | Passes,
        still: Float[Tensor, "runs still features"],
        index: Int[Tensor, "runs points"],
        place: Float[Tensor, "runs drawn"],
        weight: Float[Tensor, "runs points"],
    ) -> tuple[Float[Tensor, "runs still 2"], Motion]:
        """The network on the segments `index`, and its exact derivative along cutting time.

        Of the segments the last ones are entered at `place` (0 to 1). Those before them, for which there is no place,
        end at the last rows of `still`, which so share their outputs with them. `weight` is 0 where a run has fewer
        points than its neighbours. The outputs for `still` come first.
        """
        segments, shared = self.segments, index.shape[1] - place.shape[1]
        dx = gather(segments.dx, index)
        x = gather(segments.x, index[:, shared:]) + place[..., None] * dx[:, shared:]
        per_minute = segments.per_minute.gather(1, index)
        y, rate = network.with_tangent(torch.cat([still, x], 1), dx * per_minute[..., None])
        moving = y[:, still.shape[1] - shared :]
        place = torch.nn.functional.pad(place, (shared, 0), value=1.0)
        dlaw = segments.dlaw.gather(1, index)
        law = segments.law.gather(1, index) + place * dlaw
        conditions = gather(segments.conditions, index) + place[..., None] * gather(segments.dconditions, index)
        motion = Motion(
            state=self.physical(moving, law),
            rate=self._physical_rate(moving, rate, law, dlaw * per_minute),
            conditions=Conditions(*conditions.unbind(-1)),
            weight=weight,
            powered=segments.powered.gather(1, index) * weight,
        )
        return y[:, : still.shape[1]], motion

    @property
    def moving(self) -> bool:
        """Whether a term needs derivatives along cutting time."""
        return bool(set(self.terms) - {"initial", "law"})

    @property
    def drawn(self) -> int:
        """Collocation points anywhere on the trajectories, of the run with the most."""
        return min(max(self.segments.counts), self.points - self.points // 2) if self.moving else 0

    def at_cuts(self, rows: int) -> int:
        """Collocation points at labelled cuts, of a step with so many `rows`."""
        return min(rows, self.points // 2) if self.moving else 0

    def epoch_rows(self, batch: int) -> tuple[int, int]:
        """Rows that pass through the network in one epoch in steps of `batch`, and tangents; of the run with the most.

        A labelled cut passes once an epoch, starts of life and points that are drawn in every step. All steps have as
        many rows: where the cuts do not divide evenly, some are filled up.
        """
        steps, starts = math.ceil(self.cuts / batch), self.starts.shape[1] if "initial" in self.terms else 0
        labelled = math.ceil(max(self.train.counts) / steps)
        return steps * (labelled + starts + self.drawn), steps * (self.at_cuts(labelled) + self.drawn)


def build(
    dataset: Dataset,
    runs: Sequence[PlannedRun],
    physics: PhysicsConfig,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    planned: Sequence[PlannedRun] = (),
    correction: float | None = None,
) -> Task:
    """Stack the data of `runs`, in their order.

    A physics term that needs what the training cases do not have (heat: a measured thermal displacement and the
    spindle power) is left out of `terms`, and `warnings` says so. It is left out of all `planned` runs, those of the
    whole experiment (by default `runs`), where any of them lacks it: which runs share a stack decides nothing.
    With a `correction` each run has a wear law of its own, fitted on its training cases.

    Raises:
        DataError: as `spinn.rundata.RunData`.
        InputError: no runs, or a case that the data does not have.
    """
    if not runs:
        raise InputError("runs = []: at least one run; plan some first")
    table = Table(dataset)
    parts = [RunData(table, run, correction) for run in runs]
    terms, warnings = _computable(physics, table, planned or runs)

    def stack(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(_padded(arrays)).to(device=device, dtype=dtype)

    def rows(name: str) -> Rows:
        chosen: list[Labelled] = [getattr(part, name) for part in parts]
        x, y, measured, law, _ = zip(*chosen, strict=True)
        return Rows(stack(x), stack(y), stack(measured), stack(law), tuple(len(one) for one in x))

    segments = [part.segments for part in parts]
    return Task(
        train=rows("train"),
        validation=rows("validation"),
        segments=Segments(
            x=stack([s.x for s in segments]),
            dx=stack([s.dx for s in segments]),
            per_minute=stack([s.per_minute for s in segments]),
            conditions=stack([s.conditions for s in segments]),
            dconditions=stack([s.dconditions for s in segments]),
            powered=stack([s.powered for s in segments]),
            law=stack([s.law for s in segments]),
            dlaw=stack([s.dlaw for s in segments]),
            counts=tuple(len(s.per_minute) for s in segments),
        ),
        ends=stack([np.maximum(part.ends, 0) for part in parts]).long(),
        moves=stack([(part.ends >= 0).astype(np.float64) for part in parts]),
        starts=stack([part.starts for part in parts]),
        starts_measured=stack([part.starts_measured for part in parts]),
        target_mean=stack([np.array(part.scaler.target_mean) for part in parts]),
        scales=Scales(
            target=stack([np.array(part.scaler.target_scale) for part in parts]),
            rate=stack([np.array(part.scaler.target_scale) / part.scaler.feature_scale[0] for part in parts]),
        ),
        scalers=tuple(part.scaler for part in parts),
        terms=terms,
        warnings=warnings,
        coefficients=tuple(part.guess(terms) for part in parts),
        cuts=len(dataset.frame),
        correction=correction,
    )


def of_plan(dataset: Dataset, runs: Sequence[PlannedRun], plan: Plan, device: torch.device | str = "cpu") -> Task:
    """`build`, as `plan` has it for these runs of one variant, of the data as that variant sees it."""
    experiment, variant = plan.experiment, plan.variant(runs[0].variant)
    dataset = seen(dataset, experiment, variant)
    physics, correction = experiment.physics_of(variant), experiment.correction_of(variant)
    return build(dataset, runs, physics, device, planned=plan.runs, correction=correction)


def gather(
    values: Float[Tensor, "runs rows _"], index: Int[Tensor, "*steps runs chosen"]
) -> Float[Tensor, "*steps runs chosen _"]:
    """Each run's own rows; whole rows at once, in a tenth of the time that `Tensor.gather` takes entry by entry."""
    first = torch.arange(0, values.shape[0] * values.shape[1], values.shape[1], device=values.device)
    rows = (index + first[:, None]).flatten()
    return values.flatten(0, 1).index_select(0, rows).unflatten(0, index.shape)


def predict(network: Network, dataset: Dataset, scalers: Sequence[Scaler]) -> np.ndarray:
    """Predictions of every run for every cut, `[runs, cuts, 2]`, in mm and µm (float64)."""
    raw = dataset.frame[list(dataset.features)].to_numpy(np.float64)
    dtype = network.weights[0].dtype
    chunks = []
    with torch.no_grad():
        for first in range(0, len(raw), _CHUNK_ROWS):
            x = np.stack([scaled(raw[first : first + _CHUNK_ROWS], scaler) for scaler in scalers])
            y = network(torch.from_numpy(x).to(device=network.device, dtype=dtype))
            chunks.append(y.to("cpu", torch.float64).numpy())
    mean = np.array([scaler.target_mean for scaler in scalers])[:, None]
    scale = np.array([scaler.target_scale for scaler in scalers])[:, None]
    outputs = np.concatenate(chunks, axis=1)
    predicted = outputs * scale + mean
    for run, law in enumerate(scaler.law for scaler in scalers):
        if law is not None:
            wear = wear_law(dataset.frame, law.coefficients)
            predicted[run, :, 0] = wear * (1 + law.correction * np.tanh(outputs[run, :, 0]))
    return predicted


def _computable(
    physics: PhysicsConfig, table: Table, planned: Sequence[PlannedRun]
) -> tuple[tuple[PhysicsTerm, ...], tuple[str, ...]]:
    """The enabled terms that every run's training cases can feed, and a sentence about each that they cannot."""
    lacks: dict[PhysicsTerm, str] = {}
    for run in {frozenset(run.train): run for run in reversed(planned)}.values():  # one of those with the same cases
        feeds = table.feeds(run)
        where = f"in training of {run.run_id}"
        if "time" not in feeds:
            lacks |= dict.fromkeys((*_NEEDS_WEAR, "heat"), f"no cutting time passes {where}")
        if "VB" not in feeds:
            lacks |= dict.fromkeys(_NEEDS_WEAR, f"flank wear is not measured {where}")
        if "thermal" not in feeds:
            lacks["heat"] = f"thermal displacement is not measured {where}"
        elif "power" not in feeds:
            lacks["heat"] = f"the spindle power is not known {where}"
    enabled = physics.enabled()
    warnings = tuple(
        f"physics term {name!r} (weight {getattr(physics, name)}) is left out: {lacks[name]}"
        for name in enabled
        if name in lacks
    )
    return tuple(name for name in enabled if name not in lacks), warnings


def _padded(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack arrays of different lengths, zeros (ones would do as well: their weight is zero) after the shorter ones."""
    longest = max(len(array) for array in arrays)
    return np.stack([np.pad(a, [(0, longest - len(a)), *[(0, 0)] * (a.ndim - 1)]) for a in arrays])
