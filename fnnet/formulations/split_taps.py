"""The kernel's gradient as one product, each of whose factors sees some of the taps: for few channels and few outputs.

W_bar[i, j, c, o] sums x[r + i, q + j, c] y_bar[r, q, o] over all places (r, q); i counts the taps along the first axis,
j those along the others. With r - i in place of r,

    W_bar[i, j, c, o] = sum over r, q of x[r, q + j, c] y_bar[r - i, q, o]

So a row of the first factor has the entries (j, c), a row of the second (i, o), and all taps come from one product
(j c, N r q) @ (N r q, i o). With all taps in the first factor, that would be larger by the number of taps i, and the
product would have few columns. Images and cotangents are (N, *spatial, channels) of f32 or f64, with stride and
dilation 1.
"""

import itertools
import math

import jax.numpy as jnp
from jax import lax

from fnnet.core.geometry import Window
from fnnet.formulations import pieces
from fnnet.formulations.branches import in_a_branch

ROWS = 16384  # of the factors, in a piece of the batch: they fit into the cache
LEAST_ROWS, LEAST_COLUMNS = 8192, 65  # from here on, a batch of two products takes 5 to 35 % less time than one


def kernel_gradient(images, cotangents, *, window: Window):
    """The product, summed over pieces of the batch."""
    first, *others = window.size
    channels, outputs = images.shape[-1], cotangents.shape[-1]
    rows = window.out[0] + first - 1

    def seen(images):
        places = rows, *window.out[1:]
        axes = list(zip(window.image, places, window.padding, strict=True))
        return _beside(
            images,
            [
                [(lo - j, o - n - (lo - j)) for (n, o, (lo, _)), j in zip(axes, (0, *position), strict=True)]
                for position in itertools.product(*map(range, others))
            ],
        )

    def given(cotangents):
        return _beside(cotangents, [[(i, first - 1 - i), *[(0, 0)] * len(others)] for i in range(first)])

    def of_piece(images, cotangents):
        return _over_rows(in_a_branch(seen, images), in_a_branch(given, cotangents))

    number = pieces.number(images.shape[0], ROWS // math.prod(window.out))
    product = pieces.summed(of_piece, images, cotangents, number)
    product = product.reshape(*others, channels, first, outputs)
    return jnp.moveaxis(product, -2, 0)


def _over_rows(a, b):
    """a^T b."""
    rows, most = a.shape[0], max(a.shape[1], b.shape[1])
    by_two = rows >= LEAST_ROWS and rows % 2 == 0 and most >= LEAST_COLUMNS and pieces.sharers() == 1
    a, b = (factor.reshape(1 + by_two, -1, factor.shape[1]) for factor in (a, b))
    return lax.dot_general(a, b, (((1,), (1,)), ((0,), (0,)))).sum(0)


def _beside(array, edges):
    """The array with each of these edges of zeros (or less of it, where negative), side by side, as a matrix.

    XLA adds padded arrays faster than it concatenates them.
    """
    channels, zero = array.shape[-1], jnp.zeros((), array.dtype)
    parts = []
    for at, own in enumerate(edges):
        beside = at * channels, (len(edges) - 1 - at) * channels
        parts.append(lax.pad(array, zero, [(lo, hi, 0) for lo, hi in ((0, 0), *own, beside)]))
    return sum(parts[1:], parts[0]).reshape(-1, len(edges) * channels)
