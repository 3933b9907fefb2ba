"""What each finding about state dicts says, to the last word and number, and where its limits lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from spinn.errors import InputError
from verify.checkpoints import audit_files, audit_states
from verify.findings import Finding

State = dict[str, Any]
LEDGER = "rounded half to even at each stage, of the weights still active"


def rows(*values: Sequence[float]) -> np.ndarray:
    """A matrix."""
    return np.array(values, np.float32)


def masked(name: str, weight: np.ndarray, mask: np.ndarray) -> State:
    """A weight under its mask, as torch.nn.utils.prune has it."""
    return {f"{name}_orig": weight, f"{name}_mask": mask}


def found(check: str, *states: State, ratios: Sequence[str] | None = None) -> list[Finding]:
    """Findings of one check."""
    return [finding for finding in audit_states(states, ratios).findings if finding.check == check]


def kept_of(total: int, *kept: int) -> list[State]:
    """States of one layer of `total` weights, which keep as many as said."""
    weight = np.arange(1, total + 1, dtype=np.float32).reshape(1, -1)
    return [{"w": np.where(np.arange(total) >= total - count, weight, 0)} for count in (total, *kept)]


# --- counts ---------------------------------------------------------------------------------------------------------


def test_sparsity_counts_what_is_a_parameter() -> None:
    """Weights and biases; neither running statistics nor integers, nor a flag, nor a mask."""
    dense = {
        "a.weight": rows([1, 2, 3, 4], [5, 6, 7, 8]),
        "a.bias": np.ones(2, np.float32),
        "n.weight": np.ones(3, np.float32),
        "n.running_mean": np.ones(100, np.float32),
        "n.running_var": np.ones(100, np.float32),
        "n.num_batches_tracked": np.array(3, np.float32),
        "index": np.arange(12).reshape(3, 4),
    }
    stage = dense | {"a.weight": rows([0, 0, 0, 0], [0, 6, 7, 8])}
    first, second = found("sparsity", dense, stage)
    assert first == Finding(
        "sparsity",
        "note",
        "dense: 8 of 8 prunable weights, weight sparsity 0.00 %; 13 of 13 parameters, reduction 0.00 %",
        data={"stage": 0, "name": "dense", "kept_weights": 8, "weights": 8, "weight_sparsity": 0.0}
        | {"parameters": 13, "reduction": 0.0, "layers": {"a.weight": [8, 8]}},
    )
    assert second == Finding(
        "sparsity",
        "note",
        "stage 1: 3 of 8 prunable weights, weight sparsity 62.50 %; 8 of 13 parameters, reduction 38.46 %",
        data={"stage": 1, "name": "stage 1", "kept_weights": 3, "weights": 8, "weight_sparsity": 0.625}
        | {"parameters": 8, "reduction": 1 - 8 / 13, "layers": {"a.weight": [3, 8]}},
    )


def test_a_vector_with_a_mask_is_a_weight() -> None:
    """In every state, also in those where it has none; then what has no mask anywhere is not prunable."""
    dense: State = {"n": np.arange(3), "v": np.ones(4, np.float32), "w": rows([1, 2])}
    stage = {"n": np.arange(3), **masked("v", np.ones(4, np.float32), np.array([1, 1, 0, 1])), "w": rows([0, 2])}
    assert found("counts", dense, stage) == []
    first, second = found("sparsity", dense, stage)
    assert (first.data["layers"], first.data["not_pruned"]) == ({"v": [4, 4]}, ["w"])
    assert (second.data["layers"], second.data["not_pruned"]) == ({"v": [3, 4]}, ["w"])
    assert (first.data["parameters"], second.data["parameters"]) == (6, 5)
    assert second.data["reduction"] == 1 - 5 / 6


def test_layers_that_differ_are_named_and_the_others_audited() -> None:
    """One stranger ends neither the counts nor the search for weights that came back."""
    states = [
        {"a": rows([1, 2]), "c": rows([1, 2, 3, 4])},
        {"b": rows([1, 2]), "c": rows([0, 0, 3, 4])},
        {"a": rows([1, 2]), "c": rows([1, 0, 3, 4])},
    ]
    verdict = audit_states(states, [".5", "0"], ["x", "y", "z"])
    assert [finding.check for finding in verdict.findings] == [*["sparsity"] * 3, "counts", "counts", "resurrection"]
    assert verdict.findings[3] == Finding(
        "counts",
        "error",
        "y: layers ['a', 'b'] are not in both it and x",
        data={"stage": 1, "layers": ["a", "b"]},
    )
    assert (verdict.findings[4].severity, verdict.findings[4].data["counted"]) == ("error", [2, 3])
    assert verdict.findings[5].data["layers"] == {"c": 1}


def test_a_prefix_before_all_names_of_some_states_is_no_difference() -> None:
    """Lightning's `model.`, in whichever of them; where all have it, or names differ in more, it is a part of them."""
    dense = {"0.weight": rows([1, 2]), "2.weight": rows([3, 4]), "2.bias": np.ones(1)}
    stage = {**dense, "0.weight": rows([0, 2])}

    def before(state: State, prefix: str) -> State:
        return {f"{prefix}{name}": tensor for name, tensor in state.items()}

    for one, two, names in (
        (dense, before(stage, "model."), ["0.weight", "2.weight"]),
        (before(dense, "model."), stage, ["0.weight", "2.weight"]),
        (before(dense, "model."), before(stage, "net.model."), ["model.0.weight", "model.2.weight"]),
        (before(dense, "model."), before(stage, "model."), ["model.0.weight", "model.2.weight"]),
    ):
        verdict = audit_states([one, one, two], ["0", ".25"])
        assert verdict.holds
        assert list(verdict.findings[2].data["layers"]) == names
        assert audit_states([one, one, two], ignored_layers=[names[1]]).holds
    for other in (
        before(stage, "model"),
        before(stage, "a.") | {"a.more": rows([1, 2])},
        before(stage, "a.") | {"more": rows([1, 2])},
        {f"{name}.a": tensor for name, tensor in stage.items()},
        before({"0.weight": stage["0.weight"]}, "model."),
        {**before(stage, "a."), "b.2.weight": rows([3, 4])},
    ):
        assert found("counts", dense, other)[0].message.startswith("stage 1: layers [")
    for states in ([dense, {"n": np.arange(3)}], [{"n": np.arange(3)}, dense]):
        with pytest.raises(InputError, match="no weights"):
            audit_states(states)


