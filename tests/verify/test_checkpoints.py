"""The audit of state dicts gives the right verdict on files that this project did not write."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils import prune

from spinn.errors import InputError
from spinn.masks import Masks
from spinn.model import Network, to_checkpoint
from verify.checkpoints import audit_files, audit_states
from verify.cli import cli
from verify.findings import Finding, Verdict

LAYERS = (9, 20, 12, 3)
RATIOS = (".30", ".30", ".24")


def perceptron(layers: Sequence[int] = LAYERS) -> torch.nn.Sequential:
    """A network with fixed weights, none of them zero."""
    torch.manual_seed(5)
    parts = [part for widths in pairwise(layers) for part in (torch.nn.Linear(*widths), torch.nn.Tanh())]
    return torch.nn.Sequential(*parts[:-1])


def linear(model: torch.nn.Sequential) -> list[torch.nn.Linear]:
    """Its layers with weights."""
    return [layer for layer in model if isinstance(layer, torch.nn.Linear)]


def steps(model: torch.nn.Module, optimizer: torch.optim.Optimizer, held: Any = None, number: int = 2) -> None:
    """Training; `held` is called after each step."""
    for step in range(number):
        x = torch.randn((16, LAYERS[0]), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (model(x) - x[:, :3]).square().mean().backward()
        optimizer.step()
        if held is not None:
            held()


def by_hand(model: torch.nn.Sequential, ratios: Sequence[str] = RATIOS) -> list[dict[str, torch.Tensor]]:
    """The states of a hand-written loop: the smallest active magnitudes of all layers go, and stay away."""
    states = [copied(model)]
    masks = [torch.ones_like(layer.weight, dtype=torch.bool) for layer in linear(model)]
    optimizer = torch.optim.Adam(model.parameters())

    def enforce() -> None:
        with torch.no_grad():
            for layer, mask in zip(linear(model), masks, strict=True):
                layer.weight.masked_fill_(~mask, 0.0)

    for ratio in ratios:
        active = sum(int(mask.sum()) for mask in masks)
        magnitudes = torch.cat(
            [layer.weight.detach()[mask].abs() for layer, mask in zip(linear(model), masks, strict=True)]
        )
        cut = magnitudes.sort().values[round(float(ratio) * active) - 1]
        masks[:] = [
            mask & (layer.weight.detach().abs() > cut) for layer, mask in zip(linear(model), masks, strict=True)
        ]
        enforce()
        steps(model, optimizer, enforce)
        states.append(copied(model))
    return states


def copied(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A state dict that shares nothing with the model."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def found(verdict: Verdict, check: str) -> list[Finding]:
    """Findings of a check."""
    return [finding for finding in verdict.findings if finding.check == check]


def errors(verdict: Verdict) -> list[str]:
    """Checks that do not hold."""
    return [finding.check for finding in verdict.findings if finding.severity == "error"]


def saved(folder: Path, states: Sequence[dict[str, torch.Tensor]], kind: str = "pt") -> list[str]:
    """Files of the states."""
    paths = [folder / f"s{number}.{kind}" for number in range(len(states))]
    for path, state in zip(paths, states, strict=True):
        if kind == "safetensors":
            safetensors.torch.save_file(state, path)
        else:
            torch.save(state, path)
    return [str(path) for path in paths]


def invoke(*arguments: str) -> Any:
    """The command, in this process."""
    return CliRunner().invoke(cli, ["checkpoints", *arguments], standalone_mode=False)


# --- what other projects write --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_a_network_pruned_by_hand_holds(tmp_path: Path, kind: str) -> None:
    """Zeros are the masks: counts are exactly the ledger's, and nothing came back."""
    paths = saved(tmp_path, by_hand(perceptron()), kind)
    result = invoke(*paths, "--ratios", ",".join(RATIOS), "--json")
    printed = json.loads(result.stdout)
    assert result.return_value == 0
    assert printed.keys() == {"holds", "findings"}
    assert all(finding.keys() == {"check", "severity", "message", "data"} for finding in printed["findings"])
    (counts,) = (finding for finding in printed["findings"] if finding["check"] == "counts")
    assert counts["severity"] == "note"
    assert counts["data"]["counted"] == counts["data"]["planned"]


