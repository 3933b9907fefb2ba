"""Do the intervals cover the truth? Many simulated campaigns, each a folder of runs, counted together.

One campaign says whether its own intervals hold the truth; how often intervals made like that do is seen in many, each
with other tools and other noise. Reads audited folders as `results.py` does; trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from artifacts.coefficients import FORMATS, UNITS, Learned, learned, one_case_each
from artifacts.numbers import Format
from artifacts.render import Table, table_frame
from artifacts.results import Results, read
from artifacts.stats import LEVEL
from spinn.errors import InputError
from spinn.storage import digest_of, write_atomic
from verify.audit import audit

NAME = "campaigns"


def gather(folders: Sequence[Path]) -> list[Results]:
    """The results of each folder, if together they are campaigns of one experiment.

    Raises:
        RefusedError: the audit of a folder found an error.
        InputError: a folder is not simulated, gives no interval, is of another experiment than the first, or repeats
            a campaign.
    """
    found: list[Results] = []
    asked: dict[str, Any] = {}
    seen: dict[str, Path] = {}
    for folder in folders:
        results = read(folder, audit(folder))
        experiment = results.plan.experiment.model_dump(exclude={"stack"})
        experiment["simulator"] = {**(experiment["simulator"] or {}), "seed": None}
        if not results.datacard.get("truth"):
            raise InputError(f"{folder}: its data is not simulated, so that nobody knows the truth; give other folders")
        if not one_case_each(results):
            raise InputError(
                f"{folder}: has no intervals; they need split.kind = 'leave-one-case-out' and validation_cases = 0"
            )
        asked = asked or experiment
        if experiment != asked:
            other = next(key for key in experiment if experiment[key] != asked[key])
            raise InputError(f"{folder}: {other} differs from that of {folders[0]}; only the simulator's seed may")
        twin = seen.setdefault(results.plan.dataset.fingerprint, folder)
        if twin != folder:
            raise InputError(f"{folder}: the same campaign as {twin}; give each once")
        found.append(results)
    return found


def table(campaigns: Sequence[Results]) -> Table:
    """For each coefficient, how many campaigns' intervals cover the truth, how wide they are, how far estimates are.

    Raises:
        InputError: nothing is learned in them.
    """
    by_name: dict[str, list[Learned]] = {}
    for results in campaigns:
        for one in learned(results, results.primary):
            by_name.setdefault(one.name, []).append(one)
    if not by_name:
        raise InputError("the campaigns have no learned coefficient: switch physics.wear_rate or physics.heat on")
    rows = [{"coefficient": name, "unit": UNITS[name], **_counted(ones)} for name, ones in by_name.items()]
    expressions = {
        "truth": "truth in datacard.json",
        "covered": "campaigns whose interval holds the truth",
        "campaigns": "campaigns",
        "mean width": "upper less lower end of the interval, mean over campaigns",
        "mean deviation": "estimate less truth, mean over campaigns",
        "mean deviation (%)": "100 (estimate - truth) / |truth|, mean over campaigns",
        "spread": "standard deviation of the estimates from campaign to campaign",
    }
    notes = (
        "Each campaign has tools and noise of its own, and in it every case is left out in turn; intervals are those "
        f"of table coefficients, {100 * LEVEL:.0f} %. If they are right, a count of 20 is 17 or more in "
        f"{100 * binom.sf(16, 20, LEVEL):.0f} % of such trials. They are wider than they have to be where the mean "
        "width is far above four times the spread: a jackknife counts what chance does in training once for each case. "
        "Deviation in the coefficient's unit; in percent not of a, whose size depends on the unit.",
    )
    digest = digest_of([results.digests for results in campaigns])
    formats = {**FORMATS, "covered": Format(0), "campaigns": Format(0), "mean deviation (%)": Format(1, "%")}
    return Table(
        NAME,
        "How often intervals cover the truth, over simulated campaigns.",
        table_frame(rows),
        notes,
        formats,
        ("coefficient", "unit"),
        expressions,
        {"": (f"{len(campaigns)} campaigns sha256:{digest}",)},
    )


def _counted(ones: Sequence[Learned]) -> dict[str, Any]:
    values = np.array([one.estimate.value for one in ones], float)
    low, high = (np.array([getattr(one.estimate, end) for one in ones], float) for end in ("low", "high"))
    truth = np.array([one.truth for one in ones], float)
    shares = [one.deviation for one in ones if one.deviation is not None]
    return {
        "truth": float(truth[0]),
        "covered": sum(bool(one.covered) for one in ones),
        "campaigns": len(ones),
        "mean width": float((high - low).mean()),
        "mean deviation": float((values - truth).mean()),
        "mean deviation (%)": float(np.mean(shares)) if shares else None,
        "spread": float(values.std(ddof=1)) if len(ones) > 1 else None,
    }


def fewest(made: Table) -> int:
    """The smallest count of covering campaigns, over the coefficients."""
    return int(min(made.frame["covered"]))


def write(made: Table, out: Path) -> tuple[Path, ...]:
    """The table as CSV, Markdown and LaTeX in `out`."""
    contents = {"csv": made.csv(), "md": made.markdown(), "tex": made.latex()}
    paths = {out / f"{NAME}.{ending}": content for ending, content in contents.items()}
    for path, content in paths.items():
        write_atomic(path, content)
    return tuple(paths)
