"""A small network with a block of two paths, and its trace, which the tests share."""

import functools

import jax
import jax.numpy as jnp
import optax

import fnnet

loss = functools.partial(fnnet.softmax_cross_entropy, label_smoothing=0.1, class_weights=jnp.array([1.0, 2.0, 0.5]))


def image_network():
    block = fnnet.Residual(fnnet.Conv(2, 3), fnnet.relu, shortcut=fnnet.Conv(2, 1))
    return fnnet.Sequential(fnnet.relu, block, fnnet.MaxPool(2), fnnet.Flatten(), fnnet.Dropout(0.25), fnnet.Dense(3))


@functools.cache
def images(examples=3):
    net = image_network()
    params = net.init(jax.random.key(0), (6, 6, 2))
    x = jax.random.normal(jax.random.key(1), (examples, 6, 6, 2))
    return net, params, x, jnp.arange(examples) % 3


@functools.cache
def seen():
    net, params, x, y = images()
    with jax.numpy_dtype_promotion("standard"):
        return fnnet.trace(net, loss, params, x, y, key=jax.random.key(2), optimizer=optax.sgd(0.1, momentum=0.9))
