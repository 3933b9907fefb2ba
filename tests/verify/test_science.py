"""Checks of honest evaluation: each is broken once, and it alone sees it."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest

from spinn.data.dataset import Dataset
from spinn.record import DATASET, HISTORY, PREDICTIONS
from verify.science import _clusters, _encodes, standardisation


def first(runs) -> str:
    """Id of a sound run."""
    return runs.names("sparse")[0]


def edit_run(runs, run_id: str, **changes: object) -> None:
    """Change a planned run."""

    def edit(plan: dict) -> None:
        next(run for run in plan["runs"] if run["run_id"] == run_id).update(changes)

    runs.edit_plan(edit)


# --- groups-disjoint ------------------------------------------------------------------------------------------------


def test_case_on_both_sides_is_found(runs) -> None:
    """A test case among the training cases is a finding."""
    planned = runs.plan.runs[0]
    edit_run(runs, planned.run_id, train=[*planned.train, planned.test[0]])
    assert "groups-disjoint" in runs.failed()


def test_case_left_out_is_found(runs) -> None:
    """A case that is on no side is a finding: it was inconvenient."""
    planned = runs.plan.runs[0]
    edit_run(runs, planned.run_id, test=planned.test[1:])
    assert "groups-disjoint" in runs.failed()


def test_case_tested_twice_is_found(runs) -> None:
    """For each seed, the folds test every labelled case once."""
    runs.edit_plan(lambda plan: plan["experiment"]["split"].update(kind="leave-one-case-out", folds=None))
    found = [finding for finding in runs.audit().findings if finding.check == "groups-disjoint"]
    assert "3 test cases; leave-one-case-out has one" in found[0].message


def test_split_of_predictions_is_the_plans(runs) -> None:
    """predictions.csv cannot call a training case a test case."""
    runs.edit_table(first(runs), PREDICTIONS, lambda table: table.assign(split=table["split"].replace("test", "train")))
    assert runs.failed() == {"groups-disjoint"}


# --- identifier-features --------------------------------------------------------------------------------------------


def put(runs, name: str, values: Any) -> None:
    """Replace a feature in dataset.csv, as if it had been so from the beginning."""
    path = runs.path / DATASET
    frame = pd.read_csv(path, dtype={"case": str})
    frame = frame.assign(**{name: values})
    plan = runs.plan
    dataset = Dataset(plan.dataset.source, frame, plan.dataset.features)
    path.write_bytes(dataset.to_csv())
    runs.edit_plan(lambda plan: plan["dataset"].update(fingerprint=dataset.fingerprint()))


def identifiers(runs) -> list[str]:
    """What the check says."""
    found = [finding for finding in runs.audit().findings if finding.check == "identifier-features"]
    return [fault["message"] for finding in found for fault in finding.data["faults"]]


@pytest.mark.parametrize("code", [lambda case: case, lambda case: 7 - 2.5 * case, lambda case: (case * 37) % 11])
def test_feature_that_encodes_the_case_is_found(runs, code) -> None:
    """A column that tells the tool is an identifier under any name and any code."""
    frame = pd.read_csv(runs.path / DATASET)
    put(runs, "sensor_05", code(frame["case"]).astype(float))
    assert identifiers(runs) == ["feature 'sensor_05' tells the case: it encodes it one-to-one"]


def test_feature_that_encodes_the_run_is_found(runs) -> None:
    """A column that counts the cuts is an identifier."""
    frame = pd.read_csv(runs.path / DATASET)
    put(runs, "sensor_05", 3.0 * frame["run"] - 1)
    assert identifiers(runs) == ["feature 'sensor_05' tells the run: it encodes it one-to-one"]


def test_a_case_number_with_noise_on_it_is_found() -> None:
    """A value for each case, jittered by a thousandth of the distance to the next; a sensor's is no code."""
    random = np.random.default_rng(1)
    cases = np.repeat([f"t{number}" for number in range(6)], 5)
    number = np.repeat(np.arange(6.0), 5)
    assert not _encodes(number + 1e-3 * random.normal(size=30), cases)
    assert _clusters(number + 1e-3 * random.normal(size=30), cases)
    assert not _clusters(number + 0.3 * random.normal(size=30), cases)
    assert not _clusters(np.floor(number / 2), cases)


def test_identifier_by_name_is_found(runs) -> None:
    """A feature called case is an identifier, whatever it holds."""

    def edit(plan: dict) -> None:
        plan["dataset"]["features"][4] = "case"

    runs.edit_plan(edit)
    assert "feature 'case' is an identifier by its name" in identifiers(runs)


