"""Selection removes exactly what was planned, whatever the weights; the first version's fault is measured."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinn import schedule
from spinn.errors import InputError, NonFiniteError
from spinn.masks import Masks
from spinn.model import Network
from spinn.pruning import (
    PRUNERS,
    Stack,
    first_version,
    global_magnitude,
    layer_statistics,
    layerwise_magnitude,
    random,
)
from spinn.variants import NEURON_PRUNERS
from verify import strategies

LAYERS = (3, 5, 4, 2)
WEIGHTS = 43
REAL = (18, 512, 512, 512, 256, 2)


def no_gradients(network: Network) -> list[torch.Tensor]:
    """For pruners that do not ask."""
    raise AssertionError("gradients are asked for")


def constant(value: float, layers: tuple[int, ...] = LAYERS, runs: int = 1) -> Network:
    """A stack in which every weight is `value`."""
    network = Network.initialise(layers, range(runs))
    with torch.no_grad():
        for weight in network.weights:
            weight.fill_(value)
    return network


def flat(tensors: list[torch.Tensor] | tuple[torch.Tensor, ...], run: int) -> torch.Tensor:
    """One run of a stack, all layers in flat order."""
    return torch.cat([tensor[run].detach().flatten() for tensor in tensors])


def one_run(network: Network, masks: Masks, run: int) -> tuple[Network, Masks]:
    """Run `run` as a stack of its own."""
    part = slice(run, run + 1)
    alone = Network([w[part] for w in network.weights], [b[part] for b in network.biases])
    return alone, Masks(tuple(mask[part] for mask in masks.layers))


@given(network=strategies.networks(), data=st.data())
def test_exactly_the_planned_count_goes_and_it_is_the_smallest(network: Network, data: st.DataObject):
    """Two stages with a count for each run: exact, smallest first, only active weights; ties, zeros, extremes."""
    masks = Masks.ones_like(network)
    for _ in range(2):
        counts = [data.draw(st.integers(0, kept)) for kept in masks.kept()]
        refined = global_magnitude(network, masks, counts, allow_empty_layer=True)
        assert refined.kept() == [kept - count for kept, count in zip(masks.kept(), counts, strict=True)]
        for run in range(network.runs):
            magnitudes, before, after = (
                flat(network.weights, run).abs(),
                flat(masks.layers, run),
                flat(refined.layers, run),
            )
            pruned, kept = magnitudes[before & ~after], magnitudes[after]
            if pruned.numel() and kept.numel():
                assert pruned.max() <= kept.min()
            assert not (after & ~before).any()
        masks = refined


@given(network=strategies.networks(), data=st.data())
def test_a_run_is_pruned_as_if_it_were_alone(network: Network, data: st.DataObject):
    """Stacked selection equals selection one by one, bit for bit: neighbours have no say, in ties neither."""
    masks = Masks.ones_like(network)
    prune = data.draw(st.integers(0, masks.kept()[0]))
    stacked = global_magnitude(network, masks, prune, allow_empty_layer=True)
    for run in range(network.runs):
        alone = global_magnitude(*one_run(network, masks, run), prune, allow_empty_layer=True)
        assert torch.equal(flat(stacked.layers, run), flat(alone.layers, 0))


@given(
    widths=st.lists(st.integers(2, 6), min_size=3, max_size=5),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_the_order_of_layers_does_not_change_what_is_kept(widths: list[int], seed: int, data: st.DataObject):
    """The same matrices in another order, all magnitudes distinct: the very same weights go."""
    shapes = list(zip(widths[1:], widths, strict=False))
    total = sum(a * b for a, b in shapes)
    draw = torch.Generator().manual_seed(seed)
    values = (torch.randperm(total, generator=draw) + 1.0) * torch.where(torch.rand(total, generator=draw) < 0.5, -1, 1)
    matrices = [
        part.view(1, *shape) for part, shape in zip(values.split([a * b for a, b in shapes]), shapes, strict=True)
    ]
    biases = [torch.zeros(1, out) for out, _ in shapes]
    order = data.draw(st.permutations(range(len(shapes))))
    count = data.draw(st.integers(0, total))
    found = []
    for places in (range(len(shapes)), order):
        network = Network([matrices[i] for i in places], [biases[i] for i in places])
        kept = global_magnitude(network, Masks.ones_like(network), count, allow_empty_layer=True)
        found.append(dict(zip(places, kept.layers, strict=True)))
    assert all(torch.equal(found[0][i], found[1][i]) for i in range(len(shapes)))


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, 1.0, -3.4e38])
def test_equal_weights_are_pruned_alike_in_every_layer(value: float):
    """With all weights equal each layer keeps its share over four stages, within sampling error (four sigma)."""
    network = constant(value, (18, 64, 64, 32, 2))
    sizes = [weight.numel() for weight in network.weights]
    masks = Masks.ones_like(network)
    for ratio in (0.3, 0.3, 0.24, 0.24):
        masks = global_magnitude(network, masks, round(ratio * masks.kept()[0]))
        density = masks.kept()[0] / sum(sizes)
        for kept, size in zip(masks.kept_by_layer()[0], sizes, strict=True):
            # the variance of a sample without replacement (hypergeometric)
            sigma = math.sqrt(size * density * (1 - density) * (sum(sizes) - size) / (sum(sizes) - 1))
            assert abs(kept - size * density) <= 4 * sigma


def test_equal_weights_are_scattered_within_a_layer():
    """A tie does not empty rows or columns first: each neuron of a square layer keeps about its share."""
    network = constant(1.0, (64, 64, 2))
    masks = global_magnitude(network, Masks.ones_like(network), 64 * 33)
    square = masks.layers[0][0].double()
    for share in (square.mean(dim=0), square.mean(dim=1)):
        assert (share - 0.5).abs().max() < 5 * 0.5 / math.sqrt(64)


def test_selection_is_repeatable_and_leaves_the_weights_alone():
    """The same weights give the same masks, and ranking changes neither weights nor masks."""
    network = Network.initialise(LAYERS, [4, 5])
    before, masks = network.clone(), Masks.ones_like(network)
    first, second = (global_magnitude(network, masks, 11) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.layers, second.layers, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(network.weights, before.weights, strict=True))
    assert masks.kept() == [WEIGHTS] * 2


def test_the_ranking_crosses_layers():
    """One threshold for the whole network: a layer of small weights gives more than one of large weights."""
    network = constant(1.0)
    with torch.no_grad():
        network.weights[1].fill_(0.1)
    masks = global_magnitude(network, Masks.ones_like(network), 19)
    assert masks.kept_by_layer() == [[15, 1, 8]]


def test_what_is_pruned_already_is_not_ranked():
    """Zeros of earlier stages do not use up the count, and NaN in a pruned position is nobody's business."""
    network = Network.initialise(LAYERS, [0], dtype=torch.float64)
    masks = global_magnitude(network, Masks.ones_like(network), 20)
    for poison in (0.0, torch.nan, torch.inf):
        with torch.no_grad():
            for weight, mask in zip(network.weights, masks.layers, strict=True):
                weight.masked_fill_(~mask, poison)
        assert global_magnitude(network, masks, 10).kept() == [13]


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_a_non_finite_active_weight_is_refused_by_name(poison: float):
    """NaN has no rank: the layer and the run that hold it are named."""
    network = Network.initialise(LAYERS, [0, 1])
    with torch.no_grad():
        network.weights[1][1, 0, 0] = poison
    with pytest.raises(NonFiniteError, match=r"layers\.1\.weight of run 1 = 1 active weights"):
        global_magnitude(network, Masks.ones_like(network), 3)
    with pytest.raises(NonFiniteError, match=r"layers\.1\.weight of run 1 = 1 active weights"):
        first_version(network, Fraction(1, 10))
    (stage,) = schedule.plan(LAYERS, ["0.1"])
    with pytest.raises(NonFiniteError, match=r"layers\.1\.weight of run 1 = 1 active weights"):
        layerwise_magnitude(network, Masks.ones_like(network), stage)
    with pytest.raises(NonFiniteError, match=r"layers\.1\.weight of run 1 = 1 active weights"):
        random(network, Masks.ones_like(network), 3, [0, 1], 1)
    with pytest.raises(NonFiniteError, match=r"layers\.1\.weight of run 1 = 1 active weights"):
        layer_statistics(network, Masks.ones_like(network), 1)


