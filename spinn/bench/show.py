"""The end of every benchmark's command: run it with its progress on standard error, print the report, keep it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from rich.console import Console

from spinn.bench import history
from spinn.bench.report import Report
from spinn.errors import run_command

_WIDTH = 150  # where no terminal says how wide it is


def show(measure: Callable[[Callable[[str], object]], Report], as_json: bool) -> int:
    """Exit status: 0 no measured target is missed, 1 one is."""
    report = measure(_say)
    if as_json:
        print(json.dumps(report.as_json(), allow_nan=False))
    else:
        console = Console(width=None if sys.stdout.isatty() else _WIDTH)
        console.print(report.as_tables())
    history.append(report.as_line())
    return 0 if report.holds else 1


def script(name: str, measure: Callable[[Callable[[str], object]], Report], about: str) -> None:
    """The whole of a script that measures one thing, and takes `--json` alone."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true")
    run_command(lambda: show(measure, parser.parse_args().json), name)


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)
