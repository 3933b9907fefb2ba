"""Checks of counts and masks: each is broken once, and it alone sees it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from spinn import checkpoint
from spinn.checkpoint import Checkpoint
from spinn.record import checkpoint_name


def first(runs) -> str:
    """Id of a sound run."""
    return runs.names("sparse")[0]


def finding(runs, check: str):
    """The one finding of `check`."""
    (found,) = [one for one in runs.audit().findings if one.check == check]
    return found


def flip(network: Checkpoint, layer: int, active: bool) -> tuple[int, int]:
    """Turn the first weight of `layer` whose mask is `active` over, and return its place."""
    assert network.masks is not None
    row, column = np.argwhere(network.masks[layer] == active)[0]
    network.masks[layer][row, column] = not active
    return int(row), int(column)


# --- ledger-achieved ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", ["active", "pruned", "kept_weights", "parameters", "nonzero_weights"])
def test_recorded_count_is_the_checkpoints(runs, quantity: str) -> None:
    """A count of the record that is off by one is a finding."""

    def edit(record: dict) -> None:
        record["stages"][1][quantity] += 1

    runs.edit_record(first(runs), edit)
    assert runs.failed() == {"ledger-achieved", "metrics-recomputed"}


@pytest.mark.parametrize("quantity", ["weights", "kept", "nonzero"])
def test_recorded_layer_count_is_the_checkpoints(runs, quantity: str) -> None:
    """A layer's count that is off by one is a finding."""

    def edit(record: dict) -> None:
        record["stages"][2]["layers"][1][quantity] += 1

    runs.edit_record(first(runs), edit)
    assert runs.failed() == {"ledger-achieved", "metrics-recomputed"}


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_reported_reduction_is_the_true_one(runs, stage: int) -> None:
    """A reported reduction that is 10⁻⁶ off is a finding; 0.70 reported for 0.15 was the first of them."""

    def edit(record: dict) -> None:
        record["stages"][stage]["reported_reduction"] += 1e-6

    runs.edit_record(first(runs), edit)
    assert runs.failed() == {"ledger-achieved", "metrics-recomputed"}


def test_one_weight_too_many_is_found(runs) -> None:
    """One weight more than planned in the last mask is a finding, exact counting being the point."""

    def edit(network: Checkpoint) -> None:
        row, column = flip(network, 0, active=True)
        network.weights[0][row, column] = 0

    runs.edit_network(first(runs), 2, edit)
    assert "ledger-achieved" in runs.failed()
    assert any("planned" in fault["message"] for fault in finding(runs, "ledger-achieved").data["faults"])


def test_dense_checkpoint_that_is_pruned_is_found(runs) -> None:
    """Stage 0 has every weight."""

    def edit(network: Checkpoint) -> Checkpoint:
        masks = tuple(np.ones(weight.shape, bool) for weight in network.weights)
        masks[0][0, 0] = False
        network.weights[0][0, 0] = 0
        return replace(network, masks=masks)

    runs.edit_network(first(runs), 0, edit)
    assert "ledger-achieved" in runs.failed()


def test_stage_left_out_is_found(runs) -> None:
    """A record with fewer stages than planned is a finding."""
    runs.edit_record(first(runs), lambda record: record["stages"].pop())
    assert "ledger-achieved" in runs.failed()


def test_checkpoint_size_is_the_files(runs) -> None:
    """The size in the record is the file's."""
    runs.edit_record(first(runs), lambda record: record["stages"][1].update(checkpoint_bytes=1))
    assert runs.failed() == {"metrics-recomputed"}


def test_declared_run_must_not_lie(runs) -> None:
    """A run that is declared to miss its plan still has to record what its checkpoints hold."""

    def edit(record: dict) -> None:
        record["stages"][1]["kept_weights"] -= 1

    runs.edit_record(runs.names("first-version")[0], edit)
    assert runs.failed() == {"metrics-recomputed"}


# --- masks-monotone -------------------------------------------------------------------------------------------------


