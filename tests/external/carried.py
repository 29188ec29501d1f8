"""A model of another library beside the network of fnnet that its weights are carried into: what both compute."""

from typing import Any

import chex
import jax
import numpy as np

from fnnet.checking.contract import compare

TOLERANCE = 1e-12


def normal(*shape: int) -> np.ndarray:
    """Always the same numbers for one shape."""
    return np.random.default_rng(shape).normal(size=shape)


def pulled(net: Any, params: Any, xs: Any, cotangent: Any) -> tuple[Any, Any, Any]:
    """Outputs of a mini-batch, and the cotangent pulled back to the parameters and to the examples."""

    @jax.jit
    def run(params: Any, xs: Any, cotangent: Any) -> tuple:
        ys, pull = jax.vjp(lambda params, xs: jax.vmap(net.apply, (None, 0))(params, xs), params, xs)
        return ys, *pull(cotangent)

    return run(params, xs, cotangent)


def findings(ours: Any, theirs: Any) -> list[str]:
    """Where two trees of one structure disagree."""
    chex.assert_trees_all_equal_structs(ours, theirs)
    pairs = zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True)
    return [
        finding
        for (path, one), other in pairs
        for finding in compare(jax.tree_util.keystr(path), one, other, TOLERANCE)
    ]
