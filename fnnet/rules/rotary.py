"""Rotary position embedding: each pair (a, b) of entries of x is a vector of the plane, which its position turns.

    forward     y_a     = x_a cos t - x_b sin t,   y_b = x_b cos t + x_a sin t                      (1)
    backward    x_bar_a = y_bar_a cos t + y_bar_b sin t,   x_bar_b = y_bar_b cos t - y_bar_a sin t  (2)

t = position * base^(-2 i / width) is the angle of pair i. (2) is (1) with -t, since a rotation's transpose is its
inverse. x is not kept, since (1) is linear in it. Autodiff of (1) finds the same products and takes the same time; it
keeps cosines and sines, and this rule the positions alone.

Source: Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding (2021), (14), (15) and (34).
Derivation: docs/derivations/rotary.md
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from fnnet.core.arguments import as_finite, as_flag, as_floats, broadcasts, wide
from fnnet.core.habits import hinted
from fnnet.core.indices import as_int32
from fnnet.core.registration import rule


@hinted
def rotary(
    x: Float[ArrayLike, "*batch length heads width"],
    positions: Int[ArrayLike, "..."],
    *,
    base: float = 10000.0,
    interleaved: bool = False,
) -> Float[Array, "*batch length heads width"]:
    """Queries or keys, turned by their positions: products of the two then depend on the difference of positions alone.

    Args:
        x: (length, heads, width) with an even width, or with any leading batch axes.
        positions: Integers that broadcast against (..., length).
        base: Pair i turns by position * base^(-2 i / width).
        interleaved: Whether pair i is the entries 2 i and 2 i + 1, as in the paper; by default it is i and
            i + width / 2, as in GPT-NeoX, Llama and ONNX's RotaryEmbedding, whose `interleaved` this is.

    Returns:
        Like x. bf16 and f16 are computed in f32. Positions have no gradient.

    Raises:
        ValueError: The width is odd, positions do not broadcast, or base is not positive and finite.
        TypeError: x is not floating, positions not integers, base not a number, interleaved not a bool.

    Neither Flax nor torch.nn has it; torchtune's RotaryPositionalEmbeddings is interleaved.

    Source: Su et al. (2021), (34).
    """
    (x,) = as_floats("rotary", x=x)
    if x.ndim < 3 or x.shape[-1] % 2:
        raise ValueError(
            f"rotary: x of shape {x.shape} must have shape (..., length, heads, width), with an even width"
        )
    positions = as_int32("rotary", "positions", positions)
    if not broadcasts(positions.shape, x.shape[:-2]):
        raise ValueError(f"rotary: positions of shape {positions.shape} must broadcast against {x.shape[:-2]}")
    base = as_finite("rotary", "base", base)
    if base <= 0:
        raise ValueError(f"rotary: base (={base}) must be positive")
    interleaved = as_flag("rotary", "interleaved", interleaved)
    return _rotary(x, positions, base=base, interleaved=interleaved)


def rotary_fwd(x, positions, *, base, interleaved):
    y = turned(x, positions, base, interleaved)  # (1)
    return y, positions  # all that (2) reads, a number a row


def rotary_bwd(positions, y_bar, *, base, interleaved):
    x_bar = turned(y_bar, -positions, base, interleaved)  # (2)
    return x_bar, None  # positions have no gradient


def turned(x, positions, base, interleaved):
    """(1); with -positions it is (2)."""
    dtype, width, (x,) = x.dtype, x.shape[-1], wide(x)
    frequencies = base ** (-2 * jnp.arange(width // 2, dtype=x.dtype) / width)
    t = positions[..., None, None].astype(x.dtype) * frequencies  # (..., length, 1, width / 2)
    cos, sin = jnp.cos(t), jnp.sin(t)
    a, b = pairs(x, interleaved)
    y_a, y_b = a * cos - b * sin, b * cos + a * sin
    if interleaved:
        return jnp.stack([y_a, y_b], axis=-1).reshape(x.shape).astype(dtype)
    return jnp.concatenate([y_a, y_b], axis=-1).astype(dtype)


def pairs(x, interleaved):
    """The first and the second entries of all pairs."""
    if interleaved:
        return [lax.slice_in_dim(x, start, None, 2, axis=-1) for start in (0, 1)]
    return jnp.split(x, 2, axis=-1)


_rotary = rule(rotary_fwd, rotary_bwd, batched=("x",))
