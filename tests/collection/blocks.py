"""What is computed block by block, so that no large array is ever whole: attention, and a last layer with its loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer
from collection.draws import normal

B = 3  # rows of a block


def starts(rows):
    return range(0, rows, B)


# The last layer and its loss: x (rows, features), kernel (features, classes), one label a row.


def losses(x, kernel, labels):
    z = x @ kernel
    return jax.nn.logsumexp(z, -1) - jnp.take_along_axis(z, labels[:, None], -1)[:, 0]


def losses_forward(x, kernel, labels):
    return losses(x, kernel, labels), (x, kernel, labels, jax.nn.logsumexp(x @ kernel, -1))


def losses_bars(
    x,
    kernel,
    labels,
    log_sum,
    g,
    rows=starts,
    add=lambda total, own: total + own,
    normalised=lambda log_sum, a: log_sum[a : a + B],
    hit=lambda label, classes: label,
    weighted=lambda hits, g: hits * g,
):
    """The right cotangents, and, by its arguments, wrong ones."""
    x_bar, kernel_bar = jnp.zeros_like(x), jnp.zeros_like(kernel)
    for a in rows(len(x)):
        at = slice(a, a + B)
        bar = g[at, None]
        p = jnp.exp(x[at] @ kernel - normalised(log_sum, a)[:, None])
        hits = jax.nn.one_hot(hit(labels[at], kernel.shape[1]), kernel.shape[1], dtype=x.dtype)
        z_bar = p * bar - weighted(hits, bar)
        x_bar = x_bar.at[at].set(z_bar @ kernel.T)
        kernel_bar = add(kernel_bar, x[at].T @ z_bar)
    return x_bar, kernel_bar, None


loss = Layer(
    "loss by blocks",
    losses,
    losses_forward,
    lambda: (normal(0, 7, 4), normal(1, 4, 5), np.array([0, 4, 2, 2, 1, 3, 0], np.int32)),
)


# Causal attention: q, k, v (length, width).


def wide(*arrays):
    """In f32 at least: weights are recomputed from scores and their log-sum, which have to agree to the last digit."""
    return [array.astype(np.promote_types(array.dtype, np.float32)) for array in arrays]


def scores(q, k):
    q, k = wide(q, k)
    return jnp.where(np.arange(len(q))[:, None] >= np.arange(len(k)), q @ k.T, -jnp.inf)


def attend(q, k, v):
    return attend_forward(q, k, v)[0]


def attend_forward(q, k, v):
    """The output is kept before it is rounded: the backward subtracts it from what it is the mean of."""
    o = jax.nn.softmax(scores(q, k)) @ wide(v)[0]
    return o.astype(v.dtype), (q, k, v, o, jax.nn.logsumexp(scores(q, k), -1, keepdims=True))


def attention_bars(
    q,
    k,
    v,
    o,
    log_sum,
    g,
    rows=starts,
    seen=lambda a, length: a + B,
    first=lambda a: a,
    log_sum_of=lambda log_sum, at: log_sum[at],
    delta_of=lambda o, g, at: (o * g)[at].sum(-1, keepdims=True),
    add=lambda total, own, end: total.at[:end].add(own),
):
    """The right cotangents, and, by its arguments, wrong ones."""
    dtype, (q, k, v, o, g) = g.dtype, wide(q, k, v, o, g)
    q_bar, k_bar, v_bar = map(jnp.zeros_like, (q, k, v))
    for a in rows(len(q)):
        at, end = slice(a, a + B), min(seen(a, len(k)), len(k))
        visible = first(a) + np.arange(len(q[at]))[:, None] >= np.arange(end)
        s = jnp.where(visible, q[at] @ k[:end].T, -jnp.inf)
        p = jnp.exp(s - log_sum_of(log_sum, at))
        s_bar = p * (g[at] @ v[:end].T - delta_of(o, g, at))
        q_bar = q_bar.at[at].set(s_bar @ k[:end])
        k_bar, v_bar = add(k_bar, s_bar.T @ q[at], end), add(v_bar, p.T @ g[at], end)
    return q_bar.astype(dtype), k_bar.astype(dtype), v_bar.astype(dtype)


attention = Layer(
    "causal attention by blocks", attend, attend_forward, lambda: (normal(0, 7, 3), normal(1, 7, 3), normal(2, 7, 3))
)


def edited(bars, **edits):
    return functools.partial(bars, **edits)


def whole(rows):
    """The blocks that are complete."""
    return range(0, rows - B + 1, B)


CASES: list[Case] = [
    loss.right("its rule", losses_bars),
    attention.right("its rule", attention_bars),
    loss.wrong("tail left out", edited(losses_bars, rows=whole), "7 rows are two blocks and one row"),
    loss.wrong(
        "tail twice",
        edited(losses_bars, rows=lambda rows: [*whole(rows), rows - B]),
        "the last block begins earlier, so that it is full: the kernel's gradient has two rows twice",
    ),
    loss.wrong("kernel's gradient of the last block", edited(losses_bars, add=lambda _, own: own), "not added up"),
    loss.wrong(
        "kernel's gradient a mean over the blocks",
        edited(losses_bars, add=lambda total, own: total + own / 3),
        "divided by their number",
    ),
    loss.wrong(
        "log-sum of the first block",
        edited(losses_bars, normalised=lambda log_sum, a: log_sum[: min(B, 7 - a)]),
        "read at the same place in each turn of the loop",
    ),
    loss.wrong(
        "log-sum missing",
        edited(losses_bars, normalised=lambda log_sum, a: jnp.zeros_like(log_sum[a : a + B])),
        "exp of the logits, not softmax",
    ),
    loss.wrong(
        "label's term missing", edited(losses_bars, weighted=lambda hits, g: 0 * hits), "the gradient of the log-sum"
    ),
    loss.wrong(
        "label's term not weighted", edited(losses_bars, weighted=lambda hits, g: hits), "as for a cotangent of 1"
    ),
    loss.wrong(
        "label of a block of classes",
        edited(losses_bars, hit=lambda label, classes: label % B),
        "the place within its block of classes, without where that begins",
    ),
    attention.wrong("tail left out", edited(attention_bars, rows=whole), "7 rows are two blocks and one row"),
    attention.wrong(
        "log-sum missing",
        edited(attention_bars, log_sum_of=lambda log_sum, at: 0 * log_sum[at]),
        "weights recomputed without their sum",
    ),
    attention.wrong(
        "log-sum of one number a block",
        edited(attention_bars, log_sum_of=lambda log_sum, at: log_sum[at][:1]),
        "the first row's, for the whole block",
    ),
    attention.wrong(
        "delta missing",
        edited(attention_bars, delta_of=lambda o, g, at: 0),
        "p (o_bar v^T), without the sum of the output times its cotangent",
    ),
    attention.wrong(
        "delta a mean",
        edited(attention_bars, delta_of=lambda o, g, at: (o * g)[at].mean(-1, keepdims=True)),
        "over the width, where it is a sum",
    ),
    attention.wrong(
        "mask within the block",
        edited(attention_bars, first=lambda a: 0),
        "rows counted from the block's beginning",
    ),
    attention.wrong(
        "mask of the next block", edited(attention_bars, first=lambda a: a + 1), "one key of the future is visible"
    ),
    attention.wrong(
        "block on the diagonal skipped",
        edited(attention_bars, seen=lambda a, length: max(a, 1)),
        "keys before the block alone",
    ),
    attention.wrong(
        "keys' gradient of the last block",
        edited(attention_bars, add=lambda total, own, end: total.at[:end].set(own)),
        "set where it is to be added",
    ),
]
