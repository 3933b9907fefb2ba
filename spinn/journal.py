"""The folder of one run while it grows: stage by stage, so that a killed run goes on from its last finished stage.

Order of writing: checkpoint, history, predictions, and last `progress.json` with their digests; whatever is there
beyond the stages that `progress.json` names is left over from a stage that was never finished, and is passed over.
`record.json` takes its place when the run is finished. Nothing is gone on from that is not what was recorded: a changed
byte would otherwise get a fresh digest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from spinn.documents import parse_json
from spinn.errors import RecordError, TamperedError
from spinn.metrics import metrics_of
from spinn.record import (
    DEPLOYED,
    HISTORY,
    PREDICTIONS,
    PROGRESS,
    RECORD,
    Environment,
    Latency,
    PhaseCost,
    PlannedRun,
    Record,
    StageRecord,
    checkpoint_name,
    read_model,
    seal_of,
    write_model,
)
from spinn.storage import digest_file, is_stored, read_stored, refuse_special, write_atomic


def is_finished(folder: Path, plan_digest: str) -> bool:
    """Whether the run in `folder` has its record, made under this plan.

    Raises:
        RecordError: there is a record that cannot be read.
    """
    path = folder / RECORD
    if not is_stored(path):
        return False
    try:
        return parse_json(read_stored(path))["plan_digest"] == plan_digest
    except (ValueError, KeyError, TypeError):
        raise RecordError(f"{path}: not a record; restore the file, or give --fresh to run again") from None


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
    def read(cls, folder: Path, plan_digest: str, stage: int) -> Journal:
        """The run as it was at the end of `stage`; nothing on disk is changed.

        Raises:
            RecordError: the record belongs to another plan, or a file of it is missing or cannot be read.
            TamperedError: the record, a table, or a checkpoint up to `stage` is not what was recorded.
        """
        source = RECORD if (folder / RECORD).exists() else PROGRESS
        record = read_model(folder / source, Record)
        if record.plan_digest != plan_digest:
            raise RecordError(f"{folder / source}: belongs to another plan; give --fresh to run it again")
        if record.seal != seal_of(record):
            raise TamperedError(f"{folder / source}: its content is not what was sealed; give --fresh to run it again")
        for number in range(stage + 1):
            _check(folder / checkpoint_name(number), record, number)
        tables = {name: _read_table(folder / name, record) for name in (HISTORY, PREDICTIONS)}
        upto = {name: table[table["stage"] <= stage].reset_index(drop=True) for name, table in tables.items()}
        files = {name: record.files[name] for name in map(checkpoint_name, range(stage + 1))}
        files |= {name: _digest(table) for name, table in upto.items()}
        rolled_back = record.model_copy(
            update={
                "stages": record.stages[: stage + 1],
                "metrics": tuple(metric for metric in record.metrics if metric.stage <= stage),
                "cost": record.cost[: stage + 1],
                "latency": (),
                "files": files,
            }
        )
        return cls(folder, rolled_back, upto[HISTORY], upto[PREDICTIONS])

    def roll_back(self, environment: Environment) -> None:
        """Make the folder what this journal says; a finished run is unfinished again from here on.

        A crash at any point leaves a state that `read` accepts: the progress is put in place first, and it names the
        digests of the rows that count.

        Args:
            environment: What the next stages run under; where it is another, the record warns of it.
        """
        changed = [k for k, v in environment.model_dump().items() if v != getattr(self.record.environment, k)]
        if changed:
            after = self.record.stages[-1].stage
            warning = f"stages after {after} ran in another environment than the record's: {', '.join(changed)}"
            self.record = self.record.model_copy(update={"warnings": (*self.record.warnings, warning)})
        if (self.folder / RECORD).exists():
            os.replace(self.folder / RECORD, self.folder / PROGRESS)
        write_model(self.folder / PROGRESS, self.record)
        self._write_tables()

    def copy_dense(self, planned: PlannedRun, cohort: Sequence[PlannedRun], folder: Path) -> None:
        """Begin another run, of a variant with the same dense phase, with what this one has: the dense network.

        Args:
            planned: The other run.
            cohort: The runs it is stacked with.
            folder: Its folder.
        """
        identity = {
            "run_id": planned.run_id,
            "variant": planned.variant,
            "cohort_runs": tuple(run.run_id for run in cohort),
        }
        write_atomic(folder / checkpoint_name(0), (self.folder / checkpoint_name(0)).read_bytes())
        copy = Journal(folder, self.record.model_copy(update=identity), self.history, self.predictions)
        copy._save()

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

    def finish(self, latency: Sequence[Latency], deployed: bytes | None) -> None:
        """Turn the progress into the record.

        Args:
            latency: What was timed.
            deployed: The content of the deployed network's file; None where there is no such network.
        """
        files = dict(self.record.files)
        if deployed is not None:
            write_atomic(self.folder / DEPLOYED, deployed)
            files[DEPLOYED] = digest_file(self.folder / DEPLOYED)
        self.record = self.record.model_copy(update={"latency": tuple(latency), "files": files})
        write_model(self.folder / RECORD, self.record)
        (self.folder / PROGRESS).unlink(missing_ok=True)

    def _save(self) -> None:
        """Tables first, progress last: until it is there, the stage before it is the last one."""
        (self.folder / RECORD).unlink(missing_ok=True)  # of a run that is begun anew
        digests = self._write_tables()
        self.record = self.record.model_copy(update={"files": {**self.record.files, **digests}})
        write_model(self.folder / PROGRESS, self.record)

    def _write_tables(self) -> dict[str, str]:
        """Write both; returns their sha256 by name."""
        digests = {}
        for name, table in ((HISTORY, self.history), (PREDICTIONS, self.predictions)):
            content = _spell(table)
            write_atomic(self.folder / name, content)
            digests[name] = hashlib.sha256(content).hexdigest()
        return digests


def _spell(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


def _digest(table: pd.DataFrame) -> str:
    return hashlib.sha256(_spell(table)).hexdigest()


def _check(path: Path, record: Record, stage: int) -> None:
    mend = f"--from-stage {stage - 1}" if stage > 0 else "--fresh"
    if not path.is_file():
        raise RecordError(f"{path}: no such file, though the record names it; give {mend} to make it again")
    if digest_file(path) != record.files.get(path.name):
        raise TamperedError(f"{path}: its bytes are not the recorded ones; give {mend} to make it again")


def _read_table(path: Path, record: Record) -> pd.DataFrame:
    """The rows of the stages that `record` has; what a stage that was never finished left behind is passed over."""
    try:
        refuse_special(path)
        table = pd.read_csv(path, dtype={"case": str}, keep_default_na=False, na_values=[""])
        rows = table[table["stage"] <= record.stages[-1].stage]
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; give --fresh to run it again") from None
    except (ValueError, KeyError, TypeError) as error:  # pandas' own errors are ValueErrors
        raise RecordError(f"{path}: not the table that was written ({error}); give --fresh to run it again") from None
    if _digest(rows) != record.files.get(path.name):
        raise TamperedError(f"{path}: its rows are not the recorded ones; give --fresh to run it again")
    return rows
