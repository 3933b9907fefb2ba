"""Each table against what the records say, computed here another way."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifacts import claims, costs, results, tables
from artifacts.render import Table
from artifacts.results import Results
from spinn.metrics import r_squared
from verify.audit import audit

ROOT = Path(__file__).parents[2]
IN_OTHER_FOLDERS = ("search", "sensors", "settings", "ablation-environment")  # tested where they are made


def cell(table: Table, column: str, **labels: str) -> object:
    """The one cell of `column` in the row with these labels."""
    rows = table.frame
    for name, value in labels.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1
    return rows[column].iloc[0]


def test_every_table_is_named_and_prints(found: Results):
    """All tables are in the list of names, print in every form, and have numbers of their own."""
    made = tables.all_tables(found)
    assert {table.name for table in made} == set(tables.NAMES) - {
        *IN_OTHER_FOLDERS,
        "claims",
        "benchmarks",
        "benchmark-targets",
        "mutants",
        "certificate",
        "certificate-cells",
    }
    names = [name for table in made for name in table.numbers()]
    assert len(names) == len(set(names))
    for table in made:
        rows = len(table.frame)
        assert len(table.shown()) == rows + 1
        assert table.latex().decode().count("\\\\\n") == rows + 1
        assert all(number.source for number in table.numbers().values())
        assert all(number.expression for number in table.numbers().values())


def test_a_number_has_the_unit_of_what_it_measures(found: Results):
    """A column that names a unit has it; an error or a measured value has its target's, a data card's row its own."""
    of_target = re.compile("MAE.*|bias|RMSE|from|to|width|level #.*")
    seen = set[tuple[str, str]]()
    for table in tables.all_tables(found):
        for number in table.numbers().values():
            _, row, column = number.cells[0]
            targets = table.frame["target"].iloc[row] if "target" in table.frame else ""
            if named := re.search(r"\(([^()]+)\)(?: low| high)?$", column):
                assert number.unit == named[1], number.name
            elif targets and of_target.fullmatch(column):
                assert f"({number.unit})" in targets, number.name
                seen.add((re.split("[ #]", column)[0], number.unit))
    columns = ("MAE", "bias", "RMSE", "from", "to", "width")
    assert seen == {(column, unit) for column in columns for unit in ("mm", "µm")} | {("level", "mm")}


def test_the_data_card_has_units(found: Results):
    """What a row of the data card measures is in the row's unit; how many cuts have it is a count."""
    rows = [["DOC (mm)", "0.75 in 104 cuts, 1.5 in 63 cuts"], ["thermal (µm)", "2.38 to 67.5"], ["cases (tools)", "16"]]
    rows += [["truth: a (ln(mm/min))", "-5.3"], ["truth: b (1)", "0.63"], ["power (W)", "not measured"]]
    table = tables.data_card(replace(found, datacard={"rows": rows}))
    assert [(number.text, number.unit) for number in table.numbers().values()] == [
        *(("0.75", "mm"), ("104", ""), ("1.5", "mm"), ("63", "")),
        *(("2.38", "µm"), ("67.5", "µm"), ("16", ""), ("-5.3", "ln(mm/min)"), ("0.63", "")),
    ]


def test_accuracy_is_pooled_over_all_held_out_cuts(found: Results):
    """R² and MAE are those of the prediction files' test rows, per seed, then averaged."""
    frame = found.predictions
    rows = frame[(frame["variant"] == "sparse") & (frame["stage"] == 2) & (frame["split"] == "test")]
    rows = rows[(rows["target"] == "VB") & rows["measured"].notna()]
    each = [r_squared(part["measured"].to_numpy(), part["prediction"].to_numpy()) for _, part in rows.groupby("seed")]
    table = tables.accuracy(found)
    here = {"target": "flank wear VB (mm)", "predictor": "sparse"}
    assert cell(table, "R²", **here) == pytest.approx(np.mean(np.array(each, float)))
    mae = (rows["measured"] - rows["prediction"]).abs().mean()
    assert cell(table, "MAE", **here) == pytest.approx(mae)
    reach = rows["measured"].max() - rows["measured"].min()
    assert cell(table, "MAE ÷ range (%)", **here) == pytest.approx(100 * mae / reach)
    assert cell(table, "cuts", **here) == 27


