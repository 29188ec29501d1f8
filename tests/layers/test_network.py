"""Sequential and Residual: parameters, outputs, gradients, keys, initialisers."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnnet.layers.convolution import Conv
from fnnet.layers.dense import Dense
from fnnet.layers.dropout import Dropout
from fnnet.layers.flatten import Flatten
from fnnet.layers.pooling import AvgPool, MaxPool
from fnnet.layers.protocol import Layer
from fnnet.layers.residual import Residual
from fnnet.layers.sequential import Sequential
from fnnet.rules.activations import gelu, leaky_relu, relu, silu, softplus, tanh

KEY = jax.random.key(3)
CNN = Sequential(Conv(4, 3), relu, MaxPool(2), Flatten(), Dropout(0.5), Dense(3))


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def shapes(params):
    return jax.tree.map(jnp.shape, params)


@pytest.fixture(scope="module")
def params():
    return CNN.init(KEY, (6, 4, 2))


def test_parameters_are_named_by_kind_and_position(params):
    assert shapes(params) == {
        "conv_0": {"kernel": (3, 3, 2, 4), "bias": (4,)},
        "dense_5": {"kernel": (24, 3), "bias": (3,)},
    }
    assert CNN.entries == ("conv_0", "dense_5")


def test_init_inside_another_jit_has_the_same_parameters(params):
    """Also from a key that is no argument of it: a jit with compiler options cannot stand in another one."""
    for inside in (jax.jit(lambda: CNN.init(KEY, (6, 4, 2)))(), jax.jit(lambda key: CNN.init(key, (6, 4, 2)))(KEY)):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), inside, params)
    assert shapes(jax.eval_shape(lambda: CNN.init(KEY, (6, 4, 2)))) == shapes(params)


def test_apply_composes_the_layers(params):
    x = draw(6, 4, 2)
    y = jax.lax.conv_general_dilated(
        x[None], params["conv_0"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]
    y = np.maximum(y + params["conv_0"]["bias"], 0).reshape(3, 2, 2, 2, 4).max((1, 3)).ravel()
    expected = y @ params["dense_5"]["kernel"] + params["dense_5"]["bias"]
    np.testing.assert_allclose(CNN.apply(params, x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(CNN.apply(params, np.asarray(x)), CNN.apply(params, x))


def test_a_mini_batch_by_vmap_agrees_with_a_loop(params):
    xs, y_bar = draw(5, 6, 4, 2), draw(5, 3, seed=1)

    def batch(params):
        return jnp.vdot(jax.vmap(CNN.apply, (None, 0))(params, xs), y_bar)

    def loop(params):
        return sum(jnp.vdot(CNN.apply(params, x), bar) for x, bar in zip(xs, y_bar, strict=True))

    (value, gradient), (expected, expected_gradient) = (jax.value_and_grad(f)(params) for f in (batch, loop))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, expected_gradient)


def test_a_network_is_a_static_argument():
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def f(net, params, x):
        traces.append(net)
        return net.apply(params, x)

    nets = [Sequential(Dense(3), relu), Sequential(Dense(3), relu), Sequential(Dense(3), tanh)]
    assert nets[0] == nets[1] != nets[2]
    assert hash(nets[0]) == hash(nets[1])
    for net in nets:
        f(net, {"dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}, jnp.ones(2))
    assert len(traces) == 2
    assert hash(Residual(Dense(3), shortcut=relu)) == hash(Residual(Dense(3), shortcut=relu))
    assert Residual(Dense(3), shortcut=relu) != Residual(Dense(3))


def test_a_network_reads_as_it_was_written():
    net = Sequential(Conv(4, 3), relu, functools.partial(leaky_relu, slope=0.2), Residual(Dense(4), shortcut=Dense(4)))
    assert repr(net) == (
        "Sequential(Conv(4, 3), relu, partial(leaky_relu, slope=0.2), Residual(Dense(4), shortcut=Dense(4)))"
    )


# Residual.


def test_residual_adds_the_example_to_the_body():
    net = Residual(Dense(4), tanh, Dense(4, bias=False))
    params = net.init(KEY, (4,))
    assert shapes(params) == {"dense_0": {"kernel": (4, 4), "bias": (4,)}, "dense_2": {"kernel": (4, 4)}}
    x = draw(4)
    body = np.tanh(x @ params["dense_0"]["kernel"] + params["dense_0"]["bias"]) @ params["dense_2"]["kernel"]
    np.testing.assert_allclose(net.apply(params, x), x + body, rtol=1e-5)


def test_residual_with_a_shortcut():
    net = Sequential(Residual(Dense(3), shortcut=Sequential(Dense(3, bias=False))), relu)
    params = net.init(KEY, (4,))
    assert shapes(params) == {
        "residual_0": {
            "dense_0": {"kernel": (4, 3), "bias": (3,)},
            "shortcut": {"dense_0": {"kernel": (4, 3)}},
        }
    }
    own, x = params["residual_0"], draw(4)
    expected = x @ own["dense_0"]["kernel"] + own["dense_0"]["bias"] + x @ own["shortcut"]["dense_0"]["kernel"]
    np.testing.assert_allclose(net.apply(params, x), np.maximum(expected, 0), rtol=1e-5)
    assert not np.array_equal(own["dense_0"]["kernel"], own["shortcut"]["dense_0"]["kernel"])


def test_a_shortcut_without_parameters_has_no_entry():
    net = Residual(Conv(2, 3, stride=2), shortcut=AvgPool(2))
    params = net.init(KEY, (4, 4, 2))
    assert net.entries == tuple(params) == ("conv_0",)
    assert net.apply(params, draw(4, 4, 2)).shape == (2, 2, 2)


# Keys.


def test_each_layer_has_its_own_fold_of_the_key():
    x = jnp.ones(2000)
    twice = Sequential(Dropout(0.5), Dropout(0.5)).apply({}, x, key=KEY)
    assert abs(np.mean(twice != 0) - 1 / 4) < 0.05  # 1/2 if both dropped the same
    net = Residual(Dropout(0.5), shortcut=Dropout(0.5))
    y = net.apply({}, x, key=KEY)
    assert set(np.unique(y)) == {0.0, 2.0, 4.0}  # no 2 if both dropped the same
    np.testing.assert_array_equal(y, net.apply({}, x, key=KEY))
    np.testing.assert_array_equal(net.apply({}, x), 2 * x)


def test_a_key_an_example():
    net = Sequential(Dropout(0.5))
    ys = jax.vmap(lambda x, key: net.apply({}, x, key=key))(jnp.ones((2, 100)), jax.random.split(KEY, 2))
    assert not np.array_equal(ys[0], ys[1])


def test_equal_layers_get_different_parameters():
    params = Sequential(Dense(4), tanh, Dense(4), Residual(Dense(4), Dense(4), shortcut=Dense(4))).init(KEY, (4,))
    kernels = [np.asarray(leaf) for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    assert len({kernel.tobytes() for kernel in kernels}) == 5


def test_init_repeats_its_bits_and_goes_into_a_jit():
    net = Sequential(Dense(4), Residual(Dense(4)))
    drawn = net.init(KEY, (4,))
    jax.tree.map(np.testing.assert_array_equal, drawn, net.init(KEY, [4]))
    inside = jax.jit(lambda key: net.init(key, (4,)))(KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), drawn, inside)
    legacy = net.init(jax.random.PRNGKey(3), (4,))
    assert jax.tree.structure(legacy) == jax.tree.structure(drawn)


def test_init_has_the_dtype_asked_for():
    params = CNN.init(KEY, (6, 4, 2), jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}


# Initialisers. A variance estimated from n numbers has a relative error of sqrt(2 / n) or less: 0.9 % here, at most.

HE, GLOROT = 2 / 100, 2 / (100 + 250)


@pytest.mark.parametrize(
    ("following", "variance"),
    [
        ((relu,), HE),
        ((leaky_relu,), HE),
        ((jax.nn.relu,), HE),
        ((jax.nn.leaky_relu,), HE),
        ((functools.partial(leaky_relu, slope=0.2),), HE),
        ((functools.partial(functools.partial(jax.nn.leaky_relu), negative_slope=0.2),), HE),
        ((Dropout(0.1), Flatten(), relu), HE),
        ((), GLOROT),
        ((Dropout(0.1),), GLOROT),
        ((tanh, relu), GLOROT),
        ((Dense(1), relu), GLOROT),
        ((gelu,), GLOROT),
        ((silu,), GLOROT),
        ((softplus,), GLOROT),
        ((lambda x: relu(x),), GLOROT),
    ],
)
def test_he_before_relu_and_glorot_otherwise(following, variance):
    kernel = np.asarray(Sequential(Dense(250), *following).init(KEY, (100,))["dense_0"]["kernel"])
    assert abs(kernel.mean()) < 4 * np.sqrt(variance / kernel.size)
    assert abs(kernel.var() / variance - 1) < 0.03
    bounded = variance == GLOROT  # uniform, else normal, cut off at two standard deviations
    assert abs(kernel).max() < (np.sqrt(3 * variance) if bounded else 2.3 * np.sqrt(variance))


def test_the_fan_of_a_convolution_counts_taps_and_one_group():
    net = Sequential(Conv(60, 3, groups=2), MaxPool(2), AvgPool(1), relu, Conv(60, 3))
    params = net.init(KEY, (4, 4, 40))
    assert abs(np.var(params["conv_0"]["kernel"]) / (2 / (9 * 20)) - 1) < 0.06
    assert abs(np.var(params["conv_4"]["kernel"]) / (2 / (9 * (60 + 60))) - 1) < 0.06


def test_a_layers_own_initialiser_comes_first():
    params = Sequential(Dense(3, kernel_init=jax.nn.initializers.ones), relu).init(KEY, (2,))
    np.testing.assert_array_equal(params["dense_0"]["kernel"], np.ones((2, 3)))


def test_the_body_of_a_residual_is_drawn_by_its_own_functions():
    params = Sequential(Residual(Dense(100), relu, Dense(100)), relu).init(KEY, (100,))["residual_0"]
    assert abs(np.var(params["dense_0"]["kernel"]) / (2 / 100) - 1) < 0.06
    assert abs(np.var(params["dense_2"]["kernel"]) / (2 / 200) - 1) < 0.06


# A reader's own layer.


@dataclass(frozen=True, repr=False)
class Scale(Layer):
    start: float = 1.0

    @property
    def entries(self):
        return ("scale",)

    def init(self, key, shape, dtype=jnp.float32):
        return {"scale": jnp.full(shape[-1:], self.start, dtype)}

    def apply(self, params, x, *, key=None):
        return x * params["scale"]


def test_a_readers_own_layer():
    net = Sequential(Dense(3), Scale(2.0))
    params = net.init(KEY, (4,))
    assert shapes(params)["scale_1"] == {"scale": (3,)}
    x = draw(4)
    np.testing.assert_allclose(net.apply(params, x), 2 * (x @ params["dense_0"]["kernel"]), rtol=1e-5)
    assert net.summary((4,)).rows[1].flops == 3
