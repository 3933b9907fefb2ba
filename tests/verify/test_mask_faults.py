"""What each check of counts and masks says, to the last word and number, on a network of six weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from verify import masks
from verify.folder import Fault
from verify.network import Network

NAMES = ("dense.safetensors", "stage-1.safetensors", "stage-2.safetensors")
WEIGHTS: tuple[list[list[list[float]]], ...] = (
    [[[1, -6], [2, 3]], [[4, 5]]],
    [[[0, -6], [0, 0]], [[4, 5]]],
    [[[0, -6], [0, 0]], [[0, 5]]],
)
SIZES = (2, 2, 1)  # six weights and three biases; half go, then a third of the rest
COUNTS = ((6, 0, 6, 9), (6, 3, 3, 6), (3, 1, 2, 5))


class Case:
    """A sound run, to break: its networks, and what its record says of them."""

    def __init__(self, folder: Path) -> None:
        self.networks = [self.network(stage) for stage in range(3)]
        self.stages = [self.stage(number) for number in range(3)]
        self.variant: Any = SimpleNamespace(
            pruner="global-magnitude", stages=[SimpleNamespace(ratio=".5"), SimpleNamespace(ratio="1/3")]
        )
        plan = SimpleNamespace(experiment=SimpleNamespace(layers=SIZES), variant={"v": self.variant}.__getitem__)
        self.folder: Any = SimpleNamespace(plan=plan)
        self.run: Any = SimpleNamespace(
            planned=SimpleNamespace(variant="v"),
            checked=SimpleNamespace(stages=self.stages),
            network=lambda stage: self.networks[stage],
            withheld=lambda: False,
            folder=folder,
        )
        for name in NAMES:
            (folder / name).write_bytes(b"x" * 100)

    def network(self, stage: int) -> Network:
        """Weights with a mask of those that are not zero."""
        weights = tuple(np.array(rows, np.float32) for rows in WEIGHTS[stage])
        biases = (np.array([0.5, -0.5], np.float32), np.array([0.25], np.float32))
        return Network(weights, biases, tuple(weight != 0 for weight in weights), {"a": 1.5})

    def stage(self, number: int) -> Any:
        """What a record says of a stage."""
        network = self.networks[number]
        active, pruned, kept, parameters = COUNTS[number]
        layers = [
            SimpleNamespace(name=f"layers.{index}.weight", weights=weight.size, kept=sizes.size, nonzero=sizes.size)
            for index, weight in enumerate(network.weights)
            for sizes in [weight[weight != 0]]
        ]
        for layer, weight in zip(layers, network.weights, strict=True):
            values = weight[weight != 0].astype(float)
            layer.mean_abs, layer.std = np.abs(values).mean(), values.std()
            layer.min_abs, layer.max_abs = np.abs(values).min(), np.abs(values).max()
        return SimpleNamespace(
            stage=number,
            active=active,
            pruned=pruned,
            kept_weights=kept,
            parameters=parameters,
            nonzero_weights=kept,
            reported_reduction=1 - parameters / 9,
            layers=layers,
            checkpoint=NAMES[number],
            checkpoint_bytes=100,
            coefficients={"a": 1.5},
        )

    def faults(self, check: str) -> list[Fault]:
        """All that a check finds."""
        return list(getattr(masks, check)(self.folder, self.run))


CHECKS = (
    "ledger_achieved",
    "layer_shares",
    "record_of_checkpoints",
    "monotone",
    "resurrection",
    "magnitude_order",
    "biases_kept",
)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A sound run."""
    return Case(tmp_path)


def test_a_sound_run_has_no_faults(case: Case) -> None:
    """Of any check, ties and zeros included."""
    assert [case.faults(check) for check in CHECKS] == [[]] * 7


# --- counts ---------------------------------------------------------------------------------------------------------


def test_stages_that_are_not_the_planned_ones(case: Case) -> None:
    """Nothing more is compared then."""
    case.stages.pop()
    case.stages[1].pruned = 77
    assert case.faults("ledger_achieved") == [Fault("stages [0, 1] are recorded, 0 to 2 are planned")]
    case.stages[0].stage = 1
    assert case.faults("ledger_achieved")[0].message == "stages [1, 1] are recorded, 0 to 2 are planned"


