"""Every named fault, run the whole way, and which checks of the audit catch it.

A mutant is planned, trained, pruned and recorded with its fault in place, on a tiny network; then the audit, which
knows nothing of the fault, judges the folder with replay. The faults are in `verify/faults/`.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spinn.errors import SpinnError
from verify.audit import audit
from verify.faults import adaptation, arithmetic, data, pruning, records, training
from verify.faults.mutant import Mutant

REFUSED = "refused"  # the system itself stopped with a clear error, before there was anything to audit
_CRASHES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""A mutant that ends so was not caught, but does not fit the system any more; the others are run all the same."""

MUTANTS: tuple[Mutant, ...] = (
    Mutant("none", None, list),
    *arithmetic.FAULTS,
    *pruning.FAULTS,
    *data.FAULTS,
    *training.FAULTS,
    *records.FAULTS,
    *adaptation.FAULTS,
)


@dataclass(frozen=True)
class Outcome:
    """The checks that found an error in a mutant's records."""

    mutant: Mutant
    caught_by: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """True if the expected check is among them; for the control, if none is."""
        return self.mutant.expected in self.caught_by if self.mutant.expected else not self.caught_by

    def as_json(self) -> dict[str, Any]:
        """The outcome as `--json` prints it."""
        return {"name": self.mutant.name, "expected": self.mutant.expected, "caught_by": list(self.caught_by)}


def run(mutants: Sequence[Mutant] | None = None) -> Iterator[Outcome]:
    """Run `mutants` (all of them by default) one after another, on one thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for mutant in MUTANTS if mutants is None else mutants:
            with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
                yield Outcome(mutant, _caught_by(mutant, Path(folder)))
    finally:
        torch.set_num_threads(threads)


def _caught_by(mutant: Mutant, folder: Path) -> tuple[str, ...]:
    path = folder / "mutant.toml"
    path.write_text(mutant.experiment)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        for patch in mutant.patches():
            stack.enter_context(patch)
        try:
            mutant.drive(path, folder / "runs")
        except SpinnError:
            return (REFUSED,)
        except _CRASHES as error:
            return (f"crashed: {type(error).__name__}",)
    findings = audit(folder / "runs", replay=True).findings
    return tuple(dict.fromkeys(finding.check for finding in findings if finding.severity == "error"))
