"""How long whole commands take, from the shell's call to the end of the process.

`spinn schedule check` of an experiment file, and `spinn-artifacts build` with nothing changed, on a folder of the smoke
experiment that is made if it is absent. `--json` for machine output.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from spinn.bench.report import Report, Row, Target, machine
from spinn.bench.show import script
from spinn.bench.timing import in_turns, median, p95
from spinn.errors import InputError

EXPERIMENT = Path("paper/experiments/smoke.toml")
RUNS, OUT = Path("build/bench/smoke"), Path("build/bench/smoke-paper")
ROUNDS = 11
BIN = Path(sys.executable).parent


def call(*words: object) -> None:
    """Run a command to its end, silently.

    Raises:
        InputError: it did not end with status 0.
    """
    ended = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        said = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{words[0]}: ended with status {ended.returncode} ({said}); expected 0")


def make_smoke(progress: Callable[[str], object]) -> None:
    """Run, audit and build the smoke experiment; what is there already is not done again."""
    progress("the smoke experiment, where it is absent: about a minute")
    call(BIN / "spinn", "run", EXPERIMENT, "--out", RUNS)
    call(BIN / "spinn-verify", "records", RUNS)
    call(BIN / "spinn-artifacts", "build", RUNS, "--out", OUT)


def measure(progress: Callable[[str], object]) -> Report:
    """Time each process `ROUNDS` times, in turns with an interpreter that does nothing, which is the limit."""
    if not EXPERIMENT.exists():
        raise InputError(f"{EXPERIMENT}: no such file; run this from the root of the repository")
    report = Report("commands", machine())
    make_smoke(progress)
    commands = {
        "python that does nothing": (sys.executable, "-c", "pass"),
        "spinn schedule check": (BIN / "spinn", "schedule", "check", EXPERIMENT),
        "spinn-artifacts build, nothing changed": (BIN / "spinn-artifacts", "build", RUNS, "--out", OUT),
    }
    progress(f"each command {ROUNDS} times")
    times = in_turns({name: lambda words=words: call(*words) for name, words in commands.items()}, ROUNDS)
    nothing, check, build = (median(times[name]) for name in commands)
    report.limit = {"python that does nothing, s": nothing}
    for name, seconds in times.items():
        report.rows += [
            Row(f"{name}: median", median(seconds), "s", nothing / median(seconds)),
            Row(f"{name}: 95th percentile", p95(seconds), "s"),
        ]
    report.targets = [
        Target("spinn schedule check, whole process: s", check, 0.35, at_most=True),
        Target("spinn-artifacts build, nothing changed, whole process: s", build, 1.5, at_most=True),
    ]
    return report


if __name__ == "__main__":
    script("commands", measure, __doc__ or "")