def test_counts_as_planned() -> None:
    """Every number that was compared is in the data."""
    assert found("counts", *kept_of(10, 8, 6), ratios=[".25", ".25"]) == [
        Finding(
            "counts",
            "note",
            f"exactly as planned: {LEDGER}",
            data={"ratios": [".25", ".25"], "planned": [8, 6], "counted": [8, 6], "convention": LEDGER},
        )
    ]
    assert found("counts", *kept_of(10, 8, 6)) == []


def test_counts_by_another_sound_convention() -> None:
    """It is named, with the largest distance of a stage from the ledger."""
    assert found("counts", *kept_of(13, 6, 4, 3), ratios=[".5", ".3", ".1"]) == [
        Finding(
            "counts",
            "note",
            f"as planned, rounded up at each stage; at most 2 away from the ledger ({LEDGER})",
            data={"ratios": [".5", ".3", ".1"], "planned": [7, 5, 5], "counted": [6, 4, 3]}
            | {"convention": "rounded up at each stage"},
        )
    ]


def test_each_layer_may_be_rounded_by_itself() -> None:
    """Two layers of three, half of each: two go from either, of all six three would."""
    weight = rows([1, 2, 3])
    half = rows([0, 0, 3])
    (counts,) = found("counts", {"a": weight, "b": weight}, {"a": half, "b": half}, ratios=[".5"])
    assert counts.data["convention"] == "each layer by itself, rounded half to even at each stage"


def test_counts_near_the_ledger_by_no_known_convention() -> None:
    """Within one weight a stage is no excuse; that they are that near is said."""
    near = "within one weight a stage, but by no convention known here"
    for kept, words in (
        ((801, 642), near),
        ((799, 640), near),
        ((800, 642), near),
        ((801, 643), None),
        ((802, 642), None),
        ((799, 637), None),
        ((799, 643), None),
    ):
        (counts,) = found("counts", *kept_of(1000, *kept), ratios=[".2", ".2"])
        number = 1 if kept[0] == 800 else 0
        planned = (800, 640)
        assert counts == Finding(
            "counts",
            "error",
            f"stage {number + 1}: {kept[number]} weights are kept, planned {planned[number]} ({LEDGER})"
            + (f"; {words}" if words else ""),
            data={"ratios": [".2", ".2"], "planned": [800, 640], "counted": list(kept), "looks_like": None}
            | {"layers": {"dense": {"w": 1000}, "stage 1": {"w": kept[0]}, "stage 2": {"w": kept[1]}}},
        )


