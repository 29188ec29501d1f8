"""The proof of `fnnet.gru`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.proofs.drawn_sequences import SEQUENCES, drawn_sequence, plain_sequence, refused, sequence
from fnnet.proofs.proof import Proof
from fnnet.proofs.refused import NOT_FLOATING, ones
from fnnet.rules.gru import gru


def plain_gru(
    xs: Any,
    input_kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    recurrent_bias: Any = None,
    *,
    initial_state: Any = None,
    lengths: Any = None,
    reverse: bool = False,
) -> Any:
    """One cell in a lax.scan, gate by gate, as in PyTorch's documentation."""

    def gates(x: Any, kernel: Any, bias: Any) -> list:
        kernels = jnp.split(kernel, 3, -1)
        biases = [0.0] * 3 if bias is None else jnp.split(bias, 3)
        return [x @ k + b for k, b in zip(kernels, biases, strict=True)]

    def cell(params: Any, h: Any, x: Any) -> Any:
        input_kernel, recurrent_kernel, bias, recurrent_bias = params
        (ir, iz, i_n), (hr, hz, hn) = gates(x, input_kernel, bias), gates(h, recurrent_kernel, recurrent_bias)
        r, z = jax.nn.sigmoid(ir + hr), jax.nn.sigmoid(iz + hz)
        h = (1 - z) * jnp.tanh(i_n + r * hn) + z * h
        return h, h

    if initial_state is None:
        initial_state = jnp.zeros((*xs.shape[:-2], len(recurrent_kernel)), xs.dtype)
    return plain_sequence(
        cell, (input_kernel, recurrent_kernel, bias, recurrent_bias), initial_state, xs, lengths, reverse
    )


def one_array(function: Callable, **arguments: Any) -> Any:
    """The outputs of all steps, then the final state, along the axis of time."""
    ys, h = function(**arguments)
    return jnp.concatenate([ys, h.reshape(*h.shape[:-1], 1, h.shape[-1])], -2)


GRU = Proof(
    gru,
    plain_gru,
    examples=[
        sequence(3, bias=True, recurrent_bias=True),
        sequence(3, {"reverse": True}, "reversed, lengths", bias=True, lengths=True),
        sequence(3, title="initial state, lengths", states=("initial_state",), recurrent_bias=True, lengths=True),
    ],
    parameters=("input_kernel", "recurrent_kernel", "bias", "recurrent_bias"),
    sample=lambda rng: drawn_sequence(rng, 3, ("bias", "recurrent_bias"), ("initial_state",)),
    covers=SEQUENCES | {"bias", "recurrent_bias"},
    tiny=sequence(3, lead=(), time=2, features=1, states=("initial_state",), bias=True, recurrent_bias=True),
    forms=[
        sequence(3, lead=(), states=("initial_state",), bias=True, recurrent_bias=True),
        sequence(3, {"reverse": True}, "reversed, lengths", lead=(), lengths=True, bias=True),
    ],
    refused=refused(3)
    | {
        "recurrent_bias": (*NOT_FLOATING, *ones((), (1,), (2,), (2, 6))),
        "initial_state": ("h", {1: 1}, *NOT_FLOATING, *ones((), (2,), (2, 3), (1, 2))),
    },
    is_heavy=True,
    cancels=True,
    loops=True,
    call=one_array,
)
