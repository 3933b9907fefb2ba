"""The folder of a growing run: it can be gone on from at every stage, and from nothing that was changed."""

from __future__ import annotations

import pandas as pd
import pytest

from spinn import record as record_module
from spinn.errors import RecordError, TamperedError
from spinn.journal import Journal, is_finished, stages_done
from spinn.record import (
    PREDICTION_COLUMNS,
    PROGRESS,
    RECORD,
    Environment,
    PhaseCost,
    PlannedRun,
    Record,
    Scaler,
    StageRecord,
    checkpoint_name,
    read_model,
)
from spinn.storage import digest_file

ENVIRONMENT = Environment(
    spinn="0",
    python="3",
    platform="x",
    processor="x",
    cores=1,
    memory_bytes=1,
    device="cpu",
    threads=1,
    packages={},
)


def _empty() -> Record:
    return Record(
        run_id="sparse-f00-s0",
        plan_digest="p",
        variant="sparse",
        fold=0,
        seed=0,
        cohort="c00",
        cohort_runs=("sparse-f00-s0",),
        environment=ENVIRONMENT,
        features=("time",),
        scaler=Scaler(
            fitted_on=("1",), feature_mean=(0.0,), feature_scale=(1.0,), target_mean=(0.0,), target_scale=(1.0,)
        ),
        physics_terms=(),
        stages=(),
        metrics=(),
        cost=(),
        latency=(),
        warnings=(),
        files={},
    )


def _add(journal: Journal, stage: int) -> None:
    entry = StageRecord(
        stage=stage,
        active=10,
        pruned=stage,
        kept_weights=10 - stage,
        parameters=12 - stage,
        nonzero_weights=10 - stage,
        reported_reduction=stage / 12,
        layers=(),
        epochs_run=1,
        selected_epoch=1,
        selected_by="validation",
        selected_loss=0.5,
        coefficients={},
        residuals={},
        checkpoint=checkpoint_name(stage),
        checkpoint_bytes=3,
    )
    cost = PhaseCost(
        key=f"c00/{stage}",
        phase="x",
        runs=1,
        seconds=1,
        epochs=1,
        flops=1,
        peak_memory_bytes=1,
        energy_joules=None,
        estimated_flops=1,
        estimated_seconds=1,
    )
    predictions = pd.DataFrame([(stage, "test", "1", 1, 1.0, "VB", 0.1, 0.2)], columns=list(PREDICTION_COLUMNS))
    journal.add_stage(entry, f"net{stage}".encode(), [{"stage": stage, "epoch": 1, "loss": 0.1}], predictions, cost)


@pytest.fixture
def finished(tmp_path):
    """A finished run of the dense network and two stages."""
    journal = Journal.start(tmp_path, _empty())
    for stage in range(3):
        _add(journal, stage)
    journal.finish((), None)
    return tmp_path


def test_a_run_stands_where_its_last_whole_stage_left_it(tmp_path):
    """Nothing, then the dense network, then each stage; finishing replaces the progress by the record."""
    assert stages_done(tmp_path) == -1
    journal = Journal.start(tmp_path, _empty())
    for stage in range(3):
        _add(journal, stage)
        assert stages_done(tmp_path) == stage
    assert (tmp_path / PROGRESS).exists()
    assert not (tmp_path / RECORD).exists()
    journal.finish((), None)
    assert (tmp_path / RECORD).exists()
    assert not (tmp_path / PROGRESS).exists()


def test_a_record_names_the_digest_of_each_of_its_files(finished):
    """Every file beside the record is in it, with the sha256 of its bytes."""
    record = read_model(finished / RECORD, Record)
    beside = {entry.name for entry in finished.iterdir()} - {RECORD}
    assert set(record.files) == beside
    assert all(digest_file(finished / name) == digest for name, digest in record.files.items())


def test_rolling_back_and_going_on_gives_the_same_bytes(finished):
    """A run rolled back to stage 1 and finished again ends with the tables it had."""
    before = {entry.name: entry.read_bytes() for entry in finished.iterdir()}
    journal = Journal.read(finished, "p", 1)
    journal.roll_back(ENVIRONMENT)
    assert stages_done(finished) == 1
    assert [stage.stage for stage in journal.record.stages] == [0, 1]
    assert {metric.stage for metric in journal.record.metrics} == {0, 1}
    _add(journal, 2)
    journal.finish((), None)
    assert before == {entry.name: entry.read_bytes() for entry in finished.iterdir()}


