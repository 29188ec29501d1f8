"""Convolution and pooling with their gradients in NumPy, tap by tap: for sizes at which XLA's own forms may be wrong.

XLA on a CPU computes large inputs by other means than small ones, and not always rightly (openxla/xla#48714 is
reduce_window). Nothing here goes through XLA.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from fnnet.proofs import windows

Arrays = dict[str, Any]
Pulled = tuple[Any, Arrays]


def pulled(rule: str, static: dict[str, Any], arrays: Arrays, cotangent: Any) -> Pulled:
    """The value, and the cotangent pulled back to every array; one leading axis at most."""
    rules: dict[str, Callable[..., Pulled]] = {"conv": conv, "max_pool": max_pool, "avg_pool": avg_pool}
    return rules[rule](arrays, cotangent, **static)


def conv(arrays: Arrays, y_bar: Any, *, stride: Any = 1, padding: Any, dilation: Any = 1, groups: int = 1) -> Pulled:
    x, kernel = arrays["x"], arrays["kernel"]
    *size, inputs, outputs = kernel.shape
    placed = windows.axes(x.shape, tuple(size), stride, padding, dilation)
    padded, padded_bar = _padded(x, placed, 0.0), _padded(np.zeros_like(x), placed, 0.0)
    y, kernel_bar = np.zeros_like(y_bar), np.zeros_like(kernel)
    for tap in _taps(placed):
        at = _seen(placed, tap)
        for group in range(groups):
            seen = (*at, slice(group * inputs, (group + 1) * inputs))
            made = (..., slice(group * (outputs // groups), (group + 1) * (outputs // groups)))
            here = (*tap, slice(None), made[1])
            y[made] += padded[seen] @ kernel[here]
            padded_bar[seen] += y_bar[made] @ kernel[here].T
            kernel_bar[here] = np.tensordot(padded[seen], y_bar[made], (range(x.ndim - 1), range(x.ndim - 1)))
    bars = {"x": _cropped(padded_bar, x, placed), "kernel": kernel_bar}
    if "bias" not in arrays:
        return y, bars
    return y + arrays["bias"], bars | {"bias": y_bar.sum(tuple(range(y_bar.ndim - 1)))}


def max_pool(arrays: Arrays, y_bar: Any, window: Any, **static: Any) -> Pulled:
    x = arrays["x"]
    placed = windows.axes(x.shape, window, **static)
    padded, padded_bar = _padded(x, placed, -np.inf), _padded(np.zeros_like(x), placed, 0.0)
    seen = np.stack([padded[(*_seen(placed, tap), slice(None))] for tap in _taps(placed)])
    first = seen.argmax(0)
    for number, tap in enumerate(_taps(placed)):
        padded_bar[(*_seen(placed, tap), slice(None))] += np.where(first == number, y_bar, 0)
    return seen.max(0), {"x": _cropped(padded_bar, x, placed)}


def avg_pool(
    arrays: Arrays, y_bar: Any, window: Any, *, count_padding: bool = False, divisor: Any = None, **static: Any
) -> Pulled:
    x = arrays["x"]
    placed = windows.axes(x.shape, window, **static)
    padded, padded_bar = _padded(x, placed, 0.0), _padded(np.zeros_like(x), placed, 0.0)
    taps = [(*_seen(placed, tap), slice(None)) for tap in _taps(placed)]
    if divisor is None:  # what counts is the image, and maybe its padding, but nothing beyond that
        counted = _padded(np.ones_like(x), placed, 0.0)
        if count_padding:
            whole = [slice(0, axis.lo + axis.image + axis.hi) for axis in placed]
            counted[(..., *whole, slice(None))] = 1
        divisor = sum(counted[at] for at in taps)
    for at in taps:
        padded_bar[at] += y_bar / divisor
    return sum(padded[at] for at in taps) / divisor, {"x": _cropped(padded_bar, x, placed)}


def _taps(placed: list[windows.Axis]) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(axis.size) for axis in placed)))


def _seen(placed: list[windows.Axis], tap: tuple[int, ...]) -> tuple[Any, ...]:
    """Where a tap stands in the padded image, over all places."""
    first = [axis.lo + axis.starts[0] + axis.dilation * t for axis, t in zip(placed, tap, strict=True)]
    many = [(len(axis.starts) - 1) * axis.stride + 1 for axis in placed]
    return (..., *(slice(a, a + n, axis.stride) for a, n, axis in zip(first, many, placed, strict=True)))


def _padded(x: Any, placed: list[windows.Axis], fill: float) -> Any:
    """The image with room for every window."""
    ends = [axis.starts[-1] + axis.dilation * (axis.size - 1) + 1 - axis.image for axis in placed]
    pads = [(axis.lo, max(end, axis.hi, 0)) for axis, end in zip(placed, ends, strict=True)]
    return np.pad(x, [(0, 0)] * (x.ndim - len(placed) - 1) + pads + [(0, 0)], constant_values=fill)


def _cropped(padded: Any, x: Any, placed: list[windows.Axis]) -> Any:
    return padded[(..., *(slice(axis.lo, axis.lo + axis.image) for axis in placed), slice(None))]
