"""Figures of accuracy on held-out cases: every predictor, predicted against measured, and the luck of the split."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from artifacts import luck
from artifacts.plots.style import BLACK, BLUE, HIGHEST, ORANGE, R2_FLOOR, ROW, WIDE, WIDTH, Plot, Tables, number
from artifacts.predictors import Predictor, best_wear_law, predictors
from artifacts.render import HIGH, LOW, Frame
from artifacts.results import UNITS, Results, target_label, target_name
from artifacts.stats import LEVEL, Held, mean_absolute_error, seed_r2

BINS = 30
HEADROOM = 1.6  # of the axis: the legend stands above what is drawn


def _shown(results: Results, tables: Tables) -> list[Frame]:
    """The rows of the table of accuracy that have an R², target by target."""
    frame = tables["accuracy"].frame
    wanted = [frame[frame["target"] == target_label(target)] for target in results.targets]
    return [rows[rows["R²"].notna()] for rows in wanted]


def compared(results: Results, tables: Tables) -> Figure:
    """Held-out R² of every predictor with its interval, a row each and a panel a target; ours is filled and banded.

    Panels that would be higher than a page on top of each other stand side by side.
    """
    table, ours, parts = tables["accuracy"], results.label(results.primary), _shown(results, tables)
    heights = [0.75 + ROW * len(rows) for rows in parts]
    if sum(heights) > HIGHEST and len(parts) > 1:
        figure = Figure(figsize=(WIDE, max(heights)))
        panels = figure.subplots(1, len(parts))
    else:
        figure = Figure(figsize=(WIDTH, sum(heights)))
        ratios = [len(rows) + 0.2 for rows in parts]
        panels = figure.subplots(len(parts), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, target, rows in zip(panels, results.targets, parts, strict=True):
        columns = ("R²", f"R²{LOW}", f"R²{HIGH}")
        values, low, high = (pd.to_numeric(rows[name]).to_numpy(dtype=float) for name in columns)
        left = max(float(np.nanmin([*values, *low, 0.0])), R2_FLOOR)
        for at, (label, value, start, end) in enumerate(zip(rows["predictor"], values, low, high, strict=True)):
            mine = label == ours
            if mine and np.isfinite(start):
                axes.axvspan(max(start, left), end, color=BLUE, alpha=0.12, linewidth=0)
            colour = BLUE if mine else BLACK
            ends, width = [max(start, left), max(end, left)], 2.4 if mine else 1.2
            axes.plot(ends, [at, at], color=colour, linewidth=width, solid_capstyle="butt")
            face = colour if mine else "white"
            mark = "<" if value < left else "s" if mine else "o"
            axes.plot([max(value, left)], [at], mark, color=colour, markerfacecolor=face, clip_on=False, zorder=3)
            text, where = table.formats["R²"].text(value).replace("-", "−"), axes.get_yaxis_transform()
            axes.text(1.02, at, text, transform=where, va="center_baseline")
        axes.set_yticks(range(len(rows)), list(rows["predictor"]))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left - 0.03 * (1.0 - left), 1.0)
        axes.set_xlabel(f"held-out R², {target_name(target)}")
        axes.tick_params(axis="y", length=0)
    return figure


def _compared_alt(results: Results, tables: Tables) -> str:
    parts = []
    for target, rows in zip(results.targets, _shown(results, tables), strict=True):
        values = pd.to_numeric(rows["R²"])
        each = ", ".join(f"{label} {number(value)}" for label, value in zip(rows["predictor"], values, strict=True))
        parts.append(f"R² of {target_name(target)}: {each}")
    return f"A row for each predictor with its held-out R² and its {100 * LEVEL:.0f} % interval. {'. '.join(parts)}."


def predicted(results: Results, tables: Tables) -> Figure:
    """Predicted against measured on held-out cases, dense and pruned, a panel a target; mean over seeds."""
    del tables
    figure = Figure(figsize=(WIDTH, 2.7 * len(results.targets)))
    panels = np.atleast_1d(figure.subplots(len(results.targets), 1))
    for axes, target in zip(panels, results.targets, strict=True):
        values: list[float] = []
        looks = ((ORANGE, "o", "none"), (BLUE, "x", BLUE))
        for (label, held), (colour, marker, face) in zip(_both(results, target), looks, strict=True):
            if held is None:
                continue
            mean = held.prediction.mean(axis=1)
            axes.plot(
                held.measured, mean, marker, color=colour, markerfacecolor=face, markersize=3.5, alpha=0.85, label=label
            )
            values += [*held.measured, *mean]
        low, high = min(values), max(values)
        margin = 0.04 * (high - low or 1.0)
        axes.plot([low, high], [low, high], color=BLACK, linewidth=0.8, zorder=0)
        axes.set_xlim(low - margin, high + margin)
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlabel(f"measured {target_label(target)}")
        axes.set_ylabel(f"predicted {target_label(target)}")
        axes.legend(loc="upper left", labelspacing=0.25, handletextpad=0.3)
    return figure


def _both(results: Results, target: str) -> tuple[tuple[str, Held | None], tuple[str, Held | None]]:
    last = results.last_stage(results.primary)
    dense, pruned = (results.held(results.primary, stage, target) for stage in (0, last))
    return ("dense", dense), (results.label(results.primary), pruned)


def _predicted_alt(results: Results, tables: Tables) -> str:
    del tables
    parts = []
    for target in results.targets:
        for label, held in _both(results, target):
            if held is not None:
                error = f"{number(mean_absolute_error(held), 4)} {UNITS[target]}"
                parts.append(f"{target_name(target)}, {label}: {len(held.measured)} cuts, mean absolute error {error}")
    return (
        "Scatter of predicted against measured values of held-out cuts around the line of equality, before and after "
        f"pruning. {'; '.join(parts)}."
    )


def _lucky(results: Results, target: str) -> list[Predictor]:
    """Ours and the best wear law, as far as three of their cases can be chosen."""
    known = predictors(results)
    ours = next(one for one in known if one.label == results.label(results.primary))
    chosen = [one for one in (ours, best_wear_law(known, (target,))) if one is not None and target in one.held]
    return [one for one in chosen if luck.distribution(one.held[target])[1].size]


def split_luck(results: Results, tables: Tables) -> Figure | None:
    """How R² is distributed over all choices of three test cases: ours filled, the wear law as an outline.

    Dashed: R² over all cases. What lies below the axis is gathered in its first bin.
    """
    del tables
    parts = [(target, _lucky(results, target)) for target in results.targets]
    parts = [(target, chosen) for target, chosen in parts if chosen]
    if not parts:
        return None
    figure = Figure(figsize=(WIDTH, 2.5 * len(parts)))
    panels = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for axes, (target, chosen) in zip(panels, parts, strict=True):
        found = [luck.distribution(one.held[target])[1] for one in chosen]
        least = min(float(values.min()) for values in found)
        left = max(least, R2_FLOOR)
        edges = np.linspace(left, max(1.0, left + 0.1), BINS + 1)
        for one, values, mine in zip(chosen, found, (True, False), strict=False):
            share = np.histogram(values.clip(min=left), edges)[0] / len(values)
            kind = {"facecolor": BLUE, "alpha": 0.45} if mine else {"facecolor": "none", "edgecolor": BLACK}
            axes.stairs(100 * share, edges, fill=mine, linewidth=0.0 if mine else 1.0, label=one.label, **kind)
            whole = seed_r2(one.held[target])
            if whole is not None:
                line, colour = ((0, (4, 2)), BLUE) if mine else ((0, (1, 1)), BLACK)
                label = f"{one.label}, all cases: {number(whole.mean())}"
                kind = {"color": colour, "linewidth": 1.4, "linestyle": line, "label": label}
                axes.axvline(max(float(whole.mean()), left), ymax=1 / HEADROOM, **kind)
        axes.set_ylim(top=axes.get_ylim()[1] * HEADROOM)
        beyond = f" (first bin: all below {number(edges[1], 2)})" if least < left else ""
        axes.set_xlabel(f"R² of {luck.LUCKY_CASES} test cases{beyond}")
        axes.set_ylabel(f"choices (%), {target_name(target)}" if len(parts) > 1 else "choices (%)")
        axes.legend(loc="upper left", labelspacing=0.25)
    return figure


def _luck_alt(results: Results, tables: Tables) -> str:
    frame, parts = tables["split-luck"].frame, []
    for target in results.targets:
        for one in _lucky(results, target):
            row = frame[(frame["target"] == target_label(target)) & (frame["predictor"] == one.label)].iloc[0]
            ends = " to ".join(number(row[column]) for column in ("least", "most"))
            middle = " to ".join(number(row[column]) for column in ("5 %", "95 %"))
            parts.append(
                f"{target_name(target)}, {one.label}: {ends}, 90 % of choices {middle}, median "
                f"{number(row['median'])}; over all cases {number(row['R², all cases'])}"
            )
    return f"Histogram of R² over all choices of {luck.LUCKY_CASES} test cases. {'. '.join(parts)}."


PLOTS = (
    Plot(
        "compared",
        f"Held-out R² of every predictor with its {100 * LEVEL:.0f} % interval (case bootstrap); shaded: the "
        "interval of the variant this work stands for. An arrow at the left edge is a value beyond it; a bar that ends "
        "there goes on.",
        compared,
        _compared_alt,
    ),
    Plot(
        "split-luck",
        f"What the choice of test cases is worth: R² over all ways to choose {luck.LUCKY_CASES} of the held-out cases "
        "(filled: the variant this work stands for; outline: the best wear law), and over all cases.",
        split_luck,
        _luck_alt,
    ),
    Plot(
        "predicted",
        "Predicted against measured on held-out cases, before and after pruning; mean over seeds.",
        predicted,
        _predicted_alt,
    ),
)
"""The figures of this file."""
