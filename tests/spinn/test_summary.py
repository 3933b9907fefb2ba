"""The report after a run: every figure that MISSION asks for is in it, and each is the records' own."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from random import Random

import pytest
from hostile.wounds import near_json
from hypothesis import given, settings
from hypothesis import strategies as st

from spinn import experiment
from spinn.errors import RecordError
from spinn.summary import summary

FILE = """
name = "tiny"
seeds = [0]
layers = [18, 8, 6, 2]
[split]
kind = "grouped"
folds = 2
[dense]
epochs = 3
[physics]
wear_rate = 0.1
[[variants]]
name = "sparse"
pruner = "global-magnitude"
stages = [{ ratio = "0.50", epochs = 2, learning_rate = 1e-3 }]
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished folder of runs of a tiny experiment."""
    folder = tmp_path_factory.mktemp("summary")
    (folder / "tiny.toml").write_text(FILE)
    return experiment.run(folder / "tiny.toml", out=folder / "runs", device="cpu")


def _records(runs) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(runs.glob("runs/*/record.json"))]


def test_the_summary_says_what_the_records_say(runs):
    """Counts, sparsity by both denominators, file size and time are those of the records."""
    text, records = summary(runs), _records(runs)
    last = records[0]["stages"][-1]
    assert "2 of 2 runs finished" in text
    assert f"parameters kept by the masks: {last['parameters']:,}" in text
    assert f"weights not zero at the end: {last['nonzero_weights']:,}" in text
    assert "weight sparsity, of 204 weights: 50.00 %" in text
    assert f"reduction, of 220 parameters: {100 * (1 - last['parameters'] / 220):.2f} %" in text
    seconds = sum({cost["key"]: cost["seconds"] for record in records for cost in record["cost"]}.values())
    assert f"training time: {seconds:.1f} s" in text
    assert len(re.findall(r"held-out R² of (VB|thermal): dense -?\d", text)) == 2
    assert "overall, the mean over VB, thermal" in text
    assert "warnings: none" in text


def test_an_unfinished_run_is_not_counted_as_finished(runs, tmp_path):
    """While one run is under way the summary says so, and reports the others."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    folder = next(copy.glob("runs/*"))
    (folder / "record.json").rename(folder / "progress.json")
    assert "1 of 2 runs finished, 1 under way" in summary(copy)


def test_a_warning_of_the_records_is_in_the_summary(runs, tmp_path):
    """What a run warned of is counted and printed."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    for path in copy.glob("runs/*/record.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"warnings": ["the heat term is off: no power"]}))
    assert "the heat term is off: no power (2 runs)" in summary(copy)


def test_what_is_left_of_the_progress_beside_a_record_is_not_under_way(runs, tmp_path):
    """A run with a record is finished, whatever lies beside it."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    folder = next(copy.glob("runs/*"))
    shutil.copy(folder / "record.json", folder / "progress.json")
    text = summary(copy)
    assert "2 of 2 runs finished" in text
    assert "under way" not in text


FOREIGN = {
    "empty": ("", "not the predictions of a run"),
    "foreign": ("colour,shape\nred,round\n", "column 'stage' is missing"),
    "text": ("stage,split,case,run,time,target,measured,prediction\n0,test,1,1,1,VB,x,y\n", "not the predictions"),
    "header alone": ("stage,split,case,run,time,target,measured,prediction\n", "no rows"),
    "half a line": ('stage,split\n0,test\n0,"test', "not the predictions of a run"),
    "missing": (None, "no such file, though the run is finished"),
}


@pytest.mark.parametrize("fault", FOREIGN)
def test_predictions_that_are_none_are_one_line_with_the_mend(runs, tmp_path, fault):
    """A file of predictions that is missing, empty or another one is named, with what to do about it."""
    content, message = FOREIGN[fault]
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    path = next(copy.glob("runs/*/predictions.csv"))
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecordError, match=rf"predictions\.csv: {message}.*; restore the file, or run again") as caught:
        summary(copy)
    assert "\n" not in str(caught.value)


def test_a_finished_run_without_a_stage_is_refused(runs, tmp_path):
    """A record that says nothing of any network is no finished run."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    path = next(copy.glob("runs/*/record.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stages": []}))
    with pytest.raises(RecordError, match=r"record\.json: stages = \[\]: .* --fresh"):
        summary(copy)


def test_a_plan_without_the_ledger_of_a_variant_is_refused(runs, tmp_path):
    """What a variant was to be left with is in no plan that was cut."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    path = copy / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ledger": {}}))
    with pytest.raises(RecordError, match=r"plan\.json: ledger: no stage of variant .*; restore the file"):
        summary(copy)


@settings(deadline=None)
@given(seed=st.integers(0, 2**64 - 1))
def test_any_value_of_its_kind_is_told_or_refused(runs, tmp_path_factory, seed):
    """A plan or a record with one other value gives a summary or is bad input; the files are as they were after it."""
    random = Random(seed)
    whole = random.choice([runs / "plan.json", *sorted(runs.glob("runs/*/record.json"))])
    broken = tmp_path_factory.getbasetemp() / "near"
    shutil.copytree(runs, broken, dirs_exist_ok=True)
    (broken / whole.relative_to(runs)).write_text(json.dumps(near_json(random, whole.read_bytes())))
    with suppress(RecordError):
        assert "runs planned" in summary(broken)


def test_a_plan_without_targets_is_refused(runs, tmp_path):
    """A network predicts something."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    plan = json.loads((copy / "plan.json").read_text())
    plan["dataset"]["targets"] = []
    (copy / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(RecordError, match=r"plan\.json: dataset\.targets: .* at least 1 item"):
        summary(copy)


def test_what_a_record_calls_its_costs_moves_no_terminal(runs, tmp_path):
    """Letters that do not print are spelled; the source of the data that has one is refused."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    path = next(copy.glob("runs/*/record.json"))
    record = json.loads(path.read_text())
    record["cost"][0]["key"] = "\x1b[2Jall runs hold"
    path.write_text(json.dumps(record))
    assert "  \\x1b[2Jall runs hold: " in summary(copy)
    plan = json.loads((copy / "plan.json").read_text())
    plan["dataset"]["source"] = "\x1b[2J"
    (copy / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(RecordError, match=r"dataset\.source = .*: a letter in it is not seen, U\+001B"):
        summary(copy)


def test_a_target_without_held_out_labels_has_no_score(runs, tmp_path):
    """Where no held-out cut has a label, the score is not a number, and nothing breaks."""
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    for path in copy.glob("runs/*/predictions.csv"):
        path.write_text(path.read_text().replace(",test,", ",train,"))
    assert "held-out R² of VB: dense nan, after the last stage nan" in summary(copy)
