"""The proof of `fnnet.lstm`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.proofs.drawn_sequences import SEQUENCES, drawn_sequence, plain_sequence, refused, sequence
from fnnet.proofs.proof import Proof
from fnnet.rules.lstm import lstm


def plain_lstm(
    xs: Any,
    input_kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    *,
    initial_state: Any = None,
    lengths: Any = None,
    reverse: bool = False,
) -> Any:
    """One cell in a lax.scan, as in Flax: the gates by name."""

    def cell(params: Any, state: Any, x: Any) -> Any:
        (input_kernel, recurrent_kernel, bias), (h, c) = params, state
        z = x @ input_kernel + h @ recurrent_kernel + (0.0 if bias is None else bias)
        i, f, g, o = jnp.split(z, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    if initial_state is None:
        zeros = jnp.zeros((*xs.shape[:-2], len(recurrent_kernel)), xs.dtype)
        initial_state = zeros, zeros
    return plain_sequence(cell, (input_kernel, recurrent_kernel, bias), tuple(initial_state), xs, lengths, reverse)


def one_array(function: Callable, *, h: Any = None, c: Any = None, **arguments: Any) -> Any:
    """The outputs of all steps, then the final h and c, along the axis of time."""
    if h is not None:
        arguments["initial_state"] = h, c
    ys, (h, c) = function(**arguments)
    last = (state.reshape(*state.shape[:-1], 1, state.shape[-1]) for state in (h, c))
    return jnp.concatenate([ys, *last], -2)


LSTM = Proof(
    lstm,
    plain_lstm,
    examples=[
        sequence(4, bias=True),
        sequence(4, {"reverse": True}, "reversed, lengths", bias=True, lengths=True),
        sequence(4, title="initial state, lengths", states=("h", "c"), lengths=True),
    ],
    parameters=("input_kernel", "recurrent_kernel", "bias"),
    sample=lambda rng: drawn_sequence(rng, 4, ("bias",), ("h", "c")),
    covers=SEQUENCES | {"bias"},
    tiny=sequence(4, lead=(), time=2, features=1, hidden=2, states=("h", "c"), bias=True),
    forms=[
        sequence(4, lead=(), states=("h", "c"), bias=True),
        sequence(4, {"reverse": True}, "reversed, lengths", lead=(), lengths=True, bias=True),
    ],
    refused=refused(4) | {"initial_state": (1, "h", {1: 1}, (), (None, None), (jnp.ones((2, 3)),) * 3)},
    is_heavy=True,
    cancels=True,
    loops=True,
    call=one_array,
)
