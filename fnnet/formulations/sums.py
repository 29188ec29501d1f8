"""A convolution of few taps and channels as a sum, tap by tap and channel by channel, of products by entries.

The matrices would be too small for a product. The sum is computed once, not again in each loop that reads it: with many
outputs in a branch, with few in pieces of the batch, whichever is faster. Images are (N, *spatial, channels).
"""

import functools
import math

import jax.numpy as jnp

from fnnet.core.arguments import accumulator
from fnnet.core.geometry import Window
from fnnet.formulations import pieces
from fnnet.formulations.branches import in_a_branch
from fnnet.formulations.windows import taps

MANY_OUTPUTS = 16  # as many as a vector register holds


def output(images, kernel, *, window: Window):
    """The sum over taps and channels of a tap's view of a channel, times its weights."""
    dtype = accumulator(images.dtype)
    weights = kernel.reshape(math.prod(window.size), *kernel.shape[-2:]).astype(dtype)

    def of_piece(images):
        products = [
            seen[..., c : c + 1].astype(dtype) * weight[c]
            for seen, weight in zip(taps(images, window, 0), weights, strict=True)
            for c in range(kernel.shape[-2])
        ]
        return functools.reduce(jnp.add, products).astype(images.dtype)

    if kernel.shape[-1] >= MANY_OUTPUTS:
        return in_a_branch(of_piece, images)
    return pieces.kept_apart(of_piece, images)
