"""What depends on what, and the build: audited records in, tables, figures, numbers, report and paper out.

`build.json` in the output folder holds the digest of every input and output. When no input changed and every output is
as it was written, nothing is done, and nothing heavy is imported; only where pages of the paper could not be made are
they tried again, since LaTeX may have been mended. Checkpoints are the audit's to read: here only their
size and times are looked at, to know whether an audit is due; the time of the inode's change cannot be set back.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts import typeset
from artifacts.beside import KINDS, SPREAD
from spinn.documents import parse_json
from spinn.errors import InputError, RecordError
from spinn.record import (
    ADAPTATION,
    BASELINES,
    CLAIMS,
    DATACARD,
    DATASET,
    HISTORY,
    PLAN,
    PREDICTIONS,
    RECORD,
    RUNS,
    Plan,
    read_model,
)
from spinn.storage import digest_file, is_stored, read_file, write_atomic

if TYPE_CHECKING:
    from artifacts.beside import Beside
    from artifacts.numbers import Number
    from artifacts.render import Table
    from artifacts.results import Results
    from verify.findings import Verdict

MANIFEST, REPORT, NUMBERS, MACROS, SUMMARY = "build.json", "report.html", "numbers.json", "numbers.tex", "summary.txt"
TABLE_FORMATS, FIGURE_FORMATS = ("tex", "csv", "md"), ("pdf", "png")
IN_BRIEF = (
    "schedule",
    "before-after",
    "accuracy",
    "comparisons",
    "search",
    "settings",
    "training-cost",
    "inference-cost",
    "benchmark-targets",
    "claims",
)
_ROOT = Path(__file__).parent.parent
_LIBRARIES = ("jinja2", "matplotlib", "numpy", "pandas", "pydantic", "scipy")


@dataclass(frozen=True)
class BuildReport:
    """What a build did: paths (relative to `out`) that it wrote and removed; none where nothing had changed.

    `holds` is the audit's verdict; `summary` the main tables, or the findings that stood in the way, as text; `notice`
    what could not be made here, and how it can be, in one line; `faults` what is wrong with the pages of each PDF that
    was not written, a line each.
    """

    out: Path
    holds: bool
    written: tuple[str, ...]
    removed: tuple[str, ...]
    summary: str
    notice: str = ""
    faults: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 built from records that hold, 1 refused, or pages that do not hold what they should."""
        return 0 if self.holds and not self.faults else 1

    def as_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "holds": self.holds,
            "report": str(self.out / REPORT),
            "written": list(self.written),
            "removed": list(self.removed),
            "faults": list(self.faults),
        }


