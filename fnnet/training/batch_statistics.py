"""The statistics of `BatchNorm` for evaluation, computed from some mini-batches instead of averaged over the steps.

A running average mixes in statistics of parameters that are gone. These are of the parameters as they are:

    mean = 1/N sum_B mean_B,   variance = 1/N sum_B variance_B      (1)   N mini-batches B, each as in training

Source: Wu and Johnson (2021), Rethinking "Batch" in BatchNorm, arXiv:2105.07576, section 3.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_key
from fnnet.core.eager import compiled
from fnnet.core.geometry import integer
from fnnet.core.habits import hinted
from fnnet.core.paths import merged


@hinted
def batch_statistics(net: Any, params: Any, xs: Any, *, key: jax.Array, batch_size: int = 128) -> Any:
    """The parameters with statistics of these examples in the place of those that they had.

    `fit` averages them over its steps. This is for a training loop of one's own, for parameters that were changed by
    hand, and for more exact statistics after a short training or one with a large learning rate.

    Args:
        net: A network with `BatchNorm`; an axis_name changes nothing here.
        params: Its parameters.
        xs: Some thousand examples, (examples, *example).
        key: A key of `jax.random`, for dropout.
        batch_size: Examples of a mini-batch, as in training; the leftovers are not used.

    Returns:
        A tree like `params`, with the same arrays but for the statistics, which keep their dtypes.

    Raises:
        ValueError: The network has no BatchNorm; there are fewer examples than `batch_size`.
        TypeError: batch_size is no integer.
    """
    if not is_of_batch(net):
        raise ValueError("batch_statistics: net must have a BatchNorm")
    xs, key = jnp.asarray(xs), as_key("batch_statistics", key)
    batch_size = integer("batch_statistics", "batch_size", batch_size)
    if batch_size > len(xs):
        raise ValueError(f"batch_statistics: batch_size (={batch_size}) must be at most the {len(xs)} examples")
    rows = jnp.arange(len(xs) // batch_size * batch_size).reshape(-1, batch_size)
    new = merged(params, _compiled(net)(params, xs, rows, key))
    return jax.tree.map(lambda a, old: a.astype(jnp.result_type(old)), new, params)


@functools.lru_cache(maxsize=32)
def _compiled(net: Any) -> Any:
    def averaged(params: Any, xs: Any, rows: jax.Array, key: jax.Array) -> Any:
        def of_batch(at: tuple) -> Any:
            row, number = at
            keys = jax.random.split(jax.random.fold_in(key, number), len(row))
            return net.apply_batch(params, xs[row], keys=keys)[1]

        return jax.tree.map(lambda a: a.mean(0), jax.lax.map(of_batch, (rows, jnp.arange(len(rows)))))  # (1)

    return compiled(averaged)


def is_of_batch(net: Any) -> bool:
    """Whether it has a BatchNorm, or another layer whose outputs depend on the whole mini-batch."""
    return bool(getattr(net, "of_batch", False))
