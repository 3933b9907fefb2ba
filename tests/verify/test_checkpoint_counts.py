"""Counts that are not the ledger's: which are sound by a named convention, which stay undecided, which are wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.ao.pruning.sparsifier.weight_norm_sparsifier import WeightNormSparsifier
from torch.nn.utils import prune

from verify.checkpoints import audit_states
from verify.findings import Finding

MET = "its share met to within less than one"


def counts(states: Sequence[dict[str, Any]], *ratios: str) -> Finding:
    """The finding about counts, the only one of that check."""
    (finding,) = (finding for finding in audit_states(states, ratios).findings if finding.check == "counts")
    return finding


def convention(states: Sequence[dict[str, Any]], *ratios: str) -> str | None:
    """The convention that is named; None where the counts do not hold."""
    finding = counts(states, *ratios)
    return finding.data["convention"] if finding.severity == "note" else None


def small() -> nn.Sequential:
    """Twelve layers of 77 weights, so that rounding each by itself is far from rounding all."""
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(7, 11) if number % 2 == 0 else nn.Linear(11, 7) for number in range(12)))


def stages(model: nn.Module, number: int, step: Callable[[nn.Module], object]) -> list[dict[str, Any]]:
    """States before and after each of some steps over all layers."""
    states = [copy.deepcopy(model.state_dict())]
    for _ in range(number):
        for layer in model.children():
            step(layer)
        states.append(copy.deepcopy(model.state_dict()))
    return states


def matrices(*sizes: tuple[int, int]) -> dict[str, np.ndarray]:
    """Layers a, b, … of distinct weights."""
    draw = np.random.default_rng(3)
    return {chr(97 + number): draw.normal(size=size).astype(np.float32) for number, size in enumerate(sizes)}


def without(state: dict[str, np.ndarray], **gone: Any) -> dict[str, np.ndarray]:
    """A state with zeros at some places of its layers."""
    made = {name: weight.copy() for name, weight in state.items()}
    for name, where in gone.items():
        made[name][where] = 0
    return made


# --- single weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounding", "words"),
    [
        (lambda share: round(share), "rounded half to even at each stage"),
        (math.floor, "rounded down at each stage"),
        (math.ceil, "rounded up at each stage"),
    ],
)
def test_each_layer_may_be_rounded_by_itself_in_any_way(rounding: Callable[[float], int], words: str) -> None:
    """Twelve layers by themselves are up to twelve weights a stage from the ledger: the way to round is named."""
    assert [rounding(0.35 * active) for active in (77, 50)] in ([27, 18], [26, 17])

    def step(layer: nn.Module) -> None:
        active = int(getattr(layer, "weight_mask", torch.ones(77)).sum())
        prune.l1_unstructured(layer, "weight", amount=rounding(0.35 * active))

    assert convention(stages(small(), 3, step), ".35", ".35", ".35") == f"each layer by itself, {words}"


def test_layers_are_by_themselves_only_if_each_is() -> None:
    """The same sums from layers of which one lost more than its share, and the other less, are by no convention."""
    dense = matrices((3, 5), (3, 5), (3, 5), (3, 5), (3, 5))
    four, five, three = ([[0, 0, 1, 1, 2][:count], [0, 2, 1, 3, 4][:count]] for count in (4, 5, 3))
    each = without(dense, **dict.fromkeys("abcde", tuple(four)))
    other = without(dense, **dict.fromkeys("abc", tuple(four)), d=tuple(five), e=tuple(three))
    assert counts([dense, each], ".24").data["planned"] == [57]
    assert convention([dense, each], ".24") == "each layer by itself, rounded half to even at each stage"
    assert counts([dense, other], ".24").severity == "error"


def test_zeros_of_the_dense_network_change_no_convention_that_holds() -> None:
    """Of 13 weights 7 go where a half is rounded up, whether two that stay are zero or not."""
    dense = {"w": np.array([[0, 0, *range(1, 12)]], np.float32)}
    assert convention([dense, without(dense, w=np.s_[:, 2:9])], ".5") == "rounded up at each stage"


def test_torchs_product_in_floating_point_is_a_convention() -> None:
    """0.575 · 100 is a little less than 57.5 there, and 57 go, where the ledger has 58."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 10))
    states = stages(model, 1, lambda layer: prune.l1_unstructured(layer, "weight", amount=0.575))
    finding = counts(states, ".575")
    assert finding.data["convention"] == "rounded down at each stage"
    assert (finding.data["planned"], finding.data["counted"]) == ([42], [43])


