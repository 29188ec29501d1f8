"""What the recurrent rules share: how their arguments are read, and which steps of a sequence count.

active_t    t < length                                              other steps leave the state, and give output 0
first_t     t = 0; in reverse t = length - 1                        the step that reads the initial state
before_t    the state that step t reads: state_(t-1), in reverse state_(t+1), at the first step the initial one
"""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from fnnet.core.arguments import accumulator, as_flag, as_floats, wide
from fnnet.core.indices import as_int32
from fnnet.formulations.reductions import column_sums


def arguments(
    function: str,
    gates: int,
    xs: Any,
    input_kernel: Any,
    recurrent_kernel: Any,
    biases: dict[str, Any],
    states: dict[str, Any],
    lengths: Any,
    reverse: Any,
) -> tuple[list, bool]:
    """The arrays in one floating dtype and the lengths as int32, in this order, None where there is none; `reverse`.

    Raises ValueError or TypeError, in the name of `function`, for what does not go together.
    """
    arrays: dict[str, Any] = {"xs": xs, "input_kernel": input_kernel, "recurrent_kernel": recurrent_kernel}
    arrays |= biases | states
    read = as_floats(function, optional=(*biases, *states), **arrays)
    given = dict(zip(arrays, read, strict=True))
    xs, kernel, recurrent = read[:3]
    if recurrent.ndim != 2 or recurrent.shape[0] < 1 or recurrent.shape[1] != gates * recurrent.shape[0]:
        raise ValueError(
            f"{function}: recurrent_kernel of shape {recurrent.shape} must have shape (hidden, {gates} hidden)"
        )
    hidden = recurrent.shape[0]
    if kernel.ndim != 2 or kernel.shape[0] < 1 or kernel.shape[1] != gates * hidden:
        raise ValueError(
            f"{function}: input_kernel of shape {kernel.shape} must have shape (features, {gates * hidden}), as "
            f"recurrent_kernel of shape {recurrent.shape} says"
        )
    if xs.ndim < 2 or xs.shape[-1] != kernel.shape[0] or xs.shape[-2] < 1:
        raise ValueError(
            f"{function}: xs of shape {xs.shape} must have shape (..., time, {kernel.shape[0]}), with a time of 1 step "
            f"or more and the features of input_kernel {kernel.shape}"
        )
    wanted = dict.fromkeys(biases, (gates * hidden,)) | dict.fromkeys(states, (*xs.shape[:-2], hidden))
    for name, shape in wanted.items():
        if given[name] is not None and given[name].shape != shape:
            raise ValueError(f"{function}: {name} of shape {given[name].shape} must have shape {shape}")
    if lengths is not None:
        lengths = as_int32(function, "lengths", lengths)
        if lengths.shape != xs.shape[:-2]:
            raise ValueError(
                f"{function}: lengths of shape {lengths.shape} must have shape {xs.shape[:-2]}, the leading axes of xs"
            )
    return [*read, lengths], as_flag(function, "reverse", reverse)


def time_first(array: Array) -> Array:
    """(..., time, entries) as (time, ..., entries)."""
    return jnp.moveaxis(array, -2, 0)


def time_last(array: Array) -> Array:
    """(time, ..., entries) as (..., time, entries)."""
    return jnp.moveaxis(array, 0, -2)


def initial(xs: Array, state: Array | None, hidden: int) -> Array:
    """The initial state (..., hidden), 0 where none is given; sharded as the examples of `xs` are."""
    zero = jnp.zeros_like(xs[..., 0, :1])
    return jnp.broadcast_to(zero, (*zero.shape[:-1], hidden)) if state is None else state + zero


def active(xs: Array, lengths: Array | None) -> Array | None:
    """(time, ..., 1): whether a step counts; None where all do."""
    return None if lengths is None else (_steps(xs) < lengths)[..., None]


def before(states: Array, start: Array, xs: Array, lengths: Array | None, reverse: bool) -> Array:
    """The state that each step reads, (time, ..., hidden); at steps that do not count, anything finite."""
    time = xs.shape[-2]
    last = time if lengths is None else jnp.clip(lengths, 0, time)
    first = _steps(xs) == (last - 1 if reverse else 0)
    return jnp.where(first[..., None], start, jnp.roll(states, -1 if reverse else 1, 0))


def chosen(is_active: Array | None, new: Any, old: Any) -> Any:
    """The new value at a step that counts, the old one at another."""
    return new if is_active is None else jnp.where(is_active, new, old)


def wide_product(a: Array, b: Array) -> Array:
    """a b, in the dtype in which products are summed."""
    return jnp.matmul(a, b, preferred_element_type=accumulator(a.dtype))


def kernel_gradient(rows: Array, z_bar: Array) -> Array:
    """sum_t rows_t^T z_bar_t over all steps and examples, as one product.

    No reshape merges time and examples: where devices share the examples, XLA would gather them for it.
    """
    axes = tuple(range(z_bar.ndim - 1))
    sums = lax.dot_general(rows, z_bar, ((axes, axes), ((), ())), preferred_element_type=accumulator(z_bar.dtype))
    return sums.astype(z_bar.dtype)


def bias_gradient(z_bar: Array) -> Array:
    """sum_t z_bar_t over all steps, then over all examples."""
    (rows,) = wide(z_bar)
    return column_sums(rows.sum(0)).astype(z_bar.dtype)


def _steps(xs: Array) -> Array:
    """0, 1, ... along the first axis, with an axis of size 1 for each leading axis of xs."""
    return jnp.arange(xs.shape[-2], dtype=jnp.int32).reshape(-1, *(1,) * (xs.ndim - 2))
