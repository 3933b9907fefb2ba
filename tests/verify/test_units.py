"""Units of pruning, found in masks by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from verify.units import Cut, Kind, chosen, cuts_of, dimensions, grouped, in_kind


def mask(*rows: str) -> np.ndarray:
    """A mask from rows of 1 and 0."""
    return np.array([[letter == "1" for letter in row] for row in rows])


FULL = np.ones((4, 6), bool)
ROWS, COLUMNS = Kind((0,)), Kind((1,))


def kinds(before: np.ndarray, after: np.ndarray) -> set[str]:
    """Names of all units that a cut shows."""
    return {str(cut.kind) for cut in cuts_of(before, after)}


def test_kinds_say_what_they_are() -> None:
    """In words for messages."""
    assert str(ROWS) == "slices of dimension 0"
    assert str(Kind((0, 1))) == "slices of dimension 0 and 1"
    assert str(Kind(block=(2, 4))) == "blocks of 2 × 4"


def test_rows_columns_kernels_and_blocks_are_counted() -> None:
    """Kept weights of each unit; a tensor that has no such units says so."""
    some = mask("1101", "0000", "0110")
    assert list(ROWS.counts(some)) == [3, 0, 2]  # type: ignore[arg-type]
    assert list(COLUMNS.counts(some)) == [1, 2, 1, 1]  # type: ignore[arg-type]
    assert list(Kind(block=(2, 2)).counts(some)) == [2, 1, 1, 1]  # type: ignore[arg-type]
    assert list(Kind(block=(1, 3)).counts(some)) == [2, 1, 0, 0, 2, 0]  # type: ignore[arg-type]
    filters = np.arange(12).reshape(2, 3, 2) % 4 > 0
    assert list(Kind((0, 1)).counts(filters)) == [1, 2, 1, 2, 1, 2]  # type: ignore[arg-type]
    assert list(Kind((2,)).counts(filters)) == [3, 6]  # type: ignore[arg-type]
    assert Kind((2,)).counts(some) is None
    assert Kind(block=(2, 2)).counts(filters) is None
    assert Kind(block=(2, 2)).counts(np.ones(3, bool)) is None


def test_rows_that_went_as_wholes() -> None:
    """How many, their size, and how many weights agree with their row."""
    after = mask("111111", "000000", "111111", "111111")
    (single, *larger) = cuts_of(FULL, after)
    assert single == Cut(None, 24, 18)
    assert Cut(ROWS, 4, 3, weights=6, proof=20) in larger
    assert "slices of dimension 1" not in kinds(FULL, after)
    assert {"blocks of 1 × 2", "blocks of 1 × 4", "blocks of 1 × 8"} < kinds(FULL, after)
    assert "blocks of 2 × 1" not in kinds(FULL, after)
    later = mask("111111", "000000", "000000", "111111")
    assert Cut(ROWS, 3, 2, weights=6, proof=15) in cuts_of(after, later)
    rest = mask("011111", "000000", "011111", "011111")
    assert Cut(COLUMNS, 6, 5, weights=3, proof=12) in cuts_of(after, rest)


def test_columns_show_blocks_of_two_rows_and_no_block_of_one_weight() -> None:
    """A block of 1 × 1 is a single weight."""
    shown = kinds(FULL, mask("101111", "101111", "101111", "101111"))
    assert {"blocks of 2 × 1", "blocks of 4 × 1"} < shown
    assert "blocks of 1 × 1" not in shown


def test_single_weights_show_no_larger_unit() -> None:
    """Nor do weights that came back; of nothing or everything, any unit."""
    after = mask("111011", "111111", "111111", "101111")
    assert cuts_of(FULL, after) == [Cut(None, 24, 22)]
    assert cuts_of(after, FULL) == [Cut(None, 22, 24)]
    assert cuts_of(after, mask("000000", "111111", "111111", "111111")) == [Cut(None, 22, 18)]
    assert cuts_of(after, after) == []
    assert cuts_of(after, ~FULL) == []


def test_kernels_of_a_convolution() -> None:
    """A filter's kernel for one input channel; in matrices there is none."""
    full, after = np.ones((2, 3, 2, 2), bool), np.ones((2, 3, 2, 2), bool)
    after[1, 2] = False
    assert kinds(full, after) == {"None", "slices of dimension 0 and 1"}
    assert cuts_of(full, after)[1] == Cut(Kind((0, 1)), 6, 5, weights=4, proof=18)
    flat = np.ones((2, 3, 2), bool)
    flat[1, 2] = False
    assert kinds(flat | True, flat) == {"None", "slices of dimension 0 and 1"}
    assert "slices of dimension 0 and 1" not in kinds(FULL, mask("111111", "000000", "111111", "111111"))


