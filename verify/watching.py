"""The checks of masks, live: around any `torch.optim` optimizer, whatever library did the pruning.

Knows modules, masks and optimizers; changes none of them. Where a model keeps its masks is `verify.places`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from spinn.errors import one_line
from verify.findings import Finding, Severity, Verdict
from verify.guard import Guard, Room, inf_bits
from verify.places import Place, Weight, find_places, why_unreadable
from verify.sightings import Sightings


class PruningFaultError(AssertionError):
    """What was pruned did not stay pruned; the message lists each fault."""


def watch(
    model: Any, optimizer: torch.optim.Optimizer, masks: Any = None, *, gradients: bool = False, raises: bool = True
) -> Watch:
    """Check, while the `with` block trains `model`, that pruned weights stay pruned and masks only shrink.

    Each step of `optimizer` is judged when the weights have next been used, so that masks may be applied after the step
    or by the layers themselves: each weight after the next call of its module or of `model`, at the next step, or at
    the end of the block, whichever is first. The block's code stays as it is.

    A call that no hook sees is judged at the next step, when a loop that enforces masks before it, instead of after,
    looks sound: what torch.compile made of `model` (watch the compiled module instead), torch.func.functional_call
    under a transform or with other parameters, and functions that use a weight without its module. Modules that are
    added inside the block are not watched. What is found:

    - `resurrection` (error): a pruned weight is not zero where the network uses it.
    - `non-finite` (error): a pruned weight, or the hidden one under its mask, is inf or NaN (inf · 0 is NaN).
    - `masks-monotone` (error): a weight that was pruned is kept again by its mask, at every step at which it is.
    - `gradients` (error): asked for with `gradients`, the gradient of a pruned weight is not zero at a step.
    - `hidden-weights` (note): under a mask (`weight_orig`) the pruned weights are not what they were when they were
      pruned, nor zero; losing the mask revives them.
    - `optimizer-state` (note): the optimizer holds momentum or the like for pruned weights; a step without
      enforcement would move them. Unchecked where it keeps state that is not per weight.
    - `negative-zero` (note): pruned weights are −0.0, which a product with a mask leaves; equal to 0, not in its bits.

    A finding has the layers, how many entries of each, the largest of them, and the first step; an error also the
    number of steps that showed it, and the largest of all steps. Entries are counted when a layer first shows an error,
    whenever the largest grows, and at the end; the most of these is told. What is only noted is looked for until a
    layer shows it, and counted then and at the end; where an optimizer keeps several tensors for a weight, a step looks
    at one of them, in turn, and the end at all.

    Args:
        model: A `torch.nn.Module`, or `spinn.model.Network`.
        optimizer: The one whose steps are judged.
        masks: Those that `model` does not hold itself: `spinn.masks.Masks`, or a dict from parameter name to a mask of
            its shape, of 0 and 1. They are read again at every step, and names that are new then are taken up; {} where
            all are yet to come. Masks that `model` holds, by torch.nn.utils.prune or torch.ao.pruning, are watched
            whatever is named here. None, and as long as `model` shows no mask either: what is exactly zero now counts
            as pruned, in parameters with at least two dimensions that are not zero throughout, as a layer is that
            begins at zero. With the first mask this ends for every weight without one, and what was found of it is
            withdrawn; a weight that gets the mask stays pruned where it was zero.
        gradients: Whether gradients of pruned weights have to be zero when the optimizer steps.
        raises: Whether leaving the block raises `PruningFaultError` where an error was found. An exception of the
            block itself always comes first.

    Raises:
        InputError: a mask names no parameter, or one whose mask the model holds, or has another shape or other values
            than 0 and 1; or the model is scripted by torch.jit.
    """
    places = find_places(model, masks)
    return Watch(model, optimizer, places, zeros_count=masks is None, gradients=gradients, raises=raises)


class _Hook:
    """A module's hook that is left behind where the module is pickled, copied, compiled, traced or exported."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __call__(self, *_: Any) -> None:
        traced = torch.compiler.is_compiling() or torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]
        if not traced:
            self._call()

    def __reduce__(self) -> tuple[Any, ...]:
        # takes whatever a hook is given, does nothing, and is loaded where this project is not installed
        return getattr, (contextlib.nullcontext(), "__exit__")

    @property
    def __name__(self) -> str:
        """What torch.jit.script asks for first."""
        raise AttributeError("torch.jit.script cannot compile the hook of verify.watch: script outside the block")


