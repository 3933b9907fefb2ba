"""Figures: the same bytes every time, a column wide, no text below 8 pt, no series told apart by colour alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from artifacts import figures, results, tables
from artifacts.results import Results
from verify.audit import audit


@pytest.fixture(params=["progression", "predicted", "losses"])
def make(request: pytest.FixtureRequest, found: Results):
    """A function that makes one figure."""
    return {
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
    drawn = figures.all_figures(found, tables.progression(found))
    assert set(drawn) == set(figures.CAPTIONS)
