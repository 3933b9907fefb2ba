"""The checks of masks over anyone's state dicts: counts, shrinking masks, resurrection, and what else goes wrong.

Works on arrays by name; knows nothing of how the pruning was done, and loads no torch for safetensors. Prunable are
the floating-point tensors with at least two dimensions. A file without masks has them by its zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from spinn.errors import InputError
from verify.conventions import LEDGER, ledger_of, mistaken, sound
from verify.findings import Finding, Severity, Verdict
from verify.state_files import State, as_state, read_state

THIN = 0.01  # a layer that keeps less than this share of its weights is worth a note
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Weight:
    """A prunable tensor: `used` as the network computes with it, `kept` its mask.

    `stored` is what lies in the file, and differs from `used` where a mask is multiplied at each use (`masked`).
    """

    used: np.ndarray
    stored: np.ndarray
    kept: np.ndarray
    masked: bool = False
    stated: bool = False  # whether the file has a mask of it, or only zeros


@dataclass(frozen=True)
class Stage:
    """One state dict: `number` 0 is the dense network; `others` counts its parameters that are never pruned."""

    number: int
    name: str
    weights: dict[str, Weight]
    others: int
    wild: dict[str, int]  # tensor → entries that are inf or NaN
    unmasked: tuple[str, ...]  # parametrised tensors whose mask is not in the file

    @property
    def kept(self) -> dict[str, int]:
        """Kept weights of each layer."""
        return {name: int(np.count_nonzero(weight.kept)) for name, weight in self.weights.items()}

    @property
    def size(self) -> int:
        """Prunable weights that it has places for."""
        return sum(weight.kept.size for weight in self.weights.values())


def audit_files(paths: Sequence[Path], ratios: Sequence[str] | None = None) -> Verdict:
    """Audit state dict files, the dense network's first, then one for each stage.

    Raises:
        InputError: a file cannot be read, there are fewer than two, or `ratios` do not fit them.
    """
    return audit_states([read_state(Path(path)) for path in paths], ratios, [str(path) for path in paths])


def audit_states(
    states: Sequence[Mapping[str, Any]], ratios: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> Verdict:
    """Audit state dicts, the dense network's first, then one for each stage.

    Args:
        states: Tensors of torch or numpy by name, as `module.state_dict()` gives them. Pairs `<name>_orig` and
            `<name>_mask` (torch.nn.utils.prune) and parametrizations with a mask (torch.ao.pruning) are understood.
        ratios: The share of the still active weights that each stage should have pruned, as decimal strings.
        names: What messages call the states.

    Returns:
        Findings of the checks counts, masks-monotone, resurrection, hidden-weights, collapsed-layer, ties,
        non-finite, negative-zero, and for each stage a note `sparsity` with its counts.

    Raises:
        InputError: fewer than two states, one without weights, or `ratios` that do not fit them.
    """
    if len(states) < 2:
        raise InputError(f"states = {len(states)}: expected the dense network and at least one stage")
    names = names or ["dense", *(f"stage {number}" for number in range(1, len(states)))]
    stages = [_stage(number, name, as_state(state, name)) for number, (name, state) in
              enumerate(zip(names, states, strict=True))]  # fmt: skip
    if ratios is not None:
        _refuse_ratios(ratios, len(stages) - 1)
    return Verdict(tuple(_findings(stages, ratios)))


def _findings(stages: Sequence[Stage], ratios: Sequence[str] | None) -> Iterator[Finding]:
    dense = stages[0]
    for stage in stages:
        yield _sparsity(dense, stage)
    for stage in stages:
        if set(stage.weights) != set(dense.weights):
            strangers = sorted(set(stage.weights) ^ set(dense.weights))
            message = f"{stage.name}: layers {strangers} are not in both it and {dense.name}"
            yield Finding("counts", "error", message, data={"stage": stage.number, "layers": strangers})
            return
    yield from _counts(stages, ratios)
    for stage in stages[1:]:
        yield from _history(stages[: stage.number], stage)
        if stage.unmasked:
            message = f"{stage.name}: the masks of {', '.join(stage.unmasked)} are not in it, as torch.ao.pruning saves"
            hint = "loaded elsewhere, every weight is back; save it after squash_mask()"
            data = {"stage": stage.number, "layers": list(stage.unmasked)}
            yield Finding("masks-monotone", "unchecked", f"{message}; {hint}", data=data)
        yield from _collapsed(stage)
        yield from _ties(stages[stage.number - 1], stage)
    for stage in stages:
        yield from _numbers(stage)


# --- reading --------------------------------------------------------------------------------------------------------


def _stage(number: int, name: str, state: State) -> Stage:
    weights: dict[str, Weight] = {}
    others, wild = 0, {}
    masks = {key: other for key in state if (other := _mask_of(key, state)) is not None}
    for key, tensor in state.items():
        if key in masks.values() or not np.issubdtype(tensor.dtype, np.floating):
            continue
        count = int(np.count_nonzero(~np.isfinite(tensor)))
        if count:
            wild[key] = count
        if tensor.ndim < 2 and key not in masks:
            others += 0 if key.endswith(_BUFFERS) else tensor.size
            continue
        weights[_plain_name(key)] = _weight(name, key, tensor, state[masks[key]] if key in masks else None, number == 0)
    if not weights:
        raise InputError(f"{name}: no weights; expected floating-point tensors with at least two dimensions")
    unmasked = tuple(key for key in state if key.endswith(".original") and key not in masks)
    return Stage(number, name, weights, others, wild, unmasked)


def _mask_of(key: str, state: State) -> str | None:
    """The name of the mask that belongs to tensor `key`, if the state has one."""
    if key.endswith(".original"):
        held = key.removesuffix("original")
        return next((name for name in state if name.startswith(held) and name.endswith(".mask")), None)
    mask = f"{key.removesuffix('_orig')}_mask"
    return mask if mask in state else None


def _plain_name(key: str) -> str:
    return key.removesuffix(".original").replace("parametrizations.", "").removesuffix("_orig")


def _weight(name: str, key: str, tensor: np.ndarray, mask: np.ndarray | None, dense: bool) -> Weight:
    if mask is None:
        kept = np.ones(tensor.shape, bool) if dense else tensor != 0
        return Weight(tensor, tensor, kept)
    if mask.shape != tensor.shape or not np.isin(mask, (0, 1)).all():
        raise InputError(f"{name}: the mask of {key} is not 0 and 1 in the shape {tensor.shape}; is it a mask?")
    masked = key.endswith(("_orig", ".original"))
    with np.errstate(invalid="ignore"):
        used = tensor * mask if masked else tensor
    return Weight(used, tensor, mask != 0, masked=masked, stated=True)


def _refuse_ratios(ratios: Sequence[str], stages: int) -> None:
    if len(ratios) != stages:
        raise InputError(f"ratios = {','.join(ratios)}: {len(ratios)} given for {stages} stages; one for each")
    try:
        shares = [Fraction(ratio) for ratio in ratios]
    except (ValueError, ZeroDivisionError):
        raise InputError(f"ratios = {','.join(ratios)}: decimals such as 0.30, or quotients such as 3/10") from None
    if not all(0 <= share < 1 for share in shares):
        raise InputError(f"ratios = {','.join(ratios)}: each is at least 0 and below 1; write 30 % as 0.30")


# --- counts ---------------------------------------------------------------------------------------------------------


def _sparsity(dense: Stage, stage: Stage) -> Finding:
    layers = {name: [kept, stage.weights[name].kept.size] for name, kept in stage.kept.items()}
    kept, before = sum(stage.kept.values()), dense.size
    parameters, all_before = kept + stage.others, before + dense.others
    data = {
        "stage": stage.number,
        "name": stage.name,
        "kept_weights": kept,
        "weights": before,
        "weight_sparsity": 1 - kept / before,
        "parameters": parameters,
        "reduction": 1 - parameters / all_before,
        "layers": layers,
    }
    message = (
        f"{stage.name}: {kept} of {before} prunable weights, weight sparsity {100 * data['weight_sparsity']:.2f} %; "
        f"{parameters} of {all_before} parameters, reduction {100 * data['reduction']:.2f} %"
    )
    return Finding("sparsity", "note", message, data=data)


def _counts(stages: Sequence[Stage], ratios: Sequence[str] | None) -> Iterator[Finding]:
    """Kept weights against the ledger, and where they are not the ledger's, against other ways to count."""
    if ratios is None:
        return
    layers = list(stages[0].kept.values())
    counted = [sum(stage.kept.values()) for stage in stages[1:]]
    planned = ledger_of(sum(layers), ratios)
    data = {"ratios": list(ratios), "planned": planned, "counted": counted}
    if counted == planned:
        yield Finding("counts", "note", f"exactly as planned: {LEDGER}", data={**data, "convention": LEDGER})
        return
    for convention, kept in sound(layers, ratios).items():
        if counted == kept:
            most = max(abs(a - b) for a, b in zip(counted, planned, strict=True))
            message = f"as planned, {convention}; at most {most} away from the ledger ({LEDGER})"
            yield Finding("counts", "note", message, data={**data, "convention": convention})
            return
    if all(abs(a - b) <= number for number, (a, b) in enumerate(zip(counted, planned, strict=True), start=1)):
        message = f"within one weight a stage of the ledger ({LEDGER}), by no convention known here"
        yield Finding("counts", "note", message, data={**data, "convention": None})
        return
    wrong = next(convention for convention in (*_named(sum(layers), ratios, counted), ""))
    number = next(n for n, (a, b) in enumerate(zip(counted, planned, strict=True)) if a != b)
    message = f"{stages[number + 1].name}: {counted[number]} weights are kept, planned {planned[number]} ({LEDGER})"
    per_layer = {stage.name: stage.kept for stage in stages}
    message += f"; it looks as if {wrong}" if wrong else ""
    yield Finding("counts", "error", message, data={**data, "layers": per_layer, "looks_like": wrong or None})


