"""Baselines are recomputed: a handicapped opponent is a finding."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from spinn.record import BASELINES
from spinn.storage import digest_file
from verify.laws import Law


def edit_fold(runs, name: str, edit) -> None:
    """Change the first fold of a baseline."""
    path = runs.path / BASELINES / f"{name}.json"
    content = json.loads(path.read_text())
    edit(content["folds"][0])
    path.write_text(json.dumps(content))


def edit_predictions(runs, name: str, edit) -> None:
    """Change a baseline's predictions, digest included."""
    path = runs.path / BASELINES / f"{name}.csv"
    edit(pd.read_csv(path, dtype={"case": str})).to_csv(path, index=False, lineterminator="\n")
    content = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(content | {"predictions_digest": digest_file(path)}))


def test_missing_baseline_is_found(runs) -> None:
    """Every planned baseline is there."""
    (runs.path / BASELINES / "wear-law.json").unlink()
    assert runs.failed() == {"baselines-recomputed"}


@pytest.mark.parametrize("name", ["mean", "wear-law"])
@pytest.mark.parametrize("suffix", [".json", ".csv"])
@pytest.mark.parametrize("content", [b"", b"\xff", b"{}"])
def test_broken_baseline_is_found(runs, name: str, suffix: str, content: bytes) -> None:
    """A file that cannot be read is a finding."""
    (runs.path / BASELINES / (name + suffix)).write_bytes(content)
    assert runs.failed() == {"baselines-recomputed"}


def test_mean_of_other_cases_is_found(runs) -> None:
    """The mean is that of the training cases."""
    edit_fold(runs, "mean", lambda fold: fold["coefficients"].update(VB=fold["coefficients"]["VB"] * 1.001))
    assert runs.failed() == {"baselines-recomputed"}


def test_badly_fitted_law_is_found(runs) -> None:
    """Coefficients that are not the least-squares ones make a weak opponent, whatever they predict."""
    edit_fold(runs, "wear-law", lambda fold: fold["coefficients"].update(a=fold["coefficients"]["a"] + 0.1))
    assert runs.failed() == {"baselines-recomputed"}


@pytest.mark.parametrize("name", ["mean", "wear-law"])
def test_edited_prediction_is_found(runs, name: str) -> None:
    """A baseline predicts what its coefficients give."""
    edit_predictions(runs, name, lambda table: table.assign(prediction=table["prediction"] * 1.001))
    assert runs.failed() == {"baselines-recomputed"}


def test_cut_predictions_are_found(runs) -> None:
    """A baseline predicts every test cut."""
    edit_predictions(runs, "mean", lambda table: table.iloc[1:])
    assert runs.failed() == {"baselines-recomputed"}


def test_baseline_fitted_on_test_cases_is_found(runs) -> None:
    """A baseline is held out from its test cases too."""
    edit_fold(runs, "wear-law", lambda fold: fold["train"].append(fold["test"][0]))
    assert runs.failed() == {"baselines-recomputed"}


def test_own_fit_recovers_known_coefficients() -> None:
    """Without noise the least sum of squares is zero, from a distant start too."""
    random = np.random.default_rng(3)
    columns = {
        "time": random.uniform(1, 40, 60),
        "DOC": random.choice([0.75, 1.5], 60),
        "feed": random.choice([0.25, 0.5], 60),
        "steel": random.choice([0.0, 1.0], 60),
        "VB": np.zeros(60),
    }
    truth = np.array([-5.06, 0.63, 0.38, 1.46])
    columns["VB"] = Law.of(columns, np.arange(60)).wear(truth)
    law = Law.of(columns, np.arange(60))
    assert law.squares(truth) == 0
    assert law.least_squares(np.zeros(4)) == pytest.approx(0, abs=1e-12)
    grown = np.append(truth, 1.3)
    columns["VB"] = Law.of(columns, np.arange(60), growth=True).wear(grown)
    law = Law.of(columns, np.arange(60), growth=True)
    assert law.squares(grown) == 0
    assert law.least_squares(np.append(truth, 0.0)) == pytest.approx(0, abs=1e-12)


def test_slopes_of_the_law_are_its_derivatives() -> None:
    """Central differences, with growth near 0, where a series takes over, and well above."""
    random = np.random.default_rng(4)
    columns = {name: random.uniform(0.2, 1.5, 20) for name in ("DOC", "feed", "steel", "VB")}
    columns["time"] = random.uniform(1, 40, 20)
    law = Law.of(columns, np.arange(20), growth=True)
    for growth in (1e-6, 0.05, 2.0):
        at, step = np.array([-5.0, 0.6, 0.4, 1.4, growth]), 1e-7
        for place, column in enumerate(law._slope(at).T):
            shift = step * (np.arange(5) == place)
            difference = (law.wear(at + shift) - law.wear(at - shift)) / (2 * step)
            assert column == pytest.approx(difference, rel=1e-4, abs=1e-7)
