"""Campaigns counted together: which truths are covered how often, and what is no campaign of the same experiment."""

from __future__ import annotations

import json
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Any

import pytest

from artifacts import campaigns
from artifacts.cli import main
from artifacts.results import Results
from artifacts.stats import Estimate
from spinn.config import SimulatorConfig
from spinn.errors import InputError


@pytest.fixture
def folders(found: Results, learning: Any, monkeypatch: pytest.MonkeyPatch) -> dict[Path, Results]:
    """Two campaigns, the second with all estimates 3 higher, as `read` finds them in folders named 1 and 2."""
    made = {}
    for seed, high in ((1, 0.0), (2, 3.0)):
        told = learning(found, lambda fold, _, name, high=high: learning.truth[name] + high + 0.01 * (fold - 1.5))
        experiment = told.plan.experiment.model_copy(update={"simulator": SimulatorConfig(seed=seed)})
        data = told.plan.dataset.model_copy(update={"fingerprint": str(seed)})
        plan = told.plan.model_copy(update={"experiment": experiment, "dataset": data})
        made[Path(str(seed))] = replace(told, plan=plan)
    monkeypatch.setattr(campaigns, "audit", lambda folder: folder)
    monkeypatch.setattr(campaigns, "read", lambda folder, _: made[folder])
    return made


def test_covered_campaigns_are_counted(folders: dict[Path, Results]):
    """Both of heat are covered in the first alone; width, deviation and spread are means over both."""
    made = campaigns.table(campaigns.gather(list(folders)))
    row = made.frame.set_index("coefficient").loc["tau"]
    interval = campaigns.learned(folders[Path("1")], "sparse")[-1].estimate
    assert interval.low is not None
    assert interval.high is not None
    assert (row["covered"], row["campaigns"], row["truth"]) == (1, 2, 2.0)
    assert row["mean width"] == pytest.approx(interval.high - interval.low)
    assert row["mean deviation"] == pytest.approx(1.5)
    assert row["mean deviation (%)"] == pytest.approx(75.0)
    assert row["spread"] == pytest.approx(3 / 2**0.5)


def test_what_is_to_be_expected_goes_by_the_level(folders: dict[Path, Results], monkeypatch: pytest.MonkeyPatch):
    """Of 20 intervals at 95 % at least 17 cover in 98 % of trials, at 90 % in 87 %: the sums of binomial terms."""
    made = [campaigns.table(campaigns.gather(list(folders)))]
    monkeypatch.setattr(campaigns, "LEVEL", 0.9)
    made.append(campaigns.table(campaigns.gather(list(folders))))
    for table, level, shown in zip(made, (0.95, 0.9), ("98 %", "87 %"), strict=True):
        share = sum(comb(20, k) * level**k * (1 - level) ** (20 - k) for k in range(17, 21))
        assert f"{100 * share:.0f} %" == shown
        assert (
            f"coefficients, {100 * level:.0f} %. If they are right, a count of 20 is 17 or more in {shown}"
            in (table.notes[0])
        )


def test_an_interval_that_is_missing_covers_nothing(folders: dict[Path, Results], monkeypatch: pytest.MonkeyPatch):
    """Too few cases for a law give no interval; that is no success."""
    lone = campaigns.Learned("k", Estimate(1.0), 1.0)
    monkeypatch.setattr(campaigns, "learned", lambda *_: [lone])
    assert list(campaigns.table(list(folders.values())).frame["covered"]) == [0]


def _changed(results: Results, **changes: object) -> Results:
    experiment = results.plan.experiment.model_copy(update=changes)
    return replace(results, plan=results.plan.model_copy(update={"experiment": experiment}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: replace(one, datacard={"rows": []}), "2: its data is not simulated"),
        (lambda one: _changed(one, name="other"), "2: name differs from that of 1; only the simulator's seed may"),
        (lambda one: _changed(one, simulator=SimulatorConfig(seed=2, noise=0.5)), "2: simulator differs"),
        (
            lambda one: _changed(one, split=one.plan.experiment.split.model_copy(update={"validation_cases": 2})),
            "2: has no intervals; they need split.kind = 'leave-one-case-out' and validation_cases = 0",
        ),
        (
            lambda one: replace(
                one,
                plan=one.plan.model_copy(update={"dataset": one.plan.dataset.model_copy(update={"fingerprint": "1"})}),
            ),
            "2: the same campaign as 1; give each once",
        ),
    ],
)
def test_what_is_no_campaign_of_the_experiment_is_refused(folders: dict[Path, Results], change, message: str):
    """The folder, what is wrong with it, and what would do."""
    folders[Path("2")] = change(folders[Path("2")])
    with pytest.raises(InputError, match=message):
        campaigns.gather(list(folders))


def test_the_command_prints_writes_and_says_whether_enough_are_covered(
    folders: dict[Path, Results], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """Status 0 if each truth is covered as often as asked, 1 if not; JSON and files have the same numbers."""
    monkeypatch.setattr(campaigns, "learned", lambda results, _: [campaigns.Learned("k", Estimate(1.0, 0.0, 2.0), 1.0)])
    for at_least, status in (("2", 0), ("3", 1)):
        arguments = ["campaigns", "1", "2", "--at-least", at_least, "--out", str(tmp_path), "--json"]
        monkeypatch.setattr("sys.argv", ["spinn-artifacts", *arguments])
        with pytest.raises(SystemExit, match=rf"^{status}$"):
            main()
        (row,) = json.loads(capsys.readouterr().out)
        assert (row["coefficient"], row["covered"], row["campaigns"]) == ("k", 2, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"campaigns.csv", "campaigns.md", "campaigns.tex"}