def _named(active: int, ratios: Sequence[str], counted: Sequence[int]) -> list[str]:
    """Mistakes that give these counts, to within one weight a stage."""
    return [name for name, kept in mistaken(active, ratios).items()
            if all(abs(a - b) <= n for n, (a, b) in enumerate(zip(counted, kept, strict=True), start=1))]  # fmt: skip


# --- masks ----------------------------------------------------------------------------------------------------------


def _history(earlier: Sequence[Stage], stage: Stage) -> Iterator[Finding]:
    """Masks only shrink, and what was pruned at this or an earlier stage is zero."""
    grown: dict[str, int] = {}
    alive: dict[str, int] = {}
    hidden: dict[str, int] = {}
    largest = under = 0.0
    for name, weight in stage.weights.items():
        gone = ~weight.kept
        fault = _shape_fault(name, earlier[-1].weights[name].kept, weight.kept)
        if fault is not None:
            severity, message = fault
            data = {"stage": stage.number, "layer": name}
            yield Finding("masks-monotone", severity, f"{stage.name}: {message}", data=data)
        for before in earlier:
            other = before.weights[name]
            if other.kept.shape == weight.kept.shape:
                gone = gone | ~other.kept
                if weight.stated:
                    grown[name] = max(grown.get(name, 0), int((weight.kept & ~other.kept).sum()))
        back, drifted = weight.used[gone], weight.stored[~weight.kept & weight.masked]
        alive[name], hidden[name] = int(np.count_nonzero(back)), int(np.count_nonzero(drifted))
        largest, under = max(largest, _size(back)), max(under, _size(drifted))
    if sum(grown.values()):
        message = f"{stage.name}: {sum(grown.values())} weights that were pruned are kept again"
        yield _layered("masks-monotone", "error", message, stage, grown)
    if sum(alive.values()):
        message = f"{stage.name}: {sum(alive.values())} pruned weights are not zero; the largest is {largest:.3g}"
        yield _layered("resurrection", "error", message, stage, alive, largest)
    if sum(hidden.values()):
        message = (
            f"{stage.name}: under their masks {sum(hidden.values())} pruned weights are not zero; the largest is "
            f"{under:.3g}: harmless while the mask is there, back as soon as it is removed or lost"
        )
        yield _layered("hidden-weights", "note", message, stage, hidden, under)


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
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


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


