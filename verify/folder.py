"""What lies in a folder of runs, read by code of the judge's own; judges nothing.

A file that is missing or cannot be read becomes `UnavailableError` where a check asks for it: the check is unchecked
then, and `digests` says what is wrong with the file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
import safetensors
import safetensors.numpy

from spinn.config import Sensors
from spinn.data.dataset import TARGETS, read_canonical
from spinn.documents import parse_json
from spinn.errors import DataError, InputError, RecordError
from spinn.record import (
    ADAPTATION,
    AUDIT,
    BASELINES,
    CLAIMS,
    DATACARD,
    DATASET,
    DEPLOYED,
    HISTORY,
    PLAN,
    PREDICTION_COLUMNS,
    PREDICTIONS,
    PROGRESS,
    RECORD,
    RUNS,
    AdaptationMethod,
    Plan,
    PlannedRun,
    Record,
    Sealed,
    adapted_name,
    checkpoint_name,
    history_columns,
    plan_digest,
    read_model,
    run_folder,
    seal_of,
)
from spinn.storage import PACKED, digest_file, read_file, read_stored, refuse_special
from verify.network import Network, decode

PROCESS = ("time", "DOC", "feed", "steel")  # features that are settings, not signals
WITHHELD = "weights withheld"
HISTORY_WITHHELD = "history withheld: kept for one seed"
HOLDS_MASKS = ("global-magnitude", "layerwise-magnitude", "random")  # pruners of weights whose masks are held
MOST_LETTERS = 1 << 26  # of a column of names as an array, which gives each of them the room of the longest
WHOLE = ("stage", "epoch", "run", "fold", "seed", "labels_seen")  # columns of whole numbers
Content = TypeVar("Content")


class UnavailableError(Exception):
    """A file that a check needs cannot be looked at; the message is the reason."""


@dataclass(frozen=True)
class Fault:
    """One way in which a check does not hold; the audit adds the check's name and the run."""

    message: str
    data: dict[str, Any] = field(default_factory=dict)


Table = dict[str, np.ndarray]  # column → its values

Check = Callable[["Folder", "Run"], Iterator[Fault]]
FolderCheck = Callable[["Folder"], Iterator[Fault]]


@dataclass(frozen=True)
class Data:
    """dataset.csv as arrays with an entry a cut: `cases` (names), `runs`, and every numeric column by its name."""

    cases: np.ndarray
    runs: np.ndarray
    columns: Table

    def of(self, cases: Sequence[str]) -> np.ndarray:
        """True at the cuts of `cases`."""
        return np.isin(self.cases, list(cases))

    def measured(self) -> tuple[str, ...]:
        """Targets with a label somewhere."""
        return tuple(target for target in TARGETS if not np.isnan(self.columns[target]).all())

    def seen(self, features: Sequence[str], reading: Sensors) -> Data:
        """The data with every signal among `features` read so.

        `none`: 0. `relative`: ln(x / x₀), where x₀ is the case's first value above 0; NaN where x is not above 0.
        """
        columns = dict(self.columns)
        for name in features:
            if name in PROCESS:
                continue
            signal = columns[name]
            columns[name] = np.zeros(len(signal)) if reading == "none" else np.full(len(signal), np.nan)
            for case in dict.fromkeys(self.cases.tolist() if reading == "relative" else ()):
                known = np.flatnonzero((self.cases == case) & (signal > 0))
                columns[name][known] = np.log(signal[known] / signal[known[:1]])
        return replace(self, columns=columns)