Weights = dict[str, torch.Tensor]
Cutting = Callable[[Weights, Weights, int], None]  # of weights and masks, at a stage counted from 1
RATIO, ONCE = 0.3, "rounded once, from the share that should be left"
PRODUCT = "after a product in floating point"


def open_lth(weights: Weights, masks: Weights, _stage: int) -> None:
    """As facebookresearch/open_lth, pruning/sparse_global.py, prunes."""
    vector = np.concatenate([weights[name][mask].abs().numpy() for name, mask in masks.items()])
    threshold = np.sort(vector)[np.ceil(RATIO * len(vector)).astype(int)]
    for name, mask in masks.items():
        masks[name] = mask & (weights[name].abs() > float(threshold))


def open_lth_in_each_layer(weights: Weights, masks: Weights, stage: int) -> None:
    """The same, layer by layer."""
    for name in masks:
        one = {name: masks[name]}
        open_lth(weights, one, stage)
        masks |= one


def of_the_original_count(weights: Weights, masks: Weights, stage: int) -> None:
    """The share of all stages so far, of all weights, and what went before among the smallest."""
    vector = torch.cat([weight.abs().flatten() for weight in weights.values()])
    threshold = vector.kthvalue(int((1 - (1 - RATIO) ** stage) * len(vector))).values
    for name, mask in masks.items():
        masks[name] = mask & (weights[name].abs() > threshold)


def of_each_original_count(weights: Weights, masks: Weights, stage: int) -> None:
    """The same, layer by layer."""
    for name in masks:
        one = {name: masks[name]}
        of_the_original_count({name: weights[name]}, one, stage)
        masks |= one


def at_a_quantile(weights: Weights, masks: Weights, stage: int) -> None:
    """The quantile of all weights of a layer, zeros among them."""
    for name, mask in masks.items():
        threshold = torch.quantile(weights[name].abs(), 1 - (1 - RATIO) ** stage)
        masks[name] = mask & (weights[name].abs() > threshold)


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (open_lth, f"rounded up {PRODUCT} at each stage, and the weight at that place goes too"),
        (
            open_lth_in_each_layer,
            f"each layer by itself, rounded up {PRODUCT} at each stage, and the weight at that place goes too",
        ),
        (of_the_original_count, f"{ONCE}, down"),
        (of_each_original_count, f"each layer by itself, {ONCE}, down"),
        (at_a_quantile, "each layer by itself, cut at the quantile of all weights, which goes too"),
    ],
)
def test_the_loops_that_people_write_are_conventions(cut: Cutting, words: str) -> None:
    """Each is sound, and named; with three weights more pruned, or fewer, in the last stage it is none."""
    draw = torch.Generator().manual_seed(0)
    sizes = {"a": (30, 10), "b": (17, 31), "c": (1, 41), "d": (13, 9), "e": (5, 51), "f": (2, 67)}
    weights = {name: torch.randn(size, generator=draw) for name, size in sizes.items()}
    masks = {name: torch.ones(size, dtype=torch.bool) for name, size in sizes.items()}
    states = [weights]
    for stage in range(1, 5):
        cut(states[-1], masks, stage)
        states.append({name: weights[name] * mask for name, mask in masks.items()})
    assert convention(states, *[".3"] * 4) == words
    for change in (-3, 3):
        last = states[-1]["b"].flatten().clone()
        last[torch.nonzero(last == 0 if change < 0 else last)[: abs(change), 0]] = 1.0 if change < 0 else 0.0
        assert counts([*states[:-1], {**states[-1], "b": last.reshape(17, 31)}], *[".3"] * 4).severity == "error"


# --- whole slices and blocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1])
def test_whole_channels_of_each_layer(dim: int) -> None:
    """ln_structured rounds its amount to a number of the channels that are left, at each call."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(10, 10, 3), nn.Conv2d(10, 10, 3))
    states = stages(model, 3, lambda layer: prune.ln_structured(layer, "weight", amount=0.3, n=2, dim=dim))
    finding = counts(states, ".3", ".3", ".3")
    words = f"each layer by itself in whole slices of dimension {dim} (up to 90 weights), {MET}"
    assert (finding.severity, finding.data["convention"]) == ("note", words)
    assert finding.data["counted"] == [1260, 900, 540]


def test_rows_then_columns_of_a_layer() -> None:
    """What is left of a column is a unit too; each stage may have its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 15))
    states = stages(model, 1, lambda layer: prune.ln_structured(layer, "weight", amount=0.3, n=2, dim=0))
    states += stages(model, 1, lambda layer: prune.ln_structured(layer, "weight", amount=0.45, n=1, dim=1))[1:]
    assert counts(states, ".3", ".45").data["counted"] == [110, 66]
    assert convention(states, ".3", ".45") == (
        f"each layer by itself in whole slices of dimension 0 (up to 10 weights), slices of dimension 1 (up to 11 "
        f"weights), {MET}"
    )
    assert convention(states, ".3", ".51") is None


