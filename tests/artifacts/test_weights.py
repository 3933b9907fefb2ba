"""The table of physics weights: each held-out case's choice is its own folds', and what it gives is made of those."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from artifacts.results import Results
from artifacts.stats import r2
from artifacts.weights import CHOSEN, physics_weights
from spinn.config import PhysicsConfig

OWN = PhysicsConfig(wear_rate=7.0)


@pytest.fixture
def weighed(found: Results) -> Results:
    """The second variant has weights of its own, predicts without error, and looks best in every fold but the first."""
    first, second = found.plan.experiment.variants
    variants = (first, second.model_copy(update={"physics": OWN}))
    experiment = found.plan.experiment.model_copy(update={"variants": variants})
    records = []
    for record in found.records:
        better = (record.variant == first.name) == (record.fold == 0)
        dense = record.stages[0].model_copy(update={"selected_loss": 0.1 if better else 0.2})
        records.append(record.model_copy(update={"stages": (dense, *record.stages[1:])}))
    table = found.predictions.copy()
    perfect = (table["variant"] == second.name) & (table["stage"] == 0)
    table.loc[perfect, "prediction"] = table.loc[perfect, "measured"]
    plan = found.plan.model_copy(update={"experiment": experiment})
    return replace(found, plan=plan, records=tuple(records), predictions=table)


def test_experiments_of_one_physics_have_no_such_table(found: Results) -> None:
    """There is nothing to choose."""
    assert physics_weights(found) is None


def test_runs_without_validation_cases_choose_nothing(weighed: Results) -> None:
    """Without a validation loss in every run there is no choice to show."""
    stage = weighed.records[0].stages[0].model_copy(update={"selected_loss": None})
    record = weighed.records[0].model_copy(update={"stages": (stage, *weighed.records[0].stages[1:])})
    assert physics_weights(replace(weighed, records=(record, *weighed.records[1:]))) is None


def test_each_case_is_chosen_for_by_its_own_folds(weighed: Results) -> None:
    """One fold chooses the first variant, the others the second; the last line has the error of that one fold alone."""
    table = physics_weights(weighed)
    assert table is not None
    frame = table.frame.set_index("variant")
    first, second = weighed.plan.experiment.variants
    label = weighed.label
    folds = len({run.fold for run in weighed.plan.runs})
    assert frame["chosen for cases"][[label(first.name), label(second.name)]].tolist() == [1, folds - 1]
    assert frame["weights"][label(second.name)] == "wear_rate 7"
    held = weighed.held(first.name, 0, "VB")
    assert held is not None
    test = next(run.test for run in weighed.plan.runs if run.fold == 0)
    here = np.isin(held.case, test)[:, None]
    mixed = np.where(here, held.prediction, held.measured[:, None])
    expected = np.mean([r2(held.measured, column) for column in mixed.T])
    column = "R², flank wear VB"
    assert frame[column][CHOSEN] == pytest.approx(expected)
    assert frame[column][label(second.name)] == pytest.approx(1.0)
    assert frame[column][label(first.name)] < expected < 1
    losses = [0.1 if fold else 0.2 for fold in range(folds)]
    assert frame["validation loss"][label(second.name)] == pytest.approx(np.mean(losses))
