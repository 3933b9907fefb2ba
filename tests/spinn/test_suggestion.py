"""The suggested schedule is the nearest of those that its docstring speaks of: compared with trying them all."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement, count

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spinn import schedule
from spinn.errors import ScheduleError
from spinn.schedule import Criteria, plan, solve, suggest


def kept(weights: int, ratios: list[Fraction]) -> int:
    """What is left of `weights`."""
    for ratio in ratios:
        weights -= round(ratio * weights)
    return weights


@cache
def shifts(stages: int) -> list[tuple[int, ...]]:
    """Of so many stages, by up to 44 steps each, the nearest to none first."""
    every = combinations_with_replacement(range(45), stages)
    return sorted(every, key=lambda steps: (sum(n * n for n in steps), sum(steps)))


def nearest(weights: int, units: list[int], low: int, high: int) -> list[int] | None:
    """Of all shifts by hundredths, up for a count too high and down for one too low, the one nearest to none."""
    sign = 1 if kept(weights, [Fraction(n, 100) for n in units]) > high else -1
    for shift in shifts(len(units)):
        moved = [min(max(n + sign * by, 0), 99) for n, by in zip(units, shift, strict=True)]
        if low <= kept(weights, [Fraction(n, 100) for n in moved]) <= high:
            return moved
    return None


@given(st.integers(200, 900), st.integers(1, 3), st.integers(15, 45), st.integers(60, 400), st.integers(0, 6))
def test_equal_stages_move_as_little_as_they_can(weights: int, stages: int, units: int, low: int, width: int) -> None:
    """Up and down, to a single count or to a few, where hundredths do."""
    expected = nearest(weights, [units] * stages, low, low + width)
    assume(expected is not None)
    assert expected is not None
    assume(max(expected) - min(expected) <= 6)  # the even shift lies between them
    assume(sum((n - units) ** 2 for n in expected) < 45**2)  # a nearer one has no step that was not tried
    found = suggest((weights, 1), [f"0.{units}"] * stages, Criteria(parameter_range=(low + 1, low + width + 1)))
    assert found == tuple(f"0.{n:02d}" for n in expected)


@pytest.mark.parametrize("parameters", [(11, 20), (5, 11)])
def test_a_ratio_nearer_to_one_than_any_grid_stays_where_it_holds(parameters: tuple[int, int]) -> None:
    """Ten weights of 10¹⁴ are left, at either end of the range."""
    assert suggest((10**14, 1), ["0.9999999999999"], Criteria(parameter_range=parameters)) == ("0.9999999999999",)


def test_an_even_shift_is_found_though_more_would_pass_one() -> None:
    """Two stages of 0.60 down to 0.1 %: nearest within six steps of 0.97 and 0.97, which would do."""
    assert suggest((10**6, 1), [".6", ".6"], Criteria(parameter_range=(0, 1_001))) == ("0.91", "0.99")


@pytest.mark.parametrize("stages", [4, 5, 6])
def test_more_than_four_stages_move_by_nearly_the_same(stages: int) -> None:
    """Within a step of the even shift; the first of those that end inside, the earlier stages moving less."""
    for most in range(150, 190 if stages > 4 else 155):
        ratios = [Fraction(1, 10)] * stages
        even = next(n for n in count() if kept(1_000, [r + Fraction(n, 100) for r in ratios]) <= most)
        reach = 1 if stages > 4 else 6
        shifts = combinations_with_replacement(range(max(even - reach, 0), even + reach), stages)
        least = min(
            (sum(n * n for n in shift), sum(shift), shift)
            for shift in shifts
            if 0 < kept(1_000, [r + Fraction(n, 100) for r, n in zip(ratios, shift, strict=True)]) <= most
        )
        found = suggest((1_000, 1), ["0.10"] * stages, Criteria(parameter_range=(0, most + 1)))
        assert found == tuple(f"0.{10 + n}" for n in least[2])


def test_an_earlier_stage_moves_where_the_last_alone_cannot() -> None:
    """Twenty of a hundred weights are to stay, and the first stage leaves ten."""
    assert suggest((100, 1), [".90", ".10"], Criteria(parameter_range=(21, 21))) == ("0.80", "0.00")


def test_a_tenth_is_not_too_far_for_one_stage() -> None:
    """By more than that the earlier ones move too."""
    assert suggest((100, 1), [".30", ".20"], Criteria(parameter_range=(0, 50))) == ("0.30", "0.30")
    found = suggest((100, 1), [".30", ".20"], Criteria(parameter_range=(0, 49)))
    assert found is not None
    assert found[0] != "0.30"


def test_an_even_shift_may_end_at_the_end_of_the_range() -> None:
    """Five weights are the least that is wanted and 0.26 leaves them; three are the most, and so does 0.12 nearly."""
    assert suggest((21, 1), ["0.34"] * 5, Criteria(parameter_range=(6, 6))) == ("0.26",) * 5
    assert suggest((6, 1), ["0.04"] * 6, Criteria(parameter_range=(3, 4))) == (*["0.12"] * 5, "0.13")


def test_a_stage_stops_short_of_all_while_another_goes_on() -> None:
    """0.2 % of the weights: 0.80 and 0.99; a ratio of 1 on the way would leave none, and end the search too soon."""
    assert suggest((10**6, 1), [".20", ".50"], Criteria(parameter_range=(0, 2_001))) == ("0.80", "0.99")


def test_the_solver_is_asked_where_no_shift_ends_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many stages; and where it finds none either, there is no suggestion."""
    monkeypatch.setattr(schedule, "_nearest", lambda *_: None)
    asked = Criteria(parameter_range=(50, 60))
    assert suggest((100, 1), [".10", ".10", ".10"], asked) == solve((100, 1), asked, stages=3)
    monkeypatch.setattr(schedule, "_free_ratios", lambda *_: None)
    assert suggest((100, 1), [".10"], asked) is None


