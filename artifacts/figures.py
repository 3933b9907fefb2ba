"""The paper's figures: vector PDF and PNG, one journal column wide, readable in grey, the same bytes every time.

Values come from the same tables and frames as the numbers. Colours are those of Okabe & Ito (2008, Color Universal
Design); every series also has a marker or a line style of its own. No pyplot: nothing global is touched.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from artifacts.adaptation import error_by_labels
from artifacts.render import HIGH, LOW, Frame, Table
from artifacts.results import Results, target_label, target_name

WIDTH = 3.375  # inch: a column of a two-column ASME page is 3.25 to 3.5 in wide
FEW_DECADES = 1.7  # fewer than two labelled decades may fall into less
FEWEST = 1 / 3  # of the tools: a mean over fewer says little
TEXT = 8.0  # points in print, the smallest size that is used
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
SERIES = (
    (BLUE, "o", "-"),
    (RED, "s", "--"),
    (GREEN, "^", "-."),
    (PURPLE, "D", ":"),
    (ORANGE, "v", (0, (5, 1, 1, 1, 1, 1))),
    (BLACK, "x", (0, (1, 1))),
)
ROW = 0.19  # inch: the height of a row of text with air around it
R2_FLOOR = -0.5  # the axis of R² goes no lower; what lies below is an arrow at its edge, with its value in figures
PLANNED = ("s", "D", "o", "^", "P", "v")  # hollow, around what was achieved: no series has the marker of its plan
_STYLE: dict[Any, Any] = {
    "font.size": TEXT,
    "axes.labelsize": TEXT,
    "axes.titlesize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "font.family": "DejaVu Sans",
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.borderaxespad": 0.2,
    "figure.constrained_layout.use": True,
}


def _column(table: Table, label: str, rows: Frame, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and interval ends of one row group of a table, NaN where there is none; `label` only for the message."""
    frame = table.frame[rows]
    if frame.empty:
        raise ValueError(f"{table.name}: no row for {label}")
    return tuple(pd.to_numeric(frame[name]).to_numpy(dtype=float) for name in (column, column + LOW, column + HIGH))  # type: ignore[return-value]


def progression(results: Results, table: Table) -> Figure:
    """Parameters left, planned and achieved, and held-out R² of each target, from dense to the last stage.

    Args:
        results: for the planned ledger and the order of variants.
        table: `tables.progression(results)`, whose values are drawn.
    """
    figure = Figure(figsize=(WIDTH, 3.9))
    top, bottom = figure.subplots(2, 1, sharex=True)
    total = results.total_parameters()
    for variant, (colour, marker, line), around in zip(results.variants, SERIES, PLANNED, strict=False):
        rows = table.frame["variant"] == results.label(variant)
        left, low, high = (100 * values / total for values in _column(table, variant, rows, "parameters"))
        stages = np.arange(len(left))
        top.fill_between(stages, low, high, color=colour, alpha=0.25, linewidth=0)
        top.plot(stages, left, color=colour, marker=marker, linestyle=line, label=results.label(variant))
        planned = [100.0, *(100 * stage.parameters / total for stage in results.plan.ledger[variant])]
        top.plot(
            stages,
            planned,
            color=colour,
            marker=around,
            markersize=9,
            markerfacecolor="none",
            markeredgewidth=0.9,
            linestyle="none",
            label=f"{results.label(variant)}, planned",
        )
    top.set_ylabel("parameters left (%)")
    top.set_ylim(0, 105)
    top.legend(loc="lower left", labelspacing=0.25)
    rows = table.frame["variant"] == results.label(results.primary)
    offsets = np.linspace(-0.06, 0.06, len(results.targets)) if len(results.targets) > 1 else [0.0]
    for target, offset, (colour, marker, line) in zip(results.targets, offsets, SERIES, strict=False):
        values, low, high = _column(table, target, rows, f"R², {target_name(target)}")
        stages = np.arange(len(values)) + offset
        ends = np.vstack([values - low, high - values]).clip(min=0)
        bottom.errorbar(
            stages,
            values,
            yerr=ends,
            color=colour,
            marker=marker,
            linestyle=line,
            capsize=2,
            label=target_name(target),
        )
    bottom.set_ylabel(f"held-out R², {results.primary}")
    bottom.set_xlabel("pruning stage")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    last = max(results.last_stage(variant) for variant in results.variants)
    bottom.set_xticks(range(last + 1), ["dense", *(str(stage) for stage in range(1, last + 1))])
    figure.legend(*bottom.get_legend_handles_labels(), loc="outside lower center", ncols=2, columnspacing=1)
    return figure


