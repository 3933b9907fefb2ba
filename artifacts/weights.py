"""The weight of the physics: which weights inner validation cases choose, or what each gives on held-out cases.

For experiments whose variants have physics weights of their own. A choice is made for each held-out case, by the
validation cases of its own runs, which it is never among. Where there are none, nothing is chosen, and what is shown is
how accuracy depends on the weights.
"""

from __future__ import annotations

from typing import Any

from artifacts.numbers import Format
from artifacts.predictors import INTERVAL, POOLED, estimate_columns
from artifacts.render import Frame, Table, spread_columns, table_frame
from artifacts.results import Results, target_name
from artifacts.stats import bootstrap_r2, paired_r2
from spinn.record import PLAN


def physics_weights(results: Results) -> Table | None:
    """Each family's physics weights, and its validation loss or its R²; None where all variants share their physics."""
    families = results.plan.experiment.families()
    if len(families) < 2:
        return None
    names = [family[0].name for family in families]
    rows = [{"variant": results.label(name), "weights": _weights(results, name)} for name in names]
    if any(run.validation for run in results.plan.runs):
        return _table(results, names, *_chosen(results, names, rows))
    for row, name in zip(rows, names, strict=True):
        for target in results.targets:
            for when, stage in (("dense", 0), ("last stage", results.last_stage(name))):
                held = results.held(name, stage, target)
                row |= estimate_columns(f"R², {target_name(target)}, {when}", bootstrap_r2([held]) if held else None)
            row |= _against(results, names[0], name, target)
    notes = [
        f"{POOLED} {INTERVAL}",
        f"Less {results.label(names[0])}: R² after the last stage less that of {results.label(names[0])}, on the same "
        "cuts and in the same resamples; an interval on one side of 0 is a difference that shows.",
    ]
    return _table(results, names, rows, notes)


def _against(results: Results, first: str, name: str, target: str) -> dict[str, Any]:
    """R² after the last stage against that of the variant `first`, paired."""
    ours, other = (results.held(one, results.last_stage(one), target) for one in (name, first))
    change = paired_r2([ours], [other]) if ours and other and name != first else None
    return estimate_columns(f"R², {target_name(target)}, less {results.label(first)}", change)


def _chosen(results: Results, names: list[str], rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    last = last_losses(results)
    mean = last.groupby(["fold", "variant"])["validation_loss"].mean().unstack()[names]
    choice = mean.idxmin(axis=1)
    for row, name in zip(rows, names, strict=True):
        row |= spread_columns("validation loss", mean[name])
        row |= {"least in any epoch": float(last.loc[last["variant"] == name, "least"].mean())}
        row |= {"chosen for cases": int((choice == name).sum())}
    seeds = len(results.plan.experiment.seeds)
    notes = [
        "Validation loss: mean square error of the standardised targets on the inner validation cases after the dense "
        f"phase's last epoch, mean over {seeds} seeds and all folds; in brackets the smallest and largest fold. Beside "
        "it the least one of any epoch, which a run cannot know beforehand.",
        "For each held-out case the weights with the least validation loss in its own fold are chosen; the case itself "
        "has no part in it.",
    ]
    return rows, notes


def last_losses(results: Results) -> Frame:
    """`validation_loss` of each run's dense phase after its last epoch, and the `least` of any epoch."""
    dense = results.history[results.history["stage"] == 0].sort_values("epoch", kind="stable")
    fold = {record.run_id: record.fold for record in results.records}
    by_run = dense.groupby(["run_id", "variant"], as_index=False)["validation_loss"]
    last = by_run.last().assign(least=by_run.min()["validation_loss"])
    return last.assign(fold=last["run_id"].map(fold))


def _table(results: Results, names: list[str], rows: list[dict[str, Any]], notes: list[str]) -> Table:
    formats = {"": Format(3), "validation loss": Format(4), "least in any epoch": Format(4)}
    formats |= {"chosen for cases": Format(0)}
    expressions = {
        "": "1 - SS_res / SS_tot over all labelled held-out cuts, mean over seeds",
        "validation loss": "validation_loss in history.csv after the dense phase, mean over seeds and folds",
        "least in any epoch": "least validation_loss of the dense phase in history.csv, mean over runs",
        "chosen for cases": "folds whose runs have the least mean validation_loss with these weights",
    }
    frame = table_frame(rows)
    expressions |= {column: "difference of two R², paired" for column in frame.columns if ", less " in column}
    sources = {"": results.source(PLAN, *names)}
    caption = "The weight of the physics."
    labels = ("variant", "weights")
    found = (*notes, *results.footnotes)
    return Table("physics-weights", caption, frame, found, formats, labels, expressions, sources)


def _weights(results: Results, name: str) -> str:
    physics = results.plan.experiment.physics_of(results.plan.variant(name))
    return ", ".join(f"{term} {getattr(physics, term):g}" for term in physics.enabled()) or "none"
