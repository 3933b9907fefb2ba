"""Tables that set predictors against each other, computed here another way from the prediction files."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts import comparisons, results, significance, tables
from artifacts.render import Table
from artifacts.results import Results
from artifacts.stats import seed_r2
from verify.audit import audit

WEAR, HEAT = "flank wear VB (mm)", "thermal displacement (µm)"


def rows_of(table: Table, **labels: str) -> Any:
    """The rows of a table with these labels."""
    frame = table.frame
    for name, value in labels.items():
        frame = frame[frame[name] == value]
    return frame


def held_out(found: Results, variant: str = "sparse", stage: int = 2, target: str = "VB") -> Any:
    """The labelled test rows of a variant's prediction files, all seeds, with the error."""
    frame: Any = found.predictions
    rows = frame[(frame["variant"] == variant) & (frame["stage"] == stage) & (frame["split"] == "test")]
    rows = rows[(rows["target"] == target) & rows["measured"].notna()]
    return rows.assign(error=rows["prediction"] - rows["measured"])


def many_cases(found: Results) -> Results:
    """The same results three times over, under other names of the cases: twelve cases."""

    def copies(frame: Any) -> Any:
        return pd.concat([frame.assign(case=frame["case"] + f" {n}") for n in range(3)], ignore_index=True)

    baselines = {name: copies(frame) for name, frame in found.baseline_frames.items()}
    return replace(found, predictions=copies(found.predictions), baseline_frames=baselines)


def test_every_other_predictor_is_compared(found: Results):
    """All but ours, once for each target that it predicts; the difference is that of the accuracy table's R²."""
    table = comparisons.comparisons(found)
    assert list(rows_of(table, target=WEAR)["compared with"]) == ["dense", "first-version †", "mean", "wear-law"]
    assert list(rows_of(table, target=HEAT)["compared with"]) == ["dense", "first-version †", "mean"]
    r2 = tables.accuracy(found).frame.set_index(["target", "predictor"])["R²"]
    for _, row in table.frame.iterrows():
        wanted = r2[row["target"], "sparse"] - r2[row["target"], row["compared with"]]
        assert row["R² difference"] == pytest.approx(wanted)
        assert row["R² difference low"] <= row["R² difference"] <= row["R² difference high"]


def test_cases_are_counted_by_their_squared_error(found: Results):
    """'Cases better' counts the cases in which the mean over seeds of the summed squared errors is smaller."""

    def by_case(rows: Any) -> Any:
        return (rows["error"] ** 2).groupby(rows["case"]).sum() / rows["seed"].nunique()

    better = by_case(held_out(found)) < by_case(held_out(found, stage=0))
    row = rows_of(comparisons.comparisons(found), target=WEAR, **{"compared with": "dense"}).iloc[0]
    assert (row["cases better"], row["cases"]) == (better.sum(), 4)


def test_p_is_tested_over_cases_and_corrected_for_the_whole_table(found: Results):
    """With four cases p is a multiple of 1/8; the corrected ones are Holm's over all targets' comparisons."""
    frame = comparisons.comparisons(found).frame
    assert all(value * 8 == int(value * 8) and value >= 1 / 8 for value in frame["p"])
    assert list(frame["p, Holm"]) == pytest.approx(significance.holm(list(frame["p"])))
    note = " ".join(comparisons.comparisons(found).notes)
    assert f"the {len(frame)} comparisons of this table" in note


def test_a_clear_difference_is_found(found: Results):
    """On twelve cases the sparse network beats the mean in every one: p is 2/2^12, and survives the correction."""
    row = rows_of(comparisons.comparisons(many_cases(found)), target=WEAR, **{"compared with": "mean"}).iloc[0]
    assert (row["cases better"], row["cases"]) == (12, 12)
    assert row["p"] == pytest.approx(2 / 2**12)
    assert row["p, Holm"] < 0.05


def test_numbers_name_both_sides(found: Results):
    """A difference comes from the records of both predictors; from ours alone where the other is its dense network."""
    numbers = comparisons.comparisons(found).numbers()
    for name, groups in {"wear-law": ["sparse", "baselines/wear-law"], "dense": ["sparse"]}.items():
        source = numbers[f"comparisons.flank-wear-vb-mm.{name}.p-holm"].source
        assert [text.partition(" ")[0] for text in source] == groups


def test_levels_add_up_to_the_whole(found: Results):
    """Cuts, biases and squared errors of the levels make those of all held-out cuts; levels do not overlap."""
    table, rows = comparisons.wear_levels(found), held_out(found)
    ours = rows_of(table, target=WEAR, predictor="sparse")
    cuts = ours["cuts"].astype(float)
    assert cuts.sum() == len(rows) / 2
    assert np.average(ours["MAE"].astype(float), weights=cuts) == pytest.approx(rows["error"].abs().mean())
    assert np.average(ours["bias"].astype(float), weights=cuts) == pytest.approx(rows["error"].mean())
    assert np.average(ours["RMSE"].astype(float) ** 2, weights=cuts) == pytest.approx((rows["error"] ** 2).mean())
    assert all(low > high for low, high in zip(list(ours["from"])[1:], list(ours["to"])[:-1], strict=True))
    assert set(table.frame["predictor"]) == {"dense", "sparse", "wear-law"}
    assert "wear-law" not in set(rows_of(table, target=HEAT)["predictor"])