class Run:
    """The files of one planned run; decoded once, when first asked for."""

    def __init__(
        self, plan: Plan, planned: PlannedRun, folder: Path, digests: dict[str, str], keeps_history: bool = True
    ):
        self.planned = planned
        self.folder = folder
        self.layers = plan.experiment.layers
        # the first version holds no mask: nothing to cut off; where neurons went it is cut off already
        self.deploys = plan.variant(planned.variant).pruner in HOLDS_MASKS
        self.digests = digests  # file name → sha256 of what is there
        self.keeps_history = keeps_history  # False: those of the run's seed may be left out
        self.problem = ""
        self.record: Record | None = None
        self._kept: dict[str, Any] = {}
        try:
            self.record = read_model(folder / RECORD, Record)
        except RecordError as error:
            self.problem = str(error)
        except UnicodeDecodeError as error:
            self.problem = f"{folder / RECORD}: not a text file ({error})"

    @property
    def unfinished(self) -> bool:
        """True if the run has left its progress behind and no record."""
        return RECORD not in self.digests and PROGRESS in self.digests

    @property
    def checked(self) -> Record:
        """The record; callers see to it that there is one."""
        if self.record is None:
            raise UnavailableError("no readable record")
        return self.record

    def files(self) -> tuple[str, ...]:
        """The files this run must have, checkpoints last."""
        stages = tuple(checkpoint_name(stage.stage) for stage in self.checked.stages)
        return (HISTORY, PREDICTIONS, *stages, *([DEPLOYED] if self.deploys else []))

    def withheld(self) -> bool:
        """True if no checkpoint of the run is there; a single one that is missing is a lost file instead."""
        return not any(name.endswith(".safetensors") for name in self.digests)

    def history_withheld(self) -> bool:
        """True if the run's history was left out with the weights, and so were those of all runs of its seed."""
        return not self.keeps_history and self.withheld()

    def history(self) -> Table:
        """history.csv, all columns numeric; raises `UnavailableError`."""
        if self.history_withheld():
            raise UnavailableError(HISTORY_WITHHELD)
        columns = history_columns(self.checked.physics_terms)
        return self.once(HISTORY, lambda: read_csv(self.folder / HISTORY, columns, text=()))

    def predictions(self) -> Table:
        """predictions.csv; raises `UnavailableError`."""
        text = ("split", "case", "target")
        return self.once(PREDICTIONS, lambda: read_csv(self.folder / PREDICTIONS, PREDICTION_COLUMNS, text=text))

    def network(self, stage: int) -> Network:
        """The checkpoint after `stage`; raises `UnavailableError`."""
        return self._network(checkpoint_name(stage), self.layers)

    def deployed(self) -> Network:
        """The deployed network, whose hidden layers have widths of its own; raises `UnavailableError`."""
        return self._network(DEPLOYED, None)

    def _network(self, name: str, layers: Sequence[int] | None) -> Network:
        if name not in self.digests and self.withheld():
            raise UnavailableError(WITHHELD)
        return self.once(name, lambda: read_network(self.folder / name, layers or self.layers, free=layers is None))

    def unreadable(self) -> Iterator[str]:
        """A line for each required file that is there and cannot be read as what it is."""
        readers: dict[str, Callable[[], object]] = {HISTORY: self.history, PREDICTIONS: self.predictions}
        for stage in self.checked.stages:
            readers[checkpoint_name(stage.stage)] = lambda number=stage.stage: self.network(number)
        if self.deploys:
            readers[DEPLOYED] = self.deployed
        for name, reader in readers.items():
            if name in self.digests:
                try:
                    reader()
                except UnavailableError as reason:
                    yield str(reason)

    def forget(self) -> None:
        """Free what was decoded."""
        self._kept.clear()

    def once(self, name: str, reader: Callable[[], Content]) -> Content:
        """What `reader` gives, kept under `name` until `forget`; so is its being unavailable."""
        if name not in self._kept:
            try:
                self._kept[name] = reader()
            except UnavailableError as reason:
                self._kept[name] = reason
        kept = self._kept[name]
        if isinstance(kept, UnavailableError):
            raise kept
        return kept


@dataclass(frozen=True)
class Folder:
    """A folder of runs: its plan, its data, its runs in planned order, and the sha256 of every file in it."""

    path: Path
    plan: Plan
    digests: dict[str, str]  # path relative to the folder, with / → sha256
    runs: tuple[Run, ...]
    data: Data | DataError
    memory: dict[str, bool] = field(default_factory=dict)  # facts about the whole folder, found once
    held_out: dict[tuple[str, str], Table] = field(default_factory=dict)  # sums of `verify.luck`, found once
    readings: dict[str, Data] = field(default_factory=dict)  # of the sensors, by variants that have their own

    @cached_property
    def plan_digest(self) -> str:
        """What every record made under the plan carries."""
        return plan_digest(self.plan)

    @cached_property
    def stacks(self) -> dict[tuple[str, str], list[Run]]:
        """The runs that are trained together, by cohort and variant."""
        stacks: dict[tuple[str, str], list[Run]] = {}
        for run in self.runs:
            stacks.setdefault((run.planned.cohort, run.planned.variant), []).append(run)
        return stacks

    @property
    def dataset(self) -> Data:
        """dataset.csv; raises `UnavailableError`."""
        if isinstance(self.data, DataError):
            raise UnavailableError(str(self.data))
        return self.data

    def seen_by(self, run: Run) -> Data:
        """dataset.csv as networks of the run's variant see it; raises `UnavailableError`."""
        experiment, variant = self.plan.experiment, self.plan.variant(run.planned.variant)
        reading = experiment.sensors_of(variant)
        if reading == experiment.sensors:
            return self.dataset
        if reading not in self.readings:
            self.readings[reading] = self.dataset.seen(self.plan.dataset.features, reading)
        return self.readings[reading]

    def folders(self) -> tuple[str, ...]:
        """Names of the folders below runs/."""
        parent = self.path / RUNS
        return tuple(sorted(path.name for path in parent.iterdir() if path.is_dir())) if parent.is_dir() else ()


