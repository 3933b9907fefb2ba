"""The arrays of one run: scaler, labelled rows, trajectories, and where its physics coefficients start.

Knows data sets and splits, in numpy; knows no tensors and no stack of runs. Everything a run trains on comes from its
training cases, the rows it is selected by from its validation cases; rows of its test cases are never read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from spinn.config import PhysicsTerm
from spinn.data.dataset import TARGETS, Dataset
from spinn.errors import DataError, InputError
from spinn.physics import HEAT, WEAR
from spinn.record import PlannedRun, Scaler, WearLaw
from spinn.wear_laws import fit_wear_law, wear_law

_CONDITIONS = ("DOC", "feed", "steel", "power")


class Table:
    """The frame as arrays, and where each case's cuts are."""

    def __init__(self, dataset: Dataset) -> None:
        self.frame = frame = dataset.frame
        self.names = dataset.features
        self.features = frame[list(dataset.features)].to_numpy(np.float64)
        self.targets = frame[list(TARGETS)].to_numpy(np.float64)
        self.conditions = frame[list(_CONDITIONS)].to_numpy(np.float64)
        self.cuts: dict[str, np.ndarray] = {
            str(case): np.asarray(positions) for case, positions in frame.groupby("case", sort=False).indices.items()
        }

    def positions(self, run: PlannedRun, cases: Sequence[str]) -> np.ndarray:
        """Rows of the frame that belong to `cases`, in their order.

        Raises:
            InputError: the data has no such case.
        """
        missing = [case for case in cases if case not in self.cuts]
        if missing:
            raise InputError(f"run {run.run_id}, case {missing[0]!r}: not in the data; plan the runs from this data")
        return np.concatenate([np.empty(0, np.intp), *(self.cuts[case] for case in cases)])

    def feeds(self, run: PlannedRun) -> frozenset[str]:
        """What the training cases of `run` have: cutting `time` that passes, `power` known while it does, labels.

        Raises:
            InputError: as `positions`.
        """
        self.positions(run, run.train)
        return frozenset().union(*(self._feeds[case] for case in run.train))

    @cached_property
    def _feeds(self) -> dict[str, set[str]]:
        """Of each case, looked at once: a plan has thousands of runs, and all train on the same few tools."""
        found = {}
        for case, rows in self.cuts.items():
            time, power = self.features[rows, 0], self.conditions[rows, -1]
            passes = time > np.concatenate([[0.0], time[:-1]])
            powered = ~np.isnan(power) | ~np.isnan(np.concatenate([power[:1], power[:-1]]))  # at either end
            facts = {"time": passes, "power": passes & powered}
            facts |= {name: ~np.isnan(self.targets[rows, column]) for column, name in enumerate(TARGETS)}
            found[case] = {name for name, cuts in facts.items() if cuts.any()}
        return found


@dataclass(frozen=True)
class SegmentArrays:
    """`spinn.task.Segments` of one run, before the stack."""

    x: np.ndarray
    dx: np.ndarray
    per_minute: np.ndarray
    conditions: np.ndarray
    dconditions: np.ndarray
    powered: np.ndarray
    law: np.ndarray
    dlaw: np.ndarray


class Labelled(NamedTuple):
    """Labelled cuts: features and targets standardised, 1 where a target is measured, the wear law there, their rows.

    `x` `[cuts, features]`, `y` and `measured` `[cuts, 2]`, `law` `[cuts]` in mm (0 without a law), `rows` `[cuts]` of
    the table.
    """

    x: np.ndarray
    y: np.ndarray
    measured: np.ndarray
    law: np.ndarray
    rows: np.ndarray


