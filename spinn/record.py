"""The plan and the run record: their schema, their digests, and how they are written and read.

Knows names and shapes of what is on disk; computes nothing about networks, and loads neither torch nor numpy.
A folder of runs holds `plan.json`, `dataset.csv`, `datacard.json`, `claims.json`, a JSON and a CSV file for each
baseline in `baselines/`, where the experiment adapts `adaptation/` with `record.json`, a CSV file for each method and
checkpoints, and `runs/<run id>/` with `record.json` (`progress.json` while the run is unfinished), `history.csv`,
`predictions.csv`, `dense.safetensors`, `stage-<k>.safetensors` and, where masks were held, `deployed.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, Field

from spinn.config import AdaptationConfig, BaselineName, Experiment, PhysicsTerm, Strict, Variant
from spinn.documents import unseen
from spinn.errors import RecordError
from spinn.storage import digest_of, read_stored, write_atomic

SCHEMA_VERSION = 1
DATACARD, CLAIMS = "datacard.json", "claims.json"
CLAIM_NAME = "[a-z0-9][a-z0-9-]*"
PLAN, DATASET, AUDIT, RUNS, BASELINES = "plan.json", "dataset.csv", "audit.json", "runs", "baselines"
RECORD, PROGRESS, HISTORY, PREDICTIONS = "record.json", "progress.json", "history.csv", "predictions.csv"
DEPLOYED = "deployed.safetensors"
ADAPTATION = "adaptation"
COEFFICIENT_UNITS = {"a": "ln(mm/min)", "b": "1", "c": "1", "d": "1", "g": "1/mm", "k": "µm/(W·min)", "tau": "min"}
"""Of the learned coefficients of the wear law (a to g) and of the heat balance, see `spinn.physics`."""

Target = Literal["VB", "thermal"]
Split = Literal["train", "validation", "test"]
AdaptationMethod = Literal["none", "adapted", "refitted-law", "rescaled-law", "retrained"]


# --- the plan, written before any training --------------------------------------------------------------------------


class LedgerStage(Strict):
    """One line of the pruning ledger; integers only. `stage` counts from 1.

    `widths` are the network's after the stage, from input to output, where neurons go; None where single weights do.
    """

    stage: int
    ratio: str
    active: int
    pruned: int
    kept_weights: int
    parameters: int
    widths: tuple[int, ...] | None = None


def _seen(text: str) -> str:
    if letter := unseen(text):
        raise ValueError(f"a letter in it is not seen, U+{ord(letter):04X}")
    return text


class PlannedDataset(Strict):
    """The data of a plan: `fingerprint` is the sha256 of `dataset.csv`, `card` the digest of `datacard.json`."""

    source: Annotated[str, AfterValidator(_seen)]
    fingerprint: str
    card: str
    features: tuple[str, ...] = Field(min_length=1)
    targets: tuple[Target, ...] = Field(min_length=1)  # the measured ones
    cases: tuple[str, ...]
    cuts: int


class PlannedRun(Strict):
    """One run that must be there in the end; its id and cohort become names of files, and so name no other place."""

    run_id: str = Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=200)
    variant: str
    fold: int
    seed: int
    cohort: str = Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=200)
    train: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...]
    test: tuple[str, ...]


class PlannedClaims(Strict):
    """Digest of `claims.json` (statements, thresholds, tests, margins), fixed before the runs."""

    digest: str
    names: tuple[str, ...]


class Plan(Strict):
    """Everything that was decided before training; `ledger` maps each variant to its stages."""

    schema_version: int = SCHEMA_VERSION
    spinn_version: str
    experiment: Experiment
    dataset: PlannedDataset
    ledger: dict[str, tuple[LedgerStage, ...]]
    runs: tuple[PlannedRun, ...]
    claims: PlannedClaims

    def variant(self, name: str) -> Variant:
        """The variant called `name`."""
        return next(variant for variant in self.experiment.variants if variant.name == name)

    def cohort(self, name: str, variant: Variant) -> list[PlannedRun]:
        """The runs of `variant` that are trained together as the cohort `name`."""
        return [run for run in self.runs if run.cohort == name and run.variant == variant.name]


# --- the record of one run -------------------------------------------------------------------------------------------


class LayerStatistics(Strict):
    """One weight matrix after a stage's fine-tuning. `nonzero` counts weights that are not 0, masked or not.

    `weights` is the size of the dense network's matrix; `kept` that of the smaller one where neurons went.
    """

    name: str
    weights: int
    kept: int
    nonzero: int
    mean_abs: float  # over kept weights
    std: float
    min_abs: float
    max_abs: float


class StageRecord(Strict):
    """What one stage did; stage 0 is the dense network, before any pruning.

    `active`, `pruned`, `kept_weights` and `parameters` are read off the masks, or off the smaller network where neurons
    went; `nonzero_weights` off the weights at the stage's end. `reported_reduction` is what the pruner itself claims to
    have reached. `residuals` are the physics terms of the network as it is at the stage's end (see
    `spinn.training.residuals`). `attribution` says how the weights that went compare with those that stayed in what
    their removal changes in the losses (see `spinn.attribution.measure`); None where nothing was pruned or no physics
    term is on.
    Without validation cases the last epoch is kept, which then has no validation loss.
    """

    stage: int
    active: int
    pruned: int
    kept_weights: int
    parameters: int
    nonzero_weights: int
    reported_reduction: float
    layers: tuple[LayerStatistics, ...]
    epochs_run: int
    selected_epoch: int
    selected_by: Literal[Split, "last"]
    selected_loss: float | None
    coefficients: dict[str, float]
    residuals: dict[PhysicsTerm, float]
    attribution: dict[str, float] | None = None
    checkpoint: str
    checkpoint_bytes: int


class WearLaw(Strict):
    """A wear law fitted to training cases, and the share of it by which the network may correct it at most.

    VB (mm) = t · exp(a + b·ln(DOC/0.75) + c·ln(feed/0.25) + d·steel), t in minutes.
    """

    a: float
    b: float
    c: float
    d: float
    correction: float

    @property
    def coefficients(self) -> tuple[float, float, float, float]:
        """A [ln(mm/min)], b, c and d [1]."""
        return self.a, self.b, self.c, self.d


class Scaler(Strict):
    """What was fitted on training cases: scaled = (value - mean) / scale; a missing feature becomes 0.

    `law`: where the network corrects a wear law, that law.
    """

    fitted_on: tuple[str, ...]
    feature_mean: tuple[float, ...]
    feature_scale: tuple[float, ...]
    target_mean: tuple[float, ...]
    target_scale: tuple[float, ...]
    law: WearLaw | None = None


class Metric(Strict):
    """Error of one target over one split after one stage; `r2` is None below two distinct measured values."""

    stage: int
    split: Split
    target: Target
    n: int
    r2: float | None
    mae: float
    rmse: float


class PhaseCost(Strict):
    """Cost of one phase of a cohort. `key` names the phase across runs: equal keys are one and the same work.

    `estimated_flops` and `estimated_seconds` are what was expected before it began, were all planned epochs run.
    """

    key: str
    phase: str  # dense, stage-1, …
    runs: int  # networks trained together in it
    seconds: float
    epochs: int
    flops: int  # of one run: forward and backward, counted analytically
    peak_memory_bytes: int
    energy_joules: float | None  # None: this machine does not report it
    estimated_flops: int
    estimated_seconds: float


class Latency(Strict):
    """Wall time of one forward pass at batch 1 on one thread.

    `flops` are those of the active weights; a masked network executes the dense network's all the same, one from which
    neurons were removed only its own. `file_bytes` and `memory_bytes` are the sizes of its checkpoint and of its
    tensors once loaded.
    """

    model: Literal["dense", "sparse"]
    median_ms: float
    p95_ms: float
    repeats: int
    flops: int
    file_bytes: int
    memory_bytes: int


class Environment(Strict):
    """The machine, the libraries and the code of a run, as they were.

    `code` is the digest of spinn's sources. `kernels` are those that the libraries chose among theirs, by processor.
    """

    spinn: str
    python: str
    platform: str
    processor: str
    cores: int
    memory_bytes: int
    device: str
    threads: int
    packages: dict[str, str]
    # Of records that are older than these fields they are empty, and no part of what they were sealed with.
    code: str = Field(default="", exclude_if=lambda stated: not stated)
    kernels: str = Field(default="", exclude_if=lambda stated: not stated)
    tf32: bool = False  # products of float32 matrices in the reduced precision of a CUDA device's tensor cores


class Record(Strict):
    """One run: what was planned, what was achieved, and the digest of every file that says so."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    plan_digest: str
    variant: str
    fold: int
    seed: int
    cohort: str
    cohort_runs: tuple[str, ...]
    environment: Environment
    features: tuple[str, ...]
    scaler: Scaler
    physics_terms: tuple[PhysicsTerm, ...]
    stages: tuple[StageRecord, ...]
    metrics: tuple[Metric, ...]
    cost: tuple[PhaseCost, ...]
    latency: tuple[Latency, ...]
    warnings: tuple[str, ...]
    files: dict[str, str]  # name in the run's folder → sha256
    seal: str = ""  # see `seal_of`; set by `write_model`


