"""Bytes of files that lie: MATLAB, safetensors, PyTorch and zip files, of which one part is not what it says.

Each function makes one kind of lie, and says which; nothing here reads anything.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import scipy.io
import torch
from safetensors.numpy import save

from spinn import checkpoint
from spinn.checkpoint import Checkpoint
from spinn.data import nasa

MARKER = "executed"
"""The file that a pickle of `Harm` makes where it is unpickled."""


class Harm:
    """What creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Of a pickle, what is called when it is read."""
        return os.system, (f"touch {MARKER}",)


def running() -> bytes:
    """A pickle that runs a command."""
    return pickle.dumps({"weight": Harm()}, protocol=2)


def object_array() -> bytes:
    """An array of numpy whose content is such a pickle."""
    stream = io.BytesIO()
    np.save(stream, np.array([Harm()], dtype=object), allow_pickle=True)
    return stream.getvalue()


# --- MATLAB ---------------------------------------------------------------------------------------------------------

HEAD = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM"
MATRIX, COMPRESSED = 14, 15


def element(kind: int, data: bytes) -> bytes:
    """A data element, padded."""
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(kind: int, sizes: Sequence[int], name: bytes, *parts: bytes) -> bytes:
    """A matrix of class `kind` that states these sizes, whatever its parts are."""
    flags, dimensions = struct.pack("<II", kind, 0), struct.pack(f"<{len(sizes)}i", *sizes)
    return element(MATRIX, element(6, flags) + element(5, dimensions) + element(1, name) + b"".join(parts))


def vast(kind: int, *parts: bytes) -> bytes:
    """A file of 100 bytes or so whose matrix states 2**30 elements."""
    return HEAD + matrix(kind, (1, 1 << 30), b"mill", *parts)


def cells_within_cells(depth: int = 100_000) -> bytes:
    """A cell in a cell in a cell: who follows them by recursion needs as deep a stack."""
    size, heads = 0, []
    for level in range(depth):
        name = b"mill" if level == depth - 1 else b""
        head = matrix(1, (1, 1), name)[8:]
        size += len(head)
        heads.append(struct.pack("<II", MATRIX, size) + head)
        size += 8
    return HEAD + b"".join(reversed(heads))


@cache
def inflated(mebibytes: int) -> bytes:
    """A compressed matrix of zeros, a thousandth of the size that it has when it is unpacked."""
    size = mebibytes << 20
    body = matrix(6, (1, size // 8), b"mill")[8:] + struct.pack("<II", 9, size)
    pack = zlib.compressobj()
    start = pack.compress(struct.pack("<II", MATRIX, len(body) + size) + body) + pack.flush(zlib.Z_FULL_FLUSH)
    block = pack.compress(bytes(1 << 20)) + pack.flush(zlib.Z_FULL_FLUSH)
    packed = start + block * mebibytes
    return HEAD + struct.pack("<II", COMPRESSED, len(packed)) + packed


def dimensions(count: int = 800_000) -> bytes:
    """A compressed matrix of so many dimensions, each as long as one may say: their product has millions of digits."""
    packed = zlib.compress(matrix(6, [(1 << 31) - 1] * count, b"mill"))
    return HEAD + struct.pack("<II", COMPRESSED, len(packed)) + packed


def mill(compress: bool = False) -> bytes:
    """A struct array as that of mill.mat, of two runs."""
    names = ["case", "run", "VB", "time", "DOC", "feed", "material", *nasa.CHANNELS]
    content = np.zeros((1, 2), dtype=[(name, object) for name in names])
    for index in range(2):
        values = [1.0, index + 1.0, 0.1 * index, 2.0 * index + 1, 1.5, 0.5, 1.0]
        for name, value in zip(names, values, strict=False):
            content[name][0, index] = np.array([[value]])
        for name in nasa.CHANNELS:
            content[name][0, index] = np.linspace(0, 1, 40)[:, None]
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"mill": content}, do_compression=compress)
    return stream.getvalue()


# --- networks -------------------------------------------------------------------------------------------------------


def safetensors(header: Mapping[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with this header, and the length that it states of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: str, shape: Sequence[int], start: int, end: int) -> dict[str, Any]:
    """An entry of such a header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def pruned() -> bytes:
    """A pruned network in this project's own layout."""
    weights = tuple(np.arange(o * i, dtype=np.float32).reshape(o, i) for o, i in ((3, 4), (2, 3)))
    masks = tuple(weight % 2 == 0 for weight in weights)
    kept = tuple(np.where(mask, weight, 0).astype(np.float32) for weight, mask in zip(weights, masks, strict=True))
    return checkpoint.encode(Checkpoint(kept, (np.zeros(3, np.float32), np.zeros(2, np.float32)), masks, {}))


def saved(content: object) -> bytes:
    """What torch.save writes."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@cache
def state_dict() -> bytes:
    """A file of torch.save with a small network."""
    return saved({"0.weight": torch.ones(3, 4), "0.bias": torch.zeros(3)})


def rewritten(good: bytes, content: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip whose members with these endings have other content."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            data = next((data for end, data in content.items() if name.endswith(end)), old.read(name))
            new.writestr(name, data)
    return out.getvalue()


def beyond_its_size() -> bytes:
    """A sparse tensor of three numbers, one of them at place 10**9."""
    far = torch.sparse_coo_tensor(torch.tensor([[10**9]]), torch.ones(1), (3,), check_invariants=False)
    return saved({"0.weight": torch.ones(2, 2), "1.weight": far})


def text(content: str) -> bytes:
    """The opcode of a text."""
    return b"X" + struct.pack("<I", len(content.encode())) + content.encode()


def number(value: int) -> bytes:
    """The opcode of a whole number."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little")
    return b"\x8a" + bytes([len(data)]) + data


