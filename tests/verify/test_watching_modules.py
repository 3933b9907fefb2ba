"""What may be watched: modules of every kind, tied, lazy and complex parameters, biases, any optimizer's state."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrize, prune

import verify
from spinn.errors import InputError
from verify import strategies
from verify.places import find_places


def checks(watched: verify.watching.Watch) -> dict[str, str]:
    """Severity by check."""
    return {finding.check: finding.severity for finding in watched.verdict.findings}


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, steps: int = 3) -> None:
    """A loop that knows of no mask."""
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - 1).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.Flatten(), nn.Linear(16, 2)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2, bias=False)),
    ],
)
def test_modules_without_a_bias_are_watched(model: nn.Module) -> None:
    """A parameter that is None has nothing to prune, and is passed over."""
    prune.l1_unstructured(model[0], "weight", amount=0.3)  # type: ignore[index]
    optimizer = torch.optim.Adam(model.parameters())
    with verify.watch(model, optimizer) as watched:
        train(model, optimizer, torch.randn(8, 3, 4, 4))
    assert watched.verdict.holds
    assert watched.steps == 3


def test_attention_is_watched() -> None:
    """MultiheadAttention has parameters that are None, and one that serves three projections."""
    attention = nn.MultiheadAttention(8, 2)
    prune.random_unstructured(attention, "in_proj_weight", amount=0.5)
    optimizer = torch.optim.SGD(attention.parameters(), 0.1)
    x = torch.randn(3, 2, 8)
    with verify.watch(attention, optimizer) as watched:
        for _ in range(2):
            optimizer.zero_grad()
            attention(x, x, x)[0].square().mean().backward()
            optimizer.step()
    assert watched.verdict.holds
    assert watched.steps == 2


@pytest.mark.parametrize(
    ("make", "moves"),
    [
        (lambda parameters: torch.optim.SGD(parameters, 0.1), False),
        (lambda parameters: torch.optim.AdamW(parameters, 0.1), True),
    ],
)
def test_hidden_weights_are_noted_where_they_move(make: Callable[..., torch.optim.Optimizer], moves: bool) -> None:
    """Plain SGD leaves them as they were pruned, AdamW decays them all: the count is of those that moved."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1))
    prune.l1_unstructured(model[0], "weight", amount=0.3)
    before = model.get_parameter("0.weight_orig").detach().clone()
    optimizer = make(model.parameters())
    with verify.watch(model, optimizer) as watched:
        train(model, optimizer, torch.randn(32, 8))
    pruned = model.get_buffer("0.weight_mask") == 0
    moved = int((model.get_parameter("0.weight_orig") != before)[pruned].sum())
    assert bool(moved) == moves
    counts = [finding.data["count"] for finding in watched.verdict.findings if finding.check == "hidden-weights"]
    assert counts == ([moved] if moves else [])


def test_weights_that_a_later_stage_prunes_are_compared_with_what_they_were_then() -> None:
    """What a weight did while it was kept is no drift."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x = torch.randn(32, 8)
    with verify.watch(model, optimizer) as watched:
        for _ in range(3):
            prune.l1_unstructured(model[0], "weight", amount=0.3)
            model(x)
            train(model, optimizer, x)
    assert checks(watched) == {}


def test_a_pruned_bias_is_watched() -> None:
    """A mask may come to any parameter while the block runs; one that is removed and trained on is found."""
    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    x = torch.randn(32, 8)
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer, x)
        prune.l1_unstructured(model[0], "bias", amount=0.5)
        train(model, optimizer, x)
        prune.remove(model[0], "bias")
        train(model, optimizer, x)
    (finding,) = (finding for finding in watched.verdict.findings if finding.check == "resurrection")
    assert finding.data["layers"] == {"0.bias": 32}


def test_a_mask_of_a_bias_may_be_given() -> None:
    """By the parameter's name, as that of a weight."""
    model = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))
    with torch.no_grad():
        model.get_parameter("0.bias")[:2] = 0.0
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    with verify.watch(model, optimizer, {"0.bias": torch.tensor([0, 0, 1, 1])}, raises=False) as watched:
        train(model, optimizer, torch.randn(16, 8))
    assert watched.verdict.findings[0].data["layers"] == {"0.bias": 2}


