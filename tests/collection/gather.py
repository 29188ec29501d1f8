"""Gathering, scattering, segments and order: gradients that follow an index back."""

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer, saving_inputs
from collection.circumstances import At, Structure
from collection.draws import normal, uniform, zeros


def take(table, index):
    return table[index]


def embed(table, tokens):
    """Row 0 pads: it stands for zeros."""
    return jnp.where((tokens == 0)[..., None], 0, table[tokens])


def segment_sum(x, segment):
    """Into three segments; an x of segment -1 goes nowhere."""
    return jnp.zeros((3, *x.shape[1:]), x.dtype).at[jnp.where(segment < 0, 3, segment)].add(x, mode="drop")


def segment_mean(x, segment):
    return segment_sum(x, segment) / counts(segment, x.dtype)[:, None]


def counts(segment, dtype):
    return jnp.maximum(jnp.zeros(3, dtype).at[segment].add(jnp.ones(segment.shape, dtype)), 1)


def segment_product(x, segment):
    """By a table of which x is in which segment, so that autodiff of this is sure."""
    member = segment == jnp.arange(3, dtype=segment.dtype)[:, None]
    return jnp.where(member, x, 1).prod(1)


def largest(x, k):
    return -jnp.sort(-x)[:k]


def nearest(table, index):
    """Indices beyond the end are taken for the last."""
    return table[jnp.clip(index, 0, len(table) - 1)]


def added(table, index, g):
    return jnp.zeros_like(table).at[index].add(g)


def product_of_others(x, segment):
    same = segment == segment[:, None]
    others = same & ~np.eye(len(x), dtype=bool)
    return jnp.where(others, x, 1).prod(1)


