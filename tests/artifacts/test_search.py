"""The search for settings: a case has the choice of its own fold; without validation cases nothing is chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from artifacts import stats
from artifacts.results import Results, read
from artifacts.search import _chosen_without, by_settings, last_losses, law_losses, search
from artifacts.stats import bootstrap_r2, paired_r2
from spinn import experiment
from spinn.config import OwnDense, PhysicsConfig
from spinn.record import DATASET
from spinn.wear_laws import wear_law
from verify.audit import audit
from verify.faults.mutant import EXPERIMENT

SEARCHED = EXPERIMENT.replace("initial = 0.1", "law = 0.5").replace(
    "seeds = [0, 1]", "seeds = [0, 1]\ncorrection = 0.3"
)
SEARCHED += """
[[variants]]
name = "less"
pruner = "global-magnitude"
correction = 0.1
stages = [{ ratio = "0.44", epochs = 1, learning_rate = 5e-3 }]
"""
OWN = {"physics": PhysicsConfig(wear_rate=7.0), "dense": OwnDense(learning_rate=5e-4), "sensors": "none"}


@pytest.fixture
def searched(found: Results) -> Results:
    """The second variant has settings of its own, and ends better in every fold but the first; it began worse."""
    first, second = found.plan.experiment.variants
    variants = (first, second.model_copy(update=OWN))
    experiment = found.plan.experiment.model_copy(update={"variants": variants})
    fold = found.history["run_id"].map({record.run_id: record.fold for record in found.records})
    better = (found.history["variant"] == first.name) == (fold == 0)
    last = found.history["epoch"] == 3
    losses = better.map({True: 0.1, False: 0.2}).where(last, better.map({True: 0.9, False: 0.05}))
    plan = found.plan.model_copy(update={"experiment": experiment})
    return replace(found, plan=plan, history=found.history.assign(validation_loss=losses))


def unvalidated(results: Results) -> Results:
    """The same, of an experiment without validation cases."""
    runs = tuple(run.model_copy(update={"validation": ()}) for run in results.plan.runs)
    return replace(results, plan=results.plan.model_copy(update={"runs": runs}))


def test_experiments_of_one_setting_have_no_such_table(found: Results) -> None:
    """There is nothing to choose, and nothing to compare."""
    assert search(found) is None
    assert by_settings(unvalidated(found)) is None


def test_each_case_is_chosen_for_by_its_own_fold_after_the_last_epoch(searched: Results) -> None:
    """One fold chooses the first variant, the others the second, whatever an earlier epoch had."""
    assert by_settings(searched) is None
    table = search(searched)
    assert table is not None
    frame = table.frame.set_index("variant")
    first, second = (searched.label(variant.name) for variant in searched.plan.experiment.variants)
    folds = len({run.fold for run in searched.plan.runs})
    assert frame["chosen in folds"][[first, second]].tolist() == [1, folds - 1]
    assert frame["validation loss"][second] == pytest.approx((0.2 + 0.1 * (folds - 1)) / folds)
    assert frame["validation loss"][first] == pytest.approx((0.1 + 0.2 * (folds - 1)) / folds)
    assert frame["least in any epoch"][first] == pytest.approx((0.1 + 0.05 * (folds - 1)) / folds)


def test_a_case_has_no_part_where_it_would_validate(searched: Results) -> None:
    """What a case says as validation decides for the others, and not for itself."""
    frame = pd.DataFrame({"a": [0.0, 0.3, 0.3], "b": [0.2, 0.2, 0.2]})
    assert _chosen_without(frame, [("1",), ("2",), ("3",)]) == ["b", "a", "a"]
    table = search(searched)
    assert table is not None
    assert table.frame["chosen without the case"].sum() == len(
        {case for run in searched.plan.runs for case in run.validation}
    )


def test_the_law_alone_stands_beside_the_networks_that_correct_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Its mean square error on each run's validation cases, in the scale of that run; paired as the others are."""
    path = tmp_path_factory.mktemp("law")
    (path / "x.toml").write_text(SEARCHED)
    made = read(experiment.run(path / "x.toml", out=path / "runs", device="cpu"), audit(path / "runs"))
    data = pd.read_csv(path / "runs" / DATASET, dtype={"case": str})
    alone = made.plan.dataset.model_copy(update={"targets": ("VB",)})
    wear = replace(made, plan=made.plan.model_copy(update={"dataset": alone}))
    assert law_losses(made) is None, "thermal displacement has a part in the loss there, and none in the law"
    losses = law_losses(wear)
    assert losses is not None
    for record, run in zip(made.records, made.plan.runs, strict=True):
        cuts = data[data["case"].isin(run.validation) & data["VB"].notna()]
        law = record.scaler.law
        assert law is not None
        error = (wear_law(cuts, law.coefficients) - cuts["VB"]) / record.scaler.target_scale[0]
        assert losses[run.fold, run.seed] == pytest.approx(float((error**2).mean()), rel=1e-6)
    table = search(wear)
    assert table is not None
    row = table.frame.set_index("variant").loc["the law alone"]
    assert row["validation loss"] == pytest.approx(losses.groupby(level=0).mean().mean())
    best = last_losses(wear).pivot(index="run", columns="variant", values="validation_loss")
    assert row["difference from the best"] == pytest.approx(losses.mean() - best.mean().min())


