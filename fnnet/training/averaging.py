"""An exponential moving average of the parameters over the steps, kept with the optimiser's state.

    a_t = d a_{t-1} + (1 - d) p_t,   a_0 = 0,   average = a_t / (1 - d^t)      (1)   after step t, d the decay

The division makes the first average the first step's parameters: the initial ones have no share. It is optax's `ema`.
"""

import functools
from typing import Any, NamedTuple

import jax


class Averaged(NamedTuple):
    """The optimiser's state, and that of the average."""

    optimizer: Any
    average: Any


@functools.lru_cache(maxsize=32)
def averaging(optimizer: Any, decay: float) -> Any:
    """The optimiser, which also keeps the average of the parameters that it makes."""
    import optax

    ema = optax.ema(decay)

    def init(params: Any) -> Averaged:
        return Averaged(optimizer.init(params), ema.init(params))

    def update(updates: Any, state: Averaged, params: Any = None) -> tuple[Any, Averaged]:
        updates, own = optimizer.update(updates, state.optimizer, params)
        _, average = ema.update(optax.apply_updates(params, updates), state.average)  # (1)
        return updates, Averaged(own, average)

    return optax.GradientTransformation(init, update)


def average_of(net: Any, params: Any, state: Averaged, decay: float) -> Any:
    """The average (1); statistics are those of `params`."""
    import optax

    average = optax.tree_utils.tree_bias_correction(state.average.ema, decay, state.average.count)
    if not hasattr(net, "statistics"):
        return average
    return jax.tree.map(lambda kept, now, one: now if kept else one, net.statistics(params), params, average)


def as_decay(function: str, average: Any) -> float | None:
    """The decay as a number between 0 and 1, or None."""
    if average is None:
        return None
    if isinstance(average, bool) or not isinstance(average, float | int) or not 0 < average < 1:
        raise ValueError(f"{function}: average (={average!r}) must be a number between 0 and 1, such as 0.999, or None")
    return float(average)
