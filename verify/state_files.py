"""State dicts of any project, as arrays: PyTorch files, safetensors, and this project's checkpoints.

Knows file formats; judges nothing, and never runs what a pickle says.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from spinn.errors import InputError

State = dict[str, np.ndarray]

_PYTORCH = (".pt", ".pth", ".bin", ".ckpt")
_NESTED = ("state_dict", "model_state_dict")


def read_state(path: Path) -> State:
    """The tensors of a file by their names.

    Args:
        path: A `.safetensors` file, or one that `torch.save` wrote of a state dict, or of a dict that has one under
            `state_dict` or `model_state_dict`.

    Returns:
        Arrays. float16 and bfloat16 are widened to float32, which changes no value. A weight of this project's own
        sparse layout comes as `<name>` and `<name>_mask`.

    Raises:
        InputError: no such file, another kind of file, a damaged one, or a pickle that holds more than tensors.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a state dict (.pt, .pth, .bin, .ckpt or .safetensors)")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _PYTORCH:
        return _read_pytorch(path)
    raise InputError(f"{path}: expected a name that ends in .safetensors, {', '.join(_PYTORCH)}")


def as_state(tensors: Mapping[str, Any], name: str) -> State:
    """Tensors of torch or numpy as arrays; what is no tensor is refused by its name.

    Raises:
        InputError: an entry is neither an array nor a tensor, or there is none.
    """
    state: State = {}
    for key, value in tensors.items():
        if isinstance(value, np.ndarray):
            array = value
        elif hasattr(value, "detach"):
            array = _array(value)
        else:
            raise InputError(f"{name}, {key!r} = {type(value).__name__}: expected a tensor; pass model.state_dict()")
        state[str(key)] = array.astype(np.float32) if array.dtype == np.float16 else array
    if not state:
        raise InputError(f"{name}: no tensors in it; pass model.state_dict()")
    return state


def _array(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()  # bfloat16 has no counterpart in numpy
    return tensor.resolve_conj().resolve_neg().to_dense().numpy()


def _read_pytorch(path: Path) -> State:
    import torch

    try:
        with warnings.catch_warnings():  # about pickles that it may not understand; those that it does not are refused
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise InputError(
            f"{path}: it holds more than tensors, and was not loaded ({reason}); save state_dict()"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not a file of torch.save ({reason:.120}); it is damaged or of another kind"
        ) from None
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise InputError(f"{path} = {type(content).__name__}: expected a state dict; save model.state_dict()")
    return as_state(content, str(path))


def _read_safetensors(path: Path) -> State:
    try:
        with safetensors.safe_open(path, framework="numpy") as stream:
            metadata, names = stream.metadata() or {}, list(stream.keys())
            try:
                state = {name: stream.get_tensor(name) for name in names}
            except (TypeError, safetensors.SafetensorError, AttributeError):
                state = _with_torch(path)  # a dtype that numpy does not have
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a safetensors file ({error}); it is damaged or of another kind") from None
    state = as_state(state, str(path))
    return _own_layout(path, state, metadata) if "layers.0.weight.mask" in state else state


def _with_torch(path: Path) -> dict[str, Any]:
    import safetensors.torch

    return safetensors.torch.load_file(path)


def _own_layout(path: Path, state: State, metadata: dict[str, str]) -> State:
    """This project's sparse layout (spinn/checkpoint.py) with whole weights and masks."""
    try:
        layers: Sequence[int] = json.loads(metadata["layers"])
        whole: State = {}
        for index, (inputs, outputs) in enumerate(pairwise(layers)):
            name, shape = f"layers.{index}.weight", (outputs, inputs)
            mask = np.unpackbits(state[f"{name}.mask"], count=inputs * outputs).reshape(shape).astype(bool)
            weight = state[f"{name}.outside"].copy() if f"{name}.outside" in state else np.zeros(shape, np.float32)
            weight[mask] = state[f"{name}.values"]
            whole |= {name: weight, f"{name}_mask": mask, f"layers.{index}.bias": state[f"layers.{index}.bias"]}
        return whole
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path}: a checkpoint of this project that is damaged ({error}); roll back a stage") from None