def test_counts_that_are_wrong() -> None:
    """The first stage that is, and every layer's count."""
    assert found("counts", *kept_of(1000, 800, 600), ratios=[".2", ".3"]) == [
        Finding(
            "counts",
            "error",
            f"stage 2: 600 weights are kept, planned 560 ({LEDGER})",
            data={"ratios": [".2", ".3"], "planned": [800, 560], "counted": [800, 600], "looks_like": None}
            | {"layers": {"dense": {"w": 1000}, "stage 1": {"w": 800}, "stage 2": {"w": 600}}},
        )
    ]


@pytest.mark.parametrize(
    ("kept", "mistake"),
    [
        ((801, 602), "the ratios are taken of all weights and added up, not of the weights still active"),
        ((799, 598), "the ratios are taken of all weights and added up, not of the weights still active"),
        (
            (800, 802),
            "each stage prunes its ratio of all weights anew, those pruned before among them: stages do not add up",
        ),
        ((802, 602), None),
        ((801, 603), None),
    ],
)
def test_a_mistake_is_known_within_a_weight_a_stage(kept: tuple[int, int], mistake: str | None) -> None:
    """And named in the message."""
    (counts,) = found("counts", *kept_of(1000, *kept), ratios=[".2", ".2"])
    assert counts.data["looks_like"] == mistake
    assert counts.message.endswith(f"({LEDGER}); it looks as if {mistake}" if mistake else f"({LEDGER})")


# --- masks ----------------------------------------------------------------------------------------------------------


def test_masks_that_grow() -> None:
    """Each layer with the most that any earlier stage had pruned of it; one that did not grow is not named."""
    weight = rows([1, 2, 3, 4])
    states = [
        {"a": weight, "b": weight, "c": weight},
        masked("a", weight, rows([0, 0, 0, 1])) | masked("b", weight, rows([1, 1, 1, 0])) | {"c": weight},
        masked("a", weight, rows([0, 0, 0, 1])) | masked("b", weight, rows([1, 1, 1, 0])) | {"c": weight},
        masked("a", weight, rows([1, 1, 0, 1])) | masked("b", weight, rows([1, 1, 1, 1])) | {"c": weight},
    ]
    assert found("masks-monotone", *states) == [
        Finding(
            "masks-monotone",
            "error",
            "stage 3: 3 weights that were pruned are kept again (a, b)",
            data={"stage": 3, "count": 3, "layers": {"a": 2, "b": 1}},
        )
    ]
    (back,) = found("resurrection", *states)
    assert back.message == "stage 3: 3 pruned weights are not zero; the largest is 4 (a, b)"
    assert back.data == {"stage": 3, "count": 3, "layers": {"a": 2, "b": 1}, "largest": 4.0}


def test_what_grew_since_any_earlier_stage_counts() -> None:
    """Not since the last one alone: what came back at stage 2 is still back at stage 3."""
    weight = rows([1, 2, 3, 4])
    masks = ([1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1], [1, 0, 1, 1])
    grown = found("masks-monotone", *(masked("a", weight, rows(mask)) for mask in masks))
    assert [(finding.data["stage"], finding.data["count"]) for finding in grown] == [(2, 1), (3, 1)]


def test_weights_that_come_back_without_masks() -> None:
    """The largest by magnitude, of all layers; those of a thin layer do not hide those of another."""
    states = [
        {"a": rows([1, 2, 3]), "b": rows([1, 2, 3])},
        {"a": rows([0, 0, 3]), "b": rows([0, 2, 3])},
        {"a": rows([-0.5, 0.25, 3]), "b": rows([0.125, 2, 3])},
    ]
    assert found("resurrection", *states) == [
        Finding(
            "resurrection",
            "error",
            "stage 2: 3 pruned weights are not zero; the largest is 0.5 (a, b)",
            data={"stage": 2, "count": 3, "layers": {"a": 2, "b": 1}, "largest": 0.5},
        )
    ]
    assert found("masks-monotone", *states) == []