def test_mask_that_revives_is_found(runs) -> None:
    """A weight pruned at one stage and active at the next is a finding, even where every count is right."""

    def swap(network: Checkpoint) -> None:
        assert network.masks is not None
        row, column = flip(network, 0, active=True)
        network.weights[0][row, column] = 0
        revived = next(
            place for place in np.argwhere(~network.masks[0]).tolist() if not earlier[place[0], place[1]]
        )  # pruned at stage 1 already
        network.masks[0][revived[0], revived[1]] = True
        network.weights[0][revived[0], revived[1]] = 0.5

    masks = checkpoint.read(runs.folder(first(runs)) / "stage-1.safetensors").masks
    assert masks is not None
    earlier = masks[0]
    runs.edit_network(first(runs), 2, swap)
    failed = runs.failed()
    assert "masks-monotone" in failed
    assert "resurrection" not in failed
    assert finding(runs, "masks-monotone").data["faults"][0]["count"] == 1


# --- resurrection ---------------------------------------------------------------------------------------------------


def test_pruned_weight_that_lives_is_found(runs) -> None:
    """A pruned weight that is not zero is counted, placed and measured."""

    def edit(network: Checkpoint) -> None:
        assert network.masks is not None
        row, column = np.argwhere(~network.masks[1])[0]
        network.weights[1][row, column] = -0.125

    runs.edit_network(first(runs), 2, edit)
    assert "resurrection" in runs.failed()
    fault = finding(runs, "resurrection").data["faults"][0]
    assert (fault["stage"], fault["count"], fault["largest"]) == (2, 1, 0.125)
    assert fault["layers"] == {"layers.0": 0, "layers.1": 1, "layers.2": 0}


def test_negative_zero_is_found(runs) -> None:
    """−0.0 in a pruned position is what `w * mask` leaves: not a held mask."""

    def edit(network: Checkpoint) -> None:
        assert network.masks is not None
        places = np.argwhere(~network.masks[1])
        network.weights[1][tuple(places[0])] = -0.0
        network.weights[1][tuple(places[1])] = 1e-30

    runs.edit_network(first(runs), 2, edit)
    assert finding(runs, "resurrection").data["faults"][0]["count"] == 2


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_declared_run_reports_what_its_pruner_claims(runs, stage: int) -> None:
    """The first version claims the sum of its ratios, and no other number: the declaration excuses none."""
    run_id = runs.names("first-version")[0]
    ratios = ("0", "0.20", "0.15")
    claimed = float(sum(Fraction(ratio) for ratio in ratios[: stage + 1]))
    assert runs.record(run_id).stages[stage].reported_reduction == pytest.approx(claimed, abs=1e-12)
    runs.edit_record(run_id, lambda record: record["stages"][stage].update(reported_reduction=0.7))
    assert runs.failed() == {"metrics-recomputed"}


# --- magnitude-order, biases-kept ------------------------------------------------------------------------------------


def test_a_larger_weight_that_went_before_a_smaller_one_is_found(runs) -> None:
    """The largest weight of the dense network cannot be among the pruned ones."""
    run_id = runs.names("sparse")[0]

    def grow(network: Checkpoint) -> None:
        masks = checkpoint.read(runs.folder(run_id) / checkpoint_name(1)).masks
        assert masks is not None
        network.weights[0][tuple(np.argwhere(~masks[0])[0])] = 99.0

    runs.edit_network(run_id, 0, grow)
    (finding,) = (f for f in runs.audit().findings if f.check == "magnitude-order")
    assert finding.severity == "error"
    assert "1 weights were pruned that are larger than one that was kept (99 went" in finding.message


def test_a_bias_that_became_zero_is_found(runs) -> None:
    """Biases are never pruned."""
    run_id = runs.names("sparse")[0]

    def clear(network: Checkpoint) -> None:
        network.biases[1][0] = 0.0

    runs.edit_network(run_id, 2, clear)
    (finding,) = (f for f in runs.audit().findings if f.check == "biases-kept")
    assert finding.data["faults"][0]["layers"]["layers.1.bias"] == 1
