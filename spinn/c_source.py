"""A network as one C file without dependencies, for a controller that has no Python: its weights and a function.

Batch 1 is what it is made for. Knows no network of its own: layers in, text out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from spinn.export import Layer

_VECTORS = 12
"""Of eight sums, at most as many at once: with an input and the weights they fit into sixteen registers."""

_HEAD = """\
/* A network of widths {widths}: standardised features in, standardised targets out. Made by spinn.
 *
 *     void {name}(const float *features, float *targets, size_t rows);
 *
 * features [rows][{inputs}], targets [rows][{outputs}]. For gcc or clang, whose vectors of eight floats it uses on any
 * processor; compile with -O3 and for the machine it runs on. */
#include <stddef.h>

typedef float v8 __attribute__((vector_size(32), may_alias));
typedef int m8 __attribute__((vector_size(32), may_alias));

static inline v8 select_(m8 mask, v8 yes, v8 no) {{ return (v8)((mask & (m8)yes) | (~mask & (m8)no)); }}

/* tanh, as a ratio of polynomials of degree 13 and 6 on |x| <= 7.998811, beyond which it is within 4e-7 of 1: the
 * coefficients of Eigen (MathFunctionsImpl.h, generic_fast_tanh_float). NaN stays NaN. */
static inline v8 tanh_(v8 x) {{
    const v8 bound = (v8){{}} + 7.998811f;
    x = select_(x > bound, bound, x);
    x = select_(x < -bound, -bound, x);
    const v8 s = x * x;
    v8 p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
    p = p * s + -8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    v8 q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return x * p / q;
}}

static void tanhs(v8 *x, size_t vectors) {{
    for (size_t j = 0; j < vectors; j++) x[j] = tanh_(x[j]);
}}
"""


def _panel(width: int) -> str:
    """The function of a panel of neighbouring outputs.

    Inputs in the loop, outputs in variables: the sums stay in registers (in an array gcc 12 keeps them in memory), and
    the weights are read once, in the order in which they lie.
    """
    sums = range(width // 8)
    return (
        f"\nstatic void panel{width}(const float *x, size_t inputs, const v8 *w, const v8 *b, v8 *y) {{\n"
        f"    v8 {', '.join(f's{j} = b[{j}]' for j in sums)};\n"
        f"    for (size_t i = 0; i < inputs; i++, w += {len(sums)}) {{\n"
        f"        const v8 xi = (v8){{}} + x[i];\n"
        f"{''.join(f'        s{j} += xi * w[{j}];' + chr(10) for j in sums)}    }}\n"
        f"{''.join(f'    y[{j}] = s{j};' + chr(10) for j in sums)}}}\n"
    )


def to_c(layers: Sequence[Layer], name: str = "spinn_predict") -> str:
    """The source of `void name(const float *features, float *targets, size_t rows)`.

    Args:
        layers: See `spinn.export.live_layers`.
        name: Of the function.
    """
    widths = [layers[0][0].shape[1], *(len(bias) for _, bias in layers)]
    used = sorted({width for _, bias in layers for _, width in _panels(len(bias))}, reverse=True)
    parts = [_HEAD.format(widths="-".join(map(str, widths)), inputs=widths[0], outputs=widths[-1], name=name)]
    parts += [_panel(width) for width in used]
    parts += [_constants(index, *layer) for index, layer in enumerate(layers)]
    return "".join([*parts, _function(layers, name)])


def _panels(outputs: int) -> list[tuple[int, int]]:
    """First output and width of each panel, in eights and evenly; the last one may reach beyond `outputs`."""
    vectors = -(-outputs // 8)
    count = -(-vectors // _VECTORS)
    bounds = [8 * (vectors * panel // count) for panel in range(count + 1)]
    return [(first, end - first) for first, end in pairwise(bounds)]


def _constants(index: int, weight: np.ndarray, bias: np.ndarray) -> str:
    """A layer's weights, panel after panel, each `[inputs][width]`; and its bias, filled up as the panels are."""
    panels = _panels(len(bias))
    padded = panels[-1][0] + panels[-1][1]
    rows = np.pad(weight, [(0, padded - len(weight)), (0, 0)])
    packed = np.concatenate([rows[first : first + width].T.reshape(-1) for first, width in panels])
    filled = np.pad(bias, (0, padded - len(bias)))
    return f"\n{_array(f'w{index}', packed)}{_array(f'b{index}', filled)}"


def _array(name: str, values: np.ndarray) -> str:
    """In hexadecimal, so that no digit is lost."""
    numbers = [f"{value.hex()}f" for value in values.astype(np.float64).tolist()]
    lines = [",".join(numbers[first : first + 8]) for first in range(0, len(numbers), 8)]
    aligned = "__attribute__((aligned(64)))"
    return f"static const float {name}[{len(numbers)}] {aligned} = {{\n" + ",\n".join(lines) + "};\n"


def _function(layers: Sequence[Layer], name: str) -> str:
    widest = max(sum(_panels(len(bias))[-1]) for _, bias in layers)
    inputs, outputs = layers[0][0].shape[1], len(layers[-1][1])
    body = [
        f"\nvoid {name}(const float *features, float *targets, size_t rows) {{",
        f"    v8 here[{widest // 8}], there[{widest // 8}];",
        "    for (size_t row = 0; row < rows; row++) {",
    ]
    source, target, other = f"features + row * {inputs}", "here", "there"
    for index, (weight, bias) in enumerate(layers):
        for first, width in _panels(len(bias)):
            panel = f"(const v8 *)(w{index} + {first * weight.shape[1]}), (const v8 *)(b{index} + {first})"
            body.append(
                f"        panel{width}((const float *)({source}), {weight.shape[1]}, {panel}, {target} + {first // 8});"
            )
        if index < len(layers) - 1:
            body.append(f"        tanhs({target}, {-(-len(bias) // 8)});")
        source, target, other = target, other, target
    body.append(f"        for (size_t j = 0; j < {outputs}; j++)")
    body.append(f"            targets[row * {outputs} + j] = ((const float *){source})[j];")
    return "\n".join([*body, "    }", "}", ""])
