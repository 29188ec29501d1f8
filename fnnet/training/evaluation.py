"""`evaluate`: loss, accuracy and metrics over all examples of some data."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.habits import hinted
from fnnet.training.arguments import as_data, as_loss, as_network, at_least_one, is_pair, refuse_pair
from fnnet.training.batches import matching
from fnnet.training.device_mesh import placement_on
from fnnet.training.loss_check import check_loss
from fnnet.training.metrics import Metrics, as_metrics
from fnnet.training.placement import Batch
from fnnet.training.programs import programs_for
from fnnet.training.sample_weights import plain_labels, weighted


@hinted
def evaluate(
    net: Any,
    params: Any,
    loss: Callable,
    data: Batch | Iterable[Batch],
    *,
    batch_size: int = 256,
    sample_weight: Any = None,
    metrics: Metrics | None = None,
    mesh: jax.sharding.Mesh | None = None,
    shard_parameters: bool = False,
) -> dict[str, Any]:
    """Mean loss, with integer labels the accuracy, and the metrics, over every example of `data`.

    Args:
        net: As in `fit`; dropout is off.
        params: The network's parameters.
        loss: As in `fit`.
        data: The pair (xs, ys), or an iterable of such pairs of any sizes.
        batch_size: Examples computed at once; the result does not depend on it but for rounding.
        sample_weight: As in `fit`, for the loss. In the accuracy and the metrics an example of weight 0 does not count,
            and any other counts 1.
        metrics: A name, a function, several in a list, or a dictionary of names. Of classes, "accuracy", "top_5" (or
            another number), "precision", "recall" and "f1", the means over the classes as by scikit-learn's
            average="macro", and "confusion", the array whose entry [i, j] counts the examples of class i that are taken
            for class j. Of numbers "mean_absolute_error" and "mean_squared_error". A function metric(outputs, ys) gives
            one number, or one array, for each example; the result is their mean.
        mesh, shard_parameters: As in `fit`; of several processes each reads its devices' part of the arrays, and gives,
            of an iterable, its own part, in pieces of any sizes.

    Returns:
        {"loss": ..., "accuracy": ...}; the accuracy, the share of labels that are the place of the largest output, is
        there where ys are integers of the outputs' shape without the last axis. Examples of weight 0 (`ignore_index`)
        do not count. The metrics stand beside them under their names, as numbers, or as NumPy arrays.

    Raises:
        ValueError: No data, or data that do not match; a loss that `fit` would refuse.
    """
    at_least_one("evaluate", "batch_size", batch_size)
    as_network("evaluate", net, trains=False)
    refuse_pair("evaluate", params)
    as_loss("evaluate", loss)
    placement, measured = placement_on("evaluate", mesh, shard_parameters), as_metrics("evaluate", metrics)
    data, weighted_loss = weighted("evaluate", as_data("evaluate", data), loss, sample_weight, placement)
    score = programs_for(net, weighted_loss, placement=placement, metrics=measured).score
    at_once, pieces = placement.pieces(data, batch_size)
    totals = None
    for (xs, ys), examples in pieces:
        check_loss("evaluate", net, loss, params, xs, plain_labels(ys))
        sums = score(params, *examples, batch_size=min(at_once, len(examples[0])))
        totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
    if totals is None:
        raise ValueError("evaluate: data is empty")
    of_metrics = totals.pop("metrics")
    sums = {name: float(value) for name, value in totals.items()}
    scores: dict[str, Any] = {"loss": sums["loss"] / sums["weight"] if sums["weight"] else float("nan")}
    if sums["counted"]:
        scores["accuracy"] = sums["correct"] / sums["counted"]
    return scores | {metric.name: metric.value(of) for metric, of in zip(measured, of_metrics, strict=True)}


def check_validation(net: Any, loss: Callable, params: Any, validation: Any) -> None:
    """Raise before the training what `evaluate` would raise after an epoch of it."""
    if not is_pair(validation):
        return
    try:
        xs, ys = matching("fit", *validation)
        check_loss("fit", net, loss, params, xs, ys)
    except (TypeError, ValueError) as error:
        error.add_note("These are the validation data of fit.")
        raise
