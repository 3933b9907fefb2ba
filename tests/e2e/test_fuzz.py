"""Files from strangers: whatever bytes they hold, reading them ends in a result or in one clear error, soon.

Each example is a good file damaged in its bytes or in what they say, or noise under its name (`hostile/wounds.py`).
`make fuzz` tries more than 100,000 of them, and prints how each kind ended; what once failed is kept in `corpus/`, with
others that are worth it, and tried always.
"""

from __future__ import annotations

import lzma
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from hostile.kinds import CORPUS, FINDINGS, KINDS
from hostile.limits import room
from hostile.wounds import contents
from hypothesis import HealthCheck, given, settings

from spinn.errors import SpinnError

EXAMPLES = int(os.environ.get("FUZZ", "15"))
"""Of each kind of file; `make fuzz` asks for more than 100,000 in all."""
ROOM = 1 << 30
"""Bytes that reading a file may take: some megabytes do, and what believes a hostile number asks for terabytes."""
QUIET = ("audit", "datacard")
"""What is no file is not spoken of here: a verdict is made again, a missing card is found by its digest in the plan."""
SOON = timedelta(seconds=10)
"""Milliseconds, most of them; but the machine may have other work."""


def read(kind: str, content: bytes, folder: Path) -> str:
    """Read a file with this content; only an error of this project, or a finding of the audit, may come of it."""
    path = folder / kind / KINDS[kind].file  # nothing of another kind lies beside it
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    said, how = "a result", "results"
    try:
        with room(ROOM):
            KINDS[kind].read(path)
    except (SpinnError, *FINDINGS) as error:
        said, how = str(error).strip(), "errors"
    assert 0 < len(said) < 2000
    return how


def sound(kind: str) -> bytes:
    """The good file, as it is stored."""
    good = KINDS[kind].good()
    return lzma.compress(good, preset=0) if KINDS[kind].form == "xz" else good


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files are written."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("kind", KINDS)
def test_good_files_are_read(kind: str, folder: Path) -> None:
    """What the wounds are made in is sound."""
    assert read(kind, sound(kind), folder) == "results"


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_a_result_or_one_clear_error(
    kind: str, folder: Path, record_property: Callable[[str, object], None]
) -> None:
    """Nothing else is raised, no file takes more than its share of memory or time; how they ended is reported."""
    ended: Counter[str] = Counter(inputs=0, results=0, errors=0)

    @settings(max_examples=EXAMPLES, deadline=SOON, suppress_health_check=(HealthCheck.too_slow,))
    @given(content=contents(KINDS[kind].form, KINDS[kind].good()))
    def each(content: bytes) -> None:
        ended["inputs"] += 1
        ended[read(kind, content, folder)] += 1

    try:
        each()
    finally:
        record_property("fuzz", [kind, *ended.values()])


@pytest.mark.parametrize("path", [path for path in sorted(CORPUS.rglob("*")) if path.is_file()], ids=lambda p: p.name)
def test_what_is_kept_is_a_result_or_one_clear_error(path: Path, folder: Path) -> None:
    """Files that once ended otherwise, or that say the most."""
    read(path.parent.name, path.read_bytes(), folder)


READ_BY_THE_TEST = {"audit-forged", "manifest", "numbers", "report", "template", "paper"}
READ_BY_THE_TEST |= {"table", "table-latex", "table-markdown"}
"""Kinds whose files are not opened by what is tested here: a checkout's templates, and what a test changes first."""


@contextmanager
def pipe(path: Path) -> Iterator[Callable[[], bool]]:
    """A named pipe, and whether it was opened; who opens it finds it empty, so that a test fails and does not wait."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    writer = Thread(target=lambda: path.open("wb").close())
    writer.start()

    def opened() -> bool:
        writer.join(0.1)
        return not writer.is_alive()

    try:
        yield opened
    finally:
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # lets the writer go, where nobody else did
        writer.join()
        os.close(reader)
        path.unlink()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - READ_BY_THE_TEST))
def test_a_named_pipe_in_place_of_a_file_is_not_opened(kind: str, folder: Path) -> None:
    """Nobody writes to one, so that reading it never ends: it is a clear error, a finding, or no file."""
    path = folder / kind / KINDS[kind].file
    with pipe(path) as opened:
        said = ""
        try:
            KINDS[kind].read(path)
        except (SpinnError, *FINDINGS) as error:
            said = str(error)
        assert not opened()
    assert re.search("a named pipe in place of a file|no such file", said) or (not said and kind in QUIET)


def test_the_long_profile_draws_anew() -> None:
    """The profile `default`, whose draws are always the same, is in force when the others are registered."""
    assert settings.get_profile("default").derandomize
    assert not settings.get_profile("long").derandomize
