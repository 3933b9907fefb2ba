"""Online adaptation: an honest folder has no finding, and each thing that may be wrong in it is found."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from spinn import checkpoint, experiment
from spinn.data.simulator import simulate
from spinn.record import ADAPTATION, RECORD
from spinn.storage import digest_file, digest_of
from verify.audit import audit

FILE = """
name = "tiny"
seeds = [3, 4]
layers = [18, 8, 6, 2]
stack = 5
correction = 0.3
[split]
kind = "grouped"
folds = 2
validation_cases = 0
[dense]
epochs = 5
[physics]
wear_rate = 0.1
law = 0.1
[adaptation]
steps = 2
learning_rate = 1e-3
[[variants]]
name = "sparse"
pruner = "global-magnitude"
stages = [{ ratio = "0.50", epochs = 2, learning_rate = 1e-3 }]
"""
CHECK = "adaptation-recomputed"


def _made(path: Path, text: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "tiny.toml").write_text(text)
    with contextlib.redirect_stderr(io.StringIO()):
        return experiment.run(path / "tiny.toml", out=path / "runs", device="cpu")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory) -> Path:
    """A folder of real runs that adapted; not to be changed."""
    return _made(tmp_path_factory.mktemp("adapted"), FILE)


@pytest.fixture
def folder(adapted: Path, tmp_path: Path) -> Path:
    """A copy of it, to break."""
    return Path(shutil.copytree(adapted, tmp_path / "runs"))


def _found(folder: Path) -> dict[str, tuple[str, str]]:
    """Errors, and what could not be looked at: severity and messages by check."""
    findings = [finding for finding in audit(folder).findings if finding.severity in ("error", "unchecked")]
    return {
        finding.check: (
            finding.severity,
            "\n".join(fault["message"] for fault in (finding.data or {}).get("faults", ())) or finding.message,
        )
        for finding in findings
    }


def _edit(folder: Path, edit: Callable[[dict], object]) -> None:
    """Change the record and seal it again."""
    path = folder / ADAPTATION / RECORD
    content = json.loads(path.read_text())
    edit(content)
    content["seal"] = digest_of({key: value for key, value in content.items() if key != "seal"})
    path.write_text(json.dumps(content, indent=1) + "\n")


def _method(folder: Path, name: str, edit: Callable[[dict], object]) -> None:
    _edit(folder, lambda content: edit(next(method for method in content["methods"] if method["name"] == name)))


def _table(folder: Path, name: str, edit: Callable[[Any], Any]) -> None:
    """Change a method's predictions, and their digest."""
    path = folder / ADAPTATION / f"{name}.csv"
    table = pd.read_csv(path, dtype={"case": str})
    changed = edit(table)
    (table if changed is None else changed).to_csv(path, index=False, lineterminator="\n")
    _method(folder, name, lambda method: method.update(predictions_digest=digest_file(path)))


def _only(folder: Path, message: str) -> None:
    found = _found(folder)
    assert set(found) == {CHECK}
    severity, messages = found[CHECK]
    assert severity == "error"
    assert message in messages


def test_an_honest_folder_has_no_finding(adapted):
    """Everything is recomputed, with tools in several stacks, a wear-rate term, and both seeds."""
    assert _found(adapted) == {}


@pytest.mark.parametrize("validation", [0, 2])
def test_honest_folders_of_other_experiments_have_no_finding(tmp_path, validation):
    """Without a wear law to correct; with early stopping; each case left out in turn."""
    text = FILE.replace("correction = 0.3\n", "").replace("law = 0.1", "initial = 0.1\nheat = 0.1")
    text = text.replace("stack = 5\n", "").replace("validation_cases = 0", f"validation_cases = {validation}")
    if validation:
        text = text.replace("epochs = 5", "epochs = 9\npatience = 2")
        text = text.replace('kind = "grouped"\nfolds = 2', 'kind = "leave-one-case-out"')
    assert _found(_made(tmp_path, text)) == {}


