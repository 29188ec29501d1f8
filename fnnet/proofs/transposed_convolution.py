"""The proof of `fnnet.conv_transpose`."""

import math
from typing import Any

import numpy as np
from jax import lax

from fnnet.proofs.drawn_windows import drawn_window, extents_of, spelled
from fnnet.proofs.draws import LEADING, gaussians, held, normal
from fnnet.proofs.proof import Configuration, Proof
from fnnet.proofs.refused import COUNTS, NOT_FLOATING, NOT_INTEGERS, NOT_TWO, PADDINGS, STEPS, ones
from fnnet.proofs.windows import Each, each_axis
from fnnet.rules.transposed_convolution import conv_transpose


def plain_conv_transpose(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    stride: Each = 1,
    padding: Any = 0,
    output_padding: Each = 0,
    dilation: Each = 1,
    groups: int = 1,
) -> Any:
    """Each entry of x times the kernel is laid into the output, tap by tap; the output is cut at the end."""
    rank = kernel.ndim - 2
    *size, inputs, outputs = kernel.shape
    stride, dilation, more = (each_axis(value, rank) for value in (stride, dilation, output_padding))
    pads = [(p, p) if isinstance(p, int) else tuple(p) for p in each_axis(padding, rank)]
    lead, image = x.shape[: -rank - 1], x.shape[-rank - 1 : -1]
    by_group = kernel.reshape(*size, inputs, groups, outputs // groups)
    entries = x.reshape(math.prod(lead), *image, groups, inputs)
    whole: Any = 0.0
    for tap in np.ndindex(*size):
        terms = lax.dot_general(entries, by_group[tap], (((rank + 2,), (0,)), ((rank + 1,), (1,))))
        terms = terms.transpose(*range(1, rank + 2), 0, rank + 2).reshape(math.prod(lead), *image, outputs)
        axes = zip(size, stride, dilation, tap, strict=True)
        laid = [(d * t, d * (k - 1 - t), s - 1) for k, s, d, t in axes]
        whole = whole + lax.pad(terms, np.zeros((), terms.dtype), [(0, 0, 0), *laid, (0, 0, 0)])
    cut = [(-lo, q - hi, 0) for (lo, hi), q in zip(pads, more, strict=True)]
    y = lax.pad(whole, np.zeros((), whole.dtype), [(0, 0, 0), *cut, (0, 0, 0)])
    y = y.reshape(*lead, *y.shape[1:])
    return y if bias is None else y + bias


def sample(rng: np.random.Generator) -> Configuration:
    """A transposed convolution in one to three dimensions."""
    size, stride, dilation = drawn_window(rng, 4)
    rank, extents = len(size), extents_of(size, dilation)
    more = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
    spread = (6, 4, 3)[rank - 1]
    image = tuple(1 if rng.random() < 0.2 else int(rng.integers(1, spread + 1)) for _ in size)
    full = [(n - 1) * s + e + q for n, s, e, q in zip(image, stride, extents, more, strict=True)]
    padding = _padding(rng, [min(3, (n - 1) // 2) for n in full])
    groups = int(rng.choice([1, 2, 3], p=[0.5, 0.25, 0.25]))
    inputs, outputs = rng.integers(1, 4, 2).tolist()
    lead = LEADING[rng.integers(len(LEADING))]
    biased = bool(rng.integers(2))
    static = {"padding": padding, "groups": groups} | spelled(
        rng, stride=stride, dilation=dilation, output_padding=more
    )
    shapes = {"x": (*lead, *image, inputs * groups), "kernel": (*size, inputs, outputs * groups)}
    shapes |= {"bias": (outputs * groups,)} if biased else {}
    features = {f"rank {rank}", f"{min(len(lead), 2)} leading axes"}
    features |= held(
        {
            "padding": padding != 0,
            "pairs": isinstance(padding, tuple) and isinstance(padding[0], tuple),
            "output_padding": any(more),
            "output_padding of a stride": any(q >= s for q, s in zip(more, stride, strict=True)),
            "dilation": any(d > 1 and k > 1 for d, k in zip(dilation, size, strict=True)),
            "overlapping": any(s < e for s, e in zip(stride, extents, strict=True)),
            "gaps": any(s > e for s, e in zip(stride, extents, strict=True)),
            "groups": groups > 1,
            "depthwise": groups > 1 and inputs == outputs == 1,
            "bias": biased,
            "size-1 axis": 1 in image,
            "empty leading axis": 0 in lead,
        }
    )
    return Configuration(gaussians(shapes), static, features=frozenset(features))


def _padding(rng: np.random.Generator, most: list[int]) -> Any:
    """One number, one an axis, or a pair an axis."""
    each = tuple(int(rng.integers(0, top + 1)) for top in most)
    after = (int(rng.integers(0, top + 1)) for top in most)
    return [min(each), each, tuple(zip(each, after, strict=True))][rng.integers(3)]


CONV_TRANSPOSE = Proof(
    conv_transpose,
    plain_conv_transpose,
    examples=[
        normal({"stride": 2, "padding": 1}, x=(2, 3, 4, 2), kernel=(3, 3, 2, 4), bias=(4,)),
        normal(
            {"stride": 2, "dilation": (2, 1), "output_padding": 1},
            "dilation, output padding",
            x=(2, 3, 2, 2),
            kernel=(2, 3, 2, 3),
        ),
        normal({"groups": 2}, "2 groups", x=(2, 3, 2, 4), kernel=(3, 2, 2, 6), bias=(6,)),
        normal({"stride": 3, "padding": ((1, 0),)}, "1-D, gaps", x=(2, 4, 2), kernel=(2, 2, 3)),
        normal({}, "3-D", x=(1, 2, 3, 2, 2), kernel=(2, 3, 1, 2, 2)),
    ],
    parameters=("kernel", "bias"),
    sample=sample,
    covers=frozenset(
        {"rank 1", "rank 2", "rank 3", "0 leading axes", "1 leading axes", "2 leading axes", "empty leading axis"}
        | {"padding", "pairs", "output_padding", "output_padding of a stride", "dilation", "overlapping", "gaps"}
        | {"groups", "depthwise", "bias", "size-1 axis"}
    ),
    tiny=normal(
        {"stride": 2, "groups": 2, "padding": ((1, 0), (0, 1))}, x=(2, 2, 2, 2), kernel=(2, 2, 1, 2), bias=(2,)
    ),
    forms=[  # on a CPU, fnnet/formulations; Winograd's products are convolution's to show
        normal({"stride": 2}, "canonical", x=(4, 3, 8), kernel=(3, 3, 8, 4), bias=(4,)),
        normal({"groups": 2, "stride": 2}, "groups", x=(4, 3, 4), kernel=(3, 3, 2, 8)),
        normal({"groups": 6}, "depthwise", x=(4, 3, 6), kernel=(3, 3, 1, 6)),
    ],
    refused={
        "x": (*NOT_FLOATING, *ones((2,), (5, 2), (5, 5, 3), (2, 5, 5, 4), (0, 5, 2), (2, 5, 0, 2))),
        "kernel": (*NOT_FLOATING, *ones((), (2,), (3, 3, 1, 4), (3, 3, 3, 4), (2, 3, 3, 3, 2, 4), (0, 3, 2, 4))),
        "bias": (*NOT_FLOATING, *ones((), (1,), (3,), (4, 1))),
        "stride": (None, *STEPS),
        "dilation": (None, *STEPS),
        "padding": (*PADDINGS, "SAME", "VALID", 4, ((9, 0), (0, 0)), 10**20),
        "output_padding": (None, *NOT_INTEGERS, -1, *NOT_TWO, 2, (2, 0), (0, -1), 10**20),
        "groups": (*COUNTS, 2, 3, 5, 8, 10**20),
    },
    is_heavy=True,
    cancels=True,  # a bias's gradient is a sum of many cotangents
)
