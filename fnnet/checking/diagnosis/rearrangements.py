"""How a wrong cotangent may be made of the reference's entries: flipped, transposed, moved, averaged."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

MOST_AXES = 5


def rearrangements(a: np.ndarray) -> Iterator[tuple[str, Callable]]:
    """(description, how to make it of the reference's cotangent)."""
    axes = [i for i, n in enumerate(a.shape) if n > 1][:MOST_AXES]
    flips = [f for count in range(1, len(axes) + 1) for f in itertools.combinations(axes, count)]
    for flip in flips:
        yield f"with {axes_named(flip)} flipped", lambda a, flip=flip: np.flip(a, flip)
    for order in itertools.permutations(range(a.ndim)) if a.ndim <= MOST_AXES else ():
        if order == tuple(range(a.ndim)):
            continue
        moved = tuple(i for i, j in enumerate(order) if i != j)
        if tuple(a.shape[i] for i in order) == a.shape:
            yield f"with {axes_named(moved)} transposed", lambda a, order=order: a.transpose(order)
            for flip in flips if a.size <= 10**5 else ():
                description = f"with {axes_named(moved)} transposed and {axes_named(flip)} flipped"
                yield description, lambda a, order=order, flip=flip: np.flip(a.transpose(order), flip)
        else:
            description = f"with {axes_named(moved)} transposed, then reshaped to fit"
            yield description, lambda a, order=order: a.transpose(order).reshape(a.shape)
    for axis in axes:
        n = a.shape[axis]
        for shift in sorted(range(1 - n, n), key=abs)[1:17]:
            yield f"rolled by {shift} along axis {axis}", lambda a, s=shift, axis=axis: np.roll(a, s, axis)
            yield (
                f"shifted by {shift} along axis {axis}, zero where nothing comes in",
                lambda a, s=shift, axis=axis: shifted(a, s, axis),
            )
    yield "in absolute value", np.abs
    yield "by its sign alone", np.sign
    if np.iscomplexobj(a):
        yield "conjugated", np.conj
    for axis in axes:
        yield f"averaged over axis {axis}", lambda a, axis=axis: np.broadcast_to(a.mean(axis, keepdims=True), a.shape)
        yield f"summed over axis {axis}", lambda a, axis=axis: np.broadcast_to(a.sum(axis, keepdims=True), a.shape)
        yield f"centred along axis {axis}", lambda a, axis=axis: a - a.mean(axis, keepdims=True)
        yield f"cumulatively summed along axis {axis}", lambda a, axis=axis: a.cumsum(axis)


def shifted(a: np.ndarray, by: int, axis: int) -> np.ndarray:
    """Moved along an axis, zero where nothing comes in."""
    out = np.zeros_like(a)
    n = a.shape[axis]
    to = [slice(None)] * a.ndim
    at = [slice(None)] * a.ndim
    to[axis], at[axis] = (slice(by, n), slice(0, n - by)) if by > 0 else (slice(0, n + by), slice(-by, n))
    out[tuple(to)] = a[tuple(at)]
    return out


def axes_named(axes: tuple[int, ...]) -> str:
    """Axes, in words."""
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes ({', '.join(map(str, axes))})"


def moved_insides(a: np.ndarray) -> Iterator[tuple[str, tuple[slice, ...], tuple[slice, ...]]]:
    """(description, to, from): what stays inside when the array is moved by one entry along some of its axes.

    The cotangents of a convolution that pads at the wrong end look like this.
    """
    axes = [i for i, n in enumerate(a.shape) if n > 1][:MOST_AXES]
    ends = {1: (slice(1, None), slice(None, -1)), -1: (slice(None, -1), slice(1, None))}
    for count in range(1, len(axes) + 1):
        for chosen in itertools.combinations(axes, count):
            for by, (end, start) in ends.items():
                to, origin = ([part if i in chosen else slice(None) for i in range(a.ndim)] for part in (end, start))
                yield f"shifted by {by} along {axes_named(chosen)}, apart from the border", tuple(to), tuple(origin)
