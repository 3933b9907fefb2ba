"""Data of the project: one container, its sources, its features, its splits. Names resolve when first used.

`load(source)` reads a source, `describe(dataset)` and `card_rows(dataset)` print its data card.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinn.data.card import card_rows, describe
    from spinn.data.dataset import Dataset, Exclusion, read_canonical
    from spinn.data.sensors import relative
    from spinn.data.sources import load
    from spinn.data.splits import Fold, folds

_HOME = {
    "card_rows": "card",
    "describe": "card",
    "Dataset": "dataset",
    "Exclusion": "dataset",
    "read_canonical": "dataset",
    "relative": "sensors",
    "load": "sources",
    "Fold": "splits",
    "folds": "splits",
}

__all__ = ["Dataset", "Exclusion", "Fold", "card_rows", "describe", "folds", "load", "read_canonical", "relative"]


def __getattr__(name: str) -> Any:
    """Import the module that holds `name`, on first use (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(f"spinn.data.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
