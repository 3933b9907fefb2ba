"""Errors of predictions: closed forms and invariances."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinn.metrics import metrics_of, r_squared
from spinn.record import PREDICTION_COLUMNS

values = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20).map(np.array)


@given(values)
def test_a_perfect_prediction_has_r2_one_and_the_mean_has_zero(measured):
    """R² is 1 for the measurements themselves and 0 for their mean, and undefined where they do not vary."""
    if np.ptp(measured) < 1e-6:
        measured = np.zeros_like(measured)
        assert r_squared(measured, measured) is None
        return
    assert r_squared(measured, measured) == 1.0
    assert r_squared(measured, np.full_like(measured, measured.mean())) == pytest.approx(0.0, abs=1e-9)


def test_r2_does_not_depend_on_the_unit():
    """Measuring in µm instead of mm changes no R²."""
    generator = np.random.default_rng(0)
    measured, predicted = generator.normal(size=(2, 30))
    assert r_squared(1000 * measured, 1000 * predicted) == pytest.approx(r_squared(measured, predicted))


def test_metrics_leave_unlabelled_cuts_out_and_keep_stages_and_splits_apart():
    """Each stage, split and target is counted by itself, and a cut without a label is in none."""
    rows = [
        (0, "test", "1", 1, 1.0, "VB", 0.1, 0.2),
        (0, "test", "1", 2, 2.0, "VB", 0.3, 0.2),
        (0, "test", "1", 3, 3.0, "VB", math.nan, 9.0),
        (1, "test", "1", 1, 1.0, "VB", 0.1, 0.1),
        (0, "train", "2", 1, 1.0, "VB", 0.5, 0.1),
    ]
    found = {(m.stage, m.split): m for m in metrics_of(pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS)))}
    assert set(found) == {(0, "test"), (1, "test"), (0, "train")}
    test = found[0, "test"]
    assert (test.n, test.mae, test.rmse) == (2, pytest.approx(0.1), pytest.approx(0.1))
    assert test.r2 == pytest.approx(0.0)
    assert found[0, "train"].r2 is None
    assert found[1, "test"].mae == 0.0
