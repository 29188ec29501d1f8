"""Independent references of activations and losses: jax.nn, optax and jax.numpy. Nothing here imports fnnet."""

import jax
import jax.numpy as jnp
import optax


def leaky_relu(z, slope=0.01):
    """Not jax.nn.leaky_relu, whose slope at 0 is 1."""
    return slope * z + (1 - slope) * jax.nn.relu(z)


def squared_error(prediction, target):
    return optax.l2_loss(*jnp.broadcast_arrays(prediction, target)).sum(-1)


def softmax_cross_entropy(logits, labels, *, label_smoothing=0.0, class_weights=None, ignore_index=None):
    targets = optax.smooth_labels(_rows(labels, logits), label_smoothing)
    if class_weights is not None:
        targets = targets * class_weights
    return _unless_ignored(optax.softmax_cross_entropy(logits, targets), labels, ignore_index)


def cross_entropy(probabilities, labels):
    return -(_rows(labels, probabilities) * jnp.log(probabilities)).sum(-1)


def negative_log_likelihood(log_probabilities, labels, *, class_weights=None, ignore_index=None):
    terms = _rows(labels, log_probabilities) * log_probabilities
    if class_weights is not None:
        terms = terms * class_weights
    return _unless_ignored(-terms.sum(-1), labels, ignore_index)


def sigmoid_binary_cross_entropy(logits, targets):
    return optax.sigmoid_binary_cross_entropy(*jnp.broadcast_arrays(logits, targets)).sum(-1)


def binary_cross_entropy(probabilities, targets):
    return -(targets * jnp.log(probabilities) + (1 - targets) * jnp.log1p(-probabilities)).sum(-1)


def _rows(labels, like):
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return labels
    return jax.nn.one_hot(labels, like.shape[-1], dtype=like.dtype)


def _unless_ignored(loss, labels, ignore_index):
    return loss if ignore_index is None else jnp.where(labels == ignore_index, 0.0, loss)
