"""The recurrent baseline: chosen inside the training cases, the same alone as in a stack, in the order it was asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spinn import gru, recurrent
from spinn.data.dataset import Dataset
from spinn.gru import GRID, Wanted
from spinn.recurrent import HIDDEN
from spinn.regressors import INNER_FOLDS, Arrays

TRAIN = tuple(str(case) for case in range(6))
FAST = tuple({"learning_rate": rate, "epochs": 2} for rate in (1e-3, 1e-2))


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """Wear of seven tools, a few labels missing, their lives of different lengths; the last one is held out."""
    draw = np.random.default_rng(5)
    rows = []
    for case in range(7):
        for run in range(1, 5 + case):
            force = draw.normal(100, 20)
            rows.append(
                {"case": str(case), "run": run, "time": 2.0 * run, "DOC": 0.75 * (1 + case % 2), "feed": 0.25}
                | {"steel": case % 2, "power": np.nan, "force": force}
                | {"VB": np.nan if run == 2 else 0.02 * run + 0.001 * force, "thermal": np.nan}
            )
    features = ("time", "DOC", "feed", "steel", "force")
    return Arrays.of(Dataset("tidy", pd.DataFrame(rows), features), "VB")


def quiet(_: str) -> None:
    """Say nothing."""


def test_it_has_the_budget_of_a_regressor():
    """Six candidates, all different."""
    assert len({str(settings) for settings in GRID}) == len(GRID) == 6


def test_a_score_is_the_error_on_inner_held_out_cases(arrays, monkeypatch):
    """By hand: case i is held out in turn i mod 5, all candidates on the same cuts, and the best is chosen."""
    monkeypatch.setattr(gru, "GRID", FAST)
    (choice,) = gru.choose(arrays, [TRAIN], 3, "cpu", quiet)
    scores = []
    for settings in FAST:
        squares = []
        for first in range(INNER_FOLDS):
            held = TRAIN[first::INNER_FOLDS]
            inner = tuple(case for case in TRAIN if case not in held)
            (predicted,) = gru.predict(arrays, [Wanted(inner, 3, settings)], "cpu", quiet)
            rows = arrays.rows(held) & ~np.isnan(arrays.y)
            squares.extend((predicted - arrays.y)[rows] ** 2)
        scores.append(np.mean(squares))
    assert [one.score for one in choice.candidates] == pytest.approx(scores, rel=1e-5)
    assert choice.chosen == int(np.argmin(scores))
    assert gru.chosen(choice, TRAIN, 9) == Wanted(TRAIN, 9, FAST[choice.chosen])


def test_each_fold_has_a_choice_of_its_own(arrays, monkeypatch):
    """Chosen together or alone, it is the same one."""
    monkeypatch.setattr(gru, "GRID", FAST)
    both = gru.choose(arrays, [TRAIN, TRAIN[2:]], 3, "cpu", quiet)
    alone = gru.choose(arrays, [TRAIN[2:]], 3, "cpu", quiet)
    assert [one.score for one in both[1].candidates] == pytest.approx([one.score for one in alone[0].candidates])
    assert both[0].candidates[0].score != both[1].candidates[0].score


def test_networks_come_back_in_the_order_they_were_asked_for(arrays, monkeypatch):
    """Whatever is trained together, in stacks of two: each predicts what it predicts alone."""
    monkeypatch.setattr(gru, "_STACK", 2)
    wanted = [Wanted(TRAIN[1:], seed, FAST[seed % 2]) for seed in range(6)]
    said: list[str] = []
    together = gru.predict(arrays, wanted, "cpu", said.append)
    for one, predicted in zip(wanted, together, strict=True):
        assert gru.predict(arrays, [one], "cpu", quiet)[0] == pytest.approx(predicted, rel=1e-4)
    assert said[0] == "stack 1 of 4, epoch 1 of 2"


@pytest.mark.parametrize("candidate", range(2))
def test_what_is_held_out_reaches_nothing(arrays, candidate):
    """Absurd labels and features of the seventh tool leave choice and predictions of the others as they were."""
    y, x = arrays.y.copy(), arrays.x.copy()
    held_out = arrays.rows(["6"])
    y[held_out], x[held_out] = 1e6, 1e6
    poisoned = Arrays(arrays.case, x, y, "VB")
    wanted = [Wanted(TRAIN, 0, FAST[candidate])]
    honest = gru.predict(arrays, wanted, "cpu", quiet)[0]
    assert np.array_equal(honest[~held_out], gru.predict(poisoned, wanted, "cpu", quiet)[0][~held_out])


def test_an_output_knows_the_cuts_so_far(arrays):
    """A later force changes what is said of later cuts of that tool alone."""
    x = arrays.x.copy()
    of_tool = np.flatnonzero(arrays.rows(["6"]))
    x[of_tool[3], 4] += 500
    wanted = [Wanted(TRAIN, 0, FAST[0])]
    before = gru.predict(arrays, wanted, "cpu", quiet)[0]
    after = gru.predict(Arrays(arrays.case, x, arrays.y, "VB"), wanted, "cpu", quiet)[0]
    assert np.array_equal(np.flatnonzero(before != after), of_tool[3:])


def test_its_size_is_that_of_three_gates_and_an_output(arrays):
    """Weights of input and state, two biases a gate, and a linear output."""
    assert gru.size(arrays) == 3 * HIDDEN * (5 + HIDDEN + 2) + HIDDEN + 1


def test_a_rate_is_the_candidate_s(arrays, monkeypatch):
    """Epochs and rate reach the trainer."""
    seen = []
    monkeypatch.setattr(recurrent, "fit", lambda *_, **settings: seen.append(settings))
    gru.predict(arrays, [Wanted(TRAIN, 0, {"learning_rate": 0.5, "epochs": 7})], "cpu", quiet)
    assert (seen[0]["learning_rate"], seen[0]["epochs"]) == (0.5, 7)
