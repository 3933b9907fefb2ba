"""The command `spinn` as a process: what it prints, with which status it ends, and what it says to a wrong call."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from spinn import config, cost, schedule, schedule_check, variants

LAYERS = ("--layers", "18,512,512,512,256,2")
TARGET = ("--target-reduction", ".70")
RANGE = ("--parameter-range", "180000:210000")
EXPERIMENT = """
name = "small"
seeds = [0]
layers = [18, 512, 512, 512, 256, 2]
[target]
reduction = "0.70"
parameter_range = [180000, 210000]
[[variants]]
name = "sparse"
pruner = "global-magnitude"
stages = [{ ratio = "0.30" }, { ratio = "0.30" }, { ratio = "0.24" }, { ratio = "0.24" }]
[[variants]]
name = "first-version"
pruner = "first-version"
expected_findings = ["schedule-reaches-target"]
stages = [{ ratio = "0.20" }, { ratio = "0.20" }, { ratio = "0.15" }, { ratio = "0.15" }]
"""


def spinn(*arguments, cwd=None):
    """Run the command as its user does."""
    return subprocess.run(
        [sys.executable, "-m", "spinn.cli", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def check(ratios, *arguments):
    """`spinn schedule check` on the real network."""
    return spinn("schedule", "check", "--ratios", ratios, *LAYERS, *arguments)


# --- schedule check --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [(*TARGET, *RANGE), RANGE], ids=["both", "range"])
def test_first_repair_fails_and_is_mended(asked):
    """.30 .30 .20 .20 misses 70 % and the range; the output names the count, the share, and a schedule that holds."""
    done = check(".30,.30,.20,.20", *asked)
    assert (done.returncode, done.stderr) == (1, "")
    assert "210,365" in done.stdout
    assert "68.46 %" in done.stdout
    assert "365 parameters too many" in done.stdout
    (advice,) = [line for line in done.stdout.splitlines() if line.startswith("nearest schedule that holds: ")]
    ratios = advice.removeprefix("nearest schedule that holds: ").split()[0]
    assert check(ratios, *asked).returncode == 0


def test_default_schedule_holds():
    """.30 .30 .24 .24 ends at 190,030 parameters, and needs no advice."""
    done = check(".30,.30,.24,.24", *TARGET, *RANGE, "--size-bytes", "850000")
    assert (done.returncode, done.stderr) == (0, "")
    assert "190,030" in done.stdout
    assert "nearest" not in done.stdout
    assert "fails" not in done.stdout


def test_first_version_cannot_reach_its_target():
    """.20 .20 .15 .15 ends at 309,331 parameters, 53.62 %."""
    done = check(".20,.20,.15,.15", *TARGET)
    assert done.returncode == 1
    assert "309,331" in done.stdout
    assert "53.62 %" in done.stdout


def test_ledger_alone_holds():
    """Without criteria the ledger is printed and nothing fails."""
    done = check(".20,.20,.15,.15")
    assert (done.returncode, done.stderr) == (0, "")
    assert "309,331" in done.stdout
    assert "criterion" not in done.stdout


def test_a_miss_never_looks_like_a_hit():
    """Four parameters short of 70 % is not printed as 70.00 %."""
    done = check(".30,.30,.22,.22", *TARGET)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("target-reduction")]
    value, required = line.split("fails")[1].split("at least")
    assert value.strip() != required.split("%")[0].strip() + " %"
    assert "0.0005 % short, 4 parameters too many" in line


def test_a_long_schedule_gets_the_reason_of_its_criteria():
    """More stages than can be solved for: the reason is still why the target cannot be reached."""
    found = schedule_check.check(
        (18, 8, 2), ["0.01"] * 400, schedule.Criteria(reduction=schedule.parse_reduction("0.99"))
    )
    assert found.suggestion is None
    assert "reduction 99.00 %: no number of kept weights" in found.why_none


def test_nothing_holds_and_the_reason_is_given():
    """Where no schedule helps, the advice says why."""
    done = check(".30", "--target-reduction", ".9999")
    assert done.returncode == 1
    assert "no schedule holds: " in done.stdout
    assert "1,794 biases stay" in done.stdout


def test_json_of_a_check():
    """Machine output has the documented keys, exact counts, and a suggestion that holds."""
    done = check(".30,.30,.20,.20", *TARGET, *RANGE, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    content = json.loads(done.stdout)
    assert list(content) == ["stages", "criteria", "holds", "suggestion"]
    assert [list(stage) for stage in content["stages"]] == [
        ["stage", "ratio", "active", "pruned", "kept_weights", "parameters", "weight_sparsity", "reduction"]
    ] * 4
    assert [stage["parameters"] for stage in content["stages"]] == [467_356, 327_687, 262_508, 210_365]
    assert content["stages"][3]["reduction"] == pytest.approx(0.6845544, abs=1e-7)
    assert content["criteria"] == [
        {"name": "target-reduction", "holds": False, "value": content["stages"][3]["reduction"], "required": 0.7},
        {"name": "parameter-range", "holds": False, "value": 210_365, "required": [180_000, 210_000]},
    ]
    assert content["holds"] is False
    again = json.loads(check(",".join(content["suggestion"]["ratios"]), *TARGET, *RANGE, "--json").stdout)
    assert (again["holds"], again["suggestion"]) == (True, None)


# --- experiment files ------------------------------------------------------------------------------------------------


def test_experiment_declares_its_miss(tmp_path):
    """Each variant is judged; one that is declared to miss is shown and does not fail."""
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT)
    done = spinn("schedule", "check", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "190,030" in done.stdout
    assert "309,331" in done.stdout
    assert "declared to miss: 'schedule-reaches-target'" in done.stdout
    content = json.loads(spinn("schedule", "check", str(path), "--json").stdout)
    assert list(content) == ["variants", "holds"]
    assert content["holds"] is True
    assert {name: part["holds"] for name, part in content["variants"].items()} == {
        "sparse": True,
        "first-version": False,
    }


@pytest.mark.parametrize("pruner", ["global-magnitude", "neurons-incoming"])
def test_the_cost_is_that_of_training_by_the_plan(pruner):
    """For each row what spinn.cost counts, phase by phase, at the widths that are trained; unknown without epochs."""
    layers, ratios, epochs = (18, 64, 32, 2), ["0.3", "0.2"], (300, 40, 50)
    found = schedule_check.check(layers, ratios, schedule.Criteria(), pruner=pruner, epochs=epochs)
    widths = [layers, *(stage.widths or layers for stage in found.stages)]
    assert found.flops_per_row == sum(cost.training_flops(w, 1, 0, e) for w, e in zip(widths, epochs, strict=True))
    assert f"at most {found.flops_per_row:.2e} FLOPs" in found.as_text()
    assert found.as_json()["flops_per_row"] == found.flops_per_row
    assert "cost" not in schedule_check.check(layers, ratios, schedule.Criteria(), pruner=pruner).as_text()


def test_an_experiment_states_its_cost_where_it_states_all_epochs(tmp_path):
    """quick.toml has the dense phase's and each stage's; a file that leaves one out has no cost, and is judged."""
    path = tmp_path / "quick.toml"
    content = (Path(__file__).parents[2] / "paper/experiments/quick.toml").read_text()
    path.write_text(content)
    sparse = json.loads(spinn("schedule", "check", str(path), "--json").stdout)["variants"]["sparse"]
    assert sparse["flops_per_row"] == (300 + 40 + 40 + 50 + 60) * 6 * 665_088
    path.write_text(content.replace("epochs = 300\n", ""))
    assert "FLOPs" not in spinn("schedule", "check", str(path)).stdout


def test_a_variant_s_own_epochs_are_its_cost(tmp_path):
    """Those of its dense network take the place of the file's; a key that cannot be a variant's own is named."""
    content = (Path(__file__).parents[2] / "paper/experiments/quick.toml").read_text()
    path, place = tmp_path / "own.toml", 'pruner = "global-magnitude"\n'
    path.write_text(content.replace(place, f"{place}dense = {{ epochs = 100 }}\ncorrection = 0.2\n"))
    variants = json.loads(spinn("schedule", "check", str(path), "--json").stdout)["variants"]
    stages = 40 + 40 + 50 + 60
    assert variants["sparse"]["flops_per_row"] == (100 + stages) * 6 * 665_088
    assert variants["first-version"]["flops_per_row"] == (300 + stages) * 6 * 665_088
    path.write_text(content.replace(place, f"{place}dense = {{ batch = 100 }}\n"))
    message = "variants[0].dense.batch: no such key; there are epochs, learning_rate"
    assert_refused(spinn("schedule", "check", str(path)), message)


def test_neurons_are_planned_with_their_widths(tmp_path):
    """Where neurons go, the widths after each stage stand in the table and the JSON; the size is that of the file."""
    path = tmp_path / "small.toml"
    ratios = '{ ratio = "0.09" }, { ratio = "0.09" }, { ratio = "0.20" }, { ratio = "0.20" }'
    content = EXPERIMENT.replace('"global-magnitude"', '"neurons-incoming"')
    path.write_text(
        content.replace('{ ratio = "0.30" }, { ratio = "0.30" }, { ratio = "0.24" }, { ratio = "0.24" }', ratios)
    )
    done = spinn("schedule", "check", str(path), "--size-bytes", "766204")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[2] for line in done.stdout.splitlines()[3:8]] == [
        "widths", "18-466-466-466-233-2", "18-424-424-424-212-2", "18-339-339-339-170-2", "18-271-271-271-136-2"
    ]  # fmt: skip
    assert "189,839" in done.stdout
    content = json.loads(spinn("schedule", "check", str(path), "--json").stdout)["variants"]
    assert content["sparse"]["stages"][3]["widths"] == [18, 271, 271, 271, 136, 2]
    assert "widths" not in content["first-version"]["stages"][3]


def test_experiment_with_an_undeclared_miss_fails(tmp_path):
    """The same file without the declaration ends with status 1 and advice."""
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT.replace('expected_findings = ["schedule-reaches-target"]', ""))
    done = spinn("schedule", "check", str(path))
    assert done.returncode == 1
    assert "nearest schedule that holds: " in done.stdout


def test_declared_miss_that_holds_is_pointed_out(tmp_path):
    """A declaration that has become wrong is named, so that it does not surprise in the audit."""
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT)
    done = spinn("schedule", "check", str(path), "--target-reduction", ".50", "--parameter-range", "0:400000")
    assert done.returncode == 0
    assert "declared to miss, but every criterion holds" in done.stdout


def test_options_replace_the_files_criteria(tmp_path):
    """A criterion on the command line takes the place of the file's."""
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT)
    done = spinn("schedule", "check", str(path), "--target-reduction", ".72")
    assert done.returncode == 1
    assert "at least 72.00 %" in done.stdout


