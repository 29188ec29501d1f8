"""fnnet's functions inside modules of Flax and Equinox and in bare JAX: gradients as by that library's own functions.

Each model is written once, with the functions that it calls as an argument.
"""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import fnnet
from external.carried import findings, normal


def convolved(x, kernel, bias):
    """One example's, or a batch's."""
    xs = x if x.ndim == 4 else x[None]
    ys = lax.conv_general_dilated(xs, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias
    return ys if x.ndim == 4 else ys[0]


def pooled(x):
    lead = (1,) * (x.ndim - 3)
    return lax.reduce_window(x, -jnp.inf, lax.max, (*lead, 2, 2, 1), (*lead, 2, 2, 1), "VALID")


OURS = SimpleNamespace(
    conv=lambda x, kernel, bias: fnnet.conv(x, kernel, bias, stride=2),
    pool=lambda x: fnnet.max_pool(x, 2),
    dense=fnnet.dense,
    activation=fnnet.silu,
    loss=lambda logits, labels: fnnet.softmax_cross_entropy(logits, labels),
)
JAX = SimpleNamespace(
    conv=convolved,
    pool=pooled,
    dense=lambda x, kernel, bias: x @ kernel + bias,
    activation=jax.nn.silu,
    loss=lambda logits, labels: -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)[..., 0],
)

XS, LABELS = normal(6, 12, 8, 3), jnp.arange(6) % 5
PARAMS = {"conv": (normal(3, 3, 3, 4), normal(4)), "dense": (normal(4 * 3 * 2, 5), normal(5))}


def test_bare_jax(x64):
    def loss(functions, params, x, label):
        x = functions.pool(functions.activation(functions.conv(x, *params["conv"])))
        return functions.loss(functions.dense(x.reshape(-1), *params["dense"]), label)

    def mean_loss(functions, params):
        return jax.vmap(functools.partial(loss, functions), (None, 0, 0))(params, XS, LABELS).mean()

    ours, theirs = (
        jax.jit(jax.value_and_grad(functools.partial(mean_loss, functions)))(PARAMS) for functions in (OURS, JAX)
    )
    assert findings(ours, theirs) == []


def test_nnx(x64):
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")

    class Model(nnx.Module):
        """With a batch in front, as Flax has it."""

        def __init__(self, ours, rngs):
            self.ours = ours
            self.conv = nnx.Conv(3, 4, (3, 3), 2, param_dtype=jnp.float64, rngs=rngs)
            self.linear = nnx.Linear(4 * 3 * 2, 5, param_dtype=jnp.float64, rngs=rngs)

        def __call__(self, x):
            if not self.ours:
                x = nnx.max_pool(nnx.silu(self.conv(x)), (2, 2), (2, 2))
                return self.linear(x.reshape(x.shape[0], -1))
            x = OURS.conv(x, self.conv.kernel[...], self.conv.bias[...])
            x = OURS.pool(OURS.activation(x))
            return OURS.dense(x.reshape(x.shape[0], -1), self.linear.kernel[...], self.linear.bias[...])

    def loss(model):
        return (OURS if model.ours else JAX).loss(model(XS), LABELS).mean()

    ours, theirs = (nnx.jit(nnx.value_and_grad(loss))(Model(ours, nnx.Rngs(0))) for ours in (True, False))
    assert findings(ours, theirs) == []


def test_equinox(x64):
    eqx = pytest.importorskip("equinox", reason="Equinox is not installed")

    class Model(eqx.Module):
        """Of one example, channels first, as Equinox has it."""

        conv: eqx.nn.Conv2d
        linear: eqx.nn.Linear
        ours: bool = eqx.field(static=True)

        def __init__(self, ours):
            self.conv = eqx.nn.Conv2d(3, 4, 3, 2, padding=1, dtype=jnp.float64, key=jax.random.key(0))
            self.linear = eqx.nn.Linear(4 * 3 * 2, 5, dtype=jnp.float64, key=jax.random.key(1))
            self.ours = ours

        def __call__(self, x):
            if not self.ours:
                x = eqx.nn.MaxPool2d(2, 2)(jax.nn.silu(self.conv(x)))
                return self.linear(x.reshape(-1))
            kernel, bias = jnp.transpose(self.conv.weight, (2, 3, 1, 0)), self.conv.bias.reshape(-1)
            x = fnnet.conv(jnp.moveaxis(x, 0, -1), kernel, bias, stride=2, padding=1)
            x = jnp.moveaxis(fnnet.max_pool(fnnet.silu(x), 2), -1, 0)
            return fnnet.dense(x.reshape(-1), self.linear.weight.T, self.linear.bias)

    def loss(model):
        logits = jax.vmap(model)(jnp.moveaxis(XS, -1, 1))
        return (OURS if model.ours else JAX).loss(logits, LABELS).mean()

    ours, theirs = (
        jax.tree.leaves(eqx.filter_jit(eqx.filter_value_and_grad(loss))(Model(ours))) for ours in (True, False)
    )
    assert findings(ours, theirs) == []
