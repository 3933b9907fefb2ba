"""What executes a network: PyTorch, ONNX Runtime, or its C source compiled here. All take and give numpy arrays.

Each returns a function of a batch `[batch, inputs]` float32 to outputs `[batch, outputs]` float32. Knows how each
runtime is set up so that it is fast; measures nothing, and loads a runtime when it is asked for.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spinn.c_source import to_c
from spinn.checkpoint import Checkpoint
from spinn.errors import InputError
from spinn.export import INPUT, OUTPUT, import_extra, live_layers

Predict = Callable[[np.ndarray], np.ndarray]


def by_torch(network: Checkpoint) -> Predict:
    """PyTorch, on as many threads as it has: a `torch.nn.Sequential` under `inference_mode`."""
    import torch

    parts: list[torch.nn.Module] = []
    for weight, bias in live_layers(network):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight, layer.bias = (torch.nn.Parameter(torch.from_numpy(array)) for array in (weight, bias))
        parts += [layer, torch.nn.Tanh()]
    model = torch.nn.Sequential(*parts[:-1]).eval()

    def predict(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(rows)).numpy()

    return predict


def by_onnxruntime(model: bytes, threads: int) -> Predict:
    """ONNX Runtime on the CPU with so many threads, called the plain way.

    Raises:
        InputError: the package onnxruntime is not installed.
    """
    session = _session(model, threads)
    return lambda rows: session.run([OUTPUT], {INPUT: rows})[0]


def by_onnxruntime_bound(model: bytes, threads: int) -> Predict:
    """ONNX Runtime with its buffers bound once for a size of batch: a call finds them and allocates nothing.

    The returned array is the buffer: the next call with as many rows overwrites it.

    Raises:
        InputError: the package onnxruntime is not installed.
    """
    session = _session(model, threads)
    widths = session.get_inputs()[0].shape[1], session.get_outputs()[0].shape[1]

    def bound(given: np.ndarray, result: np.ndarray) -> Callable[[], object]:
        binding = session.io_binding()
        binding.bind_input(INPUT, "cpu", 0, np.float32, given.shape, given.ctypes.data)
        binding.bind_output(OUTPUT, "cpu", 0, np.float32, result.shape, result.ctypes.data)
        return partial(session.run_with_iobinding, binding)

    return _buffered(*widths, bound)


def by_c(network: Checkpoint) -> Predict:
    """The network's C source (`spinn.c_source`), compiled for this machine; one thread.

    The returned array is a buffer: the next call with as many rows overwrites it.

    Raises:
        InputError: no C compiler is here, or it does not take the source.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = ctypes.CDLL(str(_compile(to_c(live_layers(network)), Path(folder))))
    function = library.spinn_predict
    function.restype = None

    def bound(given: np.ndarray, result: np.ndarray) -> Callable[[], object]:
        # Of C's types from the start: ctypes converts numbers anew in every call.
        arguments = ctypes.c_void_p(given.ctypes.data), ctypes.c_void_p(result.ctypes.data), ctypes.c_size_t(len(given))
        return partial(function, *arguments)

    return _buffered(network.layers[0], network.layers[-1], bound)


def _buffered(inputs: int, outputs: int, bound: Callable[[np.ndarray, np.ndarray], Callable[[], object]]) -> Predict:
    """Calls into buffers that are kept as long as batches have the same size; `bound` makes the call for new ones."""
    size, given, result = -1, np.zeros(()), np.zeros(())
    call: Callable[[], object] = int

    def predict(rows: np.ndarray) -> np.ndarray:
        nonlocal size, given, result, call
        if len(rows) != size:
            size = len(rows)
            given, result = (np.zeros((size, width), np.float32) for width in (inputs, outputs))
            call = bound(given, result)
        given[...] = rows
        call()
        return result

    return predict


def _session(model: bytes, threads: int) -> Any:
    """All graph optimisations, the default: Gemm and Tanh become one kernel, and weights are packed in advance."""
    runtime = import_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")  # else threads keep a core busy after a call
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _compile(source: str, folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        raise InputError("cc = not found: the C source needs a C compiler; install gcc or clang")
    written, library = folder / "network.c", folder / "network.so"
    written.write_text(source)
    call = [compiler, "-std=gnu99", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(written)]
    ended = subprocess.run(call, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        said = (ended.stderr.strip().splitlines() or ["no message"])[0]
        raise InputError(f"cc ended with status {ended.returncode} ({said}): expected a library; see `cc --version`")
    return library
