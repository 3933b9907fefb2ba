"""The build: nothing from refused records, nothing twice, the same bytes from the same records."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from artifacts.build import BuildReport, build
from artifacts.figures import CAPTIONS
from spinn import record, storage
from spinn.errors import RecordError
from spinn.metrics import metrics_of
from verify.audit import audit


def files(out: Path) -> dict[str, bytes]:
    """Every file below `out`."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def tamper(runs: Path) -> None:
    """Change one prediction, as nobody should."""
    path = runs / "runs" / "sparse-f00-s0" / "predictions.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:-1], lines[-1].rsplit(",", 1)[0] + ",0.5\n"]))


def forge(runs: Path) -> None:
    """Put predictions closer to the labels than the weights do, with metrics, digests and seal made to agree."""
    folder = runs / "runs" / "sparse-f00-s0"
    frame = pd.read_csv(folder / "predictions.csv", dtype={"case": str})
    better = (frame["split"] == "test") & frame["measured"].notna() & (frame["stage"] < 2)  # the last is adapted
    frame.loc[better, "prediction"] = 0.5 * (frame["prediction"] + frame["measured"])[better]
    frame.to_csv(folder / "predictions.csv", index=False)
    old = record.read_model(folder / "record.json", record.Record)
    files = {**old.files, "predictions.csv": storage.digest_file(folder / "predictions.csv")}
    record.write_model(folder / "record.json", old.model_copy(update={"metrics": metrics_of(frame), "files": files}))


def test_everything_is_built(built: Path):
    """Tables in three forms, figures in two, numbers, macros, report, and a manifest of them all."""
    made = files(built)
    assert {"report.html", "numbers.json", "numbers.tex", "summary.txt", "build.json"} < set(made)
    for name in ("accuracy", "comparisons", "intervals", "before-after", "claims", "schedule", "data", "training-cost"):
        assert {f"tables/{name}.{ending}" for ending in ("tex", "csv", "md")} < set(made)
    for name in CAPTIONS:
        assert {f"figures/{name}.{ending}" for ending in ("pdf", "png")} < set(made)
    manifest = json.loads(made["build.json"])
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in made.items() if name != "build.json"}
    assert manifest["outputs"] == listed


def test_sources_of_numbers_are_in_the_manifest(built: Path):
    """The digest that a number names is that of the files the manifest lists for it."""
    from spinn.storage import digest_of

    sources = json.loads((built / "build.json").read_bytes())["sources"]
    for entry in json.loads((built / "numbers.json").read_bytes()).values():
        for source in entry["source"]:
            group, _, digest = source.partition(" sha256:")
            assert digest == digest_of(sources[group])
            assert sources[group]


def test_nothing_is_rebuilt_when_nothing_changed(honest: Path, out: Path):
    """A second build writes nothing, reports the same, and keeps the times of all files."""
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = build(honest, out)
    assert (again.written, again.removed, again.holds) == ((), (), True)
    assert again.summary == (out / "summary.txt").read_text()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


def test_an_unchanged_build_loads_nothing_heavy(honest: Path, out: Path):
    """A build with nothing to do imports neither matplotlib nor pandas nor numpy."""
    code = (
        "import sys; from pathlib import Path; from artifacts.build import build;"
        f"assert not build(Path({str(honest)!r}), Path({str(out)!r})).written;"
        "print([name for name in ('matplotlib', 'pandas', 'numpy', 'jinja2', 'torch') if name in sys.modules])"
    )
    bare = {**os.environ, "PATH": str(out)}  # without LaTeX, as it was built
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=bare)
    assert done.stdout.strip() == "[]"


def test_a_changed_or_deleted_output_comes_back(honest: Path, out: Path):
    """Only what was changed or deleted is written again, with the bytes it had."""
    before = files(out)
    (out / "tables" / "accuracy.tex").write_text("0.99")
    (out / "figures" / "losses.pdf").unlink()
    again = build(honest, out)
    assert again.written == ("figures/losses.pdf", "tables/accuracy.tex")
    assert files(out) == before


