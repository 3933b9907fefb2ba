"""A small honest folder of runs, fabricated with numpy, and the means to break one thing in it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import spinn.data
from spinn import checkpoint, experiment, task
from spinn.checkpoint import Checkpoint
from spinn.data.dataset import TARGETS, Dataset, read_canonical
from spinn.data.simulator import simulate
from spinn.model import from_checkpoints
from spinn.physics import Coefficients
from spinn.record import (
    ADAPTATION,
    BASELINE_COLUMNS,
    BASELINES,
    CLAIMS,
    DATACARD,
    DATASET,
    DEPLOYED,
    HISTORY,
    PLAN,
    PREDICTION_COLUMNS,
    PREDICTIONS,
    RECORD,
    BaselineRecord,
    Plan,
    PlannedRun,
    Record,
    checkpoint_name,
    history_columns,
    plan_digest,
    read_model,
    run_folder,
    write_model,
)
from spinn.step import data_loss
from spinn.storage import digest_file, digest_of, write_atomic
from spinn.training import residuals
from verify.audit import audit
from verify.faults.mutant import EXPERIMENT
from verify.findings import Verdict
from verify.network import Network

LAYERS = (18, 6, 5, 2)
CASES = ("1", "2", "3", "4", "5", "6")
SEEDS = (0, 1)
TERMS = ("wear_rate", "heat", "monotone")
RATIOS = {"sparse": ("0.30", "0.24"), "first-version": ("0.20", "0.15")}
DECLARED = ("schedule-reaches-target", "ledger-achieved", "masks-monotone", "resurrection")
EPOCHS = 4
WEIGHTS = sum(a * b for a, b in pairwise(LAYERS))
BIASES = sum(LAYERS[1:])


@dataclass(frozen=True)
class Runs:
    """A folder of runs to break: edits keep every digest right unless the edit is of a digest."""

    path: Path

    @property
    def plan(self) -> Plan:
        """The plan as it is now."""
        return read_model(self.path / PLAN, Plan)

    def names(self, variant: str) -> list[str]:
        """Ids of the runs of a variant."""
        return [run.run_id for run in self.plan.runs if run.variant == variant]

    def folder(self, run_id: str) -> Path:
        """Where a run's files are."""
        return run_folder(self.path, run_id)

    def record(self, run_id: str) -> Record:
        """A run's record as it is now."""
        return read_model(self.folder(run_id) / RECORD, Record)

    def edit_record(self, run_id: str, edit: Callable[[dict], object]) -> None:
        """Change the JSON of a record and seal it again, as an honest writer of a wrong record would."""
        edit_sealed(self.folder(run_id) / RECORD, edit)

    def shrink_cohort(self, run_id: str, mates: list[str]) -> None:
        """Say of a run that it was trained together with `mates`, and no others."""

        def edit(record: dict) -> None:
            record["cohort_runs"] = mates
            for cost in record["cost"]:
                cost["runs"] = len(mates)

        self.edit_record(run_id, edit)

    def edit_plan(self, edit: Callable[[dict], object]) -> None:
        """Change the plan as if it had been so from the beginning: every record carries its new digest."""
        content = json.loads((self.path / PLAN).read_text())
        edit(content)
        plan = Plan.model_validate(content)
        write_model(self.path / PLAN, plan)
        for run in plan.runs:
            self.edit_record(run.run_id, lambda record: record.update(plan_digest=plan_digest(plan)))
            self.edit_record(run.run_id, lambda record, name=run.variant: expect_costs(record, plan, name))
        for path in (*(self.path / BASELINES).glob("*.json"), *(self.path / ADAPTATION).glob(RECORD)):
            edit_sealed(path, lambda record: record.update(plan_digest=plan_digest(plan)))

    def edit_table(self, run_id: str, name: str, edit: Callable[[Any], Any]) -> None:
        """Change a CSV file of a run."""
        path = self.folder(run_id) / name
        table = pd.read_csv(path, dtype={"case": str})
        changed = edit(table)
        (table if changed is None else changed).to_csv(path, index=False, lineterminator="\n")
        self.redigest(run_id)

    def edit_network(self, run_id: str, stage: int, edit: Callable[[Checkpoint], Checkpoint | None]) -> None:
        """Change a checkpoint; arrays may be edited in place. What follows from it, while it is finite, follows."""
        folder = self.folder(run_id)
        network = checkpoint.read(folder / checkpoint_name(stage))
        changed = edit(network) or network
        checkpoint.write(folder / checkpoint_name(stage), changed)
        if (folder / DEPLOYED).exists() and not (folder / checkpoint_name(stage + 1)).exists():
            checkpoint.write(folder / DEPLOYED, changed)
        self.redigest(run_id)
        self.edit_record(run_id, lambda record: [entry.update(attribution=None) for entry in record["stages"]])
        planned = next(run for run in self.plan.runs if run.run_id == run_id)
        dataset = read_canonical(self.path / DATASET, self.plan.dataset)
        terms = physics_of(self.plan, planned, dataset, changed)
        if all(map(np.isfinite, terms.values())):
            self.edit_record(run_id, lambda record: record["stages"][stage].update(residuals=terms))
            count = len(self.record(run_id).stages)
            networks = [checkpoint.read(folder / checkpoint_name(number)) for number in range(count)]
            losses = losses_of(self.plan, planned, dataset, networks)
            self.edit_table(run_id, HISTORY, lambda table: enter_losses(table, losses))

    def redigest(self, run_id: str) -> None:
        """Make the record's digests those of the files, as an honest writer of wrong files would."""
        folder = self.folder(run_id)

        def edit(record: dict) -> None:
            record["files"] = {name: digest_file(folder / name) for name in record["files"]}

        self.edit_record(run_id, edit)

    def audit(self, *, replay: bool = True) -> Verdict:
        """The verdict on the folder as it is now."""
        return audit(self.path, replay=replay)

    def failed(self, *, replay: bool = True) -> set[str]:
        """Names of the checks that found an error."""
        return {finding.check for finding in self.audit(replay=replay).findings if finding.severity == "error"}