def test_a_plan_that_was_not_achieved(case: Case) -> None:
    """Each quantity, of the stage that missed it and of the one that starts from it; the record tells the truth."""
    case.networks[1].masks[1][0, 0] = False
    case.networks[1].weights[1][0, 0] = 0
    stage, after = case.stages[1:]
    stage.pruned, stage.kept_weights, stage.parameters, stage.nonzero_weights = 4, 2, 5, 2
    stage.layers[1].kept = stage.layers[1].nonzero = 1
    stage.reported_reduction = 4 / 9
    after.active, after.pruned = 2, 0

    def fault(number: int, name: str, planned: int, there: int) -> Fault:
        message = f"stage {number}: {name} planned {planned}, in the checkpoint {there}"
        return Fault(message, {"stage": number, "quantity": name})

    assert case.faults("ledger_achieved") == [
        fault(1, "pruned", 3, 4),
        fault(1, "kept_weights", 3, 2),
        fault(1, "parameters", 6, 5),
        fault(2, "active", 3, 2),
        fault(2, "pruned", 1, 0),
    ]


def test_the_dense_network_is_planned_too(case: Case) -> None:
    """All its weights are active, none pruned."""
    case.networks[0].masks[0][0, 0] = False
    messages = [fault.message for fault in case.faults("ledger_achieved") if " planned " in fault.message]
    assert messages == [
        "stage 0: pruned planned 0, in the checkpoint 1",
        "stage 0: kept_weights planned 6, in the checkpoint 5",
        "stage 0: parameters planned 9, in the checkpoint 8",
        "stage 1: active planned 6, in the checkpoint 5",
        "stage 1: pruned planned 3, in the checkpoint 2",
    ]


@pytest.mark.parametrize(("quantity", "there"), [("active", 6), ("pruned", 3), ("kept_weights", 3), ("parameters", 6)])
def test_recorded_counts_that_are_not_the_checkpoints(case: Case, quantity: str, there: int) -> None:
    """Both checks that read them say so."""
    setattr(case.stages[1], quantity, 70)
    fault = Fault(f"stage 1: {quantity} recorded 70, in the checkpoint {there}", {"stage": 1, "quantity": quantity})
    assert case.faults("ledger_achieved") == [fault]
    assert fault in case.faults("record_of_checkpoints")


@pytest.mark.parametrize(("quantity", "there"), [("weights", 4), ("kept", 1), ("nonzero", 1)])
def test_recorded_layers_that_are_not_the_checkpoints(case: Case, quantity: str, there: int) -> None:
    """By layer and quantity."""
    setattr(case.stages[1].layers[0], quantity, 70)
    message = f"stage 1, layers.0.weight: {quantity} = 70, in the checkpoint {there}"
    faults = [Fault(message, {"stage": 1, "layer": "layers.0.weight", "quantity": quantity})]
    assert case.faults("ledger_achieved") == case.faults("record_of_checkpoints") == faults


def test_other_words_about_layers(case: Case) -> None:
    """A count of nonzero weights, a name, and how many layers there are; the layers there are compared all the same."""
    case.stages[1].nonzero_weights = 70
    case.stages[1].layers[1].name = "other"
    case.stages[2].layers.pop()
    case.stages[2].layers[0].kept = 70
    faults = [
        Fault("stage 1: nonzero_weights = 70, in the checkpoint 3"),
        Fault("stage 1: statistics 1 are of 'other', not of layers.1.weight"),
        Fault("stage 2: statistics of 1 layers, expected 2"),
        Fault(
            "stage 2, layers.0.weight: kept = 70, in the checkpoint 1",
            {"stage": 2, "layer": "layers.0.weight", "quantity": "kept"},
        ),
    ]
    assert case.faults("ledger_achieved") == case.faults("record_of_checkpoints") == faults


def test_a_reduction_that_is_not_the_true_one(case: Case) -> None:
    """0.70 reported where a third is gone; of the pruner that claims the truth both checks say so."""
    case.stages[1].reported_reduction = 0.7
    assert case.faults("ledger_achieved") == [
        Fault(
            "stage 1: a reduction of 70.00 % is reported, it is 33.33 %",
            {"stage": 1, "reported": 0.7, "true": 1 / 3},
        )
    ]
    assert case.faults("record_of_checkpoints") == [
        Fault(
            "stage 1: reported_reduction = 0.7, its pruner 'global-magnitude' claims 0.333333",
            {"stage": 1, "reported": 0.7, "claimed": 1 / 3},
        )
    ]


@pytest.mark.parametrize(("reported", "found"), [(1e-9, 0), (-1e-9, 0), (1.1e-9, 1), (-1.1e-9, 1), (float("nan"), 1)])
def test_how_near_a_reported_reduction_has_to_be(case: Case, reported: float, found: int) -> None:
    """10⁻⁹, and no number is near to NaN."""
    case.stages[0].reported_reduction = reported
    assert len(case.faults("ledger_achieved")) == len(case.faults("record_of_checkpoints")) == found


