"""Ten ways for a network not to learn, each planted alone, and what `first_problem` must call it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fnnet


class Planted(NamedTuple):
    """A trouble.

    Args:
        make: make() -> the arguments of `fnnet.trace`, and its keywords.
        layer: The layer that is to be named.
        kind: The problem's kind.
        words: What its sentence must say.
    """

    make: Callable[[], tuple[tuple, dict]]
    layer: str
    kind: str
    words: str


def batch(examples=16, features=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(examples, features)).astype(np.float32), rng.integers(0, classes, examples)


def multilayer(*activations, features=6, width=12, classes=3, seed=0, dtype=jnp.float32):
    layers = [layer for activation in activations for layer in (fnnet.Dense(width), activation)]
    net = fnnet.Sequential(*layers, fnnet.Dense(classes))
    return net, net.init(jax.random.key(seed), (features,), dtype)


def changed(params, layer, entry, by):
    """The parameters with `by` in the place of one array, or by(array)."""
    own = params[layer]
    return params | {layer: own | {entry: by(own[entry]) if callable(by) else by}}


def dead_relu():
    net, params = multilayer(fnnet.relu, fnnet.relu)
    return (net, fnnet.softmax_cross_entropy, changed(params, "dense_2", "bias", lambda b: b - 50.0), *batch()), {}


def saturation():
    net, params = multilayer(fnnet.sigmoid, fnnet.sigmoid)
    return (net, fnnet.softmax_cross_entropy, changed(params, "dense_0", "kernel", lambda k: 60 * k), *batch()), {}


def exploding_depth():
    net, params = multilayer(*[fnnet.relu] * 8)
    params = jax.tree.map(lambda leaf: 8 * leaf, params)
    return (net, fnnet.squared_error, params, batch()[0], np.zeros((16, 3), np.float32)), {}


def zero_initialisation():
    net, params = multilayer(fnnet.relu, fnnet.relu)
    return (net, fnnet.softmax_cross_entropy, jax.tree.map(jnp.zeros_like, params), *batch()), {}


def sigmoid_fwd(z):
    y = jax.nn.sigmoid(z)
    return y, y


def sigmoid_bwd(y, y_bar):
    return (y_bar * y,)  # 1 - y is lost


def wrong_rule():
    net, params = multilayer(fnnet.relu, fnnet.rule(sigmoid_fwd, sigmoid_bwd, batched=("z",)))
    return (net, fnnet.softmax_cross_entropy, params, *batch()), {}


def nan_in_data():
    net, params = multilayer(fnnet.relu)
    x, y = batch()
    x[3, 2] = np.nan
    return (net, fnnet.softmax_cross_entropy, params, x, y), {}


def labels_off_by_one():
    net, params = multilayer(fnnet.relu)
    x, y = batch()
    return (net, fnnet.softmax_cross_entropy, params, x, y + 1), {}


def learning_rate_too_large():
    net, params = multilayer(fnnet.relu)
    return (net, fnnet.softmax_cross_entropy, params, *batch()), {"optimizer": optax.sgd(100.0)}


def dense_fwd(x, kernel, bias):
    return x @ kernel + bias, (x, kernel)


def dense_bwd(kept, y_bar):
    x, kernel = kept
    kernel_bar = jnp.tensordot(x, y_bar, (tuple(range(x.ndim - 1)),) * 2)
    return y_bar @ kernel.T, kernel_bar, jnp.zeros(kernel.shape[-1], kernel.dtype)


def forgotten_bias_gradient():
    net, params = multilayer(fnnet.relu, fnnet.relu)
    own = fnnet.rule(dense_fwd, dense_bwd, batched=("x",))
    return (net, fnnet.softmax_cross_entropy, params, *batch()), {"replace": {"dense_2": own}}


def bf16_underflow():
    """A loss so small that its gradient, passed back through sigmoids, is below what bf16 can tell from 0."""
    net, params = multilayer(*[fnnet.sigmoid] * 3, dtype=jnp.bfloat16)
    x, y = batch()

    def scaled(logits, labels):
        return fnnet.softmax_cross_entropy(logits, labels) * jnp.asarray(2e-37, logits.dtype)

    return (net, scaled, params, jnp.asarray(x, jnp.bfloat16), y), {}


def bf16_update_lost():
    """A step that is smaller than half a unit in the last place of each weight."""
    net, params = multilayer(fnnet.relu, dtype=jnp.bfloat16)
    x, y = batch()
    return (net, fnnet.softmax_cross_entropy, params, jnp.asarray(x, jnp.bfloat16), y), {"optimizer": optax.sgd(1e-5)}


def labels_shifted():
    """Labels 0 to 8 have become 1 to 9: each is a class, and the network knows better."""
    net = fnnet.Sequential(fnnet.Dense(10))
    params = {"dense_0": {"kernel": 5 * jnp.eye(10), "bias": jnp.zeros(10)}}
    labels = np.arange(18) % 9
    return (net, fnnet.softmax_cross_entropy, params, np.eye(10, dtype=np.float32)[labels], labels + 1), {}


PLANTED = {
    "dead ReLU": Planted(dead_relu, "relu_3", "dead ReLU", "100 % of its units"),
    "saturation": Planted(saturation, "sigmoid_1", "saturation", "saturated sigmoid"),
    "exploding depth": Planted(exploding_depth, "", "exploding", "draw smaller weights"),
    "zero initialisation": Planted(zero_initialisation, "dense_4", "zero weights", "every weight of its kernel is 0"),
    "wrong rule": Planted(wrong_rule, "sigmoid_3", "wrong rule", "disagrees with autodiff"),
    "NaN in data": Planted(nan_in_data, "loss", "not finite", "x already has 1 NaN of 96 entries, first in example 3"),
    "label off by one": Planted(labels_off_by_one, "loss", "labels", "run from 1 to 3, one off"),
    "learning rate too large": Planted(learning_rate_too_large, "dense_2", "update too large", "rate too large"),
    "forgotten bias gradient": Planted(forgotten_bias_gradient, "dense_2", "wrong rule", "gradient of bias disagrees"),
    "bf16 underflow": Planted(bf16_underflow, "", "underflow", "underflows in bfloat16"),
    "bf16 update lost": Planted(bf16_update_lost, "dense_2", "update lost", "lost in bfloat16"),
    "labels one off, all of them classes": Planted(labels_shifted, "loss", "labels", "labels off by one"),
}  # fmt: skip
VARIANTS = ("bf16 update lost", "labels one off, all of them classes")  # of two of the ten
