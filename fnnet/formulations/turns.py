"""Examples and heads of an attention as turns of a loop: each turn takes one head of one example.

If devices may share the examples or the heads, each turn takes some of every device, so that shards stay whole; and if
heads are small, a turn takes them all.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from fnnet.core.primitives import cast_varying, varying
from fnnet.formulations import pieces

SMALL = 64 * 64  # scores of a head up to which a turn takes all heads


class Turns:
    """The axes of examples and of heads, each as (together, turns).

    Example 0 and the `together - 1` others of its turn are as far apart as there are turns. Heads likewise.
    """

    def __init__(self, q: Any, k: Any):
        """For q (..., length, heads, width) and k (..., keys, key heads, width)."""
        *self.lead, self.length, self.heads, _ = q.shape
        self.keys, key_heads = k.shape[-3:-1]
        self.like = q
        self.shared = self.heads // key_heads  # query heads of a key head
        examples = math.prod(self.lead)
        small = self.length * self.keys <= SMALL or examples == 0
        if small or not isinstance(examples, int):  # exported for any batch
            self.examples = examples, 1
        else:
            together = math.gcd(examples, pieces.sharers())
            self.examples = together, examples // together
        together = key_heads if small else math.gcd(key_heads, pieces.sharers())
        self.of_heads = together, self.heads // together

    def each(self, turn: Callable, state: Any) -> Any:
        """turn(example, head, state) -> state, one turn after another."""
        heads = self.of_heads[1]
        number = self.examples[1] * heads
        if number == 1:
            return turn(0, 0, state)
        return lax.fori_loop(0, number, lambda i, state: turn(i // heads, i % heads, state), state)

    def zeros(self, shape: Any, dtype: Any) -> Any:
        """Zeros that vary over the axes that the arrays vary over."""
        return cast_varying(jnp.zeros(shape, dtype), varying(self.like))

    def split(self, array: Any) -> Any:
        """(..., n, heads, width) as (*examples, n, *heads, width)."""
        n, heads, width = array.shape[-3:]
        return array.reshape(*self.examples, n, self.of_heads[0], heads // self.of_heads[0], width)

    def split_scores(self, array: Any) -> Any:
        """What broadcasts against (..., heads, n, m) as (*examples, *heads, n, m), with 1 for what is shared."""
        array = array.reshape(*(1,) * (3 - array.ndim), *array.shape)
        *lead, heads, n, m = array.shape
        examples, of_heads = (1, 1), (1, 1)
        if any(size != 1 for size in lead):
            array, examples = jnp.broadcast_to(array, (*self.lead, heads, n, m)), self.examples
        if heads > 1:
            of_heads = self.of_heads
        return array.reshape(*examples, *of_heads, n, m)

    def together(self, shape: Any) -> tuple:
        """The shape for sums of what is shared, one for each of a turn: no device waits for another in the loop."""
        return self.examples[0], shape[1], self.of_heads[0], *shape[3:]

    def joined_scores(self, array: Any) -> Any:
        """The inverse, as (..., heads, n, m), with 1 for what is shared."""
        examples, heads = math.prod(array.shape[:2]), math.prod(array.shape[2:4])
        lead = self.lead if examples == math.prod(self.lead) else [1] * len(self.lead)
        return array.reshape(*lead, heads, *array.shape[4:])


def taken(array: Any, example: Any, head: Any) -> Any:
    """One turn's part of (*examples, n, *heads, width), as (together, heads together, n, width)."""
    part = lax.dynamic_index_in_dim(
        lax.dynamic_index_in_dim(array, head, 4, keepdims=False), example, 1, keepdims=False
    )
    return _without_ones(jnp.moveaxis(part, 1, 2))


def put(array: Any, part: Any, example: Any, head: Any) -> Any:
    """The array with that part."""
    part = part.reshape(array.shape[0], array.shape[3], *part.shape[-2:])
    part = jnp.expand_dims(jnp.moveaxis(part, 1, 2), (1, 4)).astype(array.dtype)
    return lax.dynamic_update_slice(array, part, (0, example, 0, 0, head, 0))


def taken_scores(array: Any, example: Any, head: Any) -> Any:
    """One turn's part of (*examples, *heads, n, m), as (together, heads together, n, m), or 1 for what is shared."""
    part = lax.dynamic_slice(array, _start(array, example, head), _part(array))
    return _without_ones(part.reshape(*array.shape[::2][:2], *array.shape[4:]))


def put_scores(array: Any, part: Any, example: Any, head: Any) -> Any:
    """The array with that part."""
    return lax.dynamic_update_slice(array, part.reshape(_part(array)), _start(array, example, head))


def _without_ones(part: Any) -> Any:
    """One head of one example without its axes: XLA then multiplies matrices."""
    return part[0, 0] if part.shape[:2] == (1, 1) else part


def _part(array: Any) -> tuple:
    return array.shape[0], 1, array.shape[2], 1, *array.shape[4:]


def _start(array: Any, example: Any, head: Any) -> tuple:
    return 0, example if array.shape[1] > 1 else 0, 0, head if array.shape[3] > 1 else 0, 0, 0