def test_a_mask_beside_its_weight_may_hide_it() -> None:
    """A layer written by hand may multiply the two or not: its counts and masks are judged, and what is under them not.

    Other layers, of which the file says that they are masked, do not count there, and are noted as ever.
    """
    dense = {"a": rows([1, -3, 2]), "b": rows([4, 5, 6]), "c": rows([7, 8, 9])}
    stage = {"a": rows([1, -3, 2]), "a_mask": rows([0, 0, 1]), "b": rows([0, 0, 6]), "b_mask": rows([0, 0, 1])}
    stage |= masked("c", rows([7, 8, 9]), rows([0, 1, 1]))
    verdict = audit_states([dense, stage], ["5/9"])
    assert verdict.holds
    shown = [(finding.severity, finding.check) for finding in verdict.findings[2:]]
    assert shown == [("note", "counts"), ("unchecked", "resurrection"), ("note", "hidden-weights")]
    assert verdict.findings[3] == Finding(
        "resurrection",
        "unchecked",
        "stage 1: 2 weights under masks that lie beside them are not zero; the largest is 3; the file cannot say "
        "whether the network multiplies the two: if it does, save weight * mask; if not, they are back: mask after "
        "every step, which verify.watch checks (a)",
        data={"stage": 1, "count": 2, "layers": {"a": 2}, "largest": 3.0},
    )
    assert verdict.findings[4].data["layers"] == {"c": 1}
    again = {**stage, "a_mask": rows([1, 0, 1])}
    (grown,) = found("masks-monotone", dense, stage, again)
    assert (grown.severity, grown.data["layers"]) == ("error", {"a": 1})
    enforced = {**stage, "a": rows([0, 0, 2])}
    assert found("resurrection", dense, enforced) == []
    assert found("hidden-weights", dense, enforced)[0].data["layers"] == {"c": 1}


def test_a_mask_of_another_shape_is_told() -> None:
    """It is not passed over without a word; one that is the same along a dimension is a mask."""
    weight = rows([1, 2], [3, 4])
    row = {"w": weight, "w_mask": np.array([0, 1])}
    assert found(
        "not-read", {"w": weight}, {**row, "v_mask": np.array([0]), "v": weight[:1], "x_mask": np.array([0])}
    ) == [
        Finding(
            "not-read",
            "unchecked",
            "stage 1: w_mask, v_mask were not looked at: 0 and 1, but of other shapes than the tensors beside them; if "
            "they are masks, save them in those shapes",
            data={"stage": 1, "entries": ["w_mask", "v_mask"]},
        )
    ]
    column = {"w": weight, "w_mask": np.array([[0], [1]])}
    assert found("not-read", {"w": weight}, column) == []
    assert found("sparsity", {"w": weight}, column)[1].data["layers"] == {"w": [2, 4]}
    assert found("resurrection", {"w": weight}, column)[0].data["layers"] == {"w": 2}


def test_what_hides_under_masks() -> None:
    """Largest and count; inf is no size."""
    weight = rows([1, -2, 0, 4], [5, 6, 7, 8])
    mask = rows([0, 0, 0, 1], [1, 1, 1, 1])
    one, other = masked("a", weight, mask), masked("b", weight / 4, mask)
    assert found("hidden-weights", {"a": weight, "b": weight}, one | other) == [
        Finding(
            "hidden-weights",
            "note",
            "stage 1: under their masks 4 pruned weights are not zero; the largest is 2: harmless while the mask is "
            "there, back as soon as it is removed or lost (a, b)",
            data={"stage": 1, "count": 4, "layers": {"a": 2, "b": 2}, "largest": 2.0},
        )
    ]
    wild = masked("a", rows([np.inf, 0.5]), rows([0, 0]))
    assert found("hidden-weights", {"a": rows([1, 1])}, wild)[0].data["largest"] == 0.5
    only = masked("a", rows([np.inf, np.nan]), rows([0, 0]))
    assert found("hidden-weights", {"a": rows([1, 1])}, only)[0].data["largest"] == 0.0


