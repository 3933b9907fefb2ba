"""The audit as a whole: honest runs hold, declared findings are owed, and every byte counts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hostile.limits import room
from hostile.wounds import near_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import verify.audit
from spinn.errors import InputError, RecordError
from spinn.record import AUDIT, RECORD
from spinn.storage import digest_of
from verify.audit import CHECKS, REPLAYED, audit
from verify.folder import digest_all, read_folder

DECLARED = {"schedule-reaches-target", "ledger-achieved", "masks-monotone", "resurrection"}


def test_honest_runs_hold(runs) -> None:
    """An honest folder holds, replay included, and nothing is left unchecked."""
    verdict = runs.audit()
    assert verdict.holds
    assert verdict.exit_status == 0
    assert {finding.severity for finding in verdict.findings} == {"note"}


def test_the_files_of_a_folder_are_shared_out_in_one_look(runs) -> None:
    """To each run its own, by their names in its folder, however many runs there are."""
    digests, looks = digest_all(runs.path), []

    class Counted(dict[str, str]):
        def items(self):
            looks.append("items")
            return super().items()

    folder = read_folder(runs.path, Counted(digests))
    assert len(folder.runs) > 1
    assert looks == ["items"]
    for run in folder.runs:
        prefix = f"runs/{run.planned.run_id}/"
        own = {name.removeprefix(prefix): sha for name, sha in digests.items() if name.startswith(prefix)}
        assert run.digests == own


def test_declared_findings_are_the_only_expected_ones(runs) -> None:
    """Each first-version run shows each declared finding once; they count apart."""
    expected = runs.audit().expected
    assert {finding.check for finding in expected} == DECLARED
    assert len(expected) == len(DECLARED) * len(runs.names("first-version"))
    assert {finding.run_id for finding in expected} == set(runs.names("first-version"))


def test_removed_declaration_fails(runs) -> None:
    """The same records without the declaration fail, by exactly the findings that were declared."""
    runs.edit_plan(lambda plan: plan["experiment"]["variants"][1].update(expected_findings=[]))
    assert runs.failed() == DECLARED
    assert runs.audit().exit_status == 1


def test_declared_finding_that_is_absent_fails(runs) -> None:
    """A run that does not show what its variant declares is not the run that was declared."""
    runs.edit_plan(lambda plan: plan["experiment"]["variants"][0].update(expected_findings=["resurrection"]))
    verdict = runs.audit()
    assert runs.failed() == {"unexpected-absent"}
    errors = [finding for finding in verdict.findings if finding.severity == "error"]
    assert {finding.run_id for finding in errors} == set(runs.names("sparse"))


def test_withheld_weights_are_unchecked(runs) -> None:
    """Without any checkpoint nothing about weights is said to hold, and declared findings about them are not owed."""
    for path in runs.path.rglob("*.safetensors"):
        path.unlink()
    verdict = runs.audit()
    unchecked = {finding.check for finding in verdict.findings if finding.severity == "unchecked"}
    assert verdict.holds
    weights = {"ledger-achieved", "masks-monotone", "magnitude-order", "resurrection", "biases-kept", "non-finite"}
    assert unchecked == {*weights, *REPLAYED}
    messages = {finding.message for finding in verdict.findings if finding.severity != "note"}
    assert messages == {"weights withheld"}


def test_replay_is_only_done_when_asked_for(runs) -> None:
    """Without --replay predictions are not computed again, and no verdict is given on them."""
    run_id = runs.names("sparse")[0]
    runs.edit_network(run_id, 2, lambda network: network.biases[0].__iadd__(0.5) is None)
    assert runs.failed(replay=False) == set()
    assert runs.failed(replay=True) == {"predictions-replayed"}


# --- the verdict that is kept ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_a_verdict_is_the_same_however_many_cores_judge(runs, monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    """The findings of sound and faulty runs, in the order of the plan."""
    runs.edit_plan(lambda plan: plan["experiment"]["variants"][1].update(expected_findings=[]))
    own = runs.audit()
    (runs.path / AUDIT).unlink(missing_ok=True)
    monkeypatch.setattr(verify.audit, "_cores", lambda: cores)
    verdict = audit(runs.path, replay=True)
    assert verdict == own
    order = [run.run_id for run in runs.plan.runs]
    named = [order.index(finding.run_id) for finding in verdict.findings if finding.run_id is not None]
    assert named == sorted(named)
    assert len(set(named)) > 1


def test_nothing_is_judged_twice(runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call on the same bytes reads the verdict back, findings included."""
    (runs.folder(runs.names("sparse")[0]) / RECORD).unlink()
    first = runs.audit()
    monkeypatch.setattr(verify.audit, "judge", lambda *_, **__: pytest.fail("judged again"))
    assert runs.audit() == first


