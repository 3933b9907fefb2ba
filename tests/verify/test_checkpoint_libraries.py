"""Sound uses of torch's own libraries hold, whatever the names of their masks; what they cannot say is unchecked."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.ao.pruning.sparsifier.weight_norm_sparsifier import WeightNormSparsifier
from torch.nn.utils import parametrizations, parametrize, prune

from spinn.errors import InputError
from verify.checkpoints import audit_files, audit_states
from verify.cli import cli
from verify.findings import Finding, Verdict

LEDGER = "rounded half to even at each stage, of the weights still active"


def perceptron() -> nn.Sequential:
    """Weights 8·64, 64·32 and 32·1, and 97 biases."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 1))


def state(model: nn.Module) -> dict[str, Any]:
    """A copy of a state dict, in which tied tensors stay tied."""
    return copy.deepcopy(model.state_dict())


def pruned(model: nn.Module, amount: float, layers: Sequence[nn.Module]) -> dict[str, Any]:
    """The state after global pruning of some layers."""
    pairs = [(layer, "weight") for layer in layers]
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=amount)
    return state(model)


def of(verdict: Verdict, check: str) -> list[Finding]:
    """Findings of a check."""
    return [finding for finding in verdict.findings if finding.check == check]


def errors(verdict: Verdict) -> list[str]:
    """Checks that do not hold."""
    return [finding.check for finding in verdict.findings if finding.severity == "error"]


def sparsifier(model: nn.Module, names: Sequence[str], level: float, block: tuple[int, int]) -> WeightNormSparsifier:
    """Prepared, one step made, masks not squashed."""
    made = WeightNormSparsifier(sparsity_level=level, sparse_block_shape=block)
    made.prepare(model, [{"tensor_fqn": name} for name in names])  # type: ignore[arg-type]
    made.step()
    return made


# --- what is prunable -----------------------------------------------------------------------------------------------


def test_layers_without_masks_are_not_prunable_where_others_have_them() -> None:
    """The output layer that one leaves alone is in the denominator of the reduction, not of the weight sparsity."""
    model = perceptron()
    states = [state(model), pruned(model, 0.3, [model[0], model[2]])]
    verdict = audit_states(states, [".3"])
    assert errors(verdict) == []
    (dense, last) = (finding.data for finding in of(verdict, "sparsity"))
    assert dense["layers"] == {"0.weight": [512, 512], "2.weight": [2048, 2048]}
    assert (last["kept_weights"], last["weights"], last["weight_sparsity"]) == (1792, 2560, 1 - 1792 / 2560)
    assert (last["parameters"], last["reduction"]) == (1792 + 32 + 97, 1 - (1792 + 32 + 97) / 2689)
    assert dense["not_pruned"] == last["not_pruned"] == ["4.weight"]
    assert of(verdict, "counts")[0].data["convention"] == LEDGER


def test_embeddings_and_buffers_with_two_dimensions_are_no_weights_beside_masks() -> None:
    """A positional encoding is a buffer, and nothing in a state dict says so."""

    class Positioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.linear = nn.Embedding(50, 8), nn.Linear(8, 8)
            self.register_buffer("positions", torch.randn(100, 8))

    model = Positioned()
    states = [state(model), pruned(model, 0.5, [model.linear])]
    verdict = audit_states(states, [".5"])
    assert verdict.holds
    assert of(verdict, "sparsity")[1].data["not_pruned"] == ["positions", "embedding.weight"]


