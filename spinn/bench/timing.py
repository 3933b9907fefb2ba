"""How a benchmark times: calls in turns, so that all meet the same noise, and the statistics of their times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Call = Callable[[], object]
Times = dict[str, list[float]]
"""Seconds of each call, by name."""

_LONG, _VERY_LONG, _FEW = 0.01, 0.5, 3
"""Seconds: a longer call is not repeated within one turn; a very long one has but a few turns."""


def in_turns(calls: Mapping[str, Call], rounds: int, seconds: float = 0.0) -> Times:
    """Seconds of every call, in turns: a short one is repeated for so many `seconds` in all, a long one once a round.

    All are called twice before, and each once more in its turn before it is timed, so that none is timed with the
    caches as its neighbour left them. Of long calls there are so few that their 95th percentile is the longest of them.
    """
    once = {name: _once(call) for name, call in calls.items()}
    blocks = {name: 1 if s > _LONG else max(1, int(seconds / rounds / s)) for name, s in once.items()}
    times: Times = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            if number >= _FEW and once[name] > _VERY_LONG:
                continue
            call()
            for _ in range(blocks[name]):
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
    return times


def _once(call: Call) -> float:
    """Seconds of the call's second time."""
    call()
    start = time.perf_counter()
    call()
    return max(time.perf_counter() - start, 1e-7)


def median(times: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(times)


def p95(times: Sequence[float]) -> float:
    """The 95th percentile: the smallest time that at least 95 % of them do not exceed."""
    return sorted(times)[-(-95 * len(times) // 100) - 1]


def times_faster(times: Mapping[str, Sequence[float]], slow: str, fast: str) -> float:
    """How many times faster `fast` is than `slow`: the median over the rounds, each compared with its own."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))