def test_zeros_beside_masks_are_no_pruning() -> None:
    """A head that starts at zero may learn, where the model has masks elsewhere; it is said that nobody watches it."""
    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1))
    nn.init.zeros_(model.get_parameter("2.weight"))
    prune.l1_unstructured(model[0], "weight", amount=0.3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, optimizer) as watched:
        train(model, optimizer, torch.randn(32, 8))
    (note,) = (finding for finding in watched.verdict.findings if finding.check == "nothing-watched")
    assert note.data == {"layers": {"2.weight": 64}}
    assert "zeros of 2.weight (64) are not watched, since other weights have masks" in note.message


class Tied(nn.Module):
    """An embedding that is the output layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.out = nn.Linear(8, 20, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rows of logits."""
        return self.out(self.embedding(x))


def test_tied_weights_are_one() -> None:
    """An embedding that is the output layer too has its pruned entries counted once."""
    model = Tied()
    with torch.no_grad():
        model.embedding.weight[:10] = 0.0
    optimizer = torch.optim.Adam(model.parameters())
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer, torch.arange(20))
    assert watched.verdict.findings[0].data["layers"] == {"embedding.weight": 80}


@pytest.mark.parametrize("both", [False, True])
def test_each_mask_of_tied_weights_is_watched(both: bool) -> None:
    """Where one of the modules is pruned, or each by a mask of its own, a mask that grows is found."""
    model = Tied()
    optimizer = torch.optim.Adam(model.parameters())
    if both:
        prune.random_unstructured(model.embedding, "weight", 0.2)
    prune.l1_unstructured(model.out, "weight", 0.4)
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer, torch.arange(20))
        assert watched.verdict.holds
        model.out.get_buffer("weight_mask").fill_(1.0)
        train(model, optimizer, torch.arange(20))
    (grown,) = (finding for finding in watched.verdict.findings if finding.severity == "error")
    assert (grown.check, grown.data["layers"]) == ("masks-monotone", {"out.weight": 64})


def _enforce(mask: torch.Tensor) -> Callable[[nn.Module, object], None]:
    def enforce(layer: nn.Module, _: object) -> None:
        layer.get_parameter("weight").data.masked_fill_(~mask, 0.0)

    return enforce


@pytest.mark.parametrize("enforced", [True, False])
def test_layers_may_enforce_their_masks_when_they_are_used(enforced: bool) -> None:
    """In a forward hook of their own: what comes back before a forward pass, and is gone in it, is not used."""
    layers = nn.Linear(4, 3), nn.Linear(3, 2)
    model, masks = nn.Sequential(*layers), {}
    for index, layer in enumerate(layers):
        masks[f"{index}.weight"] = mask = torch.rand_like(layer.weight) > 0.5
        mask[0, 0] = False
        layer.weight.data *= mask
        if enforced:
            layer.register_forward_pre_hook(_enforce(mask))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, optimizer, masks, raises=False) as watched:
        train(model, optimizer, torch.randn(5, 4))
        model(torch.randn(5, 4))
    assert watched.verdict.holds is enforced


