"""The image's gradient as a product of whole rows of the cotangent with a matrix that has the kernel along a band.

Along the last axis all taps and all places become one product, (N * rows, places * outputs) @ (places * outputs, other
taps * size * channels). The taps of the other axes are added where they stood. Most of the matrix is zeros: there are
size / taps times as many products as necessary. But its rows are long, and whole rows of the image are added. This is
faster for an image that has few channels and is hardly wider than a few windows. Cotangents are (N, *spatial, outputs).
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from fnnet.core.arguments import accumulator
from fnnet.core.geometry import Window
from fnnet.formulations.branches import in_a_branch
from fnnet.formulations.windows import spread


def x_gradient(kernel, cotangents, *, window: Window):
    """Each row times the band, added where the taps of the other axes stood."""
    *_, taps, channels, outputs = kernel.shape
    size, places = window.image[-1], window.out[-1]
    sees = (
        np.arange(places)[:, None] * window.stride[-1] + np.arange(taps) * window.dilation[-1] - window.padding[-1][0]
    )
    band = np.equal.outer(sees, np.arange(size))  # (places, taps, size): which entry each tap sees
    matrix = jnp.einsum("pti,...tco->po...ic", band.astype(kernel.dtype), kernel).reshape(places * outputs, -1)
    others = Window(*(of_axes[:-1] for of_axes in dataclasses.astuple(window)))

    def of_rows(cotangents, matrix):
        rows = cotangents.reshape(*cotangents.shape[:-2], places * outputs)
        product = jnp.matmul(rows, matrix, preferred_element_type=accumulator(cotangents.dtype))
        number = math.prod(others.size)
        parts = product.reshape(*rows.shape[:-1], number, size * channels)
        copies = (parts[..., t, :] for t in range(number))
        x_bar = spread(copies, others).reshape(cotangents.shape[0], *window.image, channels)
        return x_bar.astype(cotangents.dtype)

    return in_a_branch(of_rows, cotangents, matrix)