def adaptation_files(plan: Plan) -> frozenset[str]:
    """What may lie in adaptation/: nothing where the plan adapts to no tool."""
    if plan.experiment.adaptation is None:
        return frozenset()
    first, seed = plan.experiment.variants[0].name, plan.experiment.seeds[0]
    runs = [run for run in plan.runs if (run.variant, run.seed) == (first, seed)]
    names = {RECORD, *(f"{method}.csv" for method in get_args(AdaptationMethod))}
    names |= {adapted_name(run, case) for run in runs for case in run.test}
    return frozenset(f"{ADAPTATION}/{name}" for name in names)


def digest_all(runs: Path) -> dict[str, str]:
    """sha256 of every file that an audit may read, by its path relative to `runs`; audit.json is not among them.

    Raises:
        InputError: `runs` is not a folder of runs.
    """
    if not runs.is_dir():
        raise InputError(f"{runs}: not a folder; a folder of runs is what `spinn run --out` wrote")
    if not (runs / PLAN).is_file():
        raise InputError(f"{runs / PLAN}: no such file; a folder of runs starts with its plan")
    top = [runs / name for name in (PLAN, DATASET, DATACARD, CLAIMS)]
    below = [path for name in (BASELINES, ADAPTATION, RUNS) for path in sorted((runs / name).rglob("*"))]
    files = [path for path in (*top, *below) if path.is_file() and not path.name.startswith(".") and path.name != AUDIT]
    files = [_content(path) for path in files]
    with ThreadPoolExecutor(2) as pool:  # hashing releases the interpreter lock
        digests = pool.map(digest_file, files)
        return {path.relative_to(runs).as_posix(): digest for path, digest in zip(files, digests, strict=True)}


def _content(path: Path) -> Path:
    """The name of what a compressed file holds; its own beside an uncompressed file, where it is one too many."""
    plain = path.with_name(path.name.removesuffix(PACKED))
    return plain if path.suffix == PACKED and not plain.exists() else path


def read_folder(runs: Path, digests: dict[str, str]) -> Folder:
    """Read plan, data and records of `runs`; nothing else is read before a check asks for it.

    Raises:
        InputError: plan.json cannot be read as a plan: there is nothing to judge by.
    """
    try:
        plan = read_model(runs / PLAN, Plan)
    except UnicodeDecodeError as error:
        raise RecordError(f"{runs / PLAN}: not a text file ({error})") from None
    _refuse_strange_variants(runs / PLAN, plan)
    keep = _seeds_with_history(plan, digests)
    below = _by_run(digests)
    members = tuple(
        Run(plan, run, run_folder(runs, run.run_id), below.get(run.run_id, {}), run.seed in keep) for run in plan.runs
    )
    return Folder(runs, plan, digests, members, read_data(runs, plan))


def _seeds_with_history(plan: Plan, digests: dict[str, str]) -> frozenset[int]:
    """Seeds whose histories have to be there: the first, and each of which there is one."""
    there = {run.seed for run in plan.runs if f"{RUNS}/{run.run_id}/{HISTORY}" in digests}
    return frozenset({*plan.experiment.seeds[:1], *there})


def _refuse_strange_variants(path: Path, plan: Plan) -> None:
    """Stop at a plan that follows the schema, and names a variant that is none."""
    variants = {variant.name for variant in plan.experiment.variants}
    for run in plan.runs:
        if run.variant not in variants:
            raise RecordError(f"{path}: runs.{run.run_id}.variant = {run.variant!r}: one of {sorted(variants)}")


