"""The certificate of real training: the same command is bitwise, masks switched off or another schedule are caught."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.reference import make
from spinn import experiment
from verify.faults.mutant import EXPERIMENT
from verify.mutants import MUTANTS

Call = Callable[..., Any]


def trained(folder: Path, text: str = EXPERIMENT) -> Path:
    """A folder of runs of the experiment."""
    (folder / "tiny.toml").write_text(text)
    return experiment.run(folder / "tiny.toml", out=folder / "runs", device="cpu")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two runs of it agree on."""
    folder = tmp_path_factory.mktemp("reference")
    runs = trained(folder)
    make(runs, folder / "reference", [runs])
    return folder / "reference"


def test_the_same_command_is_bitwise(call: Call, reference: Path, tmp_path: Path) -> None:
    """All runs of it, and status 0."""
    ended = call("spinn-artifacts", "reproduce", trained(tmp_path), "--reference", reference)
    assert ended.status == 0
    assert ended.out.startswith("reproduced\n")
    assert "4 of 4 runs are bitwise equal in history and predictions" in ended.out


def test_without_enforcement_nothing_is_reproduced(call: Call, reference: Path, tmp_path: Path) -> None:
    """The audit refuses what pruned weights came back into, and the certificate says so."""
    (fault,) = (mutant for mutant in MUTANTS if mutant.name == "no-enforcement")
    with contextlib.ExitStack() as planted:
        for patch in fault.patches():
            planted.enter_context(patch)
        runs = trained(tmp_path)
    ended = call("spinn-artifacts", "reproduce", runs, "--reference", reference)
    assert ended.status == 1
    assert ended.out.startswith("NOT reproduced\nrefused: the reproduction: ")
    assert "resurrection" in ended.out


def test_another_schedule_is_another_plan(call: Call, reference: Path, tmp_path: Path) -> None:
    """Its runs hold, and are not those of the reference."""
    runs = trained(tmp_path, EXPERIMENT.replace('"0.24"', '"0.25"'))
    ended = call("spinn-artifacts", "reproduce", runs, "--reference", reference)
    assert ended.status == 1
    assert "the plan differs: variant sparse.stages.1.ratio = 0.24 in the reference, 0.25 here" in ended.out
