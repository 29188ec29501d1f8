"""Public arguments as JAX arrays: what every public function does with its inputs before its rule sees them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def as_floats(function: str, *, optional: Sequence[str] = (), **arrays: Any) -> list[Any]:
    """The arrays in one floating dtype, by jax.numpy's promotion; None stays None where it is optional.

    Raises TypeError, in the name of `function`, for what is not an array of real floating numbers.
    """
    given = {
        name: as_array(function, name, array)
        for name, array in arrays.items()
        if array is not None or name not in optional
    }
    for name, array in given.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{function}: {name} of dtype {array.dtype} must have a floating dtype")
    dtype = jnp.result_type(*given.values())
    return [given[name].astype(dtype) if name in given else None for name in arrays]


def as_reals(function: str, argument: str, value: Any) -> jax.Array:
    """`value` as a JAX array of integers or floating numbers."""
    array = as_array(function, argument, value)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.integer, jnp.floating)):
        raise TypeError(f"{function}: {argument} of dtype {array.dtype} must have an integer or floating dtype")
    return array


def as_array(function: str, argument: str, value: Any) -> jax.Array:
    """`value` as a JAX array; numbers and NumPy arrays are taken."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"{function}: {argument} must be an array, not {type(value).__name__}") from None


def as_flag(function: str, argument: str, value: Any) -> bool:
    """`value` as True or False; what merely counts as true, "no" for one, is refused."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise TypeError(f"{function}: {argument} (={value!r}) must be True or False")


def wide(*arrays: Any) -> list[Any]:
    """The arrays in the dtype in which they are summed: bf16 and f16 in f32."""
    return [array.astype(accumulator(array.dtype)) for array in arrays]


def accumulator(dtype: Any) -> Any:
    """The dtype in which products of `dtype` are summed: f32 for bf16 and f16, else `dtype`."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)
