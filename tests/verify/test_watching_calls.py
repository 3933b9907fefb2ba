"""How a model may be called inside `verify.watch`: in inference mode, by torch.func, in parts, compiled, exported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap
from torch.nn.utils import prune

import verify

X = torch.randn((16, 8), generator=torch.Generator().manual_seed(1))


class Loop:
    """A network whose first weight is pruned by hand, and how a loop trains it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
        self.mask = torch.rand(16, 8) > 0.5
        self.optimizer = torch.optim.Adam(self.model.parameters(), 0.1)
        self.enforce()

    def enforce(self) -> None:
        """Set pruned weights to zero."""
        self.model.get_parameter("0.weight").data.masked_fill_(~self.mask, 0.0)

    def watch(self) -> Any:
        """Around the loop, raising nothing."""
        return verify.watch(self.model, self.optimizer, {"0.weight": self.mask}, raises=False)

    def step(self, call: Callable[[Tensor], Tensor] | None = None, *, soundly: bool = True) -> None:
        """Enforced after the step, or instead before it, when the network was already used with revived weights."""
        self.optimizer.zero_grad()
        ((call or self.model)(X) - 1).square().mean().backward()
        if not soundly:
            self.enforce()
        self.optimizer.step()
        if soundly:
            self.enforce()


def errors(watched: Any) -> list[tuple[str, int]]:
    """Each error and its number of steps."""
    found = [finding for finding in watched.verdict.findings if finding.severity == "error"]
    return [(finding.check, finding.data["steps"]) for finding in found]


def test_the_first_look_may_be_in_inference_mode() -> None:
    """A validation after each step: later looks outside of it write into the same room."""
    loop = Loop()
    with loop.watch() as watched:
        for _ in range(3):
            loop.step()
            with torch.inference_mode():
                loop.model(X)
            loop.step()
    assert errors(watched) == []


@pytest.mark.parametrize("inside", [False, True])
def test_a_mask_may_be_seen_first_in_inference_mode(inside: bool) -> None:
    """What lies under it is kept and compared, in and out of inference mode, wherever the pruning was done."""
    loop = Loop()
    if not inside:
        prune.l1_unstructured(loop.model[0], "weight", 0.5)
    with verify.watch(loop.model, loop.optimizer) as watched:
        if inside:
            prune.l1_unstructured(loop.model[0], "weight", 0.5)
        for _ in range(3):
            loop.optimizer.zero_grad()
            loop.model(X).square().mean().backward()
            loop.optimizer.step()
            with torch.inference_mode():
                loop.model(X)
    assert errors(watched) == []


def test_other_parameters_in_the_models_place_are_not_judged() -> None:
    """A teacher by functional_call is no fault; nor does it use up the judgement of the model's own weights."""
    for soundly in (True, False):
        loop = Loop()
        teacher = {name: torch.randn_like(weight) for name, weight in loop.model.named_parameters()}
        with loop.watch() as watched:
            for _ in range(5):
                functional_call(loop.model, teacher, (X,))
                loop.step(soundly=soundly)
            loop.enforce()
        assert errors(watched) == ([] if soundly else [("resurrection", 4)])


class Pair(nn.Module):
    """Two weights of one module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Parameter(torch.eye(8)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Both in a row."""
        return x @ self.first @ self.second


def test_what_stands_in_for_one_weight_leaves_the_others_to_be_judged() -> None:
    """A module is called with another first weight: the second is in use as it is."""
    model = Pair()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    masks = {name: torch.eye(8) for name in ("first", "second")}
    with verify.watch(model, optimizer, masks, raises=False) as watched:
        optimizer.step()
        model.second.data.fill_(1.0)
        functional_call(model, {"first": torch.ones(8, 8)}, (X,))
        model.second.data.copy_(torch.eye(8))  # too late: it was used
    (finding,) = watched.verdict.findings
    assert (finding.check, finding.data["layers"]) == ("resurrection", {"second": 56})


