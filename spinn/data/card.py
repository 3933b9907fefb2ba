"""The data card: what is in the data, what was left out of it and why, so that the numbers add up.

Knows a `Dataset` and nothing of where it came from.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np
import pandas as pd

from spinn.data.dataset import UNITS, Dataset, Exclusion
from spinn.data.features import PROCESS
from spinn.record import COEFFICIENT_UNITS

TARGET_NAMES = {"VB": "flank wear VB", "thermal": "thermal displacement"}


def card_rows(dataset: Dataset) -> list[tuple[str, str]]:
    """Label and value of every line of the data card's table.

    The four lines `with/no VB, with/no usable signals` partition the cuts: they sum to the line `cuts`.
    """
    frame = dataset.frame
    rows = [("source", dataset.source), ("cases (tools)", str(len(dataset.cases))), ("cuts", str(len(frame)))]
    rows += [(f"labelled: {TARGET_NAMES[target]}", _labels(frame, target)) for target in TARGET_NAMES]
    sensors = [name for name in dataset.features if name not in PROCESS]
    if sensors:
        signals = ~np.isnan(frame[sensors].to_numpy(float)).all(axis=1)
        labelled = ~np.isnan(_values(frame, "VB"))
        rows += [
            ("with VB, with usable signals", str(np.count_nonzero(labelled & signals))),
            ("with VB, no usable signals", str(np.count_nonzero(labelled & ~signals))),
            ("no VB, with usable signals", str(np.count_nonzero(~labelled & signals))),
            ("no VB, no usable signals", str(np.count_nonzero(~labelled & ~signals))),
        ]
    rows += [(f"{name} ({UNITS[name]})", _range(_values(frame, name))) for name in ("time", "VB", "thermal", "power")]
    rows += [(f"{name} ({UNITS[name]})", _levels(_values(frame, name))) for name in ("DOC", "feed")]
    steel = np.count_nonzero(_values(frame, "steel"))
    rows.append(("material", f"cast iron in {len(frame) - steel} cuts, steel in {steel}"))
    rows.append(("cuts per case", _range(np.array(list(Counter(frame["case"]).values()), dtype=float))))
    rows.append(("features", f"{len(dataset.features)}: {', '.join(dataset.features)}"))
    absent = [name for name in dataset.features if np.isnan(_values(frame, name)).all()]
    if absent:
        rows.append(("features without any value", ", ".join(absent)))
    rows.append(("exclusions", _counts(dataset.exclusions)))
    rows += [(f"truth: {name} ({COEFFICIENT_UNITS[name]})", repr(value)) for name, value in dataset.truth.items()]
    rows.append(("fingerprint (sha256)", dataset.fingerprint()))
    return rows


def describe(dataset: Dataset) -> str:
    """The data card as text: the table, each exclusion with its reason and its cuts, the notes, the cases."""
    rows = card_rows(dataset)
    width = max(len(label) for label, _ in rows)
    lines = ["Data card", "", *(f"  {label:<{width}}  {value}" for label, value in rows)]
    if dataset.exclusions:
        lines += ["", "Left out (case/run)", ""]
        lines += [
            f"  {what}, {len(cuts)}: {reason}: {', '.join(f'{cut.case}/{cut.run}' for cut in cuts)}"
            for (what, reason), cuts in grouped(dataset.exclusions).items()
        ]
    if dataset.notes:
        lines += ["", "Notes", "", *(f"  {note}" for note in dataset.notes)]
    return "\n".join([*lines, "", "Cases", "", *_cases(dataset)]) + "\n"


def grouped(exclusions: Iterable[Exclusion]) -> dict[tuple[str, str], list[Exclusion]]:
    """Exclusions by what was left out and why, in the order they first appear."""
    groups = defaultdict(list)
    for exclusion in exclusions:
        groups[exclusion.what, exclusion.reason].append(exclusion)
    return dict(groups)


def _counts(exclusions: Iterable[Exclusion]) -> str:
    counts = [f"{what}: {len(cuts)} ({reason})" for (what, reason), cuts in grouped(exclusions).items()]
    return "; ".join(counts) or "none"


def _labels(frame: pd.DataFrame, target: str) -> str:
    found = np.count_nonzero(~np.isnan(_values(frame, target)))
    if not found:
        return "not measured: no label, not trained on, not reported"
    return f"{found} of {len(frame)} cuts, {len(frame) - found} without"


def _values(frame: pd.DataFrame, name: str) -> np.ndarray:
    return frame[name].to_numpy(float)


def _range(values: np.ndarray) -> str:
    if np.isnan(values).all():
        return "not measured"
    return f"{np.nanmin(values):.4g} to {np.nanmax(values):.4g}"


def _levels(values: np.ndarray) -> str:
    levels, counts = np.unique(values, return_counts=True)
    if len(levels) > 6:
        return _range(values)
    return ", ".join(f"{level:g} in {count} cuts" for level, count in zip(levels, counts, strict=True))


def _cases(dataset: Dataset) -> list[str]:
    lines = []
    for case, cuts in dataset.frame.groupby("case", sort=False):
        first, labelled = cuts.iloc[0], cuts["VB"].dropna()
        wear = f"VB {labelled.min():.2f} to {labelled.max():.2f} mm" if len(labelled) else "no label"
        material = "steel" if first["steel"] == 1 else "cast iron"
        lines.append(
            f"  {case:>3}  {len(cuts):>3} cuts, {len(labelled):>3} labelled, {cuts['time'].max():6.4g} min, "
            f"DOC {first['DOC']:g}, feed {first['feed']:g}, {material}, {wear}"
        )
    return lines