def test_biases_and_norms_with_masks_are_prunable_in_every_state() -> None:
    """Also in the dense one, where they have none yet; the audit goes on with all layers."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    states = [state(model)]
    prune.ln_structured(model[0], "weight", amount=0.5, n=2, dim=0)
    prune.l1_unstructured(model[0], "bias", amount=0.5)
    prune.l1_unstructured(model[1], "weight", amount=0.5)
    states.append(state(model))
    verdict = audit_states(states, [".5"])
    assert errors(verdict) == []
    assert of(verdict, "sparsity")[1].data["layers"] == {"0.bias": [4, 8], "0.weight": [108, 216], "1.weight": [4, 8]}
    assert of(verdict, "hidden-weights")[0].data["layers"] == {"0.bias": 4, "0.weight": 108, "1.weight": 4}


def by_hand(names: Sequence[str], model: nn.Module) -> dict[str, Any]:
    """The smaller half of each named tensor zeroed, without masks."""
    made = state(model)
    for name in names:
        made[name][made[name].abs() <= made[name].abs().flatten().sort().values[made[name].numel() // 2 - 1]] = 0
    return made


def test_layers_can_be_ignored_by_name(tmp_path: Path) -> None:
    """Of tensors or modules, with *; by the command too."""
    model = perceptron()
    states = [state(model), by_hand(["0.weight", "2.weight"], model)]
    counts = of(audit_states(states, [".5"]), "counts")[0]
    assert counts.severity == "error"
    assert counts.message.endswith(
        "; nothing of 4.weight is pruned: if that is meant, ignore it (ignored_layers, --ignore)"
    )
    for pattern in ("4.weight", "4", "4.*", "?.w*t", "*"):
        if pattern in ("?.w*t", "*"):
            with pytest.raises(InputError, match=r"dense: no weights; .* that are not ignored$"):
                audit_states(states, [".5"], ignored_layers=[pattern])
            continue
        verdict = audit_states(states, [".5"], ignored_layers=[pattern])
        assert errors(verdict) == []
        assert of(verdict, "sparsity")[1].data["not_pruned"] == ["4.weight"]
        assert of(verdict, "sparsity")[1].data["parameters"] == 1280 + 32 + 97
    paths = [str(tmp_path / f"{number}.pt") for number in range(2)]
    for path, made in zip(paths, states, strict=True):
        torch.save(made, path)
    assert audit_files([Path(path) for path in paths], [".5"], ["4"]).holds
    command = ["checkpoints", *paths, "--ratios", ".5"]
    assert CliRunner().invoke(cli, command, standalone_mode=False).return_value == 1
    shown = CliRunner().invoke(cli, [*command, "--ignore", "4", "--ignore", "0.bias"], standalone_mode=False)
    assert shown.return_value == 0
    assert "not pruned, and not in these counts of weights: 4.weight" in shown.output


def test_a_name_to_ignore_that_nothing_has_is_refused() -> None:
    """With the names there are, twelve at most."""
    few = {"a.weight": np.ones((2, 2)), "b": np.ones(2)}
    with pytest.raises(
        InputError,
        match=r"^ignored_layers = c\.\*: no tensor or module has that name; there are a\.weight, b$",
    ):
        audit_states([few, few], ignored_layers=["a", "c.*"])
    dozen = {f"a{number}": np.ones((2, 2)) for number in range(12)}
    with pytest.raises(InputError, match=r"there are a0, a1, .*, a11$"):
        audit_states([dozen, dozen], ignored_layers=["c"])
    many = {f"a{number}": np.ones((2, 2)) for number in range(13)}
    with pytest.raises(InputError, match=r"there are a0, a1, .*, a11, …$"):
        audit_states([many, many], ignored_layers=["c"])


def test_weights_that_are_zero_from_the_start_may_learn() -> None:
    """A head that is initialised with zeros was never pruned, neither beside masks nor in a loop by hand."""
    for masked in (True, False):
        model = perceptron()
        nn.init.zeros_(model[4].weight)  # type: ignore[arg-type]
        states = [state(model)]
        states.append(pruned(model, 0.5, [model[0]]) if masked else by_hand(["0.weight"], model))
        states.append({**states[1], "4.weight": torch.ones(1, 32)})
        verdict = audit_states(states)
        assert errors(verdict) == []
        if not masked:
            assert of(verdict, "sparsity")[1].data["layers"]["4.weight"] == [32, 32]


def test_zeros_of_the_dense_network_may_have_been_pruned() -> None:
    """The smallest magnitudes go first: where only that explains the counts, it is said; two readings, no more."""
    weight = torch.arange(20.0).reshape(4, 5)

    def counts(zeroed: int) -> Finding:
        stage = torch.where(weight < zeroed, 0, weight)
        return of(audit_states([{"w": weight}, {"w": stage}], [".5"]), "counts")[0]

    assert counts(10).data["convention"] == (
        "rounded half to even at each stage, zeros of the dense network counted as pruned"
    )
    assert counts(11).data["convention"] == LEDGER
    assert [counts(zeroed).severity for zeroed in (9, 10, 11, 13)] == ["error", "note", "note", "error"]


# --- names ----------------------------------------------------------------------------------------------------------


def compiled(model: nn.Module) -> Any:
    """As torch.compile wraps it; the default backend would only be loaded."""
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled])
def test_prefixes_of_wrappers_are_no_part_of_a_name(wrap: Any) -> None:
    """A wrapped stage is compared with a dense network that was not, and other wrappers may be around it."""
    model = perceptron()
    dense = state(model)
    pruned(model, 0.3, [model[0], model[2], model[4]])
    for wrapped in (wrap(model), nn.DataParallel(wrap(model))):
        verdict = audit_states([dense, state(wrapped)], [".3"])
        assert errors(verdict) == []
        assert list(of(verdict, "sparsity")[1].data["layers"]) == ["0.weight", "2.weight", "4.weight"]
    other = {**state(nn.DataParallel(model)), "head.weight": torch.ones(2, 2)}
    with pytest.raises(
        InputError, match=r"^dense: the layers that other states have masks of are not in it, but 0\.weight"
    ):
        audit_states([dense, other])


def test_an_averaged_model_is_compared_with_the_one_it_averages() -> None:
    """By names without its `module.`, in spite of its count."""
    model = perceptron()
    averaged = torch.optim.swa_utils.AveragedModel(model)
    verdict = audit_states([state(model), state(averaged), pruned(model, 0.3, [model[0]])], ["0", ".3"])
    assert errors(verdict) == []
    assert list(of(verdict, "sparsity")[1].data["layers"]) == ["0.weight"]


def test_masks_of_layers_written_by_hand() -> None:
    """A buffer `mask` beside the weight counts; only zeros under it show that the network has them as pruned."""

    class Masked(nn.Linear):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs)
            self.register_buffer("mask", torch.ones_like(self.weight))

    model = nn.Sequential(Masked(8, 64), Masked(64, 1))
    states = [state(model)]
    for layer in model:
        layer.mask = (layer.weight.abs() > layer.weight.abs().median()).float()  # type: ignore[union-attr]
    states.append(state(model))
    verdict = audit_states(states, [".5"])
    assert errors(verdict) == []
    assert of(verdict, "sparsity")[1].data["layers"] == {"0.weight": [256, 512], "1.weight": [32, 64]}
    assert of(verdict, "sparsity")[1].data["parameters"] == 256 + 32 + 65
    (unchecked,) = of(verdict, "resurrection")
    assert (unchecked.severity, unchecked.data["count"]) == ("unchecked", 288)
    for layer in model:
        layer.weight.data.mul_(layer.mask)  # type: ignore[operator, union-attr]
    verdict = audit_states([states[0], state(model)], [".5"])
    assert {finding.severity for finding in verdict.findings} == {"note"}
    assert of(verdict, "hidden-weights") == []


def test_attention_masks_are_neither_masks_nor_weights_nor_wrong() -> None:
    """They are −inf above the diagonal on purpose."""
    causal = torch.full((4, 4), -torch.inf).triu(1)
    states = [{"attn": torch.ones(4, 4), "attn_mask": causal, "a.mask": causal, "a.weight": torch.ones(4, 4)}] * 2
    verdict = audit_states(states)
    assert errors(verdict) == []
    assert list(of(verdict, "sparsity")[0].data["layers"]) == ["attn", "a.weight"]
    assert of(verdict, "sparsity")[0].data["parameters"] == 32


# --- parametrizations -----------------------------------------------------------------------------------------------


def test_masks_that_the_sparsifier_keeps_to_itself_leave_the_counts_unchecked() -> None:
    """Before squash_mask a state dict of torch.ao.pruning has every weight, and no masks: nothing can be counted."""
    model = perceptron()
    dense = state(model)
    made = sparsifier(model, ["0.weight", "2.weight"], 0.5, (1, 4))
    unsquashed = state(model)
    made.squash_mask()
    squashed = state(model)
    verdict = audit_states([dense, unsquashed], [".5"])
    where = "0.parametrizations.weight.original, 2.parametrizations.weight.original"
    assert errors(verdict) == []
    (counts,) = of(verdict, "counts")
    assert (counts.severity, counts.data["counted"]) == ("unchecked", [2592])
    assert counts.message == f"not counted, since masks cannot be read (stage 1: {where})"
    assert of(verdict, "masks-monotone")[0].severity == "unchecked"
    assert of(verdict, "sparsity")[1].message == (
        "stage 1: 2592 of 2592 prunable weights, weight sparsity 0.00 %; 2689 of 2689 parameters, reduction 0.00 %; "
        f"without the masks of {where}, which it does not say"
    )
    assert of(verdict, "nothing-pruned") == []
    twice = of(audit_states([dense, unsquashed, unsquashed], [".5", ".5"]), "counts")[0].message
    assert twice == f"not counted, since masks cannot be read (stage 1: {where}; stage 2: {where})"
    back = audit_states([dense, squashed, unsquashed])
    assert errors(back) == []  # whether they are back, a mask would say
    assert errors(audit_states([dense, squashed, dense])) == ["resurrection"]


class Times(nn.Module):
    """A parametrization that multiplies a tensor with a mask."""

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.mask: torch.Tensor
        self.register_buffer("mask", mask)

    def forward(self, weight: torch.Tensor) -> Any:
        """The product."""
        return weight * self.mask


def test_masks_stacked_by_parametrizations_are_one_mask() -> None:
    """Their product is what the network has: each stage adds one, and losing one of them brings weights back."""
    layer = nn.Linear(8, 5)
    model = nn.Sequential(layer)
    states = [state(model)]
    for ratio in (0.5, 0.2):
        weight = layer.weight.detach()
        active = weight[weight != 0].abs().sort().values
        kept = weight.abs() > active[round(ratio * len(active)) - 1]
        # what an earlier mask has pruned, the next one need not know
        parametrize.register_parametrization(layer, "weight", Times((kept | (weight == 0)).float()))
        states.append(state(model))
    assert int(torch.count_nonzero(layer.weight)) == 16
    verdict = audit_states(states, [".5", ".2"])
    assert errors(verdict) == []
    assert [finding.data["kept_weights"] for finding in of(verdict, "sparsity")] == [40, 20, 16]
    assert of(verdict, "counts")[0].data["convention"] == LEDGER
    lost = {**states[2], "0.parametrizations.weight.0.mask": torch.ones(5, 8)}
    assert [finding.data["count"] for finding in of(audit_states([*states, lost]), "masks-monotone")] == [20]


def test_other_parametrizations_are_no_pruning() -> None:
    """spectral_norm has its vectors beside it; weight_norm's magnitude belongs to its direction, which is the layer."""
    torch.manual_seed(0)
    model = nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(8, 8)), parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 8)
    )
    verdict = audit_states([state(model), state(model)])
    assert [finding.check for finding in verdict.findings] == ["sparsity", "sparsity", "nothing-pruned"]
    dense = of(verdict, "sparsity")[0].data
    assert dense["layers"] == {"0.weight": [64, 64], "1.weight": [64, 64], "2.weight": [64, 64]}
    assert dense["parameters"] == 3 * 64 + 3 * 8 + 8
    after = pruned(model, 0.5, [model[2]])
    assert audit_states([state(perceptron_of(8)), after], [".5"]).holds


