"""Tensors beside the weights: zeros that no mask states, buffers that are not finite, parameters called masks."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

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
            "stage 2: 48 weights that masks keep are zero, and were not in an earlier state; they count as pruned "
            "(l.weight)",
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


def test_a_zero_in_a_million_beside_a_mask_is_chance() -> None:
    """In a large layer more than a handful are: of nine million weights, eight; nine are not."""
    ones, weight = np.ones((3000, 3000), np.float32), np.ones((3000, 3000), np.float32)
    states = [{"l.weight": weight, "l.mask": ones}]
    for zeros in (8, 9):
        weight = weight.copy()
        weight[0, :zeros] = 0
        states.append({"l.weight": weight, "l.mask": ones})
    assert [f.data["kept_weights"] for f in found("sparsity", *states[:2])] == [9_000_000, 9_000_000]
    assert found("sparsity", states[0], states[2])[1].data["kept_weights"] == 8_999_991


@pytest.mark.parametrize(("zeros", "pruned"), [(7, 0), (8, 8)])
def test_a_handful_of_zeros_beside_a_mask_is_chance(zeros: int, pruned: int) -> None:
    """Below eight over all layers of a small network's stage; from there on, in every stage."""
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
    """Small weights that were rounded to zero beside the mask: which is said, and nothing was pruned there."""
    states = [{"l.weight": WEIGHT}, by_mask(above(80), above(64)), by_mask(above(112), above(112))]
    verdict = audit_states(states, [".25", ".25"])
    (counts,) = [finding for finding in verdict.findings if finding.check == "counts"]
    assert (counts.severity, counts.data["counted"]) == ("note", [192, 144])
    assert counts.data["convention"] == "rounded half to even at each stage, zeros beside the masks counted as kept"
    notes = [finding for finding in verdict.findings if finding.check == "sparsity"]
    assert [finding.data["kept_weights"] for finding in notes[:3]] == [256, 192, 144]
    assert notes[3].message == (
        "stage 1: 16 weights that masks keep are zero, and were not in an earlier state; they count as kept (l.weight)"
    )


