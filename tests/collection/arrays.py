"""What moves, repeats, cuts and accumulates entries: each backward is another such move."""

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, saving_inputs
from collection.circumstances import At, SecondOrder
from collection.draws import integers, normal, uniform, zeros


def reversed_cumsum(g):
    return jnp.cumsum(g[::-1])[::-1]


def exclusive(x):
    return jnp.cumsum(x) - x


def cumprod_bar(x, g):
    """Left products times a right recurrence: no division, so that zeros are right."""
    left = jnp.concatenate([jnp.ones(1, x.dtype), jnp.cumprod(x)[:-1]])
    tail = [g[-1]]
    for i in range(len(x) - 2, -1, -1):
        tail.append(g[i] + x[i + 1] * tail[-1])
    return left * jnp.stack(tail[::-1])


def product_bar(x, g):
    return jnp.where(np.eye(len(x), dtype=bool), 1, x).prod(1) * g


def product_by_counting_zeros(x, g):
    """The product of the others where one entry is zero; a constant where two are."""
    nulls = (x == 0).sum()
    others = jnp.where(x == 0, 1, x).prod()
    one = jnp.where(x == 0, others, 0)
    none = x.prod() / jnp.where(x == 0, 1, x)
    return (g * jnp.where(nulls == 0, none, jnp.where(nulls == 1, one, 0)),)


def sliced(x, start):
    return jax.lax.dynamic_slice(x, (start,), (3,))


def written(x, start, g):
    """g put at `start` as it is; what falls outside is dropped."""
    return jnp.zeros_like(x).at[start + jnp.arange(3, dtype=start.dtype)].add(g, mode="drop")


def broadcast_product(x, scale):
    """x (4, 3), scale (1, 3)."""
    return x * scale


def two_zeros():
    return (np.array([2, 3, 0, 0], np.float32),)


def chosen(mask, a, b):
    return jnp.where(mask, a, b)


cumsum = saving_inputs("cumulative sum", lambda x: jnp.cumsum(x), lambda: (normal(0, 6),))
shifted = saving_inputs("exclusive cumulative sum", exclusive, lambda: (normal(0, 6),))
cumprod = saving_inputs("cumulative product", lambda x: jnp.cumprod(x), lambda: (uniform(0, 5),))
product = saving_inputs("product of all", lambda x: x.prod(), lambda: (uniform(0, 4),))
roll = saving_inputs("roll", lambda x: jnp.roll(x, 2), lambda: (normal(0, 7),))
pad = saving_inputs("padding", lambda x: jnp.pad(x, (1, 2)), lambda: (normal(0, 5),))
transpose = saving_inputs("transpose of three axes", lambda x: x.transpose(1, 2, 0), lambda: (normal(0, 3, 3, 3),))
reshape = saving_inputs("reshape", lambda x: x.reshape(2, 6), lambda: (normal(0, 3, 4),))
repeat = saving_inputs("repeat", lambda x: jnp.repeat(x, 3), lambda: (normal(0, 3),))
join = saving_inputs("concatenation", lambda a, b: jnp.concatenate([a, b]), lambda: (normal(0, 3), normal(1, 3)))
where = saving_inputs("where", chosen, lambda: (integers(0, 2, 6).astype(bool), normal(1, 6), normal(2, 6)))
window = saving_inputs("dynamic slice", sliced, lambda: (normal(0, 6), np.int32(1)))
scaled = saving_inputs("broadcast product", broadcast_product, lambda: (normal(0, 4, 3), normal(1, 1, 3)))
diagonal = saving_inputs("diagonal matrix", lambda x: jnp.diag(x), lambda: (normal(0, 4),))
lower = saving_inputs("lower triangle", lambda x: jnp.tril(x), lambda: (normal(0, 4, 4),))
average = saving_inputs("mean of a column", lambda x: x.mean(0), lambda: (normal(0, 4, 3),))
difference = saving_inputs("difference of neighbours", lambda x: x[1:] - x[:-1], lambda: (normal(0, 6),))
outer = saving_inputs("outer product", lambda a, b: a[:, None] * b, lambda: (normal(0, 4), normal(1, 4)))

