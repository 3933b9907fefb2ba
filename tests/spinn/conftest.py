"""A small plan that tests of spinn share."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def experiment_of(features: int, **changes: object) -> dict:
    """A whole experiment file as a mapping: tiny network, two grouped folds, both pruners."""
    stages = [{"ratio": "0.30", "epochs": 2, "learning_rate": 1e-3}] * 2
    return {
        "name": "tiny",
        "seeds": [0],
        "layers": [features, 8, 6, 2],
        "split": {"kind": "grouped", "folds": 2, "validation_cases": 1},
        "dense": {"epochs": 3},
        "variants": [{"name": "sparse", "pruner": "global-magnitude", "stages": stages}],
        **changes,
    }


@pytest.fixture(scope="session")
def simple_plan() -> Callable:
    """Make the plan of the tiny experiment for a data set."""

    def make(dataset, **changes):
        from spinn.config import Experiment
        from spinn.experiment import make_plan

        return make_plan(Experiment.model_validate(experiment_of(len(dataset.features), **changes)), dataset, [])

    return make
