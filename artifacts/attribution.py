"""The table of pruning and physics: how what each stage removed compares with what stayed, and with other choices.

Reads what `spinn.attribution` recorded and the audit computed again; states the claim and what the numbers say of it.
"""

from __future__ import annotations

import numpy as np

from artifacts.numbers import Format
from artifacts.predictors import INTERVAL, estimate_columns
from artifacts.render import Table, spread_columns, table_frame
from artifacts.results import Results
from artifacts.stats import Estimate, bootstrap_mean

SCORES = {"physics": "physics", "data": "data", "physics_signed": "physics, signed"}
GAIN = "signed, less random's"
CONTROL = "the control: chance chose on both sides"
CHOICES = {"pruner": "the pruner's", "magnitude": "by magnitude", "random": "at random"}
WHAT = (
    "The chance that a weight that stayed scores above one that went (area under the ROC curve): 0.5 where the choice "
    "has nothing to do with the score, 1 where exactly the lowest scores went. Physics and data: what the weight's "
    "removal changes in the weighted physics terms and in the data loss, to first order, without its sign: |w · dL/dw| "
    "(Mozer & Smolensky 1989; Molchanov et al. 2017). Signed: -w · dL/dw of the physics terms, which is below 0 where "
    "they fall as the weight goes. All of the network that the stage began with. Mean over runs; in brackets: smallest "
    "and largest run."
)


def table(results: Results) -> Table | None:
    """For each variant, stage and choice of weights, how it goes with the scores; None where no physics term was on."""
    rows = []
    for variant in results.variants:
        records = [record for record in results.records if record.variant == variant]
        for stage in results.plan.ledger[variant]:
            stages = [entry for record in records for entry in record.stages if entry.stage == stage.stage]
            found = [entry.attribution for entry in stages if entry.attribution is not None]
            for choice, name in CHOICES.items() if found else ():
                columns = {
                    key: value
                    for score, label in SCORES.items()
                    for key, value in spread_columns(label, (areas[f"{score}_{choice}"] for areas in found)).items()
                }
                row = {"variant": results.label(variant), "stage": str(stage.stage), "choice": name}
                rows.append({**row, **columns, "runs": len(found)})
    if not rows:
        return None
    notes = (WHAT, _claim(), *results.footnotes)
    expressions = {
        "": "P(score of a weight that stayed > of one that went) + P(equal) / 2, mean over runs",
        "runs": "runs that recorded it",
    }
    return Table(
        "attribution",
        "What pruning has to do with physics.",
        table_frame(rows),
        notes,
        {"": Format(3), "runs": Format(0)},
        ("variant", "stage", "choice"),
        expressions,
        {results.label(name): results.source(name) for name in results.variants},
    )


def gain(results: Results, score: str, variant: str) -> Estimate:
    """The area of `score` for the choice of a variant's pruner, less that of a random choice of as many weights.

    Mean over its runs and stages, with the interval over the held-out cases of the runs.
    """
    found = [
        (stage.attribution[f"{score}_pruner"] - stage.attribution[f"{score}_random"], planned.test)
        for record, planned in zip(results.records, results.plan.runs, strict=True)
        if record.variant == variant
        for stage in record.stages
        if stage.attribution is not None and f"{score}_pruner" in stage.attribution
    ]
    if not found:
        return Estimate(None)
    gains, cases = zip(*found, strict=True)
    return bootstrap_mean(np.array(gains), cases)


def _claim() -> str:
    return (
        "The claim to test is that pruning removes what violates physics: then the signed values of the pruner would "
        "lie above 0.5, and above those of a random choice of as many weights. Values of the first two columns above "
        "0.5 say less: a small weight has a small score, whatever the loss, so a choice by magnitude goes with both. "
        "These are associations at the moment of pruning; what caused what they do not tell."
    )


def link(results: Results) -> Table | None:
    """The signed values of each variant less those of the random choice in the same run and stage; None without any."""
    rows = []
    for variant in results.variants:
        change = gain(results, "physics_signed", variant)
        if change.value is not None:
            row = {"variant": results.label(variant), **estimate_columns(GAIN, change)}
            control = results.plan.variant(variant).pruner == "random"
            rows.append(row | {"where the interval lies": CONTROL if control else _lies(change)})
    if not rows:
        return None
    notes = [f"Mean over runs and stages. {INTERVAL}", _claim()]
    if any(row["where the interval lies"] == CONTROL for row in rows):
        notes.append(
            "The control has a random choice on both sides: by as much as it is from zero the comparison errs."
        )
    expressions = {"": "area of the pruner's choice - area of the random choice, mean over runs and stages"}
    sources = {results.label(name): results.source(name) for name in results.variants}
    caption = "Whether what went stands against physics more than a random choice does."
    told = (*notes, *results.footnotes)
    formats = {"": Format(5, tiny=True)}
    return Table("physics-link", caption, table_frame(rows), told, formats, ("variant",), expressions, sources)


def _lies(change: Estimate) -> str:
    low, high = (change.value if end is None else end for end in (change.low, change.high))
    if low is None or high is None or low <= 0 <= high:
        return "on both sides of zero: these numbers do not show the claim"
    return "above zero, as the claim has it" if low > 0 else "below zero: against the claim"