@pytest.mark.parametrize("block", [(1, 4), (4, 1), (2, 2), (8, 4)])
def test_whole_blocks_of_each_layer(block: tuple[int, int]) -> None:
    """WeightNormSparsifier rounds its level to a number of blocks; a small layer shows larger ones by chance."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 32), nn.Linear(32, 8))
    states = [copy.deepcopy(model.state_dict())]
    sparsifier = WeightNormSparsifier(sparsity_level=0.31, sparse_block_shape=block)
    sparsifier.prepare(model, [{"tensor_fqn": f"{index}.weight"} for index in range(3)])  # type: ignore[arg-type]
    sparsifier.step()
    sparsifier.squash_mask()
    states.append(copy.deepcopy(model.state_dict()))
    assert convention(states, ".31") == (
        f"each layer by itself in whole blocks of {block[0]} × {block[1]} (up to {block[0] * block[1]} weights), {MET}"
    )


def test_a_level_of_all_blocks_is_rounded_once() -> None:
    """The sparsifier makes its masks anew from all blocks at each level: 0.3, then 0.51."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30))
    states = [copy.deepcopy(model.state_dict())]
    sparsifier = WeightNormSparsifier(sparsity_level=0.0, sparse_block_shape=(1, 4))
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}])  # type: ignore[arg-type]
    for level in (0.35, 0.5775, 0.725375):
        sparsifier.groups[0]["sparsity_level"] = level
        sparsifier.step()
        mask = model[0].parametrizations.weight[0].mask  # type: ignore[union-attr]
        states.append({"0.weight": states[0]["0.weight"] * mask, "0.bias": states[0]["0.bias"]})
    found = convention(states, ".35", ".35", ".35")
    assert found is not None
    assert found.startswith("each layer by itself in whole blocks of 1 × 4 (up to 4 weights)")


def test_a_layer_with_too_few_slices_for_its_share_is_left_whole() -> None:
    """A third of one row is none; a third of four is not."""
    dense = matrices((10, 9), (1, 12))
    assert convention([dense, without(dense, a=np.s_[:3])], ".3") == (
        f"each layer by itself in whole slices of dimension 0 (up to 9 weights), {MET}"
    )
    dense = matrices((10, 9), (4, 12))
    finding = counts([dense, without(dense, a=np.s_[:3])], ".3")
    assert finding.severity == "error"
    assert finding.message == (
        "stage 1: 111 weights are kept, planned 97 (rounded half to even at each stage, of the weights still active); "
        "nothing of b is pruned: if that is meant, ignore it (ignored_layers, --ignore)"
    )


def test_layers_that_lost_nothing_are_named_unless_all_are_whole() -> None:
    """Of those that are named, all; and where nothing at all is pruned it helps nobody."""
    dense = matrices((4, 5), (4, 5), (4, 5))
    message = counts([dense, without(dense, a=np.s_[:2])], ".3").message
    assert "; nothing of b, c is pruned: if that is meant" in message
    assert "; nothing of" not in counts([dense, dense], ".3").message


@pytest.mark.parametrize("sizes", [[(10, 9), (10, 4)], [(10, 4), (10, 9)]])
def test_rows_that_meet_the_share_of_all_stages_so_far(sizes: list[tuple[int, int]]) -> None:
    """Of ten rows 4, 6.4 and 7.84 should be gone: 4, 7 and 7 are, though the last stage should have taken 1.2 of 3."""
    dense = matrices(*sizes)
    states = [dense, *(without(dense, a=np.s_[:gone], b=np.s_[:gone]) for gone in (4, 7, 7))]
    assert convention(states, ".4", ".4", ".4") == (
        f"each layer by itself in whole slices of dimension 0 (up to 9 weights), {MET}, rounded once, from the share "
        "that should be left"
    )


