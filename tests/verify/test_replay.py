"""The judge's own forward pass: a closed form, and predictions that no checkpoint gives."""

from __future__ import annotations

import numpy as np
import pytest

from spinn import checkpoint
from spinn.checkpoint import Checkpoint
from spinn.record import DEPLOYED, HISTORY, PREDICTIONS, Scaler
from verify.network import Network
from verify.replay import forward, scale


def test_forward_of_a_closed_form() -> None:
    """One hidden neuron: y = 2·tanh(3x + 1) − 1."""
    ones = np.ones((1, 1), bool)
    weights, biases = (np.array([[3.0]]), np.array([[2.0]])), (np.array([1.0]), np.array([-1.0]))
    network = Network(weights, biases, (ones, ones), {})
    x = np.linspace(-1, 1, 5)[:, None]
    np.testing.assert_allclose(forward(network, x), 2 * np.tanh(3 * x + 1) - 1, rtol=1e-15)


def test_missing_feature_is_the_mean() -> None:
    """A missing feature is 0 after scaling."""
    scaler = Scaler(fitted_on=(), feature_mean=(1.0, 2.0), feature_scale=(2.0, 1.0), target_mean=(), target_scale=())
    assert scale(np.array([[3.0, np.nan]]), scaler).tolist() == [[1.0, 0.0]]


def test_stale_checkpoint_is_found(runs) -> None:
    """Predictions made before the last fine-tuning are not the checkpoint's."""
    run_id = runs.names("sparse")[0]

    def edit(network) -> None:
        for weight, mask in zip(network.weights, network.masks, strict=True):
            weight[mask] *= np.float32(1.01)

    def refresh(record: dict) -> None:
        network = checkpoint.read(runs.folder(run_id) / "stage-2.safetensors")
        assert network.masks is not None
        for layer, weight, mask in zip(record["stages"][2]["layers"], network.weights, network.masks, strict=True):
            kept = weight[mask].astype(float)
            size = np.abs(kept)
            layer.update(mean_abs=size.mean(), std=kept.std(), min_abs=size.min(), max_abs=size.max())

    runs.edit_network(run_id, 2, edit)
    runs.edit_record(run_id, refresh)
    assert runs.failed() == {"predictions-replayed"}


def test_prediction_that_is_not_replayed_is_found(runs) -> None:
    """One edited prediction is found, even where its cut has no label and no metric sees it."""
    run_id = runs.names("sparse")[0]

    def edit(table) -> None:
        table.loc[table["measured"].isna().idxmax(), "prediction"] += 0.01

    runs.edit_table(run_id, PREDICTIONS, edit)
    assert runs.failed() == {"predictions-replayed"}


# --- training-loss-replayed -----------------------------------------------------------------------------------------


def scale_loss(table, rows, factor: float) -> None:
    """Another data loss in `rows` of history.csv, and a sum of all terms that agrees with it."""
    change = (factor - 1) * table["data"].where(rows, 0.0)
    table["data"] += change
    table["loss"] += change


@pytest.mark.parametrize("variant", ["sparse", "first-version"])
@pytest.mark.parametrize(("stage", "epoch"), [(0, 4), (1, 1), (1, 4), (2, 1), (2, 4)])
def test_training_loss_of_another_network_is_found(runs, variant: str, stage: int, epoch: int) -> None:
    """Where an epoch begins with a network that was kept, a loss 1 % too small is found, sealed and consistent."""

    def edit(table) -> None:
        scale_loss(table, (table["stage"] == stage) & (table["epoch"] == epoch), 0.99)

    runs.edit_table(runs.names(variant)[0], HISTORY, edit)
    assert runs.failed(replay=False) == set()
    assert runs.failed() == {"training-loss-replayed"}


def test_forged_history_is_found(runs) -> None:
    """All data losses halved, their sums consistent, the record sealed again: every stage disagrees."""
    run_id = runs.names("sparse")[0]
    runs.edit_table(run_id, HISTORY, lambda table: scale_loss(table, table["epoch"] > 0, 0.5))
    (finding,) = (finding for finding in runs.audit().findings if finding.severity == "error")
    assert (finding.check, finding.run_id, finding.data["count"]) == ("training-loss-replayed", run_id, 5)