def test_changed_folder_is_judged_again(runs) -> None:
    """A kept verdict is of the bytes it was reached on, and of no others."""
    assert runs.audit().holds
    (runs.folder(runs.names("sparse")[0]) / RECORD).unlink()
    assert not runs.audit().holds


def test_kept_verdict_of_a_replay_answers_both(runs) -> None:
    """A verdict without replay does not answer for one with it; the other way round the stronger one does."""
    run_id = runs.names("sparse")[0]
    runs.edit_network(run_id, 2, lambda network: network.biases[0].__iadd__(0.5) is None)
    assert runs.audit(replay=False).holds
    replayed = runs.audit(replay=True)
    assert not replayed.holds
    assert runs.audit(replay=False) == replayed


def test_tampered_verdict_is_ignored(runs) -> None:
    """An edit of audit.json does not turn a failed audit into one that holds."""
    (runs.folder(runs.names("sparse")[0]) / RECORD).unlink()
    assert not runs.audit().holds
    kept = json.loads((runs.path / AUDIT).read_text())
    kept["replayed"]["verdict"] |= {"holds": True, "findings": []}
    (runs.path / AUDIT).write_text(json.dumps(kept))
    assert not runs.audit().holds


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"replayed": 1}', b'{"replayed": {"key": null}}'])
def test_broken_verdict_is_ignored(runs, content: bytes) -> None:
    """A broken audit.json is no reason to stop."""
    (runs.path / AUDIT).write_bytes(content)
    assert runs.audit().holds


def test_other_checks_judge_again(runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict of other checks is not this version's."""
    runs.audit()
    monkeypatch.setattr(verify.audit, "_own_digest", lambda: "another version")
    monkeypatch.setattr(verify.audit, "judge", lambda *_, **__: "judged again")
    monkeypatch.setattr(verify.audit, "_keep", lambda *_: None)
    assert runs.audit() == "judged again"


def test_folder_that_cannot_be_written_is_judged(runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where audit.json cannot be written there is a verdict all the same."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "permission denied")

    monkeypatch.setattr(verify.audit, "write_atomic", refuse)
    assert runs.audit().holds
    assert not (runs.path / AUDIT).exists()


# --- bad input ------------------------------------------------------------------------------------------------------


def test_no_folder_is_bad_input(tmp_path: Path) -> None:
    """A path that is no folder is a wrong call, not a verdict."""
    with pytest.raises(InputError, match="not a folder; a folder of runs is what"):
        audit(tmp_path / "absent")


def test_no_plan_is_bad_input(tmp_path: Path) -> None:
    """A folder without a plan is not a folder of runs."""
    with pytest.raises(InputError, match=r"plan\.json: no such file; a folder of runs starts with its plan"):
        audit(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff\xfe"])
def test_broken_plan_is_bad_input(runs, content: bytes) -> None:
    """A plan that cannot be read leaves nothing to judge by."""
    (runs.path / "plan.json").write_bytes(content)
    with pytest.raises(RecordError, match=r"plan\.json: "):
        runs.audit()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda plan: plan["runs"][0].update(variant="other"), "variant = 'other': one of"),
        (lambda plan: plan["experiment"]["target"].update(reduction="0.4x"), "reduction = '0.4x'"),
        (lambda plan: plan["dataset"].update(features=[]), "dataset.features: "),
        (lambda plan: plan["runs"][0].update(train=[]), "runs.0.train: "),
    ],
)
def test_plan_without_meaning_is_bad_input(runs, edit, message: str) -> None:
    """A plan that follows the schema and says nothing that could be judged is bad input."""
    plan = json.loads((runs.path / "plan.json").read_text())
    edit(plan)
    (runs.path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match=message):
        runs.audit()


