"""Faults of online adaptation: masks that are let go, labels that are known too early, rivals that are held back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from spinn import adaptation, law_updates, online
from spinn.step import Steps
from verify.faults.mutant import EXPERIMENT, Mutant, Patches

_EXPERIMENT = EXPERIMENT.replace("[target]", "[adaptation]\nsteps = 2\nlearning_rate = 1e-3\n\n[target]")


def _masks_let_go() -> Patches:
    """Networks adapt with all their weights: the pruned ones come back."""

    def steps(network: Any, coefficients: Any, task: Any, settings: Any, masks: Any) -> Steps:
        return Steps(network, coefficients, task, settings, None)

    return [mock.patch.object(online, "Steps", steps)]


def _label_first() -> Patches:
    """A cut's own label is learnt from before the cut is predicted."""
    sound = adaptation.tools_of

    def tools_of(runs: Sequence[Any], dataset: Any) -> list[online.Tool]:
        known = dataset.frame["VB"].notna().to_numpy()
        return [replace(tool, seen=tool.seen + known[tool.rows]) for tool in sound(runs, dataset)]

    return [mock.patch.object(adaptation, "tools_of", tools_of)]


def _handicapped_rival() -> Patches:
    """The law that is refitted is not the one that fits best."""
    sound = law_updates.fit_wear_law
    return [mock.patch.object(law_updates, "fit_wear_law", lambda frame: sound(frame) + np.array([0.2, 0, 0, 0]))]


FAULTS = (
    Mutant("adapted-without-masks", "adaptation-recomputed", _masks_let_go, _EXPERIMENT),
    Mutant("label-before-prediction", "adaptation-recomputed", _label_first, _EXPERIMENT),
    Mutant("handicapped-rival", "adaptation-recomputed", _handicapped_rival, _EXPERIMENT),
)
