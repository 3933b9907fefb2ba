"""The reviewer's notebook: executed from top to bottom on the smoke experiment, and stopped by whatever goes wrong.

Its kernel is a process of its own, in an empty folder. The whole execution clones this repository as it is committed,
and takes the commands from the environment of the tests, with the code of the clone. The others go on with a clone that
has the Makefile, git's word for a commit, and commands that end as they are told to.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from artifacts.certificate import Certificate, write
from artifacts.ladder import RUNGS, Step
from artifacts.plans import Differences

BIN = Path(sys.executable).parent
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "reviewer.ipynb"
CLONE = "spinn-clone"
CERTIFICATE = "build/reproduce/smoke/certificate.json"
LONGEST = 900  # seconds of a cell
HELD = Step("final-parameters", "bitwise", "", 190030, 190030)
MISSED = Step("r2-overall", "different", "beyond the tolerance", 0.81, 0.52)


def notebook() -> Any:
    """The notebook as it is committed."""
    return nbformat.read(NOTEBOOK, as_version=4)


def execute(folder: Path, found: Any = None, **settings: str) -> Any:
    """The notebook, executed in `folder`, with `settings` in its environment; a cell that fails raises."""
    found = notebook() if found is None else found
    jupyter = {f"JUPYTER_{part}_DIR": str(folder / "jupyter") for part in ("RUNTIME", "CONFIG", "DATA")}
    env = {**os.environ, "SPINN_TIER": "smoke", **jupyter, "IPYTHONDIR": str(folder / "ipython"), **settings}
    place = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(found, timeout=LONGEST, resources=place, coalesce_streams=True)
    client.execute(env=env)
    return found


def printed(found: Any) -> str:
    """All that its cells have shown: text and HTML."""
    outputs = [output for cell in found.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") + output.get("data", {}).get("text/html", "") for output in outputs)


def stopped(folder: Path, match: str, **settings: str) -> str:
    """What it has shown when a cell failed with a message that `match` finds; no later cell was executed."""
    found = notebook()
    with pytest.raises(CellExecutionError, match="An error occurred while executing the following cell") as caught:
        execute(folder, found, **settings)
    assert caught.value.ename == "RuntimeError"
    assert re.search(match, caught.value.evalue), caught.value.evalue  # the whole message has the cell's source in it
    counts = [cell.execution_count for cell in found.cells if cell.cell_type == "code"]
    done = len([count for count in counts if count is not None])
    assert counts == [*range(1, done + 1), *[None] * (len(counts) - done)]
    return printed(found)


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """The notebook after its execution on the smoke experiment, and its clone."""
    folder = tmp_path_factory.mktemp("reviewer")
    clone = folder / CLONE
    yield execute(folder, SPINN_REPOSITORY=str(root), SPINN_BIN=str(BIN), PYTHONPATH=str(clone)), clone
    shutil.rmtree(clone)


def test_it_is_valid_and_has_no_outputs() -> None:
    """What is committed is what nobody has executed."""
    found = notebook()
    nbformat.validate(found)
    code = [cell for cell in found.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None and not cell.metadata for cell in code)


def test_it_imports_nothing_but_the_standard_library_and_ipython() -> None:
    """What it says comes from the commands and from what they wrote."""
    trees = [ast.parse(cell.source) for cell in notebook().cells if cell.cell_type == "code"]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "IPython"}


def test_it_knows_every_rung_of_the_ladder() -> None:
    """In the ladder's order: no number is left out of its counts."""
    (cell,) = (cell for cell in notebook().cells if "RUNGS = {" in cell.source)
    (rungs,) = (
        node.value
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RUNGS"
    )
    assert tuple(ast.literal_eval(rungs)) == RUNGS


