"""A label that was computed from the inputs is found; one that was measured is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spinn.data
from spinn.data.dataset import TARGETS, Dataset
from verify.folder import Folder, UnavailableError, digest_all, read_folder
from verify.leakage import FEWEST, ROUGHEST, UNEXPLAINED, _determined, _linear, _roughness, targets_measured


def read(runs) -> Folder:
    """The fabricated folder, whose columns may be changed."""
    return read_folder(runs.path, digest_all(runs.path))


def sensors(folder: Folder) -> list[str]:
    """Features that are no settings of the cut."""
    return [name for name in folder.plan.dataset.features if name not in ("time", "DOC", "feed", "steel")]


def unexplained(columns: list[np.ndarray], label: np.ndarray) -> float:
    """The share that a linear mix leaves, where there are rows enough to tell."""
    share = _linear(columns, label)[0]
    assert share is not None
    return share


def test_measured_targets_are_silent(runs) -> None:
    """Nothing is found in honest data."""
    assert list(targets_measured(read(runs))) == []


def test_too_few_labels_are_unchecked(runs) -> None:
    """With hardly more labels than inputs any label is a mix of them: that it was not looked at is said."""
    folder = read(runs)
    label = folder.dataset.columns["thermal"]
    folder.dataset.columns["thermal"] = np.where(np.arange(len(label)) < 36, label, np.nan)
    with pytest.raises(UnavailableError, match="too few labels of thermal to tell whether a linear mix of 18 inputs"):
        list(targets_measured(folder))


@pytest.mark.parametrize("digits", [3, 12])
@pytest.mark.parametrize("offset", [0.0, 7.0])
def test_a_multiple_of_an_input_is_found(runs, digits: int, offset: float) -> None:
    """A constant times an input, as it is written with three digits or more, with or without an offset."""
    folder = read(runs)
    name = sensors(folder)[0]
    values = folder.dataset.columns[name]
    scale = 10.0 ** np.ceil(np.log10(np.abs(values).max()))
    folder.dataset.columns["thermal"] = np.round(2.5 * values / scale, digits) * scale + offset * scale
    (fault,) = targets_measured(folder)
    assert fault.data == {"target": "thermal", "input": name}
    assert "it was computed, not measured" in fault.message


def test_a_multiple_of_the_other_target_is_found(runs) -> None:
    """Thermal displacement that is a constant times the wear, or the wear that follows from it."""
    folder = read(runs)
    folder.dataset.columns["thermal"] = 40 * folder.dataset.columns["VB"]
    assert {(fault.data["target"], fault.data["input"]) for fault in targets_measured(folder)} == {
        ("VB", "thermal"),
        ("thermal", "VB"),
    }


def test_a_monotone_function_of_an_input_is_found(runs) -> None:
    """Its ranks are the input's."""
    folder = read(runs)
    name = sensors(folder)[0]
    values = folder.dataset.columns[name]
    standard = (values - values.mean()) / values.std()
    folder.dataset.columns["thermal"] = np.exp(3 * standard)
    (fault,) = targets_measured(folder)
    assert "a monotone function" in fault.message


@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(2, 18), digits=st.integers(4, 12))
def test_any_linear_mix_is_found_and_a_noisy_one_is_not(seed: int, columns: int, digits: int) -> None:
    """Whatever the coefficients and scales; 3 % of noise is a measurement's."""
    draw = np.random.default_rng(seed)
    x = [10.0 ** draw.integers(-6, 6) * draw.normal(size=200) for _ in range(columns)]
    mix = sum(draw.uniform(0.5, 2) * column / column.std() for column in x)
    mix = np.asarray(mix) / np.std(mix)
    assert unexplained(x, np.round(mix, digits)) < UNEXPLAINED
    assert unexplained(x, mix + 0.03 * draw.normal(size=200)) > UNEXPLAINED


def test_too_few_rows_prove_nothing() -> None:
    """As many columns as rows fit anything; ten values follow each other by chance only rarely, two often."""
    draw = np.random.default_rng(0)
    x = [draw.normal(size=20) for _ in range(18)]
    assert _linear(x, draw.normal(size=20))[0] is None
    few = np.repeat([0.0, 1.0], 10)
    assert _determined(few, 3 * few, ranked=True, smooth=True) == ""
    for count in (FEWEST - 1, FEWEST):
        x = np.arange(float(count))
        assert bool(_determined(x, x**2, ranked=True, smooth=True)) == (count == FEWEST)


def test_columns_that_are_constant_equal_or_missing_do_no_harm() -> None:
    """Such columns are no reason to fall silent, and none to speak."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=100)
    absent = np.full(100, np.nan)
    assert unexplained([x, x, np.ones(100), absent], 3 * x) < UNEXPLAINED
    assert unexplained([np.ones(100), absent], x) > UNEXPLAINED


@pytest.mark.parametrize("source", ["simulator", "mill"])
def test_the_projects_data_has_a_wide_margin(source: str, request: pytest.FixtureRequest) -> None:
    """A linear mix of all inputs leaves more than a tenth of each measured target's variance."""
    path: str | Path = request.getfixturevalue("mill") if source == "mill" else source
    dataset = spinn.data.load(str(path))
    columns = [dataset.frame[name].to_numpy(dtype=float, na_value=np.nan) for name in dataset.features]
    for target in TARGETS:
        label = dataset.frame[target].to_numpy(dtype=float, na_value=np.nan)
        assert np.isnan(label).all() or unexplained(columns, label) > 0.1


