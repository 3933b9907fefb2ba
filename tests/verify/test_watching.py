"""`verify.watch` holds where pruning holds, and says what came back where not: on real libraries and by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.utils import prune

import verify
from spinn.errors import InputError
from spinn.masks import Enforcer, Masks
from spinn.model import Network
from verify.findings import Finding

OPTIMIZERS: dict[str, Any] = {
    name: value
    for name, value in vars(torch.optim).items()
    if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
}
DENSE = sorted(OPTIMIZERS.keys() - {"SparseAdam", "LBFGS", "Muon"})
"""SparseAdam refuses dense gradients, LBFGS needs a closure, Muon takes single matrices."""


def perceptron() -> Any:
    """A small network with fixed weights, none of them zero."""
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))


def loss_of(model: Callable[..., Any], step: int) -> torch.Tensor:
    """A loss that differs from step to step."""
    x = torch.randn((32, 6), generator=torch.Generator().manual_seed(step))
    return (model(x) - x[:, :2].sin()).square().mean()


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3, after: Any = None) -> None:
    """A plain loop; `after` is called when a step was taken."""
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
        if after is not None:
            after()


def globally(model: torch.nn.Sequential, amount: float = 0.5) -> None:
    """Global magnitude pruning by torch.nn.utils.prune."""
    layers = [(layer, "weight") for layer in model if isinstance(layer, torch.nn.Linear)]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=amount)


def by_hand(model: torch.nn.Sequential) -> dict[str, torch.Tensor]:
    """Zero the smaller half of each weight, and give the masks, as a hand-written loop has them."""
    masks = {}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("weight"):
                masks[name] = weight.abs() > weight.abs().median()
                weight.masked_fill_(~masks[name], 0.0)
    return masks


def enforce(model: torch.nn.Sequential, masks: dict[str, torch.Tensor]) -> Callable[[], None]:
    """Sets pruned weights to zero."""

    def body() -> None:
        with torch.no_grad():
            for name, mask in masks.items():
                model.get_parameter(name).masked_fill_(~mask, 0.0)

    return body


def found(watched: Any) -> dict[str, Finding]:
    """Findings by their check; the last one of a name."""
    return {finding.check: finding for finding in watched.verdict.findings}


# --- torch.nn.utils.prune -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer_class",
    [
        lambda p: torch.optim.Adam(p, weight_decay=0.1),
        torch.optim.AdamW,
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
    ],
    ids=["adam-decay", "adamw", "sgd-momentum-decay"],
)
def test_torch_prune_used_rightly_holds_and_the_hidden_drift_is_a_note(optimizer_class: Any) -> None:
    """Under its mask `weight_orig` keeps moving at nearly every pruned position: harmless while the mask is there."""
    model = perceptron()
    globally(model)
    pruned = sum(int((buffer == 0).sum()) for buffer in model.buffers())
    optimizer = optimizer_class(model.parameters())
    with verify.watch(model, optimizer, gradients=True) as watched:
        train(model, optimizer)
    assert watched.verdict.holds
    drift = found(watched)["hidden-weights"]
    assert drift.severity == "note"
    assert drift.data["count"] > 0.95 * pruned
    assert watched.steps == 3


def test_pruning_lost_between_stages_fails() -> None:
    """`remove` inside the block: the last mask stays the measure, and every pruned weight is counted as it returns."""
    model = perceptron()
    globally(model)
    pruned = sum(int((buffer == 0).sum()) for buffer in model.buffers())
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer)
        for layer in (model[0], model[2]):
            prune.remove(layer, "weight")
        train(model, optimizer)
    assert not watched.verdict.holds
    back = found(watched)["resurrection"]
    assert back.data["count"] == pruned
    assert set(back.data["layers"]) == {"0.weight", "2.weight"}
    assert back.data["first_step"] == 4
    assert back.data["steps"] == 3


def test_leaving_the_block_raises_with_the_counts() -> None:
    """Without `raises=False` a fault ends the test or the run that it is in."""
    model = perceptron()
    globally(model)
    for layer in (model[0], model[2]):
        prune.remove(layer, "weight")
    optimizer = torch.optim.Adam(model.parameters())
    with (
        pytest.raises(verify.PruningFaultError, match=r"resurrection: 64 pruned weights are not zero"),
        verify.watch(model, optimizer),
    ):
        train(model, optimizer)


def test_pruning_that_begins_inside_the_block_is_watched() -> None:
    """A mask that appears is taken over; one that grows again is an error with its count."""
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer)
        globally(model)
        train(model, optimizer)
        assert watched.verdict.holds
        with torch.no_grad():
            model[0].weight_mask[:, 0] = 1.0
        train(model, optimizer)
    grown = found(watched)["masks-monotone"]
    assert 0 < grown.data["count"] <= 16
    assert list(grown.data["layers"]) == ["0.weight"]


def test_a_replaced_mask_that_keeps_more_is_found() -> None:
    """Pruning made anew, as the first version did, instead of going on from the mask before."""
    model = perceptron()
    globally(model, 0.6)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer)
        for layer in (model[0], model[2]):
            prune.remove(layer, "weight")
        globally(model, 0.3)
        train(model, optimizer)
    assert found(watched)["masks-monotone"].severity == "error"


@pytest.mark.parametrize("poison", [torch.inf, -torch.inf, torch.nan])
def test_inf_under_a_mask_is_an_error(poison: float) -> None:
    """Inf · 0 is NaN: the mask hides a finite weight only."""
    model = perceptron()
    globally(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer, steps=1)
        with torch.no_grad():
            model[0].weight_orig[model[0].weight_mask == 0] = poison
        optimizer.step()
    assert found(watched)["non-finite"].severity == "error"


# --- torch.ao.pruning -----------------------------------------------------------------------------------------------


def sparsified(model: torch.nn.Sequential) -> Any:
    """The model under a WeightNormSparsifier whose masks are made."""
    from torch.ao.pruning.sparsifier.weight_norm_sparsifier import WeightNormSparsifier

    sparsifier = WeightNormSparsifier(sparsity_level=0.5, sparse_block_shape=(1, 1), zeros_per_block=1)
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}, {"tensor_fqn": "2.weight"}])
    sparsifier.step()
    return sparsifier


def test_the_sparsifier_holds_while_it_is_there() -> None:
    """Its parametrization multiplies at each use; what lies under it may drift."""
    model = perceptron()
    sparsified(model)
    optimizer = torch.optim.AdamW(model.parameters())
    with verify.watch(model, optimizer) as watched:
        train(model, optimizer)
    assert "hidden-weights" in found(watched)


@pytest.mark.parametrize("inside", [False, True], ids=["squashed-before", "squashed-inside"])
def test_the_sparsifier_after_squash_mask_fails(inside: bool) -> None:
    """One Adam step after `squash_mask` makes the pruned weights nonzero."""
    model = perceptron()
    sparsifier = sparsified(model)
    kept = [layer.parametrizations.weight[0].mask != 0 for layer in (model[0], model[2])]
    if not inside:
        sparsifier.squash_mask()
    optimizer = torch.optim.Adam(model.parameters())
    with verify.watch(model, optimizer, raises=False) as watched:
        if inside:
            sparsifier.squash_mask()
        train(model, optimizer, steps=1)
    back = sum(int((layer.weight[~mask] != 0).sum()) for layer, mask in zip((model[0], model[2]), kept, strict=True))
    assert back > 32  # all but those into a neuron that nothing reads, whose gradient is zero
    assert found(watched)["resurrection"].data["count"] == back


# --- by hand --------------------------------------------------------------------------------------------------------


def test_masks_applied_after_each_step_hold() -> None:
    """Enforcement after `step()` is in time; the momentum that stays is a note."""
    model = perceptron()
    masks = by_hand(model)
    optimizer = torch.optim.Adam(model.parameters())
    with verify.watch(model, optimizer, masks) as watched:
        train(model, optimizer, after=enforce(model, masks))
    assert found(watched)["optimizer-state"].severity == "note"
    assert "resurrection" not in found(watched)


def test_masks_applied_at_the_end_only_fail() -> None:
    """The network has been used with weights that were pruned, whatever is done about them later."""
    model = perceptron()
    masks = by_hand(model)
    optimizer = torch.optim.Adam(model.parameters())
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer)
        enforce(model, masks)()
    assert found(watched)["resurrection"].data["first_step"] == 1


@pytest.mark.parametrize(("momentum", "holds"), [(0.0, True), (0.9, False)])
def test_masked_gradients_hold_under_plain_sgd_and_not_with_momentum(momentum: float, holds: bool) -> None:
    """Momentum from before the pruning moves every pruned weight, although its gradient is zero."""
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=momentum)
    train(model, optimizer)
    masks = by_hand(model)
    with verify.watch(model, optimizer, masks, gradients=True, raises=False) as watched:
        for step in range(2):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            for name, mask in masks.items():
                gradient = model.get_parameter(name).grad
                assert gradient is not None
                gradient.masked_fill_(~mask, 0.0)
            optimizer.step()
    assert watched.verdict.holds is holds
    assert "gradients" not in found(watched)
    if not holds:
        assert found(watched)["resurrection"].data["count"] == sum(int((~mask).sum()) for mask in masks.values())


def test_gradients_of_pruned_weights_are_an_error_where_asked_for() -> None:
    """They move the clip norm; unasked they are not looked at."""
    for asked in (False, True):
        model = perceptron()
        masks = by_hand(model)
        optimizer = torch.optim.Adam(model.parameters())
        with verify.watch(model, optimizer, masks, gradients=asked, raises=False) as watched:
            train(model, optimizer, after=enforce(model, masks))
        assert ("gradients" in found(watched)) is asked
        assert watched.verdict.holds is not asked


def test_a_product_with_the_mask_leaves_negative_zeros() -> None:
    """`mul_(mask)`: equal to 0, so it holds, and a note says that half of them are −0.0."""
    model = perceptron()
    masks = by_hand(model)
    optimizer = torch.optim.Adam(model.parameters())

    def multiply() -> None:
        with torch.no_grad():
            for name, mask in masks.items():
                model.get_parameter(name).mul_(mask)

    with verify.watch(model, optimizer, masks) as watched:
        train(model, optimizer, after=multiply)
    assert 0 < found(watched)["negative-zero"].data["count"] < 64


def test_a_callers_mask_that_grows_is_found() -> None:
    """Masks given by the caller are read again: entries that come back are counted, and stay watched."""
    model = perceptron()
    masks = by_hand(model)
    pruned = ~masks["0.weight"]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, optimizer, masks, raises=False) as watched:
        train(model, optimizer, after=enforce(model, masks))
        masks["0.weight"] = torch.ones_like(masks["0.weight"])
        train(model, optimizer, after=enforce(model, masks))
    assert found(watched)["masks-monotone"].data["count"] == 48
    back = int((model[0].weight[pruned] != 0).sum())
    assert back > 24
    assert found(watched)["resurrection"].data["count"] == back


# --- the model's masks, and those that are named beside them ---------------------------------------------------------


def test_named_masks_add_to_those_that_the_model_holds() -> None:
    """One layer pruned by hand and named, the other by torch.nn.utils.prune: losing the second one's mask is found."""
    model = perceptron()
    prune.l1_unstructured(model[2], "weight", amount=0.5)
    mask = model[0].weight.detach().abs() > 0.2
    model[0].weight.data.mul_(mask)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    with verify.watch(model, optimizer, {"0.weight": mask}, raises=False) as watched:
        train(model, optimizer, after=enforce(model, {"0.weight": mask}))
        assert watched.verdict.holds
        prune.remove(model[2], "weight")
        train(model, optimizer, after=enforce(model, {"0.weight": mask}))
    assert found(watched)["resurrection"].data["layers"] == {"2.weight": 16}


