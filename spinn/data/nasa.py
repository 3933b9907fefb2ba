"""The NASA / UC Berkeley milling set: the struct layout `mill[0, i]` of mill.mat, original or decimated.

Knows the file's fields and the known faults of its recordings; keeps every run as a row, and says of each missing
label and each recording that is missing or corrupt why it is not used. Source: A. Agogino, K. Goebel (2007),
"Milling data set", BEST lab, UC Berkeley; NASA Ames Prognostics Data Repository.

A recording is corrupt when its content says so: more than `MISSING_SHARE` of a channel's samples not finite, or a
sample beyond `LARGEST` volts. Runs 17 and 94 (counted from 0; cases 2 and 12, run 1) are documented as corrupt and are
treated so even where an earlier cleaning made their samples look plausible.
"""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spinn.data import features, matlab
from spinn.data.dataset import Dataset, Exclusion
from spinn.data.download import fetch as fetch  # re-exported: `spinn.data.nasa.fetch`
from spinn.data.ranges import RANGES
from spinn.errors import DataError

PROCESS = ("case", "run", "VB", "time", "DOC", "feed", "material")
CHANNELS = ("smcAC", "smcDC", "vib_table", "vib_spindle", "AE_table", "AE_spindle")
NO_RECORDING = "no recording in the file"
DURATION = 36.0  # s, of one recording: 9,000 samples at 250 Hz
LARGEST = 20.0  # V, twice the range of the acquisition, in which smcDC clips at 10 V
MISSING_SHARE = 0.05
_BROKEN = (  # what scipy's reader raises, depending on where a file stops making sense
    ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, EOFError, OSError, OverflowError,
    MemoryError, AssertionError, ZeroDivisionError,
)  # fmt: skip
DOCUMENTED = {("2", 1): 17, ("12", 1): 94}  # (case, run) of the corrupt recordings → number of the run from 0


def read(path: Path) -> Dataset:
    """Read a file in the layout of mill.mat.

    Args:
        path: the original file, or one with fewer samples a run.

    Returns:
        A row per run, in the order of the cases and of time. VB in mm, NaN where unlabelled; the features
        `features.NASA`, NaN where there is no usable recording; thermal displacement and power are not measured.

    Raises:
        DataError: the file is missing, is not a MATLAB file, has no `mill` with the fields of the layout, holds values
            that cannot be, or no label at all.
    """
    mill = _struct(path)
    rows, exclusions, lengths, gaps = [], [], Counter(), []
    for index in range(mill.size):
        row = _process(path, mill[index], index)
        signals = {channel: _signal(path, mill[index][channel], f"mill[{index}].{channel}") for channel in CHANNELS}
        lengths[max(map(len, signals.values()))] += 1
        reason = _unusable(signals, (row["case"], row["run"]))
        if not reason and any(np.isnan(signal).any() for signal in signals.values()):
            gaps.append(f"{row['case']}/{row['run']}")
        if reason:
            exclusions.append(Exclusion(row["case"], row["run"], "signals", reason))
        if np.isnan(row["VB"]):
            exclusions.append(Exclusion(row["case"], row["run"], "label", "no flank wear (VB) in the file"))
        rows.append(row | features.channel_features({} if reason else signals, features.NASA))
    frame = _ordered(path, pd.DataFrame(rows))
    place = {key: number for number, key in enumerate(zip(frame["case"], frame["run"], strict=True))}
    exclusions.sort(key=lambda exclusion: (exclusion.what, place[exclusion.case, exclusion.run]))
    notes = [*_recording_notes(lengths, gaps, frame), *_documented_notes(exclusions), *_wear_notes(frame)]
    return Dataset(f"nasa ({path.name})", frame, features.names(features.NASA), tuple(exclusions), tuple(notes))


def _struct(path: Path) -> np.ndarray:
    """The struct array `mill`, `[runs]`, with every field of the layout."""
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    if not path.exists():
        raise DataError(f"{path}: no such file; give a mill.mat, or run `spinn data fetch nasa`")
    try:
        matlab.refuse_unsound(path, "mill")
        found = [name for name, _, _ in whosmat(path)]
        content = loadmat(path, variable_names=["mill"])
    except (MatReadError, zlib.error, *_BROKEN) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: not a whole MATLAB 5 file ({reason:.100}); fetch or save it anew") from None
    if "mill" not in content:
        raise DataError(f"{path}: no variable 'mill', only {', '.join(found) or 'nothing'}; expected the NASA layout")
    mill = np.asarray(content["mill"])
    if mill.dtype.names is None or not mill.size:
        raise DataError(f"{path}: mill is {mill.dtype} of shape {mill.shape}; expected a struct array of runs")
    missing = [name for name in (*PROCESS, *CHANNELS) if name not in mill.dtype.names]
    if missing:
        raise DataError(f"{path}: mill has no field {', '.join(missing)}; expected {', '.join((*PROCESS, *CHANNELS))}")
    return mill.ravel()


