"""Right rules of unusual form: odd trees and arguments, other decorators, transformations inside."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnnet
from collection.case import Case, as_custom_vjp, saving_inputs
from collection.draws import normal, uniform


class Pair(NamedTuple):
    mean: jax.Array
    spread: jax.Array


def right(name, f, args, note, reference=None, **more):
    return Case(f"difficult: {name}", f, args, "right", note, reference, **more)


def stepped(x, w):
    """A rule inside a scan."""
    return jax.lax.scan(lambda h, _: (tanh_product(h, w), h.sum()), x, length=5)


tanh_product = as_custom_vjp(
    lambda h, w: jnp.tanh(h * w),
    lambda h, w: (jnp.tanh(h * w), (h, w)),
    lambda residuals, g: tuple(
        g * (1 - jnp.tanh(residuals[0] * residuals[1]) ** 2) * other for other in residuals[::-1]
    ),
)


@jax.custom_gradient
def cubed(x):
    return x**3, lambda g: (3 * g * x**2,)


def symbolic_forward(x, y):
    return x.value * y.value, (x.value, y.value)


def symbolic_backward(residuals, g):
    x, y = residuals
    if isinstance(g, jax.custom_derivatives.SymbolicZero):
        return jnp.zeros_like(x), jnp.zeros_like(y)
    return g * y, g * x


symbolic = jax.custom_vjp(lambda x, y: x * y)


symbolic.defvjp(symbolic_forward, symbolic_backward, symbolic_zeros=True)


remat = jax.custom_vjp(lambda x: jnp.sin(x))


remat.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),), optimize_remat=True)


def biased_fwd(params, x, index, *, power=1):
    """params is a dictionary whose bias may be None; index picks rows of x; power is static."""
    y = x[index] @ params["kernel"]
    y = y if params["bias"] is None else y + params["bias"]
    return y**power, (params, x, index, y)


def biased_bwd(residuals, g, *, power=1):
    params, x, index, y = residuals
    g = g * power * y ** (power - 1)
    kernel_bar = x[index].T @ g
    bias_bar = None if params["bias"] is None else g.sum(0)
    return {"kernel": kernel_bar, "bias": bias_bar}, jnp.zeros_like(x).at[index].add(g @ params["kernel"].T), None


biased = fnnet.rule(biased_fwd, biased_bwd)


def moments(x):
    return Pair(x.mean(), ((x - x.mean()) ** 2).mean()), jnp.argmax(x)


def moments_bars(x, g):
    pair, _ = g
    return (pair.mean / x.size + 2 * pair.spread * (x - x.mean()) / x.size,)


def halving(x):
    """Newton's iteration for the square root, in a loop that JAX cannot differentiate backward."""
    return jax.lax.while_loop(
        lambda carry: carry[0] < 12, lambda carry: (carry[0] + 1, (carry[1] + x / carry[1]) / 2), (0, x)
    )[1]


outputs = saving_inputs("named outputs and an integer", moments, lambda: (normal(0, 6),))


CASES: list[Case] = [
    # Trees and other arguments.
    right(
        "dictionary, integers and a static value",
        biased,
        lambda: ({"kernel": normal(0, 3, 2), "bias": normal(1, 2)}, normal(2, 5, 3), np.array([4, 0, 4], np.int32)),
        "an fnnet.rule",
        static={"power": 2},
    ),
    right(
        "None in a dictionary",
        biased,
        lambda: ({"kernel": normal(0, 3, 2), "bias": None}, normal(2, 5, 3), np.array([4, 0, 4], np.int32)),
        "the bias is not there",
    ),
    outputs.right("its rule", moments_bars, "a NamedTuple, and an index without a gradient"),
    # Ways to write one.
    right("custom_gradient", cubed, lambda: (normal(0, 6),), "another decorator", lambda x: x**3),
    right(
        "symbolic zeros",
        symbolic,
        lambda: (normal(0, 6), normal(1, 6)),
        "defvjp(symbolic_zeros=True)",
        lambda x, y: x * y,
    ),
    right(
        "optimised for remat",
        remat,
        lambda: (normal(0, 6),),
        "defvjp(optimize_remat=True); JAX itself raises at second order",
        lambda x: jnp.sin(x),
    ),
    right(
        "inside a scan",
        stepped,
        lambda: (normal(0, 4), normal(1, 4)),
        "a rule in the loop's body, and a second output",
        lambda x, w: jax.lax.scan(lambda h, _: (jnp.tanh(h * w), h.sum()), x, length=5),
    ),
    right(
        "under checkpoint",
        jax.checkpoint(lambda x, w: tanh_product(tanh_product(x, w), w)),
        lambda: (normal(0, 4), normal(1, 4)),
        "its forward runs twice",
        lambda x, w: jnp.tanh(jnp.tanh(x * w) * w),
    ),
    right(
        "inside jit and vmap",
        jax.jit(jax.vmap(tanh_product, (0, None))),
        lambda: (normal(0, 3, 4), normal(1, 4)),
        "w is not mapped",
        lambda x, w: jnp.tanh(x * w),
    ),
    right(
        "a loop without autodiff of its own",
        as_custom_vjp(halving, lambda x: (halving(x), halving(x)), lambda y, g: (g / (2 * y),)),
        lambda: (uniform(0, 5, low=0.5),),
        "while_loop has no reverse mode: the reference is another function, and the second order raises",
        jnp.sqrt,
    ),
]
