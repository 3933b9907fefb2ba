"""The network with its correction at zero, beside the network: it is its wear law, and what is added is a number."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts import claims
from artifacts.predictors import find, predictors
from artifacts.results import Results, read
from spinn import experiment
from verify.audit import audit
from verify.faults.mutant import EXPERIMENT

CORRECTED = EXPERIMENT.replace("validation_cases = 2", "validation_cases = 0").replace("initial = 0.1", "law = 0.5")


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Real runs that correct a wear law, each trained on every case but its test cases."""
    path = tmp_path_factory.mktemp("corrected")
    (path / "x.toml").write_text(CORRECTED.replace("seeds = [0, 1]", "seeds = [0, 1]\ncorrection = 0.3"))
    folder = experiment.run(path / "x.toml", out=path / "runs", device="cpu")
    return read(folder, audit(folder))


def test_without_its_correction_a_network_is_the_wear_law_of_its_training_cases(corrected: Results) -> None:
    """Trained on all other cases it is the baseline of that name, whatever the seed."""
    law, baseline = corrected.held_law("sparse", "VB"), corrected.held_baseline("wear-law", "VB")
    assert law is not None
    assert baseline is not None
    assert law.prediction.shape[1] == 2
    np.testing.assert_allclose(law.prediction, baseline.prediction.repeat(2, axis=1), rtol=1e-6)
    assert np.array_equal(law.case, baseline.case)
    assert corrected.held_law("sparse", "thermal") is None


def test_what_the_network_adds_is_a_difference_that_a_claim_can_be_about(corrected: Results) -> None:
    """It is a predictor of its own, in its place before the baselines, and its difference is that from the law."""
    labels = [one.label for one in predictors(corrected)]
    assert labels == ["dense", "sparse", "sparse, correction 0", "mean", "wear-law"]
    assert find(corrected, "correction-0", ["VB"]) is not None
    added, over = (claims.measure(corrected, f"r2-difference.VB.{name}") for name in ("correction-0", "wear-law"))
    assert added.value == pytest.approx(over.value, abs=1e-6)
    assert added.value != 0


def test_networks_that_correct_nothing_have_no_law(found: Results) -> None:
    """The predictor is absent, and a claim about it is not evaluated."""
    assert found.held_law("sparse", "VB") is None
    assert find(found, "correction-0", ["VB"]) is None
    assert claims.measure(found, "r2-difference.VB.correction-0").value is None
