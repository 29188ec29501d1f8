"""Right rules that a careless checker fails: ill-conditioned, long sums, ties, empty axes, narrow dtypes."""

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer, saving_inputs
from collection.draws import integers, normal, uniform, zeros

BF16, F16 = jnp.bfloat16, np.float16


def cancelling(n):
    """Large terms of which nearly nothing remains."""
    x = 1e4 * normal(0, n)
    return np.concatenate([x, -x * (1 + 1e-4 * normal(1, n))]).astype(np.float32)


def hilbert(n):
    return (1 / (1 + np.arange(n)[:, None] + np.arange(n))).astype(np.float32)


def solve_bars(a, b, x, g):
    b_bar = jnp.linalg.solve(a.T, g)
    return -jnp.outer(b_bar, x), b_bar


def scaled_sum(x, s):
    return s * x.sum()


def ladder(x):
    """cumsum of cumprod: the first entry is in all of the output."""
    return jnp.cumsum(jnp.cumprod(x))


def ladder_bar(x, g):
    tails = jnp.cumsum(g[::-1])[::-1]
    left = jnp.concatenate([jnp.ones(1, x.dtype), jnp.cumprod(x)[:-1]])
    right_to_left = [tails[-1]]
    for i in range(len(x) - 2, -1, -1):
        right_to_left.append(tails[i] + x[i + 1] * right_to_left[-1])
    return (left * jnp.stack(right_to_left[::-1]),)


def gated(x, w):
    """In the dtype of w."""
    return x.astype(w.dtype) * w


def in_f32(x):
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def norm_in_f32(x, scale):
    wide = in_f32(x)
    inverse = jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + 1e-3)
    return (wide * inverse * in_f32(scale)).astype(x.dtype)


def norm_in_f32_bars(x, scale, g):
    wide, bar, s = map(in_f32, (x, g, scale))
    inverse = jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + 1e-3)
    u = bar * s
    x_bar = inverse * u - inverse**3 * wide * (u * wide).mean(-1, keepdims=True)
    return x_bar.astype(x.dtype), (bar * wide * inverse).sum(0).astype(scale.dtype)


whole_sum = saving_inputs("sum", lambda x: x.sum(), lambda: (normal(0, 4, 5),))


weighted = saving_inputs("scaled sum of many", scaled_sum, lambda: (normal(0, 100_000), uniform(1)))


small_slope = saving_inputs("1e-4 sin", lambda x: 1e-4 * jnp.sin(x), lambda: (normal(0, 5, 4),))


fast = saving_inputs("sin 50 x", lambda x: jnp.sin(50 * x), lambda: (normal(0, 5, 4),))


negation = Layer("negation", lambda x: -x, lambda x: (-x, ()), lambda: (normal(0, 4, 3),))


system = Layer(
    "ill-conditioned solve",
    jnp.linalg.solve,
    lambda a, b: (jnp.linalg.solve(a, b), (a, b, jnp.linalg.solve(a, b))),
    lambda: (hilbert(3), normal(0, 3)),
)


floor = saving_inputs("floor", lambda x: jnp.floor(x), lambda: (3 * normal(0, 6),))


sort = saving_inputs("sort with ties", lambda x: jnp.sort(x), lambda: (integers(0, 4, 8).astype(np.float32),))


dense = saving_inputs("product of matrices", lambda x, w: x @ w, lambda: (normal(0, 4, 3), normal(1, 3, 2)))


rms = saving_inputs("RMS norm in f32 inside", norm_in_f32, lambda: (normal(0, 4, 6), normal(1, 6)))


widened = saving_inputs("f32 out of bf16", gated, lambda: (normal(0, 4, 3).astype(BF16), normal(1, 3)))


scalar = saving_inputs("function of numbers", lambda a, b: jnp.sin(a) * b, lambda: (normal(0), normal(1)))


rows = saving_inputs("sum of each row", lambda x: x.sum(-1), lambda: (normal(0, 4, 3),))