def test_zeros_beside_named_masks_are_not_watched_and_it_is_said() -> None:
    """Where masks are named, a weight that has none is not pruned; its zeros are counted in a note."""
    model = perceptron()
    masks = by_hand(model)
    optimizer = torch.optim.Adam(model.parameters())
    named = {"0.weight": masks["0.weight"]}
    with verify.watch(model, optimizer, named) as watched:
        train(model, optimizer, after=enforce(model, named))
    note = found(watched)["nothing-watched"]
    assert note.data == {"layers": {"2.weight": 16}}
    assert "zeros of 2.weight (16) are not watched, since other weights have masks" in note.message


def test_a_mask_that_is_named_inside_the_block_is_taken_up() -> None:
    """From the first look on: held, it holds, and let go of, what it prunes comes back."""
    for held in (True, False):
        model = perceptron()
        masks: dict[str, torch.Tensor] = {}
        optimizer = torch.optim.Adam(model.parameters())
        with verify.watch(model, optimizer, masks, raises=False) as watched:
            train(model, optimizer, steps=2)
            masks |= by_hand(model)
            train(model, optimizer, after=enforce(model, masks) if held else None)
        assert watched.verdict.holds is held
        if not held:
            assert found(watched)["resurrection"].data["layers"] == {"0.weight": 48, "2.weight": 16}
            assert found(watched)["resurrection"].data["first_step"] == 3
            assert "counts as pruned" not in found(watched)["resurrection"].message


