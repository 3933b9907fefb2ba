"""Errors of predictions against measurements: R², MAE, RMSE."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pandas as pd

from spinn.record import Metric, Split, Target


def r_squared(measured: np.ndarray, predicted: np.ndarray) -> float | None:
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)²; None where the measured values do not vary, and so explain nothing."""
    if not measured.size or measured.min() == measured.max():
        return None
    return 1.0 - float(((measured - predicted) ** 2).sum()) / float(((measured - measured.mean()) ** 2).sum())


def metrics_of(predictions: pd.DataFrame) -> tuple[Metric, ...]:
    """One metric for each stage, split and target with at least one label.

    Args:
        predictions: Rows with the columns of `spinn.record.PREDICTION_COLUMNS`; `measured` NaN where there is no label.
    """
    labelled = predictions[predictions["measured"].notna()]
    found = []
    for key, rows in labelled.groupby(["stage", "split", "target"], sort=True):
        stage, split, target = cast(tuple[int, Split, Target], key)
        measured, predicted = rows["measured"].to_numpy(), rows["prediction"].to_numpy()
        error = predicted - measured
        found.append(
            Metric(
                stage=int(stage),
                split=split,
                target=target,
                n=len(rows),
                r2=r_squared(measured, predicted),
                mae=float(np.abs(error).mean()),
                rmse=math.sqrt(float((error**2).mean())),
            )
        )
    return tuple(found)
