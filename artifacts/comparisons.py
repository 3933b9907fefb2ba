"""Tables that set predictors against each other: paired differences, error by level, prediction intervals.

As in `tables.py`, every function takes the results and returns a `Table` of raw values. How a difference is tested and
an interval made is the business of `significance.py` and `coverage.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from artifacts import coverage, significance
from artifacts.numbers import Format
from artifacts.predictors import INTERVAL, Predictor, best_wear_law, estimate_columns, in_unit_of_target, predictors
from artifacts.render import Table, table_frame
from artifacts.results import UNITS, Results, target_label
from artifacts.stats import Held, bias, bootstrap_mae, paired_r2, root_mean_square_error, subset

COUNT, PERCENT, P_VALUE, DIFFERENCE = Format(0), Format(1, "%"), Format(4, tiny=True), Format(3, tiny=True)
WEAR_EDGES = (0.2, 0.4, 0.6)  # mm of flank wear
THIRDS = ("lowest third", "middle third", "highest third")
SEEING, BLIND = "small-network", "small-network-no-sensors"
LAW_CHOICE = "The wear law is the one with the largest held-out R², where there are several."


def comparisons(results: Results) -> Table:
    """The variant this work stands for against every other predictor of the same cuts, target by target."""
    rows: list[dict[str, Any]] = []
    known = predictors(results)
    reference = _labelled(known, results.label(results.primary))
    for target in results.targets:
        ours = reference.held.get(target)
        others = [one for one in known if one is not reference and target in one.held]
        if ours is None or not others:
            continue
        differences = np.array([significance.case_differences(ours, one.held[target]) for one in others])
        p = significance.sign_flip_p(differences)
        for one, difference, value in zip(others, differences, p, strict=True):
            row: dict[str, Any] = {"target": target_label(target), "compared with": one.label}
            row |= estimate_columns("R² difference", paired_r2([ours], [one.held[target]]))
            row |= {"cases better": int((difference > 0).sum()), "cases": len(difference), "p": float(value)}
            rows.append(row)
    for row, adjusted in zip(rows, significance.holm([row["p"] for row in rows]), strict=True):
        row["p, Holm"] = adjusted
    name = reference.label
    notes = (
        f"R² of {name} minus that of the predictor in the row, over the same held-out cuts, each the mean over its own "
        f"seeds: above 0, {name} is better. {INTERVAL} Both are taken in the same resamples.",
        "p: two-sided sign-flip test over cases (Fisher 1935, Pitman 1937) of the difference in squared error, all "
        f"sign patterns up to {significance.ALL_PATTERNS} cases, {significance.SIGN_PATTERNS:,} random ones beyond. "
        "Its null hypothesis is that within each case the two predictors could be exchanged; n cases give no p below "
        f"2/2^n. 'p, Holm' is corrected for the {len(rows)} comparisons of this table (Holm 1979). 'Cases better': "
        f"where {name} has the smaller squared error.",
        *results.footnotes,
    )
    formats = {"": COUNT, "R² difference": DIFFERENCE, "p": P_VALUE, "p, Holm": P_VALUE}
    expressions = {
        "R² difference": f"R² of {name} - R² of the other, pooled over the same cuts, mean over seeds",
        "cases better": f"cases in which {name} has the smaller sum of squared errors, mean over seeds",
        "cases": "cases with a labelled held-out cut",
        "p": "share of sign patterns of the per-case differences whose sum is at least as far from 0",
        "p, Holm": "largest of (m - j + 1) p_(j), at most 1, over the p values up to this one",
    }
    sources = {one.label: tuple(dict.fromkeys((*reference.source, *one.source))) for one in known}
    caption = f"Paired comparisons of {name} with every other predictor."
    labels = ("target", "compared with")
    return Table("comparisons", caption, table_frame(rows), notes, formats, labels, expressions, sources)


def sensors(results: Results) -> Table | None:
    """What the sensors are worth: the small dense network less itself with all sensor features 0; None without both."""
    known = {one.label: one for one in predictors(results)}
    if not {SEEING, BLIND} <= known.keys():
        return None
    seeing, blind = known[SEEING], known[BLIND]
    rows = []
    for target in (target for target in results.targets if target in seeing.held):
        pair = seeing.held[target], blind.held[target]
        difference = significance.case_differences(*pair)
        row: dict[str, Any] = {"target": target_label(target)}
        row |= estimate_columns("R² difference", paired_r2([pair[0]], [pair[1]]))
        row |= {"cases better": int((difference > 0).sum()), "cases": len(difference)}
        rows.append(row | {"p": float(significance.sign_flip_p(difference[None])[0])})
    notes = (
        f"R² of {SEEING} minus that of {BLIND}, the same network with every sensor feature 0, over the same held-out "
        f"cuts: above 0, sensors help. {INTERVAL} An interval with 0 in it does not show that they do. p: two-sided "
        "sign-flip test over cases.",
        *results.footnotes,
    )
    expressions = {
        "R² difference": f"R² of {SEEING} - R² of {BLIND}, pooled over the same cuts, mean over seeds",
        "cases better": f"cases in which {SEEING} has the smaller sum of squared errors, mean over seeds",
        "cases": "cases with a labelled held-out cut",
        "p": "share of sign patterns of the per-case differences whose sum is at least as far from 0",
    }
    formats = {"": COUNT, "R² difference": DIFFERENCE, "p": P_VALUE}
    sources = {"": tuple(dict.fromkeys((*seeing.source, *blind.source)))}
    caption = "What the sensors are worth on held-out cases."
    return Table("sensors", caption, table_frame(rows), notes, formats, ("target",), expressions, sources)


def _labelled(known: list[Predictor], label: str) -> Predictor:
    return next(one for one in known if one.label == label)


def _main(results: Results, target: str) -> list[Predictor]:
    """The dense network, the variant this work stands for, and the best wear law, as far as they predict `target`."""
    known = predictors(results)
    chosen = [known[0], _labelled(known, results.label(results.primary)), best_wear_law(known, (target,))]
    return [one for one in chosen if one is not None and target in one.held]


def _levels(target: str, measured: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name and mask `[cuts]` of each bin of the measured value, lower end included; only bins with a cut."""
    if target == "VB":
        edges = np.array(WEAR_EDGES)
        unit = UNITS[target]
        between = [f"{low:g} to {high:g} {unit}" for low, high in pairwise(WEAR_EDGES)]
        names = [f"below {WEAR_EDGES[0]:g} {unit}", *between, f"{WEAR_EDGES[-1]:g} {unit} and above"]
    else:
        edges, names = np.quantile(measured, [1 / 3, 2 / 3]), list(THIRDS)
    level = np.digitize(measured, edges)
    for index, name in enumerate(names):
        if (level == index).any():
            yield name, level == index


