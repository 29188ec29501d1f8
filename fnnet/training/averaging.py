"""An exponential moving average of the parameters over the steps, kept with the optimiser's state.

    w_t = w_{t-1} + (1 - d) (1 - w_{t-1}),           w_0 = 0        (1)   after step t, d the decay; w_t = 1 - d^t
    a_t = a_{t-1} + (1 - d) / w_t (p_t - a_{t-1}),   a_1 = p_1      (2)

The initial parameters have no share in (2). It is optax's `ema` with its correction of the bias, in f32 at least, and
parameters that stay as they are have themselves as their average.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.arguments import accumulator
from fnnet.training.trainable import PartlyTrained


class Averaged(NamedTuple):
    """The optimiser's state, and that of the average.

    Attributes:
        optimizer: The optimiser's state.
        average: (2), a tree like the parameters, in f32 for bf16 and f16; None for those that are not trained.
        weight: (1), f32.
        decay: d, f32, by which a resumed training knows its own.
    """

    optimizer: Any
    average: Any
    weight: jax.Array
    decay: jax.Array


@functools.lru_cache(maxsize=32)
def _averaging(optimizer: Any, decay: float, flags: tuple[bool, ...] | None) -> Any:
    """The optimiser, which also keeps the average of the parameters that it makes, where `flags` are true."""
    import optax

    def averaged(params: Any) -> tuple[list, Any]:
        leaves, tree = jax.tree.flatten(params)
        which = (True,) * len(leaves) if flags is None else flags
        return [leaf if flag else None for leaf, flag in zip(leaves, which, strict=True)], tree

    def init(params: Any) -> Averaged:
        leaves, tree = averaged(params)
        zeros = [None if p is None else jnp.zeros(p.shape, accumulator(p.dtype)) for p in leaves]
        average = jax.tree.unflatten(tree, zeros)
        return Averaged(optimizer.init(params), average, jnp.zeros((), jnp.float32), jnp.float32(decay))

    def update(updates: Any, state: Averaged, params: Any = None) -> tuple[Any, Averaged]:
        updates, own = optimizer.update(updates, state.optimizer, params)
        leaves, tree = averaged(optax.apply_updates(params, updates))
        weight = state.weight + (1 - decay) * (1 - state.weight)  # (1)
        share = (1 - decay) / weight
        new = [
            None if a is None else a + share.astype(a.dtype) * (p.astype(a.dtype) - a)  # (2)
            for a, p in zip(_with_none(state.average), leaves, strict=True)
        ]
        return updates, Averaged(own, jax.tree.unflatten(tree, new), weight, state.decay)

    return optax.GradientTransformation(init, update)


def averaging(net: Any, optimizer: Any, decay: float) -> Any:
    """The optimiser, which also keeps the average of the trained parameters of `net`."""
    return _averaging(optimizer, decay, net.trained if isinstance(net, PartlyTrained) else None)


def average_of(params: Any, state: Averaged) -> Any:
    """The average (2) in the parameters' dtypes, and those of `params` that are not trained."""
    leaves, tree = jax.tree.flatten(params)
    pairs = zip(_with_none(state.average), leaves, strict=True)
    return jax.tree.unflatten(tree, [p if a is None else a.astype(p.dtype) for a, p in pairs])


def _with_none(average: Any) -> list:
    return jax.tree.leaves(average, is_leaf=lambda a: a is None)


def refuse_another_decay(state: Averaged, decay: float) -> None:
    """Raises ValueError where the average was begun with another decay."""
    begun = np.float32(state.decay)
    if begun != np.float32(decay):
        raise ValueError(f"fit: the checkpoint was trained with average={float(begun):.7g}, not {decay!r}")


def as_decay(function: str, average: Any) -> float | None:
    """The decay as a number between 0 and 1, or None."""
    if average is None:
        return None
    if isinstance(average, bool) or not isinstance(average, float | int) or not 0 < average < 1:
        raise ValueError(f"{function}: average (={average!r}) must be a number between 0 and 1, such as 0.999, or None")
    return float(average)
