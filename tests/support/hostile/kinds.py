"""Every kind of file that a stranger can send: a good one, and what reads it.

A reader is the function that a command calls first with the file; where the audit reads it, a finding is a result.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from artifacts import check, claims, paper, prose, provenance, results, tables
from artifacts.benchmarks import Benchmarks
from artifacts.constants import NONE, Constants
from artifacts.executed import executed
from artifacts.mutants import Mutants
from artifacts.numbers import Format, encode_json, encode_tex
from artifacts.paper import Content, fill
from artifacts.reference import read_spread
from artifacts.render import Table
from hostile import makers
from spinn import checkpoint, experiment, record, schedule_check, summary
from spinn.data import card, nasa, tidy
from spinn.data.download import _member
from spinn.errors import SpinnError
from spinn.record import AdaptationRecord, BaselineRecord, Plan, Record
from spinn.schedule import Criteria
from spinn.storage import digest_of, read_stored
from verify import audit, folder
from verify.card import recounted
from verify.findings import Finding, Verdict
from verify.state_files import read_state

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "paper" / "reference" / "minutes"
CORPUS = ROOT / "tests" / "e2e" / "corpus"

TOML = b"""name = "tiny"
claims = "claims.toml"
seeds = [3]
layers = [18, 8, 2]
[split]
kind = "grouped"
folds = 2
[dense]
epochs = 2
[simulator]
seed = 3
[target]
reduction = "0.30"
[[variants]]
name = "sparse"
pruner = "global-magnitude"
expected_findings = ["schedule-reaches-target"]
stages = [{ ratio = "0.30", epochs = 4, learning_rate = 5e-3 }]
"""
CLAIMS = b"""[[claim]]
name = "few"
statement = "Few parameters are left: 100 to 1,000."
value = "parameters"
comparison = "within"
threshold = [100, 1000]
unit = ""
test = "exact"
margin = 0
applies_to = { targets = [], data = ["any"] }
[[claim]]
name = "fast"
statement = "It is fast: less than 100 ms."
value = "latency-p95"
comparison = "below"
threshold = 100.0
unit = "ms"
test = "interval"
margin = "none"
applies_to = { targets = ["VB"], data = ["any"] }
"""
CSV = b"case,run,time,DOC,feed,material,VB,force\n" + b"".join(
    b"%c,%d,%d,1.5,0.5,%d,0.%d,%d.5\n" % (65 + case, cut, 5 * cut, 1 + case % 2, cut, case + cut)
    for case in range(3)
    for cut in (1, 2, 3)
)
TEMPLATE = rb"""\section{Results} % of \VAR{experiment}
\BLOCK{for name, label in targets}
\VAR{label}: \VAR{n("config", "layers", "0")} inputs\BLOCK{if not loop.last}, \BLOCK{endif}
\BLOCK{endfor}
\BLOCK{if has("config.seeds") and "data" in tables}\VAR{tabular("data")}\BLOCK{endif}
\BLOCK{set known = source|upper}
\VAR{known} \VAR{verdict("near-dense")} \VAR{variants["sparse"]}
\BLOCK{for part in parts("data")}\VAR{tabular("data", rows=part.rows)}\VAR{part.more}\BLOCK{endfor}
"""


@dataclass(frozen=True)
class Kind:
    """A kind of file: what it is called, how it is written, a good one, and what reads it."""

    file: str
    form: str  # what `wounds` knows to damage: toml, json, csv, safetensors, mat, xz, template, bytes
    good: Callable[[], bytes]
    read: Callable[[Path], object]


def stored(name: str) -> bytes:
    """A file of the reference."""
    return read_stored(REFERENCE / name)


@cache
def plan() -> Plan:
    """The plan of the reference."""
    return record.read_model(REFERENCE / "plan.json", Plan)


def of_a_run(name: str) -> bytes:
    """A file of the first run of the reference."""
    return stored(f"runs/{plan().runs[0].run_id}/{name}")


@cache
def found() -> results.Results:
    """The reference as artifacts read it, as if its audit held."""
    return results.read(REFERENCE, Verdict(()))


@cache
def judged() -> folder.Folder:
    """The reference as the judge reads it."""
    return folder.read_folder(REFERENCE, folder.digest_all(REFERENCE))


def table() -> Table:
    """A table with two numbers."""
    frame = pd.DataFrame({"case": ["A", "<b>"], "value": [1.25, None], "count": [3, 1000]}, dtype=object)
    return Table("accuracy", "Accuracy.", frame, ("a note",), {"": Format(2, "mm")}, ("case",), {"": "mean"}, {"": ()})


@cache
def built() -> dict[str, bytes]:
    """A folder that `spinn-artifacts check` lets through, as small as can be."""
    made = table()
    told = {name: replace(number, source=()) for name, number in made.numbers().items()}
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in _escaped(made.shown()))
    page = f'<p id="verdict">It holds.</p><table data-table="accuracy">{rows}</table>'
    page += f'<script type="application/json" id="provenance">{provenance.encode(told, {})}</script>'
    files = {
        "numbers.json": encode_json(told),
        "numbers.tex": encode_tex({name: number.text for name, number in told.items()}),
        "summary.txt": b"It holds.\n" + "\n".join("  ".join(row) for row in made.shown()).encode(),
        "report.html": page.encode(),
        "tables/accuracy.csv": made.csv(),
        "tables/accuracy.md": made.markdown(),
        "tables/accuracy.tex": made.latex(),
        "paper/paper.tex": "".join(f"\\val{{{n}}}{{{one.text}}}" for n, one in told.items()).encode(),
    }
    outputs = {name: check._sha256(content) for name, content in files.items()}
    manifest = {"outputs": outputs, "holds": True, "sources": {}, "inputs": {"records": {}}}
    return {**files, "build.json": json.dumps(manifest).encode()}


def _escaped(rows: Any) -> Any:
    return [[cell.replace("&", "&amp;").replace("<", "&lt;") for cell in row] for row in rows]


def manifest(path: Path) -> object:
    """What `spinn-artifacts check` finds where the manifest of a built folder is another."""
    return check.problems(built(), check.read_manifest(path.parent))


def checked(name: str) -> Callable[[Path], object]:
    """What it finds where the file of this name is another, its digest right again: the second look has to see it."""

    def read(path: Path) -> object:
        files = {**built(), name: path.read_bytes()}
        told = json.loads(files["build.json"])
        told["outputs"][name] = check._sha256(files[name])
        return check.problems(files, told)

    return read


def evaluated(path: Path) -> object:
    """The claims of a file, evaluated on the reference, as a table."""
    stated = experiment.Experiment.model_validate(_tiny())
    asked = replace(found(), claims=tuple(experiment.load_claims(path, stated)))
    return claims.table(asked, claims.evaluate(asked)).latex()


def _tiny() -> dict[str, Any]:
    import tomllib

    return tomllib.loads(TOML.decode())


@cache
def content() -> Content:
    """What a template is filled with: the reference."""
    return Content(found(), {"data": tables.data_card(found())}, (), executed(found()))


def filled(path: Path) -> object:
    """A template, refused or filled as those of the paper are."""
    source = path.read_bytes().decode("utf-8", errors="replace")
    prose.refuse(prose.literals(source, path.name, NONE, {}))
    return fill(source, content(), path.name)


def recalled(path: Path) -> object:
    """The verdict that is kept in audit.json, if it is one on these files."""
    return audit._recall(path, "key", False)


def kept() -> bytes:
    """An audit.json."""
    verdict = Verdict((Finding("digests", "error", "changed", "sparse-f00-s1", {"count": 1}),))
    entry: dict[str, Any] = {"key": "key", "verdict": verdict.as_json()}
    return json.dumps({"read": {**entry, "digest": digest_of(["key", verdict.as_json()])}}).encode()


def forged(path: Path) -> object:
    """As `recalled`, of an audit.json whose digests are made right again."""
    told = json.loads(path.read_bytes())
    for entry in told.values() if isinstance(told, dict) else ():
        if isinstance(entry, dict):
            with suppress(ValueError):  # of what JSON cannot spell there is no digest
                entry |= {"key": "key", "digest": digest_of(["key", entry.get("verdict")])}
    path.write_bytes(json.dumps(told).encode())
    return recalled(path)


def card_of(path: Path) -> object:
    """What the judge says of a data card."""
    dataset = plan().dataset.model_copy(update={"source": "tidy"})  # a simulated one would be simulated each time
    return list(recounted(replace(judged(), path=path.parent, plan=plan().model_copy(update={"dataset": dataset}))))


def benchmarks() -> bytes:
    """A history of one benchmark."""
    machine = json.loads(of_a_run("record.json"))["environment"] | {"load_average": 0.5}
    row = {"name": "speed", "value": 1.5, "unit": "rows/s", "ratio_to_limit": 0.5, "ratio_to_peer": None}
    target = {"name": "times, at least", "value": 1.5, "required": 1.0, "holds": True}
    told = {"time": "2026-01-01T00:00:00Z", "name": "train", "machine": machine, "limit": {"products": 1.0}}
    return json.dumps(told | {"rows": [row], "targets": [target], "notes": ["a note"]}).encode() + b"\n"


def mutants() -> bytes:
    """What `spinn-verify mutants --json` prints."""
    outcome = {"name": "mask-lost", "expected": "resurrection", "caught_by": ["resurrection"]}
    return json.dumps({"mutants": [outcome]}).encode()


def adaptation() -> bytes:
    """The record of an adaptation to one tool."""
    tool = {"fold": 0, "seed": 0, "case": "1", "cuts": 2, "labels": 1, "flops": None}
    law = {"fold": 0, "case": "1", "labels_seen": 1, "coefficients": [-5.0, 0.6, 0.4, 1.0], "factor": 1.0}
    method = {"name": "refitted-law", "tools": [tool], "seconds": 0.5, "predictions_digest": "0" * 64, "laws": [law]}
    told = {"plan_digest": "0" * 64, "variant": "sparse", "settings": {"steps": 1, "learning_rate": 0.1}, "begun": {}}
    return json.dumps(told | {"methods": [method]}).encode()


def scheduled(path: Path) -> object:
    """An experiment file as the schedule check reads it."""
    return schedule_check.check_experiment(path, Criteria(None, None, None))


def cuts(path: Path) -> object:
    """The data of a plan as the judge reads it; a file that is none is a finding."""
    told = folder.read_data(path.parent, plan())
    if isinstance(told, SpinnError):
        raise told
    return told


def spread() -> bytes:
    """What lies between repeats of a reference."""
    told = {"folders": 2, "machines": [{"processor": "one"}], "claims": {"few": 0.5}, "numbers": {"accuracy.vb": 0.1}}
    return json.dumps(told).encode()


def table_of_run(name: str) -> Callable[[Path], object]:
    """A table as the judge reads it."""
    columns = record.PREDICTION_COLUMNS if name == record.PREDICTIONS else _history()
    text = ("split", "case", "target") if name == record.PREDICTIONS else ()
    return lambda path: folder.read_csv(path, columns, text=text)


def _history() -> tuple[str, ...]:
    return tuple(of_a_run(record.HISTORY).split(b"\n", 1)[0].decode().split(","))


def few(content: bytes, lines: int = 12) -> bytes:
    """The first lines of a table."""
    return b"\n".join(content.split(b"\n")[:lines]) + b"\n"


def predictions() -> bytes:
    """The first predictions of the first run."""
    return few(of_a_run("predictions.csv"))


def benchmark_tables(path: Path) -> object:
    """A history of benchmarks as tables."""
    return [made.latex() for made in Benchmarks.read(path).tables()]


def model(schema: Any) -> Callable[[Path], object]:
    """A plan or a record, and whether it is sealed."""

    def read(path: Path) -> object:
        told = record.read_model(path, schema)
        return told if schema is Plan else folder.is_sealed(told)

    return read


def unpacked(path: Path) -> object:
    """A compressed record, asked for by its own name."""
    return record.read_model(path.with_suffix(""), Record)


KINDS: dict[str, Kind] = {
    "experiment": Kind("tiny.toml", "toml", lambda: TOML, experiment.load),
    "schedule": Kind("tiny.toml", "toml", lambda: TOML, scheduled),
    "claims": Kind("claims.toml", "toml", lambda: CLAIMS, evaluated),
    "cuts": Kind("cuts.csv", "csv", lambda: CSV, lambda path: card.describe(tidy.read(path))),
    "mill": Kind("mill.mat", "mat", makers.mill, nasa.read),
    "mill-compressed": Kind("mill.mat", "mat", lambda: makers.mill(compress=True), nasa.read),
    "archive": Kind("archive.zip", "bytes", makers.mill_archive, lambda path: _member(path, "http://there")),
    "plan": Kind("plan.json", "json", lambda: stored("plan.json"), model(Plan)),
    "record": Kind("record.json", "json", lambda: of_a_run("record.json"), model(Record)),
    "record-packed": Kind("record.json.xz", "xz", lambda: of_a_run("record.json"), unpacked),
    "baseline": Kind("mean.json", "json", lambda: stored("baselines/mean.json"), model(BaselineRecord)),
    "adaptation": Kind("record.json", "json", adaptation, model(AdaptationRecord)),
    "dataset": Kind("dataset.csv", "csv", lambda: few(stored("dataset.csv")), cuts),
    "history": Kind("history.csv", "csv", lambda: few(of_a_run("history.csv")), table_of_run(record.HISTORY)),
    "predictions": Kind("predictions.csv", "csv", predictions, table_of_run(record.PREDICTIONS)),
    "summary": Kind("predictions.csv", "csv", predictions, summary._predictions),
    "datacard": Kind("datacard.json", "json", lambda: stored("datacard.json"), card_of),
    "audit": Kind("audit.json", "json", kept, recalled),
    "audit-forged": Kind("audit.json", "sound-json", kept, forged),
    "checkpoint": Kind("stage-1.safetensors", "safetensors", makers.pruned, checkpoint.read),
    "network": Kind("network.safetensors", "safetensors", makers.pruned, read_state),
    "judged-network": Kind(
        "stage-1.safetensors", "safetensors", makers.pruned, lambda path: folder.read_network(path, (4, 3, 2))
    ),
    "pytorch": Kind("network.pt", "bytes", makers.state_dict, read_state),
    "benchmarks": Kind("history.jsonl", "json", benchmarks, benchmark_tables),
    "mutants": Kind("mutants.json", "json", mutants, lambda path: [t.latex() for t in Mutants.read(path).tables()]),
    "spread": Kind("spread.json", "json", spread, lambda path: read_spread(path.parent)),
    "manifest": Kind("build.json", "json", lambda: built()["build.json"], manifest),
    "numbers": Kind("numbers.json", "json", lambda: built()["numbers.json"], checked("numbers.json")),
    "report": Kind("report.html", "bytes", lambda: built()["report.html"], checked("report.html")),
    "table": Kind("a.csv", "csv", lambda: built()["tables/accuracy.csv"], checked("tables/accuracy.csv")),
    "table-latex": Kind("a.tex", "bytes", lambda: built()["tables/accuracy.tex"], checked("tables/accuracy.tex")),
    "table-markdown": Kind("a.md", "bytes", lambda: built()["tables/accuracy.md"], checked("tables/accuracy.md")),
    "paper": Kind("paper.tex", "bytes", lambda: built()["paper/paper.tex"], checked("paper/paper.tex")),
    "constants": Kind(
        "constants.toml",
        "toml",
        lambda: (PAPER / "constants.toml").read_bytes(),
        lambda path: Constants.read(path, path),
    ),
    "template": Kind("paper.tex.j2", "template", lambda: TEMPLATE, filled),
}
"""Each kind by its name, which is also that of its folder in the corpus."""

FINDINGS = (folder.UnavailableError,)
"""What the judge's readers raise: a check that could not look at something says so in a finding."""
PAPER = paper.FOLDER


def compressed(content: bytes) -> bytes:
    """As a reference keeps it."""
    return lzma.compress(content, preset=0)
