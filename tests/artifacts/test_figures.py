"""Figures: the same bytes every time, a column wide, no text below 8 pt, no series told apart by colour alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from artifacts import figures, results, tables
from artifacts.plots import cost, lives, style, training
from artifacts.render import Table
from artifacts.results import Results
from verify.audit import audit


@pytest.fixture(scope="module")
def shown(found: Results) -> dict[str, Table]:
    """The tables that figures draw."""
    return {table.name: table for table in tables.all_tables(found)}


@pytest.fixture(params=list(figures.PLOTS))
def make(request: pytest.FixtureRequest, found: Results, shown: dict[str, Table]):
    """A function that makes one figure."""
    return partial(figures.PLOTS[request.param].make, found, shown)


def styled(make) -> Figure:
    """The figure as it is drawn."""
    with mpl.rc_context(style.STYLE):
        figure = make()
        assert figure is not None
        figure.draw_without_rendering()
        return figure


def drawn(name: str, found: Results, shown: dict[str, Table]) -> Figure:
    """The figure of this name."""
    return styled(partial(figures.PLOTS[name].make, found, shown))


def test_bytes_are_the_same_every_time(make):
    """Two drawings give equal PDF and PNG bytes; the PDF holds no date."""
    first, second = style.draw(make), style.draw(make)
    assert first == second
    assert b"CreationDate" not in first["pdf"]
    assert first["png"].startswith(b"\x89PNG")


def test_captions_state_the_levels_that_they_were_drawn_with():
    """In a process whose intervals have another level no caption states the usual one."""
    code = (
        "from artifacts import stats; stats.LEVEL = 0.7\n"
        "from artifacts import figures\n"
        "print(*(one.caption for one in figures.PLOTS.values()))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert said.count("70 % interval") == 3
    assert "95 %" not in said


def test_a_column_wide_and_readable(make):
    """Each figure fits an ASME column, and every text in it, drawn or shrunk, is at least 8 pt."""
    figure = styled(make)
    assert 3.25 <= figure.get_size_inches()[0] <= 3.5
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert texts
    assert min(float(text.get_fontsize()) for text in texts) >= 8
    assert not any(text.get_parse_math() for text in texts)  # mathtext would set superscripts smaller


def drawn_texts(figure: Figure) -> list[Text]:
    """Every text that is drawn: of ticks, those in sight."""
    out = list(figure.texts)
    for legend in (*figure.legends, *(axes.get_legend() for axes in figure.axes)):
        out += legend.get_texts() if legend else []
    for axes in figure.axes:
        if axes.get_visible() and axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                out += [axis.label, *(tick.label1 for tick in axis._update_ticks())]  # pyright: ignore[reportAttributeAccessIssue]
        out += axes.texts if axes.get_visible() else []
    return [text for text in out if text.get_text().strip() and text.get_visible()]


def test_no_text_leaves_its_figure_or_lies_over_another(make):
    """Every text is inside the figure, and no two of them overlap."""
    figure = styled(make)
    texts = drawn_texts(figure)
    boxes = [text.get_window_extent() for text in texts]
    inside = figure.bbox.padded(2)
    for index, box in enumerate(boxes):
        assert inside.contains(*box.min), texts[index].get_text()
        assert inside.contains(*box.max), texts[index].get_text()
        over = [texts[index + 1 + at].get_text() for at, other in enumerate(boxes[index + 1 :]) if box.overlaps(other)]
        assert not over, (texts[index].get_text(), over)


def test_every_figure_is_told_in_words(found: Results, shown: dict[str, Table]):
    """Each has a caption and a text of its own, and that of the comparison states the values of the table."""
    texts = [figures.alt(name, found, shown) for name in figures.PLOTS]
    assert len({*texts, *figures.CAPTIONS.values()}) == 2 * len(figures.PLOTS)
    accuracy = shown["accuracy"].frame
    value = accuracy[(accuracy["target"] == "flank wear VB (mm)") & (accuracy["predictor"] == "wear-law")]["R²"].iloc[0]
    assert f"wear-law {value:.3f}" in figures.alt("compared", found, shown)
    assert "161, 117, 92 parameters, as planned" in figures.alt("progression", found, shown)
    assert "parameters, where 113 were planned" in figures.alt("progression", found, shown)


def test_series_differ_without_colour():
    """Line style and marker differ from series to series, and neighbours differ in grey."""
    looks = list(islice(style.looks(), 462))
    assert len({(look.colour, look.marker, str(look.line)) for look in looks}) == len(looks)
    for part in ("marker", "line"):
        assert len({str(getattr(look, part)) for look in looks[:6]}) == 6
    assert all(one.marker != other.marker and one.line != other.line for one, other in pairwise(looks))
    grey = [float(np.dot(to_rgb(look.colour), (0.299, 0.587, 0.114))) for look in looks[:2]]
    assert abs(grey[0] - grey[1]) > 0.05


def test_no_series_is_left_out():
    """Of thirty items each has a look; so many would have been cut to the number of styles."""
    assert [item for item, _ in style.series(range(30))] == list(range(30))


def with_variants(found: Results, count: int) -> Results:
    """As if the sound variant had been run under `count` more names, alternating with the counts of the faulty one."""
    listed, ledger, records = list(found.plan.experiment.variants), dict(found.plan.ledger), list(found.records)
    predictions = [found.predictions]
    for index in range(count):
        name, like = f"another-way-{index}", found.variants[index % 2]
        listed.append(found.plan.variant(like).model_copy(update={"name": name, "expected_findings": ()}))
        ledger[name] = found.plan.ledger[like]
        alike = [record for record in found.records if record.variant == like]
        records += [one.model_copy(update={"variant": name, "run_id": f"{name}-{one.run_id}"}) for one in alike]
        predictions.append(found.predictions[found.predictions["variant"] == like].assign(variant=name))
    experiment = found.plan.experiment.model_copy(update={"variants": tuple(listed)})
    plan = found.plan.model_copy(update={"experiment": experiment, "ledger": ledger})
    return replace(found, plan=plan, records=tuple(records), predictions=pd.concat(predictions, ignore_index=True))


def test_many_variants_share_lines_and_none_is_dropped(found: Results):
    """Nine more variants with two kinds of counts: two lines, whose labels name them all or say how many."""
    many = with_variants(found, 9)
    shown = {table.name: table for table in (tables.progression(many), tables.accuracy(many))}
    figure = drawn("progression", many, shown)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["sparse and 5 more", "first-version † and 4 more"]
    assert "another-way-8" in figures.alt("progression", many, shown)
    lines = drawn("tradeoff", many, shown).axes[0].lines
    assert {str(line.get_label()) for line in lines} >= set(map(many.label, many.variants))


def test_plans_are_rings_around_what_was_achieved(found: Results, shown: dict[str, Table]):
    """Hollow marks at the planned counts; the sound variant's are where its line is, the faulty one's are not."""
    axes = drawn("progression", found, shown).axes[0]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "none" and len(np.asarray(line.get_xdata()))]
    assert len(hollow) == 2
    total = found.total_parameters()
    for ring, variant in zip(hollow, found.variants, strict=True):
        wanted = [100.0, *(100 * stage.parameters / total for stage in found.plan.ledger[variant])]
        assert np.allclose(np.asarray(ring.get_ydata(), float), wanted)


@pytest.mark.parametrize("factor", [0.03, 1.0, 3.0, 1000.0])
def test_losses_can_be_read_off(found: Results, factor: float):
    """Whatever the size of the losses, each panel has at least two labelled ticks in sight."""
    scaled = found.history.assign(
        **{name: found.history[name] * factor for name in ("data", "validation_loss", "wear_rate")}
    )
    figure = drawn("losses", replace(found, history=scaled), {})
    for axes in figure.axes:
        low, high = axes.get_ylim()
        ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
        labelled = [tick for tick in ticks if tick.label1.get_text() and low <= tick.get_loc() <= high]
        assert len(labelled) >= 2


def test_progression_draws_the_tables_values(found: Results):
    """Lines of the figure are the parameters and R² of the progression table."""
    table = tables.progression(found)
    figure = drawn("progression", found, {"progression": table})
    rows = table.frame[table.frame["variant"] == "sparse"]
    lines = [np.asarray(line.get_ydata(), float) for axes in figure.axes for line in axes.lines]
    left = 100 * rows["parameters"].astype(float) / found.total_parameters()
    wear = rows["R², flank wear VB"].astype(float)
    for wanted in (left, wear):
        assert any(len(line) == len(wanted) and np.allclose(line, wanted) for line in lines)


def with_r2(table: Table, predictor: str, *values: float | None) -> Table:
    """The accuracy table with other values, R² and its interval, of one predictor of flank wear."""
    frame = table.frame.copy()
    rows = (frame["predictor"] == predictor) & (frame["target"] == "flank wear VB (mm)")
    frame.loc[rows, ["R²", "R² low", "R² high"]] = list(values)
    return replace(table, frame=frame)


def test_comparison_draws_every_predictor_with_its_interval(found: Results):
    """A row each, in the table's order: the marker at R², the bar from end to end; ours alone is filled and banded."""
    table = tables.accuracy(found)
    figure = drawn("compared", found, {"accuracy": table})
    for axes, target in zip(figure.axes, ("flank wear VB (mm)", "thermal displacement (µm)"), strict=True):
        rows = table.frame[(table.frame["target"] == target) & table.frame["R²"].notna()]
        assert [text.get_text() for text in axes.get_yticklabels()] == list(rows["predictor"])
        bars, marks = axes.lines[::2], axes.lines[1::2]
        assert np.allclose([np.asarray(mark.get_xdata(), float)[0] for mark in marks], rows["R²"].astype(float))
        for column, end in (("R² low", 0), ("R² high", 1)):
            ends = [np.asarray(bar.get_xdata(), float)[end] for bar in bars]
            assert np.allclose(ends, np.maximum(rows[column].astype(float), style.R2_FLOOR))
        filled = [mark.get_markerfacecolor() != "white" for mark in marks]
        assert filled == [name == "sparse" for name in rows["predictor"]]
        assert len(axes.patches) == 1
        texts = [text.get_text().replace("−", "-") for text in axes.texts]
        assert texts == [table.formats["R²"].text(value) for value in rows["R²"]]


