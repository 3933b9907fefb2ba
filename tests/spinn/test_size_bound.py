"""The bound on a checkpoint's size holds for every checkpoint, and is what its layout adds up to."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinn import checkpoint
from spinn.schedule import size_on_disk
from verify import strategies

DENSE = (18, 512, 512, 512, 256, 2)


@given(strategies.widths(max_width=40), st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_size_bound_covers_the_file(widths, seed, coefficients):
    """No sparse checkpoint is larger than its bound, and the bound is within 4 kB of it."""
    draw = np.random.default_rng(seed)
    shapes = [(b, a) for a, b in pairwise(widths)]
    masks = tuple(draw.random(shape) < draw.random() for shape in shapes)
    weights = tuple(np.where(mask, draw.normal(size=mask.shape), 0).astype(np.float32) for mask in masks)
    biases = tuple(np.zeros(shape[0], np.float32) for shape in shapes)
    learned = {f"coefficient{index:05d}": 1.0 for index in range(coefficients)}
    file = checkpoint.encode(checkpoint.Checkpoint(weights, biases, masks, learned))
    bound = size_on_disk(widths, sum(int(mask.sum()) for mask in masks))
    assert len(file) <= bound <= len(file) + 4_000


def test_size_of_the_default_schedule():
    """The default schedule ends within 0.85 MB, the first repair does not."""
    assert size_on_disk(DENSE, 188_236) <= 850_000 < size_on_disk(DENSE, 208_571)


@pytest.mark.parametrize(
    ("widths", "masks", "wide"),
    [((1, 1), 1, "999"), ((3, 3), 2, "999"), ((9, 8, 9), 18, "999"), ((20, 20), 50, "9999")],
)
def test_size_bound_by_hand(widths, masks, wide):
    """Values, packed masks, twelve coefficients in float64, a header with all numbers at their widest, and padding."""
    names = [f"layers.{i}.{part}" for i in range(len(widths) - 1) for part in ("weight.mask", "weight.values", "bias")]
    names += ["physics.abcdefghijklmnop"] * 12
    entry = {"dtype": "F32", "shape": [int(wide)], "data_offsets": [int(wide), int(wide)]}
    entries = [f'"{name}":{json.dumps(entry, separators=(",", ":"))}' for name in names]
    header = ",".join([f'{{"__metadata__":{{"layers":"{list(widths)}"}}', *entries]) + "}"
    assert size_on_disk(widths, 1) == 4 * (1 + sum(widths[1:])) + masks + 12 * 8 + 8 + len(header) + 7
