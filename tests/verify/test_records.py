"""Checks of presence, digests, finiteness and metrics: each is broken once, and it alone sees it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hostile.limits import room

from spinn import checkpoint
from spinn.data import card_rows, relative, simulator
from spinn.data.dataset import read_canonical
from spinn.record import CLAIMS, DATACARD, DATASET, HISTORY, PLAN, PREDICTIONS, PROGRESS, RECORD
from spinn.storage import digest_of
from verify.card import recounted
from verify.findings import LISTED
from verify.folder import digest_all, read_folder
from verify.records import score


def first(runs) -> str:
    """Id of a sound run."""
    return runs.names("sparse")[0]


def messages(runs) -> str:
    """All that the audit says."""
    found = runs.audit().findings
    faults = [fault["message"] for finding in found for fault in finding.data.get("faults", ())]
    return "\n".join([*faults, *(finding.message for finding in found)])


# --- planned-runs-present -------------------------------------------------------------------------------------------


def test_missing_run_is_found(runs) -> None:
    """A planned run without a folder is a finding."""
    shutil.rmtree(runs.folder(first(runs)))
    assert runs.failed() == {"planned-runs-present"}
    assert "no run was recorded" in messages(runs)


def test_unfinished_run_is_found(runs) -> None:
    """A run that stopped half-way is named as such."""
    folder = runs.folder(first(runs))
    (folder / RECORD).rename(folder / PROGRESS)
    assert runs.failed() == {"planned-runs-present"}
    assert "unfinished" in messages(runs)


def test_unplanned_run_is_found(runs) -> None:
    """A folder that the plan does not name is a finding: it was run, and left out."""
    shutil.copytree(runs.folder(first(runs)), runs.folder("sparse-f00-s9"))
    assert runs.failed() == {"planned-runs-present"}
    assert "runs/sparse-f00-s9: not planned" in messages(runs)


def test_seed_dropped_from_the_plan_is_found(runs) -> None:
    """A plan without all of its experiment's seeds is a finding, records or none."""
    dropped = [run.run_id for run in runs.plan.runs if run.seed == 1]
    runs.edit_plan(lambda plan: plan.update(runs=[run for run in plan["runs"] if run["seed"] != 1]))
    for run_id in dropped:
        shutil.rmtree(runs.folder(run_id))
    for run_id in (run.run_id for run in runs.plan.runs):
        runs.shrink_cohort(run_id, [name for name in runs.record(run_id).cohort_runs if name not in dropped])
    assert runs.failed() == {"planned-runs-present"}
    assert "seed 1: the experiment asks for it, the plan leaves it out" in messages(runs)


def test_a_plan_of_more_runs_than_there_is_memory_for_is_judged(runs) -> None:
    """Of the runs that are left out the first are named, and all are counted, without a list of them."""
    runs.edit_plan(lambda plan: plan["experiment"]["split"].update(folds=10**9))
    with room(1 << 30):
        assert "planned-runs-present" in runs.failed(replay=False)
        assert "variant sparse, fold 2, seed 0: the experiment asks for it" in messages(runs)
        (finding,) = (one for one in runs.audit(replay=False).findings if one.check == "planned-runs-present")
    assert finding.message.startswith("3,999,999,992 runs are asked for by the experiment and left out by the plan")
    assert len(finding.data["faults"]) == LISTED


def test_a_record_of_another_variant_is_found(runs) -> None:
    """A record that says it is of a variant that nobody planned is a finding."""
    runs.edit_record(first(runs), lambda record: record.update(variant="other"))
    assert "planned-runs-present" in runs.failed()
    assert "variant = 'other', planned " in messages(runs)


@pytest.mark.parametrize("content", [b"", b"{}", b"not JSON", b"\xff\xfe\x00"])
def test_broken_record_is_found(runs, content: bytes) -> None:
    """A record that cannot be read is a finding of its run, not a crash."""
    (runs.folder(first(runs)) / RECORD).write_bytes(content)
    assert runs.failed() == {"planned-runs-present"}


