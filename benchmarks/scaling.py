"""How the cost grows with folds, seeds, variants and parameters: measured to 64 runs, with a law for what lies beyond.

Each point is an experiment that is run, audited and removed again. The laws are fitted to the smaller points and tried
on those held back. Writes docs/scaling.json and, from it, the tables of docs/scaling.md.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spinn import schedule
from spinn.bench import growth, networks
from spinn.bench.page import anew, measured_on, table, three
from spinn.bench.processes import watch
from spinn.bench.report import machine
from spinn.errors import InputError, run_command
from spinn.record import RECORD, RUNS, Record, checkpoint_name, read_model

PAGE, STORED = Path("docs/scaling.md"), Path("docs/scaling.json")
MARK = "<!-- `make scaling` writes all that follows -->"
FOLDER = Path("build/bench/scaling")
BIN = Path(sys.executable).parent
DENSE_EPOCHS, STAGE_EPOCHS = 10, 5
ROUNDS = 2  # over all sizes, so that what else the machine did for some minutes is in one of a point's times
PRUNERS = ("global-magnitude", "layerwise-magnitude")  # whose dense network is one

EXPERIMENT = """name = "scaling"
data = "simulator"
seeds = {seeds}
layers = {layers}
stack = {stack}
split = {{ kind = "grouped", folds = {folds} }}
dense = {{ epochs = {epochs} }}
physics = {{ wear_rate = 0.1, heat = 0.1 }}
"""


@dataclass(frozen=True)
class Size:
    """One experiment: the network's widths, what is planned, and how many runs are stacked."""

    layers: tuple[int, ...]
    folds: int
    seeds: int
    variants: int
    stack: int
    held_back: bool = False

    @property
    def runs(self) -> int:
        """That are planned."""
        return self.folds * self.seeds * self.variants

    def experiment(self) -> str:
        """The experiment file."""
        head = EXPERIMENT.format(
            seeds=list(range(self.seeds)),
            layers=list(self.layers),
            stack=self.stack,
            folds=self.folds,
            epochs=DENSE_EPOCHS,
        )
        stages = ", ".join(
            f'{{ ratio = "{ratio}", epochs = {STAGE_EPOCHS}, learning_rate = 1e-4 }}' for ratio in networks.RATIOS
        )
        variants = (
            f'[[variants]]\nname = "{pruner}"\npruner = "{pruner}"\nstages = [{stages}]\n'
            for pruner in PRUNERS[: self.variants]
        )
        return head + "".join(variants)


_SMALL, _MIDDLE, _PAPER = (18, 64, 64, 2), (18, *networks.SMALL, 2), networks.LAYERS
_BETWEEN = (18, 256, 256, 256, 128, 2)
SIZES = (
    *(
        Size(layers, folds, seeds, variants, stack)
        for layers in (_SMALL, _MIDDLE, _PAPER)
        for folds, seeds, variants, stack in ((2, 1, 1, 1), (2, 1, 1, 2), (4, 2, 1, 8), (4, 2, 2, 8))
    ),
    *(Size(layers, 4, 8, 2, 32, held_back=True) for layers in (_SMALL, _MIDDLE, _PAPER)),
    Size(_PAPER, 4, 4, 1, 16, held_back=True),
    Size(_BETWEEN, 4, 2, 1, 8, held_back=True),
    Size(_BETWEEN, 4, 8, 2, 32, held_back=True),
)

Point = dict[str, Any]
"""What was measured of one size, as docs/scaling.json has it."""


# --- measuring ------------------------------------------------------------------------------------------------------


