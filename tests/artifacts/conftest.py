"""A small believable folder of records: random-feature networks fitted by least squares, pruned, and fitted again."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from artifacts import results, typeset
from spinn import adaptation, attribution, baselines, checkpoint, experiment, record, storage, task
from spinn.bench import history as benchmark_history
from spinn.bench.report import Report, Row, Target, machine
from spinn.checkpoint import Checkpoint
from spinn.config import Experiment, SplitConfig
from spinn.data.dataset import Dataset
from spinn.masks import Masks
from spinn.metrics import metrics_of
from spinn.model import from_checkpoints
from spinn.physics import Coefficients
from spinn.pruning import Stack
from spinn.training import residuals
from verify.audit import audit

WHICH = shutil.which
ROOT = Path(__file__).parents[2]
LAYERS = (18, 6, 5, 2)
WEIGHTS = sum(a * b for a, b in pairwise(LAYERS))
BIASES = sum(LAYERS[1:])
RATIOS = {"sparse": ("0.30", "0.24"), "first-version": ("0.20", "0.15")}
DECLARED = ("ledger-achieved", "masks-monotone", "resurrection")
CASES = ("1", "50% & more_$", "<b>7</b>", "c#4\\x")  # a stranger's names: LaTeX, HTML and Markdown all have to survive
COEFFICIENTS = {"a": -5.0, "b": 0.6, "c": 0.4, "d": 1.0, "g": 0.1}


@pytest.fixture(scope="session", autouse=True)
def without_latex() -> Iterator[None]:
    """Builds of these tests make no PDF: each would take seconds, and `test_paper.py` makes its own."""
    which = shutil.which
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "which", lambda name, *more: None if name in typeset.TOOLS else which(name, *more))
        typeset.missing.cache_clear()
        typeset.version.cache_clear()
        yield
    typeset.missing.cache_clear()
    typeset.version.cache_clear()


@pytest.fixture
def latex(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LaTeX, which all other tests here do without; a test that wants it is skipped where there is none."""
    monkeypatch.setattr(shutil, "which", WHICH)
    typeset.missing.cache_clear()
    typeset.version.cache_clear()
    if typeset.missing():
        pytest.skip("LaTeX is not installed")
    yield
    typeset.missing.cache_clear()
    typeset.version.cache_clear()


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs whose audit holds; not to be changed."""
    path = tmp_path_factory.mktemp("honest")
    fabricate(path)
    return path


@pytest.fixture
def runs(honest: Path, tmp_path: Path) -> Path:
    """A copy of the honest folder, to change."""
    return Path(shutil.copytree(honest, tmp_path / "runs"))


@pytest.fixture(scope="session")
def found(honest: Path) -> results.Results:
    """The honest folder, read."""
    return results.read(honest, audit(honest))


@pytest.fixture(scope="session")
def built(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build makes of the honest folder; not to be changed."""
    from artifacts.build import build

    out = tmp_path_factory.mktemp("built")
    build(honest, out)
    return out


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of two benchmarks, written as `spinn bench` does, the first of them run twice; not to be changed."""
    path = tmp_path_factory.mktemp("bench") / "history.jsonl"
    targets = [
        Target("over the plain loop: times", 1.31, 1.15),
        Target("share of the products", 0.4321, 0.5),
        Target("on a CUDA device: minutes", None, 10.0, at_most=True),
        Target("outputs off", float("nan"), 1e-5, at_most=True),
    ]
    rows = [
        Row("50% & more_$ | <b>x</b>, 1 thread: speed", 12345.678, "rows/s", 0.5, 2.0),
        Row("elsewhere: speed-up", None, "times"),
    ]
    about = machine() | {"processor": "AMD <EPYC>", "cores": 2, "threads": 1, "load_average": 0.4375}
    trained = Report("train", about, {"products, GFLOP/s": 85.234}, rows, targets, ["of the peer: a plain_loop"])
    before = replace(trained, rows=[replace(rows[0], value=777.0)])
    watched = Report("watch", about, rows=[Row("watched: over plain", 1.08, "")])
    for report in (before, watched, trained):
        benchmark_history.append(report.as_line(), path)
    return path


@pytest.fixture(scope="session")
def built_with_benchmarks(honest: Path, history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build makes of the honest folder and the history; not to be changed."""
    from artifacts.build import build

    out = tmp_path_factory.mktemp("built")
    build(honest, out, benchmarks=history)
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    """A copy of what was built, to change."""
    return Path(shutil.copytree(built, tmp_path / "out"))


