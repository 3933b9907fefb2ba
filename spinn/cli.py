"""The command `spinn`: reads the call, asks one function, prints what it says.

Knows options, exit statuses and the look of the output; knows no arithmetic, no data and no training. Everything
heavier than the schedule is imported inside the command that needs it: `spinn schedule check` answers at once.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spinn.errors import InputError, ScheduleError, run_command
from spinn.schedule import Criteria, check_layers, parse_ratio, parse_reduction, solve
from spinn.schedule_check import check, check_experiment


def main() -> None:
    """Entry point of `spinn`; never returns."""
    run_command(_call, "spinn")


def _call() -> object:
    try:
        status = cli.main(prog_name="spinn", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "spinn"
        raise InputError(f"{error.format_message().rstrip('.')}; see `{where} --help`") from None
    except click.ClickException as error:
        raise InputError(error.format_message()) from None
    except click.Abort:
        raise KeyboardInterrupt from None
    return status


@click.group(no_args_is_help=False)
@click.version_option(package_name="spinn", prog_name="spinn")
def cli() -> None:
    """Sparse physics-informed networks for tool wear: check a schedule, train, prune, record.

    Exit status: 0 it holds; 1 a check failed; 2 the input or the call is wrong.
    """


# --- schedule --------------------------------------------------------------------------------------------------------

Command = TypeVar("Command", bound=Callable[..., Any])


def _criteria_options(target_required: bool) -> Callable[[Command], Command]:
    """The options that say what a schedule has to reach."""

    def add(command: Command) -> Command:
        command = click.option("--size-bytes", type=int, metavar="N", help="Most bytes of a checkpoint.")(command)
        command = click.option("--parameter-range", metavar="A:B", help="Parameters left, A to B.")(command)
        return click.option(
            "--target-reduction", metavar="SHARE", required=target_required, help="Share of all parameters, as .715."
        )(command)

    return add


@cli.group(no_args_is_help=False)
def schedule() -> None:
    """Exact pruning arithmetic, before anything is trained."""


@schedule.command("check")
@click.argument("experiment", required=False, metavar="[EXPERIMENT.toml]")
@click.option("--ratios", metavar="R1,R2,…", help="Share of the active weights pruned by each stage.")
@click.option("--layers", metavar="N0,N1,…", help="Widths from input to output.")
@_criteria_options(target_required=False)
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
def schedule_check(
    experiment: str | None,
    ratios: str | None,
    layers: str | None,
    target_reduction: str | None,
    parameter_range: str | None,
    size_bytes: int | None,
    as_json: bool,
) -> int:
    """The exact count after every stage, whether the criteria hold, and if not, the nearest schedule that does.

    Give an experiment file, each variant of which is checked, or --ratios and --layers. Criteria given as options
    take the place of the file's.
    """
    asked = _criteria(target_reduction, parameter_range, size_bytes)
    if experiment is not None:
        if ratios is not None or layers is not None:
            raise InputError(f"{experiment}: an experiment file, or --ratios and --layers, not both")
        return _check_experiment(Path(experiment), asked, as_json)
    if ratios is None or layers is None:
        missing = "--ratios" if ratios is None else "--layers"
        raise InputError(f"{missing} is missing: give an experiment file, or both --ratios and --layers")
    result = check(_widths(layers), _ratio_list(ratios, "ratio"), asked)
    click.echo(json.dumps(result.as_json()) if as_json else result.as_text())
    return 0 if result.holds else 1


@schedule.command("solve")
@click.option("--layers", required=True, metavar="N0,N1,…", help="Widths from input to output.")
@_criteria_options(target_required=True)
@click.option("--stages", type=int, default=4, show_default=True, help="How many in all.")
@click.option("--fix-first", default=None, metavar="R1,R2,…", help="Ratios of the leading stages, kept.")
@click.option("--shape", type=click.Choice(["uniform", "cubic"]), default="uniform", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
def schedule_solve(
    layers: str,
    target_reduction: str,
    parameter_range: str | None,
    size_bytes: int | None,
    stages: int,
    fix_first: str | None,
    shape: str,
    as_json: bool,
) -> int:
    """A schedule that reaches a target: equal ratios, or the cubic shape of Zhu & Gupta (2017)."""
    widths, asked = _widths(layers), _criteria(target_reduction, parameter_range, size_bytes)
    fixed = () if fix_first is None else _ratio_list(fix_first, "fix-first")
    ratios = solve(widths, asked, stages=stages, fix_first=fixed, shape="cubic" if shape == "cubic" else "uniform")
    result = check(widths, ratios, asked)
    click.echo(json.dumps(result.as_json()) if as_json else f"{result.as_text()}\n\n--ratios {','.join(ratios)}")
    return 0


# --- what the schedule commands are given -----------------------------------------------------------------------------


def _ratio_list(text: str, name: str) -> tuple[str, ...]:
    if not text.strip():
        raise ScheduleError(f"{name} = '': one ratio for each stage, such as .30,.30,.24,.24")
    parts = tuple(part.strip() for part in text.split(","))
    for number, part in enumerate(parts, start=1):
        parse_ratio(part, f"{name}[{number}]")
    return parts


def _widths(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"-?[0-9]{1,12}", part) for part in parts):
        raise ScheduleError(f"layers = {text[:60]!r}: whole numbers with commas between, such as 18,512,512,512,256,2")
    return check_layers([int(part) for part in parts])


def _criteria(reduction: str | None, parameter_range: str | None, size_bytes: int | None) -> Criteria:
    bounds = None
    if parameter_range is not None:
        found = re.fullmatch(r"\s*([0-9]{1,15})\s*:\s*([0-9]{1,15})\s*", parameter_range)
        if found is None:
            raise ScheduleError(f"parameter range = {parameter_range[:60]!r}: two whole numbers, such as 180000:210000")
        bounds = (int(found[1]), int(found[2]))
    return Criteria(None if reduction is None else parse_reduction(reduction), bounds, size_bytes)


def _check_experiment(path: Path, asked: Criteria, as_json: bool) -> int:
    checks = check_experiment(path, asked)
    holds = all(result.holds or result.declared for result in checks.values())
    if as_json:
        variants = {name: result.as_json() for name, result in checks.items()}
        click.echo(json.dumps({"variants": variants, "holds": holds}))
    else:
        click.echo("\n\n".join(f"{name}\n{result.as_text()}" for name, result in checks.items()))
    return 0 if holds else 1


# --- data, run, summary ----------------------------------------------------------------------------------------------


@cli.group(no_args_is_help=False)
def data() -> None:
    """What the networks learn from."""


@data.command("describe")
@click.argument("source")
def data_describe(source: str) -> None:
    """Print the data card of SOURCE: simulator, nasa, a .mat file in NASA's layout, or a tidy .csv file."""
    import spinn.data

    click.echo(spinn.data.describe(spinn.data.load(source)))