def test_weights_on_a_grid_are_one_reading_of_zeros_in_the_whole_verdict() -> None:
    """A stage is saved in three bits, and trained on: what was rounded to zero beside the masks moves again."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    states = [copy.deepcopy(model.state_dict())]
    for _ in range(2):
        for layer in (model[0], model[2]):
            prune.random_unstructured(layer, "weight", amount=0.3)
        stage = copy.deepcopy(model.state_dict())
        for name in ("0.weight_orig", "2.weight_orig"):
            step = stage[name].abs().max() / 7
            stage[name] = (stage[name] / step).round() * step
        states.append(stage)
        model(torch.randn(32, 8)).square().mean().backward()
        torch.optim.SGD(model.parameters(), 0.1).step()
    states[2] = copy.deepcopy(model.state_dict())  # this one is saved as it is
    verdict = audit_states(states, [".3", ".3"])
    assert {finding.check for finding in verdict.findings} == {"sparsity", "counts", "hidden-weights"}
    (counts,) = [finding for finding in verdict.findings if finding.check == "counts"]
    assert counts.data["convention"].endswith(", zeros beside the masks counted as kept")
    broken = {**states[2], "0.weight_mask": torch.ones(16, 8)}
    assert "masks-monotone" in {f.check for f in audit_states([*states[:2], broken], [".3", ".3"]).findings}


def test_a_head_that_starts_at_zero_and_learned_is_pruned_by_zeros_beside_its_mask() -> None:
    """That it was zero in the dense network says nothing of what it was later."""
    ones = np.ones_like(WEIGHT)
    kept = (ones * 0, ones, above(64), ones)
    (error,) = found("resurrection", *(by_mask(keep, ones) for keep in kept))
    assert (error.severity, error.data["stage"], error.data["count"]) == ("error", 3, 64)


# --- zeros without masks --------------------------------------------------------------------------------------------


def test_a_head_that_starts_at_zero_and_learned_is_pruned_by_zeros() -> None:
    """It is trained, half of it pruned, and all of that comes back: a count and an error, as of any other layer."""
    head = [np.full((1, 16), value, np.float32) for value in (0, 0.5, 0.5, 1)]
    head[2][0, :8] = 0
    states = [{"l.weight": WEIGHT, "head": values} for values in head]
    kept = [finding.data["layers"]["head"][0] for finding in found("sparsity", *states)[:4]]
    assert kept == [16, 16, 8, 16]
    assert found("nothing-pruned", *states) == []
    (error,) = found("resurrection", *states)
    assert (error.severity, error.data["layers"], error.data["largest"]) == ("error", {"head": 8}, 1.0)
    assert found("resurrection", states[0], states[0], states[1]) == []
    (note,) = [finding for finding in found("sparsity", *states) if "kept_weights" not in finding.data]
    assert note.message == (
        "dense: 16 weights of the dense network are zero; they count as kept as long as they stay so (head)"
    )


def test_zeros_of_the_dense_network_that_a_mask_pruned_stay_pruned() -> None:
    """The masks are folded into the weights later; what was zero all along was pruned by a mask, and comes back."""
    dense = {"l.weight": WEIGHT * above(8)}
    masked = {"l.weight_orig": WEIGHT * above(8), "l.weight_mask": above(64)}
    folded = {"l.weight": WEIGHT * above(64)}
    kept = [finding.data.get("kept_weights") for finding in found("sparsity", dense, masked, folded)]
    assert kept == [256, 192, 192, None]
    (error,) = found("resurrection", dense, masked, folded, {"l.weight": WEIGHT * above(60)})
    assert error.data["count"] == 4


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


def test_a_weight_of_which_only_a_minus_inf_is_left_is_a_fault() -> None:
    """It was a weight in the dense network, and is no mask that is added."""
    stage = {"l.weight": np.where(np.eye(16) > 0, -np.inf, 0)}
    for dense in ({"l.weight": WEIGHT, "b": WEIGHT}, {"b": WEIGHT, "l.weight": WEIGHT}):
        (fault,) = found("non-finite", dense, dense | stage)
        assert (fault.severity, fault.data["layers"]) == ("error", {"l.weight": 16})
        assert found("counts", dense, dense | stage) == []
        (note,) = found("non-finite", dense, dense | stage, ignored=["l"])
        assert note.severity == "note"


# --- two masks of a layer -------------------------------------------------------------------------------------------


class Autoregressive(nn.Linear):
    """A layer of a masked autoencoder (Germain et al. 2015): its mask is part of the architecture."""

    def __init__(self) -> None:
        super().__init__(16, 16)
        self.mask: torch.Tensor
        self.register_buffer("mask", torch.ones(16, 16).tril())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product with both."""
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


def test_pruning_with_torch_beside_a_mask_of_the_architecture() -> None:
    """Both masks are the mask, in every state; the weights that only the second holds are left unchecked."""
    torch.manual_seed(0)
    layers = [Autoregressive(), Autoregressive()]
    model = nn.Sequential(*layers)
    states = [copy.deepcopy(model.state_dict())]
    for amount in (68, 51):  # of 272 that the architecture keeps, and of those left
        pairs = [(layer, layer.weight.abs() * layer.mask * getattr(layer, "weight_mask", 1)) for layer in layers]
        scores = torch.cat([score.flatten() for _, score in pairs])
        cut = scores[scores > 0].sort().values[amount - 1]
        for layer, score in pairs:
            prune.custom_from_mask(layer, "weight", (score > cut) | (layer.mask == 0))
        states.append(copy.deepcopy(model.state_dict()))
    verdict = audit_states(states, [".25", ".25"])
    assert verdict.holds
    (counts,) = [finding for finding in verdict.findings if finding.check == "counts"]
    assert counts.data["counted"] == counts.data["planned"] == [204, 153]
    hidden = [f for f in verdict.findings if f.check == "hidden-weights"]
    unchecked = [f for f in verdict.findings if f.check == "resurrection"]
    assert [finding.data["count"] for finding in hidden] == [68, 119]
    assert [(finding.severity, finding.data["count"]) for finding in unchecked] == [("unchecked", 240)] * 2


# --- masks that are learned -----------------------------------------------------------------------------------------


class Gate(nn.Module):
    """A parametrization that learns by how much each weight counts."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.mask = nn.Parameter(values)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The product."""
        return weight * self.mask


