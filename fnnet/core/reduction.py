"""From one loss per example to the mean: a mean divides by the weights of the examples, as in PyTorch.

    mean = sum_n loss_n / sum_n weight_n        (1)

A loss is a function loss(predictions, labels) -> losses, one number per example. Each example has weight 1, unless the
loss itself gives other weights, in one of two ways:

    a function of your own      returns the pair (losses, weights)
    a loss of fnnet             has the attribute `weight`, called with the same arguments: 1 except with class weights
                                and ignored labels; a `functools.partial` hands its arguments to both

Any other function (a lambda, `jax.jit`, `jax.vmap`) hides what it calls. If that is a loss of fnnet with class weights
or ignored labels, its weights would be lost; this is an error. Weights are constants, without gradient.

Source: torch.nn.CrossEntropyLoss, reduction "mean".
"""

import functools
import re
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from fnnet.core.arguments import accumulator, as_array
from fnnet.core.habits import hinted
from fnnet.core.partials import is_partial

P = ParamSpec("P")
NOTE = "weights of fnnet."


@runtime_checkable
class Loss(Protocol[P]):
    """One number per example, and the weight of each in a mean; both are called with the same arguments."""

    weight: Callable[P, Array]

    def __call__(self, *args: P.args, **keywords: P.kwargs) -> Array:
        """The loss of each example."""
        ...


_WEIGHED: list[Any] = []  # wrappers such as functools.wraps copy the attribute: only these functions have their own


def weighed_by(weight: Callable[P, Array]) -> Callable[[Callable[P, Array]], Loss[P]]:
    """Decorator that gives a loss its attribute `weight`."""

    def attach(function: Callable[P, Array]) -> Loss[P]:
        loss = cast(Loss[P], function)
        loss.weight = weight
        _WEIGHED.append(loss)
        return loss

    return attach


def unweighted(function: Callable[P, Array]) -> Loss[P]:
    """Decorator that gives a loss the attribute `weight` under which every example counts 1."""

    def ones(*args: P.args, **keywords: P.kwargs) -> Array:
        losses = jax.eval_shape(lambda: function(*args, **keywords))
        return jnp.ones(losses.shape, losses.dtype)

    return weighed_by(ones)(function)


def noted(loss: str, labels: Array) -> Array:
    """The labels, with a note in every jaxpr that `loss`, called with them, has weights other than 1."""
    return checkpoint_name(labels, NOTE + loss)


@hinted
def mean_loss(loss: Callable[..., Any], predictions: Any, labels: Any) -> Array:
    """The mean (1) of loss(predictions, labels) over all examples, each with its weight.

    Args:
        loss: Gives one number per example, along the predictions' first axis. Each example has weight 1, unless `loss`
            is a loss of fnnet, or a `functools.partial` of one, with class weights or ignored labels; or it returns
            the pair (losses, weights). The losses of a pair are as in (1): already multiplied by their weights.
        predictions: The first argument of `loss`.
        labels: The second.

    Returns:
        One number in the loss's dtype, summed in f32 for bf16 and f16. Where all weights are 0 it is 0/0 = NaN, as in
        PyTorch; so is the mean of no examples. Weights get no gradient.

    Raises:
        ValueError: `loss` does not give one number per example (`jax.vmap` makes a loss of one example into one of a
            batch); the weights have another shape than the losses; or `loss` hides the weights of a loss of fnnet, for
            example in a lambda. To divide by the number of examples all the same, return weights of 1.

    Example:
        >>> import functools, jax.numpy as jnp
        >>> from fnnet.rules.class_losses import softmax_cross_entropy
        >>> loss = functools.partial(softmax_cross_entropy, ignore_index=-1)
        >>> print(mean_loss(loss, jnp.zeros((3, 2)), jnp.array([0, -1, 1])))  # log 2 twice, divided by 2
        0.6931472
        >>> def masked(predictions, labels):
        ...     weights = (labels >= 0).astype(predictions.dtype)
        ...     return weights * (predictions - labels) ** 2, weights
        >>> print(mean_loss(masked, jnp.zeros(3), jnp.array([1.0, -1.0, 3.0])))  # 1 + 9, divided by 2
        5.0

    Source: torch.nn.CrossEntropyLoss, reduction "mean".
    """
    return weighted_mean(*losses_and_weights("mean_loss", loss, predictions, labels))


