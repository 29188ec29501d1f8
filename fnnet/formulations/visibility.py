"""Which keys a row of an attention sees: by causality, by a mask, by how many keys there are."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax


def visible(shape: tuple[int, int], *, first: Any = 0, causal: bool, mask: Any, key_lengths: Any) -> Array | None:
    """Whether a row sees a key; it broadcasts against (..., heads, rows, keys). None where every row sees all keys.

    Args:
        shape: Rows and keys.
        first: The number of the first row.
        causal: Whether row i sees the keys up to i alone.
        mask: True where a row may see a key, or None.
        key_lengths: (..., 1, 1, 1): how many of the keys count, or None.
    """
    limits = [] if mask is None else [mask]
    if causal:
        limits.append(first + lax.broadcasted_iota(jnp.int32, shape, 0) >= lax.broadcasted_iota(jnp.int32, shape, 1))
    if key_lengths is not None:
        limits.append(lax.broadcasted_iota(jnp.int32, (1, shape[1]), 1) < key_lengths)
    return functools.reduce(operator.and_, limits) if limits else None


def capped(products: Any, soft_cap: float | None) -> Any:
    """c tanh(products / c), or the products without a cap."""
    return products if soft_cap is None else soft_cap * jnp.tanh(products / soft_cap)


def uncapped(t_bar: Any, t: Any, soft_cap: float | None) -> Any:
    """The cotangent of the products, from those that `capped` returned."""
    return t_bar if soft_cap is None else t_bar * (1 - t / soft_cap) * (1 + t / soft_cap)


def exponentials(scores: Any) -> tuple[Array, Array, Array]:
    """exp(s - m) over the last axis, its sum and m, the largest score: 1 and 0 where every score is -inf."""
    largest = lax.stop_gradient(scores.max(-1, keepdims=True, initial=-jnp.inf))
    largest = jnp.where(largest == -jnp.inf, 0, largest)
    e = jnp.exp(scores - largest)
    total = e.sum(-1, keepdims=True)
    return e, jnp.where(total == 0, 1, total), largest


def probabilities(scores: Any, sums: Any) -> Array:
    """The softmax of rows, from their m and Z, (..., 2), that `exponentials` gave."""
    return jnp.exp(scores - sums[..., :1]) * (1 / sums[..., 1:])


def summed_to(array: Any, shape: Sequence[int]) -> Any:
    """The sum over the axes along which an array of this shape was broadcast."""
    array = array.sum(tuple(range(array.ndim - len(shape))))
    over = tuple(axis for axis, size in enumerate(shape) if size == 1 and array.shape[axis] != 1)
    return array.sum(over, keepdims=True)
