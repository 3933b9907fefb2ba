"""Exports say what PyTorch says: ONNX, bound or not, and C, for any widths, masks and batch."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinn import runtimes
from spinn.c_source import to_c
from spinn.checkpoint import Checkpoint
from spinn.errors import InputError
from spinn.export import live_layers, to_onnx

TOLERANCE = 1e-5
widths = st.lists(st.integers(0, 9), min_size=0, max_size=3).flatmap(
    lambda hidden: st.tuples(st.integers(1, 5), *map(st.just, hidden), st.integers(1, 3))
)


def network(layers: tuple[int, ...], seed: int, kept: float = 1.0) -> Checkpoint:
    """Normal weights, of which a share is kept, and normal biases."""
    draw = np.random.default_rng(seed)
    shapes = list(zip(layers[1:], layers[:-1], strict=True))
    masks = tuple(draw.random(shape) < kept for shape in shapes)
    weights = tuple(np.where(mask, draw.standard_normal(mask.shape), 0).astype(np.float32) for mask in masks)
    biases = tuple(draw.standard_normal(out).astype(np.float32) for out, _ in shapes)
    return Checkpoint(weights, biases, masks, {})


def expected(made: Checkpoint, x: np.ndarray) -> np.ndarray:
    """The network in float64."""
    y = x.astype(np.float64)
    for index, (weight, bias) in enumerate(zip(made.weights, made.biases, strict=True)):
        y = y @ weight.T + bias
        y = np.tanh(y) if index < len(made.weights) - 1 else y
    return y


def rows(made: Checkpoint, batch: int) -> np.ndarray:
    """Standard normal features."""
    return np.random.default_rng(batch).standard_normal((batch, made.layers[0]), np.float32)


@given(layers=widths, seed=st.integers(0, 99), kept=st.sampled_from([0.0, 0.3, 1.0]), batch=st.integers(1, 5))
def test_onnx_says_what_pytorch_says(layers: tuple[int, ...], seed: int, kept: float, batch: int):
    """To 1e-5, and both the network in float64; width 0, one layer, and a batch of another size included."""
    made = network(layers, seed, kept)
    model, plain = to_onnx(made), runtimes.by_torch(made)
    for predict in (plain, runtimes.by_onnxruntime(model, 1), runtimes.by_onnxruntime_bound(model, 1)):
        for size in (batch, batch + 1):
            x = rows(made, size)
            np.testing.assert_allclose(predict(x), plain(x), rtol=0, atol=TOLERANCE)
            np.testing.assert_allclose(predict(x), expected(made, x), rtol=0, atol=TOLERANCE)


needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")
BATCHES = 0, 1, 3, 4, 5, 6, 7, 8, 33, 1024
"""None, fewer than a tile has, whole tiles, a rest, and more than go through the layers at once."""


@pytest.fixture(params=["as wide as here", "as narrow as anywhere"])
def vectors(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """C compiled for this machine's vectors, and for those of a machine without AVX."""
    if request.param == "as narrow as anywhere":
        monkeypatch.setattr(runtimes, "to_c", lambda layers: to_c(layers).replace("#ifdef __AVX__", "#if 0"))


@needs_cc
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize(
    "layers",
    [
        *[(3, 2), (1, 1, 1), (5, 0, 2), (4, 7, 0, 9, 3), (31, 18, 7, 2, 1), (2, 31, 201, 31)],
        *[(18, 97, 104, 33, 2), (7, 600, 2), (18, 160, 160, 160, 80, 2)],
    ],
)
def test_c_says_what_pytorch_says(layers: tuple[int, ...]):
    """To 1e-5, whether or not widths are multiples of a vector's, for any number of rows."""
    made = network(layers, 1, 0.1)
    predict, plain = runtimes.by_c(made), runtimes.by_torch(made)
    for batch in BATCHES:
        np.testing.assert_allclose(predict(rows(made, batch)), plain(rows(made, batch)), rtol=0, atol=TOLERANCE)


