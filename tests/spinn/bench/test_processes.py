"""spinn.bench.processes: a command is watched to its end."""

from __future__ import annotations

import sys

import pytest

from spinn.bench.processes import Watched, watch
from spinn.errors import InputError


def test_the_memory_of_the_process_is_seen():
    """A process that takes 100 MB while it sleeps has them at its peak."""
    seen = watch(
        sys.executable,
        "-c",
        "import time; kept = bytearray(10**8); kept[::4096] = b'1' * len(kept[::4096]); time.sleep(1)",
    )
    assert seen.peak > 10**8


def test_a_mean_is_of_the_looks_of_that_part_alone():
    """The end of the part is not in it; a part without a look is refused."""
    seen = Watched(1.0, 1.0, ((0.0, 1), (0.25, 10), (0.4, 20), (0.5, 99)))
    assert seen.between(0.25, 0.5) == 15
    with pytest.raises(InputError, match=r"no look at the process between 0\.75 and 1"):
        seen.between(0.75, 1.0)


def test_a_command_that_fails_is_no_measurement():
    """What it said last is said."""
    with pytest.raises(InputError, match=r"ended with status 3 \(too bad\); expected 0"):
        watch(sys.executable, "-c", "import sys; print('too bad', file=sys.stderr); sys.exit(3)")
