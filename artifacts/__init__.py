"""The teller: turns audited records into tables, figures and numbers; no number is typed by hand.

Public names resolve when first used (PEP 562): importing the package, or one of its modules, loads no other.
`build` is the module; a folder of runs is turned into artifacts by `artifacts.build.build(runs, out)`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from artifacts import build

__all__ = ["build"]


def __getattr__(name: str) -> Any:
    """Import the module called `name`, on first use."""
    if name in __all__:
        return import_module(f"artifacts.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
