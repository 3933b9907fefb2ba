"""The weight of the physics: what each setting gives on inner validation cases, which is chosen, and what that gives.

For experiments whose variants have physics weights of their own. A choice is made for each held-out case, by the
validation cases of its own runs, which it is never among.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from artifacts.numbers import Format
from artifacts.predictors import INTERVAL, estimate_columns
from artifacts.render import Table, spread_columns, table_frame
from artifacts.results import Results, target_name
from artifacts.stats import Held, bootstrap_r2, subset
from spinn.record import PLAN

CHOSEN = "chosen for each case"


def physics_weights(results: Results) -> Table | None:
    """Each family's physics weights, its validation loss and its R²; None where all variants share their physics."""
    experiment = results.plan.experiment
    names = [family[0].name for family in experiment.families()]
    dense = results.stages[(results.stages["stage"] == 0) & results.stages["variant"].isin(names)]
    if len(names) < 2 or dense["selected_loss"].isna().any():
        return None
    losses = dense.groupby(["fold", "variant"])["selected_loss"].mean().unstack()[names]
    choice = losses.idxmin(axis=1)
    rows = []
    for name in names:
        ours = dense[dense["variant"] == name]
        row: dict[str, Any] = {"variant": results.label(name), "weights": _weights(results, name)}
        row |= {"validation loss": float(ours["selected_loss"].mean())}
        row |= spread_columns("epoch", ours["selected_epoch"]) | {"chosen for cases": int((choice == name).sum())}
        rows.append(row | _accuracy(results, dict.fromkeys(losses.index, name)))
    rows.append({"variant": CHOSEN, "weights": "", **_accuracy(results, choice.to_dict())})
    notes = (
        "Validation loss: least mean square error of the standardised targets on the inner validation cases, mean over "
        f"the {len(experiment.seeds)} seeds and all folds; epoch: where it is reached, mean, smallest and largest run.",
        "For each held-out case the weights with the least validation loss in its own folds, mean over seeds, are "
        f"chosen; the last line is made of these choices, and no held-out case had a part in its own. R²: {INTERVAL}",
        *results.footnotes,
    )
    formats = {"": Format(3), "validation loss": Format(4), "epoch": Format(0), "chosen for cases": Format(0)}
    expressions = {
        "": "dense network, 1 - SS_res / SS_tot over all labelled held-out cuts, mean over seeds",
        "validation loss": "selected_loss of the dense network, mean over runs",
        "chosen for cases": "folds whose runs have the least mean selected_loss with these weights",
    }
    sources = {"": results.source(PLAN, *names)}
    caption = "The weight of the physics, chosen on inner validation cases."
    labels = ("variant", "weights")
    return Table("physics-weights", caption, table_frame(rows), notes, formats, labels, expressions, sources)


def _weights(results: Results, name: str) -> str:
    physics = results.plan.experiment.physics_of(results.plan.variant(name))
    return ", ".join(f"{term} {getattr(physics, term):g}" for term in physics.enabled()) or "none"


def _accuracy(results: Results, variant_of: dict[Any, str]) -> dict[str, Any]:
    """R² of the dense network of each fold's variant, over all its held-out cuts."""
    columns: dict[str, Any] = {}
    case_of = {record.fold: _tests(results, record.fold) for record in results.records}
    for target in results.targets:
        parts = [_only(results.held(name, 0, target), case_of[fold]) for fold, name in variant_of.items()]
        known = [part for part in parts if part is not None]
        columns |= estimate_columns(f"R², {target_name(target)}", bootstrap_r2([_joined(known)]) if known else None)
    return columns


def _tests(results: Results, fold: int) -> tuple[str, ...]:
    return next(run.test for run in results.plan.runs if run.fold == fold)


def _only(held: Held | None, cases: Sequence[str]) -> Held | None:
    return None if held is None or not np.isin(held.case, cases).any() else subset(held, np.isin(held.case, cases))


def _joined(parts: Sequence[Held]) -> Held:
    case, measured, prediction = (
        [getattr(part, name) for part in parts] for name in ("case", "measured", "prediction")
    )
    return Held(np.concatenate(case), np.concatenate(measured), np.concatenate(prediction))
