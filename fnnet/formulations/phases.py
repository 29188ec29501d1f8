"""The gradient by the image of a convolution with a stride, as one convolution of the cotangent for all its phases.

With i = s a + b, entry s r + b of the padded image has the gradient sum over a of y_bar[r - a] W[s a + b]. So the
phases b are outputs of a convolution without a stride, of ceil(k / s) taps along each axis, and are interleaved
afterwards. Spread out by the stride, the cotangent would be mostly zeros. Cotangents are (N, *spatial, outputs), the
dilation is 1.
"""

import itertools
import math

import jax.numpy as jnp

from fnnet.core.geometry import Window
from fnnet.formulations import canonical


def x_gradient(kernel, cotangents, *, window: Window):
    """All phases, interleaved and cut to the image."""
    channels, axes, ones = kernel.shape[-2], list(window.axes), (1,) * window.rank
    taps = tuple(-(-k // s) for _, k, s, *_ in axes)
    first = [min(lo // s, a - 1) for (_, _, s, _, (lo, _), _), a in zip(axes, taps, strict=True)]  # point of each phase
    last = [max(-(-(lo + n) // s), o) for n, _, s, _, (lo, _), o in axes]
    points = tuple(end - start for start, end in zip(first, last, strict=True))
    padding = tuple((a - 1 - start, end - o) for a, start, end, o in zip(taps, first, last, window.out, strict=True))
    dense = Window(window.out, taps, ones, ones, padding, points)
    phases = canonical.output(cotangents, _by_phase(kernel, taps, window), window=dense, groups=1)
    phases = phases.reshape(cotangents.shape[0], *points, *window.stride, channels)
    rank = range(1, window.rank + 1)
    phases = phases.transpose(0, *_alternated(rank, (axis + window.rank for axis in rank)), phases.ndim - 1)
    whole = phases.reshape(cotangents.shape[0], *(m * s for m, s in zip(points, window.stride, strict=True)), channels)
    starts = [lo - start * s for (_, _, s, _, (lo, _), _), start in zip(axes, first, strict=True)]
    return whole[(slice(None), *(slice(lo, lo + n) for lo, n in zip(starts, window.image, strict=True)))]


def without_waste(window: Window) -> bool:
    """Whether no tap of any phase is missing, and so none is a zero."""
    return all(k % s == 0 for k, s in zip(window.size, window.stride, strict=True))


def _by_phase(kernel, taps, window: Window):
    """(*taps, outputs, phases * channels), with the taps flipped."""
    *size, channels, outputs = kernel.shape
    more = [(0, a * s - k) for a, s, k in zip(taps, window.stride, size, strict=True)]
    parted = jnp.pad(kernel, [*more, (0, 0), (0, 0)])
    parted = parted.reshape(*_alternated(taps, window.stride), channels, outputs)
    of_taps, of_phases = range(0, 2 * window.rank, 2), range(1, 2 * window.rank, 2)
    order = *of_taps, parted.ndim - 1, *of_phases, parted.ndim - 2
    return jnp.flip(parted, of_taps).transpose(order).reshape(*taps, outputs, math.prod(window.stride) * channels)


def _alternated(*several):
    """The first of each, then the second of each, and so on."""
    return itertools.chain.from_iterable(zip(*several, strict=True))
