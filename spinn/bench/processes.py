"""A whole command as one process: how long it takes, and how much memory it has meanwhile."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from spinn.errors import InputError

BETWEEN_LOOKS = 0.2  # seconds


@dataclass(frozen=True)
class Watched:
    """A process that has ended: wall time, processor time, and how far it was and its resident set at each look.

    Processor time is that of the process and of all that it waited for; what else the machine does is hardly in it.
    """

    seconds: float
    processor_seconds: float
    looks: tuple[tuple[float, int], ...]

    @property
    def peak(self) -> int:
        """The largest resident set that was seen, in bytes."""
        return max(size for _, size in self.looks)

    def between(self, first: float, last: float) -> float:
        """The mean resident set in bytes at the looks at which the process was so far: `first` ≤ how far < `last`.

        Raises:
            InputError: there was no such look.
        """
        sizes = [size for far, size in self.looks if first <= far < last]
        if not sizes:
            raise InputError(f"no look at the process between {first:g} and {last:g}; give it more to do")
        return sum(sizes) / len(sizes)


def watch(*words: object, how_far: Callable[[], float] = lambda: 0.0) -> Watched:
    """Run a command to its end, silently, and look at it several times a second.

    Args:
        words: The command.
        how_far: Asked at each look; whoever reads the looks knows what it counts.

    Raises:
        InputError: it did not end with status 0.
    """
    looks: list[tuple[float, int]] = []
    with tempfile.TemporaryFile() as said:
        start, spent = time.perf_counter(), _spent()
        process = psutil.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, stderr=said)
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                looks.append((how_far(), process.memory_info().rss))
            with contextlib.suppress(psutil.TimeoutExpired):
                status = process.wait(BETWEEN_LOOKS)
                break
        seconds, spent = time.perf_counter() - start, _spent() - spent
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    if status != 0:
        raise InputError(f"{words[0]}: ended with status {status} ({(lines or ['no message'])[-1]}); expected 0")
    return Watched(seconds, spent, tuple(looks))


def _spent() -> float:
    """Processor seconds of the children that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