# --- every byte -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_byte_is_noticed(honest: Path, tmp_path: Path, data: st.DataObject) -> None:
    """One bit changed in any file of the folder fails the audit, or makes the plan unreadable.

    In JSON a changed byte may spell the same content (another blank); that alone may pass.
    """
    files = sorted(path.relative_to(honest) for path in honest.rglob("*") if path.is_file() and path.name != AUDIT)
    name = data.draw(st.sampled_from(files), label="file")
    whole = (honest / name).read_bytes()
    content = bytearray(whole)
    place = data.draw(st.integers(0, len(content) - 1), label="byte")
    content[place] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    broken = tmp_path / "broken"
    shutil.rmtree(broken, ignore_errors=True)
    shutil.copytree(honest, broken, copy_function=os.link)
    (broken / name).unlink()
    (broken / name).write_bytes(content)
    try:
        noticed = not audit(broken).holds
    except InputError:
        noticed = True
    assert noticed or (name.suffix == ".json" and json.loads((broken / name).read_bytes()) == json.loads(whole))


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**64 - 1), replay=st.booleans())
def test_any_value_of_its_kind_is_judged(runs, honest: Path, seed: int, replay: bool) -> None:
    """A plan or record with one other value, sealed anew, gets a verdict or is bad input, in bounded memory."""
    random = Random(seed)
    name = random.choice(["plan.json", "claims.json", "datacard.json", "baselines/*.json", *["runs/*/record.json"] * 4])
    whole = random.choice(sorted(honest.glob(name)))
    content = near_json(random, whole.read_bytes())
    if "seal" in content:
        content["seal"] = digest_of({key: value for key, value in content.items() if key != "seal"})
    broken = runs.path / whole.relative_to(honest)
    broken.write_text(json.dumps(content))
    with room(1 << 30), suppress(InputError):
        assert runs.audit(replay=replay).exit_status in (0, 1)
    broken.write_bytes(whole.read_bytes())


def test_no_torch_is_loaded(runs) -> None:
    """An audit with replay loads no torch, and no code of the pruner or the trainer."""
    code = (
        "import sys; from pathlib import Path; from verify.audit import audit\n"
        f"assert audit(Path({str(runs.path)!r}), replay=True).holds\n"
        "print(*(name for name in sys.modules if name == 'torch' or name.startswith('spinn.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    files = ("errors", "config", "documents", "record", "storage", "schedule", "data", "data.dataset", "data.lines")
    allowed = {f"spinn.{name}" for name in files}
    loaders = {"spinn.data.features", "spinn.data.sensors", "spinn.data.simulator"}  # simulated data is made again
    assert loaded <= allowed | loaders


def test_every_check_has_a_name_of_the_list() -> None:
    """The names are the ones that experiments declare and claims cite."""
    assert set(CHECKS) == {
        "planned-runs-present", "digests", "plan-unchanged", "ledger-arithmetic", "schedule-reaches-target",
        "ledger-achieved", "masks-monotone", "resurrection", "non-finite", "metrics-recomputed",
        "predictions-replayed", "groups-disjoint", "identifier-features", "scaler-on-train-only",
        "selection-not-on-test", "physics-alive", "single-seed",
        "target-leakage", "split-luck", "baseline-as-good", "magnitude-order",
        "biases-kept", "baselines-recomputed", "adaptation-recomputed", "unexpected-absent",
        "cost-recomputed", "trained-as-planned", "deployed-equals-masked", "physics-recomputed",
        "training-loss-replayed",
    }  # fmt: skip
