"""Where templates are filled: they reach what they are given and nothing else, and have no arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

if TYPE_CHECKING:
    from jinja2.runtime import Context


class Sandbox(SandboxedEnvironment):
    """Has no operator of two sides: of two letters and one product a template can make a text that fills all memory."""

    intercepted_binops = frozenset(SandboxedEnvironment.default_binop_table)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse it."""
        raise SecurityError(f"a template computes nothing, and has {operator!r}")
