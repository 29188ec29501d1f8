"""Layer normalisation over the last axis."""

import numpy as np
from jax import lax

from collection.case import Case, Layer
from collection.circumstances import At, Mapped
from collection.draws import normal
from collection.normalisation import EPSILON, mean, normalised, summed, through


def layer_norm(x, scale, bias):
    return normalised(x)[0] * scale + bias


def layer_forward(x, scale, bias):
    normed, inverse = normalised(x)
    return normed * scale + bias, (x, normed, inverse, scale)


def layer_bars(x, normed, inverse, scale, g):
    return through(normed, inverse, g * scale), summed(g * normed), summed(g)


def as_matrix(x, normed, inverse, scale, g):
    """As if every input were (rows, features): features are whatever is behind the first axis."""
    u = (g * scale).reshape(len(x), -1)
    flat = normed.reshape(len(x), -1)
    x_bar = u - mean(u) - flat * mean(u * flat)
    return x_bar.reshape(x.shape) * inverse, summed(g * normed), summed(g)


layer = Layer("layer norm", layer_norm, layer_forward, lambda: (normal(0, 4, 6), normal(1, 6), normal(2, 6)))


CASES: list[Case] = [
    layer.right("its rule", layer_bars),
    layer.right("of three axes", layer_bars, args=lambda: (normal(0, 2, 3, 6), normal(1, 6), normal(2, 6))),
    layer.right(
        "its rule with x batched",
        layer_bars,
        args=lambda: (normal(0, 6), normal(1, 6), normal(2, 6)),
        form="rule with x batched",
    ),
    layer.right("of constant rows", layer_bars, args=lambda: (np.ones((4, 6), np.float32), normal(1, 6), normal(2, 6))),
    # Layer norm.
    layer.wrong(
        "mean's term missing",
        lambda x, n, i, s, g: (i * (g * s - n * mean(g * s * n)), summed(g * n), summed(g)),
        "the mean taken for a constant",
    ),
    layer.wrong(
        "variance's term missing",
        lambda x, n, i, s, g: (i * (g * s - mean(g * s)), summed(g * n), summed(g)),
        "the variance taken for a constant",
    ),
    layer.wrong(
        "mean's term twice",
        lambda x, n, i, s, g: (through(n, i, g * s) - i * mean(g * s), summed(g * n), summed(g)),
        "the accumulator was not cleared",
        source="https://github.com/tenstorrent/tt-metal/issues/53204",
    ),
    layer.wrong(
        "scale forgotten in one term",
        lambda x, n, i, s, g: (i * (g - mean(g * s) - n * mean(g * s * n)), summed(g * n), summed(g)),
        "g for g times scale",
    ),
    layer.wrong(
        "scale forgotten",
        lambda x, n, i, s, g: (through(n, i, g), summed(g * n), summed(g)),
        "x_bar as for a scale of 1",
    ),
    layer.wrong(
        "scale's gradient from the raw input",
        lambda x, n, i, s, g: (through(n, i, g * s), summed(g * x), summed(g)),
        "x for its normalised form",
    ),
    layer.wrong(
        "statistics along the other axis",
        lambda x, n, i, s, g: (through(n, i, g * s, 0), summed(g * n), summed(g)),
        "means down the columns",
    ),
    layer.wrong(
        "last inverse deviation missing",
        lambda x, n, i, s, g: (through(n, 1, g * s), summed(g * n), summed(g)),
        "x_bar not divided by sigma",
    ),
    layer.wrong(
        "unbiased variance",
        lambda x, n, i, s, g: (
            i * (g * s - mean(g * s) - n * (g * s * n).sum(-1, keepdims=True) / 5),
            summed(g * n),
            summed(g),
        ),
        "n - 1 in the backward, n in the forward",
    ),
    layer.wrong(
        "sums over all rows",
        lambda x, n, i, s, g: (i * (g * s - (g * s).sum() / 6 - n * (g * s * n).sum() / 6), summed(g * n), summed(g)),
        "a block of several rows, one sum: right for one row",
        "B",
        args=lambda: (normal(0, 1, 6), normal(1, 6), normal(2, 6)),
        exposed_by=At(layer.args),
        source="https://github.com/flagos-ai/FlagGems/pull/59",
    ),
    layer.wrong(
        "right for two axes only",
        as_matrix,
        "the number of features is size / shape[0]",
        "B",
        exposed_by=At(lambda: (normal(0, 2, 3, 6), normal(1, 6), normal(2, 6))),
        source="https://github.com/flagos-ai/FlagGems/issues/5392",
    ),
    layer.wrong(
        "first axis taken for the batch",
        lambda x, n, i, s, g: (through(n, i, g * s, tuple(range(g.ndim))), summed(g * n), summed(g)),
        "means over all axes: right for one row, and wrong once vmap adds an axis in front",
        "VB",
        args=lambda: (normal(0, 6), normal(1, 6), normal(2, 6)),
        form="rule with x batched",
        exposed_by=Mapped((True, False, False)),
    ),
    layer.wrong(
        "variance as a difference of squares",
        lambda x, n, i, s, g: (
            through(n, lax.rsqrt(mean(x * x) - mean(x) ** 2 + EPSILON), g * s),
            summed(g * n),
            summed(g),
        ),
        "E x^2 - (E x)^2: no digit is left in f32 where the mean is 1000",
        "D",
        args=lambda: (1000 + normal(0, 4, 6), normal(1, 6), normal(2, 6)),
        exposed_by=At(lambda: (1000 + normal(0, 4, 6), normal(1, 6), normal(2, 6)), "float32"),
    ),
]