class RunData:
    """The arrays of one run, from its training and validation cases only.

    Attributes:
        scaler: Fitted on the training cases, every cut of theirs; with a wear law where there is a `correction` of it.
        train, validation: Labelled cuts.
        segments: Between successive cuts of each training case.
        ends: For each row of `train` the number of the segment that ends there; −1 where no time passes to it, or a
            signal is missing that the segment holds.
        starts: `[cases, features]`, each training case's inputs at time 0.
        starts_measured: `[cases, 2]`, 1 for targets that training has labels of.
        labelled: Which targets these are.

    Raises:
        DataError: no labelled training cut, none in validation cases that there are, no measured flank wear for a
            wear law, or values no network can train on.
    """

    def __init__(self, table: Table, run: PlannedRun, correction: float | None = None) -> None:
        positions = table.positions(run, run.train)
        self.run = run
        _refuse_infinite(table, np.concatenate([positions, table.positions(run, run.validation)]), run)
        self.scaler = fit_scaler(table, run, positions, correction)
        law = self.scaler.law
        self._law = np.zeros(len(table.features)) if law is None else wear_law(table.frame, law.coefficients)
        self.train = self._rows(table, positions, "train")
        self.validation = self._rows(table, table.positions(run, run.validation), "validation")
        self._trajectories(table)
        self.labelled: tuple[bool, ...] = tuple(bool(column.any()) for column in self.train.measured.T)
        self.starts_measured = np.tile(np.array(self.labelled, np.float64), (len(self.starts), 1))
        self._targets, self._conditions = table.targets[positions], table.conditions[positions]
        self._time = table.features[positions, 0]

    def _rows(self, table: Table, positions: np.ndarray, split: str) -> Labelled:
        y = table.targets[positions]
        measured = ~np.isnan(y)
        labelled = measured.any(axis=1)
        if not labelled.any() and len(getattr(self.run, split)):
            raise DataError(
                f"run {self.run.run_id}, {split} cases {list(getattr(self.run, split))}: not one labelled cut; "
                "use fewer folds, more validation cases, or data with more labels"
            )
        y = (y - self.scaler.target_mean) / self.scaler.target_scale
        y, rows = np.where(measured, y, 0.0), positions[labelled]
        x = scaled(table.features[rows], self.scaler)
        return Labelled(x, y[labelled], measured[labelled].astype(np.float64), self._law[rows], rows)

    def _trajectories(self, table: Table) -> None:
        """Segments between successive cuts of each training case, the first one from time 0, and the starts."""
        begins, ends, starts = [], [], []
        number = np.full(len(table.features), -1)
        for case in self.run.train:
            rows = table.cuts[case]
            raw = np.hstack([table.features[rows], table.conditions[rows], self._law[rows, None]])
            start = raw[:1].copy()
            start[0, [0, -1]] = 0.0  # time, and wear by the law: the new tool, in the conditions of its first cut
            starts.append(start)
            path = np.vstack([start, raw])
            moves = path[1:, 0] > path[:-1, 0]
            number[rows[moves]] = np.arange(moves.sum()) + sum(map(len, begins))
            begins.append(path[:-1][moves])
            ends.append(path[1:][moves])
        begin, end = np.vstack(begins), np.vstack(ends)
        # A signal that is missing at one end is held at its other end's value: a gap is not a movement.
        begin, end = np.where(np.isnan(begin), end, begin), np.where(np.isnan(end), begin, end)
        width = len(table.names)
        x, x_end = scaled(begin[:, :width], self.scaler), scaled(end[:, :width], self.scaler)
        powered = ~np.isnan(begin[:, -2])
        conditions, conditions_end = (np.nan_to_num(part[:, width:-1], nan=0.0) for part in (begin, end))
        if (conditions[:, :2] <= 0).any() or (conditions_end[:, :2] <= 0).any():
            raise DataError(f"run {self.run.run_id}, DOC or feed of a training case: expected above 0; mend the data")
        self.segments = SegmentArrays(
            x=x,
            dx=x_end - x,
            per_minute=1.0 / (end[:, 0] - begin[:, 0]),
            conditions=conditions,
            dconditions=conditions_end - conditions,
            powered=powered.astype(np.float64),
            law=begin[:, -1],
            dlaw=end[:, -1] - begin[:, -1],
        )
        self.starts = scaled(np.vstack(starts)[:, :width], self.scaler)
        self.ends = number[self.train.rows]
        moved = np.flatnonzero(self.ends >= 0)
        held = ~np.isclose(self.train.x[moved], x_end[self.ends[moved]]).all(axis=1)
        self.ends[moved[held]] = -1

    def guess(self, terms: Sequence[PhysicsTerm]) -> dict[str, float]:
        """Where the coefficients start: the cases' mean rate of wear, and the force's exponents as Kienzle has them.

        b = 1 and c = 0.75 (force ∝ DOC · feed^(1−m), m about a quarter), d = 0, g = 0.5 per mm; τ is half the spread
        of cutting time, k what makes the mean displacement a steady state at the mean power. Where the network corrects
        a fitted law, a to d are that law's, and g is small beside a wear of some tenths of a mm.
        """
        values, law = {}, self.scaler.law
        if "wear_rate" in terms and law is not None:
            values |= dict(zip(WEAR, (*law.coefficients, 0.05), strict=True))
        elif "wear_rate" in terms:
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


def fit_scaler(table: Table, run: PlannedRun, positions: np.ndarray, correction: float | None = None) -> Scaler:
    """Mean and spread of every feature and target over the cuts at `positions`, missing values left out; the wear law.

    The law is fitted where there is a `correction` of it: the share of it that a network may add or take away.

    Raises:
        DataError: a law is asked for, and flank wear is measured at none of the cuts.
    """
    feature_mean, feature_scale = _moments(table.features[positions])
    target_mean, target_scale = _moments(table.targets[positions])
    return Scaler(
        fitted_on=run.train,
        feature_mean=feature_mean,
        feature_scale=feature_scale,
        target_mean=target_mean,
        target_scale=target_scale,
        law=None if correction is None else _fit_law(table, run, positions, correction),
    )


def _fit_law(table: Table, run: PlannedRun, positions: np.ndarray, correction: float) -> WearLaw:
    if np.isnan(table.targets[positions, 0]).all():
        raise DataError(
            f"run {run.run_id}, training cases {list(run.train)}: flank wear is measured nowhere, so that there is no "
            "wear law to correct; use data with more labels, or leave `correction` out"
        )
    solution = fit_wear_law(table.frame.iloc[positions])
    return WearLaw(**dict(zip("abcd", map(float, solution), strict=True)), correction=correction)


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


def scaled(raw: np.ndarray, scaler: Scaler) -> np.ndarray:
    """Standardised features; a missing one is 0, the mean of training."""
    return np.where(np.isnan(raw), 0.0, (raw - np.array(scaler.feature_mean)) / np.array(scaler.feature_scale))


def _refuse_infinite(table: Table, positions: np.ndarray, run: PlannedRun) -> None:
    columns = np.hstack([table.features[positions], table.targets[positions]])
    bad = np.isinf(columns).any(axis=0)
    if bad.any():
        name = (*table.names, *TARGETS)[int(bad.argmax())]
        raise DataError(f"run {run.run_id}, column {name!r} = inf: a finite number, or empty where not measured")
