"""Online adaptation: what a tool's networks and laws know before each cut, and what may not change meanwhile."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from spinn import adaptation, checkpoint, experiment, online, record, retraining
from spinn.config import Experiment
from spinn.data.dataset import read_canonical
from spinn.data.simulator import simulate
from spinn.errors import DataError, NonFiniteError
from spinn.law_updates import follow, refitted, rescaled
from spinn.model import Network, from_checkpoints
from spinn.wear_laws import fit_wear_law, wear_law

FILE = """
name = "tiny"
seeds = [3, 4]
layers = [18, 8, 6, 2]
correction = 0.3
[split]
kind = "grouped"
folds = 2
validation_cases = 0
[dense]
epochs = 20
[physics]
law = 0.1
[adaptation]
steps = 4
learning_rate = 1e-3
[[variants]]
name = "sparse"
pruner = "global-magnitude"
stages = [
    { ratio = "0.50", epochs = 3, learning_rate = 1e-3 },
    { ratio = "0.20", epochs = 2, learning_rate = 1e-3 },
]
"""
METHODS = ("none", "adapted", "refitted-law", "rescaled-law", "retrained")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder of runs that adapted; not to be changed."""
    path = tmp_path_factory.mktemp("adaptation")
    (path / "tiny.toml").write_text(FILE)
    return experiment.run(path / "tiny.toml", out=path / "runs", device="cpu")


def _read(folder: Path):
    plan = record.read_model(folder / record.PLAN, record.Plan)
    tables = {name: pd.read_csv(folder / record.ADAPTATION / f"{name}.csv", dtype={"case": str}) for name in METHODS}
    found = record.read_model(folder / record.ADAPTATION / record.RECORD, record.AdaptationRecord)
    return plan, read_canonical(folder / record.DATASET, plan.dataset), tables, found


def _networks(folder: Path, plan, dataset):
    tools = online.tools_of([run for run in plan.runs if run.seed == 3], dataset)
    stored = [checkpoint.read(record.run_folder(folder, tool.run.run_id) / "stage-2.safetensors") for tool in tools]
    network, masks = from_checkpoints(stored)
    assert masks is not None
    return tools, network, masks


def _settings(plan, steps: int = 4):
    variant = plan.experiment.variants[0]
    from spinn.cohort import fit_settings

    chosen = replace(fit_settings(plan.experiment, variant, 2), epochs=steps, learning_rate=1e-3, batch=999)
    return replace(chosen, physics=type(chosen.physics)(), recorded=False)


def test_every_cut_of_every_held_out_tool_stands_there_once(finished):
    """Networks for every seed, laws and retraining for the first; labels seen are those of earlier cuts alone."""
    _, dataset, tables, found = _read(finished)
    assert tuple(method.name for method in found.methods) == METHODS
    for name, table in tables.items():
        seeds = [3, 4] if name in ("none", "adapted") else [3]
        assert sorted(table["seed"].unique()) == seeds
        for _, part in table.groupby("seed"):
            keys = list(zip(part["case"], part["run"], strict=True))
            assert sorted(keys) == sorted(zip(dataset.frame["case"], dataset.frame["run"], strict=True))
        for _, part in table.groupby(["seed", "case"]):
            known = part["measured"].notna().to_numpy()
            assert part["labels_seen"].tolist() == (np.cumsum(known) - known).tolist()
        assert np.isfinite(table["prediction"]).all()


def test_no_label_is_known_before_its_cut(finished):
    """A tool's prediction at a cut is the same whatever this and later cuts measure, and another after a label."""
    plan, dataset, _, _ = _read(finished)
    tools, network, masks = _networks(finished, plan, dataset)
    changed = dataset.frame.copy()
    tool = tools[0]
    changed.loc[tool.rows[3:], "VB"] += 0.2
    before = online.live(network, masks, tools, dataset, plan, _settings(plan))
    tools, network, masks = _networks(finished, plan, dataset)
    after = online.live(network, masks, tools, replace(dataset, frame=changed), plan, _settings(plan))
    assert np.array_equal(before[0][:4], after[0][:4])
    assert not np.allclose(before[0][4:], after[0][4:], atol=1e-6)
    for one, other in zip(before[1:8], after[1:8], strict=True):
        assert np.allclose(one, other, atol=1e-6)


def test_an_unlabelled_cut_teaches_nothing(finished):
    """Where flank wear is not measured the network that predicts the next cut is the one that predicted this."""
    plan, dataset, _, _ = _read(finished)
    frame = dataset.frame.copy()
    tools, network, masks = _networks(finished, plan, dataset)
    frame.loc[tools[0].rows, "VB"] = np.nan
    dataset = replace(dataset, frame=frame)
    runs = [run for run in plan.runs if run.seed == 3]
    tools = online.tools_of(runs, dataset)
    weights = network.weights[0][0].detach().clone()
    assert (tools[0].labels, tools[0].seen.max()) == (0, 0)
    online.live(network, masks, tools, dataset, plan, _settings(plan))
    assert torch.equal(network.weights[0][0], weights)
    assert not torch.equal(network.weights[0][1], weights)


