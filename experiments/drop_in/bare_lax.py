"""A convolutional network written in bare `jax.lax`, without any library; Adam by optax."""

import functools
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

import fnnet

OPTIMIZER = optax.adam(1e-3)
SHAPES = {"conv1": (3, 3, 1, 32), "conv2": (3, 3, 32, 64), "dense1": (7 * 7 * 64, 128), "dense2": (128, 10)}

BEFORE = SimpleNamespace(
    conv=lambda x, kernel, bias: (
        lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias
    ),
    pool=lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
    dense=lambda x, kernel, bias: x @ kernel + bias,
    relu=jax.nn.relu,
    loss=lambda logits, ys: -jnp.take_along_axis(jax.nn.log_softmax(logits), ys[:, None], 1).mean(),
)
AFTER = SimpleNamespace(
    conv=fnnet.conv,
    pool=lambda x: fnnet.max_pool(x, 2),
    dense=fnnet.dense,
    relu=fnnet.relu,
    loss=functools.partial(fnnet.mean_loss, fnnet.softmax_cross_entropy),
)


def mean_loss(functions: SimpleNamespace, params: dict, xs: jax.Array, ys: jax.Array) -> jax.Array:
    x = functions.pool(functions.relu(functions.conv(xs, *params["conv1"])))
    x = functions.pool(functions.relu(functions.conv(x, *params["conv2"])))
    x = functions.relu(functions.dense(x.reshape(len(x), -1), *params["dense1"]))
    return functions.loss(functions.dense(x, *params["dense2"]), ys)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def update(ours: bool, state: tuple, xs: jax.Array, ys: jax.Array) -> tuple:
    """One step: the next parameters and state of the optimiser, and the loss."""
    params, opt_state = state
    functions = AFTER if ours else BEFORE
    loss, gradients = jax.value_and_grad(functools.partial(mean_loss, functions))(params, xs, ys)
    updates, opt_state = OPTIMIZER.update(gradients, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), loss


def start(ours: bool) -> tuple:
    draw = jax.nn.initializers.he_normal()
    keys = jax.random.split(jax.random.key(0), len(SHAPES))
    params = {
        name: (draw(key, shape), jnp.zeros(shape[-1])) for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)
    }
    return ours, (params, OPTIMIZER.init(params))


def step(state: tuple, xs: Any, ys: Any) -> tuple:
    ours, own = state
    own, loss = update(ours, own, xs, ys)
    return (ours, own), loss
