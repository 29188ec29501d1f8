"""Right hand-written rules that XLA compiles wrongly on CPUs by default.

RULES = [(name, custom_vjp function, reference, args, versions where wrong, what is wrong: "value" or "gradient")].
The reference computes the same in another form, which XLA compiles rightly; autodiff gives its gradient.
CRASHES has the same rows; under jax.jit the process ends, on 0.10.2, in what the last entry names.
"""

import jax
import jax.numpy as jnp
import numpy as np

OLD, BOTH = ("0.10.2",), ("0.10.2", "0.12.0.1")


def drawn(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype("f4"))


def rule(value, backward):
    """A custom_vjp function that keeps its arguments; backward(args, g) -> a cotangent for each."""
    f = jax.custom_vjp(value)
    f.defvjp(lambda *args: (value(*args), args), backward)
    return f


w, x = drawn(1, 3, 3), drawn(2, 40000, 3)


# Kind 1: a product of 2 or 3 long rows and a contraction of 3, reduced along the short axis
def energies_bwd(args, g):
    w, x = args
    y_bar = 2 * g[:, None] * (x @ w.T)
    return y_bar.T @ x, y_bar @ w


energies = rule(lambda w, x: jax.vmap(lambda r: jnp.sum((w @ r) ** 2))(x), energies_bwd)


def largest_bwd(args, g):
    w, x = args
    y_bar = jax.nn.one_hot(jnp.argmax(x @ w.T, 1), len(w)) * g[:, None]
    return y_bar.T @ x, y_bar @ w


largest = rule(lambda w, x: jax.vmap(lambda r: jnp.max(w @ r))(x), largest_bwd)


def bumps_bwd(args, g):
    w, x = args
    y = x @ w.T
    y_bar = -2 * y * jnp.exp(-y * y) * g[:, None]
    return y_bar.T @ x, y_bar @ w


bumps = rule(lambda w, x: jnp.exp(-((w @ x.T) ** 2)).sum(0), bumps_bwd)


def weighted_sum_bwd(args, g):
    t, w, x = args
    total = w.sum(0)
    return g * (w @ x.T).sum(0), jnp.broadcast_to(g * (t @ x), w.shape), g * t[:, None] * total


weighted_sum = rule(lambda t, w, x: (t @ x) @ w.sum(0), weighted_sum_bwd)

# Kind 3: a product with a broadcast scalar on the right, of 4096 numbers or more, then a reduction
a, b = drawn(3, 64, 64), drawn(4, 64, 64)


def scaled_total_bwd(args, g):
    x, t = args
    return jnp.broadcast_to(64 * t * g[:, None], x.shape), 64 * g @ x.sum(1)


scaled_total = rule(lambda x, t: (x @ jnp.broadcast_to(t, (64, 64))).sum(1), scaled_total_bwd)


def variance_bwd(args, g):
    (x,) = args
    return (2 * g[:, None] * (x - x.mean(1, keepdims=True)),)


variance = rule(lambda x: ((x - x @ jnp.full((64, 64), 1 / 64)) ** 2).sum(1), variance_bwd)


def distance_bwd(args, g):
    x, y = args
    d = 0.1 * x.sum(1, keepdims=True) - y
    y_bar = -2 * g[:, None] * d
    return jnp.broadcast_to(-0.1 * y_bar.sum(1, keepdims=True), x.shape), y_bar


distance = rule(lambda x, y: ((x @ jnp.full((64, 64), 0.1) - y) ** 2).sum(1), distance_bwd)


def two_inputs_bwd(args, g):
    (x,) = args
    return (jnp.broadcast_to(0.5 * g.sum(), x.shape),)


two_inputs = rule(lambda x: (x @ jnp.full((2, 64), 0.5)).sum(0), two_inputs_bwd)


def scale_bwd(args, g):
    s, x, base = args
    s_bar = ((x @ jnp.broadcast_to(g, (64, 64))) * base).sum()
    return (
        s_bar,
        jnp.broadcast_to(g * s * base.sum(1)[:, None], x.shape),
        g * s * jnp.broadcast_to(x.sum(1)[:, None], base.shape),
    )


scale = rule(lambda s, x, base: s * (x.sum(1) @ base.sum(1)), scale_bwd)  # x: (inputs, examples)


def mean_row_bwd(args, g):
    x, m = args
    return jnp.broadcast_to(m * g.sum(), x.shape), g.sum() * x.sum()


mean_row = rule(lambda x, m: (x @ jnp.broadcast_to(m, (64, 128))).sum(0), mean_row_bwd)


RULES = [
    ("energies of rows", energies, lambda w, x: ((x @ w.T) ** 2).sum(1), (w, x), OLD, "value"),
    ("largest of three", largest, lambda w, x: (x @ w.T).max(1), (w, x), OLD, "value"),
    ("two bumps", bumps, lambda w, x: jnp.exp(-((x @ w.T) ** 2)).sum(1), (w[:2], x), OLD, "value"),
    ("weighted sum", weighted_sum, lambda t, w, x: t @ (x @ w.sum(0)), (drawn(5, 40000) / 200, w, x), OLD, "gradient"),
    ("total times a scalar", scaled_total, lambda x, t: 64 * t * x.sum(1), (a, drawn(6)), BOTH, "value"),
    (
        "variance by a matrix of means",
        variance,
        lambda x: ((x - x.mean(1, keepdims=True)) ** 2).sum(1),
        (a,),
        BOTH,
        "value",
    ),
    (
        "distance from equal outputs",
        distance,
        lambda x, y: ((0.1 * x.sum(1, keepdims=True) - y) ** 2).sum(1),
        (a, b),
        BOTH,
        "value",
    ),
    (
        "two equal inputs",
        two_inputs,
        lambda x: jnp.broadcast_to(0.5 * x.sum(), (64,)),
        (drawn(7, 64, 2),),
        BOTH,
        "value",
    ),
    ("one scale of a kernel", scale, lambda s, x, base: s * (x.T @ base).sum(), (drawn(8), a, b), BOTH, "gradient"),
    (
        "sums of equal columns",
        mean_row,
        lambda x, m: jnp.broadcast_to(m * x.sum(), (128,)),
        (a, drawn(9)),
        BOTH,
        "value",
    ),
]


# Crashes: a sum of products along one axis of seven or more
def inner_bwd(args, g):
    a, b = args
    return g[:, :, :, None] * b, g[:, :, :, None] * a


inner = rule(lambda a, b: (a * b).sum(3), inner_bwd)


softmax = jax.custom_vjp(lambda z: jax.nn.softmax(z, 3))


def softmax_bwd(p, p_bar):
    return (p * (p_bar - (p * p_bar).sum(3, keepdims=True)),)


softmax.defvjp(lambda z: (jax.nn.softmax(z, 3),) * 2, softmax_bwd)
s = (3, 1, 2, 2, 8, 8, 8)

CRASHES = [
    (
        "inner products, rank 7",
        inner,
        lambda a, b: jnp.einsum("abcdefg,abcdefg->abcefg", a, b),
        (drawn(10, *s), drawn(11, *s)),
        OLD,
        "value",
    ),
    ("softmax, rank 7", softmax, lambda z: jax.nn.softmax(z, 3), (drawn(10, *s),), OLD, "gradient"),
]
