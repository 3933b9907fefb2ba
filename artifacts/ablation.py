"""The ablation of the physics weights: runs of an experiment of its own, whose table by settings these runs print too.

It is audited like any folder of runs, and has to be of the same data. Its files and sources go by `ablation/`, wherever
the folder lies. Knows captions, notes and sources; the tables are those of `artifacts.search` and `artifacts.costs`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from artifacts import costs, search
from artifacts.beside import ABLATION, grouped, traced
from artifacts.render import Table
from artifacts.report import verdict_line
from artifacts.results import read
from spinn.errors import InputError
from spinn.record import PLAN, Plan
from verify.audit import audit

ENVIRONMENT = "ablation-environment"


@dataclass(frozen=True)
class Ablation:
    """The table of a folder of runs, with the name of their experiment in its caption, their machine, and the files."""

    made: tuple[Table, ...]
    groups: dict[str, dict[str, str]]

    @classmethod
    def read(cls, runs: Path, plan: Plan) -> Ablation:
        """Audit and read a folder of runs, to be printed beside runs with this `plan`.

        Raises:
            RefusedError: its audit found an error.
            RecordError: a file in it cannot be read as what it should be.
            InputError: its runs are of other data, or share all settings, or are chosen among by validation cases.
        """
        verdict = audit(runs, replay=True)
        found = read(runs, verdict)
        theirs, ours = found.plan.dataset, plan.dataset
        if theirs.fingerprint != ours.fingerprint:
            raise InputError(
                f"{runs}: its data is {theirs.source} ({theirs.fingerprint:.12}), that of the runs {ours.source} "
                f"({ours.fingerprint:.12}); an ablation is printed beside runs of the same data"
            )
        made = search.by_settings(found)
        if made is None:
            raise InputError(
                f"{runs}: it has no table of accuracy by settings; an ablation is an experiment whose variants differ "
                "in physics, correction, sensors or dense phase, without validation cases"
            )
        name = found.plan.experiment.name
        groups = grouped(ABLATION, {name: found.files(name) for name in (PLAN, *found.variants)})
        table = replace(
            made,
            caption=f"Accuracy on held-out cases by settings, in runs of their own ({name}).",
            notes=(*made.notes, f"Runs of the experiment {name}. {verdict_line(verdict)}"),
            sources={"": traced(groups)},
        )
        machine = replace(
            costs.environment(found),
            name=ENVIRONMENT,
            caption=f"Machine and libraries of the runs by settings ({name}).",
            sources={"": traced(groups)},
        )
        return cls((table, machine), groups)

    def sources(self) -> dict[str, dict[str, str]]:
        """The groups that every number here names, with their files' digests."""
        return self.groups

    def tables(self) -> list[Table]:
        """One with a row a setting, and one of the machine."""
        return list(self.made)
