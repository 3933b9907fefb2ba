"""spinn.physics: laws against their closed forms, residuals as pure numbers, coefficients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinn.errors import InputError
from spinn.physics import (
    HEAT,
    WEAR,
    Coefficients,
    Conditions,
    Motion,
    Scales,
    heat_residual,
    initial_loss,
    mean_over,
    motion_losses,
    wear_residual,
)

VALUES = [
    {"a": -4.5, "b": 0.6, "c": 0.4, "d": 1.2, "g": 0.8, "k": 0.03, "tau": 12.0},
    {"a": -5.1, "b": 0.9, "c": 0.1, "d": -0.3, "g": 0.1, "k": 0.01, "tau": 40.0},
]


def _exact(values: list[dict[str, float]] = VALUES, unit: float = 1.0) -> tuple[Motion, Scales, Coefficients]:
    """The closed-form solutions at a few times; lengths in mm (and µm) divided by `unit`.

    VB = (e^(r·g·t) − 1)/g and δ = k·P·τ·(1 − e^(−t/τ)) solve the two laws from a new, cold tool.
    """
    learned = Coefficients.from_dicts(values, dtype=torch.float64)
    c = {name: value[:, None] for name, value in learned.values().items()}
    time = torch.tensor([[1.0, 5.0, 12.0], [2.0, 7.0, 30.0]], dtype=torch.float64)
    doc, feed = torch.tensor([[0.75], [1.5]]).double(), torch.tensor([[0.5], [0.25]]).double()
    steel, power = torch.tensor([[1.0], [0.0]]).double(), torch.tensor([[400.0], [250.0]]).double()
    r = torch.exp(c["a"] + c["b"] * torch.log(doc / 0.75) + c["c"] * torch.log(feed / 0.25) + c["d"] * steel)
    vb, dvb = (torch.exp(r * c["g"] * time) - 1) / c["g"], r * torch.exp(r * c["g"] * time)
    decay = torch.exp(-time / c["tau"])
    delta, ddelta = c["k"] * power * c["tau"] * (1 - decay), c["k"] * power * decay
    ones = torch.ones_like(time)
    motion = Motion(
        state=torch.stack([vb, delta], -1) / unit,
        rate=torch.stack([dvb, ddelta], -1) / unit,
        conditions=Conditions(doc * ones, feed * ones, steel * ones, power * ones),
        weight=ones,
        powered=ones,
    )
    scales = Scales(torch.tensor([[0.2, 30.0]] * 2).double() / unit, torch.tensor([[0.02, 3.0]] * 2).double() / unit)
    return motion, scales, learned


def test_exact_solutions_have_no_residual():
    """The closed-form solutions of both laws leave a residual of rounding size in float64, per run."""
    motion, scales, learned = _exact()
    assert wear_residual(motion, scales, learned.values()).abs().max() < 1e-13
    assert heat_residual(motion, scales, learned.values()).abs().max() < 1e-13


@pytest.mark.parametrize("name", [*WEAR, *HEAT])
def test_a_wrong_coefficient_leaves_a_residual(name):
    """Each coefficient matters: 10 % off in one of them is seen by the residual of its own law, and by no other."""
    wrong = [{**row, name: row[name] * 1.1} for row in VALUES]
    motion, scales, _ = _exact()
    values = Coefficients.from_dicts(wrong, dtype=torch.float64).values()
    own, other = wear_residual(motion, scales, values), heat_residual(motion, scales, values)
    if name in HEAT:
        own, other = other, own
    assert own.abs().max() > 1e-4
    assert other.abs().max() < 1e-13


@settings(deadline=None, max_examples=20)
@given(st.floats(1e-3, 1e3))
def test_residuals_do_not_depend_on_the_unit_of_length(unit):
    """Terms are pure numbers: another unit of length (laws and scales converted alike) leaves them as they are."""
    off = [{**row, "a": row["a"] + 0.3, "k": row["k"] * 1.5} for row in VALUES]
    converted = [{**r, "a": r["a"] - math.log(unit), "g": r["g"] * unit, "k": r["k"] / unit} for r in off]
    motion, scales, _ = _exact()
    motion2, scales2, _ = _exact(unit=unit)
    before = motion_losses(("wear_rate", "heat"), motion, scales, Coefficients.from_dicts(off).values())
    after = motion_losses(("wear_rate", "heat"), motion2, scales2, Coefficients.from_dicts(converted).values())
    for term, loss in before.items():
        torch.testing.assert_close(after[term], loss, rtol=1e-4, atol=1e-8)


def test_monotone_and_nonnegative_see_only_what_is_forbidden():
    """Growing positive wear costs nothing; falling or negative wear costs its square, in units of the scales."""
    motion, scales, learned = _exact()
    names = ("monotone", "nonnegative")
    assert all(loss.eq(0).all() for loss in motion_losses(names, motion, scales, learned.values()).values())
    mirrored = Motion(-motion.state, -motion.rate, motion.conditions, motion.weight, motion.powered)
    losses = motion_losses(names, mirrored, scales, learned.values())
    torch.testing.assert_close(losses["monotone"], (motion.rate[..., 0] / 0.02).square().mean(1))
    torch.testing.assert_close(losses["nonnegative"], (motion.state[..., 0] / 0.2).square().mean(1))


def test_only_what_is_asked_for_is_computed():
    """A term that is not named is not computed: laws without coefficients are not missed."""
    motion, scales, _ = _exact()
    assert set(motion_losses(("monotone",), motion, scales, {})) == {"monotone"}
    with pytest.raises(KeyError, match="a"):
        motion_losses(("wear_rate",), motion, scales, {})


def test_initial_loss_is_zero_for_a_new_cold_tool_only():
    """No wear and no displacement at time 0 cost nothing; a target without labels does not count."""
    _, scales, _ = _exact()
    start = torch.zeros(2, 3, 2, dtype=torch.float64)
    wear_only = torch.tensor([1.0, 0.0]).double().expand(2, 3, 2)
    assert initial_loss(start, torch.ones_like(start), scales).eq(0).all()
    start[..., 0], start[..., 1] = 0.1, 1e6
    torch.testing.assert_close(initial_loss(start, wear_only, scales), torch.full((2,), 0.25).double())


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.integers(0, 4), st.floats(-1e30, 1e30))
def test_padding_never_enters_a_mean(values, padding, rubbish):
    """The mean over rows is that of the rows with weight, whatever finite values fill the stack up."""
    row = torch.tensor([values + [rubbish] * padding], dtype=torch.float64)
    weight = torch.tensor([[1.0] * len(values) + [0.0] * padding], dtype=torch.float64)
    torch.testing.assert_close(mean_over(row, weight), torch.tensor([math.fsum(values) / len(values)]).double())


def test_a_mean_without_rows_is_zero():
    """A run without weight contributes 0, not NaN."""
    assert mean_over(torch.ones(1, 3), torch.zeros(1, 3)).item() == 0.0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(1e-6, 1e3), min_size=7, max_size=7), st.sampled_from([WEAR, HEAT, (*WEAR, *HEAT), ()]))
def test_coefficients_survive_the_way_to_a_record_and_back(numbers, names):
    """as_dicts gives physical units; from_dicts restores the same coefficients, in any selection of them."""
    values = dict(zip(names, numbers, strict=False))
    learned = Coefficients.from_dicts([values, values], dtype=torch.float64)
    assert bool(learned.parameters()) == bool(names)
    for back in learned.as_dicts():
        assert back == pytest.approx(values, rel=1e-12)


def test_positive_coefficients_stay_positive():
    """However far the optimizer goes, g, k and τ are above zero: they are learned as logarithms."""
    learned = Coefficients.from_dicts(VALUES, dtype=torch.float64)
    with torch.no_grad():
        learned.raw.sub_(50.0)
    for row in learned.as_dicts():
        assert all(row[name] > 0 for name in ("g", "k", "tau"))
        assert row["a"] < -50


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"k": 1.0, "tau": 2.0}, {"k": 1.0}], "coefficients of run 1 = .*expected .*'tau'"),
        ([{"k": 1.0, "tau": 0.0}], "coefficient tau of run 0 = 0.0: a finite number above 0"),
        ([{"k": math.nan, "tau": 1.0}], "coefficient k of run 0 = nan"),
        ([{"mu": 1.0}], "expected"),
    ],
)
def test_impossible_coefficients_are_refused(values, message):
    """Runs that differ, unknown names and values outside their range are named."""
    with pytest.raises(InputError, match=message):
        Coefficients.from_dicts(values)
