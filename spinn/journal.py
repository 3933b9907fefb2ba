"""The folder of one run while it grows: stage by stage, so that a killed run goes on from its last finished stage.

Order of writing: checkpoint, history, predictions, and last `progress.json` with their digests; whatever is there
beyond the stages that `progress.json` names is left over from a stage that was never finished, and is ignored.
`record.json` takes its place when the run is finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from spinn.errors import RecordError, TamperedError
from spinn.metrics import metrics_of
from spinn.record import (
    HISTORY,
    PREDICTIONS,
    PROGRESS,
    RECORD,
    Latency,
    PhaseCost,
    Record,
    StageRecord,
    checkpoint_name,
    digest_file,
    read_model,
    write_atomic,
    write_model,
)


def stages_done(folder: Path) -> int:
    """The last stage that the run in `folder` has behind it: -1 none, 0 the dense network, and so on."""
    for name in (RECORD, PROGRESS):
        if (folder / name).exists():
            return len(read_model(folder / name, Record).stages) - 1
    return -1


@dataclass
class Journal:
    """One run: its record so far, and the tables beside it."""

    folder: Path
    record: Record
    history: pd.DataFrame
    predictions: pd.DataFrame

    @classmethod
    def start(cls, folder: Path, record: Record) -> Journal:
        """A run with nothing behind it; `record` has no stages."""
        return cls(folder, record, pd.DataFrame(), pd.DataFrame())

    @classmethod
    def restore(cls, folder: Path, plan_digest: str, stage: int) -> Journal:
        """The run as it was at the end of `stage`; a finished run is unfinished again from here on.

        Raises:
            RecordError: the record belongs to another plan, or a file of it is missing.
            TamperedError: the checkpoint of `stage` is not the one that was recorded.
        """
        source = RECORD if (folder / RECORD).exists() else PROGRESS
        record = read_model(folder / source, Record)
        if record.plan_digest != plan_digest:
            raise RecordError(f"{folder / source}: belongs to another plan; give --fresh to run it again")
        mend = f"--from-stage {stage - 1}" if stage > 0 else "--fresh"
        kept = folder / checkpoint_name(stage)
        if not kept.exists():
            raise RecordError(f"{kept}: no such file, though {source} names it; give {mend} to make it again")
        if digest_file(kept) != record.files[kept.name]:
            raise TamperedError(f"{kept}: its bytes are not the recorded ones; give {mend} to make it again")
        history = _read_until(folder / HISTORY, stage)
        predictions = _read_until(folder / PREDICTIONS, stage)
        checkpoints = [checkpoint_name(k) for k in range(stage + 1)]
        rolled_back = record.model_copy(
            update={
                "stages": record.stages[: stage + 1],
                "metrics": tuple(metric for metric in record.metrics if metric.stage <= stage),
                "cost": record.cost[: stage + 1],
                "latency": (),
                "files": {name: record.files[name] for name in checkpoints},
            }
        )
        journal = cls(folder, rolled_back, history, predictions)
        journal._save()
        return journal

    def add_stage(
        self,
        stage: StageRecord,
        network: bytes,
        history: Sequence[dict[str, float]],
        predictions: pd.DataFrame,
        cost: PhaseCost,
    ) -> None:
        """Write what `stage` left behind; when this returns, the run can go on from here after a crash.

        Args:
            stage: The stage's entry in the record.
            network: The content of its checkpoint.
            history: One row per epoch.
            predictions: Every cut and target, with the columns of `spinn.record.PREDICTION_COLUMNS`.
            cost: What the phase cost.
        """
        write_atomic(self.folder / stage.checkpoint, network)
        files = {name: self.record.files[name] for name in self.record.files if name.endswith(".safetensors")}
        files[stage.checkpoint] = digest_file(self.folder / stage.checkpoint)
        self.history = pd.concat([self.history, pd.DataFrame(history)], ignore_index=True)
        self.predictions = pd.concat([self.predictions, predictions], ignore_index=True)
        self.record = self.record.model_copy(
            update={
                "stages": (*self.record.stages, stage),
                "metrics": (*self.record.metrics, *metrics_of(predictions)),
                "cost": (*self.record.cost, cost),
                "files": files,
            }
        )
        self._save()

    def finish(self, latency: Sequence[Latency]) -> None:
        """Turn the progress into the record."""
        self.record = self.record.model_copy(update={"latency": tuple(latency)})
        write_model(self.folder / RECORD, self.record)
        (self.folder / PROGRESS).unlink(missing_ok=True)

    def _save(self) -> None:
        tables = {HISTORY: self.history, PREDICTIONS: self.predictions}
        for name, table in tables.items():
            write_atomic(self.folder / name, table.to_csv(index=False, lineterminator="\n").encode())
        digests = {name: digest_file(self.folder / name) for name in tables}
        self.record = self.record.model_copy(update={"files": {**self.record.files, **digests}})
        write_model(self.folder / PROGRESS, self.record)
        (self.folder / RECORD).unlink(missing_ok=True)


def _read_until(path: Path, stage: int) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"case": str}, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; give --fresh to run it again") from None
    return table[table["stage"] <= stage].reset_index(drop=True)