def calling(name: str, *arguments: int) -> bytes:
    """A pickle of a state dict of one weight, which is what a call of these numbers returns."""
    module, _, function = name.rpartition(".")
    called = f"c{module}\n{function}\n".encode() + b"(" + b"".join(map(number, arguments)) + b"tR"
    return b"\x80\x02}" + text("0.weight") + called + b"s."


def doubled(times: int = 58) -> bytes:
    """The opcodes of a tuple of twice a tuple of twice a tuple: who hashes or prints it does so for each."""
    steps = [b"h" + bytes([step]) + b"\x86q" + bytes([step + 1]) for step in range(times)]
    return b"K\x01\x85q\x00" + b"".join(steps)


def doubled_key(times: int = 58) -> bytes:
    """A pickle of a dict whose key is such a tuple."""
    return b"\x80\x02}" + doubled(times) + b"K\x05s."


LISTS, TUPLES = (b"](", b"e"), (b"(", b"t")


def nested(kind: tuple[bytes, bytes], width: int, depth: int) -> bytes:
    """The opcodes of lists within lists, `depth` deep, each of `width` times the same: of width ** depth numbers."""
    (start, end), whole = kind, b"G" + bytes(8)
    for place in range(depth):
        whole = start + whole + b"q" + bytes([place]) + (b"h" + bytes([place])) * (width - 1) + end
    return whole


def holding(body: bytes) -> bytes:
    """A pickle of a state dict of what these opcodes make."""
    return b"\x80\x02}" + text("a") + body + b"s."


LAYOUT = b"ctorch.serialization\n_get_layout\n" + text("torch.sparse_coo") + b"\x85R"


def sparse(parts: bytes, layout: bytes = LAYOUT) -> bytes:
    """The opcodes of a sparse tensor of these parts."""
    return b"ctorch._utils\n_rebuild_sparse_tensor\n" + layout + b"(" + parts + b"t\x86R"


def sparse_of(kind: tuple[bytes, bytes], width: int = 1000, depth: int = 3) -> bytes:
    """A pickle of a sparse tensor whose places and values are lists of lists: 12,000 bytes that ask for gigabytes."""
    return holding(sparse(nested(kind, width, depth) * 2 + b"K\x01\x85N"))


def on_a_storage(
    function: str, more: bytes, kind: str = "Float", shape: bytes = b"K\4\x85K\1\x85", view: bytes = b""
) -> bytes:
    """The opcodes of a tensor upon a storage of four numbers, which `function` makes of it and of what comes after."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text("0") + text("cpu") + b"K\4"
    return f"ctorch._utils\n{function}\n(".encode() + storage + view + b"tQK\0" + shape + more + b"tR"


def flagged(value: bytes) -> bytes:
    """The opcodes of such a tensor with a flag of this value."""
    return on_a_storage("_rebuild_tensor_v2", b"\x89}}" + text("conj") + value + b"s")


def in_archive(content: bytes, numbers: bytes = b"") -> bytes:
    """A file of torch.save of this pickle, and of a storage of these numbers."""
    members = {"archive/data.pkl": content, "archive/version": b"3\n", "archive/data/0": numbers}
    return archive(members, zipfile.ZIP_STORED)


def in_older_form(content: bytes, storages: bytes = b"\x80\x02].", version: bytes = b"\x80\x02M\xe9\x03.") -> bytes:
    """The same in the form that torch.save had before 1.6: pickles one after another."""
    magic, machine = (pickle.dumps(one, protocol=2) for one in (0x1950A86A20F9469CFC6C, {"little_endian": True}))
    return magic + version + machine + content + storages


def beyond_its_storage(width: int = 1 << 15) -> bytes:
    """A file in the older form of a square tensor upon a storage of four numbers, which torch makes as large."""
    out = io.BytesIO()
    torch.save({"0.weight": torch.ones(2, 2)}, out, _use_new_zipfile_serialization=False)
    size = b"J" + struct.pack("<i", width)
    return out.getvalue().replace(b"K\x02K\x02\x86", size + size + b"\x86", 1)


def vast_mask(width: int = 40_000) -> bytes:
    """A network in this project's own layout, of nothing but zeros: a bit for each weight, and no weight."""
    tensors = {
        "layers.0.weight.mask": np.zeros(width * width // 8, np.uint8),
        "layers.0.weight.values": np.zeros(0, np.float32),
        "layers.0.bias": np.zeros(width, np.float32),
    }
    return save(tensors, metadata={"layers": json.dumps([width, width])})


def inflated_state() -> bytes:
    """A state_dict of 256 MiB of zeros, deflated to a thousandth."""
    count = 1 << 26
    size = b"J" + struct.pack("<i", count)
    with zipfile.ZipFile(io.BytesIO(saved({"a": torch.ones(12)}))) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        text = archive.read(name).replace(b"K\x0c", size)
    return rewritten(saved({"a": torch.ones(12)}), {"data.pkl": text, "data/0": bytes(4 * count)}, zipfile.ZIP_DEFLATED)


# --- archives -------------------------------------------------------------------------------------------------------


def archive(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED, link: str = "") -> bytes:
    """A zip of these members; the one called `link` is a symbolic link to what it holds."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as made:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = compression
            entry.external_attr = (0o120777 if name == link else 0o100644) << 16
            made.writestr(entry, data)
    return out.getvalue()


def mill_archive() -> bytes:
    """A zip within a zip, as the milling set comes."""
    return archive({"mill.zip": archive({"mill.mat": b"MATLAB" * 20})}, zipfile.ZIP_STORED)
