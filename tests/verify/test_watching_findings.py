"""What `verify.watch` says, to the last word and number: which steps, which layers, how many and how large."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

import verify
from spinn.errors import InputError
from verify.findings import Finding
from verify.sightings import Sightings

MASKS = {"a": [[0, 1], [1, 1]], "b": [[0, 0], [1, 1]]}


class Model(torch.nn.Module):
    """Two weights of 2 × 2, all 1, and whatever a mask prunes of them 0."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        kept = {name: torch.tensor(mask, dtype=dtype) for name, mask in MASKS.items()}
        self.a, self.b = (torch.nn.Parameter(kept[name].clone()) for name in MASKS)
        self.masks: dict[str, torch.Tensor] = kept

    def forward(self) -> None:
        """Nothing; the watch judges after it."""


def still(model: torch.nn.Module) -> torch.optim.SGD:
    """An optimizer whose steps change nothing."""
    return torch.optim.SGD(model.parameters(), 0.0)


def put(tensor: torch.Tensor, *values: float) -> None:
    """Write over the first entries."""
    with torch.no_grad():
        tensor.view(-1)[: len(values)] = torch.tensor(values, dtype=tensor.dtype)


def take_steps(watched: Any, model: torch.nn.Module, *edits: Callable[[], None]) -> None:
    """A step for each edit, which follows it; then the model is used."""
    for edit in edits:
        watched._optimizer.step()
        edit()
        model()


def nothing() -> None:
    """An edit that is none."""


def only(watched: Any) -> Finding:
    """The one finding."""
    (finding,) = watched.verdict.findings
    return finding


# --- each finding ---------------------------------------------------------------------------------------------------


def test_resurrection() -> None:
    """Counted in full when a layer first shows it and at the end, over all layers; the largest of any time."""
    model = Model()
    optimizer = still(model)
    with verify.watch(model, optimizer, model.masks, raises=False) as watched:
        take_steps(watched, model, nothing, lambda: put(model.a, -0.5))
        assert only(watched) == Finding(
            "resurrection",
            "error",
            "1 pruned weights are not zero when they are used; the largest is 0.5: apply the mask after every "
            "optimizer step (a; at step 2, 1 of 2 steps)",
            data={"count": 1, "layers": {"a": 1}, "first_step": 2, "steps": 1, "largest": "0.5"},
        )
        take_steps(watched, model, lambda: put(model.b, 0.25))
        take_steps(watched, model, lambda: put(model.b, 0.25, 0.125))
        assert only(watched).data["layers"] == {"a": 1, "b": 1}
    assert only(watched) == Finding(
        "resurrection",
        "error",
        "3 pruned weights are not zero when they are used; the largest is 0.5: apply the mask after every optimizer "
        "step (a, b; from step 2 on, 3 of 4 steps)",
        data={"count": 3, "layers": {"a": 1, "b": 2}, "first_step": 2, "steps": 3, "largest": "0.5"},
    )


def test_what_went_away_is_still_told() -> None:
    """With its first step, and the number of steps that showed it."""
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        take_steps(watched, model, lambda: put(model.b, 3, 1), lambda: put(model.b, 0, 0), nothing)
    data = only(watched).data
    assert data == {"count": 2, "layers": {"b": 2}, "first_step": 1, "steps": 1, "largest": "3"}
    assert only(watched).message.endswith("(b; at step 1, 1 of 3 steps)")


def test_non_finite() -> None:
    """How many of the pruned entries; those that are kept are not this check's business."""
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        take_steps(watched, model, lambda: put(model.b, torch.inf, torch.nan, torch.inf))
    wild, back = watched.verdict.findings
    assert wild == Finding(
        "non-finite",
        "error",
        "2 pruned weights are inf or NaN, and stay so under a product with a mask: set them to zero instead "
        "(masked_fill_) (b; at step 1, 1 of 1 steps)",
        data={"count": 2, "layers": {"b": 2}, "first_step": 1, "steps": 1, "largest": "0"},
    )
    assert (back.check, back.data["count"], back.data["largest"]) == ("resurrection", 2, "0")


