"""What held-out predictions miss of the true laws: nothing where they obey them, else what was added to them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp

from artifacts import kept_laws, search
from artifacts.results import Results
from artifacts.stats import paired_rms
from spinn.config import PhysicsConfig
from verify.folder import Data

TRUTH = {"a": -4.0, "b": 0.6, "c": 0.4, "d": 0.8, "g": 0.7, "k": 0.02, "tau": 12.0}


@pytest.mark.parametrize("g", [0.7, 0.0])
def test_the_solutions_solve_the_laws(g: float):
    """From any state, over any time, with power that changes: as a numerical integration has it."""
    truth = {**TRUTH, "g": g}
    conditions = {"DOC": np.array([1.5]), "feed": np.array([0.5]), "steel": np.array([1.0])}
    rate = np.exp(-4.0 + 0.6 * np.log(2) + 0.4 * np.log(2) + 0.8)
    minutes, vb, delta = 5.0, 0.2, 9.0

    def laws(time: float, state: np.ndarray) -> list[float]:
        power = 300.0 + (500.0 - 300.0) * time / minutes
        return [rate * (1 + g * state[0]), truth["k"] * power - state[1] / truth["tau"]]

    wear, heat = solve_ivp(laws, (0, minutes), [vb, delta], rtol=1e-10, atol=1e-12).y[:, -1]
    span = np.array([minutes])
    assert kept_laws.wear_after(np.array([vb]), span, conditions, truth) == pytest.approx([wear], rel=1e-8)
    watts = np.array([300.0]), np.array([500.0])
    assert kept_laws.heat_after(np.array([delta]), span, *watts, truth) == pytest.approx([heat], rel=1e-8)


@pytest.fixture
def lawful(found: Results) -> Results:
    """Predictions of the first variant obey both laws; those of the second alternate about them by 0.01 mm and 2 µm."""
    assert found.data is not None
    columns = found.data.columns
    lives = {"VB": np.zeros(len(found.data.cases)), "thermal": np.zeros(len(found.data.cases))}
    for case in dict.fromkeys(found.data.cases.tolist()):
        rows = np.flatnonzero(found.data.cases == case)
        for one, other in pairwise(rows):
            minutes = columns["time"][other : other + 1] - columns["time"][one]
            at = {name: values[one : one + 1] for name, values in columns.items()}
            before = {name: values[one : one + 1] for name, values in lives.items()}
            power = at["power"], columns["power"][other : other + 1]
            lives["VB"][other] = kept_laws.wear_after(before["VB"], minutes, at, TRUTH)[0]
            lives["thermal"][other] = kept_laws.heat_after(before["thermal"], minutes, *power, TRUTH)[0]
    parts = []
    for name, values in lives.items():
        off = np.where(found.data.runs % 2 == 0, 1.0, -1.0) * {"VB": 0.01, "thermal": 2.0}[name]
        keys = {"case": found.data.cases, "run": found.data.runs, "target": name}
        for variant, predicted in (("sparse", values), ("first-version", values + off)):
            parts.append(pd.DataFrame({**keys, "variant": variant, "lawful": predicted}))
    table = found.predictions.merge(pd.concat(parts), on=["case", "run", "target", "variant"], how="left")
    table["prediction"] = table.pop("lawful")
    return replace(found, predictions=table, datacard={**found.datacard, "truth": TRUTH})


def test_predictions_that_obey_the_laws_miss_nothing(lawful: Results):
    """Neither on any step; the others miss twice what they alternate by, a little less where a state decays."""
    for target, size in (("VB", 0.02), ("thermal", 4.0)):
        kept = kept_laws.steps(lawful, "sparse", target)
        broken = kept_laws.steps(lawful, "first-version", target)
        assert kept is not None
        assert broken is not None
        assert len(kept.case) == 24  # four tools, from each of seven cuts but the last
        assert kept.square.max() < 1e-12
        assert np.sqrt(broken.square) == pytest.approx(size, rel=0.15)


def test_the_table_of_settings_has_it_beside_the_first_variant(lawful: Results):
    """Root mean square with its interval, and the paired ratio, where each variant has physics of its own."""
    first, second = lawful.plan.experiment.variants
    noisy = lawful.predictions.assign(
        prediction=lawful.predictions["prediction"] + 0.001 * (lawful.predictions["run"] % 3)
    )
    variants = (first, second.model_copy(update={"physics": PhysicsConfig(wear_rate=7.0)}))
    experiment = lawful.plan.experiment.model_copy(update={"variants": variants})
    runs = tuple(run.model_copy(update={"validation": ()}) for run in lawful.plan.runs)
    plan = lawful.plan.model_copy(update={"experiment": experiment, "runs": runs})
    told = replace(lawful, plan=plan, predictions=noisy)
    table = search.by_settings(told)
    assert table is not None
    frame = table.frame.set_index("variant")
    ours, other = (kept_laws.steps(told, name, "VB") for name in ("first-version", "sparse"))
    assert ours is not None
    assert other is not None
    row = frame.loc["first-version †"]
    assert row["wear law missed (mm)"] == pytest.approx(np.sqrt(ours.square.mean()))
    ratio = paired_rms(ours.case, ours.square, other.square)
    ends = [row[f"wear law missed (mm), times sparse{end}"] for end in ("", " low", " high")]
    assert ends == [ratio.value, ratio.low, ratio.high]
    assert ratio.low is not None
    assert ratio.low > 1
    assert frame["wear law missed (mm), times sparse"]["sparse"] is None
    assert all(number.expression for number in table.numbers().values())
    units = {number.cells[0][2]: number.unit for number in table.numbers().values()}
    assert (units["wear law missed (mm)"], units["heat balance missed (µm)"]) == ("mm", "µm")
    assert units["wear law missed (mm), times sparse"] == ""
    assert any(note.startswith("A law missed") for note in table.notes)


def test_where_nobody_knows_the_laws_nothing_is_said(found: Results, lawful: Results):
    """Measured data has no true law; and a cut that no network predicted makes no step."""
    assert kept_laws.missed(found, "sparse", "sparse", "VB") is None
    without = replace(lawful, predictions=lawful.predictions[lawful.predictions["split"] != "test"])
    assert kept_laws.missed(without, "sparse", "sparse", "VB") is None


def test_gaps_make_no_step(lawful: Results):
    """No time between two cuts, or a power that nobody knows: nothing follows from the cut before."""
    assert lawful.data is not None
    columns = {name: values.copy() for name, values in lawful.data.columns.items()}
    columns["power"][0] = np.nan
    columns["time"][9] = columns["time"][8]
    told = replace(lawful, data=Data(lawful.data.cases, lawful.data.runs, columns))
    for target, left in (("VB", 23), ("thermal", 22)):
        found = kept_laws.steps(told, "sparse", target)
        assert found is not None
        assert len(found.case) == left


def test_the_ratio_is_of_pairs():
    """Errors twice as large on every case give 2 in every resample; none to compare with gives no value."""
    random = np.random.default_rng(0)
    case, square = np.repeat(np.array(list("abcd")), 5), random.random(20)
    ratio = paired_rms(case, 4 * square, square)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2, 2, 2))
    assert paired_rms(case, square, 0 * square).value is None
