"""Faults in the real system are caught by the checks made for them. All of them run with `spinn-verify mutants`."""

from __future__ import annotations

import json
from dataclasses import replace
from unittest import mock

import pytest
import torch
from click.testing import CliRunner

from spinn.masks import Masks
from spinn.model import Network
from verify import mutants
from verify.audit import CHECKS, NOTES
from verify.cli import _print_matrix, cli
from verify.faults import pruning
from verify.faults.mutant import Mutant
from verify.mutants import MUTANTS, REFUSED, Outcome, run

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


def test_control_is_caught_by_nothing() -> None:
    """The sound system passes the same audit on the same experiment."""
    (outcome,) = run([BY_NAME["none"]])
    assert outcome.caught_by == ()
    assert outcome.holds


@pytest.mark.parametrize("name", ["restarting-thresholds", "no-enforcement", "unreachable-schedule", "silent-physics"])
def test_the_faults_that_started_it_are_caught(name: str) -> None:
    """Each fault of the first version and its drafts is caught by the check made for it."""
    (outcome,) = run([BY_NAME[name]])
    assert outcome.mutant.expected in outcome.caught_by


def test_unreachable_schedule_is_refused_before_training() -> None:
    """Without the fault in place the system itself refuses to start what cannot reach its target."""
    (outcome,) = run([replace(BY_NAME["unreachable-schedule"], patches=list)])
    assert outcome.caught_by == (REFUSED,)
    assert not outcome.holds


def test_a_mutant_that_crashes_is_not_caught_and_the_others_are_run() -> None:
    """A fault that no longer fits the system says so in the matrix, in place of ending it."""
    crash = mock.patch.object(Network, "initialise", side_effect=RuntimeError("sizes do not match"))
    broken = Mutant("broken", "resurrection", lambda: [crash])
    outcomes = list(run([broken, BY_NAME["none"]]))
    assert [outcome.caught_by for outcome in outcomes] == [("crashed: RuntimeError",), ()]
    assert [outcome.holds for outcome in outcomes] == [False, True]


def test_every_check_is_proven_by_a_mutant() -> None:
    """Each check that can fail an audit is the one that some mutant is made for; names are unique."""
    assert {mutant.expected for mutant in MUTANTS if mutant.expected} == set(CHECKS) - set(NOTES)
    assert len(BY_NAME) == len(MUTANTS)
    assert sum(mutant.expected is None for mutant in MUTANTS) == 1


def test_matrix_as_json_and_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutant that nothing catches makes the command fail, and the JSON says which."""
    harmless = Mutant("harmless", "resurrection", list)
    monkeypatch.setattr(mutants, "MUTANTS", (BY_NAME["none"], harmless))
    result = CliRunner().invoke(cli, ["mutants", "--json"], standalone_mode=False)
    assert result.return_value == 1
    assert json.loads(result.stdout) == {
        "mutants": [
            {"name": "none", "expected": None, "caught_by": []},
            {"name": "harmless", "expected": "resurrection", "caught_by": []},
        ]
    }


def test_matrix_shows_every_catch(capsys: pytest.CaptureFixture[str]) -> None:
    """As many columns as there are checks fit into a line: no mark, no number and no miss is cut off."""
    caught = [Outcome(mutant, (mutant.expected,) if mutant.expected else ()) for mutant in MUTANTS[:-1]]
    _print_matrix([*caught, Outcome(MUTANTS[-1], ())])
    table, _, _ = capsys.readouterr().out.partition("  1 planned")
    assert table.count("●") == len(MUTANTS) - 2
    assert table.count("MISSED") == 1
    assert "…" not in table


def test_multiplied_masks_leave_negative_zeros() -> None:
    """The fault is what its name says: after a step pruned weights are zero, some of them -0.0, none another number."""
    network = Network.initialise((6, 9, 2), [0])
    masks = Masks(tuple(torch.arange(weight[0].numel()).view(weight.shape) % 2 > 0 for weight in network.weights))
    optimizer = torch.optim.Adam(network.parameters())
    enforcer = pruning._Multiplying(network, masks, optimizer)
    enforcer.weights()
    network(torch.ones(1, 3, 6)).square().sum().backward()
    enforcer.gradients()
    optimizer.step()
    pruned = torch.cat([weight[~mask] for weight, mask in zip(network.weights, masks.layers, strict=True)])
    assert not pruned.any()
    assert pruned.signbit().any()
