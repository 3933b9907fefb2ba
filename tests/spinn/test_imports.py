"""What is really loaded: a schedule check stays light, records and the audit do without torch, packages are lazy."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "pandas", "pydantic"}
HOUSE = ("spinn", "verify", "artifacts")


def loaded_by(code):
    """Names in sys.modules after `code` has run in a process of its own (an exit counts as the end)."""
    report = "print('\\nMODULES', *sys.modules)"
    program = f"import sys\ntry:\n    exec({code!r})\nexcept SystemExit:\n    pass\n{report}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import spinn.schedule",
        "import spinn.cli",
        "import sys, spinn.cli; sys.argv = 'spinn schedule check --ratios .30,.30,.20,.20 --layers 18,512,2 "
        "--target-reduction .70 --parameter-range 180:210 --json'.split(); spinn.cli.main()",
        "import sys, spinn.cli; sys.argv = 'spinn schedule solve --layers 18,512,2 --target-reduction .70'.split(); "
        "spinn.cli.main()",
    ],
    ids=["schedule", "cli", "check", "solve"],
)
def test_schedule_check_is_light(code):
    """Neither the module nor a whole check loads torch, numpy, pandas or pydantic."""
    assert not loaded_by(code) & HEAVY


def test_check_of_an_experiment_file_is_light(root):
    """Reading an experiment for a check does not load its schema's library."""
    path = root / "paper" / "experiments" / "quick.toml"
    modules = loaded_by(
        f"import sys, spinn.cli; sys.argv = ['spinn', 'schedule', 'check', {str(path)!r}]; spinn.cli.main()"
    )
    assert "tomllib" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("name", ["spinn.record", "spinn.checkpoint", "spinn.data", "verify.audit", "artifacts.build"])
def test_reading_records_needs_no_torch(name):
    """Records, checkpoints, data, the audit and the artifacts load without torch."""
    modules = loaded_by(f"import {name}")
    assert name in modules
    assert "torch" not in modules


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("import spinn, verify, artifacts", {"spinn", "verify", "artifacts"}),
        ("import spinn.errors", {"spinn", "spinn.errors"}),
        ("import spinn.schedule", {"spinn", "spinn.schedule", "spinn.errors"}),
        ("import spinn; spinn.plan", {"spinn", "spinn.schedule", "spinn.errors"}),
        ("import verify.findings", {"verify", "verify.findings"}),
        ("from verify import Verdict", {"verify", "verify.findings"}),
    ],
)
def test_one_module_loads_no_other(code, modules):
    """Importing a package loads nothing of it, importing a module only what that module itself needs."""
    assert {name for name in loaded_by(code) if name.partition(".")[0] in HOUSE} == modules


@pytest.mark.parametrize("name", HOUSE)
def test_public_names_resolve(name):
    """Every public name of a package is there, listed by dir(), and in order."""
    package = importlib.import_module(name)
    assert sorted(package.__all__) == package.__all__ == dir(package)
    for public in package.__all__:
        assert getattr(package, public) is not None


@pytest.mark.parametrize("name", HOUSE)
def test_unknown_name_is_an_attribute_error(name):
    """A name that a package does not have is refused as Python does."""
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        _ = importlib.import_module(name).nothing


def test_public_names_are_the_modules_own():
    """A lazy name is the object itself, not a copy."""
    import spinn
    import spinn.schedule

    assert spinn.plan is spinn.schedule.plan
