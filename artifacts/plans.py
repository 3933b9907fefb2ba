"""How two plans, and the machines that carried them out, differ: what may explain a step down, and what may not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from artifacts.reference import machine
from artifacts.results import Results
from spinn.record import Plan

_HARDWARE = ("platform", "processor", "cores", "memory bytes", "device", "tf32")
_TOLD = {"threads": "other thread count: threads", "kernels": "other kernels:"}  # anything else: by its kind and name
_APART = ("claims", "seeds", "stack", "data", "name")  # looked at on their own, or a name and no more


@dataclass(frozen=True)
class Differences:
    """`plan`: another experiment was run. `reasons`: why equal plans need not give equal bytes. `left_out`: seeds.

    `elsewhere`: machine, libraries, stack or data differ, so that numbers need not be bitwise equal although the
    experiment is the same. More memory, another build of the kernel, other `code`: they are told, and excuse nothing.
    """

    plan: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    code: str = ""
    elsewhere: bool = False


def compare(ours: Results, theirs: Results) -> Differences:
    """What differs between a reproduction and its reference."""
    seeds = [set(side.plan.experiment.seeds) for side in (ours, theirs)]
    left = sorted(seeds[1] - seeds[0])
    left_out = (f"seed {', '.join(map(str, left))} of the reference",) if left else ()
    plan, reasons = _plan(ours.plan, theirs.plan), _reasons(ours, theirs)
    elsewhere = any(excuses for _, excuses in reasons) and not plan
    return Differences(plan, tuple(told for told, _ in reasons), left_out, _code(ours, theirs), elsewhere)


def _code(ours: Results, theirs: Results) -> str:
    stated = [{one.environment.code[:12] or "not stated" for one in side.records} for side in (theirs, ours)]
    if stated[0] == {"not stated"}:
        return "of which code the reference is, it does not say"
    there, here = (", ".join(sorted(side)) for side in stated)
    return "" if there == here else f"other code: spinn sha256:{there} in the reference, {here} here"


def _plan(ours: Plan, theirs: Plan) -> tuple[str, ...]:
    found = []
    for name in type(theirs.experiment).model_fields:
        here, there = getattr(ours.experiment, name), getattr(theirs.experiment, name)
        if name in _APART or here == there:
            continue
        if name == "variants":
            found += _variants(ours, theirs)
        else:
            found += _settings(f"experiment.{name}", _plain(there), _plain(here))
    if not set(ours.experiment.seeds) & set(theirs.experiment.seeds):
        found.append(f"experiment.seeds = {theirs.experiment.seeds}, and none of them here")
    splits = [{run.run_id: (run.train, run.validation, run.test) for run in plan.runs} for plan in (theirs, ours)]
    other = [name for name in splits[0].keys() & splits[1].keys() if splits[0][name] != splits[1][name]]
    if other:
        found.append(f"runs: {len(other)} have other training, validation or test cases, the first {min(other)}")
    return tuple(found)


def _variants(ours: Plan, theirs: Plan) -> list[str]:
    here = {variant.name: variant for variant in ours.experiment.variants}
    there = {variant.name: variant for variant in theirs.experiment.variants}
    found = [f"variant {name}: not run" for name in there if name not in here]
    found += [f"variant {name}: not in the reference" for name in here if name not in there]
    for name in there:
        if name in here:
            found += _settings(f"variant {name}", _plain(there[name]), _plain(here[name]))
    return found


def _plain(setting: Any) -> Any:
    return setting.model_dump(mode="json") if isinstance(setting, BaseModel) else setting


def _settings(name: str, there: Any, here: Any) -> list[str]:
    """Each single setting that differs, by its place in the experiment file."""
    if there == here:
        return []
    if isinstance(there, dict) and isinstance(here, dict):
        keys = dict.fromkeys((*there, *here))
        return [line for key in keys for line in _settings(f"{name}.{key}", there.get(key), here.get(key))]
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True))
        return [line for index, pair in pairs for line in _settings(f"{name}.{index}", *pair)]
    return [f"{name} = {there} in the reference, {here} here"]


def _excuses(key: str, there: str, here: str) -> bool:
    """Whether a machine that differs in this may compute otherwise: of the platform, its C library."""
    if key == "platform":
        return there.rpartition("-with-")[2] != here.rpartition("-with-")[2]
    return key != "memory bytes"


def _reasons(ours: Results, theirs: Results) -> list[tuple[str, bool]]:
    """What differs, and whether numbers may for that."""
    here, there = machine(ours), machine(theirs)
    found = []
    for key in dict.fromkeys((*there, *here)):
        if key == "code" or here.get(key) == there.get(key):
            continue
        kind = "other hardware" if key in _HARDWARE else "other library version"
        values = there.get(key, "not stated"), here.get(key, "not stated")
        told = f"{_TOLD.get(key, f'{kind}: {key}')} {values[0]} in the reference, {values[1]} here"
        found.append((told, _excuses(key, *values)))
    if ours.plan.spinn_version != theirs.plan.spinn_version and here.get("spinn") == there.get("spinn"):
        found.append(
            (f"other library version: spinn {theirs.plan.spinn_version}, {ours.plan.spinn_version} here", True)
        )
    if ours.plan.dataset.fingerprint != theirs.plan.dataset.fingerprint:
        told = f"other data: {theirs.plan.dataset.source} in the reference, {ours.plan.dataset.source} here"
        found.append((told, True))
    if ours.plan.experiment.stack != theirs.plan.experiment.stack:
        stacks = (theirs.plan.experiment.stack, ours.plan.experiment.stack)
        found.append((f"other stack: {stacks[0]} runs trained together in the reference, {stacks[1]} here", True))
    return found
