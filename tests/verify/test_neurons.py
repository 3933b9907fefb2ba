"""Networks without their removed neurons, judged: counts, which neurons went, and that what is decoded is the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinn import checkpoint, neurons, pruning, step, task, variants
from spinn.checkpoint import Checkpoint
from spinn.data.dataset import read_canonical
from spinn.model import Network as Stacked
from spinn.model import from_checkpoints, to_checkpoint
from spinn.record import DATASET, DEPLOYED, LedgerStage, checkpoint_name
from verify.folder import digest_all, read_folder
from verify.head import Head
from verify.network import Network, decode
from verify.neurons import first_order, training_rows
from verify.replay import forward
from verify.schedules import neuron_ledger

LAYERS = (18, 6, 5, 2)
NAMES = ("incoming", "both-sides", "first-order")


def first(runs, name: str = "incoming") -> str:
    """Id of a run of the pruner."""
    return runs.names(name)[0]


def numbers(runs, run_id: str, stage: int) -> list[list[int]]:
    """Of each hidden layer, the kept neurons; all of them before any went."""
    stored = checkpoint.read(runs.folder(run_id) / checkpoint_name(stage)).neurons
    return [list(range(width)) for width in LAYERS[1:-1]] if stored is None else [one.tolist() for one in stored]


def renumbered(layer: int, new: list[int]):
    """An edit of a network: its neurons of `layer` are said to have been these, sorted."""

    def edit(network: Checkpoint) -> Checkpoint:
        assert network.neurons is not None
        kept = list(network.neurons)
        kept[layer] = np.array(sorted(new), np.int32)
        return replace(network, neurons=tuple(kept))

    return edit


# --- what is sound --------------------------------------------------------------------------------------------------


def test_sound_runs_hold(neuron_runs) -> None:
    """With replay, of every pruner of neurons; there is no deployed network, the stages' own are small."""
    assert neuron_runs.audit().holds
    assert not list(neuron_runs.path.rglob(DEPLOYED))


def test_counts_on_disk_are_the_ledgers(neuron_runs) -> None:
    """Every stage of every run: sizes of its tensors, the record, the plan and the judge's own ledger are one."""
    for run in neuron_runs.plan.runs:
        ratios = [stage.ratio for stage in neuron_runs.plan.variant(run.variant).stages]
        for line, own in zip(neuron_runs.plan.ledger[run.variant], neuron_ledger(LAYERS, ratios), strict=True):
            assert line == LedgerStage(**vars(own))
            network = checkpoint.read(neuron_runs.folder(run.run_id) / checkpoint_name(line.stage))
            stage = neuron_runs.record(run.run_id).stages[line.stage]
            assert network.layers == line.widths
            assert network.masks is None
            assert sum(weight.size for weight in network.weights) == line.kept_weights == stage.kept_weights
            sizes = [array.size for array in (*network.weights, *network.biases)]
            assert sum(sizes) == line.parameters == stage.parameters
            assert [row.weights for row in stage.layers] == [18 * 6, 6 * 5, 5 * 2]
            assert [row.kept for row in stage.layers] == [weight.size for weight in network.weights]


@given(st.lists(st.decimals("0", "0.6", places=2).map(str), min_size=1, max_size=5))  # five of 0.6 empty no layer
def test_the_two_ledgers_agree(ratios: list[str]) -> None:
    """Planner and judge, each with its own code, come to the same integers."""
    planned = variants.ledger("neurons-incoming", (18, 512, 512, 512, 256, 2), ratios)
    for line, own in zip(planned, neuron_ledger((18, 512, 512, 512, 256, 2), ratios), strict=True):
        assert (line.ratio_text, line.widths) == (own.ratio, own.widths)
        assert all(
            getattr(line, key) == getattr(own, key) for key in ("active", "pruned", "kept_weights", "parameters")
        )


