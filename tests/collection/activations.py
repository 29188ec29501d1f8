"""Activation functions."""

import jax
import jax.numpy as jnp

from collection.case import Case, Layer, unpacked
from collection.circumstances import At, SecondOrder
from collection.draws import normal
from collection.elementwise import unary, zero_and_others


def leaky(x, slope):
    return jnp.where(x > 0, x, slope * x)


def leaky_forward(x, slope):
    y = leaky(x, slope)
    return y, (x, y)


def swish(x, beta):
    return x * jax.nn.sigmoid(beta * x)


def density(x):
    return jnp.exp(-x * x / 2) * 0.3989422804014327


def gelu_slope(x):
    return jax.scipy.stats.norm.cdf(x) + x * density(x)


sigmoid = unary("sigmoid", jax.nn.sigmoid)


hard_sigmoid = unary("hard sigmoid", lambda x: jnp.clip(x / 6 + 0.5, 0, 1), lambda: (4 * normal(0, 5, 4),))


tanh = unary("tanh", jnp.tanh)


relu = unary("relu", jax.nn.relu)


leaky_relu = Layer("leaky relu", leaky, leaky_forward, lambda: (normal(0, 5, 4),), {"slope": 0.1})


elu = unary("elu", lambda x: jnp.where(x > 0, x, jnp.expm1(x)), lambda: (normal(0, 5, 4),))


gelu = unary("gelu", lambda x: jax.nn.gelu(x, approximate=False), lambda: (3 * normal(0, 5, 4),))


silu = unary("silu", lambda x: x * jax.nn.sigmoid(x))


beta_swish = Layer("swish", swish, lambda x, beta: (swish(x, beta), (x,)), lambda: (normal(0, 5, 4),), {"beta": 1.5})


softplus = unary("softplus", jax.nn.softplus)


log_sigmoid = unary("log sigmoid", jax.nn.log_sigmoid)


prelu = Layer(
    "prelu",
    lambda x, a: jnp.where(x > 0, x, a * x),
    lambda x, a: (jnp.where(x > 0, x, a * x), (x, a)),
    lambda: (normal(0, 5, 3), normal(1, 3)),
)


@jax.custom_vjp
def sigmoid_slope(y, g):
    return g * y * (1 - y)


sigmoid_slope.defvjp(
    lambda y, g: (sigmoid_slope(y, g), (y,)),
    unpacked(lambda y, g: (jnp.zeros_like(y), g * y * (1 - y))),
)


def cut(forward):
    """The forward with its residuals under stop_gradient."""

    def with_constants(*args):
        output, residuals = forward(*args)
        return output, jax.lax.stop_gradient(residuals)

    return with_constants


