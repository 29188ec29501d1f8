"""Gradients that are false on purpose, right by a reference that says the same; and conventions at kinks."""

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer
from collection.circumstances import Kink
from collection.draws import normal


def stop(x):
    return jax.lax.stop_gradient(x)


def unary(family, primal, args=lambda: (2 * normal(0, 5, 4),), **more):
    return Layer(family, primal, lambda x: (primal(x), (x,)), args, **more)


def at(*values):
    return lambda: (np.array(values, np.float32),)


def beside(values, *steps):
    """For each step, the values moved by it."""
    return lambda: [(np.array(values, np.float64) + step,) for step in steps]


rounding = unary("rounding", lambda x: jnp.round(x))
sign = unary("sign", lambda x: jnp.sign(x))
clip = unary("clip", lambda x: jnp.clip(x, -1, 1), reference=lambda x: jnp.where(jnp.abs(x) < 1, x, jnp.sign(x)))
identity = unary("identity", lambda x: x * 1)
threshold = unary("threshold", lambda x: jnp.where(x > 0, 1, 0).astype(x.dtype))
relu = unary("ReLU", lambda x: jnp.maximum(x, 0), reference=lambda x: jnp.where(x > 0, x, 0))
relu6 = unary(
    "ReLU6", lambda x: jnp.clip(x, 0, 6), reference=lambda x: jnp.where((x > 0) & (x < 6), x, jnp.where(x > 0, 6, 0))
)
absolute = unary("absolute value", lambda x: jnp.abs(x))
maximum = Layer(
    "larger of two",
    jnp.maximum,
    lambda a, b: (jnp.maximum(a, b), (a, b)),
    lambda: (normal(0, 6), normal(1, 6)),
    reference=lambda a, b: jnp.where(a > b, a, b),
)
top = unary("largest entry", lambda x: x.max(), lambda: (normal(0, 5),), reference=lambda x: x[jnp.argmax(x)])

STRAIGHT = "a straight-through estimator: the step itself has no slope"

CASES: list[Case] = [
    # Right once the reference says the same.
    rounding.right(
        "straight through, and the reference too",
        lambda x, g: (g,),
        "the gradient is that of the identity",
        reference=lambda x: x + stop(jnp.round(x) - x),
    ),
    sign.right(
        "straight through in a window, and the reference too",
        lambda x, g: (jnp.where(jnp.abs(x) < 1, g, 0),),
        reference=lambda x: (lambda y: y + stop(jnp.sign(x) - y))(jnp.where(jnp.abs(x) < 1, x, jnp.sign(x))),
    ),
    identity.right(
        "reversed, and the reference too",
        lambda x, g: (-g,),
        "a gradient reversal layer",
        reference=lambda x: 2 * stop(x) - x,
    ),
    identity.right("stopped, and the reference too", lambda x, g: (jnp.zeros_like(g),), "no gradient", reference=stop),
    rounding.right("no slope", lambda x, g: (jnp.zeros_like(g),), "zero almost everywhere, as the truth is"),
    # Wrong by the reference that they have.
    rounding.wrong("straight through", lambda x, g: (g,), "1, where the slope is 0", waiver=STRAIGHT),
    sign.wrong(
        "straight through in a window",
        lambda x, g: (jnp.where(jnp.abs(x) < 1, g, 0),),
        "1 for |x| < 1",
        waiver=STRAIGHT,
    ),
    clip.wrong(
        "straight through", lambda x, g: (g,), "1 outside the bounds too", waiver="what is outside can come back"
    ),
    threshold.wrong(
        "surrogate slope",
        lambda x, g: (g / (1 + jnp.abs(x)) ** 2,),
        "of a soft step",
        waiver="a spiking neuron has no other gradient",
    ),
    identity.wrong("reversed", lambda x, g: (-g,), "-g", waiver="a gradient reversal layer trains an adversary"),
    identity.wrong("scaled down", lambda x, g: (0.1 * g,), "g / 10", waiver="one branch is to learn more slowly"),
    identity.wrong("stopped", lambda x, g: (jnp.zeros_like(g),), "zero", waiver="stop_gradient, by hand"),
    # Conventions.
    relu.right("its rule", lambda x, g: (jnp.where(x > 0, g, 0),), "slope 0 at 0"),
    relu.convention(
        "slope 1 at 0",
        lambda x, g: (jnp.where(x >= 0, g, 0),),
        ">= for >",
        exposed_by=Kink(at(0, 0, 0), beside([0, 0, 0], 1e-6)),
    ),
    relu.convention(
        "slope 1/2 at 0",
        lambda x, g: (jnp.where(x > 0, g, jnp.where(x == 0, g / 2, 0)),),
        "as jnp.maximum has it",
        exposed_by=Kink(at(0, 0, 0), beside([0, 0, 0], 1e-6, -1e-6)),
        source="https://github.com/jax-ml/jax/issues/37821",
    ),
    relu6.convention(
        "slope 1/2 at 0 and 6",
        lambda x, g: (jnp.where((x > 0) & (x < 6), g, jnp.where((x == 0) | (x == 6), g / 2, 0)),),
        "the mean of both sides",
        exposed_by=Kink(at(0, 6, 6), beside([0, 6, 6], 1e-6, -1e-6)),
        source="https://github.com/jax-ml/jax/pull/14682",
    ),
    clip.convention(
        "slope 1 at the bounds",
        lambda x, g: (jnp.where(jnp.abs(x) <= 1, g, 0),),
        "<= for <",
        exposed_by=Kink(at(1, 1, 1), beside([1, 1, 1], -1e-6)),
    ),
    absolute.right("its rule", lambda x, g: (jnp.where(x >= 0, g, -g),), "slope 1 at 0, as in JAX"),
    absolute.convention(
        "slope 0 at 0",
        lambda x, g: (g * jnp.sign(x),),
        "JAX has 1",
        exposed_by=Kink(at(0, 0, 0), beside([0, 0, 0], 1e-6, -1e-6)),
    ),
    maximum.convention(
        "all to the second at a tie",
        lambda a, b, g: (jnp.where(a > b, g, 0), jnp.where(a > b, 0, g)),
        "as PyTorch had it; JAX gives half each",
        reference=jnp.maximum,
        exposed_by=Kink(
            lambda: (normal(0, 6), normal(0, 6)), lambda: [(normal(0, 6) - 1e-6, normal(0, 6).astype(np.float64))]
        ),
        source="https://github.com/pytorch/pytorch/issues/56734",
    ),
    top.convention(
        "last of the largest",
        lambda x, g: (jnp.zeros_like(x).at[len(x) - 1 - jnp.argmax(x[::-1])].set(g),),
        "not the first",
        exposed_by=Kink(at(1, 0, 1), beside([1, 0, 1], np.array([0, 0, 1e-6]))),
    ),
    top.wrong(
        "every one of the largest",
        lambda x, g: (jnp.where(x == x.max(), g, 0),),
        "more than the whole, where there are two",
        "E",
        exposed_by=Kink(at(1, 0, 1), beside([1, 0, 1], np.array([0, 0, 1e-6]), np.array([1e-6, 0, 0]))),
    ),
    absolute.wrong(
        "NaN at 0",
        lambda x, g: (g * x / jnp.abs(x),),
        "0 / 0: no slope of a kink",
        "E",
        exposed_by=Kink(at(0, 0, 0), beside([0, 0, 0], 1e-6)),
    ),
]
