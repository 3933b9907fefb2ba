"""The ledger of neurons is exact, its sizes bound the files, and the advice about it holds."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spinn import checkpoint, schedule, schedule_check, variants
from spinn.errors import ScheduleError
from spinn.neurons import SCORES
from spinn.schedule import Criteria, compact_size_on_disk, judge, plan, plan_neurons
from verify import strategies

DENSE = (18, 512, 512, 512, 256, 2)
STRUCTURED = ["0.25", "0.25", "0.25", "0.26"]
AS_LARGE = ["0.09", "0.09", "0.20", "0.20"]

layers = strategies.widths(max_width=40).filter(lambda widths: len(widths) > 2)
ratios = strategies.schedules(max_stages=6)


@pytest.mark.parametrize(
    ("given_ratios", "hidden", "parameters", "reduction"),
    [
        (STRUCTURED, [(384, 384, 384, 192), (288, 288, 288, 144), (216, 216, 216, 108), (160, 160, 160, 80)], 67_602,
         "89.86 %"),
        (AS_LARGE, [(466, 466, 466, 233), (424, 424, 424, 212), (339, 339, 339, 170), (271, 271, 271, 136)], 189_839,
         "71.53 %"),
    ],
)  # fmt: skip
def test_published_schedules(given_ratios, hidden, parameters, reduction):
    """The structured variant ends at 160-160-160-80, the other one among 180,000 to 210,000 parameters."""
    stages = plan_neurons(DENSE, given_ratios)
    assert [stage.widths for stage in stages] == [(18, *widths, 2) for widths in hidden]
    assert (stages[-1].parameters, schedule.percent(stages[-1].reduction)) == (parameters, reduction)


@given(layers, ratios)
def test_counts_are_those_of_fully_connected_networks(widths, chosen):
    """Each hidden layer loses the integer nearest to its share of what it has; inputs and outputs stay."""
    try:
        stages = plan_neurons(widths, chosen)
    except ScheduleError:
        assume(False)
    before = tuple(widths)
    for number, (stage, text) in enumerate(zip(stages, chosen, strict=True), start=1):
        assert stage.widths is not None
        assert stage.widths == (before[0], *(n - round(Fraction(text) * n) for n in before[1:-1]), before[-1])
        assert min(stage.widths) > 0
        assert (stage.stage, stage.ratio_text, stage.ratio) == (number, text, Fraction(text))
        assert stage.active == schedule.prunable_weights(before)
        assert stage.kept_weights == stage.active - stage.pruned == schedule.prunable_weights(stage.widths)
        assert stage.parameters == schedule.total_parameters(stage.widths)
        assert 1 - stage.reduction == Fraction(stage.parameters, schedule.total_parameters(widths))
        assert 1 - stage.weight_sparsity == Fraction(stage.kept_weights, schedule.prunable_weights(widths))
        before = stage.widths


@pytest.mark.parametrize(
    ("widths", "chosen", "message"),
    [
        ((3, 2), ["0.3"], "layers = [3, 2]: no hidden layer whose neurons could go; prune single weights"),
        ((3, 8, 3, 2), ["0.5", "0.8"], "ratio[2] = 0.8: layers[2] loses all its neurons; prune less"),
        ((3, 8, 2), ["0.5", "1"], "ratio[2] = 1: a stage ratio is at least 0 and below 1; write 30 % as 0.30"),
        ((3, 8, 2), [], "ratios = []: one string for each stage, such as 0.30, 0.30, 0.24, 0.24"),
        ((3, 0, 2), ["0.5"], "layers[1] = 0: a width is a whole number of at least 1"),
    ],
)
def test_what_cannot_be_is_refused(widths, chosen, message):
    """A layer without neurons is no layer; the rest is refused as for single weights."""
    with pytest.raises(ScheduleError, match=r"\A.+\Z") as caught:
        plan_neurons(widths, chosen)
    assert str(caught.value) == message


@given(layers, st.integers(0, 12))
def test_size_bound_covers_the_file(widths, coefficients):
    """No checkpoint of a network without its removed neurons is larger than its bound, nor 4 kB smaller."""
    weights = tuple(np.ones((b, a), np.float32) for a, b in pairwise(widths))
    biases = tuple(np.zeros(width, np.float32) for width in widths[1:])
    neurons = tuple(np.arange(width, dtype=np.int32) for width in widths[1:-1])
    learned = {f"coefficient{index:05d}": 1.0 for index in range(coefficients)}
    file = checkpoint.encode(checkpoint.Checkpoint(weights, biases, None, learned, neurons))
    assert len(file) <= compact_size_on_disk(widths) <= len(file) + 4_000


@pytest.mark.parametrize(("widths", "content", "wide"), [((1, 1, 1), 20, "999"), ((9, 8, 7, 9), 920, "9999")])
def test_size_bound_by_hand(widths, content, wide):
    """Parameters and neurons at 4 bytes, twelve coefficients, a header with all numbers at their widest, padding."""
    names = [f"layers.{i}.{part}" for i in range(len(widths) - 1) for part in ("weight", "bias", "neurons")]
    names += ["physics.abcdefghijklmnop"] * 12
    number = int(wide)
    entry = {"dtype": "F32", "shape": [number, number], "data_offsets": [number] * 4}
    entries = [f'"{name}":{json.dumps(entry, separators=(",", ":"))}' for name in names]
    header = ",".join([f'{{"__metadata__":{{"layers":"{list(widths)}"}}', *entries]) + "}"
    assert compact_size_on_disk(widths) == content + 12 * 8 + 8 + len(header) + 7


def test_the_size_that_is_judged_is_the_small_networks():
    """No mask is stored where neurons went."""
    stages = plan_neurons(DENSE, STRUCTURED)
    (verdict,) = judge(DENSE, stages, Criteria(size_bytes=1))
    assert verdict.value == compact_size_on_disk((18, 160, 160, 160, 80, 2))


def test_the_ledger_of_a_variant_is_its_pruners():
    """Every pruner that removes neurons is named after a score, and plans neurons; the others plan weights."""
    assert [name.removeprefix("neurons-") for name in variants.NEURON_PRUNERS] == list(SCORES)
    for pruner in variants.PRUNERS:
        planned = plan_neurons if pruner in variants.NEURON_PRUNERS else plan
        assert variants.ledger(pruner, DENSE, STRUCTURED) == planned(DENSE, STRUCTURED)


@pytest.mark.parametrize(
    ("chosen", "criteria", "suggestion"),
    [
        (STRUCTURED, Criteria(parameter_range=(180_000, 210_000)), ("0.15", "0.15", "0.15", "0.16")),
        (AS_LARGE, Criteria(reduction=Fraction(3, 4)), ("0.11", "0.11", "0.22", "0.22")),
        (["0.5"], Criteria(parameter_range=(240_500, 241_000)), ("0.403",)),
    ],
)
def test_the_advice_holds_and_fewer_steps_do_not(chosen, criteria, suggestion):
    """All ratios move alike; a step back towards what was asked for, the suggestion does not hold."""
    found = schedule_check.check(DENSE, chosen, criteria, pruner="neurons-incoming")
    assert not found.holds
    assert found.suggestion == suggestion
    assert schedule_check.check(DENSE, suggestion, criteria, pruner="neurons-incoming").holds
    step = Fraction(1, 10 ** (len(suggestion[0]) - 2))
    moved = [Fraction(text) - (step if Fraction(text) > Fraction(old) else -step) for text, old in
             zip(suggestion, chosen, strict=True)]  # fmt: skip
    assert not all(verdict.holds for verdict in judge(DENSE, plan_neurons(DENSE, moved), criteria))
    assert "nearest schedule that holds: " + ",".join(suggestion) in found.as_text()


def test_where_nothing_holds_the_reason_is_given():
    """No widths of at least 1 come to so few parameters."""
    found = schedule_check.check((18, 8, 2), ["0.3"], Criteria(parameter_range=(1, 5)), pruner="neurons-incoming")
    assert found.suggestion is None
    assert (
        "no schedule holds: all ratios shifted alike, in steps of 0.001, meet the criteria nowhere" in found.as_text()
    )


def test_advice_on_single_weights_is_the_schedules_own():
    """The dispatch changes nothing for them."""
    criteria, chosen = Criteria(reduction=Fraction(7, 10)), ["0.30", "0.30", "0.20", "0.20"]
    assert variants.suggest("global-magnitude", DENSE, chosen, criteria) == schedule.suggest(DENSE, chosen, criteria)
