"""Files of state dicts: what is read, and one clear line about whatever else is in the way."""

from __future__ import annotations

import argparse
import io
import random
import re
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hostile import makers

from spinn.errors import InputError
from verify.checkpoints import audit_files
from verify.state_files import as_state, read_state

STATE = {"0.weight": torch.arange(1.0, 13.0).reshape(3, 4), "0.bias": torch.ones(3)}
FLIPS = 150  # damaged copies of each kind of file


def saved(folder: Path, content: Any, name: str = "a.pt", **how: Any) -> Path:
    """A file of torch.save."""
    torch.save(content, folder / name, **how)
    return folder / name


@pytest.mark.parametrize("name", ["model", "net", "whatever it is called"])
def test_the_one_state_dict_of_a_training_checkpoint_is_found(tmp_path: Path, name: str) -> None:
    """By whatever name, beside an optimizer, a count of epochs and a best loss."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    content = {name: STATE, "optimizer": optimizer.state_dict(), "epoch": 3, "best": torch.tensor(0.5)}
    assert list(read_state(saved(tmp_path, content)).tensors) == ["0.weight", "0.bias"]


@pytest.mark.parametrize(
    "content",
    [
        {"model": STATE, "rng_state": torch.get_rng_state()},
        {"losses": torch.rand(10), "model": STATE, "epoch": 1},
        {"trainer": {"model": STATE, "step": 3}, "rng_state": torch.get_rng_state()},
        {"trainer": {"state_dict": STATE}, "config": {"widths": {"first": 4}}},
        {**STATE, "_extra_state": {"scale": torch.ones(2)}, "0._extra_state": {"scale": torch.ones(2)}},
        {**STATE, "meta": {"made": {"by": torch.ones(2)}}},
        {"model": STATE, "rng": {"torch": torch.get_rng_state()}},
        {"stats": {"mean": torch.zeros(4), "std": torch.ones(4)}, "net": STATE},
        {"rng": {"torch": torch.get_rng_state()}, "trainer": {"model": STATE, "rng": {"torch": torch.get_rng_state()}}},
        {**STATE, "rng": {"torch": torch.get_rng_state()}},
    ],
)
def test_what_stands_beside_the_state_dict_is_none(tmp_path: Path, content: Any) -> None:
    """Losses, means of inputs, the state of a generator, extra state of modules, a trainer around it all."""
    assert list(read_state(saved(tmp_path, content)).tensors) == ["0.weight", "0.bias"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": STATE, "sample": torch.ones(2, 2)}, "it holds a state dict (model) and matrices beside it"),
        ({"a": {"model": STATE}, "b": {"model": STATE}}, "it holds 2 state dicts (a.model, b.model)"),
        ({**STATE, "ema": STATE}, "it holds a state dict (ema) and matrices beside it"),
        ({"a": {"w": torch.ones(2)}, "b": {"w": torch.ones(2)}}, "it holds 2 state dicts (a, b)"),
        ({"a": {"model": STATE, "ema": STATE}}, "it holds 2 state dicts (a.model, a.ema)"),
    ],
)
def test_a_choice_of_state_dicts_is_not_made(tmp_path: Path, content: Any, words: str) -> None:
    """Whoever saved them knows which it is."""
    path = saved(tmp_path, content)
    with pytest.raises(InputError, match=f"^{re.escape(f'{path}: {words}; save the one to judge')}$"):
        read_state(path)


def test_the_state_of_an_optimizer_is_no_network(tmp_path: Path) -> None:
    """It has matrices too, under numbers."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    for content in (optimizer.state_dict(), {"optimizer": optimizer.state_dict()}):
        with pytest.raises(InputError, match=r"expected a tensor; pass model\.state_dict\(\)$"):
            read_state(saved(tmp_path, content))


def test_two_state_dicts_are_one_too_many(tmp_path: Path) -> None:
    """Unless one of them has the usual name."""
    path = saved(tmp_path, {"model": STATE, "ema": STATE})
    with pytest.raises(
        InputError, match=re.escape(f"{path}: it holds 2 state dicts (model, ema); save the one to judge")
    ):
        read_state(path)
    for usual in ("state_dict", "model_state_dict"):
        assert list(read_state(saved(tmp_path, {"model": STATE, usual: {"w": torch.ones(2, 2)}})).tensors) == ["w"]


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    """By whatever name; there is such a path."""
    path = tmp_path / "dir.pt"
    path.mkdir()
    message = f"{path}: a folder; expected a file, a state dict that torch.save or safetensors wrote"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read_state(path)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_archive_is_said_to_be_one(tmp_path: Path) -> None:
    """With what to save instead."""
    path = tmp_path / "a.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), path)
    message = f"{path}: a TorchScript archive; save module.state_dict() with torch.save"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read_state(path)


