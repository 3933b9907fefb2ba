"""The judge's own ledger: the figures of the design, exactness, and each fault of a plan."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.schedules import ledger, reduction, weights_and_biases

LAYERS = (18, 512, 512, 512, 256, 2)


@pytest.mark.parametrize(
    ("ratios", "kept", "parameters", "percent"),
    [
        ("0.20 0.20 0.15 0.15", 307_537, 309_331, "53.62"),
        ("0.30 0.30 0.20 0.20", 208_571, 210_365, "68.46"),
        ("0.30 0.30 0.24 0.24", 188_236, 190_030, "71.50"),
    ],
)
def test_ledger_of_the_design(ratios: str, kept: int, parameters: int, percent: str) -> None:
    """The three schedules of the design end where its table says."""
    last = ledger(LAYERS, ratios.split())[-1]
    assert (last.kept_weights, last.parameters) == (kept, parameters)
    assert f"{float(100 * reduction(LAYERS, parameters)):.2f}" == percent


def test_parameters_of_the_dense_network() -> None:
    """665,088 weights and 1,794 biases."""
    assert weights_and_biases(LAYERS) == (665_088, 1_794)


@given(st.lists(st.decimals("0", "0.99", places=3).map(str), min_size=1, max_size=6))
def test_pruned_is_the_nearest_integer(ratios: list[str]) -> None:
    """Each stage prunes the integer nearest to ratio × active, the even one of two; stages chain without a gap."""
    active = weights_and_biases(LAYERS)[0]
    for line, ratio in zip(ledger(LAYERS, ratios), ratios, strict=True):
        assert line.active == active
        assert line.pruned == round(Fraction(ratio) * active)  # Fraction rounds half to even
        active = line.kept_weights
        assert line.active - line.pruned == active


# --- the plan -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", ["active", "pruned", "kept_weights", "parameters"])
def test_ledger_off_by_one_is_found(runs, quantity: str) -> None:
    """A planned count that its ratio does not give is a finding."""

    def edit(plan: dict) -> None:
        plan["ledger"]["sparse"][1][quantity] += 1

    runs.edit_plan(edit)
    assert runs.failed() == {"ledger-arithmetic"}


def test_ledger_with_another_ratio_is_found(runs) -> None:
    """The ledger's ratios are the experiment's."""
    runs.edit_plan(lambda plan: plan["ledger"]["sparse"][0].update(ratio="0.31"))
    assert runs.failed() == {"ledger-arithmetic"}


@pytest.mark.parametrize("edit", [lambda ledger: ledger.pop("sparse"), lambda ledger: ledger.update(other=[])])
def test_ledger_of_other_variants_is_found(runs, edit) -> None:
    """Each variant has a ledger, and nothing else has."""
    runs.edit_plan(lambda plan: edit(plan["ledger"]))
    assert runs.failed() == {"ledger-arithmetic"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"reduction": "0.48"}, "the schedule ends at 92 parameters, 42.86 % fewer; 48 % is asked for"),
        ({"parameter_range": [80, 89]}, "the schedule ends at 92 parameters; 80 to 89 are asked for"),
        ({"size_bytes": 300}, "take at least"),
        ({"size_bytes": 700}, "stage-2.safetensors has"),
    ],
)
def test_missed_target_is_found(runs, target: dict, message: str) -> None:
    """A schedule that cannot reach what is asked for is a finding of each of its runs."""
    runs.edit_plan(lambda plan: plan["experiment"].update(target=target))
    found = [f for f in runs.audit().findings if f.check == "schedule-reaches-target"]
    assert {finding.run_id for finding in found} == set(runs.names("sparse"))
    assert any(message in fault["message"] for fault in found[0].data["faults"])


def test_a_variant_s_own_target_is_the_one_that_counts(runs) -> None:
    """The experiment's is met and the variant's is not, and the other way round."""
    own = {"reduction": "0.48"}
    runs.edit_plan(lambda plan: plan["experiment"]["variants"][0].update(target=own))
    found = [finding for finding in runs.audit().findings if finding.check == "schedule-reaches-target"]
    assert {finding.run_id for finding in found} == set(runs.names("sparse"))

    def swap(plan: dict) -> None:
        plan["experiment"]["variants"][0].update(target={"reduction": "0.40"})
        plan["experiment"].update(target=own)

    runs.edit_plan(swap)
    assert "schedule-reaches-target" not in runs.failed()
