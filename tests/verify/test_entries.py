"""The names of parameters and masks in a state, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verify.entries import Entries, Entry, entries_of
from verify.state_files import State

TWO = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
HALF = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
WIDE = np.full((2, 3), 0.5, np.float32)
LINE = np.ones(2, np.float32)
HELD = "parametrizations.weight"


def read(tensors: dict[str, Any], **more: Any) -> Entries:
    """The parameters of a state that is called x."""
    return entries_of("x", State(tensors, **more))


Kind = tuple[bool, bool, bool | np.ndarray, bool]


def names(tensors: dict[str, Any], **more: Any) -> dict[str, Kind]:
    """Of each parameter whether it has a mask, is multiplied with it, for sure, and may have one that is not there."""
    entries = read(tensors, **more).entries.items()
    return {name: (entry.mask is not None, entry.masked, entry.proven, entry.unknown) for name, entry in entries}


PLAIN, UNKNOWN = (False, False, True, False), (False, False, True, True)
MASKED, BESIDE = (True, True, True, False), (True, True, False, False)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({"a.weight": TWO, "a.bias": LINE}, {"a.weight": PLAIN, "a.bias": PLAIN}),
        ({"a.weight_orig": TWO, "a.weight_mask": HALF}, {"a.weight": MASKED}),
        ({"a.weight": TWO, "a.weight_mask": HALF}, {"a.weight": BESIDE}),
        ({"a.weight": TWO, "a.weight_mask": WIDE}, {"a.weight": PLAIN, "a.weight_mask": PLAIN}),
        ({"a.weight": TWO, "a.mask": HALF}, {"a.weight": BESIDE}),
        ({"weight": TWO, "mask": HALF}, {"weight": BESIDE}),
        ({"weight": TWO, "a.mask": HALF}, {"weight": PLAIN}),
        ({"a.weight": TWO, "a.mask": WIDE}, {"a.weight": PLAIN, "a.mask": PLAIN}),
        ({"a.weight": TWO, "a.mask": TWO}, {"a.weight": PLAIN, "a.mask": PLAIN}),
        ({"a.bias": TWO, "a.mask": HALF}, {"a.bias": PLAIN}),
        ({"a.weight": TWO, "a.mask": HALF, "a.weight_mask": HALF}, {"a.weight": BESIDE}),
        ({"lone_mask": HALF, "b": TWO, "bitmask": HALF}, {"b": PLAIN, "bitmask": PLAIN}),
        ({"lone_mask": TWO, "mask": TWO * 1j, "b": TWO}, {"lone_mask": PLAIN, "mask": PLAIN, "b": PLAIN}),
        ({"mask": TWO - 1e4 - 1, "b.mask": np.where(HALF > 0, 0.5, -np.inf), "b": TWO}, {"b": PLAIN}),
        ({"mask": TWO - 1e4, "b": TWO}, {"mask": PLAIN, "b": PLAIN}),
        ({"a_orig": TWO, "a": TWO}, {"a_orig": PLAIN, "a": PLAIN}),
        ({"a_orig": TWO}, {"a": PLAIN}),
        ({"a_orig": TWO, "a_u": LINE, "a_v": LINE}, {"a": PLAIN}),
        ({"b_u": LINE, "b_v": LINE}, {"b_u": PLAIN, "b_v": PLAIN}),
        ({"a_g": TWO[:, :1], "a_v": TWO}, {"a": PLAIN}),
        ({"a_g": TWO[0, 0], "a_v": TWO}, {"a": PLAIN}),
        ({"a_g": TWO, "a_v": TWO}, {"a_g": PLAIN, "a_v": PLAIN}),
        ({"a_g": LINE, "a_v": TWO}, {"a_g": PLAIN, "a_v": PLAIN}),
        ({"a_g": TWO[:, :1], "a_v": TWO, "a": TWO}, {"a_g": PLAIN, "a_v": PLAIN, "a": PLAIN}),
        ({"a_v": TWO}, {"a_v": PLAIN}),
        ({"a.parametrizations.weight.original": TWO}, {"a.weight": UNKNOWN}),
        ({"parametrizations.w.original": TWO}, {"w": UNKNOWN}),
        ({"a.parametrizations.w.original": TWO, "a.parametrizations.w.0.mask": HALF}, {"a.w": MASKED}),
        ({"a.parametrizations.w.original": TWO, "a.parametrizations.v.0.mask": HALF}, {"a.w": UNKNOWN}),
        ({"a.parametrizations.w.original": TWO, "a.parametrizations.w.0._u": LINE}, {"a.w": PLAIN}),
        ({"a.parametrizations.w.original0": TWO[:, :1], "a.parametrizations.w.original1": TWO}, {"a.w": PLAIN}),
        ({"a.parametrizations.w.original0": TWO}, {"a.parametrizations.w.original0": PLAIN}),
        (
            {f"a.parametrizations.w.original{part}": TWO for part in (1, 2)},
            {"a.w": PLAIN, "a.parametrizations.w.original2": PLAIN},
        ),
        (
            {"a.parametrizations.w.original10": TWO, "a.parametrizations.w.0.mask": HALF},
            {"a.parametrizations.w.original10": PLAIN},
        ),
        ({"a\n.parametrizations.w.original": TWO, "a\n.parametrizations.w.0.mask": HALF}, {"a\n.w": MASKED}),
        (
            {"parametrizations.w.original": TWO, "parametrizations.w.original\n": TWO},
            {"w": PLAIN, "parametrizations.w.original\n": PLAIN},
        ),
        ({"parametrizations.w.original": TWO, "w": TWO}, {"parametrizations.w.original": UNKNOWN, "w": PLAIN}),
        (
            {"parametrizations.w.original": TWO, "parametrizations.w_orig.original": TWO, "w_orig": TWO},
            {"parametrizations.w.original": UNKNOWN, "parametrizations.w_orig.original": UNKNOWN, "w_orig": PLAIN},
        ),
        (
            {f"parametrizations.w.original{part}": TWO for part in ("", "1")},
            {f"parametrizations.w.original{part}": PLAIN for part in ("", "1")},
        ),
        ({"n.running_mean": LINE, "n.running_var": LINE, "n.num_batches_tracked": LINE, "w": TWO}, {"w": PLAIN}),
        ({"index": np.arange(4), "flag": HALF > 0, "w": TWO.astype(complex)}, {"w": PLAIN}),
    ],
)
def test_names(tensors: dict[str, Any], expected: dict[str, Kind]) -> None:
    """What is a parameter, by which name, and with which mask."""
    assert names(tensors) == expected


def test_masks_are_looked_for_by_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by each of many parts of one parametrization for each of many masks: a file of both takes long otherwise."""
    asked: list[str] = []
    monkeypatch.setattr("verify.entries._fits", lambda *_: asked.append("") or True)
    many = 100
    tensors = {f"{HELD}.original{number}": TWO for number in range(many)}
    read(tensors | {f"{HELD}.{number}.mask": HALF for number in range(many)})
    assert len(asked) <= 11 * many


