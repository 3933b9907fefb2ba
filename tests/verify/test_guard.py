"""One watched weight: a quiet look is quiet exactly where each question, asked by itself, finds nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verify.guard import Guard, Room
from verify.places import Place, Weight

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]
ODD = [0.0, -0.0, 1.0, -2.5, 1e-45, 6e-8, float("inf"), float("-inf"), float("nan")]


def guarded(leaf: torch.Tensor, mask: torch.Tensor, *, masked: bool) -> tuple[Guard, Weight]:
    """A guard of `leaf` that has taken over its mask."""
    weight = Weight(leaf, mask, masked)
    guard = Guard(Place("weight", lambda: weight), {}, zeros_count=False)
    guard.shrink(weight)
    return guard, weight


@pytest.mark.property
@given(
    dtype=st.sampled_from(DTYPES),
    masked=st.booleans(),
    pruned=st.integers(1, 3),
    written=st.lists(st.tuples(st.sampled_from(["leaf", "first", "second"]), st.integers(0, 3), st.sampled_from(ODD))),
)
def test_a_quiet_look_is_one_in_which_no_question_finds_anything(
    dtype: torch.dtype, masked: bool, pruned: int, written: list[tuple[str, int, float]]
) -> None:
    """Whatever is written where, to the weight or to state: the joint question answers as those of each tensor do."""
    mask = torch.ones(4)
    mask[:pruned] = 0
    leaf = torch.tensor([1.5, -1.0, 0.25, 3.0], dtype=dtype)
    if not masked:
        leaf[:pruned] = 0
    guard, weight = guarded(leaf, mask, masked=masked)
    tensors = {"leaf": leaf, "first": torch.zeros(4, dtype=dtype), "second": torch.zeros(4, dtype=dtype)}
    for name, entry, value in written:
        tensors[name][entry] = value

    leaf_is_as_it_has_to_be = not guard.has_moved(leaf) if masked else guard.largest(leaf) == 0
    nothing_in_state = all(guard.largest(tensors[name]) == 0 for name in ("first", "second"))
    state = [tensors["first"], tensors["second"]]

    assert guard.is_quiet(weight, state) == (leaf_is_as_it_has_to_be and nothing_in_state)
    assert guard.is_quiet(weight, state[:1]) == (leaf_is_as_it_has_to_be and guard.largest(state[0]) == 0)
    assert guard.is_quiet(weight, []) == leaf_is_as_it_has_to_be


@pytest.mark.parametrize("hidden", [float("inf"), float("nan")])
def test_what_was_not_finite_when_it_was_masked_is_never_quiet(hidden: float) -> None:
    """Where inf lay, inf · 0 is NaN from the first step on, though nothing moves."""
    guard, weight = guarded(torch.tensor([hidden, 1.0]), torch.tensor([0.0, 1.0]), masked=True)

    assert not guard.has_moved(weight.leaf)
    assert not guard.is_quiet(weight, [])


def test_state_of_another_type_is_never_quiet() -> None:
    """A half's bits are not those of a float: such state is looked at by itself."""
    guard, weight = guarded(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]), masked=False)

    assert guard.is_quiet(weight, [torch.zeros(2)])
    assert not guard.is_quiet(weight, [torch.zeros(2, dtype=torch.float16)])


def test_guards_of_different_sizes_share_their_room() -> None:
    """The room grows to the largest weight, and a small one takes the beginning of it."""
    room: Room = {}
    for size in (3, 50, 7):
        weight = Weight(torch.zeros(size), torch.zeros(size), masked=False)
        guard = Guard(Place("weight", lambda weight=weight: weight), room, zeros_count=False)
        guard.shrink(weight)
        assert guard.is_quiet(weight, [])
        weight.leaf[size - 1] = 1e-45
        assert not guard.is_quiet(weight, [])
    assert {dtype: tensor.numel() for (dtype, _), tensor in room.items()} == {torch.int32: 50}


def test_a_mask_that_comes_back_in_another_layout_or_type_is_read_again() -> None:
    """The whole of what it says is compared, also where a contiguous mask follows a transposed one, or bits floats."""
    mask = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    stored = Weight(torch.ones(2, 3), mask.mT.contiguous().mT, masked=False)
    guard = Guard(Place("weight", lambda: stored), {}, zeros_count=False)
    assert guard.shrink(stored) == 0
    assert guard.pruned == 2
    assert guard.shrink(Weight(stored.leaf, mask, masked=False)) == 0
    grown = mask.clone()
    grown[0, 0] = 1
    for kept in (grown.bool(), grown.double(), grown.mT.contiguous().mT, grown):
        assert guard.shrink(Weight(stored.leaf, mask, masked=False)) == 0
        assert guard.shrink(Weight(stored.leaf, kept, masked=False)) == 1


def test_masks_that_are_slices_of_one_vector_are_compared_wherever_they_begin() -> None:
    """Eight bytes at a time where they begin so, one by one where not: equal is equal, and a change is seen."""
    flat = torch.tensor([True] * 4 + [False] * 24)
    for begin in range(17):
        mask = flat[begin : begin + 8]
        weight = Weight(torch.zeros(8), mask, masked=False)
        guard = Guard(Place("weight", lambda weight=weight: weight), {}, zeros_count=False)
        assert guard.shrink(weight) == 0
        assert guard.shrink(weight) == 0
        grown = flat.clone()
        grown[begin + 7] = True
        assert guard.shrink(Weight(weight.leaf, grown[begin : begin + 8], masked=False)) == 1


@pytest.mark.parametrize(
    ("entries", "zeros", "assumed"),
    [
        ([[0.0, 1.0], [0.0, -0.0]], 3, True),
        ([[0.0, 0.0], [0.0, 0.0]], 4, False),
        ([[1.0, 2.0], [3.0, 4.0]], 0, False),
        ([0.0, 1.0], 0, False),
    ],
    ids=["some", "all", "none", "bias"],
)
def test_some_zeros_of_a_matrix_are_taken_for_pruned(entries: list[float], zeros: int, assumed: bool) -> None:
    """Where they count; not all of a weight, nor those of a vector, and none any more once they are forgotten."""
    weight = Weight(torch.tensor(entries), None, masked=False)
    for count in (True, False):
        guard = Guard(Place("weight", lambda: weight), {}, zeros_count=count)
        assert (guard.zeros, guard.assumed, guard.pruned) == (zeros, count and assumed, zeros * (count and assumed))
    guard = Guard(Place("weight", lambda: weight), {}, zeros_count=True)
    weight.leaf.fill_(7)
    assert guard.nonzero(weight.leaf).numel() == guard.pruned
    assert bool(guard.largest(weight.leaf)) is assumed
    guard.forget_zeros()
    assert (guard.zeros, guard.assumed, guard.pruned) == (zeros, False, 0)
    assert guard.nonzero(weight.leaf).numel() == guard.largest(weight.leaf) == 0


def test_what_moved_to_zero_under_a_mask_is_compared_with_zero_from_then_on() -> None:
    """It has nothing to come back with; what moves from there has."""
    guard, weight = guarded(torch.tensor([2.0, 3.0, 1.0]), torch.tensor([0.0, 0.0, 1.0]), masked=True)
    weight.leaf[0] = 0
    assert guard.has_moved(weight.leaf)
    assert guard.moved(weight.leaf).tolist() == []
    guard.settle(weight.leaf)
    assert guard.is_quiet(weight, [])
    weight.leaf[0] = 2
    assert guard.moved(weight.leaf).tolist() == [2]
