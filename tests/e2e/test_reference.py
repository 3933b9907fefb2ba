"""The records in paper/reference/: whole but for the weights, of the experiments as they stand; they make tables."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from artifacts import build
from artifacts.mutants import MUTANTS, Mutants
from artifacts.reference import digest
from spinn import experiment
from spinn.record import AUDIT, PLAN, RUNS, Plan, read_model
from spinn.storage import digest_file
from verify import mutants
from verify.audit import audit

REFERENCE = Path(__file__).parents[2] / "paper" / "reference"
NAMES = sorted(path.parent.name for path in REFERENCE.glob(f"*/{PLAN}"))
RESOLVED = {"data", "claims", "stack"}
KEPT_FOR = {"full": "attribution", "minutes": "coefficients", "physics-ablation": "settings", "smoke": "residuals"}
EXPERIMENTS = {"full": "paper"}
MOST_BYTES = 20e6
KEPT = "paper/reference/mutants.json"


@pytest.fixture(scope="module", params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: an audit keeps its verdict in the folder."""
    return Path(shutil.copytree(REFERENCE / request.param, tmp_path_factory.mktemp("reference") / request.param))


def test_what_the_readme_lists_is_there():
    """A row of its table for each folder, and a folder for each row."""
    rows = [line for line in (REFERENCE / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == NAMES == sorted(KEPT_FOR)


def test_all_of_it_takes_at_most_twenty_megabytes():
    """As files, whatever a disk rounds them up to."""
    assert sum(path.stat().st_size for path in REFERENCE.rglob("*") if path.is_file()) <= MOST_BYTES


def test_records_hold_and_what_needs_weights_is_unchecked(folder: Path):
    """Nothing fails, and nothing that cannot be looked at is said to hold."""
    verdict = audit(folder)
    assert verdict.holds
    assert not list(folder.rglob("*.safetensors"))
    assert any("weights withheld" in finding.message for finding in verdict.findings if finding.severity == "unchecked")


def test_a_reference_is_the_one_that_was_kept(folder: Path):
    """Its digest is the one in the README; one of any other byte is another, and an audit's verdict changes nothing."""
    kept = dict(re.findall(r"^([a-z-]+) +([0-9a-f]{64})$", (REFERENCE / "README.md").read_text(), flags=re.MULTILINE))
    assert sorted(kept) == NAMES
    assert digest(folder) == kept[folder.name]
    assert (folder / AUDIT).is_file()
    changed = sorted((folder / RUNS).rglob("predictions*"))[0]
    content = changed.read_bytes()
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert digest(folder) != kept[folder.name]
    changed.write_bytes(content)


def test_records_are_of_the_experiment_as_it_stands(folder: Path):
    """Nobody changed the file and left the records of the old one; a plan says which data, and how many in a stack."""
    stated = experiment.load(REFERENCE.parent / "experiments" / f"{EXPERIMENTS.get(folder.name, folder.name)}.toml")
    planned = read_model(folder / PLAN, Plan).experiment
    assert planned.model_dump(exclude=RESOLVED) == stated.model_dump(exclude=RESOLVED)


def test_the_matrix_of_faults_is_of_those_that_there_are():
    """Every named fault, in order, with the check that is made for it, and caught; `make mutants` writes it anew."""
    listed = Mutants.read(REFERENCE / MUTANTS).listed
    assert [(one.name, one.expected) for one in listed] == [(one.name, one.expected) for one in mutants.MUTANTS]
    assert all(one.holds for one in listed)
    kept = re.findall(r"^mutants\.json +([0-9a-f]{64})$", (REFERENCE / "README.md").read_text(), flags=re.MULTILINE)
    assert kept == [digest_file(REFERENCE / MUTANTS)]


MAKE_IS_ABSENT = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@MAKE_IS_ABSENT
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_paper_of_the_reference_has_its_ablation_and_the_faults(slash: str):
    """`make paper-artifacts RUNS=paper/reference/full`, completed by a shell or not, names both to the build."""
    words = ["make", "-n", "paper-artifacts", "BIN=bin", "BENCHMARKS=", f"RUNS=paper/reference/full{slash}"]
    told = subprocess.run(words, cwd=REFERENCE.parents[1], capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in told.splitlines() if "spinn-artifacts build" in line)
    *build, mutants_option, mutants_file, ablation_option, ablation = line.split()[1:]
    assert build == ["build", '"paper/reference/full"', "--out", '"build/paper/full"']
    assert (mutants_option, ablation_option, ablation) == (
        "--mutants",
        "--ablation",
        "paper/reference/physics-ablation",
    )
    assert mutants_file in ("build/mutants.json", KEPT)  # those of this checkout, once planted, else the reference's


def test_records_make_their_tables(folder: Path, tmp_path: Path):
    """Those that the folder is kept for among them."""
    build.build(folder, tmp_path)
    tables = {path.stem for path in (tmp_path / "tables").glob("*.csv")}
    assert {"accuracy", "comparisons", KEPT_FOR[folder.name]} <= tables
