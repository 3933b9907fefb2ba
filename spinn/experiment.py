"""Experiment files → planned runs → executed runs → records.

Knows what an experiment means: which runs it asks for, when it may start, and where its records go. How a cohort is
trained is `cohort.py`'s, where it executes `sweep.py`'s.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pydantic

from spinn import lock, record, schedule, storage, variants
from spinn.claims import read as read_claims
from spinn.config import STACK, Experiment, SimulatorConfig, Variant
from spinn.data.dataset import TARGETS, Dataset
from spinn.documents import parse_json, read_stated
from spinn.engine import Engine
from spinn.errors import InputError, RecordError, TargetMissedError, one_line
from spinn.journal import is_finished
from spinn.record import Plan
from spinn.statements import miscount

MISSES_TARGET = "schedule-reaches-target"  # the finding that a variant declares if it is meant to miss


def load(path: Path | str) -> Experiment:
    """Read an experiment file.

    Raises:
        InputError: the file is missing, is not TOML, or has a key or value that the schema refuses.
    """
    content = read_stated(Path(path), "paper/experiments/smoke.toml")
    try:
        return Experiment.model_validate(content)
    except pydantic.ValidationError as error:
        raise InputError(
            f"{path}: {record.first_problem(error)}; paper/experiments/smoke.toml is a whole one"
        ) from None


def load_claims(experiment_path: Path, experiment: Experiment) -> list[dict[str, Any]]:
    """The claims of an experiment, or none where its file names none.

    Raises:
        InputError: as `claims.read`.
    """
    return [] if experiment.claims is None else read_claims(experiment_path.parent / experiment.claims)


def criteria(experiment: Experiment, variant: Variant) -> schedule.Criteria:
    """What the experiment asks of a variant's schedule, in exact numbers."""
    target = experiment.target_of(variant)
    reduction = None if target.reduction is None else schedule.parse_reduction(target.reduction)
    return schedule.Criteria(reduction, target.parameter_range, target.size_bytes)


def ledgers(experiment: Experiment) -> dict[str, tuple[schedule.Stage, ...]]:
    """The exact ledger of every variant."""
    return {
        variant.name: variants.ledger(variant.pruner, experiment.layers, [stage.ratio for stage in variant.stages])
        for variant in experiment.variants
    }


def refuse_unreachable(experiment: Experiment) -> None:
    """Stop here, before any training, if a variant cannot reach the target and does not declare so.

    Raises:
        TargetMissedError: names the variant, the criterion, and the nearest schedule that holds.
    """
    for variant in experiment.variants:
        ratios, asked = [stage.ratio for stage in variant.stages], criteria(experiment, variant)
        stages = variants.ledger(variant.pruner, experiment.layers, ratios)
        failed = [v for v in schedule.judge(experiment.layers, stages, asked) if not v.holds]
        if failed and MISSES_TARGET not in variant.expected_findings:
            nearest = variants.suggest(variant.pruner, experiment.layers, ratios, asked)
            mend = f"use ratios {','.join(nearest)}" if nearest else "no schedule reaches it: change the target"
            raise TargetMissedError(
                f"variant {variant.name}: ratios {','.join(ratios)} end at {stages[-1].parameters:,} parameters, "
                f"{schedule.percent(stages[-1].reduction)} fewer; {failed[0].name}: {failed[0].shortfall}; {mend}, or "
                f"declare expected_findings = ['{MISSES_TARGET}']"
            )
        announce(
            f"{variant.name}: {stages[-1].parameters:,} parameters after {len(stages)} stages, "
            f"{schedule.percent(stages[-1].reduction)} fewer: {'declared to miss its target' if failed else 'holds'}"
        )


def data_card(dataset: Dataset) -> dict[str, Any]:
    """The content of `datacard.json`: what was read, what was left out and why, and the truth where it is simulated."""
    from spinn.data import card_rows

    card = {
        "rows": [list(row) for row in card_rows(dataset)],
        "exclusions": [vars(exclusion) for exclusion in dataset.exclusions],
        "notes": list(dataset.notes),
    }
    return card | ({"truth": dict(dataset.truth)} if dataset.truth else {})


