"""The baselines, computed again: the training mean exactly, the wear law by a least-squares fit of the judge's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spinn.errors import RecordError
from spinn.record import BASELINE_COLUMNS, BASELINES, BaselineFold, BaselineRecord, plan_digest, read_model
from verify.folder import Fault, Folder, Table, UnavailableError, is_sealed, read_csv

LAW = ("a", "b", "c", "d")
DOC_REFERENCE, FEED_REFERENCE = 0.75, 0.25  # mm, mm/rev
RELATIVE = 1e-9
FIT_SLACK = 1e-4  # relative excess of the sum of squares that a converged fit may have


def recomputed(folder: Folder) -> Iterator[Fault]:
    """Every planned baseline is there, fitted without its test cases, and predicts what its fit predicts."""
    for name in folder.plan.experiment.baselines:
        path = folder.path / BASELINES / f"{name}.json"
        try:
            record = read_model(path, BaselineRecord)
            if f"{BASELINES}/{name}.csv" not in folder.digests:
                raise UnavailableError(f"{name}.csv: no such file")
            table = read_csv(path.with_suffix(".csv"), BASELINE_COLUMNS, text=("case", "target"))
        except (RecordError, UnicodeDecodeError, UnavailableError) as error:
            yield Fault(f"baseline {name}: {error}", {"baseline": name})
            continue
        for message in _faults(folder, name, record, table):
            yield Fault(f"baseline {name}: {message}", {"baseline": name})


def _faults(folder: Folder, name: str, record: BaselineRecord, table: Table) -> Iterator[str]:
    if not is_sealed(record):
        yield "its content is not what was sealed; it was edited"
    if record.plan_digest != plan_digest(folder.plan):
        yield "made under another plan"
    if folder.digests[f"{BASELINES}/{name}.csv"] != record.predictions_digest:
        yield "the sha256 of its predictions is not the recorded one"
    targets = folder.plan.dataset.targets if name == "mean" else ("VB",)
    names = targets if name == "mean" else LAW
    if record.name != name or record.targets != targets or record.parameters != len(names):
        yield "its name, targets or number of parameters are wrong"
        return
    tests = {run.fold: set(run.test) for run in folder.plan.runs}
    if sorted(fold.fold for fold in record.folds) != sorted(tests) or set(table["fold"].tolist()) != set(tests):
        yield f"folds {sorted(fold.fold for fold in record.folds)} are there, {sorted(tests)} are planned"
        return
    for fold in record.folds:
        if set(fold.coefficients) != set(names):
            yield f"fold {fold.fold}: coefficients {sorted(fold.coefficients)}, expected {sorted(names)}"
        elif set(fold.test) != tests[fold.fold] or set(fold.train) != set(folder.plan.dataset.cases) - set(fold.test):
            yield f"fold {fold.fold}: it is not fitted on every case but the test cases"
        else:
            yield from _fold_faults(folder, fold, table, name)


def _fold_faults(folder: Folder, fold: BaselineFold, table: Table, name: str) -> Iterator[str]:
    data = folder.dataset
    train, test = data.of(fold.train), np.flatnonzero(data.of(fold.test))
    for target in folder.plan.dataset.targets if name == "mean" else ("VB",):
        values = data.columns[target]
        known = train & ~np.isnan(values)
        if name == "mean":
            mean, stated = float(values[known].mean()), fold.coefficients[target]
            own = np.full(len(test), mean)
            if not abs(stated - mean) <= RELATIVE * abs(mean):
                yield f"fold {fold.fold}: the mean of {target} is {mean:.6g}, recorded {stated:.6g}"
        else:
            law, coefficients = Law.of(data.columns, known), np.array([fold.coefficients[key] for key in LAW])
            own = Law.of(data.columns, test).wear(coefficients)
            found, least = law.squares(coefficients), law.least_squares(coefficients)
            if not found <= least * (1 + FIT_SLACK) + 1e-12:
                yield f"fold {fold.fold}: its sum of squares is {found:.6g}, a fit reaches {least:.6g}"
        rows = (table["fold"] == fold.fold) & (table["target"] == target)
        given = dict(zip(zip(table["case"][rows].tolist(), table["run"][rows].tolist(), strict=True),
                         np.flatnonzero(rows).tolist(), strict=True))  # fmt: skip
        wanted = list(zip(data.cases[test].tolist(), data.runs[test].tolist(), strict=True))
        if set(given) != set(wanted) or int(rows.sum()) != len(wanted):
            yield f"fold {fold.fold}: predictions of {target} do not cover each test cut once"
            continue
        lines = np.array([given[key] for key in wanted])
        if not np.array_equal(table["measured"][lines], values[test], equal_nan=True):
            yield f"fold {fold.fold}: measured values of {target} are not the data's"
        if not np.array_equal(table["time"][lines], data.columns["time"][test]):
            yield f"fold {fold.fold}: times are not the data's"
        if not np.allclose(table["prediction"][lines], own, rtol=RELATIVE, atol=RELATIVE):
            yield f"fold {fold.fold}: predictions of {target} are not those of its coefficients"


@dataclass(frozen=True)
class Law:
    """VB (mm) = t · exp(a + b·ln(DOC/0.75) + c·ln(feed/0.25) + d·steel), t in minutes, at some cuts."""

    time: np.ndarray
    design: np.ndarray
    measured: np.ndarray

    @classmethod
    def of(cls, columns: Table, rows: np.ndarray) -> Law:
        """The law at the chosen cuts (a mask or positions)."""
        depth, feed = columns["DOC"][rows] / DOC_REFERENCE, columns["feed"][rows] / FEED_REFERENCE
        design = np.stack([np.ones(len(depth)), np.log(depth), np.log(feed), columns["steel"][rows]], axis=1)
        return cls(columns["time"][rows], design, columns["VB"][rows])

    def wear(self, coefficients: np.ndarray) -> np.ndarray:
        """Flank wear in mm."""
        return self.time * np.exp(self.design @ coefficients)

    def squares(self, coefficients: np.ndarray) -> float:
        """Sum of squared errors; inf where the law overflows."""
        with np.errstate(over="ignore", invalid="ignore"):
            squares = float(((self.wear(coefficients) - self.measured) ** 2).sum())
        return squares if np.isfinite(squares) else np.inf

    def least_squares(self, start: np.ndarray) -> float:
        """Least sum of squares that damped Gauss-Newton steps find, from `start` and from a log-linear fit."""
        if not np.isfinite(self.design).all():
            return np.inf  # a depth or feed that is not above 0: nothing can be fitted
        positive = (self.measured > 0) & (self.time > 0)
        rate = np.log(self.measured[positive] / self.time[positive])
        linear = np.linalg.lstsq(self.design[positive], rate, rcond=None)[0]
        return min(self._descend(start), self._descend(linear))

    def _descend(self, coefficients: np.ndarray, steps: int = 200) -> float:
        """Levenberg (1944, Q. Appl. Math. 2, 164), damped in proportion to the diagonal as Marquardt has it."""
        best, damping = self.squares(coefficients), 1e-3
        for _ in range(steps):
            if not np.isfinite(best) or damping > 1e12:
                break
            fitted = self.wear(coefficients)
            slope = fitted[:, None] * self.design
            normal, pull = slope.T @ slope, slope.T @ (self.measured - fitted)
            damped = normal + damping * np.diag(np.diag(normal) + 1e-12)
            trial = coefficients + np.linalg.lstsq(damped, pull, rcond=None)[0]
            squares = self.squares(trial)
            if squares < best:
                gained = best - squares
                coefficients, best, damping = trial, squares, damping / 10
                if gained <= 1e-12 * best:
                    break
            else:
                damping *= 10
        return best
