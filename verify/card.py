"""The data card, counted again from dataset.csv: how many cuts, cases and labels, and which cuts lack something.

A line of the card that this file does not know (a range, a note) is left to the card's digest. Where the data is
simulated, the card's truth must be the simulator's, and the data what the simulator makes of the plan's settings: only
then is that truth one of this data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from spinn.data import relative, simulator
from spinn.record import DATACARD, DATASET
from verify.folder import PROCESS, Data, Fault, Folder, UnavailableError, read_json

REPORTED = {"nasa": ("label", "signals"), "tidy": ("label",)}  # what the readers exclude cut by cut
LABELLED = {"labelled: flank wear VB": "VB", "labelled: thermal displacement": "thermal"}


def recounted(folder: Folder) -> Iterator[Fault]:
    """Counts on the data card are the data's; each cut that lacks what its source reports is excluded, once."""
    try:
        card = read_json(folder.path / DATACARD)
        rows = [(str(label), str(value)) for label, value in card["rows"]]
        excluded = [(str(cut["what"]), str(cut["case"]), int(cut["run"])) for cut in card["exclusions"]]
    except UnavailableError:
        return  # the digest of the card says so
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        yield Fault(f"{DATACARD}: not a data card ({type(error).__name__}: {error})")
        return
    data = folder.dataset
    yield from _truth(folder, card.get("truth"))
    own = _counts(folder, data)
    for label, value in rows:
        if label in own and value != own[label]:
            yield Fault(f"{DATACARD}: {label} = {value:.80}, counted again {own[label]}", {"row": label})
    for what in REPORTED.get(folder.plan.dataset.source.partition(" ")[0], ()):
        yield from _exclusions(folder, data, what, excluded)


def _truth(folder: Folder, stated: Any) -> Iterator[Fault]:
    """The truth of simulated data is the simulator's, and the data is of its making; other data has none."""
    experiment = folder.plan.experiment
    if folder.plan.dataset.source != "simulator":
        if stated is not None:
            yield Fault(f"{DATACARD}: states a truth, and {folder.plan.dataset.source} is not simulated")
        return
    own = simulator.TRUTH.coefficients
    if stated != own:
        yield Fault(f"{DATACARD}: truth = {stated!r:.160}, the simulator's is {own}")
    campaign = {} if experiment.simulator is None else experiment.simulator.model_dump()
    made = simulator.simulate(**campaign)
    if experiment.sensors == "relative":
        made = relative(made)
    if made.fingerprint() != folder.digests.get(DATASET):
        yield Fault(f"{DATASET}: not what the simulator makes of the plan's settings; its truth says nothing of it")


def _counts(folder: Folder, data: Data) -> dict[str, str]:
    labelled, signals = ~np.isnan(data.columns["VB"]), _with_signals(folder, data)
    counts = {
        "cuts": str(len(data.cases)),
        "cases (tools)": str(len(set(data.cases.tolist()))),
        "with VB, with usable signals": str(int((labelled & signals).sum())),
        "with VB, no usable signals": str(int((labelled & ~signals).sum())),
        "no VB, with usable signals": str(int((~labelled & signals).sum())),
        "no VB, no usable signals": str(int((~labelled & ~signals).sum())),
        "fingerprint (sha256)": folder.digests.get(DATASET, "none"),
    }
    for label, target in LABELLED.items():
        total, found = len(data.cases), int((~np.isnan(data.columns[target])).sum())
        known = f"{found} of {total} cuts, {total - found} without"
        counts[label] = known if found else "not measured: no label, not trained on, not reported"
    return counts


def _with_signals(folder: Folder, data: Data) -> np.ndarray:
    """True at the cuts with a value of any sensor feature."""
    sensors = [data.columns[name] for name in folder.plan.dataset.features if name not in PROCESS]
    present = [~np.isnan(values) for values in sensors] or [np.ones(len(data.cases), bool)]
    return np.asarray(np.any(present, axis=0))


def _exclusions(folder: Folder, data: Data, what: str, excluded: list[tuple[str, str, int]]) -> Iterator[Fault]:
    lacks = np.isnan(data.columns["VB"]) if what == "label" else ~_with_signals(folder, data)
    own = sorted(zip(data.cases[lacks].tolist(), data.runs[lacks].tolist(), strict=True))
    stated = sorted((case, run) for kind, case, run in excluded if kind == what)
    if stated != own:
        wrong = ", ".join(f"{case}/{run}" for case, run in sorted(set(stated) ^ set(own))) or "one stands twice"
        message = f"{DATACARD}: {what} is excluded in {len(stated)} cuts, missing in {len(own)} ({wrong:.120})"
        yield Fault(message, {"what": what})
