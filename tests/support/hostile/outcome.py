"""What a hostile file got: its call, in this process or in one of its own, and what there was on disk before and after.

Also the page `docs/hostile.md`, made of these outcomes.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import artifacts.cli
import spinn.cli
import verify.cli
from artifacts.paper import fill
from hostile.catalogue import ALL, Hostile, lay_out
from hostile.kinds import ROOT, content
from spinn.data.download import _member
from spinn.errors import run_command

PAGE = ROOT / "docs" / "hostile.md"
ROOM = 3 << 30
"""Bytes of address space that a command may take, its libraries among them, of which torch alone takes half of one."""
SECONDS = 100
"""That it may take: most of it is loading libraries, on a machine that has other work."""


def _archive(path: Path) -> object:
    return f"{len(_member(path, str(path)))} bytes, in memory"


def _template(path: Path) -> object:
    return fill(path.read_text(encoding="utf-8"), content(), path.name)


MAINS = {"spinn": spinn.cli.main, "spinn-verify": verify.cli.main, "spinn-artifacts": artifacts.cli.main}
LIBRARY: dict[str, Callable[[Path], object]] = {"archive": _archive, "template": _template}
"""What no command is given by a stranger: the milling set is downloaded, templates are the checkout's."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended: status, what it printed, and the files that are there now and were not, or are others."""

    status: int
    out: str
    err: str
    changed: frozenset[str]

    @property
    def line(self) -> str:
        """What it said: the message, the first error that the audit found, or the end of the result."""
        lines = [line.rstrip() for line in self.err.splitlines() if line.strip()]
        if self.status == 2 and lines:
            return lines[-1]
        out = [line.rstrip() for line in self.out.splitlines() if line.strip()]
        if "Cases" in out:  # of a data card
            return "; ".join(" ".join(line.split()) for line in out[out.index("Cases") + 1 :])
        return next((line for line in out if line.startswith("error: ")), out[-1])


def run(hostile: Hostile, folder: Path) -> Outcome:
    """Lay the files out in a folder of the folder, and make the call there."""
    here = folder / "a" / "b"
    here.mkdir(parents=True)
    lay_out(hostile, here)
    before = _digests(folder)
    status, out, err = (_apart if hostile.bomb else _within)(hostile, here)
    after = _digests(folder)
    changed = {name for name, stamp in after.items() if before.get(name) != stamp} | (before.keys() - after.keys())
    return Outcome(status, out, err, frozenset(changed))


def _digests(folder: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]
    return {path.relative_to(folder).as_posix(): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in files}


def call(words: tuple[str, ...]) -> None:
    """Make a call, as the installed command does; ends as that does."""
    if words[0] in LIBRARY:
        run_command(lambda: print(LIBRARY[words[0]](Path(words[1]))), words[0])
    sys.argv = list(words)
    MAINS[words[0]]()


def _within(hostile: Hostile, here: Path) -> tuple[int, str, str]:
    out, err, argv, cwd = io.StringIO(), io.StringIO(), sys.argv, Path.cwd()
    status = -1
    try:
        os.chdir(here)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            call(hostile.call)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    finally:
        os.chdir(cwd)
        sys.argv = argv
    return status, out.getvalue(), err.getvalue()


def _apart(hostile: Hostile, here: Path) -> tuple[int, str, str]:
    places = [str(ROOT / "tests" / "support"), str(ROOT)]
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_AS, ({ROOM}, {ROOM}))\n"
        f"resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nsys.path[:0] = {places!r}\n"
    )
    if hostile.call[0] in LIBRARY:
        code += f"from hostile.outcome import call\ncall({hostile.call!r})"
    else:
        module = {"spinn": "spinn", "spinn-verify": "verify", "spinn-artifacts": "artifacts"}[hostile.call[0]]
        code += f"sys.argv = {list(hostile.call)!r}\nfrom {module}.cli import main\nmain()"
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=here,
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


# --- the page -------------------------------------------------------------------------------------------------------

TITLE = """# Hostile files, and what each got

Files that were made to do harm, the call that is given them, its exit status and what it says. None of them ran
anything, wrote outside of its output folder, or took more than 3 GiB of address space, the libraries included.
[SECURITY.md](../SECURITY.md) says what is trusted. A test makes each of these calls and compares; after a change that
is meant, `python tests/support/hostile_page.py` writes this page again.

`archive` stands for what opens the archive that `spinn data fetch nasa` downloads, `template` for what fills a template
of the paper: no command is given either by a stranger.

| name | what it tries | call | status | what it says |
|---|---|---|---|---|
"""


def row(hostile: Hostile, outcome: Outcome) -> str:
    """The line of the page that tells an outcome."""
    said = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in " ".join(outcome.line.split()))
    said = said if len(said) < 300 else f"{said[:300]} …"
    cells = (hostile.name, hostile.tries, _code(shlex.join(hostile.call)), str(outcome.status), _code(said))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def rows() -> dict[str, str]:
    """The rows of the page that lies there, by name."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}


def write() -> Mapping[str, str]:
    """Make every call and write the page; returns its rows."""
    told = {}
    for hostile in ALL:
        with tempfile.TemporaryDirectory() as folder:
            told[hostile.name] = row(hostile, run(hostile, Path(folder)))
            print(told[hostile.name])
    PAGE.write_text(TITLE + "\n".join(told.values()) + "\n", encoding="utf-8")
    return told
