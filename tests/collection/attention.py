"""Attention of one head, or of groups of heads, with its masks, biases, dropout and rotations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer
from collection.circumstances import At, Mapped
from collection.draws import normal

SCALE = 0.6


def weights(q, k, allowed=None):
    scores = SCALE * q @ k.T
    return jax.nn.softmax(scores if allowed is None else jnp.where(allowed, scores, -1e30))


def attend(q, k, v):
    return weights(q, k) @ v


def forward(q, k, v):
    p = weights(q, k)
    return p @ v, (q, k, v, p)


def through_softmax(p, p_bar):
    return p * (p_bar - (p_bar * p).sum(-1, keepdims=True))


def bars(q, k, v, p, g, softmax=through_softmax, q_scale=SCALE, k_scale=SCALE, mix=lambda p: p.T):
    scores_bar = softmax(p, g @ v.T)
    return q_scale * scores_bar @ k, k_scale * scores_bar.T @ q, mix(p) @ g


def edited(**edits):
    return functools.partial(bars, **edits)


def causal_mask(queries, keys, offset):
    """Query i sees the keys up to i + offset."""
    return np.arange(keys) <= np.arange(queries)[:, None] + offset


def causal(q, k, v):
    """The last query sees the last key."""
    return weights(q, k, causal_mask(len(q), len(k), len(k) - len(q))) @ v


def causal_forward(q, k, v):
    return causal(q, k, v), (q, k, v)


def causal_bars(q, k, v, g, allowed):
    """Nothing goes to a masked score, even where a query sees no key at all and its weights are uniform."""
    mask = allowed(len(q), len(k))

    def through(p, p_bar):
        return jnp.where(mask, through_softmax(p, p_bar), 0)

    return bars(q, k, v, weights(q, k, mask), g, through)


def grouped(q, k, v):
    """q (heads, n, d); k and v (1, m, d): one head of keys for all."""
    return jax.vmap(attend, (0, None, None))(q, k[0], v[0])


def grouped_bars(q, k, v, g, gather):
    each = [bars(one, k[0], v[0], weights(one, k[0]), bar) for one, bar in zip(q, g, strict=True)]
    q_bar, k_bar, v_bar = (jnp.stack(part) for part in zip(*each, strict=True))
    return q_bar, gather(k_bar)[None], gather(v_bar)[None]


def with_log_sum(q, k, v):
    """The output and the log-sum-exp of each row of scores."""
    return attend(q, k, v), jax.nn.logsumexp(SCALE * q @ k.T, axis=-1)


def log_sum_bars(q, k, v, g, both):
    p = weights(q, k)
    scores_bar = through_softmax(p, g[0] @ v.T) + both * g[1][:, None] * p
    return SCALE * scores_bar @ k, SCALE * scores_bar.T @ q, p.T @ g[0]


def capped(q, k, v):
    return jax.nn.softmax(jnp.tanh(q @ k.T)) @ v


def capped_bars(q, k, v, g, slope):
    t = jnp.tanh(q @ k.T)
    p = jax.nn.softmax(t)
    scores_bar = through_softmax(p, g @ v.T) * slope(t)
    return scores_bar @ k, scores_bar.T @ q, p.T @ g


def biased(q, k, v, bias):
    """bias (1, m), the same for every query."""
    return jax.nn.softmax(q @ k.T + bias) @ v


def biased_bars(q, k, v, bias, g, reduce):
    p = jax.nn.softmax(q @ k.T + bias)
    scores_bar = through_softmax(p, g @ v.T)
    return scores_bar @ k, scores_bar.T @ q, p.T @ g, reduce(scores_bar)


def keep(key, like, rate=0.5):
    return jax.random.uniform(key, like.shape, np.float32) > rate


def dropout(x, key):
    return jnp.where(keep(key, x), x / 0.5, 0)


def rotate(x, angle):
    """Pairs of features turned by their angle, as in rotary embeddings."""
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * jnp.cos(angle) - b * jnp.sin(angle), a * jnp.sin(angle) + b * jnp.cos(angle)], -1)


def qkv(queries=4, keys=5):
    return lambda: (normal(0, queries, 3), normal(1, keys, 3), normal(2, keys, 2))


attention = Layer("attention", attend, forward, qkv())
causal_attention = Layer("causal attention", causal, causal_forward, qkv(5, 5))
heads = Layer(
    "attention with shared keys",
    grouped,
    lambda q, k, v: (grouped(q, k, v), (q, k, v)),
    lambda: (normal(0, 2, 4, 3), normal(1, 1, 5, 3), normal(2, 1, 5, 2)),
)
log_sum = Layer("attention with its log-sum", with_log_sum, lambda q, k, v: (with_log_sum(q, k, v), (q, k, v)), qkv())
soft_cap = Layer("attention with capped scores", capped, lambda q, k, v: (capped(q, k, v), (q, k, v)), qkv())
bias = Layer(
    "attention with a bias",
    biased,
    lambda q, k, v, b: (biased(q, k, v, b), (q, k, v, b)),
    lambda: (*qkv()(), normal(3, 1, 5)),
)
drop = Layer(
    "dropout",
    dropout,
    lambda x, key: (dropout(x, key), (x, key)),
    lambda: (normal(0, 4, 6), np.array([0, 7], np.uint32)),
)
rotary = Layer(
    "rotary embedding", rotate, lambda x, a: (rotate(x, a), (x, a)), lambda: (normal(0, 5, 4), normal(1, 5, 2))
)


def rotary_angle_bar(x, a, g):
    return (g * rotate(x, a + np.pi / 2)).reshape(*a.shape[:-1], 2, -1).sum(-2)


def bottom_right(queries, keys):
    return causal_mask(queries, keys, keys - queries)


CASES: list[Case] = [
    attention.right("its rule", bars),
    causal_attention.right("its rule", functools.partial(causal_bars, allowed=bottom_right)),
    causal_attention.right(
        "with more keys than queries", functools.partial(causal_bars, allowed=bottom_right), args=qkv(3, 5)
    ),
    heads.right("its rule", functools.partial(grouped_bars, gather=lambda each: each.sum(0))),
    log_sum.right("its rule", functools.partial(log_sum_bars, both=1), form="rule"),
    log_sum.trap(
        "its rule as a custom_vjp",
        functools.partial(log_sum_bars, both=1),
        "the log-sum has no batch where only the values have one",
        exposed_by=Mapped((False, False, True)),
    ),
    soft_cap.right("its rule", functools.partial(capped_bars, slope=lambda t: 1 - t * t)),
    bias.right("its rule", functools.partial(biased_bars, reduce=lambda s: s.sum(0, keepdims=True))),
    drop.right("its rule", lambda x, key, g: (jnp.where(keep(key, g), g / 0.5, 0), None)),
    rotary.right("its rule", lambda x, a, g: (rotate(g, -a), rotary_angle_bar(x, a, g))),
    attention.wrong("scale missing for the queries", edited(q_scale=1), "q_bar not scaled"),
    attention.wrong("scale missing for the keys", edited(k_scale=1), "k_bar not scaled"),
    attention.wrong(
        "softmax elementwise", edited(softmax=lambda p, p_bar: p * (1 - p) * p_bar), "the diagonal of its Jacobian"
    ),
    attention.wrong(
        "softmax's sum along the queries",
        edited(softmax=lambda p, p_bar: p * (p_bar - (p_bar * p).sum(0, keepdims=True))),
        "axis 0 for axis 1",
    ),
    attention.wrong("softmax's sum missing", edited(softmax=lambda p, p_bar: p * p_bar), "p dp"),
    attention.wrong("weights not transposed", edited(mix=lambda p: p), "p g, not p^T g", args=qkv(4, 4)),
    attention.wrong(
        "cotangents of keys and values exchanged",
        lambda *a: (bars(*a)[0], bars(*a)[2], bars(*a)[1]),
        "of one shape here",
        args=lambda: (normal(0, 4, 3), normal(1, 5, 3), normal(2, 5, 3)),
    ),
    causal_attention.wrong(
        "mask forgotten",
        functools.partial(causal_bars, allowed=lambda n, m: np.ones((n, m), bool)),
        "weights recomputed without it",
    ),
    causal_attention.wrong(
        "mask off by one",
        functools.partial(causal_bars, allowed=lambda n, m: causal_mask(n, m, m - n + 1)),
        "one key of the future",
    ),
    causal_attention.wrong(
        "right only for as many queries as keys",
        functools.partial(causal_bars, allowed=lambda n, m: causal_mask(n, m, 0)),
        "the mask is aligned at the top left in the backward, at the bottom right in the forward",
        "B",
        exposed_by=At(qkv(3, 5)),
    ),
    heads.wrong(
        "first head only",
        functools.partial(grouped_bars, gather=lambda each: each[0]),
        "no sum over the heads that share the keys",
    ),
    heads.wrong(
        "mean over the heads", functools.partial(grouped_bars, gather=lambda each: each.mean(0)), "not the sum"
    ),
    log_sum.wrong(
        "second output's cotangent ignored",
        functools.partial(log_sum_bars, both=0),
        "the log-sum is taken for a by-product",
    ),
    log_sum.wrong("second output's sign", functools.partial(log_sum_bars, both=-1), "subtracted, as in a delta"),
    soft_cap.wrong(
        "slope of the cap forgotten", functools.partial(capped_bars, slope=jnp.ones_like), "tanh taken for the identity"
    ),
    bias.wrong(
        "bias of the first query", functools.partial(biased_bars, reduce=lambda s: s[:1]), "no sum over the queries"
    ),
    drop.wrong(
        "another mask in the backward",
        lambda x, key, g: (jnp.where(keep(jax.random.fold_in(key, 1), g), g / 0.5, 0), None),
        "drawn anew, with another state",
        source="https://github.com/state-spaces/mamba/pull/1023",
    ),
    drop.wrong("not rescaled", lambda x, key, g: (jnp.where(keep(key, g), g, 0), None), "1 / (1 - rate) forgotten"),
    drop.wrong(
        "mask inverted",
        lambda x, key, g: (jnp.where(keep(key, g), 0, g / 0.5), None),
        "what was dropped gets the gradient",
    ),
    rotary.wrong(
        "turned on instead of back", lambda x, a, g: (rotate(g, a), rotary_angle_bar(x, a, g)), "the sine's sign"
    ),
    rotary.wrong(
        "not turned back",
        lambda x, a, g: (g, rotary_angle_bar(x, a, g)),
        "in place, without a backward of its own: g goes through as it is",
        source="https://github.com/naver/croco/issues/49",
    ),
]
