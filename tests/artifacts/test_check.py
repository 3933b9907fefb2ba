"""`check` names the file that was changed, also where the manifest was changed to match."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from forgery import forge

from artifacts import provenance
from artifacts.build import build
from artifacts.cells import Problem
from artifacts.check import check, problems, read_manifest
from artifacts.numbers import decode_json, encode_json
from spinn.errors import RecordError

CHANGES = [
    ("numbers.tex", "}{92}", "}{93}"),
    ("tables/schedule.csv", ",92,", ",93,"),
    ("tables/schedule.md", "| 92 |", "| 93 |"),
    ("tables/schedule.tex", "& 92 &", "& 93 &"),
    ("tables/data.csv", "cuts,28", "cuts,29"),
    ("report.html", '<td class="number">92</td>', '<td class="number">93</td>'),
]


def test_what_was_built_holds(built: Path):
    """An untouched folder has no problem."""
    assert check(built) == ()


def test_a_folder_is_checked_where_there_is_no_checkout(out: Path, tmp_path: Path):
    """By an installed package, which has no paper/: all that the check reads lies in the folder."""
    root = Path(__file__).parents[2]
    for package in ("artifacts", "spinn", "verify"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import artifacts; print(artifacts.__file__)\n"
    code += f"sys.argv = ['spinn-artifacts', 'check', {str(out)!r}]\nfrom artifacts.cli import main\nmain()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.stdout.startswith(str(tmp_path)), ended.stdout
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("name", "old", "new"), CHANGES)
def test_a_changed_file_is_named(out: Path, name: str, old: str, new: str):
    """One changed digit is found by digest, and the file is named."""
    text = (out / name).read_text()
    assert old in text
    (out / name).write_text(text.replace(old, new, 1))
    assert {problem.file for problem in check(out)} == {name}


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
    assert {problem.file for problem in check(out)} == {name}
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


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("tables/claims.csv", "\n"),
        ("tables/claims.csv", f'"{"x" * 140_000}"\n'),
        ("paper/constants.toml", "[[constant]]\nvalue = 3\n"),
        ("paper/constants.toml", 'constant = "a"\n'),
    ],
)
@pytest.mark.parametrize("forged", [False, True])
def test_what_no_build_writes_is_named_and_read_no_further(out: Path, name: str, more: str, forged: bool):
    """A blank row, a cell of more than a table can have, and constants of another form."""
    with (out / name).open("a") as file:
        file.write(more)
    if forged:
        forge(out, name)
    named = {problem.file for problem in check(out)}
    assert name in named or (forged and named)  # of two files that differ, the digest says which


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("report.html", "95 % interval", "99 % interval", "note 1: "),
        ("report.html", "What the choice of 3", "What the choice of 4", "caption: What the choice of 4"),
        ("tables/accuracy.tex", r"95 \% interval", r"99 \% interval", "note 1: "),
        ("tables/accuracy.md", "95 % interval", "99 % interval", "note 1: "),
        ("tables/split-luck.tex", "choice of 3", "choice of 4", "caption: What the choice of 4"),
        ("summary.txt", "95 % interval", "99 % interval", "the notes below its tables are not those of tables/"),
        ("report.html", ": 16 runs, ", ": 720 runs, ", "but numbers.json says '16 runs, 4 cases, 2 seeds, network"),
        ("report.html", "18-6-5-2", "18-6-5-3", "but numbers.json says '16 runs, 4 cases, 2 seeds, network"),
        ("report.html", "<p>Of ", "<p>Of 9", "it does not say what tables/claims.csv does: 'Of "),
    ],
)
def test_what_is_said_around_tables_is_compared(out: Path, name: str, old: str, new: str, told: str):
    """A note, a caption or a sentence of the report with another number, and the digest made to agree."""
    path = out / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert {problem.file for problem in check(out)} == {name}
    forge(out, name)
    found = [problem for problem in check(out) if problem.file == name]
    assert any(told in problem.message for problem in found), found


def test_a_note_taken_out_is_noticed(out: Path):
    """Of one form, or of two: then the third is alone."""
    path = out / "tables" / "accuracy.md"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    forge(out, "tables/accuracy.md")
    assert any("but nothing in tables/accuracy.md" in p.message for p in check(out) if p.file == "tables/accuracy.md")


def test_a_forged_interval_is_noticed(out: Path):
    """An interval taken from a number, in numbers.json and in the report alike, still stands in the table's cell."""
    path, page = out / "numbers.json", out / "report.html"
    told = decode_json(path.read_bytes(), "numbers.json")
    name = next(name for name, number in told.items() if number.interval)
    forged = {**told, name: replace(told[name], interval=None)}
    sources = read_manifest(out)["sources"]
    path.write_bytes(encode_json(forged))
    text = page.read_text(encoding="utf-8")
    assert provenance.encode(told, sources) in text
    page.write_text(
        text.replace(provenance.encode(told, sources), provenance.encode(forged, sources)), encoding="utf-8"
    )
    forge(out, "numbers.json")
    forge(out, "report.html")
    ends = told[name].interval
    assert check(out) == (Problem("numbers.json", f"{name}: its interval is None, but beside it is {ends}"),)


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
    assert {problem.file for problem in check(out)} == {name}


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


# --- one digit at a time --------------------------------------------------------------------------------------------

DIGIT = re.compile(r"\d")
PRINTED = r"report\.html|tables/.*\.(md|tex)"