def test_comparison_keeps_hopeless_predictors_in_sight(found: Results):
    """A value far below 0 does not stretch the axis: an arrow at its edge stands for it, with the value beside it."""
    table = with_r2(tables.accuracy(found), "mean", -16.9, -30.0, -9.0)
    axes = drawn("compared", found, {"accuracy": table}).axes[0]
    assert axes.get_xlim()[0] > style.R2_FLOOR - 0.1
    arrow = next(line for line in axes.lines if line.get_marker() == "<")
    assert np.asarray(arrow.get_xdata(), float)[0] == style.R2_FLOOR
    assert "−16.900" in [text.get_text() for text in axes.texts]


def test_comparison_without_interval_shows_the_value(found: Results):
    """Where no interval could be drawn the marker stands alone, and nothing is banded."""
    table = with_r2(tables.accuracy(found), "sparse", 0.5, None, None)
    axes = drawn("compared", found, {"accuracy": table}).axes[0]
    assert len(axes.patches) == 0
    assert any(np.array_equal(np.asarray(line.get_xdata(), float), [0.5]) for line in axes.lines)


@pytest.mark.parametrize("count", [2, 14])
def test_comparison_has_no_text_over_another(found: Results, count: int):
    """With few or many predictors, and names as long as they get, no two texts overlap and none leaves the figure."""
    table = tables.accuracy(found)
    wear = table.frame[table.frame["target"] == "flank wear VB (mm)"]
    more = [wear.iloc[[0]].assign(predictor=f"structured-variant-{index}") for index in range(count)]
    table = replace(table, frame=pd.concat([table.frame, *more], ignore_index=True))
    figure = drawn("compared", found, {"accuracy": table})
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    for index, box in enumerate(boxes):
        assert figure.bbox.padded(1).contains(*box.min)
        assert figure.bbox.padded(1).contains(*box.max)
        assert not box.count_overlaps(boxes[index + 1 :])


