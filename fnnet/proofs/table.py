"""fnnet's public rules and their references."""

from collections.abc import Callable

from fnnet.proofs import activation_references, layer_references, loss_references
from fnnet.rules import (
    activations,
    average_pooling,
    binary_losses,
    class_losses,
    convolution,
    dense,
    max_pooling,
    softmax,
    squared_error,
)

# Each public rule beside its reference: by name, so that no rule is compared with another's.
FUNCTIONS: dict[str, Callable] = {
    "dense": dense.dense,
    "conv": convolution.conv,
    "max_pool": max_pooling.max_pool,
    "avg_pool": average_pooling.avg_pool,
    "relu": activations.relu,
    "leaky_relu": activations.leaky_relu,
    "sigmoid": activations.sigmoid,
    "tanh": activations.tanh,
    "softplus": activations.softplus,
    "silu": activations.silu,
    "gelu": activations.gelu,
    "softmax": softmax.softmax,
    "log_softmax": softmax.log_softmax,
    "softmax_cross_entropy": class_losses.softmax_cross_entropy,
    "cross_entropy": class_losses.cross_entropy,
    "negative_log_likelihood": class_losses.negative_log_likelihood,
    "squared_error": squared_error.squared_error,
    "sigmoid_binary_cross_entropy": binary_losses.sigmoid_binary_cross_entropy,
    "binary_cross_entropy": binary_losses.binary_cross_entropy,
}
_PAGES = (layer_references, activation_references, loss_references)
REFERENCES: dict[str, Callable] = {
    name: next(getattr(page, name) for page in _PAGES if hasattr(page, name)) for name in FUNCTIONS
}
