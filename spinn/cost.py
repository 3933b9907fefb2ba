"""What a phase of training costs: seconds, memory, energy where the machine reports it, and FLOPs counted by hand.

FLOPs are those of the matrix products, a multiplication and an addition each; activations and the optimizer are left
out. Nothing here is estimated: what cannot be read is None.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil
import pynvml
import torch

_POWERCAP = Path("/sys/class/powercap")
_MOST_WATTS = 1000.0  # no package of a processor takes as much


def forward_flops(weights: int, rows: int) -> int:
    """FLOPs of one forward pass: 2 · weights · rows."""
    return 2 * weights * rows


def training_flops(layers: Sequence[int], rows: int, tangent_rows: int, epochs: int) -> int:
    """FLOPs of `epochs` epochs of one run: forward, and backward at twice its cost, over every row.

    A derivative along time (`tangent_rows`) passes through the same matrices as a row does. Both are those of a whole
    epoch (`Task.epoch_rows`): what every step repeats counts in every step. The validation pass after each epoch is not
    counted, nor are the residuals at the end of the phase.

    Three times forward is the convention; it counts the gradient of the inputs, which no step computes. torch's
    FlopCounterMode counts exactly `input_gradient_flops` less.
    """
    return epochs * 3 * forward_flops(sum(a * b for a, b in pairwise(layers)), rows + tangent_rows)


def input_gradient_flops(layers: Sequence[int], rows: int, tangent_rows: int, epochs: int) -> int:
    """What `training_flops` counts and no step computes: the gradient of the first layer's inputs."""
    return epochs * forward_flops(layers[0] * layers[1], rows + tangent_rows)


@dataclass
class Meter:
    """Readings of one phase; complete when its `measure` block has ended."""

    seconds: float = 0.0
    peak_memory_bytes: int = 0
    energy_joules: float | None = None
    _start: float = field(default_factory=time.perf_counter)


@contextmanager
def measure(device: torch.device) -> Iterator[Meter]:
    """Measure the block: wall time, peak memory (of the device's allocator on CUDA, resident set elsewhere), energy."""
    meter = Meter()
    before = _energy(device)
    _reset_peak(device)
    yield meter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    meter.seconds = time.perf_counter() - meter._start
    meter.peak_memory_bytes = _peak(device)
    meter.energy_joules = _spent(before, _energy(device), meter.seconds)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        try:
            clear.write_text("5")  # Linux: set VmHWM back to the present resident set (man 5 proc)
        except PermissionError:
            return  # the peak then is that of the process so far


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return psutil.Process().memory_info().rss


@dataclass(frozen=True)
class _Counter:
    """A running counter of energy, in joules; it begins again at 0 after `wraps_at`."""

    joules: float
    wraps_at: float = math.inf


_Counters = Mapping[str, _Counter]


def _energy(device: torch.device) -> _Counters:
    """The counters of the device, or of the processor's packages; none where the machine shows none."""
    return _of_device(device) if device.type == "cuda" else _of_packages()


def _of_device(device: torch.device) -> _Counters:
    """NVML's, by the device's UUID: NVML counts other devices than a process that sees some of them."""
    name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        return {name: _Counter(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)}
    except pynvml.NVMLError:
        return {}


def _of_packages() -> _Counters:
    """RAPL's domains `package-…`: the others are parts of a package, or, as psys, contain them all.

    Documentation/power/powercap/powercap.rst of the Linux kernel.
    """
    try:
        return {
            zone.name: _Counter(_joules(zone / "energy_uj"), _joules(zone / "max_energy_range_uj"))
            for zone in sorted(_POWERCAP.glob("intel-rapl:*"))
            if (zone / "name").read_text().startswith("package-")
        }
    except OSError:  # for root alone, as a rule
        return {}


def _joules(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _spent(before: _Counters, after: _Counters, seconds: float) -> float | None:
    """Joules between two readings; None where there are none, or a counter may have gone round unseen.

    In a shorter time than `_MOST_WATTS` need for all of its range a counter wraps once at most, and then stands lower.
    """
    if not before or before.keys() != after.keys():
        return None
    if any(seconds * _MOST_WATTS >= counter.wraps_at for counter in after.values()):
        return None
    spent = 0.0
    for name, counter in after.items():
        joules = counter.joules - before[name].joules
        spent += joules if joules >= 0 else joules + counter.wraps_at
    return spent if math.isfinite(spent) else None
