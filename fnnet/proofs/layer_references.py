"""Independent references of the layers: jax.lax and jax.numpy, differentiated by JAX. Nothing here imports fnnet."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

Each = int | Sequence[int]  # one number for each spatial axis, or one for all of them


def dense(x: Any, kernel: Any, bias: Any = None) -> Any:
    """`fnnet.dense` by einsum."""
    y = jnp.einsum("...i,io->...o", x, kernel)
    return y if bias is None else y + bias


def conv(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    stride: Each = 1,
    padding: Any = "SAME",
    dilation: Each = 1,
    groups: int = 1,
) -> Any:
    """`fnnet.conv` by lax.conv_general_dilated.

    The padding is put on before: where the convolution pads, XLA's compiler aborts on some gradients of strided ones.
    """
    rank = kernel.ndim - 2
    padded = _padded(x, axes(x.shape, kernel.shape[:rank], stride, padding, dilation), 0.0)
    lead, image = padded.shape[: -rank - 1], padded.shape[-rank - 1 :]
    letters = "DHW"[-rank:]
    y = lax.conv_general_dilated(
        padded.reshape(math.prod(lead), *image),
        kernel,
        _each_axis(stride, rank),
        "VALID",
        rhs_dilation=_each_axis(dilation, rank),
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
        feature_group_count=groups,
    )
    y = y.reshape(*lead, *y.shape[1:])
    return y if bias is None else y + bias


def max_pool(
    x: Any,
    window: Each,
    *,
    stride: Each | None = None,
    padding: Any = "VALID",
    dilation: Each = 1,
    ceil_mode: bool = False,
) -> Any:
    """`fnnet.max_pool`.

    Without dilation reduce_window, whose gradient is select-and-scatter; with it, patches and the first argmax.
    """
    placed = axes(x.shape, window, stride, padding, dilation, ceil_mode)
    padded = _padded(x, placed, -jnp.inf)
    if all(axis.dilation == 1 for axis in placed):
        return lax.reduce_window(padded, -jnp.inf, lax.max, *_window_and_strides(x, placed), "VALID")
    patches = _patches(padded, placed)
    first = lax.stop_gradient(jnp.argmax(patches, axis=0, keepdims=True))
    return jnp.take_along_axis(patches, first, axis=0)[0]


def avg_pool(
    x: Any,
    window: Each,
    *,
    stride: Each | None = None,
    padding: Any = "VALID",
    dilation: Each = 1,
    count_padding: bool = False,
    divisor: float | int | None = None,
    ceil_mode: bool = False,
) -> Any:
    """`fnnet.avg_pool`: sums by reduce_window or, dilated, of patches; over how many entries each window counts."""
    placed = axes(x.shape, window, stride, padding, dilation, ceil_mode)
    padded = _padded(x, placed, 0.0)
    if all(axis.dilation == 1 for axis in placed):
        sums = lax.reduce_window(padded, 0.0, lax.add, *_window_and_strides(x, placed), "VALID")
    else:
        sums = _patches(padded, placed).sum(0)
    if divisor is not None:
        return sums / divisor
    counts = np.ones(())
    for axis in placed:
        taps = axis.starts[:, None] + axis.dilation * np.arange(axis.size)
        first, last = (-axis.lo, axis.image + axis.hi) if count_padding else (0, axis.image)
        counts = counts[..., None] * ((taps >= first) & (taps < last)).sum(1)
    return sums / counts[..., None].astype(sums.dtype)


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
    stride = size if stride is None else _each_axis(stride, rank)
    dilation = _each_axis(dilation, rank)
    extents = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    if isinstance(padding, str):
        pads = lax.padtype_to_pads(image, extents, stride, padding)
    else:
        pads = _pairs(padding, rank)
    return [
        Axis(n, k, s, d, lo, hi, starts(n, e, s, lo, hi, ceil_mode))
        for n, k, s, d, e, (lo, hi) in zip(image, size, stride, dilation, extents, pads, strict=True)
    ]


def _padded(x: Any, placed: list[Axis], fill: float) -> Any:
    """As much of the padded image as the windows cover; negative padding cuts."""
    edges = [(axis.lo, axis.starts[-1] + axis.dilation * (axis.size - 1) + 1 - axis.image, 0) for axis in placed]
    return lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0)] * (x.ndim - len(placed) - 1) + edges + [(0, 0, 0)])


def _patches(padded: Any, placed: list[Axis]) -> Any:
    """What each tap sees of the padded image, taps first."""
    taps = []
    for tap in itertools.product(*(range(axis.size) for axis in placed)):
        at = [axis.starts + axis.lo + axis.dilation * t for axis, t in zip(placed, tap, strict=True)]
        taps.append(padded[(..., *np.ix_(*at), slice(None))])
    return jnp.stack(taps)


def _window_and_strides(x: Any, placed: list[Axis]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    ones = (1,) * (x.ndim - len(placed) - 1)
    return (*ones, *(axis.size for axis in placed), 1), (*ones, *(axis.stride for axis in placed), 1)


def _each_axis(value: Any, rank: int) -> tuple:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _pairs(padding: Any, rank: int) -> list[tuple]:
    return [(p, p) if isinstance(p, int) else tuple(p) for p in _each_axis(padding, rank)]