CASES: list[Case] = [
    weighted.right(
        "its rule",
        lambda x, s, g: (jnp.broadcast_to(g * s, x.shape), g * x.sum()),
        "a hundred thousand terms, of both signs",
    ),
    weighted.right(
        "cancelling terms",
        lambda x, s, g: (jnp.broadcast_to(g * s, x.shape), g * x.sum()),
        "four digits are lost",
        args=lambda: (cancelling(40), uniform(1)),
    ),
    system.right("its rule", solve_bars, "condition 500"),
    saving_inputs("running sums of running products", ladder, lambda: (uniform(0, 12, low=0.5, high=2),)).right(
        "its rule", ladder_bar, "entries of very different size"
    ),
    small_slope.right(
        "its rule", lambda x, g: (1e-4 * g * jnp.cos(x),), "a small gradient: an absolute tolerance passes zero for it"
    ),
    fast.right(
        "its rule", lambda x, g: (50 * g * jnp.cos(50 * x),), "a fixed finite difference step is too long for it"
    ),
    floor.right("its rule", lambda x, g: (jnp.zeros_like(x),), "zero is right"),
    whole_sum.right("its rule", lambda x, g: (jnp.broadcast_to(g, x.shape),), "a constant gradient"),
    negation.right("its rule", lambda g: (-g,), "no residuals"),
    negation.right("as a rule", lambda g: (-g,), "no residuals", form="rule with x batched"),
    # Ties and zeros.
    sort.right(
        "its rule", lambda x, g: (jnp.zeros_like(x).at[jnp.argsort(x)].set(g),), "equal entries keep their order"
    ),
    saving_inputs("absolute value of zeros", jnp.abs, lambda: (zeros(4),)).right(
        "its rule", lambda x, g: (jnp.where(x >= 0, g, -g),), "1 at the kink, as in JAX"
    ),
    saving_inputs("ReLU of zeros", jax.nn.relu, lambda: (zeros(4),)).right(
        "its rule", lambda x, g: (jnp.where(x > 0, g, 0),), "0 at the kink"
    ),
    # Sizes.
    rows.right(
        "with no columns",
        lambda x, g: (jnp.broadcast_to(g[:, None], x.shape),),
        "sums of nothing",
        args=lambda: (zeros(4, 0),),
    ),
    rows.right(
        "with no rows",
        lambda x, g: (jnp.broadcast_to(g[:, None], x.shape),),
        "nothing at all",
        args=lambda: (zeros(0, 3),),
    ),
    rows.right(
        "of axes of size 1", lambda x, g: (jnp.broadcast_to(g[:, None], x.shape),), args=lambda: (normal(0, 1, 1),)
    ),
    scalar.right("its rule", lambda a, b, g: (g * b * jnp.cos(a), g * jnp.sin(a)), "no axes"),
    # Dtypes.
    dense.right(
        "in bf16",
        lambda x, w, g: (g @ w.T, x.T @ g),
        "",
        args=lambda: (normal(0, 4, 3).astype(BF16), normal(1, 3, 2).astype(BF16)),
    ),
    dense.right(
        "in f16",
        lambda x, w, g: (g @ w.T, x.T @ g),
        "",
        args=lambda: (normal(0, 4, 3).astype(F16), normal(1, 3, 2).astype(F16)),
    ),
    rms.right(
        "in bf16",
        norm_in_f32_bars,
        "f32 inside, bf16 outside",
        args=lambda: (normal(0, 4, 6).astype(BF16), normal(1, 6).astype(BF16)),
    ),
    rms.right("its rule", norm_in_f32_bars),
    saving_inputs("sine in bf16", lambda x: jnp.sin(x), lambda: (normal(0, 5, 4).astype(BF16),)).right(
        "its rule", lambda x, g: (g * jnp.cos(x),), "fails check_grads"
    ),
    widened.right(
        "its rule",
        lambda x, w, g: ((g * w).astype(x.dtype), (g * x.astype(g.dtype)).sum(0)),
        "the cotangent comes in f32",
    ),
]
