"""The checks of masks over anyone's state dicts: counts, shrinking masks, resurrection, and what else goes wrong.

Works on arrays by name; knows nothing of how the pruning was done, and loads no torch for safetensors. What is prunable
and what is kept, `verify.stages` says; the counts are judged in `verify.counts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Rational
from pathlib import Path
from typing import Any

import numpy as np

from spinn.errors import InputError
from verify.counts import counts, exact_ratios, sparsity
from verify.findings import Finding, Severity, Verdict
from verify.stages import Stage, Weight, stages_of
from verify.state_files import State, as_state, read_state
from verify.ties import ties

THIN = 0.01  # a layer that keeps less than this share of its weights is worth a note


def audit_files(
    paths: Sequence[Path], ratios: Sequence[str | Rational] | None = None, ignored_layers: Sequence[str] = ()
) -> Verdict:
    """Audit state dict files, the dense network's first, then one for each stage.

    Args:
        paths: `.safetensors`, or what `torch.save` wrote.
        ratios: As `audit_states` takes them.
        ignored_layers: As `audit_states` takes them.

    Raises:
        InputError: a file cannot be read, there are fewer than two, or `ratios` or `ignored_layers` do not fit them.
    """
    return _audit([read_state(Path(path)) for path in paths], ratios, [str(path) for path in paths], ignored_layers)


def audit_states(
    states: Sequence[Mapping[str, Any]],
    ratios: Sequence[str | Rational] | None = None,
    names: Sequence[str] | None = None,
    ignored_layers: Sequence[str] = (),
) -> Verdict:
    """Audit state dicts, the dense network's first, then one for each stage.

    Args:
        states: Tensors of torch or numpy by name, as `module.state_dict()` gives them. Pairs `<name>_orig` and
            `<name>_mask` (torch.nn.utils.prune), a buffer `mask` or `<name>_mask` beside its weight, and
            parametrizations with masks are understood; a buffer does not show that the network multiplies with it, so
            that what is not zero under it is unchecked. Where any state has masks, only what they belong to is
            prunable; otherwise all tensors with at least two dimensions are.
        ratios: The share of the still active weights that each stage should have pruned, exactly: decimal strings or
            fractions. A binary float is refused, since it is not the decimal that it is written as.
        names: What messages call the states.
        ignored_layers: Names of tensors or modules that are not pruned on purpose, with `*` for any part of a name;
            inf in them is a note.

    Returns:
        Findings of the checks counts, masks-monotone, resurrection, hidden-weights, nothing-pruned, collapsed-layer,
        ties, non-finite, negative-zero, tied-weights, not-read, and for each stage a note `sparsity` with its counts.

    Raises:
        InputError: fewer than two states, one without weights, or `ratios` or `ignored_layers` that do not fit them.
    """
    names = names or ["dense", *(f"stage {number}" for number in range(1, len(states)))]
    read = [as_state(state, name) for state, name in zip(states, names, strict=True)]
    return _audit(read, ratios, names, ignored_layers)


def _audit(
    states: Sequence[State],
    ratios: Sequence[str | Rational] | None,
    names: Sequence[str],
    ignored_layers: Sequence[str],
) -> Verdict:
    if len(states) < 2:
        raise InputError(f"states = {len(states)}: expected the dense network and at least one stage")
    if isinstance(ignored_layers, str):
        raise InputError(f"ignored_layers = {ignored_layers!r}: expected a list such as ['head']")
    stages, tied = stages_of(states, names, ignored_layers)
    exact = None if ratios is None else exact_ratios(ratios, len(stages) - 1)
    return Verdict(tuple(_findings(stages, tied, exact)))


def _findings(stages: Sequence[Stage], tied: Mapping[str, str], ratios: Sequence[str] | None) -> Iterator[Finding]:
    shared, counted = _in_all(stages), None
    if shared[0].weights and ratios is not None:
        reading, counted = counts(shared, ratios)
        stages, shared = ([stage.read(reading) for stage in states] for states in (stages, shared))
    for stage in stages:
        yield sparsity(stages[0], stage)
    yield from _reading(stages, tied)
    yield from _strangers(stages)
    if counted is not None:
        yield counted
    if shared[0].weights:
        yield from _pruned(shared)
    for stage in shared[1:]:
        yield from _history(shared[: stage.number], stage)
        yield from _without_masks(stage)
        yield from _collapsed(stage)
        yield from ties(shared[stage.number - 1], stage)
    for stage in stages:
        yield from _numbers(stage)
        yield from _zeros(stages, stage)


# --- what there is to judge -----------------------------------------------------------------------------------------


def _reading(stages: Sequence[Stage], tied: Mapping[str, str]) -> Iterator[Finding]:
    """What was left out of the counts, and why."""
    if tied:
        pairs = ", ".join(f"{other} is {name}" for other, name in tied.items())
        message = f"tied weights are counted once: {pairs}"
        yield Finding("tied-weights", "note", message, data={"tied": dict(tied)})
    for stage in stages:
        if stage.skipped:
            message = f"{stage.name}: {', '.join(stage.skipped)} are no tensors and were not looked at"
            yield Finding("not-read", "note", message, data={"stage": stage.number, "entries": list(stage.skipped)})
        if stage.misfits:
            message = f"{stage.name}: {', '.join(stage.misfits)} were not looked at: 0 and 1, but of other shapes than"
            hint = "the tensors beside them; if they are masks, save them in those shapes"
            data = {"stage": stage.number, "entries": list(stage.misfits)}
            yield Finding("not-read", "unchecked", f"{message} {hint}", data=data)


def _strangers(stages: Sequence[Stage]) -> Iterator[Finding]:
    """Layers that come or go; those that are in every state are audited all the same."""
    dense = {*stages[0].weights, *stages[0].spared}
    for stage in stages[1:]:
        strangers = sorted(dense ^ {*stage.weights, *stage.spared})
        if strangers:
            message = f"{stage.name}: layers {strangers} are not in both it and {stages[0].name}"
            yield Finding("counts", "error", message, data={"stage": stage.number, "layers": strangers})


def _in_all(stages: Sequence[Stage]) -> list[Stage]:
    """The stages with the layers that all of them have, in the order of the dense network."""
    names = [name for name in stages[0].weights if all(name in stage.weights for stage in stages)]
    return [replace(stage, weights={name: stage.weights[name] for name in names}) for stage in stages]


def _pruned(stages: Sequence[Stage]) -> Iterator[Finding]:
    """Whether anything was pruned at all."""
    sizes = {size for stage in stages for size in (stage.size, sum(stage.kept.values()))}
    if len(sizes) == 1 and not any(stage.unmasked for stage in stages):
        message = "nothing is pruned in any of the states: there are no masks to check; are they the right files?"
        yield Finding("nothing-pruned", "unchecked", message, data={"weights": sizes.pop()})


def _without_masks(stage: Stage) -> Iterator[Finding]:
    """Parametrised tensors, of which nothing says whether they have a mask or which, and tensors that lost theirs."""
    missing = [name for name in stage.unmasked if name not in stage.gated]
    if missing:
        message = f"{stage.name}: the masks of {', '.join(missing)} are not in it, as torch.ao.pruning saves"
        hint = "loaded elsewhere, every weight is back; save it after squash_mask(); if no mask is meant, ignore them"
        data = {"stage": stage.number, "layers": missing}
        yield Finding("masks-monotone", "unchecked", f"{message}; {hint}", data=data)
    if stage.gated:
        message = f"{stage.name}: what is called the mask of {', '.join(stage.gated)} is not 0 and 1 in its shape"
        hint = "which weights it leaves is not said; if it is learned, save its product with the weight, or ignore it"
        data = {"stage": stage.number, "layers": list(stage.gated)}
        yield Finding("masks-monotone", "unchecked", f"{message}; {hint}", data=data)
    if stage.lost:
        message = (
            f"{stage.name}: {', '.join(stage.lost)} have lost their masks: there is weight_orig without weight_mask"
        )
        hint = "loaded elsewhere, every weight is back; save the whole state_dict(), or after prune.remove()"
        data = {"stage": stage.number, "layers": list(stage.lost)}
        yield Finding("masks-monotone", "error", f"{message}; {hint}", data=data)


# --- masks ----------------------------------------------------------------------------------------------------------


def _history(earlier: Sequence[Stage], stage: Stage) -> Iterator[Finding]:
    """Masks only shrink, and what was pruned at this or an earlier stage is zero."""
    known = {name: weight for name, weight in stage.weights.items() if weight.known}
    yield from _shapes(earlier[-1], stage)
    grown = {name: max(_grown(before.weights[name], weight) for before in earlier) for name, weight in known.items()}
    alive = {name: _alive([before.weights[name] for before in earlier], weight) for name, weight in known.items()}
    masked = {name: weight.stored for name, weight in known.items() if weight.stored is not None}
    sure = {name: np.broadcast_to(known[name].proven, stored.shape) for name, stored in masked.items()}
    if sum(grown.values()):
        message = f"{stage.name}: {sum(grown.values())} weights that were pruned are kept again"
        yield _layered("masks-monotone", "error", message, stage, grown)
    yield from _not_zero(
        "resurrection",
        "error",
        stage,
        alive,
        "{stage}: {count} pruned weights are not zero; the largest is {largest:.3g}",
    )
    yield from _not_zero(
        "resurrection",
        "unchecked",
        stage,
        {name: stored[~known[name].kept & ~sure[name]] for name, stored in masked.items()},
        "{stage}: {count} weights under masks that lie beside them are not zero; the largest is {largest:.3g}; the "
        "file cannot say whether the network multiplies the two: if it does, save weight * mask; if not, they are "
        "back: mask after every step, which verify.watch checks",
    )
    yield from _not_zero(
        "hidden-weights",
        "note",
        stage,
        {name: stored[~known[name].kept & sure[name]] for name, stored in masked.items()},
        "{stage}: under their masks {count} pruned weights are not zero; the largest is {largest:.3g}: harmless while "
        "the mask is there, back as soon as it is removed or lost",
    )


def _grown(before: Weight, weight: Weight) -> int:
    """Kept entries of a mask that an earlier one had pruned; without a stated mask they show as resurrection."""
    if not weight.stated or before.kept.shape != weight.kept.shape:
        return 0
    return int((weight.kept & ~before.kept).sum())


def _alive(earlier: Sequence[Weight], weight: Weight) -> np.ndarray:
    """What the network uses at the places that are pruned, or were at an earlier stage."""
    gone = ~weight.kept  # without a stated mask, zeros
    for before in earlier:
        if before.kept.shape == weight.kept.shape:
            gone = gone | ~before.kept
    return weight.used[gone]


def _not_zero(
    check: str, severity: Severity, stage: Stage, values: Mapping[str, np.ndarray], text: str
) -> Iterator[Finding]:
    counted = {name: int(np.count_nonzero(found)) for name, found in values.items()}
    if sum(counted.values()):
        largest = max(_size(found) for found in values.values())
        message = text.format(stage=stage.name, count=sum(counted.values()), largest=largest)
        yield _layered(check, severity, message, stage, counted, largest)


def _shapes(before: Stage, stage: Stage) -> Iterator[Finding]:
    for name, weight in stage.weights.items():
        fault = _shape_fault(name, before.weights[name].kept, weight.kept)
        if fault is not None:
            severity, message = fault
            data = {"stage": stage.number, "layer": name}
            yield Finding("masks-monotone", severity, f"{stage.name}: {message}", data=data)


def _shape_fault(name: str, before: np.ndarray, after: np.ndarray) -> tuple[Severity, str] | None:
    if before.shape == after.shape:
        return None
    shapes = f"{name} is {before.shape} before and {after.shape} now"
    if before.ndim == after.ndim and all(a <= b for a, b in zip(after.shape, before.shape, strict=True)):
        return "unchecked", f"{shapes}: it shrank, and which of its weights are left cannot be seen from the files"
    return "error", f"{shapes}: it grew"


def _layered(
    check: str, severity: Severity, message: str, stage: Stage, layers: dict[str, int], largest: float | None = None
) -> Finding:
    shown = {name: count for name, count in layers.items() if count}
    data: dict[str, Any] = {"stage": stage.number, "count": sum(shown.values()), "layers": shown}
    if largest is not None:
        data["largest"] = largest
    return Finding(check, severity, f"{message} ({', '.join(shown)})", data=data)


def _size(values: np.ndarray) -> float:
    """The largest finite magnitude; JSON knows no other."""
    with np.errstate(over="ignore"):
        magnitudes = np.abs(values)
    return float(magnitudes[np.isfinite(magnitudes)].max(initial=0))


def _collapsed(stage: Stage) -> Iterator[Finding]:
    for name, kept in stage.kept.items():
        size = stage.weights[name].kept.size
        data = {"stage": stage.number, "layer": name, "kept": kept, "weights": size}
        if not kept:
            message = f"{stage.name}: {name} keeps none of its {size} weights: nothing passes through it"
            yield Finding("collapsed-layer", "error", message, data=data)
        elif kept < THIN * size:
            message = f"{stage.name}: {name} keeps {kept} of {size} weights"
            yield Finding("collapsed-layer", "note", message, data=data)


# --- numbers --------------------------------------------------------------------------------------------------------


def _numbers(stage: Stage) -> Iterator[Finding]:
    if stage.wild:
        count, where = sum(stage.wild.values()), ", ".join(stage.wild)
        data = {"stage": stage.number, "count": count, "layers": dict(stage.wild)}
        yield Finding("non-finite", "error", f"{stage.name}: {count} entries are inf or NaN ({where})", data=data)
    if stage.infinite:
        count, where = sum(stage.infinite.values()), ", ".join(stage.infinite)
        message = (
            f"{stage.name}: {count} entries are inf where that may be meant: in masks that are added, in observers"
        )
        data = {"stage": stage.number, "count": count, "layers": dict(stage.infinite)}
        yield Finding("non-finite", "note", f"{message} that have seen nothing, or ignored ({where})", data=data)
    negative = {
        name: int((_signbit(weight.used) & (weight.used == 0)).sum())
        for name, weight in stage.weights.items()
        if weight.stored is None
    }
    if stage.number and sum(negative.values()):
        message = f"{stage.name}: {sum(negative.values())} zeros are −0.0, which a product with a mask leaves"
        yield _layered("negative-zero", "note", message, stage, negative)


def _zeros(stages: Sequence[Stage], stage: Stage) -> Iterator[Finding]:
    """Zeros that no mask states, and what they count as."""
    beside = {name: int(weight.beside.sum()) for name, weight in stage.weights.items()}
    if sum(beside.values()):
        kept = any((weight.kept & weight.beside).any() for weight in stage.weights.values())
        message = f"{stage.name}: {sum(beside.values())} weights that masks keep are zero, and were not in an earlier"
        counted = f"state; they count as {'kept' if kept else 'pruned'}"
        yield _layered("sparsity", "note", f"{message} {counted}", stage, beside)
    zeros = {name: int((weight.used == 0).sum()) for name, weight in stage.weights.items() if not weight.stated}
    if not stage.number and sum(zeros.values()):
        gone = any((weight.idle & ~weight.kept).any() for later in stages for weight in later.weights.values())
        message = f"{stage.name}: {sum(zeros.values())} weights of the dense network are zero; they count as"
        counted = "pruned in the stages that have them so" if gone else "kept as long as they stay so"
        yield _layered("sparsity", "note", f"{message} {counted}", stage, zeros)


def _signbit(values: np.ndarray) -> np.ndarray:
    """Where a number, or either part of a complex one, has a minus sign."""
    return np.signbit(np.real(values)) | np.signbit(np.imag(values))  # the imaginary part of a real one is +0.0
