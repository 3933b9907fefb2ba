"""Every refusal of the arithmetic, to the last word: name, value, what was expected, how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from fractions import Fraction
from typing import Any

import jaxtyping
import pytest

from spinn import schedule
from spinn.errors import ScheduleError
from spinn.schedule import Criteria, parse_ratio, parse_reduction, plan, solve

LAYERS = (9, 10)  # 90 weights, 10 biases
NOT_A_RATIO = "a decimal such as 0.30, or a quotient such as 3/10"
NOT_A_SHARE = "a reduction is above 0 and below 1; write 71.5 % as 0.715"
NOT_A_STAGE = "a stage ratio is at least 0 and below 1; write 30 % as 0.30"


@pytest.fixture
def unchecked() -> Generator[None]:
    """Annotations are not looked at, as outside of tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def refusal(call: Callable[[], object]) -> str:
    """The whole message with which `call` is refused."""
    with pytest.raises(ScheduleError, match=r"\A.+\Z") as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse_ratio("1.2"), f"ratio = 1.2: {NOT_A_STAGE}"),
        (lambda: parse_ratio(" 2 "), f"ratio = 2: {NOT_A_STAGE}"),
        (lambda: parse_ratio(Fraction(-1, 3), "own"), f"own = -1/3: {NOT_A_STAGE}"),
        (lambda: parse_ratio(Fraction(3, 2)), f"ratio = 1.50: {NOT_A_STAGE}"),
        (lambda: parse_ratio("-1"), f"ratio = '-1': {NOT_A_RATIO}"),
        (lambda: parse_ratio("1/0"), f"ratio = '1/0': {NOT_A_RATIO}"),
        (lambda: parse_ratio("x" * 90), f"ratio = {'x' * 40!r}: {NOT_A_RATIO}"),
        (lambda: parse_ratio("0." + "1" * 63), f"ratio = {'0.' + '1' * 38!r}: {NOT_A_RATIO}"),
        (lambda: parse_reduction("0"), f"target reduction = 0: {NOT_A_SHARE}"),
        (lambda: parse_reduction("71.5", "own"), f"own = 71.5: {NOT_A_SHARE}"),
        (lambda: parse_reduction("x"), f"target reduction = 'x': {NOT_A_RATIO}"),
        (lambda: plan((3, 0), ["0.3"]), "layers[1] = 0: a width is a whole number of at least 1"),
        (lambda: plan((3,), ["0.3"]), "layers = [3]: at least an input and an output width, such as 18,512,2"),
        (lambda: plan((3, 2), "0.3"), "ratios = '0.3': one string for each stage, such as 0.30, 0.30, 0.24, 0.24"),
        (lambda: plan((3, 2), ["0.3", "1"]), f"ratio[2] = 1: {NOT_A_STAGE}"),
        (lambda: plan((3, 2), ["x"]), f"ratio[1] = 'x': {NOT_A_RATIO}"),
    ],
)
def test_values_without_meaning(call: Callable[[], object], message: str) -> None:
    """A ratio, a share or a width that cannot be is named as the caller calls it, shortened where it is long."""
    assert refusal(call) == message


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse_ratio(wrong(0.3)), "ratio = 0.3: a string such as '0.30', which is held exactly, not a float"),
        (
            lambda: parse_reduction(wrong(1), "own"),
            "own = 1: a string such as '0.30', which is held exactly, not a int",
        ),
        (lambda: plan(wrong((2.0, 3)), ["0.3"]), "layers[0] = 2.0: a width is a whole number of at least 1"),
        (lambda: solve(LAYERS, "0.5", shape=wrong("square")), "shape = 'square': uniform or cubic"),
        (lambda: solve(LAYERS, "0.5", stages=True), "stages = True: at most 100, and more than the 0 fixed first"),
        (lambda: solve(LAYERS, "0.5", stages=wrong(2.5)), "stages = 2.5: at most 100, and more than the 0 fixed first"),
    ],
)
def test_wrong_types(call: Callable[[], object], message: str) -> None:
    """A float has lost what was written before it arrives, and a bool is no number of stages."""
    assert refusal(call) == message


def wrong(value: Any) -> Any:
    """A value of another type than the signature says."""
    return value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reduction": Fraction(0)}, "target reduction = Fraction(0, 1): a Fraction above 0 and below 1"),
        ({"reduction": Fraction(1)}, "target reduction = Fraction(1, 1): a Fraction above 0 and below 1"),
        ({"parameter_range": (5, 2)}, "parameter range = 5:2: at least 0, the smaller number first"),
        ({"parameter_range": (-1, 2)}, "parameter range = -1:2: at least 0, the smaller number first"),
        ({"size_bytes": 0}, "size = 0: a number of bytes of at least 1"),
    ],
)
def test_criteria_without_meaning(arguments: dict[str, Any], message: str) -> None:
    """Both ends of each criterion."""
    assert refusal(lambda: Criteria(**arguments)) == message


