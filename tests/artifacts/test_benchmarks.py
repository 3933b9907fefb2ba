"""The tables of the benchmarks: the newest report of each, missed targets too, and lines that are no report refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts import benchmarks
from artifacts.benchmarks import Benchmarks
from artifacts.render import Table
from spinn.bench.history import read_history
from spinn.errors import RecordError


def tables(path: Path) -> dict[str, Table]:
    """Every table of a history, by name."""
    return {table.name: table for table in Benchmarks.read(path).tables()}


def write(path: Path, *lines: Any) -> Path:
    """A history of these lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def line(history: Path) -> dict[str, Any]:
    """The last line of the history, to change."""
    return read_history(history)[-1]


def test_every_row_of_the_newest_report_is_a_line(history: Path):
    """Four digits; what was not measured says so, what is not compared has a dash; the older run is gone."""
    assert tables(history)["benchmarks"].shown() == [
        ["benchmark", "what", "value", "of the limit", "of the peer"],
        ["train", "50% & more_$ | <b>x</b>, 1 thread: speed (rows/s)", "12,346", "0.5", "2"],
        ["train", "elsewhere: speed-up (times)", "not measured", "–", "–"],
        ["watch", "watched: over plain", "1.08", "–", "–"],
    ]


def test_every_target_is_a_line(history: Path):
    """Missed ones too, and what was measured and gave no number; a benchmark without targets has none."""
    assert tables(history)["benchmark-targets"].shown() == [
        ["benchmark", "target", "value", "required", "verdict"],
        ["train", "over the plain loop: times, at least", "1.31", "1.15", "holds"],
        ["train", "share of the products, at least", "0.4321", "0.5", "missed"],
        ["train", "on a CUDA device: minutes, at most", "not measured", "10", "not measured"],
        ["train", "outputs off, at most", "no number", "1e-05", "missed"],
    ]


def test_numbers_have_the_unit_of_their_row(history: Path):
    """A value is in its row's unit, shares have none, and each says how it came about."""
    found = tables(history)["benchmarks"].numbers()
    units = {name.rpartition(".")[2]: number.unit for name, number in found.items() if ".train." in name}
    assert units == {"value": "rows/s", "of-the-limit": "", "of-the-peer": ""}
    assert all(number.expression and number.source for number in found.values())


def test_the_newest_is_by_time(line: dict[str, Any], tmp_path: Path):
    """Wherever it stands in the file, as where the histories of two machines were put together."""
    times = ("2026-01-02T11:00:00+00:00", "2026-01-02T12:30:00+02:00", "2026-01-02T09:00:00+00:00")
    lines = [{**line, "time": time, "notes": [time]} for time in times]
    assert [report.notes for report in Benchmarks.read(write(tmp_path / "h", *lines)).reports] == [(times[0],)]
    (where,) = tables(write(tmp_path / "h", lines[1]))["benchmark-targets"].notes
    assert where.startswith("train: measured 2026-01-02 12:30 +02:00 on AMD <EPYC>")


def test_of_two_at_the_same_time_the_later_line_counts(line: dict[str, Any], tmp_path: Path):
    """Lines are appended."""
    path = write(tmp_path / "h", {**line, "notes": ["first"]}, {**line, "notes": ["second"]})
    assert [report.notes for report in Benchmarks.read(path).reports] == [("second",)]


def test_notes_say_machine_time_limit_and_what_the_report_says(history: Path, line: dict[str, Any]):
    """One machine is in the caption too; a benchmark that measured no limit says so."""
    when = f"{line['time'][:10]} {line['time'][11:16]} UTC"
    found = tables(history)
    about = "AMD <EPYC>, 2 cores, device cpu"
    where = f"train: measured {when} on {about}; 1 thread, load average 0.44."
    assert found["benchmarks"].caption == f"Benchmarks, on {about}."
    assert found["benchmarks"].notes[1:4] == (
        where,
        "train, limit of the machine: products, GFLOP/s 85.23.",
        "train: of the peer: a plain_loop",
    )
    assert found["benchmarks"].notes[-1] == "watch, limit of the machine: not measured."
    assert found["benchmark-targets"].caption == f"Targets of the benchmarks, on {about}."
    assert found["benchmark-targets"].notes == (where,)


