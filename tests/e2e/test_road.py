"""The whole road on a tiny network: run, audit, build, check; and what interruption, repetition and rollback change."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spinn.record import (
    BASELINES,
    PLAN,
    RECORD,
    BaselineRecord,
    Plan,
    Record,
    plan_digest,
    read_model,
    write_model,
)

RUNS = 4  # 2 folds x 2 variants
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def runs(call: Call, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny experiment on the simulator, finished; no test changes it."""
    out = tmp_path_factory.mktemp("reference") / "runs"
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu")
    assert ended.status == 0, ended.err
    return out


def finished(runs: Path) -> int:
    """How many runs have their record."""
    return len(list(runs.glob(f"runs/*/{RECORD}")))


def untouched(runs: Path) -> dict[str, tuple[int, int]]:
    """When every file of the runs and baselines was last written, and how long it is."""
    files = [path for part in ("runs", BASELINES) for path in (runs / part).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def walk_the_rest(call: Call, runs: Path, out: Path) -> None:
    """Audit with replay, build, check: each ends with status 0."""
    for command in (
        ("spinn-verify", "records", runs, "--replay"),
        ("spinn-artifacts", "build", runs, "--out", out),
        ("spinn-artifacts", "check", out),
        ("spinn", "summary", runs),
    ):
        ended = call(*command)
        assert ended.status == 0, f"{command}\n{ended.out}{ended.err}"


def test_the_road_ends_in_tables_figures_and_numbers_on_the_simulator(call: Call, runs: Path, tmp_path: Path) -> None:
    """Run, audit with replay, build and check hold, and the index page, a table, a figure and the numbers are there."""
    walk_the_rest(call, runs, tmp_path / "paper")
    assert finished(runs) == RUNS
    for pattern in ("report.html", "numbers.json", "numbers.tex", "tables/*.tex", "tables/*.csv", "figures/*.pdf"):
        found = list((tmp_path / "paper").glob(pattern))
        assert found, pattern
        assert all(path.stat().st_size > 0 for path in found), pattern


def test_the_road_ends_on_the_real_data(call: Call, tiny: Path, mill: Path, tmp_path: Path) -> None:
    """The same on the decimated mill.mat, and its data card accounts for all 167 runs."""
    out = tmp_path / "runs"
    ended = call("spinn", "run", tiny, "--data", mill, "--out", out, "--device", "cpu")
    assert ended.status == 0, ended.err
    walk_the_rest(call, out, tmp_path / "paper")
    plan = read_model(out / PLAN, Plan)
    assert plan.dataset.cuts == 167
    assert plan.dataset.targets == ("VB",)
    card = json.loads((out / "datacard.json").read_text())
    assert sum(exclusion["what"] == "label" for exclusion in card["exclusions"]) == 167 - 146


def test_every_stage_achieves_exactly_what_was_planned(runs: Path) -> None:
    """The sound pruner's counts are the ledger's; the first version's are not, from the second stage on."""
    plan = read_model(runs / PLAN, Plan)
    for planned in plan.runs:
        record = read_model(runs / "runs" / planned.run_id / RECORD, Record)
        achieved = [stage.parameters for stage in record.stages[1:]]
        ledger = [stage.parameters for stage in plan.ledger[planned.variant]]
        assert (achieved == ledger) == (planned.variant == "sparse")
        assert len(achieved) == len(ledger)


def test_the_same_command_twice_from_scratch_gives_the_same_bytes(
    call: Call, runs: Path, tiny: Path, digests: Call, tmp_path: Path
) -> None:
    """Checkpoints, predictions and baselines are bitwise repeatable on one machine."""
    assert call("spinn", "run", tiny, "--out", tmp_path / "again", "--device", "cpu").status == 0
    assert digests(tmp_path / "again") == digests(runs)
    assert len(digests(runs)) >= RUNS * 6  # dense, four stages, predictions


def test_a_second_call_trains_nothing(call: Call, runs: Path, tiny: Path) -> None:
    """No file of a finished run is written again."""
    before = untouched(runs)
    assert call("spinn", "run", tiny, "--out", runs, "--device", "cpu").status == 0
    assert untouched(runs) == before


def test_fresh_starts_over(call: Call, runs: Path, tiny: Path, digests: Call, tmp_path: Path) -> None:
    """`--fresh` on a finished folder trains everything again, to the same digests."""
    out = tmp_path / "runs"
    subprocess.run(["cp", "-a", str(runs), str(out)], check=True)
    before = untouched(out)
    assert call("spinn", "run", tiny, "--out", out, "--device", "cpu", "--fresh").status == 0
    assert digests(out) == digests(runs)
    after = untouched(out)
    assert all(after[path][0] != before[path][0] for path in before if path.endswith("dense.safetensors"))


def interrupted(start: Call, tiny: Path, out: Path, what: signal.Signals, after: str) -> tuple[int, str]:
    """Start the run, send the signal once a first file called `after` is there; the status and standard error."""
    with start("spinn", "run", tiny, "--out", out, "--device", "cpu") as process:
        try:
            deadline = time.monotonic() + 60
            while not list(out.glob(f"runs/*/{after}")):
                assert process.poll() is None, f"the run ended before it wrote {after}"
                assert time.monotonic() < deadline, f"no {after} within a minute"
                time.sleep(0.001)
            process.send_signal(what)
            _, err = process.communicate(timeout=60)
        except BaseException:
            process.kill()
            raise
        return process.returncode, err


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGINT], ids=lambda what: what.name)
def test_an_interrupted_run_goes_on_and_ends_where_it_would_have(
    call: Call, start: Call, runs: Path, tiny: Path, digests: Call, tmp_path: Path, what: signal.Signals
) -> None:
    """After a signal in the middle the same command finishes the work, with the digests of an undisturbed run."""
    out = tmp_path / "runs"
    status, err = interrupted(start, tiny, out, what, "dense.safetensors")
    assert finished(out) < RUNS, "the signal came too late to prove anything"
    if what is signal.SIGINT:
        assert status == 130
        assert "Traceback" not in err
        assert "interrupted" in err.splitlines()[-1]
    else:
        assert status == -signal.SIGKILL
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu")
    assert ended.status == 0, ended.err
    assert digests(out) == digests(runs)
    assert call("spinn-verify", "records", out, "--replay").status == 0