def perceptron_of(width: int) -> nn.Sequential:
    """Three plain layers."""
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(3)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_older_norms_are_no_pruning_either() -> None:
    """torch.nn.utils.spectral_norm has `weight_orig` and no mask, weight_norm `weight_g` and `weight_v`."""
    model = nn.Sequential(nn.utils.spectral_norm(nn.Linear(8, 8)), nn.utils.weight_norm(nn.Linear(8, 8)))
    verdict = audit_states([state(model), state(model)])
    assert [finding.check for finding in verdict.findings] == ["sparsity", "sparsity", "nothing-pruned"]
    assert of(verdict, "sparsity")[0].data["layers"] == {"0.weight": [64, 64], "1.weight": [64, 64]}
    assert of(verdict, "sparsity")[0].data["parameters"] == 2 * 64 + 2 * 8 + 8


# --- tied weights ---------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    """An embedding that is the output layer too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.e, self.h = nn.Embedding(20, 8), nn.Linear(8, 20)
        self.h.weight = self.e.weight


def halved(model: Tied) -> dict[str, Any]:
    """Its state with the smaller half of the embedding zeroed."""
    weight = model.e.weight.data
    weight[weight.abs() <= weight.abs().flatten().sort().values[79]] = 0
    return state(model)


def test_tied_weights_count_once(tmp_path: Path) -> None:
    """By both denominators, from states and from files, and the other name is told."""
    model = Tied()
    states = [state(model), halved(model)]
    paths = [tmp_path / "dense.pt", tmp_path / "stage.pt"]
    for path, made in zip(paths, states, strict=True):
        torch.save(made, path)
    for verdict in (audit_states(states, [".5"]), audit_files(paths, [".5"])):
        assert verdict.holds
        last = of(verdict, "sparsity")[1].data
        assert (last["layers"], last["weights"], last["parameters"]) == ({"e.weight": [80, 160]}, 160, 100)
        assert of(verdict, "tied-weights") == [
            Finding(
                "tied-weights",
                "note",
                "tied weights are counted once: h.weight is e.weight",
                data={"tied": {"h.weight": "e.weight"}},
            )
        ]


