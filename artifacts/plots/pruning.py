"""Figures of pruning: what is left after each stage, where in the network it is, and what it costs in accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from artifacts.plots.style import (
    BLACK,
    R2_FLOOR,
    WIDTH,
    Plot,
    Tables,
    legend_below,
    number,
    series,
    together,
    wrapped,
)
from artifacts.predictors import find
from artifacts.render import HIGH, LOW, Frame, Table, spread
from artifacts.results import Results, target_name
from artifacts.stats import LEVEL, seed_r2

SMALL = "small-network"


def _column(table: Table, label: str, rows: Frame, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and interval ends of one row group of a table, NaN where there is none; `label` only for the message."""
    frame = table.frame[rows]
    if frame.empty:
        raise ValueError(f"{table.name}: no row for {label}")
    return tuple(pd.to_numeric(frame[name]).to_numpy(dtype=float) for name in (column, column + LOW, column + HIGH))  # type: ignore[return-value]


def _of(results: Results, table: Table, variant: str) -> Frame:
    return table.frame["variant"] == results.label(variant)


def _planned(results: Results, variant: str) -> tuple[int, ...]:
    """Parameters that the plan leaves, from the dense network to the last stage."""
    return (results.total_parameters(), *(stage.parameters for stage in results.plan.ledger[variant]))


