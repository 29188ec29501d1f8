"""The compiled programs of a training and an evaluation."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fnnet.core.compiler import safe_options
from fnnet.training.metrics import Metric
from fnnet.training.placement import Placement
from fnnet.training.scores import score
from fnnet.training.steps import ONE_DEVICE, epoch_order, run


class Programs(NamedTuple):
    """Compiled: `steps.run`, `steps.epoch_order` and `scores.score`."""

    run: Callable
    order: Callable
    score: Callable


@functools.lru_cache(maxsize=32)
def programs_for(
    net: Any,
    loss: Callable,
    optimizer: Any = None,
    accumulate: int = 1,
    placement: Placement = ONE_DEVICE,
    metrics: tuple[Metric, ...] = (),
) -> Programs:
    """The compiled programs of one network, loss and optimiser: made once, so that an epoch compiles nothing."""
    ran = placement.staying(functools.partial(run, net, loss, optimizer, accumulate=accumulate, placement=placement))
    scored = functools.partial(score, net, loss, placement, metrics)
    return Programs(
        jax.jit(ran, donate_argnums=(0, 1), compiler_options=safe_options()),
        jax.jit(epoch_order, static_argnums=(1, 2)),
        jax.jit(scored, static_argnames="batch_size", compiler_options=safe_options()),
    )
