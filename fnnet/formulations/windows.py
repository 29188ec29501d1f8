"""Windows over an image as strided slices, one for each tap, and the reverse: both poolings are made of them.

XLA's own forms are reduce_window, and for its gradient select-and-scatter, which visits one window after the other.
Slices are compared and added as whole arrays. All functions take x as (..., *image, channels).
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from fnnet.core.geometry import Window


def positions(window: Window) -> list[tuple[int, ...]]:
    """The taps of the window in row-major order."""
    return list(itertools.product(*map(range, window.size)))


def covered(window: Window) -> tuple[int, ...]:
    """How much of the padded image the windows cover, on each axis."""
    return tuple((o - 1) * s + e for o, s, e in zip(window.out, window.stride, window.extent, strict=True))


def taps(x, window: Window, fill) -> Iterator:
    """For each tap in row-major order, what it sees of `x` from every place: (..., *places, channels)."""
    padded = _padded(x, window, fill)
    lead = (0,) * (x.ndim - window.rank - 1)
    for position in positions(window):
        start = [d * t for d, t in zip(window.dilation, position, strict=True)]
        stop = [a + (o - 1) * s + 1 for a, o, s in zip(start, window.out, window.stride, strict=True)]
        yield lax.slice(
            padded,
            (*lead, *start, 0),
            (*padded.shape[: len(lead)], *stop, padded.shape[-1]),
            (*(1 for _ in lead), *window.stride, 1),
        )


def spread(copies, window: Window):
    """The transpose of `taps`: adds each tap's copy (..., *places, channels) where the tap stood in the image.

    Taps whose offsets differ by whole strides meet at the same points. They are added first, as arrays of places. Then
    the phases of the stride are interleaved, once.
    """
    phases: dict[tuple[int, ...], Any] = {}
    points = tuple(-(-n // s) for n, s in zip(covered(window), window.stride, strict=True))  # of each phase
    for position, copy in zip(positions(window), copies, strict=True):
        offset = [d * t for d, t in zip(window.dilation, position, strict=True)]
        phase = tuple(i % s for i, s in zip(offset, window.stride, strict=True))
        before = [i // s for i, s in zip(offset, window.stride, strict=True)]
        edges = [(b, m - o - b) for b, m, o in zip(before, points, window.out, strict=True)]
        moved = jnp.pad(copy, [(0, 0)] * (copy.ndim - window.rank - 1) + edges + [(0, 0)])
        phases[phase] = phases[phase] + moved if phase in phases else moved
    zero = jnp.zeros_like(next(iter(phases.values())))
    return _cropped(_interleaved(phases, zero, (), window), window)


def is_tiling(window: Window) -> bool:
    """Whether windows stand side by side, so that each entry of the image they cover is in one of them."""
    return window.stride == window.size and set(window.dilation) == {1}


def tiled(copy: Callable, window: Window, *arrays):
    """`spread` of windows side by side, in one loop: copy(number of the tap, *arrays) where the tap stood."""
    lead, channels = tuple(arrays[0].shape[: -window.rank - 1]), arrays[0].shape[-1]
    of_taps = [length for size in window.size for length in (1, size)] + [1]
    of_both = [length for both in zip(window.out, window.size, strict=True) for length in both] + [channels]
    numbers = jnp.arange(math.prod(window.size), dtype=jnp.int32).reshape(of_taps)
    places = [len(lead) + 2 * axis + 1 for axis in range(window.rank)]
    copies = copy(numbers, *(jnp.expand_dims(array, places) for array in arrays))
    copies = jnp.broadcast_to(copies, (*lead, *of_both))
    return _cropped(copies.reshape(*lead, *covered(window), channels), window)


def valid(window: Window) -> np.ndarray:
    """Whether each tap lies inside the image, (taps, *places)."""
    inside = []
    for n, k, s, d, (lo, _), o in window.axes:
        at = np.arange(o) * s + np.arange(k)[:, None] * d - lo
        inside.append((at >= 0) & (at < n))
    return np.stack([_outer([inside[a][t] for a, t in enumerate(position)]) for position in positions(window)])


def single_axis(window: Window, axis: int) -> Window:
    """The window along one axis, if the axes after it are already pooled."""

    def along(values: tuple, others: Any) -> tuple:
        return tuple(value if a == axis else others for a, value in enumerate(values))

    image, out = (*window.image[: axis + 1], *window.out[axis + 1 :]), (*window.image[:axis], *window.out[axis:])
    size, stride, dilation = (along(values, 1) for values in (window.size, window.stride, window.dilation))
    return Window(image, size, stride, dilation, along(window.padding, (0, 0)), out)


def _outer(axes):
    result = axes[0]
    for axis in axes[1:]:
        result = result[..., None] & axis
    return result


def _padded(x, window: Window, fill):
    """The part of the padded image that the windows cover."""
    edges = [
        (lo, total - n - lo, 0) for n, (lo, _), total in zip(window.image, window.padding, covered(window), strict=True)
    ]
    if not any(lo or hi for lo, hi, _ in edges):
        return x
    return lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0)] * (x.ndim - window.rank - 1) + edges + [(0, 0, 0)])


def _interleaved(phases, zero, chosen: tuple[int, ...], window: Window):
    """The phases from `chosen` on as one array: along each axis point m of phase r is point m s + r."""
    axis = len(chosen)
    if axis == window.rank:
        return phases.get(chosen, zero)
    stride = window.stride[axis]
    parts = [_interleaved(phases, zero, (*chosen, r), window) for r in range(stride)]
    if stride == 1:
        return parts[0]
    at = parts[0].ndim - window.rank - 1 + axis
    stacked = jnp.stack(parts, at + 1)
    shape = parts[0].shape
    return stacked.reshape(*shape[:at], shape[at] * stride, *shape[at + 1 :])


def _cropped(padded, window: Window):
    first = padded.ndim - window.rank - 1
    edges = [
        (-lo, n + lo - total, 0)
        for n, (lo, _), total in zip(window.image, window.padding, padded.shape[first:-1], strict=True)
    ]
    if not any(lo or hi for lo, hi, _ in edges):
        return padded
    return lax.pad(padded, jnp.zeros((), padded.dtype), [(0, 0, 0)] * first + edges + [(0, 0, 0)])