def test_an_edge_belongs_to_the_level_above():
    """0.2 mm is not below 0.2 mm; a level without a cut is left out."""
    found = list(comparisons._levels("VB", np.array([0.1, 0.2, 0.3, 0.6, 0.9])))
    assert [(name, mask.tolist()) for name, mask in found] == [
        ("below 0.2 mm", [True, False, False, False, False]),
        ("0.2 to 0.4 mm", [False, True, True, False, False]),
        ("0.6 mm and above", [False, False, False, True, True]),
    ]


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=60, unique=True))
def test_thirds_are_thirds(values: list[int]):
    """Of distinct values each third has as many cuts as another, but for one; every cut is in one level, in order."""
    measured = np.array(values, float)
    masks = [mask for _, mask in comparisons._levels("thermal", measured)]
    assert (np.sum(masks, axis=0) == 1).all()
    assert max(mask.sum() for mask in masks) - min(mask.sum() for mask in masks) <= 1
    for lower, upper in pairwise(masks):
        assert measured[lower].max() < measured[upper].min()


def test_intervals_are_measured_on_other_cases(found: Results):
    """On twelve cases the half-width is the quantile over the other eleven, and what is inside is counted by hand."""
    twelve = many_cases(found)
    row = rows_of(comparisons.intervals(twelve), target=WEAR, predictor="sparse", interval="conformal by case").iloc[0]
    score = held_out(twelve).groupby(["case", "run"])["error"].mean().abs()
    case = score.index.get_level_values("case")
    inside, widths = [], []
    for new in case.unique():
        others = score[case != new].sort_values()
        weights = 1 / (12 * others.groupby("case").transform("size"))
        half = others[weights.cumsum() > 0.9 - 1e-9].iloc[0]
        inside.append((score[case == new] <= half).to_numpy())
        widths += [2 * half] * int((case == new).sum())
    assert row["covered cuts (%)"] == pytest.approx(100 * np.concatenate(inside).mean())
    assert row["mean over cases (%)"] == pytest.approx(100 * np.mean([share.mean() for share in inside]))
    assert row["cases covered whole"] == sum(share.all() for share in inside)
    assert (row["cases"], row["seeds"], row["nominal (%)"]) == (12, 2, 90)
    assert row["width"] == pytest.approx(np.mean(widths))


def test_seeds_have_an_interval_of_their_own(found: Results):
    """Beside the conformal one, with its own coverage; a predictor with a single seed has none."""
    table = comparisons.intervals(found)
    assert list(rows_of(table, target=WEAR, predictor="sparse")["interval"]) == ["conformal by case", "spread of seeds"]
    assert list(rows_of(table, target=WEAR, predictor="wear-law")["interval"]) == ["conformal by case"]
    spread = rows_of(table, target=WEAR, predictor="sparse", interval="spread of seeds").iloc[0]
    pair = held_out(found).pivot(index=["case", "run"], columns="seed", values="prediction")
    t = np.tan(0.45 * np.pi)  # Student's 95 % quantile with one degree of freedom
    widths = 2 * t * np.sqrt(1.5) * (pair[0] - pair[1]).abs() / np.sqrt(2)
    assert spread["width"] == pytest.approx(widths.mean())


def test_too_few_cases_print_no_interval(found: Results):
    """Four cases cannot give 90 %: the row is there, and its coverage and width are '–'."""
    table = comparisons.intervals(found)
    row = next(line for line in table.shown() if line[:3] == [WEAR, "sparse", "conformal by case"])
    assert row[3:] == ["90", "–", "–", "–", "4", "2", "–"]
    assert any("below 10 cases" in note for note in table.notes)


def test_tables_need_no_baseline_and_no_second_target(tmp_path: Path, fabricator):
    """With wear alone, one seed and no baseline, every table is still made of what there is."""
    fabricator(tmp_path, thermal=False, seeds=(0,))
    bare = replace(results.read(tmp_path, audit(tmp_path)), baselines=(), baseline_frames={})
    made = {table.name: table for table in tables.all_tables(bare)}
    assert list(made["comparisons"].frame["compared with"]) == ["dense", "first-version †"]
    assert set(made["wear-levels"].frame["predictor"]) == {"dense", "sparse"}
    assert set(made["intervals"].frame["interval"]) == {"conformal by case"}


def test_the_sensors_are_worth_the_difference_of_the_two_small_networks(found: Results):
    """Paired over the same cuts, of either sign; without the pair there is no table."""
    assert comparisons.sensors(found) is None
    first = found.baselines[0]
    frame = found.baseline_frames[first.name]
    worse = frame.assign(prediction=frame["prediction"] + 0.05)
    pair = {comparisons.SEEING: frame, comparisons.BLIND: worse}
    for turned in (False, True):
        frames = dict(zip(pair, reversed(pair.values()), strict=True)) if turned else pair
        both = replace(
            found,
            baselines=tuple(first.model_copy(update={"name": name}) for name in pair),
            baseline_frames=frames,
        )
        table = comparisons.sensors(both)
        assert table is not None
        row = table.frame.iloc[0]
        values = []
        for name in pair:
            held = both.held_baseline(name, "VB")
            assert held is not None
            r2 = seed_r2(held)
            assert r2 is not None
            values.append(r2.mean())
        assert row["R² difference"] == pytest.approx(values[0] - values[1])
        assert (row["R² difference"] > 0) != turned
