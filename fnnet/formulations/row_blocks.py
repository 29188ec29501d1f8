"""Rows in blocks, one block after the other in a loop, where all rows at once would make an array that is too large.

A block takes every n-th row, so that rows that are sharded over devices stay where they are.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from fnnet.core.primitives import same_varying
from fnnet.formulations.pieces import sharers


def by_blocks(function: Callable[..., tuple[Any, Any]], *arrays: Any, most: int) -> tuple[Any, Any]:
    """function(*arrays), at most about `most` rows at once.

    Args:
        function: function(*blocks) -> (a tree of arrays with one entry a row, a tree of sums over the rows), where the
            blocks, and what it makes of each row, may have any leading axes: these are the rows.
        arrays: Arrays with equal leading axes, or None; the last has no other axes.
        most: The rows of a block. Where their number is no multiple of the number of blocks, a few are left over and
            are a block of their own.

    Returns:
        What function(*arrays) would, summed in another order.
    """
    lead = arrays[-1].shape
    rows = math.prod(lead)
    blocks = number(rows, most)
    if blocks <= 1:
        return function(*arrays)
    flat = jax.tree.map(lambda a: a.reshape(rows, *a.shape[len(lead) :]), arrays)
    whole = rows // blocks * blocks
    apart = jax.tree.map(lambda a: a[:whole].reshape(-1, blocks, *a.shape[1:]), flat)

    def block(i: Any) -> tuple[Any, Any]:
        return function(*jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, 1, keepdims=False), apart))

    def step(sums: Any, i: Array) -> tuple[Any, Any]:
        made, more = block(i)
        return jax.tree.map(jnp.add, sums, more), made

    leaves = jax.tree.leaves(apart)
    zeros = jax.tree.map(lambda a: same_varying([jnp.zeros(a.shape, a.dtype), *leaves])[0], jax.eval_shape(block, 0)[1])
    sums, made = lax.scan(step, zeros, jnp.arange(blocks))
    made = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1).reshape(whole, *a.shape[2:]), made)
    if whole < rows:
        last, more = function(*jax.tree.map(lambda a: a[whole:], flat))
        made, sums = jax.tree.map(_joined, made, last), jax.tree.map(jnp.add, sums, more)
    return jax.tree.map(functools.partial(_folded, lead), made), sums


def number(rows: Any, most: int) -> int:
    """The least number of blocks with at most `most` rows, so that none are left over, if it is not twice as large."""
    if not isinstance(rows, int):  # exported for any batch
        return 1
    least, together = max(1, -(-rows // most)), math.gcd(rows, sharers())
    return next((n for n in range(least, 2 * least) if rows % (n * together) == 0), least)


def _joined(one: Array, other: Array) -> Array:
    return jnp.concatenate([one, other])


def _folded(lead: tuple[int, ...], array: Array) -> Array:
    return array.reshape(*lead, *array.shape[1:])
