"""A network that corrects a wear law: what its outputs mean, its law, training on every other case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinn.config import Experiment, PhysicsConfig
from spinn.data.dataset import Dataset
from spinn.data.sensors import relative
from spinn.errors import InputError
from spinn.model import Network
from spinn.physics import Coefficients, law_loss
from spinn.record import PlannedRun
from spinn.step import FitSettings, with_physics
from spinn.task import Task, build, predict
from spinn.training import fit
from spinn.wear_laws import wear_law

LAW = (-4.0, 0.6, 0.4, 0.8)
SHARE = 0.25
LAYERS = (5, 6, 4, 2)


def planned(train: str, validation: str = "") -> PlannedRun:
    """A run over one-letter cases."""
    sides = {"train": tuple(train), "validation": tuple(validation), "test": ()}
    return PlannedRun(run_id=f"run-{train}", variant="sparse", fold=0, seed=0, cohort="c", **sides)


def made(factor: float = 1.0) -> Dataset:
    """Eight tools that wear by the law, the later four `factor` times as fast; a signal that grows with it."""
    rows = []
    for number, case in enumerate("ABCDEFGH"):
        for cut in range(4):
            doc, feed, steel = 0.75 * (1 + number % 2), 0.25 * (1 + number // 2 % 2), float(number // 4)
            row = {"case": case, "run": cut + 1, "time": 5.0 * (cut + 1), "DOC": doc, "feed": feed, "steel": steel}
            rows.append({**row, "power": 100.0 * doc * feed, "thermal": np.nan})
    frame = pd.DataFrame(rows)
    frame["VB"] = wear_law(frame, LAW) * np.where(frame["case"] > "D", factor, 1.0)
    frame["signal"] = (2.0 + frame["case"].map(ord) % 3) * (1 + frame["VB"])
    return Dataset("made", frame, ("time", "DOC", "feed", "steel", "signal"))


def task_of(data: Dataset, *runs: PlannedRun, physics: PhysicsConfig | None = None) -> Task:
    """In float64."""
    return build(data, runs, physics or PhysicsConfig(), dtype=torch.float64, correction=SHARE)


def silent() -> Network:
    """A network whose outputs are 0."""
    network = Network.initialise(LAYERS, [0], dtype=torch.float64)
    for tensor in (network.weights[-1], network.biases[-1]):
        tensor.data.zero_()
    return network


def test_without_a_correction_the_prediction_is_the_fitted_law():
    """An output of 0 leaves the law as it was fitted to the training cases, which here is the truth."""
    data = made()
    task = task_of(data, planned("ABCEFG"))
    law = task.scalers[0].law
    assert law is not None
    assert law.coefficients == pytest.approx(LAW, abs=1e-6)
    assert predict(silent(), data, task.scalers)[0, :, 0] == pytest.approx(data.frame["VB"].to_numpy(), rel=1e-6)


@given(outputs=st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=20))
def test_a_correction_is_a_bounded_share_of_the_law(outputs: list[float]):
    """Whatever a network gives: within the share of the law, and above it exactly where the output is above 0."""
    task = task_of(made(), planned("ABEFG"))
    y = torch.tensor(outputs, dtype=torch.float64)[None, :, None].expand(1, 20, 2)
    ratio = task.physical(y, task.train.law)[0, :, 0] / task.train.law[0] - 1
    assert ratio.abs().max() <= SHARE + 1e-12
    assert torch.equal(ratio > 1e-12, y[0, :, 0] * SHARE > 1e-12)
    scaled = (task.physical(y, task.train.law) - task.target_mean[:, None]) / task.scales.target[:, None]
    torch.testing.assert_close(task.standardised(y, task.train.law), scaled)


def test_the_law_sees_training_cases_alone():
    """Other labels of validation and unused cases change no bit of the fitted law."""
    data = made()
    other = data.frame["VB"].where(data.frame["case"] < "G", 7.0)
    laws = [
        task_of(one, planned("ABCDEF", "G")).scalers for one in (data, replace(data, frame=data.frame.assign(VB=other)))
    ]
    assert laws[0] == laws[1]


def test_the_rate_of_wear_is_the_derivative_along_a_segment():
    """Against central differences of the prediction itself, in float64."""
    task = task_of(made(), planned("ABCD"), physics=PhysicsConfig(wear_rate=1.0))
    network = Network.initialise(LAYERS, [3], dtype=torch.float64)
    index = torch.arange(12)[None]
    still, weight = task.train.x[:, :0], torch.ones(1, 12, dtype=torch.float64)

    def at(place: float):
        return task.motion(network, still, index, torch.full((1, 12), place, dtype=torch.float64), weight)[1]

    step = 1e-5
    per_minute = task.segments.per_minute[:, :12]
    difference = (at(0.4 + step).state - at(0.4 - step).state)[..., 0] / (2 * step) * per_minute
    torch.testing.assert_close(at(0.4).rate[..., 0], difference, rtol=1e-6, atol=1e-9)
    law = task.segments.law[:, :12] + 0.4 * task.segments.dlaw[:, :12]
    torch.testing.assert_close(
        task.motion(silent(), still, index, torch.full((1, 12), 0.4).double(), weight)[1].state[..., 0], law
    )


def test_law_loss_is_the_mean_square_correction_in_spreads_of_wear():
    """A network that is everywhere at its bound: (share · law / spread)², averaged; one that is silent: 0."""
    task = task_of(made(), planned("ABCE"), physics=PhysicsConfig(law=1.0))
    far = silent()
    far.biases[-1].data[:, 0] = 50.0
    expected = (SHARE * task.train.law / task.scales.target[:, :1]).square().mean()
    for network, value in ((far, expected), (silent(), torch.zeros(()).double())):
        losses = with_physics(network, Coefficients.initial(task), task, task.train, None)[1]
        torch.testing.assert_close(losses["law"][0], value)
    half = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    wear = task.train.law[:, :4] + task.scales.target[:, :1] * 3
    torch.testing.assert_close(law_loss(wear, task.train.law[:, :4], half, task.scales), torch.tensor([9.0]).double())


@pytest.mark.parametrize("weight", [0.0, 1.0, 100.0])
def test_a_heavier_law_term_leaves_smaller_corrections(weight: float):
    """What lightly held networks learn of tools that differ, a weight of 100 forbids."""
    data = made(1.2)
    sizes = []
    for held in (weight, weight * 10 + 1):
        task = task_of(data, planned("ABCDEFGH"), physics=PhysicsConfig(law=held))
        network, coefficients = Network.initialise(LAYERS, [0], dtype=torch.float64), Coefficients.initial(task)
        fit(network, coefficients, task, FitSettings(150, 1e-2, physics=PhysicsConfig(law=held)), seeds=[0], stage=0)
        law = task.scalers[0].law
        assert law is not None
        correction = predict(network, data, task.scalers)[0, :, 0] / wear_law(data.frame, law.coefficients) - 1
        sizes.append(np.abs(correction).mean())
    assert sizes[1] < sizes[0] <= SHARE


def test_without_validation_cases_the_last_epoch_is_kept():
    """All epochs are run, no loss is stated, and what is kept are the weights after the last step."""
    task = task_of(made(), planned("ABCDEFGH"))
    networks = [Network.initialise(LAYERS, [0], dtype=torch.float64) for _ in range(2)]
    results = []
    for network, epochs in zip(networks, (5, 6), strict=True):
        results.append(fit(network, Coefficients.initial(task), task, FitSettings(epochs, 1e-2), seeds=[0], stage=0))
    assert [result.selected_epoch for result in results] == [[5], [6]]
    assert [result.selected_loss for result in results] == [[None], [None]]
    assert all(np.isnan(row["validation_loss"]) for row in results[0].history[0])
    rows = [result.history[0] for result in results]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]][:5]
    assert not torch.equal(networks[0].weights[0], networks[1].weights[0])


def test_patience_without_validation_cases_is_refused():
    """There is nothing to be patient about."""
    task = task_of(made(), planned("ABCDEFGH"))
    with pytest.raises(InputError, match="patience = 3: there are no validation cases"):
        fit(silent(), Coefficients.initial(task), task, FitSettings(5, 1e-2, patience=3), seeds=[0], stage=0)


# --- sensors relative to the tool's beginning -----------------------------------------------------------------------


def test_a_tool_s_own_factor_cancels_and_its_first_value_is_zero():
    """Amplifiers multiply: a tool whose sensor reads three times as much looks the same; process parameters stay."""
    data = made()
    factor = np.where(data.frame["case"] == "B", 3.0, 1.0)
    louder = replace(data, frame=data.frame.assign(signal=data.frame["signal"] * factor))
    ours, theirs = relative(data).frame, relative(louder).frame
    pd.testing.assert_frame_equal(ours, theirs)
    assert (ours.groupby("case")["signal"].first() == 0).all()
    pd.testing.assert_frame_equal(ours.drop(columns="signal"), data.frame.drop(columns="signal"))


def test_a_cut_sees_no_later_cut():
    """Any change of a later value leaves the earlier ones as they were."""
    data = made()
    changed = data.frame["signal"].where(data.frame["run"] < 3, 99.0)
    early = data.frame["run"] < 3
    for name in ("signal",):
        later = relative(replace(data, frame=data.frame.assign(signal=changed))).frame
        pd.testing.assert_series_equal(relative(data).frame[name][early], later[name][early])


def test_where_there_is_no_ratio_the_feature_is_missing():
    """A value of 0 or below is missing; the first one above 0 is what later ones are measured by."""
    data = made()
    values = data.frame["signal"].mask(data.frame["run"] == 1, 0.0).mask(data.frame["run"] == 3, -1.0)
    found = relative(replace(data, frame=data.frame.assign(signal=values))).frame
    assert found["signal"][found["run"].isin([1, 3])].isna().all()
    assert (found["signal"][found["run"] == 2] == 0).all()
    assert (found["signal"][found["run"] == 4] > 0).all()


# --- what an experiment may ask for ---------------------------------------------------------------------------------

V = {"name": "v", "pruner": "global-magnitude", "stages": [{"ratio": "0.3", "epochs": 1, "learning_rate": 1}]}
STATED = {
    "name": "x",
    "seeds": [0],
    "layers": [18, 4, 2],
    "split": {"kind": "leave-one-case-out", "validation_cases": 0},
    "dense": {"epochs": 3},
    "correction": 0.3,
    "physics": {"law": 1.0},
    "variants": [V],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense": {"epochs": 3, "patience": 5}}, "patience asks for a validation loss"),
        ({"correction": None}, "physics.law holds a network to the wear law"),
        ({"physics": {"initial": 1.0}}, "physics.initial has nothing to do"),
        ({"correction": 1.0}, "less than 1"),
        ({"correction": None, "physics": {}, "variants": [{**V, "physics": {"law": 1.0}}]}, "v: physics.law holds a n"),
        ({"variants": [{**V, "physics": {"nonnegative": 1.0}}]}, "variant v: physics.nonnegative has nothing to do"),
        (
            {"correction": None, "physics": {"initial": 1.0}, "variants": [{**V, "correction": 0.2}]},
            "v: physics.initia",
        ),
        ({"variants": [{**V, "correction": 1.5}]}, "less than 1"),
        ({"variants": [{**V, "dense": {"epochs": 0}}]}, "greater than or equal to 1"),
        ({"variants": [{**V, "dense": {"patience": 3}}]}, "Extra inputs are not permitted"),
    ],
)
def test_what_contradicts_itself_is_refused(change: dict, message: str):
    """Patience without a validation loss, a law's weight without a law, a term that a law always meets."""
    assert Experiment.model_validate(STATED).correction == 0.3
    with pytest.raises(ValueError, match=message):
        Experiment.model_validate({**STATED, **change})


