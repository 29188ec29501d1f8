"""Arrays that XLA on a CPU computes once, and not again in each loop that reads a part of them.

XLA writes to memory what enters a branch and what comes out of it. The condition is always true, but
`lax.optimization_barrier` hides that from XLA, so XLA cannot fuse across the branch. From jax 0.12 on, a barrier around
an array does the same for it; before, XLA drops it too early.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from fnnet.core.primitives import is_explicit, same_varying
from fnnet.formulations.platforms import on_cpu

KEEPS_BARRIERS = jax.__version_info__ >= (0, 12)
LEAST_WRONG = 4096  # numbers of a product with a constant


def in_a_branch(function: Callable, *arrays: Any) -> Any:
    """function(*arrays), for CPUs: it and each of the arrays are computed once. Both may be trees."""
    function = jax.jit(function, inline=True)  # so that it is traced once
    never = functools.partial(zeros_for, function)
    return lax.cond(lax.optimization_barrier(jnp.bool_(True)), function, never, *arrays)


def materialized(array: Array) -> Array:
    """`array`, written to memory before anything reads it, for CPUs."""
    return lax.optimization_barrier(array) if KEEPS_BARRIERS else in_a_branch(lambda array: array, array)


@on_cpu(materialized)
def computed_once(array: Array) -> Array:
    """`array`. A CPU computes it once, whatever reads it."""
    return array


@on_cpu(lax.optimization_barrier)
def not_fused(array: Array) -> Array:
    """`array`. From jax 0.12 on, a CPU computes it once, without the copy that a branch makes; before, XLA decides."""
    return array


def of_unknown_kernel(product: Callable, x: ArrayLike, kernel: ArrayLike) -> Array:
    """product(x, kernel), for CPUs, with a kernel that XLA cannot take for a constant: with one it may be wrong.

    A product with one number, broadcast, is wrong from 4,096 numbers on where it is reduced (fnnet/core/compiler.py,
    CONSTANT). Before jax 0.12 XLA forgets a barrier too early.
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    if is_explicit(x):
        return product(x, kernel)
    if KEEPS_BARRIERS:
        return product(x, lax.optimization_barrier(kernel))
    rows = math.prod(x.shape[:-1])
    if not isinstance(rows, int) or rows * kernel.shape[-1] < LEAST_WRONG:  # exported for any batch, or small
        return product(x, kernel)
    return in_a_branch(product, x, kernel)


def laid_out(array: Array) -> Array:
    """`array`, in memory in the order of its axes, where XLA would rather leave a transpose to whatever reads it."""
    return in_a_branch(lambda array: array.reshape(-1), array).reshape(array.shape)


def zeros_for(function: Callable, *arrays: Any) -> Any:
    """Zeros of the shapes of function(*arrays), which vary over the axes that the arrays vary over."""
    given = jax.tree.leaves(arrays)

    def zeros(output: jax.ShapeDtypeStruct) -> Array:
        return same_varying([jnp.zeros(output.shape, output.dtype), *given])[0]

    return jax.tree.map(zeros, jax.eval_shape(function, *arrays))