def test_what_was_finished_before_a_signal_is_kept(start: Call, call: Call, tiny: Path, tmp_path: Path) -> None:
    """Dense networks that were recorded before the signal keep their files."""
    out = tmp_path / "runs"
    interrupted(start, tiny, out, signal.SIGINT, "stage-1.safetensors")
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/dense.safetensors")}
    assert len(before) == RUNS
    assert call("spinn", "run", tiny, "--out", out, "--device", "cpu").status == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_from_stage_rolls_back_and_ends_in_the_same_place(
    call: Call, runs: Path, tiny: Path, digests: Call, tmp_path: Path
) -> None:
    """`--from-stage 2` keeps the networks up to stage 2, makes the later ones again, and they are the same."""
    out = tmp_path / "runs"
    subprocess.run(["cp", "-a", str(runs), str(out)], check=True)
    before = untouched(out)
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu", "--from-stage", "2")
    assert ended.status == 0, ended.err
    after = untouched(out)
    for path in before:
        if path.endswith(("dense.safetensors", "stage-1.safetensors", "stage-2.safetensors")):
            assert after[path] == before[path], path
        if path.endswith(("stage-3.safetensors", "stage-4.safetensors")):
            assert after[path][0] != before[path][0], path
    assert digests(out) == digests(runs)
    assert call("spinn-verify", "records", out, "--replay").status == 0


def test_the_first_version_is_caught_by_exactly_what_it_declares(call: Call, runs: Path) -> None:
    """The audit holds, and the findings it set aside are the four declared ones, all about the first version."""
    ended = call("spinn-verify", "records", runs, "--replay", "--json")
    verdict = json.loads(ended.out)
    assert ended.status == 0
    assert verdict["holds"] is True
    declared = next(v for v in read_model(runs / PLAN, Plan).experiment.variants if v.name == "first-version")
    assert {finding["check"] for finding in verdict["expected"]} == set(declared.expected_findings)
    assert {finding["run_id"] for finding in verdict["expected"] if finding["run_id"]} == {
        run.run_id for run in read_model(runs / PLAN, Plan).runs if run.variant == "first-version"
    }


def test_without_its_declaration_the_first_version_fails_the_audit(call: Call, runs: Path, tmp_path: Path) -> None:
    """The same records under a plan that declares nothing: status 1, for the four faults and for nothing else."""
    out = tmp_path / "runs"
    subprocess.run(["cp", "-a", str(runs), str(out)], check=True)
    (out / "audit.json").unlink(missing_ok=True)
    plan = read_model(out / PLAN, Plan)
    silent = tuple(variant.model_copy(update={"expected_findings": ()}) for variant in plan.experiment.variants)
    changed = plan.model_copy(update={"experiment": plan.experiment.model_copy(update={"variants": silent})})
    write_model(out / PLAN, changed)
    sealed = {"plan_digest": plan_digest(changed)}  # so that nothing but the declaration differs
    for path in out.glob(f"runs/*/{RECORD}"):
        write_model(path, read_model(path, Record).model_copy(update=sealed))
    for path in out.glob(f"{BASELINES}/*.json"):
        write_model(path, read_model(path, BaselineRecord).model_copy(update=sealed))
    ended = call("spinn-verify", "records", out, "--json")
    assert ended.status == 1
    errors = {finding["check"] for finding in json.loads(ended.out)["findings"] if finding["severity"] == "error"}
    assert errors == set(plan.variant("first-version").expected_findings)
    assert call("spinn-artifacts", "build", out, "--out", tmp_path / "paper").status != 0


def test_an_undeclared_schedule_that_misses_its_target_is_refused_before_training(
    call: Call, tiny_text: str, tmp_path: Path
) -> None:
    """`spinn run` ends with status 1, a criterion that fails, and names the variant; no folder of runs appears."""
    path = tmp_path / "silent.toml"
    path.write_text("\n".join(line for line in tiny_text.splitlines() if not line.startswith("expected_findings")))
    ended = call("spinn", "run", path, "--out", tmp_path / "runs", "--device", "cpu")
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert "first-version" in ended.last_word
    assert not (tmp_path / "runs").exists()


def test_a_finished_build_does_nothing_again(call: Call, runs: Path, tmp_path: Path) -> None:
    """The second `spinn-artifacts build` writes no file."""
    out = tmp_path / "paper"
    assert call("spinn-artifacts", "build", runs, "--out", out).status == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert call("spinn-artifacts", "build", runs, "--out", out).status == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