def test_a_mask_that_is_named_inside_the_block_and_never_applied_is_found() -> None:
    """The weight is pruned from when its mask is there, also where no further step is taken."""
    model = perceptron()
    masks = {"0.weight": torch.ones(16, 6)}
    optimizer = torch.optim.Adam(model.parameters())
    with verify.watch(model, optimizer, masks, raises=False) as watched:
        train(model, optimizer)
        masks["2.weight"] = torch.eye(2, 16)
    assert found(watched)["resurrection"].data["layers"] == {"2.weight": 30}


def test_zeros_are_not_taken_for_pruned_where_masks_are_yet_to_be_named() -> None:
    """An empty dict says that masks will come; until then nothing is watched, and both are said."""
    model = perceptron()
    by_hand(model)
    optimizer = torch.optim.Adam(model.parameters())
    with verify.watch(model, optimizer, {}) as watched:
        train(model, optimizer)
    messages = [finding.message for finding in watched.verdict.findings]
    assert messages == [
        "no weight that the model had when the watch began is pruned: nothing to watch",
        "zeros of 0.weight (48), 2.weight (16) are not watched, since masks has none of them yet; name theirs in masks",
    ]


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("9.weight", torch.ones(16, 6), r"^masks\['9.weight'\]: no such weight; expected one of 0.bias, 0.weight, 2.w"),
        ("2.weight", torch.full((2, 16), 0.5), r"^masks\['2.weight'\]: expected 0 where .* and 1 where"),
        ("2.weight", torch.ones(16, 2), r"^masks\['2.weight'\] = \(16, 2\): expected a tensor of shape \(2, 16\)"),
        ("0.weight", torch.ones(16, 6), r"^masks\['0.weight'\]: the model holds a mask of this weight itself"),
    ],
)
def test_masks_that_do_not_fit_are_refused_inside_the_block_too(name: str, mask: torch.Tensor, message: str) -> None:
    """At the next look, in the words of the start."""
    model = perceptron()
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    masks: dict[str, torch.Tensor] = {}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def spoil() -> None:
        with verify.watch(model, optimizer, masks):
            train(model, optimizer, steps=1)
            masks[name] = mask
            train(model, optimizer, steps=2)

    with pytest.raises(InputError, match=message):
        spoil()


