"""spinn.estimate: what a plan will cost, before it is run."""

from __future__ import annotations

from pathlib import Path

import pytest

import spinn.data
from spinn import cost, estimate, experiment, schedule_check, task
from spinn.record import Plan
from spinn.schedule import Criteria
from spinn.task import Task

FILE = """
name = "tiny"
seeds = [1]
layers = [18, 8, 6, 2]
split = {kind = "grouped", folds = 2}
dense = {epochs = 7}
physics = {wear_rate = 0.1, initial = 0.1}
[[variants]]
name = "weights"
pruner = "global-magnitude"
stages = [{ratio = ".5", epochs = 3, learning_rate = 1e-3}, {ratio = ".5", epochs = 0, learning_rate = 1e-3}]
[[variants]]
name = "neurons"
pruner = "neurons-incoming"
stages = [{ratio = ".5", epochs = 5, learning_rate = 1e-3}]
[[variants]]
name = "longer"
pruner = "global-magnitude"
dense = {epochs = 11}
stages = [{ratio = ".5", epochs = 5, learning_rate = 1e-3}]
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Task]:
    """A plan of two runs, and the data of its one cohort."""
    path: Path = tmp_path_factory.mktemp("tiny") / "tiny.toml"
    path.write_text(FILE)
    dataset = spinn.data.load("simulator")
    plan = experiment.make_plan(experiment.load(path), dataset, ())
    return plan, task.build(dataset, [run for run in plan.runs if run.variant == "weights"], plan.experiment.physics)


def test_a_phase_takes_its_epochs_at_the_widths_that_it_trains(planned):
    """Masked weights are multiplied all the same; removed neurons are not."""
    plan, built = planned
    rows, tangent_rows = built.epoch_rows(512)
    weights, neurons, longer = plan.experiment.variants
    assert estimate.phase_flops(plan, built, weights) == cost.training_flops((18, 8, 6, 2), rows, tangent_rows, 7)
    assert estimate.phase_flops(plan, built, longer) == cost.training_flops((18, 8, 6, 2), rows, tangent_rows, 11)
    assert estimate.phase_flops(plan, built, weights, 1) == cost.training_flops((18, 8, 6, 2), rows, tangent_rows, 3)
    assert estimate.phase_flops(plan, built, weights, 2) == 0
    assert estimate.phase_flops(plan, built, neurons, 1) == cost.training_flops((18, 4, 3, 2), rows, tangent_rows, 5)


def test_the_schedule_check_has_the_cost_of_a_row(planned, tmp_path):
    """Times the rows of an epoch, derivatives among them, it is what the phases of a variant take together."""
    plan, built = planned
    path = tmp_path / "tiny.toml"
    path.write_text(FILE)
    rows = sum(built.epoch_rows(512))
    checks = schedule_check.check_experiment(path, Criteria())
    for variant in plan.experiment.variants:
        phases = range(len(variant.stages) + 1)
        whole = sum(estimate.phase_flops(plan, built, variant, stage) for stage in phases)
        assert checks[variant.name].flops_per_row == whole / rows


def test_a_cohort_takes_its_dense_phase_once(planned):
    """However many variants start from it."""
    plan, built = planned
    weights, neurons, longer = plan.experiment.variants
    phases = [(weights, 0), (weights, 1), (weights, 2), (neurons, 1)]
    each = sum(estimate.phase_flops(plan, built, *phase) for phase in phases)
    assert estimate.cohort_flops(plan, built, (weights, neurons)) == 2 * each
    own = estimate.phase_flops(plan, built, longer) + estimate.phase_flops(plan, built, longer, 1)
    assert estimate.cohort_flops(plan, built, (longer,)) == 2 * own


def test_the_rate_is_that_of_this_machine(planned):
    """A positive number, and no trace in the data."""
    plan, built = planned
    before = built.train.x.clone()
    assert estimate.flops_per_second(plan, built, plan.experiment.variants[0]) > 0
    assert built.train.x.equal(before)
