"""Compressed files of a folder of runs: read as they were written, and never more than memory allows."""

from __future__ import annotations

import lzma
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinn import storage
from spinn.storage import packed, read_stored


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