def point(size: Size) -> Point:
    """Run the experiment, audit it without and with replay, and read what its records say of their cost."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    file, folder = FOLDER / "scaling.toml", FOLDER / "runs"
    file.write_text(size.experiment())
    run = watch(BIN / "spinn", "run", file, "--out", folder)
    audit = watch(BIN / "spinn-verify", "records", folder)
    replay = watch(BIN / "spinn-verify", "records", folder, "--replay")
    runs = sorted(path for path in (folder / RUNS).iterdir() if path.is_dir())
    phases = {cost.key: cost for path in runs for cost in read_model(path / RECORD, Record).cost}
    files = [path for path in folder.rglob("*") if path.is_file()]
    weights = [path for path in files if path.suffix == ".safetensors"]
    last = checkpoint_name(len(networks.RATIOS))
    measured = {
        "layers": list(size.layers),
        "parameters": schedule.total_parameters(size.layers),
        "folds": size.folds,
        "seeds": size.seeds,
        "variants": size.variants,
        "runs": size.runs,
        "held_back": size.held_back,
        "run_seconds": run.seconds,
        "audit_seconds": audit.seconds,
        "replay_seconds": replay.seconds,
        "run_bytes": _bytes(files) / size.runs,
        "tables_bytes": (_bytes(files) - _bytes(weights)) / size.runs,
        "final_bytes": _bytes(path for path in weights if path.name == last) / size.runs,
        "phases": [
            {
                "stage": cost.phase != "dense",
                "stack": cost.runs,
                "epochs": cost.epochs,
                "seconds": cost.seconds,
                "flops": cost.flops * cost.runs,
                "memory_bytes": cost.peak_memory_bytes,
            }
            for cost in phases.values()
        ],
    }
    shutil.rmtree(FOLDER)
    return measured


def fastest(rounds: Sequence[Point]) -> Point:
    """One point of several measurements of one size: the shortest of each time, the most memory."""
    first, *_ = rounds
    times = {name: min(one[name] for one in rounds) for name in ("run_seconds", "audit_seconds", "replay_seconds")}
    phases = [
        same[0]
        | {"seconds": min(one["seconds"] for one in same), "memory_bytes": max(one["memory_bytes"] for one in same)}
        for same in zip(*(one["phases"] for one in rounds), strict=True)
    ]
    return {**first, **times, "phases": phases}


def _bytes(paths: Any) -> int:
    return sum(path.stat().st_size for path in paths)


def epoch(measured: Point, *, stages: bool) -> Point:
    """An epoch of a stack in the dense phase, or in the stages: the shortest of their phases, and the most memory."""
    phases = [phase for phase in measured["phases"] if phase["stage"] == stages]
    return {
        "parameters": measured["parameters"],
        "stack": phases[0]["stack"],
        "flops": phases[0]["flops"] / phases[0]["epochs"],  # of all alike: masked weights are multiplied too
        "seconds": min(phase["seconds"] / phase["epochs"] for phase in phases),
        "memory_bytes": max(phase["memory_bytes"] for phase in phases),
    }


# --- the laws -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Law:
    """Cost = Σ coefficient · term; `units` are the coefficients', `terms` and `cost` those of a point.

    `part` is what the law is about, where that is not the whole of a measured point.
    """

    what: str
    units: tuple[str, ...]
    terms: Callable[[Point], Sequence[float]]
    cost: Callable[[Point], float]
    part: Callable[[Point], Point] = lambda measured: measured

    def fitted(self, points: Sequence[Point]) -> tuple[float, ...]:
        """Coefficients, from the points that are not held back."""
        used = [self.part(measured) for measured in points if not measured["held_back"]]
        return growth.fit([self.terms(one) for one in used], [self.cost(one) for one in used])

    def errors(self, points: Sequence[Point], *, held_back: bool) -> list[float]:
        """Relative errors of the law, which is fitted to the other points, at those held back, or at its own."""
        law = self.fitted(points)
        tried = [self.part(measured) for measured in points if measured["held_back"] == held_back]
        return [growth.relative_error(growth.predicted(law, self.terms(one)), self.cost(one)) for one in tried]


def _training(measured: Point) -> float:
    """FLOPs of all phases, of all runs together."""
    return sum(phase["flops"] for phase in measured["phases"]) / 1e12


def _epoch(what: str, *, stages: bool) -> Law:
    def terms(one: Point) -> tuple[float, float]:
        return 1, one["flops"] / 1e12

    return Law(what, ("s", "s / TFLOP"), terms, lambda one: one["seconds"], partial(epoch, stages=stages))


def _size(what: str, name: str) -> Law:
    def terms(one: Point) -> tuple[float, float]:
        return 1, one["parameters"] / 1e6

    return Law(what, ("MB", "MB / million parameters"), terms, lambda one: one[name] / 1e6)


def _judging(what: str, name: str) -> Law:
    def terms(one: Point) -> tuple[float, float, float]:
        return 1, one["runs"], one["runs"] * one["parameters"] / 1e6

    return Law(what, ("s", "s / run", "s / million parameters of all runs"), terms, lambda one: one[name])


LAWS = {
    "dense": _epoch("an epoch of the dense phase, of a stack", stages=False),
    "stage": _epoch("an epoch of a stage, of a stack", stages=True),
    "memory": Law(
        "largest resident set while a stack trains",
        ("MB", "MB / million parameters of the stack"),
        lambda one: (1, one["stack"] * one["parameters"] / 1e6),
        lambda one: one["memory_bytes"] / 1e6,
        partial(epoch, stages=True),
    ),
    "run": Law(
        "`spinn run`, the whole command",
        ("s", "s / run", "s / TFLOP"),
        lambda one: (1, one["runs"], _training(one)),
        lambda one: one["run_seconds"],
    ),
    "bytes": _size("size of a run on disk", "run_bytes"),
    "final": _size("size of the final network alone", "final_bytes"),
    "audit": _judging("`spinn-verify records`", "audit_seconds"),
    "replay": _judging("`spinn-verify records --replay`", "replay_seconds"),
}


# --- the page -------------------------------------------------------------------------------------------------------


def page(text: str, stored: dict[str, Any]) -> str:
    """The page with all that follows the mark made from what is stored."""
    points = stored["points"]
    return anew(text, MARK, [_where(stored), _measured(points), _laws(points), _tried(points), _beyond(points)], PAGE)


def _where(stored: dict[str, Any]) -> str:
    return (
        f"{measured_on(stored['machine'])}. Dense phases have {DENSE_EPOCHS} epochs, each of the four stages has "
        f"{STAGE_EPOCHS}; the shortest time counts, of {stored['rounds']} round(s) over all points and of phases of "
        "one kind."
    )


def _measured(points: Sequence[Point]) -> str:
    rows = []
    for one in points:
        dense, stage = epoch(one, stages=False), epoch(one, stages=True)
        rows.append(
            (
                _network(one),
                f"{one['parameters']:,}",
                f"{one['folds']} × {one['seeds']} × {one['variants']}",
                str(one["runs"]),
                str(stage["stack"]),
                three(one["run_seconds"]),
                three(1e3 * dense["seconds"]),
                three(1e3 * stage["seconds"]),
                three(stage["memory_bytes"] / 1e6),
                three(one["run_bytes"] / 1e6),
                three(one["tables_bytes"] / 1e6),
                three(one["final_bytes"] / 1e6),
                three(one["audit_seconds"]),
                three(one["replay_seconds"]),
                "held back" if one["held_back"] else "fitted",
            )
        )
    head = (
        "network",
        "parameters",
        "folds × seeds × variants",
        "runs",
        "stack",
        "`spinn run`, s",
        "dense epoch, ms",
        "stage epoch, ms",
        "memory, MB",
        "a run, MB",
        "without networks, MB",
        "final network, MB",
        "audit, s",
        "with replay, s",
        "",
    )
    return "## Measured points\n\n" + table(head, rows)


def _laws(points: Sequence[Point]) -> str:
    rows = []
    for law in LAWS.values():
        terms = " + ".join(f"{three(value)} {unit}" for value, unit in zip(law.fitted(points), law.units, strict=True))
        own, held = (law.errors(points, held_back=side) for side in (False, True))
        rows.append((law.what, terms, str(len(own)), _most(own), str(len(held)), _middle(held), _most(held)))
    head = (
        "cost",
        "law",
        "points fitted",
        "largest error there",
        "points held back",
        "median error there",
        "largest error there",
    )
    return "## The laws, and their errors\n\n" + table(head, rows)


def _tried(points: Sequence[Point]) -> str:
    rows = []
    names = ("run", "replay", "memory")
    for measured in (one for one in points if one["held_back"]):
        cells = []
        for law in (LAWS[name] for name in names):
            one = law.part(measured)
            said = growth.predicted(law.fitted(points), law.terms(one))
            cells += [
                three(law.cost(one)),
                three(said),
                _percent(growth.relative_error(said, law.cost(one))),
            ]
        rows.append((_network(measured), str(measured["runs"]), *cells))
    head = (
        "network",
        "runs",
        *(part for what in ("`spinn run`, s", "replay, s", "memory, MB") for part in (what, "by the law", "error")),
    )
    return "## Points held back\n\n" + table(head, rows)


def _beyond(points: Sequence[Point]) -> str:
    """The laws for the paper's network beyond what was measured, with the epochs of the measured points."""
    paper = max(points, key=lambda one: (one["parameters"], one["runs"]))
    laws = {name: law.fitted(points) for name, law in LAWS.items()}

    def said(name: str, one: Point) -> float:
        return growth.predicted(laws[name], LAWS[name].terms(one))

    rows = []
    for runs in (64, 720, 10_000):
        more = runs / paper["runs"]
        phases = [{**phase, "flops": phase["flops"] * more} for phase in paper["phases"]]
        one = {**paper, "runs": runs, "phases": phases}
        rows.append(
            (
                f"{runs:,}",
                three(said("run", one) / 60),
                three(runs * said("bytes", one) / 1e3),
                three(runs * said("final", one) / 1e3),
                three(said("audit", one) / 60),
                three(said("replay", one) / 60),
            )
        )
    head = ("runs", "`spinn run`, min", "on disk, GB", "final networks, GB", "audit, min", "with replay, min")
    stack = [
        (f"{count:,}", three(said("memory", {"stack": count, "parameters": paper["parameters"]}) / 1e3))
        for count in (1, 32, 64, 256, 1024)
    ]
    return (
        "## Beyond: the limits\n\n"
        f"By the laws, not measured, for the network {_network(paper)} of {paper['parameters']:,} parameters, with the "
        "epochs of the measured points.\n\n"
        + table(head, rows)
        + "\n\n"
        + table(("runs in a stack", "memory, GB"), stack)
    )


def _network(one: Point) -> str:
    return "-".join(str(width) for width in one["layers"])


def _percent(share: float) -> str:
    return f"{100 * share:+.0f} %"


def _most(errors: Sequence[float]) -> str:
    return _percent(max(errors, key=abs))


def _middle(errors: Sequence[float]) -> str:
    return f"{100 * statistics.median(map(abs, errors)):.0f} %"


def main() -> int:
    """Measure every size, keep it, and write the page."""
    if not PAGE.exists():
        raise InputError(f"{PAGE}: no such file; run this from the root of the repository")
    about = machine()
    rounds: list[list[Point]] = [[] for _ in SIZES]
    for number in range(ROUNDS):
        for size, measured in zip(SIZES, rounds, strict=True):
            print(
                f"bench: round {number + 1} of {ROUNDS}: {size.layers}, {size.runs} runs", file=sys.stderr, flush=True
            )
            measured.append(point(size))
    points = [fastest(measured) for measured in rounds]
    STORED.write_text(json.dumps({"machine": about, "rounds": ROUNDS, "points": points}, indent=1) + "\n")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), json.loads(STORED.read_text())), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8").partition(MARK)[2].strip())
    return 0


if __name__ == "__main__":
    run_command(main, "scaling")
