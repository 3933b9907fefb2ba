"""The data card: numbers that add up, exclusions that are named."""

from __future__ import annotations

import dataclasses

import pytest

from spinn.data import card_rows, describe, load
from spinn.data.card import grouped
from spinn.data.dataset import Exclusion


@pytest.fixture
def gappy():
    """Simulated cuts, with labels and signals taken away."""
    data = load("simulator")
    sensors = [name for name in data.features if name not in ("time", "DOC", "feed", "steel")]
    data.frame.loc[0:9, "VB"] = float("nan")
    data.frame.loc[5:19, sensors] = float("nan")
    data.frame["thermal"] = float("nan")
    gone = (*(Exclusion("1", run, "label", "lost") for run in (1, 2)), Exclusion("2", 1, "signals", "lost"))
    return dataclasses.replace(data, exclusions=gone)


def test_labelled_and_recorded_cuts_partition_all_cuts(gappy):
    """The four groups are counted right and sum to the number of cuts."""
    rows = dict(card_rows(gappy))
    groups = [f"{label}, {signal} usable signals" for label in ("with VB", "no VB") for signal in ("with", "no")]
    assert [int(rows[group]) for group in groups] == [len(gappy.frame) - 20, 10, 5, 5]
    assert sum(int(rows[group]) for group in groups) == int(rows["cuts"])


def test_a_target_without_labels_is_not_measured(gappy):
    """The card says that it is neither trained on nor reported."""
    assert dict(card_rows(gappy))["labelled: thermal displacement"].startswith("not measured")
    assert dict(card_rows(load("simulator")))["labelled: thermal displacement"].endswith("cuts, 0 without")


def test_exclusions_are_counted_by_reason_and_named(gappy):
    """What was left out stands in the table as counts and below it cut by cut."""
    assert dict(card_rows(gappy))["exclusions"] == "label: 2 (lost); signals: 1 (lost)"
    assert "label, 2: lost: 1/1, 1/2" in describe(gappy)
    assert {key: len(cuts) for key, cuts in grouped(gappy.exclusions).items()} == {
        ("label", "lost"): 2,
        ("signals", "lost"): 1,
    }


def test_the_card_carries_the_fingerprint_and_every_case(gappy):
    """A reader can tell which data this is, and sees each tool."""
    card = describe(gappy)
    assert gappy.fingerprint() in card
    assert "no label" in card
    assert len(card.split("Cases\n\n")[1].splitlines()) == len(gappy.cases)


def test_labels_of_the_table_are_unique():
    """Each line of the table can be looked up by its label."""
    labels = [label for label, _ in card_rows(load("simulator"))]
    assert len(labels) == len(set(labels))
