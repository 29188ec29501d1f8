"""Max-pooling and average-pooling in two dimensions, window by taps."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax

from collection.case import Case, Layer
from collection.circumstances import At, Kink
from collection.draws import normal

TILED = {"window": 2, "stride": 2}
OVERLAPPING = {"window": 2, "stride": 1}


def taps(shape, window, stride):
    """One index into (n, h, w, c) for each tap, row by row."""
    last = [(size - window) // stride * stride + 1 for size in shape[1:3]]
    return [
        (slice(None), slice(i, i + last[0], stride), slice(j, j + last[1], stride))
        for i in range(window)
        for j in range(window)
    ]


def maximum(x, window, stride):
    return jnp.stack([x[tap] for tap in taps(x.shape, window, stride)]).max(0)


def first_maximum(x, window, stride):
    """The reference: XLA's own window, whose gradient goes to the first maximum."""
    size, step = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, size, step, "VALID")


def max_forward(x, window, stride):
    y = maximum(x, window, stride)
    return y, (x, y)


def routed(x, values, window, stride, write="add"):
    """x's cotangent: each tap's values added where the tap lies."""
    x_bar = jnp.zeros_like(x)
    for tap, value in zip(taps(x.shape, window, stride), values, strict=True):
        x_bar = getattr(x_bar.at[tap], write)(value)
    return x_bar


def gradient(x, y, g, window, stride, choose, order=lambda t, window: t, write="add"):
    """choose(stack, y) -> for each tap, a weight for g."""
    stack = jnp.stack([x[tap] for tap in taps(x.shape, window, stride)])
    weights = choose(stack, y).astype(g.dtype)
    values = [weights[order(t, window)] * g for t in range(window * window)]
    return (routed(x, values, window, stride, write),)


def first(stack, y):
    return jnp.arange(len(stack))[:, None, None, None, None] == jnp.argmax(stack, 0)


def last(stack, y):
    return first(stack[::-1], y)[::-1]


def every(stack, y):
    return stack == y


def evenly(stack, y):
    tied = (stack == y).astype(y.dtype)
    return tied / tied.sum(0)


def close(stack, y):
    return jnp.abs(stack - y) < 1e-2


def tied(*shape):
    return np.random.default_rng(3).integers(0, 2, size=shape).astype(np.float32)


def ramp(x, sign):
    """x with its ties broken: the first, or the last, of equals is the largest by a hair."""
    return x - sign * 1e-6 * np.arange(x.size).reshape(x.shape).astype(x.dtype)


def by(choose, **edits):
    return functools.partial(gradient, choose=choose, **edits)


def image():
    return (normal(0, 2, 4, 6, 2),)


def block(*values):
    return np.array(values, np.float32).reshape(1, 2, 2, 1)


# Average-pooling along one axis, with padding or an overhang that does not count.


# Average-pooling along one axis, with padding or an overhang that does not count.


def covered(size, window, stride, pad):
    """For each window of a padded axis, how many entries of the axis it covers; the last window may overhang."""
    starts = np.arange(-pad, size, stride)
    return starts, np.minimum(starts + window, size) - np.maximum(starts, 0)


def mean(x, window, stride, pad):
    starts, counts = covered(len(x), window, stride, pad)
    padded = jnp.pad(x, (pad, window))
    return jnp.stack([padded[s + pad : s + pad + window].sum() for s in starts]) / counts.astype(x.dtype)


def mean_gradient(x, g, window, stride, pad, divide=lambda g, counts, window: g / counts, shift=0, reach=None):
    starts, counts = covered(len(x), window, stride, pad)
    shares = divide(g, counts.astype(g.dtype), window)
    padded = jnp.zeros(len(x) + pad + window + abs(shift), g.dtype)
    for s, share in zip(starts, shares, strict=True):
        padded = padded.at[s + pad : s + pad + (reach or window)].add(share)
    return (padded[pad + shift : pad + shift + len(x)],)


def unpooled(x, places, size):
    """x put where `places` say, in order: of two values for one place the last one stays."""
    y = jnp.zeros(size, x.dtype)
    for i, place in enumerate(places):
        y = y.at[place].set(x[i])
    return y


def total(x):
    return x.mean((0, 1))


max_pool = Layer("max-pooling", maximum, max_forward, image, TILED, first_maximum)
avg_pool = Layer(
    "average-pooling",
    mean,
    lambda x, window, stride, pad: (mean(x, window, stride, pad), (x,)),
    lambda: (normal(1, 7),),
    {"window": 3, "stride": 2, "pad": 1},
)
unpool = Layer(
    "unpooling",
    unpooled,
    lambda x, places, size: (unpooled(x, places, size), (x,)),
    lambda: (normal(2, 4),),
    {"places": (0, 4, 2, 4), "size": 6},
)
globally = Layer("global average-pooling", total, lambda x: (total(x), (x,)), lambda: (normal(3, 4, 5, 2),))