def compared(results: Results, table: Table) -> Figure:
    """Held-out R² of every predictor with its interval, a row each and a panel a target; ours is filled and banded.

    Args:
        results: for the targets and which predictor is ours.
        table: `tables.accuracy(results)`, whose values are drawn, with the text that it prints for them.
    """
    ours = results.label(results.primary)
    wanted = [table.frame[table.frame["target"] == target_label(target)] for target in results.targets]
    parts = [rows[rows["R²"].notna()] for rows in wanted]
    figure = Figure(figsize=(WIDTH, sum(0.75 + ROW * len(rows) for rows in parts)))
    heights = [len(rows) + 0.2 for rows in parts]
    panels = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0]
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


def predicted(results: Results) -> Figure:
    """Predicted against measured on held-out cases, dense and pruned, a panel a target; mean over seeds."""
    figure = Figure(figsize=(WIDTH, 2.7 * len(results.targets)))
    panels = np.atleast_1d(figure.subplots(len(results.targets), 1))
    last = results.last_stage(results.primary)
    for axes, target in zip(panels, results.targets, strict=True):
        both = [("dense", results.held(results.primary, 0, target), ORANGE, "o", "none")]
        both.append((results.label(results.primary), results.held(results.primary, last, target), BLUE, "x", BLUE))
        values: list[float] = []
        for label, held, colour, marker, face in both:
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


