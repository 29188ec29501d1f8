"""Integer arrays that number something, such as labels of classes and rows of a table: none wraps round to another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

INT32 = np.iinfo(np.int32)


class OutsideError(ValueError):
    """A number is outside its range; `place` is its index."""

    def __init__(self, function: str, argument: str, place: tuple[int, ...], wanted: str):
        """`wanted` is the rest of the sentence: the number, and what it must be."""
        super().__init__(f"{function}: {argument}{list(place) or ''} {wanted}")
        self.function, self.argument, self.place, self.wanted = function, argument, place, wanted

    def __reduce__(self) -> tuple:
        """As it was made: an error may come from another process."""
        return type(self), (self.function, self.argument, self.place, self.wanted)

    def at(self, place: tuple[int, ...]) -> "OutsideError":
        """The same error of the same number at another place."""
        return type(self)(self.function, self.argument, place, self.wanted)


def as_held(function: str, argument: str, value: Any) -> Any:
    """JAX's arrays as they are, all else as NumPy's: JAX would wrap 64-bit integers, and 2**32 + 3 would be 3."""
    try:
        return value if isinstance(value, jax.Array) else np.asarray(value)
    except ValueError:
        raise TypeError(f"{function}: {argument} must be an array, not {type(value).__name__}") from None


def as_numbers(
    function: str,
    argument: str,
    given: Any,
    count: int,
    *,
    kind: str,
    ignored: int | None = None,
    error: type[OutsideError] = OutsideError,
) -> Array:
    """Integers from `as_held` in int32. Where their values are known, outside jit and vmap, their range is checked.

    Args:
        function: Whose error it is.
        argument: The name of the integers.
        given: The integers.
        count: They are to be from 0 to count - 1.
        kind: What they number: "a class".
        ignored: One more that is taken.
        error: Raised for a known number out of range.

    Returns:
        int32, in which what was out of range still is.
    """
    if not isinstance(given, jax.core.Tracer) and getattr(given, "is_fully_addressable", True):
        known = np.asarray(given)
        wrong = _first_outside(known, count, ignored)
        if wrong is not None:
            place = tuple(int(i) for i in wrong)
            also = "" if ignored is None else f", or ignore_index (={ignored})"
            raise error(function, argument, place, f"(={known[wrong]}) must be {kind}, from 0 to {count - 1}{also}")
    return _saturated(given)


def as_int32(function: str, argument: str, value: Any) -> Array:
    """Integers of any dtype in int32: one beyond its range is the end of the range. Raises TypeError for others."""
    given = as_held(function, argument, value)
    if not jnp.issubdtype(given.dtype, jnp.integer):
        raise TypeError(f"{function}: {argument} of dtype {given.dtype} must have an integer dtype")
    return _saturated(given)


def _saturated(given: Any) -> Array:
    """In int32, where a cast alone would wrap round, perhaps into the range that is allowed."""
    held = jnp.iinfo(given.dtype)
    if held.min < INT32.min or held.max > INT32.max:
        given = given.clip(max(held.min, INT32.min), INT32.max)
    return jnp.asarray(given.astype(np.int32))


def _first_outside(numbers: np.ndarray, count: int, ignored: int | None) -> tuple[int, ...] | None:
    if not numbers.size or (numbers.min() >= 0 and numbers.max() < count):
        return None
    wrong = (numbers < 0) | (numbers >= count)
    if ignored is not None:
        wrong &= numbers != ignored
    return tuple(np.argwhere(wrong)[0]) if wrong.any() else None
