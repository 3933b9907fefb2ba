"""The examples of docs/judge.md run, and print what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


def blocks(root: Path, language: str) -> list[str]:
    """Fenced blocks of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (root / "docs" / "judge.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", [0, 1], ids=["torch-prune", "by-hand"])
def test_an_example_prints_what_the_page_says(root: Path, tmp_path: Path, number: int) -> None:
    """The block as it stands, in a process of its own; then the command, on the files that it wrote."""
    example, shown = blocks(root, "python")[number], blocks(root, "text")[number]
    ended = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert ended.stdout == shown
    if number == 0:
        (command,) = blocks(root, "console")
        call = [Path(sys.executable).parent / "spinn-verify", *command.removeprefix("$ spinn-verify").split()]
        ended = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 0
        assert "note: counts: exactly as planned" in ended.stdout


def test_the_page_explains_every_finding(root: Path) -> None:
    """Each check that the judge's code names has its line in the table."""
    page = (root / "docs" / "judge.md").read_text()
    for module in ("checkpoints", "watching"):
        source = (root / "verify" / f"{module}.py").read_text()
        for check in set(re.findall(r'(?:Finding|_note|_enter|_layered)\(\s*"([a-z-]+)"', source)) - {
            "nothing-watched"
        }:
            assert f"`{check}`" in page, check
