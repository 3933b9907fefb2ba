"""The wear law with four coefficients as a tool's labels come in: fitted again, or only its rate rescaled.

The rivals of an adapted network. Knows frames of cuts; nothing of networks or files.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from spinn.data.dataset import Dataset
from spinn.online import Tool
from spinn.record import AdaptationMethod, LawFit
from spinn.wear_laws import fit_wear_law, wear_law

Update = Callable[[pd.DataFrame, pd.DataFrame], tuple[np.ndarray, float]]


def refitted(others: pd.DataFrame, own: pd.DataFrame) -> tuple[np.ndarray, float]:
    """Least-squares coefficients over all cases but the held-out ones and the tool's labels so far, rows alike."""
    return fit_wear_law(pd.concat([others, own])), 1.0


def rescaled(others: pd.DataFrame, own: pd.DataFrame) -> tuple[np.ndarray, float]:
    """The law of all cases but the held-out ones, and the one factor on it that the tool's labels so far give.

    Least squares, in closed form: Σ law·VB / Σ law². 1 before the first label.
    """
    coefficients = fit_wear_law(others)
    law, measured = wear_law(own, coefficients), own["VB"].to_numpy()
    squares = float(law @ law)
    return coefficients, float(law @ measured) / squares if squares > 0 else 1.0


UPDATES: dict[AdaptationMethod, Update] = {"refitted-law": refitted, "rescaled-law": rescaled}


def follow(tool: Tool, dataset: Dataset, update: Update) -> tuple[np.ndarray, list[LawFit]]:
    """Flank wear (mm) predicted for every cut of a tool, `[cuts]`, and the law after each number of labels."""
    frame = dataset.frame
    others, own = frame[~frame["case"].isin(tool.run.test)], frame.iloc[tool.rows]
    predicted, laws = np.empty(len(own)), []
    for labels in range(tool.labels + 1):
        known = own[(tool.seen < labels) & own["VB"].notna().to_numpy()]
        coefficients, factor = update(others, known)
        a, b, c, d = map(float, coefficients)
        laws.append(
            LawFit(fold=tool.run.fold, case=tool.case, labels_seen=labels, coefficients=(a, b, c, d), factor=factor)
        )
        due = tool.seen == labels
        predicted[due] = factor * wear_law(own[due], coefficients)
    return predicted, laws
