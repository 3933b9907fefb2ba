"""Entries that are not finite: which are faults, and which a network may have on purpose.

Knows tensors by name; where they come from, and what is ignored, it is told.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np

# What an observer of torch.ao.quantization holds before its first batch.
_UNSEEN = {"min_val": np.inf, "max_val": -np.inf}


def faults_and_notes(
    tensors: Mapping[str, np.ndarray], ignored: Container[str], weights: Container[str] = ()
) -> tuple[dict[str, int], dict[str, int]]:
    """How many entries of tensors are not finite: faults, and what is worth a note only.

    A NaN is a fault wherever it is. An inf is none in a tensor that is ignored, in a mask that is added (a matrix of 0
    and −inf, which no weight is), and in an observer of torch.ao.quantization that has seen nothing yet.

    Args:
        tensors: Tensors of numbers by name; whole ones are always finite.
        ignored: Names of tensors in which inf is meant.
        weights: Names of tensors that are no masks, whatever they look like.

    Returns:
        Name → number of entries, twice.
    """
    faults: dict[str, int] = {}
    notes: dict[str, int] = {}
    for name, tensor in tensors.items():
        count = int(np.count_nonzero(~np.isfinite(tensor)))
        if count:
            added = is_added(tensor) and name not in weights
            meant = (name in ignored or added or _is_unseen(name, tensor)) and not np.isnan(tensor).any()
            (notes if meant else faults)[name] = count
    return faults, notes


def is_added(tensor: np.ndarray) -> bool:
    """Whether it is 0 where attention may look, and −inf where not."""
    lowest = tensor == -np.inf
    return tensor.ndim >= 2 and bool(lowest.any() and (lowest | (tensor == 0)).all())


def _is_unseen(name: str, tensor: np.ndarray) -> bool:
    leaf = name.rpartition(".")[2]
    return leaf in _UNSEEN and bool((tensor == _UNSEEN[leaf]).all())
