"""Runs by settings, printed beside other runs of the same data: audited, named by their own files, and packed too."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from artifacts.ablation import Ablation
from artifacts.build import build
from artifacts.bundle import bundle
from artifacts.check import check
from artifacts.results import RefusedError
from spinn import experiment
from spinn.errors import InputError, RecordError
from spinn.metrics import metrics_of
from spinn.record import PLAN, Plan, Record, read_model, write_model
from spinn.storage import digest_file
from verify.audit import audit
from verify.faults.mutant import EXPERIMENT

SETTINGS = """
[[variants]]
name = "heavier"
pruner = "global-magnitude"
physics = { wear_rate = 0.5 }
stages = [{ ratio = "0.44", epochs = 1, learning_rate = 5e-3 }]
"""
BY_SETTINGS = EXPERIMENT.replace("validation_cases = 2", "validation_cases = 0") + SETTINGS
DATE = "2026-07-28"


def run(text: str, folder: Path, seed: int = 0) -> Path:
    """The runs of an experiment."""
    folder.mkdir()
    (folder / "x.toml").write_text(text)
    return experiment.run(folder / "x.toml", out=folder / "runs", device="cpu", simulator_seed=seed)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one setting; not to be changed."""
    return run(EXPERIMENT, tmp_path_factory.mktemp("main") / "one")


@pytest.fixture(scope="module")
def by_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two, on the same data; not to be changed."""
    return run(BY_SETTINGS, tmp_path_factory.mktemp("ablation") / "two")


@pytest.fixture(scope="module")
def built_beside(runs: Path, by_settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build makes of both; not to be changed."""
    out = tmp_path_factory.mktemp("built")
    assert build(runs, out, ablation=by_settings).holds
    return out


def test_its_table_is_printed_with_sources_of_its_own(runs: Path, by_settings: Path, built_beside: Path):
    """A row a setting; every number names the files of those runs, which build.json has with their digests."""
    told = json.loads((built_beside / "numbers.json").read_bytes())
    ours = {name: entry for name, entry in told.items() if name.startswith("settings.")}
    assert {name.split(".")[1] for name in ours} == {"sparse", "heavier"}
    groups = ["ablation/plan.json", "ablation/sparse", "ablation/heavier"]
    assert all([source.partition(" ")[0] for source in entry["source"]] == groups for entry in ours.values())
    read = json.loads((built_beside / "build.json").read_bytes())["inputs"]["records"]
    assert read[PLAN] == digest_file(runs / PLAN)
    assert read[f"ablation/{PLAN}"] == digest_file(by_settings / PLAN)
    assert "in runs of their own (mutant)" in (built_beside / "tables" / "settings.md").read_text().replace("\\", "")
    assert "in runs of their own (mutant)" in (built_beside / "paper" / "paper.tex").read_text()
    assert check(built_beside) == ()


def test_nothing_is_done_twice_and_a_change_in_it_is_seen(runs: Path, by_settings: Path, tmp_path: Path):
    """A second build does nothing; without the ablation its table goes; a changed file is refused by its audit."""
    changed = Path(shutil.copytree(by_settings, tmp_path / "changed"))
    out = tmp_path / "out"
    assert build(runs, out, ablation=changed).written
    assert not build(runs, out, ablation=changed).written
    assert "tables/settings.csv" in build(runs, out).removed
    path = changed / "runs" / "heavier-f00-s0" / "predictions.csv"
    path.write_text(path.read_text().replace("0.1", "0.2", 1))
    with pytest.raises(RefusedError, match="changed: the audit found"):
        build(runs, out, ablation=changed)