@given(st.tuples(st.integers(1, 6), st.integers(1, 5)), st.integers(0, 99))
def test_the_expanded_network_says_what_the_small_one_says(widths: tuple[int, int], seed: int) -> None:
    """Its outputs are the small network's, its ones and its biases that are there its parameters."""
    draw = np.random.default_rng(seed)
    stack = Stacked.initialise((18, *widths, 2), [seed])
    for bias in stack.biases:
        bias.data.normal_(generator=torch.Generator().manual_seed(seed))
    kept = [np.sort(draw.permutation(old)[:new]) for old, new in zip(LAYERS[1:-1], widths, strict=True)]
    stored = to_checkpoint(stack, None, 0, {}, [torch.from_numpy(one)[None] for one in kept])
    network = decode(safetensors.numpy.load(checkpoint.encode(stored)), LAYERS)
    x = draw.normal(size=(7, 18)).astype(np.float32)
    own = forward(network, x.astype(float))
    np.testing.assert_allclose(own, stack(torch.from_numpy(x)[None])[0].detach().numpy(), rtol=1e-5, atol=1e-5)
    assert network.widths == (18, *widths, 2)
    assert network.parameters == sum(parameter.numel() for parameter in stack.parameters())
    assert [weight.shape for weight in network.weights] == [(6, 18), (5, 6), (2, 5)]
    for layer, mask in enumerate(network.masks):
        assert np.array_equal(mask, np.outer(network.present(layer), network.present(layer - 1) if layer else [1] * 18))
        assert not network.weights[layer][~mask].any()
        assert not network.biases[layer][~network.present(layer)].any()


@pytest.mark.parametrize("correction", [None, 0.3])
def test_first_order_scores_are_the_trainers(correction: float | None) -> None:
    """In float64, with labels missing: the judge's backward pass against autograd, to rounding; also through a law."""
    random = torch.Generator().manual_seed(3)
    stack = Stacked.initialise(LAYERS, [5], dtype=torch.float64)
    for bias in stack.biases:
        bias.data.normal_(generator=random)
    x = torch.randn(1, 9, 18, generator=random, dtype=torch.float64)
    y = torch.randn(1, 9, 2, generator=random, dtype=torch.float64)
    measured = (torch.rand(1, 9, 2, generator=random) > 0.3).double()
    mean, scale, law = np.array([0.4, 0.0]), np.array([0.2, 1.0]), np.linspace(0.1, 0.9, 9)
    head = Head(mean, scale) if correction is None else Head(mean, scale, law, correction)
    outputs = stack(x)
    if correction is not None:
        wear = torch.from_numpy(law) * (1 + correction * outputs[..., 0].tanh())
        outputs = torch.stack([(wear - mean[0]) / scale[0], outputs[..., 1]], 2)
    loss = (((outputs - y).square() * measured).sum(1) / measured.sum(1)).mean()
    gradients = torch.autograd.grad(loss, stack.parameters())
    labels = torch.where(measured[0] > 0, y[0], torch.nan).numpy()
    arrays = [[one[0].detach().numpy() for one in some] for some in (stack.weights, stack.biases)]
    network = Network(tuple(arrays[0]), tuple(arrays[1]), tuple(np.ones_like(one, bool) for one in arrays[0]), {})
    for layer, (scores, rounding) in enumerate(first_order(network, x[0].numpy(), labels, head)):
        np.testing.assert_allclose(scores, neurons.first_order(stack, layer, gradients)[0], rtol=1e-9, atol=1e-12)
        assert (rounding < 1e-3 * np.abs(scores).max()).all()


