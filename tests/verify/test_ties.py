"""Ties at the threshold: of the cut over all layers, or of a layer's own cut, among finite magnitudes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from verify.checkpoints import audit_states
from verify.findings import Finding


def rows(*values: list[float]) -> np.ndarray:
    """A matrix."""
    return np.array(values, np.float32)


def ties(*states: dict[str, Any]) -> list[Finding]:
    """What is said of ties."""
    return [finding for finding in audit_states(states).findings if finding.check == "ties"]


def test_ties_of_layers_that_were_cut_one_by_one() -> None:
    """Torch prunes each by itself; over both there is no tie, since the magnitudes of the second are smaller."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    first.weight.data = torch.tensor([[1.0, 2, 3, 3], [3, 3, 4, 4], [5, 6, 7, 8], [9, 9, 9, 9]])
    second.weight.data = torch.arange(1.0, 17.0).reshape(4, 4) / 1000
    model = nn.Sequential(first, second)
    dense = copy.deepcopy(model.state_dict())
    for layer in model:
        prune.l1_unstructured(layer, "weight", amount=4)
    assert ties(dense, copy.deepcopy(model.state_dict())) == [
        Finding(
            "ties",
            "note",
            "stage 1: the cut of 0.weight goes through weights of equal magnitude 3; pruned of them: 0.weight 2 of 4",
            data={"stage": 1, "magnitude": 3.0, "layers": {"0.weight": [2, 2]}},
        )
    ]


def test_each_layer_with_a_tie_of_its_own_is_named() -> None:
    """A layer that was cut cleanly between them is not, nor one of which nothing or everything went."""
    before = {
        "a": rows([1, 1, 2]),
        "b": rows([5, 6, 7]),
        "c": rows([9, -9, 9]),
        "d": rows([0.5, 0.5]),
        "e": rows([8, 8]),
    }
    after = {"a": rows([0, 1, 2]), "b": rows([0, 6, 7]), "c": rows([9, 0, 9]), "d": rows([0.5, 0.5]), "e": rows([0, 0])}
    assert [(finding.data["magnitude"], finding.data["layers"]) for finding in ties(before, after)] == [
        (1.0, {"a": [1, 1]}),
        (9.0, {"c": [1, 2]}),
    ]


def test_a_tie_over_all_layers_explains_those_of_single_ones() -> None:
    """It is told once, with every layer that has weights of that magnitude."""
    (tie,) = ties({"a": rows([1, 1, 2]), "b": rows([1, 3])}, {"a": rows([0, 1, 2]), "b": rows([1, 3])})
    assert (
        tie.message == "stage 1: the cut goes through weights of equal magnitude 1; pruned of them: a 1 of 2, b 0 of 1"
    )
    assert tie.data["layers"] == {"a": [1, 1], "b": [0, 1]}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kept", [True, False])
def test_values_that_are_not_finite_neither_hide_a_tie_nor_make_one(value: float, kept: bool) -> None:
    """A NaN is no largest and no smallest, and inf is not the magnitude of a tie."""
    dense, stage = rows([value, 2, 2, 3]), rows([value if kept else 0, 0, 2, 3])
    assert [tie.data["layers"] for tie in ties({"w": dense}, {"w": stage})] == [{"w": [1, 1]}]
    assert ties({"w": rows([value, value, 3])}, {"w": rows([0, value, 3])}) == []


def test_a_layer_of_another_shape_takes_no_part_alone() -> None:
    """The others are looked at; so is one whose mask is not in the file left out."""
    before, after = {"a": rows([1, 1, 2]), "b": rows([1, 1, 1])}, {"a": rows([0, 1, 2]), "b": rows([1, 1])}
    assert [tie.data["layers"] for tie in ties(before, after)] == [{"a": [1, 1]}]
    hidden = {"a": after["a"], "b.parametrizations.weight.original": rows([0, 1, 1])}
    plain = {"a": before["a"], "b.weight": before["b"]}
    assert [tie.data["layers"] for tie in ties(plain, hidden)] == [{"a": [1, 1]}]
    assert [tie.data["stage"] for tie in ties(hidden, {**plain, "a": rows([0, 1, 2])})] == []
