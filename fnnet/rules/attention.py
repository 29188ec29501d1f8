"""Attention: queries q_i, keys k_j, values v_j -> o_i, the mean of the values that row i sees, for each head.

    forward     s_ij     = scale q_i . k_j + b_ij, and -inf where i does not see j     (1)
                m_i      = max_j s_ij,   Z_i = sum_j exp(s_ij - m_i)                   (2)
                o_i      = sum_j p_ij v_j,   p_ij = exp(s_ij - m_i) / Z_i              (3)
    backward    v_bar_j  = sum_i p_ij o_bar_i                                          (4)
                s_bar_ij = p_ij (p_bar_ij - sum_l p_il p_bar_il)                       (5)   p_bar_ij = o_bar_i . v_j
                q_bar_i  = scale sum_j s_bar_ij k_j                                    (6)
                k_bar_j  = scale sum_i s_bar_ij q_i                                    (7)
                b_bar_ij = s_bar_ij                                                    (8)   summed where b is broadcast
    soft cap    s_ij     = t_ij + b_ij,   t_ij = gamma tanh(scale q_i . k_j / gamma)   (9)   in place of (1)
                u_bar_ij = s_bar_ij (1 - t_ij / gamma) (1 + t_ij / gamma)              (10)  for s_bar in (6) and (7)

Kept are the inputs, m and Z: they give p again, so the square of scores is never kept. m + log Z and o_i . o_bar_i, the
sum of (5), would do as well, but for large scores the first has few digits left, and those of the second do not cancel.
A row that sees nothing has o = 0 and gradient 0. A CPU has one block of rows at a time: formulations/attention.py.

Sources: Vaswani et al., Attention Is All You Need (2017), (1); the backward without p is that of Dao et al.,
FlashAttention (2022), appendix B.2. Fewer key heads: Ainslie et al., GQA (2023). (9): Gemma Team, Gemma 2 (2024),
arXiv:2408.00118, section 2.
Derivation: docs/derivations/attention.md
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from fnnet.core.arguments import as_array, as_finite, as_flag, as_floats, as_soft_cap, broadcasts, wide
from fnnet.core.habits import hinted
from fnnet.core.indices import as_int32
from fnnet.core.primitives import with_shardings
from fnnet.core.registration import rule
from fnnet.formulations import attention as blocks
from fnnet.formulations.platforms import on_cpu
from fnnet.formulations.visibility import capped, exponentials, probabilities, summed_to, uncapped, visible


@hinted
def attention(
    q: Float[ArrayLike, "*batch length heads width"],
    k: Float[ArrayLike, "*batch keys key_heads width"],
    v: Float[ArrayLike, "*batch keys key_heads value_width"],
    *,
    causal: bool = False,
    mask: Bool[ArrayLike, "..."] | None = None,
    bias: Float[ArrayLike, "..."] | None = None,
    scale: float | None = None,
    key_lengths: Int[ArrayLike, "..."] | None = None,
    soft_cap: float | None = None,
) -> Float[Array, "*batch length heads value_width"]:
    """Softmax attention of each head: the mean of v, weighted by softmax(scale q k^T + bias) over the keys.

    Args:
        q: Queries (length, heads, width), or with any leading batch axes.
        k: Keys (..., keys, key heads, width), with the same leading axes. The key heads divide the heads: query head h
            meets key head h // (heads / key heads), as in grouped-query attention.
        v: Values, shaped like k; only the width may be another.
        causal: Whether row i sees the keys up to i alone.
        mask: True where a row may see a key; it broadcasts against (..., heads, length, keys).
        bias: Added to the scores; it broadcasts likewise and has a gradient. -inf hides a key.
        scale: What the products are multiplied by; 1 / sqrt(width) by default.
        key_lengths: How many of the keys count, for each example: integers that broadcast against the leading axes.
        soft_cap: c > 0: the scaled products become c tanh(products / c) before the bias is added, as in Gemma 2. None:
            they stay.

    Returns:
        (..., length, heads, value width), in the arguments' promoted dtype. bf16 and f16 are computed in f32. A row
        that sees no key is 0, with gradients of 0; `jax.nn` gives it the mean of all values. The
        (length, keys) scores are not kept for the backward. A CPU computes them block by block where a head has more
        than 64 x 64 of them. Under vmap, key_lengths take less memory than a mask for each example. A hidden key and
        its value are multiplied by 0: an infinity or NaN in them spreads, as in `jax.nn`.

    Raises:
        ValueError: Shapes do not go together; scale is not finite, or soft_cap not positive.
        TypeError: q, k, v or bias is not floating, mask not boolean, key_lengths not integer, causal not a bool, scale
            or soft_cap not a number.

    `jax.nn.dot_product_attention` has these shapes and calls causal `is_causal` and key_lengths
    `key_value_seq_lengths`. `torch.nn.functional.scaled_dot_product_attention` has the heads before the length, calls
    mask and bias `attn_mask`, and takes fewer key heads with `enable_gqa`. ONNX's Attention calls soft_cap `softcap`;
    its windows are masks here, and its past keys and values are joined to k and v before.

    Source: Vaswani et al. (2017), (1).
    """
    q, k, v, bias = as_floats("attention", q=q, k=k, v=v, bias=bias, optional=("bias",))
    if q.ndim < 3 or 0 in q.shape[-2:]:
        raise ValueError(
            f"attention: q of shape {q.shape} must have shape (..., length, heads, width), with 1 head or more and a "
            "width of 1 or more"
        )
    *lead, length, heads, width = q.shape
    if k.ndim != q.ndim or k.shape[:-3] != q.shape[:-3] or k.shape[-1] != width or 0 in k.shape[-2:]:
        raise ValueError(
            f"attention: k of shape {k.shape} must have shape (..., keys, key heads, width), with the leading axes and "
            f"the width of q of shape {q.shape} and 1 key head or more"
        )
    if v.shape[:-1] != k.shape[:-1] or v.shape[-1] == 0:
        raise ValueError(f"attention: v of shape {v.shape} must have the shape of k, {k.shape}, but for the width")
    keys, key_heads = k.shape[-3:-1]
    if heads % key_heads:
        raise ValueError(f"attention: k of shape {k.shape} has {key_heads} heads; they must divide q's {heads}")
    scores = (*lead, heads, length, keys)
    for name, array in (("bias", bias), ("mask", mask)):
        if array is not None and not broadcasts(as_array("attention", name, array).shape, scores):
            raise ValueError(
                f"attention: {name} of shape {array.shape} must broadcast against {scores}, (..., heads, length, keys)"
            )
    if mask is not None:
        mask = as_array("attention", "mask", mask)
        if mask.dtype != jnp.bool_:
            raise TypeError(f"attention: mask of dtype {mask.dtype} must be boolean; numbers that are added are a bias")
    if key_lengths is not None:
        key_lengths = as_int32("attention", "key_lengths", key_lengths)
        if not broadcasts(key_lengths.shape, tuple(lead)):
            raise ValueError(
                f"attention: key_lengths of shape {key_lengths.shape} must broadcast against {tuple(lead)}"
            )
        key_lengths = jnp.broadcast_to(key_lengths, lead)
    scale = 1 / math.sqrt(width) if scale is None else as_finite("attention", "scale", scale)
    causal, soft_cap = as_flag("attention", "causal", causal), as_soft_cap("attention", soft_cap)
    return _attention(q, k, v, bias, mask, key_lengths, causal=causal, scale=scale, soft_cap=soft_cap)


def attention_fwd(q, k, v, bias, mask, key_lengths, *, causal, scale, soft_cap):
    given = q, k, v, bias, mask, key_lengths
    attended = functools.partial(attend, causal=causal, scale=scale, soft_cap=soft_cap)
    o, sums = with_shardings(lambda *arrays: list(attended(*arrays)), given, _specs(q, v))  # (1), (2), (3), (9)
    return o, (given, sums)  # two numbers a row; p, a square, is computed again


def attention_bwd(residuals, o_bar, *, causal, scale, soft_cap):
    given, sums = residuals
    bars = pull_back(*given, sums, o_bar, causal=causal, scale=scale, soft_cap=soft_cap)  # (4) to (8), (10)
    return *bars, None, None  # neither the mask nor the lengths have a gradient


# Forward and backward, equation by equation. GPUs and TPUs compute them as they stand here, a CPU block by block.


@on_cpu(blocks.output)
def attend(q, k, v, bias, mask, key_lengths, *, causal, scale, soft_cap):
    """(1) to (3): o, (..., length, heads, value width), and m and Z, (..., heads, length, 2)."""
    _, s = scores(q, k, bias, mask, key_lengths, causal=causal, scale=scale, soft_cap=soft_cap)
    e, total, largest = exponentials(s)  # (2)
    o = jnp.einsum("...hij,...jhd->...ihd", e / total, of_each_head(v, q))  # (3)
    return o.astype(q.dtype), jnp.concatenate([largest, total], -1)


@on_cpu(blocks.gradients)
def pull_back(q, k, v, bias, mask, key_lengths, sums, o_bar, *, causal, scale, soft_cap):
    """(4) to (8): the cotangents of q, k, v and of the bias."""
    t, s = scores(q, k, bias, mask, key_lengths, causal=causal, scale=scale, soft_cap=soft_cap)
    p = probabilities(s, sums)  # (3)
    q_wide, o_bar = wide(q, o_bar)
    v_bar = jnp.einsum("...hij,...ihd->...jhd", p, o_bar)  # (4)
    p_bar = jnp.einsum("...ihd,...jhd->...hij", o_bar, of_each_head(v, q))
    s_bar = p * (p_bar - (p * p_bar).sum(-1, keepdims=True))  # (5)
    u_bar = uncapped(s_bar, t, soft_cap)  # (10)
    q_bar = scale * jnp.einsum("...hij,...jhd->...ihd", u_bar, of_each_head(k, q))  # (6)
    k_bar = scale * jnp.einsum("...hij,...ihd->...jhd", u_bar, q_wide)  # (7)
    bias_bar = None if bias is None else summed_to(s_bar, bias.shape).astype(bias.dtype)  # (8)
    return q_bar.astype(q.dtype), of_key_heads(k_bar, k), of_key_heads(v_bar, v), bias_bar


def scores(q, k, bias, mask, key_lengths, *, causal, scale, soft_cap):
    """t and s, (..., heads, length, keys)."""
    t = capped(scale * jnp.einsum("...ihd,...jhd->...hij", *wide(q), of_each_head(k, q)), soft_cap)
    s = t if bias is None else t + wide(bias)[0]
    lengths = None if key_lengths is None else key_lengths[..., None, None, None]
    seen = visible(s.shape[-2:], causal=causal, mask=mask, key_lengths=lengths)
    return t, s if seen is None else jnp.where(seen, s, -jnp.inf)  # (1), (9)


def of_each_head(array, q):
    """Keys or values of each head of q, in the dtype of sums: a key head serves several heads."""
    (array,) = wide(array)
    shared = q.shape[-2] // array.shape[-2]
    return array if shared == 1 else jnp.repeat(array, shared, axis=-2)


def of_key_heads(bar, array):
    """The cotangent of keys or values: the sum over the heads that a key head serves."""
    *lead, heads, width = array.shape
    return bar.reshape(*lead, heads, bar.shape[-2] // heads, width).sum(-2).astype(array.dtype)


def _specs(q, v):
    """How o, m and Z are sharded under explicit mesh axes: as q is, and the width of o as that of v."""
    *lead, length, heads, _ = jax.typeof(q).sharding.spec
    return [P(*lead, length, heads, jax.typeof(v).sharding.spec[-1]), P(*lead, heads, length, None)]


_attention = rule(attention_fwd, attention_bwd, batched=("q", "k", "v", "key_lengths"))
