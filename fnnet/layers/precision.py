"""Mixed precision: the dtype in which a network computes, beside the one in which its parameters are kept."""

from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import accumulator


def as_compute_dtype(function: str, value: Any) -> Any:
    """`value` as a floating dtype; None stays None."""
    if value is None:
        return None
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        raise TypeError(f"{function}: compute_dtype (={value!r}) must be a floating dtype, or None") from None
    if dtype not in (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64):
        raise TypeError(f"{function}: compute_dtype (={dtype.name}) must be bfloat16, float16, float32 or float64")
    return dtype


def rounded(tree: Any, dtype: Any) -> Any:
    """The floating arrays of a tree in `dtype`, the others as they are."""
    return jax.tree.map(lambda a: _as(a, dtype), tree)


def wide(tree: Any) -> Any:
    """The arrays of bf16 and f16 in f32, in which their products are summed; the others as they are."""
    return jax.tree.map(lambda a: _as(a, accumulator(a.dtype)) if _is_floating(a) else a, tree)


def _as(a: Any, dtype: Any) -> Any:
    return a.astype(dtype) if _is_floating(a) and a.dtype != dtype else a


def _is_floating(a: Any) -> bool:
    return jnp.issubdtype(a.dtype, jnp.floating)
