"""The judge's own physics: its derivative is exact, and a residual that is not the checkpoint's is found."""

from __future__ import annotations

import numpy as np
import pytest

from verify.network import Network
from verify.residuals import with_rate


def test_rate_of_a_closed_form() -> None:
    """One hidden neuron, x moving at v: d/dt (2·tanh(3x + 1) − 1) = 6·v·(1 − tanh²(3x + 1))."""
    weights, biases = (np.array([[3.0]]), np.array([[2.0]])), (np.array([1.0]), np.array([-1.0]))
    made = Network(weights, biases, (np.ones((1, 1), bool),) * 2, {})
    x, v = np.linspace(-1, 1, 5)[:, None], np.linspace(0.5, 2, 5)[:, None]
    y, rate = with_rate(made, x, v)
    np.testing.assert_allclose(y, 2 * np.tanh(3 * x + 1) - 1, rtol=1e-15)
    np.testing.assert_allclose(rate, 6 * v * (1 - np.tanh(3 * x + 1) ** 2), rtol=1e-14)


def test_rate_agrees_with_differences(random_network) -> None:
    """Through three layers the rate is the limit of differences along the way, to their own error of order h²."""
    made = random_network(4, 7, 5, 2)
    random = np.random.default_rng(5)
    x, v, h = random.normal(size=(6, 4)), random.normal(size=(6, 4)), 1e-5
    ahead, behind = (with_rate(made, x + step * v, v)[0] for step in (h, -h))
    np.testing.assert_allclose(with_rate(made, x, v)[1], (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("term", ["wear_rate", "heat", "monotone"])
def test_residual_that_is_not_the_checkpoints_is_found(runs, term: str) -> None:
    """A residual stated 1 % too small is found, and so is one that an error made zero."""
    run_id = runs.names("sparse")[0]
    for factor in (0.99, 0.0):
        runs.edit_record(run_id, lambda record, f=factor: record["stages"][1]["residuals"].update({term: f * 7.0}))
        assert runs.failed() == {"physics-recomputed"}


def test_term_without_a_residual_is_found(runs) -> None:
    """Every term that was in the loss has a residual after each stage."""
    run_id = runs.names("sparse")[0]
    runs.edit_record(run_id, lambda record: record["stages"][2]["residuals"].pop("heat"))
    assert runs.failed() == {"physics-recomputed"}


def test_coefficients_of_another_network_are_found(runs) -> None:
    """Residuals belong to the law's coefficients too: with others in checkpoint and record they do not follow."""
    run_id = runs.names("sparse")[0]
    before = runs.record(run_id).stages[2].residuals

    def edit(record: dict) -> None:
        record["stages"][2]["coefficients"]["a"] += 0.5
        record["stages"][2]["residuals"] = before

    runs.edit_network(run_id, 2, lambda network: network.coefficients.update(a=network.coefficients["a"] + 0.5))
    runs.edit_record(run_id, edit)
    assert runs.failed() == {"physics-recomputed"}