def test_a_gate_that_is_called_a_mask_leaves_its_layer_unchecked() -> None:
    """It starts at ones, and is learned: what it leaves of the layer no file says; the other layers are judged."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    gate = Gate(torch.ones(8, 8))
    parametrize.register_parametrization(model[0], "weight", gate)
    states = [copy.deepcopy(model.state_dict())]
    nn.init.uniform_(gate.mask)
    for rows, value in ((3, 0.0), (1, 1.0)):
        nn.init.constant_(model[1].weight[:rows], value)  # type: ignore[index, arg-type]
        states.append(copy.deepcopy(model.state_dict()))
    verdict = audit_states(states, [".3", "0"])
    where = "0.parametrizations.weight.original"
    unchecked = [finding for finding in verdict.findings if finding.severity == "unchecked"]
    assert [finding.check for finding in unchecked] == ["counts", "masks-monotone", "masks-monotone"]
    (error,) = [finding for finding in verdict.findings if finding.severity == "error"]
    assert (error.check, error.data["layers"]) == ("resurrection", {"1.weight": 8})
    assert unchecked[0].message == f"not counted, since masks cannot be read (stage 1: {where}; stage 2: {where})"
    assert unchecked[1] == Finding(
        "masks-monotone",
        "unchecked",
        f"stage 1: what is called the mask of {where} is not 0 and 1 in its shape; which weights it leaves is not "
        "said; if it is learned, save its product with the weight, or ignore it",
        data={"stage": 1, "layers": [where]},
    )
    for ignored in ("0", "0.weight"):
        alone = audit_states(states[:2], ["3/8"], ignored_layers=[ignored])
        assert {finding.severity for finding in alone.findings} == {"note"}
        (error,) = found("resurrection", *states, ignored=[ignored])
        assert error.data["count"] == 8


def test_a_gate_that_was_never_of_ones_is_a_parameter_and_not_pruned() -> None:
    """It is counted among the parameters; its layer is unchecked, and every such layer is named."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    for layer in (model[0], model[1]):
        parametrize.register_parametrization(layer, "weight", Gate(torch.rand(8, 8)))
    states = [copy.deepcopy(model.state_dict())]
    nn.init.constant_(model[2].weight[:3], 0.0)  # type: ignore[index, arg-type]
    states.append(copy.deepcopy(model.state_dict()))
    for finding in found("sparsity", *states):
        assert finding.data["layers"].keys() == {"0.weight", "1.weight", "2.weight"}
        assert finding.data["not_pruned"] == [f"{layer}.parametrizations.weight.0.mask" for layer in (0, 1)]
    (unchecked,) = found("masks-monotone", *states)
    both = "0.parametrizations.weight.original, 1.parametrizations.weight.original"
    assert f"what is called the mask of {both} is not 0 and 1" in unchecked.message


@pytest.mark.parametrize(
    ("ratios", "counted"),
    [
        (None, "kept as long as they stay so"),
        (["0.25"], "kept as long as they stay so"),
        (["0.5"], "pruned in the stages that have them so"),
    ],
)
def test_zeros_of_the_dense_network_count_as_the_ledger_needs_them(ratios: list[str] | None, counted: str) -> None:
    """A quarter is zero from the start, another went: that is a quarter pruned, or if the plan says so a half."""
    dense = WEIGHT.copy()
    dense[:4] = 0
    stage = dense.copy()
    stage[4:8] = 0
    *_, said = found("sparsity", {"l.weight": dense}, {"l.weight": stage}, ratios=ratios)
    assert said.message == f"dense: 64 weights of the dense network are zero; they count as {counted} (l.weight)"


def test_every_buffer_with_an_inf_that_is_meant_is_named() -> None:
    """One after the other, in one note."""
    causal = np.where(np.tri(4) > 0, 0, -np.inf)
    state = {"l.weight": WEIGHT, "a.attn_bias": causal, "b.attn_bias": causal, "n": np.arange(3)}
    note, _ = found("non-finite", state, state)
    assert note.message.endswith("or ignored (a.attn_bias, b.attn_bias)")


def test_a_mask_that_is_none_is_not_looked_at_in_a_layer_that_is_ignored() -> None:
    """torch.nn.utils.prune takes any numbers; elsewhere they are refused."""
    state = {"a.weight_orig": WEIGHT, "a.weight_mask": WEIGHT, "l.weight": WEIGHT}
    assert found("counts", state, state | {"l.weight": above(64)}, ratios=[".25"], ignored=["a"])[0].severity == "note"
    with pytest.raises(InputError, match=r"^dense: the mask of a\.weight_orig is not 0 and 1 in the shape \(16, 16\)"):
        audit_states([state, state])


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
