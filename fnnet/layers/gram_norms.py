"""The norm of each example's parameter gradient, from a layer's input and its output's cotangent alone.

One example of a dense layer at T places (1 for a vector), or of a convolution, where x_t is the patch of place t:

    forward     y_to      = sum_i x_ti W_io + b_o                                            D inputs, P outputs
    gradient    W_bar_io  = sum_t x_ti y_bar_to                                       (1)
    norms       |W_bar|^2 = sum_ts (sum_i x_ti x_si) (sum_o y_bar_to y_bar_so)        (2)   two Gram matrices, T by T
                |b_bar|^2 = sum_o (sum_t y_bar_to)^2                                  (3)

At one place (2) is |x|^2 |y_bar|^2. Sources: Goodfellow, Efficient Per-Example Gradient Computations (2015),
arXiv:1510.01799, for one place; Li, Tramer, Liang and Hashimoto (2021), arXiv:2110.05679, section 4, for (2); Bu, Mao
and Xu (2022), arXiv:2205.10683, for convolutions, and for choosing between (1) and (2) layer by layer.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import accumulator
from fnnet.core.geometry import Window
from fnnet.formulations.windows import taps
from fnnet.layers.protocol import Params


def gram_is_cheaper(places: int, inputs: int, outputs: int) -> bool:
    """Whether (2) is computed rather than (1).

    (2) takes T^2 (D + P) multiplications, (1) takes T D P. Where (2) takes fewer it has fewer numbers in memory, too:
    T < D P / (D + P) makes its 2 T^2 less than D P / 2. Where it does not, (1) has no more numbers than the patches and
    the cotangent: D P <= T (D + P).
    """
    return places == 1 or places * (inputs + outputs) < inputs * outputs


def norms_of_product(
    params: Params, x: Any, y_bar: Any, rows_of: Callable[[], jax.Array] | None = None
) -> jax.Array | None:
    """For each example the squared norm of a kernel's and a bias's gradients by (2) and (3); None if (1) is cheaper.

    Args:
        params: "kernel" (..., outputs), and perhaps "bias".
        x: The layer's input, with the examples along the first axis.
        y_bar: The cotangent of the layer's output for each example.
        rows_of: Gives what the kernel is multiplied with, (examples, *places, inputs); None: x itself.
    """
    *_, outputs = params["kernel"].shape
    places, inputs = math.prod(y_bar.shape[1:-1]), math.prod(params["kernel"].shape[:-1])
    if not gram_is_cheaper(places, inputs, outputs):
        return None
    rows = x if rows_of is None else rows_of()
    return _by_gram(rows.reshape(-1, places, inputs), y_bar.reshape(-1, places, outputs), bias="bias" in params)


def patches(x: jax.Array, place: Window) -> jax.Array:
    """What the taps see from every place: (examples, *places, taps, inputs)."""
    return jnp.stack(list(taps(x, place, 0)), -2)


def _by_gram(x: jax.Array, y_bar: jax.Array, *, bias: bool) -> jax.Array:
    """(2) and (3) for x (examples, places, inputs) and y_bar (examples, places, outputs)."""
    x, y_bar = (a.astype(accumulator(a.dtype)) for a in (x, y_bar))
    if x.shape[1] == 1:
        squares = sums_of_squares(x) * sums_of_squares(y_bar)
    else:
        squares = jnp.sum(_gram(x) * _gram(y_bar), (1, 2))  # (2)
    if bias:
        squares += sums_of_squares(y_bar.sum(1))  # (3)
    return squares


def _gram(rows: jax.Array) -> jax.Array:
    return jnp.matmul(rows, jnp.matrix_transpose(rows))


def sums_of_squares(a: jax.Array) -> jax.Array:
    """Of each entry of the first axis."""
    return jnp.square(a).sum(tuple(range(1, a.ndim)))