class Masking(nn.Module):
    """A parametrization that multiplies by its mask, as that of torch.ao.pruning does."""

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.mask: torch.Tensor
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The masked weight."""
        return self.mask * x


def test_masks_one_after_the_other_are_taken_together() -> None:
    """What either of two parametrizations prunes is pruned: if the second lets go, weights come back."""
    layer = nn.Linear(4, 2)
    model, optimizer = nn.Sequential(layer), torch.optim.SGD(layer.parameters(), 0.1)
    first, second = torch.ones(2, 4), torch.ones(2, 4)
    first[0, :2] = second[1, :3] = 0.0
    masks = Masking(first), Masking(second)
    for mask in masks:
        parametrize.register_parametrization(layer, "weight", mask)
    with verify.watch(model, optimizer, raises=False) as watched:
        assert sum(guard.pruned for guard in watched._guards) == 5
        train(model, optimizer, torch.randn(3, 4))
        assert watched.verdict.holds
        masks[1].mask.fill_(1.0)
        train(model, optimizer, torch.randn(3, 4))
    (grown,) = (finding for finding in watched.verdict.findings if finding.severity == "error")
    assert (grown.check, grown.data["count"]) == ("masks-monotone", 3)


def test_a_lazy_module_is_refused() -> None:
    """It has no weights yet; the message says what to do."""
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(InputError, match=r"0\.weight: has no shape yet; run a forward pass before it is watched"):
        verify.watch(model, torch.optim.SGD([torch.ones(1, requires_grad=True)], 0.1))


def test_complex_weights_are_watched() -> None:
    """A pruned complex weight is 0 + 0i: either part may come back."""
    weight = nn.Parameter(torch.randn(4, 3, dtype=torch.complex64))
    model = nn.Module()
    model.weight = weight
    mask = torch.ones(4, 3)
    mask[1, 2] = mask[3, 0] = 0
    with torch.no_grad():
        weight[1, 2] = weight[3, 0] = 0.0
    optimizer = torch.optim.SGD([weight], 0.0)
    with verify.watch(model, optimizer, {"weight": mask}, raises=False) as watched:
        optimizer.step()
        with torch.no_grad():
            weight[3, 0] = torch.complex(torch.tensor(0.0), torch.tensor(-0.25))
        optimizer.step()
    (finding,) = watched.verdict.findings
    assert (finding.check, finding.data["count"], finding.data["largest"]) == ("resurrection", 1, "0.25")


def test_sparse_gradients_are_looked_at() -> None:
    """SparseAdam gets gradients of an embedding's rows: those of pruned rows have to be zero where that is asked."""
    model = nn.Embedding(6, 2, sparse=True)
    with torch.no_grad():
        model.weight[0] = 0.0
    optimizer = torch.optim.SparseAdam(model.parameters())
    with verify.watch(model, optimizer, gradients=True, raises=False) as watched:
        for rows in (torch.tensor([1, 2]), torch.tensor([0, 1])):
            optimizer.zero_grad()
            model(rows).sum().backward()
            optimizer.step()
    (finding,) = (finding for finding in watched.verdict.findings if finding.check == "gradients")
    assert (finding.data["first_step"], finding.data["count"]) == (2, 2)


def test_state_that_is_not_per_weight_is_unchecked() -> None:
    """LBFGS keeps its directions for the whole network in one tensor: said, not passed over."""
    model = nn.Linear(3, 2)
    mask = torch.tensor([[1, 0, 1], [1, 1, 1]])
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(4, 3)).square().sum()
        loss.backward()
        return loss

    with verify.watch(model, optimizer, {"weight": mask}, raises=False) as watched:
        optimizer.step(closure)
        model.weight.data.mul_(mask)
    assert checks(watched)["optimizer-state"] == "unchecked"
    (message,) = (f.message for f in watched.verdict.findings if f.check == "optimizer-state")
    assert message.startswith("state of LBFGS (")


def test_state_of_rows_and_columns_is_named() -> None:
    """Adafactor keeps a number for each row and each column of a matrix; of a bias one each, which is looked at."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adafactor(model.parameters())
    mask = torch.tensor([[1, 0, 1], [1, 1, 1]])
    with verify.watch(model, optimizer, {"weight": mask}, raises=False) as watched:
        train(model, optimizer, torch.ones(4, 3), steps=1)
    (message,) = (f.message for f in watched.verdict.findings if f.check == "optimizer-state")
    assert message == (
        "state of Adafactor (col_var, row_var): not looked at, since it is not kept weight by weight; the weights are"
    )


def test_a_watched_model_can_be_saved_and_copied_whole() -> None:
    """The block's code may pickle the model or copy it; the copy is not watched, and works."""
    model = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, optimizer) as watched:
        train(model, optimizer, torch.randn(4, 8), steps=1)
        stream = io.BytesIO()
        torch.save(model, stream)
        assert b"verify" not in stream.getvalue()  # it is loaded where this project is not installed
        stream.seek(0)
        for twin in (torch.load(stream, weights_only=False), copy.deepcopy(model)):
            assert twin(torch.zeros(1, 8)).shape == (1, 1)
    assert watched.steps == 1


