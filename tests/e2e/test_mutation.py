"""The verdict on a mutation run: it can fail in each of its ways, and reads what mutmut really leaves."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = {
    "pyproject.toml": '[tool.mutmut]\nsource_paths = ["pack"]\n',
    "pack/__init__.py": "",
    "pack/size.py": (
        "class Size:\n    def of(self, x):\n        return x if x > 0 else 0\n\n\ndef idle():\n    return 1\n"
    ),
    "tests/test_size.py": (
        "from pack.size import Size\n\n\ndef test_size():\n"
        "    assert [Size().of(x) for x in (-1, 0.5, 1, 2)] == [0, 0.5, 1, 2]\n"
    ),
}
SURVIVOR = """
[[survivor]]
file = "pack/size.py"
function = "Size.of"
removed = "return x if x > 0 else 0"
added = "return x if x >= 0 else 0"
reason = "At 0 both arms are 0."
"""


@pytest.fixture(scope="module")
def mutation() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("mutation", Path(__file__).parents[1] / "mutation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_real_run_is_read(tmp_path: Path, mutation: ModuleType) -> None:
    """A survivor of a method by its lines, a function that no test reaches, and the score of the file."""
    for name, content in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "MUTANT"))}

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    ended = run(Path(sys.executable).parent / "mutmut", "run", "--max-children", "1")
    assert ended.returncode == 0, ended.stdout
    (tmp_path / "list.toml").write_text(SURVIVOR)
    told = run(sys.executable, str(mutation.__file__), "--list", "list.toml")
    assert told.returncode == 1
    assert told.stdout.splitlines() == [
        "file                      mutants   killed  survived     score",
        "pack/size.py                    6        4         2   66.67 %",
        "total                           6        4         2   66.67 %",
    ]
    assert told.stderr.splitlines() == [
        "4 of 6 mutants were killed, expected at least 95 %",
        "survives, and is not on the list: pack/size.py, idle",
        "  - return 1",
        "  + return 2",
    ]


@pytest.mark.parametrize(
    ("total", "unfinished", "listed", "wrong"),
    [
        (20, 0, ["a"], []),
        (20, 0, [], ["survives, and is not on the list: f, a"]),
        (20, 0, ["a", "b"], ["is on the list, and does not survive: f, b"]),
        (19, 0, ["a"], ["18 of 19 mutants were killed, expected at least 95 %"]),
        (80, 2, ["a"], ["2 of 80 mutants were not tried to the end"]),
        (0, 0, ["a"], ["0 of 0 mutants were not tried to the end"]),
    ],
)
def test_each_way_to_fail(
    mutation: ModuleType, total: int, unfinished: int, listed: list[str], wrong: list[str]
) -> None:
    """19 of 20 are enough; a survivor is on the list or it is not; what was not tried was not killed."""
    results = [mutation.Results("f", total, unfinished, ("a",) if total else ())]

    def named(names: list[str]) -> list[object]:
        return [mutation.Mutant("f", name, "x", "y") for name in names]

    found = mutation.faults(results, named(["a"]), named(listed))
    assert all(said.startswith(expected) for said, expected in zip(found, wrong, strict=True))


@pytest.mark.parametrize("content", [SURVIVOR + SURVIVOR, SURVIVOR.replace("At 0 both arms are 0.", " ")])
def test_a_list_needs_its_reasons(tmp_path: Path, mutation: ModuleType, content: str) -> None:
    """And each survivor once."""
    (tmp_path / "list.toml").write_text(content)
    with pytest.raises(SystemExit, match="each survivor is there once, with a reason"):
        mutation.read_list(tmp_path / "list.toml")


def test_what_is_mutated_is_there(root: Path, mutation: ModuleType) -> None:
    """The files that mutmut is told of, and those of the survivors' list, exist."""
    listed = mutation.read_list(root / mutation.LIST)
    assert all((root / one.file).is_file() for one in listed)
