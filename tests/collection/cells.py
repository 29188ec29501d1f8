"""The cells of LSTM and GRU, one step."""

import functools

import jax
import jax.numpy as jnp

from collection.case import Case, Layer
from collection.draws import normal

# LSTM: gates i, f, o and candidate n, in this order.


def lstm(x, h, c, w, u, b):
    i, f, o, n = gates(x, h, w, u, b)
    c = f * c + i * n
    return o * jnp.tanh(c), c


def gates(x, h, w, u, b):
    i, f, o, n = jnp.split(x @ w + h @ u + b, 4)
    return *map(jax.nn.sigmoid, (i, f, o)), jnp.tanh(n)


def lstm_bars(
    x,
    h,
    c,
    w,
    u,
    b,
    g,
    cell=lambda c_bar, h_part: c_bar + h_part,
    keep=lambda c_bar, f: c_bar * f,
    out=jnp.tanh,
    biases=lambda i, f, o, n: (i, f, o, n),
    order=lambda i, f, o, n: (i, f, o, n),
):
    i, f, o, n = gates(x, h, w, u, b)
    new = f * c + i * n
    c_bar = cell(g[1], g[0] * o * (1 - jnp.tanh(new) ** 2))
    parts = c_bar * n * i * (1 - i), c_bar * c * f * (1 - f), g[0] * out(new) * o * (1 - o), c_bar * i * (1 - n**2)
    a_bar = jnp.concatenate(order(*parts))
    return (
        w @ a_bar,
        u @ a_bar,
        keep(c_bar, f),
        jnp.outer(x, a_bar),
        jnp.outer(h, a_bar),
        jnp.concatenate(biases(*parts)),
    )


def cell(**edits):
    return functools.partial(lstm_bars, **edits)


# GRU: update z, reset r, candidate n.


def gru(x, h, w, u):
    z, _, n = gru_gates(x, h, w, u)
    return (1 - z) * n + z * h


def gru_gates(x, h, w, u):
    (xz, xr, xn), (hz, hr, hn) = (jnp.split(a, 3) for a in (x @ w, h @ u))
    z, r = jax.nn.sigmoid(xz + hz), jax.nn.sigmoid(xr + hr)
    return z, r, jnp.tanh(xn + r * hn)


def gru_bars(
    x,
    h,
    w,
    u,
    g,
    update=lambda h, n: h - n,
    reset=lambda n_bar, hn: n_bar * hn,
    gated=lambda n_bar, r: n_bar * r,
    direct=lambda g, z: g * z,
):
    z, r, n = gru_gates(x, h, w, u)
    hn = jnp.split(h @ u, 3)[2]
    n_bar = g * (1 - z) * (1 - n**2)
    z_bar, r_bar = g * update(h, n) * z * (1 - z), reset(n_bar, hn) * r * (1 - r)
    by_x, by_h = jnp.concatenate([z_bar, r_bar, n_bar]), jnp.concatenate([z_bar, r_bar, gated(n_bar, r)])
    return w @ by_x, u @ by_h + direct(g, z), jnp.outer(x, by_x), jnp.outer(h, by_h)


def gated_cell(**edits):
    return functools.partial(gru_bars, **edits)


lstm_cell = Layer(
    "LSTM",
    lstm,
    lambda *a: (lstm(*a), a),
    lambda: (normal(0, 3), normal(1, 2), normal(2, 2), normal(3, 3, 8), normal(4, 2, 8), normal(5, 8)),
)


gru_cell = Layer(
    "GRU", gru, lambda *a: (gru(*a), a), lambda: (normal(0, 3), normal(1, 2), normal(2, 3, 6), normal(3, 2, 6))
)


CASES: list[Case] = [
    lstm_cell.right("its rule", lstm_bars),
    gru_cell.right("its rule", gru_bars),
    lstm_cell.wrong(
        "cell's path through the output missing", cell(cell=lambda c_bar, h_part: c_bar), "h_bar does not reach c"
    ),
    lstm_cell.wrong("forget gate missing", cell(keep=lambda c_bar, f: c_bar), "c_bar goes back undiminished"),
    lstm_cell.wrong("tanh missing in the output gate", cell(out=lambda c: c), "c for tanh(c)"),
    lstm_cell.wrong(
        "gates in another order", cell(order=lambda i, f, o, n: (f, i, o, n)), "input and forget gate exchanged"
    ),
    lstm_cell.wrong(
        "one gate's gradient for all biases",
        cell(biases=lambda i, f, o, n: (f, f, f, n)),
        "a name copied and not changed",
        source="https://github.com/hanbt/learn_dl/issues/53",
    ),
    gru_cell.wrong("sign of the update gate", gated_cell(update=lambda h, n: n - h), "z keeps h, not n"),
    gru_cell.wrong("reset gate's path missing", gated_cell(reset=lambda n_bar, hn: 0 * hn), "r_bar is zero"),
    gru_cell.wrong(
        "reset gate applied at the wrong place", gated_cell(gated=lambda n_bar, r: n_bar), "h U_n's cotangent without r"
    ),
    gru_cell.wrong("direct path missing", gated_cell(direct=lambda g, z: 0 * g), "z h gives nothing to h"),
]