CASES: list[Case] = [
    max_pool.right("its rule", by(first)),
    max_pool.right("with overlapping windows", by(first), static=OVERLAPPING),
    max_pool.right("with ties", by(first), "first maximum, as in XLA", args=lambda: (tied(2, 4, 6, 2),)),
    max_pool.right("where the stride does not divide", by(first), args=lambda: (normal(0, 1, 5, 7, 1),)),
    avg_pool.right("its rule", mean_gradient),
    avg_pool.right("with an overhang", mean_gradient, static={"window": 2, "stride": 2, "pad": 0}),
    unpool.right(
        "its rule",
        lambda x, g, places, size: (
            jnp.stack([g[p] if p not in places[i + 1 :] else jnp.zeros((), g.dtype) for i, p in enumerate(places)]),
        ),
    ),
    globally.right("its rule", lambda x, g: (jnp.broadcast_to(g / (x.shape[0] * x.shape[1]), x.shape),)),
    max_pool.wrong(
        "every tied entry gets the whole",
        by(every),
        "two maxima, twice the gradient",
        "E",
        exposed_by=At(lambda: (tied(2, 4, 6, 2),)),
    ),
    max_pool.wrong(
        "entries close to the maximum count",
        by(close),
        "a mask by closeness, 1e-2 wide: entries that are not the maximum get a gradient too",
        "RF",
        args=lambda: (0.05 * normal(0, 2, 4, 6, 2),),
        source="https://github.com/mni-ml/framework/pull/22",
    ),
    max_pool.convention(
        "last maximum",
        by(last),
        ">= in place of >",
        exposed_by=Kink(lambda: (tied(2, 4, 6, 2),), lambda: [(ramp(tied(2, 4, 6, 2), -1),)]),
    ),
    max_pool.convention(
        "evenly among the tied",
        by(evenly),
        "as jnp.max does",
        exposed_by=Kink(
            lambda: (block(1, 1, 0, 0),), lambda: [(block(1 + 1e-6, 1, 0, 0),), (block(1, 1 + 1e-6, 0, 0),)]
        ),
    ),
    max_pool.wrong(
        "overlapping windows overwrite each other",
        by(first, write="set"),
        "an entry that is the maximum of four windows gets the gradient of one",
        static=OVERLAPPING,
        source="https://github.com/FluxML/Flux.jl/issues/1197",
    ),
    max_pool.wrong(
        "rows and columns of the window exchanged",
        by(first, order=lambda t, window: t % window * window + t // window),
        "k // w for k % w",
    ),
    max_pool.wrong(
        "first entry of the window",
        by(lambda stack, y: jnp.arange(4).reshape(4, 1, 1, 1, 1) == jnp.zeros(y.shape, int)),
        "whatever the maximum",
    ),
    max_pool.wrong("spread as a mean", by(lambda stack, y: jnp.full_like(stack, 0.25)), "average-pooling's backward"),
    max_pool.wrong("smallest entry of the window", by(lambda stack, y: first(-stack, y)), "argmin"),
    avg_pool.wrong(
        "divided by the window where the forward counts",
        functools.partial(mean_gradient, divide=lambda g, counts, window: g / window),
        "an overhanging window counts its entries in the forward, the full window in the backward",
        static={"window": 2, "stride": 2, "pad": 0},
        source="https://github.com/pytorch/pytorch/issues/198119",
    ),
    avg_pool.wrong(
        "padding counted",
        functools.partial(mean_gradient, divide=lambda g, counts, window: g / window),
        "the windows at the border get too little",
    ),
    avg_pool.wrong(
        "divided twice", functools.partial(mean_gradient, divide=lambda g, counts, window: g / counts**2), "1 / n^2"
    ),
    avg_pool.wrong("padding not cropped", functools.partial(mean_gradient, shift=-1), "x_bar one entry late"),
    avg_pool.wrong(
        "stride for window", functools.partial(mean_gradient, reach=2), "each window gives to its first two entries"
    ),
    unpool.wrong(
        "overwritten entries get a gradient",
        lambda x, g, places, size: (g[np.array(places)],),
        "the value that did not stay has no effect",
        source="https://github.com/pytorch/pytorch/issues/80204",
    ),
    globally.wrong(
        "divided by one axis only",
        lambda x, g: (jnp.broadcast_to(g / 4, x.shape),),
        "1 / height, not 1 / (height width)",
    ),
]