@pytest.mark.parametrize(
    ("before", "after", "severity", "words"),
    [
        ((4, 5), (4, 3), "unchecked", "it shrank, and which of its weights are left cannot be seen from the files"),
        ((4, 5), (3, 4), "unchecked", "it shrank, and which of its weights are left cannot be seen from the files"),
        ((4, 5), (5, 4), "error", "it grew"),
        ((4, 5), (4, 6), "error", "it grew"),
        ((4, 5), (4, 5, 1), "error", "it grew"),
        ((4, 5, 1), (4, 5), "error", "it grew"),
    ],
)
def test_layers_of_another_shape(before: tuple[int, ...], after: tuple[int, ...], severity: str, words: str) -> None:
    """Smaller ones cannot be compared, larger ones have no place in pruning; the others are compared all the same."""
    states = [
        {"w": np.ones(before, np.float32), "z": rows([1, 2])},
        {"w": np.ones(after, np.float32), "z": rows([0, 2])},
        {"w": np.ones(after, np.float32), "z": rows([3, 2])},
    ]
    (shape,) = found("masks-monotone", *states)
    assert shape == Finding(
        "masks-monotone",
        severity,  # type: ignore[arg-type]
        f"stage 1: w is {before} before and {after} now: {words}",
        data={"stage": 1, "layer": "w"},
    )
    assert found("resurrection", *states)[0].data["layers"] == {"z": 1}
    assert found("ties", *states) == []


def test_parametrised_weights_without_their_masks() -> None:
    """As torch.ao.pruning saves them."""
    state = {"a.parametrizations.weight.original": rows([1, 2]), "b.parametrizations.weight.original": rows([1, 2])}
    assert found("masks-monotone", {"a.weight": rows([1, 2]), "b.weight": rows([1, 2])}, state) == [
        Finding(
            "masks-monotone",
            "unchecked",
            "stage 1: the masks of a.parametrizations.weight.original, b.parametrizations.weight.original are not in "
            "it, as torch.ao.pruning saves; loaded elsewhere, every weight is back; save it after squash_mask(); if no "
            "mask is meant, ignore them",
            data={"stage": 1}
            | {"layers": ["a.parametrizations.weight.original", "b.parametrizations.weight.original"]},
        )
    ]


def test_parametrised_weights_with_their_masks() -> None:
    """The mask of the same tensor, whatever else is parametrised beside it."""
    state = {
        "b.parametrizations.weight.0.mask": rows([1, 1]),
        "b.parametrizations.weight.original": rows([5, 6]),
        "a.parametrizations.weight.original": rows([1, 2]),
        "a.parametrizations.weight.0.scale": np.ones(1, np.float32),
        "a.parametrizations.weight.0.mask": rows([0, 1]),
    }
    verdict = audit_states([{"a.weight": rows([1, 2]), "b.weight": rows([5, 6])}, state])
    assert verdict.holds
    kept = [finding for finding in verdict.findings if finding.check == "sparsity"][1]
    assert kept.data["layers"] == {"b.weight": [2, 2], "a.weight": [1, 2]}
    assert not [finding for finding in verdict.findings if finding.check == "masks-monotone"]
    (hidden,) = [finding for finding in verdict.findings if finding.check == "hidden-weights"]
    assert hidden.data["layers"] == {"a.weight": 1}


def test_layers_that_collapse_or_get_thin() -> None:
    """None kept is an error; fewer than one in a hundred a note; one in a hundred nothing."""
    dense = {name: np.ones((10, size), np.float32) for name, size in (("a", 2), ("b", 11), ("c", 10))}
    stage = {name: np.zeros_like(weight) for name, weight in dense.items()}
    stage["b"][0, 0] = stage["c"][0, 0] = 1
    assert found("collapsed-layer", dense, stage) == [
        Finding(
            "collapsed-layer",
            "error",
            "stage 1: a keeps none of its 20 weights: nothing passes through it",
            data={"stage": 1, "layer": "a", "kept": 0, "weights": 20},
        ),
        Finding(
            "collapsed-layer",
            "note",
            "stage 1: b keeps 1 of 110 weights",
            data={"stage": 1, "layer": "b", "kept": 1, "weights": 110},
        ),
    ]