def test_the_trainers_scores_are_well_within_what_is_allowed(compacted: Path) -> None:
    """Its float32 against the judge's float64, on trained networks: less than a fifth of the rounding granted."""
    folder = read_folder(compacted, digest_all(compacted))
    dataset = read_canonical(compacted / DATASET, folder.plan.dataset)
    for run in [run for run in folder.runs if run.planned.variant == "first-order"]:
        one = task.build(dataset, [run.planned], folder.plan.experiment.physics)
        for stage in (0, 1):
            stack = from_checkpoints([checkpoint.read(run.folder / checkpoint_name(stage))])[0]
            gradients, network = step.loss_gradients(stack, one), run.network(stage)
            for layer, (scores, rounding) in enumerate(first_order(network, *training_rows(folder, run))):
                there = network.present(layer)
                off = np.abs(scores[there] - neurons.first_order(stack, layer, gradients)[0].numpy())
                assert (off < 0.2 * rounding[there]).all()
                assert rounding.max() < 0.01 * scores.max()  # and still tells neurons apart


# --- what is broken -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", [0, 1])
def test_a_neuron_that_should_have_stayed_is_found(neuron_runs, name: str, layer: int) -> None:
    """Said to be one with a lower score, which went: by `magnitude-order`, and by nothing else."""
    run_id = first(neuron_runs, name)
    before, after = (numbers(neuron_runs, run_id, stage)[layer] for stage in (1, 2))
    (gone,) = set(before) - set(after)
    neuron_runs.edit_network(run_id, 2, renumbered(layer, [gone, *after[1:]]))
    assert neuron_runs.failed() == {"magnitude-order"}
    (found,) = [finding for finding in neuron_runs.audit().findings if finding.check == "magnitude-order"]
    assert found.message.startswith(f"stage 2, layers.{layer}: 1 neurons went whose score is higher than one that")


def test_a_neuron_that_came_back_is_found(neuron_runs) -> None:
    """One that stage 1 removed and stage 2 has again; the order of the others is not blamed for it."""
    run_id = first(neuron_runs)
    before, after = (numbers(neuron_runs, run_id, stage)[0] for stage in (1, 2))
    back = (set(range(LAYERS[1])) - set(before)).pop()
    weakest = min(after, key=lambda one: incoming(neuron_runs, run_id, before.index(one)))
    neuron_runs.edit_network(run_id, 2, renumbered(0, [back, *(one for one in after if one != weakest)]))
    assert neuron_runs.failed() == {"masks-monotone"}


def incoming(neuron_runs, run_id: str, place: int) -> float:
    """Sum of the magnitudes of the weights into a neuron of the first layer after stage 1."""
    network = checkpoint.read(neuron_runs.folder(run_id) / checkpoint_name(1))
    return float(np.abs(network.weights[0][place]).sum())


@pytest.mark.parametrize(
    "wrong",
    [[0, 2, 1], [0, 1, 1], [-1, 0, 1], [0, 1, 6], [], [0, 1], None, np.array([0, 1, 2], np.int64)],
    ids=["order", "twice", "negative", "too large", "none", "too few", "missing", "type"],
)
def test_numbers_that_cannot_be_are_no_checkpoint(neuron_runs, wrong) -> None:
    """Not ascending, not each once, not of that layer, not as many as there are, not int32, or not there."""
    run_id = first(neuron_runs)
    path = neuron_runs.folder(run_id) / checkpoint_name(2)
    tensors = safetensors.numpy.load_file(path)
    if wrong is None:
        del tensors["layers.0.neurons"]
    else:
        tensors["layers.0.neurons"] = np.asarray(wrong, getattr(wrong, "dtype", np.int32))
    safetensors.numpy.save_file(tensors, path)
    neuron_runs.redigest(run_id)
    assert "digests" in neuron_runs.failed(replay=False)


def test_masks_beside_neurons_are_no_checkpoint() -> None:
    """A network is masked or smaller, not both."""
    stack = Stacked.initialise((18, 3, 2, 2), [0])
    masks = pruning.Masks.ones_like(stack)
    kept = [torch.tensor([[0, 2, 3]]), torch.tensor([[1, 4]])]
    stored = to_checkpoint(stack, masks, 0, {}, kept)
    with pytest.raises(ValueError, match="neurons were removed, and there are masks besides"):
        decode(safetensors.numpy.load(checkpoint.encode(stored)), LAYERS)


