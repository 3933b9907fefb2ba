"""spinn.training: the order of a step, early stopping, independence of runs, repeatability, recovered laws."""

from __future__ import annotations

import gc
import itertools
import math
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.utils import prune
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from spinn import step
from spinn.config import PhysicsConfig
from spinn.data.dataset import Dataset
from spinn.data.simulator import simulate
from spinn.determinism import generator
from spinn.errors import InputError, NonFiniteError
from spinn.flat import flat_masks
from spinn.masks import Masks
from spinn.model import Network
from spinn.physics import Coefficients, Conditions, Motion, motion_losses
from spinn.pruning import global_magnitude
from spinn.record import PlannedRun, history_columns
from spinn.replay import Replayed
from spinn.step import FitSettings
from spinn.task import Rows, Task, build
from spinn.training import FitResult, fit, residuals

TRUTH = {"a": -4.0, "b": 0.6, "c": 0.4, "d": 0.8, "g": 0.7, "k": 0.02, "tau": 12.0}
ALL_TERMS = PhysicsConfig(wear_rate=0.10, heat=0.12, initial=0.08, monotone=0.14, nonnegative=0.06)
LAYERS = (4, 6, 5, 2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Products this small are faster on one thread, and tests run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made(noise: float = 0.0) -> Dataset:
    """Eight tools of 4 to 6 cuts that follow both laws exactly, their labels noisy if asked."""
    t, rng, rows = TRUTH, np.random.default_rng(0), []
    for number, (doc, feed, steel) in enumerate(itertools.product((0.75, 1.5), (0.25, 0.5), (0.0, 1.0))):
        r = math.exp(t["a"] + t["b"] * math.log(doc / 0.75) + t["c"] * math.log(feed / 0.25) + t["d"] * steel)
        power = 100.0 * doc * feed
        for cut in range(4 + number % 3):
            time = 5.0 * (cut + 1)
            vb = (math.exp(r * t["g"] * time) - 1) / t["g"] + noise * rng.normal()
            thermal = t["k"] * power * t["tau"] * (1 - math.exp(-time / t["tau"])) + noise * rng.normal()
            row = {"case": "ABCDEFGH"[number], "run": cut + 1, "time": time, "DOC": doc, "feed": feed, "steel": steel}
            rows.append({**row, "power": power, "VB": vb, "thermal": thermal})
    return Dataset("made", pd.DataFrame(rows), ("time", "DOC", "feed", "steel"))


def planned(train: str, validation: str, test: str = "", seed: int = 0) -> PlannedRun:
    """A run over one-letter cases."""
    return PlannedRun(
        run_id=f"run-{train}",
        variant="sparse",
        fold=0,
        seed=seed,
        cohort="c",
        train=tuple(train),
        validation=tuple(validation),
        test=tuple(test),
    )


THREE = (planned("ABCD", "EF", "GH", 3), planned("CDEFGH", "AB", "", 5), planned("BG", "C", "H", 3))


def train(
    runs: tuple[PlannedRun, ...],
    settings: FitSettings,
    *,
    data: Dataset | None = None,
    masks: Masks | None = None,
    network: Network | None = None,
    physics: PhysicsConfig | None = None,
    stage: int = 0,
    **options: object,
) -> tuple[Network, Coefficients, FitResult]:
    """Fit in float64; `physics` builds the task where it differs from the settings'."""
    task = build(data or made(0.02), runs, physics or settings.physics, dtype=torch.float64)
    seeds = [run.seed for run in runs]
    network = network or Network.initialise(LAYERS, seeds, dtype=torch.float64)
    learned = Coefficients.initial(task)
    result = fit(network, learned, task, settings, seeds=seeds, stage=stage, masks=masks, **options)  # type: ignore[arg-type]
    return network, learned, result


def same(one: Network, other: Network) -> bool:
    """Whether two stacks are equal bit by bit."""
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# --- laws -----------------------------------------------------------------------------------------------------------


def test_the_laws_are_recovered_from_labels_they_made():
    """Trained on noise-free labels, the coefficients of wear come back within 10 %, those of heat within 30 %."""
    laws = PhysicsConfig(wear_rate=0.3, heat=0.3)
    task = build(made(), [planned("ABCDEFGH", "H", seed=1)], laws, dtype=torch.float64)
    network = Network.initialise((4, 12, 12, 2), [1], dtype=torch.float64)
    learned = Coefficients.initial(task)
    for stage, (epochs, rate) in enumerate([(500, 2e-2), (200, 5e-3)]):
        settings = FitSettings(epochs, rate, physics=laws)
        fit(network, learned, task, settings, seeds=[1], stage=stage)
    found = learned.as_dicts()[0]
    for name, true in TRUTH.items():
        assert found[name] == pytest.approx(true, rel=0.30 if name in ("k", "tau") else 0.10), name


def test_physics_terms_fall_while_training():
    """Every term that is violated by a new network is smaller at the end than in the beginning."""
    _, _, result = train(THREE[:1], FitSettings(60, 1e-2, physics=ALL_TERMS))
    first, last = result.history[0][0], result.history[0][-1]
    for term in ("wear_rate", "heat", "initial", "loss", "data"):
        assert last[term] < 0.7 * first[term], term
    for term in ("monotone", "nonnegative"):
        assert last[term] <= first[term], term


def test_the_laws_of_simulated_tools_that_do_not_differ_are_recovered():
    """On the simulator each coefficient ends within 5 % of what the simulator was told, r in place of its logarithm.

    The network corrects a law that is linear in time: r starts a quarter too high, g at a sixteenth, k and τ where
    nobody knows.
    """
    data, laws = simulate(tool_sd=0.0, noise=0.25), PhysicsConfig(wear_rate=0.03, heat=0.03)
    run = PlannedRun(run_id="all", variant="v", fold=0, seed=0, cohort="c", train=data.cases, validation=(), test=())
    task = build(data, [run], laws, correction=0.4)
    network, learned = Network.initialise((18, 24, 24, 2), [0]), Coefficients.initial(task)
    (start,) = learned.as_dicts()
    for stage, (epochs, rate) in enumerate([(1000, 1e-2), (700, 3e-3), (300, 5e-4)]):
        fit(network, learned, task, FitSettings(epochs, rate, physics=laws), seeds=[0], stage=stage)
    (found,) = learned.as_dicts()
    truth = dict(data.truth)
    for values in (start, found, truth):
        values["r"] = math.exp(values.pop("a"))
    off = {name: abs(found[name] / true - 1) for name, true in truth.items()}
    assert max(off.values()) < 0.05, off
    assert max(abs(start[name] / true - 1) for name, true in truth.items()) > 0.5


def test_a_law_that_is_switched_off_is_kept_less():
    """Networks trained without heat, or without wear rate, break that law more.

    All are measured by the same coefficients, the true ones, which the labels obey but for their noise.
    """
    both, runs = PhysicsConfig(wear_rate=0.3, heat=0.3), [planned("ABCDEFGH", "", seed=seed) for seed in range(3)]
    task = build(made(0.02), runs, both, dtype=torch.float64)
    truth = Coefficients.from_dicts([TRUTH] * 3, dtype=torch.float64)
    broken = {}
    for off in ("none", "wear_rate", "heat"):
        laws = both if off == "none" else both.model_copy(update={off: 0.0})
        network = Network.initialise((4, 12, 12, 2), [0, 1, 2], dtype=torch.float64)
        train(tuple(runs), FitSettings(600, 2e-2, physics=laws), network=network)
        broken[off] = residuals(network, truth, task)
    for run in range(3):
        for term in ("wear_rate", "heat"):
            assert broken[term][run][term] > 2 * broken["none"][run][term], (run, term)


def test_a_term_with_weight_0_does_not_train():
    """Terms of weight 0 move nothing: not the network, not a coefficient."""
    settings = FitSettings(4, 1e-2, physics=PhysicsConfig())
    without, _, _ = train(THREE, settings)
    with_zero, learned, _ = train(THREE, settings, physics=ALL_TERMS)
    for one, other in zip(without.parameters(), with_zero.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    task = build(made(0.02), THREE, ALL_TERMS, dtype=torch.float64)
    assert torch.equal(learned.raw, Coefficients.initial(task).raw)


# --- independence and repeatability ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [512, 12])
def test_a_run_does_not_depend_on_its_neighbours(batch):
    """Three runs of different size, stopping at different epochs, end as they do one by one, pruned weights too."""
    settings = FitSettings(30, 2e-2, batch=batch, patience=4, weight_decay=1e-3, clip_norm=0.3, physics=ALL_TERMS)
    network = Network.initialise(LAYERS, [run.seed for run in THREE], dtype=torch.float64)
    masks = global_magnitude(network, Masks.ones_like(network), 20)
    alone = []
    for index, run in enumerate(THREE):
        own = Masks(tuple(mask[index : index + 1] for mask in masks.layers))
        alone.append(train((run,), settings, masks=own))
    stacked, learned, result = train(THREE, settings, masks=masks, network=network)
    assert len(set(result.epochs_run)) > 1
    for index, (single, coefficients, fitted) in enumerate(alone):
        assert result.epochs_run[index] == fitted.epochs_run[0]
        assert result.selected_epoch[index] == fitted.selected_epoch[0]
        torch.testing.assert_close(learned.raw[index], coefficients.raw[0], rtol=1e-8, atol=1e-8)
        for mine, own in zip(stacked.parameters(), single.parameters(), strict=True):
            torch.testing.assert_close(mine[index], own[0], rtol=1e-7, atol=1e-8)
            assert torch.equal(mine[index] == 0, own[0] == 0)


@pytest.mark.parametrize("clip_norm", [None, 0.3])
def test_training_is_that_of_a_plain_loop(clip_norm):
    """A module of torch.nn, its pruning, autograd and Adam, from the same weights: the same masks, and the same end."""
    run, epochs = planned("ABCD", "EF", "GH", 3), 30
    task = build(made(0.02), [run], PhysicsConfig(), dtype=torch.float64)
    network = Network.initialise(LAYERS, [3], dtype=torch.float64)
    layers = [_linear(*pair) for pair in zip(network.weights, network.biases, strict=True)]
    model = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.Tanh())))[:-1]
    weights = [(layer, "weight") for layer in layers]
    prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=20)
    masks = global_magnitude(network, Masks.ones_like(network), 20)
    for layer, mask in zip(layers, masks.layers, strict=True):
        assert layer.weight_mask.bool().equal(mask[0])  # type: ignore[operator]

    settings = FitSettings(epochs, 1e-2, clip_norm=clip_norm)
    train((run,), settings, data=made(0.02), network=network, masks=masks)

    def loss(rows: Rows) -> torch.Tensor:
        error = (model(rows.x[0]) - rows.y[0]).square() * rows.measured[0]
        return (error.sum(0) / rows.measured[0].sum(0)).mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    best, kept = math.inf, {}
    for _ in range(epochs):
        optimizer.zero_grad()
        loss(task.train).backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        model(task.train.x[0])  # torch's pruning multiplies when the layer is called
        if (found := loss(task.validation).item()) < best:
            best, kept = found, {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        layer = f"{2 * index}"
        masked = kept[f"{layer}.weight_orig"] * kept[f"{layer}.weight_mask"]
        relative, absolute = (1e-9, 1e-11) if clip_norm is None else (1e-5, 1e-6)  # torch adds 1e-6 to the norm
        torch.testing.assert_close(weight[0].detach(), masked, rtol=relative, atol=absolute)
        torch.testing.assert_close(bias[0].detach(), kept[f"{layer}.bias"], rtol=relative, atol=absolute)


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> torch.nn.Linear:
    """A layer of its own, with the same numbers."""
    layer = torch.nn.Linear(weight.shape[2], weight.shape[1], dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight[0])
        layer.bias.copy_(bias[0])
    return layer


def test_the_same_call_twice_is_equal_bit_by_bit():
    """Two calls give the same weights, coefficients and history, in mini-batches too."""
    settings = FitSettings(5, 1e-2, batch=10, physics=ALL_TERMS)
    (one, a, first), (other, b, second) = train(THREE, settings), train(THREE, settings)
    assert same(one, other)
    assert torch.equal(a.raw, b.raw)
    assert first == second


def test_draws_depend_on_seed_and_stage():
    """Another stage draws other collocation points; without physics nothing is drawn and stages agree."""
    for physics, equal in ((ALL_TERMS, False), (PhysicsConfig(), True)):
        settings = FitSettings(3, 1e-2, physics=physics)
        assert same(train(THREE, settings)[0], train(THREE, settings, stage=1)[0]) is equal


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_no_test_case_influences_training(value):
    """With NaN or huge values in every number of the test cases, the result is the same bit by bit."""
    data = made(0.02)
    frame = data.frame.copy()
    frame.loc[frame["case"].isin(["G", "H"]), ["time", "DOC", "feed", "steel", "power", "VB", "thermal"]] = value
    settings = FitSettings(6, 1e-2, patience=2, physics=ALL_TERMS)
    clean, a, first = train(THREE[:1], settings, data=data)
    dirty, b, second = train(THREE[:1], settings, data=replace(data, frame=frame))
    assert same(clean, dirty)
    assert torch.equal(a.raw, b.raw)
    assert first == second


# --- early stopping -------------------------------------------------------------------------------------------------


def test_each_run_ends_with_its_lowest_validation_loss():
    """The selected epoch is the argmin of the validation loss in the history, and its weights are the ones kept."""
    task = build(made(0.05), THREE, ALL_TERMS, dtype=torch.float64)
    network = Network.initialise(LAYERS, [3, 5, 3], dtype=torch.float64)
    learned = Coefficients.initial(task)
    settings = FitSettings(40, 3e-2, patience=5, physics=ALL_TERMS)
    result = fit(network, learned, task, settings, seeds=[3, 5, 3], stage=0)
    with torch.no_grad():
        error = (network(task.validation.x) - task.validation.y).square() * task.validation.measured
        loss = (error.sum(1) / task.validation.measured.sum(1)).mean(1)
    for run, rows in enumerate(result.history):
        losses = [row["validation_loss"] for row in rows]
        assert result.selected_epoch[run] == int(np.argmin(losses)) + 1
        assert result.selected_loss[run] == min(losses)
        assert loss[run].item() == pytest.approx(min(losses), rel=1e-10)
        assert result.epochs_run[run] == len(rows) == min(40, result.selected_epoch[run] + 5)
    assert min(result.epochs_run) < 40


def test_history_has_a_row_an_epoch_with_the_recorded_columns():
    """Rows carry exactly the columns of history.csv, epochs count from 1, and the loss is the weighted sum."""
    _, _, result = train(THREE[:1], FitSettings(4, 1e-2, batch=8, physics=ALL_TERMS), stage=2)
    rows = result.history[0]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert tuple(row) == history_columns(ALL_TERMS.enabled())
        assert row["stage"] == 2
        terms = sum(getattr(ALL_TERMS, term) * row[term] for term in ALL_TERMS.enabled())
        assert row["loss"] == pytest.approx(row["data"] + terms, rel=1e-12)


def test_no_epochs_change_nothing():
    """A stage without fine-tuning keeps the weights and states their validation loss."""
    network = Network.initialise(LAYERS, [3, 5, 3], dtype=torch.float64)
    before = network.clone()
    _, _, result = train(THREE, FitSettings(0, 1e-2), network=network)
    assert same(network, before)
    assert result.history == [[], [], []]
    assert result.selected_epoch == result.epochs_run == [0, 0, 0]
    assert all(loss is not None and math.isfinite(loss) for loss in result.selected_loss)


# --- the order of a step --------------------------------------------------------------------------------------------


@pytest.fixture
def steps() -> Iterator[list[dict[str, list[torch.Tensor]]]]:
    """What each optimizer step was given and what it left: gradients before it, parameters after it."""
    seen: list[dict[str, list[torch.Tensor]]] = []

    def every(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
        return [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def before(optimizer, *_):
        seen.append({"gradients": [p.grad.clone() for p in every(optimizer) if p.grad is not None]})

    def after(optimizer, *_):
        seen[-1]["weights"] = [parameter.detach().clone() for parameter in every(optimizer)]

    hooks = register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)
    yield seen
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("correction", [None, 0.4])
@pytest.mark.parametrize("batch", [512, 7])
def test_the_gradient_of_the_data_loss_is_that_of_autograd(correction, batch):
    """In every step, with labels missing, runs of different length, and where a wear law is corrected."""
    data = made(0.02)
    frame = data.frame.copy()
    frame.loc[::3, "VB"] = np.nan
    frame.loc[frame["case"].isin(["B", "G"]), "thermal"] = np.nan  # of the third run's training cases all
    task = build(replace(data, frame=frame), THREE, PhysicsConfig(), dtype=torch.float64, correction=correction)
    network = Network.initialise(LAYERS, [1, 2, 3], dtype=torch.float64)
    steps = step.Steps(network, Coefficients.initial(task), task, FitSettings(1, 1e-2, batch=batch), None)
    for inputs in zip(*steps._inputs([generator(seed) for seed in (3, 5, 3)]), strict=True):
        x, y, law, measured, _ = inputs[0].split([4, 2, 1, 2, 1], 2)
        assert not measured[2, :, 1].any()
        outputs = network(x).detach().requires_grad_()
        error = (task.standardised(outputs, law[..., 0]) - y).square() * measured
        labels = measured.sum(1)
        mean = (error.sum(1) / labels.clamp(min=1)).sum(1) / (labels > 0).sum(1).clamp(min=1)
        (expected,) = torch.autograd.grad(mean.sum(), outputs)
        losses, found = steps._losses(*inputs), steps._passes._outputs.grad
        torch.testing.assert_close(losses, torch.stack([mean, mean]).detach(), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("correction", [None, 0.4])
@pytest.mark.parametrize("physics", [ALL_TERMS, PhysicsConfig(initial=0.1), PhysicsConfig()])
def test_gradients_of_a_step_are_the_slope_of_its_loss(correction, physics):
    """By central differences of the weighted sum, along a direction over all weights, biases and coefficients."""
    task = build(made(0.02), THREE, physics, dtype=torch.float64, correction=correction)
    network, coefficients = Network.initialise(LAYERS, [1, 2, 3], dtype=torch.float64), Coefficients.initial(task)
    steps = step.Steps(network, coefficients, task, FitSettings(1, 1e-2, batch=7, physics=physics), None)
    inputs = next(zip(*steps._inputs([generator(seed) for seed in (3, 5, 3)]), strict=True))
    learned = [*network.parameters(), *coefficients.parameters()]
    along = [torch.randn(p.shape, generator=torch.Generator().manual_seed(7), dtype=p.dtype) for p in learned]
    steps._losses(*inputs)
    steps._passes.backward()
    products = [(p.grad * way).flatten(1).sum(1) for p, way in zip(learned, along, strict=True) if p.grad is not None]
    assert len(products) == len(learned)
    found, values = torch.stack(products).sum(0), []
    for side in (1e-6, -2e-6):
        for parameter, way in zip(learned, along, strict=True):
            parameter.data.add_(way, alpha=side)
        values.append(steps._losses(*inputs)[0])
    torch.testing.assert_close(found, (values[0] - values[1]) / 2e-6, rtol=1e-6, atol=1e-8)


def _half_pruned(runs: tuple[PlannedRun, ...]) -> tuple[Network, Masks]:
    network = Network.initialise(LAYERS, [run.seed for run in runs], dtype=torch.float64)
    return network, global_magnitude(network, Masks.ones_like(network), 32)


def test_gradients_of_the_loss_are_each_runs_own():
    """Over all its training rows, padding left out: a small step against them lowers the data loss by their square."""
    task = build(made(), THREE, PhysicsConfig(), dtype=torch.float64)
    network = Network.initialise(LAYERS, [1, 2, 3], dtype=torch.float64)
    gradients = step.loss_gradients(network, task)
    before = step.data_loss(task, network(task.train.x), task.train).detach()
    moved, rate = network.clone(), 1e-6
    with torch.no_grad():
        for parameter, gradient in zip(moved.parameters(), gradients, strict=True):
            parameter.sub_(rate * gradient)
        after = step.data_loss(task, moved(task.train.x), task.train)
    squares = torch.stack([gradient.square().flatten(1).sum(1) for gradient in gradients]).sum(0)
    torch.testing.assert_close((before - after) / rate, squares, rtol=1e-3, atol=1e-9)
    alone = build(made(), THREE[2:], PhysicsConfig(), dtype=torch.float64)
    third = Network([w[2:] for w in network.weights], [b[2:] for b in network.biases])
    for one, stacked in zip(step.loss_gradients(third, alone), gradients, strict=True):
        torch.testing.assert_close(one[0], stacked[2], rtol=1e-9, atol=1e-12)


def test_gradients_are_masked_then_measured_then_clipped(steps):
    """What the optimizer sees: zero at pruned weights, at most `clip_norm` a run; the history has the norm before."""
    network, masks = _half_pruned(THREE)
    _, _, result = train(THREE, FitSettings(3, 1e-3, clip_norm=0.05, physics=ALL_TERMS), network=network, masks=masks)
    clipped = 0
    for number, taken in enumerate(steps):
        norm = torch.stack([g.flatten(1).square().sum(1) for g in taken["gradients"]]).sum(0).sqrt()
        for run, value in enumerate(norm.tolist()):
            before = result.history[run][number]["gradient_norm"]
            assert value == pytest.approx(min(before, 0.05), rel=1e-9)
            clipped += before > 0.05
        (mask,) = flat_masks(masks).layers
        of_weights = taken["gradients"][0]
        assert of_weights[~mask].eq(0).all()
        assert of_weights[mask].ne(0).any()
    assert clipped


def test_a_pruned_connection_does_not_move_the_norm(steps):
    """Without clipping the recorded norm is that of the kept weights' gradients, biases and coefficients."""
    network, masks = _half_pruned(THREE)
    _, _, result = train(THREE, FitSettings(1, 1e-3, clip_norm=None, physics=ALL_TERMS), network=network, masks=masks)
    norm = torch.stack([g.flatten(1).square().sum(1) for g in steps[0]["gradients"]]).sum(0).sqrt()
    assert [rows[0]["gradient_norm"] for rows in result.history] == pytest.approx(norm.tolist(), rel=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("clip_norm", [None, 1e-3])
def test_pruned_weights_are_plus_zero_after_every_step(monkeypatch, decay, clip_norm):
    """With masks held, pruned weights are exactly +0.0 after every step and in the weights a run ends with.

    Whatever lies there when a phase begins.
    """
    network, masks = _half_pruned(THREE)
    with torch.no_grad():
        for weight, mask in zip(network.weights, masks.layers, strict=True):
            odd = torch.tensor([-0.0, 2.0, float("inf"), float("nan")], dtype=weight.dtype)
            weight[~mask] = odd.repeat(weight.numel())[: int((~mask).sum())]
    taken = []
    sound = step.Steps._take

    def take(self, *inputs):
        losses = sound(self, *inputs)
        _assert_held(network, masks)
        taken.append(losses)
        return losses

    monkeypatch.setattr(step.Steps, "_take", take)
    settings = FitSettings(4, 1e-2, batch=12, weight_decay=decay, clip_norm=clip_norm, physics=ALL_TERMS)
    train(THREE, settings, network=network, masks=masks)
    assert len(taken) > 4
    _assert_held(network, masks)


def _assert_held(network: Network, masks: Masks) -> None:
    for weight, mask in zip(network.weights, masks.layers, strict=True):
        pruned = weight.detach()[~mask]
        assert pruned.eq(0).all()
        assert not torch.signbit(pruned).any()


def test_optimizer_state_of_pruned_weights_is_zero(monkeypatch):
    """Momentum and second moments of pruned weights are zero after the last step, those of kept ones are not."""
    made_optimizers = []
    original = torch.optim.Adam.__init__

    def remember(self, *args, **kwargs):
        made_optimizers.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "__init__", remember)
    network, masks = _half_pruned(THREE)
    train(THREE, FitSettings(2, 1e-2), network=network, masks=masks)
    (weights,), (mask,) = made_optimizers[0].param_groups[0]["params"], flat_masks(masks).layers
    for name in ("exp_avg", "exp_avg_sq"):
        state = made_optimizers[0].state[weights][name]
        assert state[~mask].eq(0).all()
        assert state[mask].ne(0).any()


def test_unenforced_masks_let_pruned_weights_return():
    """The first version's fault is reproduced on request: nothing holds the zeros."""
    network, masks = _half_pruned(THREE)
    with torch.no_grad():
        for weight, mask in zip(network.weights, masks.layers, strict=True):
            weight.masked_fill_(~mask, 0.0)
    train(THREE, FitSettings(2, 1e-2), network=network, masks=masks, enforced=False)
    assert all(weight[~mask].ne(0).any() for weight, mask in zip(network.weights, masks.layers, strict=True))


def test_weight_decay_is_that_of_the_weights():
    """Of biases and coefficients none: a step with it differs from one without in the weights alone."""
    task = build(made(0.02), THREE, ALL_TERMS, dtype=torch.float64)
    taken = []
    for decay in (0.0, 0.5):
        network = Network.initialise(LAYERS, [3, 5, 3], dtype=torch.float64)
        learned = Coefficients.initial(task)
        for bias in network.biases:
            bias.data.fill_(0.3)
        settings = FitSettings(1, 1e-2, weight_decay=decay, physics=ALL_TERMS)
        step.Steps(network, learned, task, settings, None).epoch([generator(seed) for seed in (3, 5, 3)])
        taken.append((network, learned))
    (plain, law), (decayed, same_law) = taken
    assert all(not torch.equal(a, b) for a, b in zip(plain.weights, decayed.weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain.biases, decayed.biases, strict=True))
    assert torch.equal(law.raw, same_law.raw)


@pytest.mark.parametrize("batch", [512, 7])
def test_physics_is_that_of_the_points_that_were_chosen(batch):
    """Half at the ends of the segments of the step's last rows, half where they were drawn, each by itself.

    On data where cuts without labels lie between those with, two cuts share a time, and the power changes.
    """
    data = made(0.02)
    frame, rng = data.frame.copy(), np.random.default_rng(1)
    frame["power"] += rng.normal(size=len(frame))
    frame.loc[rng.random(len(frame)) < 0.3, ["VB", "thermal"]] = np.nan
    frame.loc[[6, 20], "time"] = frame.loc[[5, 19], "time"].to_numpy()
    task = build(replace(data, frame=frame), [planned("ABCDEF", "GH")], ALL_TERMS, dtype=torch.float64)
    assert not torch.equal(task.ends[0], torch.arange(task.ends.shape[1]))
    network, coefficients = Network.initialise(LAYERS, [1], dtype=torch.float64), Coefficients.initial(task)
    steps = step.Steps(network, coefficients, task, FitSettings(1, 1e-2, batch=batch, physics=ALL_TERMS), None)
    for inputs in zip(*steps._inputs([generator(1)]), strict=True):
        _, share, rows, drawn, places, _ = (tensor[0] for tensor in inputs)
        at = [int(row) for row in rows[share.any(1)][-16:] if task.moves[0, row]]
        points = [(int(task.ends[0, row]), 1.0) for row in at]
        points += list(zip(drawn.tolist(), places.tolist(), strict=True))
        alone = [_at_a_point(network, task, *point) for point in points]
        motion = Motion(
            torch.cat([one.state for one in alone], 1),
            torch.cat([one.rate for one in alone], 1),
            Conditions(*(torch.cat([getattr(one.conditions, name) for one in alone], 1) for name in CONDITIONS)),
            torch.ones(1, len(points), dtype=torch.float64),
            torch.ones(1, len(points), dtype=torch.float64),
        )
        expected = motion_losses(task.terms, motion, task.scales, coefficients.values())
        found = dict(zip(("loss", "data", *task.terms), steps._losses(*inputs), strict=True))
        for term, loss in expected.items():
            torch.testing.assert_close(found[term], loss, rtol=1e-9, atol=1e-12)


CONDITIONS = ("doc", "feed", "steel", "power")


def _at_a_point(network: Network, task: Task, segment: int, place: float) -> Motion:
    """One point of the only run, with the plain network."""
    way = task.segments
    x = way.x[:, segment] + place * way.dx[:, segment]
    y, rate = network.with_tangent(x[:, None], (way.dx[:, segment] * way.per_minute[:, segment])[:, None])
    conditions = way.conditions[:, segment] + place * way.dconditions[:, segment]
    ones = torch.ones(1, 1, dtype=task.dtype)
    state = y * task.scales.target[:, None] + task.target_mean[:, None]
    return Motion(state, rate * task.scales.target[:, None], Conditions(*conditions[:, None].unbind(-1)), ones, ones)


# --- what a CUDA graph asks of a step -------------------------------------------------------------------------------


class _Buffers:
    """`spinn.replay.Replayed` as a recorded graph works: always on the tensors of the first call."""

    def __init__(self, device, *, recorded):
        self.inputs: list[torch.Tensor] = []
        self.result: torch.Tensor | None = None

    def __call__(self, work, *inputs):
        if self.result is None:
            self.inputs = [tensor.clone() for tensor in inputs]
            self.result = work(*self.inputs)
            return self.result
        for kept, new in zip(self.inputs, inputs, strict=True):
            kept.copy_(new)
        return self.result.copy_(work(*self.inputs))


@pytest.mark.parametrize("batch", [512, 12])
@pytest.mark.parametrize("physics", [ALL_TERMS, PhysicsConfig()])
def test_steps_on_the_tensors_of_the_first_one_give_the_same_run(monkeypatch, batch, physics):
    """Inputs have one shape throughout and are copied in; nothing reads a result after the next step has begun."""
    settings = FitSettings(4, 1e-2, batch=batch, physics=physics)
    network, masks = _half_pruned(THREE)
    one, a, first = train(THREE, settings, network=network, masks=masks)
    monkeypatch.setattr(step, "Replayed", _Buffers)
    network, masks = _half_pruned(THREE)
    other, b, second = train(THREE, settings, network=network, masks=masks)
    assert same(one, other)
    assert torch.equal(a.raw, b.raw)
    assert first == second


@pytest.mark.parametrize("batch", [512, 12])
def test_no_step_waits_for_the_device(monkeypatch, batch):
    """On tensors without content, a step that asked for a value would raise."""
    plain = lambda network, *_: torch.optim.SGD(network.parameters(), lr=0.1)  # noqa: E731 (Adam's kernels need content)
    monkeypatch.setattr(step, "_optimizer", plain)
    task = build(made(0.02), THREE, ALL_TERMS, device="meta", dtype=torch.float64)
    network = Network.initialise(LAYERS, [3, 5, 3], device="meta", dtype=torch.float64)
    coefficients, settings = Coefficients.initial(task), FitSettings(1, 1e-2, batch=batch, physics=ALL_TERMS)
    steps = step.Steps(network, coefficients, task, settings, Masks.ones_like(network))
    losses = steps.epoch([generator(seed) for seed in (3, 5, 3)])
    assert losses.shape == (2 + len(task.terms) + 1, 3)
    with pytest.raises(RuntimeError, match="meta"):
        losses.sum().item()


def test_calls_on_a_processor_are_the_work_itself():
    """Nothing is recorded there."""
    replayed = Replayed(torch.device("cpu"))
    for value in range(6):
        assert replayed(torch.add, torch.tensor(value), torch.tensor(1)).item() == value + 1


def test_nothing_of_a_phase_outlives_it(monkeypatch):
    """Steps, optimizer and gradients are gone with it, though Python looks for no cycles: on a device, their memory."""
    seen: list[weakref.ref] = []
    sound = step.Steps.__init__

    def noted(self, *arguments):
        sound(self, *arguments)
        seen.extend([weakref.ref(self), weakref.ref(self.optimizer)])

    monkeypatch.setattr(step.Steps, "__init__", noted)
    network, masks = _half_pruned(THREE)
    gc.collect()
    gc.disable()
    try:
        settings = FitSettings(2, 1e-2, batch=12, physics=ALL_TERMS)
        _, learned, _ = train(THREE, settings, network=network, masks=masks)
        assert [one() for one in seen] == [None, None]
    finally:
        gc.enable()
    assert [parameter.grad for parameter in network.parameters()] == [None] * 6
    assert learned.raw.grad is None
    assert all(parameter.is_contiguous() for parameter in network.parameters())


def test_a_network_stays_where_it_was():
    """It is trained in place: whoever holds one of its tensors sees the training, and holds that tensor alone."""
    network = Network.initialise(LAYERS, [run.seed for run in THREE], dtype=torch.float64)
    before = [parameter.detach() for parameter in network.parameters()]
    values = [tensor.clone() for tensor in before]
    train(THREE, FitSettings(2, 1e-2), network=network)
    for tensor, value, parameter in zip(before, values, network.parameters(), strict=True):
        assert torch.equal(tensor, parameter)
        assert not torch.equal(tensor, value)
        assert parameter.untyped_storage().nbytes() == parameter.numel() * parameter.element_size()


def test_a_phase_that_fails_leaves_no_gradients():
    """The network has its own memory back, whatever happens."""
    network = Network.initialise(LAYERS, [run.seed for run in THREE], dtype=torch.float64)
    with torch.no_grad():
        network.weights[0][0] = float("nan")
    with pytest.raises(NonFiniteError):
        train(THREE, FitSettings(2, 1e-2), network=network)
    assert [parameter.grad for parameter in network.parameters()] == [None] * 6
    assert all(parameter.is_contiguous() for parameter in network.parameters())


@pytest.mark.parametrize("order", [(1, 0, 2), None], ids=["swapped", "transposed"])
def test_masks_of_other_shapes_are_refused(order):
    """As many entries are not enough: the masks of one layer are not those of another, nor of its transpose."""
    layers = (4, 8, 4, 2)
    network = Network.initialise(layers, [run.seed for run in THREE], dtype=torch.float64)
    ones = Masks.ones_like(network).layers
    wrong = tuple(ones[number] for number in order) if order else tuple(mask.mT for mask in ones)
    with pytest.raises(InputError, match=r"masks = masks of shape \[\(3, 4, 8\), .*expected \[\(3, 8, 4\)"):
        train(THREE, FitSettings(1, 1e-2), network=network, masks=Masks(wrong))


def test_coefficients_move_at_their_own_rate():
    """One step of Adam moves a parameter by its rate: coefficients by `COEFFICIENT_RATE` times the network's."""
    _, learned, _ = train(THREE, FitSettings(1, 1e-3, clip_norm=None, physics=ALL_TERMS))
    start = Coefficients.initial(build(made(0.02), THREE, ALL_TERMS, dtype=torch.float64))
    moved = (learned.raw - start.raw).detach().abs().max()
    assert float(moved) == pytest.approx(step.COEFFICIENT_RATE * 1e-3, rel=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which this machine has not")
@pytest.mark.parametrize("batch", [512, 12])
def test_a_replayed_step_equals_an_eager_one(batch):
    """On a CUDA device, from the first step after the recording on."""
    trained = []
    for recorded in (False, True):
        settings = FitSettings(8, 1e-2, batch=batch, physics=ALL_TERMS, recorded=recorded)
        task = build(made(0.02), THREE, ALL_TERMS, device="cuda")
        network = Network.initialise(LAYERS, [3, 5, 3], device="cuda")
        masks = global_magnitude(network, Masks.ones_like(network), 32)
        fit(network, Coefficients.initial(task), task, settings, seeds=[3, 5, 3], stage=1, masks=masks)
        trained.append(network)
    for one, other in zip(*(network.parameters() for network in trained), strict=True):
        torch.testing.assert_close(one, other)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_loss_names_run_and_epoch(value):
    """A loss that is not finite ends training at once, with run, stage, epoch and what to do."""
    network = Network.initialise(LAYERS, [3, 5, 3], dtype=torch.float64)
    with torch.no_grad():
        network.biases[-1][1, 0] = value
    with pytest.raises(NonFiniteError, match=r"loss of run 1 in stage 0, epoch 1 = .*lower learning_rate"):
        train(THREE, FitSettings(3, 1e-2), network=network)


@pytest.mark.parametrize(
    ("layers", "seeds", "message"),
    [((4, 3, 2), [1, 2], "need the same number of runs"), ((7, 3, 2), [3, 5, 3], r"layers\[0\] = 7: expected 4")],
)
def test_parts_that_do_not_fit_together_are_refused(layers, seeds, message):
    """A stack of another size than its data, or a network with other inputs, is refused before any step."""
    network = Network.initialise(layers, seeds, dtype=torch.float64)
    with pytest.raises(InputError, match=message):
        train(THREE, FitSettings(1, 1e-2), network=network)
