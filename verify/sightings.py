"""What a watch has seen so far, by check and layer, and the findings that tell it.

Knows names, steps, counts and sizes; nothing of tensors, models or optimizers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from verify.findings import Finding, Severity


@dataclass
class _Steps:
    """At which steps something was seen."""

    first_step: int
    steps: int = 0
    last_step: int = 0

    def at(self, step: int) -> None:
        """Count a step once, however many looks it had."""
        self.steps += step != self.last_step
        self.last_step = step


@dataclass
class _Layer(_Steps):
    """What one check has seen in one layer: the most that was counted, and the largest."""

    count: int = 0
    largest: float = 0.0


@dataclass
class _Check:
    """What one check has seen, over all layers and layer by layer; `steps` of errors alone are told."""

    severity: Severity
    whole: _Steps
    layers: dict[str, _Layer] = field(default_factory=dict)


class Sightings:
    """Every check that has seen something, in the order in which they first did."""

    def __init__(self) -> None:
        self._checks: dict[str, _Check] = {}
        self._sizes: dict[tuple[str, str], int] = {}

    def enter(self, check: str, severity: Severity, layer: str, step: int, count: int, largest: float) -> None:
        """A look at step `step` found `count` entries of `layer`; 0 where it goes on and was not counted again."""
        seen = self._checks.setdefault(check, _Check(severity, _Steps(step)))
        of_layer = seen.layers.setdefault(layer, _Layer(step))
        seen.whole.at(step)
        of_layer.at(step)
        of_layer.count = max(count, of_layer.count)
        of_layer.largest = max(largest, of_layer.largest)

    def has(self, check: str, layer: str) -> bool:
        """Whether the check has seen something in the layer."""
        return check in self._checks and layer in self._checks[check].layers

    def grows(self, check: str, layer: str, size: int) -> bool:
        """Whether `size`, the bits of the largest entry now, is above all before it, which it then replaces."""
        most = self._sizes.get((check, layer), 0)
        self._sizes[check, layer] = max(size, most)
        return size > most

    def withdraw(self, layer: str) -> None:
        """Forget the layer. Where others stay, the steps are those of the layer that showed it longest."""
        for check, seen in list(self._checks.items()):
            self._sizes.pop((check, layer), None)
            if seen.layers.pop(layer, None) is None:
                continue
            if not seen.layers:
                del self._checks[check]
                continue
            seen.whole.first_step = min(left.first_step for left in seen.layers.values())
            seen.whole.steps = max(left.steps for left in seen.layers.values())

    def findings(self, steps: int, assumed: Collection[str]) -> list[Finding]:
        """A finding for each check, of `steps` steps; an error says of which layers zeros were taken for pruned."""
        return [_finding(check, seen, steps, assumed) for check, seen in self._checks.items()]


_SENTENCES: dict[str, Callable[[int, str], str]] = {
    "resurrection": lambda n, size: (
        f"{n} pruned weights are not zero when they are used; the largest is {size}: "
        "apply the mask after every optimizer step"
    ),
    "non-finite": lambda n, size: (
        f"{n} pruned weights are inf or NaN, and stay so under a product with a mask: "
        "set them to zero instead (masked_fill_)"
    ),
    "masks-monotone": lambda n, size: (
        f"{n} weights that were pruned are kept again: prune among the weights that "
        "are still active, and hand masks from stage to stage"
    ),
    "gradients": lambda n, size: (
        f"gradients of {n} pruned weights are not zero at the step; the largest is {size}: clear them before clipping"
    ),
    "hidden-weights": lambda n, size: (
        f"{n} pruned weights moved under their mask; the largest is {size}: harmless "
        "while the mask is there, back as soon as it is removed or lost"
    ),
    "optimizer-state": lambda n, size: (
        f"the optimizer keeps state for {n} pruned weights; the largest is {size}: a "
        "step without enforcement moves them"
    ),
    "negative-zero": lambda n, size: (
        f"{n} pruned weights are −0.0, which a product with a mask leaves; it equals 0, and its bits do not"
    ),
}


def _finding(check: str, seen: _Check, steps: int, assumed: Collection[str]) -> Finding:
    whole, counts = seen.whole, {name: of_layer.count for name, of_layer in seen.layers.items()}
    count, size = sum(counts.values()), f"{max(of_layer.largest for of_layer in seen.layers.values()):.3g}"
    data = {"count": count, "layers": counts, "first_step": whole.first_step, "largest": size}
    if seen.severity != "note":
        data["steps"] = whole.steps
    if not whole.first_step:
        when = "before the first step"
    elif seen.severity == "note":
        when = f"first seen at step {whole.first_step}"
    else:
        first = f"from step {whole.first_step} on" if whole.steps > 1 else f"at step {whole.first_step}"
        when = f"{first}, {whole.steps} of {steps} steps"
    message = f"{_SENTENCES[check](count, size)} ({', '.join(counts)}; {when})"
    zeros = ", ".join(name for name in counts if name in assumed)
    if zeros and seen.severity == "error":
        message += (
            f"; what was zero in {zeros} when the watch began counts as pruned, since the model had no masks then: "
            "if it is not, name masks"
        )
    return Finding(check, seen.severity, message, data=data)