CASES: list[Case] = [
    sigmoid.right("its rule", lambda x, y, g: (g * y * (1 - y),)),
    tanh.right("its rule", lambda x, y, g: (g * (1 - y * y),)),
    relu.right("its rule", lambda x, y, g: (jnp.where(y > 0, g, 0),), "slope 0 at 0, as in jax.nn"),
    leaky_relu.right("its rule", lambda x, y, g, slope: (jnp.where(x > 0, g, slope * g),)),
    elu.right("its rule", lambda x, y, g: (jnp.where(x > 0, g, g * (y + 1)),)),
    gelu.right("its rule", lambda x, y, g: (g * gelu_slope(x),)),
    silu.right("its rule", lambda x, y, g: (g * (jax.nn.sigmoid(x) * (1 - y) + y),)),
    softplus.right("its rule", lambda x, y, g: (g * jax.nn.sigmoid(x),)),
    log_sigmoid.right("its rule", lambda x, y, g: (g * jax.nn.sigmoid(-x),)),
    prelu.right("its rule", lambda x, a, g: (jnp.where(x > 0, g, a * g), jnp.where(x > 0, 0, x * g).sum(0))),
    # A wrong formula.
    sigmoid.wrong(
        "input in place of output",
        lambda x, y, g: (g * x * (1 - x),),
        "x (1 - x)",
        source="https://github.com/tensorflow/swift-apis/pull/341",
    ),
    hard_sigmoid.right("its rule", lambda x, y, g: (jnp.where(jnp.abs(x) < 3, g / 6, 0),)),
    hard_sigmoid.wrong(
        "saturation ignored",
        lambda x, y, g: (g / 6,),
        "1/6 outside (-3, 3) too",
        source="https://github.com/pytorch/pytorch/issues/51408",
    ),
    hard_sigmoid.wrong("constant factor forgotten", lambda x, y, g: (jnp.where(jnp.abs(x) < 3, g, 0),), "1 for 1/6"),
    tanh.wrong("square forgotten", lambda x, y, g: (g * (1 - y),), "1 - y, not 1 - y^2"),
    relu.wrong("mask inverted", lambda x, y, g: (jnp.where(x < 0, g, 0),), "passes where x < 0"),
    leaky_relu.wrong(
        "slope on the wrong side", lambda x, y, g, slope: (jnp.where(x > 0, slope * g, g),), "slope where x > 0"
    ),
    leaky_relu.wrong(
        "sign read from the output",
        lambda x, y, g, slope: (jnp.where(y > 0, g, slope * g),),
        "with a negative slope the output's sign is not the input's",
        static={"slope": -2.0},
        source="https://github.com/pytorch/pytorch/issues/31938",
    ),
    elu.wrong("constant of the derivative forgotten", lambda x, y, g: (jnp.where(x > 0, g, g * y),), "y, not y + 1"),
    silu.wrong(
        "product rule: one term only",
        lambda x, y, g: (g * jax.nn.sigmoid(x),),
        "x times the slope of sigmoid is missing",
    ),
    beta_swish.right(
        "its rule",
        lambda x, g, beta: (
            g * (jax.nn.sigmoid(beta * x) + beta * x * jax.nn.sigmoid(beta * x) * jax.nn.sigmoid(-beta * x)),
        ),
    ),
    beta_swish.wrong(
        "static argument ignored",
        lambda x, g, beta: (g * (jax.nn.sigmoid(x) + x * jax.nn.sigmoid(x) * jax.nn.sigmoid(-x)),),
        "the derivative at beta = 1",
    ),
    gelu.wrong("density term missing", lambda x, y, g: (g * jax.scipy.stats.norm.cdf(x),), "x pdf(x) is missing"),
    gelu.wrong(
        "derivative of an approximation",
        lambda x, y, g: (jax.vjp(lambda x: jax.nn.gelu(x, approximate=True), x)[1](g)[0],),
        "exact forward, tanh approximation backward",
    ),
    gelu.wrong(
        "saturates too early",
        lambda x, y, g: (jnp.where(x >= 3.1719, g, g * gelu_slope(x)),),
        "1 from x = 3.17 on: good for bf16, off by 7.5e-3 otherwise",
        source="https://github.com/tenstorrent/tt-metal/issues/54867",
    ),
    prelu.wrong(
        "wrong side for the parameter",
        lambda x, a, g: (jnp.where(x > 0, g, a * g), jnp.where(x > 0, x * g, 0).sum(0)),
        "a_bar from x > 0",
    ),
    # Edge values.
    softplus.wrong(
        "exponential overflows",
        lambda x, y, g: (g * jnp.exp(x) / (1 + jnp.exp(x)),),
        "inf / inf from x = 89 on",
        "E",
        exposed_by=At(lambda: (100 * normal(0, 5, 4),), "float32"),
    ),
    log_sigmoid.wrong(
        "zero at 0",
        lambda x, y, g: (jnp.where(x == 0, 0, g * jax.nn.sigmoid(-x)),),
        "0 where the slope is 1/2: two branches that meet, neither of them taken",
        "E",
        exposed_by=At(zero_and_others),
        source="https://github.com/jax-ml/jax/issues/2140",
    ),
    # The second order.
    tanh.wrong(
        "second order lost: residual under stop_gradient",
        lambda x, y, g: (g * (1 - y * y),),
        "the first order is right",
        "2",
        forward=cut(tanh.forward),
        exposed_by=SecondOrder(),
    ),
    sigmoid.wrong(
        "second order lost: the backward's own rule is wrong",
        lambda x, y, g: (sigmoid_slope(y, g),),
        "sigmoid's slope is a custom_vjp that gives nothing to y",
        "2",
        exposed_by=SecondOrder(),
        source="https://github.com/tensorflow/tensorflow/issues/3767",
    ),
]