def test_before_the_first_label_adapted_is_unchanged(finished):
    """Equal to no adaptation bit by bit up to the first labelled cut, and different after it."""
    _, _, tables, _ = _read(finished)
    none, adapted = tables["none"], tables["adapted"]
    fresh = none["labels_seen"] == 0
    assert fresh.sum() == 32
    assert (none["prediction"][fresh] == adapted["prediction"][fresh]).all()
    assert (none["prediction"][~fresh] != adapted["prediction"][~fresh]).mean() > 0.9


def test_no_adaptation_is_what_the_runs_predicted(finished):
    """The predictions of the last stage, for the test cases."""
    plan, _, tables, _ = _read(finished)
    parts = []
    for run in plan.runs:
        table = pd.read_csv(record.run_folder(finished, run.run_id) / record.PREDICTIONS, dtype={"case": str})
        table = table[(table["stage"] == 2) & (table["target"] == "VB") & (table["split"] == "test")]
        parts.append(table.assign(seed=run.seed))
    keys = ["seed", "case", "run"]
    both = tables["none"].merge(pd.concat(parts), on=keys)
    assert len(both) == len(tables["none"])
    assert np.allclose(both["prediction_x"], both["prediction_y"], rtol=1e-5, atol=1e-6)


def test_masks_hold_through_adaptation(finished):
    """No pruned weight returns: +0.0 in every bit in the kept checkpoints, and the record counts none."""
    plan, _, _, found = _read(finished)
    adapted = found.methods[1]
    assert adapted.revived == 0
    assert len(adapted.checkpoints) == 16
    for run in (run for run in plan.runs if run.seed == 3):
        began = checkpoint.read(record.run_folder(finished, run.run_id) / "stage-2.safetensors")
        for case in run.test:
            ended = checkpoint.read(finished / record.ADAPTATION / record.adapted_name(run, case))
            assert ended.masks is not None
            assert began.masks is not None
            for mask, other, weight in zip(began.masks, ended.masks, ended.weights, strict=True):
                assert np.array_equal(mask, other)
                assert not weight[~mask].view(np.int32).any()


def test_a_pruned_weight_that_returns_is_counted(finished):
    """`revived` counts each weight outside the masks that is not 0."""
    plan, dataset, _, _ = _read(finished)
    _, network, masks = _networks(finished, plan, dataset)
    assert online.revived(network, masks) == 0
    with torch.no_grad():
        network.weights[1][2][~masks.layers[1][2]] = 0.5
    assert online.revived(network, masks) == int((~masks.layers[1][2]).sum())


def test_learning_from_its_labels_brings_a_network_nearer_to_them(finished):
    """A tool that wears a fifth faster than any law says is predicted better with each label than without."""
    plan, dataset, _, _ = _read(finished)
    tools, network, masks = _networks(finished, plan, dataset)
    frame = dataset.frame.copy()
    scaler = record.read_model(record.run_folder(finished, tools[0].run.run_id) / "record.json", record.Record).scaler
    assert scaler.law is not None
    rows = tools[0].rows
    frame.loc[rows, "VB"] = 1.2 * wear_law(frame.iloc[rows], scaler.law.coefficients)
    dataset = replace(dataset, frame=frame)
    measured = frame["VB"].to_numpy()[rows]
    before = online.live(network, masks, tools, dataset, plan, None)[0]
    faster = replace(_settings(plan, steps=40), learning_rate=1e-2)
    after = online.live(network, masks, tools, dataset, plan, faster)[0]
    assert np.abs(after - measured)[5:].mean() < 0.3 * np.abs(before - measured)[5:].mean()


def test_a_network_that_diverges_is_refused(finished):
    """A rate that throws the weights to infinity is an error that names tool and key."""
    plan, dataset, _, _ = _read(finished)
    tools, network, masks = _networks(finished, plan, dataset)
    with pytest.raises(NonFiniteError, match=r"case 1, run sparse-f00-s3 = nan.*adaptation\.learning_rate"):
        online.live(network, masks, tools, dataset, plan, replace(_settings(plan), learning_rate=1e38))


def test_the_law_is_refitted_on_training_cases_and_the_tool_so_far(finished):
    """Before the first label it is the baseline's law; after the last but one it is the law of all those rows."""
    plan, dataset, _, _ = _read(finished)
    (tool, *_) = online.tools_of(plan.runs[:1], dataset)
    others, own = dataset.frame[~dataset.frame["case"].isin(tool.run.test)], dataset.frame.iloc[tool.rows]
    predicted, laws = follow(tool, dataset, refitted)
    assert laws[0].coefficients == pytest.approx(fit_wear_law(others), abs=1e-9)
    assert [law.labels_seen for law in laws] == list(range(tool.labels + 1))
    last = fit_wear_law(pd.concat([others, own.iloc[:-1]]))
    assert predicted[-1] == pytest.approx(wear_law(own, last)[-1], rel=1e-9)


