"""The proof of `fnnet.conv`."""

import math
from typing import Any

import numpy as np
from jax import lax

from fnnet.proofs.drawn_windows import (
    WINDOWED,
    drawn_image,
    drawn_padding,
    drawn_window,
    extents_of,
    features_of,
    spelled,
)
from fnnet.proofs.draws import LEADING, gaussians, held, normal
from fnnet.proofs.proof import Configuration, Proof
from fnnet.proofs.refused import COUNTS, NOT_FLOATING, PADDINGS, STEPS, ones
from fnnet.proofs.windows import Each, axes, each_axis, padded_image
from fnnet.rules.convolution import conv


def plain_conv(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    stride: Each = 1,
    padding: Any = "SAME",
    dilation: Each = 1,
    groups: int = 1,
) -> Any:
    """By lax.conv_general_dilated.

    The padding is put on before: where the convolution pads, XLA's compiler aborts on some gradients of strided ones.
    """
    rank = kernel.ndim - 2
    padded = padded_image(x, axes(x.shape, kernel.shape[:rank], stride, padding, dilation), 0.0)
    lead, image = padded.shape[: -rank - 1], padded.shape[-rank - 1 :]
    letters = "DHW"[-rank:]
    y = lax.conv_general_dilated(
        padded.reshape(math.prod(lead), *image),
        kernel,
        each_axis(stride, rank),
        "VALID",
        rhs_dilation=each_axis(dilation, rank),
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        feature_group_count=groups,
    )
    y = y.reshape(*lead, *y.shape[1:])
    return y if bias is None else y + bias


def sample(rng: np.random.Generator) -> Configuration:
    """A convolution in one to three dimensions."""
    size, stride, dilation = drawn_window(rng, 4)
    extents = extents_of(size, dilation)
    padding, slack = drawn_padding(rng, extents, [3] * len(size))
    image = drawn_image(rng, [e - p for e, p in zip(extents, slack, strict=True)])
    groups, inputs, outputs = _channels(rng)
    outputs = 16 if groups == 1 and rng.random() < 0.2 else outputs
    lead = LEADING[rng.integers(len(LEADING))]
    biased = bool(rng.integers(2))
    static = {"padding": padding, "groups": groups} | spelled(rng, stride=stride, dilation=dilation)
    shapes = {"x": (*lead, *image, inputs), "kernel": (*size, inputs // groups, outputs)}
    features = features_of(axes((*image, 1), size, stride, padding, dilation), lead, padding)
    extra = {"groups": groups > 1, "depthwise": 1 < groups == inputs, "bias": biased}
    extra["few taps, many outputs"] = outputs == 16 and groups == 1 and math.prod(size) * inputs <= 32
    shapes |= {"bias": (outputs,)} if biased else {}
    return Configuration(gaussians(shapes), static, features=features | held(extra))


def _channels(rng: np.random.Generator) -> tuple[int, int, int]:
    """Groups, input channels, output channels."""
    groups = int(rng.choice([1, 2, 3], p=[0.5, 0.25, 0.25]))
    inputs = groups if rng.random() < 0.4 else groups * int(rng.integers(1, 4))
    return groups, inputs, groups * int(rng.integers(1, 4))


CONV = Proof(
    conv,
    plain_conv,
    examples=[
        normal(x=(2, 5, 5, 2), kernel=(3, 3, 2, 4), bias=(4,)),
        normal({"stride": 2, "dilation": 2}, "stride 2, dilation 2", x=(2, 7, 6, 2), kernel=(2, 3, 2, 3)),
        normal({"groups": 2}, "2 groups", x=(2, 4, 5, 4), kernel=(3, 2, 2, 6), bias=(6,)),
        normal({"stride": 2, "padding": ((2, 1),)}, "1-D, even kernel, padded", x=(2, 7, 2), kernel=(4, 2, 3)),
        normal({"padding": "VALID"}, "3-D", x=(1, 3, 4, 3, 2), kernel=(2, 3, 1, 2, 2)),
    ],
    parameters=("kernel", "bias"),
    sample=sample,
    covers=WINDOWED | {"dilation", "groups", "depthwise", "bias", "few taps, many outputs"},
    tiny=normal(
        {"stride": 2, "groups": 2, "padding": ((1, 0), (0, 1))}, x=(2, 4, 3, 2), kernel=(2, 2, 1, 2), bias=(2,)
    ),
    forms=[  # on a CPU, fnnet/formulations
        normal({}, "canonical", x=(7, 6, 4), kernel=(3, 3, 4, 8), bias=(8,)),
        normal({}, "many outputs", x=(9, 8, 24), kernel=(3, 3, 24, 24)),
        normal({"groups": 2, "stride": 2}, "groups", x=(7, 6, 4), kernel=(3, 3, 2, 8)),
        normal({"groups": 40}, "many groups", x=(3, 4, 80), kernel=(2, 2, 2, 80)),
        normal({"groups": 6}, "depthwise", x=(7, 6, 6), kernel=(3, 3, 1, 6)),
        normal({}, "Winograd", x=(20, 18, 32), kernel=(3, 3, 32, 64)),
        normal({}, "sums", x=(9, 8, 1), kernel=(5, 5, 1, 6)),
        normal({}, "bands", x=(9, 8, 3), kernel=(3, 3, 3, 16)),
        normal({}, "patches", x=(9, 11, 3), kernel=(3, 3, 3, 16)),
    ],
    refused={
        "x": (*NOT_FLOATING, *ones((2,), (5, 2), (5, 5, 3), (2, 5, 5, 4))),
        "kernel": (*NOT_FLOATING, *ones((), (2,), (3, 3, 2, 5), (3, 3, 3, 4), (2, 3, 3, 3, 2, 4))),
        "bias": (*NOT_FLOATING, *ones((), (1,), (3,), (4, 1))),
        "stride": (None, *STEPS),
        "dilation": (None, *STEPS),
        "padding": PADDINGS,
        "groups": (*COUNTS, 3, 5, 8, 10**20),
    },
    is_heavy=True,
)