def test_masks_that_grow() -> None:
    """At each step at which the mask keeps what was pruned; and what came back stays watched."""
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        take_steps(watched, model, nothing, lambda: put(model.masks["b"], 1, 1), nothing)
    assert only(watched) == Finding(
        "masks-monotone",
        "error",
        "2 weights that were pruned are kept again: prune among the weights that are still active, and hand masks "
        "from stage to stage (b; from step 2 on, 2 of 3 steps)",
        data={"count": 2, "layers": {"b": 2}, "first_step": 2, "steps": 2, "largest": "0"},
    )
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        put(model.masks["b"], 0, 0)
        take_steps(watched, model, lambda: put(model.masks["b"], 1, 0), lambda: put(model.b, 7))
    assert [finding.check for finding in watched.verdict.findings] == []
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        take_steps(watched, model, lambda: put(model.masks["b"], 1, 1), lambda: put(model.b, 7))
    assert [finding.data["count"] for finding in watched.verdict.findings] == [2, 1]


def test_masks_that_shrink_are_followed() -> None:
    """What is pruned later is watched from then on."""
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        take_steps(watched, model, lambda: put(model.masks["a"], 0, 0))
    assert only(watched).data == {"count": 1, "layers": {"a": 1}, "first_step": 1, "steps": 1, "largest": "1"}


def test_gradients() -> None:
    """At the step that they come with, where asked for."""
    for asked in (True, False):
        model = Model()
        with verify.watch(model, still(model), model.masks, gradients=asked, raises=False) as watched:
            take_steps(watched, model, nothing)
            model.a.grad = torch.zeros(2, 2)
            gradient = model.b.grad = torch.tensor([[-4.0, 0.0], [9.0, 9.0]])
            take_steps(watched, model, lambda gradient=gradient: put(gradient, -4, 8), nothing)
        if not asked:
            assert watched.verdict.findings == ()
            continue
        assert only(watched) == Finding(
            "gradients",
            "error",
            "gradients of 2 pruned weights are not zero at the step; the largest is 8: clear them before clipping "
            "(b; from step 2 on, 2 of 3 steps)",
            data={"count": 2, "layers": {"b": 2}, "first_step": 2, "steps": 2, "largest": "8"},
        )


def test_optimizer_state() -> None:
    """Per weight, of any precision, and no other."""
    model = Model()
    optimizer = still(model)
    optimizer.state[model.a] = {"step": torch.tensor(3.0), "kind": "x", "none": torch.zeros(2, 2)}
    optimizer.state[model.b] = {
        "mean": torch.full((2, 2), -2.0, dtype=torch.float64),
        "square": torch.tensor([[0.0, 5.0], [9.0, 9.0]]),
    }
    with verify.watch(model, optimizer, model.masks) as watched:
        take_steps(watched, model, nothing)
    assert only(watched) == Finding(
        "optimizer-state",
        "note",
        "the optimizer keeps state for 2 pruned weights; the largest is 5: a step without enforcement moves them "
        "(b; first seen at step 1)",
        data={"count": 2, "layers": {"b": 2}, "first_step": 1, "largest": "5"},
    )


def test_hidden_weights() -> None:
    """Under a mask that the model multiplies with; −0.0 among them is no matter."""
    model = Model()
    for name in MASKS:
        prune.custom_from_mask(model, name, model.masks[name])
    with verify.watch(model, still(model)) as watched:
        take_steps(watched, model, lambda: put(model.b_orig, 0.5, -0.0))  # type: ignore[arg-type]
    assert only(watched) == Finding(
        "hidden-weights",
        "note",
        "1 pruned weights moved under their mask; the largest is 0.5: harmless while the mask is there, back as soon "
        "as it is removed or lost (b; first seen at step 1)",
        data={"count": 1, "layers": {"b": 1}, "first_step": 1, "largest": "0.5"},
    )


