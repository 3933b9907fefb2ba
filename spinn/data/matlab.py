"""What a MATLAB 5 file asks of memory, counted before scipy reads it.

scipy believes the sizes that a file states, unpacks without a bound, and follows cells within cells until its stack
is full, which ends the process. The layout is that of "MAT-File Format" (The MathWorks); knows nothing of what the
numbers mean, and leaves alone what is broken in another way: scipy says so.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

MOST = 512 << 20
"""Bytes of all variables together when unpacked; the original mill.mat has 200 MB."""
MOST_MATRICES = 200_000
"""Matrices within a variable; the original has 2,171."""
DEEPEST = 8
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _SPARSE = 1, 2, 5
_NUMBERS = range(6, 16)
_CHAR = 4


def refuse_unsound(path: Path, name: str) -> None:
    """Refuse a file that would take more than its share, or whose variable `name` does not hold what it states.

    Raises:
        ValueError: it is no MATLAB 5 file, or asks for more than the bounds of this module; says which.
    """
    content = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None or struct.unpack(f"{order}H", content[124:126])[0] >> 8 != 1:
        raise ValueError("its header is another one; save it with -v6 or -v7")
    found, room = 0, MOST
    for kind, data in _elements(memoryview(content)[128:], order, padded=False):
        if kind == _COMPRESSED:
            unpacked = _unpacked(data, room)
            room -= len(unpacked)
            kind, data = next(_elements(memoryview(unpacked), order), (0, data))
        if kind == _MATRIX and _name(data, order) == name.encode():
            found += 1
            _Walk(order).matrix(data, 0)
    if found > 1:
        raise ValueError(f"{found} variables are called {name}")


def _unpacked(data: memoryview, room: int) -> bytes:
    unpack = zlib.decompressobj()
    content = unpack.decompress(data, room + 1)
    if len(content) > room:
        raise ValueError(f"its variables have more than {MOST >> 20} MiB when unpacked")
    return content


def _elements(view: memoryview, order: str, *, padded: bool = True) -> Iterator[tuple[int, memoryview]]:
    """Kind and data of each element; the last one may be cut short."""
    at = 0
    while len(view) - at >= 8:
        kind, size = struct.unpack_from(f"{order}II", view, at)
        if kind >> 16:  # a small one: both numbers in the first word, the data in the second
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
            yield kind, view[at + 4 : at + 4 + size]
            at += 8
            continue
        yield kind, view[at + 8 : at + 8 + size]
        at += 8 + size + (-size % 8 if padded else 0)


def _name(data: memoryview, order: str) -> bytes:
    """The name of a matrix: its third element."""
    parts = _elements(data, order)
    for _ in range(2):
        next(parts, None)
    return bytes(next(parts, (0, memoryview(b"")))[1])


class _Walk:
    """Goes through a matrix and what is in it, and counts."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.seen = 0

    def matrix(self, data: memoryview, depth: int) -> None:
        """Look at one matrix; an empty one has no data at all."""
        self.seen += 1
        if self.seen > MOST_MATRICES:
            raise ValueError(f"more than {MOST_MATRICES:,} matrices within one variable")
        if depth > DEEPEST:
            raise ValueError(f"matrices are nested more than {DEEPEST} deep")
        if not data:
            return
        parts = _elements(data, self.order)
        flags, dimensions, _ = (next(parts, (0, memoryview(b"")))[1] for _ in range(3))
        if len(flags) < 4 or len(dimensions) < 8 or len(dimensions) % 4:
            raise ValueError("a matrix has no size")
        kind = struct.unpack_from(f"{self.order}I", flags)[0] & 0xFF
        sizes = struct.unpack_from(f"{self.order}{len(dimensions) // 4}i", dimensions)
        if min(sizes) < 0 or (kind != _SPARSE and math.prod(sizes) > len(data)):
            raise ValueError(f"a matrix of size {sizes!s:.60} in {len(data):,} bytes")
        if kind in (_CELL, _STRUCT):
            fields = self._fields(parts) if kind == _STRUCT else 1
            if 8 * math.prod(sizes) * fields > len(data):
                raise ValueError(f"{fields} fields of size {sizes!s:.60} in {len(data):,} bytes")
            for inner, value in parts:
                if inner == _MATRIX:
                    self.matrix(value, depth + 1)
        elif kind not in (*_NUMBERS, _CHAR, _SPARSE):
            raise ValueError(f"a matrix of class {kind}, which holds no numbers")

    def _fields(self, parts: Iterator[tuple[int, memoryview]]) -> int:
        """How many fields a struct has: all of their names lie in one element, each as long as another one says."""
        length, names = (next(parts, (0, memoryview(b"")))[1] for _ in range(2))
        each = struct.unpack_from(f"{self.order}i", length)[0] if len(length) >= 4 else 0
        if each < 1:
            raise ValueError("a struct whose fields have no names")
        return len(names) // each