gather = saving_inputs("gather", take, lambda: (normal(0, 5, 3), np.array([1, 4, 1, 0, 1], np.int32)))
embedding = saving_inputs(
    "embedding", embed, lambda: (normal(0, 6, 3), np.array([[1, 0, 2, 2, 1], [0, 5, 1, 0, 3]], np.int32))
)
summing = saving_inputs("segment sum", segment_sum, lambda: (normal(0, 6, 2), np.array([0, 2, 2, -1, 1, 0], np.int32)))
averaging = saving_inputs(
    "segment mean", segment_mean, lambda: (normal(0, 6, 2), np.array([0, 2, 2, 0, 1, 0], np.int32))
)
multiplying = saving_inputs(
    "segment product", segment_product, lambda: (uniform(0, 6), np.array([0, 2, 2, 0, 1, 0], np.int32))
)
clipped = saving_inputs(
    "gather with clipped indices", nearest, lambda: (normal(0, 4, 3), np.array([1, 7, 3, 0, 5], np.int32))
)
along = saving_inputs(
    "take along an axis",
    lambda x, i: jnp.take_along_axis(x, i, 1),
    lambda: (normal(0, 4, 4), np.array([[0, 3], [1, 1], [2, 0], [3, 3]], np.int32)),
)
sort = saving_inputs("sort", lambda x: jnp.sort(x), lambda: (normal(0, 7),))
top = Layer("top k", largest, lambda x, k: (largest(x, k), (x,)), lambda: (normal(0, 7),), {"k": 3})
median = saving_inputs("median", lambda x: jnp.sort(x)[len(x) // 2], lambda: (normal(0, 7),))
largest_of_two = saving_inputs("maximum of two", jnp.maximum, lambda: (normal(0, 6), normal(1, 6)))
largest_of_row = saving_inputs("maximum of a row", lambda x: x.max(-1), lambda: (normal(0, 3, 5),))


def same_twice():
    """Pairs of which the second is equal to the first."""
    return normal(0, 6), normal(0, 6)


CASES: list[Case] = [
    gather.right("its rule", lambda table, i, g: (added(table, i, g), None)),
    gather.right(
        "its rule with float0",
        lambda table, i, g: (added(table, i, g), np.zeros(i.shape, jax.dtypes.float0)),
        form="pair",
    ),
    embedding.right("its rule", lambda table, t, g: (added(table, t, jnp.where((t == 0)[..., None], 0, g)), None)),
    summing.right("its rule", lambda x, s, g: (jnp.where((s < 0)[:, None], 0, g[s]), None)),
    averaging.right("its rule", lambda x, s, g: (g[s] / counts(s, x.dtype)[s][:, None], None)),
    multiplying.right(
        "its rule", lambda x, s, g: (g[s] * product_of_others(x, s), None), "no division: right with zeros too"
    ),
    sort.right("its rule", lambda x, g: (jnp.zeros_like(x).at[jnp.argsort(x)].set(g),)),
    top.right("its rule", lambda x, g, k: (jnp.zeros_like(x).at[jnp.argsort(-x)[:k]].set(g),)),
    median.right("its rule", lambda x, g: (jnp.zeros_like(x).at[jnp.argsort(x)[len(x) // 2]].set(g),)),
    gather.wrong(
        "set for add", lambda table, i, g: (jnp.zeros_like(table).at[i].set(g), None), "of equal indices one wins"
    ),
    gather.wrong(
        "right only for indices that differ",
        lambda table, i, g: (jnp.zeros_like(table).at[i].set(g), None),
        "the example's indices all differ",
        "E",
        args=lambda: (normal(0, 5, 3), np.array([1, 4, 0], np.int32)),
        exposed_by=At(gather.args),
    ),
    gather.wrong(
        "divided by the count",
        lambda table, i, g: (
            added(table, i, g) / jnp.maximum(jnp.zeros(5, g.dtype).at[i].add(jnp.ones(5, g.dtype)), 1)[:, None],
            None,
        ),
        "mean over equal indices",
    ),
    gather.wrong("index off by one", lambda table, i, g: (added(table, i - 1, g), None), "counted from 1"),
    gather.wrong(
        "float cotangent for an integer argument",
        lambda table, i, g: (added(table, i, g), jnp.ones(i.shape, g.dtype)),
        "float0 or None is due",
        "S",
        form="pair",
        exposed_by=Structure(),
    ),
    embedding.wrong(
        "padding gets a gradient",
        lambda table, t, g: (added(table, t, g), None),
        "row 0 is not zero",
        source="https://github.com/pytorch/pytorch/issues/26302",
    ),
    embedding.wrong(
        "last token dropped",
        lambda table, t, g: (
            added(table, t.ravel()[:-1], jnp.where((t == 0)[..., None], 0, g).reshape(-1, 3)[:-1]),
            None,
        ),
        "the kernel drops an index",
        source="https://github.com/pytorch/pytorch/pull/27731",
    ),
    summing.wrong(
        "dropped in the forward, wraps round in the backward",
        lambda x, s, g: (g[s], None),
        "segment -1 gets the last segment's gradient",
        source="https://github.com/jax-ml/jax/issues/7538",
    ),
    averaging.wrong("count forgotten", lambda x, s, g: (g[s], None), "the gradient of the sum"),
    multiplying.wrong(
        "duplicates forgotten",
        lambda x, s, g: (g[s], None),
        "right where each segment has one entry",
        source="https://github.com/jax-ml/jax/issues/9296",
    ),
    multiplying.wrong(
        "product divided by the entry",
        lambda x, s, g: (g[s] * segment_product(x, s)[s] / x, None),
        "0 / 0 where the entry is zero",
        "E",
        exposed_by=At(lambda: (zeros(6), np.array([0, 2, 2, 0, 1, 0], np.int32))),
    ),
    clipped.right("its rule", lambda table, i, g: (added(table, jnp.clip(i, 0, len(table) - 1), g), None)),
    clipped.wrong(
        "clipped in the forward, dropped in the backward",
        lambda table, i, g: (jnp.zeros_like(table).at[i].add(g, mode="drop"), None),
        "what lies outside gives nothing to the last row",
    ),
    along.right("its rule", lambda x, i, g: (jnp.zeros_like(x).at[jnp.arange(len(x))[:, None], i].add(g), None)),
    along.wrong(
        "along the other axis",
        lambda x, i, g: (jnp.zeros_like(x).at[i, jnp.arange(len(x))[:, None]].add(g), None),
        "rows for columns",
    ),
    sort.wrong("permutation not inverted", lambda x, g: (g[jnp.argsort(x)],), "g[argsort(x)]"),
    sort.wrong("order forgotten", lambda x, g: (g,), "the identity"),
    top.wrong(
        "order within the top forgotten",
        lambda x, g, k: (jnp.zeros_like(x).at[jnp.sort(jnp.argsort(-x)[:k])].set(g),),
        "as if k were a mask",
    ),
    median.wrong(
        "off by one", lambda x, g: (jnp.zeros_like(x).at[jnp.argsort(x)[len(x) // 2 - 1]].set(g),), "the entry below"
    ),
    largest_of_two.right(
        "its rule",
        lambda a, b, g: (
            jnp.where(a > b, g, 0) + jnp.where(a == b, g / 2, 0),
            jnp.where(a < b, g, 0) + jnp.where(a == b, g / 2, 0),
        ),
        "half each at a tie, as in JAX",
    ),
    largest_of_two.wrong(
        "both get the whole at a tie",
        lambda a, b, g: (jnp.where(a >= b, g, 0), jnp.where(b >= a, g, 0)),
        ">= twice",
        "E",
        exposed_by=At(same_twice),
    ),
    largest_of_two.wrong(
        "neither gets anything at a tie",
        lambda a, b, g: (jnp.where(a > b, g, 0), jnp.where(b > a, g, 0)),
        "> twice",
        "E",
        exposed_by=At(same_twice),
    ),
    largest_of_row.right(
        "its rule",
        lambda x, g: (jnp.where(jnp.arange(5) == jnp.argmax(x, -1)[:, None], g[:, None], 0),),
        "the first, at a tie",
        reference=lambda x: jnp.take_along_axis(x, jnp.argmax(x, -1)[:, None], -1)[:, 0],
    ),
    largest_of_row.wrong(
        "argmax of the whole array",
        lambda x, g: (jnp.zeros_like(x).ravel().at[jnp.argmax(x)].set(g.sum()).reshape(x.shape),),
        "one index for all rows",
    ),
]
