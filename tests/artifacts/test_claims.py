"""Claims are judged as they were planned; what was not measured is not evaluated, and says why."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import norm

from artifacts import claims, results, tables
from artifacts.results import Results
from spinn.claims import COMPARISONS, TESTS, Claim
from spinn.errors import InputError
from spinn.statements import contradiction
from verify.audit import audit

FILE = Path(__file__).parents[2] / "paper" / "claims.toml"


def only(found: Results, **changes: Any) -> claims.Outcome:
    """The outcome of a single claim: the one on wear R², with some keys changed; it states its threshold."""
    base = next(claim for claim in found.claims if claim["name"] == "wear-r2")
    claim = {**base, "statement": f"The bound is {changes.get('threshold', base['threshold'])}.", **changes}
    return claims.evaluate(replace(found, claims=(claim,)))[0]


def test_the_file_states_every_key_once_and_every_value_is_known():
    """Each claim of paper/claims.toml is complete, has a name of its own and a comparison that exists."""
    listed = tomllib.loads(FILE.read_text(encoding="utf-8"))["claim"]
    names = [claim["name"] for claim in listed]
    assert len(set(names)) == len(names) == 23
    assert set(claims._CHECKS) == set(COMPARISONS)
    for claim in listed:
        assert set(claim) == set(Claim.model_fields)
        assert claim["comparison"] in claims._CHECKS
        assert claim["test"] in TESTS


def test_verdict_follows_the_threshold(found: Results):
    """A threshold just below the value holds and just above fails; the value is the accuracy table's."""
    value = only(found).measured.value
    assert value is not None
    frame = tables.accuracy(found).frame
    row = frame[(frame["target"] == "flank wear VB (mm)") & (frame["predictor"] == "sparse")]
    assert value == row["R²"].iloc[0]
    assert only(found, threshold=value - 1e-9).verdict == "holds"
    assert only(found, threshold=value + 1e-9).verdict == "fails"
    assert only(found, threshold=value, comparison="above").verdict == "fails"
    assert only(found, threshold=value, comparison="at-least").verdict == "holds"
    assert only(found, threshold=[value - 1, value], comparison="within").verdict == "holds"


def test_exact_claims_have_to_hold_in_every_run(found: Results):
    """A size is compared for the largest file, not for the mean."""
    first = next(record for record in found.records if record.variant == "sparse")
    last = first.stages[-1].model_copy(update={"checkpoint_bytes": first.stages[-1].checkpoint_bytes + 1000})
    larger = first.model_copy(update={"stages": (*first.stages[:-1], last)})
    changed = replace(found, records=(larger, *(record for record in found.records if record is not first)))
    mean = claims.measure(changed, "file-bytes").value
    assert mean is not None
    claim = {"value": "file-bytes", "comparison": "at-most", "threshold": mean + 1, "unit": "bytes"}
    assert only(changed, **claim, test="exact").verdict == "fails"
    assert only(changed, **claim, test="point").verdict == "holds"


def test_losses_are_shares_of_the_dense_network(found: Results):
    """The loss of R² is 100·(dense − sparse)/dense of the accuracy table."""
    frame = tables.accuracy(found).frame.set_index(["target", "predictor"])["R²"]
    dense, sparse = frame["overall", "dense"], frame["overall", "sparse"]
    measured = claims.measure(found, "r2-loss.overall")
    assert measured.value == pytest.approx(100 * (dense - sparse) / dense)
    gain = claims.measure(found, "r2-gain-over-wear-law.VB")
    wear = frame["flank wear VB (mm)", "sparse"] - frame["flank wear VB (mm)", "wear-law"]
    assert gain.value == pytest.approx(wear)


def test_what_was_not_measured_is_not_evaluated(tmp_path: Path, found: Results, fabricator):
    """Thermal claims without labels, other data: not evaluated, each with its reason."""
    fabricator(tmp_path, thermal=False, seeds=(0,))
    outcomes = {o.claim["name"]: o for o in claims.evaluate(results.read(tmp_path, audit(tmp_path)))}
    assert outcomes["thermal-r2"].verdict == "not evaluated"
    assert outcomes["thermal-r2"].measured.reason == "thermal has no label in this data"
    assert outcomes["overall-r2"].measured.value == outcomes["wear-r2"].measured.value
    other = only(found, applies_to={"targets": ["VB"], "data": ["nasa"]})
    assert (other.verdict, other.measured.reason) == ("not evaluated", "not claimed for this data")
    assert only(found, value="r2-gain-over-forest.VB").verdict == "not evaluated"
    assert only(found, value="nonsense.VB").verdict == "not evaluated"