def test_a_state_that_left_a_tied_name_out_has_it_all_the_same() -> None:
    """A file of safetensors has either of the two names."""
    model = Tied()
    dense, stage = state(model), halved(model)
    for gone, left in (("h.weight", "e.weight"), ("e.weight", "h.weight")):
        one = {name: tensor for name, tensor in stage.items() if name != gone}
        verdict = audit_states([dense, one], [".5"])
        assert verdict.holds
        assert of(verdict, "sparsity")[1].data["layers"] == {left: [80, 160]}
        assert of(verdict, "tied-weights")[0].data["tied"] == {gone: left}


def test_what_was_tied_and_is_no_more_is_two_weights() -> None:
    """A copy of each name unties them, for all states."""
    model = Tied()
    verdict = audit_states([state(model), {name: tensor.clone() for name, tensor in halved(model).items()}], [".5"])
    assert of(verdict, "tied-weights") == []
    assert of(verdict, "sparsity")[0].data["weights"] == 320


def test_each_pair_of_tied_weights_is_judged_and_told() -> None:
    """One that is untied leaves the others tied."""
    one, two, three = (torch.rand(2, 3) for _ in range(3))
    tied = {"a": one, "b": one, "c": two, "d": two, "e": three, "f": three}
    (told,) = of(audit_states([tied, {**tied, "b": one.clone()}]), "tied-weights")
    assert told.message == "tied weights are counted once: d is c, f is e"


