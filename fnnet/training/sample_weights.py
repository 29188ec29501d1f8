"""`sample_weight` of `fit` and `evaluate`: labels that carry their weights, and the loss that reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.arguments import described
from fnnet.core.reduction import losses_and_weights
from fnnet.training.arguments import is_pair
from fnnet.training.placement import Placement


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class WeightedLabels:
    """Labels as an array, each with a weight; `[rows]` takes both."""

    labels: Any
    weights: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The labels'."""
        return self.labels.shape

    @property
    def ndim(self) -> int:
        """The labels'."""
        return self.labels.ndim

    @property
    def dtype(self) -> Any:
        """The labels'."""
        return self.labels.dtype

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "WeightedLabels":
        """Those of some examples."""
        return WeightedLabels(self.labels[rows], self.weights[rows])


@dataclass(frozen=True)
class WeightedLoss:
    """A loss of `WeightedLabels`: the pair (losses, weights), each multiplied by the example's weight."""

    loss: Callable

    @property
    def ignore_index(self) -> Any:
        """The loss's."""
        return getattr(self.loss, "ignore_index", None)

    def __call__(self, outputs: Any, ys: WeightedLabels) -> tuple[jax.Array, jax.Array]:
        """For each example; outputs of weight 0 are constants, or an infinite derivative of the loss would be NaN."""
        outputs = jax.tree.map(lambda of: silenced(of, ys.weights), outputs)
        losses, weights = losses_and_weights("fit", self.loss, outputs, ys.labels)
        return weighed(losses, weights, ys.weights)


def silenced(outputs: jax.Array, weights: jax.Array) -> jax.Array:
    """The outputs (examples, ...), without gradient for examples of weight 0."""
    of_example = weights.reshape(-1, *(1,) * (outputs.ndim - 1))
    return jnp.where(of_example == 0, jax.lax.stop_gradient(outputs), outputs)


def weighed(losses: jax.Array, weights: jax.Array, by: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Losses and weights (examples,), each multiplied by the example's weight."""
    return jnp.where(by == 0, 0, by.astype(losses.dtype) * losses), weights * by.astype(weights.dtype)


def plain_labels(ys: Any) -> Any:
    """Labels without weights."""
    return ys.labels if isinstance(ys, WeightedLabels) else ys


def as_sample_weight(function: str, sample_weight: Any, ys: Any) -> np.ndarray:
    """The weights in f32, one for each label. Raises TypeError or ValueError for what cannot be."""
    try:
        weights = np.asarray(sample_weight).astype(np.float32, casting="same_kind")
    except (TypeError, ValueError):
        raise TypeError(f"{function}: sample_weight must be numbers, not {described(sample_weight)}") from None
    if weights.shape != ys.shape[:1]:
        raise ValueError(
            f"{function}: sample_weight of shape {weights.shape} must have shape {ys.shape[:1]}, one number for each "
            "example"
        )
    wrong = ~((weights >= 0) & (weights < np.inf))
    if wrong.any() or not weights.any():
        first = f"sample_weight[{wrong.argmax()}] (={weights[wrong.argmax()]})" if wrong.any() else "some sample_weight"
        raise ValueError(f"{function}: {first} must be {'0 or more' if wrong.any() else 'more than 0'}")
    return weights


def weighted(
    function: str, data: Any, loss: Callable, sample_weight: Any, placement: Placement
) -> tuple[Any, Callable]:
    """Data and loss where each example has a weight."""
    if sample_weight is None:
        return data, loss
    if not is_pair(data) or placement.devices > 1:
        raise ValueError(
            f"{function}: sample_weight needs arrays (xs, ys) on one device; else let the loss return the pair "
            "(losses, weights)"
        )
    xs, ys = data
    return (xs, WeightedLabels(ys, as_sample_weight(function, sample_weight, ys))), WeightedLoss(loss)
