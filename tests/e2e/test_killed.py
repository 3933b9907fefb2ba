"""Killed at any moment: the same command goes on, and every digest is that of a run that nobody killed.

KILLS says how often by SIGKILL, once by default; `make kills` tries fifty. SIGTERM comes a fifth as often.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spinn import lock
from spinn.errors import InputError
from spinn.record import PROGRESS

Call = Callable[..., Any]
KILLS = int(os.environ.get("KILLS", "1"))
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
SIGNALS = [signal.SIGKILL] * KILLS + [signal.SIGTERM] * max(1, KILLS // 5)


@pytest.fixture(scope="module")
def life(call: Call, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Runs that nobody killed, and how many seconds they took from the first to the last byte."""
    out = tmp_path_factory.mktemp("undisturbed") / "runs"
    begun = time.monotonic()
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu")
    assert ended.status == 0, ended.err
    return out, time.monotonic() - begun


@pytest.mark.parametrize(("number", "by"), list(enumerate(SIGNALS)))
def test_a_kill_at_any_moment_changes_no_digest(
    call: Call,
    start: Call,
    tiny: Path,
    life: tuple[Path, float],
    digests: Call,
    tmp_path: Path,
    number: int,
    by: signal.Signals,
) -> None:
    """At a random moment of its life; nothing half-written is left in the end."""
    undisturbed, seconds = life
    out = tmp_path / "runs"
    moment = random.Random(number).uniform(0, seconds)
    process = start("spinn", "run", tiny, "--out", out, "--device", "cpu")
    time.sleep(moment)
    process.send_signal(by)
    process.communicate(timeout=60)
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu")
    assert ended.status == 0, f"killed after {moment:.3f} s: {ended.err}"
    assert digests(out) == digests(undisturbed), f"killed after {moment:.3f} s"
    names = {path.relative_to(out).as_posix() for path in out.rglob("*")}
    assert names == {path.relative_to(undisturbed).as_posix() for path in undisturbed.rglob("*")}
    assert not any(name.endswith(PROGRESS) for name in names)


