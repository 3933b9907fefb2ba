"""Splits: whole cases on one side, every case tested once, no seed in the test folds."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spinn.config import SplitConfig
from spinn.data import load
from spinn.data.splits import folds, unlabelled_cases
from spinn.errors import DataError

CASES = st.lists(st.text("abc123", min_size=1, max_size=4), min_size=4, max_size=20, unique=True)


@st.composite
def splits(draw):
    """Cases, a split that they are enough for, and the cases that have no label."""
    cases = draw(CASES)
    unlabelled = draw(st.sets(st.sampled_from(cases), max_size=len(cases) - 4))
    labelled = len(cases) - len(unlabelled)
    parts = draw(st.none() | st.integers(2, labelled))
    largest = -(-labelled // (parts or labelled))
    assume(labelled - largest - 1 >= 1)
    validation = draw(st.integers(1, labelled - largest - 1))
    kind = "leave-one-case-out" if parts is None else "grouped"
    return cases, SplitConfig(kind=kind, folds=parts, validation_cases=validation), unlabelled


@given(splits(), st.integers(0, 2**32))
def test_every_labelled_case_is_tested_exactly_once(drawn, seed):
    """The test folds partition the labelled cases, in their order."""
    cases, split, unlabelled = drawn
    tested = [case for fold in folds(cases, split, seed, unlabelled) for case in fold.test]
    assert tested == [case for case in cases if case not in unlabelled]


@given(splits(), st.integers(0, 2**32))
def test_the_sides_of_a_fold_are_disjoint_and_complete(drawn, seed):
    """Each case is on exactly one side; validation has as many cases as asked for, and training at least one."""
    cases, split, unlabelled = drawn
    for fold in folds(cases, split, seed, unlabelled):
        assert sorted((*fold.train, *fold.validation, *fold.test)) == sorted(cases)
        assert len(fold.validation) == split.validation_cases
        assert set(fold.train) - unlabelled
        assert unlabelled <= set(fold.train)


@given(splits(), st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_seed_moves_validation_cases_only(drawn, seed, other):
    """The same seed gives the same folds; another one the same test cases."""
    cases, split, unlabelled = drawn
    first = folds(cases, split, seed, unlabelled)
    assert first == folds(cases, split, seed, unlabelled)
    assert [fold.test for fold in first] == [fold.test for fold in folds(cases, split, other, unlabelled)]


def test_validation_cases_differ_between_seeds_and_folds():
    """Over several seeds and folds the inner validation cases are not always the same ones."""
    cases, split = [str(case) for case in range(1, 17)], SplitConfig(kind="leave-one-case-out")
    drawn = [fold.validation for seed in range(5) for fold in folds(cases, split, seed)]
    assert len(set(drawn)) > 30
    assert set().union(*drawn) == set(cases)


def test_grouped_folds_are_even_blocks():
    """Two folds of sixteen cases are the two replicates of the design."""
    cases = [str(case) for case in range(1, 17)]
    first, second = folds(cases, SplitConfig(kind="grouped", folds=2), seed=0)
    assert (first.test, second.test) == (tuple(cases[:8]), tuple(cases[8:]))
    sizes = [len(fold.test) for fold in folds(cases, SplitConfig(kind="grouped", folds=5), seed=0)]
    assert sizes == [4, 3, 3, 3, 3]


def test_each_half_of_the_simulated_design_holds_every_condition():
    """The premise of the blocks: either replicate has all eight conditions, so none is extrapolated to."""
    frame = load("simulator").frame.groupby("case", sort=False).first()
    conditions = list(zip(frame["DOC"], frame["feed"], frame["steel"], strict=True))
    assert set(conditions[:8]) == set(conditions[8:]) == set(conditions)
    assert len(set(conditions)) == 8


def test_too_few_cases_for_leaving_one_out():
    """Test, validation and training need a case each; the message says how many there are."""
    with pytest.raises(DataError, match=r"cases = 3 with labels: .* needs at least 4"):
        folds(["1", "2", "3"], SplitConfig(kind="leave-one-case-out", validation_cases=2), seed=0)


def test_too_few_cases_for_the_folds():
    """More folds than labelled cases are refused, unlabelled ones do not count."""
    with pytest.raises(DataError, match=r"split\.folds = 4: there are 3 cases with labels"):
        folds(["1", "2", "3", "4"], SplitConfig(kind="grouped", folds=4), seed=0, unlabelled=["4"])


def test_no_labelled_case():
    """Without any labelled case there is nothing to split."""
    with pytest.raises(DataError, match="cases = 0 with labels"):
        folds(["1", "2"], SplitConfig(kind="leave-one-case-out"), seed=0, unlabelled=["1", "2"])


def test_a_case_that_stands_twice_is_refused():
    """A name that stands twice would put one tool on two sides."""
    with pytest.raises(DataError, match="each case stands once"):
        folds(["1", "2", "2", "3", "4"], SplitConfig(kind="leave-one-case-out"), seed=0)


def test_cases_without_labels_are_found():
    """A case counts as unlabelled when no cut of it has any label, and only then."""
    data = load("simulator")
    assert unlabelled_cases(data) == ()
    data.frame.loc[data.frame["case"].isin(["3", "7"]), ["VB", "thermal"]] = float("nan")
    data.frame.loc[data.frame["case"] == "5", "VB"] = float("nan")
    assert unlabelled_cases(data) == ("3", "7")