def test_variants_with_settings_of_their_own_are_families_of_their_own():
    """Those whose physics, training and correction are the same share a dense network, wherever these are stated."""
    own = [{}, {"physics": {"law": 2.0}}, {"dense": {"epochs": 4}}, {"correction": 0.2}, {"dense": {"epochs": 3}}, {}]
    variants = [{**V, "name": name, **more} for name, more in zip("abcdef", own, strict=True)]
    families = Experiment.model_validate({**STATED, "variants": variants}).families()
    assert [[one.name for one in family] for family in families] == [["a", "e", "f"], ["b"], ["c"], ["d"]]


def test_what_a_variant_leaves_out_is_the_experiment_s():
    """Epochs and learning rate one by one; nothing else of the training can be its own."""
    dense = {"epochs": 3, "learning_rate": 2e-3, "batch": 64, "clip_norm": 2.0}
    own = [{**V, "name": "a", "dense": {"epochs": 5}}, {**V, "name": "b", "dense": {"learning_rate": 1e-4}}]
    stated = Experiment.model_validate({**STATED, "dense": dense, "variants": [V, *own]})
    plain, longer, slower = (stated.dense_of(variant) for variant in stated.variants)
    assert plain == stated.dense
    assert longer == stated.dense.model_copy(update={"epochs": 5})
    assert slower == stated.dense.model_copy(update={"learning_rate": 1e-4})


def test_a_correction_may_be_a_variant_s_alone():
    """Then its law's term has a law to hold to, though the experiment has none; others have no law."""
    own = {**V, "name": "own", "correction": 0.2, "physics": {"law": 1.0}}
    stated = Experiment.model_validate({**STATED, "correction": None, "physics": {}, "variants": [V, own]})
    assert [stated.correction_of(variant) for variant in stated.variants] == [None, 0.2]
