"""Rules that are right as they stand and break when transformed, repeated or mapped."""

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer
from collection.circumstances import Interleaved, Mapped, Raises, Repeated, Structure, Value
from collection.draws import normal


def unary(family, primal, residuals, args=lambda: (normal(0, 4, 3),), **more):
    return Layer(family, primal, lambda x: (primal(x), residuals(x)), args, **more)


sine = unary("sine with a memory", lambda x: jnp.sin(x), lambda x: (x,))


plain = unary("sine, traced", lambda x: jnp.sin(x), lambda x: (x,))


centred = Layer(
    "centring",
    lambda x: x - x.mean(-1, keepdims=True),
    lambda x: (x - x.mean(-1, keepdims=True), ()),
    lambda: (normal(0, 5),),
)


shifted = Layer("shift", lambda x, b: x + b, lambda x, b: (x + b, ()), lambda: (normal(0, 3), normal(1, 3)))


tanh = unary("hyperbolic tangent", lambda x: jnp.tanh(x), lambda x: (jnp.tanh(x),))


affine = Layer(
    "affine map",
    lambda p, x: p["scale"] * x + p["shift"],
    lambda p, x: (p["scale"] * x + p["shift"], (p, x)),
    lambda: ({"scale": normal(0, 3), "shift": normal(1, 3)}, normal(2, 3)),
)


both = unary("sine and cosine", lambda x: (jnp.sin(x), jnp.cos(x)), lambda x: (x,))


def remembering(memory):
    """The forward puts its input where the backward looks for it, not into the residuals."""

    def forward(x):
        memory.append(x)
        return jnp.sin(x), ()

    return forward


def of_last(memory):
    return lambda g: (g * jnp.cos(memory[-1]),)


def of_popped(memory):
    return lambda g: (g * jnp.cos(memory.pop()),)


def counting(calls):
    def backward(x, g):
        calls.append(None)
        return (g * jnp.cos(x) * (1 + 1e-3 * (len(calls) - 1)),)

    return backward


LAST: list = []
STACK: list = []


def branching(x, g):
    return (g * jnp.cos(x) if float(jnp.abs(g).sum()) > 0 else jnp.zeros_like(g),)


def with_numpy(x, g):
    return (g * np.cos(np.asarray(x)),)


def with_length(x, g):
    """As many terms of the series of the cosine as the largest entry needs."""
    terms = 10 + int(jnp.abs(x).max())
    return (g * sum((-1) ** k * x ** (2 * k) / np.prod(np.arange(1.0, 2 * k + 1)).item() for k in range(terms)),)


@jax.custom_batching.custom_vmap
def centre(g):
    return g - g.mean()


@centre.def_vmap
def centre_all(axis_size, in_batched, g):
    return g - g.mean(), in_batched[0]


def noisy(x, g):
    return (g * jnp.cos(x) * (1 + 1e-3 * np.random.default_rng().normal()),)


def pade(x):
    return jnp.clip(x * (27 + x * x) / (27 + 9 * x * x), -1, 1)


CASES: list[Case] = [
    plain.right("its rule", lambda x, g: (g * jnp.cos(x),)),
    affine.right("with a dictionary of parameters", lambda p, x, g: ({"scale": g * x, "shift": g}, g * p["scale"])),
    both.right("with two outputs", lambda x, g: (g[0] * jnp.cos(x) - g[1] * jnp.sin(x),)),
    shifted.right("without residuals", lambda g: (g, g)),
    # State outside.
    sine.right("its rule", lambda x, g: (g * jnp.cos(x),)),
    sine.wrong(
        "backward of the last call's input",
        of_last(LAST),
        "two forwards, then two backwards: both of the second",
        "XT",
        forward=remembering(LAST),
        exposed_by=Interleaved(),
        source="https://github.com/pytorch/pytorch/issues/16947",
    ),
    sine.wrong(
        "residual consumed",
        of_popped(STACK),
        "a second backward finds nothing",
        "XT",
        forward=remembering(STACK),
        exposed_by=Repeated(),
    ),
    sine.wrong("depends on how often it was called", counting([]), "a counter in Python", "X", exposed_by=Repeated()),
    sine.wrong("noise of its own", noisy, "a generator without a seed", "XRF", exposed_by=Repeated()),
    # Tracing.
    plain.wrong(
        "branches on a value", branching, "fails under jit: a tracer has no truth", "ST", exposed_by=Raises(jax.jit)
    ),
    plain.wrong("NumPy in the backward", with_numpy, "fails under jit", "ST", exposed_by=Raises(jax.jit)),
    plain.wrong(
        "loop whose length depends on a value", with_length, "fails under jit", "ST", exposed_by=Raises(jax.jit)
    ),
    # Mapping.
    centred.right("its rule", lambda g: (g - g.mean(-1, keepdims=True),), form="rule with x batched"),
    centred.wrong(
        "positive axis in a rule with batch axes",
        lambda g: (g - g.mean(0, keepdims=True),),
        "axis 0 is the batch, once there is one",
        "V",
        form="rule with x batched",
        exposed_by=Mapped((True,)),
    ),
    centred.wrong(
        "all axes in a rule with batch axes",
        lambda g: (g - g.mean(),),
        "one mean for the batch",
        "V",
        form="rule with x batched",
        exposed_by=Mapped((True,)),
    ),
    centred.wrong(
        "batching rule of a piece that forgets the batch",
        lambda g: (centre(g),),
        "a custom_vmap in the backward whose rule takes the mean over the batch too",
        "V",
        exposed_by=Mapped((True,)),
    ),
    shifted.wrong(
        "at most one batch axis",
        lambda g: (g, g.sum(0) if g.ndim == 2 else g),
        "b_bar is not summed over a second one",
        "VB",
        form="rule with x batched",
        exposed_by=Structure(args=lambda: (normal(0, 2, 4, 3), normal(1, 3))),
    ),
    # The forward rule.
    tanh.wrong(
        "forward rule of an approximation",
        lambda y, g: (g * (1 - y * y),),
        "another value once differentiated",
        "P",
        forward=lambda x: (pade(x), (jnp.tanh(x),)),
        exposed_by=Value(),
    ),
    shifted.wrong(
        "forward rule without the shift",
        lambda g: (g, g),
        "b is added in the primal only",
        "P",
        forward=lambda x, b: (x, ()),
        exposed_by=Value(),
    ),
    affine.wrong(
        "forward rule with an argument's old value",
        lambda p, x, g: ({"scale": g * x, "shift": g}, g * p["scale"]),
        "the shift doubled",
        "P",
        forward=lambda p, x: (p["scale"] * x + 2 * p["shift"], (p, x)),
        exposed_by=Value(),
    ),
    # Trees.
    affine.wrong(
        "entries of a dictionary exchanged",
        lambda p, x, g: ({"scale": g, "shift": g * x}, g * p["scale"]),
        "scale's for shift's",
    ),
    affine.wrong(
        "tuple for a dictionary",
        lambda p, x, g: ((g * x, g), g * p["scale"]),
        "another tree",
        "S",
        form="pair",
        exposed_by=Structure(),
    ),
    affine.wrong(
        "entry of a dictionary missing",
        lambda p, x, g: ({"scale": g * x}, g * p["scale"]),
        "no shift",
        "S",
        form="pair",
        exposed_by=Structure(),
    ),
    both.wrong(
        "cotangents of two outputs exchanged",
        lambda x, g: (g[1] * jnp.cos(x) - g[0] * jnp.sin(x),),
        "the cosine's for the sine's",
    ),
    both.wrong("cotangent of the second output dropped", lambda x, g: (g[0] * jnp.cos(x),), "the first alone"),
]