def test_record_of_another_run_is_found(runs) -> None:
    """A record that says it is another seed's is a finding."""
    runs.edit_record(first(runs), lambda record: record.update(seed=5))
    assert runs.failed() == {"planned-runs-present"}


@pytest.mark.parametrize(
    "name",
    [
        "runs/{run}/progress.json",
        "runs/{run}/notes.txt",
        "runs/{run}/stage-3.safetensors",
        "runs/{run}/old/record.json",
        "runs/notes.txt",
        "baselines/notes.txt",
        "baselines/linear.json",
    ],
)
def test_stray_file_is_found(runs, name: str) -> None:
    """A file that no plan asks for is a finding: it might be a better run, kept for later."""
    path = runs.path / name.format(run=first(runs))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((runs.folder(first(runs)) / RECORD).read_bytes())
    assert runs.failed() == {"planned-runs-present"}
    assert path.name in messages(runs)


def test_what_a_killed_write_leaves_is_ignored(runs) -> None:
    """A temporary file, whose name begins with a dot, is no finding."""
    for folder in (runs.folder(first(runs)), runs.path / "baselines", runs.path / "runs"):
        (folder / ".record.json.x1y2").write_bytes(b"{")
    assert runs.failed() == set()


# --- digests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [HISTORY, PREDICTIONS, "stage-1.safetensors"])
def test_missing_file_is_found(runs, name: str) -> None:
    """A single file that is gone is lost, not withheld."""
    (runs.folder(first(runs)) / name).unlink()
    assert runs.failed() == {"digests"}
    assert f"{name}: missing" in messages(runs)


@pytest.mark.parametrize("name", [HISTORY, PREDICTIONS])
def test_changed_table_is_found(runs, name: str) -> None:
    """A line that ends differently is a change."""
    path = runs.folder(first(runs)) / name
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert runs.failed() == {"digests"}


def test_cut_table_is_found(runs) -> None:
    """Half a file is a finding."""
    path = runs.folder(first(runs)) / PREDICTIONS
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "digests" in runs.failed()


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"\xff" * 200])
def test_unreadable_checkpoint_is_found(runs, content: bytes) -> None:
    """A checkpoint that is none is a finding even where its digest is right; what needs it is unchecked."""
    (runs.folder(first(runs)) / "stage-2.safetensors").write_bytes(content)
    runs.redigest(first(runs))
    assert runs.failed() == {"digests"}
    assert "stage-2.safetensors: not a readable checkpoint" in messages(runs)
    unchecked = {finding.check for finding in runs.audit().findings if finding.severity == "unchecked"}
    assert {"ledger-achieved", "masks-monotone", "resurrection", "predictions-replayed"} <= unchecked


def test_checkpoint_of_other_layers_is_found(runs) -> None:
    """A network of another shape is not this run's."""
    path = runs.folder(first(runs)) / "dense.safetensors"
    weights = (np.zeros((3, 18), np.float32), np.zeros((2, 3), np.float32))
    checkpoint.write(path, checkpoint.Checkpoint(weights, (np.zeros(3), np.zeros(2)), None, {}))
    runs.redigest(first(runs))
    assert runs.failed() == {"digests"}


@pytest.mark.parametrize(
    "text",
    ["", "stage\n", "a,b\n1\n", "x" * 50, '"', "stage,epoch,learning_rate,loss\n1,2,3,4\n", "\ud800"],
    ids=["empty", "header", "ragged", "word", "quote", "columns", "bytes"],
)
def test_unreadable_table_is_found(runs, text: str) -> None:
    """A table that is none is a finding even where its digest is right."""
    (runs.folder(first(runs)) / HISTORY).write_bytes(text.encode("utf-8", "surrogatepass"))
    runs.redigest(first(runs))
    assert runs.failed() == {"digests"}


