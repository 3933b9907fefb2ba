"""A checkpoint comes back bit for bit, a damaged one is refused or changes its digest, and nothing is hidden in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spinn import checkpoint
from spinn.checkpoint import Checkpoint
from spinn.errors import RecordError
from spinn.storage import digest_file

LAYERS = (3, 5, 4, 2)


def sample(*, sparse: bool = True, seed: int = 0, layers: tuple[int, ...] = LAYERS) -> Checkpoint:
    """A network with random weights, half of them pruned (and zero) if `sparse`."""
    random = np.random.default_rng(seed)
    shapes = list(zip(layers[1:], layers[:-1], strict=True))
    weights = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    masks = [random.random(shape) < 0.5 for shape in shapes]
    if sparse:
        weights = [np.where(mask, weight, np.float32(0)) for weight, mask in zip(weights, masks, strict=True)]
    biases = [random.normal(size=out).astype(np.float32) for out, _ in shapes]
    coefficients = {"a": -5.06, "b": 0.63, "tau": 1 / 3}
    return Checkpoint(tuple(weights), tuple(biases), tuple(masks) if sparse else None, coefficients)


def assert_same(first: Checkpoint, second: Checkpoint) -> None:
    """Bit for bit: arrays, types, masks, coefficients."""
    assert first.layers == second.layers
    assert first.coefficients == second.coefficients
    for name in ("weights", "biases"):
        for a, b in zip(getattr(first, name), getattr(second, name), strict=True):
            assert a.dtype == b.dtype == np.float32
            assert a.tobytes() == b.tobytes()
    assert (first.masks is None) == (second.masks is None)
    for a, b in zip(first.masks or (), second.masks or (), strict=True):
        assert a.dtype == b.dtype == np.bool_
        assert np.array_equal(a, b)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("layers", [LAYERS, (1, 1), (18, 7, 1, 9, 2)])
def test_what_was_written_is_read(tmp_path: Path, sparse: bool, layers: tuple[int, ...]):
    """Dense or sparse, at widths that fill no whole byte of a mask; the size returned is the file's."""
    path = tmp_path / "deep" / "stage-1.safetensors"
    size = checkpoint.write(path, sample(sparse=sparse, layers=layers))
    assert size == path.stat().st_size
    assert_same(checkpoint.read(path), sample(sparse=sparse, layers=layers))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def small() -> Checkpoint:
    """What is left of a network after neurons were removed."""
    neurons = (np.array([0, 2, 5, 6, 511], np.int32), np.array([1, 3, 7, 8], np.int32))
    return replace(sample(sparse=False), neurons=neurons)


def test_the_numbers_of_kept_neurons_are_read_as_written(tmp_path: Path):
    """Dense matrices of the small widths, and for each hidden layer the neurons' numbers in the dense network."""
    path = tmp_path / "x.safetensors"
    checkpoint.write(path, small())
    back = checkpoint.read(path)
    assert_same(back, small())
    assert back.neurons is not None
    assert [numbers.tolist() for numbers in back.neurons] == [[0, 2, 5, 6, 511], [1, 3, 7, 8]]
    assert {numbers.dtype for numbers in back.neurons} == {np.dtype(np.int32)}
    assert "layers.0.weight" in safetensors.numpy.load_file(path)


@pytest.mark.parametrize(
    ("network", "change", "message"),
    [
        (small(), {"layers.1.neurons": None}, "neurons of 1 layers: expected of each hidden layer"),
        (small(), {"layers.2.neurons": np.zeros(2, np.int32)}, "neurons of 3 layers"),
        (small(), {"layers.1.neurons": np.zeros(3, np.int32)}, r"int32\[3\], expected int32\[4\]"),
        (small(), {"layers.1.neurons": np.zeros(4, np.int64)}, "int64"),
        (replace(sample(), neurons=small().neurons), {}, "of a network without masks"),
    ],
)
def test_neurons_that_do_not_fit_are_refused(tmp_path: Path, network: Checkpoint, change: dict, message: str):
    """Of one hidden layer only, of the outputs too, of another length or type, or beside masks."""
    tensors = safetensors.numpy.load(checkpoint.encode(network))
    changed = {key: value for key, value in (tensors | change).items() if value is not None}
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(changed, path, metadata={"layers": json.dumps(LAYERS)})
    with pytest.raises(RecordError, match=message):
        checkpoint.read(path)


