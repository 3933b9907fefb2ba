"""Checks of honest evaluation: each is broken once, and it alone sees it."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest

from spinn.data.dataset import Dataset
from spinn.data.simulator import simulate
from spinn.record import DATASET, HISTORY, PREDICTIONS
from verify.folder import Data, digest_all, read_folder
from verify.science import (
    PHYSICAL,
    TWIN_CUTS,
    _clusters,
    _counts_cuts,
    _counts_rows,
    _encodes,
    _labels_tools,
    _twins_apart,
    identifier_features,
    standardisation,
)


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


def twins(runs, original: str, copy: str) -> set[str]:
    """What is said where all cuts of the case `copy` are those of `original`, if it has as many."""
    frame = pd.read_csv(runs.path / DATASET, dtype={"case": str})
    of = {case: frame.index[frame["case"] == case] for case in (original, copy)}
    frame = frame.loc[~frame.index.isin(of[copy])]
    frame = pd.concat([frame, frame.loc[of[original]].assign(case=copy)])
    dataset = Dataset("fabricated", frame.sort_values("case", kind="stable"), runs.plan.dataset.features)
    (runs.path / DATASET).write_bytes(dataset.to_csv())
    folder = read_folder(runs.path, digest_all(runs.path))
    sides = {name: getattr(runs.plan.runs[0], name) for name in ("train", "validation", "test")}
    return {fault.message for fault in _twins_apart(folder, sides)}


def test_tool_under_two_names_is_found(runs) -> None:
    """A test case whose cuts are those of a training case, gaps in the labels included, is no test."""
    planned = runs.plan.runs[0]
    message = f"case {planned.test[0]} (test) is case {planned.train[0]} (train) under another name"
    assert twins(runs, planned.train[0], planned.test[0]) == {f"{message}: the same times and labels"}
    assert "groups-disjoint" in runs.failed()


def test_tool_under_two_names_on_one_side_is_silent(runs) -> None:
    """That is a matter of taste, and says nothing about the test."""
    assert twins(runs, *runs.plan.runs[0].train[:2]) == set()


def test_tools_with_few_equal_labels_are_silent(runs) -> None:
    """Four readings may coincide, and tools without a label do: five readings are one tool."""
    planned = runs.plan.runs[0]
    for labels, found in ((0, 0), (TWIN_CUTS - 1, 0), (TWIN_CUTS, 1)):
        frame = pd.read_csv(runs.path / DATASET, dtype={"case": str})
        kept = frame.groupby("case").cumcount() < labels
        for target in ("VB", "thermal"):
            frame[target] = (frame["run"] / 10).where(kept)
        frame["time"] = frame["run"]
        frame.to_csv(runs.path / DATASET, index=False)
        assert bool(twins(runs, planned.train[0], planned.test[0])) == bool(found)


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


ROW_CODES = {
    "row number": lambda frame: np.arange(len(frame)) * 1.0,
    "row number squared, falling": lambda frame: -(np.arange(len(frame)) ** 2.0),
    "case before run": lambda frame: 100.0 * frame["case"].astype(int) + frame["run"],
    "case and run that overlap": lambda frame: 5.3 * frame["case"].astype(int) - 0.7 * frame["run"],
    "cases in another order": lambda frame: 10.0 * (frame["case"].astype(int) * 3 % 7) + frame["run"],
}


@pytest.mark.parametrize("code", ROW_CODES)
def test_feature_that_counts_the_rows_is_found(runs, code: str) -> None:
    """A column that rises or falls through the whole table, or by the same step in each case, tells case and cut."""
    put(runs, "sensor_05", ROW_CODES[code](pd.read_csv(runs.path / DATASET)))
    message = "feature 'sensor_05' tells the row: it counts the cuts, through all cases or in each of them"
    assert identifiers(runs) == [message]


def test_a_column_that_falls_once_counts_no_rows() -> None:
    """Neither does one with a plateau, with gaps alone, or with so few rows that they are in order by chance."""
    for values in ([*range(11), 9.5], [*range(11), 10], np.full(12, np.nan), range(9)):
        assert not _counts_rows(np.array([*values], dtype=float))
    assert _counts_rows(np.array([0.0, np.nan, *range(1, 10)]))


def test_steps_that_differ_count_no_cuts() -> None:
    """One cut of one tool off the line, a constant, gaps alone, or fewer than nine steps."""
    data = as_data(simulate())
    counted = 10.0 * data.cases.astype(int) + data.runs
    assert _counts_cuts(data, counted)
    assert _counts_cuts(data, np.where(data.runs == 3, np.nan, counted))
    few = np.where(np.arange(len(counted)) < 9, counted, np.nan)
    other = counted + 1e-3 * (np.arange(len(counted)) == 20)
    for values in (other, data.cases.astype(float), np.full(len(counted), np.nan), few):
        assert not _counts_cuts(data, values)


def as_data(dataset: Dataset) -> Data:
    """A data set as the judge reads it."""
    names = dict.fromkeys((*dataset.features, "VB", "thermal"))
    columns = {name: dataset.frame[name].to_numpy(dtype=float, na_value=np.nan) for name in names}
    return Data(dataset.frame["case"].to_numpy(dtype=str), dataset.frame["run"].to_numpy(), columns)


def test_a_number_that_groups_of_tools_share_is_found() -> None:
    """Constant in each tool, given by no setting, and of more values than a setting has; on the design of 16 tools."""
    data = as_data(simulate())
    number = data.cases.astype(int)
    assert _labels_tools(data, number % 8.0)
    assert _labels_tools(data, np.where(data.runs == 2, np.nan, number % 5.0))
    settings = 4 * data.columns["steel"] + 2 * (data.columns["DOC"] > 1) + (data.columns["feed"] > 0.3)
    assert not _labels_tools(data, settings)  # eight conditions
    assert not _labels_tools(data, number % 4.0)  # may be a setting that nobody declared
    assert not _labels_tools(data, number % 8 + 1e-3 * data.runs)
    assert not _labels_tools(data, np.full(len(number), np.nan))
    assert not _labels_tools(data, np.where(data.runs == 1, number % 8.0, np.nan))  # one value a tool is not constant


def test_a_number_of_groups_of_tools_among_the_features_is_found(runs) -> None:
    """Five values for six tools in the same conditions."""
    folder = read_folder(runs.path, digest_all(runs.path))
    columns = folder.dataset.columns
    for name in ("DOC", "feed", "steel"):
        columns[name] = np.ones_like(columns[name])
    columns["sensor_05"] = np.minimum(folder.dataset.cases.astype(float), 5)
    (fault,) = identifier_features(folder)
    expected = "feature 'sensor_05' tells groups of tools: it is constant in each case, and no setting of the cut"
    assert fault.message == expected


def test_no_measured_feature_is_an_identifier(measured: list[Dataset]) -> None:
    """The simulator, with noise and without, and the real data."""
    for data in map(as_data, measured):
        for name, values in data.columns.items():
            if name not in PHYSICAL:
                assert not _counts_rows(values)
                assert not _counts_cuts(data, values)
                assert not _labels_tools(data, values)
                assert not _encodes(values, data.cases)


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
