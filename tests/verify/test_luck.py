"""A lucky split shows as such, and a small baseline that does as well is named."""

from __future__ import annotations

import json
from itertools import combinations
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from spinn import baselines
from spinn.data.dataset import read_canonical
from spinn.record import BASELINES, DATASET, PREDICTIONS
from verify.findings import Finding
from verify.folder import Run, digest_all, read_folder
from verify.luck import _choices, _r2, _sums, baseline_as_good, split_luck


def found(runs, check: str) -> Finding:
    """The note of a check."""
    (finding,) = (finding for finding in runs.audit().findings if finding.check == check)
    assert finding.severity == "note"
    return finding


def test_sums_give_the_r2_of_the_rows() -> None:
    """Pooled over the cuts, as its definition has it."""
    draw = np.random.default_rng(0)
    cases, y = np.repeat(["a", "b", "c"], 5), draw.normal(size=15)
    y[3] = np.nan
    guess = draw.normal(size=15)
    known = ~np.isnan(y)
    own = 1 - ((guess - y)[known] ** 2).sum() / ((y[known] - y[known].mean()) ** 2).sum()
    sums = np.array(list(_sums(cases, y, guess).values()))
    assert _r2(sums.sum(0)[None])[0] == pytest.approx(own)


def test_predictions_are_read_once_for_both_checks(runs) -> None:
    """However many targets and baselines there are: of all that an audit reads, they are the longest tables."""
    folder = read_folder(runs.path, digest_all(runs.path))
    with mock.patch.object(Run, "predictions", autospec=True, side_effect=Run.predictions) as read:
        assert list(split_luck(folder))
        list(baseline_as_good(folder))
    assert read.call_count == len(folder.runs)


def test_every_choice_of_cases_is_counted_once() -> None:
    """All of them, each the sum of its cases."""
    sums = np.random.default_rng(0).random((6, 4))
    own = [sums[list(chosen)].sum(0) for chosen in combinations(range(6), 3)]
    assert np.allclose(_choices(sums, 3), own)
    assert len(_choices(np.ones((40, 4)), 6)) == 100_000


def test_the_spread_over_test_sets_is_reported(runs) -> None:
    """A predictor that is right on three cases and far off elsewhere has a three-case test set that shines."""
    cases = sorted({case for run in runs.plan.runs for case in run.test})
    lucky = set(cases[:3])

    def improve(table: pd.DataFrame) -> pd.DataFrame:
        rows = table["case"].astype(str).isin(lucky) & table["measured"].notna()
        wrong = table["prediction"].where(~rows, table["measured"])
        return table.assign(prediction=wrong.where(rows, wrong + 5 * table["measured"].std()))

    for run_id in runs.names("sparse"):
        runs.edit_table(run_id, PREDICTIONS, improve)
    finding = found(runs, "split-luck")
    (line,) = (f for f in finding.data["faults"] if (f["variant"], f["target"]) == ("sparse", "thermal"))
    assert line["most"] == pytest.approx(1.0)
    assert line["r2"] < 0
    assert line["least"] < line["p05"] <= line["median"] <= line["p95"] <= line["most"]
    assert line["choices"] == 20


def test_a_baseline_that_does_as_well_is_named_with_its_interval(runs) -> None:
    """A wear law within 0.01 mm of every label, against networks that learned nothing."""
    path = runs.path / BASELINES / "wear-law.csv"
    table = pd.read_csv(path, dtype={"case": str})
    table.assign(prediction=table["measured"].fillna(0) + 0.01).to_csv(path, index=False)
    faults = [fault.data for fault in baseline_as_good(read_folder(runs.path, digest_all(runs.path)))]
    line = next(f for f in faults if f["baseline"] == "wear-law" and f["variant"] == "sparse")
    known = table["measured"].dropna()
    assert line["baseline_r2"] == pytest.approx(1 - 0.01**2 / known.var(ddof=0))
    assert line["network_r2"] < 0.5
    assert line["low"] <= line["baseline_r2"] - line["network_r2"] <= line["high"]


def test_a_worse_or_larger_baseline_is_not_named(runs) -> None:
    """Only fewer parameters and at least the same R² make a finding."""
    folder = read_folder(runs.path, digest_all(runs.path))
    path = runs.path / BASELINES / "wear-law.csv"
    table = pd.read_csv(path, dtype={"case": str})
    table.assign(prediction=table["prediction"] + 100).to_csv(path, index=False)
    assert not any("wear-law" in fault.message for fault in baseline_as_good(folder))
    record = path.with_suffix(".json")
    content = json.loads(record.read_text())
    table.assign(prediction=table["measured"].fillna(0)).to_csv(path, index=False)
    assert any("wear-law" in fault.message for fault in baseline_as_good(folder))
    record.write_text(json.dumps({**content, "parameters": 10**9}))
    assert not any("wear-law" in fault.message for fault in baseline_as_good(folder))


def test_a_baseline_that_sees_labels_is_named_as_one(runs) -> None:
    """The last value has no parameter, and knows what no network knows: the note says so."""
    runs.edit_plan(lambda plan: plan["experiment"].update(baselines=["last-value"]))
    baselines.evaluate(runs.plan, read_canonical(runs.path / DATASET, runs.plan.dataset), runs.path)
    faults = [fault.message for fault in baseline_as_good(read_folder(runs.path, digest_all(runs.path)))]
    assert faults
    assert all("last-value, which sees the tool's earlier labels, 0 parameters, does as well" in f for f in faults)