@given(
    weight=arrays.arrays(np.float32, (4, 3), elements=st.floats(width=32)),
    mask=arrays.arrays(np.bool_, (4, 3)),
    bias=arrays.arrays(np.float32, 4, elements=st.floats(width=32)),
    value=st.floats(allow_nan=False),
)
def test_any_float_survives(
    tmp_path_factory: pytest.TempPathFactory, weight: np.ndarray, mask: np.ndarray, bias: np.ndarray, value: float
):
    """inf, NaN, subnormals, −0.0: bitwise, inside the mask, outside it and in biases."""
    path = tmp_path_factory.mktemp("any") / "x.safetensors"
    checkpoint.write(path, Checkpoint((weight,), (bias,), (mask,), {"k": value}))
    back = checkpoint.read(path)
    assert back.masks is not None
    assert np.array_equal(back.masks[0], mask)
    assert back.weights[0].tobytes() == weight.tobytes()
    assert back.biases[0].tobytes() == bias.tobytes()
    assert back.coefficients == {"k": value}


@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), data=st.data())
def test_unpack_is_the_inverse_of_pack(shape: tuple[int, int], data: st.DataObject):
    """Eight to a byte, whatever is left over at the end."""
    mask = data.draw(arrays.arrays(np.bool_, shape))
    packed = checkpoint.pack(mask)
    assert packed.nbytes == -(-mask.size // 8)
    assert np.array_equal(checkpoint.unpack(packed, shape), mask)


def test_weights_outside_the_mask_stay_visible(tmp_path: Path):
    """A pruned weight that came back is a fault that the file must show, not repair."""
    network = sample()
    assert network.masks is not None
    row, column = np.argwhere(~network.masks[1])[0]
    network.weights[1][row, column] = np.float32(-0.25)
    path = tmp_path / "x.safetensors"
    checkpoint.write(path, network)
    assert "layers.1.weight.outside" in safetensors.numpy.load_file(path)
    assert_same(checkpoint.read(path), network)


def test_a_sparse_file_holds_the_active_values_and_nothing_more(tmp_path: Path):
    """Tensors of a clean sparse file: packed masks, as many values as are kept, biases, coefficients."""
    network = sample()
    assert network.masks is not None
    path = tmp_path / "x.safetensors"
    checkpoint.write(path, network)
    tensors = safetensors.numpy.load_file(path)
    kept = [int(mask.sum()) for mask in network.masks]
    assert [tensors[f"layers.{i}.weight.values"].size for i in range(3)] == kept
    assert [tensors[f"layers.{i}.weight.mask"].nbytes for i in range(3)] == [2, 3, 1]
    assert len(tensors) == 3 * 3 + 3


def test_equal_networks_give_equal_bytes():
    """A digest identifies a network: arrays with another memory layout or dtype spell the same."""
    network = sample()
    other = Checkpoint(
        tuple(np.asfortranarray(weight.astype(np.float64)) for weight in network.weights),
        network.biases,
        network.masks,
        dict(network.coefficients),
    )
    assert checkpoint.encode(network) == checkpoint.encode(sample()) == checkpoint.encode(other)


def test_every_flipped_byte_changes_the_digest_and_none_crashes(tmp_path: Path):
    """Damage anywhere in the file changes its sha256; read, it is a RecordError or a network, never a crash."""
    path = tmp_path / "x.safetensors"
    checkpoint.write(path, sample(layers=(2, 3, 1)))
    whole, digest = path.read_bytes(), digest_file(path)
    assert digest == hashlib.sha256(whole).hexdigest()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        assert digest_file(path) != digest
        with contextlib.suppress(RecordError):
            checkpoint.read(path)


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path):
    """A truncated checkpoint is never a shorter network."""
    path = tmp_path / "x.safetensors"
    checkpoint.write(path, sample())
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError, match="not a readable checkpoint"):
            checkpoint.read(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04\x95pickle", b"PK\x03\x04" + bytes(200)])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes):
    """Text, a pickle, a zip: none is opened as anything but safetensors."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(RecordError, match="not a readable checkpoint"):
        checkpoint.read(path)


def test_a_missing_file_is_named(tmp_path: Path):
    """The message names the file."""
    with pytest.raises(RecordError, match=r"stage-3\.safetensors: no such checkpoint"):
        checkpoint.read(tmp_path / "stage-3.safetensors")


@pytest.mark.parametrize(
    ("change", "metadata"),
    [
        ({}, None),
        ({}, {"other": "[]"}),
        ({}, {"layers": "not JSON"}),
        ({}, {"layers": "7"}),
        ({}, {"layers": "[3, 5, 4, 2, 2]"}),
        ({}, {"layers": "[3, 6, 4, 2]"}),
        ({"layers.1.bias": None}, {"layers": json.dumps(LAYERS)}),
        ({"layers.1.weight.values": None}, {"layers": json.dumps(LAYERS)}),
        ({"layers.1.weight.values": np.zeros(2, np.float32)}, {"layers": json.dumps(LAYERS)}),
        ({"layers.1.weight.values": np.zeros(1, np.float32)}, {"layers": json.dumps(LAYERS)}),
        ({"layers.1.weight.mask": np.zeros(1, np.uint8)}, {"layers": json.dumps(LAYERS)}),
        ({"layers.1.bias": np.zeros(4, np.float64)}, {"layers": json.dumps(LAYERS)}),
        ({"layers.9.bias": np.zeros(4, np.float32)}, {"layers": json.dumps(LAYERS)}),
        ({"layers.1.bias": np.zeros(9, np.float32)}, {"layers": json.dumps(LAYERS)}),
    ],
)
def test_safetensors_with_another_layout_is_refused(
    tmp_path: Path, change: dict[str, np.ndarray | None], metadata: dict[str, str] | None
):
    """Metadata that is missing or wrong; a tensor that is missing, too many, or of another size or dtype."""
    tensors = safetensors.numpy.load(checkpoint.encode(sample()))
    changed = {key: value for key, value in (tensors | change).items() if value is not None}
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(changed, path, metadata=metadata)
    with pytest.raises(RecordError, match="not a readable checkpoint"):
        checkpoint.read(path)


def test_a_stack_of_networks_survives_the_disk(tmp_path: Path):
    """Through files and back into a stack: every parameter and mask bitwise, weights outside the masks included."""
    torch = pytest.importorskip("torch")
    from spinn.masks import Enforcer, Masks
    from spinn.model import Network, from_checkpoints, to_checkpoint

    network = Network.initialise(LAYERS, [3, 1, 2])
    masks = Masks(tuple(weight.detach().abs() > 0.3 for weight in network.weights))
    for held in (False, True):
        if held:
            Enforcer(network, masks).weights()
        for run in range(3):
            checkpoint.write(tmp_path / f"{run}.safetensors", to_checkpoint(network, masks, run, {"a": run / 3}))
        read = [checkpoint.read(tmp_path / f"{run}.safetensors") for run in range(3)]
        back, back_masks = from_checkpoints(read)
        assert [one.coefficients for one in read] == [{"a": run / 3} for run in range(3)]
        assert back_masks is not None
        pairs = zip([*back.parameters(), *back_masks.layers], [*network.parameters(), *masks.layers], strict=True)
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_widths_that_are_nested_too_deeply_are_refused(tmp_path: Path):
    """The parser of the metadata gives up with an error of its own kind."""
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"layers.0.bias": np.ones(1, np.float32)}, path, metadata={"layers": "[" * 100_000})
    with pytest.raises(RecordError, match="not a readable checkpoint"):
        checkpoint.read(path)


def test_a_mask_of_more_weights_than_a_network_has_is_refused(tmp_path: Path):
    """Before it is unpacked: a bit in the file is five bytes in memory."""
    path = tmp_path / "a.safetensors"
    for widths, words in (("[10000, 10000]", "expected uint8"), ("[10000, 10000, 1]", "at most 100,000,000 weights")):
        tensors = {"layers.0.weight.mask": np.zeros(2, np.uint8)}
        path.write_bytes(safetensors.numpy.save(tensors, metadata={"layers": widths}))
        with pytest.raises(RecordError, match=words):
            checkpoint.read(path)