def test_the_first_version_claims_the_sum_of_its_ratios(case: Case) -> None:
    """Of the stages so far: 0, a half, a half and a third."""
    case.variant.pruner = "first-version"
    for stage, claim in zip(case.stages, (0.0, 0.5, 5 / 6), strict=True):
        stage.reported_reduction = claim
    assert case.faults("record_of_checkpoints") == []
    case.stages[1].reported_reduction = 0.5000004
    assert case.faults("record_of_checkpoints") == [
        Fault(
            "stage 1: reported_reduction = 0.5, its pruner 'first-version' claims 0.5",
            {"stage": 1, "reported": 0.5000004, "claimed": 0.5},
        )
    ]


def test_the_files_themselves(case: Case) -> None:
    """Name and size of each checkpoint, and its coefficients."""
    case.stages[1].checkpoint_bytes = 99
    case.stages[2].checkpoint = "other"
    case.stages[2].coefficients = {"a": 1.0}
    assert case.faults("record_of_checkpoints") == [
        Fault("stage 1: checkpoint 'stage-1.safetensors' of 99 bytes is recorded, 'stage-1.safetensors' has 100"),
        Fault("stage 2: checkpoint 'other' of 100 bytes is recorded, 'stage-2.safetensors' has 100"),
        Fault("stage 2: the recorded physics coefficients are not the checkpoint's"),
    ]
    case.run.withheld = lambda: True
    assert case.faults("record_of_checkpoints") == []
    case.stages[2].reported_reduction = 0.0
    assert len(case.faults("record_of_checkpoints")) == 1


@pytest.mark.parametrize(("name", "there"), [("mean_abs", "4.5"), ("std", "0.5"), ("min_abs", "4"), ("max_abs", "5")])
def test_statistics(case: Case, name: str, there: str) -> None:
    """Within 10⁻⁹ of the value, relative, to either side."""
    layer = case.stages[1].layers[1]
    value = float(there)
    for near in (value * (1 + 0.9e-9), value * (1 - 0.9e-9)):
        setattr(layer, name, near)
        assert case.faults("record_of_checkpoints") == []
    for far in (value * (1 + 1.1e-9), value * (1 - 1.1e-9), float("nan")):
        setattr(layer, name, far)
        assert case.faults("record_of_checkpoints") == [
            Fault(
                f"stage 1, layers.1.weight: {name} = {far:.6g}, in the checkpoint {there}",
                {"stage": 1, "layer": "layers.1.weight", "quantity": name},
            )
        ]


def test_statistics_of_a_layer_that_keeps_nothing(case: Case) -> None:
    """They are all 0."""
    case.networks[2].masks[0][:] = False
    case.networks[2].weights[0][:] = 0
    stage = case.stages[2]
    layer = stage.layers[0]
    layer.kept = layer.nonzero = 0
    layer.mean_abs = layer.std = layer.min_abs = layer.max_abs = 0.0
    statistics = [fault for fault in case.faults("record_of_checkpoints") if "quantity" in fault.data]
    assert [fault.data["quantity"] for fault in statistics] == ["pruned", "kept_weights", "parameters"]
    layer.std = 1e-12
    assert len(case.faults("record_of_checkpoints")) == len(statistics) + 2  # and the nonzero weights


# --- masks and weights ----------------------------------------------------------------------------------------------


def test_masks_that_grow(case: Case) -> None:
    """How many in which layer, since which stage."""
    case.networks[2].masks[0][1, :] = True
    case.networks[1].masks[1][0, 1] = False
    layers = {"layers.0": 2, "layers.1": 1}
    assert case.faults("monotone") == [
        Fault(
            "stage 2: 3 weights pruned by stage 1 are active again (layers.0, layers.1)",
            {"stage": 2, "count": 3, "layers": layers},
        )
    ]
    case.networks[1].masks[1][0, 1] = True
    assert case.faults("monotone")[0].message.endswith("again (layers.0)")