class Learning:
    """Results as if fold and seed had learned given coefficients, on data with this truth."""

    truth: ClassVar = {"a": -5.1, "b": 0.6, "c": 0.5, "d": 0.0, "g": 0.2, "k": 1.0, "tau": 2.0}

    def __call__(
        self, found: results.Results, value: Callable[[int, int, str], float], validation: int = 0
    ) -> results.Results:
        """`value` is what a fold and seed have of a coefficient after the last stage."""
        records = []
        for one in found.records:
            own = {name: value(one.fold, one.seed, name) for name in self.truth}
            stages = (*one.stages[:-1], one.stages[-1].model_copy(update={"coefficients": own}))
            records.append(one.model_copy(update={"stages": stages}))
        split = SplitConfig(kind="leave-one-case-out", validation_cases=validation)
        asked = found.plan.experiment.model_copy(update={"split": split})
        plan = found.plan.model_copy(update={"experiment": asked})
        return replace(found, records=tuple(records), plan=plan, datacard={**found.datacard, "truth": self.truth})


@pytest.fixture
def learning() -> Learning:
    """What makes results of networks that learned given coefficients."""
    return Learning()


def fabricate(
    path: Path,
    *,
    thermal: bool = True,
    seeds: tuple[int, ...] = (0, 1),
    opponents: tuple[str, ...] = ("mean", "wear-law"),
) -> None:
    """Write a folder of runs; without `thermal` only wear is measured. `opponents` are its baselines."""
    dataset = make_dataset(thermal)
    claims = tomllib.loads((ROOT / "paper" / "claims.toml").read_text(encoding="utf-8"))["claim"]
    stages = {name: [{"ratio": r, "epochs": 3, "learning_rate": 1e-3} for r in RATIOS[name]] for name in RATIOS}
    card: dict = {"rows": [["cuts", "28"], ["case <b>7</b>", "5 % & more"]], "exclusions": [], "notes": ["fabricated"]}
    card["exclusions"] = [{"case": "c#4\\x", "run": 3, "what": "label", "reason": "no VB_label"}]
    plan = experiment.make_plan(
        Experiment.model_validate(
            {
                "name": "fabricated",
                "data": "fabricated",
                "seeds": seeds,
                "baselines": opponents,
                "layers": LAYERS,
                "split": {"kind": "leave-one-case-out", "validation_cases": 1},
                "dense": {"epochs": 3, "learning_rate": 1e-3},
                "physics": {"wear_rate": 0.1},
                "adaptation": {"steps": 2, "learning_rate": 1e-3},
                "variants": [
                    {"name": "sparse", "pruner": "global-magnitude", "stages": stages["sparse"]},
                    {"name": "first-version", "pruner": "first-version", "stages": stages["first-version"]}
                    | {"expected_findings": DECLARED},
                ],
            }
        ),
        dataset,
        claims,
    )
    fabricated = plan.dataset.model_copy(update={"card": storage.digest_of(card)})
    plan = plan.model_copy(update={"dataset": fabricated})
    (path / record.DATASET).write_bytes(dataset.to_csv())
    (path / record.DATACARD).write_text(json.dumps(card))
    (path / record.CLAIMS).write_text(json.dumps(claims))
    record.write_model(path / record.PLAN, plan)
    for planned in plan.runs:
        write_run(path, plan, dataset, planned)
    baselines.evaluate(plan, dataset, path)
    assert len(list(adaptation.evaluate(plan, dataset, path, torch.device("cpu")))) == 5


