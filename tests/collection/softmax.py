"""Softmax, log-softmax, log-sum-exp and sparsemax along the last axis."""

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer, saving_all
from collection.circumstances import At, SecondOrder
from collection.draws import integers, normal


def masked_softmax(x, where):
    """Zero where masked, and on a row that is masked altogether."""
    shifted = jnp.where(where, x, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.where(where.any(-1, keepdims=True), shifted.max(-1, keepdims=True), 0))
    weights = jnp.where(where, jnp.exp(jnp.where(where, x - top, 0)), 0)
    total = weights.sum(-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1)


def masked_logsumexp(x, where):
    top = jax.lax.stop_gradient(jnp.where(where, x, -jnp.inf).max(-1, keepdims=True))
    weights = jnp.where(where, jnp.exp(jnp.where(where, x - top, 0)), 0)
    return jnp.log(weights.sum(-1)) + top[..., 0]


def weighted_logsumexp(x, b):
    top = jax.lax.stop_gradient(x.max(-1, keepdims=True))
    return jnp.log((b * jnp.exp(x - top)).sum(-1)) + top[..., 0]


def sparsemax(z):
    """Projection onto the simplex (Martins and Astudillo 2016, algorithm 1)."""
    descending = -jnp.sort(-z, axis=-1)
    cumulated = jnp.cumsum(descending, axis=-1)
    k = jnp.arange(1, z.shape[-1] + 1).astype(z.dtype)
    size = (1 + k * descending > cumulated).sum(-1, keepdims=True)
    threshold = (jnp.take_along_axis(cumulated, size - 1, axis=-1) - 1) / size.astype(z.dtype)
    return jnp.maximum(z - threshold, 0)


def sparsemax_bar(y, g, support):
    inside = support(y).astype(g.dtype)
    return jnp.where(y > 0, g - (g * inside).sum(-1, keepdims=True) / inside.sum(-1, keepdims=True), 0)


def rows(total):
    return total[..., None]


def mask(first_row=True):
    kept = np.array([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 1], [0, 0, 0, 1, 0]], bool)
    return kept if first_row else kept & np.array([[0], [1], [1], [1]], bool)


def scores():
    return (normal(0, 4, 5),)


softmax = saving_all("softmax", lambda x: jax.nn.softmax(x), scores)
tempered = Layer(
    "softmax with temperature",
    lambda x, temperature: jax.nn.softmax(x / temperature),
    lambda x, temperature: (jax.nn.softmax(x / temperature), (x, jax.nn.softmax(x / temperature))),
    lambda: (normal(0, 4, 5),),
    {"temperature": 2.0},
)
log_softmax = saving_all("log-softmax", lambda x: jax.nn.log_softmax(x), scores)
logsumexp = saving_all("log-sum-exp", lambda x: jax.nn.logsumexp(x, axis=-1), scores)
masked = saving_all("masked softmax", masked_softmax, lambda: (normal(0, 4, 5), mask()))
masked_lse = saving_all("masked log-sum-exp", masked_logsumexp, lambda: (normal(0, 4, 5), mask()))
weighted_lse = saving_all(
    "weighted log-sum-exp", weighted_logsumexp, lambda: (normal(0, 4, 5), 0.5 + np.abs(normal(1, 4, 5)))
)
sparse = saving_all("sparsemax", sparsemax, scores)


def some_zero_weights():
    return normal(0, 4, 5), np.abs(normal(1, 4, 5)) * (integers(2, 3, 4, 5) > 0).astype(np.float32)


