"""Functions of each entry on its own: derivatives that are almost right."""

import jax
import jax.numpy as jnp

from collection.case import Case, saving_all, saving_inputs
from collection.circumstances import At, SecondOrder, Structure
from collection.draws import normal, uniform, zeros


def unary(family, primal, args=lambda: (normal(0, 5, 4),), **more):
    """A function of x; the backward gets x, y and g."""
    return saving_all(family, primal, args, **more)


def root_above_one(x):
    """sqrt(x) from 1 on, x below; the root is guarded, so that autodiff of this is right everywhere."""
    return jnp.where(x < 1, x, jnp.sqrt(jnp.where(x < 1, 1, x)))


def zero_and_others():
    return (zeros(3, 2),)


square = unary("square", lambda x: x * x)


guarded_root = unary("guarded root", root_above_one, lambda: (uniform(0, 5, 4),))


power = unary(
    "x to the 3/2",
    lambda x: x * jnp.sqrt(jnp.where(x > 0, x, 0)),
    lambda: (uniform(0, 5, 4),),
    reference=lambda x: jnp.where(x > 0, jnp.where(x > 0, x, 1) ** 1.5, 0),
)


exponential = unary("clipped exponential", lambda x: jnp.exp(jnp.minimum(x, 0.5)))


cosine = unary("cosine", jnp.cos)


sine = unary("sine", jnp.sin)


pulse = unary("(1 - cos x) / x^2", lambda x: 0.5 * jnp.sinc(x / 6.283185307179586) ** 2)


sine_product = saving_inputs("sin(x) y", lambda x, y: jnp.sin(x) * y, lambda: (normal(0, 4), normal(1, 4)))


quotient = saving_inputs("quotient", lambda x, y: x / y, lambda: (normal(0, 4), uniform(1, 4)))


to_the = saving_inputs(
    "x to the y", lambda x, y: jnp.where(x > 0, jnp.where(x > 0, x, 1) ** y, 0), lambda: (uniform(0, 4), uniform(1, 4))
)


remainder = saving_inputs("remainder", jax.lax.rem, lambda: (3 * normal(0, 12), normal(1, 12)))


CASES: list[Case] = [
    guarded_root.right("its rule", lambda x, y, g: (jnp.where(x < 1, g, g * 0.5 / jnp.sqrt(jnp.maximum(x, 1))),)),
    power.right("its rule", lambda x, y, g: (g * 1.5 * jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0),)),
    remainder.right("its rule", lambda a, b, g: (g, -g * jnp.trunc(a / b))),
    exponential.wrong("clip of the forward forgotten", lambda x, y, g: (g * y,), "the clipped entries get a gradient"),
    square.wrong(
        "factor 2 forgotten",
        lambda x, y, g: (g * x,),
        "g x, not 2 g x",
        source="https://github.com/jax-ml/jax/pull/29485",
    ),
    sine_product.wrong(
        "sign of the second argument",
        lambda x, y, g: (g * y * jnp.cos(x), -g * jnp.sin(x)),
        "y_bar negated",
        source="https://github.com/jax-ml/jax/issues/3213",
    ),
    quotient.wrong("denominator not squared", lambda x, y, g: (g / y, -g * x / y), "-x / y, not -x / y^2"),
    remainder.wrong(
        "floor for trunc",
        lambda a, b, g: (g, -g * jnp.floor(a / b)),
        "wrong where the signs differ",
        source="https://github.com/jax-ml/jax/pull/11469",
    ),
    guarded_root.wrong(
        "0 times infinity in the branch not taken",
        lambda x, y, g: (jnp.where(x < 1, g, 0) + jnp.where(x < 1, 0, g) * 0.5 / jnp.sqrt(x),),
        "NaN at 0, where the other branch is taken",
        "E",
        exposed_by=At(zero_and_others),
        source="https://github.com/jax-ml/jax/issues/347",
    ),
    power.wrong(
        "0 / 0 at zero", lambda x, y, g: (1.5 * g * y / x,), "y / x is NaN at 0", "E", exposed_by=At(zero_and_others)
    ),
    to_the.wrong(
        "log 0 in the exponent's gradient",
        lambda x, y, g: (g * y * jnp.where(x > 0, x, 1) ** (y - 1), g * jnp.where(x > 0, x**y, 0) * jnp.log(x)),
        "0 times -inf at x = 0",
        "E",
        exposed_by=At(lambda: (zeros(4), uniform(1, 4, low=1.5))),
    ),
    pulse.wrong(
        "cancels for small arguments",
        lambda x, y, g: (g * (jnp.sin(x) / x**2 - 2 * (1 - jnp.cos(x)) / x**3),),
        "no digit is left at 1e-3 in f32",
        "ED",
        exposed_by=At(lambda: (1e-3 * uniform(0, 5, 4),), "float32"),
    ),
    # Precision.
    cosine.wrong(
        "computed in f32 whatever the dtype",
        lambda x, y, g: (-g * jnp.sin(x.astype(jnp.float32)).astype(x.dtype),),
        "in f64 seven digits",
        "RD",
    ),
    sine.wrong(
        "numerical derivative inside",
        lambda x, y, g: (g * (jnp.sin(x + 1e-2) - jnp.sin(x - 1e-2)) / 2e-2,),
        "a central difference with step 1e-2",
        "RFD",
    ),
    sine.wrong(
        "returns the dtype it computed in",
        lambda x, y, g: (g.astype(jnp.float32) * jnp.cos(x.astype(jnp.float32)),),
        "an f32 cotangent for a bf16 argument",
        "SD",
        form="pair",
        args=lambda: (normal(0, 5, 4).astype(jnp.bfloat16),),
        exposed_by=Structure("bfloat16"),
        source="https://github.com/jax-ml/jax/issues/27144",
    ),
    sine.wrong(
        "second order lost: stop_gradient in the backward",
        lambda x, y, g: (g * jax.lax.stop_gradient(jnp.cos(x)),),
        "the first order is right",
        "2",
        exposed_by=SecondOrder(),
    ),
    square.wrong(
        "second order lost: a saved intermediate is a constant",
        lambda x, y, g: (2 * g * jax.lax.stop_gradient(y / x),),
        "what the forward saved is not seen as a function of x",
        "2",
        exposed_by=SecondOrder(),
        source="https://github.com/pytorch/pytorch/issues/58509",
    ),
]