def test_negative_zeros() -> None:
    """Looked for after the first step and at the end, not in between."""
    model = Model()
    with verify.watch(model, still(model), model.masks) as watched:
        take_steps(watched, model, lambda: put(model.b, -0.0, -0.0), lambda: put(model.b, 0.0, 0.0))
        assert only(watched) == Finding(
            "negative-zero",
            "note",
            "2 pruned weights are −0.0, which a product with a mask leaves; it equals 0, and its bits do not (b; "
            "first seen at step 1)",
            data={"count": 2, "layers": {"b": 2}, "first_step": 1, "largest": "0"},
        )
        take_steps(watched, model, lambda: put(model.a, -0.0))
        assert only(watched).data["layers"] == {"b": 2}
        put(model.b, -0.0, 0.0)
    assert only(watched).data["layers"] == {"a": 1, "b": 2}
    assert only(watched).data["count"] == 3
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        take_steps(watched, model, lambda: put(model.b, -3.0, 0.0))
    assert only(watched).check == "resurrection"


@pytest.mark.parametrize(
    "write", [lambda mask, new: mask.data.copy_(new), lambda mask, new: np.copyto(mask.numpy(), new)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.float64])
def test_masks_written_behind_torchs_count_are_followed(write: Any, dtype: torch.dtype) -> None:
    """Through `.data` and through numpy, in any precision: what they prune is watched from the next look on."""
    model = Model()
    masks = {name: mask.to(dtype) for name, mask in model.masks.items()}
    with verify.watch(model, still(model), masks, raises=False) as watched:
        take_steps(watched, model, nothing)
        write(masks["b"], torch.tensor([[0, 0], [0, 1]], dtype=dtype))
        take_steps(watched, model, nothing)
        assert only(watched).check == "resurrection"
        assert only(watched).data["layers"] == {"b": 1}
        write(masks["b"], torch.ones(2, 2, dtype=dtype))
        take_steps(watched, model, nothing)
        assert [finding.check for finding in watched.verdict.findings] == ["resurrection", "masks-monotone"]
        write(masks["b"], model.masks["b"].to(dtype))


def test_a_weight_that_is_made_anew_is_refused_by_name() -> None:
    """In another shape it is another network."""
    model = Model()

    def rebuild() -> None:
        with verify.watch(model, still(model)) as watched:
            model.b = torch.nn.Parameter(torch.ones(3, 2))
            take_steps(watched, model, nothing)

    with pytest.raises(
        InputError,
        match=r"^b = \(3, 2\): it was \(2, 2\) when the watch began; end the block before "
        "the model is rebuilt, and watch the new one$",
    ):
        rebuild()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda masks: masks.pop("b"), r"^masks\['b'\]: gone; a mask that prunes nothing is one of ones$"),
        (lambda masks: masks.update(b=None), r"^masks\['b'\] = NoneType: expected a tensor of the weight's shape$"),
        (lambda masks: masks.update(b=torch.ones(3)), r"^masks\['b'\] = \(3,\): expected a tensor of shape \(2, 2\)$"),
    ],
)
def test_a_mask_that_is_lost_inside_the_block_is_refused_by_name(change: Any, message: str) -> None:
    """And the model is let go of."""
    model = Model()

    def lose() -> None:
        with verify.watch(model, still(model), model.masks) as watched:
            change(model.masks)
            take_steps(watched, model, nothing)

    with pytest.raises(InputError, match=message):
        lose()
    assert not model._forward_hooks


def test_a_step_that_calls_the_one_below_it_counts_once() -> None:
    """As an optimizer's subclass does."""

    class Louder(torch.optim.SGD):
        """SGD by another name."""

        def step(self, closure: Any = None) -> Any:
            """What SGD does."""
            return super().step(closure)

    model = Model()
    with verify.watch(model, Louder(model.parameters(), lr=0.0), model.masks) as watched:
        for _ in range(3):
            watched._optimizer.step()
    assert watched.steps == 3


