"""What a check says: a finding, and the verdict over many of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "note", "unchecked"]
LISTED = 20  # faults of one check that its finding lists; the rest are counted


@dataclass(frozen=True)
class Finding:
    """One statement of one check about one run (or about the whole folder, `run_id` None).

    `error`: the fact does not hold. `unchecked`: it could not be looked at, the message says why. `note`: worth
    knowing, changes no verdict.
    """

    check: str
    severity: Severity
    message: str
    run_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The finding as `--json` prints it."""
        stated = {"check": self.check, "severity": self.severity, "message": self.message}
        return stated | ({} if self.run_id is None else {"run_id": self.run_id}) | {"data": self.data}


@dataclass(frozen=True)
class Verdict:
    """All findings of an audit; `expected` are those an experiment declared: they do not count against it."""

    findings: tuple[Finding, ...]
    expected: tuple[Finding, ...] = ()

    @property
    def holds(self) -> bool:
        """True if no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def exit_status(self) -> int:
        """0 it holds, 1 it does not."""
        return 0 if self.holds else 1

    def as_json(self) -> dict[str, Any]:
        """The verdict as `--json` prints it."""
        return {
            "holds": self.holds,
            "findings": [finding.as_json() for finding in self.findings],
            "expected": [finding.as_json() for finding in self.expected],
        }
