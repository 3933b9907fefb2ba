"""Prune, train, save, load, resume and roll back in any order: counts, masks and zeros hold all along."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from spinn import checkpoint, model, pruning
from spinn.checkpoint import Checkpoint
from spinn.errors import InputError
from spinn.masks import Enforcer, Masks
from spinn.model import Network, from_checkpoints, to_checkpoint
from spinn.pruning import global_magnitude
from spinn.schedule import plan
from verify import strategies
from verify.checkpoints import audit_files

LAYERS = (4, 6, 5, 2)
RUNS = 2
ELEMENT_WISE = sorted(set(strategies.optimizer_classes()) - set(strategies.NOT_PER_WEIGHT))


class Lifecycle(RuleBasedStateMachine):
    """A stack of two small networks with its checkpoints; `ratios` is the path of stages that it is on."""

    @initialize(seed=st.integers(0, 2**32 - 3))
    def begin(self, seed: int) -> None:
        """A dense network, saved as stage 0."""
        self.folder = Path(tempfile.mkdtemp(prefix="lifecycle-"))
        self.network = Network.initialise(LAYERS, [seed, seed + 1])
        self.masks = Masks.ones_like(self.network)
        self.ratios: list[str] = []
        self.path: list[Masks] = [self.masks]
        self.saved: dict[int, list[Checkpoint]] = {}
        self.optimizer: torch.optim.Optimizer | None = None
        self.save()

    @rule(ratio=st.sampled_from([".1", ".24", ".30", "1/3", "0"]))
    def prune(self, ratio: str) -> None:
        """The next stage: exact counts, what is pruned set to zero; refused if a layer would empty."""
        stage = plan(LAYERS, [*self.ratios, ratio])[-1]
        try:
            self.masks = global_magnitude(self.network, self.masks, stage.pruned)
        except InputError:
            return  # a layer would have lost its last weight
        self.ratios.append(ratio)
        self.path.append(self.masks)
        Enforcer(self.network, self.masks).weights()
        self.optimizer = None
        self.save()

    @rule(data=st.data(), steps=st.integers(1, 3))
    def train(self, data: st.DataObject, steps: int) -> None:
        """Enforced steps of any element-wise optimizer, a new one or the one before."""
        if self.optimizer is None:
            chosen = data.draw(strategies.optimizers(ELEMENT_WISE))
            chosen.settings["lr"] = 1e-3  # a drawn one may let the kept weights overflow
            chosen.settings.pop("centered", None)  # whose variance may round below zero: then torch itself makes NaN
            self.optimizer = chosen.make(self.network.parameters())
        enforcer = Enforcer(self.network, self.masks, self.optimizer)
        for step in range(steps):
            self.optimizer.zero_grad()
            x = torch.randn((RUNS, 8, LAYERS[0]), generator=torch.Generator().manual_seed(step))
            (self.network(x) - x[..., :2]).square().mean().backward()
            enforcer.gradients()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            enforcer.weights()
            enforcer.state()

    @rule()
    def save(self) -> None:
        """A checkpoint of the stage as it is now."""
        stage = len(self.ratios)
        masks = self.masks if stage else None
        self.saved[stage] = [to_checkpoint(self.network, masks, run, {"a": 0.5}) for run in range(RUNS)]
        for run, stored in enumerate(self.saved[stage]):
            checkpoint.write(self.file(stage, run), stored)

    @rule()
    def resume(self) -> None:
        """Go on from the last stage's checkpoint, as after a crash."""
        self.load(len(self.ratios))

    @precondition(lambda self: self.ratios)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        """Go on from an earlier stage; what came after it is forgotten."""
        stage = data.draw(st.integers(0, len(self.ratios) - 1))
        del self.ratios[stage:], self.path[stage + 1 :]
        self.load(stage)

    def load(self, stage: int) -> None:
        """Read a stage's checkpoints, which are what was saved, to the last bit."""
        stored = [checkpoint.read(self.file(stage, run)) for run in range(RUNS)]
        for read, written in zip(stored, self.saved[stage], strict=True):
            for a, b in zip((*read.weights, *read.biases), (*written.weights, *written.biases), strict=True):
                assert np.array_equal(a.view(np.uint32), b.view(np.uint32))
        self.network, masks = from_checkpoints(stored)
        self.masks = masks or Masks.ones_like(self.network)
        self.optimizer = None

    def file(self, stage: int, run: int) -> Path:
        """Where a network lies."""
        return self.folder / f"stage-{stage}-{run}.safetensors"

    @invariant()
    def counts_are_the_ledgers(self) -> None:
        """Exactly, in every run."""
        if self.ratios:
            assert self.masks.kept() == [plan(LAYERS, self.ratios)[-1].kept_weights] * RUNS

    @invariant()
    def masks_only_shrink(self) -> None:
        """Along the path of stages, and the one in hand is the last."""
        for before, after in pairwise(self.path):
            assert all(not (new & ~old).any() for old, new in zip(before.layers, after.layers, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(self.path[-1].layers, self.masks.layers, strict=True))

    @invariant()
    def pruned_is_zero_and_the_rest_finite(self) -> None:
        """+0.0 to the bit."""
        for weight, mask in zip(self.network.weights, self.masks.layers, strict=True):
            pruned = weight.detach()[~mask]
            assert strategies.same_bits(pruned, torch.zeros_like(pruned))
            assert torch.isfinite(weight[mask]).all()

    def teardown(self) -> None:
        """The files on disk, read by the judge's own code, hold and have the ledger's counts."""
        try:
            for run in range(RUNS if self.ratios else 0):
                verdict = audit_files([self.file(stage, run) for stage in range(len(self.ratios) + 1)], self.ratios)
                (counts,) = (finding for finding in verdict.findings if finding.check == "counts")
                assert verdict.holds
                assert counts.data["counted"] == counts.data["planned"]
        finally:
            shutil.rmtree(self.folder)


class TestLifecycle(Lifecycle.TestCase):
    """The machine, under the profile's settings."""

    settings = settings(stateful_step_count=12)


def _masks_forgotten(checkpoints: Sequence[Checkpoint]) -> tuple[Network, None]:
    return model.from_checkpoints(checkpoints)[0], None


def _thresholds_restarted(network: Network, masks: Masks, prune: int) -> Masks:
    return pruning.global_magnitude(network, Masks.ones_like(network), prune)  # the sound one, of all weights


class _Idle(Enforcer):
    """Holds the masks once, and then no more."""

    def gradients(self) -> None:
        """Nothing."""

    def weights(self) -> None:
        """Nothing while an optimizer is there."""
        if self._optimizer is None:
            super().weights()


FAULTS: dict[str, Any] = {
    "masks-lost-on-load": mock.patch(f"{__name__}.from_checkpoints", _masks_forgotten),
    "restarting-thresholds": mock.patch(f"{__name__}.global_magnitude", _thresholds_restarted),
    "no-enforcement": mock.patch(f"{__name__}.Enforcer", _Idle),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_finds_a_fault(fault: str) -> None:
    """A broken part makes it fail within a few hundred orders of steps."""
    tries = settings(
        max_examples=300,
        derandomize=True,
        database=None,
        stateful_step_count=12,
        phases=[Phase.generate],
        print_blob=False,
    )
    with FAULTS[fault], pytest.raises(AssertionError, match="assert"):
        run_state_machine_as_test(Lifecycle, settings=tries)