def test_overall_is_the_mean_of_the_measured_targets(found: Results):
    """The overall row is the mean of the target rows and says which targets it means."""
    table = tables.accuracy(found)
    parts = [
        cell(table, "R²", target=name, predictor="dense")
        for name in ("flank wear VB (mm)", "thermal displacement (µm)")
    ]
    assert cell(table, "R²", target="overall", predictor="dense") == pytest.approx(np.mean(np.array(parts, float)))
    assert any("mean R² of the measured targets" in note for note in table.notes)
    assert cell(table, "R²", target="overall", predictor="wear-law") is None


def test_other_baselines_are_shown_with_their_seeds_and_what_they_see(tmp_path: Path, found: Results, fabricator):
    """A baseline that draws counts as many fits as seeds; who sees labels, and how who was tuned, stands below."""
    names = ("mean", "last-value", "ridge", "gradient-boosting")
    fabricator(tmp_path, thermal=False, opponents=names)
    table = tables.accuracy(results.read(tmp_path, audit(tmp_path)))
    seeds = [cell(table, "seeds", target="flank wear VB (mm)", predictor=name) for name in names]
    assert seeds == [1, 1, 1, 2]
    (sees,) = [note for note in table.notes if "sees the earlier labels of the held-out tool" in note]
    assert sees.startswith("last-value sees")
    (tuned,) = [note for note in table.notes if "inner cross-validation" in note]
    assert "of ridge, gradient-boosting: the best of 6 candidates each" in tuned
    assert not any("earlier labels" in note or "cross-validation" in note for note in tables.accuracy(found).notes)


def test_unmeasured_target_is_not_reported(tmp_path: Path, fabricator):
    """Where thermal displacement has no label no row shows it, overall is wear alone, and the table says so."""
    fabricator(tmp_path, thermal=False, seeds=(0,))
    table = tables.accuracy(results.read(tmp_path, audit(tmp_path)))
    assert set(table.frame["target"]) == {"flank wear VB (mm)", "overall"}
    whole = table.frame.set_index(["target", "predictor"])["R²"]
    assert whole["overall", "sparse"] == whole["flank wear VB (mm)", "sparse"]
    assert any("no label in this data and is not reported" in note for note in table.notes)


def test_schedule_counts_runs_that_did_as_planned(found: Results):
    """The sound variant's runs all equal the plan; the first version's second stage never does."""
    table = tables.schedule(found)
    assert cell(table, "runs as planned", variant="sparse", stage="2") == 8
    assert cell(table, "runs as planned", variant="first-version †", stage="2") == 0
    assert cell(table, "parameters", variant="sparse", stage="2") == 92
    assert cell(table, "reduction (%)", variant="sparse", stage="2") == pytest.approx(100 * (1 - 92 / 161))


def test_before_after_is_measured(found: Results):
    """What was claimed, what the mask says and what the weights say are three numbers; the first version's differ."""
    rows = tables.before_after(found).frame.set_index("")["first-version †"]
    assert rows["reduction claimed by the pruner (%)"] == pytest.approx(35.0)
    assert rows["reduction by the mask (%)"] == pytest.approx(100 * 22 / 161)
    assert rows["reduction in the weights (%)"] == pytest.approx(0.0)
    assert rows["pruned weights revived"] == 22
    assert tables.before_after(found).frame.set_index("")["sparse"]["pruned weights revived"] == 0


def test_marked_runs_explain_their_mark(found: Results):
    """Every table with a marked column or row has the footnote."""
    for table in tables.all_tables(found):
        marked = any("†" in text for row in table.shown() for text in row)
        assert marked == any(note.startswith("†") for note in table.notes), table.name


def test_by_case_weighs_to_the_pooled_error(found: Results):
    """The MAE of the cases, weighted by their cuts, is the pooled MAE; and every case is there."""
    frame = tables.by_case(found).frame
    wear = frame[frame["target"] == "flank wear VB (mm)"]
    assert list(wear["case"]) == sorted(found.plan.dataset.cases)
    pooled = np.average(wear["MAE sparse"].astype(float), weights=wear["cuts"].astype(float))
    here = {"target": "flank wear VB (mm)", "predictor": "sparse"}
    assert cell(tables.accuracy(found), "MAE", **here) == pytest.approx(pooled)


