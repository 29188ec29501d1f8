"""Where the rule is not what is wrong: a bad reference, JAX's own batching, or nothing can be told."""

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, as_custom_vjp, saving_inputs
from collection.circumstances import At, Mapped
from collection.draws import normal, uniform


def bad(name, f, reference, args, note, **more):
    return Case(f"reference: {name}", f, args, "bad reference", note, reference, caught_by=frozenset("R"), **more)


def safe_norm(x):
    squares = (x * x).sum(-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def logistic_map(x):
    """Sixty steps of a chaotic map: the derivative grows like 2^60."""
    for _ in range(60):
        x = 3.99 * x * (1 - x)
    return x


def logistic_slope(x, g):
    slope = jnp.ones_like(x)
    for _ in range(60):
        slope, x = slope * 3.99 * (1 - 2 * x), 3.99 * x * (1 - x)
    return (g * slope,)


def hashed(x):
    """Noise of the size of the signal, from the last bits of x."""
    return x + jnp.sin(1e16 * x)


def shared(x, w):
    """The second output has no batch unless w has one."""
    return x * w, w * w


def shared_bars(x, w, g):
    return g[0] * w, g[0] * x + 2 * g[1] * w


sine = as_custom_vjp(lambda x: jnp.sin(x), lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))
norm = as_custom_vjp(
    safe_norm,
    lambda x: (safe_norm(x), x),
    lambda x, g: (g[:, None] * x / jnp.where(safe_norm(x) > 0, safe_norm(x), 1)[:, None],),
)
product = as_custom_vjp(lambda x, y: x * y, lambda x, y: (x * y, (x, y)), lambda r, g: (g * r[1], g * r[0]))
log_sum = as_custom_vjp(
    lambda x: jax.nn.logsumexp(x, axis=-1),
    lambda x: (jax.nn.logsumexp(x, axis=-1), x),
    lambda x, g: (g[..., None] * jax.nn.softmax(x),),
)
binary = as_custom_vjp(
    lambda z: jax.nn.softplus(z), lambda z: (jax.nn.softplus(z), z), lambda z, g: (g * jax.nn.sigmoid(z),)
)
broken_sine = as_custom_vjp(lambda x: jnp.sin(x), lambda x: (jnp.sin(x), x), lambda x, g: (-g * jnp.cos(x),))
chaos = saving_inputs("logistic map", logistic_map, lambda: (uniform(0, 4, low=0.2, high=0.8),))
noise = saving_inputs("noise", hashed, lambda: (normal(0, 4),))
common = saving_inputs("output without a batch", shared, lambda: (normal(0), normal(1)))

BAD: list[Case] = [
    bad(
        "with a wrong rule of its own",
        sine,
        broken_sine,
        lambda: (normal(0, 6),),
        "the reference is a custom_vjp whose sign is wrong",
    ),
    bad(
        "with a forgotten stop_gradient",
        product,
        lambda x, y: x * jax.lax.stop_gradient(y),
        lambda: (normal(0, 6), normal(1, 6)),
        "y has no gradient in it",
    ),
    bad(
        "computed in bf16",
        sine,
        lambda x: jnp.sin(x.astype(jnp.bfloat16)).astype(x.dtype),
        lambda: (normal(0, 6),),
        "three digits",
    ),
    bad(
        "of another function",
        sine,
        lambda x: jnp.sin(x) + 1e-3 * x,
        lambda: (normal(0, 6),),
        "its value is not the rule's either",
    ),
    bad(
        "that rounds",
        sine,
        lambda x: jnp.round(jnp.sin(x) * 1e6) / 1e6,
        lambda: (normal(0, 6),),
        "steps of 1e-6, whose slope is zero",
    ),
    bad(
        "NaN where the rule is right",
        norm,
        lambda x: jnp.sqrt((x * x).sum(-1)),
        lambda: (normal(0, 4, 3),),
        "0 / 0 at a row of zeros",
        exposed_by=At(lambda: (np.concatenate([np.zeros((1, 3), np.float32), normal(0, 3, 3)]),)),
    ),
    bad(
        "false where its branches meet",
        binary,
        lambda z: jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z))),
        lambda: (normal(0, 6),),
        "the usual stable form of softplus: at 0 autodiff takes half of one branch and all of the other",
        exposed_by=At(lambda: (np.zeros(6, np.float32),)),
    ),
    bad(
        "that overflows",
        log_sum,
        lambda x: jnp.log(jnp.exp(x).sum(-1)),
        lambda: (normal(0, 4, 5),),
        "without the shift, at scale 1e3 even in f64",
        exposed_by=At(lambda: (1000 * normal(0, 4, 5),)),
    ),
]

# On jax 0.10.2 silently wrong by the batch size; newer ones raise. fnnet.rule states the sums itself.
TRAPS: list[Case] = [
    common.trap(
        "its rule as a custom_vjp",
        shared_bars,
        "w * w has no batch where only x has one",
        exposed_by=Mapped((True, False)),
    ),
    common.right(
        "as an fnnet.rule",
        shared_bars,
        "the sums over lanes are stated there",
        form="rule",
        forward=lambda x, w: (shared(x, w), (x, w)),
    ),
]

INCONCLUSIVE: list[Case] = [
    Case(
        "nothing to be told: chaos",
        chaos.right("", logistic_slope).f,
        chaos.args,
        "inconclusive",
        "every digit of the derivative is rounding",
    ),
    Case(
        "nothing to be told: noise",
        noise.right("", lambda x, g: (g * (1 + 1e16 * jnp.cos(1e16 * x)),)).f,
        noise.args,
        "inconclusive",
        "no finite difference settles; rule and reference agree only where they round alike",
    ),
]

CASES = [*BAD, *TRAPS, *INCONCLUSIVE]
