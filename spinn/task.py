"""What a stack of runs trains on: standardised rows, trajectories to draw collocation points from, scalers.

Knows data sets and splits, and puts them on the device as padded tensors with weights; knows no network and no
optimizer. Scalers and everything a run trains on come from its training cases, the rows it is selected by from its
validation cases; rows of its test cases are never read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spinn.data.dataset import TARGETS, Dataset
from spinn.errors import DataError, InputError
from spinn.model import Network
from spinn.physics import HEAT, WEAR, Scales
from spinn.record import PhysicsConfig, PhysicsTerm, PlannedRun, Scaler

COLLOCATION_POINTS = 64
"""Points a run draws in each step, or one on every segment of its trajectories where those are fewer."""

_CHUNK_ROWS = 2048
_CONDITIONS = ("DOC", "feed", "steel", "power")
_NEEDS_WEAR: tuple[PhysicsTerm, ...] = ("wear_rate", "monotone", "nonnegative")


@dataclass(frozen=True)
class Rows:
    """Labelled cuts: features and targets standardised; `measured` is 1 where a target has a label, else 0.

    `counts` are the rows each run really has; what follows them only fills the stack up.
    """

    x: Float[Tensor, "runs rows features"]
    y: Float[Tensor, "runs rows 2"]
    measured: Float[Tensor, "runs rows 2"]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Segments:
    """The way of a tool from one cut to its next one, in standardised features and physical conditions.

    At u in [0, 1) a segment stands at `x + u * dx`, and moves along it by `dx * per_minute` each minute of cutting.
    `conditions` `[runs, segments, 4]` are DOC (mm), feed (mm/rev), steel, power (W), at its start, and `dconditions`
    their change along it. `powered` is 1 where the power is known. Each tool's first segment begins at time 0.
    """

    x: Float[Tensor, "runs segments features"]
    dx: Float[Tensor, "runs segments features"]
    per_minute: Float[Tensor, "runs segments"]
    conditions: Float[Tensor, "runs segments 4"]
    dconditions: Float[Tensor, "runs segments 4"]
    powered: Float[Tensor, "runs segments"]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Task:
    """A stack of runs, ready to train.

    Attributes:
        train: Labelled cuts of the training cases.
        validation: Labelled cuts of the validation cases.
        segments: Trajectories of the training cases, unlabelled cuts included.
        starts: `[runs, cases, features]`, the training cases' inputs at time 0.
        starts_measured: `[runs, cases, 2]`, 1 where the run has that case and labels of that target.
        target_mean: `[runs, 2]` in mm and µm.
        scales: Of the targets and their rates.
        scalers: One a run, as its record states it.
        terms: The physics terms that are switched on and can be computed on this data.
        warnings: What was dropped, and why.
        coefficients: One a run: where learning of the coefficients of `terms` starts, in physical units.
        cuts: Cuts of the whole data set.
    """

    train: Rows
    validation: Rows
    segments: Segments
    starts: Float[Tensor, "runs cases features"]
    starts_measured: Float[Tensor, "runs cases 2"]
    target_mean: Float[Tensor, "runs 2"]
    scales: Scales
    scalers: tuple[Scaler, ...]
    terms: tuple[PhysicsTerm, ...]
    warnings: tuple[str, ...]
    coefficients: tuple[dict[str, float], ...]
    cuts: int

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
    def rows(self) -> int:
        """Rows of one epoch whose outputs alone are needed, of the run with the most."""
        return max(self.train.counts) + (self.starts.shape[1] if "initial" in self.terms else 0)

    @property
    def tangent_rows(self) -> int:
        """Rows of one step whose derivative along time is needed as well, of the run with the most."""
        moving = set(self.terms) - {"initial"}
        return min(max(self.segments.counts), COLLOCATION_POINTS) if moving else 0


def build(
    dataset: Dataset,
    runs: Sequence[PlannedRun],
    physics: PhysicsConfig,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Task:
    """Stack the data of `runs`, in their order.

    A physics term that needs what the training cases do not have (heat: a measured thermal displacement and the
    spindle power) is left out of `terms`, and `warnings` says so.

    Raises:
        DataError: a run without labelled training or validation cuts, or with values no network can train on.
        InputError: no runs, or a case that the data does not have.
    """
    if not runs:
        raise InputError("runs = []: at least one run; plan some first")
    table = _Table(dataset)
    parts = [_RunData(table, run) for run in runs]
    terms, warnings = _computable(physics, parts)

    def stack(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(_padded(arrays)).to(device=device, dtype=dtype)

    def rows(name: str) -> Rows:
        chosen = [getattr(part, name) for part in parts]
        x, y, measured = zip(*chosen, strict=True)
        return Rows(stack(x), stack(y), stack(measured), tuple(len(one) for one in x))

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
            counts=tuple(len(s.per_minute) for s in segments),
        ),
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
    )


def predict(network: Network, dataset: Dataset, scalers: Sequence[Scaler]) -> np.ndarray:
    """Predictions of every run for every cut, `[runs, cuts, 2]`, in mm and µm (float64)."""
    raw = dataset.frame[list(dataset.features)].to_numpy(np.float64)
    dtype = network.weights[0].dtype
    chunks = []
    with torch.no_grad():
        for first in range(0, len(raw), _CHUNK_ROWS):
            x = np.stack([_scaled(raw[first : first + _CHUNK_ROWS], scaler) for scaler in scalers])
            y = network(torch.from_numpy(x).to(device=network.device, dtype=dtype))
            chunks.append(y.to("cpu", torch.float64).numpy())
    mean = np.array([scaler.target_mean for scaler in scalers])[:, None]
    scale = np.array([scaler.target_scale for scaler in scalers])[:, None]
    return np.concatenate(chunks, axis=1) * scale + mean


class _Table:
    """The frame as arrays, and where each case's cuts are."""

    def __init__(self, dataset: Dataset) -> None:
        frame = dataset.frame
        self.names = dataset.features
        self.features = frame[list(dataset.features)].to_numpy(np.float64)
        self.targets = frame[list(TARGETS)].to_numpy(np.float64)
        self.conditions = frame[list(_CONDITIONS)].to_numpy(np.float64)
        self.cuts: dict[str, np.ndarray] = {
            str(case): np.asarray(positions) for case, positions in frame.groupby("case", sort=False).indices.items()
        }

    def positions(self, run: PlannedRun, cases: Sequence[str]) -> np.ndarray:
        missing = [case for case in cases if case not in self.cuts]
        if missing:
            raise InputError(f"run {run.run_id}, case {missing[0]!r}: not in the data; plan the runs from this data")
        return np.concatenate([np.empty(0, np.intp), *(self.cuts[case] for case in cases)])


