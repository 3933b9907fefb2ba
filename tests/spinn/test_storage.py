"""Files that are files; compressed ones are read as they were written, and never more than memory allows."""

from __future__ import annotations

import lzma
import os
import socket
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinn import storage
from spinn.storage import packed, read_file, read_stored, refuse_special


@given(content=st.binary(max_size=2000))
def test_what_was_compressed_reads_as_it_was(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Byte for byte."""
    path = tmp_path_factory.mktemp("packed") / "table.csv"
    packed(path).write_bytes(lzma.compress(content))
    assert read_stored(path) == content


@given(noise=st.binary(max_size=400))
def test_noise_is_refused_by_name(noise: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever it is, it is no xz file."""
    path = tmp_path_factory.mktemp("packed") / "table.csv"
    packed(path).write_bytes(noise)
    with pytest.raises(ValueError, match=r"table\.csv\.xz: not an xz file"):
        read_stored(path)


@pytest.mark.parametrize("cut", [slice(-1), slice(20)], ids=["a byte", "most of it"])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: slice) -> None:
    """It ends before its end."""
    packed(tmp_path / "t").write_bytes(lzma.compress(b"some rows\n" * 1000)[cut])
    with pytest.raises(ValueError, match=r"t\.xz: not an xz file \(it ends before its end\)"):
        read_stored(tmp_path / "t")


def test_a_file_with_something_after_it_is_refused(tmp_path: Path) -> None:
    """A second file after the first would be read by one tool and not by another."""
    packed(tmp_path / "t").write_bytes(lzma.compress(b"a") + lzma.compress(b"b"))
    with pytest.raises(ValueError, match=r"it goes on after its end"):
        read_stored(tmp_path / "t")


def test_a_small_file_that_asks_for_all_memory_gets_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 MiB in 10 kB no more than the bound is ever in memory."""
    monkeypatch.setattr(storage, "MOST", 1 << 20)
    bomb = lzma.compress(bytes(64 << 20))
    assert len(bomb) < 20_000
    packed(tmp_path / "t").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"t\.xz: more than 1 MiB when decompressed"):
        read_stored(tmp_path / "t")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20  # the dictionary of the decompressor alone has 8


@pytest.mark.parametrize("link", [False, True], ids=["itself", "by a link"])
def test_a_named_pipe_is_refused_before_it_is_opened(tmp_path: Path, link: bool) -> None:
    """Nobody writes to it, so that who opens it waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / ("link" if link else "pipe")
    if link:
        path.symlink_to("pipe")
    for read in (refuse_special, read_file, read_stored):
        with pytest.raises(ValueError, match=r"^a named pipe in place of a file$"):
            read(path)


def test_sockets_and_devices_are_refused_by_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device may have no end, and reading one may do something."""
    monkeypatch.chdir(tmp_path)  # the name of a socket has a hundred letters at most
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s")
        with pytest.raises(ValueError, match=r"^a socket in place of a file$"):
            read_file(Path("s"))
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(ValueError, match=r"^a device in place of a file$"):
            read_file(Path(device))


def test_files_are_read_and_what_is_not_there_is_left_to_the_reader(tmp_path: Path) -> None:
    """By a link too; a folder and a missing file have errors of their own."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link") == read_file(tmp_path / "file") == b"content"
    for name, error in (("absent", FileNotFoundError), (".", IsADirectoryError)):
        refuse_special(tmp_path / name)
        with pytest.raises(error, match="directory"):
            read_file(tmp_path / name)
