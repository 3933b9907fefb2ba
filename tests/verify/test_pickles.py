"""What a pickle may ask torch for: what torch.save writes of state dicts, and no more than the file is long."""

from __future__ import annotations

import io
import struct
import warnings
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import makers

from spinn.errors import InputError
from verify import pickles
from verify.state_files import read_state

WEIGHT = {"0.weight": torch.arange(1.0, 13.0).reshape(3, 4)}
OLDER = {"zip": {}, "older": {"_use_new_zipfile_serialization": False}}
WRAPS = {"zip": makers.in_archive, "older": makers.in_older_form}
FOREIGN = "it holds more than tensors, and was not loaded"


class Own:
    """A class of somebody's own."""


def parametrised() -> torch.Tensor:
    """A parameter with an attribute, which torch.save writes by a function of its own."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    weight.tag = {"a": 1}  # pyright: ignore[reportAttributeAccessIssue]
    return weight


def trained() -> dict[str, Any]:
    """An optimizer and a schedule after a step."""
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    return {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(), "net": layer.state_dict()}


def quantised() -> dict[str, torch.Tensor]:
    """By tensor, by channel, and expanded."""
    ones, zeros = torch.ones(3), torch.zeros(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates them
        whole = torch.quantize_per_tensor(torch.ones(3, 2), 0.1, 0, torch.qint8)
        parts = torch.quantize_per_channel(torch.ones(3, 2), ones, zeros, 0, torch.quint8)
        return {"0": whole, "1": parts, "2": torch.quantize_per_tensor(ones[:1], 1, 0, torch.qint32)}


def compressed() -> dict[str, torch.Tensor]:
    """Sparse in each of the ways that have rows or columns, or blocks of both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the layouts a beta
        eye = torch.eye(4)
        return {
            "csr": eye.to_sparse_csr(),
            "csc": eye.to_sparse_csc(),
            "bsr": eye.to_sparse_bsr((2, 2)),
            "bsc": eye.to_sparse_bsc((2, 2)),
        }


CONTENTS: dict[str, Any] = {
    "state": {**WEIGHT, "0.bias": torch.ones(3)},
    "tied": dict.fromkeys("ab", WEIGHT["0.weight"]),
    "views": {"a": WEIGHT["0.weight"].T[1:], "b": WEIGHT["0.weight"][:, 1:], "c": torch.ones(2).expand(9, 2)},
    "module": torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict(),
    "parameter": {
        "a": torch.nn.Parameter(torch.ones(2, 2)),
        "b": torch.nn.Parameter(torch.ones(2), requires_grad=False),
    },
    "trained": trained(),
    "kinds": {
        str(kind): torch.ones(2, 2).to(kind) for kind in (torch.float64, torch.bfloat16, torch.int16, torch.bool)
    },
    "complex": {"a": torch.ones(2, 2, dtype=torch.complex64).conj(), "b": torch.ones(2) + 0j},
    "negative": {"a": (torch.ones(2, 2) * 1j).conj().imag},
    "sparse": {"a": torch.eye(3).to_sparse(), "b": torch.eye(3).to_sparse()},
    "compressed": compressed(),
    "quantised": quantised(),
    "empty": {"a": torch.ones(2, 0), "b": torch.ones(2, 2), "c": torch.tensor(1.0)},
    "beside": {
        **WEIGHT,
        "_extra_state": {
            "plain": [1, 2.5, None, True, "text", b"bytes\xff", bytearray(b"more"), bytearray(), 10**30, -1, 1j],
            "nested": {"a": {"b": ({"c": [[], ()]},)}},
            "torch": [
                torch.float32,
                torch.qint8,
                torch.quint8,
                torch.uint16,
                torch.Size((2, 3)),
                torch.device("cuda", 1),
                torch.strided,
            ],
            "sets": [{1, "a", None}, Counter("abb"), OrderedDict(a=1), {1, 2.5}],
            1: {0.5: 1, -3: 2, None: 3, 10**14: 4},
            "surrogate": "\ud800",
        },
    },
    "many": {f"{number}": torch.tensor(float(number)) for number in range(300)},
    "list": {**WEIGHT, "_extra_state": {"losses": [number / 7 for number in range(20_000)]}},
}