def test_rows_chosen_over_all_layers() -> None:
    """As many as come nearest to the share, from whatever layer; a row too many is wrong."""
    dense = matrices((10, 9), (10, 9))
    words = (
        "in whole slices of dimension 0 (up to 9 weights) chosen over all layers, the share met to within less than one"
    )
    assert convention([dense, without(dense, a=np.s_[:5], b=np.s_[:2])], ".33") == words
    assert convention([dense, without(dense, a=np.s_[:4], b=np.s_[:2])], ".33") == words
    assert counts([dense, without(dense, a=np.s_[:6], b=np.s_[:2])], ".33").severity == "error"
    assert counts([dense, without(dense, a=np.s_[:4], b=np.s_[:1])], ".33").severity == "error"
    mixed = without(dense, a=np.s_[:4], b=np.s_[:2])
    mixed["b"][5, 5] = 0
    assert counts([dense, mixed], ".33").severity == "error"


def attention(heads: Sequence[int], later: Sequence[int] = ()) -> list[dict[str, Any]]:
    """States of queries and outputs of twelve heads of eight, of which some go: rows of one, columns of the other."""
    torch.manual_seed(0)
    layers = {"q": nn.Linear(96, 96), "o": nn.Linear(96, 96)}
    model = nn.ModuleDict(layers)
    states = [copy.deepcopy(model.state_dict())]
    gone = torch.zeros(12, 8, dtype=torch.bool)
    for some in filter(len, (heads, later)):
        gone[list(some)] = True
        prune.custom_from_mask(layers["q"], "weight", ~gone.reshape(96, 1).expand(96, 96))
        prune.custom_from_mask(layers["o"], "weight", ~gone.reshape(1, 96).expand(96, 96))
        states.append(copy.deepcopy(model.state_dict()))
    return states


def test_whole_heads_are_groups_of_rows() -> None:
    """Three tenths of twelve heads are four; of the eight that are left, two or three; of one more it is no share."""
    words = (
        "each layer by itself in whole groups of 8 slices of dimension 0 (up to 768 weights), groups of 8 slices of "
        f"dimension 1 (up to 768 weights), {MET}"
    )
    finding = counts(attention([1, 4, 6, 9]), ".3")
    assert (finding.data["counted"], finding.data["planned"]) == ([12288], [12902])
    assert finding.data["convention"] == words
    assert convention(attention([1, 4, 6, 9], [2, 7]), ".3", ".3") == words
    assert convention(attention([1, 4, 6, 9], [2, 7, 10]), ".3", ".3") == words
    assert convention(attention([1, 4, 6, 9], [2, 7, 10, 11]), ".3", ".3") is None
    assert convention(attention([1, 4, 6, 9, 10]), ".3") is None
    assert convention(attention([1, 4]), ".3") is None


def test_rows_that_begin_and_end_in_few_places_are_no_heads() -> None:
    """Thirty-two rows beside each other are no four heads of eight, of which a quarter would be three."""
    dense = matrices((96, 5))
    for rows in (np.s_[:32], np.s_[32:64]):
        assert counts([dense, without(dense, a=rows)], ".25").severity == "error"


@pytest.mark.parametrize(("shape", "severity"), [((3, 6), "error"), ((2, 9), "note"), ((3, 7), "note")])
def test_units_that_chance_explains_are_none(shape: tuple[int, int], severity: str) -> None:
    """Fifteen weights that go with the first of their row are no proof of rows, sixteen are."""
    dense = matrices(shape)
    assert counts([dense, without(dense, a=np.s_[:1])], ".6").severity == severity


@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 99), st.integers(0, 2**32 - 1))
def test_whole_rows_hold_exactly_where_they_meet_the_share(height: int, width: int, percent: int, seed: int) -> None:
    """Whatever the layer: the two numbers of rows next to the share hold, one more or less does not."""
    weight = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    share = percent * height / 100
    for rows in {math.floor(share) - 1, math.ceil(share) + 1}:
        if 0 < rows < height and height * (width - 1) >= 16 and abs(rows - share) >= 1 and width > 2:
            finding = counts([{"w": weight}, without({"w": weight}, w=np.s_[:rows])], f"{percent}/100")
            assert finding.severity == "error"
    for rows in {math.floor(share), math.ceil(share)}:
        if 0 < rows < height and height * (width - 1) >= 16:
            finding = counts([{"w": weight}, without({"w": weight}, w=np.s_[:rows])], f"{percent}/100")
            assert finding.severity == "note"


# --- layers that shrink ---------------------------------------------------------------------------------------------


