"""The NASA file: the original layout, the faults of its recordings, the real decimated file, and bad files."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.io
from scipy.optimize import least_squares

from spinn.data import card_rows, describe, features, load, nasa
from spinn.errors import DataError

ORDER = (*nasa.PROCESS, *nasa.CHANNELS)


def a_run(case: int = 3, run: int = 1, samples: int = 9000, **changes: object) -> dict[str, Any]:
    """The fields of one run in the original layout: 1×1 parameters, `[samples, 1]` channels."""
    generator = np.random.default_rng(0)
    signals = {name: 1.0 + 0.1 * generator.standard_normal((samples, 1)) for name in nasa.CHANNELS}
    process = {"case": case, "run": run, "VB": 0.1 * run, "time": 2 * run, "DOC": 1.5, "feed": 0.5, "material": 1}
    return {**process, **signals, **changes}


def save(path, runs, fields=ORDER):
    """Write runs as the struct array `mill`, 1×n, as the published file has it."""
    mill = np.empty((1, len(runs)), dtype=[(name, object) for name in fields])
    for index, run in enumerate(runs):
        for name in fields:
            mill[0, index][name] = run[name]
    scipy.io.savemat(path, {"mill": mill})
    return path


@pytest.fixture
def mat(tmp_path):
    """Write runs to a file and return its path."""
    return lambda *runs, **options: save(tmp_path / "some.mat", runs, **options)


@pytest.fixture(scope="session")
def real(mill):
    """The real decimated file, read."""
    return load(str(mill))


def reasons(data, what):
    """Reason of each exclusion of `what`, by case and run."""
    return {(e.case, e.run): e.reason for e in data.exclusions if e.what == what}


# --- the original layout ---------------------------------------------------------------------------------------------


def test_the_original_layout_is_read(mat):
    """9,000 samples a run, parameters as they stand, features over the steady part, no thermal label."""
    first = a_run()
    data = load(str(mat(first, a_run(run=2, material=2), a_run(case=4, VB=math.nan))))
    frame = data.frame
    assert data.source == "nasa (some.mat)"
    assert data.features == features.names(features.NASA)
    assert frame["case"].tolist() == ["3", "3", "4"]
    assert frame["steel"].tolist() == [0, 1, 0]
    assert frame["time"].tolist() == [2.0, 4.0, 2.0]
    assert frame.loc[0, "smcDC_mean"] == pytest.approx(first["smcDC"][3600:6750].mean(), abs=1e-6)
    assert not np.isnan(frame[list(data.features)].to_numpy(float)).any()
    assert data.measured_targets == ("VB",)
    assert np.isnan(frame["power"].to_numpy(float)).all()
    assert "9000 samples a run (250 Hz over 36 s) in 3 of 3 recordings" in data.notes
    assert not any("aliased" in note for note in data.notes)
    assert reasons(data, "label") == {("4", 1): "no flank wear (VB) in the file"}


@pytest.mark.parametrize(("samples", "rate"), [(90, "2.5"), (4500, "125"), (9000, "250")])
def test_the_sampling_rate_follows_from_the_number_of_samples(mat, samples, rate):
    """A recording lasts 36 s, however often it was sampled."""
    data = nasa.read(mat(a_run(samples=samples)))
    assert f"{samples} samples a run ({rate} Hz over 36 s)" in data.notes[0]


def test_rows_come_by_case_and_time_whatever_the_file_says(mat):
    """The published file does not list its cases in order; the frame does."""
    data = nasa.read(mat(a_run(case=12, run=3), a_run(case=3, run=2), a_run(case=3, run=1), a_run(case=2, run=4)))
    assert list(zip(data.frame["case"], data.frame["run"], strict=True)) == [("2", 4), ("3", 1), ("3", 2), ("12", 3)]


# --- recordings that are missing or corrupt --------------------------------------------------------------------------


def test_large_case_numbers_stay_apart(mat):
    """A case is named by all of its digits: two tools of a long series are not one."""
    runs = [a_run(case=case, samples=90) for case in (1000001, 1000002)]
    assert load(str(mat(*runs))).cases == ("1000001", "1000002")


def spoiled(value: float, share: float) -> np.ndarray:
    """A channel whose first samples are `value`."""
    signal = np.ones((9000, 1))
    signal[: round(9000 * share)] = value
    return signal


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (spoiled(np.nan, 0.06), r"corrupt: 540 of 9000 samples of smcDC are not finite"),
        (spoiled(np.inf, 0.06), r"corrupt: 540 of 9000 samples of smcDC are not finite"),
        (spoiled(1e30, 1 / 9000), r"corrupt: smcDC reaches 1e\+30 V, beyond 20 V"),
        (spoiled(-21.0, 1 / 9000), r"corrupt: smcDC reaches 21 V, beyond 20 V"),
    ],
)
def test_a_corrupt_recording_is_excluded_by_its_content_and_its_row_stays(mat, signal, reason):
    """All channels of a corrupt run are missing, its label and parameters are kept, the reason is stated."""
    data = nasa.read(mat(a_run(), a_run(run=2, smcDC=signal)))
    row = data.frame.iloc[1]
    assert row["VB"] == pytest.approx(0.2)
    assert row[[name for name in data.features if name not in features.PROCESS]].isna().all()
    assert list(reasons(data, "signals")) == [("3", 2)]
    assert re.search(reason, reasons(data, "signals")["3", 2])


def test_single_missing_samples_do_not_cost_a_recording(mat):
    """Up to a twentieth may be missing: the statistics are over the rest, and a note says so."""
    data = nasa.read(mat(a_run(smcDC=spoiled(np.nan, 0.05))))
    assert not reasons(data, "signals")
    assert data.frame.loc[0, "smcDC_mean"] == 1.0
    assert "single samples are missing in 3/1: the statistics are over the others" in data.notes


def test_the_documented_corrupt_runs_are_known_even_when_their_samples_look_plausible(mat):
    """Runs 17 and 94 (cases 2 and 12, run 1) are excluded as documented, and noted where they have no recording."""
    empty = dict.fromkeys(nasa.CHANNELS, np.empty((0, 1)))
    data = nasa.read(mat(a_run(case=2), a_run(case=3), a_run(case=12, **empty)))
    assert reasons(data, "signals") == {
        ("2", 1): "corrupt; run 17 (from 0) is documented as corrupt",
        ("12", 1): "no recording in the file",
    }
    assert "run 94 (from 0), case 12 run 1: documented as corrupt; this file holds no recording of it" in data.notes


def test_a_recording_of_another_length_is_only_a_note(mat):
    """Length alone is no fault."""
    data = nasa.read(mat(a_run(), a_run(run=2), a_run(run=3, samples=15360)))
    assert not data.exclusions
    assert "1 recording has 15360 samples instead of 9000" in data.notes


def test_empty_channels_are_missing_and_said_to_be(mat):
    """A channel that no run has is a note; a run without any is an exclusion."""
    empty = dict.fromkeys(nasa.CHANNELS, np.empty((0, 1)))
    data = nasa.read(mat(a_run(AE_table=np.empty((0, 1))), a_run(run=2, **empty)))
    assert reasons(data, "signals") == {("3", 2): "no recording in the file"}
    assert "AE_table: no usable recording in any run, its features are missing everywhere" in data.notes
    assert ("features without any value", "AE_table_mean") in card_rows(data)


def test_falling_wear_and_single_runs_are_noted_and_kept(mat):
    """Labels are kept as measured; the card says where wear falls and which case has one run."""
    data = nasa.read(mat(a_run(VB=0.3), a_run(run=2, VB=math.nan), a_run(run=3, VB=0.2), a_run(case=6)))
    assert data.frame["VB"].tolist()[0::2] == [0.3, 0.2]
    assert "case 3: VB falls at run 3; wear cannot, the labels are kept as measured" in data.notes
    assert any(note.startswith("case 6: a single run") for note in data.notes)


# --- the real file ---------------------------------------------------------------------------------------------------


def test_all_167_real_runs_are_accounted_for(real):
    """Labelled and unlabelled, with and without signals: the four groups of the card sum to 167."""
    rows = dict(card_rows(real))
    assert len(real.frame) == 167
    assert len(real.cases) == 16
    groups = [f"{label}, {signal} usable signals" for label in ("with VB", "no VB") for signal in ("with", "no")]
    assert [int(rows[group]) for group in groups] == [133, 13, 0, 21]
    assert rows["labelled: flank wear VB"] == "146 of 167 cuts, 21 without"
    assert rows["labelled: thermal displacement"].startswith("not measured")
    assert len(reasons(real, "label")) == 21
    assert len(reasons(real, "signals")) == 34


def test_the_real_run_17_is_corrupt_by_content_and_by_document(real):
    """The decimated file kept 76 of its 90 samples; the recording is not used."""
    assert reasons(real, "signals")["2", 1] == (
        "corrupt: 14 of 90 samples of smcAC are not finite; run 17 (from 0) is documented as corrupt"
    )


def test_the_real_labels_and_parameters_are_the_published_ones(real, mill):
    """Every case, run, time, depth, feed, material and label agrees with the separate table of labels."""
    labels = pd.read_csv(mill.parent / "labels.csv").sort_values(["case", "time"])
    for name in ("run", "time", "DOC", "feed", "VB"):
        np.testing.assert_array_equal(real.frame[name].to_numpy(float), labels[name].to_numpy(float))
    assert real.frame["case"].tolist() == labels["case"].astype(str).tolist()
    assert (real.frame["steel"] + 1).tolist() == labels["material"].tolist()


def test_the_real_data_card_tells_a_stranger_what_is_missing(real):
    """Each exclusion is named with its reason and its cut, and the known oddities are noted."""
    card = describe(real)
    for exclusion in real.exclusions:
        assert exclusion.reason in card
        assert f"{exclusion.case}/{exclusion.run}" in card
    assert "case 1: VB falls at run 9, 17" in card
    assert "case 6: a single run" in card
    assert "(2.5 Hz over 36 s) in 134 of 134 recordings" in card


def test_the_wear_law_reaches_its_known_score_on_the_real_labels(real):
    """Four coefficients, each case left out in turn: R² 0.886 and MAE 0.065 mm, as published for this law."""
    cuts = real.frame[real.frame["VB"].notna()]
    case, VB, time = (cuts[name].to_numpy() for name in ("case", "VB", "time"))
    design = np.column_stack(
        [np.ones(len(cuts)), np.log(cuts["DOC"] / 0.75), np.log(cuts["feed"] / 0.25), cuts["steel"]]
    )
    predicted = np.empty_like(VB)
    for name in real.cases:
        train, test = case != name, case == name
        found = least_squares(lambda p, t=train: np.exp(design[t] @ p) * time[t] - VB[t], [-5, 0.5, 0.5, 1]).x
        predicted[test] = np.exp(design[test] @ found) * time[test]
    assert 1 - ((VB - predicted) ** 2).sum() / ((VB - VB.mean()) ** 2).sum() == pytest.approx(0.886, abs=0.002)
    assert np.abs(VB - predicted).mean() == pytest.approx(0.065, abs=0.001)


def test_real_spindle_current_responds_to_wear(real):
    """A sanity check of the steady window: within cases, the direct current grows with wear."""
    correlations = [
        cuts["smcDC_mean"].corr(cuts["VB"])
        for _, cuts in real.frame.groupby("case")
        if cuts[["smcDC_mean", "VB"]].notna().all(axis=1).sum() >= 4
    ]
    assert np.median(correlations) > 0.7


# --- files that cannot be read ---------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path):
    """The message says how to get one."""
    with pytest.raises(DataError, match=r"none\.mat: no such file; give a mill\.mat, or run `spinn data fetch nasa`"):
        load(str(tmp_path / "none.mat"))


@pytest.mark.parametrize("content", [b"", b"hello\n", b"case,run,VB\n1,1,0.1\n" * 100, bytes(200), b"\x89HDF\r\n" * 99])
def test_a_file_that_only_has_the_name(tmp_path, content):
    """Text, zeros, nothing, another format: one line, no traceback."""
    path = tmp_path / "text.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"text\.mat: not a whole MATLAB 5 file") as caught:
        load(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_truncated_file(tmp_path, share, compressed):
    """Wherever a file is cut off, it is refused as broken."""
    path = save(tmp_path / "whole.mat", [a_run(samples=90), a_run(run=2, samples=90)])
    if compressed:
        scipy.io.savemat(path, {"mill": scipy.io.loadmat(path)["mill"]}, do_compression=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"whole\.mat: (not a whole MATLAB 5 file|no variable 'mill')"):
        nasa.read(path)


def test_the_real_file_cut_anywhere_or_with_a_byte_changed_never_ends_in_a_traceback(tmp_path, mill):
    """Any damage gives a DataError, or data with all its runs: nothing else escapes."""
    whole, generator = mill.read_bytes(), np.random.default_rng(0)
    path, outcomes = tmp_path / "broken.mat", []
    for number in range(40):
        broken = bytearray(whole)
        if number % 2:
            broken = broken[: generator.integers(len(broken))]
        else:
            for place in generator.integers(len(broken), size=3):
                broken[place] = generator.integers(256)
        path.write_bytes(broken)
        try:
            outcomes.append(str(len(nasa.read(path).frame)))
        except DataError as error:
            outcomes.append(str(error))
    assert all(outcome == "167" or "broken.mat: " in outcome for outcome in outcomes)
    assert sum(outcome != "167" for outcome in outcomes) >= 20


def test_a_file_without_mill(tmp_path):
    """What the file holds instead is named."""
    path = tmp_path / "other.mat"
    scipy.io.savemat(path, {"drill": np.eye(2), "bore": 1.0})
    with pytest.raises(DataError, match=r"no variable 'mill', only drill, bore; expected the NASA layout"):
        nasa.read(path)


def test_mill_that_is_no_struct(tmp_path):
    """A matrix named mill is not the layout."""
    path = tmp_path / "matrix.mat"
    scipy.io.savemat(path, {"mill": np.eye(2)})
    with pytest.raises(DataError, match=r"mill is float64 of shape \(2, 2\); expected a struct array of runs"):
        nasa.read(path)


def test_missing_fields_are_all_named(mat):
    """The message lists the missing fields, then those expected."""
    with pytest.raises(DataError, match=r"mill has no field VB, smcDC; expected case, run, VB"):
        nasa.read(mat(a_run(), fields=[name for name in ORDER if name not in ("VB", "smcDC")]))


def test_no_label_at_all(mat):
    """A file in which every VB is NaN or empty has nothing to learn from."""
    with pytest.raises(DataError, match=r"VB is missing in all 2 runs; at least one label is needed"):
        nasa.read(mat(a_run(VB=math.nan), a_run(run=2, VB=np.empty((0, 0)))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": math.nan}, r"mill\[1\]\.time = nan: expected a finite number"),
        ({"time": -1}, r"mill\[1\]\.time = -1: expected at least 0 min"),
        ({"time": 1e300}, r"mill\[1\]\.time = 1e\+300: expected at most 1e\+09 min"),
        ({"DOC": 0}, r"mill\[1\]\.DOC = 0: expected above 0 mm"),
        ({"DOC": 1e-300}, r"mill\[1\]\.DOC = 1e-300: expected at least 1e-06 mm"),
        ({"feed": -0.5}, r"mill\[1\]\.feed = -0\.5"),
        ({"VB": -0.1}, r"mill\[1\]\.VB = -0\.1: expected at least 0 mm"),
        ({"VB": math.inf}, r"mill\[1\]\.VB = inf: expected at most 1000 mm"),
        ({"VB": 1e308}, r"mill\[1\]\.VB = 1e\+308: expected at most 1000 mm"),
        ({"material": 3}, r"mill\[1\]\.material = 3: expected 1 \(cast iron\) or 2 \(steel\)"),
        ({"run": 1.5}, r"mill\[1\]\.run = 1\.5: expected a whole number"),
        ({"case": np.ones((1, 2))}, r"mill\[1\]\.case is .* of shape \(1, 2\): expected one number"),
        ({"feed": "fast"}, r"mill\[1\]\.feed is <U4 of shape \(1,\): expected one number"),
        ({"smcAC": "loud"}, r"mill\[1\]\.smcAC is <U4: expected numbers"),
        ({"run": 1}, r"case 3 run 1 stands twice"),
        ({"time": 2}, r"two cuts of case 3 have the same time"),
    ],
)
def test_values_that_cannot_be_are_named_with_their_place(mat, changes, message):
    """Run, field, value and expectation, in one line."""
    second = a_run(**{"run": 2, "time": 4, "samples": 90, **changes})
    with pytest.raises(DataError, match=message):
        nasa.read(mat(a_run(samples=90), second))
