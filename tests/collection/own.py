"""fnnet's own rules, by their public functions; each with a plain reference."""

import jax.numpy as jnp
import numpy as np
from jax import lax

import fnnet
from collection.case import Case
from collection.draws import normal


def right(name, f, reference, args, note="", **static):
    return Case(f"fnnet: {name}", f, args, "right", note, reference, static)


def conv(x, kernel, bias=None, *, stride=1, padding="SAME", dilation=1, groups=1):
    rank = kernel.ndim - 2
    letters = "DHW"[-rank:]
    y = lax.conv_general_dilated(
        x,
        kernel,
        (stride,) * rank,
        padding,
        rhs_dilation=(dilation,) * rank,
        feature_group_count=groups,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )
    return y if bias is None else y + bias


def max_pool(x, *, window, stride, padding):
    size, step = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, size, step, padding)


def mean_pool(x, *, window, stride, padding, count_padding):
    size, step = (1, window, window, 1), (1, stride, stride, 1)
    total = lax.reduce_window(x, 0.0, lax.add, size, step, padding)
    counts = lax.reduce_window(np.ones(x.shape, x.dtype), np.array(0, x.dtype), lax.add, size, step, padding)
    return total / (window * window if count_padding else counts)


def features():
    return (normal(0, 2, 5, 6, 2),)


def image(*shape, channels=(2, 3), window=(3, 3), groups=1):
    return lambda: (
        normal(0, *shape, channels[0]),
        normal(1, *window, channels[0] // groups, channels[1]),
        normal(2, channels[1]),
    )


CASES: list[Case] = [
    right("dense", fnnet.dense, lambda x, w, b: x @ w + b, lambda: (normal(0, 4, 3), normal(1, 3, 2), normal(2, 2))),
    right(
        "dense without a bias",
        fnnet.dense,
        lambda x, w, b: x @ w,
        lambda: (normal(0, 4, 3), normal(1, 3, 2), None),
        "None for the bias",
    ),
    right("conv", fnnet.conv, conv, image(2, 5, 5)),
    right("conv with an even kernel", fnnet.conv, conv, image(2, 5, 5, window=(2, 4))),
    right("conv with stride and dilation", fnnet.conv, conv, image(2, 7, 7), stride=2, dilation=2),
    right("conv with groups", fnnet.conv, conv, image(2, 5, 5, channels=(4, 6), groups=2), groups=2),
    right("conv along one axis", fnnet.conv, conv, image(2, 6, window=(3,)), padding="VALID"),
    right("max_pool", fnnet.max_pool, max_pool, features, window=2, stride=2, padding="VALID"),
    right(
        "max_pool with overlapping windows",
        fnnet.max_pool,
        max_pool,
        features,
        window=3,
        stride=2,
        padding="SAME",
    ),
    right(
        "avg_pool",
        fnnet.avg_pool,
        mean_pool,
        features,
        window=3,
        stride=2,
        padding="SAME",
        count_padding=False,
    ),
    right(
        "avg_pool counting padding",
        fnnet.avg_pool,
        mean_pool,
        features,
        window=3,
        stride=2,
        padding="SAME",
        count_padding=True,
    ),
]
