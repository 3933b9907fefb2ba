"""The wear laws: closed values, and coefficients recovered from values that follow them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spinn.wear_laws import fit_wear_law, fit_wear_law_growth, wear_law, wear_law_growth

LAW = (-5.06, 0.63, 0.38, 1.46)


def design() -> pd.DataFrame:
    """Eight tools, one a combination of depth, feed and material, of five cuts each."""
    conditions = [(doc, feed, steel) for doc in (0.75, 1.5) for feed in (0.25, 0.5) for steel in (0, 1)]
    rows = [
        (str(case), run, 3.0 * run, *settings)
        for case, settings in enumerate(conditions, start=1)
        for run in range(1, 6)
    ]
    return pd.DataFrame(rows, columns=["case", "run", "time", "DOC", "feed", "steel"])


def worn(law=LAW) -> pd.DataFrame:
    """The design with the flank wear of the linear law."""
    return design().assign(VB=wear_law(design(), law))


def test_the_wear_law_is_recovered_from_its_own_values():
    """A noise-free wear law gives its four coefficients back."""
    assert fit_wear_law(worn()) == pytest.approx(LAW, abs=1e-6)


def test_the_wear_law_has_closed_values():
    """At the reference cut in cast iron VB = t·e^a, and doubling the depth multiplies it by 2^b."""
    frame = worn()
    row = frame[(frame["DOC"] == 0.75) & (frame["feed"] == 0.25) & (frame["steel"] == 0)].iloc[0]
    assert row["VB"] == pytest.approx(row["time"] * np.exp(LAW[0]))
    deeper = frame[(frame["DOC"] == 1.5) & (frame["feed"] == 0.25) & (frame["steel"] == 0)].iloc[0]
    assert deeper["VB"] / row["VB"] == pytest.approx(2 ** LAW[1])


@pytest.mark.parametrize("fit", [fit_wear_law, fit_wear_law_growth])
def test_unlabelled_cuts_do_not_change_the_fit(fit):
    """A cut without a measured VB is not read as zero wear."""
    frame = worn()
    frame.loc[::3, "VB"] = np.nan
    assert fit(frame)[:4] == pytest.approx(LAW, abs=1e-4)


@pytest.mark.parametrize("g", [0.2, 1.0, 3.0])
def test_the_growing_law_is_recovered_from_its_own_values(g):
    """A noise-free law with growth gives its five coefficients back."""
    frame = design()
    frame["VB"] = wear_law_growth(frame, (*LAW, g))
    assert fit_wear_law_growth(frame) == pytest.approx((*LAW, g), abs=1e-4)


def test_the_growing_law_solves_its_equation():
    """dVB/dt = r·(1 + g·VB), by central differences of the closed form; and VB = 0 at t = 0."""
    g, h, frame = 1.7, 1e-4, design()
    later, earlier = (wear_law_growth(frame.assign(time=frame["time"] + step), (*LAW, g)) for step in (h, -h))
    rate = wear_law(frame, LAW) / frame["time"].to_numpy()
    assert (later - earlier) / (2 * h) == pytest.approx(rate * (1 + g * wear_law_growth(frame, (*LAW, g))), rel=1e-6)
    assert wear_law_growth(frame.assign(time=0.0), (*LAW, g)) == pytest.approx(0)


def test_without_growth_it_is_the_linear_law():
    """At g = 0, and continuously towards it."""
    frame = design()
    assert wear_law_growth(frame, (*LAW, 0.0)) == pytest.approx(wear_law(frame, LAW), rel=1e-14)
    assert wear_law_growth(frame, (*LAW, 1e-9)) == pytest.approx(wear_law(frame, LAW), rel=1e-7)


def test_growth_is_never_negative():
    """Wear that slows down is fitted best with g below 0, which the law does not have: the fit stays at 0."""
    frame = design()
    frame["VB"] = wear_law(frame, LAW) ** 0.7
    assert 0 <= fit_wear_law_growth(frame)[4] < 1e-3


def test_the_growing_law_fits_no_worse_than_the_linear_one():
    """The linear law is one of its kind, so that its sum of squares is never above."""
    frame = worn()
    frame["VB"] *= 1 + 0.1 * np.random.default_rng(1).normal(size=len(frame))
    linear = ((wear_law(frame, fit_wear_law(frame)) - frame["VB"]) ** 2).sum()
    grown = ((wear_law_growth(frame, fit_wear_law_growth(frame)) - frame["VB"]) ** 2).sum()
    assert grown <= linear * (1 + 1e-9)


def test_what_no_row_shows_stays_at_its_start():
    """Of a depth that is the same everywhere nobody knows the exponent: it is 0, and predicts no rate of its own."""
    frame = pd.DataFrame({"time": [3.0, 6.0, 9.0, 12.0] * 2, "DOC": 0.75, "feed": [0.25] * 4 + [0.5] * 4, "steel": 0})
    labelled = frame.assign(VB=wear_law(frame, (-3.0, 0.0, 0.4, 0.0)))
    for fit, law in ((fit_wear_law, wear_law), (fit_wear_law_growth, wear_law_growth)):
        found = fit(labelled)
        assert found[1] == found[3] == 0
        assert law(frame.assign(DOC=1.5), found) == pytest.approx(labelled["VB"].to_numpy(), rel=1e-6)