def test_a_tied_weight_that_is_used_without_its_mask_is_not_pruned() -> None:
    """Only the embedding is pruned; the output layer goes on with `weight_orig`, all of it."""
    model = Tied()
    verdict = audit_states([state(model), pruned(model, 0.5, [model.e])], [".5"])
    assert errors(verdict) == ["counts"]
    assert of(verdict, "sparsity")[1].data["layers"] == {"e.weight": [160, 160]}
    both = Tied()
    states = [state(both)]
    for layer in (both.e, both.h):
        prune.custom_from_mask(layer, "weight", torch.arange(160).reshape(20, 8) >= 80)
    verdict = audit_states([*states, state(both)], [".5"])
    assert errors(verdict) == []
    assert of(verdict, "sparsity")[1].data["layers"] == {"e.weight": [80, 160]}


# --- nothing pruned, masks lost -------------------------------------------------------------------------------------


def test_states_in_which_nothing_is_pruned_are_not_said_to_hold_as_pruned() -> None:
    """After prune.remove and training there is nothing left to check."""
    model = perceptron()
    dense = state(model)
    pruned(model, 0.3, [model[0]])
    prune.remove(model[0], "weight")
    removed = state(model)
    with torch.no_grad():
        model[0].weight.add_(1e-3)  # type: ignore[operator]
    verdict = audit_states([dense, state(model)])
    assert of(verdict, "nothing-pruned") == [
        Finding(
            "nothing-pruned",
            "unchecked",
            "nothing is pruned in any of the states: there are no masks to check; are they the right files?",
            data={"weights": 2592},
        )
    ]
    for states in ([dense, removed], [dense, state(model), removed]):
        assert of(audit_states(states), "nothing-pruned") == []


def test_originals_without_their_masks_are_an_error() -> None:
    """`weight_orig` alone: loaded elsewhere, every weight is back."""
    model = perceptron()
    dense = state(model)
    whole = pruned(model, 0.3, [model[0], model[4]])
    bare = {name: tensor for name, tensor in whole.items() if not name.endswith("_mask")}
    verdict = audit_states([dense, whole, bare])
    assert errors(verdict) == ["resurrection", "masks-monotone"]
    assert of(verdict, "masks-monotone") == [
        Finding(
            "masks-monotone",
            "error",
            "stage 2: 0.weight, 4.weight have lost their masks: there is weight_orig without weight_mask; loaded "
            "elsewhere, every weight is back; save the whole state_dict(), or after prune.remove()",
            data={"stage": 2, "layers": ["0.weight", "4.weight"]},
        )
    ]
    assert errors(audit_states([dense, bare])) == ["masks-monotone"]
    assert errors(audit_states([bare, bare])) == ["masks-monotone"]
    for name in ("weight", "block.0.weight", "block.0.bias"):
        alone = {f"{name}_orig": torch.ones(2, 2)}
        (lost,) = of(audit_states([alone, alone]), "masks-monotone")
        assert lost.data["layers"] == [name]


def test_a_tensor_that_is_called_original_by_its_author_is_a_tensor() -> None:
    """With or without another one of the plain name; one that was plain before has lost its mask."""
    image = torch.ones(2, 2)
    assert errors(audit_states([{"image_orig": image}] * 2)) == []
    both = audit_states([{"image_orig": image, "image": image.clone()}] * 2)
    assert list(of(both, "sparsity")[0].data["layers"]) == ["image_orig", "image"]
    assert errors(audit_states([{"image": image}, {"image_orig": image}])) == ["masks-monotone"]
    assert errors(
        audit_states([{"a.bias": torch.ones(2), "w": image}, {"a.bias_orig": torch.ones(2), "w": image}])
    ) == ["masks-monotone"]