def is_sealed(record: Sealed) -> bool:
    """Whether its content is what was sealed when it was written; inf or NaN never were."""
    try:
        return record.seal == seal_of(record)
    except ValueError:
        return False


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises `UnavailableError`."""
    try:
        return parse_json(read_file(path))
    except FileNotFoundError:
        raise UnavailableError(f"{path}: no such file") from None
    except ValueError as error:
        raise UnavailableError(f"{path}: not JSON ({error})") from None


def _by_run(digests: dict[str, str]) -> dict[str, dict[str, str]]:
    """Of each folder below runs/ its files, by their names in it, and their digests."""
    found: dict[str, dict[str, str]] = {}
    for path, digest in digests.items():
        top, _, rest = path.partition("/")
        run_id, slash, name = rest.partition("/")
        if top == RUNS and slash:
            found.setdefault(run_id, {})[name] = digest
    return found


def read_data(runs: Path, plan: Plan) -> Data | DataError:
    """dataset.csv of a folder of runs; the error that says why it cannot be read, or is not the data of the plan."""
    try:
        dataset = read_canonical(runs / DATASET, plan.dataset)
    except DataError as error:
        return error
    except ValueError as error:
        return DataError(f"{runs / DATASET}: not the data of the plan ({error})")
    frame = dataset.frame
    columns: Table = {}
    for name in dict.fromkeys((*plan.dataset.features, "time", "DOC", "feed", "steel", "power", *TARGETS)):
        try:
            columns[name] = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        except (ValueError, TypeError, OverflowError):
            return DataError(f"{runs / DATASET}: column {name!r} is not numeric")
    try:
        runs_of = frame["run"].to_numpy()
        if runs_of.dtype.kind not in "iu":
            raise ValueError
        return Data(_texts(frame["case"].tolist()), runs_of.astype(np.int64), columns)
    except (ValueError, TypeError, OverflowError):
        return DataError(f"{runs / DATASET}: column 'run' does not hold whole numbers, or 'case' not names of any use")


def read_csv(path: Path, columns: Sequence[str], text: Sequence[str]) -> Table:
    """A table with exactly these columns, all numeric but `text`, an empty field NaN; raises `UnavailableError`."""
    try:
        cells = _cells(path, columns)
    except FileNotFoundError:
        raise UnavailableError(f"{path.name}: no such file") from None
    except (ValueError, csv.Error) as error:  # empty, not UTF-8, or not CSV
        raise UnavailableError(f"{path.name}: not a CSV file ({error})") from None
    table: Table = {}
    for name, fields in zip(columns, cells, strict=True):
        try:
            if name in text:
                table[name] = _texts(fields)
            elif name in WHOLE:
                table[name] = np.fromiter(map(int, fields), np.int64, len(fields))
            else:
                table[name] = np.fromiter((float(field or "nan") for field in fields), np.float64, len(fields))
        except (ValueError, OverflowError):
            kind = "whole numbers" if name in WHOLE else "names of any use" if name in text else "numbers"
            raise UnavailableError(f"{path.name}: column {name!r} does not hold {kind}") from None
    return table


def _cells(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """The fields of each column; each row is looked at before the next is read: a packed file can hold millions.

    Raises:
        ValueError: it is not such a table, not text, or not what a compressor wrote.
    """
    lines = csv.reader(io.StringIO(read_stored(path).decode("utf-8"), newline=""), strict=True)
    header = next(lines, [])
    if header != list(columns):
        raise UnavailableError(f"{path.name}: columns are {header!s:.200}, expected {list(columns)}")
    cells: list[list[str]] = [[] for _ in columns]
    for line, row in enumerate(lines, start=2):
        if len(row) != len(columns):
            raise UnavailableError(f"{path.name}, line {line}: {len(row)} fields, expected {len(columns)}")
        for column, cell in zip(cells, row, strict=True):
            column.append(cell)
    return cells


def _texts(fields: list[str]) -> np.ndarray:
    """The fields as an array, in which each takes as much room as the longest."""
    longest = max(map(len, fields), default=0)
    if longest * len(fields) > MOST_LETTERS:
        raise ValueError(f"{len(fields)} texts, the longest of {longest} letters")
    return np.array(fields, dtype=str)


def read_network(path: Path, layers: Sequence[int], *, free: bool = False) -> Network:
    """The network in a file: of these `layers`, or with hidden layers as wide as its biases where they are `free`.

    Raises `UnavailableError`.
    """
    try:
        refuse_special(path)
        tensors = safetensors.numpy.load_file(path)
        if free:
            layers = (layers[0], *(tensors[f"layers.{i}.bias"].size for i in range(len(layers) - 2)), layers[-1])
        return decode(tensors, layers)
    except FileNotFoundError:
        raise UnavailableError(f"{path.name}: no such file") from None
    except KeyError as error:
        raise UnavailableError(f"{path.name}: not a readable checkpoint (tensor {error!s:.80} is missing)") from None
    except (safetensors.SafetensorError, ValueError, TypeError, AttributeError) as error:  # the last: of a dtype
        raise UnavailableError(f"{path.name}: not a readable checkpoint ({error!s:.200})") from None
