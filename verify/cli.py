"""`spinn-verify`: parsing and printing only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import TextIOWrapper
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from spinn.errors import InputError, one_line, run_command
from verify.findings import Finding, Verdict

if TYPE_CHECKING:
    from verify.mutants import Outcome

SHOWN_RUNS = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Judge records of runs and anyone's checkpoints, and prove that the judge sees faults."""


@cli.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option(
    "--replay", is_flag=True, help="Also compute predictions, losses and physics again from weights and data."
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def records(runs: Path, replay: bool, as_json: bool) -> int:
    """Audit RUNS, a folder that `spinn run` wrote. Status 0: it holds; 1: it does not."""
    from verify.audit import audit

    verdict = audit(runs, replay=replay)
    if as_json:
        click.echo(json.dumps(verdict.as_json(), indent=1))
    else:
        _print(verdict, replay)
    return verdict.exit_status


@cli.command()
@click.argument("dense", type=click.Path(path_type=Path))
@click.argument("stages", type=click.Path(path_type=Path), nargs=-1)
@click.option("--ratios", metavar="R1,R2,…", help="Share of the still active weights that each stage should prune.")
@click.option(
    "--ignore", metavar="NAME", multiple=True, help="A tensor or module not pruned on purpose; * for any part."
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def checkpoints(
    dense: Path, stages: tuple[Path, ...], ratios: str | None, ignore: tuple[str, ...], as_json: bool
) -> int:
    """Audit state dicts of any project: the DENSE network, then a file for each of its STAGES. Status 0: it holds."""
    from verify.checkpoints import audit_files

    verdict = audit_files((dense, *stages), None if ratios is None else ratios.split(","), ignore)
    if as_json:
        shown = {"holds": verdict.holds, "findings": [finding.as_json() for finding in verdict.findings]}
        click.echo(json.dumps(shown, indent=1, allow_nan=False))
    else:
        _print_stages(verdict)
    return verdict.exit_status


def _console() -> Console:
    """Prints text as it is: names of files and tensors are anyone's, and `[/a]` in one is no markup, `:x:` no emoji."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)


def _print_stages(verdict: Verdict) -> None:
    """Counts of each file, and of each of its layers; then what was found."""
    counts = [finding.data for finding in verdict.findings if "kept_weights" in finding.data]
    console = _console()
    table = Table(_whole("file"), *map(_whole, ("kept", "weight sparsity", "parameters", "reduction")))
    for line in counts:
        sparsity, reduction = (f"{100 * line[share]:.2f} %" for share in ("weight_sparsity", "reduction"))
        kept, parameters = f"{line['kept_weights']:,}", f"{line['parameters']:,}"
        table.add_row(one_line(line["name"]), kept, sparsity, parameters, reduction)
    console.print(table)
    for layers in _layer_tables(counts, console.width):
        console.print(layers)
    spared = dict.fromkeys(layer for line in counts for layer in line.get("not_pruned", ()))
    if spared:
        console.print(f"not pruned, and not in these counts of weights: {one_line(', '.join(spared))}", soft_wrap=True)
    for finding in verdict.findings:
        if "kept_weights" not in finding.data:
            console.print(f"{finding.severity}: {finding.check}: {one_line(finding.message)}", soft_wrap=True)
    _print_verdict(verdict)


def _whole(heading: str) -> Column:
    """A column whose cells are never cut: what does not fit goes on in the next line."""
    return Column(heading, overflow="fold")


def _layer_tables(counts: Sequence[dict[str, Any]], width: int) -> Iterator[Table]:
    """Kept weights of each layer, a column a file; as many tables as it takes for columns to be whole in `width`."""
    layers = list(dict.fromkeys(layer for line in counts for layer in line["layers"]))
    headings = _distinct([line["name"] for line in counts])
    columns = [
        [one_line(heading), *(f"{line['layers'][layer][0]:,}" if layer in line["layers"] else "" for layer in layers)]
        for heading, line in zip(headings, counts, strict=True)
    ]
    first = ["kept of the layer", *map(one_line, layers)]
    for shown in _fitting(columns, width - _wide(first) - 1):
        table = Table(*(_whole(column[0]) for column in (first, *shown)))
        for row in zip(*(column[1:] for column in (first, *shown)), strict=True):
            table.add_row(*row)
        yield table


def _distinct(paths: Sequence[str]) -> list[str]:
    """Names of files, or where two are the same, what paths have after the folders that all of them share."""
    names = [Path(path).name for path in paths]
    if len(set(names)) == len(set(paths)):
        return names
    shared = len(commonprefix([Path(path).parts[:-1] for path in paths]))  # noqa: RUF071 - of folders, not of letters
    return [str(Path(*Path(path).parts[shared:])) for path in paths]


def _fitting(columns: Sequence[list[str]], width: int) -> Iterator[list[list[str]]]:
    """Columns in groups of as many as fit, at least one."""
    group: list[list[str]] = []
    for column in columns:
        if group and sum(map(_wide, [*group, column])) > width:
            yield group
            group = []
        group.append(column)
    yield group


def _wide(column: Sequence[str]) -> int:
    """Characters that a column takes, with its margins and a line beside it."""
    return max(map(cell_len, column)) + 3


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the matrix as JSON.")
def mutants(as_json: bool) -> int:
    """Run the whole system with one named fault after another. Status 0: each is caught by the check it is made for."""
    from verify.mutants import MUTANTS, run

    outcomes = []
    for outcome in run():
        outcomes.append(outcome)
        word = "as it should be" if outcome.holds else "NOT as it should be"
        click.echo(f"{len(outcomes)}/{len(MUTANTS)} {outcome.mutant.name}: {word}", err=True)
    if as_json:
        click.echo(json.dumps({"mutants": [outcome.as_json() for outcome in outcomes]}, indent=1))
    else:
        _print_matrix(outcomes)
    return 0 if all(outcome.holds for outcome in outcomes) else 1


def _print_matrix(outcomes: Sequence[Outcome]) -> None:
    """Mutants down, the checks that caught any of them across: ● the check it is made for, ○ another one."""
    from verify.audit import CHECKS

    seen = {check for outcome in outcomes for check in (*outcome.caught_by, outcome.mutant.expected)}
    columns = [check for check in CHECKS if check in seen]
    table = Table(box=box.SIMPLE_HEAD, padding=0)  # the box parts the columns; wider ones would be cut at 120
    for heading in ("mutant", *(str(number) for number, _ in enumerate(columns, start=1)), ""):
        table.add_column(heading, no_wrap=True)
    for outcome in outcomes:
        marks = [("●" if check == outcome.mutant.expected else "○") if check in outcome.caught_by else ""
                 for check in columns]  # fmt: skip
        table.add_row(outcome.mutant.name, *marks, "" if outcome.holds else "MISSED")
    console = _console()
    console.print(table)
    for number, check in enumerate(columns, start=1):
        click.echo(f"{number:3} {check}")
    faults = [outcome for outcome in outcomes if outcome.mutant.expected]
    caught = sum(outcome.holds for outcome in faults)
    clean = "clean" if all(outcome.holds for outcome in outcomes if not outcome.mutant.expected) else "NOT clean"
    click.echo(f"{caught} of {len(faults)} mutants are caught by the check they are made for; the control is {clean}")


def _print(verdict: Verdict, replay: bool) -> None:
    from verify.audit import CHECKS, REPLAYED

    console = _console()
    table = Table("check", "result", "runs")
    for check in CHECKS:
        if check in REPLAYED and not replay and not _of(verdict.findings, check, "error"):
            table.add_row(check, "not asked for (--replay)", "")
            continue
        parts = [
            (Text("failed", "red"), _of(verdict.findings, check, "error")),
            (Text("expected"), _of(verdict.expected, check, "error")),
            (Text("unchecked", "yellow"), _of(verdict.findings, check, "unchecked")),
            (Text("note"), _of(verdict.findings, check, "note")),
        ]
        found = [(word, _count(findings)) for word, findings in parts if findings]
        words = Text(", ").join(word for word, _ in found)
        table.add_row(check, words or "ok", ", ".join(count for _, count in found))
    console.print(table)
    for word, findings in (("expected", verdict.expected), ("", verdict.findings)):
        for line in _grouped(findings):
            console.print(f"{word or line[0]}: {one_line(line[1])}", soft_wrap=True)
    _print_verdict(verdict)


def _print_verdict(verdict: Verdict) -> None:
    errors = sum(finding.severity == "error" for finding in verdict.findings)
    unchecked = sum(finding.severity == "unchecked" for finding in verdict.findings)
    tail = f", {unchecked} unchecked" if unchecked else ""
    declared = f", {len(verdict.expected)} declared findings" if verdict.expected else ""
    click.echo(f"the audit {'holds' if verdict.holds else 'FAILS'}: {errors} errors{tail}{declared}")


def _of(findings: Iterable[Finding], check: str, severity: str) -> list[Finding]:
    return [finding for finding in findings if finding.check == check and finding.severity == severity]


def _count(findings: list[Finding]) -> str:
    runs = {finding.run_id for finding in findings if finding.run_id}
    return str(len(runs)) if runs else "folder"


def _grouped(findings: Iterable[Finding]) -> Iterable[tuple[str, str]]:
    """One line for all findings of a check and severity: the first message, and how many runs say the like."""
    groups: dict[tuple[str, str, bool], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.check, finding.run_id is None), []).append(finding)
    for (severity, check, whole), group in groups.items():
        if whole:
            for finding in group:
                yield severity, f"{check}: {finding.message}"
            continue
        runs = list(dict.fromkeys(finding.run_id for finding in group))
        named = ", ".join(str(run) for run in runs[:SHOWN_RUNS]) + (", …" if len(runs) > SHOWN_RUNS else "")
        which = f"{len(runs)} runs ({named}), the first" if len(runs) > 1 else named
        yield severity, f"{check}: {which}: {group[0].message}"


def main() -> NoReturn:
    """Entry point of `spinn-verify`."""
    if isinstance(
        sys.stdout, TextIOWrapper
    ):  # a name that is no UTF-8 is shown, as on standard error, and ends nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    run_command(_invoke(cli), "spinn-verify")


def _invoke(command: click.Command) -> Callable[[], object]:
    def body() -> object:
        try:
            return command.main(standalone_mode=False, prog_name="spinn-verify")
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return 2
        except click.ClickException as error:
            raise InputError(f"{error.format_message()} (spinn-verify --help shows the call)") from None
        except click.Abort:
            raise KeyboardInterrupt from None

    return body