def test_an_entry_keeps_what_is_stored() -> None:
    """Its key, its values, its mask; a mask that is applied already is not multiplied again."""
    tensors = {"module.a_orig": TWO, "module.a_mask": HALF}
    entry = read(tensors).entries["a"]
    assert (entry.key, entry.masked) == ("a_orig", True)
    assert entry.tensor is TWO
    assert entry.mask is not None
    assert entry.mask.tolist() == HALF.tolist()
    assert names({"a": TWO, "a_mask": HALF}, applied=True) == {"a": (True, False, True, False)}
    assert read(tensors).name == "x"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["_orig_mod.a", "_orig_mod.b"], ["a", "b"]),
        (["module._orig_mod.a", "module._orig_mod.b"], ["a", "b"]),
        (["module.module.a"], ["a"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["module.module.a", "module.b"], ["module.a", "b"]),
        (["modules.a"], ["modules.a"]),
        (["module.ab", "module.ac"], ["ab", "ac"]),
        (["a.module.b", "a.module.c"], ["a.module.b", "a.module.c"]),
    ],
)
def test_prefixes(keys: list[str], expected: list[str]) -> None:
    """Only what all names have."""
    tensors = dict.fromkeys(keys, TWO)
    assert list(read(tensors).entries) == expected
    assert read(tensors, aliases={keys[-1]: keys[0]}).aliases == {expected[-1]: expected[0]}