def test_masks_made_in_inference_mode_are_compared_at_every_step() -> None:
    """Torch does not count what is written to them."""
    model = Model()
    with torch.inference_mode():
        masks = {name: mask.clone() for name, mask in model.masks.items()}
    with verify.watch(model, still(model), masks, raises=False) as watched:
        take_steps(watched, model, nothing)
        with torch.inference_mode():
            put(masks["b"], 1, 1)
        take_steps(watched, model, nothing)
        assert only(watched).check == "masks-monotone"


def test_a_note_says_when_each_layer_first_showed_it() -> None:
    """A layer that comes later is looked for on and on, at the last step too."""
    model = Model()
    for name in MASKS:
        prune.custom_from_mask(model, name, model.masks[name])
    with verify.watch(model, still(model)) as watched:
        take_steps(watched, model, nothing, lambda: put(model.b_orig, 0.5), nothing)  # type: ignore[arg-type]
        assert only(watched).data["layers"] == {"b": 1}
        take_steps(watched, model, lambda: put(model.a_orig, 4))  # type: ignore[arg-type]
        assert only(watched).data["layers"] == {"a": 1, "b": 1}
        assert only(watched).data["first_step"] == 2
        assert "steps" not in only(watched).data


def test_hidden_weights_that_are_not_finite_are_an_error_before_and_after_they_move() -> None:
    """A product with a mask keeps inf and NaN, whether the weight was so when it was pruned or became so."""
    for before in (torch.inf, torch.nan):
        model = Model()
        put(model.b, before)
        prune.custom_from_mask(model, "b", model.masks["b"])
        with verify.watch(model, still(model), raises=False) as watched:
            take_steps(watched, model, nothing)
            assert [f.data["count"] for f in watched.verdict.findings if f.check == "non-finite"] == [1]
            take_steps(watched, model, lambda model=model: put(model.b_orig, torch.inf, torch.inf))  # type: ignore[attr-defined]
        assert [f.data["count"] for f in watched.verdict.findings if f.check == "non-finite"] == [2]


def test_what_is_no_fault_is_counted_again_at_the_end_too() -> None:
    """Hidden weights, and the optimizer's state: in between nothing is said of them but when they were first seen."""
    model = Model()
    prune.custom_from_mask(model, "a", model.masks["a"])
    prune.custom_from_mask(model, "b", model.masks["b"])
    optimizer = still(model)
    state = {"mean": torch.tensor([[1.0, 0.0], [0.0, 0.0]])}
    optimizer.state[model.b_orig] = state  # type: ignore[index]
    with verify.watch(model, optimizer) as watched:
        take_steps(watched, model, lambda: put(model.b_orig, 0.5), lambda: put(model.b_orig, 0.5, 0.25))  # type: ignore[arg-type]
        put(state["mean"], 1.0, 2.0)
        assert [finding.data["count"] for finding in watched.verdict.findings] == [1, 1]
    hidden, kept = watched.verdict.findings
    assert (hidden.check, hidden.data["count"], hidden.data["first_step"]) == ("hidden-weights", 2, 1)
    assert (kept.check, kept.data["count"], kept.data["largest"]) == ("optimizer-state", 2, "2")


def test_the_smallest_number_that_is_not_zero_is_counted() -> None:
    """A subnormal, whose bits are those of 1, is as alive as any other."""
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        take_steps(watched, model, lambda: put(model.b, 1e-45))
        assert only(watched).data["count"] == 1


def test_checks_are_counted_each_by_itself() -> None:
    """A large gradient of a pruned weight does not hide the weight that came back, nor how many did."""
    model = Model()
    model.b.grad = torch.full((2, 2), 8.0)
    with verify.watch(model, still(model), model.masks, gradients=True, raises=False) as watched:
        take_steps(watched, model, lambda: put(model.b, 2.0, 2.0))
        counts = {finding.check: finding.data["count"] for finding in watched.verdict.findings}
    assert counts == {"gradients": 2, "resurrection": 2}


