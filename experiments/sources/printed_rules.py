"""The sources' mistakes as rules and optimisers, so that whole networks can be trained with them.

    softmax_diagonal        z_bar_i = a_bar_i a_i (1 - a_i)                             000, "softmax-diagonal"
    softmax_of_few          the same for i < few; n a_bar_i for the others              000, "loop-over-layers"
    sigmoid_negative        z_bar_i = - a_bar_i a_i (1 - a_i)                           002, "slope-sign"
    passed_on               z_bar_i = a_bar_i, of an activation                         000, "hidden-slope"
    bias_inside_loop        a bias's gradient times the number of rounds                000, 001, "bias-inside-loop"
    columns_by_batch        0 for the weights from all but the first `batch` inputs     001, "columns-by-batch"

The names in quotation marks are docs/errata.md's. a_bar carries the cost's 1/n, which the loop over the layers, as
printed, gives to the first few outputs alone: hence the n. tests/sources/test_systems.py holds these against the loops.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import fnnet


def _softmax(z):
    p = jax.nn.softmax(z)
    return p, p


def _softmax_of_few_bwd(p, p_bar, *, few):
    first = jnp.arange(p.shape[-1]) < few
    return (p_bar * jnp.where(first, p * (1 - p), p.shape[-1]),)


softmax_diagonal = fnnet.rule(_softmax, lambda p, p_bar: (p_bar * p * (1 - p),), batched=("z",))
softmax_of_few = fnnet.rule(lambda z, *, few: _softmax(z), _softmax_of_few_bwd, batched=("z",))


def _sigmoid(z):
    a = jax.nn.sigmoid(z)
    return a, a


sigmoid_negative = fnnet.rule(_sigmoid, lambda a, a_bar: (-a_bar * a * (1 - a),), batched=("z",))


def _passed_on_bwd(_, a_bar, *, activation):
    return (a_bar,)


_passed_on = fnnet.rule(lambda z, *, activation: (activation(z), None), _passed_on_bwd, batched=("z",))


def passed_on(activation: Callable) -> Callable:
    """The activation, whose derivative is taken for 1."""
    return functools.partial(_passed_on, activation=activation)


def changed(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """An optax transformation that changes the gradients of each dense layer: of those with a bias."""
    import optax

    def update(updates, params=None):
        return {name: change(layer) if "bias" in layer else layer for name, layer in updates.items()}

    return optax.stateless(update)


def bias_inside_loop(rounds: int | None = None) -> Any:
    """Each bias's gradient so many times, or once for each input of its layer."""
    return changed(lambda layer: layer | {"bias": (rounds or layer["kernel"].shape[0]) * layer["bias"]})


def columns_by_batch(batch: int) -> Any:
    """Only the weights from the first inputs, as many as the batch has examples, keep their gradient."""

    def first_inputs(layer):
        rows = jnp.arange(layer["kernel"].shape[0])[:, None]
        return layer | {"kernel": jnp.where(rows < batch, layer["kernel"], 0)}

    return changed(first_inputs)