def test_every_cell_of_it_is_executed(whole: tuple[Any, Path], root: Path) -> None:
    """In order, without an error, and on the commit of this checkout; what it shows is plain text and HTML."""
    found, _ = whole
    code = [cell for cell in found.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream", "display_data"}
    assert "stderr" not in {output.get("name") for output in outputs}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    assert f"commit {head.stdout.strip()} of " in printed(found)
    assert "\x1b[" not in printed(found)


def test_it_shows_a_schedule_that_misses_and_one_that_holds(whole: tuple[Any, Path]) -> None:
    """The first version's 53.62 % and the default's 190,030 parameters."""
    (cell,) = (cell for cell in whole[0].cells if '"schedule", "check"' in cell.source)
    (output,) = cell.outputs
    first, second = output.text.split("$ ")[1:]
    assert "target-reduction  fails  53.62 %" in first
    assert "target-reduction  holds  71.50 %" in second
    assert "parameter-range   holds  190,030" in second


def test_it_shows_the_certificate_as_it_was_written(whole: tuple[Any, Path]) -> None:
    """Verdict, counts of every rung, both machines, every claim; the plan is the reference's and nothing is refused."""
    found, clone = whole
    certificate = json.loads((clone / CERTIFICATE).read_bytes())
    shown = printed(found)
    assert certificate["refused"] == certificate["plan"] == []
    assert f"<h2>{'Reproduced' if certificate['holds'] else 'NOT reproduced'}</h2>" in shown
    for rung in RUNGS:
        counts = [sum(one["rung"] == rung for one in certificate[part]) for part in ("claims", "cells")]
        assert row(rung, *(f"{count:,}" for count in counts)) in shown
    for name, value in certificate["reproduction"]["machine"].items():
        assert row(name, certificate["reference"]["machine"].get(name, "not stated"), value) in shown
    assert all(row(claim["name"]) in shown for claim in certificate["claims"])


def test_it_ends_with_the_report_of_the_same_runs(whole: tuple[Any, Path]) -> None:
    """The page, whole, in a frame of its own."""
    found, clone = whole
    (frame,) = (output for output in found.cells[-1].outputs if output.output_type == "display_data")
    assert frame.data["text/html"].startswith("<div><iframe srcdoc=")
    page = (clone / "build/paper/reproduce-smoke/report.html").read_text()
    assert len(frame.data["text/html"]) > len(page)
    assert re.search(r"(Reproduced|NOT reproduced)\.", page)
    assert "The reference is sha256:" in page


def row(*first: str) -> str:
    """How a row of a table begins."""
    return "<tr>" + "".join(f'<td style="text-align: left">{value}</td>' for value in first)


def certified(*steps: Step, refused: Sequence[str] = (), plan: Sequence[str] = ()) -> Certificate:
    """A certificate of one claim and two table cells on each of these rungs, made on two machines."""
    sides = [{"plan": "0" * 64, "machine": {"threads": threads}} for threads in ("2", "1")]
    reasons = ("other thread count: threads 2 in the reference, 1 here",)
    differences = Differences(tuple(plan), reasons, ("seed 1 of the reference",))
    runs = {"sparse-f00-s0": True, "sparse-f01-s0": False, "sparse-f00-s1": None}
    return Certificate(sides[0], sides[1], tuple(refused), differences, runs, steps, 2 * steps)


Stand = Callable[..., dict[str, str]]


@pytest.fixture
def stand(root: Path, tmp_path: Path) -> Stand:
    """`stand(…)` makes the clone to go on with, and gives the notebook's settings.

    The schedule check in it is the real one. `spinn run` ends with the status `train`; the comparison leaves
    `certificate` and ends with the status that goes with it; the report is written where `build` is 0.
    """

    def make(certificate: Certificate | None, *, train: int = 0, build: int = 0) -> dict[str, str]:
        clone, bin_ = tmp_path / CLONE, tmp_path / "bin"
        clone.mkdir()
        bin_.mkdir()
        shutil.copy(root / "Makefile", clone)
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run([*git, "init", "--quiet", "."], cwd=clone, check=True)
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "first"], cwd=clone, check=True)
        leave = "exit 2"
        if certificate is not None:
            write(certificate, tmp_path / "stored")
            leave = f"mkdir -p {Path(CERTIFICATE).parent} && cp {tmp_path / 'stored'}/* {Path(CERTIFICATE).parent}"
            leave += f"; exit {certificate.exit_status}"
        report = "build/paper/reproduce-smoke"
        say = 'echo "training ends" "$FORCE_COLOR" "$CLICOLOR_FORCE" "$MPLBACKEND" .'
        scripts = {
            "spinn": f'[ "$1" = schedule ] && exec {BIN}/spinn "$@"\n{say}; exit {train}',
            "spinn-artifacts": f'if [ "$1" = reproduce ]; then {leave}; fi\n'
            f"[ {build} = 0 ] || exit {build}; mkdir -p {report}; echo the report > {report}/report.html",
        }
        for name, text in scripts.items():
            (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
            (bin_ / name).chmod(0o755)
        return {"SPINN_BIN": str(bin_)}

    return make


def test_what_was_not_reproduced_is_shown_and_said(stand: Stand, tmp_path: Path) -> None:
    """Status 1 hides nothing: verdict, counts, the claim, the cells and why, what differs, and the report."""
    shown = printed(execute(tmp_path, **stand(certified(HELD, MISSED))))
    assert "<h2>NOT reproduced</h2>" in shown
    assert "1 of 2 runs are bitwise equal" in shown
    assert "not asked for: seed 1 of the reference" in shown
    assert row("different", "1", "2") in shown
    assert row("final-parameters", "190,030", "190,030", "bitwise") in shown
    assert shown.count(row("r2-overall", "0.81", "0.52", "different", "beyond the tolerance")) == 3
    assert row("threads", "2", "1", "differs") in shown
    assert row("other thread count: threads 2 in the reference, 1 here") in shown
    assert "the report" in shown


def test_commands_see_nothing_of_what_a_kernel_sets_for_itself(stand: Stand, tmp_path: Path) -> None:
    """No colours where there is no terminal, no backend of matplotlib that another environment has not."""
    assert "training ends    .\n" in printed(execute(tmp_path, **stand(certified(HELD))))


def test_a_table_without_rows_says_so(stand: Stand, tmp_path: Path) -> None:
    """No heading stands over nothing: all cells were reproduced."""
    shown = printed(execute(tmp_path, **stand(certified(HELD))))
    assert "<h2>Reproduced</h2>" in shown
    assert shown.partition("Table cells that were not reproduced")[2].count(row("none")) == 1


def test_what_the_audit_refused_is_shown_without_a_report(stand: Stand, tmp_path: Path) -> None:
    """Its reason and another plan stand under the verdict, and the last cell says why there is no report."""
    refused = certified(refused=["the reproduction: masks are not monotone"], plan=["variant sparse: not run"])
    shown = printed(execute(tmp_path, **stand(refused, build=1)))
    assert "<h2>NOT reproduced</h2>" in shown
    assert "refused: the reproduction: masks are not monotone" in shown
    assert "the plan differs: variant sparse: not run" in shown
    assert "no report: the audit refused the records" in shown


def test_a_command_that_fails_stops_it_with_its_output(stand: Stand, tmp_path: Path) -> None:
    """An old certificate is not shown in the place of one that was not written."""
    settings = stand(certified(HELD), train=2)
    old = tmp_path / CLONE / CERTIFICATE
    write(certified(HELD), old.parent)
    shown = stopped(tmp_path, "no certificate was written; see above", **settings)
    assert "training ends" in shown
    assert "<h2>" not in shown
    assert not old.exists()


def test_a_verdict_that_make_contradicts_stops_it(stand: Stand, tmp_path: Path) -> None:
    """The certificate holds, and the report could not be built."""
    stopped(tmp_path, "make's status is 2 and in the certificate holds = True", **stand(certified(HELD), build=1))


def test_a_report_that_is_missing_stops_it_after_the_certificate(stand: Stand, tmp_path: Path) -> None:
    """Where the audit refused nothing there has to be one."""
    shown = stopped(tmp_path, "no report was written", **stand(certified(MISSED), build=1))
    assert "<h2>NOT reproduced</h2>" in shown


@pytest.mark.parametrize(
    ("status", "match"), [(0, r"\.15,\.15 .*: status 0, expected 1"), (1, r"\.24,\.24 .*: status 1, expected 0")]
)
def test_a_schedule_check_that_is_wrong_stops_it(stand: Stand, tmp_path: Path, status: int, match: str) -> None:
    """Whether it lets everything through or nothing."""
    settings = stand(certified(HELD))
    (tmp_path / "bin" / "spinn").write_text(f"#!/bin/sh\nexit {status}\n")
    assert "training ends" not in stopped(tmp_path, match, **settings)


def test_a_tier_that_is_none_stops_it_before_anything_is_installed(stand: Stand, tmp_path: Path) -> None:
    """Make says which there are."""
    shown = stopped(tmp_path, "status 2, expected 0", **stand(None) | {"SPINN_TIER": "gold"})
    assert "TIER = gold: one of smoke minutes ablation seed full" in shown
    assert "make environment" not in shown


def test_a_clone_that_has_no_such_tier_stops_it(stand: Stand, tmp_path: Path) -> None:
    """An older clone is asked, and not this notebook."""
    settings = stand(None)
    makefile = tmp_path / CLONE / "Makefile"
    makefile.write_text(makefile.read_text().replace("TIERS := smoke ", "TIERS := "))
    shown = stopped(tmp_path, "status 2, expected 0", **settings)
    assert "TIER = smoke: one of minutes ablation seed full" in shown


def test_without_a_repository_it_says_where_to_put_one(tmp_path: Path) -> None:
    """The project has no address yet: the first cell waits for one."""
    stopped(tmp_path, "REPOSITORY is empty: the first cell needs the address or the folder to clone from")


def test_a_repository_that_is_not_there_stops_it_with_what_git_said(tmp_path: Path) -> None:
    """Status and message are git's."""
    shown = stopped(tmp_path, "git clone .*: status 128, expected 0", SPINN_REPOSITORY=str(tmp_path / "nowhere"))
    assert "does not exist" in shown


def test_a_python_that_cannot_make_environments_is_completed_first(stand: Stand, tmp_path: Path) -> None:
    """As on Google Colab: the package of this very Python is asked for, and a refusal stops the notebook."""
    del (settings := stand(None))["SPINN_BIN"]
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / CLONE / name).touch()
    (tmp_path / "bin" / "apt-get").write_text('#!/bin/sh\necho "E: no such package"\n[ "$1" = update ] || exit 100\n')
    (tmp_path / "bin" / "apt-get").chmod(0o755)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfrom importlib.machinery import PathFinder\n\n"
        "class Debian(PathFinder):\n    @classmethod\n    def find_spec(cls, name, path=None, target=None):\n"
        "        return None if name == 'ensurepip' else super().find_spec(name, path, target)\n\n"
        "sys.meta_path = [Debian if finder is PathFinder else finder for finder in sys.meta_path]\n"
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    match = rf"apt-get install --quiet --yes python{version}-venv: status 100"
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    shown = stopped(tmp_path, match, **settings, PATH=path, PYTHONPATH=str(tmp_path))
    assert "$ apt-get update" in shown
    assert "E: no such package" in shown
