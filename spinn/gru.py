"""The recurrent network among the baselines: chosen as the regressors are, among as many candidates; fitted in stacks.

One network for each target, without physics: three learning rates, for 100 epochs or for 300, always on all features.
Knows arrays, cases and seeds; the network itself is `spinn.recurrent`'s, the inner folds are `spinn.regressors`'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from spinn import recurrent
from spinn.record import Choice
from spinn.recurrent import Recurrent, Sequences
from spinn.regressors import Arrays, Settings, best, inner_turns, standardised

GRID: tuple[Settings, ...] = tuple(
    {"learning_rate": rate, "epochs": epochs} for rate in (1e-3, 3e-3, 1e-2) for epochs in (100, 300)
)
"""Six settings, as many as a regressor's candidates; without sensors there were no sequence to see."""
_STACK = 128  # networks trained together, so that memory is bounded

Say = Callable[[str], object]


@dataclass(frozen=True)
class Wanted:
    """A network that is to be trained: on which cases, from which seed, with which settings."""

    train: tuple[str, ...]
    seed: int
    settings: Settings


def choose(arrays: Arrays, folds: Sequence[Sequence[str]], seed: int, device: str, say: Say) -> list[Choice]:
    """For the training cases of each fold the best candidate by cross-validation over them."""
    turns = [list(inner_turns(arrays, train)) for train in folds]
    wanted = [Wanted(tuple(inner), seed, settings) for of_fold in turns for settings in GRID for inner, _ in of_fold]
    outputs = iter(predict(arrays, wanted, device, say))
    choices = []
    for of_fold in turns:
        rows = [held_out for _, held_out in of_fold]
        predicted = [[next(outputs)[held_out] for held_out in rows] for _ in GRID]
        choices.append(best(arrays, [(settings, "all") for settings in GRID], rows, predicted))
    return choices


def chosen(choice: Choice, train: Sequence[str], seed: int) -> Wanted:
    """The network of the candidate that was chosen, on all of `train`."""
    return Wanted(tuple(train), seed, choice.candidates[choice.chosen].settings)


def predict(arrays: Arrays, wanted: Sequence[Wanted], device: str, say: Say) -> list[np.ndarray]:
    """Train every network; what each says of every cut from those up to it, `[cuts]` in mm or µm.

    Networks with the same settings are trained together.
    """
    alike: dict[tuple[float, int], list[int]] = {}
    for place, one in enumerate(wanted):
        alike.setdefault((float(one.settings["learning_rate"]), int(one.settings["epochs"])), []).append(place)
    parts = [places[first : first + _STACK] for places in alike.values() for first in range(0, len(places), _STACK)]
    predicted: dict[int, np.ndarray] = {}
    for done, places in enumerate(parts):
        outputs = _trained(
            arrays, [wanted[place] for place in places], device,
            lambda epoch, done=done: say(f"stack {done + 1} of {len(parts)}, {epoch}"),
        )  # fmt: skip
        predicted.update(zip(places, outputs, strict=True))
    return [predicted[place] for place in range(len(wanted))]


def size(arrays: Arrays) -> int:
    """Parameters of a network."""
    return Recurrent(arrays.x.shape[1], [0]).size


def _trained(arrays: Arrays, wanted: Sequence[Wanted], device: str, say: Say) -> list[np.ndarray]:
    """The same of networks that differ in cases and seed alone."""
    data, places, scales = _sequences(arrays, wanted, device)
    settings = wanted[0].settings
    network = Recurrent(data.x.shape[-1], [one.seed for one in wanted], device)
    with _one_thread():
        recurrent.fit(
            network,
            data,
            epochs=int(settings["epochs"]),
            learning_rate=float(settings["learning_rate"]),
            on_epoch=say,
        )
        with torch.no_grad():
            outputs = network(data.x).to("cpu", torch.float64).numpy()
    return [of_run[places] * scale + mean for of_run, (mean, scale) in zip(outputs, scales, strict=True)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """The products of one cut are so small that threads wait for one another longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _sequences(
    arrays: Arrays, wanted: Sequence[Wanted], device: str
) -> tuple[Sequences, tuple[np.ndarray, np.ndarray], list[tuple[float, float]]]:
    """The tools as every network sees them; each cut's tool and place in it; each network's mean and scale."""
    _, tool = np.unique(arrays.case, return_inverse=True)
    place = np.zeros(len(tool), dtype=int)
    for one in range(tool.max() + 1):
        of_tool = np.flatnonzero(tool == one)
        place[of_tool] = np.arange(len(of_tool))
    shape = (tool.max() + 1, place.max() + 1)
    x, y, known, scales = [], [], [], []
    for one in wanted:
        features, labels, scale = standardised(arrays, "all", one.train)
        for part, values in ((x, features), (y, np.nan_to_num(labels)), (known, ~np.isnan(labels))):
            padded = np.zeros((*shape, *values.shape[1:]))
            padded[tool, place] = values
            part.append(padded)
        scales.append(scale)
    stacked = [torch.tensor(np.stack(part), dtype=torch.float32, device=device) for part in (x, y, known)]
    return Sequences(*stacked), (tool, place), scales
