"""The widest and highest that our own experiments make of a paper: LaTeX's pages hold it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from artifacts.build import build
from artifacts.marks import VALUE
from artifacts.numbers import decode_json
from spinn import experiment

EXPERIMENTS = Path(__file__).parents[2] / "paper" / "experiments"
MARKED_VARIANT = """
[[variants]]
name = "first-version"
pruner = "first-version"
physics = { wear_rate = 0.2 }
expected_findings = ["ledger-achieved", "masks-monotone", "resurrection"]
stages = [{ ratio = "0.20", epochs = 1, learning_rate = 1e-3 }, { ratio = "0.15", epochs = 1, learning_rate = 1e-3 }]
"""


def cut(name: str) -> str:
    """An experiment file as small as its layout lets it be: on both targets, for few epochs, no two settings alike."""
    text = (EXPERIMENTS / name).read_text(encoding="utf-8")
    text = re.sub(r"\bepochs = ([1-9]\d*)", lambda found: f"epochs = {max(1, int(found[1]) // 75)}", text)
    text = re.sub(r"seeds = .*", "seeds = [0]", text)
    text = re.sub(r"layers = .*", "layers = [18, 6, 5, 2]", text)
    text = re.sub(r"data = .*", 'data = "simulator"', text)
    return re.sub(r"\[split\]\n.*\n.*", '[split]\nkind = "grouped"\nfolds = 2\nvalidation_cases = 0', text)


def run(text: str, folder: Path) -> Path:
    """The runs of an experiment."""
    folder.mkdir()
    (folder / "x.toml").write_text(text)
    return experiment.run(folder / "x.toml", out=folder / "runs", device="cpu")


@pytest.mark.usefixtures("latex")
def test_many_variants_of_two_targets(tmp_path: Path):
    """Eighteen rows by five settings, and as many networks to compare and to count the cost of: both PDFs are there."""
    out = tmp_path / "out"
    assert build(run(cut("search.toml"), tmp_path / "search"), out).faults == ()
    assert (out / "paper.pdf").is_file()
    assert (out / "supplement.pdf").is_file()
    assert len((out / "tables" / "settings.csv").read_text().splitlines()) == 1 + 18
    text = (out / "paper" / "paper.tex").read_text(encoding="utf-8")
    assert text.count(r"\begin{figure*}") == 1, "the comparison of predictors, which is too high for a column"
    assert r"\begin{figure*}" in (out / "paper" / "supplement.tex").read_text(encoding="utf-8"), "the cost"


@pytest.mark.usefixtures("latex")
def test_settings_of_two_targets_beside_other_runs(tmp_path: Path):
    """An ablation with both laws and a marked variant: every value of its table is printed in paper or supplement."""
    text = cut("physics-terms.toml")
    ablation = run(text + MARKED_VARIANT, tmp_path / "ablation")
    runs = run("[[variants]]".join(text.split("[[variants]]")[:2]), tmp_path / "one")
    out = tmp_path / "out"
    assert build(runs, out, ablation=ablation).faults == ()
    assert (out / "paper.pdf").is_file()
    assert (out / "supplement.pdf").is_file()
    printed = set()
    for name in ("paper", "supplement"):
        printed |= dict(VALUE.findall((out / "paper" / f"{name}.tex").read_text(encoding="utf-8"))).keys()
    known = decode_json((out / "numbers.json").read_bytes(), "numbers.json")
    ours = {name for name in known if name.startswith(("settings.", "note.settings."))}
    assert len(ours) > 100
    assert ours <= printed
