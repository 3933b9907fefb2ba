"""spinn.task and spinn.rundata: what a stack of runs trains on, and what it never reads."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinn.cohort import Cohort
from spinn.config import PhysicsConfig
from spinn.data.dataset import Dataset
from spinn.errors import DataError, InputError
from spinn.model import Network
from spinn.record import PlannedRun
from spinn.rundata import RunData, Table
from spinn.task import build, predict

ALL_TERMS = PhysicsConfig(wear_rate=1, heat=1, initial=1, monotone=1, nonnegative=1)


def planned(train: str, validation: str, test: str = "", seed: int = 0) -> PlannedRun:
    """A run over one-letter cases."""
    return PlannedRun(
        run_id=f"run-{train}",
        variant="sparse",
        fold=0,
        seed=seed,
        cohort="c",
        train=tuple(train),
        validation=tuple(validation),
        test=tuple(test),
    )


@pytest.fixture
def data() -> Dataset:
    """Four tools, of 3 to 6 cuts; the second cut of each has no label, the third no signal."""
    rng = np.random.default_rng(1)
    rows = []
    for number, case in enumerate("ABCD"):
        for cut in range(3 + number):
            rows.append(
                {
                    "case": case,
                    "run": cut + 1,
                    "time": 2.0 * (cut + 1),
                    "DOC": 0.75 + 0.25 * number,
                    "feed": 0.25,
                    "steel": float(number % 2),
                    "power": 100.0 + number,
                    "VB": np.nan if cut == 1 else 0.03 * (cut + 1) * (1 + number),
                    "thermal": np.nan if cut == 1 else 5.0 * (cut + 1),
                    "signal": np.nan if cut == 2 else rng.normal(),
                }
            )
    return Dataset("made", pd.DataFrame(rows), ("time", "DOC", "feed", "steel", "signal"))


def _poisoned(data: Dataset, case: str, value: float) -> Dataset:
    """`value` in every number of `case`."""
    frame = data.frame.copy()
    frame.loc[frame["case"] == case, ["time", "DOC", "feed", "steel", "power", "VB", "thermal", "signal"]] = value
    return replace(data, frame=frame)


def _tensors(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    inner = [getattr(value, f.name) for f in fields(value)] if is_dataclass(value) else []
    return [tensor for one in inner for tensor in _tensors(one)]


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_no_test_case_is_read(data, value):
    """NaN or huge values in every number of the test cases change no bit of a task."""
    clean = build(data, [planned("AC", "B", "D")], ALL_TERMS)
    dirty = build(_poisoned(data, "D", value), [planned("AC", "B", "D")], ALL_TERMS)
    assert clean.scalers == dirty.scalers
    assert clean.coefficients == dirty.coefficients
    assert all(torch.equal(a, b) for a, b in zip(_tensors(clean), _tensors(dirty), strict=True))


def test_scalers_see_training_cases_only(data):
    """Huge values in the validation case leave the scaler and the training rows as they are, bit by bit."""
    clean = build(data, [planned("AC", "B")], ALL_TERMS)
    dirty = build(_poisoned(data, "B", 1e12), [planned("AC", "B")], ALL_TERMS)
    assert clean.scalers == dirty.scalers
    assert clean.scalers[0].fitted_on == ("A", "C")
    for part in ("train", "segments", "starts"):
        pairs = zip(_tensors(getattr(clean, part)), _tensors(getattr(dirty, part)), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(clean.validation.x, dirty.validation.x)


def test_scaled_training_columns_have_mean_0_and_spread_1(data):
    """Measured training values are standardised; a constant column keeps scale 1; a missing feature becomes 0."""
    task = build(data, [planned("ABC", "D")], ALL_TERMS, dtype=torch.float64)
    scaler = task.scalers[0]
    frame = data.frame[data.frame["case"].isin(list("ABC"))]
    for name, mean, scale in zip(data.features, scaler.feature_mean, scaler.feature_scale, strict=True):
        column = frame[name].dropna()
        assert mean == pytest.approx(column.mean())
        assert scale == pytest.approx(column.std(ddof=0) if name != "feed" else 1.0)
    signal_missing = frame[frame["VB"].notna()]["signal"].isna().tolist()
    assert task.train.x[0, : task.train.counts[0], 4][signal_missing].eq(0).all()
    y = task.train.y[0, : task.train.counts[0]]
    torch.testing.assert_close(y.mean(0), torch.zeros(2).double())
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(2).double())


def test_rows_are_the_labelled_cuts_and_padding_has_no_weight(data):
    """Runs of different size stand side by side; what fills the shorter one up counts as not measured."""
    task = build(data, [planned("A", "B"), planned("CD", "B")], ALL_TERMS)
    assert task.train.counts == (2, 9)
    assert task.train.measured[0].sum(0).tolist() == [2, 2]
    assert task.train.x.shape == (2, 9, 5)
    assert task.starts_measured[0].tolist() == [[1, 1], [0, 0]]
    assert task.epoch_rows(512) == (9 + 2 + 11, 9 + 11)


def test_segments_join_successive_cuts_from_time_0(data):
    """A tool's segments cover its whole life: every cut has one, unlabelled cuts too, the first begins at time 0."""
    task = build(data, [planned("AD", "B")], ALL_TERMS, dtype=torch.float64)
    segments, scaler = task.segments, task.scalers[0]
    assert segments.counts == (3 + 6,)
    begin = segments.x[0, :, 0] * scaler.feature_scale[0] + scaler.feature_mean[0]
    end = begin + segments.dx[0, :, 0] * scaler.feature_scale[0]
    assert begin.tolist() == pytest.approx([0, 2, 4, 0, 2, 4, 6, 8, 10], abs=1e-12)
    torch.testing.assert_close(segments.per_minute[0], 1 / (end - begin))
    assert segments.conditions[0, :, 0].tolist() == [0.75] * 3 + [1.5] * 6


