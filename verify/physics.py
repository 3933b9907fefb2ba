"""Physics terms that are switched on must be at work: in the loss, finite, not always zero, not constant.

A coefficient is asked to move only where its input occurs: on one material there is nothing to learn about another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spinn.data.dataset import DOC_REFERENCE, FEED_REFERENCE
from verify.folder import Fault, Folder, Run, UnavailableError

COEFFICIENTS = {"wear_rate": ("a", "b", "c", "d", "g"), "heat": ("k", "tau")}
ONE_SIDED = ("monotone", "nonnegative")  # zero where the constraint is met: alive if it was at work in some run
PRESENT = 1e-6  # size below which an input of the law is zero: float32 may not tell it from zero
SUM_TOLERANCE = 1e-4  # relative; the sum was taken in float32


def alive(folder: Folder, run: Run) -> Iterator[Fault]:
    """Every enabled term that the data can feed is in the run's loss, and its history shows it at work."""
    experiment = folder.plan.experiment
    physics = experiment.physics_of(folder.plan.variant(run.planned.variant))
    weights = {term: getattr(physics, term) for term in physics.enabled()}
    recorded = run.checked.physics_terms
    wanted = {term for term in weights if _feedable(folder, term)}
    if set(recorded) != wanted:
        yield Fault(
            f"physics terms {sorted(recorded)} are recorded; enabled, and possible on this data: {sorted(wanted)}"
        )
    history = run.history()
    for term in recorded:
        problem = _problem(history[term])
        met = term in ONE_SIDED and not history[term].any()  # a constraint: zero where it is kept
        if met and _bites_elsewhere(folder, term):
            continue
        if problem:
            advice = f"; switch it off in the experiment file: physics.{term} = 0" if met else ""
            yield Fault(f"{term}: {problem}{advice}", {"term": term})
    own = history["data"] + sum(weights.get(term, 0.0) * history[term] for term in recorded)
    wrong = int((~(np.abs(history["loss"] - own) <= SUM_TOLERANCE * np.abs(own))).sum())
    if wrong:
        message = f"in {wrong} of {len(own)} epochs the loss is not the data loss plus the weighted terms"
        yield Fault(message, {"epochs": wrong})
    yield from _coefficients(folder, run)


def _feedable(folder: Folder, term: str) -> bool:
    """Whether the training cases of every planned run have what `term` needs; of all, whatever runs share a stack."""
    key = f"{term} can be fed"
    if key not in folder.memory:
        data = folder.dataset
        needs = {"heat": ("thermal", "power"), "initial": ()}.get(term, ("VB",))
        known = [~np.isnan(data.columns[name]) for name in needs]
        trained_on = [data.of(cases) for cases in {run.train for run in folder.plan.runs}]
        folder.memory[key] = all((values & rows).any() for values in known for rows in trained_on)
    return folder.memory[key]


def _bites_elsewhere(folder: Folder, term: str) -> bool:
    """Whether the term was above zero in any epoch of any run of the folder."""
    if term not in folder.memory:
        folder.memory[term] = any(_bites(run, term) for run in folder.runs)
    return folder.memory[term]


def _bites(run: Run, term: str) -> bool:
    try:
        return bool(np.nan_to_num(run.history()[term]).any()) if run.record and term in run.history() else False
    except UnavailableError:
        return False


def _coefficients(folder: Folder, run: Run) -> Iterator[Fault]:
    """A law's coefficients are recorded after each stage, and training moved those whose input occurs in it."""
    wanted = {name for term in run.checked.physics_terms for name in COEFFICIENTS.get(term, ())}
    stages = [stage for stage in run.checked.stages if stage.epochs_run]
    for stage in run.checked.stages:
        if set(stage.coefficients) != wanted:
            yield Fault(f"stage {stage.stage}: coefficients {sorted(stage.coefficients)}, expected {sorted(wanted)}")
            return
    if len(stages) > 1:
        for name in sorted(wanted - _without_input(folder, run)):
            if len({stage.coefficients[name] for stage in stages}) == 1:
                yield Fault(f"coefficient {name} never moved: no gradient reaches it", {"coefficient": name})


def _without_input(folder: Folder, run: Run) -> set[str]:
    """Coefficients that no gradient can reach: what they multiply is zero in every cut of the training cases."""
    data = folder.dataset
    rows = data.of(run.planned.train)
    with np.errstate(all="ignore"):
        inputs = {
            "b": np.log(data.columns["DOC"][rows] / DOC_REFERENCE),
            "c": np.log(data.columns["feed"][rows] / FEED_REFERENCE),
            "d": data.columns["steel"][rows],
            "k": data.columns["power"][rows],
        }
    return {name for name, values in inputs.items() if not (np.abs(values) > PRESENT).any()}


def _problem(values: np.ndarray) -> str:
    if not values.size:
        return "no epoch was recorded"
    if not np.isfinite(values).all():
        return f"not finite in {int((~np.isfinite(values)).sum())} of {values.size} epochs"
    if not values.any():
        return f"zero in all {values.size} epochs: it had no part in the training"
    if values.size > 1 and np.ptp(values) == 0:
        return f"constant at {values[0]:.6g} in all {values.size} epochs: it does not depend on the network"
    return ""
