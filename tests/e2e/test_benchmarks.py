"""The scripts of `make bench` that are no commands of spinn: reports of the agreed form. Nothing is timed here."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from spinn.bench.history import HISTORY
from spinn.errors import InputError


def script(root: Path, name: str) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", root / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
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
    """`make paper-artifacts` passes the history where it is; without one the call is as it was."""
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()

    def build() -> str:
        command = ["make", "--dry-run", "--file", str(root / "Makefile"), "paper-artifacts", "PYTHON=python3"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        (line,) = (line for line in ended.stdout.splitlines() if "spinn-artifacts build" in line)
        return line.strip()

    plain = build()
    assert plain.endswith('--out "build/paper/quick-simulator"')
    (tmp_path / HISTORY).parent.mkdir(parents=True)
    (tmp_path / HISTORY).touch()
    assert build() == f"{plain} --benchmarks {HISTORY}"


def test_make_bench_runs_every_benchmark(root: Path):
    """Two commands and two scripts."""
    makefile = (root / "Makefile").read_text()
    for part in ("spinn bench train", "spinn bench inference", "benchmarks/commands.py", "benchmarks/watch.py"):
        assert part in makefile
