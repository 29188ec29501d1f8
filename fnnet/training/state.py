"""What a training run carries from step to step, and what an epoch adds up."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class State(NamedTuple):
    """All that a training run carries from step to step: with the data it determines what follows."""

    params: Any
    opt_state: Any
    key: jax.Array
    epoch: jax.Array  # epochs completed
    step: jax.Array  # steps taken, over all epochs


class Tally(NamedTuple):
    """What an epoch has added up so far."""

    steps: jax.Array
    loss_sum: jax.Array
    last_loss: jax.Array
    right: jax.Array  # labels that were the place of the largest output
    counted: jax.Array  # labels that count; 0 where ys are no classes
    empty: jax.Array  # steps without an effect, since all their examples have weight 0


@jax.jit
def nothing_yet() -> Tally:
    """The tally at the beginning of an epoch; its buffers are its own, since they are donated."""
    return Tally(jnp.zeros((), jnp.int32), *(jnp.zeros((), jnp.float32) for _ in range(5)))
