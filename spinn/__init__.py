"""SPINN: a sparse physics-informed network for flank wear and thermal displacement of a milling tool.

The system: it computes, and writes records. Public names resolve when first used (PEP 562): importing the package, or
one of its modules, loads no other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinn.checkpoint import Checkpoint
    from spinn.config import Experiment
    from spinn.data import Dataset, load
    from spinn.errors import SpinnError
    from spinn.masks import Enforcer, Masks
    from spinn.model import Network
    from spinn.physics import Coefficients
    from spinn.pruning import global_magnitude
    from spinn.record import Plan, Record
    from spinn.schedule import Criteria, Stage, judge, plan, solve, suggest
    from spinn.step import FitSettings
    from spinn.training import fit

_HOME = {
    "Checkpoint": "checkpoint",
    "Coefficients": "physics",
    "Criteria": "schedule",
    "Dataset": "data",
    "Enforcer": "masks",
    "Experiment": "config",
    "FitSettings": "step",
    "Masks": "masks",
    "Network": "model",
    "Plan": "record",
    "Record": "record",
    "SpinnError": "errors",
    "Stage": "schedule",
    "fit": "training",
    "global_magnitude": "pruning",
    "judge": "schedule",
    "load": "data",
    "plan": "schedule",
    "solve": "schedule",
    "suggest": "schedule",
}

__all__ = [
    "Checkpoint",
    "Coefficients",
    "Criteria",
    "Dataset",
    "Enforcer",
    "Experiment",
    "FitSettings",
    "Masks",
    "Network",
    "Plan",
    "Record",
    "SpinnError",
    "Stage",
    "fit",
    "global_magnitude",
    "judge",
    "load",
    "plan",
    "solve",
    "suggest",
]


def __getattr__(name: str) -> Any:
    """Import the module that holds `name`, on first use."""
    if name in _HOME:
        return getattr(import_module(f"spinn.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