def test_an_emptied_layer_is_refused_unless_asked_for():
    """A layer without weights cuts the network in two; it takes a flag to want that."""
    network = constant(1.0)
    with torch.no_grad():
        network.weights[2].fill_(0.1)
    masks = Masks.ones_like(network)
    with pytest.raises(InputError, match=r"layers\.2\.weight of run 0 = 8 active weights, all pruned"):
        global_magnitude(network, masks, 8)
    emptied = global_magnitude(network, masks, 8, allow_empty_layer=True)
    assert emptied.kept_by_layer() == [[15, 20, 0]]
    assert global_magnitude(network, emptied, 1).kept() == [34]  # it is not emptied a second time


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        (-1, r"prune, run 0 = -1: expected 0 to 43"),
        (44, r"prune, run 0 = 44: expected 0 to 43"),
        ([0, 44], r"prune, run 1 = 44: expected 0 to 43"),
        ([1], r"prune = \[1\]: expected one count for each of 2 runs"),
    ],
)
def test_an_impossible_count_is_refused(prune: int | list[int], message: str):
    """A count that is negative, too large, or not one for each run never reaches the selection."""
    network = Network.initialise(LAYERS, [0, 1])
    with pytest.raises(InputError, match=message):
        global_magnitude(network, Masks.ones_like(network), prune)


