"""Losses of regression and of probabilities."""

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer, saving_inputs
from collection.circumstances import At
from collection.draws import normal, uniform, zeros


def probability_cross_entropy(p, t):
    return -jnp.where(t > 0, t * jnp.log(jnp.where(t > 0, p, 1)), 0).sum(-1)


def huber(x, delta):
    return jnp.where(jnp.abs(x) <= delta, x * x / 2, delta * (jnp.abs(x) - delta / 2))


def binary(logits, targets):
    return jax.nn.softplus(logits) - logits * targets


def divergence(p, q):
    return (p * (jnp.log(p) - jnp.log(q))).sum(-1)


def focal(logits, targets, gamma):
    targets = targets.astype(logits.dtype)
    missed = targets * jax.nn.sigmoid(-logits) + (1 - targets) * jax.nn.sigmoid(logits)
    return binary(logits, targets) * (missed**gamma if gamma else 1)


def focal_bar(logits, targets, g, gamma):
    targets = targets.astype(logits.dtype)
    sign = 2 * targets - 1
    missed = targets * jax.nn.sigmoid(-logits) + (1 - targets) * jax.nn.sigmoid(logits)
    slope = gamma * missed ** (gamma - 1) * missed * (1 - missed)
    return -g * sign * (binary(logits, targets) * slope + missed ** (gamma + 1))


def cosine(a, b):
    return (a * b).sum(-1) / (jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1))


def column(g):
    return g[..., None]


def squared(p, t):
    return ((p - t) ** 2).mean()


on_probabilities = saving_inputs(
    "cross-entropy of probabilities", probability_cross_entropy, lambda: (uniform(0, 4, 5), uniform(1, 4, 5))
)


mse = saving_inputs("mean squared error", squared, lambda: (normal(0, 4, 3), normal(1, 4, 3)))


huber_loss = Layer(
    "Huber loss", huber, lambda x, delta: (huber(x, delta), (x,)), lambda: (3 * normal(0, 16),), {"delta": 2.0}
)


bce = saving_inputs("binary cross-entropy", binary, lambda: (normal(0, 6), uniform(1, 6, low=0, high=1)))


kl = saving_inputs("Kullback-Leibler divergence", divergence, lambda: (uniform(0, 4, 5), uniform(1, 4, 5)))


cosine_similarity = saving_inputs("cosine similarity", cosine, lambda: (normal(0, 4, 3), normal(1, 4, 3)))


hinge = saving_inputs(
    "hinge", lambda s, t: jnp.where(s * t < 1, 1 - s * t, 0), lambda: (normal(0, 8), np.sign(normal(1, 8)))
)


focal_loss = Layer(
    "focal loss",
    focal,
    lambda z, t, gamma: (focal(z, t, gamma), (z, t)),
    lambda: (normal(0, 6), (normal(1, 6) > 0).astype(np.float32)),
    {"gamma": 2.0},
)


def dead_zone(x, g, delta):
    return (g * jnp.clip(x, -delta, delta),)


CASES: list[Case] = [
    on_probabilities.right(
        "its rule",
        lambda p, t, g: (
            jnp.where(t > 0, -column(g) * t / jnp.where(t > 0, p, 1), 0),
            jnp.where(t > 0, -column(g) * jnp.log(jnp.where(t > 0, p, 1)), 0),
        ),
        "zero where the target is zero",
    ),
    huber_loss.right("its rule", dead_zone),
    bce.right("its rule", lambda z, t, g: (g * (jax.nn.sigmoid(z) - t), -g * z)),
    kl.right("its rule", lambda p, q, g: (column(g) * (jnp.log(p) - jnp.log(q) + 1), -column(g) * p / q)),
    hinge.right(
        "its rule",
        lambda s, t, g: (jnp.where(s * t < 1, -g * t, 0), jnp.where(s * t < 1, -g * s, 0)),
        "slope 0 at the kink",
    ),
    # Formulas.
    mse.wrong("factor 2 forgotten", lambda p, t, g: (g * (p - t) / p.size, -g * (p - t) / p.size), "(p - t) / n"),
    mse.wrong(
        "sign of the difference",
        lambda p, t, g: (2 * g * (t - p) / p.size, 2 * g * (p - t) / p.size),
        "target minus prediction",
    ),
    huber_loss.wrong(
        "linear part with slope 1",
        lambda x, g, delta: (g * jnp.where(jnp.abs(x) <= delta, x, jnp.sign(x)),),
        "not delta",
    ),
    huber_loss.wrong(
        "linear part without sign",
        lambda x, g, delta: (g * jnp.where(jnp.abs(x) <= delta, x, delta),),
        "delta on both sides",
    ),
    bce.wrong(
        "sigmoid's slope applied twice",
        lambda z, t, g: (g * (jax.nn.sigmoid(z) - t) * jax.nn.sigmoid(z) * jax.nn.sigmoid(-z), -g * z),
        "fused and unfused mixed up",
    ),
    kl.wrong(
        "constant of p log p forgotten",
        lambda p, q, g: (column(g) * (jnp.log(p) - jnp.log(q)), -column(g) * p / q),
        "no + 1",
    ),
    kl.wrong(
        "derivative of the result for that of the input",
        lambda p, q, g: (column(g) * (jnp.log(p) - jnp.log(q) + 1), -column(g) * p / column(divergence(p, q))),
        "divides by what the forward returned",
        source="https://github.com/fetchai/ledger/pull/1580",
    ),
    hinge.wrong(
        "active outside the margin",
        lambda s, t, g: (jnp.where(s * t > 1, -g * t, 0), jnp.where(s * t > 1, -g * s, 0)),
        "> for <",
    ),
    cosine_similarity.wrong(
        "projection missing",
        lambda a, b, g: tuple(
            column(g) * v / (jnp.linalg.norm(a, axis=-1, keepdims=True) * jnp.linalg.norm(b, axis=-1, keepdims=True))
            for v in (b, a)
        ),
        "the norms taken for constants",
    ),
    # Edges.
    on_probabilities.wrong(
        "0 / 0 at a class without probability",
        lambda p, t, g: (-column(g) * t / p, jnp.where(t > 0, -column(g) * jnp.log(jnp.where(t > 0, p, 1)), 0)),
        "t / p is NaN where both are 0",
        "E",
        exposed_by=At(lambda: (zeros(4, 5), zeros(4, 5))),
    ),
    focal_loss.right(
        "its rule",
        lambda z, t, g, gamma: (focal_bar(z, t, g, gamma), None),
        static={"gamma": 2.0},
        args=lambda: (normal(0, 6), np.array([0, 1, 1, 0, 1, 0], np.int32)),
    ),
    focal_loss.wrong(
        "NaN for a sure hit",
        lambda z, t, g, gamma: (focal_bar(z, t, g, gamma), -g * z),
        "gamma (1 - p)^(gamma - 1) is 0 times infinity where p = 1",
        "E",
        static={"gamma": 0.0},
        exposed_by=At(lambda: (np.full(6, 200, np.float32), np.ones(6, np.float32)), "float32"),
        source="https://github.com/google-deepmind/optax/issues/1267",
    ),
]