@dataclass(frozen=True)
class _SegmentArrays:
    x: np.ndarray
    dx: np.ndarray
    per_minute: np.ndarray
    conditions: np.ndarray
    dconditions: np.ndarray
    powered: np.ndarray


class _RunData:
    """The arrays of one run, from its training and validation cases only."""

    def __init__(self, table: _Table, run: PlannedRun) -> None:
        positions = table.positions(run, run.train)
        self.run = run
        self.scaler = _fit_scaler(table, run, positions)
        self.train = self._rows(table, positions, "train")
        self.validation = self._rows(table, table.positions(run, run.validation), "validation")
        self._trajectories(table)
        self.labelled = self.train[2].any(axis=0)  # per target
        self.starts_measured = np.broadcast_to(self.labelled, (len(self.starts), len(TARGETS))).astype(np.float64)
        self._targets, self._conditions = table.targets[positions], table.conditions[positions]
        self._time = table.features[positions, 0]

    def _rows(self, table: _Table, positions: np.ndarray, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = table.targets[positions]
        measured = ~np.isnan(y)
        labelled = measured.any(axis=1)
        if not labelled.any():
            raise DataError(
                f"run {self.run.run_id}, {split} cases {list(getattr(self.run, split))}: not one labelled cut; "
                "use fewer folds, more validation cases, or data with more labels"
            )
        y = (y - self.scaler.target_mean) / self.scaler.target_scale
        _refuse_infinite(table, positions, self.run)
        x = _scaled(table.features[positions[labelled]], self.scaler)
        return x, np.where(measured, y, 0.0)[labelled], measured[labelled].astype(np.float64)

    def _trajectories(self, table: _Table) -> None:
        """Segments between successive cuts of each training case, the first one from time 0, and the starts."""
        begins, ends, starts = [], [], []
        for case in self.run.train:
            raw = np.hstack([table.features[table.cuts[case]], table.conditions[table.cuts[case]]])
            start = raw[:1].copy()
            start[0, 0] = 0.0  # time: the new tool, in the conditions of its first cut
            starts.append(start)
            path = np.vstack([start, raw])
            moves = path[1:, 0] > path[:-1, 0]
            begins.append(path[:-1][moves])
            ends.append(path[1:][moves])
        begin, end = np.vstack(begins), np.vstack(ends)
        # A signal that is missing at one end is held at its other end's value: a gap is not a movement.
        begin, end = np.where(np.isnan(begin), end, begin), np.where(np.isnan(end), begin, end)
        width = len(table.names)
        x, x_end = _scaled(begin[:, :width], self.scaler), _scaled(end[:, :width], self.scaler)
        powered = ~np.isnan(begin[:, -1])
        conditions, conditions_end = (np.nan_to_num(part[:, width:], nan=0.0) for part in (begin, end))
        if (conditions[:, :2] <= 0).any() or (conditions_end[:, :2] <= 0).any():
            raise DataError(f"run {self.run.run_id}, DOC or feed of a training case: expected above 0; mend the data")
        self.segments = _SegmentArrays(
            x=x,
            dx=x_end - x,
            per_minute=1.0 / (end[:, 0] - begin[:, 0]),
            conditions=conditions,
            dconditions=conditions_end - conditions,
            powered=powered.astype(np.float64),
        )
        self.starts = _scaled(np.vstack(starts)[:, :width], self.scaler)

    def guess(self, terms: Sequence[PhysicsTerm]) -> dict[str, float]:
        """Where the coefficients start: the cases' mean rate of wear, and the force's exponents as Kienzle has them.

        b = 1 and c = 0.75 (force ∝ DOC · feed^(1−m), m about a quarter), d = 0, g = 0.5 per mm; τ is half the spread
        of cutting time, k what makes the mean displacement a steady state at the mean power.
        """
        values = {}
        if "wear_rate" in terms:
            known = ~np.isnan(self._targets[:, 0]) & (self._time > 0)
            rate = self._targets[known, 0].sum() / self._time[known].sum() if known.any() else 0.0
            doc, feed = (np.log(self._conditions[:, i] / ref).mean() for i, ref in ((0, 0.75), (1, 0.25)))
            a = math.log(rate) - 1.0 * doc - 0.75 * feed if rate > 0 else -5.0
            values |= dict(zip(WEAR, (a, 1.0, 0.75, 0.0, 0.5), strict=True))
        if "heat" in terms:
            tau = 0.5 * self.scaler.feature_scale[0]
            power = np.nanmean(self._conditions[:, 3])
            delta = np.nanmean(np.abs(self._targets[:, 1]))
            k = delta / (power * tau) if power > 0 and delta > 0 else 1e-3
            values |= dict(zip(HEAT, (k, tau), strict=True))
        return {name: float(value) for name, value in values.items()}


def _fit_scaler(table: _Table, run: PlannedRun, positions: np.ndarray) -> Scaler:
    feature_mean, feature_scale = _moments(table.features[positions])
    target_mean, target_scale = _moments(table.targets[positions])
    return Scaler(
        fitted_on=run.train,
        feature_mean=feature_mean,
        feature_scale=feature_scale,
        target_mean=target_mean,
        target_scale=target_scale,
    )


def _moments(columns: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each column, NaN left out; 0 and 1 of an empty one, scale 1 of a constant one."""
    means, scales = [], []
    for column in columns.T:
        values = column[~np.isnan(column)]
        mean = float(values.mean()) if len(values) else 0.0
        scale = float(values.std()) if len(values) else 1.0
        means.append(mean)
        scales.append(scale if scale > 1e-9 * max(abs(mean), 1e-30) else 1.0)
    return tuple(means), tuple(scales)


def _scaled(raw: np.ndarray, scaler: Scaler) -> np.ndarray:
    scaled = (raw - np.array(scaler.feature_mean)) / np.array(scaler.feature_scale)
    return np.where(np.isnan(raw), 0.0, scaled)


def _refuse_infinite(table: _Table, positions: np.ndarray, run: PlannedRun) -> None:
    columns = np.hstack([table.features, table.targets])[positions]
    bad = np.isinf(columns).any(axis=0)
    if bad.any():
        name = (*table.names, *TARGETS)[int(bad.argmax())]
        raise DataError(f"run {run.run_id}, column {name!r} = inf: a finite number, or empty where not measured")


def _computable(physics: PhysicsConfig, parts: Sequence[_RunData]) -> tuple[tuple[PhysicsTerm, ...], tuple[str, ...]]:
    """The enabled terms that every run's training cases can feed, and a sentence about each that they cannot."""
    lacks: dict[PhysicsTerm, str] = {}
    for part in parts:
        wear, thermal = (bool(labelled) for labelled in part.labelled)
        if not len(part.segments.per_minute):
            lacks |= dict.fromkeys((*_NEEDS_WEAR, "heat"), f"no cutting time passes in training of {part.run.run_id}")
        if not wear:
            lacks |= dict.fromkeys(_NEEDS_WEAR, f"flank wear is not measured in training of {part.run.run_id}")
        if not thermal:
            lacks["heat"] = "thermal displacement is not measured"
        elif not part.segments.powered.any():
            lacks["heat"] = "the spindle power is not known"
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
