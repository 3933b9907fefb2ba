"""Reports: the form that they have as JSON, what a missed or absent value looks like, and the history."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from spinn.bench import history
from spinn.bench.report import Report, Row, Target, machine, number
from spinn.bench.show import show
from spinn.errors import RecordError


def report() -> Report:
    """One of everything."""
    return Report(
        "made",
        machine(),
        {"products, GFLOP/s": 10.0},
        [
            Row("fast: speed", 4.0, "1/s", 0.5, 2.0),
            Row("broken: speed", math.nan, "1/s", math.inf),
            Row("elsewhere: speed", None, "1/s"),
        ],
        [
            Target("reached", 2.0, 1.0),
            Target("too slow", 0.5, 1.0),
            Target("too large", 2.0, 1.0, at_most=True),
            Target("no number", math.nan, 1.0),
            Target("no number, the other way", math.nan, 1.0, at_most=True),
            Target("elsewhere", None, 1.0),
        ],
        ["a note"],
    )


def printed(made: Report) -> str:
    """As people see it."""
    console = Console(width=150)
    with console.capture() as capture:
        console.print(made.as_tables())
    return capture.get()


def test_the_json_has_the_form_that_was_agreed():
    """Keys, and null for what is no number or was not measured; it is valid JSON."""
    made = json.loads(json.dumps(report().as_json(), allow_nan=False))
    assert list(made) == ["machine", "limit", "rows", "targets"]
    assert all(set(row) == {"name", "value", "unit", "ratio_to_limit", "ratio_to_peer"} for row in made["rows"])
    assert all(set(target) == {"name", "value", "required", "holds"} for target in made["targets"])
    assert [row["value"] for row in made["rows"]] == [4.0, None, None]
    assert [target["holds"] for target in made["targets"]] == [True, False, False, False, False, None]
    assert {"processor", "cores", "threads", "load_average"} <= set(made["machine"])


def test_a_missed_target_is_printed_as_missed():
    """And what was not measured says so; NaN is not on the good side."""
    lines = printed(report()).splitlines()

    def line(start: str) -> str:
        return next(text for text in lines if text.startswith(f"│ {start} "))

    assert "holds" in line("reached")
    assert "at least 1" in line("reached")
    for name in ("too slow", "too large", "no number", "no number, the other way"):
        assert "missed" in line(name)
    assert line("elsewhere").count("not measured") == 1
    assert any("elsewhere" in text and "not measured │ at least 1" in text for text in lines)
    assert "a note" in lines


def test_rows_of_a_subject_share_a_line():
    """Quantities are columns."""
    made = Report("r", {}, rows=[Row("one: median", 1.5, "µs", 0.5), Row("one: throughput", 2e6, "rows/s")])
    lines = [text for text in printed(made).splitlines() if text.startswith("│ one ")]
    assert len(lines) == 1
    assert [cell.strip() for cell in lines[0].strip("│").split("│")] == ["one", "1.5", "2,000,000", "0.5", ""]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not measured"), (math.nan, "nan"), (3.0, "3"), (0.123456, "0.1235"), (12345.6, "12,346"), (0.0, "0")],
)
def test_numbers_have_four_digits(value: float | None, text: str):
    """Or are whole where that is more."""
    assert number(value) == text


def test_a_report_that_is_shown_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """JSON on standard output, progress on standard error, a line in the history, and the status of the targets."""
    monkeypatch.chdir(tmp_path)

    def measure(say: Callable[[str], object]) -> Report:
        say("half way")
        return report()

    assert show(measure, as_json=True) == 1
    caught = capsys.readouterr()
    assert list(json.loads(caught.out)) == ["machine", "limit", "rows", "targets"]
    assert caught.err == "bench: half way\n"
    assert show(lambda _: Report("other", {}, targets=[Target("elsewhere", None, 1.0)]), as_json=False) == 0
    assert [kept["name"] for kept in history.read_history()] == ["made", "other"]
    (kept,) = history.read_history(name="made")
    assert {name: kept[name] for name in report().as_line() if name != "machine"} == {
        name: value for name, value in report().as_line().items() if name != "machine"
    }
    assert kept["time"].endswith("+00:00")


@pytest.mark.parametrize("line", ['{"name": "torn', "5", "{}"])
def test_a_history_that_is_not_there_is_empty_and_a_broken_line_is_named(tmp_path: Path, line: str):
    """Nothing is guessed from half a line, nor from one that is no report."""
    path = tmp_path / "deep" / "history.jsonl"
    assert history.read_history(path) == []
    history.append(Report("made", {}).as_line(), path)
    with open(path, "a") as stream:
        stream.write(line)
    with pytest.raises(RecordError, match=r"history\.jsonl, line 2: not a benchmark's report"):
        history.read_history(path)
