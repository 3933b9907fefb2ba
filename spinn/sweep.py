"""Where the cohorts of a plan execute, one after another in this process, and the progress one sees meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from spinn import estimate, task
from spinn.cohort import Cohort
from spinn.data.dataset import Dataset
from spinn.record import Plan

_SECONDS_BETWEEN_LINES = 20


def execute(plan: Plan, dataset: Dataset, folder: Path, device: torch.device, from_stage: int | None = None) -> None:
    """Bring every planned run to its record; what is finished already is left as it is.

    Args:
        plan: The plan whose runs to execute.
        dataset: The data the plan was made from.
        folder: The folder of runs.
        device: Where to train.
        from_stage: Roll finished and unfinished runs back to the end of this stage first.
    """
    names = tuple(dict.fromkeys(run.cohort for run in plan.runs))
    rate = _rate(plan, dataset, names, device)
    with _Display() as display:
        for name in names:
            Cohort(plan, name, dataset, folder, device, display.phase, rate).execute(from_stage)


def refuse_untrainable(plan: Plan, dataset: Dataset) -> None:
    """Build every cohort's task once, on the host, so that data no run can be trained on is refused first.

    Raises:
        DataError: as `spinn.rundata.RunData`.
    """
    for name in dict.fromkeys(run.cohort for run in plan.runs):
        for first, *_ in plan.experiment.families():
            task.of_plan(dataset, plan.cohort(name, first), plan)


def _rate(plan: Plan, dataset: Dataset, names: Sequence[str], device: torch.device) -> float:
    """FLOPs a second of training, measured on the first cohort; says what the whole plan is going to cost at most."""
    flops, rate = 0, 0.0
    for name in names:
        for family in plan.experiment.families():
            built = task.of_plan(dataset, plan.cohort(name, family[0]), plan, device)
            rate = rate or estimate.flops_per_second(plan, built, family[0])
            flops += estimate.cohort_flops(plan, built, family)
    minutes, seconds = divmod(round(flops / rate), 60)
    print(
        f"the whole plan takes at most {flops:.3g} FLOPs of training, {minutes} min {seconds:02d} s at the "
        f"{rate / 1e9:.2g} GFLOP/s of a few epochs that were tried",
        file=sys.stderr,
        flush=True,
    )
    return rate


class _Display:
    """Progress of the phase at work: a bar on a terminal, elsewhere a line now and then and at each phase's end."""

    def __init__(self) -> None:
        console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs, loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> _Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, label: str, epochs: int) -> _Phase:
        return _Phase(self._bar, label, epochs)


class _Phase:
    def __init__(self, bar: Progress, label: str, epochs: int) -> None:
        self._bar, self._label, self._epochs = bar, label, epochs
        self._task = bar.add_task(label, total=epochs, loss="…")
        self._said = time.monotonic()

    def epoch(self, epoch: int, loss: float) -> None:
        """One epoch is over; `loss` is the mean over the runs."""
        self._bar.update(self._task, completed=epoch, loss=f"{loss:.4f}")
        if self._bar.disable and time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            self._say(f"epoch {epoch} of {self._epochs}, loss {loss:.4f}")

    def end(self, seconds: float, epochs: int) -> None:
        """The phase is over."""
        self._bar.update(self._task, total=epochs, completed=epochs)
        if self._bar.disable:
            self._say(f"{epochs} epochs in {seconds:.1f} s")

    def _say(self, what: str) -> None:
        print(f"{self._label}: {what}", file=sys.stderr, flush=True)
        self._said = time.monotonic()
