"""Reading regular files alone, writing whole or not at all, and sha256 of files and values. Standard library only.

A file may be kept compressed, under its name and `.xz`: its content, and so its digest, is what it
decompresses to.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import stat
import tempfile
from pathlib import Path

PACKED = ".xz"
HALF_WRITTEN = ".spinn-part"
"""How the name of a file ends, that begins with a dot, until it is whole; of one that was killed it stays."""
MOST = 32 << 20
"""Bytes that a compressed file may hold: a hundred bytes of it can ask for all the memory there is. What is made
of them takes some fifty times as much."""
_MEMORY = 128 << 20  # for decompressing, whatever the file asks for; xz -9 needs 65 MiB
_SPECIAL = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


def refuse_special(path: Path) -> None:
    """Refuse what only looks like a file in a folder, before it is opened: a named pipe waits for a writer for ever.

    Links are followed. What is not there, or is a folder, is left to whoever opens it: that has a message of its own.

    Raises:
        ValueError: a named pipe, a socket or a device; says which.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"{_SPECIAL.get(kind, 'a device')} in place of a file")


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: it is not there, is a folder, or cannot be read.
        ValueError: as `refuse_special`.
    """
    refuse_special(path)
    return path.read_bytes()


def canonical_json(value: object) -> str:
    """One spelling for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: object) -> str:
    """sha256 of `value` in its canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def packed(path: Path) -> Path:
    """Where the file at `path` is kept if it is kept compressed."""
    return path.with_name(path.name + PACKED)


def is_stored(path: Path) -> bool:
    """Whether there is such a file, as it is or compressed."""
    return path.is_file() or packed(path).is_file()


def read_stored(path: Path) -> bytes:
    """The content of the file at `path`, decompressed where only its compressed form is there.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: the compressed form is not what a compressor wrote, or holds more than `MOST`; or what is there is
            no file (`refuse_special`).
    """
    if path.is_file() or not packed(path).is_file():
        return read_file(path)
    unpack = lzma.LZMADecompressor(memlimit=_MEMORY)
    try:
        content = unpack.decompress(packed(path).read_bytes(), max_length=MOST + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"{packed(path).name}: not an xz file ({error})") from None
    if len(content) > MOST:
        raise ValueError(
            f"{packed(path).name}: more than {MOST >> 20} MiB when decompressed: no table of a run is as long"
        )
    if not unpack.eof or unpack.unused_data:
        raise ValueError(
            f"{packed(path).name}: not an xz file (it {'goes on after' if unpack.eof else 'ends before'} its end)"
        )
    return content


def digest_file(path: Path) -> str:
    """sha256 of the content of the file at `path`; of its bytes where a compressed one cannot be read."""
    if not path.is_file() and packed(path).is_file():
        try:
            return hashlib.sha256(read_stored(path)).hexdigest()
        except ValueError:
            path = packed(path)
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` so that a reader, or a crash, finds the old file or the new one, never a part.

    Raises:
        OSError: the disk is full or read-only, and names a file; the old file, if any, is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=HALF_WRITTEN)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a write knows only the descriptor
            error.filename = str(path)
        raise