def test_an_emptied_layer_is_refused_within_layers_and_at_random_too():
    """A layer's last weight: the same message, and the same flag to want that."""
    network = constant(1.0, (2, 1, 1))
    masks = Masks.ones_like(network)
    (stage,) = schedule.plan((2, 1, 1), ["0.70"])  # 1.4 of 2 and 0.7 of 1 weights: one of each
    message = r"layers\.1\.weight of run 0 = 1 active weights, all pruned"
    with pytest.raises(InputError, match=message):
        layerwise_magnitude(network, masks, stage)
    assert layerwise_magnitude(network, masks, stage, allow_empty_layer=True).kept_by_layer() == [[1, 0]]
    drawn = [random(network, masks, 2, [seed], 1, allow_empty_layer=True).kept_by_layer()[0] for seed in range(20)]
    assert [0, 1] in drawn
    with pytest.raises(InputError, match=message):
        random(network, masks, 2, [drawn.index([1, 0])], 1)


@given(network=strategies.networks(), percent=st.integers(0, 60))
def test_each_layer_is_ranked_by_itself(network: Network, percent: int):
    """Two stages: each layer loses its share, its smallest active weights; the sum is the ledger's, ties and all."""
    masks = Masks.ones_like(network)
    for stage in schedule.plan(network.layers, [Fraction(percent, 100)] * 2):
        refined = layerwise_magnitude(network, masks, stage, allow_empty_layer=True)
        assert refined.kept() == [stage.kept_weights] * network.runs
        for weight, old, new in zip(network.weights, masks.layers, refined.layers, strict=True):
            for run in range(network.runs):
                before, after, magnitudes = old[run], new[run], weight[run].detach().abs()
                gone = magnitudes[before & ~after]
                assert abs(gone.numel() - stage.ratio * int(before.sum())) < 1
                assert not gone.numel() or not after.any() or gone.max() <= magnitudes[after].min()
                assert not (after & ~before).any()
        masks = refined


def test_within_layers_a_run_is_pruned_as_if_it_were_alone():
    """Neighbours have no say, nor have the biases; the weights are only read."""
    network = Network.initialise(LAYERS, [4, 5])
    before = network.clone()
    (stage,) = schedule.plan(LAYERS, ["0.4"])
    stacked = layerwise_magnitude(network, Masks.ones_like(network), stage)
    for run in range(2):
        alone = layerwise_magnitude(*one_run(network, Masks.ones_like(network), run), stage)
        assert torch.equal(flat(stacked.layers, run), flat(alone.layers, 0))
    assert not torch.equal(flat(stacked.layers, 0), flat(stacked.layers, 1))
    assert all(torch.equal(a, b) for a, b in zip(network.weights, before.weights, strict=True))


