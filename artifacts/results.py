"""Audited records as tidy frames; a folder whose audit fails gives none.

Reads plan.json, dataset.csv, datacard.json, claims.json, record.json, history.csv, predictions.csv, baselines/ and
adaptation/, never a checkpoint. Knows what a row is, nothing of tables or figures.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from artifacts.render import Frame
from artifacts.stats import Held
from spinn.documents import parse_json
from spinn.errors import RecordError, SpinnError, TamperedError
from spinn.record import (
    ADAPTATION,
    ADAPTATION_COLUMNS,
    BASELINE_COLUMNS,
    BASELINES,
    CLAIMS,
    DATACARD,
    DATASET,
    HISTORY,
    PLAN,
    PREDICTION_COLUMNS,
    PREDICTIONS,
    RECORD,
    AdaptationRecord,
    BaselineRecord,
    Plan,
    Record,
    read_model,
    run_folder,
)
from spinn.storage import digest_file, digest_of, is_stored, read_file, read_stored
from verify.findings import Verdict
from verify.folder import HISTORY_WITHHELD, Data, read_data
from verify.laws import Law

MARK = "†"
_OF_WEIGHTS = ("ledger-achieved", "masks-monotone", "predictions-replayed")  # checks of the audit
_CUT = ["case", "run", "time"]  # what tells one cut from another
_ABOVE = (PLAN, DATASET, DATACARD, CLAIMS)
UNITS = {"VB": "mm", "thermal": "µm"}
_NAMES = {"VB": "flank wear VB", "thermal": "thermal displacement"}


class RefusedError(SpinnError):
    """A number was asked for from records that the audit refused."""

    exit_status = 1


def target_name(target: str) -> str:
    """A target as tables and figures name it."""
    return _NAMES[target]


def target_label(target: str) -> str:
    """A target with its unit."""
    return f"{_NAMES[target]} ({UNITS[target]})"


@dataclass(frozen=True)
class Results:
    """Everything that tables, figures and claims are made of.

    `baseline_frames` maps a baseline to its held-out predictions, `adaptation_frames` a method of online adaptation to
    its predictions of flank wear (none where the plan adapts to no tool), `digests` each file read (relative to the
    folder) to its sha256. Frames: `stages`, `layers` (one row a run and stage, and layer), `predictions`, `history`;
    `law` has what the wear laws that networks correct say by themselves of held-out and validation cuts, None where
    networks correct none; `data` is dataset.csv.
    """

    plan: Plan
    records: tuple[Record, ...]
    verdict: Verdict
    datacard: dict[str, Any]
    claims: tuple[dict[str, Any], ...]
    baselines: tuple[BaselineRecord, ...]
    baseline_frames: dict[str, Frame]
    predictions: Frame
    history: Frame
    law: Frame | None
    digests: dict[str, str]
    data: Data | None = None
    adaptation: AdaptationRecord | None = None
    adaptation_frames: dict[str, Frame] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that are measured in this data."""
        return self.plan.dataset.targets

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants, as planned."""
        return tuple(variant.name for variant in self.plan.experiment.variants)

    @property
    def primary(self) -> str:
        """The variant that the work stands for."""
        return self.plan.experiment.primary.name

    @cached_property
    def marked(self) -> dict[str, tuple[str, ...]]:
        """The checks that a variant declares in the plan to find something, for each variant with any."""
        declared = {variant.name: tuple(variant.expected_findings) for variant in self.plan.experiment.variants}
        return {name: checks for name, checks in declared.items() if checks}

    def label(self, variant: str) -> str:
        """The variant as tables print it: marked where the plan declares findings, whether or not they were found."""
        return f"{variant} {MARK}" if variant in self.marked else variant

    @cached_property
    def footnotes(self) -> tuple[str, ...]:
        """What the mark means, one note a marked variant; empty where no variant is marked."""
        return tuple(self._footnote(variant, checks) for variant, checks in self.marked.items())

    def _footnote(self, variant: str, declared: Sequence[str]) -> str:
        """Which of the declared checks found something, and which could not be looked at, and in how many runs."""
        runs = {record.run_id for record in self.records if record.variant == variant}
        found = {finding.check for finding in self.verdict.expected if finding.run_id in runs}
        unseen = [finding for finding in self.verdict.findings if finding.severity == "unchecked"]
        unchecked = Counter(finding.check for finding in unseen if finding.run_id in runs)
        named = [check for check in declared if check in found]
        counted = [f"{check} ({unchecked[check]} of {len(runs)} runs)" for check in declared if check in unchecked]
        parts = [f"declared in the plan and found by the audit: {', '.join(named) or 'none'}"]
        parts += [f"declared and unchecked: {', '.join(counted)}"] if counted else []
        return f"{MARK} {variant}: {'; '.join(parts)}. Its numbers are those of a faulty method."

    @property
    def recounted(self) -> bool:
        """Whether the audit had the weights of `primary`, to count masks and to make predictions again in every run."""
        ours = {record.run_id for record in self.records if record.variant == self.primary}
        unchecked = [finding for finding in self.verdict.findings if finding.severity == "unchecked"]
        return not any(finding.check in _OF_WEIGHTS and finding.run_id in ours for finding in unchecked)

    @property
    def shortened(self) -> bool:
        """Whether the histories of all seeds but one were left out."""
        return any(finding.message == HISTORY_WITHHELD for finding in self.verdict.findings)

    def total_parameters(self) -> int:
        """Weights and biases of the dense network."""
        return self.total_weights() + sum(self.plan.experiment.layers[1:])

    def total_weights(self) -> int:
        """Prunable weights: entries of the weight matrices."""
        widths = self.plan.experiment.layers
        return sum(a * b for a, b in pairwise(widths))

    @cached_property
    def stages(self) -> Frame:
        """One row a run and stage: the counts of the record, and who they belong to."""
        rows = [
            {
                "run_id": record.run_id,
                "variant": record.variant,
                "fold": record.fold,
                "seed": record.seed,
                **stage.model_dump(exclude={"layers", "coefficients"}),
            }
            for record in self.records
            for stage in record.stages
        ]
        return pd.DataFrame(rows)

    @cached_property
    def layers(self) -> Frame:
        """One row a run, stage and weight matrix."""
        rows = [
            {
                "run_id": record.run_id,
                "variant": record.variant,
                "stage": stage.stage,
                "position": position,
                **layer.model_dump(),
            }
            for record in self.records
            for stage in record.stages
            for position, layer in enumerate(stage.layers)
        ]
        return pd.DataFrame(rows)

    @cached_property
    def costs(self) -> Frame:
        """One row a phase of a cohort, each counted once (`key`), with the variants it served, in `variants`."""
        rows: dict[str, dict[str, Any]] = {}
        for record in self.records:
            for cost in record.cost:
                row = rows.setdefault(cost.key, {**cost.model_dump(), "served": []})
                if record.variant not in row["served"]:
                    row["served"].append(record.variant)
        for row in rows.values():
            served = row.pop("served")
            row["variants"] = tuple(name for name in self.variants if name in served)
        return pd.DataFrame(list(rows.values()))

    @cached_property
    def latency(self) -> Frame:
        """One row a run and timed network."""
        rows = [
            {"run_id": record.run_id, "variant": record.variant, **latency.model_dump()}
            for record in self.records
            for latency in record.latency
        ]
        return pd.DataFrame(rows)

    def last_stage(self, variant: str) -> int:
        """The number of the variant's last stage."""
        return len(self.plan.variant(variant).stages)

    def held(self, variant: str, stage: int, target: str) -> Held | None:
        """Held-out predictions of a variant after a stage, a column a seed; None without any label.

        Raises:
            RecordError: a seed lacks a labelled cut that another seed has, or predicts one twice.
        """
        key = (variant, stage, target)
        if key not in self._known:
            rows = self._held_out.get(key, self.predictions.iloc[:0])
            self._known[key] = _held(rows, f"variant {variant}, stage {stage}, {target}")
        return self._known[key]

    def cuts(self, variant: str, stage: int, target: str) -> Frame:
        """Case, run, time and measured value of each labelled held-out cut, in the order of `held`."""
        rows = self._held_out[variant, stage, target]
        labelled = rows[rows["measured"].notna()].drop_duplicates(_CUT).sort_values(_CUT)
        return labelled[[*_CUT, "measured"]].reset_index(drop=True)

    @cached_property
    def _known(self) -> dict[tuple[str, int, str] | tuple[str, str], Held | None]:
        return {}

    @cached_property
    def _held_out(self) -> dict[Any, Frame]:
        held_out = self.predictions[self.predictions["split"] == "test"]
        return dict(iter(held_out.groupby(["variant", "stage", "target"])))

    def held_law(self, variant: str, target: str) -> Held | None:
        """Held-out predictions of a variant's runs with every correction at 0; None where they correct no wear law."""
        if self.law is None or target != "VB":
            return None
        own = self.law[(self.law["variant"] == variant) & (self.law["split"] == "test")]
        return _held(own, f"wear law of variant {variant}")

    def held_baseline(self, name: str, target: str) -> Held | None:
        """Held-out predictions of a baseline, a column a seed (one where it draws nothing); None without `target`."""
        key, frame = (name, target), self.baseline_frames.get(name)
        if frame is None or not (frame["target"] == target).any():
            return None
        if key not in self._known:
            self._known[key] = _held(frame[frame["target"] == target], f"baseline {name}, {target}")
        return self._known[key]

    def held_adapted(self, method: str) -> Held | None:
        """Predictions of flank wear by a method of online adaptation, made before each label; None without any."""
        return _held(self.adaptation_frames[method], f"adaptation, {method}")

    def source(self, *groups: str) -> tuple[str, ...]:
        """Where a number comes from: each group (a variant, `baselines/<name>`, a file), with its files' digest."""
        for group in groups:
            if group not in self._named:
                self._named[group] = f"{group} sha256:{digest_of(self.files(group))}"
        return tuple(self._named[group] for group in groups)

    @cached_property
    def _named(self) -> dict[str, str]:
        return {}

    def files(self, group: str) -> dict[str, str]:
        """The files of a group and their digests; of a variant: those of its runs."""
        ids = {record.run_id for record in self.records if record.variant == group}
        if ids:
            return {
                path: sha for path, sha in self.digests.items() if path.split("/")[1:2] and path.split("/")[1] in ids
            }
        return {path: sha for path, sha in self.digests.items() if path == group or path.startswith(group + ".")}

    def sources(self) -> dict[str, dict[str, str]]:
        """Every group that a number can name, with the digests of its files."""
        groups = [*self.variants, *(f"{BASELINES}/{record.name}" for record in self.baselines), *_ABOVE]
        groups += [
            f"{ADAPTATION}/{name}" for name in (*self.adaptation_frames, *(["record"] if self.adaptation else []))
        ]
        return {group: self.files(group) for group in groups}


