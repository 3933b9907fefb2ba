"""What is said of pruning and physics: areas under known curves, gradients of known losses, choices that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from spinn import schedule
from spinn.attribution import CHOICES, SCORES, areas_under, measure
from spinn.config import PhysicsConfig
from spinn.data.simulator import simulate
from spinn.draw import CONTROL, keep_at_random
from spinn.masks import Masks
from spinn.model import Network
from spinn.physics import Coefficients
from spinn.pruning import PRUNERS, Stack
from spinn.record import PlannedRun
from spinn.step import data_loss
from spinn.task import Task, build
from spinn.training import terms_of

PHYSICS = PhysicsConfig(wear_rate=0.3, heat=0.1, initial=0.2, monotone=0.1, nonnegative=0.1)
LAYERS = (18, 7, 6, 2)
SEEDS = [3, 4]


@pytest.fixture(scope="module")
def data() -> Task:
    """Two runs on the simulator, with other cases each."""
    dataset = simulate()
    cases = tuple(dict.fromkeys(dataset.frame["case"]))
    runs = [
        PlannedRun(
            run_id=f"sparse-f{fold}",
            variant="sparse",
            fold=fold,
            seed=seed,
            cohort="c",
            train=cases[fold : fold + 5],
            validation=cases[8:10],
            test=cases[10:12],
        )
        for fold, seed in enumerate(SEEDS)
    ]
    return build(dataset, runs, PHYSICS)


@pytest.fixture
def stack() -> Stack:
    """Two dense networks."""
    return Stack.dense(Network.initialise(LAYERS, SEEDS))


def pruned(stack: Stack, name: str, stage: int = 1) -> Stack:
    """What a pruner that needs no gradient leaves of it after a stage of three tenths."""
    plan = schedule.plan_neurons if name.startswith("neurons") else schedule.plan
    return PRUNERS[name].select(stack, plan(LAYERS, ["0.3"] * stage)[-1], lambda _: [], SEEDS)


def measured(before: Stack, after: Stack, data: Task, stage: int = 1) -> list[dict[str, float]]:
    """Its areas."""
    return measure(before, after, Coefficients.initial(data), data, PHYSICS, SEEDS, stage)


# --- areas ----------------------------------------------------------------------------------------------------------


def test_areas_of_clean_cuts_ties_and_signs():
    """One where the lowest went, none where the highest did, one half where all are equal, 0 and -0 among them."""
    score = torch.tensor([-3.0, -1.0, 0.5, 2.0])
    lowest, highest = torch.tensor([False, True, True, True]), torch.tensor([True, True, True, False])
    assert areas_under(score, [lowest, highest, lowest]) == [1.0, 0.0, 1.0]
    assert areas_under(torch.tensor([0.0, -0.0, 0.0, -0.0]), [lowest]) == [0.5]
    assert areas_under(torch.tensor([1.0, 1.0, 2.0, -1.0]), [lowest]) == [0.5]  # a tie, one above, one below
    assert np.isnan(areas_under(score, [torch.ones(4, dtype=torch.bool)])[0])


@given(
    scores=st.lists(st.integers(-120, 120), min_size=2, max_size=60),
    seed=st.integers(0, 2**32 - 1),
)
def test_areas_are_those_of_mann_and_whitney(scores: list[int], seed: int):
    """Of numbers that 8 bits hold exactly: scipy's U over the number of pairs, for two choices at once."""
    random = np.random.default_rng(seed)
    choices = [random.permutation(np.arange(len(scores)) < count) for count in random.integers(1, len(scores), 2)]
    values = np.array(scores, float)
    expected = [
        mannwhitneyu(values[stay], values[~stay], method="asymptotic").statistic / (stay.sum() * (~stay).sum())
        for stay in choices
    ]
    assert areas_under(torch.tensor(values), list(map(torch.from_numpy, choices))) == pytest.approx(expected, abs=1e-12)


# --- scores and choices ---------------------------------------------------------------------------------------------