def test_file_without_digest_is_found(runs) -> None:
    """A record that leaves a file out of its digests leaves it open to change."""
    runs.edit_record(first(runs), lambda record: record["files"].pop(PREDICTIONS))
    assert runs.failed() == {"digests"}


# --- plan-unchanged -------------------------------------------------------------------------------------------------


def test_plan_changed_after_the_runs_is_found(runs) -> None:
    """Records carry the digest of their plan."""
    plan = json.loads((runs.path / PLAN).read_text())
    plan["experiment"]["dense"]["weight_decay"] = 0.1
    (runs.path / PLAN).write_text(json.dumps(plan, indent=1) + "\n")
    assert runs.failed() == {"plan-unchanged", "baselines-recomputed"}


def test_respelled_plan_is_found(runs) -> None:
    """The plan is read by its bytes too."""
    (runs.path / PLAN).write_text((runs.path / PLAN).read_text() + " ")
    assert runs.failed() == {"plan-unchanged"}


def test_claims_changed_after_the_plan_are_found(runs) -> None:
    """A margin that moves after the runs is a finding."""
    (runs.path / CLAIMS).write_text(json.dumps([{"name": "wear-r2", "threshold": 0.6}]))
    assert runs.failed() == {"plan-unchanged"}


@pytest.mark.parametrize("content", [None, b"{", b"NaN"])
def test_claims_that_cannot_be_read_are_found(runs, content: bytes | None) -> None:
    """Claims that are gone cannot be the planned ones."""
    (runs.path / CLAIMS).unlink()
    if content is not None:
        (runs.path / CLAIMS).write_bytes(content)
    assert runs.failed() == {"plan-unchanged"}


def test_changed_data_are_found(runs) -> None:
    """The data is what the plan's fingerprint says."""
    path = runs.path / DATASET
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert runs.failed() == {"plan-unchanged"}


@pytest.mark.parametrize("content", [None, b"", b"a,b\n1,2\n", b"\xff\xfe", b'"'])
def test_data_that_cannot_be_read_are_found(runs, content: bytes | None) -> None:
    """Without data the checks that need it are unchecked, and the audit fails."""
    (runs.path / DATASET).unlink()
    if content is not None:
        (runs.path / DATASET).write_bytes(content)
    assert runs.failed() == {"plan-unchanged"}


# --- non-finite -----------------------------------------------------------------------------------------------------


def test_non_finite_weight_is_found(runs) -> None:
    """An inf among the active weights of a checkpoint is a finding."""

    def edit(network: checkpoint.Checkpoint) -> None:
        assert network.masks is not None
        network.weights[0][tuple(np.argwhere(network.masks[0])[0])] = np.inf

    runs.edit_network(first(runs), 2, edit)
    assert "non-finite" in runs.failed()


def test_non_finite_history_is_found(runs) -> None:
    """A gradient norm that is not a number is a finding."""
    runs.edit_table(first(runs), HISTORY, lambda table: table.assign(gradient_norm=np.nan))
    assert runs.failed() == {"non-finite"}


def test_non_finite_record_is_found(runs) -> None:
    """Inf in a record's own numbers is a finding."""
    runs.edit_record(first(runs), lambda record: record["stages"][1]["layers"][0].update(std=np.inf))
    assert runs.failed() == {"digests", "non-finite", "metrics-recomputed"}


# --- metrics-recomputed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", ["r2", "mae", "rmse", "n"])
def test_edited_metric_is_found(runs, quantity: str) -> None:
    """A metric that its predictions do not give is a finding."""

    def edit(record: dict) -> None:
        metric = record["metrics"][3]
        metric[quantity] = metric[quantity] + (1 if quantity == "n" else 1e-6)

    runs.edit_record(first(runs), edit)
    assert runs.failed() == {"metrics-recomputed"}


