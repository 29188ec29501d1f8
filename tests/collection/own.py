"""fnnet's own rules, by their public functions; each with a plain reference."""

import fnnet
from collection.case import Case
from collection.draws import normal
from fnnet.proofs.average_pooling import plain_avg_pool
from fnnet.proofs.convolution import plain_conv
from fnnet.proofs.max_pooling import plain_max_pool


def right(name, f, reference, args, note="", **static):
    return Case(f"fnnet: {name}", f, args, "right", note, reference, static)


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
    right("conv", fnnet.conv, plain_conv, image(2, 5, 5)),
    right("conv with an even kernel", fnnet.conv, plain_conv, image(2, 5, 5, window=(2, 4))),
    right("conv with stride and dilation", fnnet.conv, plain_conv, image(2, 7, 7), stride=2, dilation=2),
    right("conv with groups", fnnet.conv, plain_conv, image(2, 5, 5, channels=(4, 6), groups=2), groups=2),
    right("conv along one axis", fnnet.conv, plain_conv, image(2, 6, window=(3,)), padding="VALID"),
    right("max_pool", fnnet.max_pool, plain_max_pool, features, window=2, stride=2, padding="VALID"),
    right(
        "max_pool with overlapping windows",
        fnnet.max_pool,
        plain_max_pool,
        features,
        window=3,
        stride=2,
        padding="SAME",
    ),
    right(
        "avg_pool",
        fnnet.avg_pool,
        plain_avg_pool,
        features,
        window=3,
        stride=2,
        padding="SAME",
        count_padding=False,
    ),
    right(
        "avg_pool counting padding",
        fnnet.avg_pool,
        plain_avg_pool,
        features,
        window=3,
        stride=2,
        padding="SAME",
        count_padding=True,
    ),
]
