"""Sums in the forms that XLA computes rightly and quickly on a CPU."""

import functools
import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax


def column_sums(array: Array) -> Array:
    """The sum over all axes but the last, such as the gradient of a bias; on a CPU, of the array as a matrix.

    XLA sums the columns of a matrix quickly. It would merge the reshape into the sum and take ten times as long for
    the sum over several axes, but the barrier keeps the matrix.
    """
    if array.ndim <= 2:
        return _columns(array)
    return lax.platform_dependent(array, cpu=_columns_of_matrix, default=_columns)


def summed_products(a: Array, b: Array, axes: Sequence[int]) -> Array:
    """The sum of a * b over some axes, which stay with size 1; on a CPU by a product of matrices.

    XLA's sum of products may crash where vmap makes it one of 7 axes or more: jax-ml/jax#40412.
    """
    return lax.platform_dependent(
        a, b, cpu=functools.partial(_contracted, axes=axes), default=lambda a, b: (a * b).sum(axes, keepdims=True)
    )


def _contracted(a: Array, b: Array, axes: Sequence[int]) -> Array:
    summed = tuple(axis % a.ndim for axis in axes)
    kept = tuple(axis for axis in range(a.ndim) if axis not in summed)
    sums = lax.dot_general(a, b, ((summed, summed), (kept, kept)), precision=lax.Precision.HIGHEST)
    return jnp.expand_dims(sums, summed)


def _columns_of_matrix(array: Array) -> Array:
    return lax.optimization_barrier(array.reshape(math.prod(array.shape[:-1]), array.shape[-1])).sum(0)


def _columns(array: Array) -> Array:
    return array.sum(tuple(range(array.ndim - 1)))