def make_dataset(thermal: bool) -> Dataset:
    """Four tools of seven cuts each that wear by the law, with a little noise; one label is missing."""
    random = np.random.default_rng(7)
    rows = []
    for number, case in enumerate(CASES):
        doc, feed, steel = 0.75 * (1 + number % 2), 0.25 * (1 + number // 2), number % 2
        for run in range(1, 8):
            time = 3.0 * run + 0.1 * number
            wear = time * 0.01 * (doc / 0.75) ** 0.6 * (feed / 0.25) ** 0.4 * np.exp(0.5 * steel)
            sensors = {f"sensor_{i:02d}": random.normal(i, 1.0) + (4 + i) * wear for i in range(14)}
            rows.append(
                {"case": case, "run": run, "time": time, "DOC": doc, "feed": feed, "steel": steel}
                | {"power": 800.0 + 300 * wear, "VB": wear * random.normal(1, 0.05)}
                | {"thermal": 60 * wear + random.normal(0, 0.5) if thermal else np.nan, **sensors}
            )
    frame = pd.DataFrame(rows)
    frame.loc[3, "VB"] = np.nan
    features = ("time", "DOC", "feed", "steel", *(f"sensor_{i:02d}" for i in range(14)))
    return Dataset("fabricated", frame, features)


def write_run(path: Path, plan: record.Plan, dataset: Dataset, planned: record.PlannedRun) -> None:
    """Networks, history, predictions and record of one run."""
    folder = record.run_folder(path, planned.run_id)
    frame: Any = dataset.frame
    rows = frame["case"].isin(planned.train).to_numpy()
    features, targets = list(dataset.features), list(dataset.measured_targets)
    mean, scale = frame.loc[rows, features].mean(), frame.loc[rows, features].std(ddof=0)
    scale = scale.where(scale > 1e-9 * mean.abs(), 1.0)
    known = frame.loc[rows, ["VB", "thermal"]]
    target_mean, target_scale = known.mean().fillna(0.0), known.std(ddof=0).fillna(1.0)
    x = ((frame[features] - mean) / scale).to_numpy()
    y = ((frame[["VB", "thermal"]] - target_mean) / target_scale).fillna(0.0).to_numpy()
    labelled = rows & frame[targets].notna().all(axis=1).to_numpy()
    split = frame["case"].map({c: s for s in ("train", "validation", "test") for c in getattr(planned, s)})
    stages, tables, history, before = [], [], [], WEIGHTS
    networks = make_networks(planned, x[labelled], y[labelled])
    standard = ((frame[["VB", "thermal"]] - target_mean) / target_scale)[targets].to_numpy()[rows]
    for number, network in enumerate(networks):
        predicted = forward(network, x)[0] * target_scale.to_numpy() + target_mean.to_numpy()
        tables += [
            frame[["case", "run", "time"]].assign(
                stage=number,
                split=split,
                target=t,
                measured=frame[t],
                prediction=predicted[:, ("VB", "thermal").index(t)],
            )
            for t in targets
        ]
        loss = validation_loss(tables[-len(targets) :], target_scale)
        size = checkpoint.write(folder / record.checkpoint_name(number), network)
        stages.append(make_stage(planned, number, network, before, loss, size))
        stages[-1]["residuals"] = physics_of(plan, planned, dataset, network)
        if number:
            stages[-1]["attribution"] = attribution_of(plan, planned, dataset, networks[number - 1], network, number)
        before = stages[-1]["kept_weights"]
        for epoch in (1, 2, 3):
            data, term = 1.0 / epoch + 0.1 * number, 0.5 / epoch
            if number and epoch == 1:
                started = forward(begun(networks[number - 1], network), x[rows])[0][:, : len(targets)]
                data = float(np.nanmean((started - standard) ** 2, axis=0).mean())
            row = (number, epoch, 1e-3, data + 0.1 * term, data, term, loss * (4 - epoch), 1.0)
            history.append(dict(zip(record.history_columns(("wear_rate",)), row, strict=True)))
    predictions: Any = pd.concat(tables)[list(record.PREDICTION_COLUMNS)]
    storage.write_atomic(folder / record.HISTORY, pd.DataFrame(history).to_csv(index=False).encode())
    storage.write_atomic(folder / record.PREDICTIONS, predictions.to_csv(index=False).encode())
    names = [record.HISTORY, record.PREDICTIONS, *(stage["checkpoint"] for stage in stages)]
    if planned.variant == "sparse":
        checkpoint.write(folder / record.DEPLOYED, networks[-1])
        names.append(record.DEPLOYED)
    content = {
        "run_id": planned.run_id,
        "plan_digest": record.plan_digest(plan),
        "variant": planned.variant,
        "fold": planned.fold,
        "seed": planned.seed,
        "cohort": planned.cohort,
        "cohort_runs": [run.run_id for run in plan.runs if run.variant == planned.variant],
        "environment": {"spinn": "0", "python": "3.11", "platform": "none", "processor": "none", "cores": 2}
        | {"memory_bytes": 1, "device": "cpu", "threads": 1, "packages": {"numpy": np.__version__}},
        "features": features,
        "scaler": {
            "fitted_on": planned.train,
            "feature_mean": mean.tolist(),
            "feature_scale": scale.tolist(),
            "target_mean": target_mean.tolist(),
            "target_scale": target_scale.tolist(),
        },
        "physics_terms": ["wear_rate"],
        "stages": stages,
        "metrics": [metric.model_dump() for metric in metrics_of(predictions)],
        "cost": make_costs(planned, len(plan.experiment.seeds) * len(CASES)),
        "latency": make_latency(stages) if planned.fold == 0 and planned.seed == plan.experiment.seeds[0] else [],
        "warnings": ["the cut was <short>"] if planned.fold == 0 else [],
        "files": {name: storage.digest_file(folder / name) for name in names},
    }
    record.write_model(folder / record.RECORD, record.Record.model_validate(content))


def forward(network: Checkpoint, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Output and last hidden activation."""
    for weight, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
        x = np.tanh(x @ weight.T + bias)
    return x @ network.weights[-1].T + network.biases[-1], x


def begun(before: Checkpoint, after: Checkpoint) -> Checkpoint:
    """What a stage begins with: the network of the stage before, under the new masks."""
    assert after.masks is not None
    pairs = zip(before.weights, after.masks, strict=True)
    return replace(before, weights=tuple(np.where(mask, weight, np.float32(0)) for weight, mask in pairs))


def make_networks(planned: record.PlannedRun, x: np.ndarray, y: np.ndarray) -> list[Checkpoint]:
    """Dense and per-stage networks; the first version ranks all weights again and holds no mask."""
    random = np.random.default_rng((planned.fold, planned.seed))
    sound = planned.variant == "sparse"
    shapes = list(zip(LAYERS[1:], LAYERS[:-1], strict=True))
    weights = [random.normal(0, 0.4 / shape[1] ** 0.5, shape).astype(np.float32) for shape in shapes]
    biases = [np.zeros(shape[0], np.float32) for shape in shapes]
    masks = [np.ones(shape, bool) for shape in shapes]
    networks = []
    for number, ratio in enumerate(("", *RATIOS[planned.variant])):
        if ratio:
            keep = np.concatenate([m.ravel() if sound else np.ones(m.size, bool) for m in masks])
            size = np.concatenate([np.abs(w).ravel() for w in weights])
            count = round(Fraction(ratio) * int(keep.sum()))
            keep[np.argsort(np.where(keep, size, np.inf), kind="stable")[:count]] = False
            parts = np.split(keep, np.cumsum([w.size for w in weights])[:-1])
            masks = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
            moved = [w + random.normal(0, 0.02, w.shape).astype(np.float32) for w in weights]
            weights = [np.where(m, w, np.float32(0)) if sound else w for w, m in zip(moved, masks, strict=True)]
        hidden = forward(Checkpoint(tuple(weights), tuple(biases), None, {}), x)[1]
        for output in range(LAYERS[-1]):
            free = masks[-1][output] if sound else np.ones(LAYERS[-2], bool)
            design = np.column_stack([hidden[:, free], np.ones(len(hidden))])
            ridge = design.T @ design + 0.01 * np.eye(design.shape[1])
            solved = np.linalg.solve(ridge, design.T @ y[:, output]).astype(np.float32)
            weights[-1][output, free], biases[-1][output] = solved[:-1], solved[-1]
        learned = {name: value + 0.01 * number for name, value in COEFFICIENTS.items()}
        copied = tuple(weight.copy() for weight in weights)
        held = tuple(mask.copy() for mask in masks) if ratio else None
        networks.append(Checkpoint(copied, tuple(bias.copy() for bias in biases), held, learned))
    return networks


def validation_loss(tables: list[Any], scale: Any) -> float:
    """Mean square error in scaled units, over validation labels and then over targets."""
    losses = []
    for table in tables:
        rows = table[(table["split"] == "validation") & table["measured"].notna()]
        losses.append((((rows["prediction"] - rows["measured"]) / scale[rows["target"].iloc[0]]) ** 2).mean())
    return float(np.mean(losses))


def make_stage(
    planned: record.PlannedRun, number: int, network: Checkpoint, before: int, loss: float, size: int
) -> dict[str, Any]:
    """The record of one stage, read off its network."""
    masks = network.masks or tuple(np.ones(w.shape, bool) for w in network.weights)
    kept = sum(int(mask.sum()) for mask in masks)
    claimed = float(sum(Fraction(ratio) for ratio in RATIOS[planned.variant][:number]))
    true = 1 - (kept + BIASES) / (WEIGHTS + BIASES)
    layers = []
    for index, (weight, mask) in enumerate(zip(network.weights, masks, strict=True)):
        values = weight[mask].astype(float)
        layers.append(
            {"name": f"layers.{index}.weight", "weights": weight.size, "kept": int(mask.sum())}
            | {"nonzero": int(np.count_nonzero(weight)), "mean_abs": np.abs(values).mean(), "std": values.std()}
            | {"min_abs": np.abs(values).min(), "max_abs": np.abs(values).max()}
        )
    return {
        "stage": number,
        "active": before,
        "pruned": before - kept,
        "kept_weights": kept,
        "parameters": kept + BIASES,
        "nonzero_weights": sum(layer["nonzero"] for layer in layers),
        "reported_reduction": true if planned.variant == "sparse" else claimed,
        "layers": layers,
        "epochs_run": 3,
        "selected_epoch": 3,
        "selected_by": "validation",
        "selected_loss": loss,
        "coefficients": network.coefficients,
        "checkpoint": record.checkpoint_name(number),
        "checkpoint_bytes": size,
    }


def physics_of(
    plan: record.Plan, planned: record.PlannedRun, dataset: Dataset, network: Checkpoint
) -> dict[str, float]:
    """The physics terms of a network, by the trainer's own code."""
    stacked, coefficients = from_checkpoints([network])[0], Coefficients.from_dicts([network.coefficients])
    (found,) = residuals(stacked, coefficients, task.build(dataset, [planned], plan.experiment.physics))
    return {str(term): value for term, value in found.items()}


def attribution_of(
    plan: record.Plan, planned: record.PlannedRun, dataset: Dataset, before: Checkpoint, after: Checkpoint, stage: int
) -> dict[str, float]:
    """How a stage's choice goes with the saliency of the weights, by the trainer's own code."""
    old, new = (
        Stack(network, masks or Masks.ones_like(network))
        for network, masks in (from_checkpoints([one]) for one in (before, after))
    )
    laws, data = Coefficients.from_dicts([before.coefficients]), task.build(dataset, [planned], plan.experiment.physics)
    (found,) = attribution.measure(old, new, laws, data, plan.experiment.physics, [planned.seed], stage)
    return found


def make_costs(planned: record.PlannedRun, networks: int) -> list[dict[str, Any]]:
    """The dense phase is shared by both variants and has one key; the stages are each variant's own."""
    cost = {"runs": networks, "epochs": 3, "flops": 2_000_000_000, "peak_memory_bytes": 50_000_000}
    cost |= {"estimated_flops": 2_000_000_000, "estimated_seconds": 3.0}
    phases = [(f"{planned.cohort}/dense", "dense", 4.0)]
    phases += [(f"{planned.cohort}/{planned.variant} stage {s}", f"stage-{s}", 1.0) for s in (1, 2)]
    return [{"key": k, "phase": p, "seconds": s, "energy_joules": None, **cost} for k, p, s in phases]


def make_latency(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Times of the dense and of the pruned network."""
    common = {"median_ms": 0.04, "p95_ms": 0.06, "repeats": 200, "memory_bytes": 4 * (WEIGHTS + BIASES)}
    return [
        {"model": model, "flops": 2 * stage["kept_weights"], "file_bytes": stage["checkpoint_bytes"], **common}
        for model, stage in (("dense", stages[0]), ("sparse", stages[-1]))
    ]


@pytest.fixture(scope="session")
def fabricator() -> Any:
    """`fabricate`, for tests that want another folder."""
    return fabricate
