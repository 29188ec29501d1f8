"""Entries that a mask of bytes chooses, such as the gradient of ReLU, which keeps one.

XLA's innermost loop on a CPU is over the channels. Up to 47 of them LLVM unrolls it, and finds no vector instruction
then for a choice by a byte: it jumps, entry by entry, which takes up to ten times as long where the mask is as good as
random. Over a row of the image, places and channels, the loop stays a loop, and is vectorized. The branch keeps XLA
from undoing the reshape.
"""

from collections.abc import Callable

from jax import Array, lax

from fnnet.core.primitives import is_explicit
from fnnet.formulations.branches import computed_once, in_a_branch
from fnnet.formulations.platforms import on_cpu

UNROLLED = 48  # channels below which LLVM unrolls their loop


def masked(function: Callable[[Array, Array], Array], mask: Array, a: Array) -> Array:
    """function(mask, a), entry by entry: for a mask and an array of one shape."""
    by_rows = a.ndim > 1 and a.shape[-1] < UNROLLED and not is_explicit(mask, a)
    return (_by_rows if by_rows else _by_channels)(mask, a, function=function)


def _plain(mask, a, *, function):
    return function(mask, a)


def _rows(mask, a, *, function):
    rows = *a.shape[:-2], a.shape[-2] * a.shape[-1]
    a = lax.optimization_barrier(a)  # else XLA computes a, too, row by row, and divides to find each entry's place
    return in_a_branch(function, mask.reshape(rows), a.reshape(rows)).reshape(a.shape)


def _channels(mask, a, *, function):
    """The mask from memory: XLA would compare again, in each loop that reads it."""
    return function(computed_once(mask), a)


_by_rows, _by_channels = on_cpu(_rows)(_plain), on_cpu(_channels)(_plain)
