"""Independent references of the activations, entry by entry and along an axis: jax.nn, differentiated by JAX."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def relu(z: Any) -> Any:
    """`fnnet.relu` by jax.nn, whose slope at 0 is 0."""
    return jax.nn.relu(z)


def leaky_relu(z: Any, slope: float = 0.01) -> Any:
    """`fnnet.leaky_relu`; not jax.nn.leaky_relu, whose slope at 0 is 1."""
    return slope * z + (1 - slope) * jax.nn.relu(z)


def sigmoid(z: Any) -> Any:
    """`fnnet.sigmoid` by jax.nn."""
    return jax.nn.sigmoid(z)


def tanh(z: Any) -> Any:
    """`fnnet.tanh` by jax.numpy."""
    return jnp.tanh(z)


def softplus(z: Any) -> Any:
    """`fnnet.softplus` by jax.nn."""
    return jax.nn.softplus(z)


def silu(z: Any) -> Any:
    """`fnnet.silu` by jax.nn; 0 at -inf."""
    return _zero_at_minus_infinity(jax.nn.silu, z)


def gelu(z: Any, approximate: bool = True) -> Any:
    """`fnnet.gelu` by jax.nn; 0 at -inf."""
    return _zero_at_minus_infinity(lambda z: jax.nn.gelu(z, approximate), z)


def softmax(z: Any, axis: int | Sequence[int] = -1) -> Any:
    """`fnnet.softmax` by jax.nn."""
    return jax.nn.softmax(z, axis)


def log_softmax(z: Any, axis: int | Sequence[int] = -1) -> Any:
    """`fnnet.log_softmax` by jax.nn."""
    return jax.nn.log_softmax(z, axis)


def _zero_at_minus_infinity(function: Callable, z: Any) -> Any:
    """The limit there, in place of jax.nn's NaN."""
    lost = jnp.isneginf(z)
    return jnp.where(lost, 0.0, function(jnp.where(lost, 0.0, z)))
