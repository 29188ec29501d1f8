"""LSTM and GRU over a whole sequence, with a length: the LSTM from its last step to its first, the GRU forwards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer
from collection.draws import normal


def affine(x, h, w, u):
    return jnp.split(x @ w, len(w.T) // len(h)), jnp.split(h @ u, len(w.T) // len(h))


def in_reverse(time):
    return range(time - 1, -1, -1)


# LSTM: xs (time, features), w (features, 4 hidden), u (hidden, 4 hidden); gates i, f, g, o.


def lstm(xs, w, u, length):
    return lstm_forward(xs, w, u, length)[0]


def lstm_forward(xs, w, u, length):
    h = c = jnp.zeros(len(u), xs.dtype)
    ys, kept = [None] * len(xs), [None] * len(xs)
    for t in in_reverse(len(xs)):
        i, f, g, o = (a + b for a, b in zip(*affine(xs[t], h, w, u), strict=True))
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        new = f * c + i * g
        kept[t] = h, c, new, i, f, g, o
        c = jnp.where(t < length, new, c)
        h = jnp.where(t < length, o * jnp.tanh(new), h)
        ys[t] = jnp.where(t < length, h, 0)
    return jnp.stack(ys), (xs, w, u, length, kept)


def lstm_bars(
    xs,
    w,
    u,
    length,
    kept,
    ys_bar,
    steps=range,
    counts=lambda t, length: t < length,
    order=lambda i, f, g, o: (i, f, g, o),
    before=lambda kept, t: kept[t][0],
    forget=lambda c_bar, f: c_bar * f,
    add=lambda total, own: total + own,
):
    """The right cotangents, and, by its arguments, wrong ones."""
    h_bar = c_bar = jnp.zeros(len(u), xs.dtype)
    w_bar, u_bar, xs_bar = jnp.zeros_like(w), jnp.zeros_like(u), jnp.zeros_like(xs)
    for t in steps(len(xs)):
        _, c, new, i, f, g, o = kept[t]
        is_step = counts(t, length)
        of_h = h_bar + ys_bar[t]
        of_c = c_bar + of_h * o * (1 - jnp.tanh(new) ** 2)
        parts = of_c * g * i * (1 - i), of_c * c * f * (1 - f), of_c * i * (1 - g**2)
        z_bar = jnp.concatenate(order(*parts, of_h * jnp.tanh(new) * o * (1 - o)))
        z_bar = jnp.where(is_step, z_bar, 0)
        xs_bar = xs_bar.at[t].set(w @ z_bar)
        w_bar, u_bar = add(w_bar, jnp.outer(xs[t], z_bar)), add(u_bar, jnp.outer(before(kept, t), z_bar))
        h_bar, c_bar = jnp.where(is_step, u @ z_bar, h_bar), jnp.where(is_step, forget(of_c, f), c_bar)
    return xs_bar, w_bar, u_bar, None


# GRU: gates r, z, n; r multiplies the recurrent product.


def gru(xs, w, u, length):
    return gru_forward(xs, w, u, length)[0]


def gru_forward(xs, w, u, length):
    h = jnp.zeros(len(u), xs.dtype)
    ys, kept = [], []
    for t in range(len(xs)):
        (a_r, a_z, a_n), (q_r, q_z, q_n) = affine(xs[t], h, w, u)
        r, z = jax.nn.sigmoid(a_r + q_r), jax.nn.sigmoid(a_z + q_z)
        n = jnp.tanh(a_n + r * q_n)
        kept.append((h, r, z, n, q_n))
        h = jnp.where(t < length, n + z * (h - n), h)
        ys.append(jnp.where(t < length, h, 0))
    return jnp.stack(ys), (xs, w, u, length, kept)


def gru_bars(
    xs,
    w,
    u,
    length,
    kept,
    ys_bar,
    steps=in_reverse,
    counts=lambda t, length: t < length,
    gated=lambda n_bar, h, u_n, r: (r * n_bar, h, u_n @ (r * n_bar)),
    kept_part=lambda h_bar, z: z * h_bar,
):
    """The right cotangents, and, by its arguments, wrong ones; `gated` is what r does to the candidate's product."""
    h_bar = jnp.zeros(len(u), xs.dtype)
    w_bar, u_bar, xs_bar = jnp.zeros_like(w), jnp.zeros_like(u), jnp.zeros_like(xs)
    u_r, u_z, u_n = jnp.split(u, 3, -1)
    for t in steps(len(xs)):
        h, r, z, n, q_n = kept[t]
        is_step = counts(t, length)
        of_h = h_bar + ys_bar[t]
        n_bar = jnp.where(is_step, of_h * (1 - z) * (1 - n**2), 0)
        r_bar = n_bar * q_n * r * (1 - r)
        z_bar = jnp.where(is_step, of_h * (h - n) * z * (1 - z), 0)
        q_bar, row, through = gated(n_bar, h, u_n, r)
        a_bar = jnp.concatenate([r_bar, z_bar, n_bar])
        xs_bar, w_bar = xs_bar.at[t].set(w @ a_bar), w_bar + jnp.outer(xs[t], a_bar)
        u_bar += jnp.concatenate([jnp.outer(h, r_bar), jnp.outer(h, z_bar), jnp.outer(row, q_bar)], -1)
        h_bar = jnp.where(is_step, u_r @ r_bar + u_z @ z_bar + through + kept_part(of_h, z), h_bar)
    return xs_bar, w_bar, u_bar, None