def test_a_missing_signal_is_not_a_movement(data):
    """Where a signal is missing at one end of a segment it is held at the other end's value."""
    task = build(data, [planned("AD", "B")], ALL_TERMS, dtype=torch.float64)
    signal = task.segments.dx[0, :, 4]
    assert signal[[2, 5, 6]].eq(0).all()  # to and from the third cut
    assert signal[[1, 4, 7, 8]].ne(0).all()
    assert signal[[0, 3]].eq(0).all()  # the new tool is in the conditions of its first cut


def test_motion_is_the_derivative_along_the_trajectory(data):
    """The rate at a collocation point is the limit of differences along the tool's way, in mm/min and µm/min."""
    task = build(data, [planned("AD", "B"), planned("BC", "A")], ALL_TERMS, dtype=torch.float64)
    network = Network.initialise((5, 7, 6, 2), [3, 4], dtype=torch.float64)
    index = torch.tensor([[0, 1, 5, 8], [2, 0, 6, 3]])
    place, h = torch.tensor([[0.1, 0.5, 0.7, 0.3]] * 2).double(), 1e-5
    ones = torch.ones_like(place)
    still = task.train.x[:, :3]
    outputs, exact = task.motion(network, still, index, place, ones)
    torch.testing.assert_close(outputs, network(still))
    minutes = 2 * h / task.segments.per_minute.gather(1, index)
    ahead, behind = (task.motion(network, still, index, place + step, ones)[1].state for step in (h, -h))
    torch.testing.assert_close(exact.rate, (ahead - behind) / minutes[..., None], rtol=1e-6, atol=1e-8)
    assert exact.rate.abs().min() > 0


def test_the_segment_of_a_labelled_cut_ends_there(data):
    """Its end is the cut's own row; a cut with a missing signal that the segment holds has none, and is no point."""
    task = build(data, [planned("AD", "B"), planned("BC", "A")], ALL_TERMS, dtype=torch.float64)
    for run, count in enumerate(task.train.counts):
        ends, x, moves = task.ends[run, :count], task.train.x[run, :count], task.moves[run, :count]
        end = task.segments.x[run, ends] + task.segments.dx[run, ends]
        torch.testing.assert_close(end[moves == 1], x[moves == 1])
        assert moves.tolist() == [float(signal != 0) for signal in x[:, 4]]
        assert not task.moves[run, count:].any()
        assert len(set(ends[moves == 1].tolist())) == int(moves.sum()) > 0


def test_a_cut_to_which_no_time_passes_is_no_point(data):
    """Two cuts at the same time: the second one has no segment, and every other cut has its own."""
    frame = data.frame.assign(signal=100.0)
    rows = frame.index[frame["case"] == "D"]
    frame.loc[rows[2], "time"] = frame.loc[rows[1], "time"]
    task = build(replace(data, frame=frame), [planned("AD", "B")], ALL_TERMS, dtype=torch.float64)
    labelled = frame[frame["case"].isin(list("AD")) & frame[["VB", "thermal"]].notna().any(axis=1)]
    assert task.moves[0].tolist() == [float(row != rows[2]) for row in labelled.index]


