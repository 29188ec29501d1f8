"""Transposed convolution of a row of places, with stride 2: each input lays a window into the output."""

import functools

import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer, saving_inputs
from collection.draws import normal

STRIDE, PADDING = 2, 1


def places(n, t):
    return STRIDE * np.arange(n) + t


def laid(x, kernel, bias):
    """x (n, inputs), kernel (taps, inputs, outputs), bias (outputs,)."""
    whole = jnp.zeros((STRIDE * (len(x) - 1) + len(kernel), kernel.shape[-1]), x.dtype)
    for t, tap in enumerate(kernel):
        whole = whole.at[places(len(x), t)].add(x @ tap)
    return whole[PADDING : len(whole) - PADDING] + bias


def bars(x, kernel, bias, g, kernel_of_x=lambda w: w, taps=places, cut=PADDING, of_kernel=lambda w: w, of_bias=jnp.sum):
    """The right cotangents, and, by its arguments, wrong ones."""
    whole = jnp.pad(g, ((cut, 2 * PADDING - cut), (0, 0)))
    read = [whole[taps(len(x), t)] for t in range(len(kernel))]
    x_bar = sum(bar @ tap.T for bar, tap in zip(read, kernel_of_x(kernel), strict=True))
    kernel_bar = jnp.stack([x.T @ bar for bar in read])
    return x_bar, of_kernel(kernel_bar), of_bias(g, axis=0)


def edited(**edits):
    return functools.partial(bars, **edits)


transposed: Layer = saving_inputs(
    "transposed convolution", laid, lambda: (normal(0, 5, 3), normal(1, 3, 3, 3), normal(2, 3))
)

CASES: list[Case] = [
    transposed.right("its rule", bars),
    transposed.wrong("window flipped for x", edited(kernel_of_x=lambda w: w[::-1]), "as in a convolution"),
    transposed.wrong("window's gradient flipped", edited(of_kernel=lambda w: w[::-1]), "last tap first"),
    transposed.wrong(
        "channels exchanged for x", edited(kernel_of_x=lambda w: jnp.swapaxes(w, -1, -2)), "of one number, so it fits"
    ),
    transposed.wrong(
        "channels of the kernel's gradient exchanged",
        edited(of_kernel=lambda w: jnp.swapaxes(w, -1, -2)),
        "(taps, outputs, inputs)",
    ),
    transposed.wrong("stride forgotten", edited(taps=lambda n, t: np.arange(n) + t), "neighbours of the cotangent"),
    transposed.wrong("padding forgotten", edited(cut=0), "the cotangent begins with the first window"),
    transposed.wrong("padding twice", edited(cut=2 * PADDING), "one place too late"),
    transposed.wrong("bias's gradient a mean", edited(of_bias=jnp.mean), "over the places"),
    transposed.wrong(
        "output padding for a place of x",
        edited(taps=lambda n, t: places(n, t)[::-1]),
        "the places in reverse order",
    ),
]