def test_other_features_in_the_record_are_found(runs) -> None:
    """A run's inputs are the planned ones, in their order."""

    def edit(record: dict) -> None:
        record["features"][4:6] = record["features"][5:3:-1]

    runs.edit_record(first(runs), edit)
    assert "identifier-features" in runs.failed()


def test_measurement_encodes_nothing() -> None:
    """A value of its own in each row tells rows apart and is no code; neither is a constant, nor a column of gaps."""
    random = np.random.default_rng(0)
    cases, runs = np.repeat(["1", "2", "3"], 4), np.tile(np.arange(4), 3)
    for values in (random.normal(size=12), np.ones(12), np.full(12, np.nan)):
        assert not _encodes(values, cases)
        assert not _encodes(values, runs)
    assert not _encodes(random.normal(size=12), np.arange(12))
    assert _encodes(2.0 * np.arange(12) + 1, np.arange(12))


# --- scaler-on-train-only -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["feature_mean", "feature_scale"])
def test_scaler_of_other_cases_is_found(runs, name: str) -> None:
    """Moments that the training cases do not have are a finding."""

    def edit(record: dict) -> None:
        record["scaler"][name][6] *= 1 + 1e-6

    runs.edit_record(first(runs), edit)
    assert runs.failed() == {"scaler-on-train-only"}


def test_scaler_fitted_on_test_cases_is_found(runs) -> None:
    """A scaler that names a test case is a finding."""
    test = runs.plan.runs[0].test[0]
    runs.edit_record(runs.plan.runs[0].run_id, lambda record: record["scaler"]["fitted_on"].append(test))
    assert runs.failed() == {"scaler-on-train-only"}


def test_scaler_of_another_width_is_found(runs) -> None:
    """A scaler with a feature too few is a finding, and no crash."""
    for name in ("feature_mean", "target_scale"):
        runs.edit_record(first(runs), lambda record, name=name: record["scaler"][name].pop())
        assert "scaler-on-train-only" in runs.failed()


def test_standardisation_of_closed_forms() -> None:
    """Gaps are left out; a constant has scale 1, an empty column mean 0 and scale 1."""
    assert standardisation(np.array([1.0, np.nan, 3.0])) == (2.0, 1.0)
    assert standardisation(np.array([5.0, 5.0])) == (5.0, 1.0)
    assert standardisation(np.full(3, 0.1)) == (pytest.approx(0.1), 1.0)
    assert standardisation(np.full(2, np.nan)) == (0.0, 1.0)


# --- selection-not-on-test ------------------------------------------------------------------------------------------


def test_selection_on_test_is_found(runs) -> None:
    """An epoch selected by the test cases is a finding, admitted or not."""
    runs.edit_record(first(runs), lambda record: record["stages"][0].update(selected_by="test"))
    assert runs.failed() == {"selection-not-on-test"}


def test_other_epoch_than_the_best_is_found(runs) -> None:
    """The selected epoch has the least validation loss of its stage."""
    runs.edit_record(first(runs), lambda record: record["stages"][1].update(selected_epoch=4))
    assert runs.failed() == {"selection-not-on-test"}


def test_validation_loss_of_other_cases_is_found(runs) -> None:
    """A validation loss that the validation cases do not have was taken on others: history and record agree in vain."""
    factor = 0.9
    runs.edit_table(first(runs), HISTORY, lambda t: t.assign(validation_loss=t["validation_loss"] * factor))

    def edit(record: dict) -> None:
        for stage in record["stages"]:
            stage["selected_loss"] *= factor

    runs.edit_record(first(runs), edit)
    assert runs.failed() == {"selection-not-on-test"}


# --- single-seed ----------------------------------------------------------------------------------------------------


def test_single_seed_is_a_note(runs) -> None:
    """One seed is worth a note, and changes no verdict."""
    for run_id in [run.run_id for run in runs.plan.runs if run.seed == 1]:
        shutil.rmtree(runs.folder(run_id))

    def edit(plan: dict) -> None:
        plan["runs"] = [run for run in plan["runs"] if run["seed"] == 0]
        plan["experiment"]["seeds"] = [0]

    runs.edit_plan(edit)
    for run in runs.plan.runs:
        mates = [other.run_id for other in runs.plan.runs if other.variant == run.variant]
        runs.shrink_cohort(run.run_id, mates)
    verdict = runs.audit()
    assert verdict.holds
    (finding,) = (finding for finding in verdict.findings if finding.check == "single-seed")
    assert finding.severity == "note"
    assert verdict.holds
    assert finding.data["faults"][0]["claims"] == ["wear-r2"]
