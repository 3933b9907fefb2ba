"""What the choice of test cases, or of the yardstick, is worth: split luck, and baselines that do as well.

Works on predictions.csv of the runs and on baselines/; every figure is pooled over the cuts of held-out cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import get_args

import numpy as np

from spinn.config import SEES_LABELS
from spinn.errors import RecordError
from spinn.record import BASELINE_COLUMNS, BASELINES, BaselineRecord, Target, read_model
from verify.folder import Fault, Folder, UnavailableError, read_csv

LUCKY_CASES = 3  # the size of the test set that the earlier work was judged by
MOST_CHOICES = 100_000  # beyond so many ways to choose, as many are drawn
BOOTSTRAP = 2_000

Sums = dict[str, np.ndarray]
"""For each case: number of cuts, sum of measured, of its square, and of squared errors."""


def split_luck(folder: Folder) -> Iterator[Fault]:
    """For each variant and target, R² over all ways to choose the test cases."""
    for variant in folder.plan.experiment.variants:
        for target in folder.plan.dataset.targets:
            sums = _held_out(folder, variant.name, target)
            if len(sums) < 4:
                continue  # hardly a choice
            every, size = _r2(np.array(list(sums.values())).sum(0)[None]), min(LUCKY_CASES, len(sums) - 1)
            values = _r2(_choices(np.array(list(sums.values())), size))
            values = values[np.isfinite(values)]
            if not values.size:
                continue
            low, five, median, most, high = np.quantile(values, (0, 0.05, 0.5, 0.95, 1))
            yield Fault(
                f"{variant.name}, {target}: R² {every[0]:.3f} over all {len(sums)} cases; {size} test cases may give "
                f"{low:.3f} to {high:.3f}, 5–95 %: {five:.3f} to {most:.3f}",
                {"variant": variant.name, "target": target, "r2": float(every[0]), "cases": size,
                 "choices": int(values.size), "least": float(low), "p05": float(five), "median": float(median),
                 "p95": float(most), "most": float(high)},
            )  # fmt: skip


def baseline_as_good(folder: Folder) -> Iterator[Fault]:
    """A baseline with fewer parameters whose pooled R² on held-out cases is at least that of the pruned network."""
    for name in folder.plan.experiment.baselines:
        try:
            record = read_model(folder.path / BASELINES / f"{name}.json", BaselineRecord)
            table = read_csv(folder.path / BASELINES / f"{name}.csv", BASELINE_COLUMNS, text=("case", "target"))
        except (RecordError, UnicodeDecodeError, UnavailableError):
            continue  # `baselines-recomputed` says so
        for variant in folder.plan.experiment.variants:
            parameters = _parameters(folder, variant.name)
            for target in record.targets:
                rows = table["target"] == target
                own = _sums(table["case"][rows], table["measured"][rows], table["prediction"][rows])
                network = _held_out(folder, variant.name, target)
                if parameters is None or record.parameters >= parameters or not network or set(own) != set(network):
                    continue
                pairs = np.array([(network[case], own[case]) for case in network])
                theirs, baseline = (_r2(pairs[:, side].sum(0)[None])[0] for side in (0, 1))
                if not baseline >= theirs:
                    continue
                low, high = _interval(pairs)
                seen = ", which sees the tool's earlier labels," if name in SEES_LABELS else ","
                yield Fault(
                    f"{name}{seen} {record.parameters} parameters, does as well as {variant.name} with {parameters} on "
                    f"{target}: R² {baseline:.3f} against {theirs:.3f}, better by {baseline - theirs:.3f} "
                    f"(95 % over cases {low:.3f} to {high:.3f})",
                    {"baseline": name, "variant": variant.name, "target": target, "baseline_r2": float(baseline),
                     "network_r2": float(theirs), "low": low, "high": high},
                )  # fmt: skip


def _parameters(folder: Folder, variant: str) -> int | None:
    ends = [run.record.stages[-1].parameters for run in folder.runs
            if run.planned.variant == variant and run.record and run.record.stages]  # fmt: skip
    return ends[0] if ends else None


def _held_out(folder: Folder, variant: str, target: str) -> Sums:
    """Sums of each case as it was predicted when it was a test case, after the last stage; seeds pooled."""
    if not folder.held_out:
        folder.held_out.update(_of_all(folder))
    return folder.held_out[variant, target]


def _of_all(folder: Folder) -> dict[tuple[str, str], Sums]:
    """By variant and target; each run's predictions are read once, for all targets and for whoever asks."""
    targets: tuple[str, ...] = get_args(Target)
    names = [variant.name for variant in folder.plan.experiment.variants]
    total: dict[tuple[str, str], Sums] = {(name, target): {} for name in names for target in targets}
    for run in folder.runs:
        if run.record is None or not run.record.stages:
            continue
        try:
            table = run.predictions()
        except UnavailableError:
            continue  # `digests` says so
        last = (table["split"] == "test") & (table["stage"] == run.record.stages[-1].stage)
        for target in targets:
            rows = last & (table["target"] == target)
            pooled = total[run.planned.variant, target]
            for case, values in _sums(table["case"][rows], table["measured"][rows], table["prediction"][rows]).items():
                pooled[case] = pooled.get(case, np.zeros(4)) + values
        run.forget()
    return total


def _sums(cases: np.ndarray, measured: np.ndarray, predicted: np.ndarray) -> Sums:
    known = np.isfinite(measured)
    sums: Sums = {}
    for case in dict.fromkeys(cases[known].tolist()):
        rows = known & (cases == case)
        y, error = measured[rows], predicted[rows] - measured[rows]
        sums[case] = np.array([rows.sum(), y.sum(), (y**2).sum(), (error**2).sum()])
    return sums


def _r2(sums: np.ndarray) -> np.ndarray:
    """R² of each line of sums `[choices, 4]`; NaN where the measured values do not differ."""
    spread = sums[:, 2] - sums[:, 1] ** 2 / sums[:, 0]
    return np.where(spread > 1e-12 * sums[:, 2], 1 - sums[:, 3] / spread, np.nan)


def _choices(sums: np.ndarray, size: int) -> np.ndarray:
    """Sums over every choice of `size` cases, `[choices, 4]`; drawn with a fixed seed where there are too many."""
    cases = len(sums)
    if comb(cases, size) <= MOST_CHOICES:
        chosen = np.array(list(combinations(range(cases), size)))
    else:
        draw = np.random.default_rng(0)
        chosen = np.array([draw.choice(cases, size, replace=False) for _ in range(MOST_CHOICES)])
    return sums[chosen].sum(1)


def _interval(pairs: np.ndarray) -> tuple[float, float]:
    """95 % of the difference in R², baseline less network, when cases are drawn again; `pairs` `[cases, 2, 4]`."""
    drawn = np.random.default_rng(0).integers(0, len(pairs), (BOOTSTRAP, len(pairs)))
    sums = pairs[drawn].sum(1)
    differences = _r2(sums[:, 1]) - _r2(sums[:, 0])
    low, high = np.nanquantile(differences, (0.025, 0.975))
    return float(low), float(high)