@pytest.mark.parametrize("form", OLDER)
@pytest.mark.parametrize("name", CONTENTS)
def test_what_state_dicts_hold_is_let_through(tmp_path: Path, name: str, form: str) -> None:
    """In both forms: all that torch.load makes of it can be read."""
    path, content = tmp_path / "a.pt", CONTENTS[name]
    torch.save(content, path, **OLDER[form])
    expected = content["net"] if name == "trained" else content
    tensors = [key for key, value in expected.items() if isinstance(value, torch.Tensor)]
    assert list(read_state(path).tensors) == tensors


def test_tensors_of_kinds_without_a_storage_of_their_own_are_let_through(tmp_path: Path) -> None:
    """Which the older form cannot hold; and one on the device meta is refused as what it is."""
    path = tmp_path / "a.pt"
    kinds = (torch.uint16, torch.float8_e4m3fn)
    torch.save({str(kind): torch.ones(2, 2).to(kind) for kind in kinds}, path)
    assert len(read_state(path).tensors) == 2
    torch.save({"a": torch.ones(2, 2, device="meta")}, path)
    with pytest.raises(InputError, match="it is on the device meta"):
        read_state(path)


def test_a_state_dict_of_python_2_is_let_through(tmp_path: Path) -> None:
    """Short texts of bytes, and a mapping made of pairs."""
    path = tmp_path / "a.pt"
    torch.save({"0.weight": torch.ones(2, 2)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    name = b"}q\x00" + makers.text("0.weight") + b"q\x01"
    start, end = content.index(name), content.index(b"s.\x80\x02]")
    pair = b"ccollections\nOrderedDict\n](U\x080.weight" + content[start + len(name) : end] + b"ta"
    path.write_bytes(content[:start] + pair + b"\x85R" + content[end + 1 :])
    assert list(read_state(path).tensors) == ["0.weight"]


PICKLES = {
    "a key in it is neither a text nor a number": makers.doubled_key(12),
    "it calls builtins.bytearray otherwise than torch.save does": makers.calling("__builtin__.bytearray", 9),
    "it asks for torch.FloatTensor": makers.calling("torch.FloatTensor", 3, 3),
    "it calls torch.FloatStorage otherwise than torch.save does": makers.calling("torch.FloatStorage", 9),
    "it calls torch.storage.UntypedStorage otherwise than torch.save does": makers.calling(
        "torch.storage.UntypedStorage", 9
    ),
    "it asks for torch.Tensor": makers.calling("torch.Tensor", 3, 3),
    "it calls collections.Counter otherwise than torch.save does": makers.calling("collections.Counter", 3),
    "it asks for torch._utils._rebuild_nested_tensor": makers.calling("torch._utils._rebuild_nested_tensor", 3),
    "it has _codecs.encode make more than its": b"\x80\x02]c_codecs\nencode\nq\0"
    + makers.text("x" * 1000)
    + makers.text("latin1")
    + b"\x86q\1Ra"
    + b"h\0h\1Ra" * 99
    + b".",
    "it sets attributes otherwise than torch.save does": b"\x80\x02}}b.",
}


@pytest.mark.parametrize("form", OLDER)
@pytest.mark.parametrize("words", PICKLES)
def test_what_no_state_dict_needs_is_refused(tmp_path: Path, words: str, form: str) -> None:
    """Before torch makes any of it: sizes that no numbers are there for, keys that take long to hash."""
    path = tmp_path / "a.pt"
    path.write_bytes(WRAPS[form](PICKLES[words]))
    with pytest.raises(InputError, match=rf"^{path}: {FOREIGN} \({words.replace('.', '[.]')}[^()]*\); save state_dict"):
        read_state(path)


KEYS = {"a tuple": (1, "a"), "a vast number": 2**63, "bytes": b"a", "a complex number": 1j}


@pytest.mark.parametrize("form", OLDER)
@pytest.mark.parametrize("kind", KEYS)
def test_keys_whose_hashes_a_stranger_can_choose_are_refused(tmp_path: Path, kind: str, form: str) -> None:
    """A text is no such key: its hash is seeded."""
    path = tmp_path / "a.pt"
    for beside in ({KEYS[kind]: 1}, {KEYS[kind]}, OrderedDict({KEYS[kind]: 1}), Counter([KEYS[kind]])):
        torch.save({**WEIGHT, "_extra_state": beside}, path, **OLDER[form])
        with pytest.raises(InputError, match=rf"{FOREIGN} \(a key in it is neither a text nor a number\)"):
            read_state(path)


def test_what_no_state_dict_has_is_refused_by_name(tmp_path: Path) -> None:
    """Attributes of a tensor, numbers of half a byte, and classes, also such as somebody lets torch load."""
    path = tmp_path / "a.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates them
        half = torch.quantize_per_channel(torch.ones(3, 2), torch.ones(3), torch.zeros(3), 0, torch.quint4x2)
    contents: dict[str, Any] = {
        r"torch\._utils\._rebuild_parameter_with_state": parametrised(),
        r"torch\.QUInt4x2Storage": half,
        r"torch\._tensor\._rebuild_from_type_v2": torch.nn.Buffer(torch.ones(2)),
        rf"{__name__}\.Own": Own(),
    }
    for name, content in contents.items():
        torch.save({**WEIGHT, "beside": content}, path)
        with (
            torch.serialization.safe_globals([Own]),
            pytest.raises(InputError, match=rf"{FOREIGN} \(it asks for {name}"),
        ):
            read_state(path)


def refused(path: Path, content: bytes, function: str) -> None:
    """A file that is refused, since it calls this function of torch in a way of its own."""
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"it calls torch\._utils\.{function} otherwise than torch\.save does"):
        read_state(path)


@pytest.mark.parametrize("form", OLDER)
@pytest.mark.parametrize("kind", [makers.LISTS, makers.TUPLES], ids=["lists", "tuples"])
def test_lists_in_place_of_tensors_are_refused(tmp_path: Path, kind: tuple[bytes, bytes], form: str) -> None:
    """Torch would make a tensor of lists within lists, of as many numbers as they are named in each other."""
    path, wrap = tmp_path / "a.pt", WRAPS[form]
    refused(path, wrap(makers.sparse_of(kind, 2, 2)), "_rebuild_sparse_tensor")
    scheme = b"(ctorch\nper_channel_affine\n" + makers.nested(kind, 2, 2) * 2 + b"K\0t\x89}"
    body = makers.on_a_storage("_rebuild_qtensor", scheme, "QUInt8", b"K\2K\2\x86K\2K\1\x86")
    refused(path, wrap(makers.holding(body)), "_rebuild_qtensor")


def test_quantised_numbers_that_are_copied_are_not_more_than_the_file_has(tmp_path: Path) -> None:
    """Torch makes room for all of an expanded tensor before it puts it upon its storage."""
    path, scheme = tmp_path / "a.pt", b"(ctorch\nper_tensor_affine\nG" + bytes(8) + b"K\0t\x89}"
    for many, fits in ((200, True), (60_000, False)):
        shape = b"M" + struct.pack("<H", many) + b"\x85K\0\x85"
        body = makers.on_a_storage("_rebuild_qtensor", scheme, "QInt8", shape)
        path.write_bytes(makers.in_archive(makers.holding(body), bytes(4)))
        if fits:
            assert read_state(path).tensors["a"].shape == (many,)
    with pytest.raises(InputError, match=r"it has torch\._utils\._rebuild_qtensor make more than its \d+ bytes"):
        read_state(path)


@pytest.mark.parametrize("view", [b"N", makers.text("1") + b"K\0K\4\x87"], ids=["whole", "part"])
def test_a_storage_that_is_a_part_of_another_is_damage(tmp_path: Path, view: bytes) -> None:
    """As torch.save had it once; None, which it writes today where such a part would stand, is let through."""
    path = tmp_path / "a.pt"
    body = makers.holding(makers.on_a_storage("_rebuild_tensor_v2", b"\x89}", view=view))
    path.write_bytes(
        makers.in_older_form(body, b"\x80\x02]" + makers.text("0") + b"a." + struct.pack("<q4f", 4, 1, 2, 3, 4))
    )
    if view == b"N":
        assert read_state(path).tensors["a"].tolist() == [1, 2, 3, 4]
        return
    with pytest.raises(InputError, match=r"not a file of torch\.save; it is damaged"):
        read_state(path)


@pytest.mark.parametrize("dimensions", [64, 65])
def test_a_shape_has_as_many_sizes_as_torch_has(dimensions: int) -> None:
    """Each of up to 63 bits: what they make together has to be reckoned."""
    ones, zeros = (b"(" + size * dimensions + b"t" for size in (b"K\1", b"K\0"))
    tensor = makers.holding(makers.on_a_storage("_rebuild_tensor_v2", b"\x89}", shape=ones + zeros))
    shape = makers.holding(b"ctorch\nSize\n" + ones + b"\x85R")
    for content in (tensor, shape):
        if dimensions == 64:
            pickles.walk(io.BytesIO(content), 1, 10**6)
            continue
        with pytest.raises((pickles.UnpicklingError, pickles.RefusedError), match=r"of no shape|it calls torch\.Size"):
            pickles.walk(io.BytesIO(content), 1, 10**6)


@pytest.mark.parametrize("form", OLDER)
def test_what_torch_would_hash_or_print_is_refused(tmp_path: Path, form: str) -> None:
    """A layout, a scheme, a flag: with each part as often as it is named, which may be 2**58 times."""
    path, many = tmp_path / "a.pt", makers.doubled(4)
    refused(path, WRAPS[form](makers.holding(makers.sparse(b"NNN", many))), "_rebuild_sparse_tensor")
    refused(path, WRAPS[form](makers.holding(makers.flagged(many))), "_rebuild_tensor_v2")
    pairs = b"](" + makers.text("conj") + many + b"\x86e\x85R"
    counter = b"ccollections\nCounter\n}" + makers.text("conj") + many + b"s\x85R"
    for flag in (many, b"]", makers.text("a"), b"ccollections\nOrderedDict\n" + pairs, counter):
        shape, ends = (
            b"K\4\x85K\1\x85",
            {
                "_rebuild_tensor": flag,
                "_rebuild_tensor_v2": b"\x89" + flag,
                "_rebuild_tensor_v3": b"\x89" + flag + b"ctorch\nfloat32\n",
                "_rebuild_qtensor": b"(" + flag + b"NNt\x89}",
            },
        )
        for function, end in ends.items():
            refused(path, WRAPS[form](makers.holding(makers.on_a_storage(function, end))), function)
        last = b"(ctorch\nper_tensor_affine\nG" + bytes(8) + b"K\0t\x89" + flag
        body = makers.on_a_storage("_rebuild_qtensor", last, "QInt8")
        refused(path, WRAPS[form](makers.holding(body)), "_rebuild_qtensor")
        meta = b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\n" + shape
        refused(path, WRAPS[form](makers.holding(meta + flag + b"tR")), "_rebuild_meta_tensor_no_storage")
        parameter = b"ctorch._utils\n_rebuild_parameter\n(" + meta + b"\x89tR\x89" + flag + b"tR"
        refused(path, WRAPS[form](makers.holding(parameter)), "_rebuild_parameter")


@pytest.mark.parametrize("version", [makers.doubled(4), b"N", b"]"], ids=["doubled", "none", "list"])
def test_a_version_that_is_no_number_is_damage(tmp_path: Path, version: bytes) -> None:
    """Torch would print it, with each part as often as it is named."""
    path = tmp_path / "a.pt"
    path.write_bytes(makers.in_older_form(b"\x80\x02}.", version=b"\x80\x02" + version + b"."))
    with pytest.raises(InputError, match=r"not a file of torch\.save; it is damaged"):
        read_state(path)


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    """Torch would make the storage as large, in the older form."""
    path = tmp_path / "a.pt"
    path.write_bytes(makers.beyond_its_storage(3))
    message = r"a\.pt: a tensor of shape \(3, 3\) is larger than its storage of 16 bytes; it is damaged"
    with pytest.raises(InputError, match=message):
        read_state(path)


def test_storages_of_more_bytes_than_the_file_are_refused(tmp_path: Path) -> None:
    """Two of them that are not, too, if together they are; and one of no numbers that anybody has."""
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(250), "b": torch.ones(250)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    assert len(read_state(path).tensors) == 2
    path.write_bytes(whole[:-1000])
    with pytest.raises(InputError, match=r"a\.pt: its tensors have 2,000 bytes, and the file has 1,\d+; it is damaged"):
        read_state(path)
    path.write_bytes(whole.replace(b"K\xfaN", makers.number(10**40) + b"N", 1))
    with pytest.raises(InputError, match=r"a\.pt: its tensors have more than 1e18 bytes, and the file has"):
        read_state(path)


def test_numbers_that_are_copied_are_not_more_than_the_file_has(tmp_path: Path) -> None:
    """Of an expanded tensor there are as many as one likes."""
    path = tmp_path / "a.pt"
    torch.save({"a": torch.ones(1).expand(30_000)}, path)
    assert list(read_state(path).tensors) == ["a"]
    tensor = b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\nM\x30\x75\x85M\x01\x00\x85\x89tR"
    path.write_bytes(makers.in_archive(makers.holding(makers.sparse(tensor))))
    with pytest.raises(InputError, match=r"it has torch\._utils\._rebuild_sparse_tensor make more than its \d+ bytes"):
        read_state(path)


def test_opcodes_that_torch_does_not_read_are_damage() -> None:
    """And so is what ends before it is whole."""
    for content in (b"\x80\x02\x8f.", b"\x80\x02}", b"\x80\x02s.", b"\x80\x02h\x05.", b"", b"\x80\x02U\1\xff."):
        with pytest.raises(pickles.UnpicklingError):
            pickles.walk(io.BytesIO(content), 1, 10**6)
    stream = io.BytesIO(b"\x80\x02K\1." * 2 + b"\x80\x02]." + struct.pack("<I", 1))
    pickles.walk(stream, 3, 18)
    assert stream.tell() == 14


def test_names_of_storages_are_texts_that_are_known(tmp_path: Path) -> None:
    """In the older form they come last, and torch hashes them."""
    path = tmp_path / "a.pt"
    path.write_bytes(makers.in_older_form(b"\x80\x02}.", makers.doubled_key(12).replace(b"K\x05s.", b"\x85.")))
    with pytest.raises(InputError, match=r"not a file of torch\.save"):
        read_state(path)
    torch.save(WEIGHT, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    at = content.rindex(b"\x80\x02]")
    end = content.index(b".", at)
    path.write_bytes(content[:at] + b"\x80\x02](" + makers.text("0") + b"K\x01e" + content[end:])
    with pytest.raises(InputError, match=r"not a file of torch\.save"):
        read_state(path)


@pytest.mark.parametrize("step", [0.5, 10**6 + 1], ids=["fractions", "large numbers"])
def test_keys_whose_hashes_are_their_values_are_few(tmp_path: Path, step: float) -> None:
    """As many as an optimizer of PyTorch 1.4 has, whose keys are addresses; each counted as often as it is set."""
    path = tmp_path / "a.pt"
    for count in (pickles.MOST_OTHERS, pickles.MOST_OTHERS + 1):
        torch.save({**WEIGHT, "_extra_state": {(2 * number + 1) * step: 1 for number in range(count)}}, path)
        if count == pickles.MOST_OTHERS:
            assert list(read_state(path).tensors) == ["0.weight"]
    with pytest.raises(InputError, match="more than 5,000 keys in it are fractions, or numbers above 1,000,000"):
        read_state(path)


@pytest.mark.parametrize("name", ["items", "get", "_metadata"])
def test_metadata_is_the_only_attribute(name: str) -> None:
    """Another would stand in the place of a method."""
    content = b"\x80\x02ccollections\nOrderedDict\n)R}" + makers.text(name) + b"}sb."
    if name == "_metadata":
        pickles.walk(io.BytesIO(content), 1, 10**6)
        return
    with pytest.raises(pickles.RefusedError, match=r"it sets attributes otherwise than torch\.save does"):
        pickles.walk(io.BytesIO(content), 1, 10**6)
