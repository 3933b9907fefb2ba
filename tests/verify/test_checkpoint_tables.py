"""The tables that `spinn-verify checkpoints` prints are whole, however many stages there are, and of whatever names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from verify.cli import cli

LONG = "encoder.layers.0.attention.output.dense.weight"


def stages(folder: Path, names: list[str], layers: list[str]) -> list[str]:
    """Files of ever fewer weights."""
    paths = [folder / name for name in names]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        weight = torch.arange(1.0, 12_001.0).reshape(100, 120)
        torch.save({layer: torch.where(weight > 100 * number, weight, 0) for layer in layers}, path)
    return [str(path) for path in paths]


def printed(paths: list[str]) -> list[str]:
    """The lines of the command, which is not at a terminal."""
    return CliRunner().invoke(cli, ["checkpoints", *paths], standalone_mode=False).stdout.splitlines()


def cells(lines: list[str], first: str) -> list[str]:
    """The other cells of all lines of tables whose first cell it is."""
    rows = ([cell.strip() for cell in line.replace("┃", "│").strip("│").split("│")] for line in lines)
    return [cell for row in rows if row[0] == first for cell in row[1:]]


@pytest.mark.parametrize("layer", ["0.weight", LONG])
def test_twenty_stages_are_whole(tmp_path: Path, layer: str) -> None:
    """Every name and every count is there, in the order of the files, and no line is longer than 120."""
    names = [f"stage-{number}.pt" for number in range(21)]
    lines = printed(stages(tmp_path, names, [layer, "b"]))
    assert max(map(len, lines[lines.index(next(line for line in lines if "kept of the layer" in line)) :])) <= 120
    assert cells(lines, "kept of the layer") == names
    for name in (layer, "b"):
        assert cells(lines, name) == [f"{12_000 - 100 * number:,}" for number in range(21)]


def test_few_stages_are_one_table(tmp_path: Path) -> None:
    """As many columns as fit in 120: of eleven characters with lines and margins, after ten of the layers'."""
    names = [f"stage-{number}.pt" for number in range(7)]  # 1 + 20 + 7 · 13 is 112
    assert sum("kept of the layer" in line for line in printed(stages(tmp_path, names, ["b"]))) == 1
    names += ["a.pt"]  # whose counts have six characters: 121
    assert sum("kept of the layer" in line for line in printed(stages(tmp_path, names, ["b"]))) == 2


def test_a_name_that_does_not_fit_is_folded(tmp_path: Path) -> None:
    """Nothing of it is lost."""
    layer = "a" * 150
    lines = printed(stages(tmp_path, ["0.pt", "1.pt"], [layer]))
    assert sum(line.count("a") for line in lines if line.startswith("│ a")) == 2 * 150
    assert not any("…" in line for line in lines)


def test_files_of_the_same_name_are_told_by_their_folders(tmp_path: Path) -> None:
    """As far as these differ; files of different names need none."""
    names = ["s0/model.pt", "s1/model.pt", "s2/last/model.pt"]
    assert cells(printed(stages(tmp_path, names, ["b"])), "kept of the layer") == names
    again = [*stages(tmp_path, ["s0/a.pt"], ["b"]) * 2, *stages(tmp_path, ["s1/b.pt"], ["b"])]
    assert cells(printed(again), "kept of the layer") == ["a.pt", "a.pt", "b.pt"]
