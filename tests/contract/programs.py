"""The compiled programs of the checks: a rule and its reference, differentiated in the same way, side by side.

Cases of one rule and one choice of static values share a program.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from contract.cases import Row

Static = tuple[tuple[str, Any], ...]
Names = tuple[str, ...]


def call(function: Callable, static: Static, arrays: dict) -> Any:
    """The function at these arrays."""
    return function(**arrays, **dict(static))


def cast(arrays: dict, dtype: str) -> dict:
    """The arrays with the floating ones in `dtype`."""
    return {n: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a for n, a in arrays.items()}


def pulled(function: Callable, static: Static, names: Sequence[str], dtype: str) -> Callable:
    """run(arrays, cotangent): the value in `dtype`, and the cotangent pulled back to each array of `names`."""

    def run(arrays: dict, cotangent: Any) -> tuple:
        arrays = cast(arrays, dtype)
        moving = {n: arrays[n] for n in names}
        value, pull = jax.vjp(lambda moving: call(function, static, {**arrays, **moving}), moving)
        return value, pull(cotangent.astype(dtype))[0]

    return run


@functools.lru_cache(maxsize=32)
def both(row: Row, static: Static, names: Names, dtypes: Names = ("float64", "float32")) -> Callable:
    """The rule in each dtype, and the reference in f64, at numbers that every dtype has."""

    @jax.jit
    def run(arrays: dict, cotangent: Any) -> tuple:
        ours = {dtype: pulled(row.function, static, names, dtype)(arrays, cotangent) for dtype in dtypes}
        return ours, pulled(row.reference, static, names, "float64")(arrays, cotangent)

    return run


@functools.lru_cache(maxsize=32)
def of_reference(row: Row, static: Static, names: Names) -> Callable:
    """The reference alone."""
    return jax.jit(pulled(row.reference, static, names, "float64"))


@functools.lru_cache(maxsize=32)
def mapped(row: Row, static: Static, names: Names, axes: tuple[tuple[str, int | None], ...]) -> Callable:
    """The rule under vmap: its values, the gradients of the batch, and the batch of gradients."""
    in_axes = dict(axes)

    @jax.jit
    def run(arrays: dict, cotangents: Any) -> tuple:
        function = functools.partial(call, row.function, static)

        def batch(moving: dict) -> Any:
            return jax.vmap(function, in_axes=(in_axes,))({**arrays, **moving})

        value, pull = jax.vjp(batch, {n: arrays[n] for n in names})
        gradients = pulled(row.function, static, names, "float64")
        _, each = jax.vmap(gradients, in_axes=(in_axes, 0))(arrays, cotangents)
        return value, pull(cotangents)[0], each

    return run


@functools.lru_cache(maxsize=32)
def second(row: Row, static: Static, names: Names) -> Callable:
    """For the rule and for its reference, the gradient differentiated again: in reverse, and forward."""

    def of(function: Callable, arrays: dict, cotangent: Any, weights: dict, directions: dict) -> tuple[dict, dict]:
        def bars(moving: dict, cotangent: Any) -> dict:
            return pulled(function, static, names, "float64")({**arrays, **moving}, cotangent)[1]

        def functional(moving: dict, cotangent: Any) -> Any:
            return sum(jnp.vdot(weights[n], bar) for n, bar in bars(moving, cotangent).items())

        moving = {n: arrays[n] for n in names}
        by_arrays, by_cotangent = jax.grad(functional, argnums=(0, 1))(moving, cotangent)
        _, forward = jax.jvp(lambda moving: bars(moving, cotangent), (moving,), (directions,))
        return {**by_arrays, "the cotangent": by_cotangent}, forward

    @jax.jit
    def run(*args: Any) -> list:
        return [of(function, *args) for function in (row.function, row.reference)]

    return run


@functools.lru_cache(maxsize=32)
def hessians(row: Row, static: Static, names: Names) -> Callable:
    """jax.hessian of sum(weights * sin(output)), for the rule and for its reference."""

    def of(function: Callable, arrays: dict, weights: Any) -> Any:
        def loss(moving: dict) -> Any:
            return jnp.sum(weights * jnp.sin(call(function, static, {**arrays, **moving})))

        return jax.hessian(loss)({n: arrays[n] for n in names})

    @jax.jit
    def run(*args: Any) -> list:
        return [of(function, *args) for function in (row.function, row.reference)]

    return run