def test_an_averaged_model_is_the_model() -> None:
    """torch.optim.swa_utils counts beside `module.`, compiled or not; the count is no parameter, whatever its type."""
    counts = (np.array(3), np.array(3.0))
    for prefix in ("", "_orig_mod.", "module."):
        for count in counts:
            assert list(read({f"{prefix}n_averaged": count, f"{prefix}module.a": TWO}).entries) == ["a"]
    assert read({"n_averaged": counts[0]}).entries == {}


def test_a_number_beside_the_matrices_hides_no_prefix() -> None:
    """An epoch that was saved with them has no `module.`; nor do names become the same."""
    state = {"module.a.weight": TWO, "module.a.bias": LINE, "epoch": np.array(3.0)}
    assert list(read(state).entries) == ["a.weight", "a.bias", "epoch"]
    assert list(read({"module.a": TWO, "a": LINE}).entries) == ["module.a", "a"]
    assert list(read({"module.a": LINE, "module.b": LINE}).entries) == ["a", "b"]
    assert list(read({"module.a": LINE, "b": LINE}).entries) == ["module.a", "b"]


def test_a_prefix_is_taken_off_all_names() -> None:
    """Of parameters; the keys under which a file has them stay."""
    made = read({"m.a": TWO, "m.m.b_orig": TWO}, aliases={"m.m.b_orig": "m.a"})
    plain = made.without("m.")
    assert (list(plain.entries), plain.aliases, plain.orphans) == (["a", "m.b"], {"m.b": "a"}, ("m.b",))
    assert plain.entries["a"].key == "m.a"
    assert made.without(None) is made


def test_masks_that_are_stacked_on_a_tensor_are_multiplied() -> None:
    """As torch.nn.utils.parametrize does; if one of them is none, what the network has is not known."""
    held = "a.parametrizations.w."
    other = np.array([[1.0, 1.0], [0.0, 1.0]], np.float32)
    stacked = {f"{held}0.mask": HALF, f"{held}original": TWO, f"{held}1.mask": other, f"{held}2.mask": other > 0}
    entry = read(stacked).entries["a.w"]
    assert entry.mask is not None
    assert entry.mask.tolist() == [[0, 1], [0, 0]]
    assert entry.masked
    for wrong in range(3):
        gated = read({**stacked, f"{held}{wrong}.mask": TWO}).entries["a.w"]
        assert (gated.mask, gated.masked, gated.unknown, gated.unreadable) == (None, False, True, True)


@pytest.mark.parametrize(
    ("mask", "wide", "expected"),
    [
        (HALF[:, :1], TWO, [[0, 0], [1, 1]]),
        (HALF[:1], TWO, [[0, 1], [0, 1]]),
        (HALF[1:, 1:], TWO, [[0, 0], [0, 0]]),
        (HALF[:, :, None], np.ones((2, 2, 3)), [[[0] * 3, [1] * 3], [[1] * 3, [0] * 3]]),
        (np.array(0), np.array(2.0), 0),
        (HALF[0], TWO, None),
        (HALF, WIDE, None),
        (HALF[:, :1], TWO[0], None),
        (HALF[None], TWO, None),
        (np.ones(()), TWO, None),
        (HALF[:1] + 1, TWO, None),
    ],
)
def test_masks_may_be_the_same_along_a_dimension(mask: np.ndarray, wide: np.ndarray, expected: Any) -> None:
    """Of as many dimensions as the tensor: rows or columns, say. What is 0 and 1 in any other shape is told."""
    for key, name in (("a.weight", "a.weight_mask"), ("a.weight", "a.mask"), ("b", "b_mask")):
        made = read({key: wide, name: mask})
        found = made.entries[key].mask
        assert (None if found is None else found.tolist()) == expected
        assert made.misfits == ((name,) if expected is None and (mask <= 1).all() else ())
    for key, name in (("b_orig", "b_mask"), ("parametrizations.b.original", "parametrizations.b.0.mask")):
        entry = read({key: wide, name: mask}).entries["b"]
        assert (None if entry.mask is None else entry.mask.tolist()) == expected
        assert entry.unreadable == (expected is None)


