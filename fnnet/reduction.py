"""From one loss an example to the mean: a mean divides by the weights that count, as PyTorch does.

    mean = sum_n loss_n / sum_n weight_n        (1)

Every loss of fnnet has the attribute `weight`: loss.weight(prediction, labels, **the same keywords) is weight_n, 1 but
for class weights and ignored labels. A plain function without it has weight 1. Weights are constants, without gradient.

Source: torch.nn.CrossEntropyLoss, reduction "mean".
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from fnnet.arguments import accumulator

P = ParamSpec("P")


@runtime_checkable
class Loss(Protocol[P]):
    """One number an example, and the weight of each in a mean; both are called with the same arguments."""

    weight: Callable[P, Array]

    def __call__(self, *args: P.args, **keywords: P.kwargs) -> Array:
        """The loss of each example."""
        ...


def weighed_by(weight: Callable[P, Array]) -> Callable[[Callable[P, Array]], Loss[P]]:
    """Decorator that gives a loss its attribute `weight`."""

    def attach(function: Callable[P, Array]) -> Loss[P]:
        loss = cast(Loss[P], function)
        loss.weight = weight
        return loss

    return attach


def unweighted(function: Callable[P, Array]) -> Loss[P]:
    """Decorator that gives a loss the attribute `weight` under which every example counts 1."""
    return weighed_by(cast(Callable[P, Array], functools.partial(_one_each, function)))(function)


def _one_each(loss: Callable[..., Array], *args: Any, **keywords: Any) -> Array:
    losses = jax.eval_shape(lambda: loss(*args, **keywords))
    return jnp.ones(losses.shape, losses.dtype)


def example_weights(loss: Callable[..., Array], predictions: Any, labels: Any) -> Array:
    """The weight of each example in a mean: loss.weight(predictions, labels), or 1 each where `loss` has no `weight`.

    It is looked for under `functools.partial`, whose arguments are handed on, and under `jax.jit` and its like.
    """
    return _weight_of(loss)(predictions, labels)


def _weight_of(loss: Any) -> Callable[..., Array]:
    if hasattr(loss, "weight"):
        return loss.weight
    if hasattr(loss, "__wrapped__"):
        return _weight_of(loss.__wrapped__)
    if all(
        hasattr(loss, part) for part in ("func", "args", "keywords")
    ):  # a partial; JAX wraps nested ones in a look-alike
        return functools.partial(_weight_of(loss.func), *loss.args, **loss.keywords)
    return functools.partial(_one_each, loss)


def mean_loss(loss: Callable[..., Array], predictions: Any, labels: Any) -> Array:
    """The mean (1) of loss(predictions, labels) over all examples, each with its weight.

    Args:
        loss: One number an example: a loss of fnnet, a `functools.partial` of one, or a function of one's own. What
            hides a loss (a lambda) hides its weights too: give keywords by `functools.partial`.
        predictions: The first argument of `loss`.
        labels: The second.

    Returns:
        One number in the loss's dtype, summed in f32 for bf16 and f16. Where all weights are 0 it is 0/0 = NaN, as in
        PyTorch; so is the mean of no examples.

    Example:
        >>> import functools, jax.numpy as jnp
        >>> from fnnet.rules.categorical import softmax_cross_entropy
        >>> loss = functools.partial(softmax_cross_entropy, ignore_index=-1)
        >>> print(mean_loss(loss, jnp.zeros((3, 2)), jnp.array([0, -1, 1])))  # log 2 twice, divided by 2
        0.6931472

    Source: torch.nn.CrossEntropyLoss, reduction "mean".
    """
    losses = loss(predictions, labels)
    weights = jax.lax.stop_gradient(example_weights(loss, predictions, labels))
    dtype = accumulator(losses.dtype)
    return (losses.astype(dtype).sum() / weights.astype(dtype).sum()).astype(losses.dtype)  # (1)
