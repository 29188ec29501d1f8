"""Recurrences, unrolled: a plain RNN, a linear recurrence, a fixed point, two directions."""

import functools

import jax
import jax.numpy as jnp

from collection.case import Case, Layer
from collection.circumstances import Mapped
from collection.draws import normal, uniform

# A plain RNN, h_t = tanh(x_t U + h_(t-1) W); all states are given out.


def rnn(xs, h0, w, u):
    def step(h, x):
        h = jnp.tanh(x @ u + h @ w)
        return h, h

    return jax.lax.scan(step, h0, xs)[1]


def rnn_forward(xs, h0, w, u):
    hs = rnn(xs, h0, w, u)
    return hs, (xs, h0, w, u, hs)


def bptt(
    xs,
    h0,
    w,
    u,
    hs,
    g,
    carry=lambda t, h_bar: h_bar,
    before=lambda hs, h0, t: hs[t - 1] if t else h0,
    upstream=lambda g, t: g[t],
):
    """Backward through time; `carry` is what goes on from step t to the step before."""
    h_bar, w_bar, u_bar = jnp.zeros_like(h0), jnp.zeros_like(w), jnp.zeros_like(u)
    xs_bar = [None] * len(xs)
    for t in reversed(range(len(xs))):
        a_bar = (upstream(g, t) + h_bar) * (1 - hs[t] ** 2)
        w_bar += jnp.outer(before(hs, h0, t), a_bar)
        u_bar += jnp.outer(xs[t], a_bar)
        xs_bar[t] = u @ a_bar
        h_bar = carry(t, w @ a_bar)
    return jnp.stack(xs_bar), h_bar, w_bar, u_bar


def through_time(**edits):
    return functools.partial(bptt, **edits)


# A linear recurrence h_t = a_t h_(t-1) + b_t from h = 0.


def linear(a, b):
    h, hs = jnp.zeros((), a.dtype), []
    for t in range(len(a)):
        h = a[t] * h + b[t]
        hs.append(h)
    return jnp.stack(hs)


def linear_bars(a, b, hs, g, coefficient=lambda a, t: a[t + 1]):
    h_bar, b_bar = jnp.zeros((), a.dtype), [None] * len(a)
    for t in reversed(range(len(a))):
        h_bar = g[t] + (coefficient(a, t) * h_bar if t + 1 < len(a) else 0)
        b_bar[t] = h_bar
    b_bar = jnp.stack(b_bar)
    return b_bar * jnp.concatenate([jnp.zeros(1, a.dtype), hs[:-1]]), b_bar


# A fixed point z = tanh(A z + x), by iteration; its gradient by the implicit function theorem. A = tanh(W) / 2n is a
# contraction whatever W is: elsewhere the iteration need not settle, and then the theorem says nothing.


def contraction(w):
    return jnp.tanh(w) / (2 * len(w))


def fixed_point(w, x):
    a = contraction(w)

    def step(z, _):
        return jnp.tanh(a @ z + x), None

    return jax.lax.scan(step, jnp.zeros_like(x), length=60)[0]


def fixed_point_bars(w, x, z, g, solve):
    slope = 1 - z**2
    u = slope * solve(slope[:, None] * contraction(w), g)
    return jnp.outer(u, z) * (1 - jnp.tanh(w) ** 2) / (2 * len(w)), u


def both_ways(x, a, b):
    """x through a, and x back to front through b, as in a bidirectional layer."""
    return x @ a, x[::-1] @ b


recurrence = Layer("RNN", rnn, rnn_forward, lambda: (normal(0, 4, 3), normal(1, 2), normal(2, 2, 2), normal(3, 3, 2)))


scan = Layer(
    "linear recurrence",
    linear,
    lambda a, b: (linear(a, b), (a, b, linear(a, b))),
    lambda: (uniform(0, 5), normal(1, 5)),
)


equilibrium = Layer(
    "fixed point",
    fixed_point,
    lambda w, x: (fixed_point(w, x), (w, x, fixed_point(w, x))),
    lambda: (2 * normal(0, 3, 3), normal(1, 3)),
)


