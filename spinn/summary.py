"""What must be reported after a run (MISSION): counts, sparsity, held-out accuracy, time, every warning."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from spinn import schedule
from spinn.errors import RecordError, one_line
from spinn.metrics import r_squared
from spinn.record import (
    PLAN,
    PREDICTION_COLUMNS,
    PREDICTIONS,
    PROGRESS,
    RECORD,
    Plan,
    PlannedRun,
    Record,
    read_model,
    run_folder,
)
from spinn.storage import read_stored

_MEND = "restore the file, or run again with --fresh"
_KINDS = {"split": str, "case": str, "target": str, "measured": float, "prediction": float}


def summary(runs: Path) -> str:
    """The report of a folder of runs, finished or not, as text.

    Held-out R² is pooled over all labelled cuts of the finished runs of one seed, and averaged over seeds.

    Raises:
        RecordError: the folder holds no plan, or what a finished run left in it cannot be read; says how to mend it.
    """
    plan = read_model(runs / PLAN, Plan)
    for variant in plan.experiment.variants:
        if not plan.ledger.get(variant.name):
            raise RecordError(f"{runs / PLAN}: ledger: no stage of variant {variant.name}; {_MEND}")
    lines = [
        f"{plan.experiment.name} on {plan.dataset.source}: {len(plan.dataset.cases)} cases, {plan.dataset.cuts} cuts, "
        f"{len(plan.runs)} runs planned"
    ]
    costs: dict[str, float] = {}
    warnings: dict[str, int] = {}
    for variant in plan.experiment.variants:
        planned = [run for run in plan.runs if run.variant == variant.name]
        finished = [run for run in planned if (run_folder(runs, run.run_id) / RECORD).exists()]
        lines += ["", f"{variant.name}: {len(finished)} of {len(planned)} runs finished{_standing(runs, planned)}"]
        records = [_record(run_folder(runs, run.run_id) / RECORD) for run in finished]
        for record in records:
            costs.update({cost.key: cost.seconds for cost in record.cost})
            for warning in record.warnings:
                warnings[warning] = warnings.get(warning, 0) + 1
        if records:
            lines += _counts(plan, variant.name, records) + _accuracy(plan, runs, finished)
    lines += ["", f"training time: {sum(costs.values()):.1f} s, cohorts' phases added up"]
    lines += [f"  {one_line(key)}: {seconds:.1f} s" for key, seconds in costs.items()]
    lines += ["", f"warnings: {len(warnings) or 'none'}"]
    lines += [f"  {one_line(warning)} ({count} runs)" for warning, count in warnings.items()]
    return "\n".join(lines)


def _record(path: Path) -> Record:
    record = read_model(path, Record)
    if not record.stages:
        raise RecordError(f"{path}: stages = []: a finished run has at least the dense one; {_MEND}")
    return record


def _standing(runs: Path, planned: Sequence[PlannedRun]) -> str:
    folders = [run_folder(runs, run.run_id) for run in planned]
    unfinished = [folder for folder in folders if (folder / PROGRESS).exists() and not (folder / RECORD).exists()]
    return f", {len(unfinished)} under way" if unfinished else ""


def _counts(plan: Plan, variant: str, records: Sequence[Record]) -> list[str]:
    total = schedule.total_parameters(plan.experiment.layers)
    weights = schedule.prunable_weights(plan.experiment.layers)
    last = [record.stages[-1] for record in records]
    kept = [stage.kept_weights for stage in last]
    widths = plan.ledger[variant][-1].widths
    kept_by = "the masks" if widths is None else f"removing neurons, {'-'.join(map(str, widths))}"
    rows = {
        f"parameters kept by {kept_by}": [stage.parameters for stage in last],
        "weights not zero at the end": [stage.nonzero_weights for stage in last],
    }
    lines = [f"  {name}: {_span(values)}" for name, values in rows.items()]
    lines.append(f"  weight sparsity, of {weights:,} weights: {_span([100 * (1 - k / weights) for k in kept], ' %')}")
    reduction = [100 * (1 - stage.parameters / total) for stage in last]
    lines.append(f"  reduction, of {total:,} parameters: {_span(reduction, ' %')}")
    lines.append(f"  checkpoint: {_span([stage.checkpoint_bytes for stage in last])} bytes")
    return lines


def _span(values: Sequence[float], unit: str = "") -> str:
    def spell(value: float) -> str:
        return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"

    low, high = spell(min(values)), spell(max(values))
    return (low if low == high else f"{low} to {high}") + unit


def _accuracy(plan: Plan, runs: Path, finished: Sequence[PlannedRun]) -> list[str]:
    tables = []
    for run in finished:
        table = _predictions(run_folder(runs, run.run_id) / PREDICTIONS)
        tables.append(table[(table["split"] == "test") & table["measured"].notna()].assign(seed=run.seed))
    held_out = pd.concat(tables)
    lines, means = [], []
    final = held_out["stage"].max()
    for target in plan.dataset.targets:
        rows = held_out[held_out["target"] == target]
        dense, sparse = (_pooled(rows[rows["stage"] == stage]) for stage in (0, final))
        means.append((dense, sparse))
        lines.append(f"  held-out R² of {target}: dense {dense:.3f}, after the last stage {sparse:.3f}")
    dense, sparse = (float(np.mean(column)) for column in zip(*means, strict=True))
    lines.append(
        f"  overall, the mean over {', '.join(plan.dataset.targets)}: dense {dense:.3f}, "
        f"after the last stage {sparse:.3f}"
    )
    return lines


def _predictions(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(io.BytesIO(read_stored(path)), dtype=_KINDS)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file, though the run is finished; {_MEND}") from None
    except ValueError as error:  # what pandas raises of a file that is empty, no CSV, no text, or holds other values
        reason = " ".join(str(error).split())
        raise RecordError(f"{path}: not the predictions of a run ({reason:.100}); {_MEND}") from None
    missing = [name for name in PREDICTION_COLUMNS if name not in table]
    if missing:
        raise RecordError(f"{path}: column {missing[0]!r} is missing; {_MEND}")
    if table.empty:
        raise RecordError(f"{path}: no rows; {_MEND}")
    if table["stage"].dtype.kind != "i":
        raise RecordError(f"{path}: not the predictions of a run (stages are whole numbers); {_MEND}")
    return table


def _pooled(rows: pd.DataFrame) -> float:
    """Mean over seeds of R² pooled over a seed's held-out cuts; NaN where it is not defined."""
    values = [
        r_squared(one["measured"].to_numpy(), one["prediction"].to_numpy())
        for _, one in rows.groupby("seed", sort=True)
    ]
    if not values:
        return float("nan")
    return float(np.mean([np.nan if value is None else value for value in values]))
