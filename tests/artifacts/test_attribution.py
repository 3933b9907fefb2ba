"""The table of pruning and physics says what the records say, and claims no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from artifacts import attribution
from artifacts.results import Results


def told(found: Results, change: Any) -> Results:
    """The results with what `change` makes of each stage's attribution."""
    records = []
    for record in found.records:
        stages = [
            stage.model_copy(update={"attribution": change(stage.attribution)}) if stage.attribution else stage
            for stage in record.stages
        ]
        records.append(record.model_copy(update={"stages": tuple(stages)}))
    return replace(found, records=tuple(records))


def test_means_and_ranges_over_runs(found: Results):
    """A row for each variant, stage and choice, with the mean and the range of each score."""
    table = attribution.table(found)
    assert table is not None
    rows = table.frame
    assert list(rows["variant"]) == ["sparse"] * 6 + ["first-version †"] * 6
    assert list(rows["choice"])[:3] == ["the pruner's", "by magnitude", "at random"]
    records = [record for record in found.records if record.variant == "sparse"]
    values = [(record.stages[2].attribution or {})["data_random"] for record in records]
    row = rows.iloc[5]
    assert (row["stage"], row["runs"]) == ("2", len(records))
    assert row["data"] == pytest.approx(sum(values) / len(values))
    assert (row["data low"], row["data high"]) == (min(values), max(values))
    assert (rows["physics"][0], rows["data"][0]) == (rows["physics"][1], rows["data"][1])  # it prunes by magnitude


def test_the_gain_is_the_mean_over_runs_and_stages_of_the_pruner_less_chance(found: Results):
    """Of the variant the work stands for; an interval over cases; nothing where no physics term was on."""
    stages = [stage for record in found.records if record.variant == "sparse" for stage in record.stages]
    areas = [stage.attribution for stage in stages if stage.attribution]
    gains = [area["physics_signed_pruner"] - area["physics_signed_random"] for area in areas]
    gain = attribution.gain(found, "physics_signed", "sparse")
    assert gain.value == pytest.approx(sum(gains) / len(gains))
    assert gain.value is not None
    assert gain.low is not None
    assert gain.high is not None
    assert gain.low < gain.value < gain.high
    steady = {"physics_signed_pruner": 0.75, "physics_signed_random": 0.5}
    told_so = attribution.gain(told(found, lambda attributed: {**attributed, **steady}), "physics_signed", "sparse")
    assert (told_so.value, told_so.low, told_so.high) == (0.25, 0.25, 0.25)
    assert attribution.gain(told(found, lambda attributed: None), "physics_signed", "sparse").value is None


@pytest.mark.parametrize(
    ("own", "at_random", "gain", "said"),
    [
        (0.75, 0.5, 0.25, "above zero, as the claim has it"),
        (0.25, 0.5, -0.25, "below zero: against the claim"),
        (0.5, 0.5, 0.0, "on both sides of zero: these numbers do not show the claim"),
    ],
)
def test_what_the_numbers_say_of_the_claim(found: Results, own: float, at_random: float, gain: float, said: str):
    """The pruner is compared with the random choice of the same run and stage; the interval over cases decides."""
    areas = {"physics_signed_pruner": own, "physics_signed_random": at_random}
    table = attribution.link(told(found, lambda attributed: {**attributed, **areas}))
    assert table is not None
    row = table.frame[table.frame["variant"] == "sparse"].iloc[0]
    assert (row[attribution.GAIN], row["where the interval lies"]) == (gain, said)
    assert table.numbers()["physics-link.sparse.signed-less-random-s"].value == gain
    assert any("associations at the moment of pruning" in note for note in table.notes)


def test_a_variant_that_prunes_at_random_is_the_control(found: Results):
    """No verdict on the claim is read off it, and a note says what its distance from zero is; nothing prints as 0."""
    areas = {"physics_signed_pruner": 0.4999999, "physics_signed_random": 0.5}
    results = told(found, lambda attributed: {**attributed, **areas})
    table = attribution.link(results)
    assert table is not None
    assert not any(note.startswith("The control") for note in table.notes)
    assert [row[1] for row in table.shown()[1:]] == ["-1.0e-07"] * 2
    first, second = results.plan.experiment.variants
    variants = (first, second.model_copy(update={"pruner": "random"}))
    experiment = results.plan.experiment.model_copy(update={"variants": variants})
    drawn = attribution.link(replace(results, plan=results.plan.model_copy(update={"experiment": experiment})))
    assert drawn is not None
    assert list(drawn.frame["where the interval lies"]) == ["below zero: against the claim", attribution.CONTROL]
    assert any(note.startswith("The control") for note in drawn.notes)


def test_without_physics_there_is_no_table(found: Results):
    """Records of runs whose physics terms were off say nothing."""
    assert attribution.table(told(found, lambda attributed: None)) is None
    assert attribution.link(told(found, lambda attributed: None)) is None
