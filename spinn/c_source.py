"""A network as one C file without dependencies, for a controller that has no Python: its weights and a function.

For one thread. One row alone reads every weight once, in order; of many rows several are taken at a time, and a weight
that was read serves them all. Knows no network of its own: layers in, text out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from spinn.export import Layer

_SUMS = 12
"""Vectors of sums, at most as many at once: with the inputs and the weights they fit into sixteen registers."""

_TILE = 6, 2
"""Rows at a time, where there are as many, and vectors of each at most: again twelve sums."""

_STACK = 1 << 16
"""Bytes for the activations of the rows that go through all layers before the next ones do; a tile may need more."""

_HEAD = """\
/* A network of widths {widths}: standardised features in, standardised targets out. Made by spinn.
 *
 *     void {name}(const float *features, float *targets, size_t rows);
 *
 * features [rows][{inputs}], targets [rows][{outputs}]. Takes {stack} bytes of stack. For gcc or clang, whose vectors
 * it uses on any processor; compile with -O3 and for the machine it runs on. */
#include <stddef.h>

/* Floats in a vector, as registers have them; vectors in eight floats. */
#ifdef __AVX__
enum {{ LANES = 8, SHARES = 1 }};
#else
enum {{ LANES = 4, SHARES = 2 }};
#endif
typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int mask __attribute__((vector_size(4 * LANES), may_alias));

/* tanh: to |x| = 8 a ratio of polynomials of degree 9 and 8, with the coefficients of Eigen (MathFunctionsImpl.h,
 * ptanh_float); beyond, 1 with the sign of x, within 3e-7 of tanh. NaN stays NaN. */
static inline vec tanh_(vec x) {{
    const vec s = x * x;
    vec p = s * 1.394553628e-8f + 2.102733560e-5f;
    p = p * s + 3.520756727e-3f;
    p = p * s + 1.340216100e-1f;
    vec q = s * 8.015776984e-7f + 3.326951409e-4f;
    q = q * s + 2.597254514e-2f;
    q = q * s + 4.673548340e-1f;
    q = q * s + 1.0f;
    const mask beyond = s > 64.0f, one = ((mask)x & ~0x7fffffff) | (mask)((vec){{}} + 1.0f);
    return (vec)((beyond & one) | (~beyond & (mask)((s * x * p + x) / q)));
}}

