"""State dicts of any project, as arrays: PyTorch files, safetensors, and this project's checkpoints.

Knows file formats and kinds of tensors; judges nothing, and never runs what a pickle says.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from codecs import getincrementaldecoder
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from spinn.config import MOST_WEIGHTS
from spinn.errors import InputError
from verify import pickles

_PYTORCH = (".pt", ".pth", ".bin", ".ckpt")
_OLDER = 5  # pickles of the older kind: a number, a version, the machine, what was saved, the names of its storages
_MOST_EXPANDED = 2**28  # bytes that a state's tensors may take beyond what is stored of them
_NO_FILE = "not a file of torch.save"
_SCRIPT = "a TorchScript archive; save module.state_dict() with torch.save"
_NESTED = ("state_dict", "model_state_dict")


@dataclass(frozen=True)
class State:
    """What a state dict holds.

    Attributes:
        tensors: Arrays by name.
        aliases: Name of a tensor → an earlier one in the same storage (torch ties weights so). Both are in `tensors`.
        skipped: Names of entries that are no tensors (`_extra_state`, `_packed_params`).
        applied: Whether `<name>_mask` says what is zero in `<name>`, rather than being multiplied with it at each use.
    """

    tensors: dict[str, np.ndarray]
    aliases: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    applied: bool = False


def read_state(path: Path) -> State:
    """The tensors of a file by their names.

    Args:
        path: A `.safetensors` file, or one that `torch.save` wrote of a state dict, or of a dict that has one under
            `state_dict`, `model_state_dict`, or whatever name if there is just one, in it or one dict deeper. Tensors
            of one dimension beside it (losses, the state of a generator) are not looked at.

    Returns:
        Arrays. float16 and bfloat16 are widened to float32, which changes no value; quantised tensors are the values
        that they stand for. A weight of this project's own sparse layout comes as `<name>` and `<name>_mask`.

    Raises:
        InputError: no such file, another kind of file, a damaged one, a pickle that holds more than tensors, or a dict
            of which it is not clear what the state dict is.
    """
    if path.is_dir():
        raise InputError(f"{path}: a folder; expected a file, a state dict that torch.save or safetensors wrote")
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a state dict (.pt, .pth, .bin, .ckpt or .safetensors)")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _PYTORCH:
        return _read_pytorch(path)
    raise InputError(f"{path}: expected a name that ends in .safetensors, {', '.join(_PYTORCH)}")


def as_state(tensors: Mapping[str, Any], name: str) -> State:
    """Tensors of torch or numpy as arrays. What is no tensor is left out and named, if the rest are tensors.

    Raises:
        InputError: there is no tensor, or one without values (on torch's device `meta`, or of a kind without numbers),
            or two entries are called the same, as 1 and "1" are.
    """
    arrays: dict[str, np.ndarray] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    named: dict[str, Any] = {}
    for key, value in tensors.items():
        if str(key) in named:
            raise InputError(f"{name}: two entries are called {str(key)!r}; give each a name of its own")
        named[str(key)] = value
    strangers = {key: type(value).__name__ for key, value in named.items() if not _is_tensor(value)}
    taken, seen = 0, set[int]()
    for key, value in named.items():
        if key in strangers:
            continue
        place = _storage(value)
        if place is None or place not in first:  # of tied weights one is kept
            taken += _expanded(value, seen)
        if taken > _MOST_EXPANDED:
            raise InputError(f"{name}, {key!r}: {_vast(value)}")
        if place is not None and first.setdefault(place, key) != key:
            aliases[key] = first[place]
            arrays[key] = arrays[first[place]]
        else:
            arrays[key] = _array(value, f"{name}, {key!r}")
    if not arrays:
        for key, kind in strangers.items():
            raise InputError(f"{name}, {key!r} = {kind}: expected a tensor; pass model.state_dict()")
        raise InputError(f"{name}: no tensors in it; pass model.state_dict()")
    return State(arrays, aliases, tuple(strangers))


# --- tensors --------------------------------------------------------------------------------------------------------


def _is_tensor(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "detach")


def _array(value: Any, name: str) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value.astype(np.float32) if value.dtype == np.float16 else value
    if value.is_meta:
        raise InputError(f"{name}: it is on the device meta, where tensors have no values; save the model itself")
    try:
        return _of_torch(value)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name}: it cannot be read as numbers ({reason:.120}); save it as a plain tensor") from None


def _expanded(tensor: Any, seen: set[int]) -> int:
    """Bytes that a tensor takes as an array, less those of its storage where that is the first in it; `seen` has both.

    Of one number `expand` and sparse layouts make any size, and many tensors may lie on the same numbers.
    """
    if isinstance(tensor, np.ndarray) or tensor.is_meta or tensor.is_nested:
        return 0
    size = tensor.numel() * _each(tensor)
    if _is_sparse(tensor):
        return size
    if "strided" not in str(tensor.layout):
        return 0
    storage = tensor.untyped_storage()
    if storage.data_ptr() in seen:
        return size
    seen.add(storage.data_ptr())
    return size - storage.nbytes() // tensor.element_size() * _each(tensor)


def _each(tensor: Any) -> int:
    """Bytes of a number of a tensor as `_of_torch` reads it."""
    if tensor.is_complex():
        return max(8, tensor.element_size())
    return max(4, tensor.element_size()) if tensor.is_floating_point() or tensor.is_quantized else tensor.element_size()


def _is_sparse(tensor: Any) -> bool:
    return "sparse" in str(tensor.layout)


def _vast(tensor: Any) -> str:
    shape = f"shape {tuple(tensor.shape)}"
    if _is_sparse(tensor):
        return f"{shape} is sparse, and dense would take the file to more than {_MOST_EXPANDED:,} bytes; save it dense"
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() <= stored:
        many = f"is one of many tensors on a storage of {stored} bytes, together more than {_MOST_EXPANDED:,}"
        return f"{shape} {many}; save each tensor as a copy (.clone())"
    return f"{shape} repeats a storage of {stored} bytes, to more than {_MOST_EXPANDED:,}; save what is not expanded"


def _of_torch(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()  # bfloat16 has no counterpart in numpy
    if tensor.is_complex() and tensor.element_size() < 8:
        tensor = tensor.cfloat()  # nor have two halves
    return tensor.resolve_conj().resolve_neg().to_dense().numpy()


def _storage(value: Any) -> tuple[Any, ...] | None:
    """Where the numbers of a tensor of torch lie and how they are read, the same for tied weights; None where nowhere.

    Arrays of numpy that share memory are no tied weights: no module has them, but tests do. Nor are quantised tensors,
    which may share numbers and not what they stand for.
    """
    if isinstance(value, np.ndarray) or value.is_nested or value.is_quantized or not value.numel():
        return None
    if "strided" not in str(value.layout):
        return None
    bits = value.is_conj(), value.is_neg()
    return value.device, value.data_ptr(), value.dtype, bits, tuple(value.shape), value.stride()


# --- files ----------------------------------------------------------------------------------------------------------


def _read_pytorch(path: Path) -> State:
    with warnings.catch_warnings():  # about pickles that may not be understood; those that are not are refused
        warnings.simplefilter("ignore")
        loaded = _loaded(path)
    return as_state(_one_state_dict(loaded, path), str(path))


def _loaded(path: Path) -> Any:
    """What torch makes of a file; the bytes of it are let go before any tensor is widened."""
    import torch

    content = _looked_at(path)
    try:
        # of a sparse tensor the places are anyone's: what reads them does not look whether they are within it
        with torch.sparse.check_sparse_tensor_invariants():
            return torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - of a damaged file anything may come, AssertionError and struct.error too
        raise InputError(f"{path}: {_damage(error, path)}") from None


def _looked_at(path: Path) -> BytesIO:
    """What torch is given of a file, its pickles gone through."""
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            if stream.read(4) == b"PK\x03\x04":  # as torch.save writes since 1.6; before, pickles and then numbers
                members = _members(path)
                pickles.walk(BytesIO(members["data.pkl"]), 1, size)
                return _packed(members)
        content = BytesIO(path.read_bytes())
        pickles.walk(content, _OLDER, size)
    except pickles.RefusedError as error:
        raise InputError(f"{path}: {error}") from None
    except (pickle.UnpicklingError, KeyError) as error:  # KeyError: an archive without a pickle
        raise InputError(f"{path}: {_damage(error, path)}") from None
    content.seek(0)
    return content


def _members(path: Path) -> dict[str, bytes]:
    """What Python finds in an archive, by name without the folder that all of it is in, which may have any name.

    One that asks for more memory than it is long is refused: torch.save compresses nothing. Checksums are not compared:
    torch does not look at them, and writes none where it is asked to (torch.serialization.set_crc32_options).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = {member.filename.partition("/")[2]: member for member in archive.infolist()}
            if "constants.pkl" in found:
                raise InputError(f"{path}: {_SCRIPT}")
            if fault := _fault(archive, path.stat().st_size):
                raise InputError(f"{path}: {fault}, which torch.save does not do; save it with torch.save")
            for member in found.values():
                del member.CRC
            return {name: archive.read(member) for name, member in found.items()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, RuntimeError) as error:
        raise InputError(f"{path}: {_NO_FILE} ({error!s:.120}); it is damaged or of another kind") from None


def _fault(archive: zipfile.ZipFile, size: int) -> str:
    """What in an archive of so many bytes may ask for more memory than that, or be two things to two readers."""
    members = archive.infolist()
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            return f"{member.filename!r:.60} in it is compressed"
    if len({member.filename.partition("/")[2] for member in members}) < len(members):
        return "two parts of it have one name"
    return "parts of it lie upon each other" if sum(member.file_size for member in members) > size else ""


def _packed(members: dict[str, bytes]) -> BytesIO:
    """An archive of these members, which are let go: of one that a stranger wrote torch may see another directory."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in list(members):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), members.pop(name))  # whose date is no clock's
    out.seek(0)
    return out


def _damage(error: Exception, path: Path) -> str:
    text = str(error)
    if "TorchScript" in text:
        return _SCRIPT
    if _is_text(path):
        return "a text file, not one of torch.save; save model.state_dict() with torch.save"
    # what a KeyError or an unpickler says of a byte that it did not expect helps nobody
    said = "" if isinstance(error, pickle.UnpicklingError | KeyError) or not text else f" ({text.splitlines()[0]:.120})"
    return f"{_NO_FILE}{said}; it is damaged or of another kind"


def _is_text(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(256)
    try:
        text = getincrementaldecoder("utf-8")().decode(start)  # whose last character may be cut
    except UnicodeDecodeError:
        return False
    return bool(text) and all(letter.isprintable() or letter in "\t\r\n" for letter in text)


def _one_state_dict(content: Any, path: Path) -> Mapping[str, Any]:
    """The state dict in what was saved: under a usual name, or the only one there is."""
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise InputError(f"{path} = {type(content).__name__}: expected a state dict; save model.state_dict()")
    if _has_tensors(content, 2):
        states, beside = _of_tensors(_inside(content), 2), True
    else:
        states, beside = _states(content), False
    if len(states) > 1:
        raise InputError(f"{path}: it holds {len(states)} state dicts ({', '.join(states)}); save the one to judge")
    if states and beside:
        name = ", ".join(states)
        raise InputError(f"{path}: it holds a state dict ({name}) and matrices beside it; save the one to judge")
    return next(iter(states.values()), content)


def _states(content: Mapping[Any, Any]) -> dict[str, Mapping[Any, Any]]:
    """The state dicts in it, or one level deeper ({"trainer": {"model": …}}); those without matrices if there is none.

    Means of inputs and states of generators have one dimension, and stand in dicts of their own at times.
    """
    inside = _inside(content)
    deeper = {f"{name}.{key}": value for name, held in inside.items() for key, value in _inside(held).items()}
    for dimensions, level in product((2, 1), (inside, deeper)):
        if states := _of_tensors(level, dimensions):
            return states
    return {}


def _of_tensors(level: Mapping[str, Mapping[Any, Any]], dimensions: int) -> dict[str, Mapping[Any, Any]]:
    return {name: value for name, value in level.items() if _has_tensors(value, dimensions)}


def _inside(content: Mapping[Any, Any]) -> dict[str, Mapping[Any, Any]]:
    """The mappings in it by name; a module's extra state is no other state."""
    return {name: value for name, value in content.items()
            if isinstance(name, str) and isinstance(value, Mapping) and not name.endswith("_extra_state")}  # fmt: skip


def _has_tensors(content: Mapping[Any, Any], dimensions: int) -> bool:
    """Whether a mapping has tensors itself, of so many dimensions at least.

    A single number, a best loss say, makes no state dict; what stands beside one, losses or a generator's state, has
    one dimension.
    """
    return any(_is_tensor(value) and value.ndim >= dimensions for value in content.values())


def _read_safetensors(path: Path) -> State:
    try:
        with safetensors.safe_open(path, framework="numpy") as stream:
            metadata, names = stream.metadata() or {}, list(stream.keys())
            try:
                tensors = {name: stream.get_tensor(name) for name in names}
            except (TypeError, safetensors.SafetensorError, AttributeError):
                tensors = _with_torch(path)  # a dtype that numpy does not have
            if any(array.dtype.kind == "V" for array in tensors.values() if isinstance(array, np.ndarray)):
                tensors = _with_torch(path)  # or has from the package ml_dtypes, where that was imported
    except Exception as error:  # noqa: BLE001 - of a damaged file anything may come
        raise InputError(f"{path}: not a safetensors file ({error!s:.200}); it is damaged or of another kind") from None
    state = as_state(tensors, str(path))
    return _own_layout(path, state, metadata) if "layers.0.weight.mask" in state.tensors else state


def _with_torch(path: Path) -> dict[str, Any]:
    import safetensors.torch

    return safetensors.torch.load_file(path)


def _own_layout(path: Path, state: State, metadata: dict[str, str]) -> State:
    """This project's sparse layout (spinn/checkpoint.py) with whole weights and masks."""
    if "layers" not in metadata:  # a module of another project, with a mask beside its weight
        return state
    tensors = state.tensors
    try:
        whole: dict[str, np.ndarray] = {}
        for index, (inputs, outputs) in enumerate(pairwise(_widths(metadata["layers"]))):
            name, shape = f"layers.{index}.weight", (outputs, inputs)
            mask = _unpacked(tensors[f"{name}.mask"], shape)
            weight = tensors[f"{name}.outside"].copy() if f"{name}.outside" in tensors else np.zeros(shape, np.float32)
            values = tensors[f"{name}.values"]
            if (kinds := {weight.dtype.kind, values.dtype.kind}) != {"f"}:
                raise ValueError(f"{name}: numbers of kind {' and '.join(sorted(kinds))}")
            weight[mask] = values
            whole |= {name: weight, f"{name}_mask": mask, f"layers.{index}.bias": tensors[f"layers.{index}.bias"]}
        return State(whole, applied=True)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        told = f"a checkpoint of this project that is damaged ({error!s:.200})"
        raise InputError(f"{path}: {told}; roll back a stage") from None


def _widths(text: str) -> list[int]:
    """The widths of the layers, as a file's metadata has them."""
    try:
        widths = json.loads(text)
    except RecursionError:
        raise ValueError("layers are nested too deeply") from None
    if not isinstance(widths, list) or not all(type(width) is int and width > 0 for width in widths):
        raise ValueError(f"layers = {text:.40}: expected a list of widths")
    if sum(inputs * outputs for inputs, outputs in pairwise(widths)) > MOST_WEIGHTS:
        raise ValueError(f"layers = {text:.40}: at most {MOST_WEIGHTS:,} weights expected")
    return widths


def _unpacked(packed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A mask from its bits; as many as the shape says have to be there, before anything of that size is made."""
    size = shape[0] * shape[1]
    if packed.dtype != np.uint8 or packed.shape != (-(-size // 8),):
        raise ValueError(f"a mask of {packed.nbytes} bytes for weights of shape {shape!s:.60}")
    return np.unpackbits(packed, count=size).reshape(shape).astype(bool)
