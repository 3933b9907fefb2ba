"""Faults of the pruner and of the masks: which weights go, and what holds them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any
from unittest import mock

import torch

from spinn import attribution, cohort, masks, model, neurons, pruning, step, training
from verify.faults.mutant import EXPERIMENT, NEURONS, Mutant, Patches, rolled_back

THIN = EXPERIMENT.replace("0.31", "0.60").replace("0.24", "0.60")  # leaves neurons that nothing reaches
LAYERWISE = EXPERIMENT.replace("global-magnitude", "layerwise-magnitude")
RANDOM = EXPERIMENT.replace("global-magnitude", "random")
FIRST_ORDER = NEURONS.replace("neurons-incoming", "neurons-first-order")


def _restarting_thresholds() -> Patches:
    """Each stage ranks all weights again, zeros included."""
    sound = pruning.global_magnitude

    def prune(network: Any, current: masks.Masks, count: Any, allow_empty_layer: bool = False) -> masks.Masks:
        return sound(network, masks.Masks.ones_like(network), count, allow_empty_layer)

    return [mock.patch.object(pruning, "global_magnitude", prune)]


def _pruned_ranked_too() -> Patches:
    """Weights that are already pruned are ranked again, and count among those that go."""
    sound = pruning._keep_largest

    def keep(network: Any, current: masks.Masks, counts: Sequence[int]) -> masks.Masks:
        chosen = sound(network, masks.Masks.ones_like(network), counts)
        return masks.Masks(tuple(new & old for new, old in zip(chosen.layers, current.layers, strict=True)))

    return [mock.patch.object(pruning, "_keep_largest", keep)]


def _off_by_one() -> Patches:
    """One weight fewer goes than planned."""
    sound = pruning.global_magnitude
    return [mock.patch.object(pruning, "global_magnitude", lambda n, m, count, *rest: sound(n, m, count - 1, *rest))]


class _Idle(masks.Enforcer):
    """Nothing holds the masks."""

    def weights(self) -> None:
        """Nothing."""

    def gradients(self) -> None:
        """Nothing."""

    def state(self) -> None:
        """Nothing."""


class _Once(masks.Enforcer):
    """Pruned weights are set to zero once, before fine-tuning."""

    _done = False

    def weights(self) -> None:
        """The first time only."""
        if not self._done:
            super().weights()
        self._done = True

    def gradients(self) -> None:
        """Nothing."""

    def state(self) -> None:
        """Nothing."""


class _Multiplying(masks.Enforcer):
    """Pruned weights are multiplied by their mask after every step: a negative one becomes −0.0."""

    def __init__(self, network: Any, held: masks.Masks, optimizer: Any = None) -> None:
        super().__init__(network, held, optimizer)
        pairs = list(zip(network.weights, held.layers, strict=True))

        @torch.no_grad()
        def multiply(*_: Any) -> None:
            for weight, mask in pairs:
                weight.mul_(mask)

        optimizer.register_step_post_hook(multiply)

    def weights(self) -> None:
        """Nothing."""

    def gradients(self) -> None:
        """Nothing."""

    def state(self) -> None:
        """Nothing."""


def _enforcer(wrong: type[masks.Enforcer]) -> Patches:
    return [mock.patch.object(step, "Enforcer", wrong)]


def _layer_by_layer() -> Patches:
    """Each layer is ranked by itself and loses its share; the sum is as planned."""
    sound = pruning._keep_largest

    def keep(network: Any, current: masks.Masks, counts: Sequence[int]) -> masks.Masks:
        chosen = []
        left, active = list(counts), current.kept()
        for index, mask in enumerate(current.layers):
            last = index == len(current.layers) - 1
            here = mask.sum(dim=(1, 2)).tolist()
            share = [left[r] if last else round(Fraction(counts[r] * here[r], active[r])) for r in range(len(counts))]
            left = [total - gone for total, gone in zip(left, share, strict=True)]
            one = pruning.Network([network.weights[index]], [network.biases[index]])
            chosen.append(sound(one, masks.Masks((mask,)), share).layers[0])
        return masks.Masks(tuple(chosen))

    return [mock.patch.object(pruning, "_keep_largest", keep)]


def _signed() -> Patches:
    """Weights are ranked by their value, not by its size: the most negative ones go first."""
    sound = pruning._keep_largest

    def keep(network: Any, current: masks.Masks, counts: Sequence[int]) -> masks.Masks:
        lowest = min(float(weight.min()) for weight in network.weights)
        return sound(pruning.Network([weight - lowest for weight in network.weights], network.biases), current, counts)

    return [mock.patch.object(pruning, "_keep_largest", keep)]


def _one_threshold() -> Patches:
    """The pruner that ranks each layer by itself ranks all layers together; the sum is as planned."""

    def prune(network: Any, current: masks.Masks, stage: Any) -> masks.Masks:
        return pruning.global_magnitude(network, current, stage.pruned)

    return [mock.patch.object(pruning, "layerwise_magnitude", prune)]


def _largest_gone() -> Patches:
    """The largest magnitudes go in place of the smallest, as many as planned."""
    sound = pruning._smallest

    def largest(magnitudes: torch.Tensor, count: int) -> torch.Tensor:
        return sound(torch.where(magnitudes.isinf(), magnitudes, -magnitudes), count)

    return [mock.patch.object(pruning, "_smallest", largest)]


def _random_by_magnitude() -> Patches:
    """What is called random takes the smallest weights."""

    def prune(network: Any, current: masks.Masks, count: int, *_: Any) -> masks.Masks:
        return pruning.global_magnitude(network, current, count)

    return [mock.patch.object(pruning, "random", prune)]


def _same_draw() -> Patches:
    """All runs draw with the seed of the first one."""
    sound = pruning.keep_at_random

    def keep(current: masks.Masks, counts: Sequence[int], seeds: Sequence[int], stage: int) -> masks.Masks:
        return sound(current, counts, [seeds[0]] * len(seeds), stage)

    return [mock.patch.object(pruning, "keep_at_random", keep)]


def _complimented() -> Patches:
    """A random choice is said to have left what physics needs, and to have removed what it does not."""
    sound = attribution.measure

    def measure(*arguments: Any) -> list[dict[str, float]]:
        return [{**areas, "physics_pruner": areas["physics_magnitude"]} for areas in sound(*arguments)]

    return [mock.patch.object(attribution, "measure", measure)]


def _drawn_anew() -> Patches:
    """At each stage masks of the right size are made anew; they know nothing of the ones before."""
    sound = pruning.global_magnitude

    def prune(network: Any, current: masks.Masks, count: int, allow_empty_layer: bool = False) -> masks.Masks:
        everything = masks.Masks.ones_like(network)
        draw = torch.Generator().manual_seed(count)
        weights = [torch.rand(weight.shape, generator=draw) for weight in network.weights]
        gone = everything.kept()[0] - current.kept()[0] + count
        return sound(pruning.Network(weights, network.biases), everything, gone, allow_empty_layer)

    return [mock.patch.object(pruning, "global_magnitude", prune)]


def _at_least() -> Patches:
    """`>=` for `>`: what equals the threshold stays, the weight that gave it among them."""

    def smallest(magnitudes: torch.Tensor, count: int) -> torch.Tensor:
        threshold = torch.topk(magnitudes, count, largest=False).values.max()
        return ~(magnitudes >= threshold)

    return [mock.patch.object(pruning, "_smallest", smallest)]


class _Early(masks.Enforcer):
    """Masks are applied before the step instead of after it."""

    _begun = False

    def gradients(self) -> None:
        """The weights, while the gradients stay as they are."""
        super().weights()

    def weights(self) -> None:
        """Before the first step only."""
        if not self._begun:
            super().weights()
        self._begun = True

    def state(self) -> None:
        """Nothing."""


class _OnGradients(masks.Enforcer):
    """Gradients are masked and nothing else."""

    def weights(self) -> None:
        """Nothing."""

    def state(self) -> None:
        """Nothing."""


class _MomentumKept(masks.Enforcer):
    """Pruned weights are set to zero once, their gradients masked; the momentum that they had stays."""

    _done = False

    def weights(self) -> None:
        """The first time only."""
        if not self._done:
            super().weights()
        self._done = True

    def state(self) -> None:
        """Nothing."""


def _momentum_kept() -> Patches:
    """The optimizer goes on from stage to stage with its momentum, and only gradients are masked."""
    sound = step._optimizer
    kept: list[list[dict[str, Any]]] = []

    def optimizer(network: Any, coefficients: Any, settings: Any) -> torch.optim.Adam:
        made = sound(network, coefficients, settings)
        leaves = [leaf for group in made.param_groups for leaf in group["params"]]
        for leaf, state in zip(leaves, kept[0] if kept else [], strict=False):
            made.state[leaf] = state
        kept[:] = [[made.state[leaf] for leaf in leaves]]
        return made

    return [mock.patch.object(step, "_optimizer", optimizer), *_enforcer(_MomentumKept)]


class _BiasesToo(masks.Enforcer):
    """The bias of the first neuron is held at zero as well."""

    def __init__(self, network: Any, held: masks.Masks, optimizer: Any = None) -> None:
        super().__init__(network, held, optimizer)
        self._biases = list(network.biases)

    def gradients(self) -> None:
        """Of weights, and of the biases, which are held at zero."""
        super().gradients()
        with torch.no_grad():
            for bias in self._biases:
                bias[:, 0] = 0.0
                if bias.grad is not None:
                    bias.grad[:, 0] = 0.0


def _at_epoch_ends() -> Patches:
    """Masks are applied when an epoch begins; what its steps bring back is kept with the best weights."""
    sound = step.Steps.epoch

    def epoch(self: Any, draws: Any) -> torch.Tensor:
        held, self.enforcer = self.enforcer, None
        if held is not None:
            held.weights()
        try:
            return sound(self, draws)
        finally:
            self.enforcer = held

    return [mock.patch.object(step.Steps, "epoch", epoch)]


def _lost_on_load() -> Patches:
    """A network that is read from its checkpoint comes without its masks."""
    sound = cohort.from_checkpoints
    return [mock.patch.object(cohort, "from_checkpoints", lambda *arguments: (sound(*arguments)[0], None))]


def _unmasked_best() -> Patches:
    """The best weights of a stage are put back over the dense ones: where they are zero, the old ones stay."""
    before: list[torch.Tensor] = []

    @torch.no_grad()
    def restore(self: Any) -> None:
        for kept, live, old in zip(self.kept, self.live, before or self.kept, strict=True):
            live.copy_(torch.where(kept == 0, old, kept))
        before[:] = [live.clone() for live in self.live]

    return [mock.patch.object(training._Best, "restore", restore)]


def _kept_by(wrong: Callable[[neurons.Score], neurons.Score]) -> Patches:
    """Neurons are ranked by something made of their scores."""
    sound = neurons.keep_neurons

    def keep(network: Any, widths: Sequence[int], score: neurons.Score, gradients: Any) -> Any:
        return sound(network, widths, wrong(score), gradients)

    return [mock.patch.object(pruning, "keep_neurons", keep)]


def _weakest_kept(score: neurons.Score) -> neurons.Score:
    """The neurons with the lowest scores stay."""
    return lambda *arguments: -score(*arguments)


def _magnitudes_summed(score: neurons.Score) -> neurons.Score:
    """What single weights would change is added up without its signs."""

    def unsigned(network: Any, layer: int, gradients: Any) -> torch.Tensor:
        stays, of_bias = network.biases[layer].tanh()[:, None], gradients[len(network.weights) + layer + 1][..., None]
        return (network.weights[layer + 1] * (stays * of_bias - gradients[layer + 1])).detach().abs().sum(1)

    return unsigned


def _numbered_anew() -> Patches:
    """Kept neurons are numbered as in the network of the stage before, not as in the dense one."""
    sound = pruning.PRUNERS["neurons-incoming"]

    def select(stack: pruning.Stack, *arguments: Any) -> pruning.Stack:
        return sound.select(replace(stack, neurons=None), *arguments)

    return [mock.patch.dict(pruning.PRUNERS, {sound.name: replace(sound, select=select)})]


def _not_folded() -> Patches:
    """A neuron that nothing reaches is removed, and what its bias adds is forgotten."""
    return [mock.patch.object(model, "_folded", lambda bias, alive, weight, following: following)]


FAULTS = (
    Mutant("restarting-thresholds", "ledger-achieved", _restarting_thresholds),
    Mutant("pruned-weights-ranked-too", "ledger-achieved", _pruned_ranked_too),
    Mutant("pruned-off-by-one", "ledger-achieved", _off_by_one),
    Mutant("at-least-for-above", "ledger-achieved", _at_least),
    Mutant("layer-by-layer", "magnitude-order", _layer_by_layer),
    Mutant("signed-ranking", "magnitude-order", _signed),
    Mutant("one-threshold-for-all-layers", "ledger-achieved", _one_threshold, LAYERWISE),
    Mutant("largest-of-each-layer-pruned", "magnitude-order", _largest_gone, LAYERWISE),
    Mutant("random-by-magnitude", "magnitude-order", _random_by_magnitude, RANDOM),
    Mutant("one-draw-for-all-runs", "magnitude-order", _same_draw, RANDOM),
    Mutant("pruning-linked-to-physics", "physics-recomputed", _complimented, RANDOM),
    Mutant("masks-made-anew", "masks-monotone", _drawn_anew),
    Mutant("masks-lost-on-load", "ledger-achieved", _lost_on_load, drive=rolled_back),
    Mutant("no-enforcement", "resurrection", partial(_enforcer, _Idle)),
    Mutant("enforced-once", "resurrection", partial(_enforcer, _Once)),
    Mutant("enforced-before-the-step", "resurrection", partial(_enforcer, _Early)),
    Mutant("enforced-between-epochs", "resurrection", _at_epoch_ends),
    Mutant("gradients-masked-only", "resurrection", partial(_enforcer, _OnGradients)),
    Mutant("momentum-kept", "resurrection", _momentum_kept),
    Mutant("masks-multiplied", "resurrection", partial(_enforcer, _Multiplying)),
    Mutant("best-weights-unmasked", "resurrection", _unmasked_best),
    Mutant("compacted-without-folding", "deployed-equals-masked", _not_folded, THIN),
    Mutant("biases-pruned", "biases-kept", partial(_enforcer, _BiasesToo)),
    Mutant("weakest-neurons-kept", "magnitude-order", partial(_kept_by, _weakest_kept), NEURONS),
    Mutant("first-order-unsigned", "magnitude-order", partial(_kept_by, _magnitudes_summed), FIRST_ORDER),
    Mutant("neurons-numbered-anew", "masks-monotone", _numbered_anew, NEURONS),
)
