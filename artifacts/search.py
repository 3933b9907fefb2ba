"""The search for settings: what inner validation cases say of each, and how accuracy on held-out cases goes with them.

For experiments whose variants train dense networks of their own. Where there are validation cases a choice is made for
each held-out case by the runs of its own fold, which see it nowhere. Where there are none, nothing is chosen, and what
is shown is how accuracy depends on the settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from artifacts import kept_laws
from artifacts.numbers import Format
from artifacts.predictors import INTERVAL, POOLED, estimate_columns
from artifacts.render import Frame, Table, spread_columns, table_frame
from artifacts.results import Results, target_name
from artifacts.stats import bootstrap_mean, bootstrap_r2, paired_r2
from spinn.record import PLAN

NONE, LAW = "none", "the law alone"
LOSS, DIFFERENCE, LEAST, CHOSEN, BLIND, SECONDS = (
    "validation loss",
    "difference from the best",
    "least in any epoch",
    "chosen in folds",
    "chosen without the case",
    "training (s)",
)


def search(results: Results) -> Table | None:
    """The validation loss of each setting, and what it is chosen for; None where there is nothing to compare by it."""
    names = _compared(results)
    if not names or not any(run.validation for run in results.plan.runs):
        return None
    losses = last_losses(results)
    by_run = losses.pivot(index="run", columns="variant", values="validation_loss")[names]
    by_fold = losses.groupby(["fold", "variant"])["validation_loss"].mean().unstack()[names]
    best, choice = by_run.mean().idxmin(), by_fold.idxmin(axis=1)
    runs = {(run.fold, run.seed): run.validation for run in results.plan.runs}
    validated = [runs[key] for key in by_run.index]
    blind = _chosen_without(by_run, validated)
    seconds = _seconds(results, names)
    rows = []
    for name, settings in _settings(results, names).items():
        difference = bootstrap_mean((by_run[name] - by_run[best]).to_numpy(), validated)
        rows.append(
            {
                "variant": results.label(name),
                **settings,
                **spread_columns(LOSS, by_fold[name]),
                **estimate_columns(DIFFERENCE, difference),
                LEAST: float(losses.loc[losses["variant"] == name, "least"].mean()),
                CHOSEN: int((choice == name).sum()),
                BLIND: blind.count(name),
                SECONDS: seconds[name],
            }
        )
    law = law_losses(results)
    if law is not None:
        own = law.loc[by_run.index]
        difference = bootstrap_mean((own - by_run[best]).to_numpy(), validated)
        rows.append(
            {
                "variant": LAW,
                **dict.fromkeys(_settings(results, names)[best], NONE),
                **spread_columns(LOSS, own.groupby(level=0).mean()),
                **estimate_columns(DIFFERENCE, difference),
            }
        )
    seeds = len(results.plan.experiment.seeds)
    notes = (
        "Validation loss: mean square error of the standardised targets on the inner validation cases after the dense "
        f"phase's last epoch, mean over {seeds} seeds and all folds; in brackets the smallest and largest fold. In "
        "each run its own held-out case has no part; pooled over folds, a case that one fold holds out validates in "
        "others: this is cross-validation on the cases of the headline, and blind to them only where settings are "
        "chosen in folds.",
        f"The difference is over pairs of runs with the same cases and seed. {INTERVAL} The cases drawn are the inner "
        "validation cases, each with the runs that it validates. An interval with 0 in it does not tell a setting from "
        "the best one, which is the least of as many as there are rows: by chance alone it looks better than it is.",
        "Least in any epoch: what a run cannot know beforehand. Chosen in folds: for each held-out case the setting "
        "with the least validation loss over the runs of its own fold; the case itself has no part in the choice. "
        "Chosen without the case: the same over all runs but those that it validates.",
        *(
            [f"{LAW.capitalize()}: the wear law that each network corrects, as fitted to its training cases."]
            if law is not None
            else []
        ),
        *results.footnotes,
    )
    formats = {"": Format(4), CHOSEN: Format(0), BLIND: Format(0), SECONDS: Format(1, "s")}
    expressions = {
        "": "validation_loss in history.csv after the dense phase, mean over runs",
        DIFFERENCE: "mean over runs of validation_loss less that of the variant with the least mean, paired",
        LEAST: "least validation_loss of the dense phase in history.csv, mean over runs",
        CHOSEN: "folds whose runs have the least mean validation_loss with these settings",
        BLIND: "held-out cases without whose validation the mean validation_loss is least with these settings",
        SECONDS: "seconds of the dense phases in record.json, each key once",
    }
    sources = {"": results.source(PLAN, *names)}
    caption = "The search for settings, on inner validation cases."
    return Table("search", caption, table_frame(rows), notes, formats, ("variant",), expressions, sources)


def by_settings(results: Results) -> Table | None:
    """R² on held-out cases by settings; None where all variants share them, or where validation cases choose."""
    names = _compared(results)
    if not names or any(run.validation for run in results.plan.runs):
        return None
    rows = []
    for name, settings in _settings(results, names).items():
        row: dict[str, Any] = {"variant": results.label(name), **settings}
        for target in results.targets:
            for when, stage in (("dense", 0), ("last stage", results.last_stage(name))):
                held = results.held(name, stage, target)
                row |= estimate_columns(f"R², {target_name(target)}, {when}", bootstrap_r2([held]) if held else None)
            row |= _against(results, names[0], name, target)
            row |= _missed(results, names[0], name, target)
        rows.append(row)
    first = results.label(names[0])
    notes = (
        f"Nothing is chosen by these numbers. {POOLED} {INTERVAL} Less {first}: R² after the last stage less that of "
        f"{first}, on the same cuts, in the same resamples; an interval on one side of 0 is a difference that shows.",
        *([f"{kept_laws.WHAT} Beside it: how many times that of {first}."] if results.datacard.get("truth") else []),
        *results.footnotes,
    )
    expressions = {"": "1 - SS_res / SS_tot over all labelled held-out cuts, mean over seeds"}
    for law in kept_laws.NAMES.values():
        expressions[law] = "root mean square of prediction less the true law's solution from the cut before"
        expressions[f"{law}, times {first}"] = "ratio of two root mean squares, paired"
    expressions |= {column: "difference of two R², paired" for column in table_frame(rows) if ", less " in column}
    sources = {"": results.source(PLAN, *names)}
    caption = "Accuracy on held-out cases by settings."
    formats = {"": Format(3), kept_laws.NAMES["VB"]: Format(4)}
    return Table("settings", caption, table_frame(rows), notes, formats, ("variant",), expressions, sources)


def _against(results: Results, first: str, name: str, target: str) -> dict[str, Any]:
    """R² after the last stage against that of the variant `first`, paired."""
    ours, other = (results.held(one, results.last_stage(one), target) for one in (name, first))
    change = paired_r2([ours], [other]) if ours and other and name != first else None
    return estimate_columns(f"R², {target_name(target)}, less {results.label(first)}", change)


def _missed(results: Results, first: str, name: str, target: str) -> dict[str, Any]:
    """How far held-out predictions are from the true law, alone and over that of `first`; nothing without a truth."""
    found = kept_laws.missed(results, name, first, target)
    if found is None:
        return {}
    law = kept_laws.NAMES[target]
    return estimate_columns(law, found[0]) | estimate_columns(f"{law}, times {results.label(first)}", found[1])


def last_losses(results: Results) -> Frame:
    """`validation_loss` of each run's dense phase after its last epoch, the `least` of any, its `fold`, and `run`.

    `run` is fold and seed: what is the same in runs of all variants that have the same cases.
    """
    dense = results.history[results.history["stage"] == 0].sort_values("epoch", kind="stable")
    by_run = dense.groupby(["run_id", "variant"], as_index=False)["validation_loss"]
    last = by_run.last().assign(least=by_run.min()["validation_loss"])
    place = {record.run_id: (record.fold, record.seed) for record in results.records}
    return last.assign(run=last["run_id"].map(place), fold=[place[name][0] for name in last["run_id"]])


def law_losses(results: Results) -> pd.Series | None:
    """The validation loss of the wear law that each run's network corrects, by fold and seed; None without any.

    None too where it is no such loss: where other targets than flank wear are measured.
    """
    if results.law is None or results.targets != ("VB",):
        return None
    first = results.law[(results.law["split"] == "validation") & results.law["measured"].notna()]
    scale = {record.run_id: record.scaler.target_scale[0] for record in results.records}
    place = {record.run_id: (record.fold, record.seed) for record in results.records}
    error = ((first["prediction"] - first["measured"]) / first["run_id"].map(scale)) ** 2
    by_run = error.groupby(first["run_id"]).mean()
    by_place = {place[run]: loss for run, loss in by_run.items()}  # the law is the same whatever the network does
    return pd.Series(by_place, index=pd.MultiIndex.from_tuples(by_place))


def _chosen_without(by_run: Frame, validated: Sequence[tuple[str, ...]]) -> list[str]:
    """For each case that validates any run the settings with the least mean over the other runs."""
    cases = sorted({case for cases in validated for case in cases})
    return [str(by_run[[case not in cases for cases in validated]].mean().idxmin()) for case in cases]


def _compared(results: Results) -> list[str]:
    """The first variant of each family, where there are several."""
    families = results.plan.experiment.families()
    return [family[0].name for family in families] if len(families) > 1 else []


def _settings(results: Results, names: list[str]) -> dict[str, dict[str, str]]:
    """Of each variant the settings in which the variants differ, under their names in an experiment file."""
    experiment, stated = results.plan.experiment, {}
    for name in names:
        variant = results.plan.variant(name)
        values = {f"physics.{term}": weight for term, weight in experiment.physics_of(variant).model_dump().items()}
        values["correction"] = experiment.correction_of(variant)
        values["sensors"] = experiment.sensors_of(variant)
        values |= {f"dense.{key}": value for key, value in experiment.dense_of(variant).model_dump().items()}
        stated[name] = {key: _shown(value) for key, value in values.items()}
    differing = [key for key in stated[names[0]] if len({values[key] for values in stated.values()}) > 1]
    return {name: {key: values[key] for key in differing} for name, values in stated.items()}


def _shown(value: float | str | None) -> str:
    return NONE if value is None else value if isinstance(value, str) else f"{value:g}"


def _seconds(results: Results, names: list[str]) -> dict[str, float]:
    """What the dense phases of each variant took, over all cohorts."""
    dense = results.costs[results.costs["phase"] == "dense"]
    served = {name: np.array([name in variants for variants in dense["variants"]], bool) for name in names}
    return {name: float(dense["seconds"][rows].sum()) for name, rows in served.items()}
