"""Depthwise convolution and its two gradients, one output a channel, by taps: products and sums, no convolution.

Each channel meets its own taps only, so there is no matrix product. XLA's own loop on a CPU is ten to thirty times
slower than these sums. Images and cotangents are (N, *spatial, channels).
"""

import functools
import math

import jax.numpy as jnp
from jax import lax

from fnnet.core.arguments import accumulator
from fnnet.core.geometry import Window
from fnnet.core.primitives import same_varying
from fnnet.formulations import pieces
from fnnet.formulations.branches import in_a_branch, materialized
from fnnet.formulations.reductions import column_sums
from fnnet.formulations.windows import spread, taps

OF_A_TURN = 4  # examples whose products are added at once, so that the sums are read and written less often


def output(images, kernel, *, window: Window):
    """Each tap's view of the image, times its weight, added up."""

    def whole(images, kernel):
        dtype = accumulator(images.dtype)
        weights = kernel.reshape(-1, kernel.shape[-1]).astype(dtype)
        products = [seen.astype(dtype) * weight for seen, weight in zip(taps(images, window, 0), weights, strict=True)]
        return functools.reduce(jnp.add, products).astype(images.dtype)

    return in_a_branch(whole, images, kernel)


def x_gradient(kernel, cotangents, *, window: Window):
    """The cotangent times each tap's weight, added where the tap stood."""
    dtype, cotangents = accumulator(cotangents.dtype), materialized(cotangents)  # else XLA recomputes it for each tap
    weights = kernel.reshape(-1, kernel.shape[-1]).astype(dtype)
    return spread([cotangents.astype(dtype) * weight for weight in weights], window).astype(cotangents.dtype)


def kernel_gradient(images, cotangents, *, window: Window):
    """The products of each tap's view with the cotangent, added up a few examples at a time; then summed over places.

    XLA on a CPU sums slowly over all axes but the last, and the products of a whole batch do not fit into the cache.
    If devices may share the batch, each turn takes one example of every device.
    """
    dtype = accumulator(cotangents.dtype)

    def add(sums: list, examples: tuple) -> tuple[list, None]:
        images, cotangents = examples
        cotangents = cotangents.astype(dtype)
        seen = [tap.astype(dtype) for tap in taps(images, window, 0)]
        for i in range(len(cotangents)):
            sums = [total + tap[i] * cotangents[i] for total, tap in zip(sums, seen, strict=True)]
        return sums, None

    # Behind a barrier, or XLA computes both again in the order of turns: the layer before may be as cheap as a ReLU.
    images, cotangents = (_in_turn(lax.optimization_barrier(array)) for array in (images, cotangents))
    zero, cotangents, images = same_varying([jnp.zeros(cotangents.shape[2:], dtype), cotangents, images])
    sums, _ = lax.scan(add, [zero] * math.prod(window.size), (images, cotangents))
    kernel_bar = jnp.stack([column_sums(total) for total in sums])
    return kernel_bar.reshape(*window.size, 1, -1).astype(cotangents.dtype)


def _in_turn(array):
    """(turns, examples of a turn, ...). With several devices a turn has examples of each, so that shards stay whole."""
    examples = array.shape[0]
    if not isinstance(examples, int):  # exported for any batch
        return array[:, None]
    together = math.gcd(examples, pieces.sharers())
    turn = math.gcd(examples // together, OF_A_TURN)
    shape = -1, turn, *array.shape[1:]
    return array.reshape(shape) if together == 1 else jnp.moveaxis(array.reshape(together, *shape), 0, 2)