def test_losses_mark_every_pruning(found: Results):
    """A dashed line stands between the phases, one for each stage."""
    figure = drawn("losses", found, {})
    for axes in figure.axes:
        lines = [np.asarray(line.get_xdata(), float) for line in axes.lines]
        assert [line[0] for line in lines if len(line) == 2] == [3.5, 6.5]


def test_one_target_without_physics(tmp_path: Path, fabricator):
    """With a single measured target, and no physics term in the history, every figure still draws."""
    fabricator(tmp_path, thermal=False, seeds=(0,))
    found = results.read(tmp_path, audit(tmp_path))
    shown = {table.name: table for table in tables.all_tables(found)}
    found = replace(found, history=found.history.drop(columns="wear_rate"))
    assert set(figures.all_figures(found, shown)) == set(figures.CAPTIONS)
    assert all(figures.alt(name, found, shown) for name in figures.CAPTIONS)


def test_what_there_is_nothing_of_has_no_figure(found: Results, shown: dict[str, Table]):
    """Without cost records, adaptation, or a choice of cases, these figures are left out and the others stay."""
    records = tuple(record.model_copy(update={"cost": (), "latency": ()}) for record in found.records)
    few = found.predictions[found.predictions["case"].isin(found.plan.dataset.cases[:3])]
    bare = replace(found, records=records, adaptation=None, adaptation_frames={}, predictions=few, baselines=())
    for name in ("cost", "adaptation", "split-luck"):
        assert style.draw(partial(figures.PLOTS[name].make, bare, shown)) == {}
    assert style.draw(partial(figures.PLOTS["predicted"].make, bare, shown))