class Candidate(Strict):
    """One setting of a baseline that was tried, on `all` features or on those of the `process` alone.

    `score` is its mean squared error over labelled cuts of inner held-out cases, in the target's unit squared.
    """

    inputs: Literal["all", "process"]
    settings: dict[str, int | float | str]
    score: float


class Choice(Strict):
    """The candidates for one target, and the place of the one with the lowest score; test cases had no say in it."""

    target: Target
    candidates: tuple[Candidate, ...]
    chosen: int


class BaselineFold(Strict):
    """One fit of a baseline, on every case but the held-out ones.

    `coefficients` by name, in the units of the law. `seed` is 0 where nothing is drawn. A small network is trained on
    the cases of the plan's run with this fold and seed, and stopped by its `validation` cases.
    """

    fold: int
    seed: int = 0
    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...]
    coefficients: dict[str, float]
    choices: tuple[Choice, ...] = ()


class BaselineRecord(Strict):
    """A baseline over all folds; its held-out predictions are in `<name>.csv` beside `<name>.json`."""

    schema_version: int = SCHEMA_VERSION
    name: BaselineName
    plan_digest: str
    targets: tuple[Target, ...]  # the ones it predicts
    parameters: int  # numbers that one fit keeps, over all targets; of the fit with the most
    library: str = ""  # name and version of what fitted it, where it is not this package
    folds: tuple[BaselineFold, ...]
    seconds: float
    predictions_digest: str
    seal: str = ""  # see `seal_of`; set by `write_model`


