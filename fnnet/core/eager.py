"""Eager gradients: forward and backward as one program each, where JAX runs a custom_vjp function by operations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fnnet.core.compiler import safe_options


def compiled(function: Callable) -> Callable:
    """The function as one program, compiled with `safe_options`."""
    return jax.jit(function, compiler_options=safe_options())


def backward_at_once(backward: Callable) -> Callable:
    """backward(residuals, bars), one program in an eager gradient."""
    program = compiled(backward)
    return lambda *args: (program if _is_eager(args) else backward)(*args)


def forward_at_once(forward: Callable) -> Callable:
    """forward(*leaves) -> (outputs, residuals), one program in an eager gradient.

    A program copies the arguments and the outputs that it returns as residuals. So it returns the others alone.
    """

    def of_others(*leaves: Any) -> tuple[list, list, _Places]:
        outs, residuals = forward(*leaves)
        kept, tree = jax.tree.flatten(residuals)
        numbers = {id(array): number for number, array in enumerate((*leaves, *outs))}
        places = tuple(numbers.get(id(array)) for array in kept)
        return outs, [a for a, place in zip(kept, places, strict=True) if place is None], _Places(places, tree)

    program = compiled(of_others)

    def run(*leaves: Any) -> tuple[list, Any]:
        if not _is_eager(leaves):
            return forward(*leaves)
        outs, others, places = program(*leaves)
        return outs, places.residuals((*leaves, *outs), others)

    return run


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Places:
    """For each residual its number among arguments and outputs; None for an array of its own."""

    numbers: tuple[int | None, ...]
    tree: Any

    def residuals(self, given: Sequence, others: Sequence) -> Any:
        """The residuals, from arguments and outputs, and from the other arrays."""
        rest = iter(others)
        return jax.tree.unflatten(self.tree, [next(rest) if n is None else given[n] for n in self.numbers])


def _is_eager(args: Any) -> bool:
    """Whether a program of its own can run now. Inside another program JAX takes no options."""
    leaves = jax.tree.leaves(args)
    if any(isinstance(a, jax.core.Tracer) or jnp.result_type(a) == jax.dtypes.float0 for a in leaves):
        return False
    return not isinstance(lax.iota(np.int32, 1), jax.core.Tracer)  # a tracer there, though the arguments are known