@pytest.mark.parametrize("number", range(max(1, KILLS // 10)))
def test_memory_that_runs_out_loses_nothing(
    call: Call, start: Call, tiny: Path, life: tuple[Path, float], digests: Call, tmp_path: Path, number: int
) -> None:
    """From a random moment on the process may not grow: it ends with an error or gets by, and the same command goes on.

    Where a library cannot go on without memory it ends the process itself; then it is as if it had been killed.
    """
    undisturbed, seconds = life
    out = tmp_path / "runs"
    process = start("spinn", "run", tiny, "--out", out, "--device", "cpu")
    time.sleep(random.Random(100 + number).uniform(0.5, 1) * seconds)
    if process.poll() is None:
        taken = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.prlimit(process.pid, resource.RLIMIT_AS, (taken, resource.RLIM_INFINITY))
    process.communicate(timeout=120)
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu")
    assert ended.status == 0, ended.err
    assert digests(out) == digests(undisturbed)


def test_openblas_waits_for_no_memory_after_training() -> None:
    """What it works in it has from the beginning: a decomposition needs no more, where nothing more is to be had."""
    code = (
        "import os, resource; from pathlib import Path; import numpy as np; from scipy.linalg import svd\n"
        "from spinn import baselines; given = np.eye(64); baselines.take_memory()\n"
        "taken = int(Path('/proc/self/statm').read_text().split()[0]) * os.sysconf('SC_PAGE_SIZE')\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken, taken)); svd(given)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "ask", ["import torch; torch.empty(10**15)", "import numpy; numpy.empty(10**15)", "bytearray(10**16)"]
)
def test_memory_that_does_not_suffice_is_one_line(ask: str) -> None:
    """Of torch, of numpy and of Python: status 2 and what to do, no traceback; any other error keeps its own."""
    code = f"from spinn.errors import run_command\ndef ask():\n    {ask}\nrun_command(ask, 'spinn')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("spinn: out of memory (")
    assert "()" not in ended.stderr
    assert "run it again where there is more, without --fresh; or train fewer runs together" in ended.stderr
    other = code.replace(ask, "raise RuntimeError('mat1 and mat2 shapes cannot be multiplied')")
    ended = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed: apt-get install libfaketime")
@pytest.mark.parametrize("jump", ["-400d", "+4000d"])
def test_a_clock_that_jumps_changes_no_digest(
    call: Call, start: Call, tiny: Path, life: tuple[Path, float], digests: Call, tmp_path: Path, jump: str
) -> None:
    """By years, to and fro, while it runs and between a kill and what goes on; audit and build hold after it."""
    undisturbed, seconds = life
    out, stamp = tmp_path / "runs", tmp_path / "stamp"
    shifted = {"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME_TIMESTAMP_FILE": str(stamp), "FAKETIME_NO_CACHE": "1"}
    shifted |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    stamp.write_text("+0d")
    process = start("spinn", "run", tiny, "--out", out, "--device", "cpu", env=shifted)
    time.sleep(0.5 * seconds)
    stamp.write_text(jump)
    time.sleep(0.3 * seconds)
    process.kill()
    process.communicate(timeout=60)
    ended = call("spinn", "run", tiny, "--out", out, "--device", "cpu")
    assert ended.status == 0, ended.err
    assert digests(out) == digests(undisturbed)
    assert call("spinn-verify", "records", out, env=shifted).status == 0
    assert call("spinn-artifacts", "build", out, "--out", tmp_path / "paper").status == 0
    assert call("spinn-artifacts", "check", tmp_path / "paper").status == 0


def test_a_second_process_is_refused_while_the_first_is_at_work(
    call: Call, start: Call, tiny: Path, tmp_path: Path
) -> None:
    """One line with the first one's number, status 2; and the first ends as if there had been no second."""
    out = tmp_path / "runs"
    first = start("spinn", "run", tiny, "--out", out, "--device", "cpu")
    deadline = time.monotonic() + 60
    while not list(out.glob("runs/*")):
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = call("spinn", "run", tiny, "--out", out, "--device", "cpu")
    assert second.status == 2
    assert f"{out}: process {first.pid} is at work in it; wait until it has ended" in second.last_word
    _, err = first.communicate(timeout=120)
    assert first.returncode == 0, err


@pytest.mark.parametrize("name", ["dataset.csv", "datacard.json", "claims.json"])
def test_what_the_plan_was_made_with_and_is_damaged_is_named(
    call: Call, tiny: Path, life: tuple[Path, float], digests: Call, tmp_path: Path, name: str
) -> None:
    """Before anything is trained with it; once it is removed, the same command ends as if nothing had been."""
    out = Path(shutil.copytree(life[0], tmp_path / "runs"))
    shutil.rmtree(out / "runs")
    content = (out / name).read_bytes()
    (out / name).write_bytes(content[: len(content) // 2])
    words = ("spinn", "run", tiny, "--out", out, "--device", "cpu")
    ended = call(*words)
    assert ended.status == 2
    assert f"{out / name}: not what the plan was made with; remove it, and run again" in ended.last_word
    assert not list(out.glob("runs/*"))
    (out / name).unlink()
    assert call(*words).status == 0
    assert digests(out) == digests(life[0])


def test_a_checkpoint_that_was_deleted_is_named(
    call: Call, tiny: Path, life: tuple[Path, float], digests: Call, tmp_path: Path
) -> None:
    """The command that finds nothing to train says what is gone, and a stage before it brings it back, to the byte."""
    out = Path(shutil.copytree(life[0], tmp_path / "runs"))
    gone = sorted(out.glob("runs/*/stage-2.safetensors"))[0]
    gone.unlink()
    words = ("spinn", "run", tiny, "--out", out, "--device", "cpu")
    told = call(*words).last_word
    assert "nothing to train; missing of the files that its records name: 1, the first runs/" in told
    assert "give --from-stage" in told
    assert call(*words, "--from-stage", "1").status == 0
    assert digests(out) == digests(life[0])
    assert call(*words).last_word.endswith("nothing to train")
    record = next(out.glob("runs/*/record.json"))
    content = json.loads(record.read_text())
    content["files"] |= dict.fromkeys(("/", "..", "/nowhere/x", "../x", ""), "0")  # which name no file of a run
    record.write_text(json.dumps(content))
    assert call(*words).last_word.endswith("nothing to train")


def test_a_lock_goes_with_its_process_and_leaves_no_folder(tmp_path: Path) -> None:
    """Held twice is refused, held after is not; a folder made for nothing is removed, one with a file in it stays."""
    folder = tmp_path / "a" / "b"
    with lock.held(folder):
        with pytest.raises(InputError, match=f"process {os.getpid()} is at work in it"), lock.held(folder):
            pass
        with lock.held(folder, "c00"):  # a part has a lock of its own
            pass
    assert not (tmp_path / "a").exists()
    with lock.held(folder):
        (folder / "record").write_text("")
    assert [path.name for path in folder.iterdir()] == ["record"]


def test_what_was_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Names as a killed write leaves them; other hidden files are not this project's."""
    names = (".record.json.ab12_xyz.spinn-part", ".gitignore", ".env.template", "record.json", ".x.lock")
    made = [tmp_path / "runs" / name for name in names]
    (tmp_path / "runs").mkdir()
    for path in made:
        path.write_text("")
    with lock.held(tmp_path):
        assert [path.name for path in made if path.exists()] == list(names[1:])


def test_a_part_that_somebody_is_at_keeps_the_whole(tmp_path: Path) -> None:
    """A worker that outlived its master finishes what it writes; the lock that a dead one left goes."""
    half = tmp_path / ".record.json.ab12_xyz.spinn-part"
    with lock.held(tmp_path, "c00"):
        half.write_text("")
        with pytest.raises(InputError, match=f"process {os.getpid()} is at work in it"), lock.held(tmp_path):
            pass
        assert half.exists()
    (tmp_path / ".c01.lock").write_text("1\n")
    with lock.held(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_who_waits_gets_the_lock_when_its_holder_is_killed(tmp_path: Path) -> None:
    """A dead process holds nothing."""
    code = "import pathlib, sys, time; from spinn import lock\n"
    code += "with lock.held(pathlib.Path(sys.argv[1]), 'c00'):\n print('held', flush=True); time.sleep(60)"
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(InputError, match=f"process {holder.pid} is at work"), lock.held(tmp_path, "c00"):
                pass
        finally:
            holder.kill()
    with lock.held(tmp_path, "c00", wait=True):
        pass
