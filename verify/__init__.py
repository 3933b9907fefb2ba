"""The judge: audits folders of runs, anyone's checkpoints, and training as it happens; trusts nothing in them.

Public names resolve when first used (PEP 562): importing the package, or one of its modules, loads no other.
`audit` and `strategies` are modules: `verify.audit.audit(runs)`, `verify.strategies.weights(shape)`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verify import audit, strategies
    from verify.checkpoints import audit_files, audit_states
    from verify.findings import Finding, Verdict
    from verify.watching import PruningFaultError, watch

_HOME = {
    "Finding": "findings",
    "PruningFaultError": "watching",
    "Verdict": "findings",
    "audit_files": "checkpoints",
    "audit_states": "checkpoints",
    "watch": "watching",  # a module of that name would hide the function
}
_MODULES = ("audit", "strategies")

__all__ = ["Finding", "PruningFaultError", "Verdict", "audit", "audit_files", "audit_states", "strategies", "watch"]


def __getattr__(name: str) -> Any:
    """Import the module that holds `name`, on first use."""
    if name in _MODULES:
        return import_module(f"verify.{name}")
    if name in _HOME:
        return getattr(import_module(f"verify.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
