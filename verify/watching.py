"""The checks of masks, live: around any `torch.optim` optimizer, whatever library did the pruning.

Knows modules, masks and optimizers; changes none of them. Where a model keeps its masks is `verify.places`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from verify.findings import Finding, Severity, Verdict
from verify.places import Place, find_places

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class PruningFaultError(AssertionError):
    """What was pruned did not stay pruned; the message lists each fault."""


def watch(
    model: Any, optimizer: torch.optim.Optimizer, masks: Any = None, *, gradients: bool = False, raises: bool = True
) -> Watch:
    """Check, while the `with` block trains `model`, that pruned weights stay pruned and masks only shrink.

    Each step of `optimizer` is judged when the weights are next used, so that masks may be applied after the step: at
    the next forward pass of `model`, the next step, or the end of the block, whichever is first. The block's code
    stays as it is. What is found:

    - `resurrection` (error): a pruned weight is not zero where the network uses it.
    - `non-finite` (error): a pruned weight, or the hidden one under its mask, is inf or NaN (inf · 0 is NaN).
    - `masks-monotone` (error): a weight that was pruned is kept again by the model's own masks.
    - `gradients` (error): asked for with `gradients`, the gradient of a pruned weight is not zero at a step.
    - `hidden-weights` (note): under a mask (`weight_orig`) the pruned weights moved; losing the mask revives them.
    - `optimizer-state` (note): the optimizer holds momentum or the like for pruned weights; a step without
      enforcement would move them.
    - `negative-zero` (note): pruned weights are −0.0, which a product with a mask leaves; equal to 0, not in its bits.

    Args:
        model: A `torch.nn.Module`, or `spinn.model.Network`.
        optimizer: The one whose steps are judged.
        masks: None: those that `model` holds by torch.nn.utils.prune or torch.ao.pruning; of other weights with at
            least two dimensions, the entries that are exactly zero now count as pruned. Or `spinn.masks.Masks`, or a
            dict from parameter name to a mask of its shape, of 0 and 1. They are read again at every step.
        gradients: Whether gradients of pruned weights have to be zero when the optimizer steps.
        raises: Whether leaving the block raises `PruningFaultError` where an error was found. An exception of the
            block itself always comes first.

    Raises:
        InputError: a mask names no parameter, or has another shape or other values than 0 and 1.
    """
    return Watch(model, optimizer, find_places(model, masks), gradients=gradients, raises=raises)


@dataclass
class _Seen:
    """What one check found so far: first and last step, how many steps, and the most that one look counted."""

    severity: Severity
    first_step: int
    steps: int = 0
    last_step: int = 0
    count: int = 0
    largest: float = 0.0
    layers: dict[str, int] = field(default_factory=dict)


class _Guard:
    """One weight: which of its entries are pruned, as bits to test tensors with."""

    def __init__(self, place: Place) -> None:
        self.place = place
        weight = place.read()
        mask = weight.mask if weight.mask is not None else weight.leaf.detach() != 0
        self.kept = mask.detach() != 0
        self._mask = None if weight.mask is None else weight.mask.detach().clone()
        self._bits: dict[torch.dtype, Tensor] = {}
        self._scratch: dict[torch.dtype, Tensor] = {}

    @property
    def pruned(self) -> int:
        """How many entries are pruned."""
        return int((~self.kept).sum())

    def shrink(self, mask: Tensor | None) -> int:
        """Take over the mask as it is now; returns how many pruned entries it keeps again."""
        if mask is None:
            return 0
        if self._mask is not None and mask.dtype == self._mask.dtype and torch.equal(mask, self._mask):
            return 0
        self._mask = mask.detach().clone()
        now = mask != 0
        grown = int((now & ~self.kept).sum())
        self.kept = self.kept & now  # what came back stays watched
        self._bits.clear()
        return grown

    def largest(self, tensor: Tensor) -> int:
        """Magnitude bits of the largest pruned entry of `tensor`: 0 if all are zero, at least inf's if not finite.

        Without their sign the bits of floats are ordered as their magnitudes are, NaN above inf (IEEE 754), so a
        single pass over integers answers both questions.
        """
        integer = _INTEGERS[tensor.dtype.itemsize]
        if integer not in self._bits:
            self._bits[integer] = torch.where(self.kept, 0, torch.iinfo(integer).max).to(integer)
            self._scratch[integer] = torch.empty_like(self._bits[integer])
        if not tensor.numel():
            return 0
        return int(torch.bitwise_and(tensor.view(integer), self._bits[integer], out=self._scratch[integer]).amax())

    def of(self, tensor: Tensor) -> Tensor:
        """The pruned entries."""
        return tensor.detach()[~self.kept]


def _inf_bits(dtype: torch.dtype) -> int:
    return int(torch.tensor(torch.inf, dtype=dtype).view(_INTEGERS[dtype.itemsize]))


class Watch:
    """What `watch` gives: a context manager whose `verdict` and `steps` can be read at any time."""

    def __init__(
        self, model: Any, optimizer: torch.optim.Optimizer, places: list[Place], *, gradients: bool, raises: bool
    ) -> None:
        self.steps = 0
        """How many steps of the optimizer were seen."""
        self._model, self._optimizer = model, optimizer
        self._gradients, self._raises = gradients, raises
        self._guards = [_Guard(place) for place in places]
        self._seen: dict[str, _Seen] = {}
        self._due = False  # a step was taken, and not judged yet
        self._hooks: list[Any] = []

    def __enter__(self) -> Watch:
        """Begin to watch."""
        self._hooks = [
            self._optimizer.register_step_pre_hook(self._before_step),
            self._optimizer.register_step_post_hook(self._after_step),
        ]
        if isinstance(self._model, torch.nn.Module):
            self._hooks.append(self._model.register_forward_pre_hook(lambda *_: self._judge()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Judge the last step, let go of model and optimizer, and raise if a fault was found."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if kind is not None:
            return  # the model may be half-way through a step
        self._judge(thoroughly=True)
        if self._raises and not self.verdict.holds:
            errors = [finding for finding in self.verdict.findings if finding.severity == "error"]
            raise PruningFaultError("\n".join(f"{finding.check}: {finding.message}" for finding in errors))

    @property
    def verdict(self) -> Verdict:
        """What was found so far."""
        findings = [_finding(check, seen, self.steps) for check, seen in self._seen.items()]
        if not any(guard.pruned for guard in self._guards):
            findings.append(Finding("nothing-watched", "note", "no weight of the model is pruned: nothing to watch"))
        if not self.steps:
            findings.append(Finding("nothing-watched", "note", "the optimizer took no step"))
        return Verdict(tuple(findings))

    # --- hooks ------------------------------------------------------------------------------------------------------

    def _before_step(self, *_: Any) -> None:
        self._judge()
        if self._gradients:
            with torch.no_grad():
                for guard in self._guards:
                    gradient = guard.place.read().leaf.grad
                    if gradient is not None and guard.largest(gradient):
                        self._note("gradients", "error", guard, gradient, self.steps + 1)

    def _after_step(self, *_: Any) -> None:
        self.steps += 1
        self._due = True

    def _judge(self, *, thoroughly: bool = False) -> None:
        """Look at everything once, if a step was taken since; `thoroughly` counts again what was found before."""
        if not self._due and not thoroughly:
            return
        self._due = False
        with torch.no_grad():
            for guard in self._guards:
                self._look(guard, thoroughly)

    def _look(self, guard: _Guard, thoroughly: bool) -> None:
        weight = guard.place.read()
        grown = guard.shrink(weight.mask)
        if grown:
            self._enter("masks-monotone", "error", guard.place.name, grown)
        largest = guard.largest(weight.leaf)
        if largest >= _inf_bits(weight.leaf.dtype):
            pruned = guard.of(weight.leaf)
            self._enter("non-finite", "error", guard.place.name, int((~torch.isfinite(pruned)).sum()))
        if largest and weight.masked:
            self._note("hidden-weights", "note", guard, weight.leaf, self.steps, thoroughly)
        elif largest:
            self._note("resurrection", "error", guard, weight.leaf, self.steps, thoroughly)
        for kept in self._optimizer.state.get(weight.leaf, {}).values():
            per_weight = isinstance(kept, Tensor) and kept.shape == weight.leaf.shape
            if per_weight and guard.largest(kept):
                self._note("optimizer-state", "note", guard, kept, self.steps, thoroughly)
        if not weight.masked and (thoroughly or self.steps == 1):
            self._zeros(guard, weight.leaf)

    def _zeros(self, guard: _Guard, leaf: Tensor) -> None:
        pruned = guard.of(leaf)
        negative = int(((pruned == 0) & torch.signbit(pruned)).sum())
        if negative:
            self._enter("negative-zero", "note", guard.place.name, negative)

    # --- what was seen ----------------------------------------------------------------------------------------------

    def _note(
        self, check: str, severity: Severity, guard: _Guard, tensor: Tensor, step: int, thoroughly: bool = False
    ) -> None:
        """Count in full the first time that a layer shows a fault, and at the end; in between, that it goes on."""
        name, seen = guard.place.name, self._seen.get(check)
        if seen is not None and name in seen.layers and not thoroughly:
            self._enter(check, severity, name, seen.layers[name], seen.largest, step)
            return
        pruned = guard.of(tensor)
        wrong = pruned[pruned != 0]
        finite = wrong[torch.isfinite(wrong)].abs()
        self._enter(check, severity, name, wrong.numel(), float(finite.max()) if finite.numel() else 0.0, step)

    def _enter(
        self, check: str, severity: Severity, name: str, count: int, largest: float = 0.0, step: int | None = None
    ) -> None:
        step = self.steps if step is None else step
        seen = self._seen.setdefault(check, _Seen(severity, step))
        seen.steps += step != seen.last_step
        seen.last_step = step
        seen.layers[name] = max(count, seen.layers.get(name, 0))
        seen.count = sum(seen.layers.values())
        seen.largest = max(seen.largest, largest)


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


def _finding(check: str, seen: _Seen, steps: int) -> Finding:
    size = f"{seen.largest:.3g}"
    where = ", ".join(seen.layers)
    when = f"from step {seen.first_step} on" if seen.steps > 1 else f"at step {seen.first_step}"
    message = f"{_SENTENCES[check](seen.count, size)} ({where}; {when}, {seen.steps} of {steps} steps)"
    data = {"count": seen.count, "layers": dict(seen.layers), "first_step": seen.first_step, "steps": seen.steps}
    return Finding(check, seen.severity, message, data={**data, "largest": size})