def test_what_a_killed_stage_left_over_is_ignored(finished):
    """Rows and a checkpoint beyond the stages that the progress names do not survive a restart."""
    Journal.read(finished, "p", 1).roll_back(ENVIRONMENT)
    ahead = pd.DataFrame([{"stage": 2, "epoch": 1, "loss": 9.0}])
    pd.concat([pd.read_csv(finished / "history.csv"), ahead]).to_csv(finished / "history.csv", index=False)
    assert Journal.read(finished, "p", 1).history["stage"].max() == 1


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("survives", range(4))
def test_a_rollback_that_is_killed_anywhere_can_be_repeated(finished, monkeypatch, survives):
    """After 0, 1, 2 or 3 of its writes the folder reads as the run at stage 1 or later, never as a damaged one."""
    written = []

    def write(path, content, sound=record_module.write_atomic):
        if len(written) == survives:
            raise _KilledError
        written.append(path.name)
        sound(path, content)

    monkeypatch.setattr("spinn.journal.write_atomic", write)
    monkeypatch.setattr("spinn.record.write_atomic", write)
    journal = Journal.read(finished, "p", 1)
    if survives < 3:
        with pytest.raises(_KilledError):
            journal.roll_back(ENVIRONMENT)
    else:
        journal.roll_back(ENVIRONMENT)
        assert written == ["progress.json", "history.csv", "predictions.csv"]
    monkeypatch.undo()
    assert not (finished / RECORD).exists()
    again = Journal.read(finished, "p", 1)
    assert again.record.model_copy(update={"seal": ""}) == journal.record.model_copy(update={"seal": ""})
    assert (len(again.history), len(again.predictions)) == (2, 2)


def test_another_environment_is_warned_of(finished):
    """A run that goes on with other threads says so; one that does not change says nothing."""
    journal = Journal.read(finished, "p", 1)
    journal.roll_back(ENVIRONMENT)
    assert journal.record.warnings == ()
    journal.roll_back(ENVIRONMENT.model_copy(update={"threads": 64}))
    assert journal.record.warnings == ("stages after 1 ran in another environment than the record's: threads",)


@pytest.mark.parametrize("name", ["history.csv", "predictions.csv", RECORD, "dense.safetensors", "stage-1.safetensors"])
def test_nothing_that_was_changed_is_gone_on_from(finished, name):
    """One changed digit in a table, the record or a checkpoint, and the restart refuses it by name."""
    content = (finished / name).read_bytes()
    changed = content.replace(b"0.1", b"0.2", 1) if b"0.1" in content else content.replace(b"e", b"f", 1)
    if name == RECORD:
        changed = content.replace(b'"seconds": 1.0', b'"seconds": 9.0', 1)
    assert changed != content
    (finished / name).write_bytes(changed)
    with pytest.raises(TamperedError, match=name.replace(".", r"\.")):
        Journal.read(finished, "p", 1)


def test_a_deleted_checkpoint_is_named(finished):
    """A checkpoint that is gone is bad input, with the stage to go back to."""
    (finished / checkpoint_name(2)).unlink()
    with pytest.raises(RecordError, match=r"stage-2\.safetensors: no such file.* --from-stage 1"):
        Journal.read(finished, "p", 2)
    Journal.read(finished, "p", 1)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n"])
def test_a_table_that_is_none_is_refused(finished, content):
    """An empty or foreign file in a table's place is bad input, in one line."""
    (finished / "predictions.csv").write_bytes(content)
    with pytest.raises(RecordError, match=r"predictions\.csv: not the table that was written"):
        Journal.read(finished, "p", 1)


def test_a_run_of_another_plan_is_refused(finished):
    """Records are never mixed between plans."""
    assert is_finished(finished, "p")
    assert not is_finished(finished, "q")
    with pytest.raises(RecordError, match="another plan"):
        Journal.read(finished, "q", 1)


def test_a_record_that_is_none_is_refused(finished):
    """A broken record is not taken for a finished run."""
    (finished / RECORD).write_text("{")
    with pytest.raises(RecordError, match=r"record\.json: not a record"):
        is_finished(finished, "p")


def test_the_dense_network_can_begin_another_variant(finished, tmp_path_factory):
    """What is shared is copied with its cost; the copy is a run of its own, at stage 0."""
    folder = tmp_path_factory.mktemp("other")
    other = PlannedRun(
        run_id="other-f00-s0", variant="other", fold=0, seed=0, cohort="c00", train=("1",), validation=(), test=()
    )
    Journal.read(finished, "p", 0).copy_dense(other, [other], folder)
    copy, source = Journal.read(folder, "p", 0), Journal.read(finished, "p", 0)
    assert (copy.record.run_id, copy.record.variant) == (other.run_id, "other")
    assert copy.record.cohort_runs == (other.run_id,)
    assert copy.record.cost == source.record.cost
    assert (folder / checkpoint_name(0)).read_bytes() == (finished / checkpoint_name(0)).read_bytes()
