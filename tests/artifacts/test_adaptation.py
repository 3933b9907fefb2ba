"""Online adaptation as a table, a figure and two claims, against the record and the files, computed another way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from artifacts import adaptation, claims, figures, results, tables
from artifacts.build import build
from artifacts.plots import lives
from artifacts.results import Results
from spinn.metrics import r_squared
from spinn.record import ADAPTATION
from verify.audit import audit

METHODS = ["none", "adapted", "refitted-law", "rescaled-law", "retrained"]


def _row(found: Results, method: str) -> Any:
    table = adaptation.adaptation(found)
    assert table is not None
    rows = table.frame[table.frame["method"] == method]
    assert len(rows) == 1
    return rows.iloc[0]


def _labelled(honest: Path, method: str) -> pd.DataFrame:
    table = pd.read_csv(honest / ADAPTATION / f"{method}.csv", dtype={"case": str})
    return table[table["measured"].notna()]


@pytest.mark.parametrize("method", METHODS)
def test_errors_are_those_of_the_files(found: Results, honest: Path, method: str):
    """MAE and R² over all labelled cuts; the late error is the mean over cases of each case's own."""
    frame, row = _labelled(honest, method), _row(found, method)
    error = (frame["prediction"] - frame["measured"]).abs()
    assert row["MAE (mm)"] == pytest.approx(error.mean())
    each = [r_squared(part["measured"].to_numpy(), part["prediction"].to_numpy()) for _, part in frame.groupby("seed")]
    assert row["R²"] == pytest.approx(np.mean(np.array(each, float)))
    late = error[frame["labels_seen"] >= 3]
    cases = [late[frame["case"] == case].mean() for case in frame["case"].unique()]
    assert row["MAE from label 3 on (mm)"] == pytest.approx(np.mean(cases))
    assert row["MAE from label 3 on (mm) low"] <= row["MAE from label 3 on (mm)"]
    assert row["MAE from label 3 on (mm)"] <= row["MAE from label 3 on (mm) high"]


def test_costs_are_those_of_the_record(found: Results, honest: Path):
    """FLOPs a tool, and their share of retraining, tool by tool; a law has none; seconds are shared out."""
    record = json.loads((honest / ADAPTATION / "record.json").read_text())
    by_name = {method["name"]: method for method in record["methods"]}
    again = {tool["case"]: tool["flops"] for tool in by_name["retrained"]["tools"]}
    adapted = by_name["adapted"]["tools"]
    assert _row(found, "adapted")["GFLOP a tool"] == pytest.approx(np.mean([t["flops"] for t in adapted]) / 1e9)
    share = np.mean([100 * tool["flops"] / again[tool["case"]] for tool in adapted])
    assert _row(found, "adapted")["share of retraining, FLOPs (%)"] == pytest.approx(share)
    assert _row(found, "retrained")["share of retraining, FLOPs (%)"] == pytest.approx(100)
    assert _row(found, "refitted-law")["GFLOP a tool"] is None
    seconds = by_name["adapted"]["seconds"] / 8
    assert _row(found, "adapted")["seconds a tool"] == pytest.approx(seconds)
    whole = by_name["retrained"]["seconds"] / 4
    assert _row(found, "adapted")["share of retraining, seconds (%)"] == pytest.approx(100 * seconds / whole)
    assert [_row(found, method)["seeds"] for method in METHODS] == [2, 2, 1, 1, 1]


def test_tools_that_nobody_trained_for_again_are_no_yardstick(found: Results):
    """A tool with fewer labels than retraining waits for is in no share; without any other there is none."""
    assert found.adaptation is not None
    few = [
        method.model_copy(update={"tools": tuple(tool.model_copy(update={"labels": 2}) for tool in method.tools)})
        for method in found.adaptation.methods
    ]
    changed = replace(found, adaptation=found.adaptation.model_copy(update={"methods": tuple(few)}))
    assert adaptation.shares(changed, "adapted") == []
    row = _row(changed, "retrained")
    assert row["GFLOP a tool"] is None
    assert row["seconds a tool"] is None
    outcome = _outcomes(changed)["adaptation-cost"]
    assert (outcome.verdict, outcome.measured.reason[:30]) == ("not evaluated", "no tool was trained for again:")


def _outcomes(found: Results) -> dict[str, claims.Outcome]:
    return {outcome.claim["name"]: outcome for outcome in claims.evaluate(found)}


