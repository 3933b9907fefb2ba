"""The road of the other pruners, of neurons above all: run, audit, build, repeat, interrupt, roll back."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from spinn import checkpoint
from spinn.record import PLAN, RECORD, Plan, Record, checkpoint_name, read_model

Call = Callable[..., Any]
PRUNERS = {
    "sparse": "global-magnitude",
    "layerwise": "layerwise-magnitude",
    "random": "random",
    "incoming": "neurons-incoming",
    "first-order": "neurons-first-order",
}


@pytest.fixture(scope="module")
def structured(tiny_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny experiment with two pruners of neurons and two more of weights beside the sound one."""
    head, sparse, _ = tiny_text.split("[[variants]]")
    variants = [sparse.replace('"sparse"', f'"{name}"').replace("global-magnitude", PRUNERS[name]) for name in PRUNERS]
    path = tmp_path_factory.mktemp("experiment") / "structured.toml"
    path.write_text(head + "".join(f"[[variants]]{variant}" for variant in variants))
    return path


@pytest.fixture(scope="module")
def runs(call: Call, structured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment, finished; no test changes it."""
    out = tmp_path_factory.mktemp("reference") / "runs"
    ended = call("spinn", "run", structured, "--out", out, "--device", "cpu")
    assert ended.status == 0, ended.err
    return out


def test_the_road_ends_in_tables_with_the_widths_of_every_stage(
    call: Call, structured: Path, runs: Path, tmp_path: Path
) -> None:
    """Check, audit with replay, build, check of what was built, summary: each ends with status 0."""
    ended = call("spinn", "schedule", "check", structured)
    assert (ended.status, ended.err) == (0, "")
    for command in (
        ("spinn-verify", "records", runs, "--replay"),
        ("spinn-artifacts", "build", runs, "--out", tmp_path / "paper"),
        ("spinn-artifacts", "check", tmp_path / "paper"),
        ("spinn", "summary", runs),
    ):
        ended = call(*command)
        assert ended.status == 0, f"{command}\n{ended.out}{ended.err}"
    table = (tmp_path / "paper" / "tables" / "schedule.md").read_text()
    plan = read_model(runs / PLAN, Plan)
    for line in plan.ledger["incoming"]:
        assert line.widths is not None
        assert f"| incoming | {line.stage} | {line.ratio} | {'-'.join(map(str, line.widths))} |" in table
    assert "parameters kept by removing neurons" in ended.out


def test_every_stage_is_the_planned_smaller_network(runs: Path) -> None:
    """On disk and in the record, for every run; training and inference cost what the small network costs."""
    plan = read_model(runs / PLAN, Plan)
    for planned in (run for run in plan.runs if run.variant in ("incoming", "first-order")):
        record = read_model(runs / "runs" / planned.run_id / RECORD, Record)
        stored = [
            checkpoint.read(runs / "runs" / planned.run_id / checkpoint_name(stage.stage)) for stage in record.stages
        ]
        for line, stage, network in zip(plan.ledger[planned.variant], record.stages[1:], stored[1:], strict=True):
            assert network.layers == line.widths
            assert stage.parameters == line.parameters == sum(a.size for a in (*network.weights, *network.biases))
        for before, after in pairwise(stored[1:]):
            assert before.neurons is not None
            assert after.neurons is not None
            for old, new in zip(before.neurons, after.neurons, strict=True):
                assert set(new.tolist()) <= set(old.tolist())
        per_epoch = [cost.flops / cost.epochs for cost in record.cost]
        assert per_epoch == sorted(per_epoch, reverse=True)
        assert len(set(per_epoch)) == len(per_epoch)
        assert all(row.memory_bytes == 4 * record.stages[-1].parameters for row in record.latency[1:])


def test_the_same_command_twice_from_scratch_gives_the_same_bytes(
    call: Call, runs: Path, structured: Path, digests: Call, tmp_path: Path
) -> None:
    """Checkpoints with their neurons or random masks, predictions and baselines."""
    assert call("spinn", "run", structured, "--out", tmp_path / "again", "--device", "cpu").status == 0
    assert digests(tmp_path / "again") == digests(runs)


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_from_any_stage_it_ends_in_the_same_place(
    call: Call, runs: Path, structured: Path, digests: Call, tmp_path: Path, stage: int
) -> None:
    """Rolled back to the dense network, or to a smaller one, whose neurons are still numbered as in the dense."""
    out = tmp_path / "runs"
    subprocess.run(["cp", "-a", str(runs), str(out)], check=True)
    ended = call("spinn", "run", structured, "--out", out, "--device", "cpu", "--from-stage", stage)
    assert ended.status == 0, ended.err
    assert digests(out) == digests(runs)
    assert call("spinn-verify", "records", out, "--replay").status == 0


def test_a_killed_run_goes_on_from_the_smaller_network(
    call: Call, start: Call, runs: Path, structured: Path, digests: Call, tmp_path: Path
) -> None:
    """Killed once neurons of the first pruner have gone; the same command ends in the same place."""
    out = tmp_path / "runs"
    with start("spinn", "run", structured, "--out", out, "--device", "cpu") as process:
        deadline = time.monotonic() + 60
        while not list(out.glob("runs/incoming-*/stage-2.safetensors")):
            assert process.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert not list(out.glob(f"runs/first-order-*/{RECORD}"))
    ended = call("spinn", "run", structured, "--out", out, "--device", "cpu")
    assert ended.status == 0, ended.err
    assert digests(out) == digests(runs)