def wear_levels(results: Results) -> Table:
    """Error by level of the measured value: fixed bins of flank wear, thirds of the cuts for anything else."""
    rows, sources = [], {}
    for target in results.targets:
        chosen = _main(results, target)
        sources |= {one.label: one.source for one in chosen}
        for level, mask in _levels(target, chosen[0].held[target].measured) if chosen else ():
            for one in chosen:
                here = subset(one.held[target], mask)
                row: dict[str, Any] = {"target": target_label(target), "level": level, "predictor": one.label}
                row |= {"from": float(here.measured.min()), "to": float(here.measured.max())}
                row |= {"cuts": len(here.measured), "cases": len(set(here.case))}
                row |= estimate_columns("MAE", bootstrap_mae(here))
                rows.append(row | {"bias": bias(here), "RMSE": root_mean_square_error(here)})
    notes = (
        "Held-out cuts by their measured value; 'from' and 'to' are the smallest and the largest in the bin. Over all "
        "cuts of the bin and all seeds, in the target's unit; bias is prediction minus measured value. Bins are of the "
        "measured value, which is noisy, so that even the best predictor is a little high in the lowest bin and low in "
        f"the highest. {INTERVAL} {LAW_CHOICE}",
        *(results.footnotes if results.primary in results.marked else ()),
    )
    formats = {"level": Format(unit=UNITS["VB"]), "cuts": COUNT, "cases": COUNT}
    formats = {**formats, **in_unit_of_target(3, "from", "to"), **in_unit_of_target(4, "MAE", "bias", "RMSE")}
    expressions = {
        "level": "artifacts.comparisons.WEAR_EDGES",
        "from": "smallest measured value in the bin",
        "to": "largest measured value in the bin",
        "cuts": "labelled held-out cuts in the bin",
        "cases": "cases with a cut in the bin",
        "MAE": "mean absolute error over the cuts of the bin and seeds",
        "bias": "mean of prediction minus measured value over the cuts of the bin and seeds",
        "RMSE": "root of the mean squared error over the cuts of the bin and seeds",
    }
    labels = ("target", "level", "predictor")
    caption = "Error on held-out cases by level of the measured value."
    return Table("wear-levels", caption, table_frame(rows), notes, formats, labels, expressions, sources, ("level",))


