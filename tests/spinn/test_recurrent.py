"""The recurrent network: torch's own equations, stacked over runs that do not see one another."""

from __future__ import annotations

import math

import pytest
import torch

from spinn import recurrent
from spinn.errors import NonFiniteError
from spinn.recurrent import HIDDEN, Recurrent, Sequences, fit

SEEDS = (3, 4)


def sequences(runs: int = 2, *, last: bool = False) -> Sequences:
    """Five tools whose output is half the sum of what came in so far; three are known, or the `last` two; one gap."""
    draw = torch.Generator().manual_seed(0)
    x = 0.5 * torch.randn((1, 5, 6, 3), generator=draw).expand(runs, -1, -1, -1).clone()
    known = torch.zeros(runs, 5, 6)
    known[:, 3:] = float(last)
    known[:, :3] = float(not last)
    known[:, 0, 2] = 0
    return Sequences(x, 0.5 * x[..., 0].cumsum(2) * known, known)


def train(network: Recurrent, data: Sequences, **changes) -> list[str]:
    """Fit with what a test does not care about; returns what was said each epoch."""
    said: list[str] = []
    settings = {"epochs": 40, "learning_rate": 1e-2, "on_epoch": said.append}
    fit(network, data, **(settings | changes))
    return said


def losses(network: Recurrent, data: Sequences) -> torch.Tensor:
    """Loss of each run."""
    with torch.no_grad():
        return recurrent.loss(network(data.x), data)


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
        peer, head = torch.nn.GRU(3, HIDDEN, batch_first=True), torch.nn.Linear(HIDDEN, 1)
        peer.load_state_dict(
            {
                "weight_ih_l0": into[run].T,
                "weight_hh_l0": onward[run].T,
                "bias_ih_l0": into_bias[run],
                "bias_hh_l0": onward_bias[run],
            }
        )
        head.load_state_dict({"weight": out[run].T, "bias": out_bias[run]})
        assert torch.allclose(network(x)[run], head(peer(x[run])[0]).squeeze(2), atol=1e-6)
    peers = [*torch.nn.GRU(3, HIDDEN).parameters(), *torch.nn.Linear(HIDDEN, 1).parameters()]
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
    network, others = Recurrent(3, SEEDS), sequences(last=True)
    before = losses(network, others)
    assert len(train(network, sequences(), epochs=150)) == 150
    assert (losses(network, others) < 0.25 * before).all()


def test_a_run_does_not_depend_on_its_neighbour():
    """Trained alone it ends as in the stack, with a neighbour that blows its gradient up."""
    data = sequences()
    data.y[0] *= 1e3
    stack = Recurrent(3, SEEDS)
    alone = copied(stack, 1)
    train(stack, data)
    train(alone, Sequences(data.x[1:], data.y[1:], data.known[1:]))
    for one, other in zip(stack.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(one[1], other[0], atol=1e-5)


def test_each_step_is_adam_s_with_a_bounded_gradient():
    """An epoch moves a run as Adam of torch does, its gradient scaled down to a norm of 1 before."""
    data = sequences(runs=1)
    data.y.mul_(50)
    network = Recurrent(3, SEEDS[:1])
    peer = copied(network, 0)
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        error = (peer(data.x) - data.y)[data.known > 0]
        error.square().mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        assert norm > 1
        optimizer.step()
    train(network, data, epochs=3)
    for one, other in zip(network.parameters(), peer.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_loss_that_is_not_finite_is_refused():
    """Where a label is infinite there is nothing to learn."""
    data = sequences()
    data.y[0, 0, 0] = math.inf
    with pytest.raises(NonFiniteError, match=r"epoch 0 is not finite.* look for outliers"):
        train(Recurrent(3, SEEDS), data)