def test_an_experiment_without_adaptation_may_have_no_folder_of_it(tmp_path):
    """Nothing is asked for, and what lies there all the same is no file of the plan's."""
    text = FILE.replace("[adaptation]\nsteps = 2\nlearning_rate = 1e-3\n", "")
    folder = _made(tmp_path, text)
    assert _found(folder) == {}
    (folder / ADAPTATION).mkdir()
    (folder / ADAPTATION / "adapted.csv").write_text("")
    found = _found(folder)
    assert set(found) == {"planned-runs-present"}
    assert "adaptation/adapted.csv: no file of this plan's" in found["planned-runs-present"][1]


def test_stray_files_are_found(folder):
    """A file that is none of the plan's might be a better result, kept for later."""
    (folder / ADAPTATION / "better.csv").write_text("")
    assert set(_found(folder)) == {"planned-runs-present"}


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_a_lost_or_broken_record_is_found(folder, content):
    """Without it nothing says what the files are."""
    path = folder / ADAPTATION / RECORD
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    _only(folder, "adaptation/record.json: ")


def test_an_edited_record_is_found(folder):
    """One changed digit breaks the seal."""
    path = folder / ADAPTATION / RECORD
    text = path.read_text()
    path.write_text(text.replace('"cuts": 10', '"cuts": 11', 1) if '"cuts": 10' in text else text + " ")
    _only(folder, "its content is not what was sealed")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(plan_digest="0" * 64), "made under another plan"),
        (lambda c: c.update(variant="other"), "its variant or its settings"),
        (lambda c: c["settings"].update(steps=3), "its variant or its settings"),
        (lambda c: c["methods"].append(c["methods"][0]), "each stands once"),
        (lambda c: c["methods"].pop(1), "adaptation, adapted: not in the record"),
        (lambda c: c["begun"].update({min(c["begun"]): "0" * 64}), "it began with other checkpoints"),
    ],
)
def test_a_record_of_something_else_is_found(folder, edit, message):
    """Plan, variant, settings, methods and the networks that it began with are the folder's."""
    _edit(folder, edit)
    _only(folder, message)


@pytest.mark.parametrize("name", ["none", "adapted", "refitted-law", "rescaled-law", "retrained"])
def test_a_lost_or_changed_table_is_found(folder, name):
    """Every method's table is there, with the recorded bytes."""
    path = folder / ADAPTATION / f"{name}.csv"
    path.write_text(path.read_text() + "\n")
    _only(folder, f"{name}.csv: missing, or its sha256 is not the recorded one")
    path.unlink()
    _only(folder, f"{name}.csv: missing, or its sha256 is not the recorded one")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.iloc[1:], "does not have each cut of each held-out tool once"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "does not have each cut of each held-out tool once"),
        (lambda t: t.assign(seed=t["seed"] + 1), "does not have each cut of each held-out tool once"),
        (lambda t: t.assign(time=t["time"] + 1), "times are not the data's"),
        (lambda t: t.assign(measured=t["measured"] * 1.1), "measured values are not the data's"),
        (lambda t: t.assign(labels_seen=t["labels_seen"] + 1), "labels_seen does not count"),
        (lambda t: t.assign(prediction=np.inf), "a prediction is not finite"),
        (lambda t: t.drop(columns="time"), "columns are"),
    ],
)
@pytest.mark.parametrize("name", ["adapted", "rescaled-law"])
def test_a_table_that_does_not_fit_the_data_is_found(folder, name, edit, message):
    """Each cut once, with the data's time and measured value and the number of labels before it."""
    _table(folder, name, edit)
    _only(folder, message)


@pytest.mark.parametrize("name", ["none", "adapted", "retrained"])
def test_a_network_that_knew_the_first_label_is_found(folder, name):
    """Before any label every network predicts what the run's last stage does."""
    _table(folder, name, lambda t: t.assign(prediction=t["prediction"].where(t["labels_seen"] > 0, t["measured"])))
    _only(folder, {"none": "not those of the run's last stage"}.get(name, "it differs from `none` before label"))


