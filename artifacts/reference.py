"""A folder of runs as a reference: small enough for a repository, with the spread between repeats of it.

Weights stay out, and so do the histories of all seeds but the first; what is below runs/ is compressed. The records
keep the digests of everything, so the audit still sees a changed byte, and calls what was left out unchecked.
`spread.json` has, for each claim and each number of the tables, the largest difference between the runs and their
repeats, and on which machines they were made: what a reproduction is allowed to differ by.
"""

from __future__ import annotations

import json
import lzma
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artifacts import claims, costs, tables
from artifacts.beside import SPREAD
from artifacts.numbers import Number
from artifacts.results import Results, read
from spinn.documents import parse_json
from spinn.errors import InputError, RecordError
from spinn.record import (
    ADAPTATION,
    AUDIT,
    BASELINES,
    CLAIMS,
    DATACARD,
    DATASET,
    HISTORY,
    PLAN,
    PREDICTIONS,
    RECORD,
    Plan,
    read_model,
    run_folder,
)
from spinn.storage import digest_file, digest_of, packed, read_file, read_stored, write_atomic
from verify.audit import audit

_COSTS = ("peak memory (MB)", "share of retraining, seconds (%)")


def make(runs: Path, out: Path, repeats: Sequence[Path] = ()) -> int:
    """Write the reference `out` of the folder `runs` and of `repeats` of it; returns its size in bytes.

    Raises:
        RefusedError: the audit of one of them fails.
        InputError: `out` is there already, or a repeat has another plan.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; remove it, or name another folder")
    first, *others = (audited(folder) for folder in (runs, *repeats))
    for folder, other in zip(repeats, others, strict=True):
        if other.plan != first.plan:
            raise InputError(f"{folder}: runs of another plan; a repeat has the plan of {runs}")
    spread = _spread(first, others) if others else None
    plan = read_model(runs / PLAN, Plan)
    for name in (PLAN, DATASET, DATACARD, CLAIMS):
        write_atomic(out / name, (runs / name).read_bytes())
    for name in (BASELINES, ADAPTATION):
        if (runs / name).is_dir():
            shutil.copytree(runs / name, out / name, ignore=shutil.ignore_patterns("*.safetensors", ".*"))
    for run in plan.runs:
        for name in (RECORD, PREDICTIONS, *([HISTORY] if run.seed == plan.experiment.seeds[0] else [])):
            content = read_stored(run_folder(runs, run.run_id) / name)
            write_atomic(packed(run_folder(out, run.run_id) / name), lzma.compress(_tight(name, content), preset=9))
    if spread is not None:
        write_atomic(out / SPREAD, (json.dumps(spread, indent=1, ensure_ascii=False) + "\n").encode())
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def _tight(name: str, content: bytes) -> bytes:
    """A record without its indentation: its seal is of what it says, not of how it is spelled."""
    return json.dumps(json.loads(content), separators=(",", ":")).encode() if name == RECORD else content


def audited(runs: Path) -> Results:
    """The results of a folder whose audit holds.

    Raises:
        RefusedError: it does not.
    """
    return read(runs, audit(runs, replay=True))


def is_cost(number: Number) -> bool:
    """Whether a number was measured on a clock or a meter, and is the machine's as much as the work's."""
    return (
        number.unit in ("s", "ms", "J") or str(number.cells[0][2]).removesuffix(" low").removesuffix(" high") in _COSTS
    )


def values(results: Results) -> dict[str, Number]:
    """Every number of every table but the claims, and but the machine's, which is what a difference may come from."""
    made = (table for table in tables.all_tables(results) if table.name != "environment")
    return {name: number for table in made for name, number in table.numbers().items()}


def machine(results: Results) -> dict[str, str]:
    """Machine and libraries of the runs, as the table `environment` has them."""
    frame = costs.environment(results).frame
    return dict(zip(frame[""], frame["value"], strict=True))


def _spread(first: Results, others: Sequence[Results]) -> dict[str, Any]:
    """The largest difference of each number; a number that some repeat lacks has none, and so no tolerance."""
    sides = [first, *others]
    cells = [{name: number.value for name, number in values(one).items() if not is_cost(number)} for one in sides]
    found = [{str(one.claim["name"]): one.measured.value for one in claims.evaluate(side)} for side in sides]
    told = [{name: value for name, value in one.items() if value is not None} for one in found]
    return {
        "folders": len(sides),
        "machines": [machine(one) for one in sides],
        "claims": _largest(told),
        "numbers": _largest(cells),
    }


def _largest(sides: Sequence[dict[str, Any]]) -> dict[str, float]:
    shared = [name for name in sides[0] if all(name in side for side in sides)]
    return {name: max(side[name] for side in sides) - min(side[name] for side in sides) for name in sorted(shared)}


def digest(reference: Path) -> str:
    """What tells whether a reference is the one that was kept: of all its files, less the verdict of an audit."""
    paths = (path for path in reference.rglob("*") if path.is_file() and path.name != AUDIT)
    return digest_of({path.relative_to(reference).as_posix(): digest_file(path) for path in paths})


def read_spread(reference: Path) -> dict[str, Any]:
    """spread.json of a reference; without one no repeat was measured, and nothing may differ but by rounding.

    Raises:
        RecordError: it is not one.
    """
    try:
        found = parse_json(read_file(reference / SPREAD))
        return {
            "folders": int(found["folders"]),
            "machines": list(found["machines"]),
            "claims": {str(name): float(value) for name, value in found["claims"].items()},
            "numbers": {str(name): float(value) for name, value in found["numbers"].items()},
        }
    except FileNotFoundError:
        return {"folders": 1, "machines": [], "claims": {}, "numbers": {}}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise RecordError(
            f"{reference / SPREAD}: not the spread of repeats ({error!r:.200}); restore the file"
        ) from None
