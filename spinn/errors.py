"""The exceptions of this project, and how a command line ends on one of them.

Every message is one line: name, value, what was expected, how to mend it.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import NoReturn


class SpinnError(Exception):
    """Base of every error this project raises on purpose; `exit_status` is what a command ends with."""

    exit_status = 2


class InputError(SpinnError):
    """A value, a file or a call that cannot be used as it is."""


class ScheduleError(InputError):
    """A pruning schedule, network shape or target that has no meaning."""


class TargetMissedError(SpinnError):
    """A schedule that cannot reach the target asked of it."""

    exit_status = 1


class DataError(InputError):
    """A data file that is missing, broken, or lacks what is needed."""


class RecordError(InputError):
    """A plan, record or checkpoint that cannot be read as one."""


class TamperedError(SpinnError):
    """A file whose bytes are not the ones that were recorded."""

    exit_status = 1


class NonFiniteError(SpinnError):
    """A computation that produced inf or NaN where a number was needed."""

    exit_status = 1


_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "the quota is used up", errno.EROFS: "mounted read-only"}


def one_line(error: object) -> str:
    """An error or a text on a single line; a character that does not print is spelled, and so moves no terminal."""
    line = " ".join(str(error).split())
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def run_command(command: Callable[[], object], name: str) -> NoReturn:
    """Run a command line's body and end the process as DESIGN section 9 says.

    Expected errors become one line on standard error and their exit status; an operating system error (a full disk,
    a read-only mount, a missing permission) and memory that does not suffice are bad input, status 2. Anything else is
    a fault of this project and keeps its traceback.
    """
    try:
        status = command()
    except SpinnError as error:
        _leave(f"{name}: {one_line(error)}", error.exit_status)
    except KeyboardInterrupt:
        _leave(
            f"{name}: interrupted; what was finished is kept: run it again, without --fresh, to go on",
            130,
        )
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        told = one_line(error) or type(error).__name__
        _leave(
            f"{name}: out of memory ({told:.200}); what was finished is kept: run it again where there is "
            "more, without --fresh; or train fewer runs together: a smaller `stack` in the experiment, and --fresh",
            2,
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        what = _FULL.get(error.errno or 0, (error.strerror or str(error)).lower())
        _leave(f"{name}: {where}{what}; what was finished is kept: mend this, and run it again without --fresh", 2)
    sys.exit(status if isinstance(status, int) else 0)


def out_of_memory(error: Exception) -> bool:
    """Whether memory is what was missing; for the host's, torch has no exception of its own."""
    told = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return told or "allocate memory" in str(error) or "not enough memory" in str(error)


def _leave(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(status)
