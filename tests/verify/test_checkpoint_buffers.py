"""Tensors beside the weights: zeros that no mask states, buffers that are not finite, parameters called masks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from spinn.errors import InputError
from verify.checkpoints import audit_states
from verify.findings import Finding

State = dict[str, Any]
WEIGHT = np.arange(1, 257, dtype=np.float32).reshape(16, 16)


def above(count: int) -> np.ndarray:
    """A mask without the smallest `count` of the weights."""
    return (count < WEIGHT).astype(np.float32)


def found(
    check: str, *states: State, ratios: Sequence[Any] | None = None, ignored: Sequence[str] = ()
) -> list[Finding]:
    """Findings of one check."""
    verdict = audit_states(states, ratios, ignored_layers=ignored)
    return [finding for finding in verdict.findings if finding.check == check]


def by_mask(kept: np.ndarray, mask: np.ndarray, name: str = "l.mask") -> State:
    """A weight with zeros, and a mask beside it that may state fewer."""
    weight = "l.weight_orig" if name == "l.weight_mask" else "l.weight"
    return {weight: WEIGHT * kept, name: mask}


# --- zeros beside a mask --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["l.mask", "l.weight_mask"])
def test_what_was_pruned_by_zeros_beside_a_mask_is_pruned(name: str) -> None:
    """A mask of stage 1 that is never updated: what stage 2 pruned is alive again in stage 3, which is an error."""
    first = above(64)
    states = [{"l.weight": WEIGHT}, *(by_mask(kept, first, name) for kept in (first, above(112), first))]
    (error,) = found("resurrection", *states)
    assert (error.severity, error.data["stage"], error.data["count"], error.data["largest"]) == ("error", 3, 48, 112.0)
    (counts,) = found("counts", *states[:3], ratios=[".25", ".25"])
    assert counts.data["counted"] == counts.data["planned"] == [192, 144]
    notes = [finding for finding in found("sparsity", *states) if "kept_weights" not in finding.data]
    assert notes == [
        Finding(
            "sparsity",
            "note",
            "stage 2: 48 weights that masks keep are zero, which they were not in the dense network; they count as "
            "pruned (l.weight)",
            data={"stage": 2, "count": 48, "layers": {"l.weight": 48}},
        )
    ]


def test_a_structural_mask_does_not_hide_that_all_came_back() -> None:
    """A masked autoencoder has the same mask in every state; it is pruned by zeros."""
    mask = np.tri(16, dtype=np.float32)
    dense, stage = by_mask(mask, mask), by_mask(mask * above(120), mask)
    assert audit_states([dense, stage, stage]).holds
    (error,) = found("resurrection", dense, stage, dense)
    assert error.data["count"] == int((mask - mask * above(120)).sum())


@pytest.mark.parametrize(("zeros", "pruned"), [(7, 0), (8, 8)])
def test_a_handful_of_zeros_beside_a_mask_is_chance(zeros: int, pruned: int) -> None:
    """Below eight over all layers of a stage; from there on, in every stage."""
    ones = np.ones_like(WEIGHT)
    dense, stage = by_mask(ones, ones), by_mask(above(zeros), ones)
    assert found("sparsity", dense, stage)[1].data["kept_weights"] == 256 - pruned
    later = found("sparsity", dense, stage, by_mask(above(3), ones))
    assert [finding.data["kept_weights"] for finding in later if "kept_weights" in finding.data][2] == 256 - (
        3 if pruned else 0
    )
    assert audit_states([dense, stage, dense]).holds == (not pruned)


def test_zeros_that_the_dense_network_had_are_no_pruning() -> None:
    """Biases start at zero, whether a mask keeps them or not; where the mask says so, they are pruned."""
    ones = np.ones_like(WEIGHT)
    assert found("sparsity", by_mask(above(30), ones), by_mask(above(30), ones))[1].data["kept_weights"] == 256
    dense = by_mask(above(30), above(30))
    assert found("sparsity", dense, {"l.weight": WEIGHT * above(30)})[1].data["kept_weights"] == 226


def test_counts_by_the_masks_alone_hold_too() -> None:
    """Small weights that were rounded to zero beside the mask: which is said."""
    (counts,) = found("counts", {"l.weight": WEIGHT}, by_mask(above(80), above(64)), ratios=[".25"])
    assert (counts.severity, counts.data["counted"]) == ("note", [176])
    assert counts.data["convention"] == "rounded half to even at each stage, zeros beside the masks counted as kept"


# --- not finite -----------------------------------------------------------------------------------------------------


def test_a_causal_buffer_is_a_note_and_what_is_ignored_too() -> None:
    """An inf that is meant must not fail an audit; a NaN cannot be."""
    causal = np.where(np.tri(4) > 0, 0, -np.inf)
    dense = {"l.weight": WEIGHT, "attn_bias": causal}
    first, second = found("non-finite", dense, dense | {"l.weight": WEIGHT * above(128)})
    assert first == Finding(
        "non-finite",
        "note",
        "dense: 6 entries are inf where that may be meant: in masks that are added, in observers that have seen "
        "nothing, or ignored (attn_bias)",
        data={"stage": 0, "count": 6, "layers": {"attn_bias": 6}},
    )
    assert second.severity == "note"
    (counts,) = found("counts", dense, dense | {"l.weight": WEIGHT * above(128)}, ratios=[".5"])
    assert (counts.severity, counts.data["planned"]) == ("note", [128])
    slopes = {"l.weight": WEIGHT, "n.running_var": np.array([1, np.inf])}
    for ignored, severity in (((), "error"), (("n",), "note"), (("*.running_var",), "note"), (("l",), "error")):
        head = {"head.weight": WEIGHT}
        assert {f.severity for f in found("non-finite", slopes | head, slopes | head, ignored=ignored)} == {severity}
    broken = {"l.weight": WEIGHT, "n.running_var": np.array([np.nan, np.inf])}
    assert {f.severity for f in found("non-finite", broken, broken, ignored=["n"])} == {"error"}


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization:DeprecationWarning")
def test_observers_before_their_first_batch_are_a_note() -> None:
    """torch.ao.quantization starts them at inf and −inf."""
    dense = {"l.weight": WEIGHT, "l.fake.min_val": torch.tensor(torch.inf), "l.fake.max_val": torch.tensor(-torch.inf)}
    stage = {**dense, "l.fake.min_val": torch.tensor(-1.0), "l.fake.max_val": torch.tensor(1.0)}
    assert [(finding.severity, finding.data["stage"]) for finding in found("non-finite", dense, stage)] == [("note", 0)]


# --- parameters that are called masks -------------------------------------------------------------------------------


def test_a_matrix_that_is_called_a_mask_and_is_none_is_a_parameter() -> None:
    """Without it the parameters and the reduction are wrong; pruned to nothing, it is one still."""
    dense = {"enc.mask": WEIGHT, "l.weight": WEIGHT}
    half = {"enc.mask": WEIGHT * above(128), "l.weight": WEIGHT * above(128)}
    first, second = found("sparsity", dense, half)
    assert (first.data["parameters"], second.data["parameters"], second.data["reduction"]) == (512, 256, 0.5)
    (collapsed,) = found("collapsed-layer", dense, half, half | {"enc.mask": WEIGHT * 0})
    assert collapsed.data["layer"] == "enc.mask"
    gate = {"g.mask": np.ones_like(WEIGHT), "l.weight": WEIGHT}
    assert found("counts", gate, half | {"g.mask": WEIGHT / 300, "enc.mask": above(3)}) == []


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.3, np.float64(0.3), np.float32(0.5), None])
def test_ratios_that_are_not_exact_are_refused(ratio: Any) -> None:
    """0.3 in binary is not three tenths."""
    kind = type(ratio).__name__
    message = f"ratios, {ratio!r} = {kind}: expected exact ones, '0.30' or fractions.Fraction(3, 10)"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        audit_states([{"w": WEIGHT}] * 2, [ratio])


def test_fractions_and_integers_are_ratios() -> None:
    """They are exact; findings have them as text."""
    states = [{"w": WEIGHT}, {"w": WEIGHT * above(64)}, {"w": WEIGHT * above(64)}]
    (counts,) = found("counts", *states, ratios=[Fraction(1, 4), 0])
    assert (counts.data["ratios"], counts.data["planned"]) == (["1/4", "0"], [192, 192])


def test_a_text_is_no_list() -> None:
    """Its letters are no ratios and no layers."""
    states = [{"2.weight": WEIGHT}] * 2
    with pytest.raises(InputError, match=r"^ratios = '\.3': expected a list such as \['\.30', '\.30'\]$"):
        audit_states(states, ".3")
    with pytest.raises(InputError, match=r"^ignored_layers = '2': expected a list such as \['head'\]$"):
        audit_states(states, ignored_layers="2")
