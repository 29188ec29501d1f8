"""Public arguments as JAX arrays: what every public function does with its inputs before its rule sees them."""

from typing import Any

import jax
import jax.numpy as jnp


def as_floats(function: str, **arrays: Any) -> list[Any]:
    """The arrays in one floating dtype, by jax.numpy's promotion; None stays None.

    Raises TypeError, in the name of `function`, for what is not an array of real floating numbers.
    """
    given = {name: as_array(function, name, array) for name, array in arrays.items() if array is not None}
    for name, array in given.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{function}: {name} of dtype {array.dtype} must have a floating dtype")
    dtype = jnp.result_type(*given.values())
    return [given[name].astype(dtype) if name in given else None for name in arrays]


def as_array(function: str, argument: str, value: Any) -> jax.Array:
    """`value` as a JAX array; numbers and NumPy arrays are taken."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"{function}: {argument} must be an array, not {type(value).__name__}") from None


def accumulator(dtype: Any) -> Any:
    """The dtype in which products of `dtype` are summed: f32 for bf16 and f16, else `dtype`."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)