def test_metric_left_out_is_found(runs) -> None:
    """An unflattering metric cannot be left out."""
    runs.edit_record(first(runs), lambda record: record["metrics"].pop())
    assert runs.failed() == {"metrics-recomputed"}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda table: table.iloc[1:], "predictions are missing"),
        (lambda table: table.iloc[[0, *range(len(table))]], "more than once"),
        (lambda table: table.assign(measured=table["measured"] * 1.01), "are not those of dataset.csv"),
        (lambda table: table.assign(case=table["case"].replace("1", "one")), "of no known cut"),
    ],
)
def test_predictions_that_do_not_cover_the_data_are_found(runs, edit, message: str) -> None:
    """Each cut, measured target and stage stands in predictions.csv once, with its measured value."""
    runs.edit_table(first(runs), PREDICTIONS, edit)
    assert "metrics-recomputed" in runs.failed()
    assert message in messages(runs)


def test_layer_statistics_are_recomputed(runs) -> None:
    """A mean magnitude that the checkpoint does not have is a finding."""
    runs.edit_record(first(runs), lambda record: record["stages"][2]["layers"][0].update(mean_abs=0.25))
    assert runs.failed() == {"metrics-recomputed"}


def test_recorded_coefficients_are_the_checkpoints(runs) -> None:
    """A learned coefficient is read off the checkpoint, not off the record."""
    runs.edit_record(first(runs), lambda record: record["stages"][2]["coefficients"].update(a=0.25))
    assert runs.failed() == {"metrics-recomputed"}


def test_score_of_closed_forms() -> None:
    """R² is 1 for the truth, 0 for the mean, and has no value where nothing varies."""
    measured = np.array([1.0, 2.0, 3.0])
    assert score(measured, measured) == {"n": 3, "r2": 1.0, "mae": 0.0, "rmse": 0.0}
    assert score(measured, np.full(3, 2.0))["r2"] == 0.0
    assert score(np.ones(3), measured)["r2"] is None
    assert score(measured, measured + 0.5) == pytest.approx({"n": 3, "r2": 1 - 0.75 / 2, "mae": 0.5, "rmse": 0.5})


@pytest.mark.parametrize("key", ["cost", "environment", "warnings"])
def test_a_fact_that_nothing_else_repeats_cannot_be_edited(runs, key: str) -> None:
    """Seconds, machine and warnings stand in the record alone; its seal notices when they change."""
    path = runs.folder(first(runs)) / RECORD
    content = json.loads(path.read_text())
    if key == "cost":
        content[key][0]["seconds"] /= 2
    elif key == "environment":
        content[key]["cores"] += 1
    else:
        content[key] = ["all went well"]
    path.write_text(json.dumps(content, indent=1) + "\n")
    assert runs.failed() == {"digests"} | ({"cost-recomputed"} if key == "cost" else set())


def test_an_edited_data_card_is_found(runs) -> None:
    """The data card is fixed by the plan: an exclusion added or removed later is noticed."""
    (runs.path / DATACARD).write_text(json.dumps({"rows": [["cuts", "167"]], "exclusions": [], "notes": []}))
    assert runs.failed() == {"plan-unchanged"}


def put_card(runs, card: dict) -> None:
    """Write a data card, and plan with it."""
    (runs.path / DATACARD).write_text(json.dumps(card))
    runs.edit_plan(lambda plan: plan["dataset"].update(card=digest_of(card)))


def true_card(runs) -> dict:
    """The card that the reader of the data writes."""
    dataset = read_canonical(runs.path / DATASET, runs.plan.dataset)
    return {"rows": [list(row) for row in card_rows(dataset)], "exclusions": [], "notes": []}


@pytest.mark.parametrize(
    "label",
    ["cuts", "cases (tools)", "labelled: flank wear VB", "labelled: thermal displacement", "fingerprint (sha256)",
     "with VB, with usable signals", "with VB, no usable signals", "no VB, no usable signals"],
)  # fmt: skip
def test_counts_of_the_data_card_are_counted_again(runs, label: str) -> None:
    """The card as it was written holds; one number of it that is not the data's is a finding, digests or none."""
    card = true_card(runs)
    put_card(runs, card)
    assert runs.failed() == set()
    row = next(row for row in card["rows"] if row[0] == label)
    row[1] = "9" + row[1]
    put_card(runs, card)
    assert runs.failed() == {"plan-unchanged"}
    assert label in messages(runs)


