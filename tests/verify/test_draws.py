"""A choice that is called random is drawn again, position by position; one that was not drawn is found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from verify.draws import as_drawn
from verify.folder import Fault

SHAPES = ((3, 4), (2, 3))


class Case:
    """A run whose stages were drawn as declared, six and then four of eighteen weights."""

    def __init__(self, pruner: str = "random", seed: int = 7) -> None:
        kept = np.ones(18, bool)
        flat = [kept.copy()]
        for stage, count in ((1, 6), (2, 4)):
            places = np.flatnonzero(kept)
            numbers = np.random.PCG64(np.random.SeedSequence([seed, stage, 0])).random_raw(places.size)
            kept[places[np.argsort(numbers)[:count]]] = False
            flat.append(kept.copy())
        self.masks = [
            [part.reshape(shape) for part, shape in zip(np.split(m, [12]), SHAPES, strict=True)] for m in flat
        ]
        plan = SimpleNamespace(variant={"v": SimpleNamespace(pruner=pruner)}.__getitem__)
        self.folder: Any = SimpleNamespace(plan=plan)
        self.run: Any = SimpleNamespace(
            planned=SimpleNamespace(variant="v", seed=7),
            checked=SimpleNamespace(stages=[SimpleNamespace(stage=number) for number in range(3)]),
            network=lambda stage: SimpleNamespace(masks=self.masks[stage]),
        )

    def faults(self) -> list[Fault]:
        """All that is found."""
        return list(as_drawn(self.folder, self.run))


def test_what_was_drawn_is_no_fault() -> None:
    """Of both stages."""
    assert Case().faults() == []


def test_one_weight_that_was_not_drawn_is_found() -> None:
    """One that stays in place of another that goes: counts, and so every other check, are as they were."""
    case = Case()
    first, last = case.masks[1][0], case.masks[2][0]
    gone, kept = np.argwhere(~first)[0], np.argwhere(last)[0]
    for masks in (first, last):
        masks[tuple(gone)], masks[tuple(kept)] = True, False
    message = "stage 1: 1 of 6 pruned weights are not those that seed 7 draws; a choice that is called random was not"
    assert case.faults()[0] == Fault(message, {"stage": 1, "count": 1})


def test_the_draw_of_another_seed_is_found() -> None:
    """At each stage."""
    assert [fault.data["stage"] for fault in Case(seed=8).faults()] == [1, 2]


@pytest.mark.parametrize("pruner", ["global-magnitude", "first-version", "neurons-incoming"])
def test_other_pruners_do_not_draw(pruner: str) -> None:
    """What they took is no business of this check."""
    assert Case(pruner, seed=8).faults() == []
