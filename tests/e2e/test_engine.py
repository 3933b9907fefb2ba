"""Cohorts placed by Ray: a real cluster of three nodes on this machine, one of them killed in the middle.

KILLS says how often a worker is killed too: a fifth as often, once by default; `make kills` tries ten.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from spinn.record import PLAN, RECORD, Plan, read_model

Call = Callable[..., Any]
THREADS = {"OMP_NUM_THREADS": "1"}
WORKER = "ray::_train"
KILLS = max(1, int(os.environ.get("KILLS", "1")) // 5)


def workers() -> list[psutil.Process]:
    """Processes of this test's Ray that train a cohort at this moment: they call themselves so."""
    ours = {one.pid for one in psutil.Process().children(recursive=True)}
    running = (one for one in psutil.process_iter(["cmdline"]) if one.pid in ours)
    return [one for one in running if (one.info["cmdline"] or [""])[0] == WORKER]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes with a CPU each."""
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20},
    )
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=80 << 20)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def alone(tiny_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment with four cohorts, a run of each variant in each."""
    path = tmp_path_factory.mktemp("engine") / "alone.toml"
    path.write_text(tiny_text.replace("seeds = [3]", "seeds = [3, 4]\nstack = 1"))
    return path


@pytest.fixture(scope="module")
def local(call: Call, alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its runs, made in one process on one thread."""
    runs = tmp_path_factory.mktemp("local") / "runs"
    ended = call("spinn", "run", alone, "--out", runs, "--device", "cpu", env=THREADS)
    assert ended.status == 0, ended.err
    return runs


def test_an_address_where_nobody_answers_is_one_line(alone: Path, call: Call, tmp_path: Path) -> None:
    """Ray would ask for minutes."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = call("spinn", "run", alone, "--out", tmp_path / "runs", "--engine", "ray", "--address", address)
    assert ended.status == 2
    assert f"--address {address}: no Ray cluster there" in ended.last_word
    ended = call("spinn", "run", alone, "--out", tmp_path / "runs", "--engine", "ray", "--address", "127.0.0.1:70000")
    assert (ended.status, "no Ray cluster there" in ended.last_word) == (2, True)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{other.server_port}"
        ended = call("spinn", "run", alone, "--out", tmp_path / "runs", "--engine", "ray", "--address", address)
        other.shutdown()
    assert ended.status == 2
    assert f"--address {address}: no Ray cluster there (what answers there speaks no HTTP/2)" in ended.last_word


def test_a_node_that_dies_costs_no_run_and_no_digest(
    cluster: Any, start: Call, alone: Path, local: Path, digests: Call, tmp_path: Path
) -> None:
    """Its cohort is placed again, goes on from its last stage, and every byte is that of the local run."""
    out = tmp_path / "runs"
    words = ("--engine", "ray", "--address", cluster.address, "--cpus", "1")
    process = start("spinn", "run", alone, "--out", out, "--device", "cpu", *words, env=THREADS)
    deadline = time.monotonic() + 120
    while len(list(out.glob("runs/*/dense.safetensors"))) < 2:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert len(list(out.glob(f"runs/*/{RECORD}"))) < 8, "it died too late to prove anything"
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert {path.parent.name for path in out.glob(f"runs/*/{RECORD}")} == {
        run.run_id for run in read_model(out / PLAN, Plan).runs
    }
    assert digests(out) == digests(local)


def test_workers_that_are_killed_cost_no_run_and_no_digest(
    cluster: Any, start: Call, alone: Path, local: Path, digests: Call, tmp_path: Path
) -> None:
    """Again and again, at a random moment, a worker in the middle of a cohort gets SIGKILL; Ray places it again."""
    out, chance, killed = tmp_path / "runs", random.Random(7), 0
    words = ("--engine", "ray", "--address", cluster.address, "--cpus", "1")
    process = start("spinn", "run", alone, "--out", out, "--device", "cpu", *words, env=THREADS)
    deadline = time.monotonic() + 300
    while killed < KILLS and process.poll() is None:
        assert time.monotonic() < deadline
        if working := workers():
            time.sleep(chance.uniform(0, 1))
            one = chance.choice(working)
            with contextlib.suppress(psutil.NoSuchProcess):  # its cohort may have ended meanwhile
                killed += one.cmdline()[:1] == [WORKER]
                one.kill()
        time.sleep(0.05)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert killed == KILLS, f"it ended after {killed} kills"
    assert digests(out) == digests(local)