def test_a_named_weight_that_is_pruned_by_the_model_inside_the_block_is_refused() -> None:
    """What lies under the model's own mask moves: by the named one it would be back."""
    model = perceptron()
    masks = {"0.weight": torch.ones(16, 6)}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def prune_twice() -> None:
        with verify.watch(model, optimizer, masks):
            prune.l1_unstructured(model[0], "weight", amount=0.5)
            train(model, optimizer)

    with pytest.raises(InputError, match=r"^masks\['0.weight'\]: the model holds a mask of this weight itself"):
        prune_twice()


# --- zeros where pruning begins inside the block ----------------------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True], ids=["pruned-before", "pruned-inside"])
@pytest.mark.parametrize("before", [0, 2], ids=["at-once", "after-steps"])
def test_a_head_that_begins_at_zero_may_learn_wherever_pruning_begins(before: int, inside: bool) -> None:
    """Where the model is pruned makes no difference to what is watched of another weight."""
    model = perceptron()
    torch.nn.init.zeros_(model[2].weight)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    if not inside:
        prune.l1_unstructured(model[0], "weight", amount=0.5)
    with verify.watch(model, optimizer) as watched:
        train(model, optimizer, steps=before)
        if inside:
            prune.l1_unstructured(model[0], "weight", amount=0.5)
        train(model, optimizer)
    assert found(watched)["nothing-watched"].data == {"layers": {"2.weight": 32}}


