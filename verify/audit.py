"""All checks over a folder of runs, in the order of their table, and the verdict kept by digest."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from threadpoolctl import threadpool_limits

from spinn.documents import parse_json
from spinn.record import AUDIT
from spinn.storage import canonical_json, digest_file, digest_of, read_file, write_atomic
from verify import (
    adaptation,
    attribution,
    baselines,
    cost,
    draws,
    leakage,
    luck,
    masks,
    neurons,
    physics,
    records,
    replay,
    residuals,
    schedules,
    science,
    training,
)
from verify.findings import LISTED, Finding, Severity, Verdict
from verify.folder import Check, Fault, Folder, FolderCheck, Run, UnavailableError, digest_all, read_folder

FOLDER_CHECKS: tuple[tuple[str, FolderCheck], ...] = (
    ("planned-runs-present", records.planned_runs),
    ("plan-unchanged", records.plan_unchanged),
    ("ledger-arithmetic", schedules.ledger_arithmetic),
    ("groups-disjoint", science.every_case_tested_once),
    ("identifier-features", science.identifier_features),
    ("target-leakage", leakage.targets_measured),
    ("single-seed", science.single_seed),
    ("split-luck", luck.split_luck),
    ("baseline-as-good", luck.baseline_as_good),
    ("adaptation-recomputed", adaptation.recomputed),
)
FITTED: tuple[str, FolderCheck] = ("baselines-recomputed", baselines.recomputed)
"""The check of the folder that takes long, mostly in processes of its own: it goes on beside those of the runs."""
RUN_CHECKS: tuple[tuple[str, Check], ...] = (
    ("planned-runs-present", records.run_present),
    ("digests", records.digests),
    ("plan-unchanged", records.plan_of_record),
    ("schedule-reaches-target", schedules.reaches_target),
    ("ledger-achieved", masks.ledger_achieved),
    ("ledger-achieved", masks.layer_shares),
    ("masks-monotone", masks.monotone),
    ("magnitude-order", masks.magnitude_order),
    ("magnitude-order", neurons.neuron_order),
    ("magnitude-order", draws.as_drawn),
    ("resurrection", masks.resurrection),
    ("biases-kept", masks.biases_kept),
    ("non-finite", records.non_finite),
    ("metrics-recomputed", records.metrics),
    ("metrics-recomputed", masks.record_of_checkpoints),
    ("cost-recomputed", cost.recomputed),
    ("predictions-replayed", replay.replayed),
    ("training-loss-replayed", replay.training_loss),
    ("deployed-equals-masked", replay.deployed),
    ("groups-disjoint", science.groups_disjoint),
    ("identifier-features", science.features_of_record),
    ("scaler-on-train-only", science.scaler),
    ("selection-not-on-test", science.selection),
    ("trained-as-planned", training.as_planned),
    ("physics-alive", physics.alive),
    ("physics-recomputed", residuals.recomputed),
    ("physics-recomputed", attribution.recomputed),
)
UNEXPECTED_ABSENT = "unexpected-absent"
# Computed from weights and data, where that is asked for.
REPLAYED = ("predictions-replayed", "training-loss-replayed", "deployed-equals-masked", "physics-recomputed")
NOTES = ("single-seed", "split-luck", "baseline-as-good")  # worth knowing, change no verdict
WITHOUT_RECORD = ("planned-runs-present", "schedule-reaches-target")
CHECKS = (*dict.fromkeys(name for name, _ in (*FOLDER_CHECKS, FITTED, *RUN_CHECKS)), UNEXPECTED_ABSENT)


def audit(runs: Path, *, replay: bool = False) -> Verdict:
    """Judge a folder of runs; a verdict reached earlier on the same bytes is read back from audit.json.

    Args:
        runs: The folder of runs.
        replay: Also compute every prediction again from weights and data.

    Raises:
        InputError: `runs` is not a folder of runs, or its plan cannot be read.
    """
    runs = Path(runs)
    digests = digest_all(runs)
    key = digest_of({"files": digests, "folders": _empty_folders(runs), "checks": _own_digest()})
    kept = _recall(runs / AUDIT, key, replay)
    if kept is not None:
        return kept
    # Matrix products are small here: several threads for each of them wait for each other longer than they compute.
    with threadpool_limits(1, user_api="blas"):
        verdict = judge(read_folder(runs, digests), replay=replay)
    _keep(runs / AUDIT, key, replay, verdict)
    return verdict


def judge(folder: Folder, *, replay: bool) -> Verdict:
    """All checks over `folder`; no cache."""
    with ThreadPoolExecutor(_cores()) as pool:  # much of it is the work of numpy, which releases the interpreter lock
        fitted = pool.submit(_judge_folder, folder, *FITTED)
        findings = [finding for name, check in FOLDER_CHECKS for finding in _judge_folder(folder, name, check)]
        judged = pool.map(lambda run: _judge_run(folder, run, replay), folder.runs)
        findings.extend(fitted.result())
    expected: list[Finding] = []
    for run, found in zip(folder.runs, judged, strict=True):
        declared = _declared(folder, run)
        expected.extend(finding for finding in found if finding.severity == "error" and finding.check in declared)
        findings.extend(finding for finding in found if finding.severity != "error" or finding.check not in declared)
        findings.extend(_absent(run, found, declared))
    return Verdict(tuple(findings), tuple(expected))


def _judge_folder(folder: Folder, name: str, check: FolderCheck) -> list[Finding]:
    with np.errstate(all="ignore"):  # what is not finite becomes a finding, not a warning
        return list(_findings(name, None, lambda: check(folder)))


def _judge_run(folder: Folder, run: Run, replay: bool) -> list[Finding]:
    found: list[Finding] = []
    with np.errstate(all="ignore"):  # what is not finite becomes a finding, not a warning
        for name, check in RUN_CHECKS:
            if name in REPLAYED and not replay:
                continue
            if run.record is None and name not in WITHOUT_RECORD:
                continue  # `planned-runs-present` says so
            found.extend(_findings(name, run.planned.run_id, lambda check=check: check(folder, run)))
    run.forget()
    return found


def _cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _findings(name: str, run_id: str | None, check: Callable[[], Iterator[Fault]]) -> Iterator[Finding]:
    """The faults of one check as one finding; and an unchecked one where a file could not be looked at."""
    faults: list[Fault] = []
    reason = ""
    try:
        for fault in check():
            faults.append(fault)
    except UnavailableError as error:
        reason = str(error)
    if faults:
        first, more = faults[0], len(faults) - 1
        message = first.message + (f" (and {more} more)" if more else "")
        severity: Severity = "note" if name in NOTES else "error"
        listed = [_plain({"message": fault.message, **fault.data}) for fault in faults[:LISTED]]
        yield Finding(name, severity, message, run_id, {"count": len(faults), "faults": listed})
    if reason:
        yield Finding(name, "unchecked", reason, run_id)


def _plain(value: Any) -> Any:
    """`value` as JSON can spell it: numbers of Python's own, inf and NaN as text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return _plain(value.item())
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _declared(folder: Folder, run: Run) -> frozenset[str]:
    return frozenset(folder.plan.variant(run.planned.variant).expected_findings)


