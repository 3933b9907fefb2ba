"""The lock of a folder is a file of its own: no stranger's folder has another one written to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spinn import lock
from spinn.errors import InputError


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (Path.symlink_to, "a link in place of a file"),
        (Path.hardlink_to, "a file of two names"),
        (lambda path, _: os.mkfifo(path), "a named pipe in place of a file"),
    ],
)
@pytest.mark.parametrize("name", [".lock", ".c00.lock"])
def test_a_lock_that_is_another_file_is_refused(
    place: Callable[[Path, Path], object], told: str, name: str, tmp_path: Path
) -> None:
    """It is not opened to be written, and what it leads to stays as it was."""
    victim, folder = tmp_path / "victim", tmp_path / "runs"
    victim.write_text("precious")
    folder.mkdir()
    place(folder / name, victim)
    with pytest.raises(InputError, match=rf"{name}: {told}.*; remove it"), lock.held(folder):
        pass
    assert victim.read_text() == "precious"


def test_a_link_to_nothing_makes_nothing(tmp_path: Path) -> None:
    """The file that it names would lie elsewhere."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link in place of a file"), lock.held(tmp_path / "runs"):
        pass
    assert not (tmp_path / "elsewhere").exists()