two_ways = Layer(
    "two directions",
    both_ways,
    lambda x, a, b: (both_ways(x, a, b), (x, a, b)),
    lambda: (normal(0, 4, 3), normal(1, 3, 3), normal(2, 3, 3)),
)


def two_ways_bars(x, a, b, g, again):
    first = g[0] @ a.T
    return first + (again(g[1], first) @ b.T)[::-1], x.T @ g[0], x[::-1].T @ g[1]


def implicit(j, g):
    return jnp.linalg.solve(jnp.eye(len(g), dtype=g.dtype) - j.T, g)


CASES: list[Case] = [
    recurrence.right("its rule", bptt),
    scan.right("its rule", linear_bars),
    equilibrium.right(
        "its rule",
        functools.partial(fixed_point_bars, solve=implicit),
        "60 steps in the forward, one solve in the backward",
    ),
    two_ways.right("its rule", functools.partial(two_ways_bars, again=lambda g, first: g), form="rule"),
    two_ways.trap(
        "its rule as a custom_vjp",
        functools.partial(two_ways_bars, again=lambda g, first: g),
        "one direction has no batch where only the other's kernel has one",
        exposed_by=Mapped((False, True, False)),
    ),
    recurrence.wrong(
        "recurrent term missing",
        through_time(carry=lambda t, h_bar: jnp.zeros_like(h_bar)),
        "nothing goes from a step to the one before",
        source="https://github.com/ooples/AiDotNet/pull/722",
    ),
    recurrence.wrong(
        "truncated",
        through_time(carry=lambda t, h_bar: h_bar if t != 2 else jnp.zeros_like(h_bar)),
        "cut after two steps",
        waiver="truncated backpropagation through time is an approximation on purpose",
    ),
    recurrence.wrong(
        "initial state's gradient missing",
        through_time(carry=lambda t, h_bar: h_bar if t else jnp.zeros_like(h_bar)),
        "h0_bar is zero",
    ),
    recurrence.wrong(
        "state of the same step in the kernel's gradient",
        through_time(before=lambda hs, h0, t: hs[t]),
        "h_t for h_(t-1)",
    ),
    recurrence.wrong(
        "initial state forgotten in the kernel's gradient",
        through_time(before=lambda hs, h0, t: hs[t - 1] if t else 0 * h0),
        "zero for h0",
    ),
    recurrence.wrong(
        "time not reversed",
        through_time(upstream=lambda g, t: g[len(g) - 1 - t]),
        "the cotangents of the steps in the wrong order",
    ),
    recurrence.wrong(
        "last step's cotangent only",
        through_time(upstream=lambda g, t: g[t] if t == len(g) - 1 else 0 * g[t]),
        "the other outputs' are dropped",
    ),
    recurrence.wrong(
        "recurrent kernel not transposed", lambda xs, h0, w, u, hs, g: bptt(xs, h0, w.T, u, hs, g), "W for W^T"
    ),
    recurrence.wrong(
        "kernel's gradient divided by the steps",
        lambda *a: (*bptt(*a)[:2], *(bar / 4 for bar in bptt(*a)[2:])),
        "a mean over time",
    ),
    scan.wrong(
        "coefficient of the wrong step",
        functools.partial(linear_bars, coefficient=lambda a, t: a[t]),
        "a_t for a_(t+1)",
    ),
    equilibrium.wrong(
        "one step of the iteration",
        functools.partial(fixed_point_bars, solve=lambda j, g: g),
        "the inverse taken for the identity",
    ),
    equilibrium.wrong(
        "three terms of the series",
        functools.partial(fixed_point_bars, solve=lambda j, g: g + j.T @ (g + j.T @ g)),
        "an approximate inverse",
        waiver="a short Neumann series is an approximation on purpose",
    ),
    equilibrium.wrong(
        "Jacobian not transposed",
        functools.partial(fixed_point_bars, solve=lambda j, g: implicit(j.T, g)),
        "solves the forward's system",
    ),
    two_ways.wrong(
        "cotangent overwritten before its second use",
        functools.partial(two_ways_bars, again=lambda g, first: first),
        "the buffer of dy already holds dx",
        source="https://github.com/apache/mxnet/pull/18203",
    ),
]
