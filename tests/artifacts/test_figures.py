"""Figures: the same bytes every time, a column wide, no text below 8 pt, no series told apart by colour alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from artifacts import figures, results, tables
from artifacts.render import Table
from artifacts.results import Results
from verify.audit import audit


@pytest.fixture(params=["compared", "progression", "predicted", "losses"])
def make(request: pytest.FixtureRequest, found: Results):
    """A function that makes one figure."""
    return {
        "compared": lambda: figures.compared(found, tables.accuracy(found)),
        "progression": lambda: figures.progression(found, tables.progression(found)),
        "predicted": lambda: figures.predicted(found),
        "losses": lambda: figures.losses(found),
    }[request.param]


def styled(make) -> Figure:
    """The figure as it is drawn."""
    with mpl.rc_context(figures._STYLE):
        figure = make()
        figure.draw_without_rendering()
        return figure


def test_bytes_are_the_same_every_time(make):
    """Two drawings give equal PDF and PNG bytes; the PDF holds no date."""
    first, second = figures.draw(make), figures.draw(make)
    assert first == second
    assert b"CreationDate" not in first["pdf"]
    assert first["png"].startswith(b"\x89PNG")


def test_a_column_wide_and_readable(make):
    """Each figure fits an ASME column, and every text in it, drawn or shrunk, is at least 8 pt."""
    figure = styled(make)
    assert 3.25 <= figure.get_size_inches()[0] <= 3.5
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert texts
    assert min(float(text.get_fontsize()) for text in texts) >= 8
    assert not any("$" in text.get_text() for text in texts)  # mathtext would set superscripts smaller


def test_series_differ_without_colour():
    """Line style and marker differ from series to series, and neighbours differ in grey."""
    assert len({marker for _, marker, _ in figures.SERIES}) == len(figures.SERIES)
    assert len({line for _, _, line in figures.SERIES}) == len(figures.SERIES)
    grey = [float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114))) for colour, _, _ in figures.SERIES[:2]]
    assert abs(grey[0] - grey[1]) > 0.05


def test_plans_differ_without_colour(found: Results):
    """The planned marks of two variants have shapes of their own, not that of the series they belong to."""
    figure = styled(lambda: figures.progression(found, tables.progression(found)))
    planned = [line for line in figure.axes[0].lines if str(line.get_label()).endswith("planned")]
    assert len(planned) == 2
    assert len({str(line.get_marker()) for line in planned}) == 2
    assert all(line.get_markerfacecolor() == "none" for line in planned)
    assert all(plan != series[1] for plan, series in zip(figures.PLANNED, figures.SERIES, strict=True))


@pytest.mark.parametrize("factor", [0.03, 1.0, 3.0, 1000.0])
def test_losses_can_be_read_off(found: Results, factor: float):
    """Whatever the size of the losses, each panel has at least two labelled ticks in sight."""
    scaled = found.history.assign(
        **{name: found.history[name] * factor for name in ("data", "validation_loss", "wear_rate")}
    )
    figure = styled(lambda: figures.losses(replace(found, history=scaled)))
    for axes in figure.axes:
        low, high = axes.get_ylim()
        ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
        labelled = [tick for tick in ticks if tick.label1.get_text() and low <= tick.get_loc() <= high]
        assert len(labelled) >= 2


def test_progression_draws_the_tables_values(found: Results):
    """Lines of the figure are the parameters and R² of the progression table."""
    table = tables.progression(found)
    figure = styled(lambda: figures.progression(found, table))
    rows = table.frame[table.frame["variant"] == "sparse"]
    drawn = [np.asarray(line.get_ydata(), float) for axes in figure.axes for line in axes.lines]
    left = 100 * rows["parameters"].astype(float) / found.total_parameters()
    wear = rows["R², flank wear VB"].astype(float)
    for wanted in (left, wear):
        assert any(len(line) == len(wanted) and np.allclose(line, wanted) for line in drawn)


def with_r2(table: Table, predictor: str, *values: float | None) -> Table:
    """The accuracy table with other values, R² and its interval, of one predictor of flank wear."""
    frame = table.frame.copy()
    rows = (frame["predictor"] == predictor) & (frame["target"] == "flank wear VB (mm)")
    frame.loc[rows, ["R²", "R² low", "R² high"]] = list(values)
    return replace(table, frame=frame)


def test_comparison_draws_every_predictor_with_its_interval(found: Results):
    """A row each, in the table's order: the marker at R², the bar from end to end; ours alone is filled and banded."""
    table = tables.accuracy(found)
    figure = styled(lambda: figures.compared(found, table))
    for axes, target in zip(figure.axes, ("flank wear VB (mm)", "thermal displacement (µm)"), strict=True):
        rows = table.frame[(table.frame["target"] == target) & table.frame["R²"].notna()]
        assert [text.get_text() for text in axes.get_yticklabels()] == list(rows["predictor"])
        bars, marks = axes.lines[::2], axes.lines[1::2]
        assert np.allclose([np.asarray(mark.get_xdata(), float)[0] for mark in marks], rows["R²"].astype(float))
        for column, end in (("R² low", 0), ("R² high", 1)):
            drawn = [np.asarray(bar.get_xdata(), float)[end] for bar in bars]
            assert np.allclose(drawn, np.maximum(rows[column].astype(float), figures.R2_FLOOR))
        filled = [mark.get_markerfacecolor() != "white" for mark in marks]
        assert filled == [name == "sparse" for name in rows["predictor"]]
        assert len(axes.patches) == 1
        shown = [text.get_text().replace("−", "-") for text in axes.texts]
        assert shown == [table.formats["R²"].text(value) for value in rows["R²"]]


