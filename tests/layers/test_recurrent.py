"""`LSTM` and `GRU`: PyTorch's layout and equations, parameters, a network that trains, errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet import interop

RANDOM = np.random.default_rng(5)
TIME, FEATURES, HIDDEN = 4, 3, 2
KEY = jax.random.key(0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def torchs_lstm(state, x):
    """By the equations of torch.nn.LSTM."""
    h, c, ys = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for row in x:
        z = state["0.weight_ih_l0"] @ row + state["0.bias_ih_l0"] + state["0.weight_hh_l0"] @ h + state["0.bias_hh_l0"]
        i, f, g, o = np.split(z, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    return np.array(ys)


def torchs_gru(state, x):
    """By the equations of torch.nn.GRU."""
    h, ys = np.zeros(HIDDEN), []
    for row in x:
        ir, iz, i_n = np.split(state["0.weight_ih_l0"] @ row + state["0.bias_ih_l0"], 3)
        hr, hz, hn = np.split(state["0.weight_hh_l0"] @ h + state["0.bias_hh_l0"], 3)
        r, z = sigmoid(ir + hr), sigmoid(iz + hz)
        h = (1 - z) * np.tanh(i_n + r * hn) + z * h
        ys.append(h)
    return np.array(ys)


def state_of(gates):
    shapes = {"weight_ih_l0": (gates * HIDDEN, FEATURES), "weight_hh_l0": (gates * HIDDEN, HIDDEN)}
    shapes |= {"bias_ih_l0": (gates * HIDDEN,), "bias_hh_l0": (gates * HIDDEN,)}
    return {f"0.{name}": RANDOM.normal(size=shape) for name, shape in shapes.items()}


LAYERS = {"lstm": (fnnet.LSTM(HIDDEN, recurrent_bias=True), 4, torchs_lstm), "gru": (fnnet.GRU(HIDDEN), 3, torchs_gru)}


@pytest.mark.parametrize(("layer", "gates", "by_torch"), list(LAYERS.values()), ids=list(LAYERS))
def test_pytorchs_weights_give_pytorchs_outputs(layer, gates, by_torch, x64):
    net, state, x = fnnet.Sequential(layer), state_of(gates), RANDOM.normal(size=(TIME, FEATURES))
    params = interop.from_torch(net, x.shape, state)
    np.testing.assert_allclose(net.apply(params, x), by_torch(state, x), rtol=1e-12)
    drawn = net.init(KEY, x.shape)
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, params)
    back = interop.to_torch(net, x.shape, params, state)
    assert all(np.array_equal(back[name], state[name]) for name in state)


def test_an_lstm_with_one_bias_does_not_take_two():
    with pytest.raises(ValueError, match=r"unexpected: 0.bias_hh_l0 \(8,\)"):
        interop.from_torch(fnnet.Sequential(fnnet.LSTM(HIDDEN)), (TIME, FEATURES), state_of(4))


@pytest.mark.parametrize("layer", [fnnet.LSTM(HIDDEN, reverse=True), fnnet.GRU(HIDDEN, reverse=True)], ids=str)
def test_reverse_is_the_reversed_sequence(layer):
    x = RANDOM.normal(size=(TIME, FEATURES)).astype(np.float32)
    params = layer.init(KEY, x.shape)
    forwards = type(layer)(HIDDEN).apply(params, x[::-1])[::-1]
    np.testing.assert_allclose(layer.apply(params, x), forwards, rtol=1e-6)


@pytest.mark.parametrize(
    "layer", [fnnet.LSTM(8), fnnet.LSTM(8, bias=False, recurrent_bias=True), fnnet.GRU(8)], ids=str
)
def test_each_gate_is_drawn_by_itself(layer):
    params, gates = layer.init(KEY, (TIME, FEATURES)), layer.gates
    assert tuple(params) == layer.entries
    for part in jnp.split(params["recurrent_kernel"], gates, -1):
        np.testing.assert_allclose(part @ part.T, np.eye(8), atol=1e-5)
    assert all(not params[name].any() for name in layer.entries if name.endswith("bias"))
    assert not np.array_equal(*jnp.split(params["input_kernel"], gates, -1)[:2])
    decayed = [name for name, one in layer.parameters((TIME, FEATURES)).items() if one.decayed]
    assert decayed == ["input_kernel", "recurrent_kernel"]


@pytest.mark.parametrize("layer", [fnnet.LSTM(12), fnnet.GRU(12)], ids=str)
@pytest.mark.slow
def test_a_network_learns_to_remember_the_first_step(layer):
    """The label is in the first of 6 steps, so a gradient has to pass through all of them."""
    xs = RANDOM.normal(size=(256, 6, 2)).astype(np.float32)
    labels = (xs[:, 0, 0] > 0).astype(np.int32)
    net = fnnet.Sequential(layer, lambda x: x[-1], fnnet.Dense(2))

    def loss(params):
        return fnnet.softmax_cross_entropy(jax.vmap(net.apply, (None, 0))(params, xs), labels).mean()

    @jax.jit
    def trained(params):
        def step(params, _):
            return jax.tree.map(lambda p, g: p - g, params, jax.grad(loss)(params)), None

        return jax.lax.scan(step, params, None, 300)[0]

    params = net.init(KEY, (6, 2))
    assert loss(params) > 0.6
    assert loss(trained(params)) < 0.2


def test_the_summary_counts_every_step():
    layer, x = fnnet.GRU(5), jnp.ones((7, 3))
    params = layer.init(KEY, x.shape)
    assert layer.products(params, x) == 2 * 7 * (3 * 15 + 5 * 15)
    assert layer.flops(params, x) == layer.products(params, x) + 7 * 5 * (6 + 7)


WRONG = {
    "hidden": (lambda: fnnet.LSTM(0), "LSTM: hidden (=0) must be 1 or more"),
    "flag": (
        lambda: fnnet.GRU(2, reverse=1),  # type: ignore[arg-type]
        "GRU: reverse (=1) must be True or False",
    ),
    "shape": (lambda: fnnet.GRU(2).init(KEY, (4,)), "GRU: x of shape (4,) must have shape (time, features)"),
    "batch": (
        lambda: fnnet.LSTM(2).apply(fnnet.LSTM(2).init(KEY, (4, 3)), jnp.ones((5, 4, 3))),
        "LSTM: x of shape (5, 4, 3) must have shape (time, 3); jax.vmap(net.apply",
    ),
    "kernel": (
        lambda: fnnet.GRU(2).apply(fnnet.GRU(3).init(KEY, (4, 3)), jnp.ones((4, 3))),
        'GRU: params["input_kernel"] of shape (3, 9) must have shape (features, 6)',
    ),
}


@pytest.mark.parametrize(("make", "message"), list(WRONG.values()), ids=list(WRONG))
def test_what_cannot_be(make, message, unchecked_shapes):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        make()
