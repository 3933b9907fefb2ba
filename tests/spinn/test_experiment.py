"""Experiments: what a file may say, what a plan fixes, and when a run is refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from spinn import experiment, record, storage
from spinn.config import Experiment, SimulatorConfig
from spinn.errors import DataError, InputError, RecordError, ScheduleError, TargetMissedError

FILE = """
name = "tiny"
seeds = [0, 1]
layers = [18, 8, 6, 2]
[split]
kind = "leave-one-case-out"
[dense]
epochs = 2
[target]
reduction = "{target}"
[[variants]]
name = "sparse"
pruner = "global-magnitude"
stages = [{{ ratio = "0.50", epochs = 1, learning_rate = 1e-3 }}]
{extra}
"""


def _write(tmp_path: Path, target: str = "0.30", extra: str = "") -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(FILE.format(target=target, extra=extra))
    return path


def test_the_project_s_own_experiments_can_be_read_and_reach_their_targets(root):
    """Every file in paper/experiments follows the schema, and a variant called sparse ends at 190,030 parameters."""
    paths = sorted((root / "paper" / "experiments").glob("*.toml"))
    assert {path.stem for path in paths} >= {"smoke", "quick"}
    for path in paths:
        loaded = experiment.load(path)
        experiment.refuse_unreachable(loaded)
        assert loaded.name == path.stem
        last = {name: stages[-1].parameters for name, stages in experiment.ledgers(loaded).items()}
        assert last.get("sparse", 190_030) == 190_030
        assert last.get("neurons", 67_602) == 67_602  # 160-160-160-80
        assert 180_000 <= last.get("neurons-wide", 190_000) <= 210_000


def test_a_plan_names_every_run_once_and_pairs_the_variants():
    """Folds × seeds × variants, each with its cases; the variants of a fold and seed have the same cases."""
    import spinn.data

    dataset = spinn.data.load("simulator")
    loaded = experiment.load(Path(__file__).parents[2] / "paper" / "experiments" / "quick.toml")
    plan = experiment.make_plan(loaded, dataset, [])
    assert len({run.run_id for run in plan.runs}) == len(plan.runs) == 16 * 2 * 2
    for run in plan.runs:
        assert set(run.train) | set(run.validation) | set(run.test) == set(dataset.cases)
    units = {name: [run for run in plan.runs if run.variant == name] for name in ("sparse", "first-version")}
    for one, other in zip(units["sparse"], units["first-version"], strict=True):
        for key in ("fold", "seed", "cohort", "train", "validation", "test"):
            assert getattr(one, key) == getattr(other, key)
    assert plan.experiment.stack == 32
    assert max(Counter(run.cohort for run in units["sparse"]).values()) == 32


def _variant(name: str, pruner: str, ratio: str) -> str:
    stages = f'[{{ ratio = "{ratio}", epochs = 1, learning_rate = 1e-3 }}]'
    return f'[[variants]]\nname = "{name}"\npruner = "{pruner}"\nstages = {stages}'


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("colour = 3", r"variants\.0\.colour = 3: extra inputs are not permitted"),
        (_variant("sparse", "global-magnitude", "0.1"), "names are unique"),
        (_variant("x", "magic", "0.1"), "pruner = 'magic'"),
        (_variant("x", "global-magnitude", "1.2"), r"1\.2"),
    ],
)
def test_a_wrong_experiment_file_is_refused_by_name(tmp_path, extra, message):
    """An unknown key, a double name, an unknown pruner and an impossible ratio are each named."""
    with pytest.raises((InputError, ScheduleError), match=message):
        experiment.load(_write(tmp_path, extra=extra))


def test_the_simulated_campaign_is_stated_in_the_plan(tmp_path, monkeypatch):
    """What is stated is simulated, and the plan has it whole; another seed, by the file or the call, is other data."""
    from spinn.data.simulator import TRUTH, simulate

    monkeypatch.setattr("spinn.sweep.execute", lambda *_: None)
    path = _write(tmp_path, extra="[simulator]\nseed = 3\nnoise = 0.5")
    plans = []
    for name, seed in (("file", None), ("call", 4)):
        folder = experiment.run(path, out=tmp_path / name, device="cpu", simulator_seed=seed)
        plans.append(record.read_model(folder / record.PLAN, record.Plan))
        card = json.loads((folder / record.DATACARD).read_text())
        assert card["truth"] == TRUTH.coefficients
        assert ["truth: g (1/mm)", "0.8"] in card["rows"]
    for plan, seed in zip(plans, (3, 4), strict=True):
        assert plan.experiment.simulator == SimulatorConfig(seed=seed, tool_sd=0.12, noise=0.5)
        assert plan.dataset.fingerprint == simulate(seed, noise=0.5).fingerprint()


def test_one_seed_of_an_experiment_is_planned_alone(tmp_path, monkeypatch):
    """The plan has its runs under the names that they have among all; a seed that is not the file's is refused."""
    monkeypatch.setattr("spinn.sweep.execute", lambda *_: None)
    path, plans = _write(tmp_path), []
    for name, seeds in (("all", ()), ("one", experiment.load(path).seeds[-1:])):
        folder = experiment.run(path, out=tmp_path / name, device="cpu", seeds=seeds)
        plans.append(record.read_model(folder / record.PLAN, record.Plan))
    whole, one = plans
    assert [run.run_id for run in one.runs] == [
        run.run_id for run in whole.runs if run.seed == whole.experiment.seeds[-1]
    ]
    with pytest.raises(InputError, match=r"--seed 77: one of the experiment's seeds expected"):
        experiment.run(path, out=tmp_path / "none", device="cpu", seeds=(77,))


