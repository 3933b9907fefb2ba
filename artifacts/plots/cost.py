"""The figure of computational cost: what training a network takes, and what a prediction of it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from artifacts.numbers import NOT_MEASURED
from artifacts.plots.style import BLUE, HIGHEST, WIDE, WIDTH, Plot, Tables, number, wrapped
from artifacts.results import Results

BAR = 0.145  # inch: a row of text and its bar
ACROSS = (2, 3, 6)  # panels side by side: in one column, in both, and in both where there are many bars
TITLE = 12  # characters of a panel's title, where six are side by side
DENSE = "dense"
Bars = dict[str, tuple[float | None, float | None]]
"""For each network the cost of its dense phase (or all of it) and of pruning it; None: not measured."""


def training(results: Results, quantity: str, scale: float = 1.0) -> Bars:
    """What a phase costs a network, summed over the phases of each variant; a shared phase is each one's as a whole."""
    costs, out = results.costs, Bars()
    if costs.empty:
        return out
    for variant in results.variants:
        mine = costs[[variant in served for served in costs["variants"]]]
        first = mine["phase"] == DENSE
        dense, stages = (_per_network(part, quantity, scale) for part in (mine[first], mine[~first]))
        if variant == results.primary:
            out = {DENSE: (dense, 0.0), **out}
        out[results.label(variant)] = (dense, stages)
    return out


def _per_network(costs: pd.DataFrame, quantity: str, scale: float) -> float | None:
    """Σ over phases of what all its cohorts cost ÷ the networks in them; FLOPs are recorded a network."""
    if costs.empty or costs[quantity].isna().any():
        return None
    whole = costs[quantity] * (costs["runs"] if quantity == "flops" else 1)
    by_phase = whole.groupby(costs["phase"]).sum() / costs["runs"].groupby(costs["phase"]).sum()
    return float(by_phase.sum()) * scale


def prediction(results: Results, quantity: str, scale: float = 1.0) -> Bars:
    """Mean over the timed networks of each variant, and of the dense one."""
    frame, out = results.latency, Bars()
    if frame.empty:
        return out
    wanted = [(DENSE, results.primary, DENSE), *((results.label(name), name, "sparse") for name in results.variants)]
    for label, variant, model in wanted:
        at = frame[(frame["variant"] == variant) & (frame["model"] == model)]
        if not at.empty:
            out[label] = (float(at[quantity].mean()) * scale, 0.0)
    return out


def _panels(results: Results) -> list[tuple[str, Bars]]:
    """What is drawn, and the bars of it; nothing of what these runs recorded nothing of."""
    made: list[tuple[str, Callable[..., Bars], str, float]] = [
        ("training (s)", training, "seconds", 1.0),
        ("training (GFLOP)", training, "flops", 1e-9),
        ("training (J)", training, "energy_joules", 1.0),
        ("prediction (ms)", prediction, "median_ms", 1.0),
        ("MFLOP, active weights", prediction, "flops", 1e-6),
        ("file (MB)", prediction, "file_bytes", 1e-6),
    ]
    found = [(title, how(results, quantity, scale)) for title, how, quantity, scale in made]
    return [(title, bars) for title, bars in found if bars]


def cost(results: Results, tables: Tables) -> Figure | None:
    """Bars for each network: time, compute and energy of training it, then time, compute and size of a prediction."""
    del tables
    panels = _panels(results)
    if not panels:
        return None
    labels = list(dict.fromkeys(label for _, bars in panels for label in bars))
    across, width, height = _size(len(panels), len(labels))
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(-(-len(panels) // across), across, squeeze=False, sharey=True)
    for axes, (title, bars) in zip(grid.flat, panels, strict=False):
        kind: dict[str, Any] = {"height": 0.72, "edgecolor": BLUE, "linewidth": 0.6}
        known = {label: values for label, values in bars.items() if None not in values}
        rows = [labels.index(label) for label in known]
        first, then = (np.array([values[side] for values in known.values()], dtype=float) for side in (0, 1))
        axes.barh(rows, first, color=BLUE, **kind)
        axes.barh(rows, then, left=first, color="white", hatch="/////", **kind)
        for label in labels:
            if label not in known:
                text = NOT_MEASURED if label in bars else "–"
                place = axes.get_yaxis_transform()
                axes.text(0.03, labels.index(label), text, transform=place, va="center_baseline")
        axes.set_xlabel(wrapped(title, TITLE) if across > ACROSS[1] else title)
        axes.set_xlim(0, 1.06 * float(max(first + then, default=1.0)) or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]) if known else NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    return figure


def _size(panels: int, bars: int) -> tuple[int, float, float]:
    """How many panels stand side by side: as few as a page is high enough for; and width and height in inch."""
    each = 0.45 + BAR * bars
    across = next((n for n in ACROSS if -(-panels // n) * each <= HIGHEST), ACROSS[-1])
    title = 0.25 if across > ACROSS[1] else 0.0  # its second and third line
    return across, WIDTH if across == ACROSS[0] else WIDE, -(-panels // across) * (each + title)


def _cost_alt(results: Results, tables: Tables) -> str:
    del tables
    parts = []
    for title, bars in _panels(results):
        each = ", ".join(f"{label} {_whole(values)}" for label, values in bars.items())
        parts.append(f"{title}: {each}")
    return f"Bar charts of what each network costs. {'; '.join(parts)}."


def _whole(values: tuple[float | None, float | None]) -> str:
    first, then = values
    return NOT_MEASURED if first is None or then is None else number(first + then)


PLOTS = (
    Plot(
        "cost",
        "Computational cost of each network. Training: the dense phase (filled) and pruning with fine-tuning "
        "(hatched), each network's share of the stack that trains together. Prediction: median of one row on one "
        "thread of the CPU; a masked network executes the zeros too.",
        cost,
        _cost_alt,
    ),
)
"""The figures of this file."""
