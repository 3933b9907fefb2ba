"""Figures of training: the procedure as a flow of boxes, and the losses of its phases."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from artifacts.plots.style import BLACK, BLUE, WIDTH, Plot, Tables, legend_below, number, series, wrapped
from artifacts.render import Frame
from artifacts.results import Results, target_name

FEW_DECADES = 1.7  # fewer than two labelled decades may fall into less
MIDDLE = 0.8  # of the runs, within the bands of their losses
LINE_HEIGHT, PADDING, GAP = 0.135, 0.11, 0.13  # inch: of a line in a box, of its air, between boxes
NOT_A_TERM = {"stage", "epoch", "learning_rate", "loss", "gradient_norm", "run_id", "variant", "seed"}


def steps(results: Results) -> list[tuple[str, str]]:
    """The procedure of the variant this work stands for, as its plan has it: what each step is, and its numbers."""
    plan = results.plan
    asked, variant = plan.experiment, plan.variant(results.primary)
    dense, held = asked.dense_of(variant), variant.pruner != "first-version"
    whose = "neurons of each hidden layer" if variant.pruner.startswith("neurons-") else "active weights"
    runs = [run for run in plan.runs if run.variant == results.primary]
    correction, terms = asked.correction_of(variant), asked.physics_of(variant)
    out = [
        (
            "data",
            f"{plan.dataset.source}: {len(plan.dataset.cases)} cases, {plan.dataset.cuts} cuts, "
            f"{len(plan.dataset.features)} inputs; measured: {', '.join(map(target_name, plan.dataset.targets))}",
        ),
        (
            "split by case",
            f"{len({run.fold for run in runs})} folds: {_cases([len(run.test) for run in runs])} held out, "
            f"{_cases([len(run.validation) for run in runs])} to validate on; {_count(len(asked.seeds), 'seed')}: "
            f"{_count(len(runs), 'network')}",
        ),
        (
            "fit on training cases",
            "scalers" + ("" if correction is None else f", and a wear law, changed by at most {100 * correction:g} %"),
        ),
        (
            "train the dense network",
            f"{'-'.join(map(str, asked.layers))}, {results.total_parameters():,} parameters; "
            f"{_epochs(dense.epochs, dense.patience)}, Adam at {dense.learning_rate:g}; "
            f"{_physics(terms.model_dump(), terms.enabled())}",
        ),
    ]
    for stage, planned in zip(variant.stages, plan.ledger[results.primary], strict=True):
        share = float(100 * Fraction(planned.ratio))
        after = f"{stage.epochs} epochs at {stage.learning_rate:g}{', masks held after each step' if held else ''}"
        count = f"{share:g} % of the {whose} go: {planned.parameters:,} parameters"
        out.append((f"stage {planned.stage}: {variant.pruner}", f"{count}; {after}"))
    chosen = "the epoch that validates best" if asked.split.validation_cases else "the last epoch"
    out.append(("predict the held-out cases", f"after each phase, with the weights of {chosen}"))
    return [*out, ("audit", "counts, metrics and predictions computed again from what the runs left on disk")]


def _cases(counts: list[int]) -> str:
    least, most = min(counts), max(counts)
    if not most:
        return "none"
    return _count(most, "case") if least == most else f"{least} to {most} cases"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _epochs(epochs: int, patience: int | None) -> str:
    if patience is None:
        return f"{epochs} epochs"
    return f"at most {epochs} epochs, patience {patience}"


def _physics(weights: dict[str, float], enabled: tuple[str, ...]) -> str:
    if not enabled:
        return "no physics term"
    return "physics: " + ", ".join(f"{name.replace('_', ' ')} {weights[name]:g}" for name in enabled)


def procedure(results: Results, tables: Tables) -> Figure:
    """The training procedure from data to audit, a box a step; every number is the plan's."""
    del tables
    boxes = [(title, "\n".join(wrapped(part, 50) for part in text.split("; "))) for title, text in steps(results)]
    heights = [PADDING + LINE_HEIGHT * (2 + text.count("\n")) for _, text in boxes]
    height = sum(heights) + GAP * (len(boxes) - 1) + 0.04
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0, h_pad=0))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    top = 0.02
    for index, ((title, text), tall) in enumerate(zip(boxes, heights, strict=True)):
        pruning = title.startswith("stage ")
        face = "#DCEAF4" if pruning else "white"
        box = {"facecolor": face, "edgecolor": BLUE if pruning else BLACK, "linewidth": 1.2 if pruning else 0.8}
        axes.fill([0.03, WIDTH - 0.03, WIDTH - 0.03, 0.03], [top, top, top + tall, top + tall], **box)
        middle = top + PADDING / 2
        axes.text(0.1, middle, title, weight="bold", va="top", in_layout=False)
        axes.text(0.1, middle + LINE_HEIGHT, text, va="top", linespacing=1.1, in_layout=False)
        if index + 1 < len(boxes):
            head, tail = (WIDTH / 2, top + tall + GAP), (WIDTH / 2, top + tall)
            arrow = {"arrowstyle": "-|>", "color": BLACK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", head, tail, arrowprops=arrow)
        top += tall + GAP
    return figure


def _procedure_alt(results: Results, tables: Tables) -> str:
    del tables
    listed = "; ".join(f"{number}. {title}: {text}" for number, (title, text) in enumerate(steps(results), start=1))
    return f"Flow of the training procedure, from top to bottom. {listed}."


def _terms(results: Results) -> tuple[Frame, list[str]]:
    history = results.history[results.history["variant"] == results.primary]
    names = [name for name in history.columns if name not in {*NOT_A_TERM, "data", "validation_loss"}]
    return history, [name for name in names if history[name].notna().any()]


def losses(results: Results, tables: Tables) -> Figure:
    """Losses over the epochs of all phases: data and validation above, physics terms below, pruning points marked.

    Lines are medians over the runs that still train at that epoch, bands the `MIDDLE` of them. A phase is as long
    as in the run that trained longest in it.
    """
    del tables
    history, terms = _terms(results)
    figure = Figure(figsize=(WIDTH, 4.3 if terms else 2.4))
    panels = np.atleast_1d(figure.subplots(2 if terms else 1, 1, sharex=True))
    starts = _starts(history)
    first = history.groupby("stage")["epoch"].transform("min")
    history = history.assign(at=history["epoch"] - first + history["stage"].map(starts) + 1)
    for axes in panels:
        axes.set_yscale("log", nonpositive="clip")
        # A superscript would be smaller than the smallest text that is allowed.
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _bands(panels[0], history, {"data": "data, training", "validation_loss": "validation"})
    panels[0].legend(loc="best", labelspacing=0.2, frameon=True, framealpha=1.0, edgecolor="none")
    if terms:
        _bands(panels[1], history, {name: name.replace("_", " ") for name in terms})
        bottom, top = panels[1].get_ylim()
        panels[1].set_ylim(bottom=max(bottom, top * 1e-6))  # a term that is all but fulfilled would stretch the axis
        legend_below(figure, *panels[1].get_legend_handles_labels())
    for axes in panels:
        for stage, start in starts.items():
            if stage:
                axes.axvline(start + 0.5, color="0.35", linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)
        axes.margins(x=0.01)
        _label_minor(axes)
    for stage, start in starts.items():
        if stage:
            above = {"xycoords": ("data", "axes fraction"), "xytext": (0, 2), "textcoords": "offset points"}
            panels[0].annotate(str(stage), (start + 0.5, 1.0), ha="center", va="bottom", **above)
    panels[0].set_ylabel("loss")
    panels[-1].set_ylabel("physics terms" if terms else "loss")
    panels[-1].set_xlabel("epoch (dashed: pruning, with its stage)")
    return figure


def _starts(history: Frame) -> pd.Series:
    """How many epochs lie before each phase."""
    lengths = history.groupby("stage")["epoch"].agg(lambda epochs: epochs.max() - epochs.min() + 1)
    return lengths.cumsum() - lengths


def _label_minor(axes: Axes) -> None:
    """Label values between the decades of a logarithmic axis that spans so few that one label would stand alone."""
    low, high = axes.get_ylim()
    span = math.log10(high / low)
    if span < FEW_DECADES:
        axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0) if span > 0.7 else (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _bands(axes: Axes, history: Frame, names: dict[str, str]) -> None:
    for (column, label), look in series(names.items()):
        known = history[["at", column]].dropna()
        if known.empty:
            continue
        low, median, high = (known.groupby("at")[column].quantile((1 + share) / 2) for share in (-MIDDLE, 0, MIDDLE))
        axes.fill_between(low.index, low, high, color=look.colour, alpha=0.2, linewidth=0)
        shown = median.where(median > 0)  # a logarithmic axis has no zero
        axes.plot(median.index, shown, color=look.colour, linestyle=look.line, label=label)


def _losses_alt(results: Results, tables: Tables) -> str:
    del tables
    history, terms = _terms(results)
    parts = [f"pruning before epoch {number(start + 1, 0)}" for stage, start in _starts(history).items() if stage]
    for column, name in {"data": "training data", **{term: term.replace("_", " ") for term in terms}}.items():
        ends = [
            history[history["stage"] == stage].dropna(subset=[column]).groupby("run_id")[column].last().median()
            for stage in sorted(history["stage"].unique())
        ]
        parts.append(f"{name}, median at the end of each phase: {', '.join(f'{value:.2g}' for value in ends)}")
    return f"Line chart of losses over the epochs of all phases, logarithmic. {'; '.join(parts)}."


PLOTS = (
    Plot(
        "procedure",
        "The training procedure of the variant this work stands for, as it was planned; shaded: pruning.",
        procedure,
        _procedure_alt,
    ),
    Plot(
        "losses",
        f"Losses by phase; median over the runs that still train, band: middle {100 * MIDDLE:.0f} % of them. Dashed "
        "lines mark pruning. Losses are unweighted; physics terms are nondimensional.",
        losses,
        _losses_alt,
    ),
)
"""The figures of this file."""
