"""The usual small convolutional network in Flax NNX, with max-pooling, trained by Adam."""

from typing import Any

import jax
import optax
from flax import nnx

import fnnet
from drop_in import flax_layers

OPTIMIZER = optax.adam(1e-3)  # one object: `nnx.jit` compiles anew for another


class Before(nnx.Module):
    """With Flax's functions."""

    def __init__(self, rngs: nnx.Rngs):
        """Draws the parameters."""
        self.conv1 = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.linear1 = nnx.Linear(7 * 7 * 64, 128, rngs=rngs)
        self.linear2 = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of a mini-batch."""
        x = nnx.max_pool(nnx.relu(self.conv1(x)), (2, 2), (2, 2))
        x = nnx.max_pool(nnx.relu(self.conv2(x)), (2, 2), (2, 2))
        return self.linear2(nnx.relu(self.linear1(x.reshape(x.shape[0], -1))))

    def loss(self, xs: jax.Array, ys: jax.Array) -> jax.Array:
        """The mean over a mini-batch."""
        return optax.softmax_cross_entropy_with_integer_labels(self(xs), ys).mean()


class After(Before):
    """With fnnet's."""

    def __init__(self, rngs: nnx.Rngs):
        """Draws the same parameters."""
        self.conv1 = flax_layers.Conv(1, 32, (3, 3), rngs=rngs)
        self.conv2 = flax_layers.Conv(32, 64, (3, 3), rngs=rngs)
        self.linear1 = flax_layers.Linear(7 * 7 * 64, 128, rngs=rngs)
        self.linear2 = flax_layers.Linear(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of a mini-batch."""
        x = fnnet.max_pool(fnnet.relu(self.conv1(x)), 2)
        x = fnnet.max_pool(fnnet.relu(self.conv2(x)), 2)
        return self.linear2(fnnet.relu(self.linear1(x.reshape(x.shape[0], -1))))

    def loss(self, xs: jax.Array, ys: jax.Array) -> jax.Array:
        """The mean over a mini-batch."""
        return fnnet.mean_loss(fnnet.softmax_cross_entropy, self(xs), ys)


def start(ours: bool) -> tuple:
    model = (After if ours else Before)(nnx.Rngs(0))
    return model, nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)


@nnx.jit
def update(model: Before, optimizer: nnx.Optimizer, xs: jax.Array, ys: jax.Array) -> jax.Array:
    """One step, which changes both in place."""
    loss, gradients = nnx.value_and_grad(lambda model: model.loss(xs, ys))(model)
    optimizer.update(model, gradients)
    return loss


def step(state: tuple, xs: Any, ys: Any) -> tuple:
    return state, update(*state, xs, ys)