static void tanhs(vec *x, size_t vectors) {{
    for (size_t j = 0; j < vectors; j++) x[j] = tanh_(x[j]);
}}
"""


def _tile(rows: int, vectors: int) -> str:
    """The function of neighbouring outputs of so many rows.

    Inputs in the loop, outputs in variables: the sums stay in registers (in an array gcc 12 keeps them in memory). Each
    begins with its bias and takes the inputs in order: rows beside it change a row's outputs at most by the rounding of
    products, which the compiler may leave out (FMA) in one tile and not in another. For several rows the weights are
    read as volatile: gcc 12 would read them from memory for every row anew.
    """
    weights = [f"w{j}" if rows > 1 else f"w[{j}]" for j in range(vectors)]
    lines = [
        f"static void tile{rows}x{vectors}(const float *x, size_t inputs, size_t across, const vec *w, size_t wide,",
        "                     const vec *b, vec *y, size_t down) {",
        *(f"    vec {', '.join(f's{r}_{j} = b[{j}]' for j in range(vectors))};" for r in range(rows)),
        "    for (size_t i = 0; i < inputs; i++, w += wide) {",
    ]
    if rows > 1:
        lines += [f"        const vec {name} = *(const volatile vec *)(w + {j});" for j, name in enumerate(weights)]
    for r in range(rows):
        lines.append(f"        const float x{r} = x[{r} * across + i];")
        lines += [f"        s{r}_{j} += x{r} * {weight};" for j, weight in enumerate(weights)]
    lines.append("    }")
    lines += [f"    y[{r} * down + {j}] = s{r}_{j};" for r in range(rows) for j in range(vectors)]
    return "\n" + "\n".join([*lines, "}"]) + "\n"


def _panel(eights: int) -> str:
    """The function of a panel of neighbouring outputs of any number of rows: in tiles, the rest one row at a time.

    Rows in the inner loop: a tile's weights stay in the first cache meanwhile.
    """
    rows, most = _TILE
    lines = [
        f"static void panel{eights}(const float *x, size_t inputs, size_t across, size_t rows, const vec *w,",
        "                    const vec *b, vec *y, size_t down) {",
        f"    const size_t wide = {eights} * SHARES, tiled = rows - rows % {rows};",
        "    for (size_t share = 0; share < SHARES; share++) {",
    ]
    given = "(x + r * across, inputs, across, w + j, wide, b + j, y + r * down + j, down);"
    for first, part in _evenly(eights, most):
        lines += [
            f"        for (size_t r = 0, j = {first} * SHARES + {part} * share; r < tiled; r += {rows})",
            f"            tile{rows}x{part}{given}",
        ]
    lines += [
        f"        for (size_t r = tiled, j = {eights} * share; r < rows; r++)",
        f"            tile1x{eights}{given}",
        "    }",
        "}",
    ]
    return "\n" + "\n".join(lines) + "\n"


def to_c(layers: Sequence[Layer], name: str = "spinn_predict") -> str:
    """The source of `void name(const float *features, float *targets, size_t rows)`.

    Args:
        layers: See `spinn.export.live_layers`.
        name: Of the function.
    """
    widths = [layers[0][0].shape[1], *(len(bias) for _, bias in layers)]
    used = sorted({eights for width in widths[1:] for _, eights in _panels(width)})
    tiled = sorted({part for eights in used for _, part in _evenly(eights, _TILE[1])})
    widest = max(map(_eights, widths[1:]))
    block = _TILE[0] * max(1, _STACK // (2 * 32 * widest * _TILE[0]))
    named = {"name": name, "widths": "-".join(map(str, widths)), "inputs": widths[0], "outputs": widths[-1]}
    parts = [_HEAD.format(**named, stack=2 * 32 * widest * block)]
    parts += [_tile(1, eights) for eights in used]
    parts += [_tile(_TILE[0], vectors) for vectors in tiled]
    parts += [_panel(eights) for eights in used]
    parts += [_constants(index, *layer) for index, layer in enumerate(layers)]
    return "".join([*parts, _function(widths, name, block)])


def _eights(outputs: int) -> int:
    """The last one may reach beyond `outputs`."""
    return -(-outputs // 8)


def _panels(outputs: int) -> list[tuple[int, int]]:
    """First eight and number of eights of each panel."""
    return _evenly(_eights(outputs), _SUMS)


def _evenly(count: int, most: int) -> list[tuple[int, int]]:
    """First and size of each part: as few parts as there can be, of almost the same size."""
    parts = -(-count // most)
    bounds = [count * part // parts for part in range(parts + 1)]
    return [(first, end - first) for first, end in pairwise(bounds)]


def _constants(index: int, weight: np.ndarray, bias: np.ndarray) -> str:
    """A layer's weights, panel after panel, each `[inputs][width]`; and its bias, filled up as the panels are."""
    missing = 8 * _eights(len(bias)) - len(bias)
    rows = np.pad(weight, [(0, missing), (0, 0)])
    panels = [rows[8 * first : 8 * (first + eights)] for first, eights in _panels(len(bias))]
    packed = np.concatenate([panel.T.reshape(-1) for panel in panels])
    return f"\n{_array(f'w{index}', packed)}{_array(f'b{index}', np.pad(bias, (0, missing)))}"


def _array(name: str, values: np.ndarray) -> str:
    """In hexadecimal, so that no digit is lost."""
    numbers = [f"{value.hex()}f" for value in values.astype(np.float64).tolist()]
    lines = [",".join(numbers[first : first + 8]) for first in range(0, len(numbers), 8)]
    aligned = "__attribute__((aligned(64)))"
    return f"static const float {name}[{len(numbers)}] {aligned} = {{\n" + ",\n".join(lines) + "};\n"


def _function(widths: Sequence[int], name: str, block: int) -> str:
    """All layers of `block` rows, then of the next ones."""
    kept = block * max(map(_eights, widths[1:]))
    body = [
        f"\nvoid {name}(const float *features, float *targets, size_t rows) {{",
        f"    vec here[{kept} * SHARES], there[{kept} * SHARES];",
        f"    for (size_t row = 0; row < rows; row += {block}) {{",
        f"        const size_t block = rows - row < {block} ? rows - row : {block};",
    ]
    source, across, target, other = f"features + row * {widths[0]}", widths[0], "here", "there"
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        down = _eights(outputs)
        for first, eights in _panels(outputs):
            panel = f"(const vec *)(w{index} + {8 * first * inputs}), (const vec *)(b{index} + {8 * first})"
            body.append(
                f"        panel{eights}((const float *)({source}), {inputs}, {across}, block, {panel}, "
                f"{target} + {first} * SHARES, {down} * SHARES);"
            )
        if index < len(widths) - 2:
            body.append(f"        tanhs({target}, block * {down} * SHARES);")
        source, across, target, other = target, 8 * down, other, target
    body += [
        "        for (size_t r = 0; r < block; r++)",
        f"            for (size_t j = 0; j < {widths[-1]}; j++)",
        f"                targets[(row + r) * {widths[-1]} + j] = ((const float *){source})[r * {across} + j];",
    ]
    return "\n".join([*body, "    }", "}", ""])
