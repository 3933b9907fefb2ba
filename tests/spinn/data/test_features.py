"""Features: which columns there are, and what a statistic over the steady cut is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinn.data import features


@pytest.mark.parametrize("table", [features.NASA, features.SIMULATOR])
def test_a_table_has_eighteen_distinct_features_with_the_process_first(table):
    """Both tables give the network 18 inputs, time, DOC, feed and steel before any sensor."""
    names = features.names(table)
    assert len(set(names)) == len(names) == 18
    assert names[:4] == features.PROCESS


@pytest.mark.parametrize("table", [features.NASA, features.SIMULATOR])
def test_no_identifier_is_a_feature_and_every_feature_says_what_it_is(table):
    """Neither case nor run is an input; each input has a unit and a definition."""
    assert not set(features.names(table)) & set(features.IDENTIFIERS)
    assert all(feature.unit and feature.definition for feature in table)


def test_entry_and_exit_do_not_reach_the_statistics():
    """Whatever happens outside the steady part of a recording changes no statistic."""
    quiet, loud = np.ones(1000), np.ones(1000)
    loud[:400], loud[750:] = 9.0, -9.0
    assert features.statistics("smcDC", quiet) == features.statistics("smcDC", loud)


def test_statistics_of_a_sine_are_the_closed_forms():
    """A sine of amplitude A has rectified mean 2A/π, deviation A/√2 and 95th percentile A·sin(0.95·π/2)."""
    samples = np.arange(20_000)
    sine = 3.0 * np.sin(2 * np.pi * samples / 700)  # ten whole periods in the steady part
    found = features.statistics("smcAC", sine)
    assert found["smcAC_mean"] == pytest.approx(6 / np.pi, rel=1e-3)
    assert found["smcAC_std"] == pytest.approx(3 / np.sqrt(2), rel=1e-3)
    assert found["smcAC_peak"] == pytest.approx(3 * np.sin(0.95 * np.pi / 2), rel=1e-3)


def test_a_direct_channel_keeps_its_sign():
    """Only an alternating channel is rectified."""
    assert features.statistics("smcDC", np.full(100, -2.0))["smcDC_mean"] == -2.0
    assert features.statistics("smcAC", np.full(100, -2.0))["smcAC_mean"] == 2.0


@given(st.sets(st.integers(0, 199), max_size=40), st.floats(-10, 10))
def test_missing_samples_are_left_out_of_the_statistics(missing, level):
    """NaN samples change nothing as long as enough others are left."""
    signal = np.full(200, level)
    signal[list(missing)] = np.nan
    assert features.statistics("vib_table", signal)["vib_table_mean"] == pytest.approx(level, abs=1e-6)


def test_too_few_samples_give_no_statistic():
    """Below the least number of finite samples a statistic is NaN, not a guess."""
    enough = features.LEAST_SAMPLES / (features.STEADY[1] - features.STEADY[0])
    assert np.isnan(features.statistics("smcDC", np.ones(int(enough) - 5))["smcDC_mean"])
    assert features.statistics("smcDC", np.ones(int(enough) + 5))["smcDC_mean"] == 1.0


def test_a_channel_without_signal_is_nan_and_the_others_are_not():
    """An empty or absent channel leaves its features missing; every feature of the table is there."""
    found = features.channel_features({"smcDC": np.ones(90), "AE_table": np.empty(0)}, features.NASA)
    assert list(found) == [name for name in features.names(features.NASA) if name not in features.PROCESS]
    assert found["smcDC_mean"] == 1.0
    assert np.isnan(found["AE_table_mean"])
    assert np.isnan(found["smcAC_std"])