def test_training_cost_adds_up(found: Results):
    """Seconds of all phases are those of distinct keys: 4 s dense once, 1 s for each stage of each variant."""
    table = costs.training_cost(found)
    assert table is not None
    assert cell(table, "seconds", phase="total") == pytest.approx(8.0)
    assert cell(table, "seconds", phase="dense") == pytest.approx(4.0)
    assert table.shown()[1][-1] == "not measured"
    assert any("save nothing in memory and compute" in note for note in table.notes)


def test_masks_alone_save_no_memory(found: Results):
    """Dense and masked network need the same memory; the file is smaller."""
    table = costs.inference_cost(found)
    assert table is not None
    rows = table.frame.set_index("network")
    assert rows.loc["sparse", "memory (MB)"] == rows.loc["dense", "memory (MB)"]
    assert rows.loc["sparse", "file (MB)"] < rows.loc["dense", "file (MB)"]


def test_notes_say_what_was_timed_and_weighed(found: Results):
    """One network of each stack is timed, and the tables say so; memory on the CPU is that of the whole process."""
    times, training = costs.inference_cost(found), costs.training_cost(found)
    assert times is not None
    assert training is not None
    assert list(times.frame["networks timed"]) == [1, 1, 1]
    for table in (times, claims.table(found, claims.evaluate(found))):
        assert "one network of each stack is timed; all have one shape" in " ".join(table.notes).lower()
    assert "counts, sizes and times" not in " ".join(claims.table(found, claims.evaluate(found)).notes)
    assert "resident set of the whole process" in " ".join(training.notes)


def test_runs_without_cost_or_latency_have_no_cost_tables(found: Results):
    """Records that measured no cost give no empty table."""
    bare = replace(found, records=tuple(r.model_copy(update={"cost": (), "latency": ()}) for r in found.records))
    assert {"training-cost", "inference-cost"}.isdisjoint(table.name for table in tables.all_tables(bare))


def test_layers_add_up_to_the_network(found: Results):
    """Kept weights of the layers add up to the stage's."""
    frame = tables.layers(found).frame
    assert sum(frame[frame["variant"] == "sparse"]["kept"]) == pytest.approx(79)
    assert len(tables.layers(found, all_stages=True).frame) == 2 * 3 * 3


def without_neurons(found: Results, lost: int) -> Results:
    """The same results, as if the sparse variant's last stage had removed neurons, and with them `lost` biases."""
    *before, last = found.plan.ledger["sparse"]
    stage = last.model_copy(update={"widths": (18, 4, 3, 2), "parameters": last.parameters - lost})
    plan = found.plan.model_copy(update={"ledger": {**found.plan.ledger, "sparse": (*before, stage)}})
    records = []
    for record in found.records:
        *stages, end = record.stages
        end = end.model_copy(update={"parameters": end.parameters - lost, "nonzero_weights": end.kept_weights})
        records.append(record.model_copy(update={"stages": (*stages, end)}) if record.variant == "sparse" else record)
    return replace(found, plan=plan, records=tuple(records))


def test_widths_stand_in_the_schedule_where_neurons_went(found: Results):
    """After the stage, from input to output; no such column, and no note on it, where only single weights go."""
    assert "widths after" not in tables.schedule(found).frame
    assert tables.NEURONS not in tables.schedule(found).notes
    smaller = without_neurons(found, 3)
    table = tables.schedule(smaller)
    assert cell(table, "widths after", variant="sparse", stage="2") == "18-4-3-2"
    assert cell(table, "widths after", variant="first-version †", stage="2") == "–"
    assert cell(table, "runs as planned", variant="sparse", stage="2") == cell(
        table, "runs", variant="sparse", stage="2"
    )
    for made in (table, tables.before_after(smaller), tables.progression(smaller)):
        assert tables.NEURONS in made.notes
        assert "widths after" not in {name.split(".")[-1] for name in made.numbers()}  # a text, not a number