def test_better_predictions_than_its_weights_make_are_found(runs: Path, by_settings: Path, tmp_path: Path):
    """Whoever makes all digests and metrics again has the weights against him: its predictions are replayed."""
    forged = Path(shutil.copytree(by_settings, tmp_path / "forged"))
    folder = forged / "runs" / "heavier-f00-s0"
    frame = pd.read_csv(folder / "predictions.csv", dtype={"case": str})
    known = (frame["split"] == "test") & frame["measured"].notna()
    frame.loc[known, "prediction"] = (frame["prediction"] + frame["measured"])[known] / 2
    frame.to_csv(folder / "predictions.csv", index=False, lineterminator="\n")
    old = read_model(folder / "record.json", Record)
    files = {**old.files, "predictions.csv": digest_file(folder / "predictions.csv")}
    write_model(folder / "record.json", old.model_copy(update={"metrics": metrics_of(frame), "files": files}))
    assert audit(forged).holds, "nothing but a replay finds it"
    with pytest.raises(RefusedError, match=r"forged: the audit found .* predictions-replayed"):
        build(runs, tmp_path / "out", ablation=forged)


def test_what_cannot_stand_beside_is_refused(runs: Path, by_settings: Path, tmp_path: Path):
    """Of other data, of one setting, a table that is there already, or no folder of runs: one line each."""
    other = run(BY_SETTINGS, tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="an ablation is printed beside runs of the same data"):
        build(runs, tmp_path / "out", ablation=other)
    with pytest.raises(InputError, match="it has no table of accuracy by settings"):
        build(runs, tmp_path / "out", ablation=runs)
    with pytest.raises(InputError, match="make a table settings of their own; leave out --ablation"):
        build(by_settings, tmp_path / "out", ablation=by_settings)
    with pytest.raises(RecordError, match=r"nowhere/plan\.json: no such file"):
        build(runs, tmp_path / "out", ablation=tmp_path / "nowhere")


def test_the_table_says_what_its_audit_found(runs: Path, by_settings: Path):
    """Its last note names the experiment and the verdict on these runs."""
    table, machine = Ablation.read(by_settings, read_model(runs / PLAN, Plan)).tables()
    environment = read_model(by_settings / "runs" / "heavier-f00-s0" / "record.json", Record).environment
    assert dict(zip(machine.frame[""], machine.frame["value"], strict=True))["processor"] == environment.processor
    numbers = machine.numbers()
    assert numbers["ablation-environment.cores.value"].value == environment.cores
    assert numbers["ablation-environment.memory-bytes.value"].unit == "bytes"
    assert {number.source for number in numbers.values()} == {table.sources[""]}
    assert re.match(
        "Runs of the experiment mutant. The audit holds: .* were replayed from the weights.", table.notes[-1]
    )


def test_an_archive_has_these_runs_too(runs: Path, by_settings: Path, built_beside: Path, tmp_path: Path):
    """Every file that was read of them, below a folder of their own, which holds for itself; not named: refused."""
    out = tmp_path / "spinn.zip"
    with pytest.raises(InputError, match="it was built with --ablation; name the same with --ablation"):
        bundle(runs, built_beside, out, date=DATE)
    made = bundle(runs, built_beside, out, date=DATE, ablation=by_settings, weights=True)
    assert (
        made.path.read_bytes()
        == bundle(
            runs, built_beside, tmp_path / "again.zip", date=DATE, ablation=by_settings, weights=True
        ).path.read_bytes()
    )
    with zipfile.ZipFile(made.path) as opened:
        opened.extractall(tmp_path)
    unpacked = tmp_path / "spinn-mutant"
    assert "| `ablation/` | runs by settings" in (unpacked / "README.md").read_text()
    machines = json.loads((unpacked / "environment.json").read_bytes())
    assert [(one["folder"], len(one["runs"])) for one in machines] == [("records", 4), ("ablation", 8)]
    assert audit(unpacked / "ablation", replay=True).holds
    assert check(unpacked / "paper") == ()
    with pytest.raises(RefusedError, match=r"runs/plan\.json: not the file that .* was built from"):
        bundle(runs, built_beside, out, date=DATE, ablation=runs)
    changed = Path(shutil.copytree(by_settings, tmp_path / "changed"))
    (changed / PLAN).write_text((changed / PLAN).read_text() + "\n")
    with pytest.raises(RefusedError, match=r"changed: the audit found .* no such records are bundled"):
        bundle(runs, built_beside, out, date=DATE, ablation=changed)
