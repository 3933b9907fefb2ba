"""Where the cohorts of a plan execute: one after another in this process, or placed by Ray; no other file knows how.

Ray (https://docs.ray.io, an extra of the package) decides when and where a cohort runs, and again where a worker
or its node dies. The folder of runs has to be one that every node sees; all that passes between a worker and this
process is the data, once to each node, and the cohort's end. A cohort goes on from what the folder has of it, so that
a death costs the unfinished stage, and no engine changes a digest.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from spinn import baselines, determinism, estimate, lock, task
from spinn.cohort import Cohort
from spinn.data.dataset import Dataset
from spinn.display import Display, Silent, Standings
from spinn.engine import Engine
from spinn.errors import InputError, RecordError, SpinnError, out_of_memory
from spinn.journal import is_finished, stages_done
from spinn.record import PLAN, Plan, plan_digest, read_model, run_folder

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_FOR_AN_ANSWER = 5.0
_SECONDS_TO_BE_SEEN = 90.0  # NFS keeps what it knew of a folder for up to 60 (acdirmax in nfs(5))
_SETTINGS = b"\x04"  # the type of a frame of HTTP/2, its fourth byte
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _SETTINGS + bytes(5)


def execute(
    plan: Plan,
    dataset: Dataset,
    folder: Path,
    device: torch.device,
    from_stage: int | None = None,
    engine: Engine = Engine(),  # noqa: B008  it is frozen
) -> None:
    """Bring every planned run to its record; what is finished already is left as it is.

    Args:
        plan: The plan whose runs to execute.
        dataset: The data the plan was made from.
        folder: The folder of runs.
        device: Where to train.
        from_stage: Roll finished and unfinished runs back to the end of this stage first.
        engine: What places the cohorts.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address, or what a cohort asks for is nowhere.
    """
    names = tuple(dict.fromkeys(run.cohort for run in plan.runs))
    rate = _rate(plan, dataset, names, device)
    if engine.name == "ray":
        _on_ray(engine, plan, dataset, folder, device, names, rate)
        return
    with Display() as display:
        for name in names:
            Cohort(plan, name, dataset, folder, device, display.phase, rate).execute(from_stage)


def refuse_untrainable(plan: Plan, dataset: Dataset) -> None:
    """Build every cohort's task once, on the host, so that data no run can be trained on is refused first.

    Raises:
        DataError: as `spinn.rundata.RunData`.
    """
    for name in dict.fromkeys(run.cohort for run in plan.runs):
        for first, *_ in plan.experiment.families():
            task.of_plan(dataset, plan.cohort(name, first), plan)


def _rate(plan: Plan, dataset: Dataset, names: Sequence[str], device: torch.device) -> float:
    """FLOPs a second of training, measured on the first cohort; says what the whole plan is going to cost at most."""
    flops, rate = 0, 0.0
    for name in names:
        for family in plan.experiment.families():
            built = task.of_plan(dataset, plan.cohort(name, family[0]), plan, device)
            rate = rate or estimate.flops_per_second(plan, built, family[0])
            flops += estimate.cohort_flops(plan, built, family)
    minutes, seconds = divmod(round(flops / rate), 60)
    print(
        f"the whole plan takes at most {flops:.3g} FLOPs of training, {minutes} min {seconds:02d} s at the "
        f"{rate / 1e9:.2g} GFLOP/s of a few epochs that were tried",
        file=sys.stderr,
        flush=True,
    )
    return rate


# --- Ray ------------------------------------------------------------------------------------------------------------


def _on_ray(
    engine: Engine,
    plan: Plan,
    dataset: Dataset,
    folder: Path,
    device: torch.device,
    names: Sequence[str],
    rate: float,
) -> None:
    ray = _ray()
    cpus = torch.get_num_threads() if engine.cpus is None else engine.cpus
    gpus = float(device.type == "cuda") if engine.gpus is None else engine.gpus
    threads = max(1, int(cpus))
    with _cluster(ray, engine.address) as nodes:
        _refuse_too_much(nodes, cpus, gpus)
        # -1: Ray runs it again however often a worker or a node dies; an error of its own is not tried again.
        remote = ray.remote(_train).options(num_cpus=cpus, num_gpus=gpus, max_retries=-1)
        shared, where = ray.put((plan, dataset)), str(folder.resolve())
        pending = {remote.remote(shared, name, where, device.type, rate, threads): name for name in names}
        try:
            with Standings({name: _phases(plan, name) for name in names}) as standings:
                while pending:
                    done, _ = ray.wait(list(pending), timeout=_SECONDS_BETWEEN_LOOKS)
                    for one in done:
                        _end(ray, one)
                    standings.show({name: _phases_done(plan, folder, name) for name in pending.values()})
                    for one in done:
                        del pending[one]
        finally:
            for one in pending:
                ray.cancel(one, force=True)
    _await_records(plan, folder)


def _await_records(plan: Plan, folder: Path) -> None:
    """Wait until what other nodes recorded is seen here: a shared folder may show for a while what it knew.

    Raises:
        InputError: a run is not seen in time.
    """
    digest, until = plan_digest(plan), 0.0
    lost = [run.run_id for run in plan.runs]
    while lost := [run_id for run_id in lost if not is_finished(run_folder(folder, run_id), digest)]:
        if not until:
            until = time.monotonic() + _SECONDS_TO_BE_SEEN
            told = f"waiting at most {_SECONDS_TO_BE_SEEN:g} s for {len(lost)} records, the first {lost[0]}"
            print(f"{folder}: {told}, to be seen here", file=sys.stderr, flush=True)
        elif time.monotonic() > until:
            told = f"{len(lost)} of {len(plan.runs)} runs were not recorded here, the first {lost[0]}"
            raise InputError(f"{folder}: {told}; does every node of the cluster see this folder?")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _train(shared: tuple[Plan, Dataset], name: str, folder: str, device: str, rate: float, threads: int) -> None:
    """A cohort, in a worker of Ray; it says nothing, since the folder says how far it is."""
    plan, dataset = shared
    if dataset.fingerprint() != plan.dataset.fingerprint:
        raise InputError(f"{name}: the data that reached this worker is not the plan's; run `spinn run` again")
    there = Path(folder) / PLAN
    if not there.is_file() or plan_digest(read_model(there, Plan)) != plan_digest(plan):
        raise InputError(f"{folder}: {socket.gethostname()} sees no plan of these runs there; share the folder with it")
    baselines.take_memory()
    chosen = determinism.use(device, threads)
    # A node that Ray takes for dead may still be at work: whoever comes after it waits for its end.
    with lock.held(Path(folder), name, wait=True):
        Cohort(plan, name, dataset, Path(folder), chosen, Silent, rate).execute()


def _phases(plan: Plan, name: str) -> int:
    """Of the cohort: the dense one and the stages of each variant."""
    return sum(1 + len(variant.stages) for variant in plan.experiment.variants if plan.cohort(name, variant))


def _phases_done(plan: Plan, folder: Path, name: str) -> int:
    """That all runs of the cohort have behind them, as the folder has it; of several runs the last is written last."""
    done = 0
    for variant in plan.experiment.variants:
        for run in plan.cohort(name, variant)[-1:]:
            # The worker may be replacing the file at this moment; if it is broken, the worker is the one to say so.
            with contextlib.suppress(RecordError, OSError):
                done += 1 + stages_done(run_folder(folder, run.run_id))
    return done


def _end(ray: Any, cohort: Any) -> None:
    """Raises what the cohort raised, as it would have been raised here."""
    try:
        ray.get(cohort)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (SpinnError, OSError)) or out_of_memory(error.cause):
            raise error.cause from None
        raise


@contextlib.contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[list[dict[str, float]]]:
    """What each node of the cluster has."""
    _refuse_silence(address)
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from None
    try:
        yield [node["Resources"] for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def _refuse_silence(address: str | None) -> None:
    """Ask a `host:port` for an answer: Ray itself asks for minutes, and says so in lines of its own.

    It is asked as HTTP/2 begins (RFC 9113, section 3.4), which a Ray cluster speaks: it answers with its settings.
    """
    host, _, port = (address or "").rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return  # `auto`, `local`, a URL: Ray knows at once
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_FOR_AN_ANSWER) as asked:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return  # an answer in the clear is not to be had
            asked.settimeout(_SECONDS_FOR_AN_ANSWER)
            asked.sendall(_HELLO)
            if asked.makefile("rb").read(9)[3:4] != _SETTINGS:
                raise OSError("what answers there speaks no HTTP/2")
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str | None, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(
        f"--address {address}: no Ray cluster there ({reason:.120}); start one with "
        "`ray start --head`, or, where that asked for a token, give it: RAY_AUTH_MODE=token"
    )


def _refuse_too_much(nodes: Sequence[dict[str, float]], cpus: float, gpus: float) -> None:
    """Refuse what no node alone has: a cohort is on one, and would wait for it without an end."""
    for option, kind, asked in (("--cpus", "CPU", cpus), ("--gpus", "GPU", gpus)):
        most = max((node.get(kind, 0.0) for node in nodes), default=0.0)
        if asked > most:
            raise InputError(f"{option} {asked:g}: no node of the cluster has more than {most:g}; ask for less")
    if not any(cpus <= node.get("CPU", 0.0) and gpus <= node.get("GPU", 0.0) for node in nodes):
        raise InputError(f"--cpus {cpus:g} --gpus {gpus:g}: no node of the cluster has both; ask for less of one")


def _ray() -> Any:
    try:
        return import_module("ray")
    except ModuleNotFoundError:
        raise InputError("--engine ray: Ray is not installed; `pip install 'spinn[ray]'` brings it") from None
