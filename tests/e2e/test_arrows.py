"""The arrows of the house: what a process has really loaded, and that the contracts in pyproject.toml bite."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "numpy", "pandas", "pydantic", "scipy", "matplotlib", "safetensors"}


def loaded(statement: str, root: Path) -> set[str]:
    """Top-level packages, and modules of this project, in a fresh interpreter after `statement`."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.__stdout__)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    modules = json.loads(ended.stdout.splitlines()[-1])
    return {name for name in modules if "." not in name or name.split(".")[0] in ("spinn", "verify", "artifacts")}


@pytest.mark.parametrize("module", ["spinn", "spinn.errors", "spinn.schedule", "spinn.cli", "verify", "artifacts"])
def test_the_doors_of_the_house_load_nothing_heavy(root: Path, module: str) -> None:
    """Importing a package, the schedule or the command line loads no numerics and no schemas."""
    assert not loaded(f"import {module}", root) & HEAVY


def test_the_schedule_check_of_a_file_loads_nothing_heavy(root: Path) -> None:
    """The whole command on an experiment file, not only the import."""
    call = "['spinn', 'schedule', 'check', 'paper/experiments/smoke.toml']"
    statement = f"import sys; sys.argv = {call}\nfrom spinn.cli import main\ntry: main()\nexcept SystemExit: pass"
    assert not loaded(statement, root) & HEAVY


@pytest.mark.parametrize(
    "module",
    [
        *("spinn.config", "spinn.record", "spinn.checkpoint", "spinn.data", "verify.audit", "verify.cli"),
        *("artifacts.build", "artifacts.benchmarks"),
    ],
)
def test_records_data_audit_and_artifacts_load_no_torch(root: Path, module: str) -> None:
    """What reads records gets by without torch."""
    assert "torch" not in loaded(f"import {module}", root)


def test_the_audit_loads_none_of_the_code_it_judges(root: Path) -> None:
    """Of spinn, the audit has loaded errors, files, records, what a schema needs to read a ratio, and data loaders."""
    ours = {name for name in loaded("import verify.audit", root) if name.startswith("spinn.")}
    allowed = {f"spinn.{name}" for name in ("errors", "config", "documents", "record", "schedule", "storage", "data")}
    assert {name for name in ours if not name.startswith("spinn.data.")} <= allowed


BAD_ARROWS = {
    "spinn-imports-verify": ("spinn/model.py", "import verify.audit", "never the other way round"),
    "verify-imports-artifacts": ("verify/audit.py", "import artifacts.stats", "never the other way round"),
    "verify-uses-the-defendants-masks": ("verify/masks.py", "import spinn.masks", "The judge shares no code"),
    "artifacts-reads-a-network": ("artifacts/results.py", "import spinn.checkpoint", "artifacts reads records only"),
    "artifacts-runs-a-benchmark": (
        "artifacts/benchmarks.py",
        "import spinn.bench.show",
        "artifacts reads records only",
    ),
    "history-read-elsewhere": ("artifacts/costs.py", "import spinn.bench.history", "artifacts reads records only"),
    "schedule-uses-numpy": ("spinn/schedule.py", "import numpy", "standard library only"),
    "audit-uses-torch": ("verify/audit.py", "import torch", "load no torch"),
    "a-cycle": ("spinn/errors.py", "import spinn.record", "No import cycles"),
}


def contracts(folder: Path) -> str:
    """What import-linter says about the packages in `folder`."""
    assert importlib.util.find_spec("importlinter")
    script = Path(sys.executable).parent / "lint-imports"
    environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": str(folder)}
    ended = subprocess.run(
        [str(script), "--no-cache"], cwd=folder, capture_output=True, text=True, env=environment, check=False
    )
    return ended.stdout + ended.stderr


@pytest.fixture
def house(root: Path, tmp_path: Path) -> Path:
    """A copy of the three packages and their contracts."""
    for package in ("spinn", "verify", "artifacts"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(house: Path) -> None:
    """As the packages are, no contract is broken."""
    assert "0 broken" in contracts(house)


@pytest.mark.parametrize(("file", "line", "contract"), BAD_ARROWS.values(), ids=BAD_ARROWS)
def test_a_bad_arrow_breaks_its_contract(house: Path, file: str, line: str, contract: str) -> None:
    """One wrong import in a function, and the contract that forbids it is the one that breaks."""
    path = house / file
    path.write_text(f"{path.read_text()}\n\ndef _late():\n    {line}\n")
    said = contracts(house)
    broken = [text for text in said.splitlines() if "BROKEN" in text]
    assert any(contract in text for text in broken), said
