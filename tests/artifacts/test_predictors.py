"""What predicts, in which order, and which of the wear laws is compared with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from artifacts import predictors
from artifacts.predictors import Predictor
from artifacts.results import Results
from artifacts.stats import Held


def law(name: str, error: float, seeds: int = 1, target: str = "VB") -> Predictor:
    """A predictor that is off by `error` at one of four cuts, the same for each seed."""
    measured = np.arange(4.0)
    prediction = np.repeat((measured + np.array([error, 0, 0, 0]))[:, None], seeds, axis=1)
    return Predictor(name, (name,), {target: Held(np.array(list("abcd")), measured, prediction)})


def test_dense_first_baselines_last(found: Results):
    """The dense network, the variants as planned and marked, the baselines; each with sources and known targets."""
    known = predictors.predictors(found)
    assert [one.label for one in known] == ["dense", "sparse", "first-version †", "mean", "wear-law"]
    assert all(one.source for one in known)
    assert [sorted(one.held) for one in known] == [["VB", "thermal"]] * 4 + [["VB"]]
    assert known[0].held["VB"].prediction.shape == (27, 2)
    assert known[-1].held["VB"].prediction.shape == (27, 1)


def test_the_best_wear_law_is_the_one_to_beat():
    """Of all wear laws, whatever they are called after that and however many seeds they have, the most accurate."""
    known = [law("wear-law", 0.5, 3), law("wear-law-growth", 0.2), law("wear-lawless", 0.0), law("ridge", 0.0)]
    best = predictors.best_wear_law(known, ("VB",))
    assert best is known[1]
    better = law("wear-law-second", 0.1, 2)
    assert predictors.best_wear_law([*known, better], ("VB",)) is better
    assert predictors.best_wear_law(known[2:], ("VB",)) is None
    assert predictors.best_wear_law(known, ("VB", "thermal")) is None
    assert predictors.best_wear_law([law("wear-law", 0.5, target="thermal")], ("VB",)) is None


def test_predictors_are_found_by_their_plain_name(found: Results):
    """`dense`, a variant without its mark, a baseline; only where all targets are predicted."""
    for name, label in (("dense", "dense"), ("first-version", "first-version †"), ("mean", "mean")):
        one = predictors.find(found, name, ("VB", "thermal"))
        assert one is not None
        assert one.label == label
    assert predictors.find(found, "wear-law", ("VB",)) is not None
    assert predictors.find(found, "wear-law", ("VB", "thermal")) is None
    assert predictors.find(found, "nobody", ("VB",)) is None
    assert predictors.find(replace(found, baselines=()), "wear-law", ("VB",)) is None