def make_plan(experiment: Experiment, dataset: Dataset, claims: Sequence[dict[str, Any]]) -> Plan:
    """Every run of the experiment, decided before the first is trained.

    Raises:
        InputError: the network's input or output width does not fit the data, or a claim counts what is not planned.
    """
    from spinn.data import splits

    if experiment.layers[0] != len(dataset.features):
        raise InputError(
            f"layers[0] = {experiment.layers[0]}: {dataset.source} has {len(dataset.features)} features; "
            "the first width of the network is the number of features"
        )
    if experiment.layers[-1] != len(TARGETS):
        raise InputError(f"layers[-1] = {experiment.layers[-1]}: the network has {len(TARGETS)} outputs, {TARGETS}")
    stack = experiment.stack or STACK
    experiment = experiment.model_copy(update={"stack": stack})
    unlabelled = splits.unlabelled_cases(dataset)
    units = [
        (seed, fold, split)
        for seed in experiment.seeds
        for fold, split in enumerate(splits.folds(dataset.cases, experiment.split, seed, unlabelled))
    ]
    runs = tuple(
        record.PlannedRun(
            run_id=f"{variant.name}-f{fold:02d}-s{seed}",
            variant=variant.name,
            fold=fold,
            seed=seed,
            cohort=f"c{index // stack:02d}",
            train=split.train,
            validation=split.validation,
            test=split.test,
        )
        for variant in experiment.variants
        for index, (seed, fold, split) in enumerate(units)
    )
    ledger = {
        name: tuple(
            record.LedgerStage(
                stage=stage.stage,
                ratio=stage.ratio_text,
                active=stage.active,
                pruned=stage.pruned,
                kept_weights=stage.kept_weights,
                parameters=stage.parameters,
                widths=stage.widths,
            )
            for stage in stages
        )
        for name, stages in ledgers(experiment).items()
    }
    _refuse_miscounts(experiment, dataset.source, ledger, claims)
    names = tuple(str(claim["name"]) for claim in claims)
    return Plan(
        spinn_version=version("spinn"),
        experiment=experiment,
        dataset=dataset.planned(storage.digest_of(data_card(dataset))),
        ledger=ledger,
        runs=runs,
        claims=record.PlannedClaims(digest=storage.digest_of(list(claims)), names=names),
    )


def _refuse_miscounts(
    experiment: Experiment,
    source: str,
    ledger: Mapping[str, Sequence[record.LedgerStage]],
    claims: Sequence[dict[str, Any]],
) -> None:
    """Refuse a claim whose sentence has a number that is not so here: the paper prints the sentence as it stands.

    A claim about other data, or about a predictor that nobody runs here, is not evaluated, and may say what it says.
    """
    from spinn.wear_laws import COEFFICIENTS

    predictors = {*ledger, *experiment.baselines, "dense", "wear-law", "correction-0"}
    for claim in claims:
        kind, _, rest = claim["value"].partition(".")
        over = kind.partition("r2-gain-over-")[2]
        other = rest.partition(".")[2] or over
        if (other and other not in predictors) or not {"any", source} & {*claim["applies_to"].get("data", ["any"])}:
            continue
        bounds = claim["threshold"] if isinstance(claim["threshold"], list) else [claim["threshold"]]
        about = [ledger[name] for name in (experiment.primary.name, other) if name in ledger]
        laws = [COEFFICIENTS[over]] if over in COEFFICIENTS else COEFFICIENTS.values()
        counts = {
            "stage": {len(stages) for stages in about},
            "parameter": bounds if kind == "parameters" else {stages[-1].parameters for stages in about},
            "coefficient": {len(names) for names in laws},
        }
        if told := miscount(claim["statement"], bounds, counts):
            where = f"{experiment.claims}: claim {claim['name']}: statement"
            raise InputError(f"{where}: {told}; say what is planned, or leave it out")


