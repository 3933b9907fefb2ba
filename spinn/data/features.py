"""The 18 inputs of the network: four process parameters, and statistics of each channel over the steady cut.

Knows the name, unit and definition of every feature and how it is computed from a recording; reads no file.
The tool (`case`) and the number of the cut (`run`) identify rows and are never features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

IDENTIFIERS = ("case", "run")
PROCESS = ("time", "DOC", "feed", "steel")
STEADY = (0.40, 0.75)
"""Part of a recording that is steady cutting, as fractions of its length: entry and exit are cut away.

In the NASA recordings the slowest entry reaches 80 % of its load after 40 % of the record (run 38, 0-based), and the
earliest exit begins after 76 % (run 96); the same window for every run needs no detector that could fail on one.
"""
LEAST_SAMPLES = 10
DECIMALS = 6  # far below any sensor's resolution; hides in which order a machine sums, so that fingerprints agree
ALTERNATING = ("smcAC",)


@dataclass(frozen=True)
class Feature:
    """One input: its column, its unit, and what it is."""

    name: str
    unit: str
    definition: str


_PROCESS = (
    Feature("time", "min", "cutting time of the tool up to the end of this cut"),
    Feature("DOC", "mm", "depth of cut"),
    Feature("feed", "mm/rev", "feed per revolution"),
    Feature("steel", "-", "material of the workpiece: 0 cast iron, 1 steel"),
)
_CHANNELS = {
    "smcAC": ("V", "spindle motor current, alternating"),
    "smcDC": ("V", "spindle motor current, direct"),
    "vib_table": ("V", "table vibration, RMS envelope"),
    "vib_spindle": ("V", "spindle vibration, RMS envelope"),
    "AE_table": ("V", "acoustic emission at the table, RMS envelope"),
    "AE_spindle": ("V", "acoustic emission at the spindle, RMS envelope"),
    "force": ("N", "main cutting force, sum over the engaged teeth"),
}
_STATISTICS = {
    "mean": "mean",
    "std": "standard deviation",
    "peak": "95th percentile of the magnitude",
}


def _feature(channel: str, statistic: str) -> Feature:
    unit, what = _CHANNELS[channel]
    rectified = " (rectified)" if channel in ALTERNATING and statistic == "mean" else ""
    return Feature(f"{channel}_{statistic}", unit, f"{what}: {_STATISTICS[statistic]}{rectified} over the steady cut")


_COMMON = tuple(
    _feature(channel, statistic)
    for channel in ("smcAC", "smcDC", "vib_table", "vib_spindle")
    for statistic in ("mean", "std", "peak")
)
NASA = (*_PROCESS, *_COMMON, _feature("AE_table", "mean"), _feature("AE_spindle", "mean"))
SIMULATOR = (*_PROCESS, *_COMMON, _feature("force", "mean"), _feature("force", "std"))


def names(table: Sequence[Feature]) -> tuple[str, ...]:
    """The columns of a feature table, in order."""
    return tuple(feature.name for feature in table)


def steady(signal: np.ndarray) -> np.ndarray:
    """The steady part of a recording.

    Args:
        signal: `[samples]`, one whole pass from entry to exit.

    Returns:
        The samples between the fractions `STEADY` of its length, those that are not finite dropped.
    """
    start, stop = (round(fraction * len(signal)) for fraction in STEADY)
    part = signal[start:stop]
    return part[np.isfinite(part)]


def statistics(channel: str, signal: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation and peak of one channel over its steady part.

    An alternating channel is rectified for its mean, which would be zero otherwise. The peak is the 95th percentile
    of the magnitude: unlike the largest sample, it does not grow with the number of samples.

    Args:
        channel: name of the channel, e.g. 'smcDC'.
        signal: `[samples]` in the channel's unit; NaN where a sample is missing.

    Returns:
        `{'<channel>_mean', '<channel>_std', '<channel>_peak'}`; NaN where fewer than `LEAST_SAMPLES` finite samples
        are left.
    """
    part = steady(signal)
    if len(part) < LEAST_SAMPLES:
        return {f"{channel}_{statistic}": float("nan") for statistic in _STATISTICS}
    magnitude = np.abs(part)
    return {
        f"{channel}_mean": round(float((magnitude if channel in ALTERNATING else part).mean()), DECIMALS),
        f"{channel}_std": round(float(part.std()), DECIMALS),
        f"{channel}_peak": round(float(np.percentile(magnitude, 95)), DECIMALS),
    }


def channel_features(signals: Mapping[str, np.ndarray], table: Sequence[Feature]) -> dict[str, float]:
    """Every channel statistic that `table` names, for one cut.

    Args:
        signals: channel → `[samples]`; a channel that is absent or empty gives NaN.
        table: the features wanted (`NASA` or `SIMULATOR`); process parameters in it are passed over.

    Returns:
        Feature name → value, in the table's order.
    """
    found: dict[str, float] = {}
    for channel, signal in signals.items():
        found |= statistics(channel, np.asarray(signal, dtype=float).ravel())
    return {name: found.get(name, float("nan")) for name in names(table) if name not in PROCESS}