def test_a_random_choice_knows_seed_and_stage_only():
    """Exact counts; other weights or other neighbours change nothing, another seed, stage or earlier mask does."""
    network, other = Network.initialise(LAYERS, [4, 5]), constant(1.0, runs=2)
    masks = Masks.ones_like(network)
    first = random(network, masks, 17, [4, 5], 1)
    assert first.kept() == [26, 26]
    again, alone = random(other, masks, 17, [4, 5], 1), random(*one_run(network, masks, 1), 17, [5], 1)
    assert all(torch.equal(a, b) for a, b in zip(first.layers, again.layers, strict=True))
    assert torch.equal(flat(first.layers, 1), flat(alone.layers, 0))
    assert not torch.equal(flat(first.layers, 0), flat(first.layers, 1))
    later = random(network, masks, 17, [4, 5], 2)
    assert not torch.equal(flat(first.layers, 0), flat(later.layers, 0))
    second = random(network, first, 6, [4, 5], 2)
    assert second.kept() == [20, 20]
    assert not (flat(second.layers, 0) & ~flat(first.layers, 0)).any()


@pytest.mark.parametrize("name", ["global-magnitude", "layerwise-magnitude", "random"])
@pytest.mark.parametrize("ratios", [("0.30", "0.30", "0.24", "0.24"), ("0.716976",)])
def test_schedules_that_end_at_190_030_parameters(name: str, ratios: tuple[str, ...]):
    """Real widths, four stages or one through the named pruner: achieved counts equal the ledger, exactly."""
    stack = Stack.dense(Network.initialise(REAL, [0]))
    stages = schedule.plan(REAL, ratios)
    pruner = PRUNERS[name]
    for stage in stages:
        assert stack.masks.kept() == [stage.active]
        stack = pruner.select(stack, stage, no_gradients, [0])
        assert stack.masks.kept() == [stage.kept_weights]
    assert stack.masks.kept() == [188_236]
    assert stack.neurons is None
    assert pruner.enforced
    assert pruner.reported(stages, REAL) == pytest.approx(1 - 190_030 / 666_882)
    assert pruner.reported((), REAL) == 0.0


def test_the_first_version_reports_seventy_percent_and_keeps_eighty_five():
    """After stage 4 its masks keep 85 % of all weights, 567,119 of 666,882 parameters, whatever it pruned before."""
    stack = Stack.dense(Network.initialise(REAL, [0]))
    stages = schedule.plan(REAL, ("0.20", "0.20", "0.15", "0.15"))
    pruner = PRUNERS["first-version"]
    for stage in stages:
        stack = pruner.select(stack, stage, no_gradients, [0])
    biases = sum(bias.numel() for bias in stack.network.biases)
    assert stack.masks.kept()[0] + biases == 567_119
    assert not pruner.enforced
    assert pruner.reported(stages, REAL) == 0.70
    assert stages[-1].parameters == 309_331  # what the schedule would have reached if stages had added up