def test_the_rate_of_a_law_is_recovered_from_one_label():
    """A tool that wears by the law at 1.3 times its rate is predicted without error after its first label."""
    dataset = simulate(noise=0.0, tool_sd=0.0)
    run = record.PlannedRun(
        run_id="r", variant="v", fold=0, seed=0, cohort="c", train=dataset.cases[1:], validation=(), test=("1",)
    )
    (tool,) = online.tools_of([run], dataset)
    frame = dataset.frame.copy()
    law = fit_wear_law(frame[frame["case"] != "1"])
    frame.loc[tool.rows, "VB"] = 1.3 * wear_law(frame.iloc[tool.rows], law)
    dataset = replace(dataset, frame=frame)
    predicted, laws = follow(tool, dataset, rescaled)
    assert [fit.factor for fit in laws] == pytest.approx([1.0] + [1.3] * tool.labels)
    assert predicted[1:] == pytest.approx(frame["VB"].to_numpy()[tool.rows][1:])


def test_a_tool_without_any_wear_so_far_keeps_the_law():
    """Labels at time 0 have no rate in them: the factor stays 1."""
    frame = simulate().frame
    own = frame[frame["case"] == "1"].iloc[:1].assign(time=0.0, VB=0.0)
    assert rescaled(frame[frame["case"] != "1"], own)[1] == 1.0


def test_flops_of_a_life_are_those_of_its_cuts_and_steps(finished):
    """2 · weights a cut; 6 · weights for each step and label so far: 6 · 4 · (1 + 2 + … + n) in all."""
    plan, _, _, found = _read(finished)
    weights = 18 * 8 + 8 * 6 + 6 * 2
    for none, adapted in zip(found.methods[0].tools, found.methods[1].tools, strict=True):
        assert none.flops is not None
        assert none.flops == 2 * weights * none.cuts
        learnt = 6 * 4 * weights * none.labels * (none.labels + 1) // 2
        assert adapted.flops == none.flops + learnt
    assert all(tool.flops is None for tool in found.methods[2].tools)
    assert plan.experiment.adaptation is not None


def test_retraining_sees_the_first_labels_and_no_later_cut(finished):
    """Its training case of a tool ends with the third label; its predictions do not depend on what follows."""
    plan, dataset, tables, found = _read(finished)
    runs = [run for run in plan.runs if run.seed == 3]
    tools = online.tools_of(runs, dataset)
    extended, extra = retraining._extended(tools, dataset)
    for tool, run in zip(tools, extra, strict=True):
        assert set(run.train) - set(tool.run.train) == {f"first 3 labels of {tool.case}"}
        assert run.test == ()
        rows = extended.frame[extended.frame["case"] == f"first 3 labels of {tool.case}"]
        assert rows["run"].tolist() == [1, 2, 3]
    retrained, none = tables["retrained"], tables["none"]
    none = none[none["seed"] == 3].reset_index(drop=True)
    early = retrained["labels_seen"] < retraining.LABELS
    assert (retrained["prediction"][early] == none["prediction"][early]).all()
    assert (retrained["prediction"][~early] != none["prediction"][~early]).all()
    frame = dataset.frame.copy()
    frame.loc[np.concatenate([tool.rows[3:] for tool in tools[:2]]), "VB"] += 1.0  # of case 1 and 2, in fold 0
    variant, device = plan.experiment.variants[0], torch.device("cpu")
    first = retraining.retrain(tools[:2], dataset, plan, variant, device)
    again = retraining.retrain(tools[:2], replace(dataset, frame=frame), plan, variant, device)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first.predicted, again.predicted, strict=True))
    assert found.methods[4].epochs == (20, 3, 2)


def test_retraining_costs_what_training_did(finished):
    """Its FLOPs are those of the run's phases, for the three labels more that are in each step."""
    plan, _, _, found = _read(finished)
    runs = [record.read_model(record.run_folder(finished, r.run_id) / "record.json", record.Record) for r in plan.runs]
    before = max(sum(cost.flops for cost in run.cost) for run in runs)
    for tool in found.methods[4].tools:
        assert tool.flops is not None
        assert before < tool.flops < 1.1 * before


