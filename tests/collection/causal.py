"""Causal convolution of one sequence, by taps, and the state that it carries from call to call."""

import functools

import jax.numpy as jnp

from collection.case import Case, Layer
from collection.circumstances import At
from collection.draws import normal

# y_t = sum_k w_k x_(t - d (K - 1 - k)).


def causal(x, w, dilation):
    return sum(w[k] * jnp.pad(x, (reach, 0))[: len(x)] for k, reach in enumerate(reaches(w, dilation)))


def reaches(w, dilation):
    return [dilation * (len(w) - 1 - k) for k in range(len(w))]


def causal_gradients(x, w, g, dilation, write="add"):
    x_bar, w_bar = jnp.zeros_like(x), []
    for k, reach in enumerate(reaches(w, dilation)):
        at = x_bar.at[: len(x) - reach]
        x_bar = getattr(at, write)(w[k] * g[reach:])
        w_bar.append((g[reach:] * x[: len(x) - reach]).sum())
    return x_bar, jnp.stack(w_bar)


dilated = Layer(
    "dilated convolution",
    causal,
    lambda x, w, dilation: (causal(x, w, dilation), (x, w)),
    lambda: (normal(3, 9), normal(4, 3)),
    {"dilation": 2},
)


# The state: the last W - 1 inputs, those of the call before included.


def last_inputs(state, x):
    return jnp.concatenate([state, x])[-len(state) :]


def last_inputs_bars(state, x, g):
    both = jnp.concatenate([jnp.zeros_like(state), jnp.zeros_like(x)]).at[-len(state) :].set(g)
    return both[: len(state)], both[len(state) :]


def last_inputs_bars_clamped(state, x, g):
    first = max(0, len(x) - len(state))
    slots = g[: len(x) - first]
    return jnp.zeros_like(state), jnp.zeros_like(x).at[first:].set(slots)


state = Layer(
    "state of a causal convolution",
    last_inputs,
    lambda s, x: (last_inputs(s, x), (s, x)),
    lambda: (normal(5, 3), normal(6, 6)),
)


CASES: list[Case] = [
    dilated.right("its rule", causal_gradients),
    state.right("its rule", last_inputs_bars),
    dilated.wrong(
        "overlapping writes lost",
        functools.partial(causal_gradients, write="set"),
        "load, add, store by several threads: the last one wins",
        source="https://github.com/jmschrei/cherimoya/issues/25",
    ),
    dilated.wrong(
        "tap order reversed",
        lambda x, w, g, dilation: (
            causal_gradients(x, w, g, dilation)[0],
            causal_gradients(x, w, g, dilation)[1][::-1],
        ),
        "w_bar back to front",
    ),
    state.wrong(
        "wrong for sequences shorter than the window",
        last_inputs_bars_clamped,
        "the slot of a token is counted from max(0, T - (W - 1))",
        "B",
        exposed_by=At(lambda: (normal(5, 3), normal(6, 2))),
        source="https://github.com/fla-org/flash-linear-attention/issues/1140",
    ),
]