@given(data=st.data(), steps=st.integers(1, 3))
def test_what_is_held_holds_and_what_is_let_go_is_found(data: st.DataObject, steps: int) -> None:
    """On any network, masks and optimizer: clean while a loop holds its masks, and found as soon as it does not."""
    model = data.draw(strategies.modules())
    masks = data.draw(strategies.module_masks(model))
    optimizer = data.draw(strategies.optimizers(["Adam", "AdamW", "SGD", "RMSprop", "Rprop"])).make(model.parameters())
    pruned = sum(int((~mask).sum()) for mask in masks.values())
    named = dict(model.named_parameters())

    def hold() -> None:
        with torch.no_grad():
            for name, mask in masks.items():
                named[name].masked_fill_(~mask, 0.0)

    hold()
    with verify.watch(model, optimizer, masks) as watched:
        for _ in range(steps):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
            hold()
    assert watched.verdict.holds
    with verify.watch(model, optimizer, masks, raises=False) as watched:
        optimizer.step()
        with torch.no_grad():
            for name, mask in masks.items():
                named[name].masked_fill_(~mask, 0.5)
    errors = [finding for finding in watched.verdict.findings if finding.severity == "error"]
    assert [finding.data["count"] for finding in errors] == ([pruned] if pruned else [])


def test_a_mask_written_behind_torchs_back_is_found_at_the_end() -> None:
    """`mask.data` counts no version: the last look compares the mask in full."""
    model = nn.Linear(3, 2)
    prune.custom_from_mask(model, "weight", torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]))
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with verify.watch(model, optimizer, raises=False) as watched:
        for _ in range(3):
            optimizer.step()
            model(torch.zeros(1, 3))
        model.get_buffer("weight_mask").data[0, 1] = 1.0
    (finding,) = (finding for finding in watched.verdict.findings if finding.check == "masks-monotone")
    assert (finding.data["count"], finding.data["first_step"]) == (1, 3)


def test_a_mask_that_is_the_same_along_a_dimension_is_watched_in_full() -> None:
    """A parametrization multiplies (16, 1) with (16, 8): each of the row's weights is pruned."""
    model = nn.Linear(8, 16)
    mask = (torch.arange(16) % 2).float()[:, None]
    parametrize.register_parametrization(model, "weight", Masking(mask))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer, torch.randn(4, 8))
        assert checks(watched) == {}
        mask.fill_(1.0)
        train(model, optimizer, torch.randn(4, 8))
    (grown,) = (finding for finding in watched.verdict.findings if finding.severity == "error")
    assert (grown.check, grown.data["count"]) == ("masks-monotone", 64)


def test_a_mask_after_weight_norm_is_watched() -> None:
    """What lies under it is the direction, which has the weight's shape."""
    model = nn.Linear(8, 16)
    nn.utils.parametrizations.weight_norm(model)
    mask = torch.ones(16, 8)
    mask[:, :3] = 0
    parametrize.register_parametrization(model, "weight", Masking(mask))
    optimizer = torch.optim.Adam(model.parameters())
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer, torch.randn(4, 8))
        assert "error" not in checks(watched).values()
        mask[0, 0] = 1.0
        train(model, optimizer, torch.randn(4, 8))
    assert checks(watched)["masks-monotone"] == "error"


def test_a_parametrization_without_masks_may_come_inside_the_block() -> None:
    """Zeros of a weight stay watched where weight_norm takes it apart: a direction of zero gives a weight of zero."""
    model = nn.Linear(4, 2)
    model.weight.data[:, 0] = 0.0
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with verify.watch(model, optimizer) as watched:
        nn.utils.parametrizations.weight_norm(model)
        train(model, optimizer, torch.randn(4, 4))
    assert watched.verdict.holds