def alike(results: Results, table: Table) -> list[tuple[str, ...]]:
    """The variants, those together of which the plan leaves, and was left, as much after each stage."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for variant in results.variants:
        left = np.concatenate(_column(table, variant, _of(results, table, variant), "parameters"))
        groups.setdefault((_planned(results, variant), *left.tolist()), []).append(variant)
    return [tuple(names) for names in groups.values()]


def _stage_axis(axes: Axes, results: Results, variants: Sequence[str]) -> None:
    last = max(results.last_stage(variant) for variant in variants)
    if last > 8:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set_xticks(range(last + 1), ["dense", *(str(stage) for stage in range(1, last + 1))])
    axes.set_xlabel("pruning stage")


def progression(results: Results, tables: Tables) -> Figure:
    """Parameters left, planned and achieved, and held-out R² of each target, from dense to the last stage.

    Variants with equal plans and equal counts are one line, with all their names: nine lines, most of them on top of
    each other, cannot be told apart.
    """
    table, total = tables["progression"], results.total_parameters()
    groups = alike(results, table)
    named = [wrapped(together(map(results.label, group)), 40) for group in groups]
    lines = sum(label.count("\n") + 1 for label in (*named, "planned"))
    figure = Figure(figsize=(WIDTH, 3.6 + 0.15 * lines))
    top, bottom = figure.subplots(2, 1, sharex=True)
    for (group, label), look in series(zip(groups, named, strict=True)):
        values = _column(table, group[0], _of(results, table, group[0]), "parameters")
        left, low, high = (100 * value / total for value in values)
        stages = np.arange(len(left))
        top.fill_between(stages, low, high, color=look.colour, alpha=0.25, linewidth=0)
        top.plot(stages, left, color=look.colour, marker=look.marker, linestyle=look.line, label=label)
        planned = [100 * parameters / total for parameters in _planned(results, group[0])]
        top.plot(
            range(len(planned)),
            planned,
            color=look.colour,
            marker="o",
            markersize=9,
            markerfacecolor="none",
            markeredgewidth=0.9,
            linestyle="none",
        )
        if not np.allclose(planned, left):  # the plan that was missed, in the line style of what missed it
            top.plot(range(len(planned)), planned, color=look.colour, linestyle=look.line, linewidth=0.6)
    (ring,) = top.plot([], [], "o", color=BLACK, markersize=9, markerfacecolor="none", markeredgewidth=0.9)
    ring.set_label("planned (where nothing is inside: missed)")
    top.set_ylabel("parameters left (%)")
    top.set_ylim(0, 108)
    rows = _of(results, table, results.primary)
    offsets = np.linspace(-0.06, 0.06, len(results.targets)) if len(results.targets) > 1 else [0.0]
    for (target, offset), look in series(zip(results.targets, offsets, strict=True)):
        values, low, high = _column(table, target, rows, f"R², {target_name(target)}")
        ends = np.vstack([values - low, high - values]).clip(min=0)
        kind = {"color": look.colour, "marker": look.marker, "linestyle": look.line, "capsize": 2}
        bottom.errorbar(np.arange(len(values)) + offset, values, yerr=ends, label=target_name(target), **kind)
    if len(results.targets) > 1:
        bottom.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, handlelength=1.8, columnspacing=1)
    bottom.set_ylabel(f"R², {results.primary}")
    _stage_axis(bottom, results, results.variants)
    legend_below(figure, *top.get_legend_handles_labels())
    return figure


def _progression_alt(results: Results, tables: Tables) -> str:
    table, parts = tables["progression"], []
    for group in alike(results, table):
        left = _column(table, group[0], _of(results, table, group[0]), "parameters")[0]
        planned = _planned(results, group[0])
        kept = "as planned" if np.allclose(left, planned) else f"where {number(planned[-1], 0)} were planned"
        counts = ", ".join(number(value, 0) for value in left)
        parts.append(f"{', '.join(map(results.label, group))}: {counts} parameters, {kept}")
    for target in results.targets:
        values = _column(table, target, _of(results, table, results.primary), f"R², {target_name(target)}")[0]
        listed = ", ".join("none" if math.isnan(value) else number(value) for value in values)
        parts.append(f"R² of {target_name(target)} of {results.primary}: {listed}")
    return f"Two line charts over the pruning stages, dense network first. {'. '.join(parts)}."


def layers(results: Results, tables: Tables) -> Figure:
    """Sparsity of each weight matrix after every stage of the variant the work stands for; band: all runs."""
    del tables
    figure = Figure(figsize=(WIDTH, 3.1))
    axes = figure.subplots()
    for (name, at), look in series(_sparsity(results).items()):
        mean, low, high = (np.array(values, dtype=float) for values in zip(*at, strict=True))
        stages = np.arange(len(mean))
        axes.fill_between(stages, low, high, color=look.colour, alpha=0.25, linewidth=0)
        axes.plot(stages, mean, color=look.colour, marker=look.marker, linestyle=look.line, label=name)
    axes.set_ylim(0, 100)
    axes.set_ylabel(f"sparsity (%), {results.primary}")
    _stage_axis(axes, results, [results.primary])
    legend_below(figure, *axes.get_legend_handles_labels())
    return figure


def _sparsity(results: Results) -> dict[str, list[tuple[float, float, float]]]:
    """Of each weight matrix, by its shape, and of all: mean, least and most sparsity (%) after each stage."""
    frame = results.layers[results.layers["variant"] == results.primary]
    widths, out = results.plan.experiment.layers, {}
    for position, at in frame.groupby("position", sort=True):
        shape = f"{position + 1}: {widths[position]}–{widths[position + 1]}"
        out[shape] = [_share(part["kept"], part["weights"]) for _, part in at.groupby("stage", sort=True)]
    whole = frame.groupby(["stage", "run_id"], sort=True)[["kept", "weights"]].sum()
    out["all weights"] = [_share(part["kept"], part["weights"]) for _, part in whole.groupby("stage", sort=True)]
    return out


def _share(kept: pd.Series, weights: pd.Series) -> tuple[float, float, float]:
    mean, low, high = spread(100 * (1 - kept / weights))
    assert mean is not None
    assert low is not None
    assert high is not None
    return mean, low, high


def _layers_alt(results: Results, tables: Tables) -> str:
    del tables
    last = {name: at[-1][0] for name, at in _sparsity(results).items()}
    listed = ", ".join(f"{name}: {number(value, 1)} %" for name, value in last.items())
    return (
        f"Line chart: sparsity of each weight matrix of {results.primary} over the pruning stages, from 0 % in the "
        f"dense network. After the last stage, by inputs and outputs of the matrix: {listed}."
    )


def tradeoff(results: Results, tables: Tables) -> Figure:
    """Held-out R² against parameters left: a line a variant through its stages, ours with its interval.

    The level of the best wear law is drawn across; the small dense network stands at its own size.
    """
    table, total = tables["progression"], results.total_parameters()
    names = [*map(results.label, results.variants), "", ""]
    figure = Figure(figsize=(WIDTH, 2.2 * len(results.targets) + 0.35 + 0.16 * math.ceil(len(names) / 2)))
    panels = figure.subplots(len(results.targets), 1, squeeze=False, sharex=True)[:, 0]
    for axes, target in zip(panels, results.targets, strict=True):
        column, seen = f"R², {target_name(target)}", []
        for variant, look in series(results.variants):
            rows, mine = _of(results, table, variant), variant == results.primary
            left = 100 * _column(table, variant, rows, "parameters")[0] / total
            values, low, high = _column(table, variant, rows, column)
            if mine:
                axes.fill_between(left, low, high, color=look.colour, alpha=0.15, linewidth=0)
            seen += [value for value in values if np.isfinite(value)]
            kind = {"color": look.colour, "marker": look.marker, "linestyle": look.line}
            width, front = (1.8, 3) if mine else (0.9, 2)
            label = results.label(variant)
            axes.plot(left, values, linewidth=width, zorder=front, label=label, **kind)
        law, small = find(results, "wear-law", (target,)), find(results, SMALL, (target,))
        if law is not None and (level := seed_r2(law.held[target])) is not None:
            axes.axhline(level.mean(), color="0.35", linewidth=0.8, linestyle=(0, (2, 2)), zorder=1, label=law.label)
            seen.append(float(level.mean()))
        if small is not None and (level := seed_r2(small.held[target])) is not None:
            size = next(one.parameters for one in results.baselines if one.name == SMALL)
            kind = {"color": BLACK, "markerfacecolor": "white", "markersize": 7, "zorder": 4, "label": small.label}
            axes.plot([100 * size / total], [level.mean()], "h", **kind)
            seen.append(float(level.mean()))
        _as_high_as(axes, seen)
        axes.set_xlim(102, 0)
        axes.set_ylabel(f"R², {target_name(target)}")
    panels[-1].set_xlabel("parameters left (%)")
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    legend_below(figure, list(handles.values()), list(handles))
    return figure


def _as_high_as(axes: Axes, values: Sequence[float]) -> None:
    """An axis of R² that lets the `values` be told apart; the interval of ours may fill it."""
    if not values:
        return
    low, high = max(min(values), R2_FLOOR), max(values)
    margin = 0.12 * (high - low) or 0.01
    axes.set_ylim(low - margin, max(high, low) + margin)


def _tradeoff_alt(results: Results, tables: Tables) -> str:
    table, total, parts = tables["progression"], results.total_parameters(), []
    for target in results.targets:
        for variant in results.variants:
            rows = _of(results, table, variant)
            left = 100 * _column(table, variant, rows, "parameters")[0][-1] / total
            value = _column(table, variant, rows, f"R², {target_name(target)}")[0][-1]
            shown = "no value" if math.isnan(value) else number(value)
            parts.append(f"{results.label(variant)}, {target_name(target)}: {shown} with {number(left, 1)} % left")
    return f"Line chart of held-out R² against the share of parameters left. At the end: {'; '.join(parts)}."


PLOTS = (
    Plot(
        "progression",
        "Parameters left after each pruning stage, planned (rings) and achieved (band: all runs), and held-out R² of "
        f"the variant this work stands for (bars: {100 * LEVEL:.0f} % interval by case bootstrap). Variants with equal "
        "counts share a line.",
        progression,
        _progression_alt,
    ),
    Plot(
        "layers",
        "Sparsity of each weight matrix, named by inputs and outputs, after each stage of the variant this work stands "
        "for; mean over runs, band: all runs.",
        layers,
        _layers_alt,
    ),
    Plot(
        "tradeoff",
        f"Held-out R² against the parameters left, through the stages of each variant; shaded: {100 * LEVEL:.0f} % "
        "interval (case bootstrap) of the variant this work stands for, as far as the axis goes.",
        tradeoff,
        _tradeoff_alt,
    ),
)
"""The figures of this file."""