def test_criteria_at_their_limits() -> None:
    """The smallest that each may be."""
    asked = Criteria(Fraction(1, 10**9), (0, 0), 1)
    assert (asked.parameter_range, asked.size_bytes) == ((0, 0), 1)
    assert Criteria(parameter_range=(1, 1)).parameter_range == (1, 1)


def test_ratios_at_their_limits() -> None:
    """0 is a ratio; 64 characters are not too many; a sign of the end of a line is not part of it."""
    assert parse_ratio(Fraction(0)) == 0
    assert parse_ratio("0." + "0" * 61 + "1") == Fraction(1, 10**62)
    assert parse_ratio("0.5\n") == Fraction(1, 2)
    assert parse_reduction(" 1/3 ") == Fraction(1, 3)
    assert schedule.check_layers([1, 1]) == (1, 1)


# --- criteria that contradict each other, or the network -------------------------------------------------------------

NONE = (
    "no number of kept weights of the layers 9,10 meets them (100 parameters, of which 10 biases stay, and each layer "
    "keeps a weight); relax one"
)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (Criteria(Fraction(9, 10)), "reduction 90.00 %"),
        (Criteria(parameter_range=(1_101, 12_345)), "1,101 to 12,345 parameters"),
        (Criteria(parameter_range=(0, 10)), "0 to 10 parameters"),
        (Criteria(size_bytes=1_000), "1,000 bytes"),
        (
            Criteria(Fraction(1, 2), (51, 100), 1_000_000),
            "reduction 50.00 %, 51 to 100 parameters, 1,000,000 bytes",
        ),
    ],
)
def test_criteria_that_cannot_be_met(asked: Criteria, wanted: str) -> None:
    """What was asked, and what the network has."""
    assert refusal(lambda: solve(LAYERS, asked)) == f"criteria = {wanted}: {NONE}"


@pytest.mark.parametrize(
    "asked",
    [
        Criteria(Fraction(89, 100)),
        Criteria(parameter_range=(100, 12_345)),
        Criteria(parameter_range=(0, 11)),
        Criteria(Fraction(1, 2), (50, 100)),
        Criteria(size_bytes=schedule.size_on_disk(LAYERS, 1)),
    ],
)
def test_criteria_that_can_just_be_met(asked: Criteria) -> None:
    """One weight from where they could not be."""
    stages = plan(LAYERS, solve(LAYERS, asked))
    assert all(verdict.holds for verdict in schedule.judge(LAYERS, stages, asked))


@pytest.mark.parametrize("size", [schedule.size_on_disk(LAYERS, 1) - 1, schedule.size_on_disk(LAYERS, 0)])
def test_a_size_with_which_no_weight_fits(size: int) -> None:
    """Each layer keeps a weight, which takes four bytes."""
    assert refusal(lambda: solve(LAYERS, Criteria(size_bytes=size))) == f"criteria = {size:,} bytes: {NONE}"


def test_a_size_is_counted_in_integers() -> None:
    """2⁶⁰ + 1 weights, which no float tells from 2⁶⁰, just fit."""
    weights = 2**60 + 1
    asked = Criteria(
        parameter_range=(weights + 1, weights + 1), size_bytes=schedule.size_on_disk((weights, 1), weights)
    )
    assert solve((weights, 1), asked) == ("0.00",) * 4


def test_fixed_stages_that_leave_too_little() -> None:
    """The fixed ratios as written, what they leave, and what was wanted."""
    asked = Criteria(parameter_range=(1_010, 2_000))
    message = "fix-first = .5,1/3: leaves 333 weights, fewer than the 1,000 wanted at the end; fix smaller ratios"
    assert refusal(lambda: solve((100, 10), asked, fix_first=(".5", "1/3"))) == message
    big = Criteria(parameter_range=(10_001, 20_000))
    message = "fix-first = 0.50: leaves 5,000 weights, fewer than the 10,000 wanted at the end; fix smaller ratios"
    assert refusal(lambda: solve((10_000, 1), big, fix_first=(Fraction(1, 2),))) == message
    assert refusal(lambda: solve((9, 10), "0.5", fix_first=("x",))) == f"fix-first[1] = 'x': {NOT_A_RATIO}"


def test_fixed_stages_that_leave_just_enough() -> None:
    """Then the free stages prune nothing."""
    assert solve((100, 10), Criteria(parameter_range=(510, 510)), stages=2, fix_first=(".5",)) == (".5", "0.00")


@pytest.mark.parametrize(("stages", "fixed"), [(0, ()), (101, ()), (2, (".1", ".1"))])
def test_stages_that_cannot_be(stages: int, fixed: tuple[str, ...]) -> None:
    """More than the fixed ones, and at most a hundred."""
    message = f"stages = {stages}: at most 100, and more than the {len(fixed)} fixed first"
    assert refusal(lambda: solve(LAYERS, "0.5", stages=stages, fix_first=fixed)) == message


def test_as_many_stages_as_there_may_be() -> None:
    """A hundred, or one more than the fixed ones; four if nothing is said."""
    assert len(solve((512, 512), "0.5", stages=100)) == 100
    assert len(solve((512, 512), "0.5", stages=2, fix_first=(".1",))) == 2
    assert len(solve((512, 512), "0.5")) == 4