def test_each_mask_of_another_shape_is_told() -> None:
    """Two beside one weight; those of integers, which are no weights, are not."""
    tensors = {"mask": HALF[0], "weight": TWO, "weight_mask": HALF[1], "i.weight": np.arange(4), "i.mask": HALF}
    assert read(tensors).misfits == ("weight_mask", "mask")


def test_magnitudes_belong_to_a_direction_and_are_counted_apart() -> None:
    """Of both ways of weight_norm; the vectors of spectral_norm are no parameters."""
    older = read({"a_g": TWO[:, :1], "a_v": TWO, "b_g": TWO[:1], "b_v": TWO, "c_orig": TWO, "c_u": LINE, "c_v": LINE})
    assert (older.others, list(older.entries)) == (4, ["a", "b", "c"])
    held = "a.parametrizations.w."
    newer = read({f"{held}original0": TWO[:, :1], f"{held}original1": WIDE})
    assert (newer.others, newer.entries["a.w"].key) == (2, f"{held}original1")


def test_originals_without_masks_are_orphans() -> None:
    """Not beside a tensor of the plain name, a mask, or spectral_norm's vector."""
    tensors = {
        "a_orig": TWO,
        "b_orig": TWO,
        "b": TWO,
        "c_orig": TWO,
        "c_mask": HALF,
        "d_orig": TWO,
        "d_u": LINE,
        "e": TWO,
    }
    assert read(tensors).orphans == ("a",)


def test_what_is_called_a_mask_is_what_it_is_in_the_dense_network() -> None:
    """A parameter that was pruned to zeros is one still; a mask of ones that was learned is none."""
    dense = read({"w": TWO, "enc.mask": TWO, "gate.mask": HALF})
    stage = read({"w": TWO, "enc.mask": TWO * 0, "gate.mask": TWO, "new.mask": TWO}).as_in(dense)
    assert list(stage.entries) == ["w", "enc.mask"]
    assert sorted(stage.buffers) == ["gate.mask", "new.mask"]
    assert stage.entries["enc.mask"].tensor.tolist() == [[0, 0], [0, 0]]
    assert dense.as_in(dense) == dense


def test_a_weight_of_zeros_and_minus_inf_is_one_if_it_was_one() -> None:
    """In the dense network nothing would tell it from a mask that is added."""
    added = np.array([[0, -np.inf], [0, 0]])
    dense = read({"w": TWO, "v": TWO, "bias": added})
    stage = {"w": added, "v": TWO, "bias": added}
    assert list(read(stage).entries) == ["v"]
    assert list(read(stage).as_in(dense).entries) == ["v", "w"]
    assert list(read(stage).as_in(dense).buffers) == ["bias"]
    assert list(read({"v": TWO, "w_orig": added, "w_mask": HALF}).entries) == ["v", "w"]


def test_all_that_is_no_parameter_is_a_buffer() -> None:
    """Statistics, masks, integers, magnitudes; under names without the prefix."""
    tensors = {"m.w_orig": TWO, "m.w_mask": HALF, "m.n.running_var": LINE, "m.i": np.arange(2)}
    tensors |= {"m.v_g": TWO[:, :1], "m.v_v": TWO}
    assert list(read(tensors).without("m.").buffers) == ["w_mask", "n.running_var", "i", "v_g"]