def test_gradients_that_stay_are_counted_once_and_seen_at_every_step() -> None:
    """As many steps as there were; entries are counted when a layer first shows them, and when the largest grows."""
    model = Model()
    model.b.grad = torch.tensor([[5.0, 0.0], [0.0, 0.0]])
    with verify.watch(model, still(model), model.masks, gradients=True, raises=False) as watched:
        take_steps(watched, model, lambda: put(model.b.grad, 5.0, 5.0), nothing, nothing)  # type: ignore[arg-type]
    found = only(watched).data
    assert (found["count"], found["first_step"], found["steps"]) == (1, 1, 3)


def test_zeros_of_a_weight_that_gets_a_mask_are_its_mask_s_business() -> None:
    """Under one that prunes nothing they are neither watched nor told of."""
    model = Model()
    masks = {name: torch.ones(2, 2) for name in MASKS}
    with verify.watch(model, still(model), masks) as watched:
        take_steps(watched, model, nothing)
    assert [finding.message for finding in watched.verdict.findings if "zeros of" in finding.message] == []
    masks = {}
    with verify.watch(model, still(model), masks) as watched:
        take_steps(watched, model, nothing)
        assert any("zeros of" in finding.message for finding in watched.verdict.findings)
        masks |= {name: torch.ones(2, 2) for name in MASKS}
        take_steps(watched, model, nothing)
    assert [finding.message for finding in watched.verdict.findings if "zeros of" in finding.message] == []


def test_before_any_step_zeros_beside_a_mask_are_told_of() -> None:
    """Whether a weight is pruned is decided when the block begins."""
    model = Model()
    prune.custom_from_mask(model, "a", model.masks["a"])
    with verify.watch(model, still(model)) as watched:
        messages = [finding.message for finding in watched.verdict.findings]
    assert any("zeros of b (2) are not watched, since other weights have masks" in message for message in messages)


def test_every_layer_whose_zeros_were_taken_for_pruned_is_named() -> None:
    """Where no mask says so, the error does."""
    model = Model()
    with verify.watch(model, still(model), raises=False) as watched:
        take_steps(watched, model, lambda: put(model.a, 3.0, 3.0, 3.0, 3.0), lambda: put(model.b, 3.0, 3.0))
    assert "what was zero in a, b when the watch began" in only(watched).message


def test_state_that_was_noted_is_counted_again_at_the_end() -> None:
    """More entries, none larger than the first one was: the end has them all."""
    model = Model()
    optimizer = still(model)
    optimizer.state[model.b] = {"mean": torch.zeros(2, 2)}
    with verify.watch(model, optimizer, model.masks) as watched:
        put(optimizer.state[model.b]["mean"], 3.0, 0.0)
        take_steps(watched, model, nothing)
        put(optimizer.state[model.b]["mean"], 3.0, -2.0)
        take_steps(watched, model, nothing)
        assert only(watched).data["count"] == 1
    assert (only(watched).data["count"], only(watched).data["largest"]) == (2, "3")


def test_of_several_tensors_of_state_a_step_looks_at_one_in_turn_and_the_end_at_all() -> None:
    """Each has its turn within as many steps as there are; what moves in between is seen at the end."""
    model = Model()
    optimizer = still(model)
    optimizer.state[model.b] = state = {name: torch.zeros(2, 2) for name in ("mean", "square", "most")}
    with verify.watch(model, optimizer, model.masks) as watched:
        put(state["mean"], 1.0)
        take_steps(watched, model, nothing, nothing)  # the second's turn, and the third's
        assert watched.verdict.findings == ()
        take_steps(watched, model, nothing)
        assert (only(watched).data["first_step"], only(watched).data["count"]) == (3, 1)
    for last in state:
        state["mean"].zero_()
        with verify.watch(model, optimizer, model.masks) as watched:
            take_steps(watched, model, nothing)
            put(state[last], 1.0, 2.0)
        assert (only(watched).check, only(watched).data["count"]) == ("optimizer-state", 2)
        state[last].zero_()