def test_reports_of_different_machines_say_so(line: dict[str, Any], tmp_path: Path):
    """In the caption, and each in its note: whose machine it is not."""
    other = {**line["machine"], "device": "NVIDIA H100", "threads": 16, "cores": 1}
    lines = [line, {**line, "name": "watch"}, {**line, "name": "commands", "machine": other}]
    found = tables(write(tmp_path / "h", *lines))
    assert [table.caption.partition(", on ")[2] for table in found.values()] == [
        "different machines: see the notes."
    ] * 2
    notes = found["benchmark-targets"].notes
    assert [note.partition("; not the machine of ")[2] for note in notes] == ["commands.", "commands.", "train, watch."]
    assert "on AMD <EPYC>, 1 core, device NVIDIA H100; 16 threads, load average 0.44" in notes[2]


def test_benchmarks_without_targets_have_one_table(line: dict[str, Any], tmp_path: Path):
    """No empty table."""
    assert list(tables(write(tmp_path / "h", {**line, "targets": []}))) == ["benchmarks"]


BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing": (lambda line: line.pop("limit"), "limit: field required"),
    "unknown": (lambda line: line.update(speed=1), "speed = 1: extra inputs are not permitted"),
    "no-rows": (lambda line: line.update(rows=[]), "rows: tuple should have at least 1 item"),
    "text": (lambda line: line["rows"][0].update(value="12"), r"rows\.0\.value = '12': input should be a valid number"),
    "infinite": (lambda line: line["rows"][0].update(value=float("inf")), "Infinity is no number of JSON"),
    "machine": (lambda line: line["machine"].pop("load_average"), r"machine\.load_average: field required"),
    "time": (lambda line: line.update(time="2026-01-01T00:00:00"), "time = .*: input should have timezone info"),
    "no-text": (lambda line: line.update(notes=["\ud800"]), "'utf-8' codec can't encode"),
    "direction": (lambda line: line["targets"][0].update(name="times"), r"targets\.0\.name = 'times': string should"),
    "said-to-hold": (lambda line: line["targets"][1].update(holds=True), r"targets\.1: .*holds = True is not what"),
    "said-to-miss": (lambda line: line["targets"][0].update(holds=False), r"targets\.0: .*holds = False is not what"),
    "unmeasured-holds": (lambda line: line["targets"][2].update(holds=True), r"targets\.2: .*value = None"),
    "measured-unsaid": (lambda line: line["targets"][0].update(holds=None), r"targets\.0: .*holds = None"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_a_line_that_is_no_report_is_refused(
    history: Path, line: dict[str, Any], tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
):
    """By its number and what is wrong with it, also where a newer report stands for it; verdicts have to be true."""
    good = read_history(history)[-1]
    change(line)
    with pytest.raises(RecordError, match=f"h, line 2: not a benchmark's report: {message}.*; remove it$"):
        Benchmarks.read(write(tmp_path / "h", good, line, good))


def test_a_file_that_is_no_history_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Half a line, no line, no text, and JSON of something else."""
    path = tmp_path / "h"
    path.write_text('{"name": "torn')
    with pytest.raises(RecordError, match=r"h, line 1: not a benchmark's report: Unterminated string .*; remove it"):
        Benchmarks.read(path)
    path.write_text("")
    with pytest.raises(RecordError, match="h: no report in it; `make bench`"):
        Benchmarks.read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecordError, match="h: not a text in UTF-8"):
        Benchmarks.read(path)
    monkeypatch.setattr(benchmarks, "read_history", lambda _: [5])
    with pytest.raises(
        RecordError, match="h, line 1: not a benchmark's report: content = 5: input should be an object"
    ):
        Benchmarks.read(path)