@pytest.fixture
def runs_in() -> Callable[[Path], Runs]:
    """`Runs` of any folder."""
    return Runs


def edit_sealed(path: Path, edit: Callable[[dict], object]) -> None:
    """Change the JSON of a sealed file; content that no digest can spell (NaN) keeps the old seal."""
    content = json.loads(path.read_text())
    edit(content)
    with contextlib.suppress(ValueError):
        content["seal"] = digest_of({key: value for key, value in content.items() if key != "seal"})
    path.write_text(json.dumps(content, indent=1) + "\n")


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs in which everything is as planned; not to be changed."""
    path = tmp_path_factory.mktemp("honest")
    fabricate(path)
    return path


@pytest.fixture
def runs(honest: Path, tmp_path: Path) -> Runs:
    """A copy of the honest folder, to break."""
    return Runs(Path(shutil.copytree(honest, tmp_path / "runs")))


@pytest.fixture(scope="session")
def as_runs() -> Callable[[Path], Runs]:
    """The means to edit a folder, for tests that have one of their own."""
    return Runs


@pytest.fixture(scope="session")
def compacted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real runs, of each pruner of neurons; not to be changed."""
    path = tmp_path_factory.mktemp("compacted")
    (variant,) = re.findall(r"\[\[variants\]\].*", EXPERIMENT, re.DOTALL)
    variants = [
        variant.replace('"sparse"', f'"{name}"').replace("global-magnitude", f"neurons-{name}")
        for name in ("incoming", "both-sides", "first-order")
    ]
    (path / "experiment.toml").write_text(EXPERIMENT.replace(variant, "\n".join(variants)))
    with contextlib.redirect_stderr(io.StringIO()):
        return experiment.run(path / "experiment.toml", out=path / "runs", device="cpu")


@pytest.fixture
def neuron_runs(compacted: Path, tmp_path: Path) -> Runs:
    """A copy of the folder of runs from whose networks neurons were removed, to break."""
    return Runs(Path(shutil.copytree(compacted, tmp_path / "runs")))