def test_ties() -> None:
    """Of each layer how many of the tied weights went, and how many there were; others are not named."""
    states = [
        {"a": rows([1, 9, 9]), "b": rows([2, -2, 9]), "c": rows([0.5, 2, 2]), "d": rows([2, 2, 9])},
        {"a": rows([0, 9, 9]), "b": rows([0, 0, 9]), "c": rows([0, 0, 2]), "d": rows([2, 2, 9])},
    ]
    assert found("ties", *states) == [
        Finding(
            "ties",
            "note",
            "stage 1: the cut goes through weights of equal magnitude 2; pruned of them: b 2 of 2, c 1 of 2, d 0 of 2",
            data={"stage": 1, "magnitude": 2.0, "layers": {"b": [2, 0], "c": [1, 1], "d": [0, 2]}},
        )
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [([1, 2, 3], [0, 2, 3]), ([3, 2, 3], [0, 2, 3]), ([1, 2, 3], [1, 2, 3]), ([1, 1, 1], [0, 0, 0])],
)
def test_no_tie(before: list[float], after: list[float]) -> None:
    """A clean cut, a choice by other things than magnitude, and no choice at all."""
    assert found("ties", {"w": rows(before)}, {"w": rows(after)}) == []


def test_a_tie_is_one_of_the_stage_before() -> None:
    """Stage 2 chose by what stage 1 had left, and what was pruned before takes no part."""
    states = [{"w": rows(values)} for values in ([1, 2, 3, 4], [0, 2, 2, 4], [0, 0, 2, 4])]
    (tie,) = found("ties", *states)
    assert (tie.data["stage"], tie.data["magnitude"], tie.data["layers"]) == (2, 2.0, {"w": [1, 1]})


# --- numbers --------------------------------------------------------------------------------------------------------


def test_entries_that_are_not_finite() -> None:
    """Counted in all tensors that hold floats."""
    state = {"a": rows([np.nan, np.inf, 1]), "bias": np.array([1, -np.inf]), "n": np.arange(2)}
    dense = {"a": rows([1, 1, 1]), "bias": np.ones(2), "n": np.arange(2)}
    assert found("non-finite", dense, state) == [
        Finding(
            "non-finite",
            "error",
            "stage 1: 3 entries are inf or NaN (a, bias)",
            data={"stage": 1, "count": 3, "layers": {"a": 2, "bias": 1}},
        )
    ]


def test_negative_zeros() -> None:
    """Of weights that are not masked at each use, after the dense network."""
    dense = {"a": rows([-0.0, 2, 3]), "b": rows([-1, -2, 3]), "c": rows([-1, -2, 3])}
    stage = {"a": rows([-0.0, 0, -3]), "b": rows([-0.0, -0.0, 3]), "c": rows([-1, 0, 3])}
    assert found("negative-zero", dense, stage) == [
        Finding(
            "negative-zero",
            "note",
            "stage 1: 3 zeros are −0.0, which a product with a mask leaves (a, b)",
            data={"stage": 1, "count": 3, "layers": {"a": 1, "b": 2}},
        )
    ]
    under = {name: rows([1, 0, 1]) for name in ("a_mask", "b_mask", "c_mask")}
    assert found("negative-zero", dense, {**stage, "b": rows([1, -1, 3]), **under}) == []
    parts = np.array([[complex(-0.0, 0.0), complex(0.0, -0.0), complex(0.0, -1.0), 0j]], np.complex64)
    assert found("negative-zero", {"w": parts + 1}, {"w": parts})[0].data["layers"] == {"w": 2}


def test_zeros_of_the_dense_network() -> None:
    """They count as kept while they are zero, and are not told where a mask is stated, nor in later stages."""
    dense = {"a": rows([0, 0, 3]), "b": rows([1, 0, 3])}
    zeros = found("sparsity", dense, dense)[2:]
    assert zeros == [
        Finding(
            "sparsity",
            "note",
            "dense: 3 weights of the dense network are zero; they count as kept as long as they stay so (a, b)",
            data={"stage": 0, "count": 3, "layers": {"a": 2, "b": 1}},
        )
    ]
    assert len(found("sparsity", {"a": rows([1, 2])}, {"a": rows([0, 2])})) == 2
    stated = masked("c", rows([0, 1]), rows([1, 1]))
    assert len(found("sparsity", stated, stated)) == 2


# --- refusals -------------------------------------------------------------------------------------------------------

