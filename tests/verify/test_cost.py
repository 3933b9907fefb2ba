"""Costs that can be counted again are: each wrong number is found, and by `cost-recomputed` alone."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from spinn.record import PLAN


def cohort(runs) -> list[str]:
    """Ids of the sound runs, all of one cohort."""
    return runs.names("sparse")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("runs", 3),
        ("epochs", 3),
        ("epochs", 5),
        ("seconds", -0.5),
        ("flops", 0),
        ("peak_memory_bytes", 0),
        ("energy_joules", -1.0),
        ("estimated_flops", 999),
        ("estimated_seconds", -1.0),
        ("estimated_seconds", 0.0),
        ("flops", 999),
        ("phase", "stage-2"),
    ],
)
def test_cost_that_cannot_be_is_found(runs, key: str, value: object) -> None:
    """A cost that the cohort's runs and epochs do not allow is a finding, even where all runs agree on it."""
    for run_id in cohort(runs):
        runs.edit_record(run_id, lambda record: record["cost"][1].update({key: value}))
    assert runs.failed() == {"cost-recomputed"}


@pytest.mark.parametrize("edit", [list.clear, list.pop, list.reverse], ids=["none", "one too few", "order"])
def test_every_stage_has_its_cost(runs, edit: Callable[[list], object]) -> None:
    """A cost that is left out, or out of its order, is a finding."""
    for run_id in cohort(runs):
        runs.edit_record(run_id, lambda record: edit(record["cost"]))
    assert runs.failed() == {"cost-recomputed"}


def test_costs_of_more_stages_than_are_planned_are_found(runs) -> None:
    """A plan from which the last stage was cut does not excuse the costs of it."""
    plan = json.loads((runs.path / PLAN).read_text())
    plan["experiment"]["variants"][0]["stages"].pop()
    (runs.path / PLAN).write_text(json.dumps(plan))
    assert "cost-recomputed" in runs.failed()


def test_runs_trained_together_share_their_cost(runs) -> None:
    """One run with other seconds than its cohort is a finding."""
    runs.edit_record(cohort(runs)[1], lambda record: record["cost"][0].update(seconds=0.25))
    assert runs.failed() == {"cost-recomputed"}


@pytest.mark.parametrize("model", [0, 1])
@pytest.mark.parametrize(
    ("key", "value"),
    [("file_bytes", 7), ("memory_bytes", 7), ("flops", 7), ("median_ms", 0.0), ("p95_ms", 0.03), ("repeats", 0)],
)
def test_latency_that_does_not_fit_its_network_is_found(runs, model: int, key: str, value: float) -> None:
    """Sizes and FLOPs are those of the checkpoint; a median lies above zero and below the 95 % mark."""
    runs.edit_record(cohort(runs)[0], lambda record: record["latency"][model].update({key: value}))
    assert runs.failed() == {"cost-recomputed"}


def test_one_run_of_a_cohort_is_timed(runs) -> None:
    """Any run may speak for its cohort; none at all, or half a pair, is a finding."""
    for run_id in cohort(runs)[:-1]:
        runs.edit_record(run_id, lambda record: record["latency"].clear())
    assert runs.failed() == set()
    runs.edit_record(cohort(runs)[-1], lambda record: record["latency"].pop())
    assert runs.failed() == {"cost-recomputed"}
    runs.edit_record(cohort(runs)[-1], lambda record: record["latency"].clear())
    assert runs.failed() == {"cost-recomputed"}
