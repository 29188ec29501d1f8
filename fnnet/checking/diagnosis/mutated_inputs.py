"""What the reference gives for mutated cotangents and arguments, mutated as wrong rules mutate them.

A rule whose cotangent equals one of these has made that mistake: it does not flip the kernel, takes |g| for g, or keeps
a residual of the call before.
"""

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from fnnet.checking.cotangent import Trial
from fnnet.checking.diagnosis.rearrangements import axes_named
from fnnet.checking.leaves import Leaves, all_wide, as_wide, replaced, widened
from fnnet.checking.session import Session
from fnnet.core.primitives import is_inexact

MOST_AXES = 4
# Of a function that works entry by entry: what may stand in place of its slope.
SLOPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the square root of the slope: a square is missing": lambda slopes: np.sqrt(np.abs(slopes)),
    "the square of the slope": np.square,
    "1 minus the slope": lambda slopes: 1 - slopes,
    "the inverse of the slope": lambda slopes: np.divide(1, slopes, out=np.zeros_like(slopes), where=slopes != 0),
}
Variants = dict[str, Callable[[], np.ndarray]]


def variants(session: Session, trial: Trial, k: int) -> Variants:
    """The reference's cotangent number k for each mutated cotangent or argument, by a phrase; computed when called."""
    leaves, bars = widened(trial.leaves), all_wide(trial.output_bars)

    def run(leaves: Leaves, bars: Leaves) -> np.ndarray:
        return as_wide(session.reference_program(list(leaves), list(bars))[1][k])

    found: Variants = {}

    def run_changed(change: Callable) -> np.ndarray:
        return run(leaves, [np.array(change(b), b.dtype) for b in bars])

    def run_by_slope(change: Callable) -> np.ndarray:
        slopes = np.divide(run(leaves, bars), bars[0], out=np.zeros_like(bars[0]), where=bars[0] != 0)
        return bars[0] * change(slopes)

    is_summed = _is_summed(session.subject.select(leaves)[k].shape, bars)
    for phrase, change in _of_cotangents(bars, is_summed):
        found[f"is the reference for {phrase}"] = functools.partial(run_changed, change)
    if len(bars) == 1 and bars[0].shape == session.subject.select(leaves)[k].shape and np.isrealobj(bars[0]):
        for phrase, change in SLOPES.items():
            found[f"is the cotangent times {phrase}"] = functools.partial(run_by_slope, change)
    for number in range(len(bars)) if len(bars) > 1 else ():
        left_out = [b * (i != number) for i, b in enumerate(bars)]
        found[f"is the reference with output {number}'s cotangent left out"] = functools.partial(run, leaves, left_out)
    for phrase, i, value in _of_arguments(session, leaves, bars):
        found[f"is the reference {phrase}"] = functools.partial(run, replaced(leaves, [i], [value]), bars)
    if any(np.iscomplexobj(leaf) for leaf in leaves):
        phrase = "is the reference with all arguments conjugated: what PyTorch calls the gradient, where JAX transposes"
        found[phrase] = functools.partial(run, [np.conj(a) if np.iscomplexobj(a) else a for a in leaves], bars)
    if trial.previous is not None:
        phrase = "is the reference at the arguments of the previous call: a residual is stale"
        found[phrase] = functools.partial(run, widened(trial.previous), bars)
    return found


def _is_summed(shape: tuple[int, ...], bars: Leaves) -> Callable[[int], bool]:
    """Whether a gradient of this shape sums over an axis of the output: it has no axis of that size."""
    return lambda axis: all(b.ndim > axis and b.shape[axis] not in shape for b in bars)