def test_pruned_weights_that_are_not_zero(case: Case) -> None:
    """The sign of a zero counts, the largest magnitude is told, and a layer of which nothing is pruned is no matter."""
    case.networks[1].weights[0][0, 0] = -0.5
    case.networks[1].weights[0][1, 0] = -0.0
    case.networks[2].weights[0][1, 1] = 0.25
    case.networks[2].weights[1][0, 0] = -0.0
    assert case.faults("resurrection") == [
        Fault(
            "stage 1: 2 pruned weights are not +0.0 (layers.0); the largest is 0.5",
            {"stage": 1, "count": 2, "layers": {"layers.0": 2, "layers.1": 0}, "largest": 0.5},
        ),
        Fault(
            "stage 2: 2 pruned weights are not +0.0 (layers.0, layers.1); the largest is 0.25",
            {"stage": 2, "count": 2, "layers": {"layers.0": 1, "layers.1": 1}, "largest": 0.25},
        ),
    ]


def test_a_choice_that_is_not_by_magnitude(case: Case) -> None:
    """How many went that are larger than the smallest that stayed; of the weights as they were ranked."""
    case.networks[0].weights[0][0, 0] = 4.5
    case.networks[0].weights[0][1, 0] = -7.0
    case.networks[0].weights[0][1, 1] = 4.0
    case.networks[1].weights[1][0, 0] = 5.0
    assert case.faults("magnitude_order") == [
        Fault(
            "stage 1: 2 weights were pruned that are larger than one that was kept (7 went, 4 stayed)",
            {"stage": 1, "count": 2, "largest_pruned": 7.0, "smallest_kept": 4.0},
        )
    ]  # at stage 2 equal ones: a tie, which is no fault
    case.variant.pruner = "first-version"
    assert case.faults("magnitude_order") == []


def test_an_order_needs_weights_that_went_and_weights_that_stayed(case: Case) -> None:
    """NaN among them has no order, which is a fault."""
    case.networks[1] = replace(case.networks[1], masks=tuple(np.ones_like(m) for m in case.networks[1].masks))
    case.networks[2] = replace(case.networks[2], masks=tuple(np.zeros_like(m) for m in case.networks[2].masks))
    assert case.faults("magnitude_order") == []
    case = Case(case.run.folder)
    case.networks[0].weights[0][0, 0] = np.nan
    assert [fault.data["stage"] for fault in case.faults("magnitude_order")] == [1]


def test_a_choice_within_layers(case: Case) -> None:
    """A weight may be larger than what stays in another layer, and not than what stays in its own."""
    case.networks[0].weights[0][0, 0] = 5.5
    assert [fault.message[:22] for fault in case.faults("magnitude_order")] == ["stage 1: 1 weights wer"]
    case.variant.pruner = "layerwise-magnitude"
    assert case.faults("magnitude_order") == []
    case.networks[0].weights[0][1, 1] = -7.0
    case.networks[1].weights[1][0, 0] = 6.0
    assert case.faults("magnitude_order") == [
        Fault(
            "stage 1, layers.0.weight: 1 weights were pruned that are larger than one that was kept (7 went, 6 stayed)",
            {"stage": 1, "count": 1, "largest_pruned": 7.0, "smallest_kept": 6.0},
        ),
        Fault(
            "stage 2, layers.1.weight: 1 weights were pruned that are larger than one that was kept (6 went, 5 stayed)",
            {"stage": 2, "count": 1, "largest_pruned": 6.0, "smallest_kept": 5.0},
        ),
    ]


def test_shares_of_layers(case: Case) -> None:
    """Half of four and of two weights: two and one; a third of one and of two, one in all: the larger fraction."""
    assert case.faults("layer_shares") == []
    case.variant.pruner = "layerwise-magnitude"

    def fault(layer: int, planned: int, there: int) -> Fault:
        message = f"stage 1, layers.{layer}.weight: pruned planned {planned}, in the checkpoint {there}"
        return Fault(message, {"stage": 1, "layer": f"layers.{layer}.weight", "quantity": "pruned"})

    assert case.faults("layer_shares") == [fault(0, 2, 3), fault(1, 1, 0)]


def test_biases_that_became_zero(case: Case) -> None:
    """Those that were at work before, by layer; one that has always been zero is no fault, nor one that began to be."""
    case.networks[0].biases[0][0] = case.networks[1].biases[0][0] = 0
    case.networks[2].biases[0][1] = 0
    case.networks[2].biases[1][0] = 0
    assert case.faults("biases_kept") == [
        Fault(
            "stage 2: 2 biases are zero (layers.0.bias, layers.1.bias); biases are never pruned",
            {"stage": 2, "count": 2, "layers": {"layers.0.bias": 1, "layers.1.bias": 1}},
        )
    ]
    case.networks[2].biases[0][1] = 1
    assert "are zero (layers.1.bias);" in case.faults("biases_kept")[0].message