def test_a_mask_of_another_shape_than_what_is_stored_is_refused() -> None:
    """By the weight's name and both shapes."""
    model = nn.Linear(4, 2)
    parametrize.register_parametrization(model, "weight", Masking(torch.ones(3, 1, 4)), unsafe=True)
    with pytest.raises(
        InputError, match=r"^weight: its mask is \(3, 1, 4\), and what is stored of it \(2, 4\); it can"
    ):
        verify.watch(model, torch.optim.SGD(model.parameters(), 0.1))


@pytest.mark.parametrize("name", ["embedding.weight", "out.weight"])
def test_a_mask_of_tied_weights_may_have_any_of_their_names(name: str) -> None:
    """And is told by the one that was given."""
    model = Tied()
    optimizer = torch.optim.Adam(model.parameters())
    mask = torch.ones(20, 8)
    mask[:10] = model.embedding.weight.data[:10] = 0.0
    with verify.watch(model, optimizer, {name: mask}, raises=False) as watched:
        train(model, optimizer, torch.arange(20))
    assert watched.verdict.findings[0].data["layers"] == {name: 80}


def test_a_module_that_is_used_twice_is_one() -> None:
    """Under either of its names, with a mask of its own too."""
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    optimizer = torch.optim.Adam(model.parameters())
    mask = torch.eye(4)
    layer.weight.data.mul_(mask)
    for masks in (None, {"0.weight": mask}, {"2.weight": mask}):
        layer.weight.data.mul_(mask)
        with verify.watch(model, optimizer, masks, raises=False) as watched:
            train(model, optimizer, torch.randn(5, 4), steps=1)
        assert watched.verdict.findings[0].data["count"] == 12
    prune.custom_from_mask(layer, "weight", mask)
    assert [place.name for place in find_places(model)] == ["0.bias", "0.weight"]


@pytest.mark.parametrize(
    ("weight", "why"),
    [
        (torch.zeros(4, 4, device="meta"), "meta"),
        (torch.zeros(4, 4).to(torch.float8_e4m3fn), "torch.float8_e4m3fn"),
        (torch.eye(4).to_sparse_coo(), "torch.sparse_coo"),
    ],
    ids=["meta", "float8", "sparse"],
)
def test_weights_without_bits_to_compare_are_unchecked(weight: torch.Tensor, why: str) -> None:
    """Named, with the reason; the others are watched, and a mask of one changes nothing."""
    model = nn.Linear(4, 2)
    model.register_parameter("strange", nn.Parameter(weight, requires_grad=False))
    optimizer = torch.optim.SGD([model.weight], 0.1)
    mask = torch.ones(2, 4)
    mask[0] = 0
    for masks in ({"weight": mask}, {"weight": mask, "strange": torch.eye(4)}):
        model.weight.data[0] = 0.0
        with verify.watch(model, optimizer, masks, raises=False) as watched:
            train(model, optimizer, torch.randn(3, 4), steps=1)
        unchecked = [finding for finding in watched.verdict.findings if finding.severity == "unchecked"]
        assert [finding.data["layers"] for finding in unchecked] == [{"strange": why}] * len(unchecked)
        assert [finding.data["count"] for finding in watched.verdict.findings if finding.severity == "error"] == [4]
    with verify.watch(model, optimizer) as watched:
        pass
    assert f"strange ({why}): not looked at" in " ".join(finding.message for finding in watched.verdict.findings)


