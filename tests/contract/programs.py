"""Programs of a rule and its reference, differentiated in the same way, side by side.

Cases of one rule and one choice of static values share a program: nearly all the cost is compilation.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from contract.cases import Row, cast

Static = tuple[tuple[str, Any], ...]
Names = tuple[str, ...]


def pulled(function: Callable, static: Static, names: Sequence[str], dtype: str) -> Callable:
    """run(arrays, cotangent): the value in `dtype`, and the cotangent pulled back to each array of `names`."""

    def run(arrays: dict, cotangent: Any) -> tuple:
        arrays = cast(arrays, dtype)
        moving = {n: arrays[n] for n in names}
        value, pull = jax.vjp(lambda moving: function(**{**arrays, **moving}, **dict(static)), moving)
        return value, pull(cotangent.astype(dtype))[0]

    return run


@functools.lru_cache(maxsize=32)
def both(row: Row, static: Static, names: Names) -> Callable:
    """The rule in f64 and f32, and the reference in f64, at numbers that both dtypes have."""

    @jax.jit
    def run(arrays: dict, cotangent: Any) -> tuple:
        ours = {
            dtype: pulled(row.function, static, names, dtype)(arrays, cotangent) for dtype in ("float64", "float32")
        }
        return ours, pulled(row.reference, static, names, "float64")(arrays, cotangent)

    return run


@functools.lru_cache(maxsize=32)
def hessians(row: Row, static: Static, names: Names) -> Callable:
    """jax.hessian of sum(weights * sin(output)), for the rule and for its reference."""

    def of(function: Callable, arrays: dict, weights: Any) -> Any:
        def loss(moving: dict) -> Any:
            return jnp.sum(weights * jnp.sin(function(**{**arrays, **moving}, **dict(static))))

        return jax.hessian(loss)({n: arrays[n] for n in names})

    @jax.jit
    def run(*args: Any) -> list:
        return [of(function, *args) for function in (row.function, row.reference)]

    return run
