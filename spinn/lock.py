"""One process at a time in a folder of runs, or at one of its cohorts: the second is refused, or waits.

The lock is the operating system's (flock), so that it goes when its process does, however that ended. Standard library
only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from spinn.errors import InputError
from spinn.storage import HALF_WRITTEN, refuse_special


@contextlib.contextmanager
def held(folder: Path, part: str = "", *, wait: bool = False) -> Iterator[None]:
    """Hold `folder`, which is made where it is missing, and removed again where nothing was left in it.

    Args:
        folder: Of runs.
        part: What of it; by default all, and what killed processes left, half-written files and locks, is removed then.
        wait: For another process that holds it, in place of an error.

    Raises:
        InputError: another process holds it, or all of it is asked for and a part is held; says which.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (f".{part}.lock" if part else ".lock")
    descriptor = _taken(path, wait)
    try:
        if not part:
            _end_parts(folder)
            _sweep(folder)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        with contextlib.suppress(OSError):  # it has something in it, as it should
            for path in missing:
                path.rmdir()


def _taken(path: Path, wait: bool) -> int:
    """The descriptor of the lock file, locked: the file that is there now, not one that its holder has just removed."""
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise InputError(
                f"{path.parent}: process {holder} is at work in it; wait until it has ended, or give another --out"
            ) from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                os.truncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                return descriptor
        os.close(descriptor)


def _opened(path: Path) -> int:
    """The lock file, made where it is missing; never another one, which a link in a stranger's folder may lead to."""
    try:
        refuse_special(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except ValueError as error:
        raise InputError(f"{path}: {error}; remove it") from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(f"{path}: a link in place of a file; remove it") from None
    if os.fstat(descriptor).st_nlink > 1:
        os.close(descriptor)
        raise InputError(f"{path}: a file of two names in place of one of its own; remove it")
    return descriptor


def _end_parts(folder: Path) -> None:
    """Remove the locks of parts; a worker whose master died may still hold one, and is not to be swept from under."""
    for path in folder.glob(".*.lock"):
        descriptor = _taken(path, wait=False)
        path.unlink()
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(HALF_WRITTEN):
                Path(parent, name).unlink(missing_ok=True)