def of_lstm(**edits):
    return functools.partial(lstm_bars, **edits)


def of_gru(**edits):
    return functools.partial(gru_bars, **edits)


LENGTH = np.int32(3)

lstm_sequence = Layer(
    "LSTM over a sequence",
    lstm,
    lstm_forward,
    lambda: (normal(0, 4, 3), normal(1, 3, 8), normal(2, 2, 8), LENGTH),
)

gru_sequence = Layer(
    "GRU over a sequence",
    gru,
    gru_forward,
    lambda: (normal(0, 4, 3), normal(1, 3, 6), normal(2, 2, 6), LENGTH),
)


CASES: list[Case] = [
    lstm_sequence.right("its rule", lstm_bars),
    gru_sequence.right("its rule", gru_bars),
    lstm_sequence.wrong("gates exchanged", of_lstm(order=lambda i, f, g, o: (f, i, g, o)), "input and forget gate"),
    lstm_sequence.wrong("time not reversed", of_lstm(steps=in_reverse), "the backward goes the way of the forward"),
    lstm_sequence.wrong("length ignored", of_lstm(counts=lambda t, length: True), "steps after the end count"),
    lstm_sequence.wrong(
        "state of the neighbour on the wrong side",
        of_lstm(before=lambda kept, t: kept[max(t - 1, 0)][0]),
        "as if the sequence went forwards",
    ),
    lstm_sequence.wrong(
        "kernels' gradients of the last step", of_lstm(add=lambda total, own: own), "not summed over the steps"
    ),
    lstm_sequence.wrong("forget gate missing", of_lstm(forget=lambda c_bar, f: c_bar), "c_bar goes on undiminished"),
    gru_sequence.wrong(
        "reset gate at the wrong place",
        of_gru(gated=lambda n_bar, h, u_n, r: (n_bar, r * h, r * (u_n @ n_bar))),
        "r multiplies the state before the product, as in the paper of 2014",
    ),
    gru_sequence.wrong("time not reversed", of_gru(steps=range), "from the first step to the last"),
    gru_sequence.wrong("length ignored", of_gru(counts=lambda t, length: True), "steps after the end count"),
    gru_sequence.wrong(
        "update gate's path missing",
        of_gru(kept_part=lambda h_bar, z: 0 * h_bar),
        "z h gives nothing to the step before",
    ),
]
