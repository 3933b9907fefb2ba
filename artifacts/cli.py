"""`spinn-artifacts`: parsing and printing only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from artifacts.beside import KINDS
from spinn.errors import InputError, run_command

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Turn audited records into everything the paper shows."""


def _beside(what_for: str) -> Callable[[Command], Command]:
    """An option for each kind of thing that can be printed beside runs."""

    def options(command: Command) -> Command:
        for name, kind in reversed(KINDS.items()):
            told = f"{what_for}: {kind.what}."
            command = click.option(f"--{name}", type=click.Path(path_type=Path), help=told)(command)
        return command

    return options


def _given(named: Mapping[str, Path | None]) -> dict[str, Path]:
    return {name: path for name, path in named.items() if path is not None}


@cli.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for tables, figures and report.")
@_beside("To be printed as well")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def build(runs: Path, out: Path, as_json: bool, **named: Path | None) -> int:
    """Build tables, figures, numbers, report.html and the paper from RUNS.

    Status 0: built; 1: the audit refused the records, or LaTeX's pages do not hold the paper: all else is written.
    """
    from artifacts.build import REPORT
    from artifacts.build import build as build_all

    report = build_all(runs, out, **_given(named))
    if report.notice:
        click.echo(report.notice, err=True)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=1))
    else:
        click.echo(report.summary)
        done = f"{len(report.written)} files written" if report.written or report.removed else "nothing had changed"
        removed = f", {len(report.removed)} removed" if report.removed else ""
        click.echo(f"{done}{removed}; the report is {out / REPORT}")
    for fault in report.faults:
        click.echo(fault, err=True)
    return report.exit_status


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def check(folder: Path, as_json: bool) -> int:
    """Check that FOLDER still holds what was built. Status 0: it does; 1: a file was changed, and which."""
    from artifacts.check import check as check_all

    problems = check_all(folder)
    if as_json:
        found = {"holds": not problems, "problems": [problem.as_json() for problem in problems]}
        click.echo(json.dumps(found, indent=1))
    else:
        for problem in problems:
            click.echo(f"{folder / problem.file}: {problem.message}")
        if not problems:
            click.echo(f"{folder}: every file is as it was built, and every number agrees with numbers.json")
    return 1 if problems else 0


@cli.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.argument("paper", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The zip file to write.")
@click.option(
    "--date", required=True, type=click.DateTime(["%Y-%m-%d"]), help="Of publication; stands in the metadata."
)
@click.option("--weights", is_flag=True, help="Put the networks in as well.")
@_beside("That PAPER was built with")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def bundle(
    runs: Path, paper: Path, out: Path, date: datetime, weights: bool, as_json: bool, **named: Path | None
) -> int:
    """Write one archive of RUNS and of PAPER, built from them, for a repository. Status 1: either does not hold."""
    from artifacts.bundle import bundle as bundle_all

    made = bundle_all(runs, paper, out, date=f"{date:%Y-%m-%d}", weights=weights, **_given(named))
    size = out.stat().st_size / 1e6
    text = f"{out}: {made.files:,} files, {size:,.1f} MB, sha256 {made.sha256}"
    click.echo(json.dumps(made.as_json(), indent=1) if as_json else text)
    return 0


@cli.command()
@click.argument("folders", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write the table to: CSV, Markdown, LaTeX.")
@click.option("--at-least", type=click.IntRange(min=0), default=0, help="Campaigns in which a truth must be covered.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def campaigns(folders: tuple[Path, ...], out: Path | None, at_least: int, as_json: bool) -> int:
    """Count in how many of FOLDERS, simulated campaigns, the intervals of coefficients cover the truth.

    Status 1: one is covered in fewer than --at-least.
    """
    from artifacts.campaigns import fewest, gather, table, write

    made = table(gather(folders))
    if out is not None:
        write(made, out)
    click.echo(json.dumps(made.frame.to_dict("records"), indent=1) if as_json else made.text())
    return 0 if fewest(made) >= at_least else 1


@cli.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--reference", type=click.Path(path_type=Path), required=True, help="The reference's folder of runs.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for certificate.json and certificate.txt.")
@click.option("--json", "as_json", is_flag=True, help="Print the certificate as JSON.")
def reproduce(runs: Path, reference: Path, out: Path | None, as_json: bool) -> int:
    """Compare RUNS with the reference, claim by claim and cell by cell.

    Status 0: reproduced; 1: something is different or missing.
    """
    from artifacts.certificate import write
    from artifacts.reproduce import reproduce as compare

    certificate = compare(runs, reference)
    if out is not None:
        write(certificate, out)
    click.echo(json.dumps(certificate.as_json(), indent=1) if as_json else certificate.text(), nl=as_json)
    return certificate.exit_status


@cli.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the reference, not there yet.")
@click.option("--repeat", "repeats", type=click.Path(path_type=Path), multiple=True, help="A repeat of RUNS.")
def reference(runs: Path, out: Path, repeats: tuple[Path, ...]) -> int:
    """Make a reference of RUNS: compressed, without weights, with the spread between RUNS and its repeats."""
    from artifacts.reference import digest, make

    click.echo(f"{out}: {make(runs, out, repeats) / 1e6:.2f} MB, sha256:{digest(out)}")
    return 0


def main() -> NoReturn:
    """Entry point of `spinn-artifacts`."""

    def command() -> object:
        try:
            return cli.main(standalone_mode=False)
        except click.ClickException as error:
            raise InputError(error.format_message()) from None

    run_command(command, "spinn-artifacts")
