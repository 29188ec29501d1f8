"""Independent references of the losses: jax.nn and jax.numpy, differentiated by JAX. Nothing here imports fnnet."""

from typing import Any

import jax
import jax.numpy as jnp


def squared_error(prediction: Any, target: Any) -> Any:
    """`fnnet.squared_error`."""
    return jnp.square(prediction - target).sum(-1) / 2


def softmax_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    label_smoothing: float = 0.0,
    class_weights: Any = None,
    ignore_index: int | None = None,
) -> Any:
    """`fnnet.softmax_cross_entropy` by jax.nn.log_softmax."""
    targets = (1 - label_smoothing) * _rows(labels, logits) + label_smoothing / logits.shape[-1]
    if class_weights is not None:
        targets = targets * jnp.asarray(class_weights, targets.dtype)
    loss = -_times(targets, jax.nn.log_softmax(logits)).sum(-1)
    return _unless_ignored(loss, labels, ignore_index)


def cross_entropy(probabilities: Any, labels: Any) -> Any:
    """`fnnet.cross_entropy`; 0 log 0 = 0, with gradient 0."""
    targets = _rows(labels, probabilities)
    logs = jnp.log(jnp.where((targets == 0) & (probabilities == 0), 1.0, probabilities))
    return -(targets * logs).sum(-1)


def negative_log_likelihood(
    log_probabilities: Any, labels: Any, *, class_weights: Any = None, ignore_index: int | None = None
) -> Any:
    """`fnnet.negative_log_likelihood`."""
    terms = _times(_rows(labels, log_probabilities), log_probabilities)
    if class_weights is not None:
        terms = terms * jnp.asarray(class_weights, terms.dtype)
    return _unless_ignored(-terms.sum(-1), labels, ignore_index)


def sigmoid_binary_cross_entropy(logits: Any, targets: Any, *, positive_weights: Any = None) -> Any:
    """`fnnet.sigmoid_binary_cross_entropy` by jax.nn.log_sigmoid."""
    yes, no = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    if positive_weights is not None:
        yes = yes * jnp.asarray(positive_weights, yes.dtype)
    return -(_times(targets, yes) + _times(1 - targets, no)).sum(-1)


def binary_cross_entropy(probabilities: Any, targets: Any) -> Any:
    """`fnnet.binary_cross_entropy`; 0 log 0 = 0, with gradient 0."""
    yes = jnp.log(jnp.where((targets == 0) & (probabilities == 0), 1.0, probabilities))
    no = jnp.log1p(-jnp.where((targets == 1) & (probabilities == 1), 0.0, probabilities))
    return -(targets * yes + (1 - targets) * no).sum(-1)


def _times(weight: Any, logarithm: Any) -> Any:
    """Their product, where 0 log 0 = 0; where the weight is not 0, nothing else than the product."""
    return jnp.where((weight == 0) & jnp.isneginf(logarithm), 0.0, weight * logarithm)


def _rows(labels: Any, like: Any) -> Any:
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return labels
    return jax.nn.one_hot(labels, like.shape[-1], dtype=like.dtype)


def _unless_ignored(loss: Any, labels: Any, ignore_index: int | None) -> Any:
    return loss if ignore_index is None else jnp.where(labels == ignore_index, 0.0, loss)