OWN_TARGET = """
[variants.target]
parameter_range = [300000, 320000]
"""


def test_a_variant_s_own_target_takes_the_place_of_the_file_s(tmp_path):
    """309,331 parameters are within the variant's own range; asked for on the command line, the range is that one."""
    path = tmp_path / "own.toml"
    path.write_text(EXPERIMENT.replace('expected_findings = ["schedule-reaches-target"]\n', "") + OWN_TARGET)
    done = spinn("schedule", "check", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "300,000 to 320,000" in done.stdout
    assert "180,000 to 210,000" in done.stdout
    assert spinn("schedule", "check", str(path), *RANGE).returncode == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("parameter_range = [3", "parameter_rang = [3", "variants[1].target.parameter_rang: no such key; there are "),
        ("[300000, 320000]", '"300000"', "variants[1].target.parameter_range = '300000': two whole numbers"),
        ("parameter_range = [300000, 320000]", "reduction = 0.5", "variants[1].target.reduction = 0.5: a string"),
        ("parameter_range = [300000, 320000]", 'size_bytes = "1"', "variants[1].target.size_bytes = '1': a whole "),
    ],
)
def test_a_broken_target_of_a_variant_is_one_clear_line(tmp_path, old, new, message):
    """It is named by its place."""
    (tmp_path / "broken.toml").write_text(EXPERIMENT + OWN_TARGET.replace(old, new))
    assert_refused(spinn("schedule", "check", "broken.toml", cwd=tmp_path), f"spinn: broken.toml: {message}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds", "sedes", "sedes: no such key; there are adaptation, baselines, claims"),
        ("reduction =", "reducton =", "target.reducton: no such key; there are parameter_range, reduction, size_bytes"),
        ('reduction = "0.70"', "reduction = 0.70", "target.reduction = 0.7: a string"),
        ('reduction = "0.70"', 'reduction = "70"', "target.reduction = 70: a reduction is above 0 and below 1"),
        (
            "[180000, 210000]",
            "[210000, 180000]",
            "parameter range = 210000:180000: at least 0, the smaller number first",
        ),
        ("[180000, 210000]", "180000", "target.parameter_range = 180000: two whole numbers"),
        ("[18, 512, 512, 512, 256, 2]", '"18,2"', "layers = '18,2': a list"),
        ("[18, 512, 512, 512, 256, 2]", "[18.0, 2]", "layers[0] = 18.0: a width is a whole number"),
        ('ratio = "0.24"', "ratio = 0.24", "variants[0].stages[2].ratio = 0.24: a string, such as '0.30'"),
        (
            'ratio = "0.24"',
            'ratio = "1.2"',
            "variants[0].stages[2].ratio = 1.2: a stage ratio is at least 0 and below 1",
        ),
        ('ratio = "0.24"', 'ratios = "0.24"', "variants[0].stages[2].ratios: no such key"),
        ('name = "first-version"', 'name = "sparse"', "variants[1].name = 'sparse': names are unique"),
        ('expected_findings = ["', 'expected_findings = "', "not a TOML file"),
        ('["schedule-reaches-target"]', '"schedule"', "variants[1].expected_findings = 'schedule': a list"),
        ("[[variants]]", "[variant]", "not a TOML file"),
        ("layers =", "#", "layers: is missing"),
        (
            'pruner = "first-version"',
            'pruner = "neurons"',
            "variants[1].pruner = 'neurons': one of global-magnitude, layerwise-magnitude, random, ",
        ),
    ],
)
def test_broken_experiment_is_one_clear_line(tmp_path, old, new, message):
    """What is wrong in an experiment file is named by its place, with status 2 and no traceback."""
    path = tmp_path / "broken.toml"
    assert old in EXPERIMENT
    path.write_text(EXPERIMENT.replace(old, new))
    assert_refused(spinn("schedule", "check", "broken.toml", cwd=tmp_path), f"spinn: broken.toml: {message}")


