"""Sums in the forms that XLA computes rightly and quickly on a CPU."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax

from fnnet.core.primitives import is_explicit
from fnnet.formulations.platforms import on_cpu


def column_sums(array: Array) -> Array:
    """The sum over all axes but the last, such as the gradient of a bias."""
    return (_columns if array.ndim <= 2 else _any_columns)(array)


def sums_over_other_axes(array: Array, axes: Sequence[int]) -> Array:
    """The sum over all axes but these, which are negative and in order, such as the gradient of a norm's scale."""
    kept = array.shape[array.ndim - len(axes) :]
    if tuple(axes) != tuple(range(-len(axes), 0)):
        return array.sum(tuple(axis for axis in range(-array.ndim, 0) if axis not in axes))
    lead = array.shape[: array.ndim - len(axes)]
    return column_sums(array.reshape(*lead, math.prod(kept))).reshape(kept)


def merged(axes: tuple[int, ...], *arrays: Array) -> tuple[tuple[int, ...], list[Array]]:
    """Arrays of equal shapes with these neighbouring axes as one, in which a CPU sums faster; and that one axis.

    The axes are negative and in order. Where they are not neighbours, or the arrays are sharded over explicit mesh
    axes, all stays as it is. The barrier keeps XLA from merging the reshape into the sum.
    """
    (first, *_), shape = axes or (0,), arrays[0].shape
    if len(axes) < 2 or axes != tuple(range(first, first + len(axes))) or is_explicit(*arrays):
        return axes, list(arrays)
    end = len(shape) + first + len(axes)
    as_one = *shape[: len(shape) + first], math.prod(shape[len(shape) + first : end]), *shape[end:]
    return axes[-1:], [_unmerged(array.reshape(as_one)) for array in arrays]


def summed_products(a: Array, b: Array, *, axes: Sequence[int]) -> Array:
    """The sum of a * b over some axes, which stay with size 1, by a product of matrices, for CPUs.

    XLA's sum of products may crash where vmap makes it one of 7 axes or more: jax-ml/jax#40412.
    """
    summed = tuple(axis % a.ndim for axis in axes)
    kept = tuple(axis for axis in range(a.ndim) if axis not in summed)
    sums = lax.dot_general(a, b, ((summed, summed), (kept, kept)), precision=lax.Precision.HIGHEST)
    return jnp.expand_dims(sums, summed)


@on_cpu(lax.optimization_barrier)
def _unmerged(array: Array) -> Array:
    return array


def _columns(array: Array) -> Array:
    return array.sum(tuple(range(array.ndim - 1)))


def _columns_of_matrix(array: Array) -> Array:
    """XLA sums the columns of a matrix quickly. The barrier keeps it from merging the reshape into the sum.

    The sum over several axes takes ten times as long.
    """
    return lax.optimization_barrier(array.reshape(math.prod(array.shape[:-1]), array.shape[-1])).sum(0)


_any_columns = on_cpu(_columns_of_matrix)(_columns)
