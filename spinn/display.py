"""The progress one sees while cohorts train: bars on a terminal, elsewhere a line now and then.

`Display` follows the epochs of this process; `Standings` what cohorts elsewhere have left behind.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_SECONDS_BETWEEN_LINES = 20


class Display:
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

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def phase(self, label: str, epochs: int) -> _Phase:
        """A phase begins."""
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


class Silent:
    """A phase of which nobody is told."""

    def __init__(self, label: str, epochs: int) -> None:
        pass

    def epoch(self, epoch: int, loss: float) -> None:
        """One epoch is over."""

    def end(self, seconds: float, epochs: int) -> None:
        """The phase is over."""


class Standings:
    """How many of its phases each cohort has behind it; `phases` says of how many."""

    def __init__(self, phases: Mapping[str, int]) -> None:
        console = Console(file=sys.stderr)
        columns = TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TextColumn("phases")
        self._bar = Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal)
        self._tasks = {name: self._bar.add_task(name, total=total) for name, total in phases.items()}
        self._phases, self._done = phases, dict.fromkeys(phases, 0)

    def __enter__(self) -> Standings:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: Mapping[str, int]) -> None:
        """What is done by now, of some or all cohorts."""
        for name, count in done.items():
            self._bar.update(self._tasks[name], completed=count)
            if self._bar.disable and count != self._done[name]:
                print(f"{name}: {count} of {self._phases[name]} phases", file=sys.stderr, flush=True)
            self._done[name] = count
