"""The folder of a growing run: it can be gone on from at every stage, and from nothing that was changed."""

from __future__ import annotations

import pandas as pd
import pytest

from spinn.errors import RecordError, TamperedError
from spinn.journal import Journal, stages_done
from spinn.record import (
    PREDICTION_COLUMNS,
    PROGRESS,
    RECORD,
    Environment,
    PhaseCost,
    Record,
    Scaler,
    StageRecord,
    checkpoint_name,
    digest_file,
    read_model,
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
        environment=Environment(
            spinn="0",
            python="3",
            platform="x",
            processor="x",
            cores=1,
            memory_bytes=1,
            device="cpu",
            threads=1,
            packages={},
        ),
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
        checkpoint=checkpoint_name(stage),
        checkpoint_bytes=3,
    )
    cost = PhaseCost(
        key=f"c00/{stage}", phase="x", runs=1, seconds=1, epochs=1, flops=1, peak_memory_bytes=1, energy_joules=None
    )
    predictions = pd.DataFrame([(stage, "test", "1", 1, 1.0, "VB", 0.1, 0.2)], columns=list(PREDICTION_COLUMNS))
    journal.add_stage(entry, f"net{stage}".encode(), [{"stage": stage, "epoch": 1, "loss": 0.1}], predictions, cost)


@pytest.fixture
def finished(tmp_path):
    """A finished run of the dense network and two stages."""
    journal = Journal.start(tmp_path, _empty())
    for stage in range(3):
        _add(journal, stage)
    journal.finish(())
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
    journal.finish(())
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
    journal = Journal.restore(finished, "p", 1)
    assert stages_done(finished) == 1
    assert [stage.stage for stage in journal.record.stages] == [0, 1]
    assert {metric.stage for metric in journal.record.metrics} == {0, 1}
    _add(journal, 2)
    journal.finish(())
    assert before == {entry.name: entry.read_bytes() for entry in finished.iterdir()}


def test_what_a_killed_stage_left_over_is_ignored(finished):
    """Rows and a checkpoint beyond the stages that the progress names do not survive a restart."""
    journal = Journal.restore(finished, "p", 1)
    ahead = pd.DataFrame([{"stage": 2, "epoch": 1, "loss": 9.0}])
    pd.concat([journal.history, ahead]).to_csv(finished / "history.csv", index=False)
    again = Journal.restore(finished, "p", 1)
    assert again.history["stage"].max() == 1


def test_a_changed_checkpoint_is_never_gone_on_from(finished):
    """One changed byte, and the restart names the file and how to make it again."""
    (finished / checkpoint_name(1)).write_bytes(b"net_")
    with pytest.raises(TamperedError, match=r"stage-1\.safetensors: .* --from-stage 0"):
        Journal.restore(finished, "p", 1)


def test_a_deleted_checkpoint_is_named(finished):
    """A checkpoint that is gone is bad input, with the stage to go back to."""
    (finished / checkpoint_name(2)).unlink()
    with pytest.raises(RecordError, match=r"stage-2\.safetensors: no such file.* --from-stage 1"):
        Journal.restore(finished, "p", 2)


def test_a_run_of_another_plan_is_refused(finished):
    """Records are never mixed between plans."""
    with pytest.raises(RecordError, match="another plan"):
        Journal.restore(finished, "q", 1)
