"""Rules that others published, in jax.nn, jax.numpy, jax.scipy and optax; each with a plain reference."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from collection.case import Case
from collection.draws import integers, normal, uniform


def right(name, f, reference, args, note="", **static):
    return Case(f"published: {name}", f, args, "right", note, reference, static)


def plain(*shape, seed=0, scale=1):
    return lambda: (scale * normal(seed, *shape),)


def logistic(x):
    """1 / (1 + e^-x), whose autodiff does not overflow."""
    small = jnp.exp(jnp.where(x > 0, -x, x))
    return jnp.where(x > 0, 1, small) / (1 + small)


def softplus(z):
    """log(1 + e^z), which neither overflows nor has a kink for autodiff to trip over."""
    return jnp.where(z > 0, z, 0) + jnp.log1p(jnp.exp(jnp.where(z > 0, -z, z)))


def bits(z, t):
    return t * softplus(-z) + (1 - t) * softplus(z)


def log_sum(x):
    top = lax.stop_gradient(x.max(-1, keepdims=True))
    return jnp.log(jnp.exp(x - top).sum(-1)) + top[..., 0]


def log_softmax(x):
    return x - log_sum(x)[..., None]


def log_sum_of_two(a, b):
    """Of -inf too."""
    return jnp.where(a > b, a, b) + jnp.log1p(jnp.exp(jnp.where(a > b, b - a, a - b)))


def divergence(q, p):
    """The value is finite for classes without probability; the slope there is not, and nothing is asked of it."""
    return jnp.where(p == 0, 0, p * (jnp.log(p) - jnp.log(q))).sum(-1)


def safe_norm(x):
    squares = (x * x).sum(-1)
    return jnp.where(squares > 1e-12, jnp.sqrt(jnp.where(squares > 1e-12, squares, 1)), 1e-6)


def labelled():
    return normal(0, 4, 5), integers(1, 5, 4)


def soft_labelled():
    return normal(0, 4, 5), uniform(1, 4, 5)


def two(*shape):
    return lambda: (normal(0, *shape), normal(1, *shape))


def probabilities():
    return tuple(a / a.sum(-1, keepdims=True) for a in (uniform(0, 4, 5), uniform(1, 4, 5)))


def root(x):
    """y where y^3 + y = x, by Newton's iteration."""

    def newton(f, guess):
        return lax.fori_loop(0, 30, lambda _, y: y - f(y) / (3 * y * y + 1), guess)

    return lax.custom_root(lambda y: y**3 + y - x, jnp.ones_like(x), newton, lambda g, b: b / g(jnp.ones_like(b)))


def unrolled_root(x):
    return lax.scan(lambda y, _: (y - (y**3 + y - x) / (3 * y * y + 1), None), jnp.ones_like(x), length=30)[0]


def linear_solve(a, b):
    return lax.custom_linear_solve(
        lambda x: a @ x, b, lambda _, b: jnp.linalg.solve(a, b), lambda _, b: jnp.linalg.solve(a.T, b)
    )


