"""How a benchmark times: calls in turns, so that all meet the same noise, and the statistics of their times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Call = Callable[[], object]
Times = dict[str, list[float]]
"""Seconds of each call, by name."""

_LONG = 0.01
"""Seconds: a longer call is not repeated within one turn, nor warmed up for it."""


def in_turns(calls: Mapping[str, Call], rounds: int, seconds: float = 0.0) -> Times:
    """Seconds of every call, in turns: each is repeated for so many `seconds` in all, and at least once in each round.

    All are called twice before. In a turn a short call is repeated, after one that is not counted: else it would be
    timed with the caches as its neighbour left them.
    """
    blocks = {name: _block(call, seconds / rounds) for name, call in calls.items()}
    times: Times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if blocks[name] > 1:
                call()
            for _ in range(blocks[name]):
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
    return times


def _block(call: Call, seconds: float) -> int:
    """How often a short call fits into so many seconds."""
    call()
    start = time.perf_counter()
    call()
    once = max(time.perf_counter() - start, 1e-7)
    return 1 if once > _LONG else max(1, int(seconds / once))


def median(times: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(times)


def p95(times: Sequence[float]) -> float:
    """The 95th percentile: the smallest time that at least 95 % of them do not exceed."""
    return sorted(times)[-(-95 * len(times) // 100) - 1]


def times_faster(times: Mapping[str, Sequence[float]], slow: str, fast: str) -> float:
    """How many times faster `fast` is than `slow`: the median over the rounds, each compared with its own."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))