CASES: list[Case] = [
    softmax.right("its rule", lambda x, y, g: (y * (g - (g * y).sum(-1, keepdims=True)),)),
    log_softmax.right("its rule", lambda x, y, g: (g - jnp.exp(y) * g.sum(-1, keepdims=True),)),
    logsumexp.right("its rule", lambda x, y, g: (rows(g) * jnp.exp(x - rows(y)),)),
    logsumexp.right(
        "over a wide range",
        lambda x, y, g: (rows(g) * jnp.exp(x - rows(y)),),
        "one entry outweighs the others by e^300",
        args=lambda: (100 * normal(0, 4, 5),),
    ),
    masked.right("its rule", lambda x, where, y, g: (y * (g - (g * y).sum(-1, keepdims=True)), None)),
    masked.right(
        "with a row masked altogether",
        lambda x, where, y, g: (y * (g - (g * y).sum(-1, keepdims=True)), None),
        "its value and its gradient are zero",
        args=lambda: (normal(0, 4, 5), mask(first_row=False)),
    ),
    weighted_lse.right(
        "its rule", lambda x, b, y, g: (rows(g) * b * jnp.exp(x - rows(y)), rows(g) * jnp.exp(x - rows(y)))
    ),
    sparse.right("its rule", lambda x, y, g: (sparsemax_bar(y, g, lambda y: y > 0),), "piecewise linear"),
    softmax.wrong("elementwise derivative", lambda x, y, g: (g * y * (1 - y),), "the diagonal of the Jacobian only"),
    softmax.wrong(
        "product outside the sum", lambda x, y, g: (y * (g - g.sum(-1, keepdims=True)),), "sum(g) for sum(g y)"
    ),
    softmax.wrong("sum term missing", lambda x, y, g: (y * g,), "y g"),
    softmax.wrong(
        "wrong axis",
        lambda x, y, g: (y * (g - (g * y).sum(0, keepdims=True)),),
        "down the columns",
        args=lambda: (normal(0, 4, 4),),
    ),
    softmax.wrong(
        "summed over all rows",
        lambda x, y, g: (y * (g - (g * y).sum()),),
        "one sum for the whole array: right for one row",
        "B",
        args=lambda: (normal(0, 1, 5),),
        exposed_by=At(lambda: (normal(0, 2, 5),)),
    ),
    softmax.wrong("factor y missing", lambda x, y, g: (g - (g * y).sum(-1, keepdims=True),), "g - sum(g y)"),
    softmax.wrong("input in place of output", lambda x, y, g: (x * (g - (g * x).sum(-1, keepdims=True)),), "x for y"),
    softmax.wrong(
        "sum detached from the cotangent",
        lambda x, y, g: (y * (g - (jax.lax.stop_gradient(g) * y).sum(-1, keepdims=True)),),
        "right at first order; the second order lacks a term where it passes through g",
        "2",
        exposed_by=SecondOrder(),
    ),
    tempered.right("its rule", lambda x, y, g, temperature: (y * (g - (g * y).sum(-1, keepdims=True)) / temperature,)),
    tempered.wrong(
        "temperature forgotten",
        lambda x, y, g, temperature: (y * (g - (g * y).sum(-1, keepdims=True)),),
        "not divided by it",
    ),
    log_softmax.wrong(
        "right only where the cotangent sums to one",
        lambda x, y, g: (g - jnp.exp(y),),
        "sum(g) taken for 1, as in a loss",
        "RFL",
    ),
    log_softmax.wrong("elementwise derivative", lambda x, y, g: (g * (1 - jnp.exp(y)),), "g for sum(g)"),
    logsumexp.wrong(
        "without the shift",
        lambda x, y, g: (rows(g) * jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True),),
        "exp(89) is infinite in f32",
        "E",
        exposed_by=At(lambda: (100 * normal(0, 4, 5),), "float32"),
    ),
    logsumexp.wrong("not normalised", lambda x, y, g: (rows(g) * jnp.exp(x),), "exp(x), not softmax(x)"),
    masked.wrong(
        "NaN for a row masked altogether",
        lambda x, where, y, g: (y / y.sum(-1, keepdims=True) * (g - (g * y).sum(-1, keepdims=True)), None),
        "renormalised: 0 / 0",
        "E",
        exposed_by=At(lambda: (normal(0, 4, 5), mask(first_row=False))),
    ),
    masked.wrong(
        "mask forgotten",
        lambda x, where, y, g: (jax.nn.softmax(x) * (g - (g * jax.nn.softmax(x)).sum(-1, keepdims=True)), None),
        "recomputed without it",
    ),
    masked_lse.right(
        "its rule",
        lambda x, where, y, g: (jnp.where(where, rows(g) * jnp.exp(jnp.where(where, x - rows(y), 0)), 0), None),
    ),
    masked_lse.wrong(
        "NaN where masked entries are large",
        lambda x, where, y, g: (jnp.where(where, rows(g), 0) * jnp.exp(x - rows(y)), None),
        "exp of a masked entry overflows, times 0",
        "E",
        exposed_by=At(lambda: (np.where(mask(), normal(0, 4, 5), 100).astype(np.float32), mask()), "float32"),
        source="https://github.com/jax-ml/jax/issues/23842",
    ),
    weighted_lse.wrong(
        "zero where the weight is zero",
        lambda x, b, y, g: (rows(g) * b * jnp.exp(x - rows(y)), jnp.where(b == 0, 0, rows(g) * jnp.exp(x - rows(y)))),
        "b = 0 was replaced by x = -inf, where nothing flows",
        "E",
        exposed_by=At(some_zero_weights),
        source="https://github.com/jax-ml/jax/issues/22398",
    ),
    sparse.wrong(
        "mean over all entries, not over the support",
        lambda x, y, g: (sparsemax_bar(y, g, lambda y: jnp.ones_like(y)),),
        "softmax's habit",
    ),
]