@pytest.mark.parametrize("before", [0, 2], ids=["at-once", "after-steps"])
def test_a_sparse_start_is_no_pruning_once_another_weight_has_a_mask(before: int) -> None:
    """What was found of it until then is withdrawn, and told as zeros that nobody watches."""
    model = perceptron()
    torch.nn.init.sparse_(model[2].weight, 0.5)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, optimizer) as watched:
        train(model, optimizer, steps=before)
        assert watched.verdict.holds is not bool(before)
        prune.l1_unstructured(model[0], "weight", amount=0.5)
        train(model, optimizer)
    assert found(watched)["nothing-watched"].data == {"layers": {"2.weight": 16}}


def test_zeros_stay_pruned_where_their_own_mask_comes_later() -> None:
    """A stage that begins with the zeros of the one before: its masks may keep none, and what came back is told."""
    model = perceptron()
    globally(model)
    for layer in (model[0], model[2]):
        prune.remove(layer, "weight")
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer)
        globally(model)
        train(model, optimizer)
    assert found(watched)["resurrection"].data["count"] == 64
    assert found(watched)["masks-monotone"].severity == "error"


# --- this project's -------------------------------------------------------------------------------------------------


def stack() -> tuple[Network, Masks]:
    """Two networks, and masks that keep about half of their weights."""
    network = Network.initialise((6, 8, 2), [0, 1])
    draw = torch.Generator().manual_seed(7)
    return network, Masks(tuple(torch.rand(w.shape, generator=draw) < 0.5 for w in network.weights))


def fine_tune(network: Network, optimizer: torch.optim.Optimizer, enforcer: Enforcer | None) -> None:
    """Steps in the order that the trainer has."""
    for step in range(3):
        optimizer.zero_grad()
        x = torch.randn((2, 16, 6), generator=torch.Generator().manual_seed(step))
        (network(x) - x[..., :2]).square().mean().backward()
        if enforcer is not None:
            enforcer.gradients()
        optimizer.step()
        if enforcer is not None:
            enforcer.weights()
            enforcer.state()


@pytest.mark.parametrize("name", DENSE)
def test_this_projects_masks_hold_under_every_optimizer(name: str) -> None:
    """Weights, gradients and state: not even a note; state that is not per weight is said to be unchecked."""
    network, masks = stack()
    optimizer = OPTIMIZERS[name](network.parameters())
    enforcer = Enforcer(network, masks, optimizer)
    enforcer.weights()
    with verify.watch(network, optimizer, masks, gradients=True) as watched:
        fine_tune(network, optimizer, enforcer)
    unchecked = [("optimizer-state", "unchecked")] if name == "Adafactor" else []
    assert [(finding.check, finding.severity) for finding in watched.verdict.findings] == unchecked