WEIGHT = {"w": rows([1, 2])}
HALF = "is not 0 and 1 in the shape (1, 2); is it a mask?"


@pytest.mark.parametrize(
    ("states", "ratios", "message"),
    [
        ([WEIGHT], None, "states = 1: expected the dense network and at least one stage"),
        ([WEIGHT] * 2, [".1", ".2"], "ratios = .1,.2: 2 given for 1 stages; one for each"),
        ([WEIGHT] * 3, [".1", "x"], "ratios = .1,x: decimals such as 0.30, or quotients such as 3/10"),
        ([WEIGHT] * 3, [".1", "1/0"], "ratios = .1,1/0: decimals such as 0.30, or quotients such as 3/10"),
        ([WEIGHT] * 3, [".1", "1"], "ratios = .1,1: each is at least 0 and below 1; write 30 % as 0.30"),
        ([WEIGHT] * 3, ["-.1", ".1"], "ratios = -.1,.1: each is at least 0 and below 1; write 30 % as 0.30"),
        (
            [WEIGHT, {"b": np.ones(2)}],
            None,
            "stage 1: no weights; expected floating-point tensors with at least two dimensions that are not ignored",
        ),
        ([WEIGHT, masked("w", rows([1, 2]), rows([1, 0.5]))], None, f"stage 1: the mask of w_orig {HALF}"),
        ([WEIGHT, masked("w", rows([1, 2]), rows([1, 1, 1]))], None, f"stage 1: the mask of w_orig {HALF}"),
        ([WEIGHT, masked("w", rows([1, 2]), rows([0, 2]))], None, f"stage 1: the mask of w_orig {HALF}"),
    ],
)
def test_refusals(states: list[State], ratios: list[str] | None, message: str) -> None:
    """Name, value, what was expected, how to mend it."""
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        audit_states(states, ratios)


def test_a_name_for_each_state() -> None:
    """Names that are too few are a mistake of the caller."""
    with pytest.raises(ValueError, match="zip"):
        audit_states([WEIGHT, WEIGHT], None, ["one"])


def test_ratios_of_zero_are_ratios() -> None:
    """And so is a quotient."""
    (counts,) = found("counts", *kept_of(9, 9, 6), ratios=["0", "1/3"])
    assert counts.data["planned"] == [9, 6]


@pytest.mark.parametrize("ratio", ["1/3", " 2/6 ", "01/03", "." + "3" * 63, "+.4", "0.30", "0.", ".34"])
def test_ways_to_write_a_ratio(ratio: str) -> None:
    """Decimals and quotients of at most 64 characters, with blanks around them."""
    (counts,) = found("counts", *kept_of(9, 6), ratios=[ratio])
    assert counts.data["ratios"] == [ratio]


@pytest.mark.parametrize(
    "ratio",
    [
        "1e-20000000",
        "3e-1",
        "." + "3" * 64,
        "1/00",
        "/3",
        "1/",
        "1/2.5",
        "1/-3",
        "--.1",
        ".",
        "",
        "nan",
        "inf",
        "1_0/99",
        "٣/9",
    ],
)
def test_what_is_no_ratio_is_refused_at_once(ratio: str) -> None:
    """A fraction with twenty million digits is not made."""
    message = f"ratios = .1,{ratio}: decimals such as 0.30, or quotients such as 3/10"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        audit_states([WEIGHT] * 3, [".1", ratio])


def test_a_long_list_of_ratios_is_cut_in_the_message() -> None:
    """After 400 characters."""
    ratio = "3" * 500
    for states in (2, 3):
        with pytest.raises(InputError, match=r"^ratios = 3{400}: (1 given for 2|decimals)"):
            audit_states([WEIGHT] * states, [ratio])


def test_files_are_called_by_their_paths(tmp_path: Path) -> None:
    """In what is said of each."""
    paths = [tmp_path / "dense.safetensors", tmp_path / "later.safetensors"]
    for path in paths:
        safetensors.numpy.save_file({"w": rows([1, 2])}, path)
    names = [finding.data["name"] for finding in audit_files(paths, ["0"]).findings if finding.check == "sparsity"]
    assert names == [str(path) for path in paths]
    (counts,) = [finding for finding in audit_files(paths, ["0"]).findings if finding.check == "counts"]
    assert counts.data["ratios"] == ["0"]
