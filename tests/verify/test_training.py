"""Every stage is trained as it was planned: another rate, or other epochs, are found by `trained-as-planned`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinn import experiment
from spinn.record import HISTORY
from verify.audit import audit
from verify.faults.mutant import EXPERIMENT
from verify.training import epochs_due


def first(runs) -> str:
    """Id of a sound run."""
    return runs.names("sparse")[0]


@pytest.mark.parametrize("variant", ["sparse", "first-version"])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_other_learning_rate_is_found(runs, variant: str, stage: int) -> None:
    """One epoch with another rate than its stage's is a finding, in a declared run as well."""

    def edit(table) -> None:
        table.loc[(table["stage"] == stage) & (table["epoch"] == 2), "learning_rate"] *= 1.001

    runs.edit_table(runs.names(variant)[0], HISTORY, edit)
    assert runs.failed() == {"trained-as-planned"}


@pytest.mark.parametrize(("key", "value"), [("learning_rate", 2e-3), ("epochs", 5)])
def test_other_plan_than_was_trained_is_found(runs, key: str, value: float) -> None:
    """Twice the rate, or one epoch more, in the plan of a stage is not what the records were trained with."""
    runs.edit_plan(lambda plan: plan["experiment"]["variants"][0]["stages"][1].update({key: value}))
    assert runs.failed() == {"trained-as-planned"}
    errors = [finding for finding in runs.audit().findings if finding.severity == "error"]
    assert {finding.run_id for finding in errors} == set(runs.names("sparse"))


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda table: table.iloc[1:], {"trained-as-planned"}),
        (lambda table: table.assign(epoch=table["epoch"].replace(2, 1)), {"trained-as-planned"}),
        (lambda table: table.assign(epoch=table["epoch"].replace(4, 5)), {"trained-as-planned"}),
        (lambda table: table.iloc[[1, 0, *range(2, len(table))]], {"trained-as-planned"}),
        (lambda table: table.assign(stage=table["stage"].where(table.index > 0, 7)), {"trained-as-planned"}),
    ],
    ids=["left out", "twice", "gap", "order", "stage"],
)
def test_epochs_out_of_order_are_found(runs, edit, found: set[str]) -> None:
    """history.csv has the epochs 1, 2, 3, … of each stage, all that are recorded, and nothing else."""
    runs.edit_table(first(runs), HISTORY, edit)
    assert runs.failed() == found


def test_dense_stage_that_ends_before_its_patience_is_found(runs) -> None:
    """A dense phase may be shorter than planned only by its patience: one epoch after the best is not 50, and is 1."""
    for run_id in [run.run_id for run in runs.plan.runs]:
        runs.edit_record(run_id, lambda record: record["stages"][0].update(epochs_run=3))
        runs.edit_record(run_id, lambda record: record["cost"][0].update(epochs=3, flops=750))
        runs.edit_table(run_id, HISTORY, lambda table: table[(table["stage"] > 0) | (table["epoch"] < 4)])
    assert runs.failed() == {"trained-as-planned"}


def test_dense_stage_that_goes_on_past_its_patience_is_found(runs) -> None:
    """The best epoch is the third of four: a patience of 1 ends after the fourth, and so does the plan."""
    runs.edit_plan(lambda plan: plan["experiment"]["dense"].update(patience=1, epochs=9))
    assert runs.failed() == set()
    runs.edit_plan(lambda plan: plan["experiment"]["dense"].update(patience=2, epochs=9))
    assert runs.failed() == {"trained-as-planned"}


@settings(deadline=None, max_examples=100)
@given(
    losses=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    patience=st.integers(1, 6),
    planned=st.integers(1, 30),
)
def test_epochs_due_is_where_patience_first_runs_out(losses: list[int], patience: int, planned: int) -> None:
    """The first epoch with `patience` epochs behind it, none of them better than all before; else the planned end."""
    stops = [
        e for e in range(patience + 1, min(len(losses), planned) + 1)
        if min(losses[e - patience : e]) >= min(losses[: e - patience])
    ]  # fmt: skip
    assert epochs_due(losses, planned, patience) == (stops[0] if stops else planned)
    assert epochs_due(losses, planned, None) == planned


STOPPING = (
    EXPERIMENT.replace("epochs = 3", "epochs = 40\npatience = 3")
    + """
[[variants]]
name = "first-version"
pruner = "first-version"
stages = [
    { ratio = "0.20", epochs = 2, learning_rate = 5e-3 },
    { ratio = "0.15", epochs = 0, learning_rate = 5e-3 },
]
expected_findings = ["schedule-reaches-target", "ledger-achieved", "masks-monotone", "resurrection"]
"""
)


def test_real_runs_that_stop_early_hold(tmp_path: Path) -> None:
    """What the trainer writes holds: dense phases that stop at different epochs, and a stage without any."""
    (tmp_path / "stopping.toml").write_text(STOPPING)
    folder = experiment.run(tmp_path / "stopping.toml", out=tmp_path / "runs", device="cpu")
    assert {finding.severity for finding in audit(folder, replay=True).findings} == {"note"}