def test_the_largest_is_that_of_all_steps_and_entries_are_counted_when_it_grows() -> None:
    """Also where it is gone at the end; more entries that are no larger are counted at the end alone."""
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        take_steps(watched, model, lambda: put(model.b, 1e-9), lambda: put(model.b, -7, 7))
        assert (only(watched).data["count"], only(watched).data["largest"]) == (2, "7")
        take_steps(watched, model, lambda: put(model.b, 7, 0), lambda: put(model.b, 0, 0))
    assert only(watched).data == {"count": 2, "layers": {"b": 2}, "first_step": 1, "steps": 3, "largest": "7"}


def test_a_mask_that_shrinks_again_is_no_longer_grown() -> None:
    """The steps are those at which it kept what had been pruned."""
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        take_steps(watched, model, lambda: put(model.masks["b"], 1, 0), nothing, lambda: put(model.masks["b"], 0, 0))
    assert (only(watched).check, only(watched).data["first_step"], only(watched).data["steps"]) == (
        "masks-monotone",
        1,
        2,
    )


def test_what_moved_to_zero_under_its_mask_is_not_hidden() -> None:
    """Nothing comes back from there: only what is not zero counts, and what moves later does."""
    model = Model()
    put(model.b, 5, 6)
    for name in MASKS:
        prune.custom_from_mask(model, name, model.masks[name])
    with verify.watch(model, still(model)) as watched:
        take_steps(watched, model, lambda: put(model.b_orig, 0, 0), nothing)  # type: ignore[arg-type]
        assert watched.verdict.findings == ()
        take_steps(watched, model, lambda: put(model.b_orig, 0, 2))  # type: ignore[arg-type]
    assert only(watched).data == {"count": 1, "layers": {"b": 1}, "first_step": 3, "largest": "2"}


def test_what_is_found_where_no_step_was_taken_is_before_the_first() -> None:
    """An edit by hand, of weights or of their sign."""
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        put(model.a, 8)
        put(model.b, -0.0)
    assert [finding.message.rpartition(" (")[2] for finding in watched.verdict.findings] == [
        "a; before the first step)",
        "b; before the first step)",
        "the optimizer took no step",
    ]


def test_a_layer_that_is_withdrawn_leaves_what_the_others_showed() -> None:
    """Their first step, their largest and their counts; of steps, those of the layer that showed it longest."""
    seen = Sightings()
    for layer, step, count, largest in [("a", 1, 5, 9.0), ("b", 2, 1, 3.0), ("c", 3, 2, 4.0), ("c", 4, 1, 1.0)]:
        seen.enter("resurrection", "error", layer, step, count, largest)
    seen.enter("gradients", "error", "a", 1, 5, 9.0)
    assert not seen.grows("gradients", "a", 0)
    assert seen.grows("gradients", "a", 8)
    seen.withdraw("a")
    assert seen.grows("gradients", "a", 7)
    assert not seen.grows("gradients", "a", 7)
    assert not seen.has("resurrection", "a")
    assert seen.has("resurrection", "c")
    (left,) = seen.findings(4, {"a"})
    assert left.data == {"count": 3, "layers": {"b": 1, "c": 2}, "first_step": 2, "steps": 2, "largest": "4"}
    assert left.message.endswith("(b, c; from step 2 on, 2 of 4 steps)")


# --- when it looks ---------------------------------------------------------------------------------------------------


def test_a_step_is_judged_when_the_weights_are_next_used() -> None:
    """Masks may be applied after the step: by the next use, the next step or the end, and once only."""
    model = Model()
    optimizer = still(model)
    with verify.watch(model, optimizer, model.masks) as watched:
        put(model.a, 8)
        model()  # no step was taken yet
        optimizer.step()
        put(model.a, 0)
        model()
        put(model.a, 8)
        model()  # that step was judged
        put(model.a, 0)
    assert watched.verdict.findings == ()
    with verify.watch(model, optimizer, model.masks, raises=False) as watched:
        optimizer.step()
        put(model.a, 8)
        optimizer.step()
        put(model.a, 0)
    assert only(watched).data == {"count": 1, "layers": {"a": 1}, "first_step": 1, "steps": 1, "largest": "8"}
    assert watched.steps == 2


