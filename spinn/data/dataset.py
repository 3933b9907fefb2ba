"""The one container of data: a row per cut, and which columns are features and targets.

Knows no file format but its own (a tidy CSV whose sha256 is the fingerprint), and no torch.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from spinn.data.lines import MOST_COLUMNS, bounded
from spinn.errors import DataError
from spinn.record import PlannedDataset
from spinn.storage import refuse_special

TARGETS = ("VB", "thermal")
DOC_REFERENCE, FEED_REFERENCE = 0.75, 0.25  # mm, mm/rev: the lighter cut of the NASA design; wear laws refer to it
UNITS = {"time": "min", "DOC": "mm", "feed": "mm/rev", "power": "W", "VB": "mm", "thermal": "µm"}
REQUIRED = ("case", "run", "time", "DOC", "feed", "steel", "power", "VB", "thermal")


@dataclass(frozen=True)
class Exclusion:
    """Something that was left out, and why: `what` is a cut, a signal or a label."""

    case: str
    run: int
    what: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """One row per cut, ordered by case and then by time.

    `frame` columns: `case` (str, identifies the tool), `run` (int), `time` (min of cutting), `DOC` (mm), `feed`
    (mm/rev), `steel` (0 cast iron, 1 steel), `power` (W, NaN where not known), `VB` (mm) and `thermal` (µm), NaN where
    not measured, and every feature (NaN where its signal is missing). `features` names the input columns, in order;
    `time`, `DOC`, `feed` and `steel` come first and are features too. `truth` are the coefficients of the laws that
    made the data, where it is simulated (`spinn.record.COEFFICIENT_UNITS`).
    """

    source: str
    frame: pd.DataFrame
    features: tuple[str, ...]
    exclusions: tuple[Exclusion, ...] = ()
    notes: tuple[str, ...] = ()
    truth: Mapping[str, float] = field(default_factory=dict)

    @property
    def cases(self) -> tuple[str, ...]:
        """The tools, in the order of their first cut."""
        return tuple(dict.fromkeys(self.frame["case"]))

    @property
    def measured_targets(self) -> tuple[str, ...]:
        """Targets with at least one label."""
        return tuple(target for target in TARGETS if self.frame[target].count() > 0)

    def to_csv(self) -> bytes:
        """The canonical CSV: fixed column order, shortest exact spelling of every float."""
        columns = [*REQUIRED, *(name for name in self.features if name not in REQUIRED)]
        text = io.StringIO()
        self.frame[columns].to_csv(text, index=False, lineterminator="\n")
        return text.getvalue().encode()

    def fingerprint(self) -> str:
        """sha256 of the canonical CSV."""
        return hashlib.sha256(self.to_csv()).hexdigest()

    def planned(self, card: str) -> PlannedDataset:
        """What a plan states about this data; `card` is the digest of its data card."""
        return PlannedDataset(
            source=self.source,
            fingerprint=self.fingerprint(),
            card=card,
            features=self.features,
            targets=self.measured_targets,  # type: ignore[arg-type]
            cases=self.cases,
            cuts=len(self.frame),
        )


def read_canonical(path: Path, planned: PlannedDataset) -> Dataset:
    """Read back the `dataset.csv` of a folder of runs.

    Raises:
        DataError: the file is missing, or its columns are not the planned ones. (Its digest is the audit's business.)
    """
    try:
        _refuse_header(path, planned)
        frame = pd.read_csv(path, dtype={"case": str}, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; it is written beside plan.json before any training") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file ({error}); the run that wrote it must be repeated") from None
    return Dataset(planned.source, frame, planned.features)


def _refuse_header(path: Path, planned: PlannedDataset) -> None:
    """Stop at a file of other columns, or of endless lines, before pandas makes a table of them."""
    refuse_special(path)
    with open(path, encoding="utf-8", newline="") as stream:
        lines = bounded(stream)
        header = next(csv.reader(lines), [])
        missing = [name for name in (*REQUIRED, *planned.features) if name not in header]
        if missing:
            raise DataError(f"{path}: column {missing[0]!r} is missing; the plan names it")
        if len(header) > MOST_COLUMNS:
            raise DataError(f"{path}: {len(header):,} columns: at most {MOST_COLUMNS:,} expected")
        for _ in lines:
            pass
