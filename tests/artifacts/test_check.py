"""`check` names the file that was changed, also where the manifest was changed to match."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from artifacts.build import build
from artifacts.check import check
from spinn.errors import RecordError
from spinn.storage import digest_file

CHANGES = [
    ("numbers.tex", "}{92}", "}{93}"),
    ("tables/schedule.csv", ",92,", ",93,"),
    ("tables/schedule.md", "| 92 |", "| 93 |"),
    ("tables/schedule.tex", "& 92 &", "& 93 &"),
    ("tables/data.csv", "cuts,28", "cuts,29"),
    ("report.html", '<td class="number">92</td>', '<td class="number">93</td>'),
]


def forge(out: Path, name: str) -> None:
    """Make the manifest agree with a changed file."""
    manifest = json.loads((out / "build.json").read_bytes())
    manifest["outputs"][name] = digest_file(out / name)
    (out / "build.json").write_text(json.dumps(manifest))


def test_what_was_built_holds(built: Path):
    """An untouched folder has no problem."""
    assert check(built) == ()


@pytest.mark.parametrize(("name", "old", "new"), CHANGES)
def test_a_changed_file_is_named(out: Path, name: str, old: str, new: str):
    """One changed digit is found by digest, and the file is named."""
    text = (out / name).read_text()
    assert old in text
    (out / name).write_text(text.replace(old, new, 1))
    assert [problem.file for problem in check(out)] == [name]


@pytest.mark.parametrize(("name", "old", "new"), CHANGES)
def test_a_forged_manifest_does_not_help(out: Path, name: str, old: str, new: str):
    """With the digest made to agree, the number that reads differently elsewhere gives it away."""
    path = out / name
    path.write_text(path.read_text().replace(old, new, 1))
    forge(out, name)
    assert check(out)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tables/benchmarks.csv", "12345.678", "12345.679"),
        ("tables/benchmarks.md", "| 12,346 |", "| 12,347 |"),
        ("tables/benchmarks.tex", "& 12,346 &", "& 12,347 &"),
        ("report.html", '<td class="number">12,346</td>', '<td class="number">12,347</td>'),
        ("numbers.json", '"value": 12345.678', '"value": 12345.679'),
        ("tables/benchmark-targets.csv", ",0.4321,0.5,missed", ",0.5321,0.5,missed"),
        ("tables/benchmark-targets.csv", ",0.4321,0.5,missed", ",0.4321,0.5,holds"),
        ("tables/benchmark-targets.md", "| 0.4321 | 0.5 |", "| 0.4321 | 0.4 |"),
        ("tables/benchmark-targets.tex", "not measured & 10 & not measured", "not measured & 10 & holds"),
        ("summary.txt", "0.5  missed", "0.5  holds"),
    ],
)
def test_benchmarks_are_checked_like_any_table(
    built_with_benchmarks: Path, tmp_path: Path, name: str, old: str, new: str
):
    """What was built holds; a changed digit or verdict is found by its digest, and without it."""
    assert check(built_with_benchmarks) == ()
    out = Path(shutil.copytree(built_with_benchmarks, tmp_path / "out"))
    text = (out / name).read_text()
    assert old in text
    (out / name).write_text(text.replace(old, new, 1))
    assert [problem.file for problem in check(out)] == [name]
    forge(out, name)
    assert check(out)


def test_another_history_than_was_read_is_noticed(built_with_benchmarks: Path, tmp_path: Path):
    """Numbers of benchmarks name the history that is among the inputs."""
    out = Path(shutil.copytree(built_with_benchmarks, tmp_path / "out"))
    manifest = json.loads((out / "build.json").read_bytes())
    manifest["inputs"]["records"]["benchmarks/history.jsonl"] = "0" * 64
    (out / "build.json").write_text(json.dumps(manifest))
    (problem,) = check(out)
    assert problem.message == (
        "source benchmarks/history.jsonl: benchmarks/history.jsonl has another digest among the inputs"
    )


def test_a_forged_number_disagrees_with_its_table(out: Path):
    """A value or text changed in numbers.json disagrees with the table that shows it."""
    path = out / "numbers.json"
    content = json.loads(path.read_bytes())
    name = next(name for name in content if name.startswith("accuracy."))
    content[name]["value"] += 0.1
    path.write_text(json.dumps(content))
    forge(out, "numbers.json")
    assert "tables/accuracy.csv" in {problem.file for problem in check(out)}


def test_a_forged_source_is_noticed(out: Path):
    """A number that names other records than the manifest, or a manifest that names others than were read."""
    path = out / "numbers.json"
    path.write_text(path.read_text().replace("sparse sha256:", "sparse sha256:0", 1))
    forge(out, "numbers.json")
    assert "is not the one in build.json" in check(out)[0].message
    manifest = json.loads((out / "build.json").read_bytes())
    manifest["sources"]["sparse"]["runs/sparse-f00-s0/record.json"] = "0" * 64
    (out / "build.json").write_text(json.dumps(manifest))
    assert "build.json" in {problem.file for problem in check(out)}
    del manifest["sources"]
    (out / "build.json").write_text(json.dumps(manifest))
    assert "build.json" in {problem.file for problem in check(out)}


@pytest.mark.parametrize("change", ["digit", "row", "table"])
def test_a_forged_summary_is_noticed(out: Path, change: str):
    """A digit changed, a row taken out or a header changed in summary.txt disagrees with the table."""
    path = out / "summary.txt"
    lines = path.read_text().splitlines(keepends=True)
    at = next(index for index, line in enumerate(lines) if line.startswith("sparse"))
    lines[at] = {"digit": lines[at].replace("1", "2", 1), "row": "", "table": lines[at]}[change]
    lines[at - 2] = lines[at - 2].replace("variant", "VARIANT") if change == "table" else lines[at - 2]
    path.write_text("".join(lines))
    forge(out, "summary.txt")
    assert [problem.file for problem in check(out)] == ["summary.txt"]


def test_the_report_shows_the_figures(out: Path):
    """A PNG exchanged in figures/ is no longer the one in the report, whatever the manifest says."""
    (out / "figures" / "losses.png").write_bytes((out / "figures" / "progression.png").read_bytes())
    forge(out, "figures/losses.png")
    assert {problem.file for problem in check(out)} == {"report.html"}
    (out / "figures" / "losses.png").write_bytes(b"x")
    forge(out, "figures/losses.png")
    assert {problem.file for problem in check(out)} == {"report.html", "figures/losses.png"}


@pytest.mark.parametrize("name", ["tables/mine.csv", "figures/old.png"])
def test_stray_files_are_named(out: Path, name: str):
    """A file among tables or figures that no build wrote could be taken for a result."""
    (out / name).write_text("1")
    assert [problem.file for problem in check(out)] == [name]


def test_a_figure_that_was_changed_is_named(out: Path):
    """Figures are held by their digest."""
    with open(out / "figures" / "losses.png", "ab") as stream:
        stream.write(b"x")
    assert [problem.file for problem in check(out)] == ["figures/losses.png"]


def test_missing_files_are_named(out: Path):
    """A deleted file is a problem, and does not hide the others."""
    (out / "numbers.json").unlink()
    (out / "tables" / "data.md").unlink()
    assert [problem.file for problem in check(out)] == ["numbers.json", "tables/data.md"]


def test_a_row_taken_out_is_noticed(out: Path):
    """A table without one of its rows disagrees with the numbers, whatever the manifest says."""
    path = out / "tables" / "accuracy.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    forge(out, "tables/accuracy.csv")
    assert "tables/accuracy.csv" in {problem.file for problem in check(out)}


def test_a_report_of_refused_records_does_not_hold(runs: Path, tmp_path: Path):
    """A folder whose records were refused is intact, and still not fit to be published."""
    path = runs / "runs" / "sparse-f00-s0" / "history.csv"
    path.write_text(path.read_text() + "\n")
    build(runs, tmp_path / "refused")
    problems = check(tmp_path / "refused")
    assert len(problems) == 1
    assert "the audit of these records failed" in problems[0].message


def test_a_folder_without_manifest_is_refused(tmp_path: Path):
    """Without build.json, or with another file of that name, nothing can be checked."""
    with pytest.raises(RecordError, match=r"build\.json: no such file"):
        check(tmp_path)
    (tmp_path / "build.json").write_text('{"outputs": []}')
    with pytest.raises(RecordError, match="not the manifest of a build"):
        check(tmp_path)
