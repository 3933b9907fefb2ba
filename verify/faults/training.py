"""Faults of training: physics that is not at work, and phases that are not as planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch

from spinn import cohort, step, training
from spinn.model import Network
from spinn.passes import Passes
from verify.faults.mutant import Mutant, Patches


def _silent_physics() -> Patches:
    """The residuals are zero: an error on the way to them was swallowed."""
    sound = step.motion_losses

    def losses(*arguments: Any) -> Any:
        return {term: torch.zeros_like(loss) for term, loss in sound(*arguments).items()}

    return [mock.patch.object(step, "motion_losses", losses)]


def _detached_physics() -> Patches:
    """The residuals are logged, and no gradient flows from them."""
    sound = step.motion_losses

    def losses(*arguments: Any) -> Any:
        return {term: loss.detach() for term, loss in sound(*arguments).items()}

    return [mock.patch.object(step, "motion_losses", losses)]


def _shuffled_derivative() -> Patches:
    """Rates are differences between neighbouring rows of a batch, divided by the time between them."""

    def with_tangent(self: Network | Passes, x: torch.Tensor, dx: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, moving = self(x), dx.shape[1]
        state, time = y[:, y.shape[1] - moving :], x[:, x.shape[1] - moving :, :1]
        change, passed = state.roll(1, 1) - state, time.roll(1, 1) - time
        return y, change * passed / (passed.square() + 1e-3) * dx[:, :, :1]  # the same time twice divides by 0

    return [mock.patch.object(way, "with_tangent", with_tangent) for way in (Network, Passes)]


def _wrong_law() -> Patches:
    """A slip in the wear law: wear slows its own growth down."""
    sound = step.motion_losses

    def losses(terms: Any, motion: Any, scales: Any, values: Any) -> Any:
        return sound(terms, motion, scales, {k: -v if k == "g" else v for k, v in values.items()})

    return [mock.patch.object(step, "motion_losses", losses)]


def _last_epoch() -> Patches:
    """The last epoch's weights are kept, the best one's loss is recorded."""
    return [
        mock.patch.object(training._Best, "restore"),
        mock.patch.object(training._Book, "enter", _first_is_best(training._Book.enter)),
    ]


def _first_is_best(sound: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Loss of later epochs a little higher, so that the last epoch is never the best."""

    def enter(self: Any, epoch: int, losses: torch.Tensor) -> np.ndarray:
        losses = losses.clone()
        losses[-1] += 10.0 * (epoch - 1)
        return sound(self, epoch, losses)

    return enter


def _other_settings(change: Callable[[step.FitSettings], dict[str, Any]]) -> Patches:
    sound = training.fit

    def fit(network: Any, coefficients: Any, data: Any, settings: step.FitSettings, **named: Any) -> Any:
        return sound(network, coefficients, data, replace(settings, **change(settings)), **named)

    return [mock.patch.object(training, "fit", fit)]


def _free_of_cost() -> Patches:
    """Nothing is counted."""
    made = cohort.PhaseCost
    return [mock.patch.object(cohort, "PhaseCost", lambda **content: made(**{**content, "flops": 0}))]


FAULTS = (
    Mutant("silent-physics", "physics-alive", _silent_physics),
    Mutant("detached-physics", "physics-alive", _detached_physics),
    Mutant("derivative-across-a-shuffled-batch", "physics-recomputed", _shuffled_derivative),
    Mutant("slip-in-the-wear-law", "physics-recomputed", _wrong_law),
    Mutant("last-epoch-kept", "selection-not-on-test", _last_epoch),
    Mutant(
        "other-learning-rate",
        "trained-as-planned",
        partial(_other_settings, lambda settings: {"learning_rate": 2 * settings.learning_rate}),
    ),
    Mutant(
        "an-epoch-too-few",
        "trained-as-planned",
        partial(_other_settings, lambda settings: {"epochs": settings.epochs - 1}),
    ),
    Mutant("training-for-nothing", "cost-recomputed", _free_of_cost),
)
