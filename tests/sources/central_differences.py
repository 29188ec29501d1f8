"""Derivatives from values alone: what decides whether an equation of the sources is right."""

import functools
from collections.abc import Callable

import numpy as np

STEP = 1e-3


def gradient(function: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """The derivative by each entry of x: a central stencil of fourth order, good to about 1e-11."""
    x = np.array(x, float)
    result = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        kept = x[at]
        values = []
        for steps in (-2, -1, 1, 2):
            x[at] = kept + steps * STEP
            values.append(float(function(x)))
        x[at] = kept
        result[at] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * STEP)
    return result


def jacobian(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """The derivative of each output (first axes) by each entry of x (last axes)."""
    size = np.shape(function(x))

    def one(at: tuple[int, ...], x: np.ndarray) -> float:
        return float(np.asarray(function(x))[at])

    rows = [gradient(functools.partial(one, at), x) for at in np.ndindex(size)]
    return np.array(rows).reshape(*size, *np.shape(x))


def largest_difference(ours, theirs, rounding: float = 0.0) -> float:
    """The largest of |a - b| / (|b| + rms of b), over the entries; infinite where the shapes differ.

    Entries that differ by less than `rounding` do not count.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    if ours.shape != theirs.shape:
        return np.inf
    error = np.abs(ours - theirs)
    scale = np.abs(theirs) + np.sqrt(np.mean(np.square(theirs)))
    ratio = np.where(scale > 0, error / np.where(scale > 0, scale, 1), np.where(error > 0, np.inf, 0))
    return float(np.max(np.where(error > rounding, ratio, 0)))


def right(ours, theirs) -> bool:
    """Whether a formula's numbers are those of the differences."""
    return largest_difference(ours, theirs, rounding=1e-11) < 1e-8


def wrong(ours, theirs) -> bool:
    """Whether they are plainly not, by more than any rounding."""
    return not largest_difference(ours, theirs, rounding=1e-11) < 1e-2
