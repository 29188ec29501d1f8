"""Public arguments as JAX arrays: what every public function does with its inputs before its rule sees them."""

import math
import operator
import os
from collections.abc import Mapping, Sequence
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
            scaled = " / 255 for pixels" if array.dtype == jnp.uint8 else ""
            real = any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.integer, jnp.bool_))
            cast = f"; write {name}.astype(jnp.float32){scaled}" if real else ""
            raise TypeError(f"{function}: {name} of dtype {array.dtype} must have a floating dtype{cast}")
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


def described(value: Any) -> str:
    """A wrong value in a few words, for an error."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {tuple(value.shape)} and dtype {value.dtype}"
    if isinstance(value, Mapping):
        return f"a dictionary with the keys {', '.join(map(repr, value)) or '()'}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    if value is None or isinstance(value, bool | int | float | str | bytes | os.PathLike):
        return repr(value) if len(repr(value)) < 60 else f"{repr(value)[:60]}..."
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    return f"a {type(value).__name__}"


def as_key(function: str, key: Any) -> jax.Array:
    """`key` as one key of `jax.random`; an integer is its seed."""
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        try:
            return jax.random.key(key)
        except OverflowError:
            raise ValueError(f"{function}: key (={key}) must be an integer of at most 64 bits") from None
    if isinstance(key, jax.Array | np.ndarray):
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        if (typed and key.ndim == 0) or (key.dtype == np.uint32 and key.ndim == 1):  # the latter of jax.random.PRNGKey
            return key if isinstance(key, jax.Array) else jnp.asarray(key)
    raise TypeError(
        f"{function}: key must be one key of jax.random, such as jax.random.key(0), or an integer, not {described(key)}"
    )


def as_divisor(function: str, value: Any) -> float:
    """`value` as a number by which sums are divided: finite and not 0."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{function}: divisor (={value!r}) must be a number or None")
    if not value or not math.isfinite(value):
        raise ValueError(f"{function}: divisor (={value!r}) must be finite and not 0")
    return float(value)


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