def test_an_interval_decides_only_as_a_whole(found: Results):
    """With the test `interval` a claim holds below the interval, fails above it, and is not decidable within it."""
    measured = only(found).measured
    assert measured.value is not None
    assert measured.low is not None
    assert measured.high is not None

    def verdict(threshold: Any, comparison: str = "above") -> str:
        return only(found, test="interval", threshold=threshold, comparison=comparison).verdict

    low, high, step = measured.low, measured.high, 1e-9
    assert [verdict(bound) for bound in (low - step, low, high - step, high)] == [
        "holds",
        "not decidable",
        "not decidable",
        "fails",
    ]
    assert [verdict(bound, "at-least") for bound in (low, low + step, high, high + step)] == [
        "holds",
        "not decidable",
        "not decidable",
        "fails",
    ]
    assert [verdict(bound, "below") for bound in (high + step, high, low + step, low)] == [
        "holds",
        "not decidable",
        "not decidable",
        "fails",
    ]
    assert verdict([low, high], "within") == "holds"
    assert verdict([low + step, high], "within") == "not decidable"
    middle = (low + high) / 2
    assert verdict([middle - step, middle + step], "within") == "not decidable"  # neither end is in it, its middle is
    assert verdict([high + step, high + 1], "within") == "fails"
    undecided = only(found, test="interval", threshold=measured.value)
    assert undecided.measured == replace(measured, reason="the interval holds values on both sides")


def test_no_interval_decides_nothing(found: Results, monkeypatch: pytest.MonkeyPatch):
    """Where no interval could be drawn, a claim that needs one is not decidable, whatever the value is."""
    monkeypatch.setattr(claims, "measure", lambda *_: claims.Measured(0.9))
    outcome = only(found, test="interval", threshold=0.1)
    assert (outcome.verdict, outcome.measured.reason) == ("not decidable", "no interval could be drawn")


def test_differences_are_from_any_predictor(found: Results):
    """From dense, a marked variant, a baseline: the difference of the accuracy table's R², with its source."""
    frame = tables.accuracy(found).frame.set_index(["target", "predictor"])["R²"]
    wear = frame["flank wear VB (mm)"]
    for name, label in (("dense",) * 2, ("first-version", "first-version †"), ("mean",) * 2, ("wear-law",) * 2):
        measured = claims.measure(found, f"r2-difference.VB.{name}")
        assert measured.value == pytest.approx(wear["sparse"] - wear[label])
        assert measured.low is not None
        assert measured.high is not None
        assert measured.value is not None
        assert measured.low < measured.value < measured.high
    whole = claims.measure(found, "r2-difference.overall.dense").value
    assert whole == pytest.approx(frame["overall", "sparse"] - frame["overall", "dense"])
    outcomes = claims.evaluate(found)
    numbers = claims.table(found, outcomes).numbers()
    named = {source.partition(" ")[0] for source in numbers["claims.gain-over-wear-law.value"].source}
    assert named == {"claims.json", "sparse", "baselines/wear-law"}
    named = {source.partition(" ")[0] for source in numbers["claims.wear-r2.value"].source}
    assert named == {"claims.json", "sparse"}


def test_differences_from_what_is_not_there_are_not_evaluated(found: Results):
    """An unknown predictor, one that does not predict the target, no name, or a name where none belongs."""
    for value in ("r2-difference.VB.forest", "r2-difference.overall.wear-law"):
        measured = claims.measure(found, value)
        assert measured.value is None
        assert measured.reason == f"no predictor {value.rpartition('.')[2]} for it in these runs"
    assert claims.measure(found, "r2-difference.VB").reason == "no record of these runs measures it"
    assert claims.measure(found, "r2.VB.dense").reason == "no record of these runs measures it"
    assert claims.measure(replace(found, baselines=()), "r2-difference.VB.wear-law").value is None


def test_incomplete_claims_are_refused(found: Results):
    """A claim without a threshold, or with a comparison that does not exist, is an error that names it."""
    with pytest.raises(InputError, match="claim wear-r2: comparison = 'over'"):
        only(found, comparison="over")
    with pytest.raises(InputError, match=r"claim wear-r2: test = 'intervall': one of exact, .*, interval expected"):
        only(found, test="intervall")
    with pytest.raises(InputError, match=r"claim wear-r2: margin.* = 'some'"):
        only(found, margin="some")
    base = {key: value for key, value in found.claims[0].items() if key != "threshold"}
    with pytest.raises(InputError, match="claim final-parameters: threshold is missing"):
        claims.evaluate(replace(found, claims=(base,)))


