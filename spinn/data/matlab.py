"""What a MATLAB 5 file asks of memory, counted before scipy reads it.

scipy believes the sizes and kinds that a file states, unpacks without a bound, and follows cells within cells until its
stack is full; numbers of a kind that is none end the process. So what it will read has to be whole: each part of each
matrix, in its place. The layout is that of "MAT-File Format" (The MathWorks); knows nothing of what the numbers mean.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from spinn.storage import read_file

MOST = 512 << 20
"""Bytes of all variables together when unpacked; the original mill.mat has 200 MB."""
MOST_DIMENSIONS = 32
MOST_MATRICES = 200_000
"""Matrices within a variable; the original has 2,171."""
DEEPEST = 8
_MATRIX, _COMPRESSED = 14, 15  # kinds of elements
_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13))
_INTEGERS, _LETTERS = frozenset((5, 6)), frozenset((1, 16))
_TEXT = frozenset((1, 2, 4, 16, 17, 18))
_CELL, _STRUCT, _CHAR, _SPARSE, _OPAQUE = 1, 2, 4, 5, 17  # classes of matrices
_NUMERIC = range(6, 16)
_COMPLEX = 1 << 11  # a flag
Element = tuple[int, memoryview]


def refuse_unsound(path: Path, name: str) -> None:
    """Refuse a file that would take more than its share, or whose variable `name` does not hold what it states.

    Raises:
        ValueError: it is no MATLAB 5 file, or asks for more than the bounds of this module; says which.
    """
    content = read_file(path)
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None or struct.unpack(f"{order}H", content[124:126])[0] >> 8 != 1:
        raise ValueError("its header is another one; save it with -v6 or -v7")
    found, room = 0, MOST
    for kind, data in _elements(memoryview(content)[128:], order, padded=False, whole=False):
        if kind == _COMPRESSED:
            unpacked = _unpacked(data, room)
            room -= len(unpacked)
            kind, data = next(_elements(memoryview(unpacked), order), (0, data))
        if kind == _MATRIX and _head(data, order)[2] == name.encode():
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


def _elements(view: memoryview, order: str, *, padded: bool = True, whole: bool = True) -> Iterator[Element]:
    """Kind and data of each element; `whole`: they fill what they lie in."""
    at = 0
    while len(view) - at >= 8:
        kind, size = struct.unpack_from(f"{order}II", view, at)
        small = kind >> 16  # both numbers in the first word, the data in the second
        if small:
            kind, size = kind & 0xFFFF, small
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        start = at + (4 if small else 8)
        at = at + 8 if small else start + size + (-size % 8 if padded else 0)
        if whole and at > len(view):
            raise ValueError("an element that ends after what it lies in")
        yield kind, view[start : start + size]
    if whole and at != len(view):
        raise ValueError("bytes that belong to no element")


def _part(parts: Iterator[Element], kinds: frozenset[int], what: str) -> memoryview:
    kind, data = next(parts, (0, memoryview(b"")))
    if kind not in kinds:
        raise ValueError(f"an element of kind {kind} where a matrix has its {what}")
    return data


def _head(data: memoryview, order: str) -> tuple[int, tuple[int, ...], bytes, Iterator[Element]]:
    """Flags, size and name of a matrix, and its other parts. scipy reads these three of all variables in a file."""
    if len(data) < 16 or struct.unpack_from(f"{order}II", data) != (6, 8):
        raise ValueError("a matrix without flags")
    parts = _elements(data, order)
    flags = struct.unpack_from(f"{order}I", next(parts)[1])[0]
    if flags & 0xFF == _OPAQUE:
        return flags, (), b"", parts
    sizes = _part(parts, _INTEGERS, "size")
    if len(sizes) < 8 or len(sizes) % 4:
        raise ValueError("a matrix without a size")
    if len(sizes) > 4 * MOST_DIMENSIONS:  # scipy takes no more; the product of a million would take minutes
        raise ValueError(f"a matrix of {len(sizes) // 4:,} dimensions: at most {MOST_DIMENSIONS} expected")
    name = bytes(_part(parts, _LETTERS, "name"))
    return flags, struct.unpack_from(f"{order}{len(sizes) // 4}i", sizes), name, parts


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
        flags, sizes, _, parts = _head(data, self.order)
        kind, planes = flags & 0xFF, 2 if flags & _COMPLEX else 1
        if kind == _OPAQUE:
            raise ValueError("an object, which holds no numbers")
        if min(sizes) < 0 or (kind != _SPARSE and math.prod(sizes) > len(data)):
            raise ValueError(f"a matrix of size {sizes!s:.60} in {len(data):,} bytes")
        if kind in (_CELL, _STRUCT):
            fields = self._fields(parts) if kind == _STRUCT else 1
            if 8 * math.prod(sizes) * fields > len(data):
                raise ValueError(f"{fields} fields of size {sizes!s:.60} in {len(data):,} bytes")
            for _ in range(math.prod(sizes) * fields):
                self.matrix(_part(parts, frozenset((_MATRIX,)), "cell"), depth + 1)
        elif kind == _CHAR:
            _part(parts, _TEXT, "text")
        elif kind in (*_NUMERIC, _SPARSE):
            for _ in range(planes if kind in _NUMERIC else 2 + planes):
                _part(parts, _NUMBERS, "numbers")
        else:
            raise ValueError(f"a matrix of class {kind}, which holds no numbers")
        if next(parts, None) is not None:
            raise ValueError("a matrix that goes on after its end")

    def _fields(self, parts: Iterator[Element]) -> int:
        """How many fields a struct has: all of their names lie in one element, each as long as another one says."""
        length = _part(parts, _INTEGERS, "length of names")
        names = _part(parts, _LETTERS, "names")
        each = struct.unpack_from(f"{self.order}i", length)[0] if len(length) >= 4 else 0
        if each < 1:
            raise ValueError("a struct whose fields have no names")
        return len(names) // each
