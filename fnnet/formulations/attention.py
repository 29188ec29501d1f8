"""Attention on a CPU: one head of one example after another, and of each a block of query rows after another.

A block meets all keys that it can see, so that the softmax of its rows is complete, and the scores of one block alone
are alive. Where attention is causal, static slices leave out the keys that no row of a block sees.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from fnnet.core.arguments import accumulator
from fnnet.formulations.turns import Turns, put, put_scores, taken, taken_scores
from fnnet.formulations.visibility import capped, exponentials, summed_to, uncapped, visible

LEAST, MOST = 64, 512  # rows of a block
STAGES = 8  # of a causal attention: each with its own number of keys
BLOCKS = 4  # of any other


class Stage(NamedTuple):
    """Query rows in blocks that meet the same keys: the first so many."""

    first: int
    rows: int
    block: int
    keys: int


def stages(length: int, keys: int, *, causal: bool) -> list[Stage]:
    """All rows; those that fill no block are a stage of their own."""
    share = math.ceil(length / (STAGES if causal else BLOCKS))
    block = min(max(LEAST * math.ceil(share / LEAST), LEAST), MOST)
    rows = block * math.ceil(share / block) if causal else length
    found = []
    for first in range(0, length, max(rows, 1)):
        end = min(first + rows, length)
        whole = (end - first) // block * block
        seen = min(end, keys) if causal else keys
        found.append(Stage(first, whole, block, seen))
        found.append(Stage(first + whole, end - first - whole, end - first - whole, seen))
    return [stage for stage in found if stage.rows]


def output(q, k, v, bias, mask, key_lengths, *, causal, scale, soft_cap):
    """The output, (..., length, heads, value width), and m and Z of each row, (..., heads, length, 2)."""
    turns, dtype, width = Turns(q, k), accumulator(q.dtype), v.shape[-1]
    q_apart, arrays = turns.split(q), _arrays(turns, k, v, bias, mask, key_lengths)

    def turn(example, head, state):
        of_head = _Head.of(arrays, example, head, turns, causal, soft_cap, dtype)
        queries = taken(q_apart, example, head).astype(dtype)

        def block(first, rows, keys, o, sums):
            _, s = of_head.scores(scale * rows_of(queries, first, rows), first, keys)
            e, total, largest = exponentials(s)
            mean = of_head.weighted(e, of_head.v, keys) / total
            return with_rows(o, mean, first), with_rows(sums, jnp.concatenate([largest, total], -1), first)

        parts = (turns.zeros((*queries.shape[:-1], size), dtype) for size in (width, 2))
        parts = _of_blocks(block, turns, causal, *parts)
        return put(state[0], parts[0], example, head), put_scores(state[1], parts[1], example, head)

    shapes = (*q_apart.shape[:-1], width), (*turns.examples, *turns.of_heads, turns.length, 2)
    o, sums = turns.each(turn, tuple(map(turns.zeros, shapes, (q.dtype, dtype))))
    return o.reshape(*q.shape[:-1], width), sums.reshape(*turns.lead, turns.heads, turns.length, 2)


def gradients(q, k, v, bias, mask, key_lengths, sums, o_bar, *, causal, scale, soft_cap):
    """The cotangents of q, k, v, and of the bias, None without one."""
    turns, dtype = Turns(q, k), accumulator(q.dtype)
    arrays, rows_apart = _arrays(turns, k, v, bias, mask, key_lengths), [turns.split(array) for array in (q, o_bar)]
    sums_apart = turns.split_scores(sums)

    def turn(example, head, bars):
        of_head = _Head.of(arrays, example, head, turns, causal, soft_cap, dtype)
        queries, out_bars = (taken(array, example, head).astype(dtype) for array in rows_apart)
        sums_of_head = taken_scores(sums_apart, example, head)

        def block(first, rows, keys, q_bar, k_bar, v_bar, bias_bar):
            q_rows, o_bar = scale * rows_of(queries, first, rows), rows_of(out_bars, first, rows)
            t, s = of_head.scores(q_rows, first, keys)
            largest, total = jnp.split(rows_of(sums_of_head, first, rows), 2, -1)
            e, o_bar = jnp.exp(s - largest), o_bar / total  # p is e / Z: the rows are divided, not the square
            e_bar = of_head.products(o_bar, of_head.v, keys)
            # Without the barrier XLA fuses this product with the one before through YNNPACK: a quarter more time.
            products = lax.optimization_barrier(e * e_bar)
            s_bar = e * (e_bar - products.sum(-1, keepdims=True) / total)
            u_bar = uncapped(s_bar, t, soft_cap)
            q_bar = with_rows(q_bar, scale * of_head.weighted(u_bar, of_head.k, keys), first)
            k_bar = k_bar.at[..., :keys, :].add(columns(u_bar, q_rows))
            v_bar = v_bar.at[..., :keys, :].add(columns(e, o_bar))
            return q_bar, k_bar, v_bar, bias_bar if bias_bar is None else _added(bias_bar, s_bar, first)

        q_bar, k_bar, v_bar, bias_bar = bars
        key_head = head // turns.shared
        part_of_bias = None if bias is None else taken_scores(bias_bar, example, head)
        parts = turns.zeros(queries.shape, dtype), taken(k_bar, example, key_head), taken(v_bar, example, key_head)
        parts = _of_blocks(block, turns, causal, *parts, part_of_bias)
        return (
            put(q_bar, parts[0], example, head),
            put(k_bar, parts[1], example, key_head),
            put(v_bar, parts[2], example, key_head),
            None if bias is None else put_scores(bias_bar, parts[3], example, head),
        )

    empty = None if bias is None else turns.zeros(turns.together(arrays.bias.shape), dtype)
    zeros = (turns.zeros(x.shape, dtype) for x in (arrays.k, arrays.v))
    *bars, bias_bar = turns.each(turn, (turns.zeros(rows_apart[0].shape, q.dtype), *zeros, empty))
    found = [bar.reshape(x.shape).astype(x.dtype) for bar, x in zip(bars, (q, k, v), strict=True)]
    if bias is None:
        return *found, None
    return *found, summed_to(turns.joined_scores(summed_to(bias_bar, arrays.bias.shape)), bias.shape).astype(bias.dtype)


class _Head(NamedTuple):
    """What the query rows of a turn meet: k and v (together, heads, keys, width), and what changes their scores."""

    k: Any
    v: Any
    bias: Any
    mask: Any
    key_lengths: Any
    causal: bool = False
    soft_cap: float | None = None

    @classmethod
    def of(
        cls, arrays: "_Head", example: Any, head: Any, turns: Turns, causal: bool, soft_cap: float | None, dtype: Any
    ) -> "_Head":
        """Of one turn, in the dtype of sums."""
        k, v = (taken(array, example, head // turns.shared).astype(dtype) for array in (arrays.k, arrays.v))
        bias, mask, lengths = (None if a is None else taken_scores(a, example, head) for a in arrays[2:5])
        return cls(k, v, None if bias is None else bias.astype(dtype), mask, lengths, causal, soft_cap)

    def scores(self, q: Any, first: Any, keys: int) -> tuple[Array, Array]:
        """Scaled rows times the first so many keys, capped; and with the bias, -inf where a row does not see a key."""
        rows = q.shape[-2]
        t = capped(self.products(q, self.k, keys), self.soft_cap)
        s = t if self.bias is None else t + rows_of(self.bias, first, rows)[..., :keys]
        mask = None if self.mask is None else rows_of(self.mask, first, rows)[..., :keys]
        seen = visible((rows, keys), first=first, causal=self.causal, mask=mask, key_lengths=self.key_lengths)
        return t, s if seen is None else jnp.where(seen, s, -jnp.inf)

    @staticmethod
    def products(rows: Any, array: Any, keys: int) -> Any:
        """Of each row with each of the first keys."""
        return jnp.einsum("...qd,...kd->...qk", rows, array[..., :keys, :])

    @staticmethod
    def weighted(weights: Any, array: Any, keys: int) -> Any:
        """The sum of the first keys, with these weights for each row."""
        return jnp.einsum("...qk,...kd->...qd", weights, array[..., :keys, :])


def columns(weights, rows):
    """The sum of the rows, with these weights for each key."""
    return jnp.einsum("...qk,...qd->...kd", weights, rows)


def _arrays(turns: Turns, k: Any, v: Any, bias: Any, mask: Any, key_lengths: Any) -> _Head:
    lengths = None if key_lengths is None else key_lengths[..., None, None, None]
    bias, mask, lengths = (None if array is None else turns.split_scores(array) for array in (bias, mask, lengths))
    return _Head(turns.split(k), turns.split(v), bias, mask, lengths)


def _of_blocks(block: Callable, turns: Turns, causal: bool, *state: Any) -> Any:
    """The state after block(first row, rows, keys, *state), one block after another."""
    for first, rows, size, keys in stages(turns.length, turns.keys, causal=causal):
        if rows == size:
            state = block(first, size, keys, *state)
        else:
            state = lax.fori_loop(0, rows // size, functools.partial(_numbered, block, first, size, keys), state)
    return state


def _numbered(block: Callable, first: int, size: int, keys: int, i: Any, state: Any) -> Any:
    return block(first + i * size, size, keys, *state)


def rows_of(array: Any, first: Any, rows: int) -> Any:
    """A block of rows, or the one row that all share."""
    return array if array.shape[-2] == 1 else lax.dynamic_slice_in_dim(array, first, rows, -2)


def with_rows(array: Any, rows: Any, first: Any) -> Any:
    """The array with these rows in place."""
    return lax.dynamic_update_slice_in_dim(array, rows, first, -2)


def _added(bias_bar: Any, s_bar: Any, first: Any) -> Any:
    """The bias's cotangent with that of a block of scores added."""
    rows, keys = s_bar.shape[-2:]
    here = rows_of(bias_bar, first, rows)
    seen = here[..., :keys]
    here = here.at[..., :keys].add(summed_to(s_bar, seen.shape))
    return here if bias_bar.shape[-2] == 1 else with_rows(bias_bar, here, first)