@dataclass(frozen=True)
class Change:
    """One digit of one number, cell or macro: the file, where in it the text stands, and what `check` has to name."""

    file: str
    start: int
    end: int
    names: tuple[str, ...]  # any of them


def changes(files: dict[str, bytes], numbers: dict[str, dict[str, Any]]) -> Iterator[Change]:
    """Every number in numbers.json and in the page, every macro, and every cell of every table in each of its forms."""
    yield from in_json(files["numbers.json"].decode())
    for found in re.finditer(r"\}\{(.*)\}  % (.+)$", files["numbers.tex"].decode(), flags=re.MULTILINE):
        yield Change("numbers.tex", found.start(1), found.end(1), (found[2],))
    page = files["report.html"].decode()
    begin = page.index('id="provenance">')
    for name in numbers:
        start = page.index(f'"{name}":[', begin) + len(name) + 4
        yield Change("report.html", start, page.index(",", start), (name,))
    for found in re.finditer(r'<table data-table="(.+?)">.*?<tbody>(.*?)</tbody>', page, flags=re.DOTALL):
        for row, line in enumerate(re.finditer(r"<tr.*?</tr>", found[2], flags=re.DOTALL), 1):
            for cell in re.finditer(r"<td[^>]*>(.*?)</td>", line[0], flags=re.DOTALL):
                start = found.start(2) + line.start() + cell.start(1)
                yield Change("report.html", start, start + len(cell[1]), (f"row {row},",))
    for file, content in files.items():
        text, row = content.decode() if file.startswith("tables/") else "", 0
        if file.endswith(".csv"):
            yield from in_csv(file, text)
        for line in re.finditer(r".*\n", text):
            if file.endswith(".md") and line[0].startswith("| ") and not re.match(r"\| -", line[0]):
                cells = re.finditer(r"(?<=\| )(.*?)(?= (?<!\\)\|)", line[0])
            elif file.endswith(".tex") and line[0].endswith("\\\\\n") and "\\caption" not in line[0]:
                cells = re.finditer(r"(?:^|(?<= & ))(.*?)(?= & | \\\\$)", line[0])
            else:
                continue
            for cell in cells:
                yield Change(file, line.start() + cell.start(1), line.start() + cell.end(1), (f"row {row},",))
            row += 1


def in_json(text: str) -> Iterator[Change]:
    """Value and text of each number in numbers.json."""
    for entry in re.finditer(r'^ "(.+)": \{\n  "value": (.*\n  "text": .*),\n', text, flags=re.MULTILINE):
        yield Change("numbers.json", entry.start(2), entry.end(2), (entry[1],))


def in_csv(file: str, text: str) -> Iterator[Change]:
    """The cells of a CSV that need no quotes; a quoted one is prose or a name, and is changed in the printed forms."""
    header = next(csv.reader(text.splitlines()))
    for row, line in enumerate(re.finditer(r".*\n", text)):
        if '"' in text or not row:
            continue
        start = line.start()
        for column, cell in zip(header, line[0].rstrip("\n").split(","), strict=True):
            yield Change(file, start, start + len(cell), (f"row {row}, {column}",))
            start += len(cell) + 1


@pytest.fixture(scope="module")
def small(fabricator: Callable[..., None], history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build makes of one seed's wear and of benchmarks: few numbers, so that each can be changed."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "runs").mkdir()
    fabricator(folder / "runs", thermal=False, seeds=(0,))
    assert build(folder / "runs", folder / "paper", benchmarks=history).holds
    return folder / "paper"


def test_every_digit_counts(small: Path):
    """One random digit of each number, macro and cell changed in turn is named; of each tenth also without a digest."""
    manifest = read_manifest(small)
    files = {name: (small / name).read_bytes() for name in manifest["outputs"]}
    assert problems(files, manifest) == ()
    numbers = json.loads(files["numbers.json"])
    random, tried, missed = Random(20260728), Counter[str](), []
    texts = {name: content.decode() for name, content in files.items() if not name.endswith((".pdf", ".png"))}
    for change in changes(files, numbers):
        if re.fullmatch(PRINTED, change.file) and random.random() > 1 / 3:
            continue  # a cell stands in three printed forms and is changed in one of them, more or less
        text = texts[change.file]
        digits = [found.start() for found in DIGIT.finditer(text, change.start, change.end)]
        if not digits:
            continue
        at = random.choice(digits)
        other = random.choice([digit for digit in "0123456789" if digit != text[at]])
        content = (text[:at] + other + text[at + 1 :]).encode()
        forged = manifest["outputs"] | {change.file: hashlib.sha256(content).hexdigest()}
        honest = problems(files | {change.file: content}, manifest)
        if {problem.file for problem in honest} != {change.file} or not names(honest, change):
            missed.append(("by digest", change, text[change.start : change.end], other, honest))
        tried[change.file.rpartition(".")[2]] += 1
        if tried.total() % 10:
            continue
        unhelped = problems(files | {change.file: content}, {**manifest, "outputs": forged})
        if not names(unhelped, change):
            missed.append(("without", change, text[change.start : change.end], other, unhelped))
    assert missed == []
    assert min(tried.values()) > 100
    assert set(tried) == {"json", "tex", "html", "csv", "md"}


def names(found: tuple[Problem, ...], change: Change) -> bool:
    """Whether a problem says which number, or which cell, it is about."""
    return any(name in problem.message for problem in found for name in change.names)