@pytest.mark.parametrize("source", ["nasa (mill.mat)", "tidy (mill.csv)"])
def test_exclusions_are_the_cuts_that_lack_something(runs, source: str) -> None:
    """The excluded labels are the cuts without VB, one each; one more, another, or one fewer is a finding."""
    runs.edit_plan(lambda plan: plan["dataset"].update(source=source))
    missing = {"case": "1", "run": 4, "what": "label", "reason": "no flank wear (VB) in the file"}
    put_card(runs, {"rows": [], "exclusions": [missing], "notes": []})
    assert runs.failed() == set()
    for wrong in ([missing, missing], [missing, {**missing, "run": 1}], [{**missing, "run": 3}], []):
        put_card(runs, {"rows": [], "exclusions": wrong, "notes": []})
        assert runs.failed() == {"plan-unchanged"}


def test_excluded_signals_are_the_cuts_without_any(runs) -> None:
    """A recording that is there is not excluded on a NASA card."""
    runs.edit_plan(lambda plan: plan["dataset"].update(source="nasa (mill.mat)"))
    missing = {"case": "1", "run": 4, "what": "label", "reason": "no flank wear (VB) in the file"}
    put_card(runs, {"rows": [], "exclusions": [missing, {**missing, "what": "signals"}], "notes": []})
    assert runs.failed() == {"plan-unchanged"}


def simulated(runs, truth: dict | None, seed: int = 0, sensors: str = "absolute") -> str:
    """What is said of a folder with the simulator's default data, where the plan asks for the campaign of `seed`."""
    dataset = simulator.simulate()
    dataset = relative(dataset) if sensors == "relative" else dataset
    (runs.path / DATASET).write_bytes(dataset.to_csv())
    card = {"rows": [], "exclusions": [], "notes": [], **({} if truth is None else {"truth": truth})}
    (runs.path / DATACARD).write_text(json.dumps(card))
    own = dataset.planned(digest_of(card)).model_dump(mode="json")
    runs.edit_plan(
        lambda plan: (
            plan["dataset"].update(own),
            plan["experiment"].update(data="simulator", simulator={"seed": seed}, sensors=sensors),
        )
    )
    folder = read_folder(runs.path, digest_all(runs.path))
    return "; ".join(fault.message for fault in recounted(folder))


TRUE = simulator.TRUTH.coefficients


def test_the_truth_of_simulated_data_is_the_simulators(runs) -> None:
    """As it is written it holds, with sensors of either kind; a coefficient changed, or no truth, is a finding."""
    assert simulated(runs, TRUE) == ""
    assert simulated(runs, TRUE, sensors="relative") == ""
    assert "datacard.json: truth = " in simulated(runs, {**TRUE, "g": 0.7})
    assert "datacard.json: truth = None" in simulated(runs, None)


def test_a_truth_of_other_data_is_found(runs) -> None:
    """Data that the simulator does not make of the plan's settings; and data that nobody simulated."""
    assert "not what the simulator makes of the plan's settings" in simulated(runs, TRUE, seed=1)
    put_card(runs, {**true_card(runs), "truth": TRUE})
    runs.edit_plan(lambda plan: plan["dataset"].update(source="tidy (mill.csv)"))
    folder = read_folder(runs.path, digest_all(runs.path))
    assert any("states a truth, and tidy (mill.csv) is not simulated" in f.message for f in recounted(folder))


@pytest.mark.parametrize("card", [[], {"rows": 7, "exclusions": [[]]}, {"rows": [[1]], "exclusions": [{}]}])
def test_a_card_that_is_none_is_found(runs, card) -> None:
    """A data card of another shape is a finding, not a crash."""
    put_card(runs, card)
    assert runs.failed() == {"plan-unchanged"}