def intervals(results: Results) -> Table:
    """Two kinds of prediction interval, what each promises and what each was measured to cover."""
    rows, sources = [], {}
    for target in results.targets:
        for one in _main(results, target):
            sources[one.label] = one.source
            held = one.held[target]
            rows.append(
                _interval_row(target, one.label, "conformal by case", held, coverage.conformal_half_widths(held))
            )
            if held.prediction.shape[1] > 1:
                rows.append(_interval_row(target, one.label, "spread of seeds", held, coverage.seed_half_widths(held)))
    notes = (
        "Intervals around the mean prediction over seeds, on held-out cases. Conformal by case: plus or minus the "
        "quantile of the absolute held-out errors of the other cases, each case weighing the same (Lei et al. 2018; "
        f"Lee, Barber & Willett 2023); '–' below {coverage.fewest(coverage.NOMINAL)} cases, which cannot give "
        f"{100 * coverage.NOMINAL:.0f} %. It speaks of a random cut of a new tool, not of all its cuts at once, and "
        "the models that gave the other cases' errors had this case among their training cases: what it covers is "
        "measured, not guaranteed.",
        "Spread of seeds: Student's interval for the prediction of one more seed (after Lakshminarayanan et al. 2017); "
        "what all seeds have wrong together is not in it. Where there is one seed there is no such row. Width is the "
        f"mean over cuts, both sides together, in the target's unit. {LAW_CHOICE}",
        *(results.footnotes if results.primary in results.marked else ()),
    )
    formats = {"": COUNT, "nominal (%)": Format(0, "%"), "covered cuts (%)": PERCENT, "mean over cases (%)": PERCENT}
    formats = {**formats, **in_unit_of_target(4, "width")}
    expressions = {
        "nominal (%)": "100 × the coverage that the interval is made for",
        "covered cuts (%)": "100 × labelled held-out cuts inside the interval / labelled held-out cuts",
        "mean over cases (%)": "100 × share of a case's cuts inside the interval, mean over cases",
        "cases covered whole": "cases all of whose cuts are inside the interval",
        "cases": "cases with a labelled held-out cut",
        "seeds": "networks whose mean is the centre",
        "width": "upper minus lower end, mean over cuts",
    }
    labels = ("target", "predictor", "interval")
    caption = "Prediction intervals on held-out cases, and what they cover."
    return Table("intervals", caption, table_frame(rows), notes, formats, labels, expressions, sources)


def _interval_row(target: str, label: str, kind: str, held: Held, half_width: np.ndarray | None) -> dict[str, Any]:
    found = None if half_width is None else coverage.measure(held, half_width)
    return {
        "target": target_label(target),
        "predictor": label,
        "interval": kind,
        "nominal (%)": 100 * coverage.NOMINAL,
        "covered cuts (%)": found and 100 * found.cuts,
        "mean over cases (%)": found and 100 * found.by_case,
        "cases covered whole": found and found.whole,
        "cases": len(set(held.case)),
        "seeds": held.prediction.shape[1],
        "width": found and found.width,
    }