@needs_cc
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("layers", [(1, 1), (2, 7), (7, 18), (18, 31), (31, 97), (97, 200)])
def test_c_multiplies_whole_numbers_exactly(layers: tuple[int, int]):
    """Sums below 2^24, which no order or rounding changes: every weight meets its own input, whatever the row."""
    draw = np.random.default_rng(0)
    weight, bias = (draw.integers(-99, 99, shape).astype(np.float32) for shape in (layers[::-1], layers[1]))
    predict = runtimes.by_c(Checkpoint((weight,), (bias,), None, {}))
    for batch in BATCHES:
        x = draw.integers(-99, 99, (batch, layers[0])).astype(np.float32)
        np.testing.assert_array_equal(predict(x), x @ weight.T + bias)


@needs_cc
@pytest.mark.usefixtures("vectors")
def test_what_c_says_of_a_row_does_not_depend_on_the_others():
    """Alone, first or last, beside NaN: the same sums in the same order, a product rounded or not."""
    made = network((18, 160, 160, 160, 80, 2), 2, 0.1)
    predict, x = runtimes.by_c(made), rows(made, 59)
    together = predict(x).copy()
    alone = np.concatenate([predict(row[None]).copy() for row in x])
    np.testing.assert_allclose(together, alone, rtol=0, atol=2e-6)
    x[20:] = np.nan
    np.testing.assert_array_equal(predict(x)[:20], together[:20])
    assert np.isnan(predict(x)[20:]).all()


@needs_cc
@pytest.mark.usefixtures("vectors")
def test_the_tanh_of_the_c_source_is_tanh():
    """Over the whole line to 4e-7, at infinity too, and NaN stays NaN."""
    one = np.ones((1, 1), np.float32)
    zero = np.zeros(1, np.float32)
    predict = runtimes.by_c(Checkpoint((one, one), (zero, zero), None, {}))
    x = np.concatenate([np.linspace(-12, 12, 20001), [-1e30, 1e30, -np.inf, np.inf, 1e-30]]).astype(np.float32)
    np.testing.assert_allclose(predict(x[:, None])[:, 0], np.tanh(x.astype(np.float64)), rtol=0, atol=4e-7)
    assert np.isnan(predict(np.full((1, 1), np.nan, np.float32))).all()


@given(layers=widths.filter(lambda layers: 0 not in layers), seed=st.integers(0, 9))
@settings(max_examples=20)
def test_the_c_source_holds_every_weight_to_the_last_bit(layers: tuple[int, ...], seed: int):
    """Each number of the network stands in it, in hexadecimal."""
    made = network(layers, seed)
    text = to_c(live_layers(made), "predict")
    assert "void predict(const float *features, float *targets, size_t rows) {\n    vec here[" in text
    for array in (*made.weights, *made.biases):
        for value in array.ravel().astype(np.float64).tolist():
            assert f"{value.hex()}f" in text


def test_a_network_without_a_way_through_is_its_last_bias_onwards():
    """Behind a layer of width 0 nothing depends on the features."""
    made = network((3, 4, 0, 2, 2), 0)
    layers = live_layers(made)
    assert [weight.shape for weight, _ in layers] == [(2, 3), (2, 2)]
    assert not layers[0][0].any()
    np.testing.assert_array_equal(layers[0][1], made.biases[2])


def test_buffers_are_not_confused():
    """A batch of the same size overwrites the result, another size gets a buffer of its own."""
    made = network((3, 4, 2), 0)
    predict = runtimes.by_onnxruntime_bound(to_onnx(made), 1)
    first = predict(rows(made, 2))
    kept = first.copy()
    assert predict(rows(made, 3)) is not first
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("onnx", lambda: to_onnx(network((2, 1), 0))),
        ("onnxruntime", lambda: runtimes.by_onnxruntime(b"", 1)),
        ("onnxruntime", lambda: runtimes.by_onnxruntime_bound(b"", 1)),
    ],
)
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, package: str, use: Callable[[], object]):
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package} is not installed: .* pip install 'spinn\[export\]'"):
        use()


def test_a_compiler_that_is_missing_or_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """One line: no cc, or what cc said."""
    made = network((2, 1), 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="cc = not found"):
        runtimes.by_c(made)
    (tmp_path / "cc").write_text("#!/bin/sh\necho 'no such target' >&2\nexit 3\n")
    (tmp_path / "cc").chmod(0o755)
    with pytest.raises(InputError, match=r"cc ended with status 3 \(no such target\)"):
        runtimes.by_c(made)
