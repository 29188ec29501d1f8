"""Convolution in two dimensions: x (n, h, w, in), kernel (kh, kw, in / groups, out).

`gradients` is the textbook backward with its steps as arguments: each wrong rule replaces one of them.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax

from collection.case import Case, Layer
from collection.circumstances import At
from collection.draws import normal

AXES = ("NHWC", "HWIO", "NHWC")


PLAIN = {"stride": 1, "dilation": 1, "groups": 1}


def primal(x, kernel, bias, stride, dilation, groups):
    """Zeros around the image, as many as make stride 1 keep its size, the odd one at the end."""
    pads = [((k - 1) * dilation // 2, (k - 1) * dilation - (k - 1) * dilation // 2) for k in kernel.shape[:2]]
    y = lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=AXES,
        feature_group_count=groups,
    )
    return y + bias


def forward(x, kernel, bias, stride, dilation, groups):
    return primal(x, kernel, bias, stride, dilation, groups), (x, kernel)


def flipped(kernel):
    return kernel[::-1, ::-1]


def swapped(kernel, groups):
    """(kh, kw, in / groups, out) -> (kh, kw, out / groups, in), group by group."""
    kh, kw, inputs, outputs = kernel.shape
    blocks = kernel.reshape(kh, kw, inputs, groups, outputs // groups)
    return jnp.moveaxis(blocks, (4, 3, 2), (2, 3, 4)).reshape(kh, kw, outputs // groups, groups * inputs)


def before(extent):
    return (extent - 1) // 2


def spread(g, stride, missing):
    """g with stride - 1 zeros between its entries, and `missing` zeros at the end, where the stride does not divide."""
    zero = jnp.zeros((), g.dtype)
    return lax.pad(g, zero, [(0, 0, 0), (0, missing[0], stride - 1), (0, missing[1], stride - 1), (0, 0, 0)])


def gradients(
    x,
    kernel,
    g,
    *,
    stride,
    dilation,
    groups,
    flip=flipped,
    swap=swapped,
    lo=before,
    spread=spread,
    spacing=lambda dilation: dilation,
    bias=lambda g: g.sum((0, 1, 2)),
    examples=slice(None),
    finish=lambda x_bar, kernel_bar: (x_bar, kernel_bar),
):
    """(x_bar, kernel_bar, bias_bar)."""
    sizes, image = kernel.shape[:2], x.shape[1:3]
    extents = [dilation * (k - 1) + 1 for k in sizes]
    # With zeros in between, g is as large as the image: the rest is a convolution of stride 1.
    missing = [n - (stride * (places - 1) + 1) for n, places in zip(image, g.shape[1:3], strict=True)]
    wide = spread(g, stride, missing)
    pads = [(e - 1 - lo(e), lo(e)) for e in extents]
    x_bar = lax.conv_general_dilated(
        wide,
        swap(flip(kernel), groups),
        (1, 1),
        pads,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=AXES,
        feature_group_count=groups,
    )
    step = spacing(dilation)
    padded = jnp.pad(x, ((0, 0), *((before(e), e) for e in extents), (0, 0)))[examples]
    rows, cols = (step * np.arange(k)[:, None] + np.arange(n) for k, n in zip(sizes, image, strict=True))
    seen = padded[:, rows][:, :, :, cols]  # (n, kh, h, kw, w, in): the image as each tap sees it
    kernel_bar = per_group(seen, wide[examples], groups)
    return *finish(x_bar, kernel_bar), bias(g)


def per_group(seen, g, groups):
    seen, g = (a.reshape(*a.shape[:-1], groups, -1) for a in (seen, g))
    kernel_bar = jnp.einsum("nkhlwgi,nhwgo->kligo", seen, g)
    return kernel_bar.reshape(*kernel_bar.shape[:3], -1)


def edited(**edits):
    return functools.partial(gradients, **edits)


def args(image=(5, 5), window=(3, 3), channels=(2, 3), groups=1, examples=2):
    inputs, outputs = channels
    return lambda: (
        normal(0, examples, *image, inputs),
        normal(1, *window, inputs // groups, outputs),
        normal(2, outputs),
    )


def in_the_wrong_place(g, stride, missing):
    """All zeros at the end: g as if the stride were 1."""
    extra = [(places - 1) * (stride - 1) + m for places, m in zip(g.shape[1:3], missing, strict=True)]
    return jnp.pad(g, ((0, 0), (0, extra[0]), (0, extra[1]), (0, 0)))


def missing_in_front(g, stride, missing):
    zero = jnp.zeros((), g.dtype)
    return lax.pad(g, zero, [(0, 0, 0), (missing[0], 0, stride - 1), (missing[1], 0, stride - 1), (0, 0, 0)])


def groups_mixed(kernel, groups):
    """As if the output channels lay in the other order: (out / groups, groups)."""
    kh, kw, inputs, outputs = kernel.shape
    blocks = kernel.reshape(kh, kw, inputs, outputs // groups, groups)
    return jnp.moveaxis(blocks, (3, 4, 2), (2, 3, 4)).reshape(kh, kw, outputs // groups, groups * inputs)


conv = Layer("conv", primal, forward, args(), PLAIN)


strided = PLAIN | {"stride": 2}


square = args(channels=(3, 3))


CASES: list[Case] = [
    conv.right("its rule", gradients),
    conv.right("with an even kernel", gradients, args=args(window=(2, 4))),
    conv.right("with stride 2", gradients, static=strided, args=args(image=(6, 5))),
    conv.right("with dilation 2", gradients, static=PLAIN | {"dilation": 2}),
    conv.right("with two groups", gradients, static=PLAIN | {"groups": 2}, args=args(channels=(4, 6), groups=2)),
    conv.right(
        "depthwise, with stride 2", gradients, static=strided | {"groups": 3}, args=args(channels=(3, 3), groups=3)
    ),
    conv.right("of a size-1 image", gradients, args=args(image=(1, 4))),
    conv.wrong("kernel not flipped", edited(flip=lambda k: k), "x_bar with the kernel as it is"),
    conv.wrong("kernel flipped along one axis only", edited(flip=lambda k: k[::-1]), "x_bar with axis 1 as it is"),
    conv.wrong(
        "channels not swapped", edited(swap=lambda k, groups: k), "in and out exchanged; the shapes agree", args=square
    ),
    conv.wrong(
        "kernel's gradient with its axes exchanged",
        edited(finish=lambda x, k: (x, k.swapaxes(0, 1))),
        "kernel_bar with rows as columns",
    ),
    conv.wrong(
        "kernel's gradient flipped",
        edited(finish=lambda x, k: (x, k[::-1, ::-1])),
        "convolved where it has to be correlated",
    ),
    conv.wrong("kernel's gradient from the first example", edited(examples=slice(1)), "no sum over the batch"),
    conv.wrong(
        "kernel's gradient averaged over places",
        edited(finish=lambda x, k: (x, k / (x.shape[1] * x.shape[2]))),
        "divided by the number of places",
    ),
    conv.wrong("missing sum over space", edited(bias=lambda g: g.sum(0)[0, 0]), "bias_bar of the first place"),
    conv.wrong(
        "bias of the first example", edited(bias=lambda g: g[0].sum((0, 1))), "bias_bar without the sum over the batch"
    ),
    conv.wrong(
        "off by one for even kernels",
        edited(lo=lambda extent: extent // 2),
        "the odd zero at the other end",
        "B",
        exposed_by=At(args(window=(2, 2))),
    ),
    conv.wrong("off by one", edited(finish=lambda x, k: (jnp.roll(x, 1, 1), k)), "x_bar a row too low"),
    conv.wrong(
        "wraps round at the border",
        edited(finish=lambda x, k: (x.at[:, 0].add(x[:, -1]), k)),
        "what falls off the last row comes back in the first",
    ),
    conv.wrong(
        "stride ignored",
        edited(spread=in_the_wrong_place),
        "g as if the stride were 1",
        static=strided,
        source="https://github.com/Kulbear/deep-learning-coursera/pull/34",
    ),
    conv.wrong(
        "misaligned where the stride does not divide",
        edited(spread=missing_in_front),
        "the rows that no window starts at are put in front",
        "B",
        static=strided,
        exposed_by=At(args(image=(6, 6))),
        source="https://github.com/flagos-ai/FlagGems/pull/1576",
    ),
    conv.wrong(
        "dilation ignored in the kernel's gradient",
        edited(spacing=lambda d: 1),
        "taps next to each other",
        static=PLAIN | {"dilation": 2},
    ),
    conv.wrong(
        "groups mixed",
        edited(swap=groups_mixed),
        "output channels taken in the other order",
        static=PLAIN | {"groups": 2},
        args=args(channels=(4, 6), groups=2),
    ),
    conv.wrong(
        "wrong only with groups and stride",
        lambda x, k, g, stride, dilation, groups: gradients(
            x,
            k,
            g,
            stride=stride,
            dilation=dilation,
            groups=groups,
            swap=groups_mixed if stride > 1 < groups else swapped,
        ),
        "each is right alone",
        static=strided | {"groups": 2},
        args=args(channels=(4, 6), groups=2),
        source="https://github.com/ml-explore/mlx/pull/3800",
    ),
    conv.wrong(
        "first group only",
        edited(finish=lambda x, k: (x.at[..., 2:].set(0), k)),
        "x_bar of the second group is zero",
        static=PLAIN | {"groups": 2},
        args=args(channels=(4, 6), groups=2),
    ),
]
