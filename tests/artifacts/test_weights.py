"""The table of physics weights: a case has the choice of its own fold; without validation nothing is chosen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from artifacts.results import Results
from artifacts.stats import bootstrap_r2, paired_r2
from artifacts.weights import physics_weights
from spinn.config import PhysicsConfig

OWN = PhysicsConfig(wear_rate=7.0)


@pytest.fixture
def weighed(found: Results) -> Results:
    """The second variant has weights of its own, and ends better in every fold but the first; it began worse."""
    first, second = found.plan.experiment.variants
    variants = (first, second.model_copy(update={"physics": OWN}))
    experiment = found.plan.experiment.model_copy(update={"variants": variants})
    fold = found.history["run_id"].map({record.run_id: record.fold for record in found.records})
    better = (found.history["variant"] == first.name) == (fold == 0)
    last = found.history["epoch"] == 3
    losses = better.map({True: 0.1, False: 0.2}).where(last, better.map({True: 0.9, False: 0.05}))
    plan = found.plan.model_copy(update={"experiment": experiment})
    return replace(found, plan=plan, history=found.history.assign(validation_loss=losses))


def test_experiments_of_one_physics_have_no_such_table(found: Results) -> None:
    """There is nothing to choose."""
    assert physics_weights(found) is None


def test_each_case_is_chosen_for_by_its_own_fold_after_the_last_epoch(weighed: Results) -> None:
    """One fold chooses the first variant, the others the second, whatever an earlier epoch had."""
    table = physics_weights(weighed)
    assert table is not None
    frame = table.frame.set_index("variant")
    first, second = (weighed.label(variant.name) for variant in weighed.plan.experiment.variants)
    folds = len({run.fold for run in weighed.plan.runs})
    assert frame["chosen for cases"][[first, second]].tolist() == [1, folds - 1]
    assert frame["weights"][second] == "wear_rate 7"
    assert frame["validation loss"][second] == pytest.approx((0.2 + 0.1 * (folds - 1)) / folds)
    assert frame["validation loss"][first] == pytest.approx((0.1 + 0.2 * (folds - 1)) / folds)
    assert frame["least in any epoch"][first] == pytest.approx((0.1 + 0.05 * (folds - 1)) / folds)


def test_without_validation_cases_the_table_has_the_accuracy_of_each(weighed: Results) -> None:
    """The same numbers as for any predictor, dense and after the last stage; nothing is chosen."""
    runs = tuple(run.model_copy(update={"validation": ()}) for run in weighed.plan.runs)
    found = replace(weighed, plan=weighed.plan.model_copy(update={"runs": runs}))
    table = physics_weights(found)
    assert table is not None
    assert "chosen for cases" not in table.frame
    frame = table.frame.set_index("variant")
    for variant in weighed.variants:
        for when, stage in (("dense", 0), ("last stage", 2)):
            held = weighed.held(variant, stage, "VB")
            assert held is not None
            assert frame[f"R², flank wear VB, {when}"][weighed.label(variant)] == bootstrap_r2([held]).value
    first, second = weighed.variants
    column = f"R², flank wear VB, less {weighed.label(first)}"
    ours, other = (weighed.held(name, 2, "VB") for name in (second, first))
    assert ours is not None
    assert other is not None
    change = paired_r2([ours], [other])
    row = frame.loc[weighed.label(second)]
    assert (row[column], row[f"{column} low"], row[f"{column} high"]) == (change.value, change.low, change.high)
    assert frame[column][weighed.label(first)] is None
    assert all(number.expression for number in table.numbers().values())