def test_a_claim_that_contradicts_its_statement_is_refused(found: Results):
    """Another number or another direction, by the claim's name; with the right ones it is judged."""
    statement = "Pruning costs less than 5 % of the dense network's R² of tool wear."
    loss = {"name": "wear-loss", "value": "r2-loss.VB", "comparison": "below", "threshold": 5.0, "unit": "%"}
    assert only(found, **loss, statement=statement).measured.value is not None
    with pytest.raises(InputError, match=r"claim wear-loss: .*threshold = 7\.0 is not in .*, which has 5: the same"):
        only(found, **loss | {"threshold": 7.0}, statement=statement)
    with pytest.raises(InputError, match=r"claim wear-loss: .*comparison = 'at-most' is not what .* 'less than': the"):
        only(found, **loss | {"comparison": "at-most"}, statement=statement)


@pytest.mark.parametrize(
    "path", [FILE, *sorted(FILE.parent.glob("reference/*/claims.json"))], ids=lambda path: path.parent.name
)
def test_no_claim_of_this_project_contradicts_its_statement(path: Path):
    """Neither those that are to be fixed next nor those that a reference was planned with."""
    text = path.read_text(encoding="utf-8")
    for claim in tomllib.loads(text)["claim"] if path == FILE else json.loads(text):
        bound = claim["threshold"]
        bounds = bound if isinstance(bound, list) else [bound]
        assert contradiction(claim["statement"], claim["comparison"], bounds) == "", claim["name"]


def test_table_states_value_threshold_and_verdict(found: Results):
    """Every claim has its row; counts print as counts, thresholds with their sign."""
    rows = {row[0]: row for row in claims.table(found, claims.evaluate(found)).shown()[1:]}
    assert len(rows) == len(found.claims)
    assert rows["final-parameters"][2:] == ["92", "180,000 – 210,000", "exact", "0", "–", "–", "fails"]
    assert rows["size-on-disk"][3:] == ["≤ 850,000 bytes", "exact", "0 bytes", "–", "–", "holds"]
    assert rows["inference-time"][5] == "none"
    assert rows["adaptation-gain"][4:6] == ["paired-case-bootstrap", "0.005 mm"]


def test_what_an_interval_could_decide_stands_beside_its_verdict(found: Results):
    """Effect and power follow from the interval's width and the margin, for claims that it decides and no other."""
    value = {"value": "r2-difference.VB.dense", "threshold": 0.0, "margin": 0.02}
    outcome = only(found, test="interval", comparison="above", **value)
    low, high = outcome.measured.low, outcome.measured.high
    assert low is not None
    assert high is not None
    error, able = (high - low) / (2 * 1.959964), outcome.able()
    assert able is not None
    assert able.effect == pytest.approx(2.801585 * error)
    assert able.at_margin == pytest.approx(norm.cdf(0.02 / error - 1.959964))
    wider = only(found, test="interval", comparison="above", **value | {"margin": 0.04}).able()
    assert wider is not None
    assert wider.effect == able.effect
    assert wider.at_margin is not None
    assert able.at_margin is not None
    assert wider.at_margin > able.at_margin
    both = only(found, test="interval", comparison="within", **value | {"threshold": [-10.0, 10.0]}).able()
    assert both is not None
    assert both.at_margin == pytest.approx(1.0)
    for margin in (0, "none"):
        bare = only(found, test="interval", comparison="above", **value | {"margin": margin}).able()
        assert bare is not None
        assert bare.at_margin is None
    assert only(found).able() is None
    assert only(found, value="nonsense.VB", test="interval").able() is None


def test_power_is_printed_as_a_number_of_its_own(found: Results):
    """The table's cells are in percent and in the claim's unit, and each says how it was computed."""
    outcomes = claims.evaluate(found)
    numbers = claims.table(found, outcomes).numbers()
    named = "claims.gain-over-wear-law"
    able = next(one for one in outcomes if one.claim["name"] == "gain-over-wear-law").able()
    assert able is not None
    assert able.at_margin is not None
    assert numbers[f"{named}.power-percent"].value == pytest.approx(100 * able.at_margin)
    assert numbers[f"{named}.power-percent"].unit == "%"
    assert numbers[f"{named}.decidable-effect"].value == able.effect
    assert "width of the interval" in numbers[f"{named}.decidable-effect"].expression
    assert "claims.wear-r2.power-percent" not in numbers


def test_the_level_of_an_interval_is_typed_nowhere(found: Results, monkeypatch: pytest.MonkeyPatch):
    """The notes say the one that is computed with, and its quantile."""
    for module in (claims, claims.power):
        monkeypatch.setattr(module, "LEVEL", 0.9)
    notes = " ".join(claims.table(found, claims.evaluate(found)).notes)
    assert "90 % interval" in notes
    assert "z = 1.64" in notes
    assert not {"95", "1.96"} & set(notes.replace("%", " ").split())