def test_networks_that_no_longer_are_the_runs_are_found(folder):
    """A change of `none` after the first label shows too."""
    _table(folder, "none", lambda t: t.assign(prediction=t["prediction"] + 0.01 * (t["labels_seen"] == 4)))
    _only(folder, "not those of the run's last stage")


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("none", lambda m: m["tools"].pop(), "its tools, or their numbers"),
        ("none", lambda m: m["tools"][0].update(labels=1), "its tools, or their numbers"),
        ("none", lambda m: m["tools"][0].update(flops=1), "flops = 1, recomputed"),
        ("adapted", lambda m: m["tools"][0].update(flops=m["tools"][0]["flops"] // 2), "recomputed"),
        ("rescaled-law", lambda m: m["tools"][0].update(flops=0), "flops = 0"),
        ("none", lambda m: m.update(seconds=-1.0), "seconds = -1.0: expected a time"),
        ("adapted", lambda m: m.update(revived=1), "revived = 1: pruned weights came back"),
        ("adapted", lambda m: m.update(revived=None), "revived = None"),
        ("adapted", lambda m: m["checkpoints"].popitem(), "not one for each tool of the first seed"),
        ("refitted-law", lambda m: m["laws"].pop(), "one law for each tool and number of labels"),
        ("refitted-law", lambda m: m["laws"][3].update(factor=1.1), "factor = 1.1, recomputed 1"),
        ("rescaled-law", lambda m: m["laws"][3].update(factor=2.0), "factor = 2, recomputed"),
        ("retrained", lambda m: m.update(labels=2), "labels = 2: a tool's network is trained again after label 3"),
        ("retrained", lambda m: m.update(epochs=[5, 1]), "epochs = [5, 1]: [5, 2] are planned"),
        ("retrained", lambda m: m.update(epochs=[]), "epochs = []: [5, 2] are planned"),
        ("retrained", lambda m: m["tools"][0].update(flops=m["tools"][0]["flops"] * 2), "recomputed"),
        ("retrained", lambda m: m["tools"][0].update(flops=None), "flops = None, recomputed"),
    ],
)
def test_a_wrong_number_of_a_method_is_found(folder, name, edit, message):
    """Tools, costs, laws, and how retraining was done follow from plan, data and files."""
    _method(folder, name, edit)
    _only(folder, message)


@pytest.mark.parametrize("name", ["refitted-law", "rescaled-law"])
def test_a_law_that_is_not_the_best_of_what_it_may_know_is_found(folder, name):
    """A weak rival flatters the network; so a law's sum of squares is the least, whatever it predicts."""

    def edit(method: dict) -> None:
        method["laws"][5]["coefficients"][0] += 0.05

    _method(folder, name, edit)
    _only(folder, "its sum of squares is")


def test_a_refitted_law_that_knew_a_later_label_is_found(folder):
    """The law after three labels in place of the one after two: a better fit, and of other rows."""

    def edit(method: dict) -> None:
        laws = method["laws"]
        for law in laws:
            if law["labels_seen"] == 0:
                law["coefficients"] = next(
                    later["coefficients"]
                    for later in reversed(laws)
                    if (later["fold"], later["case"]) == (law["fold"], law["case"])
                )

    _method(folder, "refitted-law", edit)
    _only(folder, "its sum of squares is")


@pytest.mark.parametrize("name", ["refitted-law", "rescaled-law"])
def test_predictions_that_are_not_the_law_s_are_found(folder, name):
    """A law predicts what its coefficients and its factor say."""
    _table(folder, name, lambda t: t.assign(prediction=t["prediction"] * 1.001))
    _only(folder, "predictions are not those of its law")


# --- the adapted networks -------------------------------------------------------------------------------------------


