"""Public arguments as JAX arrays: what every public function does with its inputs before its rule sees them."""

import math
import operator
from collections.abc import Sequence
from numbers import Real
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


def as_epsilon(function: str, value: Any) -> float:
    """`value` as a number that may be added to a variance: finite, and not negative."""
    number = as_finite(function, "epsilon", value)
    if number < 0:
        raise ValueError(f"{function}: epsilon (={value!r}) must be 0 or more")
    return number


def as_finite(function: str, argument: str, value: Any) -> float:
    """`value` as a finite number."""
    if not isinstance(value, Real | np.floating) or isinstance(value, bool):
        raise TypeError(f"{function}: {argument} (={value!r}) must be a number")
    if not math.isfinite(value):
        raise ValueError(f"{function}: {argument} (={value!r}) must be finite")
    return float(value)


def as_soft_cap(function: str, value: Any) -> float | None:
    """`value` as the number that a soft cap keeps logits below, positive and finite, or None."""
    if value is None:
        return None
    number = as_finite(function, "soft_cap", value)
    if number <= 0:
        raise ValueError(f"{function}: soft_cap (={value!r}) must be a positive number, or None")
    return number


def broadcasts(shape: Sequence[Any], onto: Sequence[Any]) -> bool:
    """Whether an array of this shape broadcasts to the shape `onto`."""
    pairs = zip(reversed(shape), reversed(onto), strict=False)
    return len(shape) <= len(onto) and all(size == 1 or size == other for size, other in pairs)


def axes_from_end(function: str, argument: str, axes: Any, **array: Any) -> tuple[int, ...]:
    """The axes of the array as negative numbers, in order: an axis that vmap puts in front does not shift them."""
    ((name, of),) = array.items()
    try:
        numbers = tuple(operator.index(one) for one in (axes if isinstance(axes, Sequence) else (axes,)))
    except TypeError:
        raise TypeError(f"{function}: {argument} (={axes!r}) must be an integer, or several") from None
    if not numbers or not all(-of.ndim <= number < of.ndim for number in numbers):
        raise ValueError(f"{function}: {argument} (={axes}) must be an axis of {name} of shape {of.shape}, or several")
    from_end = tuple(sorted(number - of.ndim if number >= 0 else number for number in numbers))
    if len(set(from_end)) < len(from_end):
        raise ValueError(f"{function}: {argument} (={axes}) must name no axis of {name} of shape {of.shape} twice")
    return from_end


def wide(*arrays: Any) -> list[Any]:
    """The arrays in the dtype in which they are summed: bf16 and f16 in f32."""
    return [array.astype(accumulator(array.dtype)) for array in arrays]


def accumulator(dtype: Any) -> Any:
    """The dtype in which products of `dtype` are summed: f32 for bf16 and f16, else `dtype`."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)