def _held(rows: Frame, who: str) -> Held | None:
    labelled = rows[rows["measured"].notna()]
    if labelled.empty:
        return None
    if labelled.duplicated([*_CUT, "seed"]).any():
        raise RecordError(f"{who}: a cut is predicted twice by one seed; each case is held out in exactly one fold")
    table = labelled.pivot(index=_CUT, columns="seed", values="prediction")
    if table.isna().to_numpy().any():
        raise RecordError(f"{who}: a cut is held out for one seed and not for another; pooled R² needs the same cuts")
    measured = labelled.drop_duplicates(_CUT).set_index(_CUT)["measured"].loc[table.index]
    case = table.index.get_level_values("case").to_numpy(dtype=str)
    return Held(case, measured.to_numpy(dtype=float), table.to_numpy(dtype=float))


def read(runs: Path, verdict: Verdict) -> Results:
    """Read a folder of runs that its audit let through.

    Raises:
        RefusedError: the audit found an error; says how many, and the first.
        RecordError: a file is missing or is not what its schema says.
        TamperedError: claims.json is not what the plan was made with.
    """
    errors = [finding for finding in verdict.findings if finding.severity == "error"]
    if errors:
        raise RefusedError(
            f"{runs}: the audit found {len(errors)} error(s), the first {errors[0].check}: {errors[0].message}; "
            "no number is printed from such records"
        )
    plan = read_model(runs / PLAN, Plan)
    claims = _read_json(runs / CLAIMS) if (runs / CLAIMS).exists() else []
    if digest_of(claims) != plan.claims.digest:
        raise TamperedError(f"{runs / CLAIMS}: not the claims that the plan was made with; restore it, or run afresh")
    folders = {run.run_id: run_folder(runs, run.run_id) for run in plan.runs}
    records = tuple(read_model(folder / RECORD, Record) for folder in folders.values())
    baselines, frames = [], {}
    for name in plan.experiment.baselines:
        baselines.append(read_model(runs / BASELINES / f"{name}.json", BaselineRecord))
        frames[name] = _read_csv(runs / BASELINES / f"{name}.csv", BASELINE_COLUMNS)
    files = [runs / name for name in _ABOVE]
    files += [folder / name for folder in folders.values() for name in (RECORD, HISTORY, PREDICTIONS)]
    files += [runs / BASELINES / f"{name}.{ending}" for name in plan.experiment.baselines for ending in ("json", "csv")]
    adapted, adapted_frames = None, {}
    if plan.experiment.adaptation is not None:
        adapted = read_model(runs / ADAPTATION / RECORD, AdaptationRecord)
        paths = {method.name: runs / ADAPTATION / f"{method.name}.csv" for method in adapted.methods}
        adapted_frames = {name: _read_csv(path, ADAPTATION_COLUMNS) for name, path in paths.items()}
        files += [runs / ADAPTATION / RECORD, *paths.values()]
    data = read_data(runs, plan)
    if isinstance(data, SpinnError):
        raise RecordError(str(data))
    return Results(
        plan=plan,
        records=records,
        verdict=verdict,
        datacard=_read_json(runs / DATACARD),
        claims=tuple(claims),
        baselines=tuple(baselines),
        baseline_frames=frames,
        predictions=_gather(records, folders.values(), PREDICTIONS, PREDICTION_COLUMNS),
        history=_gather(records, folders.values(), HISTORY, ("stage", "epoch", "loss")),
        law=_law_alone(data, plan, records),
        data=data,
        digests={path.relative_to(runs).as_posix(): digest_file(path) for path in files if is_stored(path)},
        adaptation=adapted,
        adaptation_frames=adapted_frames,
    )