def ones(*shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Layers a, b, … of these shapes."""
    return {chr(97 + number): np.ones(shape, np.float32) for number, shape in enumerate(shapes)}


def test_neurons_that_are_cut_off_each_layer() -> None:
    """Of 64 neurons 0.3 are 19.2: 45 stay, and each of the two layers has lost its share of slices."""
    assert convention([ones((64, 8), (1, 64)), ones((45, 8), (1, 45))], ".3") == (
        f"each layer by itself in whole slices of dimension 0 (up to 8 weights), slices of dimension 1 (up to 1 "
        f"weights), {MET}"
    )
    assert counts([ones((64, 8), (1, 64)), ones((46, 8), (1, 46))], ".3").severity == "error"


def test_ratios_of_neurons_are_not_decided() -> None:
    """Half the neurons of two layers in a row are three quarters of the weights between: the files cannot say."""
    dense, half = ones((64, 8), (32, 64), (1, 32)), ones((32, 8), (16, 32), (1, 16))
    finding = counts([dense, half], ".5")
    assert finding == Finding(
        "counts",
        "unchecked",
        "[784] weights are kept, planned [1296] (rounded half to even at each stage, of the weights still active); not "
        "decided: each ratio fits the rows and columns of every layer, which together take more weights with them",
        data={"ratios": [".5"], "planned": [1296], "counted": [784]},
    )
    assert counts([dense, ones((32, 8), (17, 32), (1, 17))], ".5").severity == "error"
    assert counts([dense, ones((32, 8), (16, 32), (1, 32))], ".5").severity == "error"


def test_masks_of_rows_and_columns_are_not_decided_either() -> None:
    """The same network, masked instead of cut."""
    dense = matrices((64, 8), (32, 64), (4, 32))
    stage = without(dense, a=np.s_[:32], b=np.s_[:16], c=np.s_[:, :16])
    stage["b"][:, :32] = 0
    assert counts([dense, stage], ".5").severity == "unchecked"
    stage["b"][20, 40] = 0
    assert counts([dense, stage], ".5").severity == "error"


def test_neurons_over_all_layers_are_not_decided_within_one() -> None:
    """A neuron takes a row and a column with it: 8 + 32 weights, and 32 + 1 of the next layer's."""
    dense = ones((64, 8), (32, 64), (1, 32))
    finding = counts([dense, ones((50, 8), (28, 50), (1, 28))], ".3")
    assert (finding.severity, finding.data["planned"], finding.data["counted"]) == ("unchecked", [1814], [1828])
    assert finding.message.endswith(
        "not decided: layers shrank by whole neurons, and the share is met to within less than one with all its weights"
    )
    assert counts([dense, ones((56, 8), (28, 56), (1, 28))], ".3").severity == "error"
    two = ones((10, 4), (1, 10)), ones((5, 4), (1, 5))  # a neuron has 4 + 1 weights, and half of them are gone
    assert [counts(two, share).severity for share in (".59", ".6", ".41", ".4")] == ["note", "error", "note", "error"]
    wide = ones((6, 6), (6, 6)), ones((3, 6), (6, 5))  # 24 of 72 are gone, a neuron has 12 weights, a slice 6
    found = [counts(wide, share).severity for share in (".3", ".2", "1/6", ".45", "1/2", "1/4")]
    assert found == ["note", "unchecked", "error", "unchecked", "error", "unchecked"]


@pytest.mark.parametrize(("ratio", "severity"), [("1/120", "unchecked"), ("1/60", "error"), ("1/40", "error")])
def test_a_stage_in_which_no_neuron_goes_has_to_meet_its_share_within_one_weight(ratio: str, severity: str) -> None:
    """Of 72 weights, 0.6, or 1.2, or 1.8 should have gone."""
    dense = ones((6, 6), (6, 6))
    assert counts([dense, dense, ones((3, 6), (6, 5))], ratio, ".2").severity == severity


@pytest.mark.parametrize(("missing", "severity"), [("13/2", "unchecked"), ("15/2", "error")])
def test_a_slice_of_a_layer_that_is_masked_beside_has_whole_weights(missing: str, severity: str) -> None:
    """Rows of four and three weights: seven are a step of both, though five rows of three are four by now."""
    dense = {"a": np.ones((10, 4), np.float32), "b": np.ones((5, 3), np.float32)}
    first = without(dense, b=np.s_[:1])
    last = {"a": np.ones((5, 4), np.float32), "b": without(dense, b=np.s_[:2])["b"]}
    share = (23 - Fraction(missing)) / 52  # of 52 weights, 23 go
    assert counts([dense, first, last], "3/55", str(share)).severity == severity
