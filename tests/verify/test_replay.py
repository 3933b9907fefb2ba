"""The judge's own forward pass: a closed form, and predictions that no checkpoint gives."""

from __future__ import annotations

import numpy as np

from spinn import checkpoint
from spinn.record import PREDICTIONS, Scaler
from verify.folder import Network
from verify.replay import forward, scale


def test_forward_of_a_closed_form() -> None:
    """One hidden neuron: y = 2·tanh(3x + 1) − 1."""
    ones = np.ones((1, 1), bool)
    weights, biases = (np.array([[3.0]]), np.array([[2.0]])), (np.array([1.0]), np.array([-1.0]))
    network = Network(weights, biases, (ones, ones), True, {})
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