def weighted_mean(losses: Array, weights: Array) -> Array:
    """The mean (1)."""
    dtype = accumulator(losses.dtype)
    total = jax.lax.stop_gradient(weights).astype(dtype).sum()
    return (losses.astype(dtype).sum() / total).astype(losses.dtype)  # (1)


def losses_and_weights(function: str, loss: Callable[..., Any], predictions: Any, labels: Any) -> tuple[Array, Array]:
    """The loss of each example, and its weight in the mean.

    Raises ValueError, in the name of `function`, where the loss does not give one number per example, or hides weights.
    """
    given = loss(predictions, labels)
    losses = losses_of(function, given)
    leaves = [np.shape(leaf) for leaf in jax.tree.leaves(predictions)]
    examples = [shape[0] for shape in leaves if shape] or [*np.shape(predictions)[:1], 1]  # or lists of numbers
    if not losses.shape or losses.shape[0] not in examples:
        raise wrong_shape(function, examples[0], losses.shape)
    if isinstance(given, tuple):
        weights = as_array(function, "the second of the pair (losses, weights)", given[1])
        if weights.shape != losses.shape:
            raise ValueError(
                f"{function}: loss gave weights of shape {weights.shape}; they must have the losses' shape "
                f"{losses.shape}"
            )
        return losses, weights if jnp.issubdtype(weights.dtype, jnp.floating) else weights.astype(jnp.float32)
    weight = _weight_of(loss)
    if weight is not None:
        return losses, weight(predictions, labels)
    hidden = re.search(rf"{NOTE}(\w+)", str(jax.make_jaxpr(lambda: loss(predictions, labels))()))
    if hidden:
        name = hidden[1]
        raise ValueError(
            f"{function}: loss calls {name} with class_weights or ignore_index, but hides its weights, by which the "
            f"mean divides; give functools.partial({name}, ...), or return the pair (losses, weights), such as "
            f"lambda z, y: ({name}(z, y, ignore_index=-1), {name}.weight(z, y, ignore_index=-1)); weights of 1 divide "
            "by the number of examples"
        )
    return losses, jnp.ones(losses.shape, losses.dtype)


def losses_of(function: str, given: Any) -> Array:
    """The losses in what a loss returned: that itself, or the first of the pair (losses, weights)."""
    if not isinstance(given, tuple):
        return as_array(function, "what loss returns", given)
    if len(given) != 2:
        raise ValueError(
            f"{function}: loss must return the losses, or the pair (losses, weights), not a tuple of {len(given)}"
        )
    return as_array(function, "the first of the pair (losses, weights)", given[0])


def wrong_shape(function: str, examples: int, shape: tuple[int, ...]) -> ValueError:
    """The error for losses of a shape that is not one number per example, with what to write instead."""
    hint = "jax.vmap makes a loss of one example into one of a batch"
    if shape == ():
        hint = f"leave out a mean over the batch; {hint}"
    elif shape == (examples, examples):
        hint = "outputs and ys of different shapes were broadcast; ys[:, None] makes a column of them"
    elif len(shape) > 1 and shape[0] == examples:
        axes = -1 if len(shape) == 2 else tuple(range(1, len(shape)))
        hint = (
            f"take the mean over the other axes, lambda outputs, ys: loss(outputs, ys).mean({axes}), or for labels at "
            "each position fnnet.LinearSoftmaxCrossEntropy()"
        )
    return ValueError(
        f"{function}: loss must give one number for each of {examples} examples, shape ({examples},); it gave shape "
        f"{shape} ({hint})"
    )


def _weight_of(loss: Any) -> Callable[..., Array] | None:
    """The attribute `weight` of a loss of fnnet, with the arguments that a partial binds; None of other functions."""
    if is_partial(loss):
        weight = _weight_of(loss.func)
        return None if weight is None else functools.partial(weight, *loss.args, **loss.keywords)
    return loss.weight if any(loss is own for own in _WEIGHED) else None
