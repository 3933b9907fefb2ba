"""How much memory a process takes that does nothing but predict, in a process of its own: `python -m` this module."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil

from spinn import checkpoint, runtimes
from spinn.errors import InputError


def resident(path: Path, inputs: int) -> int:
    """Resident bytes of a new process after a prediction of batch 1 by the network in `path`, on one thread.

    Args:
        path: An `.onnx` model, which ONNX Runtime executes, or a checkpoint, which PyTorch does.
        inputs: How many features it takes.

    Raises:
        InputError: the process failed; says how.
    """
    call = [sys.executable, "-m", "spinn.bench.resident", str(path), str(inputs)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(call, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode != 0:
        said = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{path.name}: the process that loads it ended with status {ended.returncode} ({said})")
    return int(ended.stdout)


def main() -> None:
    """Load, predict, and print the resident set in bytes."""
    path, inputs = Path(sys.argv[1]), int(sys.argv[2])
    if path.suffix == ".onnx":
        predict = runtimes.by_onnxruntime(path.read_bytes(), 1)
    else:
        predict = runtimes.by_torch(checkpoint.read(path))
    predict(np.zeros((1, inputs), np.float32))
    print(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
