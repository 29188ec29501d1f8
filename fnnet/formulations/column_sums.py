"""The sum over all axes but the last, such as the gradient of a bias, in a form that is quick on a CPU."""

import math

from jax import Array, lax


def column_sums(array: Array) -> Array:
    """The sum over all axes but the last; on a CPU, of the array as a matrix.

    XLA sums the columns of a matrix quickly. It would merge the reshape into the sum and take ten times as long for
    the sum over several axes, but the barrier keeps the matrix.
    """
    if array.ndim <= 2:
        return _plain(array)
    return lax.platform_dependent(array, cpu=_of_matrix, default=_plain)


def _of_matrix(array: Array) -> Array:
    return lax.optimization_barrier(array.reshape(math.prod(array.shape[:-1]), array.shape[-1])).sum(0)


def _plain(array: Array) -> Array:
    return array.sum(tuple(range(array.ndim - 1)))
