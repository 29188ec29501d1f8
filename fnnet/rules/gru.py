"""GRU: xs (..., time, in), kernels W (in, 3 hidden), U (hidden, 3 hidden), biases b, v -> h (..., time, hidden).

    forward     a_t = x_t W + b, q_t = h_(t-1) U + v                           (1)   three parts each: r, z, n
                r = sigmoid(a_r + q_r), z = sigmoid(a_z + q_z)                 (2)
                n = tanh(a_n + r q_n)                                          (3)
                h_t = (1 - z) n + z h_(t-1)                                    (4)
    backward    h_bar_t = y_bar_t + q_bar_(t+1) U^T + z_(t+1) h_bar_(t+1)      (5)   y_bar_t is the output's cotangent
                n_bar = h_bar (1 - z) (1 - n^2)                                (6)   of n's argument
                r_bar = n_bar q_n r (1 - r), z_bar = h_bar (h_(t-1) - n) z (1 - z)    (7)
                a_bar = (r_bar, z_bar, n_bar), q_bar = (r_bar, z_bar, r n_bar)    (8)
                x_bar_t = a_bar_t W^T                                          (9)
                W_bar = sum_t x_t^T a_bar_t                                    (10)  one product, after the scan
                U_bar = sum_t h_(t-1)^T q_bar_t                                (11)  one product, after the scan
                b_bar = sum_t a_bar_t, v_bar = sum_t q_bar_t                   (12)

The order of the gates is r, z, n. The backward scans (5) to (8) only, which is what one step needs of the next.

Sources: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder (2014), arXiv:1406.1078, with r inside
the product. Here r multiplies the product, as in torch.nn.GRU and cuDNN, so that one product serves all gates.
Derivation: docs/derivations/gru.md
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Integer

from fnnet.core.arguments import wide
from fnnet.core.habits import hinted
from fnnet.core.registration import rule
from fnnet.rules.dense import x_gradient
from fnnet.rules.sequences import (
    active,
    arguments,
    before,
    bias_gradient,
    chosen,
    initial,
    kernel_gradient,
    time_first,
    time_last,
    wide_product,
)


@hinted
def gru(
    xs: Float[ArrayLike, "*batch time features"],
    input_kernel: Float[ArrayLike, "features three_hidden"],
    recurrent_kernel: Float[ArrayLike, "hidden three_hidden"],
    bias: Float[ArrayLike, " three_hidden"] | None = None,
    recurrent_bias: Float[ArrayLike, " three_hidden"] | None = None,
    *,
    initial_state: Float[ArrayLike, "*batch hidden"] | None = None,
    lengths: Integer[ArrayLike, "*batch"] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "*batch time hidden"], Float[Array, "*batch hidden"]]:
    """A layer of gated recurrent units over a sequence.

    Args:
        xs: One sequence (time, features), or with any leading batch axes; 1 step or more.
        input_kernel: (features, 3 hidden), the gates in the order r, z, n: PyTorch's `weight_ih_l0`, transposed.
        recurrent_kernel: (hidden, 3 hidden): PyTorch's `weight_hh_l0`, transposed.
        bias: (3 hidden,), or None: PyTorch's `bias_ih_l0`.
        recurrent_bias: (3 hidden,), or None: PyTorch's `bias_hh_l0`. Its last part is multiplied by r.
        initial_state: (..., hidden); None means zeros.
        lengths: (...,), how many steps of each sequence count, from 0 to time (a number outside is clipped to this
            range). A step at or after the length leaves the state as it is and gives the output 0, as PyTorch's packed
            sequences do; what x holds there reaches no output and no gradient.
        reverse: Whether to go from the last step of each sequence to its first. The outputs stay at their steps.

    Returns:
        The outputs h of all steps, (..., time, hidden), and the final state (..., hidden), in the arguments' promoted
        dtype. bf16 and f16: gates and state are computed in f32.

    Raises:
        ValueError: The shapes do not go together.
        TypeError: An array is not floating, `lengths` not integers, `reverse` not a flag.

    Source: `torch.nn.GRU`; Cho et al. (2014).
    """
    arrays, reverse = arguments(
        "gru",
        3,
        xs,
        input_kernel,
        recurrent_kernel,
        {"bias": bias, "recurrent_bias": recurrent_bias},
        {"initial_state": initial_state},
        lengths,
        reverse,
    )
    return _gru(*arrays, reverse=reverse)


def gru_fwd(xs, input_kernel, recurrent_kernel, bias, recurrent_bias, h, lengths, *, reverse):
    dtype, hidden = xs.dtype, recurrent_kernel.shape[0]
    h = initial(xs, h, hidden)

    def step(h, at):
        x, is_active = at
        a = _affine(chosen(is_active, x, 0), input_kernel, bias)  # (1); padding may hold anything
        q = _affine(h.astype(dtype), recurrent_kernel, recurrent_bias)  # (1)
        (a_r, a_z, a_n), (q_r, q_z, q_n) = jnp.split(a, 3, -1), jnp.split(q, 3, -1)
        r, z = jax.nn.sigmoid(a_r + q_r), jax.nn.sigmoid(a_z + q_z)  # (2)
        n = jnp.tanh(a_n + r * q_n)  # (3)
        new = n + z * (h - n)  # (4)
        kept = jnp.concatenate([r, z, n, q_n], -1).astype(dtype)
        return chosen(is_active, new, h), (chosen(is_active, new, 0).astype(dtype), kept)

    (wide_h,) = wide(h)
    last, (hs, kept) = lax.scan(step, wide_h, (time_first(xs), active(xs, lengths)), reverse=reverse)
    ys = time_last(hs)
    # (6) and (7) read r, z, n and q_n, (10) reads x, (7) and (11) read h: the output itself. a is not kept.
    return (ys, last.astype(dtype)), (xs, input_kernel, recurrent_kernel, h, lengths, ys, kept)


def gru_bwd(residuals, bars, *, reverse):
    xs, input_kernel, recurrent_kernel, h, lengths, ys, kept = residuals
    ys_bar, last_bar = bars
    dtype, transposed = xs.dtype, recurrent_kernel.T

    def step(later, at):
        y_bar, h_before, kept, is_active = at
        y_bar, h_before, kept = wide(y_bar, h_before, kept)
        r, z, n, q_n = jnp.split(kept, 4, -1)
        h_bar = later + y_bar  # (5)
        n_bar = h_bar * (1 - z) * (1 - n) * (1 + n)  # (6)
        r_bar, z_bar = n_bar * q_n * r * (1 - r), h_bar * (h_before - n) * z * (1 - z)  # (7)
        q_bar = chosen(is_active, jnp.concatenate([r_bar, z_bar, r * n_bar], -1), 0).astype(dtype)  # (8)
        earlier = wide_product(q_bar, transposed) + z * h_bar  # (5): what the step before adds y_bar to
        return chosen(is_active, earlier, later), (q_bar, chosen(is_active, n_bar, 0).astype(dtype))

    hs = before(time_first(ys), h, xs, lengths, reverse)
    is_active = active(xs, lengths)
    steps = time_first(ys_bar), hs, kept, is_active
    (wide_bar,) = wide(last_bar)
    h_bar, (q_bar, n_bar) = lax.scan(step, wide_bar, steps, reverse=not reverse)
    a_bar = jnp.concatenate([q_bar[..., : 2 * h.shape[-1]], n_bar], -1)  # (8)
    xs_bar = time_last(chosen(is_active, x_gradient(input_kernel, a_bar), 0))  # (9)
    input_kernel_bar = kernel_gradient(chosen(is_active, time_first(xs), 0), a_bar)  # (10)
    recurrent_kernel_bar = kernel_gradient(hs, q_bar)  # (11)
    bias_bars = bias_gradient(a_bar), bias_gradient(q_bar)  # (12)
    return xs_bar, input_kernel_bar, recurrent_kernel_bar, *bias_bars, h_bar.astype(dtype), None


def _affine(x, kernel, bias):
    y = wide_product(x, kernel)
    return y if bias is None else y + bias.astype(y.dtype)


_gru = rule(gru_fwd, gru_bwd, batched=("xs", "h", "lengths"))
