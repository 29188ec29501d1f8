"""ONNX's operators over sequences by public functions of fnnet: gates in another order, heads before the length."""

import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp

import fnnet
from external.onnx_operators import Operator
from external.outcomes import NotSupportedError


class Recurrent(Operator):
    """X (time, batch, features) and one row of W, R and B for each direction."""

    gates: tuple[int, ...]  # fnnet's gates, by their places in ONNX

    def in_order(self, array: Any) -> Any:
        """(gates x hidden, ...) with the gates in fnnet's order."""
        parts = jnp.split(array, len(self.gates))
        return jnp.concatenate([parts[place] for place in self.gates])

    def directions(self, x: Any, lengths: Any, direction: str, layout: int, *weights: Any) -> tuple:
        """The outputs of `sequence` for each direction, each with an axis of directions, where ONNX has it."""
        xs = x if layout else jnp.swapaxes(x, 0, 1)
        reverses = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
        found = [
            self.sequence(xs, *(None if a is None else a[i] for a in weights), lengths=lengths, reverse=reverse)
            for i, reverse in enumerate(reverses)
        ]
        outputs, *states = zip(*found, strict=True)
        ys = jnp.stack(outputs, axis=2)  # (batch, time, directions, hidden)
        return (
            ys if layout else jnp.transpose(ys, (1, 2, 0, 3)),
            *(jnp.stack(state, axis=1 if layout else 0) for state in states),
        )

    def sequence(self, xs: Any, *weights: Any, lengths: Any, reverse: bool) -> tuple:
        """The outputs of one direction, and the final states."""
        raise NotImplementedError


def only_usual(activations: Any, usual: list[str], clip: Any) -> None:
    """Raises for other activations than the usual ones of one direction, in order, and for a clip."""
    if clip or (activations and list(activations) != usual * (len(activations) // len(usual))):
        raise NotSupportedError("other activations")


class LSTM(Recurrent):
    gates = (0, 2, 3, 1)  # of i, o, f, c

    def apply(self, x, w, r, b=None, lengths=None, h=None, c=None, peepholes=None, **attributes):
        only_usual(attributes["activations"], ["Sigmoid", "Tanh", "Tanh"], attributes["clip"])
        if peepholes is not None:
            raise NotSupportedError("peepholes")
        layout = attributes["layout"]
        states = [state if state is None or not layout else jnp.swapaxes(state, 0, 1) for state in (h, c)]
        return self.directions(x, lengths, attributes["direction"], layout, w, r, b, *states)

    def sequence(self, xs, w, r, b, h, c, *, lengths, reverse):
        bias = None if b is None else self.in_order(sum(jnp.split(b, 2)))
        kernels = self.in_order(w).T, self.in_order(r).T
        initial = None if h is None else (h, c)
        ys, states = fnnet.lstm(xs, *kernels, bias, initial_state=initial, lengths=lengths, reverse=reverse)
        return ys, *states


class GRU(Recurrent):
    gates = (1, 0, 2)  # of z, r, h

    def apply(self, x, w, r, b=None, lengths=None, h=None, **attributes):
        only_usual(attributes["activations"], ["Sigmoid", "Tanh"], attributes["clip"])
        if not attributes["linear_before_reset"]:
            raise NotSupportedError("the reset gate before the product; fnnet has it after, as PyTorch and cuDNN")
        layout = attributes["layout"]
        h = jnp.swapaxes(h, 0, 1) if h is not None and layout else h
        return self.directions(x, lengths, attributes["direction"], layout, w, r, b, h)

    def sequence(self, xs, w, r, b, h, *, lengths, reverse):
        biases = (None, None) if b is None else map(self.in_order, jnp.split(b, 2))
        kernels = self.in_order(w).T, self.in_order(r).T
        return fnnet.gru(xs, *kernels, *biases, initial_state=h, lengths=lengths, reverse=reverse)


class RotaryEmbedding(Operator):
    def apply(self, x, cos, sin, positions=None, **attributes):
        raise NotSupportedError("a table of any cosines and sines; fnnet computes them from positions")


class Attention(Operator):
    def apply(self, q, k, v, mask=None, past_k=None, past_v=None, lengths=None, **attributes):
        q, k, v = (heads_last(x, attributes[f"{kind}_num_heads"]) for x, kind in ((q, "q"), (k, "kv"), (v, "kv")))
        if past_k is not None:
            k, v = (jnp.concatenate([heads_last(past, None), x], 1) for past, x in ((past_k, k), (past_v, v)))
        before = 0 if past_k is None else past_k.shape[2]
        if lengths is not None:
            before = (lengths - q.shape[1])[:, None, None, None]
        bias = None
        if mask is not None:
            fill = False if mask.dtype == bool else -jnp.inf
            mask = jnp.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, k.shape[1] - mask.shape[-1])], constant_values=fill)
            mask, bias = (mask, None) if mask.dtype == bool else (None, mask)
        windows = attributes.get("left_window_size", -1), attributes.get("right_window_size", -1)
        mask = in_window(q.shape[1], k.shape[1], before, mask, attributes["is_causal"], *windows)
        options = {"scale": attributes["scale"], "soft_cap": attributes["softcap"] or None}
        options = {name: value and float(value) for name, value in options.items()}
        y = fnnet.attention(q, k, v, mask=mask, bias=bias, key_lengths=lengths, **options)
        y = y.reshape(*y.shape[:2], -1) if attributes["q_num_heads"] else jnp.swapaxes(y, 1, 2)
        outputs = len(self.onnx_node.output)
        if outputs < 2:
            return y
        present = jnp.swapaxes(k, 1, 2), jnp.swapaxes(v, 1, 2)
        if outputs < 4:
            return y, *present
        k = jnp.repeat(k, q.shape[2] // k.shape[2], 2)
        return y, *present, scores(q, k, mask, bias, attributes["qk_matmul_output_mode"], **options)


def scores(q, k, mask, bias, mode: int, *, scale: float | None, soft_cap: float | None) -> Any:
    """(batch, heads, length, keys): scaled products; by mode 1 capped, by 2 with the bias too, by 3 their softmax."""
    q, k = jnp.swapaxes(q, 1, 2), jnp.transpose(k, (0, 2, 3, 1))
    found = jax.vmap(jax.vmap(fnnet.dense))(q, k) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if mode >= 1 and soft_cap:
        found = soft_cap * fnnet.tanh(found / soft_cap)
    if mode < 2:
        return found
    found = found if bias is None else found + bias
    found = found if mask is None else jnp.where(mask, found, -jnp.inf)
    if mode == 2:
        return found
    return jnp.where(jnp.isneginf(found).all(-1, keepdims=True), 0, fnnet.softmax(found))


def heads_last(x: Any, heads: int | None) -> Any:
    """(batch, length, heads, width) from (batch, length, heads x width), or from (batch, heads, length, width)."""
    return x.reshape(*x.shape[:2], heads, -1) if x.ndim == 3 else jnp.swapaxes(x, 1, 2)


def in_window(rows: int, keys: int, before: Any, mask: Any, causal: bool, left: int, right: int) -> Any:
    """The mask without the keys that are too far from their row; row i stands at place i + before."""
    distance = jnp.arange(rows)[:, None] + before - jnp.arange(keys)
    limits = [] if mask is None else [mask]
    limits += [distance >= 0] if causal else []
    limits += [distance <= left] if left >= 0 else []
    limits += [-distance <= right] if right >= 0 else []
    return functools.reduce(operator.and_, limits) if limits else None


OPERATORS = {found.__name__: found for found in (LSTM, GRU, RotaryEmbedding, Attention)}