@pytest.mark.parametrize("says", ["torch.compiler.is_compiling", "torch.compiler.is_exporting", "torch.jit.is_tracing"])
def test_nothing_is_judged_while_torch_writes_down_what_the_model_does(
    monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    """Compiling, exporting, tracing: the call is none of training, and the step stays to be judged."""
    loop = Loop()
    with loop.watch() as watched:
        loop.step(soundly=False)
        with monkeypatch.context() as patched:
            patched.setattr(says, lambda: True)
            loop.model(X)
        assert errors(watched) == []
        loop.model(X)
        assert errors(watched) == [("resurrection", 1)]


def test_an_ensemble_under_vmap_is_not_judged() -> None:
    """Its parameters stand in for the model's, several at once."""
    loop = Loop()
    parameters, _ = stack_module_state([Loop().model for _ in range(3)])
    with loop.watch() as watched:
        for _ in range(2):
            loop.step()
            vmap(lambda p: functional_call(loop.model, p, (X,)))(parameters)
    assert errors(watched) == []


def test_derivatives_by_torch_func_are_judged() -> None:
    """Of the inputs the model's own weights are in use; of the parameters others are, and the next step judges."""
    loop = Loop()
    with loop.watch() as watched:
        loop.step()
        loop.model.get_parameter("0.weight").data[~loop.mask] = 1.0
        vmap(jacrev(loop.model))(X)
        loop.enforce()
    assert errors(watched) == [("resurrection", 1)]
    with loop.watch() as watched:
        loop.step()
        parameters = dict(loop.model.named_parameters())
        grad(lambda p: functional_call(loop.model, p, (X,)).square().mean())(parameters)
        loop.model.get_parameter("0.weight").data[~loop.mask] = 1.0
        loop.step()
    assert errors(watched) == [("resurrection", 1)]


def test_a_weight_that_is_replaced_for_good_is_judged_by_the_next_step() -> None:
    """And from then on when it is used."""
    loop = Loop()
    with loop.watch() as watched:
        loop.step()
        loop.model[0].weight = nn.Parameter(torch.ones(16, 8))
        loop.model(X)
        assert errors(watched) == []
        loop.optimizer.step()
        assert errors(watched) == [("resurrection", 1)]
        loop.model(X)
        assert errors(watched) == [("resurrection", 2)]


@pytest.mark.parametrize("way", ["forward", "parts"])
@pytest.mark.parametrize("soundly", [True, False])
def test_each_layer_is_judged_when_it_is_used_by_itself(way: str, soundly: bool) -> None:
    """Through `model.forward`, or a container's parts one by one: masks applied before each step are found."""
    loop = Loop()
    call = loop.model.forward if way == "forward" else lambda x: loop.model[2](loop.model[1](loop.model[0](x)))
    with loop.watch() as watched:
        for _ in range(5):
            loop.step(call, soundly=soundly)
        loop.enforce()
    assert errors(watched) == ([] if soundly else [("resurrection", 4)])
    assert not any(module._forward_hooks for module in loop.model.modules())


@pytest.mark.parametrize("before", [True, False])
def test_nothing_of_the_watch_is_compiled(before: bool) -> None:
    """In one graph, compiled before the block or in it: a sound loop holds, and each step is judged by the next."""
    torch._dynamo.reset()
    loop = Loop()
    compiled: Any = torch.compile(loop.model, backend="eager", fullgraph=True)
    if before:
        compiled(X)
    with loop.watch() as watched:
        for _ in range(3):
            loop.step(compiled)
    assert errors(watched) == []
    with loop.watch() as watched:
        loop.step(compiled)
        loop.model.get_parameter("0.weight").data[~loop.mask] = 1.0
        loop.step(compiled)
    assert errors(watched) == [("resurrection", 1)]


@pytest.mark.parametrize("soundly", [True, False])
def test_a_compiled_module_that_is_itself_watched_is_judged_when_it_is_called(soundly: bool) -> None:
    """Its own hook is outside the graph."""
    torch._dynamo.reset()
    loop = Loop()
    compiled: Any = torch.compile(loop.model, backend="eager", fullgraph=True)
    masks = {"_orig_mod.0.weight": loop.mask}
    with verify.watch(compiled, loop.optimizer, masks, raises=False) as watched:
        for _ in range(5):
            loop.step(compiled, soundly=soundly)
        loop.enforce()
    assert errors(watched) == ([] if soundly else [("resurrection", 4)])


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # it is still in use
def test_a_watched_model_can_be_traced_and_exported() -> None:
    """With a step to be judged: nothing of the judge is in the graph, and the step is judged afterwards."""
    loop = Loop()
    with loop.watch() as watched:
        loop.step()
        loop.model.get_parameter("0.weight").data[~loop.mask] = 1.0
        traced: Any = torch.jit.trace(loop.model, X, check_trace=False)  # the check calls the model
        exported = torch.export.export(loop.model, (X,))
        assert [node.target for node in exported.graph.nodes if node.op == "call_function"] == [
            torch.ops.aten.linear.default,
            torch.ops.aten.tanh.default,
            torch.ops.aten.linear.default,
        ]
        torch.testing.assert_close(traced(X), exported.module()(X))
        assert errors(watched) == []
        loop.model(X)
        assert errors(watched) == [("resurrection", 1)]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # it is still in use
def test_scripting_a_watched_model_says_why_not() -> None:
    """A hook would have to be compiled with it."""
    loop = Loop()
    with loop.watch(), pytest.raises(AttributeError, match=r"script outside the block"):
        torch.jit.script(loop.model)