def test_points_at_cuts_share_their_outputs_with_them(data):
    """The last rows that stand still are the first points: with the state and the rate of points drawn there."""
    count = np.arange(len(data.frame))
    whole = replace(data, frame=data.frame.assign(signal=count**2.0, power=100.0 + count))  # no gap that is held
    task = build(whole, [planned("AD", "B"), planned("BC", "A")], ALL_TERMS, dtype=torch.float64)
    network = Network.initialise((5, 7, 6, 2), [3, 4], dtype=torch.float64)
    still, at = torch.cat([task.starts, task.train.x[:, :2]], 1), task.ends[:, :2]
    drawn, place = torch.tensor([[0, 4], [2, 3]]), torch.tensor([[0.1, 0.5]] * 2).double()
    ones = torch.ones(2, 4).double()
    outputs, shared = task.motion(network, still, torch.cat([at, drawn], 1), place, ones)
    torch.testing.assert_close(outputs, network(still))
    torch.testing.assert_close(shared.state[:, :2], task.physical(network(task.train.x[:, :2]), task.train.law[:, :2]))
    alone = task.motion(network, still[:, :0], torch.cat([at, drawn], 1), torch.cat([ones[:, :2], place], 1), ones)[1]
    for name in ("state", "rate", "powered"):
        torch.testing.assert_close(getattr(shared, name), getattr(alone, name))
    torch.testing.assert_close(shared.conditions.power, alone.conditions.power)


def test_heat_is_left_out_by_name_where_it_cannot_be_computed(data):
    """Without a thermal label or without power the heat term is not in `terms`, and a warning says why."""
    nothing = replace(data, frame=data.frame.assign(thermal=np.nan))
    task = build(nothing, [planned("AC", "B")], ALL_TERMS)
    assert task.terms == ("wear_rate", "initial", "monotone", "nonnegative")
    assert task.warnings == (
        "physics term 'heat' (weight 1.0) is left out: thermal displacement is not measured in training of run-AC",
    )
    assert set(task.coefficients[0]) == {"a", "b", "c", "d", "g"}
    assert task.scalers[0].target_mean[1] == 0.0
    assert task.scalers[0].target_scale[1] == 1.0
    assert task.starts_measured[0].tolist() == [[1, 0], [1, 0]]
    powerless = replace(data, frame=data.frame.assign(power=np.nan))
    assert "the spindle power is not known" in build(powerless, [planned("AC", "B")], ALL_TERMS).warnings[0]


def test_terms_are_those_of_the_experiment_not_of_the_stack(data):
    """A term that one planned run lacks is left out of all: alone, in a stack with it, or in a stack without it."""
    rare = replace(data, frame=data.frame.assign(thermal=data.frame["thermal"].where(data.frame["case"] == "A")))
    runs = [planned("AC", "B"), planned("AD", "B"), planned("CD", "B")]
    assert "heat" in build(rare, runs[:2], ALL_TERMS).terms
    for stack in (runs, runs[:1], runs[:2], runs[2:]):
        task = build(rare, stack, ALL_TERMS, planned=runs)
        assert task.terms == ("wear_rate", "initial", "monotone", "nonnegative")
        assert task.warnings[0].endswith("thermal displacement is not measured in training of run-CD")


def test_of_a_plan_only_the_runs_of_the_stack_are_made_ready(data):
    """Whatever else is planned: else the cost of a plan would grow with the square of its runs."""
    runs = [planned(train, "B", seed=seed) for seed in range(9) for train in ("AC", "AD", "CD", "ACD")]
    with mock.patch("spinn.task.RunData", wraps=RunData) as made:
        build(data, runs[:2], ALL_TERMS, planned=runs)
    assert made.call_count == 2


@given(st.lists(st.tuples(*[st.sampled_from(["", "time", "power", "VB", "thermal"])] * 4), max_size=3))
def test_what_training_cases_feed_is_what_their_arrays_have(lacking):
    """Whatever is missing at which cuts: the facts of single cases together are those of a run's trajectories."""
    rows = [
        {"case": case, "run": cut, "time": 1.0 + cut, "DOC": 1.0, "feed": 0.5, "steel": 0.0}
        | {"power": 1.0, "VB": 0.1, "thermal": 1.0}
        for case in "AB"
        for cut in range(2)
    ]
    for lacks in lacking:
        for row, name in zip(rows, lacks, strict=True):
            row |= {} if not name else {name: 0.0 if name == "time" else np.nan}
    table = Table(Dataset("made", pd.DataFrame(rows), ("time", "DOC", "feed", "steel")))
    for run in (planned("A", ""), planned("B", ""), planned("AB", "")):
        try:
            part = RunData(table, run)
        except DataError:
            continue  # not one labelled cut
        wear, thermal = part.labelled
        facts = {"time": len(part.segments.per_minute) > 0, "power": part.segments.powered.any()}
        facts |= {"VB": wear, "thermal": thermal}
        assert table.feeds(run) == {name for name, holds in facts.items() if holds}