def test_finished_methods_are_kept_and_missing_ones_are_made(finished, tmp_path, capsys):
    """A second call does nothing; without a method's file that method alone is made again, to the same bytes."""
    folder = Path(shutil.copytree(finished, tmp_path / "runs"))
    (tmp_path / "tiny.toml").write_text(FILE)
    plan, *_ = _read(folder)
    assert adaptation.is_finished(plan, folder)
    path = folder / record.ADAPTATION / "refitted-law.csv"
    before = path.read_bytes()
    path.unlink()
    assert not adaptation.is_finished(plan, folder)
    capsys.readouterr()
    experiment.run(tmp_path / "tiny.toml", out=folder, device="cpu")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("adaptation")]
    assert [line.split(":")[0] for line in said] == ["adaptation, refitted-law"]
    assert path.read_bytes() == before
    experiment.run(tmp_path / "tiny.toml", out=folder, device="cpu")
    assert "nothing to train" in capsys.readouterr().err


def test_other_networks_are_adapted_afresh(finished, tmp_path):
    """A record that began with other checkpoints than there are now says nothing of these."""
    folder = Path(shutil.copytree(finished, tmp_path / "runs"))
    plan, *_ = _read(folder)
    path = record.run_folder(folder, plan.runs[0].run_id) / record.RECORD
    content = json.loads(path.read_text())
    content["files"]["stage-2.safetensors"] = "0" * 64
    path.write_text(json.dumps(content))
    assert not adaptation.is_finished(plan, folder)


def test_without_the_table_nothing_is_done(simple_plan, tmp_path):
    """An experiment that does not ask for adaptation is finished without it."""
    dataset = simulate()
    plan = simple_plan(dataset)
    assert list(adaptation.evaluate(plan, dataset, tmp_path, torch.device("cpu"))) == []
    assert adaptation.is_finished(plan, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_labels_in_one_fold_alone_are_refused_before_training(simple_plan):
    """The law needs labels of cases that are not held out."""
    dataset = simulate()
    frame = dataset.frame.copy()
    frame.loc[frame["case"].astype(int) > 8, "VB"] = np.nan
    few = replace(dataset, frame=frame)
    plan = simple_plan(dataset, adaptation={"steps": 1, "learning_rate": 1e-3})
    with pytest.raises(DataError, match=r"adaptation, fold 0: VB is measured in .*use data with more labels"):
        adaptation.refuse_unadaptable(plan, few)
    adaptation.refuse_unadaptable(simple_plan(dataset), few)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0, "learning_rate": 1e-3}, "adaptation.steps"),
        ({"steps": 1, "learning_rate": 0.0}, "adaptation.learning_rate"),
        ({"steps": 1}, "adaptation.learning_rate"),
        ({"steps": 1, "learning_rate": 1.0, "rate": 2}, "adaptation.rate"),
    ],
)
def test_what_cannot_be_meant_is_refused(simple_plan, changes, message):
    """Steps and rate are above 0, both are stated, and nothing else is."""
    with pytest.raises(ValueError, match=message):
        simple_plan(simulate(), adaptation=changes)


@pytest.mark.parametrize("pruner", ["first-version", "neurons-incoming"])
def test_adaptation_needs_masks_to_hold(pruner):
    """The first variant is one that holds masks."""
    stages = [{"ratio": "0.30", "epochs": 2, "learning_rate": 1e-3}]
    content = {
        "name": "tiny",
        "seeds": [0],
        "layers": [18, 8, 2],
        "split": {"kind": "leave-one-case-out"},
        "dense": {"epochs": 1},
        "adaptation": {"steps": 1, "learning_rate": 1e-3},
        "variants": [{"name": "v", "pruner": pruner, "stages": stages}],
    }
    with pytest.raises(ValueError, match=f"adaptation holds the masks of the first variant, and {pruner} leaves none"):
        Experiment.model_validate(content)
    content["variants"] = [{"name": "v", "pruner": "random", "stages": stages, "sensors": "none"}]
    with pytest.raises(ValueError, match="sensors = none: adaptation reads sensors as the experiment does"):
        Experiment.model_validate(content)
    del content["adaptation"]
    assert Experiment.model_validate(content).variants[0].sensors == "none"
    with pytest.raises(ValueError, match="sensors = none: ridge reads sensors as the experiment does"):
        Experiment.model_validate({**content, "baselines": ["mean", "ridge"]})


def test_a_tool_adapts_alike_alone_and_beside_others(finished):
    """What a tool is stacked with decides nothing, to rounding: neither their number of labels nor their order."""
    plan, dataset, _, _ = _read(finished)
    tools, network, masks = _networks(finished, plan, dataset)
    together = online.live(network, masks, tools, dataset, plan, _settings(plan))
    _, network, masks = _networks(finished, plan, dataset)
    alone = Network([w[5:6] for w in network.weights], [b[5:6] for b in network.biases])
    held = type(masks)(tuple(mask[5:6] for mask in masks.layers))
    (single,) = online.live(alone, held, tools[5:6], dataset, plan, _settings(plan))
    assert np.allclose(single, together[5], rtol=1e-4, atol=1e-5)