def make_dataset() -> Dataset:
    """Six tools, seven to nine cuts each; a feature with gaps, one without any value, some missing labels."""
    random = np.random.default_rng(7)
    rows = []
    for number, case in enumerate(CASES):
        doc, feed, steel = 0.75 * (1 + number % 2), 0.25 * (1 + number // 2 % 2), number // 4
        for run in range(1, 8 + number % 3):
            time = 2.0 * run + 0.1 * number
            vb = time * np.exp(
                -4 + 0.6 * np.log(doc / 0.75) + 0.4 * np.log(feed / 0.25) + steel + 0.1 * random.normal()
            )
            sensors = {f"sensor_{i:02d}": random.normal(i, 1 + i) + vb for i in range(14)}
            rows.append(
                {"case": case, "run": run, "time": time, "DOC": doc, "feed": feed, "steel": steel}
                | {"power": 800 + 10 * random.normal(), "VB": vb, "thermal": 3 * time + random.normal()}
                | sensors
            )
    frame = pd.DataFrame(rows)
    frame.loc[3, "VB"] = np.nan
    frame.loc[5, "sensor_03"] = np.nan
    frame["sensor_13"] = np.nan
    return Dataset("fabricated", frame, ("time", "DOC", "feed", "steel", *(f"sensor_{i:02d}" for i in range(14))))


CARD = {"rows": [], "exclusions": [], "notes": []}


def fabricate(path: Path) -> None:
    """Write a folder of runs whose networks are random and whose records are honest."""
    dataset = make_dataset()
    plan = make_plan(dataset)
    (path / DATASET).write_bytes(dataset.to_csv())
    (path / DATACARD).write_text(json.dumps(CARD))
    (path / CLAIMS).write_text(json.dumps([{"name": "wear-r2", "threshold": 0.7}], indent=1) + "\n")
    write_model(path / PLAN, plan)
    for planned in plan.runs:
        write_run(path, plan, dataset, planned.run_id)
    write_baselines(path, plan, dataset)


def own_ledger(ratios: tuple[str, ...]) -> list[dict]:
    """The exact counts of each stage."""
    active, lines = WEIGHTS, []
    for stage, ratio in enumerate(ratios, start=1):
        pruned = round(Fraction(ratio) * active)
        active -= pruned
        lines.append({"stage": stage, "ratio": ratio, "active": active + pruned, "pruned": pruned})
        lines[-1] |= {"kept_weights": active, "parameters": active + BIASES}
    return lines


def make_plan(dataset: Dataset) -> Plan:
    """Two grouped folds, two seeds, a sound variant and the first version, as the experiments have them."""
    variants = [
        {
            "name": name,
            "pruner": "global-magnitude" if name == "sparse" else "first-version",
            "stages": [{"ratio": ratio, "epochs": EPOCHS, "learning_rate": 1e-3} for ratio in ratios],
            "expected_findings": [] if name == "sparse" else DECLARED,
        }
        for name, ratios in RATIOS.items()
    ]
    runs = []
    for variant in RATIOS:
        for seed in SEEDS:
            for fold, test in enumerate((CASES[:3], CASES[3:])):
                validation = (CASES[(3 * fold + 3 + seed) % 6],)
                train = tuple(case for case in CASES if case not in (*test, *validation))
                runs.append(
                    {"run_id": f"{variant}-f{fold:02d}-s{seed}", "variant": variant, "fold": fold, "seed": seed}
                    | {"cohort": "c00", "train": train, "validation": validation, "test": test}
                )
    claims = [{"name": "wear-r2", "threshold": 0.7}]
    content = {
        "spinn_version": "0",
        "experiment": {
            "name": "fabricated",
            "data": "fabricated",
            "seeds": SEEDS,
            "layers": LAYERS,
            "split": {"kind": "grouped", "folds": 2, "validation_cases": 1},
            "dense": {"epochs": EPOCHS, "learning_rate": 1e-3},
            "physics": {"wear_rate": 0.1, "heat": 0.2, "monotone": 0.3},
            "target": {"reduction": "0.40", "parameter_range": [80, 110]},
            "variants": variants,
        },
        "dataset": dataset.planned(digest_of(CARD)).model_dump(),
        "ledger": {name: own_ledger(ratios) for name, ratios in RATIOS.items()},
        "runs": runs,
        "claims": {"digest": digest_of(claims), "names": ["wear-r2"]},
    }
    return Plan.model_validate(content)


def write_run(path: Path, plan: Plan, dataset: Dataset, run_id: str) -> None:
    """Networks, history, predictions and record of one run."""
    planned = next(run for run in plan.runs if run.run_id == run_id)
    folder = run_folder(path, run_id)
    scaler = fit_scaler(dataset, planned.train)
    networks = make_networks(planned.variant, planned.fold, planned.seed)
    split_of = {case: side for side in ("train", "validation", "test") for case in getattr(planned, side)}
    stages, history, tables = [], [], []
    before = WEIGHTS
    data_losses = losses_of(plan, planned, dataset, networks)
    for number, network in enumerate(networks):
        table = predict(dataset, network, scaler, number, split_of)
        tables.append(table)
        loss = validation_loss(table, scaler)
        history.extend(make_history(number, loss))
        size = checkpoint.write(folder / checkpoint_name(number), network)
        masks = network.masks or tuple(np.ones(weight.shape, bool) for weight in network.weights)
        kept = sum(int(mask.sum()) for mask in masks)
        true = 1 - (kept + BIASES) / (WEIGHTS + BIASES)
        claimed = sum(float(ratio) for ratio in RATIOS[planned.variant][:number])
        stages.append(
            {
                "stage": number,
                "active": before,
                "pruned": before - kept,
                "kept_weights": kept,
                "parameters": kept + BIASES,
                "nonzero_weights": sum(int(np.count_nonzero(weight)) for weight in network.weights),
                "reported_reduction": true if planned.variant == "sparse" else claimed,
                "layers": [
                    {"name": f"layers.{i}.weight", "weights": w.size, "kept": int(m.sum())}
                    | {"nonzero": int(np.count_nonzero(w))}
                    | statistics(w[m].astype(float))
                    for i, (w, m) in enumerate(zip(network.weights, masks, strict=True))
                ],
                "epochs_run": EPOCHS,
                "selected_epoch": EPOCHS - 1,
                "selected_by": "validation",
                "selected_loss": loss,
                "coefficients": network.coefficients,
                "residuals": physics_of(plan, planned, dataset, network),
                "checkpoint": checkpoint_name(number),
                "checkpoint_bytes": size,
            }
        )
        before = kept
    predictions = pd.concat(tables, ignore_index=True)
    table = enter_losses(pd.DataFrame(history), data_losses)
    write_atomic(folder / HISTORY, table.to_csv(index=False, lineterminator="\n").encode())
    write_atomic(folder / PREDICTIONS, predictions.to_csv(index=False, lineterminator="\n").encode())
    names = [HISTORY, PREDICTIONS, *(checkpoint_name(number) for number in range(len(networks)))]
    if planned.variant == "sparse":  # so few weights are pruned that no neuron has to go
        checkpoint.write(folder / DEPLOYED, networks[-1])
        names.append(DEPLOYED)
    record = Record.model_validate(
        {
            "run_id": run_id,
            "plan_digest": plan_digest(plan),
            "variant": planned.variant,
            "fold": planned.fold,
            "seed": planned.seed,
            "cohort": planned.cohort,
            "cohort_runs": [run.run_id for run in plan.runs if run.variant == planned.variant],
            "environment": {"spinn": "0", "python": "3.11", "platform": "none", "processor": "none", "cores": 2}
            | {"memory_bytes": 1, "device": "cpu", "threads": 1, "packages": {}},
            "features": dataset.features,
            "scaler": scaler,
            "physics_terms": TERMS,
            "stages": stages,
            "metrics": make_metrics(predictions),
            "cost": make_costs(plan, planned, len(stages)),
            "latency": make_latency(stages),
            "warnings": [],
            "files": {name: digest_file(folder / name) for name in names},
        }
    )
    write_model(folder / RECORD, record)


def physics_of(plan: Plan, planned: PlannedRun, dataset: Dataset, network: Checkpoint) -> dict[str, float]:
    """The physics terms of a network, by the trainer's own code: the judge has to come to the same with its own."""
    stacked, coefficients = from_checkpoints([network])[0], Coefficients.from_dicts([network.coefficients])
    (found,) = residuals(stacked, coefficients, task.build(dataset, [planned], plan.experiment.physics))
    return {str(term): value for term, value in found.items()}


def losses_of(
    plan: Plan, planned: PlannedRun, dataset: Dataset, networks: list[Checkpoint]
) -> dict[tuple[int, int], float]:
    """Data loss, by stage and epoch, of epochs that begin with a known network; by the trainer's own code, as above."""
    data = task.build(dataset, [planned], plan.experiment.physics)

    def loss(network: Checkpoint) -> float:
        return float(data_loss(data, from_checkpoints([network])[0](data.train.x).detach(), data.train))

    losses = {(number, EPOCHS): loss(network) for number, network in enumerate(networks)}
    for number, (before, after) in enumerate(pairwise(networks), start=1):
        masks = after.masks or _rows_kept(before, after)
        pairs = zip(before.weights, masks, strict=True)
        begun = tuple(np.where(mask, weight, np.float32(0)) for weight, mask in pairs)
        losses[number, 1] = loss(replace(before, weights=begun, masks=after.masks))
    return losses


def _rows_kept(before: Checkpoint, after: Checkpoint) -> tuple[np.ndarray, ...]:
    """Where no masks are: True for the weights into neurons of `before` that `after` still has; all, if none went."""
    masks = [np.ones(weight.shape, bool) for weight in before.weights]
    for layer, kept in enumerate(after.neurons or ()):
        numbers = np.arange(before.layers[layer + 1]) if before.neurons is None else before.neurons[layer]
        masks[layer][~np.isin(numbers, kept)] = False
    return tuple(masks)


def enter_losses(table: Any, losses: dict[tuple[int, int], float]) -> Any:
    """history.csv with these data losses; the sum of all terms follows."""
    for (stage, epoch), loss in losses.items():
        rows = (table["stage"] == stage) & (table["epoch"] == epoch)
        table.loc[rows, "loss"] += loss - table.loc[rows, "data"]
        table.loc[rows, "data"] = loss
    return table


def make_costs(plan: Plan, planned: PlannedRun, stages: int) -> list[dict]:
    """The same for all runs of a cohort and variant; the dense phase is shared by the variants."""
    mates = [run for run in plan.runs if run.variant == planned.variant]
    cost = {"runs": len(mates), "seconds": 0.5, "epochs": EPOCHS, "flops": 1000, "peak_memory_bytes": 1000}
    cost |= {"estimated_flops": 1000, "estimated_seconds": 0.4}
    phases = [("dense", "dense"), *((f"{planned.variant} stage {k}", f"stage-{k}") for k in range(1, stages))]
    return [{"key": f"{planned.cohort}/{key}", "phase": p, "energy_joules": None, **cost} for key, p in phases]


def expect_costs(record: dict, plan: Plan, variant: str) -> None:
    """What was estimated of each phase is what the plan's epochs take."""
    stated = plan.variant(variant)
    planned = [plan.experiment.dense_of(stated).epochs, *(stage.epochs for stage in stated.stages)]
    for cost, epochs in zip(record["cost"], planned, strict=False):
        cost["estimated_flops"] = cost["flops"] * epochs // cost["epochs"]


def make_latency(stages: list[dict]) -> list[dict]:
    """Times of the dense and of the pruned network."""
    common = {"median_ms": 0.04, "p95_ms": 0.06, "repeats": 200, "memory_bytes": 4 * (WEIGHTS + BIASES)}
    return [
        {"model": model, "flops": 2 * stage["kept_weights"], "file_bytes": stage["checkpoint_bytes"], **common}
        for model, stage in (("dense", stages[0]), ("sparse", stages[-1]))
    ]


def statistics(kept: np.ndarray) -> dict[str, float]:
    """Of a layer's kept weights."""
    size = np.abs(kept)
    return {"mean_abs": size.mean(), "std": kept.std(), "min_abs": size.min(), "max_abs": size.max()}


def make_networks(variant: str, fold: int, seed: int) -> list[Checkpoint]:
    """Dense and per-stage networks: global magnitude; the first version ranks all weights again and holds no mask."""
    random = np.random.default_rng((fold, seed))
    shapes = list(zip(LAYERS[1:], LAYERS[:-1], strict=True))
    weights = [random.normal(0, 0.4, shape).astype(np.float32) for shape in shapes]
    biases = tuple(random.normal(0, 0.1, shape[0]).astype(np.float32) for shape in shapes)
    networks = [Checkpoint(tuple(weights), biases, None, _coefficients(random))]
    masks = [np.ones(shape, bool) for shape in shapes]
    for line in own_ledger(RATIOS[variant]):
        sound = variant == "sparse"
        count = line["pruned"] if sound else round(Fraction(line["ratio"]) * WEIGHTS)
        flat = np.concatenate([np.abs(w).ravel() for w in weights])
        if sound:
            flat[~np.concatenate([m.ravel() for m in masks])] = np.inf
        keep = np.concatenate([m.ravel() for m in masks]) if sound else np.ones(WEIGHTS, bool)
        keep[np.argsort(flat, kind="stable")[:count]] = False
        parts = np.split(keep, np.cumsum([w.size for w in weights])[:-1])
        masks = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        moved = [w + random.normal(0, 0.1, w.shape).astype(np.float32) for w in weights]
        weights = [np.where(m, w, np.float32(0)) if sound else w for w, m in zip(moved, masks, strict=True)]
        networks.append(Checkpoint(tuple(weights), biases, tuple(masks), _coefficients(random)))
    return networks


def _coefficients(random: np.random.Generator) -> dict[str, float]:
    return {
        name: float(value) for name, value in zip(("a", "b", "c", "d", "g", "k", "tau"), random.random(7), strict=True)
    }


def fit_scaler(dataset: Dataset, train: tuple[str, ...]) -> dict:
    """Means and population standard deviations over the cuts of `train`."""
    frame: Any = dataset.frame
    rows = frame[frame["case"].isin(train)]
    features, targets = rows[list(dataset.features)], rows[list(TARGETS)]

    def scale(table: Any) -> tuple[float, ...]:
        spread = table.std(ddof=0).to_numpy()
        return tuple(np.where(np.isnan(spread) | (spread < 1e-12), 1.0, spread).tolist())

    return {
        "fitted_on": train,
        "feature_mean": tuple(features.mean().fillna(0).tolist()),
        "feature_scale": scale(features),
        "target_mean": tuple(targets.mean().fillna(0).tolist()),
        "target_scale": scale(targets),
    }


def predict(dataset: Dataset, network: Checkpoint, scaler: dict, stage: int, split_of: dict[str, str]) -> Any:
    """What a float32 network says of every cut, in the columns of predictions.csv."""
    frame: Any = dataset.frame
    raw = frame[list(dataset.features)].to_numpy()
    x = np.nan_to_num((raw - scaler["feature_mean"]) / scaler["feature_scale"]).astype(np.float32)
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        x = x @ weight.T + bias
        x = np.tanh(x) if index < len(network.weights) - 1 else x
    y = x.astype(float) * scaler["target_scale"] + scaler["target_mean"]
    parts = [
        frame[["case", "run", "time"]].assign(
            stage=stage,
            split=frame["case"].map(split_of),
            target=target,
            measured=frame[target],
            prediction=y[:, index],
        )
        for index, target in enumerate(TARGETS)
    ]
    return pd.concat(parts)[list(PREDICTION_COLUMNS)]


def validation_loss(table: Any, scaler: dict) -> float:
    """Mean square error in scaled units, over labels and then over targets."""
    losses = []
    for target, scale in zip(TARGETS, scaler["target_scale"], strict=True):
        rows = table[(table["target"] == target) & (table["split"] == "validation") & table["measured"].notna()]
        losses.append((((rows["prediction"] - rows["measured"]) / scale) ** 2).mean())
    return float(np.mean(losses))


def make_history(stage: int, selected: float) -> list[dict]:
    """Losses that fall, the third epoch the best of four."""
    rows = []
    for epoch in range(1, EPOCHS + 1):
        terms = {"wear_rate": 0.5 / epoch, "heat": 0.4 / epoch, "monotone": 0.1 / epoch}
        data = 1.0 / epoch
        row = {
            "stage": stage,
            "epoch": epoch,
            "learning_rate": 1e-3,
            "data": data,
            "gradient_norm": 1.0 / epoch,
            **terms,
        }
        row["loss"] = data + 0.1 * terms["wear_rate"] + 0.2 * terms["heat"] + 0.3 * terms["monotone"]
        row["validation_loss"] = selected * (1 + abs(epoch - (EPOCHS - 1)))
        rows.append({column: row[column] for column in history_columns(TERMS)})
    return rows


def make_metrics(predictions: Any) -> list[dict]:
    """Of every stage, split and target."""
    metrics = []
    for (stage, split, target), rows in predictions[predictions["measured"].notna()].groupby(
        ["stage", "split", "target"]
    ):
        error, measured = rows["prediction"] - rows["measured"], rows["measured"]
        spread = ((measured - measured.mean()) ** 2).sum()
        metrics.append(
            {"stage": stage, "split": split, "target": target, "n": len(rows), "r2": 1 - (error**2).sum() / spread}
            | {"mae": error.abs().mean(), "rmse": np.sqrt((error**2).mean())}
        )
    return metrics


def write_baselines(path: Path, plan: Plan, dataset: Dataset) -> None:
    """The mean and the wear law, fitted without the test cases of each fold."""
    from scipy.optimize import least_squares

    frame: Any = dataset.frame
    tests = {run.fold: run.test for run in plan.runs}

    def law(rows: Any, a: float, b: float, c: float, d: float) -> np.ndarray:
        rate = a + b * np.log(rows["DOC"] / 0.75) + c * np.log(rows["feed"] / 0.25) + d * rows["steel"]
        return (rows["time"] * np.exp(rate)).to_numpy()

    for name, targets in (("mean", TARGETS), ("wear-law", ("VB",))):
        folds, parts = [], []
        for fold, test in sorted(tests.items()):
            rows, train = frame[frame["case"].isin(test)], frame[~frame["case"].isin(test)]
            if name == "mean":
                coefficients = {target: float(train[target].mean()) for target in targets}
                values = {target: coefficients[target] for target in targets}
            else:
                known = train[train["VB"].notna()]
                vb = known["VB"].to_numpy()
                found = least_squares(lambda x, known=known, vb=vb: law(known, *x) - vb, (-4, 0.5, 0.5, 1.0)).x
                coefficients = dict(zip("abcd", found.tolist(), strict=True))
                values = {"VB": law(rows, *found)}
            for target in targets:
                table = rows[["case", "run", "time"]].assign(fold=fold, seed=0, target=target, measured=rows[target])
                parts.append(table.assign(prediction=values[target]))
            cases = tuple(case for case in CASES if case not in test)
            folds.append({"fold": fold, "train": cases, "test": test, "coefficients": coefficients})
        csv = path / BASELINES / f"{name}.csv"
        text = io.StringIO()
        pd.concat(parts)[list(BASELINE_COLUMNS)].to_csv(text, index=False, lineterminator="\n")
        write_atomic(csv, text.getvalue().encode())
        content = {"name": name, "plan_digest": plan_digest(plan), "targets": targets, "parameters": len(coefficients)}
        content |= {"folds": folds, "seconds": 0.1, "predictions_digest": digest_file(csv)}
        write_model(csv.with_suffix(".json"), BaselineRecord.model_validate(content))


@pytest.fixture(params=["simulator", "mill"])
def measured(request: pytest.FixtureRequest) -> list[Dataset]:
    """What was measured, or as if: five campaigns of the simulator and one without noise; the real data."""
    if request.param == "mill":
        return [spinn.data.load(str(request.getfixturevalue("mill")))]
    return [*(simulate(seed=seed) for seed in range(5)), simulate(tool_sd=0.0, noise=0.0)]


@pytest.fixture
def random_network() -> Callable[..., Network]:
    """Makes the judge's network of given widths, with random weights in float64."""

    def made(*widths: int) -> Network:
        random = np.random.default_rng(3)
        shapes = list(zip(widths[1:], widths[:-1], strict=True))
        weights = tuple(random.normal(0, 0.5, shape) for shape in shapes)
        biases = tuple(random.normal(0, 0.5, shape[0]) for shape in shapes)
        return Network(weights, biases, tuple(np.ones(shape, bool) for shape in shapes), {})

    return made