def test_missing_folder_and_binary_experiment(tmp_path):
    """A file that is not there, is a folder, or is no text."""
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert_refused(spinn("schedule", "check", "none.toml", cwd=tmp_path), "none.toml: no such file")
    assert_refused(spinn("schedule", "check", ".", cwd=tmp_path), ".: a folder")
    assert_refused(spinn("schedule", "check", "binary.toml", cwd=tmp_path), "binary.toml: not a TOML file")


def test_keys_are_the_schemas():
    """The keys that the check knows, without loading the schema, are the schema's."""
    assert set(config.Experiment.model_fields) == schedule_check.EXPERIMENT_KEYS
    assert set(config.TargetConfig.model_fields) == schedule_check.TARGET_KEYS
    assert set(config.Variant.model_fields) == schedule_check.VARIANT_KEYS
    assert set(config.OwnDense.model_fields) == schedule_check.OWN_DENSE_KEYS
    assert set(config.StageConfig.model_fields) == schedule_check.STAGE_KEYS
    assert get_args(config.Variant.model_fields["pruner"].annotation) == variants.PRUNERS


# --- schedule solve --------------------------------------------------------------------------------------------------


def test_solve_prints_ratios_that_check_accepts():
    """The last line of `solve` is what `check` is called with."""
    done = spinn("schedule", "solve", *LAYERS, "--target-reduction", ".715", "--fix-first", ".30,.30")
    assert (done.returncode, done.stderr) == (0, "")
    option, ratios = done.stdout.splitlines()[-1].split()
    assert (option, ratios) == ("--ratios", ".30,.30,0.24,0.24")
    assert check(ratios, "--target-reduction", ".715").returncode == 0