class Watch:
    """What `watch` gives: a context manager whose `verdict` and `steps` can be read at any time."""

    def __init__(
        self,
        model: Any,
        optimizer: torch.optim.Optimizer,
        places: list[Place],
        *,
        zeros_count: bool,
        gradients: bool,
        raises: bool,
    ) -> None:
        self.steps = 0
        """How many steps of the optimizer were seen."""
        self._model, self._optimizer = model, optimizer
        self._gradients, self._raises = gradients, raises
        unread = {place.name: why_unreadable(place.read().leaf) for place in places}
        self._unread = {name: why for name, why in unread.items() if why}
        places = [place for place in places if place.name not in self._unread]
        self._masked = any(place.read().mask is not None for place in places)  # or was so at any look
        self._zeros_count = zeros_count
        room: Room = {}
        self._guards = [Guard(place, room, zeros_count=zeros_count and not self._masked) for place in places]
        self._seen = Sightings()
        self._due: dict[Guard, None] = {}  # a step was taken, and these were not judged yet
        self._stepping = False
        self._hooks: list[Any] = []

    def __enter__(self) -> Watch:
        """Begin to watch."""
        self._hooks = [
            self._optimizer.register_step_pre_hook(self._before_step),
            self._optimizer.register_step_post_hook(self._after_step),
        ]
        if isinstance(self._model, torch.nn.Module):
            # the parts as well: they may be called by themselves, or through `model.forward`
            owners = [guard.place.owner for guard in self._guards]
            for part in dict.fromkeys([self._model, *(owner for owner in owners if owner is not None)]):
                self._hooks.append(part.register_forward_hook(_Hook(partial(self._use, part))))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Judge the last step, let go of model and optimizer, and raise if a fault was found."""
        for hook in self._hooks:
            hook.remove()
        if kind is not None:
            return  # the model may be half-way through a step
        self._judge(self._guards, thoroughly=True)
        if self._raises and not self.verdict.holds:
            errors = [finding for finding in self.verdict.findings if finding.severity == "error"]
            raise PruningFaultError("\n".join(f"{finding.check}: {one_line(finding.message)}" for finding in errors))

    @property
    def verdict(self) -> Verdict:
        """What was found so far."""
        findings = self._seen.findings(self.steps, {guard.place.name for guard in self._guards if guard.assumed})
        if not any(guard.pruned for guard in self._guards):
            message = "no weight that the model had when the watch began is pruned: nothing to watch"
            findings.append(Finding("nothing-watched", "note", message))
        if left := {guard.place.name: guard.zeros for guard in self._guards if guard.zeros and not guard.pruned}:
            named = ", ".join(f"{name} ({count})" for name, count in left.items())
            message = f"zeros of {named} are not watched, since {self._why_zeros_are_left()}; name theirs in masks"
            findings.append(Finding("nothing-watched", "note", message, data={"layers": left}))
        if self._unread:
            named = ", ".join(f"{name} ({why})" for name, why in self._unread.items())
            message = f"{named}: not looked at, since there are no bits to compare; the other weights are"
            findings.append(Finding("resurrection", "unchecked", message, data={"layers": self._unread}))
        if strange := self._strange_state():
            message = f"{strange}: not looked at, since it is not kept weight by weight; the weights are"
            findings.append(Finding("optimizer-state", "unchecked", message))
        if not self.steps:
            findings.append(Finding("nothing-watched", "note", "the optimizer took no step"))
        return Verdict(tuple(findings))

    def _why_zeros_are_left(self) -> str:
        if self._masked:
            return "other weights have masks"
        return "a layer that is zero throughout may begin so" if self._zeros_count else "masks has none of them yet"

    def _strange_state(self) -> str:
        """What the optimizer keeps for a matrix, or for the whole network, of parameters that are watched."""
        keys = {
            str(key)
            for group in self._optimizer.param_groups
            for leaf in group["params"]
            for key, value in self._optimizer.state.get(leaf, {}).items()
            if isinstance(value, list | dict) or (isinstance(value, Tensor) and value.shape not in ((), leaf.shape))
        }
        return f"state of {type(self._optimizer).__name__} ({', '.join(sorted(keys))})" if keys else ""

    # --- hooks ------------------------------------------------------------------------------------------------------

    def _before_step(self, *_: Any) -> None:
        self._stepping = True
        self._judge(self._due)
        if self._gradients:
            with torch.inference_mode(False), torch.no_grad():
                for guard in (guard for guard in self._guards if guard.pruned):
                    gradient = guard.place.read().leaf.grad
                    gradient = gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient
                    if gradient is not None and (size := guard.largest(gradient)):
                        wrong = partial(guard.nonzero, gradient)
                        self._note("gradients", "error", guard, wrong, size, step=self.steps + 1)

    def _after_step(self, *_: Any) -> None:
        self.steps += self._stepping  # once, where a step calls that of the class below it
        self._stepping = False
        self._due = dict.fromkeys(self._guards)

    def _use(self, module: torch.nn.Module) -> None:
        """Judge what `module` was just used with, unless others stood in for its weights."""
        if self._due:
            used = (guard for guard in self._due if module in (self._model, guard.place.owner))
            self._judge(used, in_use=True)

    def _judge(self, guards: Iterable[Guard], *, in_use: bool = False, thoroughly: bool = False) -> None:
        """Look at each once; `thoroughly` counts again what was found before."""
        # not in inference mode, whose tensors could not be written to by the next look
        with torch.inference_mode(False), torch.no_grad():
            for guard in list(guards):
                weight = guard.place.read()
                if in_use and weight.leaf is not guard.leaf:
                    continue  # torch.func.functional_call: the step stays to be judged
                guard.leaf = weight.leaf
                self._due.pop(guard, None)
                self._look(guard, weight, thoroughly)

    def _look(self, guard: Guard, weight: Weight, thoroughly: bool) -> None:
        if weight.mask is not None and not self._masked:
            self._withdraw_zeros()
        grown = guard.shrink(weight)
        if grown:
            self._enter("masks-monotone", "error", guard.place.name, grown)
        if not guard.pruned:
            return
        # what is but noted is looked for until a layer shows it, and counted at the end
        known = not thoroughly and self._has("hidden-weights", guard)
        state = self._state(weight.leaf) if thoroughly or not self._has("optimizer-state", guard) else []
        if state and not thoroughly:
            state = [state[self.steps % len(state)]]  # state stays from step to step: one in turn is soon enough
        if not (known or thoroughly or self.steps == 1) and guard.is_quiet(weight, state):
            return
        moved = weight.masked and (known or guard.has_moved(weight.leaf))
        if moved and not known:
            self._hidden(guard, weight.leaf)
        largest = guard.largest_before if weight.masked and not moved else guard.largest(weight.leaf)
        if largest and largest >= inf_bits(weight.leaf.dtype):
            pruned = guard.of(weight.leaf)
            self._enter("non-finite", "error", guard.place.name, int((~torch.isfinite(pruned)).sum()))
        if largest and not weight.masked:
            wrong = partial(guard.nonzero, weight.leaf)
            self._note("resurrection", "error", guard, wrong, largest, thoroughly=thoroughly)
        for kept in state:
            if size := guard.largest(kept):
                wrong = partial(guard.nonzero, kept)
                self._note("optimizer-state", "note", guard, wrong, size, thoroughly=thoroughly)
        if not weight.masked and (thoroughly or self.steps == 1):
            self._zeros(guard, weight.leaf)

    def _withdraw_zeros(self) -> None:
        """Where the first mask appears, zeros of weights without one are no pruning, as beside masks from the start.

        A weight that has a mask now is pruned after all, and what was zero in it stays so.
        """
        self._masked = True
        for guard in self._guards:
            if guard.assumed and guard.place.read().mask is None:
                guard.forget_zeros()
                self._seen.withdraw(guard.place.name)

    def _hidden(self, guard: Guard, leaf: Tensor) -> None:
        """Count what moved under a mask, for the first time or at the end; what moved to zero is settled."""
        moved = guard.moved(leaf)
        if moved.numel():
            self._enter("hidden-weights", "note", guard.place.name, moved.numel(), _largest(moved))
        else:
            guard.settle(leaf)

    def _state(self, leaf: Tensor) -> list[Tensor]:
        """What the optimizer keeps for each entry of a weight."""
        kept = self._optimizer.state.get(leaf, {}).values()
        return [tensor for tensor in kept if isinstance(tensor, Tensor) and tensor.shape == leaf.shape]

    def _zeros(self, guard: Guard, leaf: Tensor) -> None:
        negative = guard.negative_zeros(leaf)
        if negative:
            self._enter("negative-zero", "note", guard.place.name, negative)

    # --- what was seen ----------------------------------------------------------------------------------------------

    def _note(
        self,
        check: str,
        severity: Severity,
        guard: Guard,
        wrong: Callable[[], Tensor],
        size: int,
        *,
        thoroughly: bool = False,
        step: int | None = None,
    ) -> None:
        """Count the `wrong` entries when a layer first has some, when the largest grows (`size`, bits), and at the end.

        In between, only that it goes on.
        """
        name = guard.place.name
        if not self._seen.grows(check, name, size) and not thoroughly:
            self._enter(check, severity, name, 0, step=step)
            return
        entries = wrong()
        self._enter(check, severity, name, entries.numel(), _largest(entries), step)

    def _has(self, check: str, guard: Guard) -> bool:
        return self._seen.has(check, guard.place.name)

    def _enter(
        self, check: str, severity: Severity, name: str, count: int, largest: float = 0.0, step: int | None = None
    ) -> None:
        self._seen.enter(check, severity, name, self.steps if step is None else step, count, largest)


def _largest(entries: Tensor) -> float:
    """The largest finite magnitude."""
    finite = entries[torch.isfinite(entries)].abs()
    return float(finite.max()) if finite.numel() else 0.0
