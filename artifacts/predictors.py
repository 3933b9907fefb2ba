"""Everything that predicts held-out cuts, side by side: what it is called, where it comes from, what it predicted.

Knows the order of rows, which of them the work stands for, and how a table gives an R² with its interval; nothing of
any table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from artifacts.numbers import Format
from artifacts.render import HIGH, LOW
from artifacts.results import UNITS, Results, target_label
from artifacts.stats import LEVEL, RESAMPLES, SEED, Estimate, Held, seed_r2
from spinn.record import BASELINES, DATASET

WEAR_LAW, ALONE = "wear-law", "correction 0"
INTERVAL = (
    f"In brackets: {100 * LEVEL:.0f} % interval, case bootstrap (percentile, {RESAMPLES:,} resamples of the cases, "
    f"seed {SEED})."
)
POOLED = (
    "R² is pooled over all labelled held-out cuts, one prediction a cut; with several seeds it is the mean of the "
    "seeds' pooled R²."
)


def in_unit_of_target(digits: int, *columns: str) -> dict[str | tuple[str, str], Format]:
    """How numbers in these columns are printed, where each row names its target and they are in that one's unit."""
    return {(column, target_label(target)): Format(digits, UNITS[target]) for column in columns for target in UNITS}


class Predictor(NamedTuple):
    """A row of a table of predictors: its label, its sources, and its held-out predictions by target."""

    label: str
    source: tuple[str, ...]
    held: dict[str, Held]


def predictors(results: Results) -> list[Predictor]:
    """Everything that predicts: the dense network first, then the variants, then the baselines.

    Where networks correct a wear law, the variant that the work stands for comes again with all corrections at 0.
    """
    out = [Predictor("dense", results.source(results.primary), _helds(results, results.primary, 0))]
    for variant in results.variants:
        held = _helds(results, variant, results.last_stage(variant))
        out.append(Predictor(results.label(variant), results.source(variant), held))
    law = results.held_law(results.primary, "VB")
    if law is not None:
        label = f"{results.label(results.primary)}, {ALONE}"
        out.append(Predictor(label, results.source(results.primary, DATASET), {"VB": law}))
    for baseline in results.baselines:
        found = {target: results.held_baseline(baseline.name, target) for target in results.targets}
        known = {target: held for target, held in found.items() if held is not None}
        out.append(Predictor(baseline.name, results.source(f"{BASELINES}/{baseline.name}"), known))
    return out


def _helds(results: Results, variant: str, stage: int) -> dict[str, Held]:
    found = {target: results.held(variant, stage, target) for target in results.targets}
    return {target: held for target, held in found.items() if held is not None}


def estimate_columns(column: str, estimate: Estimate | None, scale: float = 1.0) -> dict[str, Any]:
    """A statistic with its interval as the three columns of a table, all None where there is none."""
    estimate = estimate or Estimate(None)
    values = (estimate.value, estimate.low, estimate.high)
    value, low, high = (None if v is None else v * scale for v in values)
    return {column: value, column + LOW: low, column + HIGH: high}


def find(results: Results, name: str, targets: Sequence[str]) -> Predictor | None:
    """The predictor of that name, if it predicts all `targets`; `wear-law` is the best of the wear laws.

    `name` is `dense`, a variant, a baseline, or `correction-0`: the variant that the work stands for without what its
    networks add to their wear laws.
    """
    known = predictors(results)
    if name == WEAR_LAW:
        return best_wear_law(known, targets)
    wanted = f"{results.label(results.primary)}, {ALONE}" if name == ALONE.replace(" ", "-") else results.label(name)
    named = (one for one in known if one.label == wanted)
    return next((one for one in named if all(target in one.held for target in targets)), None)


def best_wear_law(known: Sequence[Predictor], targets: Sequence[str]) -> Predictor | None:
    """Of the wear laws (`wear-law`, `wear-law-…`) that predict all `targets`, the one with the largest mean R².

    That R² is held out, so the choice can only favour the law, never what is compared with it.
    """
    laws = [one for one in known if one.label.split("-")[:2] == WEAR_LAW.split("-")]
    laws = [one for one in laws if all(target in one.held for target in targets)]
    return max(laws, key=lambda law: _mean_r2([law.held[target] for target in targets]), default=None)


def _mean_r2(helds: Sequence[Held]) -> float:
    each = [seed_r2(held) for held in helds]
    return sum(float(values.mean()) for values in each if values is not None)
