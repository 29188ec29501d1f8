"""A batch in pieces that stay in the cache, one after the other in a loop.

A piece takes every n-th example, so that a batch that is sharded over devices stays where it is. Arrays are (N, ...).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from fnnet.core.primitives import devices_have_names, is_explicit, same_varying
from fnnet.formulations.branches import in_a_branch, zeros_for

LEAST = 8  # examples of a piece
APART, OF_APART = 4, 32  # pieces of `kept_apart`, and the least examples of each


def sharers() -> int:
    """How many devices may share a batch: an upper bound, since automatic sharding is invisible while tracing.

    Inside shard_map the batch is the device's own.
    """
    return 1 if devices_have_names() else jax.device_count()


def number(examples: Any, most: Any, least: int = LEAST) -> int:
    """The least number of equal pieces with at most `most` examples each; 1 if there is no such number.

    A piece has at least `least` examples, at least one a device, and as many of each device if the batch has.
    """
    if not isinstance(examples, int):  # exported for any batch
        return 1
    least = max(least, sharers())
    most, together = max(most, least), math.gcd(examples, sharers())
    numbers = range(1, examples // least + 1)
    return next((n for n in numbers if examples % (n * together) == 0 and examples // n <= most), 1)


def mapped(function: Callable[[Array], Array], images, pieces: int):
    """What `function` makes of each piece, in the order of the examples."""
    if pieces == 1:
        return function(images)
    return in_a_branch(functools.partial(_looped, function, pieces=pieces), images)


def kept_apart(function: Callable[[Array], Array], images):
    """Like `mapped`, but with each piece in a branch, so that XLA cannot repeat the loop in each consumer.

    Without the branch, the core that writes a piece into its place would compute the piece alone.
    """
    examples, apart = images.shape[0], functools.partial(in_a_branch, function)
    pieces = number(examples, examples // APART, OF_APART)
    return apart(images) if pieces == 1 else _looped(apart, images, pieces)


def summed(function: Callable[[Array, Array], Array], images, cotangents, pieces: int):
    """The sum of what `function` makes of each piece of both, in a branch.

    Outside a branch XLA computes what `function` reads again while it transposes that. It may also compute what needs
    no cotangents in the forward pass, and keep it. With one piece there is no branch where devices share the batch:
    XLA combines their all-reduces only outside branches.
    """
    if pieces == 1:
        alone = sharers() == 1 and not is_explicit(images, cotangents)
        return in_a_branch(function, images, cotangents) if alone else function(images, cotangents)

    def of_all(*arrays):
        apart = [_apart(array, pieces) for array in arrays]
        of_piece = jax.jit(function, inline=True)  # so that it is traced once

        def add(i: Array, total: Array) -> Array:
            return total + of_piece(*(_piece(array, i) for array in apart))

        return lax.fori_loop(0, pieces, add, zeros_for(of_piece, *(_piece(array, 0) for array in apart)))

    return in_a_branch(of_all, images, cotangents)


def _looped(function, images, pieces: int):
    apart, function = _apart(images, pieces), jax.jit(function, inline=True)

    def put(i: Array, outputs: Array) -> Array:
        return lax.dynamic_update_index_in_dim(outputs, function(_piece(apart, i)), i, 1)

    of_one = jax.eval_shape(function, _piece(apart, 0))
    empty = jnp.zeros((of_one.shape[0], pieces, *of_one.shape[1:]), of_one.dtype)
    outputs = lax.fori_loop(0, pieces, put, same_varying([empty, apart])[0])
    return outputs.reshape(-1, *of_one.shape[1:])


def _apart(array, pieces: int):
    return array.reshape(-1, pieces, *array.shape[1:])


def _piece(apart, i):
    return lax.dynamic_index_in_dim(apart, i, 1, keepdims=False)
