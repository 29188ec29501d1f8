"""The network of Equinox's MNIST example: one convolution, an overlapping max-pooling, three linear layers; AdamW.

Source: Equinox's documentation, the example of a CNN on MNIST: architecture, AdamW at 3e-4, mini-batches of 64.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import fnnet

OPTIMIZER = optax.adamw(3e-4)


class Before(eqx.Module):
    """With Equinox's functions, of one example, channels first."""

    conv: eqx.nn.Conv2d
    linear1: eqx.nn.Linear
    linear2: eqx.nn.Linear
    linear3: eqx.nn.Linear

    def __init__(self, key: jax.Array):
        """Draws the parameters."""
        keys = jax.random.split(key, 4)
        self.conv = eqx.nn.Conv2d(1, 3, 4, key=keys[0])
        self.linear1 = eqx.nn.Linear(3 * 24 * 24, 512, key=keys[1])
        self.linear2 = eqx.nn.Linear(512, 64, key=keys[2])
        self.linear3 = eqx.nn.Linear(64, 10, key=keys[3])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logarithms of the classes' probabilities, of an image (1, 28, 28)."""
        x = jax.nn.relu(eqx.nn.MaxPool2d(2)(self.conv(x)))
        x = jax.nn.sigmoid(self.linear1(jnp.ravel(x)))
        x = jax.nn.relu(self.linear2(x))
        return jax.nn.log_softmax(self.linear3(x))

    def loss(self, xs: jax.Array, ys: jax.Array) -> jax.Array:
        """The mean over a mini-batch."""
        chances = jax.vmap(self)(jnp.moveaxis(xs, -1, 1))
        return -jnp.take_along_axis(chances, ys[:, None], 1).mean()


class After(Before):
    """With fnnet's, of one example, channels last; the parameters stay in Equinox's layout."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logarithms of the classes' probabilities, of an image (28, 28, 1)."""
        kernel, bias = jnp.transpose(self.conv.weight, (2, 3, 1, 0)), jnp.ravel(self.conv.bias)  # type: ignore[arg-type]
        x = fnnet.max_pool(fnnet.conv(x, kernel, bias, padding="VALID"), 2, stride=1)
        x = jnp.ravel(jnp.moveaxis(fnnet.relu(x), -1, 0))  # flattened channels first, as linear1 expects
        x = fnnet.sigmoid(fnnet.dense(x, self.linear1.weight.T, self.linear1.bias))
        x = fnnet.relu(fnnet.dense(x, self.linear2.weight.T, self.linear2.bias))
        return fnnet.log_softmax(fnnet.dense(x, self.linear3.weight.T, self.linear3.bias))

    def loss(self, xs: jax.Array, ys: jax.Array) -> jax.Array:
        """The mean over a mini-batch."""
        return fnnet.mean_loss(fnnet.negative_log_likelihood, jax.vmap(self)(xs), ys)


MODELS: tuple[Any, Any] = (Before, After)


def start(ours: bool) -> tuple:
    model = MODELS[ours](jax.random.key(0))
    return model, OPTIMIZER.init(eqx.filter(model, eqx.is_inexact_array))


@eqx.filter_jit
def update(model: Before, opt_state: Any, xs: jax.Array, ys: jax.Array) -> tuple:
    """One step: the next model and state of the optimiser, and the loss."""
    loss, gradients = eqx.filter_value_and_grad(lambda model: model.loss(xs, ys))(model)
    updates, opt_state = OPTIMIZER.update(gradients, opt_state, eqx.filter(model, eqx.is_inexact_array))
    return (eqx.apply_updates(model, updates), opt_state), loss


def step(state: tuple, xs: Any, ys: Any) -> tuple:
    model, opt_state = state
    return update(model, opt_state, xs, ys)
