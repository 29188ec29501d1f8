"""Convolution as XLA's GPU and TPU backends want it, and its two transposes, as autodiff has them.

Images and cotangents are (N, *spatial, channels).
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from fnnet.core.geometry import Window
from fnnet.core.primitives import same_varying


def output(images, kernel, *, window: Window, groups: int):
    """The convolution itself; these backends accumulate bf16 and f16 in f32 of themselves."""
    spatial = "DHW"[3 - window.rank :]
    return lax.conv_general_dilated(
        images,
        kernel,
        window.stride,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )


def x_gradient(kernel, cotangents, *, window: Window, groups: int):
    """The transpose by the images."""
    by_images = functools.partial(output, kernel=kernel, window=window, groups=groups)
    return _transposed(by_images, (cotangents.shape[0], *window.image, kernel.shape[-2] * groups), cotangents)


def kernel_gradient(images, cotangents, *, window: Window, groups: int):
    """The transpose by the kernel."""
    by_kernel = functools.partial(output, images, window=window, groups=groups)
    return _transposed(by_kernel, (*window.size, images.shape[-1] // groups, cotangents.shape[-1]), cotangents)


def _transposed(linear, shape, cotangents):
    """The transpose of a linear function of one array, which varies over the mesh axes that the cotangent does."""
    like, _ = same_varying([jnp.zeros(shape, cotangents.dtype), cotangents])
    return jax.linear_transpose(linear, like)(cotangents)[0]