def test_a_refused_pickle_names_what_it_asks_for(tmp_path: Path) -> None:
    """So that one knows what to leave out."""
    for content, asked in (
        ({"state_dict": STATE, "args": argparse.Namespace(a=1)}, "argparse.Namespace"),
        (torch.nn.Sequential(torch.nn.Linear(2, 2)), "torch.nn.modules.container.Sequential"),
    ):
        path = saved(tmp_path, content)
        message = f"{path}: it holds more than tensors, and was not loaded (it asks for {asked}); save state_dict()"
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            read_state(path)


@pytest.mark.parametrize("text", ["hello", "1,2\n3,4\n", "f = 3 \u2013 é", "é" * 400])
def test_a_text_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    """Not by the byte at which the unpickler gave up."""
    path = tmp_path / "a.pt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError, match=r"a\.pt: a text file, not one of torch\.save; save model\.state_dict\(\) with"
    ):
        read_state(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a file of torch.save; it is damaged or of another kind"),
        (b"\x80\x02\xff\xfe", "not a file of torch.save; it is damaged or of another kind"),
        (b"\0\1\2", "not a file of torch.save; it is damaged or of another kind"),
    ],
)
def test_other_files_are_said_not_to_be_of_torch(tmp_path: Path, content: bytes, words: str) -> None:
    """In one line, without numbers that mean nothing."""
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{re.escape(f'{path}: {words}')}$"):
        read_state(path)


@pytest.mark.parametrize("content", [[STATE], torch.ones(3, 3), {}, {"a": 1}, {"a": {"b": 1}}])
def test_content_without_a_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    """A list, a tensor, nothing."""
    with pytest.raises(InputError, match=r"expected a state dict|no tensors in it|expected a tensor"):
        read_state(saved(tmp_path, content))


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """Some bytes of it changed, most of them near the start, and at times its end cut off."""
    made = bytearray(whole)
    for _ in range(draw.choice([1, 1, 3, 10])):
        made[draw.randrange(min(len(made), draw.choice([200, len(made)])))] = draw.randrange(256)
    return bytes(made[: draw.randrange(len(made))] if draw.random() < 0.2 else made)


@pytest.mark.parametrize("kind", ["zip", "legacy", "float32", "bfloat16"])
def test_damaged_files_are_refused_in_one_line_or_read(tmp_path: Path, kind: str) -> None:
    """Whatever torch.load and safetensors raise of them: there is no traceback, and a verdict only of what was read."""
    path = tmp_path / ("a.pt" if kind in ("zip", "legacy") else "a.safetensors")
    if path.suffix == ".pt":
        saved(tmp_path, STATE, _use_new_zipfile_serialization=kind == "zip")
    else:
        safetensors.torch.save_file({key: value.to(getattr(torch, kind)) for key, value in STATE.items()}, path)
    whole, draw = path.read_bytes(), random.Random(kind)
    refused = 0
    for _ in range(FLIPS):
        path.write_bytes(damaged(whole, draw))
        try:
            audit_files([path, path])
        except InputError as error:
            refused += 1
            assert str(error).startswith(str(path))  # noqa: PT017 - most, not all, of the files raise
            assert "\n" not in str(error)  # noqa: PT017
    assert refused > FLIPS / 10


def test_precisions_without_a_counterpart_in_numpy_are_widened() -> None:
    """Which changes no value."""
    tensors = {str(kind): torch.tensor([[0.5, -2.0]]).to(kind) for kind in (torch.float16, torch.bfloat16)}
    state = as_state({**tensors, "f8": torch.ones(2).to(torch.float8_e4m3fn), "n": np.ones(2, np.float16)}, "x")
    assert {str(array.dtype) for array in state.tensors.values()} == {"float32"}
    assert state.tensors["torch.bfloat16"].tolist() == [[0.5, -2.0]]


