"""What a MATLAB file asks for is counted before scipy makes it; sound files of every way of saving pass."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hostile import makers

from spinn.data import matlab, nasa
from spinn.data.lines import LONGEST_LINE, bounded, refuse_unprintable
from spinn.errors import DataError


def saved(content: dict[str, object], compress: bool = False) -> bytes:
    """What scipy writes."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, content, do_compression=compress)
    return stream.getvalue()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        np.eye(3),
        np.array([1 + 2j]),
        np.zeros((0, 4)),
        np.zeros((2, 3, 4), np.int8),
        "text",
        np.array([], str),
        scipy.sparse.eye(1000, format="csc"),
        np.array([["a", np.eye(2)], [[], {"x": [1, 2]}]], dtype=object),
        {"a": 1, "b": {"c": [1.0, 2.0]}},
        np.array([], dtype=object),
    ],
    ids=["matrix", "complex", "empty", "three", "text", "no-text", "sparse", "cells", "struct", "no-cells"],
)
def test_what_scipy_saves_is_sound(tmp_path: Path, value: object, compress: bool) -> None:
    """Of every class, with and without compression."""
    path = tmp_path / "a.mat"
    path.write_bytes(saved({"before": [1.0], "mill": value, "after": "x"}, compress))
    matlab.refuse_unsound(path, "mill")


def test_the_real_file_is_sound(mill: Path) -> None:
    """The decimated milling set."""
    matlab.refuse_unsound(mill, "mill")


def test_a_file_of_the_other_byte_order_is_sound(tmp_path: Path) -> None:
    """Big-endian, as older machines wrote it."""
    path = tmp_path / "a.mat"
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x100) + b"MI"
    flags, sizes = struct.pack(">4I", 6, 8, 6, 0), struct.pack(">2I2i", 5, 8, 1, 1)
    body = flags + sizes + struct.pack(">2I", 1, 4) + b"mill" + bytes(4) + struct.pack(">2Id", 9, 8, 1.0)
    path.write_bytes(head + struct.pack(">2I", 14, len(body)) + body)
    matlab.refuse_unsound(path, "mill")
    assert scipy.io.loadmat(path)["mill"] == [[1.0]]


