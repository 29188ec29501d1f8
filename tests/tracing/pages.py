"""Networks whose pages the browser's tests click through: each kind of layer that a page draws, small and large."""

import functools

import jax
import jax.numpy as jnp
import optax

import fnnet
from tracing.networks import seen


def output(y, target):
    """A loss that is the output itself, as of one neuron without a loss."""
    return y[..., 0]


def next_token(logits, labels):
    """One number a sequence."""
    return fnnet.softmax_cross_entropy(logits, labels).mean(-1)


def neuron():
    """The neuron of source 004."""
    net = fnnet.Sequential(fnnet.Dense(1), fnnet.relu)
    params = {"dense_0": {"kernel": jnp.array([[-3.0], [-1.0], [2.0]]), "bias": jnp.array([1.0])}}
    return fnnet.trace(net, output, params, jnp.array([1.0, -2.0, 3.0]), 0.0, optimizer=optax.sgd(0.001))


def digits(examples=None):
    """A small CNN with a block of two paths; one digit, or a mini-batch."""
    xs, ys = fnnet.data.digits().train
    block = fnnet.Residual(fnnet.Conv(3, 3), fnnet.relu)
    net = fnnet.Sequential(fnnet.Conv(3, 3), block, fnnet.MaxPool(2), fnnet.Flatten(), fnnet.Dense(10))
    params = net.init(jax.random.key(0), (8, 8, 1))
    rows = 0 if examples is None else slice(examples)
    return fnnet.trace(net, fnnet.softmax_cross_entropy, params, xs[rows], ys[rows], optimizer=optax.sgd(0.1))


def text_network(layer):
    """A few tokens through one layer that mixes them."""
    net = fnnet.Sequential(fnnet.Embedding(7, 4), layer, fnnet.LayerNorm(), fnnet.Dense(7))
    params = net.init(jax.random.key(0), (5,))
    tokens = jnp.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5]])
    return fnnet.trace(net, next_token, params, tokens, jnp.roll(tokens, -1, 1))


def large():
    """A network whose page holds a sample of its arrays."""
    xs, ys = fnnet.data.digits().train
    net = fnnet.Sequential(fnnet.Conv(24, 3), fnnet.relu, fnnet.Conv(24, 3), fnnet.GlobalAvgPool(), fnnet.Dense(10))
    params = net.init(jax.random.key(0), (8, 8, 1))
    return fnnet.trace(net, fnnet.softmax_cross_entropy, params, xs[:32], ys[:32])


def nested():
    """Blocks in blocks, and a number that is missing in one example."""
    inner = fnnet.Residual(fnnet.Dense(3), fnnet.tanh)
    net = fnnet.Sequential(fnnet.Residual(fnnet.Sequential(inner, fnnet.Dense(3))), fnnet.Dense(2))
    params = net.init(jax.random.key(0), (3,))
    x = jnp.array([[1.0, -2.0, 0.5], [jnp.nan, 1.0, 0.0]])
    return fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, jnp.array([0, 1]))


PAGES = {
    "neuron": neuron,
    "digit": digits,
    "mini-batch": lambda: digits(3),
    "two paths and dropout": seen,
    "attention": lambda: text_network(fnnet.Attention(2, causal=True)),
    "recurrence": lambda: text_network(fnnet.LSTM(4)),
    "large": large,
    "nested, with NaN": nested,
}


@functools.cache
def traced(name):
    """The trace of one of them."""
    with jax.numpy_dtype_promotion("standard"):
        return PAGES[name]()
