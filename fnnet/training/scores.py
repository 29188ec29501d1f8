"""The pure functions under `evaluate`: sums over examples."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.training.metrics import Metric
from fnnet.training.placement import Placement
from fnnet.training.sample_weights import plain_labels
from fnnet.training.steps import answers, labels_that_count, losses_of_batch


def score(
    net: Any,
    loss: Callable,
    placement: Placement,
    metrics: Sequence[Metric],
    params: Any,
    *examples: Any,
    batch_size: int,
) -> dict[str, Any]:
    """Sums over all examples, each device taking `batch_size` of its own at once: of loss, weight, right answers,
    examples that count, and of the metrics.

    `examples` are xs and ys, and perhaps of each example whether it is one, or is there to make the number round.
    """

    scores = functools.partial(_scores, net, loss, metrics, batch_size=batch_size)
    return placement.sums(scores, params, *examples)


def _scores(
    net: Any,
    loss: Callable,
    metrics: Sequence[Metric],
    params: Any,
    xs: Any,
    ys: Any,
    inside: Any = True,
    *,
    batch_size: int,
) -> dict[str, Any]:
    inside = jnp.broadcast_to(inside, len(xs))

    def of_batch(index: jax.Array) -> dict[str, Any]:
        rows = index * batch_size + jnp.arange(batch_size)
        at = jnp.minimum(rows, len(xs) - 1)
        counts, x, y = (rows < len(xs)) & inside[at], xs[at], ys[at]
        losses, weights, _, outputs = losses_of_batch("evaluate", net, loss, params, x, y, None, whole=bool(metrics))
        sums = {"loss": jnp.where(counts, losses, 0), "weight": jnp.where(counts, weights, 0)}
        sums = {name: jnp.sum(value, dtype=jnp.float32) for name, value in sums.items()}
        counts &= weights != 0
        labels = labels_that_count(loss, y)
        sums["correct"], sums["counted"] = answers(outputs, labels, counts)
        of_metrics = [metric.sums(outputs, plain_labels(y) if metric.is_own else labels, counts) for metric in metrics]
        return sums | {"metrics": of_metrics}

    totals = jax.lax.map(of_batch, jnp.arange(-(-len(xs) // batch_size)))
    return jax.tree.map(lambda values: values.sum(0), totals)