@pytest.mark.parametrize(
    ("active", "kept", "share", "meets"),
    [(10, 7, "0.3", True), (10, 7, "0.21", True), (10, 7, "0.2", False), (10, 7, "0.39", True), (10, 7, "0.4", False)],
)
def test_a_share_is_met_to_within_less_than_one_unit(active: int, kept: int, share: str, meets: bool) -> None:
    """Either side, and not by a whole one."""
    assert Cut(ROWS, active, kept).meets(Fraction(share)) is meets


def striped(height: int, *gone: int, group: int = 4) -> np.ndarray:
    """A mask of two columns without some groups of rows."""
    made = np.ones((height, 2), bool)
    for number in gone:
        made[number * group : (number + 1) * group] = False
    return made


def test_rows_that_went_in_equal_groups() -> None:
    """The largest group that all layers show, where what went begins and ends in eight places at multiples of it."""
    before, after = np.ones((64, 2), bool), striped(64, 1, 3, 6, 11)  # 4, 8, 12, 16, 24, 28, 44 and 48
    rows = Cut(ROWS, 64, 48, weights=2, proof=64)
    fours = Cut(Kind((0,), group=4), 16, 12, weights=8, proof=112)
    assert str(fours.kind) == "groups of 4 slices of dimension 0"
    assert grouped([(before, after)], [[rows]]) == [fours]
    turned = [[replace(rows, kind=COLUMNS)]]
    assert grouped([(before.T, after.T)], turned) == [replace(fours, kind=Kind((1,), group=4))]
    later = striped(64, 1, 3, 6, 8, 11)
    assert grouped([(after, later)], [[Cut(ROWS, 48, 44, weights=2, proof=48)]]) == [
        Cut(Kind((0,), group=4), 12, 11, weights=8, proof=84)
    ]
    few = striped(64, 1, 3, 6)  # six places, and all at a multiple of four by chance once in 4⁶
    assert grouped([(before, few)], [[rows]]) == [rows]
    other = before[:62], striped(62, 1, 3, 5, 9, 12, 15, group=2)
    twos = grouped([(before, after), other], [[rows], [rows]])
    assert [cut and cut.kind for cut in twos] == [Kind((0,), group=2)] * 2
    assert [cut and (cut.active, cut.kept) for cut in twos] == [(32, 24), (31, 25)]
    thin = before.copy()
    thin[0, 1] = False  # a slice with a single weight is there
    assert [cut and cut.kind for cut in grouped([(thin, thin & after)], [[rows]])] == [Kind((0,), group=4)]
    odd = (np.ones((7, 2), bool), striped(7, 2, group=1))
    assert grouped([(before, after), odd], [[rows], [rows]]) == [rows, rows]


def test_other_units_make_no_groups() -> None:
    """Single weights, blocks, kernels, layers that shrank, and those of which nothing went stay what they are."""
    before, after = np.ones((64, 2), bool), striped(64, 1, 3, 6, 11)
    rows, block = Cut(ROWS, 64, 48, weights=2, proof=64), Cut(Kind(block=(4, 1)), 32, 24, 4, 96)
    single = Cut(None, 128, 96)
    found = grouped([(before, after)] * 4, [[single, rows, block], [], [single], [single, block]])
    assert [cut and cut.weights for cut in found] == [8, None, 1, 4]
    assert grouped([(before, after)] * 3, [[], [single], [block]]) == [None, single, block]
    kernels = np.ones((8, 8, 3), bool), np.ones((8, 8, 3), bool)
    shrunk = before, after[:48]
    cuts = [rows, Cut(Kind((0, 1)), 64, 60, 3, 128), rows]
    assert grouped([(before, after), kernels, shrunk], [[cut] for cut in cuts])[1:] == cuts[1:]
    assert grouped([], []) == []


