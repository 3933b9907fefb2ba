"""Networks that correct a wear law, judged: real runs hold; another law, a selection or a loss from nowhere fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from spinn import experiment
from spinn.record import HISTORY
from verify.audit import audit
from verify.faults.mutant import EXPERIMENT
from verify.head import Head

CORRECTED = (
    EXPERIMENT.replace("validation_cases = 2", "validation_cases = 0")
    .replace("initial = 0.1", "law = 0.5")
    .replace('data = "simulator"', 'data = "simulator"\nsensors = "relative"\ncorrection = 0.3')
    + """
[[variants]]
name = "neurons"
pruner = "neurons-first-order"
physics = { law = 2.0, wear_rate = 0.1, monotone = 0.1 }
target = {}
stages = [{ ratio = "0.4", epochs = 2, learning_rate = 5e-3 }]
"""
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real runs, each trained on every case but its test cases."""
    path = tmp_path_factory.mktemp("corrected")
    (path / "corrected.toml").write_text(CORRECTED)
    return experiment.run(path / "corrected.toml", out=path / "runs", device="cpu")


@pytest.fixture
def corrected(trained: Path, tmp_path: Path, runs_in):
    """A copy of them, to break."""
    shutil.copytree(trained, tmp_path / "runs")
    return runs_in(tmp_path / "runs")


def test_real_runs_hold(trained: Path) -> None:
    """Predictions, losses, residuals, scores of neurons and the law itself are what the judge computes."""
    verdict = audit(trained, replay=True)
    assert [finding.message for finding in verdict.findings if finding.severity == "error"] == []
    assert verdict.holds


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda law: law.update(a=law["a"] + 0.1), "scaler-on-train-only"),
        (lambda law: law.update(correction=0.4), "scaler-on-train-only"),
        (lambda law: law.update(a=law["a"] + 0.1), "predictions-replayed"),
        (lambda law: law.update(correction=0.4), "physics-recomputed"),
    ],
    ids=["law", "share", "predictions", "residuals"],
)
def test_another_law_than_the_fitted_one_is_found(corrected, edit, found: str) -> None:
    """A coefficient or a share that training did not have."""
    corrected.edit_record(corrected.names("sparse")[0], lambda record: edit(record["scaler"]["law"]))
    assert found in corrected.failed()


def test_a_law_that_is_missing_is_found(corrected) -> None:
    """The plan has a correction, the record no law."""
    corrected.edit_record(corrected.names("sparse")[0], lambda record: record["scaler"].update(law=None))
    assert "scaler-on-train-only" in corrected.failed()


@pytest.mark.parametrize(
    "edit",
    [
        lambda stage: stage.update(selected_epoch=stage["epochs_run"] - 1),
        lambda stage: stage.update(selected_loss=0.1),
        lambda stage: stage.update(selected_by="test"),
        lambda stage: stage.update(selected_by="validation"),
    ],
    ids=["epoch", "loss", "by test", "by validation"],
)
def test_a_selection_without_validation_cases_is_found(corrected, edit) -> None:
    """Nothing but the last epoch can have been kept."""
    corrected.edit_record(corrected.names("sparse")[0], lambda record: edit(record["stages"][0]))
    assert "selection-not-on-test" in corrected.failed()


def test_a_validation_loss_without_validation_cases_is_found(corrected) -> None:
    """It would be of cases that were trained on or tested."""
    corrected.edit_table(corrected.names("sparse")[0], HISTORY, lambda table: table.assign(validation_loss=0.1))
    assert corrected.failed() == {"selection-not-on-test"}


def test_slope_and_rates_are_derivatives() -> None:
    """Of what outputs mean, by central differences; outputs, law and time move at once."""
    law, step = np.linspace(0.1, 0.8, 7), 1e-6
    outputs, speed = np.random.default_rng(0).normal(size=(2, 7, 2))
    law_rate, mean, scale = np.linspace(0.02, 0.05, 7), np.array([0.3, 5.0]), np.array([0.2, 3.0])

    def at(time: float, *, moving: bool = True) -> np.ndarray:
        head = Head(mean, scale, law + time * law_rate * moving, 0.3)
        return head.targets(outputs + time * speed)

    head = Head(mean, scale, law, 0.3)
    np.testing.assert_allclose(head.rates(outputs, speed, law_rate), (at(step) - at(-step)) / (2 * step), rtol=1e-6)
    still = (at(step, moving=False) - at(-step, moving=False)) / (2 * step) / scale
    np.testing.assert_allclose(head.slope(outputs) * speed, still, rtol=1e-6)
    np.testing.assert_allclose(head.standardised(outputs) * scale + mean, at(0), rtol=1e-12)


@pytest.mark.parametrize("law", [None, np.array([0.1, 0.4, 0.0])], ids=["plain", "correcting"])
def test_what_the_head_says_of_slopes_agrees_with_differences(law) -> None:
    """Of targets by outputs, and of rates by outputs while the outputs' rates stay."""
    head = Head(np.array([0.3, 20.0]), np.array([0.2, 8.0]), law, 0.3)
    outputs, rates = np.array([[0.4, -1.0], [-0.7, 0.3], [1.5, 2.0]]), np.array([[0.2, 1.0], [-0.4, 0.1], [0.6, -2.0]])
    law_rate, h = np.array([0.02, 0.05, 0.01]), 1e-6
    for column in range(2):
        step = np.zeros(2)
        step[column] = h
        by_targets = (head.targets(outputs + step) - head.targets(outputs - step))[:, column] / (2 * h)
        assert head.slope(outputs)[:, column] * head.scale[column] == pytest.approx(by_targets, rel=1e-7, abs=1e-9)
        ahead, behind = (head.rates(outputs + sign * step, rates, law_rate)[:, column] for sign in (1, -1))
        found = head.rates_by_output(outputs, rates, law_rate)[:, column]
        assert found == pytest.approx((ahead - behind) / (2 * h), rel=1e-6, abs=1e-9)