@pytest.fixture
def lone_process(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone, met over a file: no port is taken."""
    torch.distributed.init_process_group("gloo", init_method=(tmp_path / "store").as_uri(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("lone_process")
def test_sharded_weights_are_unchecked() -> None:
    """What fully_shard makes of a weight, a DTensor, has its bits in another tensor; the others are watched."""
    sharded, plain = nn.Linear(4, 4), nn.Linear(4, 2)
    fully_shard(sharded, mesh=init_device_mesh("cpu", (1,)))
    prune.l1_unstructured(plain, "weight", 0.5)
    model = nn.Sequential(sharded, plain)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, foreach=False)
    with verify.watch(model, optimizer, raises=False) as watched:
        train(model, optimizer, torch.randn(3, 4))
        assert watched.verdict.holds
        prune.remove(plain, "weight")
        train(model, optimizer, torch.randn(3, 4))
    assert checks(watched)["resurrection"] == "unchecked"
    back, unchecked = (finding for finding in watched.verdict.findings if finding.check == "resurrection")
    assert back.data["layers"] == {"1.weight": 4}
    assert unchecked.data["layers"] == {"0.weight": "DTensor", "0.bias": "DTensor"}


class Renamed(torch.Tensor):
    """A tensor by another name, with memory of its own."""


def test_a_subclass_that_leaves_operations_to_torch_is_watched() -> None:
    """Its bits are where those of every tensor are."""
    model = nn.Linear(4, 2)
    model.weight = nn.Parameter(model.weight.detach().as_subclass(Renamed))
    mask = torch.ones(2, 4)
    mask[0] = 0
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, optimizer, {"weight": mask}, raises=False) as watched:
        train(model, optimizer, torch.randn(3, 4))
    assert [finding.data["layers"] for finding in watched.verdict.findings] == [{"weight": 4}]


class Gate(nn.Module):
    """A parametrization whose gate is called a mask, and is none."""

    def __init__(self, gate: torch.Tensor) -> None:
        super().__init__()
        self.mask = gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The weight through its gate."""
        return torch.sigmoid(self.mask) * x


@pytest.mark.parametrize("learned", [True, False])
def test_a_gate_that_is_called_a_mask_is_none(learned: bool) -> None:
    """Logits begin at 0 and move, or have other values than 0 and 1: no weight is pruned by them."""
    model = nn.Linear(4, 2)
    gate = nn.Parameter(torch.zeros(2, 4)) if learned else torch.linspace(-1, 1, 8).view(2, 4).round(decimals=0)
    parametrize.register_parametrization(model, "weight", Gate(gate))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    with verify.watch(model, optimizer) as watched:
        train(model, optimizer, torch.randn(3, 4), steps=1)
        gate.data.add_(1)
        train(model, optimizer, torch.randn(3, 4))
    assert [finding.check for finding in watched.verdict.findings] == ["nothing-watched"]


def test_a_mask_that_gets_other_values_than_0_and_1_stays_a_mask() -> None:
    """What is not 0 is kept: a softer mask keeps what it kept, and an entry that leaves 0 is back."""
    model, mask = nn.Linear(4, 2), torch.ones(2, 4)
    mask[0] = 0
    parametrize.register_parametrization(model, "weight", Masking(mask))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with verify.watch(model, optimizer, raises=False) as watched:
        mask.mul_(0.5)
        train(model, optimizer, torch.randn(3, 4))
        assert watched.verdict.holds
        mask[0, 0] = 0.25
        train(model, optimizer, torch.randn(3, 4))
    (grown,) = (finding for finding in watched.verdict.findings if finding.severity == "error")
    assert (grown.check, grown.data["count"]) == ("masks-monotone", 1)


def test_tied_weights_may_have_a_mask_under_each_name() -> None:
    """What either prunes is pruned, and counted once."""
    model = Tied()
    first, second = torch.ones(20, 8), torch.ones(20, 8)
    first[:4] = second[2:10] = 0
    model.embedding.weight.data[:10] = 0.0
    optimizer = torch.optim.Adam(model.parameters())
    masks = {"out.weight": second, "embedding.weight": first}
    with verify.watch(model, optimizer, masks, raises=False) as watched:
        train(model, optimizer, torch.arange(20))
    assert watched.verdict.findings[0].data["layers"] == {"embedding.weight": 80}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # it is still in use
def test_a_scripted_module_is_refused() -> None:
    """Its parameters are out of reach; so is the part of a model that is one."""
    scripted = torch.jit.script(nn.Linear(4, 2))
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], 0.1)
    with pytest.raises(InputError, match=r"^model = RecursiveScriptModule: watch the module that it was scripted from"):
        verify.watch(scripted, optimizer)
    with pytest.raises(InputError, match=r"^0 = RecursiveScriptModule: watch the module"):
        verify.watch(nn.Sequential(scripted), optimizer)
