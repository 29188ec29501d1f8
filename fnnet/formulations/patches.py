"""A convolution's kernel gradient as one product of matrices: the patches that the taps see, times the cotangent.

Images and cotangents are (N, *spatial, channels).
"""

import math

import jax.numpy as jnp
from jax import lax

from fnnet.arguments import accumulator
from fnnet.formulations.windows import taps
from fnnet.geometry import Window


def kernel_gradient(images, cotangents, *, window: Window):
    """(taps * channels, N * places) @ (N * places, outputs); the patches lie in memory as they are multiplied."""
    channels, outputs = images.shape[-1], cotangents.shape[-1]
    planes = jnp.moveaxis(images, -1, 0)[..., None]  # a channel is an example here, and N is an axis of the batch
    patches = jnp.stack([seen.reshape(channels, -1) for seen in taps(planes, window, 0)])
    product = lax.dot(
        patches.reshape(math.prod(window.size) * channels, -1),
        cotangents.reshape(-1, outputs),
        preferred_element_type=accumulator(images.dtype),
    )
    return product.reshape(*window.size, channels, outputs).astype(images.dtype)