# --- online adaptation ----------------------------------------------------------------------------------------------


class AdaptedTool(Strict):
    """A held-out tool under one method; `labels` are its cuts with measured flank wear.

    `flops` are those of the method over the tool's life, predictions included, counted as `spinn.cost` does: matrix
    products of networks; None for a wear law, which has none.
    """

    fold: int
    seed: int
    case: str
    cuts: int
    labels: int
    flops: int | None


class LawFit(Strict):
    """A wear law as it stood after so many labels of a tool: VB = factor · t · exp(a + b·… + c·… + d·steel)."""

    fold: int
    case: str
    labels_seen: int
    coefficients: tuple[float, float, float, float]
    factor: float


class AdaptationResult(Strict):
    """One method over the held-out tools of all folds; its predictions are in `<name>.csv` beside the record.

    `seconds` are wall time, all tools together. `revived` counts pruned weights that are not 0 in the end,
    `checkpoints` are the sha256 of the first seed's networks after the last label (both of `adapted`), `laws` what
    predicts between two labels (of the wear laws), `epochs` those that each phase of retraining ran, of the stack of
    tools with the most, and `labels` after how many of a tool it is trained again.
    """

    name: AdaptationMethod
    tools: tuple[AdaptedTool, ...]
    seconds: float
    predictions_digest: str
    revived: int | None = None
    checkpoints: dict[str, str] = Field(default_factory=dict)
    laws: tuple[LawFit, ...] = ()
    epochs: tuple[int, ...] = ()
    labels: int | None = None