def _network(folder: Path, edit: Callable[[checkpoint.Checkpoint], object]) -> str:
    """Change the first adapted network, and its digest; returns its name."""
    path = min((folder / ADAPTATION).glob("*.safetensors"))
    network = checkpoint.read(path)
    edit(network)
    checkpoint.write(path, network)
    _method(folder, "adapted", lambda method: method["checkpoints"].update({path.name: digest_file(path)}))
    return path.name


def _masks(network: checkpoint.Checkpoint) -> tuple[np.ndarray, ...]:
    assert network.masks is not None
    return network.masks


@pytest.mark.parametrize("value", [0.5, -0.0, np.nan])
def test_a_pruned_weight_that_came_back_is_found(folder, value):
    """Outside its mask a weight is +0.0 in every bit, whatever the record says."""

    def edit(network: checkpoint.Checkpoint) -> None:
        network.weights[1][~_masks(network)[1]] = value

    name = _network(folder, edit)
    _only(folder, "pruned weights are not +0.0")
    assert name in _found(folder)[CHECK][1]


def test_masks_that_grew_are_found(folder):
    """A weight that is pruned in the run's last stage is pruned in the end."""

    def edit(network: checkpoint.Checkpoint) -> None:
        mask = _masks(network)[0]
        mask[tuple(np.argwhere(~mask)[0])] = True

    _network(folder, edit)
    _only(folder, "its masks are not those that the run ended with")


def test_a_changed_or_lost_network_is_found(folder):
    """Each file has the recorded bytes; a single one that is missing is lost, not withheld."""
    path = min((folder / ADAPTATION).glob("*.safetensors"))
    path.write_bytes(path.read_bytes() + b"x")
    _only(folder, f"{path.name}: missing, or its sha256")
    path.unlink()
    _only(folder, f"{path.name}: missing, or its sha256")


def test_an_unreadable_network_is_found(folder):
    """A file with the right digest that is no checkpoint."""
    path = min((folder / ADAPTATION).glob("*.safetensors"))
    path.write_bytes(b"x")
    _method(folder, "adapted", lambda method: method["checkpoints"].update({path.name: digest_file(path)}))
    _only(folder, "not a readable checkpoint")


def test_a_network_that_does_not_predict_what_is_written_is_found(tmp_path):
    """Cuts after a tool's last label are predicted by the network that is stored."""
    dataset = simulate()
    dataset.frame.loc[dataset.frame["run"] > 7, "VB"] = np.nan
    (tmp_path / "cuts.csv").write_bytes(dataset.to_csv())
    folder = _made(tmp_path, FILE.replace("seeds", f'data = "{tmp_path / "cuts.csv"}"\nseeds', 1))
    assert _found(folder) == {}
    _network(folder, lambda network: network.biases[-1].__setitem__(0, 3.0))
    _only(folder, "predictions after the last label are not its own")


def test_withheld_networks_are_unchecked(folder):
    """Without any of them the rest is judged, and that they were not is said."""
    for path in (folder / ADAPTATION).glob("*.safetensors"):
        path.unlink()
    found = _found(folder)
    assert found == {CHECK: ("unchecked", "adaptation, adapted: weights withheld")}
    _method(folder, "retrained", lambda method: method.update(labels=2))
    _method(folder, "adapted", lambda method: method.update(revived=1))
    faults = next(f for f in audit(folder).findings if (f.check, f.severity) == (CHECK, "error")).data["faults"]
    assert [fault["method"] for fault in faults] == ["adapted", "retrained"]  # what is withheld hides nothing else


def test_what_the_runs_withhold_is_not_needed_for_the_other_methods(folder):
    """Without the runs' own networks the adapted ones cannot be held to their masks; all else is judged."""
    for path in (folder / "runs").rglob("*.safetensors"):
        path.unlink()
    findings = [finding for finding in audit(folder).findings if finding.check == CHECK]
    assert [(f.severity, f.message) for f in findings] == [("unchecked", "adaptation, adapted: weights withheld")]
    _method(folder, "retrained", lambda method: method.update(labels=2))
    assert "error" in {finding.severity for finding in audit(folder).findings if finding.check == CHECK}