def test_the_first_version_forgets_its_masks():
    """Stage after stage it starts over: weights pruned before are kept again, and a smaller ratio keeps more."""
    network = Network.initialise(LAYERS, [0, 1])
    first = first_version(network, Fraction(1, 2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # fine-tuning without enforcement brings every weight back
        for weight in network.weights:
            weight += torch.randn(weight.shape, generator=generator)
    second = first_version(network, Fraction(1, 4))
    assert second.kept() == [WEIGHTS - round(Fraction(WEIGHTS, 4))] * 2
    with pytest.raises(InputError, match="pruned weights kept again"):
        first.refine(second)


def test_the_first_version_zeroes_once_what_it_prunes():
    """Below its threshold weights become +0.0 at that moment; the ones above are untouched."""
    network = Network.initialise(LAYERS, [0])
    before = network.clone()
    masks = first_version(network, Fraction(3, 10))
    for weight, old, mask in zip(network.weights, before.weights, masks.layers, strict=True):
        assert torch.equal(weight[mask], old[mask])
        assert not torch.signbit(weight[~mask]).any()
        assert not weight[~mask].any()


@pytest.mark.parametrize(
    ("ratios", "widths", "parameters"),
    [("0.25 0.25 0.25 0.26", (160, 160, 160, 80), 67_602), ("0.09 0.09 0.20 0.20", (271, 271, 271, 136), 189_839)],
)
def test_neurons_go_as_the_ledger_says(ratios, widths, parameters):
    """Real widths, four stages through the named pruner: every count is that of the network that is left, exactly."""
    stack = Stack.dense(Network.initialise(REAL, [0]))
    pruner = PRUNERS["neurons-incoming"]
    stages = schedule.plan_neurons(REAL, ratios.split())
    for stage in stages:
        assert stack.masks.kept() == [stage.active]
        stack = pruner.select(stack, stage, no_gradients, [0])
        assert stack.network.layers == stage.widths
        assert stack.masks.kept() == [stage.kept_weights]
        assert sum(parameter.numel() for parameter in stack.network.parameters()) == stage.parameters
    assert stack.network.layers == (18, *widths, 2)
    assert stages[-1].parameters == parameters
    assert not pruner.enforced  # there is no mask to hold
    assert pruner.reported(stages, REAL) == pytest.approx(1 - parameters / 666_882, rel=1e-15)


@pytest.mark.parametrize("name", NEURON_PRUNERS)
def test_kept_neurons_are_numbered_as_in_the_dense_network(name):
    """Stage after stage, run by run, ascending: without any training a neuron's weights in are those it began with."""
    network = Network.initialise((3, 9, 8, 2), [0, 1])
    stack, asked = Stack.dense(network), []

    def gradients(of: Network) -> list[torch.Tensor]:
        asked.append(of.layers)
        return [torch.ones_like(parameter) for parameter in of.parameters()]

    for stage in schedule.plan_neurons((3, 9, 8, 2), ["0.3", "0.3"]):
        stack = PRUNERS[name].select(stack, stage, gradients, [0, 1])
    assert asked == ([(3, 9, 8, 2), (3, 6, 6, 2)] if name == "neurons-first-order" else [])
    assert stack.neurons is not None
    first, second = stack.neurons
    assert first.shape == second.shape == (2, 4)
    for run in range(2):
        assert first[run].tolist() == sorted(set(first[run].tolist()))
        assert torch.equal(stack.network.weights[0][run], network.weights[0][run][first[run]])
        assert torch.equal(stack.network.weights[1][run], network.weights[1][run][second[run]][:, first[run]])
        assert torch.equal(stack.network.weights[2][run], network.weights[2][run][:, second[run]])


def test_statistics_of_a_smaller_network_count_the_dense_matrices():
    """Their size is that of the dense network, what is kept that of the smaller one."""
    network = constant(0.5, (2, 3, 1))
    rows = layer_statistics(network, Masks.ones_like(network), 0, (2, 5, 1))
    assert [(row.weights, row.kept, row.nonzero, row.mean_abs) for row in rows] == [(10, 6, 6, 0.5), (5, 3, 3, 0.5)]


def test_layer_statistics_are_those_of_the_kept_weights():
    """Magnitudes over kept weights in closed form; a weight that came back shows in nonzero."""
    network = constant(0.0, (2, 2, 1), runs=2)
    masks = Masks.ones_like(network)
    with torch.no_grad():
        network.weights[0][1] = torch.tensor([[1.0, -3.0], [5.0, 0.0]])
    masks.layers[0][1, 1, 0] = False  # the 5 is pruned, and yet not zero
    first, second = layer_statistics(network, masks, 1)
    assert (first.name, first.weights, first.kept, first.nonzero) == ("layers.0.weight", 4, 3, 3)
    assert first.mean_abs == pytest.approx(4 / 3)
    assert first.std == pytest.approx(math.sqrt(10 / 3 - 4 / 9))
    assert (first.min_abs, first.max_abs) == (0.0, 3.0)
    assert (second.name, second.kept, second.nonzero, second.max_abs) == ("layers.1.weight", 2, 0, 0.0)


def test_a_layer_that_keeps_nothing_has_statistics_without_nan():
    """No mean of nothing: all magnitudes are 0."""
    network = constant(1.0, (2, 2, 1))
    masks = Masks.ones_like(network)
    masks.layers[1].fill_(False)
    row = layer_statistics(network, masks, 0)[1]
    assert (row.kept, row.nonzero) == (0, 2)
    assert (row.mean_abs, row.std, row.min_abs, row.max_abs) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_selects_the_same_weights():
    """Selection on a GPU, deterministic kernels demanded, equals selection on the CPU, ties included."""
    network = Network.initialise((18, 64, 32, 2), range(3))
    with torch.no_grad():
        network.weights[1].mul_(8).round_()
    masks = Masks.ones_like(network)
    there = Network([w.cuda() for w in network.weights], [b.cuda() for b in network.biases])
    torch.use_deterministic_algorithms(True)
    try:
        on_gpu = global_magnitude(there, Masks.ones_like(there), 1500)
    finally:
        torch.use_deterministic_algorithms(False)
    on_cpu = global_magnitude(network, masks, 1500)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(on_gpu.layers, on_cpu.layers, strict=True))


# --- to the last word ------------------------------------------------------------------------------------------------


def test_statistics_of_a_single_weight_and_their_limits():
    """One kept weight has a mean and no spread; the smallest of several is theirs."""
    network = constant(2.0, (2, 2, 1))
    with torch.no_grad():
        network.weights[0][0] = torch.tensor([[-2.0, 3.0], [4.0, 5.0]])
    masks = Masks.ones_like(network)
    masks.layers[1][0, 0, 0] = False
    first, second = layer_statistics(network, masks, 0)
    assert (first.mean_abs, first.min_abs, first.max_abs) == (3.5, 2.0, 5.0)
    assert first.std == pytest.approx(math.sqrt(54 / 4 - 2.5**2))
    assert (second.kept, second.mean_abs, second.std, second.min_abs, second.max_abs) == (1, 2.0, 0.0, 2.0, 2.0)


def test_masks_of_another_network_are_never_cut_short():
    """Fewer layers of masks than of weights, or more runs, is a mistake of the caller, not a shorter table."""
    network = constant(1.0)
    shorter = Masks(Masks.ones_like(network).layers[:2])
    with pytest.raises(ValueError, match="zip"):
        layer_statistics(network, shorter, 0)
    with pytest.raises(ValueError, match="zip"):
        global_magnitude(network, shorter, 1)
    with pytest.raises(ValueError, match="zip"):
        global_magnitude(network, Masks.ones_like(constant(1.0, runs=2)), 1)


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        (44, "prune, run 0 = 44: expected 0 to 43, the weights still active; check the schedule"),
        ([3], "prune = [3]: expected one count for each of 2 runs; or give one integer"),
        (
            8,
            "layers.2.weight of run 0 = 8 active weights, all pruned: a layer keeps at least one; prune less, or pass "
            "allow_empty_layer=True",
        ),
    ],
)
def test_refusals_of_the_pruner(prune: int | list[int], message: str):
    """Name, value, what was expected, how to mend it."""
    network = constant(1.0, runs=2)
    with torch.no_grad():
        network.weights[2].fill_(0.1)
    with pytest.raises(InputError, match=rf"^{re.escape(message)}$"):
        global_magnitude(network, Masks.ones_like(network), prune)