def build(runs: Path, out: Path, **beside: Path) -> BuildReport:
    """Bring `out` up to date with the folder of runs; a second call with nothing changed does nothing.

    What is printed beside the runs goes by the names of `artifacts.beside.KINDS`, which say what each is.

    Raises:
        InputError: what is named cannot stand beside these runs.
        RecordError: there is no folder of runs, or a file cannot be read as what it should be.
        RefusedError: the audit of other runs found an error.
    """
    plan = read_model(runs / PLAN, Plan)
    files: dict[str, Path] = {}
    folders: dict[str, Path] = {}
    for name, path in beside.items():
        kind = KINDS[name]
        first = path / PLAN if kind.folder else path
        if not first.is_file():
            raise RecordError(f"{first}: no such file; --{name} names {kind.what}")
        (folders if kind.folder else files)[kind.name] = path
    inputs = _inputs(runs, folders, files)
    previous = _manifest(out)
    notice = typeset.missing()
    complete = previous and not previous.get("faults") and _intact(out, previous["outputs"])
    if previous and complete and previous.get("inputs") == inputs:
        return BuildReport(out, bool(previous["holds"]), (), (), (out / SUMMARY).read_text(encoding="utf-8"), notice)
    # A file that is none, or an output that cannot be written, ends the build before the work.
    read = {name: _read(name, path, runs, plan) for name, path in beside.items() if not KINDS[name].folder}
    out.mkdir(parents=True, exist_ok=True)

    from threadpoolctl import threadpool_limits

    from verify.audit import audit

    verdict = audit(runs, replay=True)  # forged predictions are found by making them again; no torch in it
    if verdict.holds:
        with threadpool_limits(1, user_api="blas"):  # its matrix products are small: see `verify.audit`
            read |= {name: _read(name, path, runs, plan) for name, path in beside.items() if KINDS[name].folder}
            outputs, sources, faults = _outputs(runs, verdict, read)
    else:
        outputs, sources, faults = _refused(plan, verdict), {}, ()
    removed = _remove(out, keep=outputs)
    written = _write(out, outputs)
    manifest = {
        "holds": verdict.holds,
        "inputs": inputs,
        "outputs": {name: _sha256(content) for name, content in sorted(outputs.items())},
        "sources": sources,
        "faults": list(faults),
    }
    write_atomic(out / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    return BuildReport(out, verdict.holds, written, removed, outputs[SUMMARY].decode(), notice, _seen(out, faults))


def _seen(out: Path, faults: Iterable[str]) -> tuple[str, ...]:
    """What is wrong with pages, each with how to see it; every fault begins with its document's name."""
    how = "it was not written, all else was; to see it: latexmk -pdf -cd"
    return tuple(f"{fault}; {how} {out / 'paper' / fault.partition('.')[0]}.tex" for fault in faults)


# --- what everything depends on -------------------------------------------------------------------------------------


def _inputs(runs: Path, folders: Mapping[str, Path], files: Mapping[str, Path]) -> dict[str, Any]:
    """Digest of each record file, source and template; size, mtime and ctime of each checkpoint; versions."""
    records, checkpoints = _looked_at(runs)
    for place, folder in folders.items():
        others = _looked_at(folder)
        records |= {f"{place}/{name}": digest for name, digest in others[0].items()}
        checkpoints |= {f"{place}/{name}": times for name, times in others[1].items()}
    code = [path for package in ("spinn", "verify", "artifacts") for path in sorted((_ROOT / package).rglob("*.py"))]
    code += [_ROOT / "paper" / name for name in ("report.html.j2", "report.js", *typeset.SOURCES)]
    return {
        "records": records | {name: digest_file(path) for name, path in files.items()},
        "checkpoints": checkpoints,
        "code": {path.relative_to(_ROOT).as_posix(): digest_file(path) for path in code if path.is_file()},
        "versions": {
            "python": sys.version.split()[0],
            "latex": typeset.version(),
            **{name: metadata.version(name) for name in _LIBRARIES},
        },
    }


def _looked_at(runs: Path) -> tuple[dict[str, str], dict[str, list[int]]]:
    """What is read of a folder of runs: the digest of each record file, and size and times of each checkpoint."""
    names = [runs / name for name in (PLAN, DATACARD, CLAIMS, DATASET, SPREAD)]
    names += sorted((runs / BASELINES).glob("*")) + sorted((runs / ADAPTATION).glob("*"))
    folders = sorted(path for path in (runs / RUNS).glob("*") if path.is_dir())
    names += [folder / name for folder in folders for name in (RECORD, HISTORY, PREDICTIONS)]
    weights = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
    records = {path.relative_to(runs).as_posix(): digest_file(path) for path in names if is_stored(path)}
    return records, {path.relative_to(runs).as_posix(): _times(path) for path in weights}


def _times(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of the last build; None where there is none that can be used."""
    try:
        content = parse_json(read_file(out / MANIFEST))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    usable = isinstance(content, dict) and isinstance(content.get("outputs"), dict) and "holds" in content
    return content if usable and SUMMARY in content["outputs"] else None


def _intact(out: Path, outputs: dict[str, str]) -> bool:
    return all((out / name).is_file() and digest_file(out / name) == digest for name, digest in outputs.items())


# --- what is made ---------------------------------------------------------------------------------------------------


def _read(name: str, path: Path, runs: Path, plan: Plan) -> Beside:
    """What an option names, read to be printed beside the runs."""
    from artifacts.ablation import Ablation
    from artifacts.benchmarks import Benchmarks
    from artifacts.mutants import Mutants
    from artifacts.reproduce import reproduce

    readers: dict[str, Callable[[], Beside]] = {
        "benchmarks": lambda: Benchmarks.read(path),
        "mutants": lambda: Mutants.read(path),
        "ablation": lambda: Ablation.read(path, plan),
        "reference": lambda: reproduce(runs, path),
    }
    return readers[name]()


def _outputs(
    runs: Path, verdict: Verdict, beside: Mapping[str, Beside]
) -> tuple[dict[str, bytes], dict[str, dict[str, str]], tuple[str, ...]]:
    """Every output file by its path, the sources that its numbers name, and what is wrong with pages of the paper."""
    from artifacts import claims, executed, figures, numbers, paper, provenance, report, results, tables

    found = results.read(runs, verdict)
    made = tables.all_tables(found)
    outcomes = claims.evaluate(found)
    if outcomes:
        made.insert(0, claims.table(found, outcomes))
    for option, other in beside.items():
        added = other.tables()
        twice = {table.name for table in made} & {table.name for table in added}
        if twice:
            raise InputError(f"{runs}: these runs make a table {min(twice)} of their own; leave out --{option}")
        made += added
    by_name = {table.name: table for table in made}
    drawn = figures.all_figures(found, by_name)
    known: dict[str, Number] = {}
    for table in made:
        known |= table.numbers()
    known |= executed.executed(found)
    known |= paper.noted(table for table in made if table.name == "settings")
    sources = found.sources() | executed.sources()
    for other in beside.values():
        sources |= other.sources()
    outputs = {
        NUMBERS: numbers.encode_json(known),
        MACROS: numbers.encode_tex({name: number.text for name, number in known.items()}),
        SUMMARY: _summary(found, by_name).encode(),
        REPORT: report.report(found, made, drawn, provenance.encode(known, sources)),
    }
    for table in made:
        contents = (table.latex(), table.csv(), table.markdown())
        outputs |= {f"tables/{table.name}.{end}": c for end, c in zip(TABLE_FORMATS, contents, strict=True)}
    for name, files in drawn.items():
        outputs |= {f"figures/{name}.{ending}": content for ending, content in files.items()}
    typed, faults = paper.outputs(found, made, outcomes, known, drawn)
    return outputs | typed, sources, faults


def _refused(plan: Plan, verdict: Verdict) -> dict[str, bytes]:
    """The report of an audit that failed, and nothing that could be mistaken for a result."""
    from artifacts import report

    errors = [finding for finding in verdict.findings if finding.severity == "error"]
    lines = [f"The audit fails with {len(errors)} error(s); no table, figure or number was written."]
    lines += [f"  {row['check']} ({row['runs']}): {row['message']}" for row in report.grouped(errors)]
    page = report.refused(report.title(plan.experiment.name, plan.dataset.source), verdict)
    return {SUMMARY: ("\n".join(lines) + "\n").encode(), REPORT: page}


def _summary(results: Results, tables: dict[str, Table]) -> str:
    from artifacts.report import verdict_line

    shown = [tables[name] for name in IN_BRIEF if name in tables]
    notes = dict.fromkeys(note for table in shown for note in table.notes)
    return "\n\n".join([verdict_line(results.verdict), *(table.text() for table in shown), "\n".join(notes)]) + "\n"


# --- writing --------------------------------------------------------------------------------------------------------


def _write(out: Path, outputs: dict[str, bytes]) -> tuple[str, ...]:
    """Write what is not there as it should be; a file whose bytes are right keeps its time."""
    changed = [
        name
        for name, content in sorted(outputs.items())
        if not (out / name).is_file() or digest_file(out / name) != _sha256(content)
    ]
    for name in changed:
        write_atomic(out / name, outputs[name])
    return tuple(changed)


def _remove(out: Path, keep: dict[str, bytes]) -> tuple[str, ...]:
    """Remove what an earlier build wrote and this one does not: a stale number must not lie beside a new report."""
    from artifacts.figures import CAPTIONS
    from artifacts.tables import NAMES

    ours = [NUMBERS, MACROS, SUMMARY, REPORT]
    ours += [f"tables/{name}.{ending}" for name in NAMES for ending in TABLE_FORMATS]
    ours += [f"figures/{name}.{ending}" for name in CAPTIONS for ending in FIGURE_FORMATS]
    ours += [*typeset.OUTPUTS, *(f"paper/figures/{name}.pdf" for name in CAPTIONS)]
    stale = [name for name in ours if name not in keep and (out / name).is_file()]
    for name in stale:
        (out / name).unlink()
    return tuple(stale)


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()
