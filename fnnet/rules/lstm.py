"""LSTM: xs (..., time, in), kernels W (in, 4 hidden), U (hidden, 4 hidden), bias b -> outputs h (..., time, hidden).

    forward     z_t = x_t W + h_(t-1) U + b                                    (1)   four parts, one for each gate
                i = sigmoid z_i, f = sigmoid z_f, g = tanh z_g, o = sigmoid z_o    (2)
                c_t = f_t c_(t-1) + i_t g_t                                    (3)
                h_t = o_t tanh c_t                                             (4)
    backward    h_bar_t = y_bar_t + z_bar_(t+1) U^T                            (5)   y_bar_t is the output's cotangent
                c_bar_t = f_(t+1) c_bar_(t+1) + h_bar_t o_t (1 - tanh^2 c_t)   (6)
                z_bar_i = c_bar g i (1 - i), z_bar_f = c_bar c_(t-1) f (1 - f)    (7)
                z_bar_g = c_bar i (1 - g^2), z_bar_o = h_bar tanh c o (1 - o)     (8)
                x_bar_t = z_bar_t W^T                                          (9)
                W_bar = sum_t x_t^T z_bar_t                                    (10)  one product, after the scan
                U_bar = sum_t h_(t-1)^T z_bar_t                                (11)  one product, after the scan
                b_bar = sum_t z_bar_t                                          (12)

The order of the gates is i, f, g, o. The backward scans (5) to (8) only, which is what one step needs of the next.

Sources: Hochreiter and Schmidhuber, Long Short-Term Memory (1997); Gers, Schmidhuber and Cummins, Learning to Forget
(2000), for f; Graves, Supervised Sequence Labelling with Recurrent Neural Networks (2012), section 4.6, the backward.
Derivation: docs/derivations/lstm.md
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
def lstm(
    xs: Float[ArrayLike, "*batch time features"],
    input_kernel: Float[ArrayLike, "features four_hidden"],
    recurrent_kernel: Float[ArrayLike, "hidden four_hidden"],
    bias: Float[ArrayLike, " four_hidden"] | None = None,
    *,
    initial_state: tuple[Float[ArrayLike, "*batch hidden"], Float[ArrayLike, "*batch hidden"]] | None = None,
    lengths: Integer[ArrayLike, "*batch"] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "*batch time hidden"], tuple[Float[Array, "*batch hidden"], Float[Array, "*batch hidden"]]]:
    """A layer of long short-term memory over a sequence.

    Args:
        xs: One sequence (time, features), or with any leading batch axes; 1 step or more.
        input_kernel: (features, 4 hidden), the gates in the order i, f, g, o: PyTorch's `weight_ih_l0`, transposed.
        recurrent_kernel: (hidden, 4 hidden): PyTorch's `weight_hh_l0`, transposed.
        bias: (4 hidden,), or None: the sum of PyTorch's two, which are always added.
        initial_state: (h, c), each (..., hidden); None means zeros.
        lengths: (...,), how many steps of each sequence count, from 0 to time (a number outside is clipped to this
            range). A step at or after the length leaves the state as it is and gives the output 0, as PyTorch's packed
            sequences do; what x holds there reaches no output and no gradient.
        reverse: Whether to go from the last step of each sequence to its first. The outputs stay at their steps.

    Returns:
        The outputs h of all steps, (..., time, hidden), and the final state (h, c), each (..., hidden), in the
        arguments' promoted dtype. bf16 and f16: gates and cell are computed in f32.

    Raises:
        ValueError: The shapes do not go together.
        TypeError: An array is not floating, `lengths` not integers, `reverse` not a flag.

    Source: Graves (2012), section 4.6, without peepholes.
    """
    h, c = _pair(initial_state)
    arrays, reverse = arguments(
        "lstm",
        4,
        xs,
        input_kernel,
        recurrent_kernel,
        {"bias": bias},
        {"initial_state[0]": h, "initial_state[1]": c},
        lengths,
        reverse,
    )
    return _lstm(*arrays, reverse=reverse)


def _pair(initial_state):
    if initial_state is None:
        return None, None
    if not isinstance(initial_state, tuple | list) or len(initial_state) != 2 or any(s is None for s in initial_state):
        raise TypeError(f"lstm: initial_state must be the pair (h, c) of arrays, not {type(initial_state).__name__}")
    return initial_state


def lstm_fwd(xs, input_kernel, recurrent_kernel, bias, h, c, lengths, *, reverse):
    dtype, hidden = xs.dtype, recurrent_kernel.shape[0]
    h, c = initial(xs, h, hidden), initial(xs, c, hidden)

    def step(state, at):
        (h, c), (x, is_active) = state, at
        x = chosen(is_active, x, 0)  # padding may hold anything
        z = wide_product(x, input_kernel) + wide_product(h, recurrent_kernel)
        gates = activated(z if bias is None else z + bias.astype(z.dtype))  # (1), (2)
        i, f, g, o = jnp.split(gates, 4, -1)
        new_c = f * c + i * g  # (3)
        new_h = (o * jnp.tanh(new_c)).astype(dtype)  # (4)
        h, c = chosen(is_active, new_h, h), chosen(is_active, new_c, c)
        return (h, c), (chosen(is_active, new_h, 0), c.astype(dtype), gates.astype(dtype))

    (last_h, last_c), (hs, cs, gates) = lax.scan(
        step, (h, *wide(c)), (time_first(xs), active(xs, lengths)), reverse=reverse
    )
    ys = time_last(hs)
    # (7) and (8) read the gates and c, (10) x, (11) h: the output itself. z is not kept, and tanh c is recomputed.
    residuals = xs, input_kernel, recurrent_kernel, h, c, lengths, ys, cs, gates
    return (ys, (last_h, last_c.astype(dtype))), residuals


def lstm_bwd(residuals, bars, *, reverse):
    xs, input_kernel, recurrent_kernel, h, c, lengths, ys, cs, gates = residuals
    ys_bar, (last_h_bar, last_c_bar) = bars
    dtype, transposed = xs.dtype, recurrent_kernel.T

    def step(later, at):
        h_later, c_later = later
        y_bar, c, c_before, gates, is_active = at
        c, c_before, y_bar, gates = wide(c, c_before, y_bar, gates)
        i, f, g, o = jnp.split(gates, 4, -1)
        t = jnp.tanh(c)
        h_bar = h_later + y_bar  # (5)
        c_bar = c_later + h_bar * o * (1 - t) * (1 + t)  # (6)
        parts = (
            c_bar * g * i * (1 - i),
            c_bar * c_before * f * (1 - f),
            c_bar * i * (1 - g) * (1 + g),
            h_bar * t * o * (1 - o),
        )
        z_bar = chosen(is_active, jnp.concatenate(parts, -1), 0).astype(dtype)  # (7), (8)
        h_earlier, c_earlier = wide_product(z_bar, transposed), c_bar * f
        return (chosen(is_active, h_earlier, h_later), chosen(is_active, c_earlier, c_later)), z_bar

    is_active = active(xs, lengths)
    steps = time_first(ys_bar), cs, before(cs, c, xs, lengths, reverse), gates, is_active
    (h_bar, c_bar), z_bar = lax.scan(step, tuple(wide(last_h_bar, last_c_bar)), steps, reverse=not reverse)
    xs_bar = time_last(chosen(is_active, x_gradient(input_kernel, z_bar), 0))  # (9)
    input_kernel_bar = kernel_gradient(chosen(is_active, time_first(xs), 0), z_bar)  # (10)
    recurrent_kernel_bar = kernel_gradient(before(time_first(ys), h, xs, lengths, reverse), z_bar)  # (11)
    bias_bar = bias_gradient(z_bar)  # (12)
    state_bars = h_bar.astype(dtype), c_bar.astype(dtype)
    return xs_bar, input_kernel_bar, recurrent_kernel_bar, bias_bar, *state_bars, None


def activated(z):
    """(2): sigmoid of the parts i, f and o, tanh of g."""
    i, f, g, o = jnp.split(z, 4, -1)
    return jnp.concatenate([jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)], -1)


_lstm = rule(lstm_fwd, lstm_bwd, batched=("xs", "h", "c", "lengths"))
