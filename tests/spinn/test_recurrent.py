"""The recurrent network: torch's own equations, stacked over runs that do not see one another."""

from __future__ import annotations

import math

import pytest
import torch

from spinn import recurrent
from spinn.errors import NonFiniteError
from spinn.recurrent import HIDDEN, Recurrent, Sequences, fit

SEEDS = (3, 4)


def sequences(runs: int = 2, validation: bool = True) -> Sequences:
    """Five tools whose output is half the sum of what came in so far; the last two validate, a label is missing."""
    draw = torch.Generator().manual_seed(0)
    x = 0.5 * torch.randn((1, 5, 6, 3), generator=draw).expand(runs, -1, -1, -1).clone()
    y = 0.5 * x[..., :2].cumsum(2)
    train, held = torch.zeros_like(y), torch.zeros_like(y)
    train[:, :3], held[:, 3:] = 1, float(validation)
    train[:, 0, 2, 1] = 0
    return Sequences(x, torch.where(train + held > 0, y, 0.0), train, held)


def train(network: Recurrent, data: Sequences, **changes) -> list[str]:
    """Fit with what a test does not care about; returns what was said each epoch."""
    said: list[str] = []
    settings = {"epochs": 40, "learning_rate": 1e-2, "patience": 100, "clip_norm": 1.0, "on_epoch": said.append}
    fit(network, data, **(settings | changes))
    return said


def losses(network: Recurrent, data: Sequences) -> torch.Tensor:
    """Validation loss of each run."""
    with torch.no_grad():
        return recurrent._loss(network(data.x), data, data.validation)


def copied(network: Recurrent, run: int) -> Recurrent:
    """A stack of one, with the parameters of one run."""
    one = Recurrent(network.parameters()[0].shape[1], [0])
    with torch.no_grad():
        for mine, theirs in zip(one.parameters(), network.parameters(), strict=True):
            mine.copy_(theirs[run : run + 1])
    return one


def test_it_is_the_gru_of_torch():
    """Each run of the stack gives what torch.nn.GRU and a linear layer give with its parameters."""
    network, x = Recurrent(3, SEEDS), sequences().x
    into, into_bias, onward, onward_bias, out, out_bias = (tensor.detach() for tensor in network.parameters())
    for run in range(2):
        peer, head = torch.nn.GRU(3, HIDDEN, batch_first=True), torch.nn.Linear(HIDDEN, 2)
        peer.load_state_dict(
            {
                "weight_ih_l0": into[run].T,
                "weight_hh_l0": onward[run].T,
                "bias_ih_l0": into_bias[run],
                "bias_hh_l0": onward_bias[run],
            }
        )
        head.load_state_dict({"weight": out[run].T, "bias": out_bias[run]})
        assert torch.allclose(network(x)[run], head(peer(x[run])[0]), atol=1e-6)
    peers = [*torch.nn.GRU(3, HIDDEN).parameters(), *torch.nn.Linear(HIDDEN, 2).parameters()]
    assert network.size == sum(parameter.numel() for parameter in peers)


def test_initial_weights_depend_on_the_run_s_seed_alone():
    """Uniform within ±1/√hidden."""
    stack, alone = Recurrent(3, SEEDS), Recurrent(3, SEEDS[1:])
    for one, other in zip(stack.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one[1], other[0])
        assert not torch.equal(one[0], one[1])
        assert one.abs().max() <= 1 / math.sqrt(HIDDEN)


def test_later_cuts_do_not_reach_earlier_outputs():
    """What is predicted after a cut knows that cut and those before it, and no other tool."""
    network, data = Recurrent(3, SEEDS), sequences()
    changed = data.x.clone()
    changed[:, 0, 4:] += 1
    before, after = network(data.x), network(changed)
    assert torch.equal(before[:, 0, :4], after[:, 0, :4])
    assert not torch.equal(before[:, 0, 4:], after[:, 0, 4:])
    assert torch.equal(before[:, 1:], after[:, 1:])


def test_it_learns_a_sum_over_the_sequence():
    """On tools it was not trained on, to a quarter of the first loss."""
    network, data = Recurrent(3, SEEDS), sequences()
    before = losses(network, data)
    train(network, data, epochs=150)
    assert (losses(network, data) < 0.25 * before).all()


def test_a_run_does_not_depend_on_its_neighbour():
    """Trained alone it ends as in the stack, with a neighbour that stops earlier, or blows its gradient up."""
    data = sequences()
    data.y[0] *= 1e3
    stack = Recurrent(3, SEEDS)
    alone = copied(stack, 1)
    train(stack, data, patience=5)
    train(alone, Sequences(data.x[1:], data.y[1:], data.train[1:], data.validation[1:]), patience=5)
    for one, other in zip(stack.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(one[1], other[0], atol=1e-5)


def test_each_run_ends_with_its_lowest_validation_loss():
    """Not with the last one: a step that is far too long makes it worse."""
    network, data = Recurrent(3, SEEDS), sequences()
    seen = [losses(network, data)]
    train(network, data, learning_rate=0.3, epochs=30, on_epoch=lambda _: seen.append(losses(network, data)))
    assert torch.equal(losses(network, data), torch.stack(seen).min(0).values)
    assert (seen[-1] > losses(network, data)).any()


def test_it_stops_when_no_run_gets_better():
    """Patience counts epochs without a lower validation loss; here labels that training only moves away from."""
    data = sequences()
    data.y[:, 3:] = -50 * data.y[:, 3:]
    assert len(train(Recurrent(3, SEEDS), data, epochs=200, patience=4)) < 100


def test_without_validation_labels_all_epochs_are_run():
    """Nothing stops it, and it ends with the last weights."""
    network, data = Recurrent(3, SEEDS), sequences(validation=False)
    ends: list[torch.Tensor] = []
    said = train(network, data, patience=2, on_epoch=lambda _: ends.append(network.parameters()[0].detach().clone()))
    assert said == []
    assert len(ends) == 40
    assert torch.equal(network.parameters()[0], ends[-1])


def test_a_loss_that_is_not_finite_is_refused():
    """Where a label is infinite there is nothing to learn."""
    data = sequences()
    data.y[0, 0, 0, 0] = math.inf
    with pytest.raises(NonFiniteError, match=r"epoch 0 is not finite.* look for outliers"):
        train(Recurrent(3, SEEDS), data)