class AdaptationRecord(Strict):
    """Online adaptation of `variant`; `begun` are the sha256 of the checkpoints that it began with, by run."""

    schema_version: int = SCHEMA_VERSION
    plan_digest: str
    variant: str
    settings: AdaptationConfig
    begun: dict[str, str]
    methods: tuple[AdaptationResult, ...]
    seal: str = ""  # see `seal_of`; set by `write_model`


Sealed = Record | BaselineRecord | AdaptationRecord


# --- digests and files ----------------------------------------------------------------------------------------------


def seal_of(record: Sealed) -> str:
    """Digest of all that `record` says, itself left out: one changed digit in its file is noticed."""
    return digest_of(record.model_dump(mode="json", exclude={"seal"}))


def write_model(path: Path, model: Plan | Sealed) -> None:
    """Write a plan or a record, sealed, as indented JSON, floats in their shortest exact spelling."""
    if not isinstance(model, Plan):
        model = model.model_copy(update={"seal": seal_of(model)})
    write_atomic(path, (json.dumps(model.model_dump(mode="json"), indent=1, allow_nan=False) + "\n").encode())


Schema = TypeVar("Schema", bound=BaseModel)


def read_model(path: Path, schema: type[Schema]) -> Schema:
    """Read a plan or record.

    Raises:
        RecordError: the file is missing, is not JSON, or does not follow the schema; names the first offending key.
    """
    try:
        text = read_stored(path)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; a folder of runs is what `spinn run --out` wrote") from None
    except ValueError as error:
        raise RecordError(f"{path}: {error}; restore the file, or run again with --fresh") from None
    try:
        return schema.model_validate_json(text)
    except pydantic.ValidationError as error:
        raise RecordError(f"{path}: {first_problem(error)}; restore the file, or run again with --fresh") from None


def first_problem(error: pydantic.ValidationError) -> str:
    """The first complaint of a validation, as `key = value: what is wrong`."""
    first = error.errors(include_url=False)[0]
    where = f"{'.'.join(str(part) for part in first['loc']):.200}" or "content"
    value = first.get("input")
    shown = "" if isinstance(value, dict | list | tuple | bytes) or first["type"] == "missing" else f" = {value!r:.80}"
    more = error.error_count() - 1
    what = first["msg"].removeprefix("Value error, ")
    what = what[:1].lower() + what[1:]  # the rest may be a pattern, or a name
    return f"{where}{shown}: {what}" + (f" (and {more} more)" if more else "")


def plan_digest(plan: Plan) -> str:
    """What every record of `plan` carries, so that a plan changed afterwards is noticed."""
    return digest_of(plan.model_dump(mode="json"))


def run_folder(runs: Path, run_id: str) -> Path:
    """Where the files of run `run_id` lie."""
    return runs / RUNS / run_id


def checkpoint_name(stage: int) -> str:
    """File name of the checkpoint after `stage` (0: the dense network)."""
    return "dense.safetensors" if stage == 0 else f"stage-{stage}.safetensors"


def adapted_name(run: PlannedRun, case: str) -> str:
    """File name of the network of `run` after the last label of one of its test cases; names of cases may be any."""
    return f"{run.run_id}-{run.test.index(case)}.safetensors"


def history_columns(terms: Sequence[str]) -> tuple[str, ...]:
    """Columns of history.csv: losses are unweighted, `loss` is the weighted sum that was minimised."""
    return ("stage", "epoch", "learning_rate", "loss", "data", *terms, "validation_loss", "gradient_norm")


PREDICTION_COLUMNS = ("stage", "split", "case", "run", "time", "target", "measured", "prediction")
ADAPTATION_COLUMNS = ("fold", "seed", "case", "run", "time", "labels_seen", "measured", "prediction")
BASELINE_COLUMNS = ("fold", "seed", "case", "run", "time", "target", "measured", "prediction")