def test_cohorts_of_one_experiment_have_the_same_terms(data, simple_plan, tmp_path):
    """Each run of the plan a cohort of its own, one of them without a thermal label in training."""
    rare = replace(data, frame=data.frame.assign(thermal=data.frame["thermal"].where(data.frame["case"] == "A")))
    plan = simple_plan(rare, split={"kind": "grouped", "folds": 4, "validation_cases": 1}, stack=1, physics={"heat": 1})
    cohorts = dict.fromkeys(run.cohort for run in plan.runs)
    made = [Cohort(plan, name, rare, tmp_path, torch.device("cpu"), mock.Mock(), 1.0) for name in cohorts]
    assert len(made) == 4
    assert {cohort._task(plan.experiment.variants[0]).terms for cohort in made} == {()}


def test_wear_terms_are_left_out_without_wear_labels(data):
    """Data with thermal labels alone trains on heat alone, and says so of each wear term."""
    task = build(replace(data, frame=data.frame.assign(VB=np.nan)), [planned("AC", "B")], ALL_TERMS)
    assert task.terms == ("heat", "initial")
    assert len(task.warnings) == 3


def test_a_term_with_weight_0_is_no_term(data):
    """Terms that are switched off are neither computed nor warned about, and bring no coefficients."""
    task = build(data, [planned("AC", "B")], PhysicsConfig(initial=1))
    assert task.terms == ("initial",)
    assert task.warnings == ()
    assert task.coefficients == ({},)
    assert task.epoch_rows(512) == (task.train.counts[0] + 2, 0)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_a_label_is_refused(data, split):
    """A run that has nothing to train on, or nothing to be selected by, is refused with its name."""
    case = {"train": "A", "validation": "B"}[split]
    frame = data.frame.copy()
    frame.loc[frame["case"] == case, ["VB", "thermal"]] = np.nan
    with pytest.raises(DataError, match=rf"run run-A, {split} cases \['{case}'\]: not one labelled cut"):
        build(replace(data, frame=frame), [planned("A", "B")], ALL_TERMS)


@pytest.mark.parametrize(("column", "value", "message"), [("signal", np.inf, "'signal' = inf"), ("DOC", 0, "DOC")])
def test_values_no_network_can_train_on_are_refused(data, column, value, message):
    """An infinite feature, or a depth whose logarithm the wear law cannot take, is named."""
    frame = data.frame.copy()
    frame.loc[0, column] = value
    with pytest.raises(DataError, match=message):
        build(replace(data, frame=frame), [planned("A", "B")], ALL_TERMS)


def test_a_case_the_data_does_not_have_is_refused(data):
    """A plan made from other data is noticed."""
    with pytest.raises(InputError, match="case 'Z': not in the data"):
        build(data, [planned("AZ", "B")], ALL_TERMS)
    with pytest.raises(InputError, match="at least one run"):
        build(data, [], ALL_TERMS)


def test_predict_gives_physical_units_for_every_cut(data):
    """A network whose output is 0 everywhere predicts each run's own training means, for all cuts."""
    task = build(data, [planned("A", "B"), planned("CD", "B")], ALL_TERMS)
    network = Network.initialise((5, 3, 2), [0, 1])
    with torch.no_grad():
        for weight in network.weights:
            weight.zero_()
    predicted = predict(network, data, task.scalers)
    assert predicted.shape == (2, len(data.frame), 2)
    for run, scaler in enumerate(task.scalers):
        np.testing.assert_allclose(predicted[run], np.tile(scaler.target_mean, (len(data.frame), 1)), rtol=1e-12)


def test_predict_agrees_with_the_training_rows(data):
    """Predictions at labelled training cuts are the network's outputs on the task's rows, in physical units."""
    task = build(data, [planned("ABCD"[:3], "D")], ALL_TERMS, dtype=torch.float64)
    network = Network.initialise((5, 4, 2), [0], dtype=torch.float64)
    labelled = (data.frame["case"].isin(list("ABC")) & data.frame["VB"].notna()).to_numpy()
    with torch.no_grad():
        expected = task.physical(network(task.train.x), task.train.law)[0].numpy()
    np.testing.assert_allclose(predict(network, data, task.scalers)[0][labelled], expected, rtol=1e-12)