def run(
    path: Path | str,
    *,
    data: str | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    fresh: bool = False,
    from_stage: int | None = None,
    simulator_seed: int | None = None,
    seeds: Sequence[int] = (),
    engine: Engine = Engine(),  # noqa: B008  it is frozen
) -> Path:
    """Execute an experiment file, or what is missing of it; returns the folder of runs.

    Args:
        path: The experiment file.
        data: A source that replaces the file's own: simulator, nasa, or a path (.mat, .csv).
        out: Folder of runs; default `build/runs/<experiment>-<source>`.
        device: auto, cpu or cuda.
        fresh: Remove what an earlier call left in `out` and start again.
        from_stage: Roll every run back to the end of this stage (0: the dense network) and go on from there.
        simulator_seed: Replaces the seed of the simulated campaign that the file states.
        seeds: Only these of the experiment's seeds; none: all.
        engine: What places the cohorts.

    Raises:
        TargetMissedError: a variant cannot reach the target; nothing was trained.
        InputError: the file, the data, or the folder cannot be used, or another process is at work in the folder.
        DataError: a run cannot be trained on its cases, or a baseline not be fitted.
    """
    path = Path(path)
    experiment = load(path)
    if data is not None:
        experiment = experiment.model_copy(update={"data": data})
    if simulator_seed is not None:
        experiment = _with_campaign(experiment, simulator_seed)
    if seeds:
        experiment = _of_seeds(experiment, seeds)
    refuse_unreachable(experiment)
    _refuse_stage(experiment, from_stage)
    if from_stage is not None and engine.name != "local":
        raise InputError(f"--from-stage {from_stage}: rolling back is for --engine local; give it first, and then Ray")
    claims = load_claims(path, experiment)

    from spinn import data as sources  # pandas, and later torch: a refused schedule does not have to wait for them

    dataset = sources.load(experiment.data, experiment.simulator)
    if experiment.sensors == "relative":
        dataset = sources.relative(dataset)
    experiment = experiment.model_copy(update={"data": dataset.source})
    folder = Path(out) if out is not None else Path("build/runs") / _folder_name(experiment, dataset)
    if experiment.stack is None:
        stack = None if fresh else _stack_of(folder)
        experiment = experiment.model_copy(update={"stack": stack or _choose_stack(experiment, dataset, device)})
    plan = make_plan(experiment, dataset, claims)
    _refuse_folder(folder, plan, fresh=fresh)

    if not fresh and from_stage is None and _is_finished(folder, plan):
        announce(f"{folder}: every planned run has its record; nothing to train{_lacking(folder, plan)}")
        return folder

    with lock.held(folder):
        _refuse_folder(folder, plan, fresh=fresh)  # once more: another process may have been at work until now
        _carry_out(plan, dataset, claims, folder, device, engine, fresh=fresh, from_stage=from_stage)
    return folder


def _carry_out(
    plan: Plan,
    dataset: Dataset,
    claims: Sequence[dict[str, Any]],
    folder: Path,
    device: str,
    engine: Engine,
    *,
    fresh: bool,
    from_stage: int | None,
) -> None:
    from spinn import adaptation, baselines, determinism, sweep

    # Whatever can be refused is refused before `fresh` removes anything.
    chosen = determinism.use(device, None)
    sweep.refuse_untrainable(plan, dataset)
    baselines.refuse_unfittable(plan, dataset)
    adaptation.refuse_unadaptable(plan, dataset)
    baselines.take_memory()
    if fresh:
        _clear(folder)
    _prepare(folder, plan, dataset, claims)
    sweep.execute(plan, dataset, folder, chosen, from_stage, engine)
    baselines.evaluate(plan, dataset, folder, str(chosen))
    for line in adaptation.evaluate(plan, dataset, folder, chosen):
        announce(line)


def _with_campaign(experiment: Experiment, seed: int) -> Experiment:
    """The experiment on the simulated campaign of this seed."""
    stated = (experiment.simulator or SimulatorConfig()).model_dump()
    try:
        campaign = SimulatorConfig.model_validate({**stated, "seed": seed})
    except pydantic.ValidationError as error:
        raise InputError(f"--simulator-seed: {record.first_problem(error)}") from None
    return experiment.model_copy(update={"simulator": campaign})


def _of_seeds(experiment: Experiment, seeds: Sequence[int]) -> Experiment:
    """The experiment with some of its seeds, in its own order."""
    for seed in seeds:
        if seed not in experiment.seeds:
            raise InputError(f"--seed {seed}: one of the experiment's seeds expected, {list(experiment.seeds)}")
    return experiment.model_copy(update={"seeds": tuple(seed for seed in experiment.seeds if seed in seeds)})


def _stack_of(folder: Path) -> int | None:
    """How many runs are stacked in a folder that has its plan already: whoever goes on with it stacks as many."""
    path = folder / record.PLAN
    return record.read_model(path, Plan).experiment.stack if path.exists() else None


def _choose_stack(experiment: Experiment, dataset: Dataset, device: str) -> int:
    from spinn import determinism, stack

    chosen = determinism.use(device, None)
    first = experiment.variants[0].name
    runs = [run for run in make_plan(experiment, dataset, ()).runs if run.variant == first]
    return stack.choose(experiment, dataset, runs, chosen)


def _folder_name(experiment: Experiment, dataset: Dataset) -> str:
    return re.sub(r"[^\w.-]+", "-", f"{experiment.name}-{dataset.source}").strip("-")


