"""Windows that slide over an image, for the references of convolution and pooling.

Independent of `fnnet.core.geometry`, which the rules use.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

Each = int | Sequence[int]  # one number for each spatial axis, or one for all of them


class Axis(NamedTuple):
    """A window along one axis, and where it starts, in coordinates of the image."""

    image: int
    size: int
    stride: int
    dilation: int
    lo: int
    hi: int
    starts: np.ndarray


def starts(image: int, extent: int, stride: int, lo: int, hi: int, ceil_mode: bool) -> np.ndarray:
    """Where windows start, in coordinates of the image.

    A window has to end inside the padded image. In ceil mode one may end outside, if the one before it would leave a
    part of the padded image uncovered, and if it starts inside the image or the padding before it.
    """
    fit = list(range(-lo, image + hi - extent + 1, stride))
    after = fit[-1] + stride if fit else -lo
    needed = after - stride + extent < image + hi and after < image
    return np.array([*fit, after] if ceil_mode and needed else fit, int)


def axes(
    shape: Sequence[int],
    window: Each,
    stride: Each | None = None,
    padding: Any = "VALID",
    dilation: Each = 1,
    ceil_mode: bool = False,
) -> list[Axis]:
    """The window's axes over an image of `shape` = (..., *image, channels)."""
    size = (window, window) if isinstance(window, int) else tuple(window)
    rank = len(size)
    image = shape[-rank - 1 : -1]
    stride = size if stride is None else each_axis(stride, rank)
    dilation = each_axis(dilation, rank)
    extents = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    if isinstance(padding, str):
        pads = lax.padtype_to_pads(image, extents, stride, padding)
    else:
        pads = _pairs(padding, rank)
    return [
        Axis(n, k, s, d, lo, hi, starts(n, e, s, lo, hi, ceil_mode))
        for n, k, s, d, e, (lo, hi) in zip(image, size, stride, dilation, extents, pads, strict=True)
    ]


def padded_image(x: Any, placed: list[Axis], fill: float) -> Any:
    """As much of the padded image as the windows cover; negative padding cuts."""
    edges = [(axis.lo, axis.starts[-1] + axis.dilation * (axis.size - 1) + 1 - axis.image, 0) for axis in placed]
    return lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0)] * (x.ndim - len(placed) - 1) + edges + [(0, 0, 0)])


def patches(padded: Any, placed: list[Axis]) -> Any:
    """What each tap sees of the padded image, taps first."""
    taps = []
    for tap in itertools.product(*(range(axis.size) for axis in placed)):
        at = [axis.starts + axis.lo + axis.dilation * t for axis, t in zip(placed, tap, strict=True)]
        taps.append(padded[(..., *np.ix_(*at), slice(None))])
    return jnp.stack(taps)


def window_and_strides(x: Any, placed: list[Axis]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Window and strides of all axes of `x`, as lax.reduce_window takes them."""
    ones = (1,) * (x.ndim - len(placed) - 1)
    return (*ones, *(axis.size for axis in placed), 1), (*ones, *(axis.stride for axis in placed), 1)


def each_axis(value: Any, rank: int) -> tuple:
    """The value of each spatial axis."""
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _pairs(padding: Any, rank: int) -> list[tuple]:
    return [(p, p) if isinstance(p, int) else tuple(p) for p in each_axis(padding, rank)]
