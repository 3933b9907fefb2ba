"""The baselines: recovered truth, and no look at the held-out cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spinn import baselines
from spinn.data.dataset import Dataset
from spinn.errors import DataError
from spinn.wear_law import fit_wear_law, wear_law

LAW = (-5.06, 0.63, 0.38, 1.46)


def _frame(law=LAW) -> pd.DataFrame:
    rows = [
        (str(case), run, 3.0 * run, doc, feed, steel)
        for case, (doc, feed, steel) in enumerate(
            [(d, f, s) for d in (0.75, 1.5) for f in (0.25, 0.5) for s in (0, 1)], start=1
        )
        for run in range(1, 6)
    ]
    frame = pd.DataFrame(rows, columns=["case", "run", "time", "DOC", "feed", "steel"])
    return frame.assign(VB=wear_law(frame, law), power=np.nan, thermal=np.nan)


def test_the_wear_law_is_recovered_from_its_own_values():
    """A noise-free wear law gives its four coefficients back."""
    assert fit_wear_law(_frame()) == pytest.approx(LAW, abs=1e-6)


def test_the_wear_law_has_closed_values():
    """At the reference cut in cast iron VB = t·e^a, and doubling the depth multiplies it by 2^b."""
    frame = _frame()
    row = frame[(frame["DOC"] == 0.75) & (frame["feed"] == 0.25) & (frame["steel"] == 0)].iloc[0]
    assert row["VB"] == pytest.approx(row["time"] * np.exp(LAW[0]))
    deeper = frame[(frame["DOC"] == 1.5) & (frame["feed"] == 0.25) & (frame["steel"] == 0)].iloc[0]
    assert deeper["VB"] / row["VB"] == pytest.approx(2 ** LAW[1])


def test_unlabelled_cuts_do_not_change_the_fit():
    """A cut without a measured VB is not read as zero wear."""
    frame = _frame()
    frame.loc[::3, "VB"] = np.nan
    assert fit_wear_law(frame) == pytest.approx(LAW, abs=1e-6)


def test_held_out_cases_do_not_reach_the_fit(tmp_path, simple_plan):
    """Absurd labels in a fold's held-out cases leave that fold's coefficients as they were."""
    frame = _frame()
    plan = simple_plan(Dataset("tidy", frame, ("time", "DOC", "feed", "steel")))
    poisoned = frame.copy()
    poisoned.loc[poisoned["case"].isin(plan.runs[0].test), "VB"] = 1e6
    found = []
    for name, table in (("honest", frame), ("poisoned", poisoned)):
        baselines.evaluate(plan, Dataset("tidy", table, ("time", "DOC", "feed", "steel")), tmp_path / name)
        from spinn.record import BaselineRecord, read_model

        records = {
            kind: read_model(tmp_path / name / "baselines" / f"{kind}.json", BaselineRecord)
            for kind in ("mean", "wear-law")
        }
        found.append({kind: record.folds[0].coefficients for kind, record in records.items()})
    assert found[0] == found[1]


@pytest.mark.parametrize(("name", "target"), [("mean", "thermal"), ("mean", "VB"), ("wear-law", "VB")])
def test_a_baseline_without_labels_is_refused_before_training(simple_plan, name, target):
    """A target that is measured in one tool alone has no mean, and no law, where this tool is held out."""
    frame = _frame().assign(thermal=1.0)
    frame[target] = frame[target].where(frame["case"] == "3")
    dataset = Dataset("tidy", frame, ("time", "DOC", "feed", "steel"))
    plan = simple_plan(dataset, baselines=[name])
    (fold,) = {run.fold for run in plan.runs if "3" in run.test}
    message = rf"baseline '{name}', fold {fold}: {target} is measured in none of the cases .* in \['3'\] alone"
    with pytest.raises(DataError, match=message):
        baselines.refuse_unfittable(plan, dataset)
    baselines.refuse_unfittable(plan, Dataset("tidy", _frame().assign(thermal=1.0), dataset.features))