def test_scores_are_what_removal_changes_to_first_order(data: Task, stack: Stack):
    """In float64, for a weight shrunk by a millionth: the change of each loss, compared with the recorded areas."""
    after = pruned(stack, "random")
    found = measured(stack, after, data)
    laws, share = Coefficients.initial(data), 1e-2
    network = Network([w.double() for w in stack.network.weights], [b.double() for b in stack.network.biases])
    exact = double(data)
    laws = Coefficients(laws.names, laws.raw.double())

    @torch.no_grad()
    def losses() -> tuple[torch.Tensor, torch.Tensor]:
        terms = terms_of(network, laws, exact)
        physics = torch.stack([getattr(PHYSICS, term) * value for term, value in terms.items()]).sum(0)
        return physics, data_loss(exact, network(exact.train.x), exact.train)

    changes = []
    for weight in network.weights:
        change = torch.zeros(2, *weight.shape, dtype=torch.float64)
        for out in range(weight.shape[1]):
            for into in range(weight.shape[2]):
                sides = []
                kept = weight[:, out, into].detach().clone()
                for factor in (1 - share, 1 + share):  # all runs at once: none knows of the others
                    with torch.no_grad():
                        weight[:, out, into] = factor * kept
                    sides.append(torch.stack(losses()))
                with torch.no_grad():
                    weight[:, out, into] = kept
                change[:, :, out, into] = (sides[0] - sides[1]) / (2 * share)
        changes.append(change.flatten(2))
    of_physics, of_data = torch.cat(changes, 2)
    for run in range(2):
        stays = torch.cat([mask[run].flatten() for mask in after.masks.layers])
        expected = [areas_under(score[run], [stays])[0] for score in (of_physics.abs(), of_data.abs(), of_physics)]
        assert [found[run][f"{score}_pruner"] for score in SCORES] == pytest.approx(expected, abs=2e-3)


def double(data: Task) -> Task:
    """The task in float64."""

    def of(value: object) -> object:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return value.double()
        if hasattr(value, "__dataclass_fields__") and not hasattr(value, "model_dump"):
            return replace(value, **{name: of(getattr(value, name)) for name in value.__dataclass_fields__})  # type: ignore[type-var, attr-defined]
        return value

    found = of(data)
    assert isinstance(found, Task)
    return found


def test_every_score_of_every_choice(data: Task, stack: Stack):
    """Of each run; the magnitude pruner's own choice is the one by magnitude, the random control is not the pruner."""
    found = measured(stack, pruned(stack, "global-magnitude"), data)
    assert [set(areas) for areas in found] == [{f"{score}_{choice}" for score in SCORES for choice in CHOICES}] * 2
    for areas in found:
        assert all(0 <= area <= 1 for area in areas.values())
        assert all(areas[f"{score}_pruner"] == areas[f"{score}_magnitude"] for score in SCORES)
        assert min(areas["physics_pruner"], areas["data_pruner"]) > 0.6  # small weights have small scores
    drawn = measured(stack, pruned(stack, "random"), data)
    assert all(areas["physics_pruner"] != areas["physics_random"] for areas in drawn)


def test_the_control_is_its_own_draw_of_as_many(data: Task, stack: Stack):
    """Where the pruner had drawn as the control does, it would have the control's areas."""
    count = schedule.plan(LAYERS, ["0.3"])[0].pruned
    masks = keep_at_random(stack.masks, [count] * 2, SEEDS, 1, CONTROL)
    for areas in measured(stack, replace(stack, masks=masks), data):
        assert all(areas[f"{score}_pruner"] == areas[f"{score}_random"] for score in SCORES)


def test_a_run_is_measured_as_if_it_were_alone(data: Task, stack: Stack):
    """To the rounding of stacked products: neighbours have no say. Networks and masks are only read."""
    before = stack.network.clone()
    after = pruned(stack, "layerwise-magnitude")
    first, second = measured(stack, after, data)
    assert first != second
    assert all(torch.equal(a, b) for a, b in zip(stack.network.weights, before.weights, strict=True))
    assert all(weight.grad is None for weight in stack.network.weights)
    assert measured(stack, after, data) == [first, second]


def test_of_neurons_the_weights_on_both_sides_go(data: Task, stack: Stack):
    """As masks of the network before say it, at a second stage too, whose neurons are numbered as in the dense one."""
    first = pruned(stack, "neurons-incoming")
    second = pruned(first, "neurons-incoming", stage=2)
    assert first.neurons is not None
    assert second.neurons is not None
    masks = Masks.ones_like(first.network)
    for layer, (old, new) in enumerate(zip(first.neurons, second.neurons, strict=True)):
        for run in range(2):
            gone = torch.from_numpy(~np.isin(old[run].numpy(), new[run].numpy()))
            masks.layers[layer][run][gone] = False
            masks.layers[layer + 1][run][:, gone] = False
    told = measured(first, second, data, stage=2)
    assert told == measured(first, replace(first, masks=masks, neurons=None), data, stage=2)
    assert told[0]


def test_nothing_is_said_where_nothing_went(data: Task, stack: Stack):
    """A stage of ratio 0."""
    assert measured(stack, stack, data) == [{}, {}]
