"""What a mutant is, and the tiny experiment that it runs through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinn import experiment

EXPERIMENT = """
name = "mutant"
data = "simulator"
seeds = [0, 1]
layers = [18, 6, 5, 2]

[split]
kind = "grouped"
folds = 2
validation_cases = 2

[dense]
epochs = 3
learning_rate = 1e-2

[physics]
wear_rate = 0.1
heat = 0.1
initial = 0.1

[target]
reduction = "0.40"

[[variants]]
name = "sparse"
pruner = "global-magnitude"
stages = [
    { ratio = "0.31", epochs = 2, learning_rate = 5e-3 },
    { ratio = "0.24", epochs = 2, learning_rate = 5e-3 },
]
"""

NEURONS = EXPERIMENT.replace("global-magnitude", "neurons-incoming")

Patches = Sequence[Any]


def once(path: Path, runs: Path) -> None:
    """`spinn run`, from the plan to the records."""
    experiment.run(path, out=runs, device="cpu")


def rolled_back(path: Path, runs: Path) -> None:
    """`spinn run`, and again from the end of stage 1."""
    once(path, runs)
    experiment.run(path, out=runs, device="cpu", from_stage=1)


@dataclass(frozen=True)
class Mutant:
    """A fault, the check that must find it (None: nothing to find), and the patches that put it in place.

    Attributes:
        name: as the matrix prints it.
        expected: the check that is about it.
        patches: context managers that put the fault into the system.
        experiment: the experiment file.
        drive: what is run, given the experiment file and the folder of runs.
    """

    name: str
    expected: str | None
    patches: Callable[[], Patches]
    experiment: str = EXPERIMENT
    drive: Callable[[Path, Path], None] = once