def test_layers_that_shrank() -> None:
    """Along one dimension, by its slices; along two, or where it grew, or has other dimensions, by weights."""
    assert cuts_of(FULL, np.ones((3, 6), bool)) == [Cut(ROWS, 4, 3, weights=6, proof=20)]
    assert cuts_of(FULL, np.ones((4, 2), bool)) == [Cut(COLUMNS, 6, 2, weights=4, proof=18)]
    assert cuts_of(FULL, np.ones((3, 5), bool)) == [Cut(None, 24, 15)]
    assert cuts_of(FULL, np.ones((5, 6), bool)) == [Cut(None, 24, 30)]
    assert cuts_of(FULL, np.ones((4, 6, 1), bool)) == [Cut(None, 24, 24)]


def test_what_went_along_each_dimension() -> None:
    """A grid of whole rows and columns, by masks or by shapes."""
    grid = mask("110101", "110101", "000000", "110101")
    assert dimensions(FULL, grid) == [Cut(ROWS, 4, 3), Cut(COLUMNS, 6, 4)]
    assert dimensions(FULL, mask("110101", "110101", "000000", "111101")) is None
    assert dimensions(grid, mask("110101", "000000", "000000", "110101")) == [Cut(ROWS, 3, 2)]
    assert dimensions(FULL, FULL) == []
    assert dimensions(FULL, np.ones((3, 5), bool)) == [Cut(ROWS, 4, 3), Cut(COLUMNS, 6, 5)]
    assert dimensions(FULL, np.ones((3, 7), bool)) is None
    assert dimensions(FULL, np.ones((4, 6, 1), bool)) is None


def test_a_layer_that_shows_nothing_in_units_of_others() -> None:
    """All of its units stay, or all go."""
    assert in_kind(ROWS, FULL, FULL) == Cut(ROWS, 4, 4)
    assert in_kind(COLUMNS, FULL, ~FULL) == Cut(COLUMNS, 6, 0)
    assert in_kind(None, mask("110", "000"), ~FULL) == Cut(None, 2, 0)
    assert in_kind(COLUMNS, np.ones(3, bool), np.ones(3, bool)) is None


def test_one_unit_for_all_layers_is_chosen_before_larger_ones() -> None:
    """Then slices before blocks, then the larger; and where there is none for all, each layer has its own."""
    four, eight = Kind(block=(1, 4)), Kind(block=(1, 8))
    one = [Cut(None, 32, 24), Cut(four, 8, 6, 4), Cut(eight, 4, 3, 8)]
    other = [Cut(None, 32, 20), Cut(four, 8, 5, 4)]
    assert chosen([one, [], other]) == [one[1], None, other[1]]
    assert chosen([one]) == [one[2]]
    rows = [Cut(None, 32, 24), Cut(ROWS, 8, 6, 4), Cut(eight, 4, 3, 8)]
    assert chosen([rows, rows]) == [rows[1], rows[1]]
    columns = [Cut(None, 32, 24), Cut(COLUMNS, 8, 6, 4)]
    assert chosen([rows, columns, []]) == [rows[1], columns[1], None]
    flat = [Cut(None, 3, 2), Cut(ROWS, 3, 2, 1)]
    assert chosen([flat, one]) == [flat[0], one[2]]
    pairs = [Cut(None, 6, 4), Cut(ROWS, 3, 2, 2), Cut(eight, 2, 1, 3)]
    assert chosen([pairs]) == [pairs[1]]
    two = Kind(block=(1, 2))
    assert chosen([[Cut(None, 8, 6), Cut(two, 4, 3, 2)], [*other, Cut(two, 16, 10, 2)]]) == [
        Cut(two, 4, 3, 2),
        Cut(two, 16, 10, 2),
    ]
    line, row = Cut(COLUMNS, 8, 6, 1), [Cut(None, 8, 6), Cut(COLUMNS, 8, 6, 1), Cut(two, 4, 3, 2)]
    assert chosen([[line], row]) == [line, row[2]]
    assert chosen([]) == []
    assert chosen([[]]) == [None]