@data.command("fetch")
@click.argument("name", type=click.Choice(["nasa"]))
def data_fetch(name: str) -> None:
    """Download the NASA milling set, compare its checksum, and print where it lies."""
    import spinn.data.nasa

    click.echo(spinn.data.nasa.fetch())


@cli.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--data", "source", metavar="SOURCE", help="In place of the experiment's own: simulator, nasa or a path.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--fresh", is_flag=True, help="Start over, whatever lies in the folder.")
@click.option("--from-stage", type=click.IntRange(min=0), metavar="K", help="Roll finished runs back to stage K.")
@click.option("--simulator-seed", type=int, metavar="N", help="The simulated campaign, in place of the experiment's.")
@click.option("--seed", "seeds", type=int, multiple=True, metavar="N", help="Only this seed of the experiment's.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--address", help="Of a Ray cluster; by default RAY_ADDRESS, or a new one on this machine.")
@click.option("--cpus", type=float, metavar="N", help="That Ray sets aside for each cohort, fractions included.")
@click.option("--gpus", type=float, metavar="N", help="Likewise.")
def run(
    experiment: Path,
    source: str | None,
    out: Path | None,
    device: str,
    fresh: bool,
    from_stage: int | None,
    simulator_seed: int | None,
    seeds: tuple[int, ...],
    engine: str,
    address: str | None,
    cpus: float | None,
    gpus: float | None,
) -> None:
    """Check the schedules of EXPERIMENT, then train, prune, fine-tune and record every run that is missing."""
    import spinn.experiment
    from spinn.engine import Engine

    runs = spinn.experiment.run(
        experiment,
        data=source,
        out=out,
        device=device,
        fresh=fresh,
        from_stage=from_stage,
        simulator_seed=simulator_seed,
        seeds=seeds,
        engine=Engine(engine, address, cpus, gpus),
    )
    click.echo(runs)


@cli.command()
@click.argument("runs", type=click.Path(path_type=Path))
def summary(runs: Path) -> None:
    """Print what must be reported after a run: counts, sparsity, test R², time, warnings."""
    import spinn.summary

    click.echo(spinn.summary.summary(runs))


# --- benchmarks ------------------------------------------------------------------------------------------------------


@cli.group(no_args_is_help=False)
def bench() -> None:
    """How fast this machine trains and predicts, beside its limit and beside what others would run.

    Each report is also appended to build/bench/history.jsonl in the current folder. Exit status 1: a target is missed.
    """


@bench.command("train")
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
def bench_train(as_json: bool) -> int:
    """Epochs a second of one run and of a stack, beside a plain PyTorch loop; minutes."""
    from spinn import determinism
    from spinn.bench import train
    from spinn.bench.show import show

    determinism.use()  # what runs train under
    return show(train.measure, as_json)


@bench.command("inference")
@click.option("--json", "as_json", is_flag=True, help="Machine output.")
def bench_inference(as_json: bool) -> int:
    """Latency and throughput of the dense, masked and compacted network in each runtime; minutes.

    Needs the extra export: pip install 'spinn[export]'.
    """
    from spinn.bench import inference
    from spinn.bench.show import show

    return show(inference.measure, as_json)


if __name__ == "__main__":
    main()