def test_this_projects_network_without_its_enforcer_fails() -> None:
    """The same loop, and nobody holds the masks."""
    network, masks = stack()
    optimizer = torch.optim.Adam(network.parameters())
    Enforcer(network, masks).weights()
    with verify.watch(network, optimizer, masks, raises=False) as watched:
        fine_tune(network, optimizer, None)
    assert found(watched)["resurrection"].data["count"] == sum(int((~mask).sum()) for mask in masks.layers)


# --- manners --------------------------------------------------------------------------------------------------------


def test_a_closure_that_runs_the_model_inside_a_step_is_no_fault() -> None:
    """LBFGS evaluates in the middle of its step, before anybody could enforce anything."""
    model = perceptron()
    masks = by_hand(model)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    with verify.watch(model, optimizer, masks) as watched:
        for _ in range(2):
            optimizer.step(closure)  # type: ignore[arg-type]
            enforce(model, masks)()
    assert watched.steps == 2


def test_an_error_of_the_block_is_not_hidden_and_hooks_go() -> None:
    """Whatever ends the block, model and optimizer are as before."""
    model = perceptron()
    by_hand(model)
    optimizer = torch.optim.Adam(model.parameters())

    def fail() -> None:
        raise RuntimeError("in the block")

    with pytest.raises(RuntimeError, match="in the block"), verify.watch(model, optimizer):
        train(model, optimizer, after=fail)
    assert not model._forward_hooks
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_nothing_to_watch_is_said() -> None:
    """A dense network, or an optimizer that never steps, is no proof of anything."""
    model = perceptron()
    optimizer = torch.optim.Adam(model.parameters())
    with verify.watch(model, optimizer) as watched:
        pass
    messages = [finding.message for finding in watched.verdict.findings]
    nothing = "no weight that the model had when the watch began is pruned: nothing to watch"
    assert messages == [nothing, "the optimizer took no step"]


def test_another_optimizer_is_not_watched() -> None:
    """Steps of the named optimizer are counted, and no others."""
    model = perceptron()
    by_hand(model)
    watched_one, other = torch.optim.SGD(model.parameters(), 0.1), torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, watched_one, raises=False) as watched:
        train(model, other)
    assert watched.steps == 0


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            {"9.weight": torch.ones(16, 6)},
            r"masks\['9.weight'\]: no such weight; expected one of 0.weight, 0.bias, 2.weight",
        ),
        ({"0.weight": torch.ones(6, 16)}, r"masks\['0.weight'\] = \(6, 16\): expected a tensor of shape \(16, 6\)"),
        ({"0.weight": torch.full((16, 6), 0.5)}, r"masks\['0.weight'\]: expected 0 where .* and 1 where"),
        ([torch.ones(16, 6)], r"masks = list: None, spinn.masks.Masks, or a dict"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks: Any, message: str) -> None:
    """By name, with what was expected."""
    model = perceptron()
    with pytest.raises(InputError, match=message):
        verify.watch(model, torch.optim.SGD(model.parameters(), 0.1), masks)


def test_a_mask_beside_the_models_own_is_refused() -> None:
    """Two masks of one weight could contradict each other."""
    model = perceptron()
    globally(model)
    with pytest.raises(InputError, match="the model holds a mask of this weight itself"):
        verify.watch(model, torch.optim.SGD(model.parameters(), 0.1), {"0.weight": torch.ones(16, 6)})


def test_a_model_without_weights_is_refused() -> None:
    """A function has nothing to watch."""
    with pytest.raises(InputError, match=r"model = function: a torch.nn.Module"):
        verify.watch(lambda x: x, torch.optim.SGD([torch.ones(1, requires_grad=True)], 0.1))