def test_the_refusal_of_weights_that_are_not_finite():
    """How many there are, and what to do about it."""
    network = constant(1.0, runs=2)
    with torch.no_grad():
        network.weights[1][1, 0] = torch.nan
    message = (
        "layers.1.weight of run 1 = 5 active weights inf or NaN: expected finite ones; training diverged, lower its "
        "learning rate or roll back a stage"
    )
    with pytest.raises(NonFiniteError, match=rf"^{re.escape(message)}$"):
        global_magnitude(network, Masks.ones_like(network), 0)


def test_all_that_is_active_can_go_where_that_is_asked_for():
    """The largest count that is possible, and the smallest."""
    network = constant(1.0)
    masks = Masks.ones_like(network)
    assert global_magnitude(network, masks, 43, allow_empty_layer=True).kept() == [0]
    assert global_magnitude(network, masks, 0).kept() == [43]
    assert global_magnitude(network, masks, 42, allow_empty_layer=True).kept() == [1]


def test_ties_go_in_the_order_of_a_known_permutation():
    """The 32-bit finaliser of MurmurHash3 over flat positions: its published values rank them."""

    def finaliser(value: int) -> int:
        value = (value ^ value >> 16) * 0x85EBCA6B % 2**32
        value = (value ^ value >> 13) * 0xC2B2AE35 % 2**32
        return value ^ value >> 16

    assert [finaliser(n) for n in (0, 1, 2)] == [0, 0x514E28B7, 0x30F4C306]  # as SMHasher has them
    network = constant(1.0, (300, 300, 2))
    size = 300 * 300 + 600
    order = sorted(range(size), key=finaliser)
    close = [n for n in range(1, size) if finaliser(order[n - 1]) >> 16 == finaliser(order[n]) >> 16]
    for number in (1234, *close[:: len(close) // 16]):  # also where the lower half decides
        masks = global_magnitude(network, Masks.ones_like(network), number, allow_empty_layer=True)
        assert set(torch.nonzero(~flat(masks.layers, 0)).flatten().tolist()) == set(order[:number])