# --- the solver's own grids -------------------------------------------------------------------------------------------


@given(st.integers(10, 400), st.integers(1, 5), st.data())
def test_a_last_ratio_differs_only_where_no_common_one_fits(weights: int, stages: int, data: st.DataObject) -> None:
    """Then the others are the largest common ratio that prunes too little, and the last the smallest that does."""
    left = data.draw(st.integers(1, weights))
    found = [
        Fraction(text) for text in solve((weights, 1), Criteria(parameter_range=(left + 1, left + 1)), stages=stages)
    ]
    assert kept(weights, found) == left
    digits = next(n for n in (2, 3, 4, 6, 9, 12) if all((ratio * 10**n).denominator == 1 for ratio in found))
    step = Fraction(1, 10**digits)
    assert len(set(found[:-1])) <= 1
    if len(set(found)) == 1:
        assert found[0] == 0 or kept(weights, [found[0] - step] * stages) > left
    else:
        assert kept(weights, [found[0]] * stages) > left > kept(weights, [found[0] + step] * stages)
        assert kept(weights, [*found[:-1], found[-1] - step]) > left


@pytest.mark.parametrize(
    ("weights", "most", "stages", "found"),
    [
        (100, 1, 1, ("0.99",)),
        (10**6, 2_000, 2, ("0.96", "0.96")),
        (100, 100, 3, ("0.00", "0.00", "0.00")),
        (3, 2, 1, ("0.17",)),
        (999, 700, 1, ("0.30",)),  # 699 are left: a weight more than wanted goes, of 1,000 parameters, which is allowed
    ],
)
def test_solved_ratios_at_the_ends_of_their_grid(weights: int, most: int, stages: int, found: tuple[str, ...]) -> None:
    """99 hundredths, none, and a grid that is long enough."""
    assert solve((weights, 1), Criteria(parameter_range=(0, most + 1)), stages=stages) == found


@pytest.mark.parametrize(
    ("weights", "left", "stages", "found"),
    [
        (100, 99, 2, ("0.00", "0.01")),
        (65, 39, 2, ("0.22", "0.23")),
        (58, 49, 4, ("0.04", "0.04", "0.04", "0.05")),
    ],
)
def test_the_last_ratio_makes_up_for_a_common_one(weights: int, left: int, stages: int, found: tuple[str, ...]) -> None:
    """In hundredths, where they do."""
    assert solve((weights, 1), Criteria(parameter_range=(left + 1, left + 1)), stages=stages) == found


def test_ratios_have_few_decimals() -> None:
    """Of a cubic three, where they do; of a hundred stages four, although the target is passed by more than 0.1 %."""
    cubic = solve((18, 512, 512, 512, 256, 2), "0.715", shape="cubic")
    assert max(map(len, cubic)) == len("0.000")
    target = Fraction(3, 10)
    hundred = solve((512, 512), target, stages=100)
    assert set(map(len, hundred)) == {len("0.0000")}
    assert plan((512, 512), hundred)[-1].reduction - target > Fraction(1, 1000)


def test_a_cubic_that_cannot_end_where_it_should() -> None:
    """So few weights that its earlier stages leave the last one no choice."""
    message = "criteria = 20 to 20 parameters: not met by 5 cubic stages; take the uniform shape"
    with pytest.raises(ScheduleError, match=rf"^{message}$"):
        solve((29, 1), Criteria(parameter_range=(20, 20)), stages=5, shape="cubic")
    assert len(solve((29, 1), Criteria(parameter_range=(20, 20)), stages=5)) == 5
