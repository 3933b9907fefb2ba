"""Records become frames only if their audit holds; pooled predictions have each cut once."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts import results
from spinn.errors import RecordError, TamperedError
from verify.audit import audit
from verify.findings import Finding, Verdict


def test_a_refused_record_gives_no_number(runs: Path):
    """A changed prediction fails the audit, and nothing is read from the folder."""
    path = next((runs / "runs").iterdir()) / "predictions.csv"
    path.write_text(path.read_text().replace("0.1", "0.2", 1))
    verdict = audit(runs)
    assert not verdict.holds
    with pytest.raises(results.RefusedError, match="no number is printed"):
        results.read(runs, verdict)


def test_claims_changed_after_the_plan_are_refused(runs: Path):
    """A threshold that was moved after the runs were planned is noticed, whatever the audit says."""
    path = runs / "claims.json"
    path.write_text(path.read_text().replace("0.75", "0.25"))
    with pytest.raises(TamperedError, match="not the claims that the plan was made with"):
        results.read(runs, Verdict(()))


def test_each_held_out_cut_once_for_each_seed(found: results.Results):
    """27 labelled cuts of VB, two seeds; the prediction is the one of the fold that held the case out."""
    held = found.held("sparse", 0, "VB")
    assert held is not None
    assert held.prediction.shape == (27, 2)
    assert set(held.case) == set(found.plan.dataset.cases)
    frame = found.predictions
    one = frame[(frame["variant"] == "sparse") & (frame["stage"] == 0) & (frame["seed"] == 1) & (frame["case"] == "1")]
    one = one[(one["target"] == "VB") & (one["split"] == "test")].sort_values("run")
    assert held.prediction[held.case == "1", 1] == pytest.approx(one.dropna()["prediction"].to_numpy())


def test_a_cut_predicted_twice_is_refused(found: results.Results):
    """Pooled R² is not computed over a cut that two folds held out."""
    rows = found.predictions[found.predictions["split"] == "test"]
    rows = rows[(rows["variant"] == "sparse") & (rows["stage"] == 0) & (rows["target"] == "VB")]
    with pytest.raises(RecordError, match="predicted twice"):
        results._held(rows.iloc[[0, 0, 1]], "here")
    with pytest.raises(RecordError, match="held out for one seed and not for another"):
        results._held(rows.dropna().sort_values(["seed", "case"]).iloc[:-1], "here")


def test_shared_work_is_counted_once(found: results.Results):
    """The dense phase that both variants share is one row; its time is not added up over the runs."""
    costs = found.costs
    assert costs["key"].is_unique
    dense = costs[costs["phase"] == "dense"]
    assert list(dense["variants"]) == [("sparse", "first-version")] * len(dense)


def test_variants_with_declared_findings_are_marked(found: results.Results):
    """The first version carries the mark and a footnote that names what was found; the sound one does not."""
    assert found.primary == "sparse"
    assert found.label("sparse") == "sparse"
    assert found.label("first-version") == "first-version †"
    assert found.footnotes[0].startswith("† first-version: declared in the plan and found by the audit")
    assert "resurrection" in found.footnotes[0]


def test_sources_name_every_file_of_a_run(found: results.Results):
    """A number's source carries a digest over the record, history and predictions of its variant's runs."""
    files = found.files("sparse")
    assert len(files) == 3 * 8
    assert all(path.split("/")[1].startswith("sparse-") for path in files)
    assert set(found.files("baselines/wear-law")) == {"baselines/wear-law.csv", "baselines/wear-law.json"}
    assert found.source("sparse")[0].startswith("sparse sha256:")


def test_broken_files_are_one_clear_error(runs: Path):
    """A missing, an empty and a column-less file each name themselves."""
    folder = next((runs / "runs").iterdir())
    for name, content, message in (
        ("history.csv", "", "not a CSV file"),
        ("history.csv", "a,b\n1,2\n", "column 'stage' is missing"),
        ("predictions.csv", None, "no such file"),  # whether a history may be left out, the audit says
    ):
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_text(content)
        with pytest.raises(RecordError, match=message):
            results.read(runs, Verdict((Finding("digests", "note", ""),)))
    (runs / "datacard.json").write_text("{")
    (folder / "history.csv").write_text("stage,epoch,loss\n0,1,1\n")
    with pytest.raises(RecordError, match=r"datacard\.json: not JSON"):
        results.read(runs, Verdict(()))