@pytest.mark.parametrize(
    ("key", "mask"),
    [("w_orig", "w_mask"), ("a.parametrizations.w.original", "a.parametrizations.w.0.mask")],
)
@pytest.mark.parametrize("wrong", [HALF / 2, HALF + 1, LINE])
def test_masks_that_are_none_cannot_be_read(key: str, mask: str, wrong: np.ndarray) -> None:
    """Where the name says that it is one; it is no weight without a mask, and has not lost it."""
    made = read({key: TWO, mask: wrong})
    (entry,) = (entry for entry in made.entries.values() if entry.key == key)
    assert (entry.mask, entry.masked, entry.unknown, entry.unreadable) == (None, False, True, True)
    assert made.orphans == ()


def test_the_mask_of_the_architecture_and_that_of_pruning_are_one() -> None:
    """Both are multiplied with the weight; only of the second the state shows it."""
    other = np.array([[1.0, 1.0], [0.0, 1.0]], np.float32)
    for key, pruned in (("w.weight_orig", "w.weight_mask"), (f"w.{HELD}.original", f"w.{HELD}.0.mask")):
        made = read({key: TWO, pruned: other, "w.mask": HALF})
        entry = made.entries["w.weight"]
        assert entry.mask is not None
        assert (entry.mask.tolist(), entry.masked, made.orphans) == ([[0, 1], [0, 0]], True, ())
        assert np.asarray(entry.proven).tolist() == [[False, False], [True, False]]
        assert read({key: TWO, pruned: other, "w.mask": WIDE}).entries["w.weight"].proven is True
        assert read({key: TWO, pruned: other, "w.mask": LINE}).misfits == ("w.mask",)
    both = read({"w.weight": TWO, "w.weight_mask": other, "w.mask": HALF}).entries["w.weight"]
    assert both.mask is not None
    assert (both.mask.tolist(), both.proven) == ([[0, 1], [0, 0]], False)
    alone = read({"w.weight_orig": TWO, "w.mask": HALF})
    assert (alone.orphans, alone.entries["w.weight"].proven) == (("w.weight",), False)
    hidden = read({f"w.{HELD}.original": TWO, "w.mask": HALF}).entries["w.weight"]
    assert (hidden.mask, hidden.unknown, hidden.unreadable) == (None, True, False)


def test_tied_tensors_become_one() -> None:
    """Kept where any use keeps it; without a mask wherever one use has none."""
    other = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
    one, two = Entry("a_orig", TWO, HALF, masked=True), Entry("b_orig", TWO, other, masked=True)
    free, hidden = Entry("c", TWO), Entry("d.parametrizations.w.original", TWO, unknown=True)
    made = Entries("x", {"a": one, "b": two, "e": free}).merged({"b": "a"})
    assert list(made.entries) == ["a", "e"]
    mask = made.entries["a"].mask
    assert mask is not None
    assert mask.tolist() == [[False, True], [True, True]]
    assert made.entries["a"].masked
    assert made.entries["a"].proven
    beside = Entry("b", TWO, other, masked=True, proven=False)
    for pair in ((one, beside), (beside, one)):
        assert not Entries("x", {"a": pair[0], "b": pair[1]}).merged({"b": "a"}).entries["a"].proven
    for pair in ((one, free), (free, one)):
        made = Entries("x", {"a": pair[0], "b": pair[1]}).merged({"b": "a"}).entries["a"]
        assert (made.mask, made.masked, made.unknown) == (None, False, False)
    none = Entry("d_orig", TWO, unknown=True, unreadable=True)
    for pair in ((none, free), (free, none), (none, one), (two, none)):
        made = Entries("x", {"a": pair[0], "b": pair[1]}).merged({"b": "a"}).entries["a"]
        assert (made.mask, made.unknown, made.unreadable) == (None, True, True)
    for pair in ((hidden, free), (free, hidden)):
        assert Entries("x", {"a": pair[0], "b": pair[1]}).merged({"b": "a"}).entries["a"].unknown
    assert list(Entries("x", {"b": two}).merged({"b": "a"}).entries) == ["a"]