def test_benchmarks_are_built_and_named_as_a_source(built: Path, built_with_benchmarks: Path, history: Path):
    """Both tables in three forms and in the report; every number of theirs names the history and its digest."""
    made, before = files(built_with_benchmarks), files(built)
    names = ("benchmarks", "benchmark-targets")
    tables = {f"tables/{name}.{ending}" for name in names for ending in ("tex", "csv", "md")}
    assert set(made) - set(before) == tables
    page = made["report.html"].decode()
    assert [f'data-table="{name}"' in page for name in names] == [True, True]
    digests = {"benchmarks/history.jsonl": hashlib.sha256(history.read_bytes()).hexdigest()}
    manifest = json.loads(made["build.json"])
    assert manifest["sources"]["benchmarks/history.jsonl"] == digests
    assert manifest["inputs"]["records"].items() > digests.items()
    assert "benchmarks/history.jsonl" not in json.loads(before["build.json"])["sources"]
    numbers = json.loads(made["numbers.json"])
    of_benchmarks = {name: entry["source"] for name, entry in numbers.items() if name.startswith("benchmark")}
    assert len(of_benchmarks) == 10
    source = f"benchmarks/history.jsonl sha256:{storage.digest_of(digests)}"
    assert all(named == [source] for named in of_benchmarks.values())
    others = {name: entry for name, entry in numbers.items() if name not in of_benchmarks}
    assert others == json.loads(before["numbers.json"])


def test_a_changed_history_is_built_again(
    honest: Path, history: Path, built: Path, built_with_benchmarks: Path, tmp_path: Path
):
    """The same bytes elsewhere change nothing; one byte does; without the history all is as if it had never been."""
    out = Path(shutil.copytree(built_with_benchmarks, tmp_path / "out"))
    copy = Path(shutil.copy(history, tmp_path / "other.jsonl"))
    assert build(honest, out, benchmarks=copy).written == ()
    copy.write_text(copy.read_text().replace("12345.678", "12945.678", 1))
    changed = build(honest, out, benchmarks=copy).written
    assert "tables/benchmarks.csv" in changed
    assert not {"tables/accuracy.csv", "tables/benchmark-targets.csv"} & set(changed)
    assert "12945.678" in (out / "tables" / "benchmarks.csv").read_text()
    assert len(build(honest, out).removed) == 6
    assert files(out) == files(built)


def test_refused_records_leave_a_report_and_no_number(runs: Path, out: Path):
    """When the audit fails, status is 1, findings are on top of the report, and earlier numbers are gone."""
    tamper(runs)
    report = build(runs, out)
    assert report.exit_status == 1
    assert set(files(out)) == {"report.html", "summary.txt", "build.json"}
    page = (out / "report.html").read_text()
    assert page.index("The audit fails") < page.index("digests")
    assert "No table, figure or number was written" in page
    assert "digests" in report.summary
    assert build(runs, out).exit_status == 1


def test_forged_predictions_are_not_printed(runs: Path, out: Path):
    """Predictions that all records agree on, but no checkpoint gives, are found by replaying them."""
    forge(runs)
    assert audit(runs).holds  # nothing else gives the forgery away
    report = build(runs, out)
    assert report.exit_status == 1
    assert "predictions-replayed" in report.summary
    assert set(files(out)) == {"report.html", "summary.txt", "build.json"}


def test_withheld_weights_are_said_to_be(runs: Path, tmp_path: Path):
    """Without weights the records are printed, as not replayed, and the faulty variant keeps its mark."""
    for path in (runs / "runs").rglob("*.safetensors"):
        path.unlink()
    report = build(runs, tmp_path / "out")
    assert report.holds
    page = (tmp_path / "out" / "report.html").read_text()
    for text in (report.summary, page):
        assert "could not be replayed from the weights" in text
        assert "were replayed" not in text
        assert " unchecked (" in text
        assert "first-version †" in text
        assert "resurrection (8 of 8 runs)" in text


