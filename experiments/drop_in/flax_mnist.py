"""The network of Flax's own MNIST example, with batch normalisation, dropout and average-pooling; SGD with momentum.

Source: google/flax, examples/mnist: architecture, learning rate 0.1, momentum 0.9, mini-batches of 128.
"""

import functools
from typing import Any

import jax
import optax
from flax import nnx

import fnnet
from drop_in import flax_layers

OPTIMIZER = optax.sgd(0.1, 0.9)  # one object: `nnx.jit` compiles anew for another

pool = functools.partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))


class Before(nnx.Module):
    """With Flax's functions."""

    conv: type = nnx.Conv
    linear: type = nnx.Linear

    def __init__(self, rngs: nnx.Rngs):
        """Draws the parameters."""
        self.conv1 = self.conv(1, 32, (3, 3), rngs=rngs)
        self.norm1 = nnx.BatchNorm(32, rngs=rngs)
        self.dropout1 = nnx.Dropout(0.025)
        self.conv2 = self.conv(32, 64, (3, 3), rngs=rngs)
        self.norm2 = nnx.BatchNorm(64, rngs=rngs)
        self.linear1 = self.linear(7 * 7 * 64, 256, rngs=rngs)
        self.dropout2 = nnx.Dropout(0.025)
        self.linear2 = self.linear(256, 10, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs) -> jax.Array:
        """Logits of a mini-batch."""
        x = pool(nnx.relu(self.norm1(self.dropout1(self.conv1(x), rngs=rngs))))
        x = pool(nnx.relu(self.norm2(self.conv2(x))))
        x = nnx.relu(self.dropout2(self.linear1(x.reshape(x.shape[0], -1)), rngs=rngs))
        return self.linear2(x)

    def loss(self, xs: jax.Array, ys: jax.Array, rngs: nnx.Rngs) -> jax.Array:
        """The mean over a mini-batch."""
        return optax.softmax_cross_entropy_with_integer_labels(self(xs, rngs), ys).mean()


class After(Before):
    """With fnnet's, where it has them."""

    conv = flax_layers.Conv
    linear = flax_layers.Linear

    def __call__(self, x: jax.Array, rngs: nnx.Rngs) -> jax.Array:
        """Logits of a mini-batch."""
        x = fnnet.avg_pool(fnnet.relu(self.norm1(self.dropout1(self.conv1(x), rngs=rngs))), 2)
        x = fnnet.avg_pool(fnnet.relu(self.norm2(self.conv2(x))), 2)
        x = fnnet.relu(self.dropout2(self.linear1(x.reshape(x.shape[0], -1)), rngs=rngs))
        return self.linear2(x)

    def loss(self, xs: jax.Array, ys: jax.Array, rngs: nnx.Rngs) -> jax.Array:
        """The mean over a mini-batch."""
        return fnnet.mean_loss(fnnet.softmax_cross_entropy, self(xs, rngs), ys)


def start(ours: bool) -> tuple:
    model = (After if ours else Before)(nnx.Rngs(0))
    model.train()
    return model, nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param), nnx.Rngs(0)


@nnx.jit
def update(model: Before, optimizer: nnx.Optimizer, rngs: nnx.Rngs, xs: jax.Array, ys: jax.Array) -> jax.Array:
    """One step, which changes all three in place."""
    loss, gradients = nnx.value_and_grad(lambda model, rngs: model.loss(xs, ys, rngs))(model, rngs)
    optimizer.update(model, gradients)
    return loss


def step(state: tuple, xs: Any, ys: Any) -> tuple:
    return state, update(*state, xs, ys)
