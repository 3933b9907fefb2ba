"""How tools are divided into training, validation and test cases: always whole cases, never single cuts.

Knows names of cases and nothing of their cuts. A case stands for one tool; its cuts share that tool's wear, so a
split that puts cuts of one case on both sides measures memory, not prediction.

Test folds depend on the cases and their order alone, so that every seed is tested on the same tools; the inner
validation cases are drawn from the training cases, anew for each seed and fold.

A case without a single label cannot be tested or select an epoch. It is never a test or validation case; it stays in
the training cases of every fold, where its cuts still count as places at which physics must hold.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from spinn.config import SplitConfig
from spinn.data.dataset import TARGETS, Dataset
from spinn.errors import DataError


@dataclass(frozen=True)
class Fold:
    """Names of the cases on each side of one split, in the data's order; the three are disjoint."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def unlabelled_cases(dataset: Dataset) -> tuple[str, ...]:
    """Cases in which no cut has a label of any target."""
    has_label = ~np.isnan(dataset.frame[list(TARGETS)].to_numpy(float)).all(axis=1)
    labelled = set(dataset.frame["case"].to_numpy()[has_label])
    return tuple(case for case in dataset.cases if case not in labelled)


def folds(cases: Sequence[str], split: SplitConfig, seed: int, unlabelled: Collection[str] = ()) -> list[Fold]:
    """Divide `cases`; every labelled case is tested in exactly one fold.

    Grouped folds are contiguous blocks in the order of the cases, as even as they can be: a designed experiment
    lists one replicate of its conditions after the other (the NASA and simulated cases 1-8 and 9-16 do), so each
    block leaves every condition in the training cases.

    Args:
        cases: names of all cases, each once.
        split: kind and number of folds, and the number of validation cases.
        seed: seed of the run; it moves the validation cases and nothing else.
        unlabelled: cases without labels (see `unlabelled_cases`): in training always, in test and validation never.

    Returns:
        The folds, in the order of their test cases.

    Raises:
        DataError: a case stands twice, or there are too few labelled cases for the split.
    """
    if len(set(cases)) != len(cases):
        raise DataError(f"cases = {list(cases)}: each case stands once; merge the cuts of one tool into one case")
    labelled = [case for case in cases if case not in set(unlabelled)]
    parts = split.folds or len(labelled)
    if split.kind == "grouped" and parts > len(labelled):
        raise DataError(
            f"split.folds = {parts}: there are {len(labelled)} cases with labels; ask for at most that many folds"
        )
    largest = -(-len(labelled) // parts) if labelled else 0
    needed = largest + split.validation_cases + 1
    if len(labelled) < needed or parts < 2:
        raise DataError(
            f"cases = {len(labelled)} with labels: {split.kind} with validation_cases = {split.validation_cases} needs "
            f"at least {max(needed, 2)} (test, validation, and one to train on); give more cases, or ask for fewer"
        )
    blocks = np.array_split(np.arange(len(labelled)), parts)
    return [
        _fold(cases, labelled, [labelled[i] for i in block], split.validation_cases, (seed, number))
        for number, block in enumerate(blocks)
    ]


def _fold(
    cases: Sequence[str], labelled: Sequence[str], test: Sequence[str], validation_cases: int, key: tuple[int, int]
) -> Fold:
    rest = [case for case in labelled if case not in set(test)]
    drawn = set(np.random.default_rng(key).permutation(len(rest))[:validation_cases].tolist())
    validation = [case for place, case in enumerate(rest) if place in drawn]
    out = {*test, *validation}
    return Fold(tuple(case for case in cases if case not in out), tuple(validation), tuple(test))
