"""Softmax and log-softmax along one axis or several: logits z -> probabilities p, or their logarithms q.

    forward     q_i     = z_i - m - log sum_j exp(z_j - m),   m = max_j z_j        (1)
                p_i     = exp(z_i - m) / sum_j exp(z_j - m)                        (2)
    Jacobian    dp_i / dz_k = p_i (delta_ik - p_k),   dq_i / dz_k = delta_ik - p_k  (3)
    backward    z_bar_k = p_k (p_bar_k - sum_i p_i p_bar_i)                        (4)   softmax
                z_bar_k = q_bar_k - p_k sum_i q_bar_i,   p = exp q                 (5)   log-softmax

Sources: 001 (1) to (4) and 004, "Calculate Gradient of the softmax activation function", are (2) and (3). (4) is (3)
applied to a cotangent, without the matrix. 000 and 001 list p_i (1 - p_i) as "the derivative of softmax", and 000
propagates that diagonal alone; 001, "Output layer L", sums over the whole of (3), as here. 000 (3) exchanges k and i on
its left side. None of them subtracts m, which changes no value and prevents an overflow of exp: docs/errata.md.
Derivation: docs/derivations/softmax.md
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import as_floats, axes_from_end, wide
from fnnet.core.habits import hinted
from fnnet.core.registration import rule
from fnnet.formulations.platforms import on_cpu
from fnnet.formulations.reductions import summed_products


@hinted
def softmax(z: Float[ArrayLike, "*shape"], axis: int | Sequence[int] = -1) -> Float[Array, "*shape"]:
    """Probabilities (2): exp(z), scaled to the sum 1 along `axis`.

    Args:
        z: Logits, any shape but ().
        axis: The axis of the sum, or several; negative ones count from the end.

    Returns:
        An array like z. bf16 and f16 are computed in f32. Logits of any size do not overflow; one that is -inf has
        probability 0 and gradient 0. Where all are -inf, or one is +inf or NaN, the result is NaN, as in jax.nn.

    Raises:
        ValueError: z has no such axis, or one is named twice.
        TypeError: z is not a floating array, or an axis not an integer.

    Source: 001 (1) to (4).
    """
    (z,) = as_floats("softmax", z=z)
    return _softmax(z, axis=axes_from_end("softmax", "axis", axis, z=z))


def softmax_fwd(z, *, axis):
    e = jnp.exp(shifted(z, axis))
    p = (e / e.sum(axis, keepdims=True)).astype(z.dtype)  # (2)
    return p, p  # (4) reads p alone, which exists anyway; z is not kept


def softmax_bwd(p, p_bar, *, axis):
    dtype, (p, p_bar) = p.dtype, wide(p, p_bar)
    z_bar = p * (p_bar - product_sums(p, p_bar, axes=axis))  # (4)
    return (z_bar.astype(dtype),)


@on_cpu(summed_products)
def product_sums(p, p_bar, *, axes):
    return (p * p_bar).sum(axes, keepdims=True)


_softmax = rule(softmax_fwd, softmax_bwd, batched=("z",), precise=True)


@hinted
def log_softmax(z: Float[ArrayLike, "*shape"], axis: int | Sequence[int] = -1) -> Float[Array, "*shape"]:
    """Logarithms (1) of the probabilities along `axis`: z - log sum exp(z).

    Arguments, precision and errors are those of `softmax`. Logits of any size do not overflow; one that is -inf stays
    -inf. Where all are -inf, or one is +inf or NaN, the result is NaN, as in jax.nn.

    Source: the logarithm of 001 (1).
    """
    (z,) = as_floats("log_softmax", z=z)
    return _log_softmax(z, axis=axes_from_end("log_softmax", "axis", axis, z=z))


def log_softmax_fwd(z, *, axis):
    q = log_probabilities(z, axis).astype(z.dtype)  # (1)
    return q, q  # (5) reads p = exp q; q is the output, so keeping it costs nothing


def log_softmax_bwd(q, q_bar, *, axis):
    dtype, (q, q_bar) = q.dtype, wide(q, q_bar)
    z_bar = q_bar - jnp.exp(q) * q_bar.sum(axis, keepdims=True)  # (5)
    return (z_bar.astype(dtype),)


_log_softmax = rule(log_softmax_fwd, log_softmax_bwd, batched=("z",), precise=True)


def log_probabilities(z, axis):
    """(1), in f32 for bf16 and f16."""
    s = shifted(z, axis)
    return s - jnp.log(jnp.exp(s).sum(axis, keepdims=True))


def shifted(z, axis):
    """z - m. Neither (1) nor (2) depends on m, so derivatives do not pass through it."""
    (z,) = wide(z)
    return z - lax.stop_gradient(z.max(axis, keepdims=True, initial=-jnp.inf))