def _of_cotangents(bars: Leaves, is_summed: Callable[[int], bool]) -> Iterator[tuple[str, Callable]]:
    yield "the cotangent's absolute value", np.abs
    yield "the cotangent's sign", np.sign
    yield "the cotangent's square", np.square
    yield "a cotangent of ones: the incoming one is not used", np.ones_like
    yield "the cotangent clipped to [-1, 1]", lambda b: np.clip(b, -1, 1)
    yield "the cotangent's mean", lambda b: np.full_like(b, b.mean() if b.size else 0)
    yield "the cotangent's sum", lambda b: np.full_like(b, b.sum())
    yield "the cotangent's first entry alone", lambda b: np.full_like(b, b.flat[0] if b.size else 0)
    yield "a cotangent divided by its norm", lambda b: b / (np.linalg.norm(b) or 1)
    for axis in range(max((b.ndim for b in bars), default=0)):
        yield f"the cotangent reversed along axis {axis}", _where(axis, lambda b, axis: np.flip(b, axis))
        summed, averaged = (
            (f": the sum over axis {axis} is missing", f": a mean over axis {axis} in place of the sum")
            if is_summed(axis)
            else ("", "")
        )
        yield f"the cotangent averaged along axis {axis}{averaged}", _where(axis, _mean)
        yield f"the cotangent summed along axis {axis}", _where(axis, _sum)
        yield (
            f"the cotangent at index 0 of axis {axis} alone{summed}",
            _where(axis, lambda b, axis: b * _one_hot(b, axis, 0)),
        )
        without = _where(axis, lambda b, axis: b * (1 - _one_hot(b, axis, -1)))
        yield f"the cotangent without the last index of axis {axis}", without
        yield f"the cotangent rolled by 1 along axis {axis}", _where(axis, lambda b, axis: np.roll(b, 1, axis))


def _where(axis: int, change: Callable) -> Callable:
    return lambda b: change(b, axis) if b.ndim > axis and b.size else b


def _mean(b: np.ndarray, axis: int) -> np.ndarray:
    return b * 0 + b.mean(axis, keepdims=True)


def _sum(b: np.ndarray, axis: int) -> np.ndarray:
    return b * 0 + b.sum(axis, keepdims=True)


def _one_hot(b: np.ndarray, axis: int, index: int) -> np.ndarray:
    chosen = np.zeros(b.shape[axis])
    chosen[index] = 1
    return chosen.reshape([-1 if i == axis else 1 for i in range(b.ndim)])


def _of_arguments(session: Session, leaves: Leaves, bars: Leaves) -> Iterator[tuple[str, int, np.ndarray]]:
    """(phrase, which leaf, what stands in its place)."""
    paths = session.subject.paths
    outs = all_wide(session.reference_program(list(leaves), list(bars))[0])
    for index, leaf in enumerate(leaves):
        if not isinstance(leaf, np.ndarray) or not leaf.size:
            continue
        path, axes = paths[index], [i for i, n in enumerate(leaf.shape) if n > 1][:MOST_AXES]
        for count in range(1, len(axes) + 1):
            for flip in itertools.combinations(axes, count):
                yield f"with {path} flipped on {axes_named(flip)}", index, np.flip(leaf, flip)
        for i, j in itertools.combinations(axes, 2):
            if leaf.shape[i] == leaf.shape[j]:
                yield f"with {path} transposed on {axes_named((i, j))}", index, leaf.swapaxes(i, j)
        if not is_inexact(leaf):
            continue
        yield f"with {path} negated", index, -leaf
        yield (
            f"with {path} in absolute value: it is wrong where {path} is negative",
            index,
            np.abs(leaf).astype(leaf.dtype),
        )
        yield f"with ones for {path}", index, np.ones_like(leaf)
        yield f"with {path} squared", index, leaf * leaf
        for axis in axes:
            yield f"with {path} rolled by 1 along axis {axis}", index, np.roll(leaf, 1, axis)
        for other in range(len(leaves)):
            if other != index and is_inexact(leaves[other]) and leaves[other].shape == leaf.shape:
                yield f"with {paths[other]} in place of {path}", index, leaves[other]
        for out in outs:
            if out.shape == leaf.shape and [b.shape for b in bars] == [o.shape for o in outs]:
                yield f"with the output in place of {path}", index, out.astype(leaf.dtype)
