"""Whether a cut went through weights of equal magnitude, so that something else than magnitude decided which went.

Compares what a stage removed and what it kept by the magnitudes of the state before; works on finite values only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from verify.findings import Finding
from verify.stages import Stage, Weight


@dataclass(frozen=True)
class _Cut:
    """Magnitudes of a layer's weights that went, and of those that stayed."""

    gone: np.ndarray
    left: np.ndarray


def ties(before: Stage, stage: Stage) -> Iterator[Finding]:
    """Ties at the threshold of a stage: of the cut over all layers, or where that is clean, of each layer's own.

    A layer whose shape has changed takes no part, nor does one whose masks are not in the file.
    """
    pairs = {name: (before.weights[name], weight) for name, weight in stage.weights.items()}
    cuts = {name: _cut(old, new) for name, (old, new) in pairs.items() if _comparable(old, new)}
    threshold = _threshold(cuts)
    if threshold is not None:
        yield _tie(stage, "the cut", threshold, cuts)
        return
    for name, cut in cuts.items():
        threshold = _threshold({name: cut})
        if threshold is not None:
            yield _tie(stage, f"the cut of {name}", threshold, {name: cut})


def _comparable(old: Weight, new: Weight) -> bool:
    return old.kept.shape == new.kept.shape and old.known and new.known


def _cut(old: Weight, new: Weight) -> _Cut:
    with np.errstate(over="ignore"):
        magnitudes = np.abs(old.used)
    finite = np.isfinite(magnitudes)
    return _Cut(magnitudes[old.kept & ~new.kept & finite], magnitudes[old.kept & new.kept & finite])


def _threshold(cuts: Mapping[str, _Cut]) -> float | None:
    """The magnitude that is both the largest of those that went and the smallest of those that stayed."""
    gone = [cut.gone.max() for cut in cuts.values() if cut.gone.size]
    left = [cut.left.min() for cut in cuts.values() if cut.left.size]
    # otherwise there is no tie, or a choice that is not by the magnitudes of this state
    return float(max(gone)) if gone and left and max(gone) == min(left) else None


def _tie(stage: Stage, cut: str, threshold: float, cuts: Mapping[str, _Cut]) -> Finding:
    layers = {name: [int((cut.gone == threshold).sum()), int((cut.left == threshold).sum())]
              for name, cut in cuts.items()}  # fmt: skip
    tied = {name: counts for name, counts in layers.items() if sum(counts)}
    shares = ", ".join(f"{name} {counts[0]} of {sum(counts)}" for name, counts in tied.items())
    message = f"{stage.name}: {cut} goes through weights of equal magnitude {threshold:.6g}; pruned of them: {shares}"
    return Finding("ties", "note", message, data={"stage": stage.number, "magnitude": threshold, "layers": tied})