def test_loss_on_other_cases_than_planned_is_found(runs) -> None:
    """A network whose loss was taken on other training cases than the plan has is found, whatever else is."""
    planned = runs.plan.runs[0]

    def edit(plan: dict) -> None:
        plan["runs"][0].update(train=[*planned.validation, *planned.train[1:]], validation=planned.train[:1])

    runs.edit_plan(edit)
    assert "training-loss-replayed" in runs.failed()


def unchecked(runs) -> set[str]:
    """Why the training loss was not looked at."""
    findings = [finding for finding in runs.audit().findings if finding.check == "training-loss-replayed"]
    assert {finding.severity for finding in findings} <= {"unchecked"}
    return {finding.message for finding in findings}


def test_loss_over_batches_is_unchecked(runs) -> None:
    """With more cuts than a batch has rows the network changes within an epoch; as many are one step."""
    cuts = runs.plan.dataset.cuts
    runs.edit_plan(lambda plan: plan["experiment"]["dense"].update(batch=cuts))
    assert unchecked(runs) == set()
    runs.edit_plan(lambda plan: plan["experiment"]["dense"].update(batch=cuts - 1))
    assert unchecked(runs) == {f"{cuts} cuts in batches of {cuts - 1}: the loss of an epoch is no single network's"}


def test_history_without_an_epoch_to_look_at_is_unchecked(runs) -> None:
    """A stage without a later epoch says nothing, as long as another does; if none does, that is said."""
    run_id = runs.names("sparse")[0]
    runs.edit_table(run_id, HISTORY, lambda table: table[(table["epoch"] < 4) | (table["stage"] == 0)])
    assert unchecked(runs) == set()
    runs.edit_table(run_id, HISTORY, lambda table: table[table["epoch"].isin((2, 3))])
    assert unchecked(runs) == {"no epoch of history.csv begins with a network that was kept"}


# --- deployed-equals-masked -----------------------------------------------------------------------------------------


def test_deployed_network_that_differs_is_found(runs) -> None:
    """A neuron removed without folding its constant into the next bias: other outputs, and a finding."""
    run_id = runs.names("sparse")[0]
    path = runs.folder(run_id) / DEPLOYED
    small = without_neuron(checkpoint.read(path), 2)
    checkpoint.write(path, small)
    runs.redigest(run_id)
    assert runs.failed() == {"deployed-equals-masked"}


def test_deployed_network_has_widths_of_its_own(runs) -> None:
    """What counts are its outputs: one that differs by a neuron which nothing reads is the same network."""
    run_id = runs.names("sparse")[0]
    path = runs.folder(run_id) / DEPLOYED
    checkpoint.write(path, with_neuron(checkpoint.read(path)))
    runs.redigest(run_id)
    assert runs.failed() == set()


def test_missing_deployed_network_is_found(runs) -> None:
    """A sparse run has to have one; the first version, which holds no mask, has none."""
    for variant in ("sparse", "first-version"):
        assert (runs.folder(runs.names(variant)[0]) / DEPLOYED).exists() == (variant == "sparse")
    run_id = runs.names("sparse")[0]
    (runs.folder(run_id) / DEPLOYED).unlink()
    runs.edit_record(run_id, lambda record: record["files"].pop(DEPLOYED))
    assert runs.failed() == {"digests"}


def without_neuron(network: Checkpoint, index: int) -> Checkpoint:
    """The network without neuron `index` of its first hidden layer, and without what that neuron added."""
    assert network.masks is not None
    left = np.delete(np.arange(network.weights[0].shape[0]), index)

    def cut(arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return (arrays[0][left], arrays[1][:, left], *arrays[2:])

    biases = (network.biases[0][left], *network.biases[1:])
    return Checkpoint(cut(network.weights), biases, cut(network.masks), {})


def with_neuron(network: Checkpoint) -> Checkpoint:
    """The network with one more neuron in its first hidden layer, which nothing reads."""
    assert network.masks is not None
    weights, masks = list(network.weights), list(network.masks)
    weights[0] = np.vstack([weights[0], weights[0][:1]])
    weights[1] = np.hstack([weights[1], np.zeros_like(weights[1][:, :1])])
    masks[0] = np.vstack([masks[0], masks[0][:1]])
    masks[1] = np.hstack([masks[1], np.zeros_like(masks[1][:, :1])])
    biases = (np.append(network.biases[0], np.float32(0.3)), *network.biases[1:])
    return Checkpoint(tuple(weights), biases, tuple(masks), {})
