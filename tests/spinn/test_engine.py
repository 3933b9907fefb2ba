"""What is asked of an engine, and what is refused before anything is placed."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spinn import sweep
from spinn.data.simulator import simulate
from spinn.engine import Engine
from spinn.errors import InputError, RecordError
from spinn.record import PLAN, PROGRESS, RECORD, Plan, plan_digest, run_folder, write_model
from spinn.storage import canonical_json, write_atomic


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cpus": 1.0}, "give --engine ray too"),
        ({"address": "here:1"}, "give --engine ray too"),
        ({"name": "ray", "cpus": -1.0}, "--cpus -1.0: 0 or more"),
        ({"name": "ray", "gpus": float("nan")}, "--gpus nan: 0 or more"),
        ({"name": "ray", "gpus": float("inf")}, "--gpus inf: 0 or more"),
        ({"name": "ray", "cpus": 1e-5}, "--cpus 1e-05: Ray has no smaller part"),
        ({"name": "ray", "gpus": 1.5}, r"--gpus 1\.5: part of one, or whole ones"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, Any], message: str) -> None:
    """By the option's name, before Ray is started."""
    with pytest.raises(InputError, match=message):
        Engine(**asked)
    assert Engine("ray", cpus=0.5, gpus=0.25).gpus == 0.25


def test_a_cohort_that_would_wait_forever_is_refused() -> None:
    """More than any node has alone, whatever they have together."""
    nodes = [{"CPU": 2.0}, {"CPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}]
    sweep._refuse_too_much(nodes, 2.0, 0.0)
    sweep._refuse_too_much(nodes, 1.0, 1.0)
    with pytest.raises(InputError, match="--cpus 3: no node of the cluster has more than 2;"):
        sweep._refuse_too_much(nodes, 3.0, 0.0)
    with pytest.raises(InputError, match=r"--gpus 0\.5: no node of the cluster has more than 0;"):
        sweep._refuse_too_much(nodes[:2], 1.0, 0.5)
    with pytest.raises(InputError, match="--cpus 2 --gpus 1: no node of the cluster has both"):
        sweep._refuse_too_much(nodes, 2.0, 1.0)


@pytest.mark.parametrize("cause", [MemoryError("none"), RuntimeError("not enough memory"), InputError("no plan")])
def test_what_a_worker_raised_is_raised_as_it_was(cause: Exception) -> None:
    """Memory that is missing there ends the command in a line, as it does here."""
    ray = pytest.importorskip("ray")

    def end(_: object) -> None:
        raise ray.exceptions.RayTaskError("_train", "where it was", cause)

    with pytest.raises(type(cause), match=str(cause)):
        sweep._end(SimpleNamespace(get=end, exceptions=ray.exceptions), None)


@pytest.mark.parametrize(("tls", "answer"), [("0", (bytes(2), bytes(1) + b"\x04" + bytes(5))), ("1", ()), ("true", ())])
def test_a_cluster_may_answer_in_parts_or_in_secret(
    tls: str, answer: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings may come in two packets; one with TLS is not asked, since it would not answer in the clear."""
    monkeypatch.setenv("RAY_USE_TLS", tls)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def respond() -> None:
            with listening.accept()[0] as asked:
                for part in answer:
                    asked.sendall(part)
                    time.sleep(0.1)

        thread = threading.Thread(target=respond)
        thread.start()
        sweep._refuse_silence(f"127.0.0.1:{listening.getsockname()[1]}")
        thread.join()


def test_a_worker_that_sees_another_folder_says_so(tmp_path: Path, simple_plan: Callable[..., Plan]) -> None:
    """Where a node does not see the folder of runs, or has another one there, nothing is trained into it."""
    dataset = simulate()
    plan = simple_plan(dataset)
    told = rf"{re.escape(str(tmp_path))}: {re.escape(socket.gethostname())} sees no plan of these runs there"
    for other in (None, simple_plan(dataset, name="other")):
        if other:
            write_model(tmp_path / PLAN, other)
        with pytest.raises(InputError, match=told):
            sweep._train((plan, dataset), plan.runs[0].cohort, str(tmp_path), "cpu", 1.0, 1)
    assert [path.name for path in tmp_path.iterdir()] == [PLAN]


def test_a_record_that_is_seen_late_is_waited_for(
    tmp_path: Path,
    simple_plan: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A folder that is shared shows for a while what it knew; a record that stays away is lost."""
    plan = simple_plan(simulate())
    last = plan.runs[-1].run_id
    monkeypatch.setattr(sweep, "_SECONDS_BETWEEN_LOOKS", 0.01)
    whole = canonical_json({"plan_digest": plan_digest(plan)}).encode()
    for run in plan.runs:
        run_folder(tmp_path, run.run_id).mkdir(parents=True)
    for run in plan.runs[:-1]:
        write_atomic(run_folder(tmp_path, run.run_id) / RECORD, whole)
    late = run_folder(tmp_path, last) / RECORD
    thread = threading.Timer(0.3, lambda: write_atomic(late, whole))
    thread.start()
    sweep._await_records(plan, tmp_path)
    thread.join()
    assert capsys.readouterr().err.count("\n") == 1
    sweep._await_records(plan, tmp_path)
    assert not capsys.readouterr().err
    late.unlink()
    monkeypatch.setattr(sweep, "_SECONDS_TO_BE_SEEN", 0.05)
    with pytest.raises(InputError, match=rf"1 of {len(plan.runs)} runs were not recorded here, the first {last};"):
        sweep._await_records(plan, tmp_path)


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra of the package."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is not installed; `pip install 'spinn\[ray\]'`"):
        sweep._ray()


def test_a_file_that_is_being_replaced_stops_no_progress(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, simple_plan: Callable[..., Plan]
) -> None:
    """A look comes at any moment: what is gone between two glances counts as not done yet."""
    plan = simple_plan(simulate())
    name = plan.runs[0].cohort
    variants = plan.experiment.variants
    assert sweep._phases(plan, name) == sum(1 + len(variant.stages) for variant in variants)
    assert sweep._phases_done(plan, tmp_path, name) == 0
    monkeypatch.setattr(sweep, "stages_done", lambda _: 1)
    assert sweep._phases_done(plan, tmp_path, name) == 2 * len(variants)

    def gone(folder: Path) -> int:
        raise RecordError(f"{folder / PROGRESS}: no such file")

    monkeypatch.setattr(sweep, "stages_done", gone)
    assert sweep._phases_done(plan, tmp_path, name) == 0