def test_sparsity_names_both_denominators() -> None:
    """Weight sparsity is over weights, reduction over all parameters, biases among them."""
    verdict = audit_states(by_hand(perceptron(), (".50",)))
    last = found(verdict, "sparsity")[-1].data
    weights, biases = 9 * 20 + 20 * 12 + 12 * 3, 20 + 12 + 3
    assert last["weight_sparsity"] == pytest.approx(0.5)
    assert last["kept_weights"] == weights // 2
    assert last["reduction"] == pytest.approx(1 - (weights // 2 + biases) / (weights + biases))


def test_torch_prune_used_rightly_holds_with_the_hidden_drift_as_a_note(tmp_path: Path) -> None:
    """Pairs of `weight_orig` and `weight_mask`; under Adam with weight decay nearly all hidden weights move."""
    model = perceptron()
    states = [copied(model)]
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    for ratio in RATIOS:
        pairs = [(layer, "weight") for layer in linear(model)]
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=float(ratio))
        steps(model, optimizer)
        states.append(copied(model))
    verdict = audit_files([Path(path) for path in saved(tmp_path, states)], RATIOS)
    assert errors(verdict) == []
    last = found(verdict, "hidden-weights")[-1]
    weights = found(verdict, "sparsity")[-1].data
    assert last.severity == "note"
    assert last.data["count"] > 0.9 * (weights["weights"] - weights["kept_weights"])


def test_removing_the_pruning_between_stages_fails_with_the_counts(tmp_path: Path) -> None:
    """`prune.remove`, then Adam: every pruned weight is back, kept *rises*, and the message has the counts."""
    model = perceptron()
    states = [copied(model)]
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    for ratio in RATIOS:
        pairs = [(layer, "weight") for layer in linear(model)]
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=float(ratio))
        for layer in linear(model):
            prune.remove(layer, "weight")
        states.append(copied(model))
        steps(model, optimizer)
    result = invoke(*saved(tmp_path, states), "--ratios", ",".join(RATIOS))
    assert result.return_value == 1
    verdict = audit_states(states, RATIOS)
    assert {"counts", "resurrection"} <= set(errors(verdict))
    back = found(verdict, "resurrection")[0]
    assert back.data["count"] > 20
    assert f"{back.data['count']} pruned weights are not zero; the largest is" in result.stdout
    assert set(back.data["layers"]) <= {"0.weight", "2.weight", "4.weight"}


def test_the_sparsifier_after_squash_mask_and_a_step_fails() -> None:
    """Its own state dict has no masks, which is said; squashed it holds, and one Adam step brings the weights back."""
    from torch.ao.pruning.sparsifier.weight_norm_sparsifier import WeightNormSparsifier

    model = perceptron()
    states = [copied(model)]
    sparsifier = WeightNormSparsifier(sparsity_level=0.5, sparse_block_shape=(1, 1), zeros_per_block=1)
    sparsifier.prepare(model, [{"tensor_fqn": f"{index}.weight"} for index in (0, 2, 4)])  # type: ignore[arg-type]
    sparsifier.step()
    (unchecked,) = (f for f in audit_states([*states, copied(model)]).findings if f.severity == "unchecked")
    assert "the masks of 0.parametrizations.weight.original, " in unchecked.message
    sparsifier.squash_mask()
    states.append(copied(model))
    assert audit_states(states).holds
    steps(model, torch.optim.Adam(model.parameters()), number=1)
    states.append(copied(model))
    assert errors(audit_states(states)) == ["resurrection"]


def test_a_network_whose_layers_shrink_holds_and_one_that_grows_again_fails() -> None:
    """Counted by size; which neurons are left cannot be seen, so monotone masks stay unchecked there."""
    widths = [(9, 20, 12, 3), (9, 14, 8, 3), (9, 10, 5, 3)]
    states = [copied(perceptron(layers)) for layers in widths]
    verdict = audit_states(states)
    assert verdict.holds
    assert {finding.severity for finding in found(verdict, "masks-monotone")} == {"unchecked"}
    assert found(verdict, "sparsity")[-1].data["kept_weights"] == 9 * 10 + 10 * 5 + 5 * 3
    assert "masks-monotone" in errors(audit_states([states[0], states[2], states[1]]))


