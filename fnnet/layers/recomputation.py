"""`recomputed`: a function whose backward computes its forward again, and keeps its arguments alone.

`jax.checkpoint` puts the second forward behind an optimization barrier. Before jax 0.12 XLA on a CPU drops the barrier,
finds that both forwards are equal, and keeps the arrays of the first. It cannot do so with a branch, and it cannot run
a branch that takes the output's cotangent before that is there.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fnnet.core.primitives import explicit_mesh, same_varying
from fnnet.formulations.branches import in_a_branch
from fnnet.formulations.platforms import on_cpu


def recomputed(function: Callable) -> Callable:
    """function(*args) of trees of arrays; reverse mode keeps `args` and nothing else.

    Traced arrays that the function reads must be among the arguments.
    """
    whole = jax.custom_vjp(function)

    def forward(*args: Any) -> tuple[Any, Any]:
        return function(*args), args

    def backward(args: Any, bars: Any) -> Any:
        (moving, still), (given, empty) = parted(args), parted(bars)

        def pulled(moving: Any, still: Any, given: Any) -> Any:
            return jax.vjp(lambda moving: function(*joined(moving, still)), moving)[1](joined(given, empty))[0]

        def behind_a_barrier(*arrays: Any) -> Any:
            return pulled(*lax.optimization_barrier(arrays))

        if explicit_mesh((args, given)) is not None:  # the zeros of a branch would not be sharded alike
            return behind_a_barrier(moving, still, given)
        return on_cpu(lambda *arrays: in_a_branch(pulled, *arrays))(behind_a_barrier)(moving, still, given)

    whole.defvjp(forward, backward)

    def of_any(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        return whole(*jax.tree.unflatten(tree, same_varying(leaves)))  # both sides of a branch vary alike

    return of_any


def parted(tree: Any) -> tuple[Any, Any]:
    """The arrays that have a gradient, and the others; None in the places of the rest."""
    has_gradient = jax.tree.map(lambda a: jnp.issubdtype(a.dtype, jnp.inexact), tree)
    moving = jax.tree.map(lambda a, has: a if has else None, tree, has_gradient)
    return moving, jax.tree.map(lambda a, has: None if has else a, tree, has_gradient)


def joined(moving: Any, still: Any) -> Any:
    """What `parted` took apart."""
    return jax.tree.map(lambda a, b: b if a is None else a, moving, still, is_leaf=lambda a: a is None)
