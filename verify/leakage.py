"""Labels that were never measured: a target that an input, another target, or a linear mix of inputs determines.

Works on dataset.csv; fits by least squares, by ranks, and by interpolation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import rankdata

from verify.folder import Data, Fault, Folder, UnavailableError

UNEXPLAINED = 1e-4
"""Share of a target's variance below which it counts as determined: a label rounded to two or three digits still is.
A measured one stays far above it: of the wear of the simulator and of the NASA set a linear mix of all inputs leaves
more than 0.05 unexplained, of the simulator's thermal displacement more than 0.001."""
ROUGHEST = 1e-3
"""Share of a target's variance that interpolation along one input may leave of a function of it. Cuts of three or more
conditions leave more than 0.01 of the real wear and of the simulator's, noise or none, and all cuts together more than
0.5; smooth functions leave 1e-5, rounded to a fiftieth of their range 5e-4."""
FEWEST_CONDITIONS = 3  # of DOC, feed and material: tools in the same ones wear and warm alike, as a function of time
FEWEST = 10  # rows, and values, below which one column may follow another by chance
ROWS_PER_COLUMN = 2  # a mix of nearly as many columns as there are rows fits anything


def targets_measured(folder: Folder) -> Iterator[Fault]:
    """No measured target is determined by a feature, by the other target, or by a linear mix of the features."""
    data, untold = folder.dataset, []
    for target in folder.plan.dataset.targets:
        label = data.columns[target]
        others = [name for name in ("VB", "thermal") if name != target and name in folder.plan.dataset.targets]
        single, varied = False, _conditions(data, label) >= FEWEST_CONDITIONS
        for name in dict.fromkeys((*folder.plan.dataset.features, *others)):
            how = _determined(data.columns[name], label, ranked=varied or name != "time", smooth=varied)
            if how:
                single = True
                yield Fault(f"target {target} is {how} of {name!r}: it was computed, not measured",
                            {"target": target, "input": name})  # fmt: skip
        share, mix = _linear([data.columns[name] for name in folder.plan.dataset.features], label)
        if share is None:
            untold.append(target)
        elif not single and share < UNEXPLAINED:
            strongest = [folder.plan.dataset.features[index] for index in np.argsort(-np.abs(mix))[:5]]
            yield Fault(
                f"target {target} is a linear mix of the inputs, mainly {', '.join(strongest)}: all but {share:.2g} of "
                "its variance; it was computed, not measured",
                {"target": target, "unexplained": share, "inputs": strongest},
            )
    if untold:
        raise UnavailableError(
            f"too few labels of {' and '.join(untold)} to tell whether a linear mix of "
            f"{len(folder.plan.dataset.features)} inputs gives them; one input each was looked at"
        )


def _conditions(data: Data, label: np.ndarray) -> int:
    """How many combinations of depth of cut, feed and material there are labels of."""
    settings = np.stack([data.columns[name] for name in ("DOC", "feed", "steel")], axis=1)
    return len(np.unique(settings[np.isfinite(label)], axis=0))


def _determined(column: np.ndarray, label: np.ndarray, *, ranked: bool, smooth: bool) -> str:
    """How `column` alone determines `label`, in words; empty if it does not. Ranks and smoothness are asked for."""
    known = np.isfinite(column) & np.isfinite(label)
    x, y = column[known], label[known]
    if len(y) < FEWEST or len(np.unique(x)) < FEWEST or len(np.unique(y)) < FEWEST:
        return ""
    share, mix = _linear([x], y)
    if share is not None and share < UNEXPLAINED:
        offset = float((y - mix[0] * x).mean())
        return f"{mix[0]:.6g} times" if abs(offset) < 1e-3 * np.ptp(y) else f"{offset:.6g} plus {mix[0]:.6g} times"
    if ranked and abs(np.corrcoef(rankdata(x), rankdata(y))[0, 1]) > 1 - 1e-9:
        return "a monotone function"
    return "a smooth function" if smooth and _roughness(x, y) < ROUGHEST else ""


def _roughness(x: np.ndarray, y: np.ndarray) -> float:
    """Share of the variance of `y` that is left when each value is interpolated between its neighbours along `x`.

    These are the pseudo-residuals by which Gasser, Sroka and Jennen-Steinmetz (Biometrika 73, 1986, 625–633) estimate
    the noise about a smooth function of unknown form; up to 1.5 on average if `y` has nothing to do with `x`.
    Equal `x` are one neighbour, with the mean of their `y`. The two ends have one neighbour only, and are left out.
    """
    levels, place = np.unique(x, return_inverse=True)
    means = np.bincount(place, y) / np.bincount(place)
    ahead = (levels[1:-1] - levels[:-2]) / (levels[2:] - levels[:-2])
    between = means[:-2] + ahead * (means[2:] - means[:-2])
    inner = (place > 0) & (place < len(levels) - 1)
    y, error = y[inner], y[inner] - between[place[inner] - 1]
    return float((error**2).mean() / y.var()) if np.ptp(y) > 0 else np.inf


def _linear(columns: list[np.ndarray], label: np.ndarray) -> tuple[float | None, np.ndarray]:
    """Share of the variance of `label` that the best mix of `columns` and a constant leaves, and that mix.

    None where it cannot be told, for want of rows; 1 of a constant label. Coefficients are of the columns as they
    come; a constant column has 0, and so has one that is missing at every other label.
    """
    labelled = np.isfinite(label)
    columns = [column if np.isfinite(column[labelled]).mean() > 0.5 else np.zeros_like(column) for column in columns]
    known = labelled & np.all([np.isfinite(column) for column in columns], axis=0)
    x, y = np.stack(columns, axis=1)[known], label[known]
    mix = np.zeros(len(columns))
    if len(y) < max(FEWEST, ROWS_PER_COLUMN * (len(columns) + 1)):
        return None, mix
    if np.ptp(y) == 0:
        return 1.0, mix
    centred, scale = x - x.mean(0), x.std(0)
    moving = scale > 1e-12 * np.maximum(np.abs(x).max(0), 1e-300)
    y = y - y.mean()
    scaled = centred[:, moving] / scale[moving]
    solved = np.linalg.lstsq(scaled, y, rcond=None)[0]
    mix[moving] = solved / scale[moving]
    return float(((y - scaled @ solved) ** 2).sum() / (y**2).sum()), mix