def test_claims_are_measured(found: Results, honest: Path):
    """The cost is a mean over tools within its extremes; the gain the difference of late errors, paired by case."""
    outcomes = _outcomes(found)
    cost, gain = outcomes["adaptation-cost"], outcomes["adaptation-gain"]
    assert cost.measured.value == pytest.approx(_row(found, "adapted")["share of retraining, FLOPs (%)"])
    assert cost.measured.value is not None
    assert cost.verdict == ("holds" if cost.measured.value <= 15 else "fails")
    assert cost.measured.low is not None
    assert cost.measured.high is not None
    assert cost.measured.low <= cost.measured.value <= cost.measured.high
    difference = _row(found, "none")["MAE from label 3 on (mm)"] - _row(found, "adapted")["MAE from label 3 on (mm)"]
    assert gain.measured.value == pytest.approx(difference)
    assert gain.verdict == ("holds" if difference > 0 else "fails")
    assert len(_labelled(honest, "adapted")["seed"].unique()) == 2


@pytest.mark.parametrize(("factor", "verdict"), [(0.5, "holds"), (2.0, "fails")])
def test_the_gain_follows_the_error(found: Results, factor: float, verdict: str):
    """Half the error of no adaptation is a gain whose interval is above 0; twice of it is a loss."""
    none = found.adaptation_frames["none"]
    nearer = none["measured"] + factor * (none["prediction"] - none["measured"])
    frames = found.adaptation_frames | {"adapted": none.assign(prediction=nearer)}
    outcome = _outcomes(replace(found, adaptation_frames=frames))["adaptation-gain"]
    assert outcome.verdict == verdict
    assert outcome.measured.low is not None
    assert (outcome.measured.low > 0) == (factor < 1)


def test_error_over_a_tool_s_life_is_averaged_over_cases(found: Results, honest: Path):
    """Seeds first, then cases; the number of cases falls as tools end."""
    frame = _labelled(honest, "adapted")
    error = (frame["prediction"] - frame["measured"]).abs()
    table = adaptation.error_by_labels(found, "adapted")
    for labels in (0, 3):
        here = frame["labels_seen"] == labels
        assert table.loc[labels, "mean"] == pytest.approx(error[here].groupby(frame["case"]).mean().mean())
        assert table.loc[labels, "count"] == frame["case"][here].nunique()
    assert table["count"].is_monotonic_decreasing


def test_without_adaptation_there_is_no_table_figure_or_verdict(found: Results):
    """Nothing is printed of what was not done, and the claims say why."""
    without = replace(found, adaptation=None, adaptation_frames={})
    assert adaptation.adaptation(without) is None
    assert "adaptation" not in {table.name for table in tables.all_tables(without)}
    assert "adaptation" not in figures.all_figures(without, {table.name: table for table in tables.all_tables(without)})
    assert "adaptation/record" not in without.sources()
    for name in ("adaptation-cost", "adaptation-gain"):
        outcome = _outcomes(without)[name]
        assert (outcome.verdict, outcome.measured.reason) == ("not evaluated", "these runs adapted to no tool")


def test_numbers_name_the_files_that_they_come_from(found: Results):
    """Each row's source is its method's table and the record."""
    table = adaptation.adaptation(found)
    assert table is not None
    sources = found.sources()
    assert set(sources["adaptation/adapted"]) == {"adaptation/adapted.csv"}
    assert set(sources["adaptation/record"]) == {"adaptation/record.json"}
    for number in table.numbers().values():
        assert [source.split(" ")[0] for source in number.source][1] == "adaptation/record"
        assert all(source.split(" ")[0] in sources for source in number.source)


def test_the_figure_has_a_line_for_each_method(found: Results):
    """With the values of `error_by_labels`, as far as a third of the tools lives."""
    figure = lives.adaptation(found, {})
    assert figure is not None
    (axes,) = figure.axes
    lines = {str(line.get_label()): line for line in axes.get_lines()}
    assert list(lines) == METHODS
    for method, line in lines.items():
        errors = adaptation.error_by_labels(found, method)
        kept = errors[errors["count"] >= errors["count"].max() / 3]
        assert np.asarray(line.get_ydata()) == pytest.approx(kept["mean"].to_numpy())


def test_a_changed_file_is_noticed_by_the_build(runs: Path, tmp_path: Path):
    """Predictions that were edited after a build are refused, not kept."""
    assert build(runs, tmp_path / "out").holds
    path = runs / ADAPTATION / "adapted.csv"
    path.write_text(path.read_text().replace("0", "1", 1))
    assert not build(runs, tmp_path / "out").holds
    with pytest.raises(results.RefusedError, match="adaptation-recomputed"):
        results.read(runs, audit(runs))
