"""The judge: audits folders of runs, anyone's checkpoints, and training as it happens; trusts nothing in them.

Public names resolve when first used (PEP 562): importing the package, or one of its modules, loads no other.
`audit` is the module; the audit of a folder is `verify.audit.audit(runs)`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verify import audit
    from verify.findings import Finding, Verdict

_HOME = {"Finding": "findings", "Verdict": "findings"}

__all__ = ["Finding", "Verdict", "audit"]


def __getattr__(name: str) -> Any:
    """Import the module that holds `name`, on first use."""
    if name == "audit":
        return import_module("verify.audit")
    if name in _HOME:
        return getattr(import_module(f"verify.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
