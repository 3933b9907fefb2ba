"""Whether a folder of a thousand runs costs as much for each run as a small one: `spinn run`, the audit and the build.

The same tiny experiment with more and more seeds, each size in a folder of its own: time and largest resident set of
each command's process, whether that of `spinn run` grows with the runs behind it, and bytes on disk. Writes
docs/soak.json and, from it, the tables of docs/soak.md. `--json` for machine output.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinn.bench import growth
from spinn.bench.page import anew, measured_on, table
from spinn.bench.processes import Watched, watch
from spinn.bench.report import Report, Row, Target, machine, number
from spinn.bench.show import script
from spinn.errors import InputError

SIZES = (125, 250, 500, 1000)
FOLDS, PRUNERS = 5, ("global-magnitude", "layerwise-magnitude", "random", "neurons-incoming", "neurons-both-sides")
COHORT = 25  # runs of a stack, so that large folders have more cohorts and not larger ones
PAGE, STORED = Path("docs/soak.md"), Path("docs/soak.json")
MARK = "<!-- `make soak` writes all that follows -->"
FOLDER = Path("build/bench/soak")
BIN = Path(sys.executable).parent
MOST, MOST_GROWTH = 1.25, 50.0  # times the processor time of a run; MB for each thousand runs

EXPERIMENT = """name = "soak"
data = "simulator"
seeds = {seeds}
layers = [18, 32, 32, 2]
stack = {stack}
split = {{ kind = "grouped", folds = {folds} }}
dense = {{ epochs = 4 }}
physics = {{ wear_rate = 0.1 }}
"""
VARIANT = """
[[variants]]
name = "{pruner}"
pruner = "{pruner}"
stages = [
    {{ ratio = "0.25", epochs = 2, learning_rate = 1e-3 }},
    {{ ratio = "0.25", epochs = 2, learning_rate = 1e-3 }},
]
"""
_NOTES = (
    "`spinn run` is one process, the audit and the build (with replay, tables, figures and paper) one each; resident "
    "sets were looked at five times a second. All sizes are {folds} folds × {variants} variants × seeds.",
    "A run more, times: the processor time that one more run costs between the two largest sizes, over what it costs "
    "from the smallest to the last but one; 1 is linear, 2.4 quadratic. A fixed cost is in neither.",
    "Growth of memory: the mean resident set of `spinn run` in the last quarter of its runs less that in the second "
    "quarter, half of the runs later.",
)


def experiment(runs: int) -> str:
    """The experiment file that asks for so many runs.

    Raises:
        InputError: they are no multiple of folds × variants.
    """
    seeds, rest = divmod(runs, FOLDS * len(PRUNERS))
    if rest or not seeds:
        raise InputError(f"{runs} runs: a multiple of {FOLDS} folds × {len(PRUNERS)} variants expected")
    head = EXPERIMENT.format(seeds=list(range(seeds)), stack=COHORT, folds=FOLDS)
    return head + "".join(VARIANT.format(pruner=pruner) for pruner in PRUNERS)


def soak(runs: int, progress: Callable[[str], object]) -> tuple[dict[str, Watched], int]:
    """The three commands on a new folder of so many runs, and the folder's bytes; it is removed in the end."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    file, folder, out = FOLDER / "soak.toml", FOLDER / "runs", FOLDER / "paper"
    file.write_text(experiment(runs))
    commands = {
        "spinn run": ("spinn", "run", file, "--out", folder),
        "audit": ("spinn-verify", "records", folder),
        "build": ("spinn-artifacts", "build", folder, "--out", out),
    }
    seen = {}
    for name, (command, *words) in commands.items():
        progress(f"{runs} runs: {name}")
        seen[name] = watch(BIN / command, *words, how_far=lambda: finished(folder) / runs)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(FOLDER)
    return seen, size


def finished(folder: Path) -> int:
    """Runs that have their record."""
    runs = folder / "runs"
    return sum((run / "record.json").exists() for run in runs.iterdir()) if runs.is_dir() else 0


def memory_growth(seen: Watched, runs: int) -> float:
    """MB for each thousand runs, of the process that makes them."""
    return (seen.between(0.75, 1.0) - seen.between(0.25, 0.5)) / 1e6 / (0.5 * runs) * 1000


def measure(progress: Callable[[str], object]) -> Report:
    """Every size in turn, the smallest first."""
    notes = [note.format(folds=FOLDS, variants=len(PRUNERS)) for note in _NOTES]
    report = Report("soak", machine(), notes=notes)
    spent: dict[str, list[float]] = {}
    for runs in SIZES:
        seen, size = soak(runs, progress)
        for name, one in seen.items():
            spent.setdefault(name, []).append(one.processor_seconds)
            report.rows += [
                Row(f"{runs} runs, {name}: time", one.seconds, "s"),
                Row(f"{runs} runs, {name}: processor time", one.processor_seconds, "s"),
                Row(f"{runs} runs, {name}: of it for each run", 1e3 * one.processor_seconds / runs, "ms"),
                Row(f"{runs} runs, {name}: largest resident set", one.peak / 1e6, "MB"),
            ]
        report.rows += [
            Row(f"{runs} runs: second quarter, resident", seen["spinn run"].between(0.25, 0.5) / 1e6, "MB"),
            Row(f"{runs} runs: last quarter, resident", seen["spinn run"].between(0.75, 1.0) / 1e6, "MB"),
            Row(f"{runs} runs: on disk", size / 1e6, "MB"),
        ]
    report.targets = [
        *(
            Target(f"{name}, processor time of a run more: times", growth.steepening(SIZES, times), MOST, at_most=True)
            for name, times in spent.items()
        ),
        Target(
            f"spinn run, growth of memory over {SIZES[-1]} runs: MB for each thousand",
            memory_growth(seen["spinn run"], SIZES[-1]),
            MOST_GROWTH,
            at_most=True,
        ),
    ]
    return report


def page(text: str, stored: dict[str, Any]) -> str:
    """The page with all that follows the mark made from what is stored: a table for each set of quantities."""
    lines: dict[str, dict[str, str]] = {}
    for row in stored["rows"]:
        subject, _, quantity = row["name"].rpartition(": ")
        lines.setdefault(subject, {})[f"{quantity}, {row['unit']}"] = number(row["value"])
    tables: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for subject, cells in lines.items():
        tables.setdefault(tuple(cells), []).append((subject, *cells.values()))
    verdicts = [
        (one["name"], number(one["required"]), number(one["value"]), "holds" if one["holds"] else "missed")
        for one in stored["targets"]
    ]
    parts = [
        f"{measured_on(stored['machine'])}.",
        *(table(("", *quantities), rows) for quantities, rows in tables.items()),
        table(("", "required", "measured", ""), verdicts),
    ]
    return anew(text, MARK, parts, PAGE)


def keep(progress: Callable[[str], object]) -> Report:
    """Measure, and write what was measured and its page."""
    if not PAGE.exists():
        raise InputError(f"{PAGE}: no such file; run this from the root of the repository")
    report = measure(progress)
    STORED.write_text(json.dumps(report.as_json(), indent=1, allow_nan=False) + "\n")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), json.loads(STORED.read_text())), encoding="utf-8")
    return report


if __name__ == "__main__":
    script("soak", keep, __doc__ or "")