NUMBER = makers.element(9, bytes(8))
FIELDS = makers.element(5, struct.pack("<i", 8)), makers.element(1, b"case".ljust(8, b"\0"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its header is another one"),
        (makers.HEAD[:124] + struct.pack("<H", 0x200) + b"IM", "its header is another one"),
        (makers.cells_within_cells(20), "nested more than 8 deep"),
        (makers.vast(1), r"a matrix of size \(1, 1073741824\) in 48 bytes"),
        (makers.vast(2, *FIELDS), r"a matrix of size"),
        (makers.vast(4), r"a matrix of size"),
        (makers.HEAD + makers.matrix(1, (-1, -5), b"mill"), r"a matrix of size \(-1, -5\)"),
        (makers.HEAD + makers.matrix(1, (8, 8), b"mill", bytes(104)), "1 fields of size"),
        (makers.HEAD + makers.matrix(2, (4, 4), b"mill", FIELDS[0], makers.element(1, bytes(64))), "8 fields of size"),
        (makers.HEAD + makers.matrix(2, (1, 1), b"mill", makers.element(5, bytes(4)), FIELDS[1]), "have no names"),
        (makers.HEAD + makers.matrix(6, (1,) * 33, b"other", NUMBER), "33 dimensions: at most 32"),
        (makers.HEAD + makers.matrix(16, (1, 1), b"mill"), "a matrix of class 16"),
        (makers.HEAD + makers.element(14, makers.element(6, bytes(8)) + bytes(8)), "kind 0 where .* size"),
        (makers.HEAD + makers.element(14, bytes(40)), "a matrix without flags"),
        (makers.HEAD + makers.element(14, b""), "a matrix without flags"),
        (makers.HEAD + makers.matrix(17, (1, 1), b"") + makers.matrix(6, (1, 1), b"mill"), "kind 0 where .* numbers"),
        (makers.HEAD + makers.matrix(6, (1, 1), b"mill", makers.element(14, bytes(8))), "kind 14 where .* numbers"),
        (makers.HEAD + makers.matrix(6, (1, 1), b"mill", NUMBER, NUMBER), "goes on after its end"),
        (makers.HEAD + makers.matrix(1, (1, 2), b"mill", makers.matrix(6, (1, 1), b"", NUMBER)), "kind 0 .* cell"),
        (makers.HEAD + makers.matrix(6, (1, 1), b"mill", NUMBER)[:-8], "ends after what it lies in"),
        (makers.HEAD + makers.matrix(6, (1, 1), b"mill", NUMBER, b"rest"), "belong to no element"),
        (makers.HEAD + makers.matrix(6, (1, 1), b"mill", NUMBER) * 2, "2 variables are called mill"),
        (makers.HEAD + struct.pack("<HH4s", 1, 5, b"abcd"), "a small element of 5 bytes"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:24],
)  # fmt: skip
def test_a_file_that_asks_for_more_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """By what it asks for."""
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        matlab.refuse_unsound(path, "mill")
    with pytest.raises(DataError, match="not a whole MATLAB 5 file"):
        nasa.read(path)


def test_what_unpacks_to_more_than_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All variables together; as much as may be is let through."""
    path = tmp_path / "a.mat"
    path.write_bytes(makers.HEAD + makers.inflated(2)[128:] * 2)
    monkeypatch.setattr(matlab, "MOST", (4 << 20) + 1000)
    with pytest.raises(ValueError, match="2 variables"):
        matlab.refuse_unsound(path, "mill")
    monkeypatch.setattr(matlab, "MOST", 4 << 20)
    with pytest.raises(ValueError, match="more than 4 MiB when unpacked"):
        matlab.refuse_unsound(path, "mill")


def test_matrices_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with as many as may be is let through."""
    path = tmp_path / "a.mat"
    path.write_bytes(saved({"mill": np.array([[1, 2, 3]], dtype=object)}))
    monkeypatch.setattr(matlab, "MOST_MATRICES", 4)
    matlab.refuse_unsound(path, "mill")
    monkeypatch.setattr(matlab, "MOST_MATRICES", 3)
    with pytest.raises(ValueError, match="more than 3 matrices within one variable"):
        matlab.refuse_unsound(path, "mill")


def test_a_line_is_not_read_beyond_its_bound(tmp_path: Path) -> None:
    """The longest that may be is; one letter more is refused, with the number of its line."""
    longest = "x" * (LONGEST_LINE - 1) + "\n"
    (tmp_path / "good.csv").write_text("a\n" + longest)
    (tmp_path / "long.csv").write_text("a\nx" + longest)
    with open(tmp_path / "good.csv") as stream:
        assert list(bounded(stream)) == ["a\n", longest]
    with (
        open(tmp_path / "long.csv") as stream,
        pytest.raises(ValueError, match="line 2 is longer than 1,048,576 letters"),
    ):
        list(bounded(stream))


@pytest.mark.parametrize("name", ["a\u202eb", "a\u200b", "\x1b[2J", "a\0", "a\u2028b", "\ud800", "a\u00ad"])
def test_a_name_that_is_not_seen_is_refused(name: str) -> None:
    """Controls, marks of direction, spaces without width, ends of lines, halves of letters."""
    with pytest.raises(DataError, match=r"case = .*: U\+[0-9A-F]{4} is no letter that is seen"):
        refuse_unprintable(name, "case")


def test_a_name_of_any_alphabet_is_one() -> None:
    """Accents, other scripts and hard spaces; but no more than 200 letters."""
    for name in ("Fräser 7", "刀具", "инструмент", "a\u00a0b", "<b>", "\\input{x}", "x" * 200):
        refuse_unprintable(name, "case")
    with pytest.raises(DataError, match="201 letters: at most 200 expected in a name"):
        refuse_unprintable("x" * 201, "case")