def test_the_end_of_the_block_is_a_use() -> None:
    """Even where no step was taken; and a block that failed is not judged."""
    model = Model()
    with verify.watch(model, still(model), model.masks, raises=False) as watched:
        put(model.a, 8)
    assert [finding.check for finding in watched.verdict.findings] == ["resurrection", "nothing-watched"]
    watched = verify.watch(model, still(model), model.masks)
    with pytest.raises(KeyError, match="own"):
        fail_in(watched)
    assert watched.verdict.findings == ()


def fail_in(watched: Any) -> None:
    """A block that takes a step and ends by an error of its own."""
    with watched:
        watched._optimizer.step()
        raise KeyError("own")


def test_the_error_lists_each_fault_on_a_line() -> None:
    """Errors only: notes are no faults."""
    model = Model()
    optimizer = still(model)
    watched = verify.watch(model, optimizer, model.masks)
    watched.__enter__()
    put(model.a, 8)
    put(model.b, -torch.inf, -0.0)
    optimizer.step()
    message = (
        r"^resurrection: 2 pruned weights are not zero.* \(a, b; at step 1, 1 of 1 steps\)\n"
        r"non-finite: 1 pruned weights are inf or NaN.* \(b; at step 1, 1 of 1 steps\)$"
    )
    with pytest.raises(verify.PruningFaultError, match=message):
        watched.__exit__(None, None, None)


def test_no_error_where_everything_holds_and_none_where_not_asked() -> None:
    """Notes do not raise; and the verdict can be read afterwards."""
    model = Model()
    optimizer = still(model)
    with verify.watch(model, optimizer, model.masks) as watched:
        put(model.a, -0.0)
        optimizer.step()
    assert watched.verdict.holds
    with verify.watch(model, optimizer, model.masks, raises=False) as watched:
        put(model.a, 1.0)
        optimizer.step()
    assert not watched.verdict.holds


def test_a_model_that_is_no_module() -> None:
    """Judged at the next step and at the end; an empty weight has no largest entry."""
    weights = [torch.eye(2)[None].requires_grad_(), torch.zeros(1, 0, 2, requires_grad=True)]
    optimizer = torch.optim.SGD(weights, 0.0)
    with verify.watch(SimpleNamespace(weights=weights), optimizer, raises=False) as watched:
        optimizer.step()
        put(weights[0], 1.0, 2.0)
    assert only(watched).data["layers"] == {"layers.0.weight": 1}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision(dtype: torch.dtype) -> None:
    """The largest finite number is not inf, and the smallest is not zero."""
    limits = torch.finfo(dtype)
    for value, checks in [
        (limits.max, ["resurrection"]),
        (-limits.tiny, ["resurrection"]),
        (-torch.inf, ["non-finite", "resurrection"]),
        (torch.nan, ["non-finite", "resurrection"]),
        (0.0, []),
    ]:
        model = Model(dtype)
        with verify.watch(model, still(model), model.masks, raises=False) as watched:
            take_steps(watched, model, lambda value=value, model=model: put(model.b, 0.0, value))
        assert [finding.check for finding in watched.verdict.findings] == checks


def test_weights_that_begin_at_zero_are_pruned_where_there_is_no_mask() -> None:
    """The entries that are exactly zero as the watch begins; an error says that this was assumed, and of which."""
    model = Model()
    with verify.watch(model, still(model), raises=False) as watched:
        take_steps(watched, model, lambda: put(model.a, 0.5, 0.0))
    assert only(watched) == Finding(
        "resurrection",
        "error",
        "1 pruned weights are not zero when they are used; the largest is 0.5: apply the mask after every optimizer "
        "step (a; at step 1, 1 of 1 steps); what was zero in a when the watch began counts as pruned, since the model "
        "had no masks then: if it is not, name masks",
        data={"count": 1, "layers": {"a": 1}, "first_step": 1, "steps": 1, "largest": "0.5"},
    )


