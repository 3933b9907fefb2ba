"""The scripts of benchmarks/: reports of the agreed form, and a page of what was stored. Nothing is timed here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from spinn.bench import growth
from spinn.bench.history import HISTORY
from spinn.bench.processes import Watched
from spinn.bench.report import Report, Row, Target, machine
from spinn.errors import InputError


def script(root: Path, name: str) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", root / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up what their annotations name
    spec.loader.exec_module(module)
    return module


def test_commands_are_whole_processes_with_two_targets(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Three commands in turns, the interpreter that does nothing as the limit; the smoke folder is asked for first."""
    commands, called = script(root, "commands"), []
    monkeypatch.chdir(root)
    monkeypatch.setattr(commands, "ROUNDS", 2)
    monkeypatch.setattr(commands, "call", lambda *words: called.append([str(word) for word in words]))
    report = commands.measure(lambda _: None)
    names = [Path(words[0]).name for words in called]
    assert names[:3] == ["spinn", "spinn-verify", "spinn-artifacts"]
    assert called[0][1] == "run"
    assert names.count("spinn-artifacts") == 1 + 2 + 2 * 2  # the build itself, two to begin with, and two a round
    assert [target.required for target in report.targets] == [0.35, 1.5]
    assert all(target.holds for target in report.targets)
    assert {row.name.rpartition(": ")[0] for row in report.rows} == {
        "python that does nothing",
        "spinn schedule check",
        "spinn-artifacts build, nothing changed",
    }