def _absent(run: Run, found: list[Finding], declared: frozenset[str]) -> Iterator[Finding]:
    """An error for each declared finding that a complete look at the run did not show."""
    if run.record is None:
        return
    seen = {finding.check for finding in found if finding.severity in ("error", "unchecked")}
    for check in sorted(declared - seen):
        message = f"{check} is declared in the plan, and was not found"
        yield Finding(UNEXPECTED_ABSENT, "error", message, run.planned.run_id, {"declared": check})


class _Told(BaseModel):
    """A verdict as JSON has it."""

    findings: tuple[Finding, ...]
    expected: tuple[Finding, ...]


# --- the verdict that is kept ---------------------------------------------------------------------------------------


def _own_digest() -> str:
    """Digest of the checks, and of all that they may read with: a verdict of others is not this one's."""
    root = Path(__file__).parent.parent
    code = [path for package in ("spinn", "verify") for path in sorted((root / package).rglob("*.py"))]
    return digest_of({path.relative_to(root).as_posix(): digest_file(path) for path in code})


def _empty_folders(runs: Path) -> list[str]:
    return sorted(path.relative_to(runs).as_posix() for path in (runs / "runs").glob("*") if path.is_dir())


def _slot(replay: bool) -> str:
    return "replayed" if replay else "read"


def _recall(path: Path, key: str, replay: bool) -> Verdict | None:
    """The stored verdict on these bytes; the replayed one, which says more, also answers a call without replay."""
    stored = _stored(path)
    for slot in ("replayed",) if replay else ("replayed", "read"):
        entry = stored.get(slot)
        if not isinstance(entry, dict) or entry.get("key") != key:
            continue
        try:
            if entry.get("digest") != _seal(entry):
                continue
            told = _Told.model_validate(entry.get("verdict"))
        except ValueError:
            continue  # its digest may be right, but it is no verdict: somebody made it so
        return Verdict(told.findings, told.expected)
    return None


def _keep(path: Path, key: str, replay: bool, verdict: Verdict) -> None:
    entry: dict[str, Any] = {"key": key, "verdict": json.loads(canonical_json(verdict.as_json()))}
    stored = {slot: kept for slot, kept in _stored(path).items() if isinstance(kept, dict) and kept.get("key") == key}
    stored[_slot(replay)] = {**entry, "digest": _seal(entry)}
    try:
        write_atomic(path, (json.dumps(stored, indent=1) + "\n").encode())
    except OSError:
        return  # a folder that cannot be written to is judged again next time


def _stored(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_file(path))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _seal(entry: dict[str, Any]) -> str:
    """Guards the stored verdict against an edit by accident."""
    return digest_of([entry.get("key"), entry.get("verdict")])