CASES: list[Case] = [
    cumsum.right("its rule", lambda x, g: (reversed_cumsum(g),)),
    cumprod.right("its rule", lambda x, g: (cumprod_bar(x, g),)),
    cumprod.right(
        "with zeros",
        lambda x, g: (cumprod_bar(x, g),),
        "right where the quotient is 0 / 0",
        args=lambda: (np.array([2, 0, 3, 4], np.float32),),
    ),
    product.right("its rule", lambda x, g: (product_bar(x, g),)),
    product.right("with two zeros", lambda x, g: (product_bar(x, g),), "the second order is not zero", args=two_zeros),
    where.right("its rule", lambda m, a, b, g: (None, jnp.where(m, g, 0), jnp.where(m, 0, g))),
    window.right("its rule", lambda x, s, g: (jax.lax.dynamic_update_slice(jnp.zeros_like(x), g, (s,)), None)),
    scaled.right("its rule", lambda x, s, g: (g * s, (g * x).sum(0, keepdims=True))),
    cumsum.wrong("not reversed", lambda x, g: (jnp.cumsum(g),), "cumsum(g)"),
    cumsum.wrong("reversed once", lambda x, g: (jnp.cumsum(g[::-1]),), "the second reversal is missing"),
    shifted.wrong("inclusive backward", lambda x, g: (reversed_cumsum(g),), "off by one"),
    cumprod.wrong(
        "NaN at a zero",
        lambda x, g: (reversed_cumsum(g * jnp.cumprod(x)) / x,),
        "0 / 0",
        "E",
        exposed_by=At(lambda: (zeros(5),)),
        source="https://github.com/tensorflow/tensorflow/issues/3862",
    ),
    cumprod.wrong(
        "zero at a zero",
        lambda x, g: (jnp.where(x == 0, 0, reversed_cumsum(g * jnp.cumprod(x)) / jnp.where(x == 0, 1, x)),),
        "0 / 0 replaced by 0",
        "E",
        exposed_by=At(lambda: (zeros(5),)),
        source="https://github.com/tensorflow/tensorflow/issues/119430",
    ),
    product.wrong(
        "second order lost at two zeros",
        product_by_counting_zeros,
        "the first order is zero there and its derivative is not",
        "2",
        args=two_zeros,
        exposed_by=SecondOrder(),
        source="https://github.com/pytorch/pytorch/issues/106789",
    ),
    roll.wrong("rolled the same way", lambda x, g: (jnp.roll(g, 2),), "not back"),
    pad.wrong("cropped at the other end", lambda x, g: (g[2:-1],), "(2, 1) for (1, 2)"),
    transpose.wrong("permutation not inverted", lambda x, g: (g.transpose(1, 2, 0),), "three axes in a ring"),
    reshape.wrong("column by column", lambda x, g: (g.reshape(3, 4, order="F"),), "the other memory order"),
    repeat.wrong("repeat taken for tile", lambda x, g: (g.reshape(3, 3).sum(0),), "the sum along the wrong axis"),
    join.wrong("parts exchanged", lambda a, b, g: (g[3:], g[:3]), "of equal length"),
    where.wrong(
        "branches exchanged", lambda m, a, b, g: (None, jnp.where(m, 0, g), jnp.where(m, g, 0)), "mask inverted"
    ),
    where.wrong("mask forgotten", lambda m, a, b, g: (None, g, g), "both get all"),
    window.wrong(
        "start clamped in the forward only",
        lambda x, s, g: (written(x, s, g), None),
        "a start beyond the end is moved back by the slice",
        args=lambda: (normal(0, 6), np.int32(5)),
    ),
    scaled.wrong("mean for the broadcast axis", lambda x, s, g: (g * s, (g * x).mean(0, keepdims=True)), "not the sum"),
    scaled.wrong("first row for the broadcast axis", lambda x, s, g: (g * s, (g * x)[:1]), "no sum"),
    diagonal.wrong("row sums for the diagonal", lambda x, g: (g.sum(1),), "entries off the diagonal count"),
    lower.wrong("diagonal left out", lambda x, g: (jnp.tril(g, -1),), "strictly lower"),
    lower.wrong("mask forgotten", lambda x, g: (g,), "entries above get a gradient"),
    average.wrong("not divided", lambda x, g: (jnp.broadcast_to(g, x.shape),), "the gradient of the sum"),
    difference.wrong(
        "one side only", lambda x, g: (jnp.concatenate([jnp.zeros(1, g.dtype), g]),), "x[:-1] gets nothing"
    ),
    difference.wrong(
        "wraps round", lambda x, g: (jnp.pad(g, (1, 0)) - jnp.roll(jnp.pad(g, (1, 0)), 1),), "roll for a shift"
    ),
    outer.wrong(
        "summed along the wrong axis", lambda a, b, g: ((g * b[:, None]).sum(0), (g * a).sum(1)), "rows for columns"
    ),
]