def losses(results: Results) -> Figure:
    """Losses over the epochs of all phases: data and validation above, physics terms below, pruning points marked.

    Lines are medians over the runs that still train at that epoch, bands the middle 80 % of them. A phase is as long
    as in the run that trained longest in it.
    """
    history = results.history[results.history["variant"] == results.primary]
    order = {"stage", "epoch", "learning_rate", "loss", "gradient_norm", "run_id", "variant", "seed"}
    terms = [name for name in history.columns if name not in {*order, "data", "validation_loss"}]
    terms = [name for name in terms if history[name].notna().any()]
    figure = Figure(figsize=(WIDTH, 4.3 if terms else 2.4))
    panels = np.atleast_1d(figure.subplots(2 if terms else 1, 1, sharex=True))
    lengths = history.groupby("stage")["epoch"].agg(lambda epochs: epochs.max() - epochs.min() + 1)
    starts = lengths.cumsum() - lengths
    first = history.groupby("stage")["epoch"].transform("min")
    history = history.assign(at=history["epoch"] - first + history["stage"].map(starts) + 1)
    for axes in panels:
        axes.set_yscale("log", nonpositive="clip")
        # A superscript would be smaller than the smallest text that is allowed.
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _bands(panels[0], history, {"data": "data, training", "validation_loss": "validation"})
    panels[0].legend(loc="best", labelspacing=0.2, frameon=True, framealpha=0.9, edgecolor="none")
    if terms:
        _bands(panels[1], history, {name: name.replace("_", " ") for name in terms})
        bottom, top = panels[1].get_ylim()
        panels[1].set_ylim(bottom=max(bottom, top * 1e-6))  # a term that is all but fulfilled would stretch the axis
        figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1)
    for axes in panels:
        for stage, start in starts.items():
            if stage:
                axes.axvline(start + 0.5, color="0.35", linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)
        axes.margins(x=0.01)
    for stage, start in starts.items():
        if stage:
            panels[0].annotate(
                str(stage),
                (start + 0.5, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
            )
    for axes in panels:
        _label_minor(axes)
    panels[0].set_ylabel("loss")
    panels[-1].set_ylabel("physics terms" if terms else "loss")
    panels[-1].set_xlabel("epoch (dashed: pruning, with its stage)")
    return figure


def _label_minor(axes: Axes) -> None:
    """Label values between the decades of a logarithmic axis that spans so few that one label would stand alone."""
    low, high = axes.get_ylim()
    span = math.log10(high / low)
    if span < FEW_DECADES:
        axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0) if span > 0.7 else (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _bands(axes: Axes, history: Frame, names: dict[str, str]) -> None:
    for (column, label), (colour, _, line) in zip(names.items(), SERIES, strict=False):
        known = history[["at", column]].dropna()
        if known.empty:
            continue
        low, median, high = (known.groupby("at")[column].quantile(share) for share in (0.1, 0.5, 0.9))
        axes.fill_between(low.index, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(median.index, median.where(median > 0), color=colour, linestyle=line, label=label)  # log: no zero


def adaptation(results: Results) -> Figure:
    """Error over the held-out tools' lives: by the number of labels seen, a line a method, while enough tools live."""
    figure = Figure(figsize=(WIDTH, 2.9))
    axes = figure.subplots()
    for method, (colour, marker, line) in zip(results.adaptation_frames, SERIES, strict=False):
        errors = error_by_labels(results, method)
        errors = errors[errors["count"] >= FEWEST * errors["count"].max()]
        axes.plot(errors.index, errors["mean"], color=colour, marker=marker, linestyle=line, label=method)
    axes.set_xlabel("labels of the tool seen before the cut")
    axes.set_ylabel("MAE of flank wear VB (mm)")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, columnspacing=1)
    return figure


CAPTIONS = {
    "compared": "Held-out R² of every predictor with its 95 % interval (case bootstrap); shaded: the interval of the "
    "variant this work stands for. An arrow at the left edge is a value beyond it; a bar that ends there goes on.",
    "progression": "Parameters left after each pruning stage, planned and achieved (band: all runs), and held-out "
    "R² of the variant this work stands for (bars: 95 % interval by case bootstrap).",
    "predicted": "Predicted against measured on held-out cases, before and after pruning; mean over seeds.",
    "losses": "Losses by phase; median over the runs that still train, band: middle 80 % of them. Dashed lines mark "
    "pruning. Losses are unweighted; physics terms are nondimensional.",
    "adaptation": "Online adaptation: error of flank wear by the number of the tool's labels seen before the cut, mean "
    "over cases, as far as a third of the tools lives.",
}


def draw(make: Callable[[], Figure]) -> dict[str, bytes]:
    """The figure that `make` returns, as PDF and PNG bytes; equal figures give equal bytes."""
    with mpl.rc_context(_STYLE):
        figure = make()
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()  # lay out once, for all formats
        figure.set_layout_engine("none")
        out = {}
        for ending, metadata in (("pdf", {"CreationDate": None, "ModDate": None}), ("png", {"Software": None})):
            stream = io.BytesIO()
            figure.savefig(stream, format=ending, dpi=300, metadata=metadata)
            out[ending] = stream.getvalue()
        return out


def all_figures(results: Results, progression_table: Table, accuracy_table: Table) -> dict[str, dict[str, bytes]]:
    """Every figure of the paper: name → ending → bytes."""
    drawn = {
        "compared": draw(lambda: compared(results, accuracy_table)),
        "progression": draw(lambda: progression(results, progression_table)),
        "predicted": draw(lambda: predicted(results)),
        "losses": draw(lambda: losses(results)),
    }
    if results.adaptation is not None:
        drawn["adaptation"] = draw(lambda: adaptation(results))
    return drawn
