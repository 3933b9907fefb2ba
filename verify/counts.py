"""Kept weights of each stage: by both denominators, and against the ledger.

What is not the ledger's count holds by another sound convention, which is then named, is undecided where the states
cannot say, and is an error otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np

from spinn.errors import InputError
from verify.conventions import LEDGER, by_layer, gone_by, ledger_of, mistaken, sound
from verify.findings import Finding
from verify.stages import READINGS, Reading, Stage
from verify.units import PROOF, Cut, Kind, chosen, cuts_of, dimensions, grouped, in_kind

Masks = Mapping[str, Sequence[np.ndarray]]
# A decimal or a quotient. No exponent: a fraction of 1e-20000000 has as many digits.
_RATIO = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+|[0-9]+/0*[1-9][0-9]*)")
_LONGEST_RATIO = 64
ONCE = ", rounded once, from the share that should be left"


@dataclass(frozen=True)
class Step:
    """A layer's mask before and after a stage, the share of it that should go, and in which unit it went."""

    before: np.ndarray
    after: np.ndarray
    share: Fraction
    cut: Cut | None = None

    @property
    def grid(self) -> list[Cut]:
        """Slices that went along each dimension, where only whole ones did."""
        return dimensions(self.before, self.after) or []


def exact_ratios(ratios: Sequence[str | Rational], stages: int) -> list[str]:
    """Ratios as they are written; refuses what is no exact share, and not one for each stage.

    Raises:
        InputError: with what was given.
    """
    if isinstance(ratios, str):
        raise InputError(f"ratios = {ratios!r:.400}: expected a list such as ['.30', '.30']")
    for ratio in ratios:
        if not isinstance(ratio, str | Rational):
            kind = type(ratio).__name__
            raise InputError(
                f"ratios, {ratio!r:.400} = {kind}: expected exact ones, '0.30' or fractions.Fraction(3, 10)"
            )
    written = [str(ratio).strip() for ratio in ratios]
    given = f"ratios = {','.join(written):.400}"
    if len(ratios) != stages:
        raise InputError(f"{given}: {len(ratios)} given for {stages} stages; one for each")
    if not all(_RATIO.fullmatch(text) and len(text) <= _LONGEST_RATIO for text in written):
        raise InputError(f"{given}: decimals such as 0.30, or quotients such as 3/10")
    if not all(0 <= Fraction(text) < 1 for text in written):
        raise InputError(f"{given}: each is at least 0 and below 1; write 30 % as 0.30")
    return [str(ratio) for ratio in ratios]