def test_solve_cubic_as_json():
    """The cubic shape prunes most at first; the JSON is that of a check that holds."""
    done = spinn("schedule", "solve", *LAYERS, "--target-reduction", ".715", "--shape", "cubic", "--json")
    content = json.loads(done.stdout)
    pruned = [stage["pruned"] for stage in content["stages"]]
    assert pruned == sorted(pruned, reverse=True)
    assert (content["holds"], content["suggestion"]) == (True, None)


# --- wrong calls -----------------------------------------------------------------------------------------------------


def assert_refused(done, message):
    """Status 2, one line on standard error that says `message`, nothing on standard output."""
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("spinn: ")
    assert message in done.stderr


CHECK = ("schedule", "check")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*CHECK, "--ratios", ".3,1.2", *LAYERS), "ratio[2] = 1.2: a stage ratio is at least 0 and below 1"),
        ((*CHECK, "--ratios", "-.3", *LAYERS), "ratio[1] = '-.3': a decimal such as 0.30"),
        ((*CHECK, "--ratios", "", *LAYERS), "ratio = '': one ratio for each stage"),
        ((*CHECK, "--ratios", ",", *LAYERS), "ratio[1] = '': a decimal such as 0.30"),
        ((*CHECK, "--ratios", ".3", "--layers", "abc"), "layers = 'abc': whole numbers with commas between"),
        ((*CHECK, "--ratios", ".3", "--layers", "18"), "layers = [18]: at least an input and an output width"),
        ((*CHECK, "--ratios", ".3", "--layers", "18,-2"), "layers[1] = -2: a width is a whole number of at least 1"),
        (
            (*CHECK, "--ratios", ".3", *LAYERS, "--parameter-range", "9:1"),
            "parameter range = 9:1: at least 0, the smaller",
        ),
        ((*CHECK, "--ratios", ".3", *LAYERS, "--parameter-range", "9"), "parameter range = '9': two whole numbers"),
        (
            (*CHECK, "--ratios", ".3", *LAYERS, "--target-reduction", "70"),
            "target reduction = 70: a reduction is above 0",
        ),
        ((*CHECK, "--ratios", ".3", *LAYERS, "--size-bytes", "0"), "size = 0: a number of bytes of at least 1"),
        ((*CHECK, "--ratios", ".3", *LAYERS, "--size-bytes", "1 MB"), "'1 MB' is not a valid integer"),
        ((*CHECK, "--ratios", ".3"), "--layers is missing: give an experiment file, or both --ratios and --layers"),
        (CHECK, "--ratios is missing"),
        ((*CHECK, "x.toml", "--ratios", ".3"), "x.toml: an experiment file, or --ratios and --layers, not both"),
        ((*CHECK, "--ratio", ".3"), "see `spinn schedule check --help`"),
        (("schedule", "solve", *LAYERS), "Missing option '--target-reduction'; see `spinn schedule solve --help`"),
        (("schedule", "solve", *LAYERS, *TARGET, "--stages", "0"), "stages = 0"),
        (("schedule", "solve", *LAYERS, *TARGET, "--shape", "square"), "'square' is not one of 'uniform', 'cubic'"),
        (("schedule", "solve", *LAYERS, "--target-reduction", ".9999"), "1,794 biases stay"),
        (("schedule",), "Missing command; see `spinn schedule --help`"),
        ((), "Missing command; see `spinn --help`"),
        (("prune",), "No such command 'prune'"),
        (("data", "fetch", "mnist"), "'mnist' is not 'nasa'"),
        (("run", "x.toml", "--device", "tpu"), "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
        (("run", "x.toml", "--from-stage", "-1"), "-1 is not in the range"),
        (("summary",), "Missing argument 'RUNS'"),
    ],
)
def test_wrong_call_is_one_clear_line(arguments, message):
    """A wrong call ends with status 2 and one line that says what was expected."""
    assert_refused(spinn(*arguments), message)


def test_missing_inputs_of_the_other_commands(tmp_path):
    """Experiment, source and folder of runs that are not there are named."""
    assert_refused(spinn("run", "none.toml", cwd=tmp_path), "none.toml")
    assert_refused(spinn("data", "describe", "none.mat", cwd=tmp_path), "none.mat")
    assert_refused(spinn("summary", "none", cwd=tmp_path), "none")


def test_help_names_the_commands():
    """`--help` is on standard output with status 0, and so is the version."""
    done = spinn("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in ("schedule", "data", "run", "summary"))
    assert spinn("--version").stdout.startswith("spinn, version ")
