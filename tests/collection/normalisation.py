"""Batch, group and RMS normalisation, and their relatives."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax

from collection.case import Case, Layer
from collection.circumstances import At, Mapped
from collection.draws import normal

EPSILON = 1e-3
BATCH = (0, 1, 2)


def mean(x, axis=-1):
    return x.mean(axis, keepdims=True)


def normalised(x, axis=-1):
    inverse = lax.rsqrt(mean((x - mean(x, axis)) ** 2, axis) + EPSILON)
    return (x - mean(x, axis)) * inverse, inverse


def summed(a):
    """Over all axes but the last."""
    return a.sum(tuple(range(a.ndim - 1)))


def through(normed, inverse, u, axis=-1):
    """The cotangent of x where u is that of normed."""
    return inverse * (u - mean(u, axis) - normed * mean(u * normed, axis))


def batch_norm(x, scale, bias):
    """x (n, h, w, c), over n, h and w."""
    return normalised(x, (0, 1, 2))[0] * scale + bias


def batch_forward(x, scale, bias):
    normed, inverse = normalised(x, (0, 1, 2))
    return normed * scale + bias, (x, normed, inverse, scale)


def with_statistics(x, scale):
    """Batch norm and its statistics, which have cotangents of their own where running averages are kept of them."""
    return normalised(x, BATCH)[0] * scale, x.mean(BATCH), x.var(BATCH)


def statistics_forward(x, scale):
    return with_statistics(x, scale), (x, *normalised(x, BATCH), scale)


def statistics_bars(
    x, normed, inverse, scale, g, of_mean=lambda bar: bar, of_variance=lambda bar, centred, normed: 2 * bar * centred
):
    y_bar, mean_bar, variance_bar = g
    more = of_mean(mean_bar) + of_variance(variance_bar, x - mean(x, BATCH), normed)
    return through(normed, inverse, y_bar * scale, BATCH) + more * x.shape[-1] / x.size, summed(y_bar * normed)


def rms_norm(x, scale):
    return x * lax.rsqrt(mean(x * x) + EPSILON) * scale


def rms_forward(x, scale):
    inverse = lax.rsqrt(mean(x * x) + EPSILON)
    return x * inverse * scale, (x, inverse, scale)


def rms_through(x, inverse, u):
    return inverse * u - inverse**3 * x * mean(u * x)


def residual_rms_norm(x, residual, scale):
    """The sum, normalised; and the sum itself, for the next layer."""
    return rms_norm(x + residual, scale), x + residual


def residual_forward(x, residual, scale):
    total = x + residual
    normed, (_, inverse, _) = rms_forward(total, scale)
    return (normed, total), (total, inverse, scale)


def residual_bars(total, inverse, scale, g, join):
    out_bar, total_bar = g
    both = join(out_bar, total_bar, lambda bar: rms_through(total, inverse, bar * scale))
    return both, both, summed(out_bar * total * inverse)


def deviation(x):
    """Standard deviation of each row, 0 with slope 0 for a constant row."""
    variance = ((x - mean(x)) ** 2).mean(-1)
    return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)


def unit(x):
    return x / jnp.sqrt((x * x).sum(-1, keepdims=True) + EPSILON)


def safe_norm(x):
    """Norm of each row, 0 with slope 0 for a row of zeros."""
    squares = (x * x).sum(-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def group_norm(x, groups):
    blocks = x.reshape(*x.shape[:-1], groups, -1)
    return normalised(blocks)[0].reshape(x.shape)


def group_bar(x, g, groups, blocked):
    normed, inverse = normalised(blocked(x))
    x_bar = through(normed, inverse, blocked(g))
    return (x_bar if x_bar.ndim == x.ndim else x_bar.reshape(x.shape),)


def edited(**edits):
    return functools.partial(statistics_bars, **edits)


def interleaved(groups):
    return lambda a: a.reshape(*a.shape[:-1], -1, groups).swapaxes(-1, -2)


batch = Layer("batch norm", batch_norm, batch_forward, lambda: (normal(0, 4, 3, 2, 5), normal(1, 5), normal(2, 5)))


statistics = Layer(
    "batch norm with its statistics",
    with_statistics,
    statistics_forward,
    lambda: (normal(0, 4, 3, 2, 5), normal(1, 5)),
)


rms = Layer("RMS norm", rms_norm, rms_forward, lambda: (normal(0, 4, 6), normal(1, 6)))


residual = Layer(
    "RMS norm of a sum", residual_rms_norm, residual_forward, lambda: (normal(0, 4, 6), normal(1, 4, 6), normal(2, 6))
)


std = Layer("standard deviation", deviation, lambda x: (deviation(x), (x, deviation(x))), lambda: (normal(0, 4, 6),))


unit_rows = Layer("unit rows", unit, lambda x: (unit(x), (x, unit(x))), lambda: (normal(0, 4, 3),))


norm = Layer("norm", safe_norm, lambda x: (safe_norm(x), (x, safe_norm(x))), lambda: (normal(0, 4, 3),))


grouped = Layer(
    "group norm", group_norm, lambda x, groups: (group_norm(x, groups), (x,)), lambda: (normal(0, 4, 6),), {"groups": 2}
)


def constant_row():
    return (np.concatenate([np.ones((1, 6), np.float32), normal(0, 3, 6)]),)


def zero_row():
    return (np.concatenate([np.zeros((1, 3), np.float32), normal(0, 3, 3)]),)


CASES: list[Case] = [
    batch.right("its rule", lambda x, n, i, s, g: (through(n, i, g * s, BATCH), summed(g * n), summed(g))),
    statistics.right("its rule", statistics_bars, form="rule"),
    statistics.trap(
        "its rule as a custom_vjp",
        statistics_bars,
        "the statistics have no batch where only the scale has one",
        exposed_by=Mapped((False, True)),
    ),
    rms.right("its rule", lambda x, i, s, g: (rms_through(x, i, g * s), summed(g * x * i))),
    residual.right(
        "its rule",
        lambda t, i, s, g: residual_bars(t, i, s, g, lambda bar, total_bar, back: total_bar + back(bar)),
        form="rule",
    ),
    residual.trap(
        "its rule as a custom_vjp",
        lambda t, i, s, g: residual_bars(t, i, s, g, lambda bar, total_bar, back: total_bar + back(bar)),
        "the sum has no batch where only the scale has one",
        exposed_by=Mapped((False, False, True)),
    ),
    std.right("its rule", lambda x, y, g: ((g / jnp.where(y > 0, x.shape[-1] * y, 1))[:, None] * (x - mean(x)),)),
    norm.right("its rule", lambda x, y, g: ((g / jnp.where(y > 0, y, 1))[:, None] * x,)),
    unit_rows.right(
        "its rule",
        lambda x, y, g: (
            (g - y * (g * y).sum(-1, keepdims=True)) / jnp.sqrt((x * x).sum(-1, keepdims=True) + EPSILON),
        ),
    ),
    grouped.right(
        "its rule", lambda x, g, groups: group_bar(x, g, groups, lambda a: a.reshape(*a.shape[:-1], groups, -1))
    ),
    # Batch norm.
    statistics.wrong(
        "statistics not differentiated",
        edited(of_mean=lambda bar: 0 * bar, of_variance=lambda bar, centred, normed: 0 * bar),
        "y's cotangent alone goes back to x",
    ),
    statistics.wrong(
        "variance's cotangent with the normalised rows",
        edited(of_variance=lambda bar, centred, normed: 2 * bar * normed),
        "n for x - mu",
    ),
    batch.wrong(
        "statistics taken for constants",
        lambda x, n, i, s, g: (i * g * s, summed(g * n), summed(g)),
        "as when evaluating",
        source="https://github.com/facebookresearch/CrypTen/pull/143",
    ),
    batch.wrong(
        "saved inverse deviation taken for a variance",
        lambda x, n, i, s, g: (
            through(n, lax.rsqrt(i + EPSILON), g * s, BATCH),
            summed(g * (x - mean(x, BATCH)) * lax.rsqrt(i + EPSILON)),
            summed(g),
        ),
        "the root of the inverse of the inverse root",
        source="https://github.com/flagos-ai/FlagGems/pull/5223",
    ),
    batch.wrong(
        "scale forgotten",
        lambda x, n, i, s, g: (through(n, i, g, BATCH), summed(g * n), summed(g)),
        "g where g times scale is meant: right while the scales are 1, as they are at first",
        source="https://github.com/denizyuret/Knet.jl/issues/288",
    ),
    batch.wrong(
        "sums over the batch without space",
        lambda x, n, i, s, g: (through(n, i, g * s, 0), summed(g * n), summed(g)),
        "means over n, not over n, h and w",
    ),
    # The others.
    rms.wrong(
        "inverse squared, not cubed",
        lambda x, i, s, g: (i * g * s - i**2 * x * mean(g * s * x), summed(g * x * i)),
        "wrong power",
    ),
    rms.wrong(
        "scale forgotten",
        lambda x, i, s, g: (rms_through(x, i, g), summed(g * x * i)),
        "x_bar as for a scale of 1",
        source="https://github.com/karpathy/llm.c/pull/763",
    ),
    rms.wrong(
        "sum for mean",
        lambda x, i, s, g: (i * g * s - i**3 * x * (g * s * x).sum(-1, keepdims=True), summed(g * x * i)),
        "not divided by n",
    ),
    residual.wrong(
        "second output's cotangent added too early",
        lambda t, i, s, g: residual_bars(t, i, s, g, lambda bar, total_bar, back: back(bar + total_bar)),
        "added before the normalisation's backward, not after",
        source="https://github.com/Dao-AILab/quack/pull/53",
    ),
    residual.wrong(
        "second output's cotangent dropped",
        lambda t, i, s, g: residual_bars(t, i, s, g, lambda bar, total_bar, back: back(bar)),
        "the residual stream ends here",
    ),
    std.wrong(
        "NaN for a constant row",
        lambda x, y, g: ((g / (x.shape[-1] * y))[:, None] * (x - mean(x)),),
        "0 / 0",
        "E",
        exposed_by=At(constant_row),
        source="https://github.com/jax-ml/jax/issues/11716",
    ),
    norm.wrong(
        "NaN at zero",
        lambda x, y, g: ((g / y)[:, None] * x,),
        "0 / 0",
        "E",
        exposed_by=At(zero_row),
        source="https://github.com/pytorch/pytorch/issues/2421",
    ),
    norm.wrong("derivative of the squared norm", lambda x, y, g: (2 * g[:, None] * x,), "2 x"),
    unit_rows.wrong(
        "projection missing",
        lambda x, y, g: (g / jnp.sqrt((x * x).sum(-1, keepdims=True) + EPSILON),),
        "the norm taken for a constant",
    ),
    grouped.wrong(
        "channels interleaved",
        lambda x, g, groups: (
            (lambda bar: bar.swapaxes(-1, -2).reshape(x.shape))(
                group_bar(x, g, groups, interleaved(groups))[0].reshape(4, groups, -1)
            ),
        ),
        "(n, groups) for (groups, n) in the backward",
    ),
]
