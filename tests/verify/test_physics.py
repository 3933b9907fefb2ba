"""Physics terms must be at work: each way of being dead is found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from spinn.record import DATASET, HISTORY
from verify import physics
from verify.folder import Data


def first(runs) -> str:
    """Id of a sound run."""
    return runs.names("sparse")[0]


def deaden(runs, run_id: str, term: str, value: float) -> None:
    """Set a term to `value` in every epoch, and the loss to what it then is."""
    weights = runs.plan.experiment.physics

    def edit(table):
        table[term] = value
        table["loss"] = table["data"] + sum(getattr(weights, name) * table[name] for name in weights.enabled())

    runs.edit_table(run_id, HISTORY, edit)


@pytest.mark.parametrize("value", [0.0, 0.25])
@pytest.mark.parametrize("term", ["wear_rate", "heat"])
def test_dead_term_is_found(runs, term: str, value: float) -> None:
    """A residual that is zero, or the same, in every epoch does not depend on the network."""
    deaden(runs, first(runs), term, value)
    assert runs.failed() == {"physics-alive"}


def test_term_that_is_not_finite_is_found(runs) -> None:
    """A residual that is not a number is a finding of its own."""
    deaden(runs, first(runs), "heat", np.nan)
    assert runs.failed() == {"physics-alive", "non-finite"}


def test_constraint_that_is_met_is_alive_elsewhere(runs) -> None:
    """A one-sided term may be zero in one run; in all runs it is dead."""
    deaden(runs, first(runs), "monotone", 0.0)
    assert runs.failed() == set()
    for run in runs.plan.runs:
        deaden(runs, run.run_id, "monotone", 0.0)
    assert runs.failed() == {"physics-alive"}


def test_term_that_is_not_in_the_loss_is_found(runs) -> None:
    """A term that is computed and logged, but not added to the loss, had no part in the training."""
    runs.edit_table(first(runs), HISTORY, lambda table: table.assign(loss=table["data"]))
    assert runs.failed() == {"physics-alive"}


def test_term_left_out_of_a_run_is_found(runs) -> None:
    """A run has every enabled term that its data can feed."""

    def edit(record: dict) -> None:
        record["physics_terms"].remove("heat")
        for stage in record["stages"]:
            del stage["coefficients"]["k"], stage["coefficients"]["tau"]

    runs.edit_record(first(runs), edit)
    runs.edit_table(first(runs), HISTORY, lambda table: table.drop(columns="heat").assign(loss=table["data"]))
    assert "physics-alive" in runs.failed()


def test_coefficient_that_never_moves_is_found(runs) -> None:
    """A learned coefficient with one value after every stage gets no gradient."""

    def freeze(network):
        network.coefficients["b"] = 0.6

    def edit(record: dict) -> None:
        for stage in record["stages"]:
            stage["coefficients"]["b"] = 0.6

    runs.edit_record(first(runs), edit)
    for stage in range(3):
        runs.edit_network(first(runs), stage, freeze)
    assert runs.failed() == {"physics-alive"}


def freeze(runs, run_id: str, name: str) -> None:
    """Give a coefficient one value at every stage, in record and checkpoints."""

    def edit(record: dict) -> None:
        for stage in record["stages"]:
            stage["coefficients"][name] = 0.6

    runs.edit_record(run_id, edit)
    for stage in range(3):
        runs.edit_network(run_id, stage, lambda network: network.coefficients.update({name: 0.6}))


@pytest.mark.parametrize(("name", "column"), [("b", "DOC"), ("c", "feed"), ("d", "steel"), ("k", "power")])
def test_coefficient_without_input_need_not_move(name: str, column: str) -> None:
    """On one material (one depth, one feed, no power) nothing reaches the coefficient; on two it is asked to move."""
    absent = {"DOC": 0.75, "feed": 0.25, "steel": 0.0, "power": 0.0}
    present = {"DOC": 1.5, "feed": 0.5, "steel": 1.0, "power": 800.0}
    for values, found in (((absent, absent), {name}), ((absent, present), set()), ((present, present), set())):
        columns = {other: np.array([present[other]] * 2 + [present[other]]) for other in absent}
        columns[column] = np.array([values[0][column], values[1][column], present[column]])
        data = Data(np.array(["1", "1", "2"]), np.arange(3), columns)
        folder: Any = SimpleNamespace(dataset=data)
        run: Any = SimpleNamespace(planned=SimpleNamespace(train=("1",)))
        assert physics._without_input(folder, run) == found


def test_one_material_holds(runs) -> None:
    """A run whose training cases are all cast iron holds with a frozen d; a frozen b is a finding in it."""
    frame = pd.read_csv(runs.path / DATASET, dtype={"case": str})
    iron = set(frame.loc[frame["steel"] == 0, "case"])
    run_id = next(run.run_id for run in runs.plan.runs if run.variant == "sparse" and set(run.train) <= iron)
    freeze(runs, run_id, "d")
    assert runs.failed() == set()
    freeze(runs, run_id, "b")
    assert runs.failed() == {"physics-alive"}


def test_a_constraint_that_never_bites_says_what_to_do(runs) -> None:
    """The finding names the key of the experiment file that switches the term off."""
    for run in runs.plan.runs:
        deaden(runs, run.run_id, "monotone", 0.0)
    messages = [finding.message for finding in runs.audit().findings if finding.severity == "error"]
    assert all("switch it off in the experiment file: physics.monotone = 0" in message for message in messages)
    assert messages
