"""A convolution of one tap, and gradients of any, as one product of matrices from or to the patches that the taps see.

Images and cotangents are (N, *spatial, channels).
"""

import math

import jax.numpy as jnp
from jax import lax

from fnnet.core.arguments import accumulator
from fnnet.core.geometry import Window
from fnnet.formulations import pieces
from fnnet.formulations.branches import of_unknown_kernel
from fnnet.formulations.windows import spread, taps


def kernel_gradient(images, cotangents, *, window: Window):
    """(taps * channels, N * places) @ (N * places, outputs); the product reads the patches in the order of memory.

    XLA would make the patches of a first layer in the forward, and keep them until the last step of the backward. In a
    branch they are made when the cotangent is there.
    """
    channels, outputs = images.shape[-1], cotangents.shape[-1]

    def whole(images, cotangents):
        planes = jnp.moveaxis(images, -1, 0)[..., None]  # a channel is an example here, and N is an axis of the batch
        patches = jnp.concatenate([seen.reshape(channels, -1) for seen in taps(planes, window, 0)])
        return _product(patches, cotangents.reshape(-1, outputs)).reshape(*window.size, channels, outputs)

    return pieces.summed(whole, images, cotangents, 1)


def output_of_one_tap(images, kernel, *, window: Window):
    """(N * places, channels) @ (channels, outputs)."""
    (seen,) = taps(images, window, 0)
    return of_unknown_kernel(
        lambda seen, kernel: _product(seen, kernel, (seen.ndim - 1,)), seen, kernel.reshape(kernel.shape[-2:])
    )


def x_gradient_of_one_tap(kernel, cotangents, *, window: Window):
    """(N * places, outputs) @ (outputs, channels)."""
    product = _product(cotangents, kernel.reshape(kernel.shape[-2:]), (cotangents.ndim - 1,), (1,))
    return spread([product], window)


def kernel_gradient_of_one_tap(images, cotangents, *, window: Window, parts: int = 1):
    """(channels, N * places) @ (N * places, outputs), as a batch of products over parts of N, which are added."""
    (seen,) = taps(images, window, 0)
    examples = seen.shape[0]
    parts = math.gcd(parts, examples) if isinstance(examples, int) else 1
    if parts == 1:
        over = tuple(range(cotangents.ndim - 1))
        product = _product(seen, cotangents, over, over)
    else:
        x, y_bar = (array.reshape(parts, -1, array.shape[-1]) for array in (seen, cotangents))
        product = lax.dot_general(x, y_bar, (((1,), (1,)), ((0,), (0,)))).sum(0)
    return product.reshape(*window.size, *product.shape)


def grouped_kernel_gradient(images, cotangents, *, window: Window, groups: int):
    """Tap by tap (channels, N * places) @ (N * places, outputs), for each group.

    Devices that share the batch add their sums once. With one group after the other they would add them for each group.
    """
    over = tuple(range(cotangents.ndim - 1))  # the batch and the places
    by_group = [a.reshape(*a.shape[:-1], groups, -1) for a in (*taps(images, window, 0), cotangents)]
    products = [
        lax.dot_general(
            seen,
            by_group[-1],
            ((over, over), ((len(over),), (len(over),))),
            preferred_element_type=accumulator(images.dtype),
        )
        for seen in by_group[:-1]
    ]  # (groups, channels, outputs) each
    kernel_bar = jnp.stack(products).swapaxes(1, 2)
    return kernel_bar.reshape(*window.size, images.shape[-1] // groups, -1).astype(images.dtype)


def x_gradient(kernel, cotangents, *, window: Window):
    """(N * places, outputs) @ (outputs, taps * channels), each tap's part added where the tap stood.

    It is computed in pieces. Else XLA moves the additions into the loops of what follows, and repeats them there.
    """
    *_, channels, outputs = kernel.shape
    weights = kernel.reshape(-1, outputs).T

    def of_piece(cotangents):
        rows = cotangents.reshape(-1, outputs)
        product = lax.dot(rows, weights, preferred_element_type=accumulator(rows.dtype))
        number = math.prod(window.size)
        parts = product.reshape(*cotangents.shape[:-1], number, channels)
        copies = (parts[..., t, :] for t in range(number))
        return spread(copies, window).astype(cotangents.dtype)

    return pieces.kept_apart(of_piece, cotangents)


def _product(a, b, of_a=(1,), of_b=(0,)):
    """Summed over axes `of_a` and `of_b`; by default of matrices."""
    product = lax.dot_general(a, b, ((of_a, of_b), ((), ())), preferred_element_type=accumulator(a.dtype))
    return product.astype(a.dtype)