def test_a_command_that_fails_is_no_measurement(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What went wrong is said, and so is a wrong folder."""
    commands = script(root, "commands")
    with pytest.raises(InputError, match=r"ended with status 2 .*expected 0"):
        commands.call(commands.BIN / "spinn", "schedule", "check", "nothing.toml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="run this from the root of the repository"):
        commands.measure(lambda _: None)


def test_the_live_check_has_a_target_for_each_library(root: Path, monkeypatch: pytest.MonkeyPatch):
    """A step plain and watched, with tiny networks and few steps."""
    watch = script(root, "watch")
    for name, value in {"LAYERS": (18, 6, 2), "BATCH": 4, "ROUNDS": 2, "STEPS": 1, "WARM_UP": 1}.items():
        monkeypatch.setattr(watch, name, value)
    report = watch.measure(lambda _: None)
    assert [(target.required, target.at_most) for target in report.targets] == [(1.10, True)] * 2
    assert [target.name for target in report.targets] == [
        "watched over plain step, torch.nn.utils.prune",
        "watched over plain step, spinn.masks",
    ]
    assert all(row.value is not None for row in report.rows)


def test_paper_artifacts_print_the_benchmarks_that_were_run(root: Path, tmp_path: Path):
    """`make paper-artifacts` passes the history where it is; without one the call has none."""
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()

    def build() -> str:
        command = ["make", "--dry-run", "--file", str(root / "Makefile"), "paper-artifacts", "PYTHON=python3"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        (line,) = (line for line in ended.stdout.splitlines() if "spinn-artifacts build" in line)
        return line.strip()

    plain = build()
    rest = "--mutants paper/reference/mutants.json"
    assert plain.split()[3:] == ["--out", '"build/paper/quick-simulator"', *rest.split()]
    (tmp_path / HISTORY).parent.mkdir(parents=True)
    (tmp_path / HISTORY).touch()
    assert build().split() == [*plain.split()[:-2], "--benchmarks", str(HISTORY), *rest.split()]


def test_make_bench_runs_every_benchmark(root: Path):
    """Two commands and two scripts."""
    makefile = (root / "Makefile").read_text()
    for part in ("spinn bench train", "spinn bench inference", "benchmarks/commands.py", "benchmarks/watch.py"):
        assert part in makefile


def test_a_small_soak_runs_the_three_commands_and_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Four runs, and eight: each command ends well, the larger folder holds more, and both are removed."""
    soak = script(root, "soak")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # the paper is not typeset
    for name, value in {"FOLDS": 2, "PRUNERS": soak.PRUNERS[:2], "COHORT": 2}.items():
        monkeypatch.setattr(soak, name, value)
    (few, less), (many, more) = (soak.soak(runs, lambda _: None) for runs in (4, 8))
    assert list(few) == list(many) == ["spinn run", "audit", "build"]
    assert few["spinn run"].looks[0][0] == 0
    assert 1.5 * less < more < 2.5 * less
    assert not soak.FOLDER.exists()
    with pytest.raises(InputError, match="5 runs: a multiple of 2 folds × 2 variants expected"):
        soak.soak(5, lambda _: None)


def test_a_soak_says_what_grows(root: Path, monkeypatch: pytest.MonkeyPatch):
    """A build that is quadratic and a process that keeps 0.1 MB of each run miss their targets, the rest holds."""
    soak = script(root, "soak")

    def made(runs: int, _: object) -> tuple[dict[str, Watched], int]:
        looks = tuple((done / 100, 500_000_000 + int(1e5 * runs * done / 100)) for done in range(100))
        times = {"spinn run": 3 + 0.1 * runs, "audit": 2 + 0.01 * runs, "build": 20 + 1e-5 * runs**2}
        return {name: Watched(9.0, seconds, looks) for name, seconds in times.items()}, 1000 * runs

    monkeypatch.setattr(soak, "soak", made)
    report = soak.measure(lambda _: None)
    assert [target.holds for target in report.targets] == [True, True, False, False]
    assert [target.value for target in report.targets] == pytest.approx([1, 1, 2.4, 100])
    assert {row.name.partition(" runs")[0] for row in report.rows} == {"125", "250", "500", "1000"}


def test_the_page_of_the_soak_says_what_was_stored(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """docs/soak.md is made from docs/soak.json, which a soak writes, and the repository's ends at a thousand runs."""
    soak = script(root, "soak")
    stored, text = (root / soak.STORED).read_text(), (root / soak.PAGE).read_text(encoding="utf-8")
    assert soak.page(text, json.loads(stored)) == text
    assert f"| {soak.SIZES[-1]} runs, audit |" in text
    report = Report("soak", machine(), rows=[Row("125 runs: on disk", 7.5, "MB")], targets=[Target("it", 2, 1)])
    monkeypatch.setattr(soak, "measure", lambda _: report)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="run this from the root of the repository"):
        soak.keep(print)
    soak.PAGE.parent.mkdir()
    soak.PAGE.write_text(text)
    assert soak.keep(print) is report
    below = soak.PAGE.read_text().partition(soak.MARK)[2]
    assert "| 125 runs | 7.5 |" in below
    assert "| it, at least | 1 | 2 | holds |" in below
    assert below.count("runs") == 1


def test_the_scaling_page_says_what_was_stored(root: Path):
    """Every table of docs/scaling.md is made from docs/scaling.json, which `make scaling` measured."""
    scaling = script(root, "scaling")
    stored, text = (root / scaling.STORED).read_text(), (root / scaling.PAGE).read_text(encoding="utf-8")
    assert scaling.page(text, json.loads(stored)) == text
    points = json.loads(stored)["points"]
    assert max(point["runs"] for point in points) == 64
    assert {point["held_back"] for point in points} == {True, False}
    with pytest.raises(InputError, match="is missing; restore it"):
        scaling.page("no mark", json.loads(stored))


def test_of_several_rounds_the_shortest_times_and_the_most_memory_count(root: Path):
    """Each by itself; what is no time is the same in all."""
    scaling = script(root, "scaling")

    def one(run: float, audit: float, phase: float, memory: int) -> dict:
        times = {"run_seconds": run, "audit_seconds": audit, "replay_seconds": 1.0}
        return {"runs": 2, **times, "phases": [{"stack": 2, "seconds": phase, "memory_bytes": memory}]}

    assert scaling.fastest([one(3, 1, 5, 7), one(2, 4, 6, 8)]) == one(2, 1, 5, 8)


def test_a_law_is_fitted_without_the_points_that_are_held_back(root: Path):
    """Costs of 3 s and 2 s a run, at one point held back twice that: no error at its own points, −50 % there."""
    scaling = script(root, "scaling")
    law = scaling.Law("a cost", ("s", "s / run"), lambda one: (1, one["runs"]), lambda one: one["seconds"])
    points = [{"runs": runs, "seconds": 3 + 2 * runs, "held_back": False} for runs in (2, 4, 8)]
    points.append({"runs": 64, "seconds": 2 * (3 + 2 * 64), "held_back": True})
    assert law.fitted(points) == pytest.approx((3, 2))
    assert law.errors(points, held_back=False) == pytest.approx([0, 0, 0], abs=1e-6)
    assert law.errors(points, held_back=True) == pytest.approx([-0.5])
    assert growth.relative_error(3 + 2 * 64, points[-1]["seconds"]) == -0.5


def test_a_point_is_what_its_records_say(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two folds of two variants with one dense network: one dense phase and eight stages, of two runs each."""
    scaling = script(root, "scaling")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scaling, "DENSE_EPOCHS", 2)
    monkeypatch.setattr(scaling, "STAGE_EPOCHS", 1)
    point = scaling.point(scaling.Size((18, 32, 2), 2, 1, 2, 2))
    assert (point["runs"], point["parameters"]) == (4, 674)
    assert [phase["stage"] for phase in point["phases"]].count(False) == 1
    assert [(phase["stack"], phase["epochs"]) for phase in point["phases"] if phase["stage"]] == [(2, 1)] * 8
    assert 0 < point["final_bytes"] < point["run_bytes"] - point["tables_bytes"]
    assert scaling.epoch(point, stages=False)["stack"] == 2
    assert not scaling.FOLDER.exists()


def test_the_long_measurements_have_targets_of_their_own(root: Path):
    """They take minutes, and so are no part of `make bench`."""
    makefile = (root / "Makefile").read_text()
    assert "$(BIN)/python benchmarks/soak.py" in makefile
    assert "$(BIN)/python benchmarks/scaling.py" in makefile
