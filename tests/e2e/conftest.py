"""The installed commands as a person meets them: real processes, a tiny experiment, a disk that is full or read-only.

Knows how to start a command and how to lay out its input; every fact about what comes out stands in the tests.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent

# Forty epochs a stage: long enough that a signal sent after the dense network finds the run unfinished.
TINY = """
name = "tiny"
data = "simulator"
claims = "{claims}"
seeds = [3]
layers = [18, 8, 6, 2]

[split]
kind = "grouped"
folds = 2
validation_cases = 2

[dense]
epochs = 20

[physics]
wear_rate = 0.1
heat = 0.1
initial = 0.1

[target]
reduction = "0.60"

[[variants]]
name = "sparse"
pruner = "global-magnitude"
stages = [
    {{ ratio = "0.30", epochs = 40, learning_rate = 5e-3 }},
    {{ ratio = "0.30", epochs = 40, learning_rate = 3e-3 }},
    {{ ratio = "0.24", epochs = 40, learning_rate = 2e-3 }},
    {{ ratio = "0.24", epochs = 40, learning_rate = 1e-3 }},
]

[[variants]]
name = "first-version"
pruner = "first-version"
expected_findings = ["schedule-reaches-target", "ledger-achieved", "masks-monotone", "resurrection"]
stages = [
    {{ ratio = "0.20", epochs = 40, learning_rate = 5e-3 }},
    {{ ratio = "0.20", epochs = 40, learning_rate = 3e-3 }},
    {{ ratio = "0.15", epochs = 40, learning_rate = 2e-3 }},
    {{ ratio = "0.15", epochs = 40, learning_rate = 1e-3 }},
]
"""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def last_word(self) -> str:
        """The last line on standard error: the message, after whatever progress came before it."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def arguments(command: str, *words: object) -> list[str]:
    """The argument list of an installed command."""
    return [str(BIN / command), *map(str, words)]


@pytest.fixture(scope="session")
def call(root: Path) -> Callable[..., Ended]:
    """`call("spinn", "run", …, env={…})` runs an installed command from the root of the repository to its end."""

    def run(command: str, *words: object, env: Mapping[str, str] | None = None) -> Ended:
        ended = subprocess.run(
            arguments(command, *words),
            cwd=root,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture(scope="session")
def start(root: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start("spinn", "run", …, env={…})` starts a command and returns while it works; none is left behind."""
    started: list[subprocess.Popen[str]] = []

    def popen(command: str, *words: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        line = arguments(command, *words)
        own = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what a shell starts beside itself ignores Ctrl-C
        process = subprocess.Popen(
            line,
            cwd=root,
            env={**os.environ, **(env or {})},
            stdout=pipe,
            stderr=pipe,
            text=True,
            stdin=subprocess.DEVNULL,
            preexec_fn=own,
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def tiny_text(root: Path) -> str:
    """The tiny experiment: two folds, one seed, both variants, 220 parameters."""
    return TINY.format(claims=root / "paper" / "claims.toml")


@pytest.fixture(scope="session")
def tiny(tiny_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the tiny experiment."""
    path = tmp_path_factory.mktemp("experiment") / "tiny.toml"
    path.write_text(tiny_text)
    return path


@pytest.fixture(scope="session")
def digests() -> Callable[[Path], dict[str, str]]:
    """Digests of every checkpoint and every table of predictions below a folder of runs."""

    def read(runs: Path) -> dict[str, str]:
        files = [*runs.rglob("*.safetensors"), *runs.rglob("predictions.csv"), *(runs / "baselines").glob("*.csv")]
        return {str(path.relative_to(runs)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}

    return read


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """`disk("size=64k")` mounts a small disk; called again, it remounts it with other options, as `disk("ro")`."""
    where = tmp_path / "disk"
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        what = [f"remount,{options}", str(where)] if mounted else [options, "-t", "tmpfs", "tmpfs", str(where)]
        where.mkdir(exist_ok=True)
        ended = subprocess.run(["mount", "-o", *what], capture_output=True, text=True)
        if ended.returncode != 0 and not mounted:
            pytest.skip(f"mounting a small disk is not allowed here: {ended.stderr.strip()}")
        assert ended.returncode == 0, ended.stderr
        mounted = True
        return where

    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs Linux and root")
    yield mount
    if mounted:
        subprocess.run(["umount", str(where)], check=True)