def _is_finished(folder: Path, plan: Plan) -> bool:
    digest = record.plan_digest(plan)
    inputs = [folder / name for name in (record.PLAN, record.DATASET, record.DATACARD, record.CLAIMS)]
    for name in plan.experiment.baselines:
        inputs += [folder / record.BASELINES / f"{name}{suffix}" for suffix in (".json", ".csv")]
    runs = [record.run_folder(folder, run.run_id) for run in plan.runs]
    trained = all(path.exists() for path in inputs) and all(
        is_finished(run, digest) and not (run / record.PROGRESS).exists() for run in runs
    )
    if not trained or plan.experiment.adaptation is None:
        return trained
    from spinn import adaptation

    return adaptation.is_finished(plan, folder)


def _lacking(folder: Path, plan: Plan) -> str:
    """What is said of files that records name and that are not there: left out on purpose, or lost."""
    gone = []
    for run in (record.run_folder(folder, run.run_id) for run in plan.runs):
        named = parse_json(storage.read_stored(run / record.RECORD)).get("files")
        names = named if isinstance(named, dict) else {}  # whether it is a record is the audit's to say
        within = [name for name in names if name == Path(name).name and name not in ("", "..")]
        gone += [run / name for name in within if not storage.is_stored(run / name)]
    if not gone:
        return ""
    told = f"; missing of the files that its records name: {len(gone)}, the first {gone[0].relative_to(folder)}"
    return f"{told}: give --from-stage and a stage before it, or --fresh, to have them again"


def announce(message: str) -> None:
    """A line of progress, on standard error."""
    print(one_line(message), file=sys.stderr, flush=True)


def _refuse_stage(experiment: Experiment, from_stage: int | None) -> None:
    last = min(len(variant.stages) for variant in experiment.variants)
    if from_stage is not None and not 0 <= from_stage <= last:
        raise InputError(f"--from-stage {from_stage}: this experiment has stages 0 (dense) to {last}; give one of them")


def _refuse_folder(folder: Path, plan: Plan, *, fresh: bool) -> None:
    """Stop at a folder that holds something else than the records of `plan`; changes nothing."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: a file; --out names a folder of runs")
    strangers = [entry.name for entry in folder.iterdir() if entry.name not in _OURS and entry.name[0] != "."]
    if not (folder / record.PLAN).exists():  # it is the last to be written of the files above the runs
        strangers += [name for name in (record.RUNS, record.BASELINES, record.ADAPTATION) if (folder / name).exists()]
    elif not fresh:
        found = record.read_model(folder / record.PLAN, Plan)
        if record.plan_digest(found) != record.plan_digest(plan):
            raise RecordError(
                f"{folder}: holds the runs of another plan ({_difference(found, plan)} differs); "
                "give --fresh to replace them, or another --out"
            )
        return
    if strangers:
        raise InputError(
            f"{folder}: holds {strangers[0]!r}, which is no record of a plan; give another folder to --out"
        )


def _prepare(folder: Path, plan: Plan, dataset: Dataset, claims: Sequence[dict[str, Any]]) -> None:
    """Write what is missing of the files above the runs; plan.json last.

    Raises:
        RecordError: one is there and is not what the plan was made with.
    """
    contents = {
        record.DATASET: dataset.to_csv(),
        record.DATACARD: (json.dumps(data_card(dataset), indent=1) + "\n").encode(),
        record.CLAIMS: (json.dumps(list(claims), indent=1) + "\n").encode(),
    }
    for name, content in contents.items():
        path = folder / name
        if not (path.exists() and (folder / record.PLAN).exists()):
            storage.write_atomic(path, content)
        elif not path.is_file() or path.read_bytes() != content:
            raise RecordError(f"{path}: not what the plan was made with; remove it, and run again: it is written anew")
    if not (folder / record.PLAN).exists():
        record.write_model(folder / record.PLAN, plan)


_OURS = (
    record.RUNS,
    record.BASELINES,
    record.ADAPTATION,
    record.AUDIT,
    record.DATASET,
    record.DATACARD,
    record.CLAIMS,
    record.PLAN,
)


def _clear(folder: Path) -> None:
    """Remove the records in `folder`; plan.json last, so that an interrupted call can be repeated."""
    for name in _OURS:
        entry = folder / name
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _difference(found: Plan, wanted: Plan) -> str:
    """The first key in which two plans differ, for a message."""
    for name in Plan.model_fields:
        one, other = getattr(found, name), getattr(wanted, name)
        if one == other:
            continue
        if isinstance(one, pydantic.BaseModel):
            inner = next(key for key in type(one).model_fields if getattr(one, key) != getattr(other, key))
            return f"{name}.{inner}"
        return name
    return "the spelling of a value"