def test_what_the_schema_calls_default_is_the_simulators_own():
    """An empty table [simulator] changes no bit of the data."""
    import spinn.data

    assert spinn.data.load("simulator", SimulatorConfig()).to_csv() == spinn.data.load("simulator").to_csv()


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("nasa", {}, r"\[simulator\] is for data = 'simulator', and data is 'nasa': leave one of them out"),
        ("simulator", {"data": "nasa"}, r"\[simulator\] is for data = 'simulator', and data is 'nasa'"),
        ("simulator", {"simulator_seed": -1}, r"--simulator-seed: seed = -1: input should be greater than or equal"),
    ],
)
def test_a_simulated_campaign_of_other_data_is_refused(tmp_path, data, options, message):
    """By the file alone, with a source that the call gives in its place, and where the number is no seed."""
    path = _write(tmp_path, extra="[simulator]\nseed = 3")
    path.write_text(f'data = "{data}"\n' + path.read_text())
    with pytest.raises(InputError, match=message):
        experiment.run(path, out=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_a_missing_or_broken_file_is_refused(tmp_path):
    """A path without a file, and a file that is not TOML, are bad input."""
    with pytest.raises(InputError, match="no such file"):
        experiment.load(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(InputError, match="not a TOML file"):
        experiment.load(tmp_path / "broken.toml")


def test_a_schedule_that_misses_its_target_is_refused_before_anything_is_written(tmp_path):
    """A 50 % stage cannot give 70 %: no folder appears, and the message offers a schedule that holds."""
    with pytest.raises(TargetMissedError, match=r"variant sparse: .* target-reduction: .* use ratios 0?\.\d+"):
        experiment.run(_write(tmp_path, target="0.70"), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_variant_may_have_a_target_of_its_own(tmp_path):
    """A 50 % stage cannot give the experiment's 70 %, and gives the variant's 30 %."""
    experiment.refuse_unreachable(experiment.load(_write(tmp_path, "0.70", "target = { reduction = '0.30' }")))
    with pytest.raises(TargetMissedError, match=r"variant sparse: .* target-reduction"):
        experiment.refuse_unreachable(experiment.load(_write(tmp_path, "0.30", "target = { reduction = '0.70' }")))


def test_a_declared_miss_may_start(tmp_path):
    """The variant that is there to be measured says so, and is let through."""
    path = _write(tmp_path, target="0.70")
    text = path.read_text().replace(
        'pruner = "global', 'expected_findings = ["schedule-reaches-target"]\npruner = "global'
    )
    path.write_text(text)
    experiment.refuse_unreachable(experiment.load(path))


def test_a_folder_of_another_plan_is_left_alone(tmp_path, monkeypatch):
    """Runs of one plan are never mixed with those of another: the difference is named, nothing is touched."""
    monkeypatch.setattr("spinn.sweep.execute", lambda *_: None)
    path = _write(tmp_path)
    folder = experiment.run(path, out=tmp_path / "runs")
    before = {entry: entry.read_bytes() for entry in folder.rglob("*") if entry.is_file()}
    path.write_text(path.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    with pytest.raises(RecordError, match=r"another plan \(experiment\.seeds differs\); give --fresh"):
        experiment.run(path, out=tmp_path / "runs")
    assert before == {entry: entry.read_bytes() for entry in folder.rglob("*") if entry.is_file()}
    experiment.run(path, out=tmp_path / "runs", fresh=True)
    assert record.read_model(folder / record.PLAN, record.Plan).experiment.seeds == (0,)


def test_fresh_never_removes_what_is_not_a_record(tmp_path):
    """--fresh on a folder with somebody's thesis in it refuses, and the thesis stays."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    for fresh in (True, False):
        with pytest.raises(InputError, match="give"):
            experiment.run(_write(tmp_path), out=tmp_path / "home", fresh=fresh)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years of work"


def test_a_network_that_does_not_fit_the_data_is_refused(tmp_path):
    """The first width is the number of features."""
    path = _write(tmp_path)
    path.write_text(path.read_text().replace("[18, 8, 6, 2]", "[17, 8, 6, 2]"))
    with pytest.raises(InputError, match=r"layers\[0\] = 17: simulator has 18 features"):
        experiment.run(path, out=tmp_path / "runs")


def test_a_source_with_blanks_gives_a_plain_folder_name(tmp_path, monkeypatch):
    """The default folder of runs is named after experiment and source, in characters that need no quoting."""
    import spinn.data

    monkeypatch.setattr("spinn.sweep.execute", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    dataset = spinn.data.load("simulator")
    (tmp_path / "my tools.csv").write_bytes(dataset.to_csv())
    folder = experiment.run(_write(tmp_path), data="my tools.csv", device="cpu")
    assert folder == Path("build/runs/tiny-tidy-my-tools.csv")
    assert (folder / record.PLAN).exists()


def test_a_finished_folder_loads_no_torch(tmp_path, monkeypatch):
    """Where every record is there, a second call neither trains nor asks for a device."""

    def execute(plan, dataset, folder, *_):
        finished = storage.canonical_json({"plan_digest": record.plan_digest(plan)}).encode()
        for run in plan.runs:
            storage.write_atomic(record.run_folder(folder, run.run_id) / record.RECORD, finished)

    monkeypatch.setattr("spinn.sweep.execute", execute)
    path = _write(tmp_path)
    experiment.run(path, out=tmp_path / "runs", device="cpu")
    monkeypatch.setattr("spinn.determinism.use", lambda *_: pytest.fail("torch was asked for a device"))
    experiment.run(path, out=tmp_path / "runs", device="cpu")


def test_what_a_baseline_cannot_be_fitted_on_is_refused_before_training(tmp_path, monkeypatch):
    """Thermal displacement of one tool alone, each tool held out in turn: one clear line, and no folder."""
    import spinn.data

    whole = spinn.data.load("simulator")
    rare = whole.frame["thermal"].where(whole.frame["case"] == "3")
    monkeypatch.setattr(spinn.data, "load", lambda *_: replace(whole, frame=whole.frame.assign(thermal=rare)))
    with pytest.raises(DataError, match=r"baseline 'mean', fold 2: thermal is measured in none"):
        experiment.run(_write(tmp_path), out=tmp_path / "runs", device="cpu")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("width", [10**5, 10**200], ids=["large", "vast"])
def test_a_network_of_any_size_is_refused_in_words(root, width):
    """Also where its weights are more than a float can say."""
    stated = experiment.load(root / "paper" / "experiments" / "smoke.toml").model_dump()
    with pytest.raises(ValueError, match=r"(1e\+10|10\^300 and more) weights: at most 100,000,000 expected"):
        Experiment.model_validate(stated | {"layers": (18, width, width, 2)})


CLAIMED = {
    "stages": ("sparse", ("0.30", "0.35", "0.38"), "stages-over-one-shot: statement: four stages: 1 or 3 in this plan"),
    "parameters": ("neurons", ("0.09", "0.09", "0.2", "0.2"), "67,602 parameters: 189,839 or 190,030 in this plan"),
}


@pytest.mark.parametrize(("variant", "ratios", "message"), CLAIMED.values(), ids=CLAIMED)
def test_a_claim_that_counts_what_is_not_planned_is_refused(root, variant, ratios, message):
    """The paper prints its sentence as it stands; where nothing of it is run, nobody evaluates it."""
    import spinn.data

    path, dataset = root / "paper" / "experiments" / "paper.toml", spinn.data.load("simulator")
    loaded = experiment.load(path)
    claims = experiment.load_claims(path, loaded)
    experiment.make_plan(loaded, dataset, claims)

    def planned(names):
        variants = []
        for one in loaded.variants:
            if one.name == variant:
                pairs = zip(one.stages, ratios, strict=False)
                stages = tuple(stage.model_copy(update={"ratio": ratio}) for stage, ratio in pairs)
                one = one.model_copy(update={"stages": stages})
            if one.name in names:
                variants.append(one)
        return experiment.make_plan(loaded.model_copy(update={"variants": tuple(variants)}), dataset, claims)

    names = {one.name for one in loaded.variants}
    with pytest.raises(InputError, match=message):
        planned(names)
    planned(names - {"one-shot", "neurons"})


TOLD = {
    "of the law alone": ("network-adds-to-law", "In nine stages it is better than the law.", "nine stages: 4 in"),
    "of the best law": ("at-least-wear-law", "In nine stages it is better than the law.", "nine stages: 4 in"),
    "of a law": ("r2-gain", "It is above a wear law with five coefficients.", "five coefficients: 4 in"),
    "of the threshold": ("near-dense", "Pruning in two stages costs at most 2 % of it.", "two stages: 4 in"),
    "of a range": ("final-parameters", "From 180,000 to 210,000 parameters are left of 9 parameters.", "9 parameter"),
}


@pytest.mark.parametrize(("name", "statement", "message"), TOLD.values(), ids=TOLD)
def test_every_claim_that_is_evaluated_has_its_numbers_looked_at(root, name, statement, message):
    """Whatever it compares with; of other data, or with what nobody runs, it says what it says."""
    import spinn.data

    path, dataset = root / "paper" / "experiments" / "paper.toml", spinn.data.load("simulator")
    loaded = experiment.load(path)
    claims = {one["name"]: one for one in experiment.load_claims(path, loaded)}
    law = next(one for one in claims.values() if one["value"] == "r2-gain-over-wear-law.VB")
    claim = claims.get(name, law) | {"statement": statement}
    with pytest.raises(InputError, match=message):
        experiment.make_plan(loaded, dataset, [claim])
    experiment.make_plan(loaded, dataset, [claim | {"applies_to": {"targets": [], "data": ["nasa"]}}])
    experiment.make_plan(loaded, dataset, [claim | {"value": "r2-difference.VB.nobody"}])
