"""The regressors: the same small budget each, chosen and prepared without a look at what is held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spinn import regressors
from spinn.data.dataset import Dataset
from spinn.regressors import DECIMALS, GRID, INNER_FOLDS, SEEDED, Arrays

FEATURES = ("time", "DOC", "feed", "steel", "force", "noise", "dead")
NAMES = tuple(GRID)


def dataset(cases: int = 7) -> Dataset:
    """Tools whose wear is linear in time and in a force with gaps; one feature says nothing, one was never there."""
    draw = np.random.default_rng(5)
    rows = []
    for case in range(cases):
        for run in range(1, 7):
            force = draw.normal(100, 20)
            rows.append(
                {"case": str(case), "run": run, "time": 2.0 * run, "DOC": 0.75 * (1 + case % 2), "feed": 0.25}
                | {"steel": case % 2, "power": np.nan, "force": force, "noise": draw.normal(), "dead": np.nan}
                | {"VB": 0.02 * run + 0.001 * force, "thermal": np.nan}
            )
    frame = pd.DataFrame(rows)
    frame.loc[4, "force"] = np.nan
    frame.loc[9, "VB"] = np.nan
    return Dataset("tidy", frame, FEATURES)


def arrays(data: Dataset | None = None) -> Arrays:
    """The wear of a data set."""
    return Arrays.of(data or dataset(), "VB")


def test_every_regressor_has_the_same_budget():
    """Three settings and two sets of inputs each, all different: six candidates."""
    for settings in GRID.values():
        assert len(settings) == len({str(one) for one in settings}) == 3
    for name in ("ridge", "support-vector"):
        choice = regressors.choose(name, arrays(), [str(case) for case in range(6)], 0)
        assert [(one.inputs, one.settings) for one in choice.candidates] == [
            (inputs, settings) for settings in GRID[name] for inputs in ("all", "process")
        ]


def test_the_candidate_with_the_lowest_score_is_chosen():
    """Where wear depends on the force, the inputs of the process alone do worse."""
    choice = regressors.choose("ridge", arrays(), [str(case) for case in range(6)], 0)
    scores = [one.score for one in choice.candidates]
    assert choice.chosen == int(np.argmin(scores))
    assert choice.candidates[choice.chosen].inputs == "all"


def test_a_score_is_the_error_on_inner_held_out_cases():
    """By hand, for ridge: case i is held out in inner fold i mod 5, and each labelled cut counts once."""
    train, given = [str(case) for case in range(6)], arrays()
    squares = []
    for first in range(INNER_FOLDS):
        held = train[first::INNER_FOLDS]
        rows = given.rows(held) & ~np.isnan(given.y)
        inner = [case for case in train if case not in held]
        predicted, _ = regressors.fit_predict("ridge", {"alpha": 1.0}, "all", given, inner, rows, 0)
        squares.extend((predicted - given.y[rows]) ** 2)
    assert len(squares) == 35
    choice = regressors.choose("ridge", given, train, 0)
    assert choice.candidates[0].score == pytest.approx(np.mean(squares), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_held_out_case_reaches_neither_choice_nor_fit(name):
    """Absurd labels and features in a case that is not trained on change nothing that is said of the others."""
    data, train = dataset(4), ["0", "1", "2"]
    poisoned = data.frame.copy()
    poisoned.loc[poisoned["case"] == "3", ["VB", "force", "noise"]] = 1e6
    found = []
    for frame in (data.frame, poisoned):
        given = arrays(Dataset("tidy", frame, FEATURES))
        choice = regressors.choose(name, given, train, 0) if name not in SEEDED else None
        rows = given.rows(["2"])
        found.append((choice, regressors.fit_predict(name, GRID[name][0], "all", given, train, rows, 0)[0].tolist()))
    assert found[0] == found[1]


def test_ridge_is_the_closed_form():
    """(XᵀX + αI)⁻¹Xᵀy on standardised values, with missing ones at the training mean, scaled back."""
    given, train = arrays(), [str(case) for case in range(6)]
    rows = given.rows(["6"])
    predicted, kept = regressors.fit_predict("ridge", {"alpha": 10.0}, "all", given, train, rows, 0)
    seen = given.rows(train)
    x = np.delete(given.x, 6, axis=1)  # the column that was never measured
    mean, scale = np.nanmean(x[seen], axis=0), np.nanstd(x[seen], axis=0)
    scale[scale == 0] = 1
    x = np.nan_to_num((x - mean) / scale).round(DECIMALS)
    known = seen & ~np.isnan(given.y)
    y, middle = given.y[known], x[known].mean(axis=0)
    centred = x[known] - middle
    weights = np.linalg.solve(centred.T @ centred + 10 * np.eye(6), centred.T @ (y - y.mean()))
    assert predicted == pytest.approx((x[rows] - middle) @ weights + y.mean(), rel=10.0**-DECIMALS)
    assert kept == len(FEATURES) + 1


@pytest.mark.parametrize("name", NAMES)
def test_units_do_not_matter(name):
    """A target in thousandths of its unit is predicted a thousand times as large."""
    data, train = dataset(4), ["0", "1", "2"]
    larger = Dataset("tidy", data.frame.assign(VB=1000 * data.frame["VB"]), FEATURES)
    one, other = (
        regressors.fit_predict(name, GRID[name][-1], "all", given, train, given.rows(["3"]), 0)[0]
        for given in (arrays(data), arrays(larger))
    )
    assert other == pytest.approx(1000 * one, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_moves_those_that_draw_and_no_others(name):
    """Forest and boosting differ between seeds, each repeats itself."""
    given = arrays(dataset(4))
    settings = GRID[name][0]
    first, again, other = (
        regressors.fit_predict(name, settings, "all", given, ["0", "1", "2"], given.rows(["3"]), seed)[0].tolist()
        for seed in (1, 1, 2)
    )
    assert first == again
    assert (first != other) == (name in SEEDED)
