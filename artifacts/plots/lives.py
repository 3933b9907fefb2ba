"""Figures over the lives of tools: the wear curve of each held-out case, and what adaptation to it is worth."""

from __future__ import annotations

import math
import re

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from artifacts import coverage
from artifacts.adaptation import error_by_labels
from artifacts.plots.style import BLACK, BLUE, WIDTH, Plot, Tables, legend_below, number, series
from artifacts.render import Frame
from artifacts.results import Results, target_label
from artifacts.stats import Held

FEWEST = 1 / 3  # of the tools: a mean over fewer says little
LONGEST = 9  # characters of a case's name that fit above its panel


def curves(results: Results, target: str = "VB") -> tuple[Frame | None, str]:
    """Time, measured value, mean prediction and interval ends of every labelled held-out cut; what the interval is.

    The interval is conformal by case; below ten cases, which cannot give one, the spread of the seeds; of one seed,
    none.
    """
    last = results.last_stage(results.primary)
    held = results.held(results.primary, last, target)
    if held is None:
        return None, ""
    half, what = _half_widths(held)
    frame = results.cuts(results.primary, last, target)
    centre = held.prediction.mean(axis=1)
    low, high = (centre - half, centre + half) if half is not None else (np.full(len(centre), np.nan),) * 2
    return frame.assign(prediction=centre, low=low, high=high), what


def _half_widths(held: Held) -> tuple[np.ndarray | None, str]:
    share = f"{100 * coverage.NOMINAL:.0f} %"
    half = coverage.conformal_half_widths(held)
    if half is not None:
        return half, f"{share} interval, conformal by case"
    half = coverage.seed_half_widths(held)
    return half, f"{share} interval of one more seed" if half is not None else ""


def wear_curves(results: Results, tables: Tables) -> Figure | None:
    """Flank wear over cutting time, a panel a held-out case: measured, predicted after pruning, and its interval."""
    del tables
    frame, what = curves(results)
    if frame is None:
        return None
    cases = sorted(set(frame["case"]), key=_natural)
    across = min(4 if len(cases) % 3 else 3, len(cases))
    down = math.ceil(len(cases) / across)
    figure = Figure(figsize=(WIDTH, 0.75 + 0.95 * down))
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, case in zip(grid.flat, cases, strict=False):
        at = frame[frame["case"] == case].sort_values("time")
        axes.fill_between(at["time"], at["low"], at["high"], color=BLUE, alpha=0.2, linewidth=0, label=what)
        axes.plot(at["time"], at["prediction"], color=BLUE, marker="", label=results.label(results.primary))
        axes.plot(
            at["time"],
            at["measured"],
            "o",
            color=BLACK,
            markersize=2.6,
            clip_on=False,
            markerfacecolor="white",
            label="measured",
        )
        name = str(case) if len(str(case)) <= LONGEST else f"{str(case)[: LONGEST - 1]}…"
        axes.set_xlim(min(0.0, float(at["time"].min())), 1.06 * float(at["time"].max()) or 1.0)
        axes.text(0.06, 0.97, name, transform=axes.transAxes, va="top")
    handles = {label: handle for handle, label in zip(*grid[0, 0].get_legend_handles_labels(), strict=True) if label}
    for place, axes in enumerate(grid.flat):
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_locator(MaxNLocator(2, integer=True, steps=[1, 2, 5, 10]))
        if place >= len(cases):
            axes.set_visible(False)
    grid[0, 0].set_ylim(bottom=min(0.0, float(frame["measured"].min())))
    figure.supxlabel("cutting time (min)", fontsize="medium")
    figure.supylabel(target_label("VB"), fontsize="medium")
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=1, labelspacing=0.3)
    return figure


def _natural(case: str) -> list[tuple[bool, int, str]]:
    """Sorts case 2 before case 10."""
    parts = re.split(r"(\d+)", str(case))
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _curves_alt(results: Results, tables: Tables) -> str:
    del tables
    frame, what = curves(results)
    if frame is None:
        return ""
    error = (frame["prediction"] - frame["measured"]).abs().groupby(frame["case"], sort=False).mean()
    inside = (frame["measured"] >= frame["low"]) & (frame["measured"] <= frame["high"])
    covered = f" {number(100 * inside.mean(), 1)} % of the cuts lie in the {what}." if what else ""
    listed = ", ".join(f"{case}: {number(value, 3)}" for case, value in error.items())
    return (
        f"Small charts of flank wear over cutting time, one for each of {len(error)} held-out cases: measured points, "
        f"the predicted curve after pruning, and its interval.{covered} Mean absolute error by case (mm): {listed}."
    )


def adaptation(results: Results, tables: Tables) -> Figure | None:
    """Error over the held-out tools' lives: by the number of labels seen, a line a method, while enough tools live."""
    del tables
    if results.adaptation is None:
        return None
    figure = Figure(figsize=(WIDTH, 2.9))
    axes = figure.subplots()
    for method, look in series(results.adaptation_frames):
        errors = _errors(results, method)
        kind = {"color": look.colour, "marker": look.marker, "linestyle": look.line}
        axes.plot(errors.index, errors["mean"], label=method, **kind)
    axes.set_xlabel("labels of the tool seen before the cut")
    axes.set_ylabel("MAE of flank wear VB (mm)")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure, *axes.get_legend_handles_labels())
    return figure


def _errors(results: Results, method: str) -> Frame:
    errors = error_by_labels(results, method)
    return errors[errors["count"] >= FEWEST * errors["count"].max()]


def _adaptation_alt(results: Results, tables: Tables) -> str:
    del tables
    parts = []
    for method in results.adaptation_frames:
        errors = _errors(results, method)["mean"]
        values = f"{number(errors.iloc[0])} at first, {number(errors.iloc[-1])} after {errors.index[-1]} labels"
        parts.append(f"{method}: {values}, {number(errors.mean())} on average")
    return f"Line chart of the mean absolute error (mm) by labels of the tool seen so far. {'; '.join(parts)}."


PLOTS = (
    Plot(
        "wear-curves",
        "Flank wear over cutting time of each case when it is held out: measured, and predicted after pruning, mean "
        "over seeds; the band is what the legend says, and what it covers stands in the table of intervals.",
        wear_curves,
        _curves_alt,
    ),
    Plot(
        "adaptation",
        "Online adaptation: error of flank wear by the number of the tool's labels seen before the cut, mean "
        "over cases, as far as a third of the tools lives.",
        adaptation,
        _adaptation_alt,
    ),
)
"""The figures of this file."""