def test_the_procedure_states_the_plan(found: Results):
    """Its numbers are the plan's: runs, parameters after each stage, ratios, epochs, and who is held out."""
    steps = dict(training.steps(found))
    assert steps["split by case"] == "4 folds: 1 case held out, 1 case to validate on; 2 seeds: 8 networks"
    assert steps["train the dense network"].startswith(
        "18-6-5-2, 161 parameters; 3 epochs, Adam at 0.001; physics: wear"
    )
    first = "30 % of the active weights go: 117 parameters; 3 epochs at 0.001, masks held after each step"
    assert steps["stage 1: global-magnitude"] == first
    plan = found.plan.model_copy(update={"experiment": found.plan.experiment.model_copy(update={"seeds": (7,)})})
    assert "1 seed:" in dict(training.steps(replace(found, plan=plan)))["split by case"]


def test_sparsity_by_layer_is_that_of_the_masks(found: Results, shown: dict[str, Table]):
    """A line a weight matrix and one of all; its last value is the table's."""
    axes = drawn("layers", found, shown).axes[0]
    last = [np.asarray(line.get_ydata(), float)[-1] for line in axes.lines]
    frame = shown["layers"].frame
    assert np.allclose(last[:-1], frame[frame["variant"] == "sparse"]["sparsity (%)"].astype(float))
    assert last[-1] == pytest.approx(100 * (1 - 79 / 148))


def test_wear_curves_show_every_labelled_cut(found: Results, shown: dict[str, Table]):
    """A panel a case, in natural order; points are the labels, the line the mean prediction of the held-out case."""
    figure = drawn("wear-curves", found, shown)
    held = found.held("sparse", 2, "VB")
    assert held is not None
    frame, what = lives.curves(found)
    assert what == "90 % interval of one more seed"  # four cases are too few for the other
    assert frame is not None
    assert np.array_equal(frame["measured"], held.measured)
    points = [axes.lines[1] for axes in figure.axes if axes.get_visible()]
    assert len(points) == 4
    assert sum(len(np.asarray(line.get_ydata())) for line in points) == 27
    assert sorted(["10", "2", "c#4", "1"], key=lives._natural) == ["1", "2", "10", "c#4"]


@pytest.mark.parametrize(("bars", "panels", "width"), [(5, 2, style.WIDTH), (19, 3, style.WIDE), (50, 6, style.WIDE)])
def test_cost_of_many_networks_has_room_on_a_page(
    bars: int, panels: int, width: float, found: Results, monkeypatch: pytest.MonkeyPatch
):
    """As many panels side by side as keep it no higher than a page; no text is small, no two titles overlap."""
    titles = (
        "training (s)",
        "training (GFLOP)",
        "training (J)",
        "prediction (ms)",
        "MFLOP, active weights",
        "file (MB)",
    )
    drawn: cost.Bars = {f"correction-0-{number}": (1.0 + number, 2.0) for number in range(bars)}
    monkeypatch.setattr(cost, "_panels", lambda _: [(title, drawn) for title in titles])
    figure = styled(partial(cost.cost, found, {}))
    assert len({round(axes.get_position().x0, 3) for axes in figure.axes}) == panels
    assert figure.get_figwidth() == width
    assert figure.get_figheight() <= style.HIGHEST
    assert min(float(text.get_fontsize()) for text in figure.findobj(Text)) >= style.TEXT
    for row in range(0, 6, panels):
        boxes = [axes.xaxis.label.get_window_extent() for axes in figure.axes[row : row + panels]]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_cost_counts_a_shared_phase_for_each_variant(found: Results):
    """4 s of 8 networks densely, 1 s a stage: half a second, and a quarter more; energy is not measured."""
    assert cost.training(found, "seconds") == {
        "dense": (0.5, 0.0),
        "sparse": (0.5, 0.25),
        "first-version †": (0.5, 0.25),
    }
    assert cost.training(found, "energy_joules")["sparse"] == (None, None)
    assert cost.training(found, "flops", 1e-9)["sparse"] == (2.0, 4.0)
    assert cost.prediction(found, "median_ms")["sparse"] == (0.04, 0.0)
