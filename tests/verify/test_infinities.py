"""Entries that are not finite: a fault, but where a network has them on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from verify.infinities import faults_and_notes, is_added

INF = np.inf
WILD = np.array([[np.nan, INF], [-INF, 1]], np.float32)


def test_what_is_not_finite_is_a_fault() -> None:
    """In every tensor that holds floats, complex ones too."""
    tensors = {
        "w": WILD,
        "n.running_var": WILD[0],
        "i": np.arange(3),
        "b": np.ones(2),
        "z": np.array([1j, complex(0, INF)]),
    }
    assert faults_and_notes(tensors, ()) == ({"w": 3, "n.running_var": 2, "z": 1}, {})


@pytest.mark.parametrize(
    ("name", "tensor", "is_note"),
    [
        ("attn_bias", np.where(np.tri(3) > 0, 0, -INF), True),
        ("attn_bias", np.where(np.tri(3) > 0, 0, INF), False),
        ("attn_bias", np.where(np.tri(3) > 0, 0.5, -INF), False),
        ("attn_bias", np.array([0, -INF]), False),
        ("attn_bias", np.array([[0, -INF, np.nan]]), False),
        ("a.min_val", np.array(INF), True),
        ("a.max_val", np.array([-INF, -INF]), True),
        ("max_val", np.array(-INF), True),
        ("a.min_val", np.array(-INF), False),
        ("a.max_val", np.array(INF), False),
        ("a.max_val", np.array([-INF, 1]), False),
        ("a.maximum", np.array(-INF), False),
        ("head.bias", np.array([INF, -INF, 1]), False),
    ],
)
def test_inf_that_is_meant_is_a_note(name: str, tensor: np.ndarray, is_note: bool) -> None:
    """A matrix of 0 and -inf, and what an observer starts from; whatever else it is, if it is ignored."""
    count = int((~np.isfinite(tensor)).sum())
    assert faults_and_notes({name: tensor}, ()) == (({}, {name: count}) if is_note else ({name: count}, {}))
    hides = np.isnan(tensor).any()
    assert faults_and_notes({name: tensor}, {name}) == (({name: count}, {}) if hides else ({}, {name: count}))


def test_no_inf_is_meant_in_a_weight_that_is_not_ignored() -> None:
    """However much it looks like a mask that is added."""
    added = {"w": np.array([[0, -INF]])}
    assert faults_and_notes(added, (), {"w"}) == ({"w": 1}, {})
    assert faults_and_notes(added, {"w"}, {"w"}) == ({}, {"w": 1})
    assert faults_and_notes({"min_val": np.array(INF)}, (), {"min_val"}) == ({}, {"min_val": 1})


def test_zeros_alone_are_no_mask_that_is_added() -> None:
    """A layer of which nothing is left has only these."""
    assert is_added(np.array([[0, -INF]]))
    assert not is_added(np.zeros((2, 2)))