def _ties(before: Stage, stage: Stage) -> Iterator[Finding]:
    """Where the smallest magnitudes of the file before went: whether the cut went through equal ones."""
    pairs = [(name, before.weights[name], weight) for name, weight in stage.weights.items()]
    if any(old.kept.shape != new.kept.shape for _, old, new in pairs):
        return
    gone = [np.abs(old.used[old.kept & ~new.kept]) for _, old, new in pairs]
    left = [np.abs(old.used[old.kept & new.kept]) for _, old, new in pairs]
    removed, kept = np.concatenate(gone), np.concatenate(left)
    if not removed.size or not kept.size or removed.max() != kept.min():
        return  # no tie; or a choice that is not by the magnitudes of this file
    threshold = removed.max()
    layers = {name: [int((a == threshold).sum()), int((b == threshold).sum())]
              for (name, _, _), a, b in zip(pairs, gone, left, strict=True)}  # fmt: skip
    tied = {name: counts for name, counts in layers.items() if sum(counts)}
    shares = ", ".join(f"{name} {counts[0]} of {sum(counts)}" for name, counts in tied.items())
    message = f"{stage.name}: the cut goes through weights of equal magnitude {threshold:.6g}; pruned of them: {shares}"
    data = {"stage": stage.number, "magnitude": float(threshold), "layers": tied}
    yield Finding("ties", "note", message, data=data)


# --- numbers --------------------------------------------------------------------------------------------------------


def _numbers(stage: Stage) -> Iterator[Finding]:
    if stage.wild:
        count, where = sum(stage.wild.values()), ", ".join(stage.wild)
        data = {"stage": stage.number, "count": count, "layers": dict(stage.wild)}
        yield Finding("non-finite", "error", f"{stage.name}: {count} entries are inf or NaN ({where})", data=data)
    negative = {
        name: int((np.signbit(weight.used) & (weight.used == 0)).sum())
        for name, weight in stage.weights.items()
        if not weight.masked
    }
    if stage.number and sum(negative.values()):
        message = f"{stage.name}: {sum(negative.values())} zeros are −0.0, which a product with a mask leaves"
        yield _layered("negative-zero", "note", message, stage, negative)
    zeros = {name: int((weight.used == 0).sum()) for name, weight in stage.weights.items() if not weight.stated}
    if not stage.number and sum(zeros.values()):
        message = f"{stage.name}: {sum(zeros.values())} weights of the dense network are zero; they count as kept"
        yield _layered("sparsity", "note", message, stage, zeros)