def test_the_verdict_counts(built: Path):
    """The verdict says how many findings were declared, how many notes there are, and what was not checked."""
    text = (built / "summary.txt").read_text().splitlines()[0]
    unchecked = "1 unchecked (too few labels of VB and thermal to tell whether a linear mix of 18 inputs gives them"
    assert text.startswith(f"The audit holds: 24 declared findings, 2 notes, {unchecked}")
    assert text.endswith("The predictions were replayed from the weights.")
    assert text in (built / "report.html").read_text()


def test_a_checkpoint_changed_behind_its_time_is_noticed(runs: Path, tmp_path: Path):
    """A byte changed in a checkpoint, its size and time of change kept, makes the build look again."""
    assert build(runs, tmp_path / "out").holds
    path = runs / "runs" / "sparse-f00-s0" / "stage-1.safetensors"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not build(runs, tmp_path / "out").holds


def test_records_made_whole_again_are_built(honest: Path, runs: Path, out: Path):
    """After the fault is mended the same build gives the same bytes as before."""
    before = files(out)
    tamper(runs)
    build(runs, out)
    source = honest / "runs" / "sparse-f00-s0" / "predictions.csv"
    (runs / "runs" / "sparse-f00-s0" / "predictions.csv").write_bytes(source.read_bytes())
    assert build(runs, out).holds
    now = files(out)
    assert {name for name in before if before[name] != now.get(name)} <= {"build.json"}  # it holds times of checkpoints


def test_other_files_in_the_output_folder_are_left_alone(runs: Path, out: Path):
    """A refused build removes only what a build writes."""
    (out / "tables" / "mine.txt").write_text("mine")
    tamper(runs)
    build(runs, out)
    assert (out / "tables" / "mine.txt").read_text() == "mine"


def test_a_broken_manifest_is_no_obstacle(honest: Path, out: Path):
    """Without a manifest that can be read, everything is built, and files that are right are not touched."""
    (out / "build.json").write_text("{")
    assert build(honest, out).written == ()
    assert json.loads((out / "build.json").read_bytes())["holds"]


def test_no_folder_of_runs(tmp_path: Path):
    """A folder without plan.json is refused, and nothing is written."""
    with pytest.raises(RecordError, match=r"plan\.json: no such file"):
        build(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Links(HTMLParser):
    """Every attribute that would load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what the tag loads."""
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_the_report_is_self_contained_and_escaped(built: Path):
    """The page loads nothing, runs the one script that is written in it, and a case called <b>7</b> is text."""
    text = (built / "report.html").read_text()
    page = Links(text)
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in page.loads)
    assert sum(load.startswith("data:") for load in page.loads) == len(CAPTIONS)
    assert page.tags.count("script") == 2
    assert text.count('<script type="application/json" id="provenance">') == 1
    assert "default-src 'none'" in text
    assert not {"link", "iframe", "b"} & set(page.tags)
    assert "&lt;b&gt;7&lt;/b&gt;" in text
    assert "the cut was &lt;short&gt;" in text
    assert "@import" not in text
    assert "url(" not in text


def test_report_shows_verdict_then_claims(built: Path):
    """The verdict comes first, then the criteria, the tables, the figures and the findings."""
    text = (built / "report.html").read_text()
    marks = [
        "The audit holds",
        '<table data-table="claims"',
        '<table data-table="accuracy"',
        "<figure>",
        "Findings of the audit",
    ]
    assert [text.index(mark) for mark in marks] == sorted(text.index(mark) for mark in marks)
    assert "Declared in the plan, and found" in text


def test_exit_status_is_the_verdict():
    """0 for records that hold, 1 for refused ones, and for pages that do not hold what they should."""
    assert BuildReport(Path(), True, (), (), "").exit_status == 0
    assert BuildReport(Path(), True, (), (), "", faults=("paper.pdf: too wide",)).exit_status == 1
    assert BuildReport(Path(), False, (), (), "").exit_status == 1
