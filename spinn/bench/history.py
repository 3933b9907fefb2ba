"""Every benchmark that was run in this folder, a line each, for the paper's tables. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spinn.documents import parse_json
from spinn.errors import RecordError
from spinn.storage import refuse_special

HISTORY = Path("build/bench/history.jsonl")
"""In the current folder."""


def append(report: Mapping[str, Any], path: Path = HISTORY) -> None:
    """Append a report (`spinn.bench.report.Report.as_line`), with the time in UTC, to the history.

    A line is written at once, so that two benchmarks that end together do not mix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **report}
    with open(path, "ab", buffering=0) as stream:
        stream.write(json.dumps(line, allow_nan=False).encode() + b"\n")


def read_history(path: Path = HISTORY, name: str | None = None) -> list[dict[str, Any]]:
    """The reports in their order, those of the benchmark `name` if it is given; none where there is no history yet.

    Raises:
        RecordError: it is no file, or a line of it is no report; says which.
    """
    if not path.exists():
        return []
    try:
        refuse_special(path)
    except ValueError as error:
        raise RecordError(f"{path}: {error}") from None
    reports = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            report = parse_json(line)
            fits = report["name"] == name or name is None
        except (KeyError, TypeError):
            raise RecordError(f"{path}, line {number}: not a benchmark's report; remove the line") from None
        except ValueError as error:
            raise RecordError(f"{path}, line {number}: not a benchmark's report: {error!s:.100}; remove it") from None
        if fits:
            reports.append(report)
    return reports
