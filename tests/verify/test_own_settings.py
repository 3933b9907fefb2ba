"""Variants that train dense networks of their own: real runs hold, and each is held to its own settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinn import experiment
from spinn.config import Sensors
from spinn.data import sensors
from spinn.data.dataset import Dataset
from spinn.record import ADAPTATION, RECORD, AdaptationRecord, checkpoint_name, read_model
from spinn.storage import digest_file
from verify.audit import audit
from verify.faults.mutant import EXPERIMENT
from verify.folder import Data

HEAD, SPARSE = EXPERIMENT.split("[[variants]]")
SHORT = 'stages = [{ ratio = "0.4", epochs = 1, learning_rate = 5e-3 }]\ntarget = {}\n'
OWN = f"""{HEAD.replace("validation_cases = 2", "validation_cases = 0").replace("[0, 1]", "[0]")}
[adaptation]
steps = 1
learning_rate = 1e-3

[[variants]]
name = "longer"
pruner = "global-magnitude"
physics = {{ law = 0.5, wear_rate = 0.1 }}
dense = {{ epochs = 5 }}
correction = 0.2
{SHORT}
[[variants]]{SPARSE.replace("epochs = 2", "epochs = 1")}
[[variants]]
name = "random"
pruner = "random"
{SHORT}
[[variants]]
name = "slower"
pruner = "global-magnitude"
dense = {{ learning_rate = 2e-3 }}
{SHORT}
[[variants]]
name = "blind"
pruner = "global-magnitude"
sensors = "none"
{SHORT}
[[variants]]
name = "ratios"
pruner = "global-magnitude"
sensors = "relative"
{SHORT}
"""
PLACE = {"longer": 0, "sparse": 1, "random": 2, "slower": 3, "blind": 4, "ratios": 5}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real runs of six variants with five dense networks."""
    path = tmp_path_factory.mktemp("own")
    (path / "own.toml").write_text(OWN)
    return experiment.run(path / "own.toml", out=path / "runs", device="cpu")


@pytest.fixture
def own(trained: Path, tmp_path: Path, runs_in):
    """A copy of them, to break."""
    shutil.copytree(trained, tmp_path / "runs")
    return runs_in(tmp_path / "runs")


def test_real_runs_hold(trained: Path) -> None:
    """Predictions, losses, residuals, costs and retraining are what the judge computes by each variant's settings."""
    verdict = audit(trained, replay=True)
    assert [finding.message for finding in verdict.findings if finding.severity == "error"] == []
    assert verdict.holds


def test_variants_share_a_dense_network_where_they_share_its_settings(trained: Path, runs_in) -> None:
    """It is trained once for both, at one cost; the others have their own, with their epochs, rates and corrections."""
    runs = runs_in(trained)
    ids = {name: runs.names(name)[0] for name in PLACE}
    networks = {name: digest_file(runs.folder(run) / checkpoint_name(0)) for name, run in ids.items()}
    assert networks["sparse"] == networks["random"]
    assert len(set(networks.values())) == 5
    records = {name: runs.record(run) for name, run in ids.items()}
    assert {name: record.stages[0].epochs_run for name, record in records.items()} == {
        "longer": 5, "sparse": 3, "random": 3, "slower": 3, "blind": 3, "ratios": 3
    }  # fmt: skip
    assert records["sparse"].cost[0] == records["random"].cost[0]
    assert len({record.cost[0].key for record in records.values()}) == 5
    laws = {name: record.scaler.law for name, record in records.items()}
    assert laws["longer"] is not None
    assert laws["longer"].correction == 0.2
    assert [laws[name] for name in ("sparse", "random", "slower")] == [None] * 3


def test_retraining_has_the_epochs_of_the_variant_that_adapts(trained: Path) -> None:
    """Its own, not the experiment's."""
    found = read_model(trained / ADAPTATION / RECORD, AdaptationRecord)
    assert {method.name: method.epochs for method in found.methods}["retrained"] == (5, 1)


@pytest.mark.parametrize(
    ("variant", "settings", "found"),
    [
        ("longer", {"dense": None}, {"trained-as-planned", "adaptation-recomputed"}),
        ("longer", {"dense": {"epochs": 6}}, {"trained-as-planned", "adaptation-recomputed"}),
        ("slower", {"dense": {"learning_rate": 1e-3}}, {"trained-as-planned"}),
        ("slower", {"dense": None}, {"trained-as-planned"}),
        ("sparse", {"dense": {"epochs": 2}}, {"trained-as-planned"}),
        ("longer", {"correction": 0.3}, {"scaler-on-train-only"}),
        ("random", {"correction": 0.2, "physics": {}}, {"scaler-on-train-only", "physics-alive"}),
        ("blind", {"sensors": None}, {"scaler-on-train-only"}),
        ("blind", {"sensors": "relative"}, {"scaler-on-train-only"}),
        ("ratios", {"sensors": None}, {"scaler-on-train-only"}),
        ("ratios", {"sensors": "none"}, {"scaler-on-train-only"}),
    ],
)
def test_other_settings_than_those_trained_with_are_found(
    own, variant: str, settings: dict[str, Any], found: set[str]
) -> None:
    """As if a plan had asked for them from the beginning: of this variant, whatever the others have."""
    own.edit_plan(lambda plan: plan["experiment"]["variants"][PLACE[variant]].update(settings))
    assert own.failed(replay=False) == found


def test_predictions_are_replayed_of_the_sensors_as_the_variant_reads_them(own) -> None:
    """With scaler and seals of a plan that asks for another reading, the inputs alone tell."""
    own.edit_plan(lambda plan: plan["experiment"]["variants"][PLACE["ratios"]].update(sensors=None))
    assert {"predictions-replayed"} <= own.failed()


@given(
    signal=st.lists(st.sampled_from([np.nan, -1.0, 0.0, 0.5, 2.0, 3.0]), min_size=6, max_size=6),
    cases=st.permutations("AAABBC"),
)
def test_judge_and_system_read_sensors_alike(signal: list[float], cases: list[str]) -> None:
    """Two implementations: ratios to the first value above 0 of the case, or 0 everywhere; settings stay."""
    frame = pd.DataFrame({"case": cases, "run": range(6), "time": 1.0, "signal": signal})
    data = Data(np.array(cases), np.arange(6), {name: frame[name].to_numpy(float) for name in ("time", "signal")})
    made = Dataset("made", frame, ("time", "signal"))
    readings: dict[Sensors, Dataset] = {"relative": sensors.relative(made), "none": sensors.without(made)}
    for reading, own in readings.items():
        seen = data.seen(made.features, reading)
        for name in made.features:
            np.testing.assert_allclose(seen.columns[name], own.frame[name].to_numpy(float), rtol=1e-12)


def test_a_cost_that_was_expected_of_the_experiment_s_epochs_is_found(own) -> None:
    """Three epochs are the experiment's, five the variant's."""

    def edit(record: dict) -> None:
        record["cost"][0]["estimated_flops"] = record["cost"][0]["flops"] * 3 // 5

    for run in own.names("longer"):
        own.edit_record(run, edit)
    assert own.failed() == {"cost-recomputed"}


def test_a_share_of_the_law_that_is_not_the_variant_s_is_found(own) -> None:
    """Predictions were made with 0.2."""
    for run in own.names("longer"):
        own.edit_record(run, lambda record: record["scaler"]["law"].update(correction=0.25))
    assert {"scaler-on-train-only", "predictions-replayed"} <= own.failed()