def test_this_projects_checkpoints_are_read(tmp_path: Path) -> None:
    """The packed mask is the mask, and what lies outside it shows."""
    from spinn import checkpoint

    network = Network.initialise(LAYERS, [0])
    draw = torch.Generator().manual_seed(1)
    masks = Masks(tuple(torch.rand(w.shape, generator=draw) < 0.6 for w in network.weights))
    paths = [tmp_path / "dense.safetensors", tmp_path / "stage-1.safetensors"]
    checkpoint.write(paths[0], to_checkpoint(network, None, 0, {"a": 1.0}))
    checkpoint.write(paths[1], to_checkpoint(network, masks, 0, {"a": 1.0}))
    outside = audit_files(paths)
    assert errors(outside) == ["resurrection"]
    assert found(outside, "hidden-weights") == []  # the network has them
    with torch.no_grad():
        for weight, mask in zip(network.weights, masks.layers, strict=True):
            weight.masked_fill_(~mask, 0.0)
    checkpoint.write(paths[1], to_checkpoint(network, masks, 0, {"a": 1.0}))
    verdict = audit_files(paths)
    assert verdict.holds
    assert found(verdict, "sparsity")[-1].data["kept_weights"] == masks.kept()[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_other_precisions_are_read(tmp_path: Path, dtype: torch.dtype, kind: str) -> None:
    """Half precision has more weights than fp16 can count, and numpy has no bfloat16."""
    weight = torch.ones((300, 300), dtype=dtype)
    pruned = weight.clone()
    pruned[:200] = 0
    verdict = audit_files([Path(p) for p in saved(tmp_path, [{"w.weight": weight}, {"w.weight": pruned}], kind)])
    assert verdict.holds
    assert found(verdict, "sparsity")[-1].data["kept_weights"] == 30_000


def test_bfloat16_is_read_whatever_numpy_knows_of_it(tmp_path: Path) -> None:
    """The package ml_dtypes, which onnx imports, gives numpy a bfloat16 that is no float to it."""
    pytest.importorskip("ml_dtypes", reason="comes with onnx, which is not installed")
    test_other_precisions_are_read(tmp_path, torch.bfloat16, "safetensors")


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict"])
def test_a_state_dict_inside_a_training_checkpoint_is_found(tmp_path: Path, key: str) -> None:
    """The usual wrappings."""
    states = by_hand(perceptron())
    paths = saved(tmp_path, [{key: state, "epoch": 3} for state in states])  # type: ignore[list-item]
    assert audit_files([Path(path) for path in paths]).holds


# --- each check can fail --------------------------------------------------------------------------------------------


@given(data=st.data())
def test_any_single_weight_that_comes_back_is_found(data: st.DataObject) -> None:
    """One entry among all pruned ones, at any later stage, however small."""
    states = [{name: tensor.numpy().copy() for name, tensor in state.items()} for state in STATES]
    number = data.draw(st.integers(2, len(states) - 1))
    name = data.draw(st.sampled_from(["0.weight", "2.weight", "4.weight"]))
    gone = np.argwhere(states[number - 1][name] == 0)
    where = tuple(gone[data.draw(st.integers(0, len(gone) - 1))])
    size = data.draw(st.floats(2.0**-149, 2.0**100, width=32))
    states[number][name][where] = size
    verdict = audit_states(states)
    revived = found(verdict, "resurrection")[0]
    assert revived.data["layers"] == {name: 1}
    assert revived.data["stage"] == number
    assert revived.data["largest"] == pytest.approx(float(np.float32(size)))


@given(data=st.data())
def test_masks_that_only_shrink_always_hold(data: st.DataObject) -> None:
    """Whatever is pruned in whichever order, as long as each layer keeps a weight."""
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    weight = draw.normal(size=(7, 5)).astype(np.float32)
    states, mask = [{"a.weight": weight, "a.bias": weight[0]}], np.ones(weight.shape, bool)
    for _ in range(data.draw(st.integers(1, 4))):
        mask = mask & (draw.random(weight.shape) < data.draw(st.sampled_from([0.0, 0.5, 1.0])))
        mask[0, 0] = True
        states.append({"a.weight": np.where(mask, weight, np.float32(0)), "a.bias": weight[0]})
    assert audit_states(states).holds


def test_masks_that_keep_more_than_before_fail() -> None:
    """Masks rebuilt at each stage instead of refined."""
    weight = torch.arange(1.0, 13.0).reshape(3, 4)
    first = {"w_orig": weight, "w_mask": (weight > 6).float()}
    second = {"w_orig": weight, "w_mask": (weight < 4).float()}
    verdict = audit_states([{"w": weight}, first, second])
    assert found(verdict, "masks-monotone")[0].data["layers"] == {"w": 3}


def test_a_collapsed_layer_is_an_error_and_a_thin_one_a_note() -> None:
    """Nothing passes through a layer without weights."""
    weight = torch.ones(20, 20)
    thin = torch.zeros(20, 20)
    thin[0, 0] = 1
    verdict = audit_states([{"a": weight, "b": weight}, {"a": torch.zeros(20, 20), "b": thin}])
    assert [(f.severity, f.data["layer"]) for f in found(verdict, "collapsed-layer")] == [("error", "a"), ("note", "b")]


def test_ties_at_the_threshold_are_named_with_their_layers() -> None:
    """Equal magnitudes on both sides of the cut: which of them went was not decided by magnitude."""
    dense = {"a": torch.full((4, 5), 0.5), "b": torch.full((4, 5), -0.5)}
    pruned = {name: weight.clone() for name, weight in dense.items()}
    pruned["a"][:2] = 0
    verdict = audit_states([dense, pruned])
    assert verdict.holds
    assert found(verdict, "ties")[0].data["layers"] == {"a": [10, 10], "b": [0, 20]}
    assert not found(audit_states(by_hand(perceptron())), "ties")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_values_are_found_in_weights_biases_and_under_masks(value: float) -> None:
    """A NaN weight is never below a threshold, and inf · 0 is NaN."""
    weight = torch.ones(4, 4)
    for name, at in (("a.weight", (0, 0)), ("a.bias", (1,))):
        state = {"a.weight": weight.clone(), "a.bias": torch.ones(4)}
        state[name][at] = value
        verdict = audit_states([{"a.weight": weight, "a.bias": torch.ones(4)}, state])
        assert found(verdict, "non-finite")[0].data["layers"] == {name: 1}
    hidden = {"a.weight_orig": weight.clone(), "a.weight_mask": weight.clone(), "a.bias": torch.ones(4)}
    hidden["a.weight_orig"][0, 0], hidden["a.weight_mask"][0, 0] = value, 0.0
    assert not audit_states([{"a.weight": weight, "a.bias": torch.ones(4)}, hidden]).holds


def test_negative_zeros_are_a_note() -> None:
    """What `mul_(mask)` leaves of negative weights."""
    weight = torch.tensor([[1.0, -2.0], [-3.0, 4.0]])
    verdict = audit_states([{"w": weight}, {"w": weight * torch.tensor([[0.0, 0.0], [1.0, 1.0]])}])
    assert verdict.holds
    assert found(verdict, "negative-zero")[0].data["count"] == 1


# --- conventions ----------------------------------------------------------------------------------------------------


def of_counts(active: int, kept: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """States of one layer that keep these many weights."""
    weight = np.arange(1, active + 1, dtype=np.float32).reshape(1, -1)
    return [{"w": np.where(np.arange(active) >= active - count, weight, 0)} for count in (active, *kept)]


@pytest.mark.parametrize(
    ("active", "ratios", "kept", "severity", "words"),
    [
        (665_088, (".30", ".30", ".24", ".24"), (465_562, 325_893, 247_679, 188_236), "note", "exactly as planned"),
        (10, (".25", ".25"), (8, 6), "note", "exactly as planned"),
        (10, (".25", ".25"), (7, 5), "note", "rounded up at each stage"),
        (11, (".5", ".5"), (5, 3), "note", "exactly as planned"),
        (11, (".5", ".5"), (6, 3), "note", "rounded down at each stage"),
        (5, (".3", ".3", ".3"), (3, 2, 2), "note", "rounded once, from the share that should be left"),
        (100, (".9",), (9,), "note", "rounded down on the kept side after a product in floating point at each stage"),
        (100, (".8",), (19,), "note", "rounded down on the kept side after a product in floating point at each stage"),
        (15, (".5", ".5"), (8, 4), "note", "rounded down at each stage"),
        (5, (".5", ".25"), (2, 2), "note", "rounded half to even on the kept side at each stage"),
        (100, (".9",), (7,), "error", "7 weights are kept, planned 10"),
        (100, (".9",), (11,), "error", "11 weights are kept, planned 10"),
        (1000, (".20", ".20", ".15", ".15"), (800, 600, 450, 300), "error", "of all weights and added up"),
        (1000, (".20", ".20", ".15", ".15"), (800, 800, 850, 850), "error", "of all weights anew"),
        (1000, (".20", ".20"), (790, 600), "error", "790 weights are kept, planned 800"),
    ],
)
def test_counts_are_judged_by_a_named_convention(
    active: int, ratios: tuple[str, ...], kept: Sequence[int], severity: str, words: str
) -> None:
    """The ledger's; another sound one, named; or a mistake, named where it is a known one."""
    finding = found(audit_states(of_counts(active, kept), ratios), "counts")[0]
    assert finding.severity == severity
    assert words in finding.message


# --- bad input ------------------------------------------------------------------------------------------------------


class _Runs:
    """A pickle of this writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_is_refused_and_the_code_not_run(tmp_path: Path) -> None:
    """Status 2, one line, by the installed command."""
    good = saved(tmp_path, [copied(perceptron())])[0]
    evil, mark = tmp_path / "evil.pt", tmp_path / "it-ran"
    torch.save({"a.weight": torch.ones(2, 2), "payload": _Runs(mark)}, evil)
    command = Path(sys.executable).parent / "spinn-verify"
    ended = subprocess.run([command, "checkpoints", good, evil], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert not mark.exists()
    assert len(ended.stderr.splitlines()) == 1
    assert "it holds more than tensors, and was not loaded" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", b"", "not a file of torch.save"),
        ("a.pt", b"PK\x03\x04 broken", "not a file of torch.save"),
        ("a.pt", b"\x80\x04nonsense", "torch.save|more than tensors"),
        ("a.safetensors", b"\xff" * 40, "not a safetensors file"),
        ("a.npz", b"x", "expected a name that ends in"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """One line, with what was expected."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        audit_files([path, path])
    with pytest.raises(InputError, match="no such file"):
        audit_files([tmp_path / "absent.pt", path])


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    """Wherever it ends."""
    (good,) = saved(tmp_path, [copied(perceptron())])
    whole, short = Path(good).read_bytes(), tmp_path / "short.pt"
    for length in range(0, len(whole) - 1, 997):
        short.write_bytes(whole[:length])
        with pytest.raises(InputError, match="it is damaged or of another kind"):
            audit_files([short, short])


@pytest.mark.parametrize(
    ("states", "ratios", "message"),
    [
        ([{"w": np.ones((2, 2))}], None, "expected the dense network and at least one stage"),
        ([{"w": np.ones((2, 2))}] * 2, ["0.3", "0.3"], "2 given for 1 stages"),
        ([{"w": np.ones((2, 2))}] * 2, ["1.2"], "at least 0 and below 1"),
        ([{"w": np.ones((2, 2))}] * 2, ["a third"], "decimals such as 0.30"),
        ([{"b": np.ones(2)}] * 2, None, "no weights"),
        ([{}] * 2, None, "no tensors"),
        ([{"w": 3}] * 2, None, "expected a tensor"),
        ([{"w_orig": np.ones((2, 2)), "w_mask": np.full((2, 2), 0.5)}] * 2, None, "is not 0 and 1"),
    ],
)
def test_input_without_meaning_is_refused(states: Any, ratios: Any, message: str) -> None:
    """By name, with what was expected."""
    with pytest.raises(InputError, match=message):
        audit_states(states, ratios)


def test_another_network_is_an_error() -> None:
    """Layers that come or go are named."""
    verdict = audit_states([{"a": np.ones((2, 2))}, {"b": np.ones((2, 2))}])
    assert errors(verdict) == ["counts"]
    assert found(verdict, "counts")[0].data["layers"] == ["a", "b"]


def test_a_layer_that_goes_is_named_though_it_was_not_prunable() -> None:
    """What a state has beside its weights is its network, too."""
    weight, head = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    dense, stage = {"w": weight, "head": head}, {"w_orig": weight, "w_mask": np.array([[0, 1]])}
    assert found(audit_states([dense, stage]), "counts")[0].data["layers"] == ["head"]
    assert found(audit_states([dense, {**stage, "head": head}]), "counts") == []


def test_layers_come_in_the_order_of_the_dense_network() -> None:
    """In whichever a later file has them; safetensors sorts by name."""
    dense, gone = {"b": np.ones((2, 2)), "a": np.ones((2, 2))}, {"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}
    verdict = audit_states([dense, gone, dense])
    assert [finding.data["layer"] for finding in found(verdict, "collapsed-layer")] == ["b", "a"]
    assert found(verdict, "resurrection")[0].message.endswith("(b, a)")


STATES = by_hand(perceptron())