def test_a_weight_that_is_zero_throughout_is_not_taken_for_pruned() -> None:
    """Nothing tells it from a layer that begins at zero, as a head or an adapter does; a note says so."""
    model = Model()
    put(model.b, 0, 0, 0, 0)
    with verify.watch(model, still(model)) as watched:
        take_steps(watched, model, lambda: put(model.b, 1, 2, 3, 4))
    assert only(watched) == Finding(
        "nothing-watched",
        "note",
        "zeros of b (4) are not watched, since a layer that is zero throughout may begin so; name theirs in masks",
        data={"layers": {"b": 4}},
    )


def test_a_notes_zeros_are_assumed_without_a_word() -> None:
    """What is no fault needs no excuse: momentum at zeros of the start is told as any other."""
    model = Model()
    optimizer = still(model)
    optimizer.state[model.a] = {"mean": torch.ones(2, 2)}
    with verify.watch(model, optimizer) as watched:
        take_steps(watched, model, nothing)
    assert only(watched).message.endswith("moves them (a; first seen at step 1)")


def test_what_was_found_of_zeros_is_withdrawn_with_the_first_mask() -> None:
    """Errors, notes and counts of weights without a mask; where it is their own mask that comes, all of them stay."""
    model = Model()
    optimizer = still(model)
    optimizer.state[model.a] = {"mean": torch.ones(2, 2)}
    with verify.watch(model, optimizer, gradients=True, raises=False) as watched:
        model.a.grad = torch.ones(2, 2)
        take_steps(watched, model, lambda: put(model.a, 9), lambda: put(model.b, 3, -0.0), lambda: put(model.b, 4, 5))
        checks = [finding.check for finding in watched.verdict.findings]
        assert checks == ["gradients", "resurrection", "optimizer-state"]
        prune.custom_from_mask(model, "b", torch.tensor([[0, 0], [0, 1]]))
        take_steps(watched, model, nothing)
    back, left = watched.verdict.findings
    assert left.data == {"layers": {"a": 1}}
    assert left.message == "zeros of a (1) are not watched, since other weights have masks; name theirs in masks"
    assert back.data == {"count": 2, "layers": {"b": 2}, "first_step": 2, "steps": 2, "largest": "5"}
    assert "what was zero in b when the watch began counts as pruned" in back.message


def test_zeros_are_counted_anew_where_a_mask_comes_to_a_weight_that_was_let_go() -> None:
    """What was found before the first mask leaves nothing behind, neither its largest nor its steps."""
    model = Model()
    with verify.watch(model, still(model), raises=False) as watched:
        take_steps(watched, model, lambda: put(model.b, 9, 9))
        prune.custom_from_mask(model, "a", model.masks["a"])
        take_steps(watched, model, nothing)
        assert [finding.check for finding in watched.verdict.findings] == ["nothing-watched"]
        prune.custom_from_mask(model, "b", model.masks["b"])
        take_steps(watched, model, nothing)
        assert watched.verdict.findings == ()
        prune.remove(model, "b")
        take_steps(watched, model, lambda: put(model.b, 2, 0))
    assert only(watched).data == {"count": 1, "layers": {"b": 1}, "first_step": 4, "steps": 1, "largest": "2"}


def test_a_name_is_no_line_of_its_own() -> None:
    """The error that leaving the block raises has a line for each fault, and no other."""
    model = torch.nn.Module()
    model.register_parameter("w\nmasks-monotone: forged\x1b", torch.nn.Parameter(torch.eye(2)))
    (weight,) = model.parameters()
    optimizer = still(model)
    watched = verify.watch(model, optimizer)
    watched.__enter__()
    optimizer.step()
    put(weight, 1.0, 1.0)
    with pytest.raises(verify.PruningFaultError, match=r"^.* \(w masks-monotone: forged\\x1b; at step 1.*$"):
        watched.__exit__(None, None, None)
