"""`fnnet.decayed` fits the parameters and is what optax's weight decay takes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scaled_tanh import ScaledTanh

import fnnet


class Scaled(fnnet.layers.Layer):
    """Says nothing of its parameters."""

    entries = ("inside",)

    def init(self, key, shape, dtype=jnp.float32):
        return {"inside": {"a": jnp.ones(()), "b": jnp.ones(())}}

    def apply(self, params, x, *, key=None):
        return x * params["inside"]["a"] + params["inside"]["b"]


NET = fnnet.Sequential(
    fnnet.Conv(4, 3),
    fnnet.relu,
    fnnet.Residual(fnnet.Conv(4, 3, padding="SAME"), shortcut=fnnet.Conv(4, 1, bias=False)),
    fnnet.Repeat(fnnet.Residual(fnnet.Conv(4, 1), ScaledTanh()), 2),
    fnnet.Flatten(),
    Scaled(),
    fnnet.Dense(3),
)
CONV = {"kernel": True, "bias": False}
EXPECTED = {
    "conv_0": CONV,
    "residual_2": {"conv_0": CONV, "shortcut": {"kernel": True}},
    "repeat_3": {"conv_0": CONV, "scaled_tanh_1": {"scale": False}},
    "scaled_5": {"inside": {"a": True, "b": True}},
    "dense_6": CONV,
}


def test_kernels_and_what_says_nothing():
    assert fnnet.decayed(NET, (8, 8, 1)) == EXPECTED


def test_of_one_layer():
    assert fnnet.decayed(fnnet.Dense(3), (4,)) == CONV


def test_a_network_of_texts_takes_the_arguments_of_init():
    net = fnnet.Sequential(fnnet.Embedding(5, 4), fnnet.Dense(2))
    expected = {"embedding_0": {"embedding": True}, "dense_1": CONV}
    assert fnnet.decayed(net, (8,)) == fnnet.decayed(net, (8,), jnp.int32) == expected
    layers = fnnet.Tied(fnnet.Embedding(5, 4)), fnnet.Padded(net), fnnet.Sequential(fnnet.Padded(net))
    told = [fnnet.decayed(layer, (8,)) for layer in layers]
    assert told == [{"embedding_0": {"embedding": True}}, expected, {"padded_0": expected}]


def test_optax_takes_it():
    params = jax.tree.map(jnp.ones_like, NET.init(jax.random.key(0), (8, 8, 1)))
    optimizer = optax.add_decayed_weights(0.5, mask=fnnet.decayed(NET, (8, 8, 1)))
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    moved = jax.tree.map(lambda update: bool(np.all(update == 0.5)), updates)
    assert moved == EXPECTED