def test_comparison_keeps_hopeless_predictors_in_sight(found: Results):
    """A value far below 0 does not stretch the axis: an arrow at its edge stands for it, with the value beside it."""
    table = with_r2(tables.accuracy(found), "mean", -16.9, -30.0, -9.0)
    axes = styled(lambda: figures.compared(found, table)).axes[0]
    assert axes.get_xlim()[0] > figures.R2_FLOOR - 0.1
    arrow = next(line for line in axes.lines if line.get_marker() == "<")
    assert np.asarray(arrow.get_xdata(), float)[0] == figures.R2_FLOOR
    assert "−16.900" in [text.get_text() for text in axes.texts]


def test_comparison_without_interval_shows_the_value(found: Results):
    """Where no interval could be drawn the marker stands alone, and nothing is banded."""
    table = with_r2(tables.accuracy(found), "sparse", 0.5, None, None)
    axes = styled(lambda: figures.compared(found, table)).axes[0]
    assert len(axes.patches) == 0
    assert any(np.array_equal(np.asarray(line.get_xdata(), float), [0.5]) for line in axes.lines)


@pytest.mark.parametrize("count", [2, 14])
def test_comparison_has_no_text_over_another(found: Results, count: int):
    """With few or many predictors, and names as long as they get, no two texts overlap and none leaves the figure."""
    table = tables.accuracy(found)
    wear = table.frame[table.frame["target"] == "flank wear VB (mm)"]
    more = [wear.iloc[[0]].assign(predictor=f"structured-variant-{index}") for index in range(count)]
    table = replace(table, frame=pd.concat([table.frame, *more], ignore_index=True))
    figure = styled(lambda: figures.compared(found, table))
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    for index, box in enumerate(boxes):
        assert figure.bbox.padded(1).contains(*box.min)
        assert figure.bbox.padded(1).contains(*box.max)
        assert not box.count_overlaps(boxes[index + 1 :])


def test_losses_mark_every_pruning(found: Results):
    """A dashed line stands between the phases, one for each stage."""
    figure = styled(lambda: figures.losses(found))
    for axes in figure.axes:
        lines = [np.asarray(line.get_xdata(), float) for line in axes.lines]
        assert [line[0] for line in lines if len(line) == 2] == [3.5, 6.5]


def test_one_target_without_physics(tmp_path: Path, fabricator):
    """With a single measured target, and no physics term in the history, every figure still draws."""
    fabricator(tmp_path, thermal=False, seeds=(0,))
    found = results.read(tmp_path, audit(tmp_path))
    found = replace(found, history=found.history.drop(columns="wear_rate"))
    drawn = figures.all_figures(found, tables.progression(found), tables.accuracy(found))
    assert set(drawn) == set(figures.CAPTIONS)
