"""`generate`: a network of sequences continues a sequence of tokens, one token at a time."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Int32

from fnnet.core.compiler import safe_options
from fnnet.core.geometry import integer
from fnnet.core.habits import hinted
from fnnet.layers.protocol import Layer

LEAST_SIZE = 64  # of a compiled program, in tokens
NONE = -1  # in the place of a token that is drawn from NaN


@hinted
def generate(
    net: Layer,
    params: Any,
    prompt: Int[Any, " tokens"] | Sequence[int],
    length: int,
    *,
    key: jax.Array | None = None,
    temperature: int | float = 1.0,
    top_k: int | None = None,
) -> Int32[jax.Array, " length"]:
    """Tokens that follow a prompt, each drawn from the network's probabilities after all tokens before it.

    Each step computes one row of each layer and reads what the steps before have left: `Attention` its keys and values,
    `LSTM` and `GRU` their state. The work of a step grows with the length so far, not with its square. One program is
    compiled for all prompts and lengths up to the same power of two.

    Args:
        net: A network of sequences of tokens, (length,) -> (length, vocabulary), that gives logits: row t from the
            tokens up to t. It may be made of `Embedding`, causal `Attention`, `LSTM` and `GRU` that go forwards, layers
            that treat each row by itself, plain functions that do so, `Sequential`, `Residual`, `Repeat` and `Tied`.
        params: Its parameters.
        prompt: One token or more; of a text in bytes, list(b"The ").
        length: How many tokens to draw.
        key: A key of `jax.random`; the same gives the same tokens. It is needed unless the temperature is 0.
        temperature: The logits are divided by it. 0 takes the most probable token, of equal ones the first.
        top_k: Draw from so many most probable tokens, and from those as probable as the last of them. None: from all.

    Returns:
        (length,), without the prompt.

    Raises:
        ValueError: A layer cannot go row by row; the prompt is empty or has a token that is none; the network gives no
            logits for each token, or NaN; length or top_k is below 1, or the temperature below 0.
        TypeError: The prompt has no integers, or there is no key.

    A network has seen windows of some length in training. Beyond that length `Attention` meets distances that it has
    not seen, and what it draws is poor. In bf16 and f16 an LSTM's cell is rounded after each step, as it is not in
    training.

    Example:
        text = bytes(np.asarray(fnnet.generate(net, params, list(b"The "), 200, key=key, top_k=40), np.uint8))
    """
    prompt, length = np.asarray(prompt), integer("generate", "length", length)
    if prompt.ndim != 1 or not len(prompt):
        raise ValueError(f"generate: prompt of shape {prompt.shape} must be a row of one token or more")
    if not np.issubdtype(prompt.dtype, np.integer):
        raise TypeError(f"generate: prompt of dtype {prompt.dtype} must have integers")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"generate: temperature (={temperature!r}) must be 0 or more, and finite")
    if key is None:
        if temperature:
            raise TypeError("generate: key is needed where the temperature is not 0")
        key = jax.random.key(0)  # which is not used
    end = len(prompt) + length
    size = max(LEAST_SIZE, 1 << (end - 1).bit_length())
    vocabulary = _vocabulary(net, params, size)
    if top_k is not None:
        top_k = min(integer("generate", "top_k", top_k), vocabulary)
    if not 0 <= prompt.min() <= prompt.max() < vocabulary:
        raise ValueError(f"generate: prompt has {prompt.min()} to {prompt.max()}; tokens are 0 to {vocabulary - 1}")
    tokens = jnp.zeros(size, jnp.int32).at[: len(prompt)].set(prompt.astype(np.int32))
    tokens = _compiled(net, size, top_k)(params, tokens, len(prompt), end, key, float(temperature))
    drawn = tokens[len(prompt) : end]
    if (drawn == NONE).any():
        raise ValueError("generate: logits are NaN: the parameters are, or a token has no row in the embedding's table")
    return drawn


def _vocabulary(net: Layer, params: Any, size: int) -> int:
    """The number of tokens; raises where the network is not one of sequences of tokens."""
    logits, _ = _shapes_of_step(net, params, size)
    if not isinstance(logits, jax.ShapeDtypeStruct) or logits.ndim != 1:
        raise ValueError(f"generate: net must give a row of logits for each token, not {logits}")
    return logits.shape[0]


def _shapes_of_step(net: Layer, params: Any, size: int) -> Any:
    token = jax.ShapeDtypeStruct((), jnp.int32)
    return jax.eval_shape(lambda params, token: net.step(params, token, None, token, size), params, token)


@functools.lru_cache(maxsize=32)
def _compiled(net: Layer, size: int, top_k: int | None) -> Any:
    return jax.jit(functools.partial(_continued, net, size, top_k), compiler_options=safe_options())


def _continued(
    net: Layer, size: int, top_k: int | None, params: Any, tokens: Any, known: Any, end: Any, key: Any, temperature: Any
) -> jax.Array:
    """The tokens up to `end`, of which the first `known` are there."""
    _, cache = _shapes_of_step(net, params, size)

    def step(carry: tuple) -> tuple:
        position, tokens, cache = carry
        logits, cache = net.step(params, tokens[position], cache, position, size)
        drawn = _drawn(logits, jax.random.fold_in(key, position), temperature, top_k)
        following = jnp.where(position + 1 < known, tokens[position + 1], drawn)
        return position + 1, tokens.at[position + 1].set(following), cache

    start = jnp.int32(0), tokens, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), cache)
    return jax.lax.while_loop(lambda carry: carry[0] + 1 < end, step, start)[1]


def _drawn(logits: jax.Array, key: jax.Array, temperature: jax.Array, top_k: int | None) -> jax.Array:
    """A token, or NONE."""
    best = logits.argmax().astype(jnp.int32)
    logits = logits.astype(jnp.float32)
    if top_k is not None:
        logits = jnp.where(logits < jax.lax.top_k(logits, top_k)[0][-1], -jnp.inf, logits)
    chosen = jax.random.categorical(key, logits / jnp.where(temperature > 0, temperature, 1)).astype(jnp.int32)
    return jnp.where(jnp.isnan(logits).any(), NONE, jnp.where(temperature > 0, chosen, best))