def sparsity(dense: Stage, stage: Stage) -> Finding:
    """A stage's counts: weight sparsity over the prunable weights, reduction over all parameters."""
    layers = {name: [kept, stage.weights[name].kept.size] for name, kept in stage.kept.items()}
    kept, before = sum(stage.kept.values()), dense.size
    parameters, all_before = kept + stage.others, before + dense.others
    data: dict[str, Any] = {
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
    if stage.unmasked:
        message += f"; without the masks of {', '.join(stage.unmasked)}, which it does not say"
    return Finding(
        "sparsity", "note", message, data=data | ({"not_pruned": list(stage.spared)} if stage.spared else {})
    )


def counts(stages: Sequence[Stage], ratios: Sequence[str]) -> tuple[Reading, Finding]:
    """Kept weights against the ledger, and where they are not the ledger's, against other ways to count.

    Args:
        stages: All with the same layers, in the same order.
        ratios: Share of the still active weights that each stage after the first should have pruned.

    Returns:
        What zeros that no mask states have to be taken for, and the finding.
    """
    planned = ledger_of(sum(stages[0].kept.values()), ratios)
    unseen = [f"{stage.name}: {', '.join(stage.unmasked)}" for stage in stages if stage.unmasked]
    if unseen:
        message = f"not counted, since masks cannot be read ({'; '.join(unseen)})"
        return READINGS[""], Finding("counts", "unchecked", message, data=_numbers(stages, ratios, planned))
    words, convention = _planned(stages, ratios)
    read = [stage.read(READINGS[words]) for stage in stages]
    return READINGS[words], _judged(read, _numbers(read, ratios, planned), convention)


def _numbers(stages: Sequence[Stage], ratios: Sequence[str], planned: Sequence[int]) -> dict[str, Any]:
    counted = [sum(stage.kept.values()) for stage in stages[1:]]
    return {"ratios": list(ratios), "planned": list(planned), "counted": counted}


def _judged(stages: Sequence[Stage], data: dict[str, Any], convention: str | None) -> Finding:
    counted, planned, ratios = data["counted"], data["planned"], data["ratios"]
    if convention == LEDGER:
        return Finding("counts", "note", f"exactly as planned: {LEDGER}", data={**data, "convention": LEDGER})
    if convention is not None:
        most = max(abs(count - planned[number]) for number, count in enumerate(counted))
        message = f"as planned, {convention}; at most {most} away from the ledger ({LEDGER})"
        return Finding("counts", "note", message, data={**data, "convention": convention})
    if (reason := _undecided(_masks(stages), ratios)) is not None:
        message = f"{counted} weights are kept, planned {planned} ({LEDGER}); not decided: {reason}"
        return Finding("counts", "unchecked", message, data=data)
    return _wrong(stages, data)


def _wrong(stages: Sequence[Stage], data: dict[str, Any]) -> Finding:
    counted, planned = data["counted"], data["planned"]
    number = next(n for n, count in enumerate(counted) if count != planned[n])
    message = f"{stages[number + 1].name}: {counted[number]} weights are kept, planned {planned[number]} ({LEDGER})"
    mistake = None
    if _near(counted, planned):
        message += "; within one weight a stage, but by no convention known here"
    else:
        known = mistaken(sum(stages[0].kept.values()), data["ratios"])
        mistake = next((name for name, kept in known.items() if _near(counted, kept)), None)
        message += f"; it looks as if {mistake}" if mistake else ""
    whole = [name for name, weight in stages[0].weights.items()
             if all(np.array_equal(weight.kept, stage.weights[name].kept) for stage in stages[1:])]  # fmt: skip
    if whole and len(whole) < len(stages[0].weights):
        message += f"; nothing of {', '.join(whole)} is pruned: if that is meant, ignore it (ignored_layers, --ignore)"
    per_layer = {stage.name: stage.kept for stage in stages}
    return Finding("counts", "error", message, data={**data, "layers": per_layer, "looks_like": mistake})


def _near(counted: Sequence[int], kept: Sequence[int]) -> bool:
    """Whether counts are the same to within one weight for each stage so far."""
    return all(abs(count - kept[number]) <= number + 1 for number, count in enumerate(counted))


# --- conventions ----------------------------------------------------------------------------------------------------


def _planned(stages: Sequence[Stage], ratios: Sequence[str]) -> tuple[str, str | None]:
    """How zeros have to be read, and the sound convention that then explains the counts: of weights, or of units."""
    totals = [sum(stage.kept.values()) for stage in stages]
    if totals[1:] == ledger_of(totals[0], ratios):
        return "", LEDGER
    for explains in (_of_weights, _of_units):
        for words, reading in READINGS.items():
            convention = explains([stage.read(reading) for stage in stages], ratios)
            if convention is not None:
                return words, f"{convention}{words}"
    return "", None


def _of_weights(stages: Sequence[Stage], ratios: Sequence[str]) -> str | None:
    """A convention of single weights, from the counts of all states and layers: over all layers, or of each."""
    kept = [list(stage.kept.values()) for stage in stages]
    totals = [sum(stage) for stage in kept]
    each = by_layer(kept[0], ratios)
    for name, planned in sound(totals[0], ratios).items():
        if totals[1:] == planned:
            return name
        if kept[1:] == each[name]:
            return f"each layer by itself, {name}"
    return None


def _masks(stages: Sequence[Stage]) -> Masks:
    return {name: [stage.weights[name].kept for stage in stages] for name in stages[0].weights}


def _of_units(read: Sequence[Stage], ratios: Sequence[str]) -> str | None:
    """A convention of whole slices or blocks: of each layer by itself, or over all layers."""
    masks = _masks(read)
    for tail, stages in (("", _steps(masks, ratios)), (ONCE, _at_once(masks, ratios))):
        layers = [(step.before, step.after) for stage in stages for step in stage]
        shown = [cuts_of(*layer) for layer in layers]
        for cuts in (chosen(shown), grouped(layers, shown)):
            each = iter(cuts)
            words = _met([[replace(step, cut=next(each)) for step in stage] for stage in stages])
            if words is not None:
                return f"{words}{tail}"
    return None


def _met(stages: Sequence[Sequence[Step]]) -> str | None:
    """How the share is met in the units that layers show."""
    seen = _seen(step.cut for stage in stages for step in stage if step.cut is not None)
    units = f"whole {', '.join(f'{kind} (up to {weights} weights)' for kind, weights in seen.items())}"
    if seen and all(_each(stage, list(seen)) for stage in stages):
        return f"each layer by itself in {units}, its share met to within less than one"
    if seen and all(_over_all(stage) for stage in stages):
        return f"in {units} chosen over all layers, the share met to within less than one"
    return None


def _seen(cuts: Iterable[Cut]) -> dict[Kind, int]:
    """Units that layers show, and the most weights of one; none where chance explains them."""
    found = [(cut.kind, cut) for cut in cuts if cut.kind is not None]
    if sum(cut.proof for _, cut in found) < PROOF:
        return {}
    return {kind: max(cut.weights for _, cut in found if cut.kind == kind) for kind, _ in found}


def _each(stage: Sequence[Step], seen: Sequence[Kind]) -> bool:
    """Whether every layer meets its share in units; in which of them, a layer that shows none does not say."""
    for step in stage:
        others = (in_kind(kind, step.before, step.after) for kind in (None, *seen))
        cuts = [step.cut] if step.cut is not None else [cut for cut in others if cut is not None]
        if not any(cut.meets(step.share) for cut in cuts):
            return False
    return True


def _over_all(stage: Sequence[Step]) -> bool:
    """Whether units of all layers together meet the share, to within less than the largest."""
    found = [step.cut for step in stage if step.cut is not None]
    if not found or any(cut.kind is None for cut in found):
        return False
    return abs(_missing(stage)) < max(cut.weights for cut in found)


def _missing(stage: Sequence[Step]) -> Fraction:
    """How many more weights than its share a stage pruned."""
    return Fraction(sum(int(step.before.sum()) * (1 - step.share) - int(step.after.sum()) for step in stage))


def _steps(masks: Masks, ratios: Sequence[str]) -> list[list[Step]]:
    """What each stage did to each layer, and the share of what was still active that it should prune."""
    return [[Step(kept[number], kept[number + 1], Fraction(text)) for kept in masks.values()]
            for number, text in enumerate(ratios)]  # fmt: skip


def _at_once(masks: Masks, ratios: Sequence[str]) -> list[list[Step]]:
    """What is gone of each layer after each stage, and the share that should be."""
    return [[Step(kept[0], kept[number], share) for kept in masks.values()]
            for number, share in enumerate(gone_by(ratios), start=1)]  # fmt: skip


def _undecided(masks: Masks, ratios: Sequence[str]) -> str | None:
    """Why it cannot be said whether counts are meant so; None where it can."""
    stages = _steps(masks, ratios)
    steps = [step for stage in stages for step in stage]
    by_ratio = all(step.grid and all(cut.meets(step.share) for cut in step.grid) for step in steps)
    if by_ratio and any(len(step.grid) > 1 for step in steps):
        return "each ratio fits the rows and columns of every layer, which together take more weights with them"
    shrunk = any(step.before.shape != step.after.shape for step in steps)
    if shrunk and all(abs(_missing(stage)) < max(_neuron(stage), 1) for stage in stages):
        return "layers shrank by whole neurons, and the share is met to within less than one with all its weights"
    return None


def _neuron(stage: Sequence[Step]) -> int:
    """Weights in one slice of every layer that lost slices."""
    return sum(step.before.size // cut.active for step in stage for cut in step.grid)