JAX: list[Case] = [
    right("jax.nn.relu", jax.nn.relu, lambda x: jnp.where(x > 0, x, 0), plain(5, 4), "a custom_jvp"),
    right("jax.nn.relu6", jax.nn.relu6, lambda x: jnp.where(x > 0, jnp.where(x < 6, x, 6), 0), plain(5, 4, scale=6)),
    right("jax.nn.silu", jax.nn.silu, lambda x: x * logistic(x), plain(5, 4)),
    right("jax.nn.sigmoid", jax.nn.sigmoid, logistic, plain(5, 4)),
    right(
        "jax.nn.gelu",
        jax.nn.gelu,
        lambda x: 0.5 * x * (1 + jnp.tanh(np.sqrt(2 / np.pi).item() * (x + 0.044715 * x**3))),
        plain(5, 4),
    ),
    right("jax.nn.softplus", jax.nn.softplus, softplus, plain(5, 4)),
    right("jax.nn.log_sigmoid", jax.nn.log_sigmoid, lambda x: -softplus(-x), plain(5, 4)),
    right("jax.nn.squareplus", jax.nn.squareplus, lambda x: (x + jnp.sqrt(x * x + 4)) / 2, plain(5, 4), "a custom_jvp"),
    right(
        "jax.nn.sparse_plus",
        jax.nn.sparse_plus,
        lambda x: jnp.where(x <= -1, 0, jnp.where(x >= 1, x, (x + 1) ** 2 / 4)),
        plain(5, 4),
        "a custom_jvp",
    ),
    right("jax.nn.elu", jax.nn.elu, lambda x: jnp.where(x > 0, x, jnp.exp(jnp.where(x > 0, 0, x)) - 1), plain(5, 4)),
    right("jax.nn.softmax", jax.nn.softmax, lambda x: jnp.exp(log_softmax(x)), plain(4, 5)),
    right("jax.nn.log_softmax", jax.nn.log_softmax, log_softmax, plain(4, 5)),
    right("jax.nn.logsumexp", lambda x: jax.nn.logsumexp(x, axis=-1), log_sum, plain(4, 5)),
    right("jnp.logaddexp", jnp.logaddexp, log_sum_of_two, two(6), "a custom_jvp"),
    right(
        "jax.scipy.special.xlog1py",
        jax.scipy.special.xlog1py,
        lambda x, y: x * jnp.log(1 + y),
        lambda: (normal(0, 6), uniform(1, 6)),
        "a custom_jvp",
    ),
    right(
        "jax.scipy.special.logit",
        jax.scipy.special.logit,
        lambda p: jnp.log(p) - jnp.log(1 - p),
        lambda: (uniform(0, 6, high=0.7),),
    ),
    right(
        "jax.ops.segment_sum",
        lambda x: jax.ops.segment_sum(x, np.array([0, 2, 2, 0, 1, 0]), 3),
        lambda x: jnp.stack([x[0] + x[3] + x[5], x[4], x[1] + x[2]]),
        plain(6, 2),
    ),
    right("lax.custom_root", root, unrolled_root, lambda: (normal(0),), "an implicit gradient"),
    right(
        "lax.custom_linear_solve",
        linear_solve,
        jnp.linalg.solve,
        lambda: (np.eye(3, dtype=np.float32) * 2 + 0.5 * normal(0, 3, 3), normal(1, 3)),
    ),
]

OPTAX: list[Case] = [
    right(
        "optax.softmax_cross_entropy",
        optax.losses.softmax_cross_entropy,
        lambda z, t: -(t * log_softmax(z)).sum(-1),
        soft_labelled,
    ),
    right(
        "optax.softmax_cross_entropy_with_integer_labels",
        optax.losses.softmax_cross_entropy_with_integer_labels,
        lambda z, i: -jnp.take_along_axis(log_softmax(z), i[:, None], -1)[:, 0],
        labelled,
    ),
    right(
        "optax.sigmoid_binary_cross_entropy",
        optax.losses.sigmoid_binary_cross_entropy,
        bits,
        lambda: (normal(0, 6), uniform(1, 6, low=0, high=1)),
    ),
    right(
        "optax.sigmoid_focal_loss",
        lambda z, t: optax.losses.sigmoid_focal_loss(z, t, gamma=2.0),
        lambda z, t: bits(z, t.astype(z.dtype)) * jnp.where(t == 1, logistic(-z), logistic(z)) ** 2,
        lambda: (normal(0, 6), np.array([0, 1, 1, 0, 1, 0], np.int32)),
        "at labels 0 and 1 it is right by z alone",
    ),
    right(
        "optax.huber_loss",
        optax.losses.huber_loss,
        lambda p, t: jnp.where(jnp.abs(p - t) < 1, (p - t) ** 2 / 2, jnp.abs(p - t) - 0.5),
        two(8),
    ),
    right(
        "optax.log_cosh", optax.losses.log_cosh, lambda p, t: p - t + softplus(2 * (t - p)) - np.log(2).item(), two(6)
    ),
    right(
        "optax.kl_divergence",
        lambda q, p: optax.losses.kl_divergence(jnp.log(q), p),
        divergence,
        probabilities,
    ),
    right(
        "optax.cosine_similarity",
        optax.losses.cosine_similarity,
        lambda a, b: (a * b).sum(-1) / jnp.sqrt((a * a).sum(-1) * (b * b).sum(-1)),
        two(4, 3),
    ),
    right("optax.squared_error", optax.losses.squared_error, lambda p, t: (p - t) * (p - t), two(6)),
    right(
        "optax.safe_norm",
        lambda x: optax.safe_norm(x, 1e-6, axis=-1),
        safe_norm,
        plain(4, 3),
        "the published way round 0",
    ),
    right(
        "optax.poly_loss_cross_entropy",
        optax.losses.poly_loss_cross_entropy,
        lambda z, t: -(t * log_softmax(z)).sum(-1) + 2 * (t * (1 - jnp.exp(log_softmax(z)))).sum(-1),
        soft_labelled,
    ),
]

CASES = [*JAX, *OPTAX]