def _law_alone(data: Data, plan: Plan, records: Sequence[Record]) -> Frame | None:
    correction = {variant.name: plan.experiment.correction_of(variant) for variant in plan.experiment.variants}
    correcting = [pair for pair in zip(records, plan.runs, strict=True) if correction[pair[1].variant] is not None]
    if not correcting:
        return None
    parts = []
    for record, planned in correcting:
        law = record.scaler.law
        if law is None:
            raise RecordError(f"{record.run_id}: the plan has a correction, and its scaler no wear law; run it again")
        for split, cases in (("test", planned.test), ("validation", planned.validation)):
            rows = np.flatnonzero(data.of(cases))
            wear = Law.of(data.columns, rows).wear(np.array(law.coefficients))
            cuts = {"case": data.cases[rows], "run": data.runs[rows], "time": data.columns["time"][rows]}
            found = pd.DataFrame({**cuts, "measured": data.columns["VB"][rows], "prediction": wear})
            parts.append(found.assign(run_id=record.run_id, variant=record.variant, seed=record.seed, split=split))
    return pd.concat(parts, ignore_index=True)


def _gather(records: Sequence[Record], folders: Iterable[Path], name: str, columns: Sequence[str]) -> Frame:
    frames = [
        _read_csv(folder / name, columns).assign(run_id=record.run_id, variant=record.variant, seed=record.seed)
        for record, folder in zip(records, folders, strict=True)
        if name != HISTORY or is_stored(folder / name)  # the audit let through that it was left out
    ]
    return pd.concat(frames, ignore_index=True)


def _read_csv(path: Path, columns: Sequence[str]) -> Frame:
    try:
        frame = pd.read_csv(io.BytesIO(read_stored(path)), dtype={"case": str}, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; run `spinn run` again to complete the records") from None
    except ValueError as error:  # all of pandas' own, of text and of compressed files are
        raise RecordError(f"{path}: not a CSV file ({error}); the run that wrote it must be repeated") from None
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise RecordError(f"{path}: column {missing[0]!r} is missing; the run that wrote it must be repeated")
    return frame


def _read_json(path: Path) -> Any:
    try:
        return parse_json(read_file(path))
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; it is written beside plan.json before any training") from None
    except ValueError as error:
        raise RecordError(f"{path}: not JSON ({error}); the runs must be repeated") from None