def test_biases_of_removed_neurons_are_gone_from_the_weights_too(found: Results):
    """With no kept weight at zero, what the weights say is what the mask says, also where biases went."""
    table = tables.before_after(without_neurons(found, 3))
    rows = table.frame.set_index("")["sparse"]
    assert rows["reduction in the weights (%)"] == pytest.approx(rows["reduction by the mask (%)"])
    assert rows["parameters by the mask"] == found.plan.ledger["sparse"][-1].parameters - 3


def test_accuracy_has_the_ensemble_beside_the_seeds(found: Results):
    """Its column is the R² of the mean prediction over seeds, which two seeds make differ from the mean of their R²."""
    frame = found.predictions
    rows = frame[(frame["variant"] == "sparse") & (frame["stage"] == 2) & (frame["split"] == "test")]
    rows = rows[(rows["target"] == "VB") & rows["measured"].notna()]
    mean = rows.groupby(["case", "run"])[["measured", "prediction"]].mean()
    table, here = tables.accuracy(found), {"target": "flank wear VB (mm)", "predictor": "sparse"}
    ensemble = cell(table, "R², mean prediction", **here)
    assert ensemble == pytest.approx(r_squared(mean["measured"].to_numpy(), mean["prediction"].to_numpy()))
    assert ensemble != pytest.approx(cell(table, "R²", **here))
    alone = {"target": "flank wear VB (mm)", "predictor": "wear-law"}
    assert cell(table, "R², mean prediction", **alone) == pytest.approx(cell(table, "R²", **alone))
    assert any("ensemble" in note for note in table.notes)


def test_a_number_has_the_unit_that_its_column_ends_with(found: Results):
    """Whatever its table says of formats; learned coefficients have that of their row."""
    made = {table.name: table.numbers() for table in tables.all_tables(found)}
    seen = set()
    for numbers in made.values():
        for number in numbers.values():
            column = number.cells[0][2].removesuffix(" low").removesuffix(" high")
            if unit := re.search(r"\(([^()\s]+)\)$", column):
                assert number.unit == unit[1], number.name
                seen.add(number.unit)
    assert seen >= {"%", "ms", "MB", "mm"}
    assert made["before-after"]["before-after.checkpoint-bytes.sparse"].unit == "bytes"
    learned = {name: number.unit for name, number in made["coefficients"].items() if name.endswith(".estimate")}
    assert {name.split(".")[2]: unit for name, unit in learned.items()}["r"] == "mm/min"


def test_no_note_has_a_level_of_its_own(honest: Path):
    """With other levels all tables say these; read by an interpreter in which they are other from the beginning."""
    code = (
        "import sys; from pathlib import Path; from artifacts import coverage, ladder, stats\n"
        "stats.LEVEL, coverage.NOMINAL, ladder.ALPHA = 0.9, 0.8, 0.1\n"
        "from artifacts import certificate, claims, results, tables; from verify.audit import audit\n"
        "found = results.read(Path(sys.argv[1]), audit(Path(sys.argv[1])))\n"
        "made = [*tables.all_tables(found), claims.table(found, claims.evaluate(found))]\n"
        "print(*(note for table in made for note in table.notes), certificate._RUNGS, sep='\\n')"
    )
    ran = subprocess.run([sys.executable, "-c", code, honest], capture_output=True, text=True, check=True, cwd=ROOT)
    levels = set(re.findall(r"(\d+) % (?:interval|with)|at (\d+) %|give (\d+) %", ran.stdout))
    assert {one for found in levels for one in found if one} == {"90", "80", "10"}
    assert not re.search(r"\b(?:95|5) %|1\.96", ran.stdout)
    assert "below 5 cases, which cannot give 80 %" in ran.stdout


def test_cores_threads_and_memory_are_values_and_versions_are_names(found: Results):
    """Named by what they count, not by how many there are; of the records of the runs."""
    numbers = costs.environment(found).numbers()
    stated = found.records[0].environment
    assert {name: number.value for name, number in numbers.items()} == {
        "environment.cores.value": stated.cores,
        "environment.memory-bytes.value": stated.memory_bytes,
        "environment.threads.value": stated.threads,
    }
    assert numbers["environment.memory-bytes.value"].unit == "bytes"
    assert all(number.source for number in numbers.values())