def test_settings_are_those_that_differ_under_their_names_in_the_file(searched: Results) -> None:
    """What all variants share is not repeated; what one leaves out is the experiment's."""
    table = search(searched)
    assert table is not None
    between = slice(table.frame.columns.get_loc("variant") + 1, table.frame.columns.get_loc("validation loss"))
    stated = {column: table.frame[column].tolist() for column in table.frame.columns[between]}
    assert stated == {
        "physics.wear_rate": ["0.1", "7"],
        "sensors": ["absolute", "none"],
        "dense.learning_rate": ["0.001", "0.0005"],
    }


def test_the_difference_is_paired_and_its_interval_draws_validation_cases(searched: Results) -> None:
    """0.1 to the worse in every fold but the first, where it is as much to the better; the best differs by nothing."""
    table = search(searched)
    assert table is not None
    first, second = table.frame.to_dict("records")
    runs = [run for run in searched.plan.runs if run.variant == "sparse"]
    gaps = [-0.1 if run.fold == 0 else 0.1 for run in runs]
    assert first["difference from the best"] == pytest.approx(sum(gaps) / len(gaps))
    assert [second[f"difference from the best{end}"] for end in ("", " low", " high")] == [0, 0, 0]
    cases = sorted({case for run in runs for case in run.validation})
    weight = stats.resample(len(cases)) @ [[float(run.validation == (case,)) for run in runs] for case in cases]
    drawn = weight @ gaps / weight.sum(axis=1)
    ends = [first[f"difference from the best{end}"] for end in (" low", " high")]
    assert ends == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist())


def test_training_is_counted_once(searched: Results) -> None:
    """The seconds of a variant are those of its dense phases, however many runs were in them."""
    table = search(searched)
    assert table is not None
    costs = {cost.key: cost.seconds for record in searched.records for cost in record.cost if cost.phase == "dense"}
    assert table.frame["training (s)"].tolist() == pytest.approx([sum(costs.values())] * 2)


def test_without_validation_cases_the_table_has_the_accuracy_of_each(searched: Results) -> None:
    """The same numbers as for any predictor, dense and after the last stage; nothing is chosen."""
    results = unvalidated(searched)
    assert search(results) is None
    table = by_settings(results)
    assert table is not None
    frame = table.frame.set_index("variant")
    assert frame["physics.wear_rate"].tolist() == ["0.1", "7"]
    for variant in results.variants:
        for when, stage in (("dense", 0), ("last stage", 2)):
            held = results.held(variant, stage, "VB")
            assert held is not None
            assert frame[f"R², flank wear VB, {when}"][results.label(variant)] == bootstrap_r2([held]).value
    first, second = searched.variants
    column = f"R², flank wear VB, less {searched.label(first)}"
    ours, other = (searched.held(name, 2, "VB") for name in (second, first))
    assert ours is not None
    assert other is not None
    change = paired_r2([ours], [other])
    row = frame.loc[searched.label(second)]
    assert (row[column], row[f"{column} low"], row[f"{column} high"]) == (change.value, change.low, change.high)
    assert frame[column][searched.label(first)] is None
    assert all(number.expression for number in table.numbers().values())