# --- functions of one input -----------------------------------------------------------------------------------------

FUNCTIONS = {
    "20(1 − exp(−t/30))": ("time", lambda t: 20 * (1 - np.exp(-t / 30))),
    "t²": ("time", lambda t: t**2),
    "exp(−t/40)": ("time", lambda t: np.exp(-t / 40)),
    "rounded law of time": ("time", lambda t: (20 * (1 - np.exp(-t / 30))).round(1)),
    "parabola": ("smcAC_mean", lambda x: 10 * (x - np.nanmean(x)) ** 2),
    "rounded root": ("smcAC_std", lambda x: (7 * np.sqrt(x)).round(1)),
}


def column(dataset: Dataset, name: str) -> np.ndarray:
    """A column as floats."""
    return dataset.frame[name].to_numpy(dtype=float, na_value=np.nan)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("source", ["simulator", "mill"])
def test_a_function_of_one_input_is_found(source: str, name: str, request: pytest.FixtureRequest) -> None:
    """Of time or of a sensor, rising, falling or both, exact or rounded to a fortieth of its range."""
    dataset = spinn.data.load(str(request.getfixturevalue("mill") if source == "mill" else source))
    x = column(dataset, FUNCTIONS[name][0])
    assert "function" in _determined(x, FUNCTIONS[name][1](x), ranked=True, smooth=True)


@pytest.mark.parametrize("law", [lambda t: 20 * (1 - np.exp(-t / 30)), lambda t: np.sin(t / 3)])
def test_a_label_that_time_gives_is_found(runs, law) -> None:
    """A law of time, the same for tools in six different conditions."""
    folder = read(runs)
    folder.dataset.columns["thermal"] = law(folder.dataset.columns["time"])
    (fault,) = targets_measured(folder)
    assert fault.data == {"target": "thermal", "input": "time"}


def test_tools_in_the_same_conditions_may_follow_the_clock(runs) -> None:
    """Where all labelled tools were used in two conditions, physics itself may be a law of time: nothing is said."""
    folder = read(runs)
    columns = folder.dataset.columns
    columns["thermal"] = 20 * (1 - np.exp(-columns["time"] / 30))
    columns["feed"], columns["steel"] = np.full_like(columns["feed"], 0.25), np.zeros_like(columns["steel"])
    assert list(targets_measured(folder)) == []
    columns["thermal"] = np.sin(columns["time"] / 3)
    assert list(targets_measured(folder)) == []


def least_roughness(dataset: Dataset) -> float:
    """Of each measured target along each input, and along the other target."""
    shares = [1.0]
    for target, other in (TARGETS, TARGETS[::-1]):
        label = column(dataset, target)
        for name in (*dataset.features, other):
            known = np.isfinite(label) & np.isfinite(column(dataset, name))
            if len(np.unique(column(dataset, name)[known])) >= FEWEST and known.sum() >= FEWEST:
                shares.append(_roughness(column(dataset, name)[known], label[known]))
    return min(shares)


def test_measured_labels_are_rough_along_every_input(measured: list[Dataset]) -> None:
    """All cuts leave more than 0.4 of the variance; a third of the tools, in three conditions or more, still 0.01."""
    draw = np.random.default_rng(0)
    for dataset in measured:
        assert least_roughness(dataset) > 0.4
        for _ in range(10):
            frame = dataset.frame[dataset.frame["case"].isin(draw.choice(dataset.cases, 5, replace=False))]
            if len(frame[["DOC", "feed", "steel"]].drop_duplicates()) >= 3:
                assert least_roughness(Dataset("some", frame, dataset.features)) > 10 * ROUGHEST


def test_roughness_of_closed_forms() -> None:
    """A line leaves nothing, even unevenly spaced; noise 1.5 of its variance; equal inputs the spread of their labels.

    An end is no reason to speak, however far out it is.
    """
    draw = np.random.default_rng(0)
    x = np.sort(draw.uniform(size=5000))
    assert _roughness(x, 3 * x + 1) < 1e-25
    assert _roughness(np.arange(5000.0), draw.normal(size=5000)) == pytest.approx(1.5, rel=0.1)
    pairs = np.repeat(np.arange(100.0), 2)
    assert _roughness(pairs, np.tile([-1.0, 1.0], 100)) == pytest.approx(1.0)
    far = np.append(np.arange(50.0), 60.0)
    assert _roughness(far, np.append(draw.normal(size=50), 1e9)) > 1
    assert _roughness(far, np.append(np.ones(50), 1e9)) == np.inf
