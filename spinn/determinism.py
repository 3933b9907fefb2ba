"""Deterministic kernels, random generators that depend on what they are told only, and the environment as it was.

Knows torch's switches and how to read this machine; knows nothing of networks, data or records' files.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from functools import cache
from pathlib import Path

import psutil
import threadpoolctl
import torch

from spinn.errors import InputError
from spinn.record import Environment
from spinn.storage import digest_file, digest_of

PACKAGES = ("torch", "numpy", "pandas", "scipy", "safetensors")
_CPUINFO = Path("/proc/cpuinfo")


def use(device: str = "auto", threads: int | None = None) -> torch.device:
    """Make this process deterministic and choose the device it computes on.

    Every kernel is a deterministic one, matrix products keep full precision (no TF32), and cuBLAS gets the fixed
    workspace it needs for that (CUBLAS_WORKSPACE_CONFIG, unless it is set already). Memory is not filled before use,
    which deterministic mode does by default: it costs a pass over every result and no result here reads it.

    Args:
        device: 'cpu', 'cuda', 'cuda:<index>', or 'auto': CUDA where there is one.
        threads: Threads of CPU kernels; None leaves torch's choice: OMP_NUM_THREADS, or as many as the cores that this
            process may run on. Records state how many there were.

    Raises:
        InputError: no such device on this machine, or a thread count below 1.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads = {threads}: at least 1; leave it out for torch's own choice")
    chosen = _device(device)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms(True), less the import of a compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    if threads is not None:
        torch.set_num_threads(threads)
    return chosen


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdecimal())):
        raise InputError(f"device = {name!r}: one of auto, cpu, cuda, cuda:<index>")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise InputError(f"device = {name!r}: torch sees {count} CUDA devices here; give --device cpu or auto")
    return torch.device(name)


def generator(*key: object) -> torch.Generator:
    """A CPU generator whose stream depends on `key` only (for example run seed, stage, purpose)."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def environment(device: torch.device) -> Environment:
    """This machine and its libraries, as a record states them."""
    return Environment(
        spinn=importlib.metadata.version("spinn"),
        python=platform.python_version(),
        platform=platform.platform(),
        processor=_processor(),
        cores=psutil.cpu_count(logical=True) or 1,
        memory_bytes=psutil.virtual_memory().total,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        code=_code(),
        kernels=_kernels(),
        tf32=_tf32(),
        # torch's own word says for which CUDA it was built; its installed name need not
        packages={name: importlib.metadata.version(name) for name in PACKAGES} | {"torch": torch.__version__},
    )


@cache
def _code() -> str:
    """The digest of every module of this package, as it stands on the disk when it is first asked for."""
    root = Path(__file__).parent
    return digest_of({path.relative_to(root).as_posix(): digest_file(path) for path in sorted(root.rglob("*.py"))})


def _kernels() -> str:
    """Which of their kernels the libraries chose for this processor, or were told to take: last digits depend on it."""
    chosen = sorted(
        {
            f"{found['internal_api']} {found['architecture']}"
            for found in threadpoolctl.threadpool_info()
            if found.get("architecture")
        }
    )
    told = [f"{name}={os.environ[name]}" for name in ("MKL_CBWR",) if name in os.environ]
    return ", ".join([*chosen, f"ATen {torch.backends.cpu.get_cpu_capability()}", *told])


def _tf32() -> bool:
    """Whether anything lets CUDA multiply float32 matrices in TF32: torch's switches, or NVIDIA's over them."""
    override = os.environ.get("NVIDIA_TF32_OVERRIDE")
    if override == "0":
        return False
    return override == "1" or torch.get_float32_matmul_precision() != "highest"


def _processor() -> str:
    """The processor's model name; platform's word for it where /proc/cpuinfo does not say."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"