def test_one_neuron_too_few_is_found(neuron_runs) -> None:
    """The last stage lost one more than planned, though its record tells of what there is."""
    run_id = first(neuron_runs)

    def edit(network: Checkpoint) -> Checkpoint:
        assert network.neurons is not None
        weights = (network.weights[0][1:], network.weights[1][:, 1:], network.weights[2])
        kept = (network.neurons[0][1:], network.neurons[1])
        return replace(network, weights=weights, biases=(network.biases[0][1:], *network.biases[1:]), neurons=kept)

    neuron_runs.edit_network(run_id, 2, edit)
    assert "ledger-achieved" in neuron_runs.failed(replay=False)
    (found,) = [one for one in neuron_runs.audit(replay=False).findings if one.check == "ledger-achieved"]
    said = [fault["message"] for fault in found.data["faults"]]
    assert "stage 2: widths planned (18, 3, 2, 2), in the checkpoint (18, 2, 2, 2)" in said


def test_other_widths_in_the_plan_are_found(neuron_runs) -> None:
    """The ledger's widths are those that its ratios give."""
    neuron_runs.edit_plan(lambda plan: plan["ledger"]["incoming"][1].update(widths=[18, 3, 3, 2]))
    assert "ledger-arithmetic" in neuron_runs.failed(replay=False)


def test_a_bias_that_was_zeroed_is_found(neuron_runs) -> None:
    """Of a neuron that is there; those of removed neurons are none."""
    run_id = first(neuron_runs)

    def edit(network: Checkpoint) -> None:
        network.biases[0][0] = 0.0

    neuron_runs.edit_network(run_id, 2, edit)
    assert "biases-kept" in neuron_runs.failed(replay=False)


@pytest.mark.parametrize("key", ["memory_bytes", "flops"])
def test_the_dense_networks_cost_is_not_the_small_ones(neuron_runs, key: str) -> None:
    """What is timed last is the network that is left: with its memory, and its FLOPs."""
    run_id = first(neuron_runs)
    dense, small = neuron_runs.record(run_id).latency
    assert small.memory_bytes == 4 * neuron_runs.record(run_id).stages[-1].parameters < dense.memory_bytes
    neuron_runs.edit_record(run_id, lambda record: record["latency"][1].update({key: getattr(dense, key)}))
    assert neuron_runs.failed() == {"cost-recomputed"}


def test_a_deployed_file_has_no_place_beside_them(neuron_runs) -> None:
    """The last stage's own file is the network to put to work."""
    folder = neuron_runs.folder(first(neuron_runs))
    (folder / DEPLOYED).write_bytes((folder / checkpoint_name(2)).read_bytes())
    assert neuron_runs.failed(replay=False) == {"planned-runs-present"}


def test_without_the_data_first_order_is_unchecked(neuron_runs) -> None:
    """Its scores need the training rows; the others' need the weights alone."""
    (neuron_runs.path / DATASET).write_text("no data")
    unchecked = {
        finding.run_id
        for finding in neuron_runs.audit(replay=False).findings
        if (finding.check, finding.severity) == ("magnitude-order", "unchecked")
    }
    assert unchecked == set(neuron_runs.names("first-order"))


def test_a_mask_of_more_weights_than_a_network_has_is_not_unpacked() -> None:
    """The widths of hidden layers are those of the file, where neurons may be gone; so is what a mask stands for."""
    tensors = {"layers.0.weight.mask": np.zeros(2, np.uint8)}
    with pytest.raises(ValueError, match="expected uint8"):
        decode(tensors, (10_000, 10_000))
    with pytest.raises(ValueError, match=r"layers \(10000, 10000, 1\): at most 100,000,000 weights expected"):
        decode(tensors, (10_000, 10_000, 1))