def _process(path: Path, entry: Any, index: int) -> dict[str, Any]:
    """Identifiers, process parameters and label of one run, as a row of the frame."""
    values = {}
    for name in PROCESS:
        field = np.asarray(entry[name])
        if field.dtype.kind not in "fiub" or (field.size != 1 and not (name == "VB" and field.size == 0)):
            raise DataError(
                f"{path}: mill[{index}].{name} is {field.dtype} of shape {field.shape}: expected one number"
            )
        values[name] = float(field.ravel()[0]) if field.size else float("nan")
        if name != "VB" and not np.isfinite(values[name]):
            raise DataError(f"{path}: mill[{index}].{name} = {values[name]}: expected a finite number")
    for name in ("case", "run"):
        if values[name] % 1 or abs(values[name]) > 1e9:
            raise DataError(f"{path}: mill[{index}].{name} = {values[name]}: expected a whole number")
    if values["material"] not in (1.0, 2.0):
        raise DataError(f"{path}: mill[{index}].material = {values['material']:g}: expected 1 (cast iron) or 2 (steel)")
    for name in ("DOC", "feed", "time", "VB"):
        if expected := RANGES[name].expected(values[name]):
            raise DataError(f"{path}: mill[{index}].{name} = {values[name]:g}: expected {expected}")
    return {
        "case": str(int(values["case"])),
        "run": int(values["run"]),
        "time": values["time"],
        "DOC": values["DOC"],
        "feed": values["feed"],
        "steel": int(values["material"]) - 1,
        "power": float("nan"),
        "VB": values["VB"],
        "thermal": float("nan"),
    }


def _signal(path: Path, value: Any, name: str) -> np.ndarray:
    """One channel of one run, `[samples]`."""
    signal = np.asarray(value)
    if signal.dtype.kind not in "fiub":
        raise DataError(f"{path}: {name} is {signal.dtype}: expected numbers")
    return signal.astype(float).ravel()


def _unusable(signals: dict[str, np.ndarray], key: tuple[str, int]) -> str | None:
    """Why the recording of one run is not used, or None."""
    recorded = {channel: signal for channel, signal in signals.items() if signal.size}
    if not recorded:
        return NO_RECORDING
    documented = f"; run {DOCUMENTED[key]} (from 0) is documented as corrupt" if key in DOCUMENTED else ""
    for channel, signal in recorded.items():
        finite = signal[np.isfinite(signal)]
        bad = signal.size - finite.size
        if bad > MISSING_SHARE * signal.size:
            return f"corrupt: {bad} of {signal.size} samples of {channel} are not finite{documented}"
        if np.abs(finite).max(initial=0.0) > LARGEST:
            return f"corrupt: {channel} reaches {np.abs(finite).max():.3g} V, beyond {LARGEST:g} V{documented}"
    return f"corrupt{documented}" if documented else None


def _ordered(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows by case and time, after a check that both mean what they say."""
    twice = frame[frame.duplicated(["case", "run"])]
    if len(twice):
        raise DataError(f"{path}: case {twice.iloc[0]['case']} run {twice.iloc[0]['run']} stands twice; expected once")
    frame = frame.iloc[np.lexsort((frame["time"], frame["case"].astype(float)))].reset_index(drop=True)
    for case, cuts in frame.groupby("case", sort=False):
        if (np.diff(cuts["time"].to_numpy(float)) <= 0).any():
            raise DataError(f"{path}: two cuts of case {case} have the same time; expected cutting time to increase")
    if np.isnan(frame["VB"].to_numpy(float)).all():
        raise DataError(f"{path}: VB is missing in all {len(frame)} runs; at least one label is needed")
    return frame


def _recording_notes(lengths: Counter[int], gaps: list[str], frame: pd.DataFrame) -> list[str]:
    """Sampling rate, recordings of another length, channels that no run has."""
    recorded = Counter({length: count for length, count in lengths.items() if length})
    if not recorded:
        return ["no run has a recording; the sensor features are missing everywhere"]
    usual, count = recorded.most_common(1)[0]
    rate = f"{usual / DURATION:g} Hz over {DURATION:g} s"
    notes = [f"{usual} samples a run ({rate}) in {count} of {sum(recorded.values())} recordings"]
    notes += [
        f"{count} recording{'s have' if count > 1 else ' has'} {length} samples instead of {usual}"
        for length, count in sorted(recorded.items())
        if length != usual
    ]
    if gaps:
        notes.append(f"single samples are missing in {', '.join(gaps)}: the statistics are over the others")
    if usual / DURATION < 2 * 25:
        notes.append("smcAC is sampled below twice the frequency of the motor current: its values are aliased")
    for channel in CHANNELS:
        if np.isnan(frame[f"{channel}_mean"].to_numpy(float)).all():
            notes.append(f"{channel}: no usable recording in any run, its features are missing everywhere")
    return notes


def _documented_notes(exclusions: list[Exclusion]) -> list[str]:
    """The documented corrupt recordings that this file does not hold in the first place."""
    bare = {(exclusion.case, exclusion.run) for exclusion in exclusions if exclusion.reason == NO_RECORDING}
    return [
        f"run {number} (from 0), case {case} run {run}: documented as corrupt; this file holds no recording of it"
        for (case, run), number in DOCUMENTED.items()
        if (case, run) in bare
    ]


def _wear_notes(frame: pd.DataFrame) -> list[str]:
    """Labels that fall, and cases too short to show wear."""
    notes = []
    for case, cuts in frame.groupby("case", sort=False):
        labelled = cuts[cuts["VB"].notna()]
        falls = np.diff(np.asarray(labelled["VB"], float), prepend=0.0) < 0
        if falls.any():
            runs = ", ".join(str(run) for run in np.asarray(labelled["run"])[falls])
            notes.append(f"case {case}: VB falls at run {runs}; wear cannot, the labels are kept as measured")
        if len(cuts) == 1:
            notes.append(f"case {case}: a single run, so no wear curve and no R² of its own")
    return notes