def test_a_small_file_of_a_vast_tensor_is_refused(tmp_path: Path) -> None:
    """Four bytes, expanded to 400 GB; up to a bound such tensors are read, and so is what has a storage of its own."""
    one = torch.ones(1)
    path = saved(tmp_path, {"0.weight": one.expand(10**5, 10**6)})
    message = (
        f"{path}, '0.weight': shape (100000, 1000000) repeats a storage of 4 bytes, to more than 268,435,456; save "
        "what is not expanded"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read_state(path)
    with pytest.raises(InputError, match="repeats a storage of 2 bytes"):
        as_state({"w": one.half().expand(2**14, 2**13 + 1)}, "x")
    assert as_state({"w": one.expand(2**13, 2**13)}, "x").tensors["w"].shape == (2**13, 2**13)
    assert as_state({"w": torch.empty(2**13, 2**13 + 1)}, "x").tensors["w"].shape == (2**13, 2**13 + 1)


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_a_sparse_tensor_is_what_it_would_be_when_dense(tmp_path: Path, layout: torch.layout) -> None:
    """One number at a corner of 1.6 GB is refused before any of that is made; so is a file of many smaller ones."""
    corner = torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.ones(1), (20_000, 20_000), check_invariants=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the layout a beta
        tensor = corner if layout == torch.sparse_coo else corner.to_sparse_csr()
    path = saved(tmp_path, {"0.weight": tensor})
    message = (
        f"{path}, '0.weight': shape (20000, 20000) is sparse, and dense would take the file to more than 268,435,456 "
        "bytes; save it dense"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read_state(path)
    part = torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.ones(1), (2**13, 2**12), check_invariants=True)
    assert list(as_state({"a": part, "b": part.to_dense()}, "x").tensors) == ["a", "b"]
    with pytest.raises(InputError, match=r"'c': shape .* is sparse"):
        as_state(dict.fromkeys("abc", part), "x")


def test_tensors_in_one_storage_are_aliases() -> None:
    """Of the same shape at the same place; empty ones, parts, and arrays of numpy are not."""
    weight, array = torch.arange(6.0).reshape(2, 3), np.ones(2)
    tensors = {"a": weight, "b": weight.detach(), "c": weight, "t": weight.T, "p": weight[:1], "q": weight.clone()}
    tensors |= {"e": torch.zeros(0), "f": torch.zeros(0), "s": weight.to_sparse(), "u": weight.to_sparse()}
    state = as_state({**tensors, "m": array, "n": array}, "x")
    assert state.aliases == {"b": "a", "c": "a"}
    assert list(state.tensors) == [*tensors, "m", "n"]
    assert state.tensors["s"].tolist() == weight.tolist()


def test_a_tensor_of_a_kind_without_numbers_is_refused_by_name() -> None:
    """Nested ones, say."""
    with pytest.warns(UserWarning, match="nested tensors"):
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    with pytest.raises(InputError, match=r"^x, 'n': it cannot be read as numbers \(.*\); save it as a plain tensor$"):
        as_state({"n": nested}, "x")


def test_entries_that_are_no_tensors_are_left_out_if_the_rest_are() -> None:
    """And are named; if nothing is left, the first of them is."""
    state = as_state({"w": np.ones((2, 2)), 3: "text", "_extra_state": {}}, "x")  # type: ignore[arg-type]
    assert (list(state.tensors), state.skipped) == (["w"], ("3", "_extra_state"))
    with pytest.raises(InputError, match=r"^x, '3' = str: expected a tensor; pass model\.state_dict\(\)$"):
        as_state({3: "text", "_extra_state": {}}, "x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^x: no tensors in it; pass model\.state_dict\(\)$"):
        as_state({}, "x")


def test_a_mask_of_somebody_elses_layer_is_not_this_projects_layout(tmp_path: Path) -> None:
    """Which has its widths beside it."""
    path = tmp_path / "a.safetensors"
    tensors = {"layers.0.weight": np.ones((2, 2), np.float32), "layers.0.weight.mask": np.ones((2, 2), np.float32)}
    safetensors.numpy.save_file(tensors, path)
    state = read_state(path)
    assert (set(state.tensors), state.applied) == (set(tensors), False)
    safetensors.numpy.save_file(tensors, path, metadata={"layers": "[2, 2]"})
    with pytest.raises(InputError, match=r"a checkpoint of this project that is damaged \(.*\); roll back a stage"):
        read_state(path)


@pytest.mark.parametrize(
    ("widths", "words"),
    [
        ("[" * 100_000, "layers are nested too deeply"),
        ("[10000, 10000]", "a mask of 2 bytes for weights of shape (10000, 10000)"),
        ("[10000, 10000, 1]", "layers = [10000, 10000, 1]: at most 100,000,000 weights expected"),
        (f"[{10**400}, 2]", "0: at most 100,000,000 weights expected"),
        ("[2, 8, 3]", "layers.0.weight.values"),
        ("[1e9, 1e9]", "layers = [1e9, 1e9]: expected a list of widths"),
        ("[-4, -4]", "layers = [-4, -4]: expected a list of widths"),
        ("[true, 2]", "layers = [true, 2]: expected a list of widths"),
        ("{}", "layers = {}: expected a list of widths"),
        ("3", "layers = 3: expected a list of widths"),
    ],
)
def test_widths_that_the_masks_do_not_have_are_refused(tmp_path: Path, widths: str, words: str) -> None:
    """In one line, before anything of the size that they claim is made."""
    path = tmp_path / "a.safetensors"
    mask = {"layers.0.weight.mask": np.ones(2, np.uint8)}
    safetensors.numpy.save_file(mask, path, metadata={"layers": widths})
    with pytest.raises(InputError, match=rf"that is damaged \(.*{re.escape(words)}.*\); roll back a stage$"):
        read_state(path)


def test_many_tensors_on_one_storage_are_not_more_than_it_holds(tmp_path: Path) -> None:
    """Of a megabyte a pickle can make as many tensors as it likes, each at another place; tied ones count once."""
    path, numbers = tmp_path / "a.pt", torch.zeros(1 << 18)
    torch.save({f"{at}": numbers[at:] for at in range(600)}, path)
    message = (
        "is one of many tensors on a storage of 1048576 bytes, together more than 268,435,456; save each tensor as a "
        "copy (.clone())"
    )
    with pytest.raises(InputError, match=rf"^{path}, '\d+': shape \(\d+,\) {re.escape(message)}$"):
        read_state(path)
    torch.save({f"{at}": numbers for at in range(600)}, path)
    assert len(read_state(path).aliases) == 599
    halves = numbers.bfloat16()
    state = as_state({f"{at}": halves for at in range(600)} | {"turned": halves.view(512, 512).T}, "a")
    assert len({array.ctypes.data for array in state.tensors.values()}) == 2, "tied halves are widened once"


def quantised(numbers: torch.Tensor, scale: float) -> torch.Tensor:
    """Numbers of one byte, read with a scale."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates them
        made = torch.quantize_per_tensor(torch.zeros(numbers.shape), scale, 0, torch.qint8)
        return made.set_(numbers.untyped_storage(), 0, numbers.shape, numbers.stride())  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("one", "wide"),
    [
        (torch.ones(1).bfloat16(), 4),
        (torch.ones(1).to(torch.float8_e4m3fn), 4),
        (quantised(torch.ones(1, dtype=torch.int8), 0.5), 4),
        (torch.view_as_complex(torch.ones(1, 2).half()), 8),
        (torch.ones(1).to(torch.complex64), 8),
        (torch.ones(1).to(torch.int8), 1),
    ],
    ids=["bfloat16", "float8", "quantised", "complex half", "complex", "byte"],
)
def test_what_is_expanded_counts_as_wide_as_it_is_read(
    monkeypatch: pytest.MonkeyPatch, one: torch.Tensor, wide: int
) -> None:
    """A number of one byte is one of four once it is read, and two of two bytes are one of eight."""
    monkeypatch.setattr("verify.state_files._MOST_EXPANDED", 400 * wide)
    assert as_state({"a": one.expand(401)}, "a").tensors["a"].nbytes == 401 * wide
    with pytest.raises(InputError, match="repeats a storage"):
        as_state({"a": one.expand(402)}, "a")


def test_tied_by_place_and_not_by_value_are_two() -> None:
    """A conjugate, a negative, and quantised tensors of two scales, lie where others do and say something else."""
    numbers, bytes_ = torch.tensor([1 + 2j, 3 - 1j]), torch.tensor([1, 2], dtype=torch.int8)
    pairs = {
        "conjugate": (numbers, numbers.conj()),
        "negative": (numbers.imag, numbers.conj().imag),
        "scaled": (quantised(bytes_, 0.125), quantised(bytes_, 0.5)),
    }
    for name, (one, other) in pairs.items():
        assert one.data_ptr() == other.data_ptr(), name
        state = as_state({"a": one, "b": other}, "a")
        assert state.aliases == {}, name
        assert state.tensors["a"].tolist() != state.tensors["b"].tolist(), name
    assert (as_state({"a": pairs["scaled"][1]}, "a").tensors["a"] == [0.5, 1]).all()


def test_a_clock_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive has no dates before 1980 and none of the next century."""
    torch.save({"0.weight": torch.ones(2, 2)}, tmp_path / "a.pt")
    for now in (0.0, 4.5e9):
        monkeypatch.setattr("time.time", lambda now=now: now)
        assert list(read_state(tmp_path / "a.pt").tensors) == ["0.weight"]


def test_a_large_network_of_halves_or_bytes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands once in the file is not beyond it, however wide it is read."""
    monkeypatch.setattr("verify.state_files._MOST_EXPANDED", 100)
    tensors = {str(kind): torch.ones(90, 90).to(kind) for kind in (torch.bfloat16, torch.bool, torch.int8)}
    torch.save(tensors, tmp_path / "a.pt")
    assert list(read_state(tmp_path / "a.pt").tensors) == list(tensors)


def test_torch_reads_the_archive_that_was_looked_at(tmp_path: Path) -> None:
    """A directory elsewhere, which torch would follow and Python does not, is not in what torch is given."""
    path, other, plain = tmp_path / "a.pt", io.BytesIO(), io.BytesIO()
    torch.save({"other.weight": torch.zeros(9, 9)}, other)
    torch.save({"0.weight": torch.ones(2, 2)}, plain)
    content = other.getvalue() + plain.getvalue()
    with zipfile.ZipFile(io.BytesIO(content)) as seen:  # what stands before an archive is passed over
        assert max(member.file_size for member in seen.infolist()) < 9 * 9 * 4
    path.write_bytes(content)
    assert list(read_state(path).tensors) == ["0.weight"]


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    """As torch.save writes it where it is asked to save time; torch looks at none."""
    try:
        torch.serialization.set_crc32_options(False)
        torch.save(STATE, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is not None
    assert read_state(tmp_path / "a.pt").tensors["0.weight"].tolist() == STATE["0.weight"].tolist()


def test_an_archive_with_two_roots_is_refused(tmp_path: Path) -> None:
    """What is looked at in one would be read in the other."""
    path, members = tmp_path / "a.pt", {}
    for root, tensor in (("a", torch.ones(2, 2)), ("b", torch.zeros(2, 2))):
        content = io.BytesIO()
        torch.save({"0.weight": tensor}, content)
        with zipfile.ZipFile(content) as archive:
            members |= {f"{root}/{name.partition('/')[2]}": archive.read(name) for name in archive.namelist()}
    path.write_bytes(makers.archive(members, zipfile.ZIP_STORED))
    with pytest.raises(InputError, match=r"a\.pt: two parts of it have one name, which torch\.save does not do; save"):
        read_state(path)


def test_a_file_is_held_in_memory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of it is let go when it is packed anew, and all of it before a tensor is widened; torch has its own."""
    path, held = tmp_path / "a.pt", []
    torch.save({f"{number}": torch.ones(128, 128) for number in range(64)}, path)
    monkeypatch.setattr("verify.state_files.as_state", lambda *_: held.append(tracemalloc.get_traced_memory()))
    read_state(path)  # loads torch
    tracemalloc.start()
    read_state(path)
    tracemalloc.stop()
    now, peak = held[-1]
    assert (now < path.stat().st_size / 8, peak < path.stat().st_size * 3 / 2) == (True, True)


def test_names_are_kept_as_they_are(tmp_path: Path) -> None:
    """Spelled, two of them would be one, and a weight would not be looked at; the command spells what it prints."""
    tensors = {"x\n": torch.ones(2, 2), r"x\n": torch.zeros(2, 2), "x": torch.ones(3, 3)}
    for path in (tmp_path / "a.pt", tmp_path / "a.safetensors"):
        torch.save(tensors, path) if path.suffix == ".pt" else safetensors.torch.save_file(tensors, path)
        read = read_state(path).tensors
        assert {name: array.tolist() for name, array in read.items()} == {
            name: tensor.tolist() for name, tensor in tensors.items()
        }


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    """A number and a text that reads the same; whichever of the two it was, the other would not be looked at."""
    path = saved(tmp_path, {"0.weight": torch.ones(2, 2), 1: torch.ones(2, 2), "1": torch.zeros(2, 2)})
    message = f"{path}: two entries are called '1'; give each a name of its own"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read_state(path)
