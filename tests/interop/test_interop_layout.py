"""Parameters carried from PyTorch's and Flax's layouts and back, with NumPy alone; tests/external has the libraries."""

import dataclasses
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet import interop
from fnnet.layers.protocol import Layer

RANDOM = np.random.default_rng(7)


def normal(*shape):
    return RANDOM.normal(size=shape)


# A network with its layers in channels-first order, by loops over taps: what PyTorch documents.


def correlated(x, weight, bias, stride=1, padding=0, groups=1):
    """x (channels, *image), weight (out, channels / groups, *window)."""
    outputs, channels, *window = weight.shape
    x = np.pad(x, [(0, 0)] + [(padding, padding)] * len(window))
    places = [(n - k) // stride + 1 for n, k in zip(x.shape[1:], window, strict=True)]
    y = np.zeros((outputs, *places))
    for output in range(outputs):
        first = output // (outputs // groups) * channels
        for tap in itertools.product(*map(range, window)):
            at = [slice(t, t + (o - 1) * stride + 1, stride) for t, o in zip(tap, places, strict=True)]
            y[output] += np.tensordot(weight[(output, slice(None), *tap)], x[(slice(first, first + channels), *at)], 1)
    return y if bias is None else y + bias.reshape(-1, *[1] * len(window))


def pooled(x, size):
    channels, height, width = x.shape[0], x.shape[1] // size, x.shape[2] // size
    cropped = x[:, : height * size, : width * size]
    return cropped.reshape(channels, height, size, width, size).max((2, 4))


def relu(x):
    return np.maximum(x, 0)


def channels_last(x):
    return np.moveaxis(x, 0, -1)


CNN = fnnet.Sequential(
    fnnet.Conv(6, 3, stride=2, padding=1),
    fnnet.relu,
    fnnet.Conv(8, (3, 2), padding="VALID", groups=2, bias=False),
    fnnet.MaxPool(2),
    fnnet.Flatten(),
    fnnet.Dropout(0.5),
    fnnet.relu,
    fnnet.Dense(5),
    fnnet.relu,
    fnnet.Dense(4, bias=False),
)
SHAPE = (13, 12, 3)
CNN_STATE = {
    "conv1.weight": normal(6, 3, 3, 3),
    "conv1.bias": normal(6),
    "conv2.weight": normal(8, 3, 3, 2),
    "fc.0.weight": normal(5, 8 * 2 * 2),
    "fc.0.bias": normal(5),
    "fc.2.weight": normal(4, 5),
}


def cnn(state, x):
    x = relu(correlated(x, state["conv1.weight"], state["conv1.bias"], stride=2, padding=1))
    x = pooled(correlated(x, state["conv2.weight"], None, groups=2), 2)
    x = relu(state["fc.0.weight"] @ relu(x.ravel()) + state["fc.0.bias"])
    return state["fc.2.weight"] @ x


def test_a_cnn_gives_the_same_outputs(x64):
    x = normal(3, 13, 12)
    params = interop.from_torch(CNN, SHAPE, CNN_STATE)
    np.testing.assert_allclose(CNN.apply(params, channels_last(x)), cnn(CNN_STATE, x), rtol=1e-12)


def test_the_tree_is_that_of_init():
    params = interop.from_torch(CNN, SHAPE, CNN_STATE)
    drawn = CNN.init(jax.random.key(0), SHAPE)
    assert jax.tree.structure(params) == jax.tree.structure(drawn)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, drawn)


# For each: the network, an example's shape, the state, and the same in channels-first order.
ALONE = {
    "1-D": (fnnet.Conv(4, (3,)), (7, 2), {"weight": normal(4, 2, 3), "bias": normal(4)}, {"padding": 1}),
    "2-D": (fnnet.Conv(4, (3, 2), padding=0), (7, 6, 2), {"weight": normal(4, 2, 3, 2), "bias": normal(4)}, {}),
    "3-D": (
        fnnet.Conv(4, (3, 3, 3)),
        (5, 4, 3, 2),
        {"weight": normal(4, 2, 3, 3, 3), "bias": normal(4)},
        {"padding": 1},
    ),
    "depthwise": (
        fnnet.Conv(6, 3, groups=3, bias=False),
        (5, 5, 3),
        {"weight": normal(6, 1, 3, 3)},
        {"padding": 1, "groups": 3},
    ),
}


@pytest.mark.parametrize(("layer", "shape", "state", "keywords"), list(ALONE.values()), ids=list(ALONE))
def test_a_convolution(layer, shape, state, keywords, x64):
    net, x = fnnet.Sequential(layer), normal(shape[-1], *shape[:-1])
    y = net.apply(interop.from_torch(net, shape, state), channels_last(x))
    expected = correlated(x, state["weight"], state.get("bias"), **keywords)
    np.testing.assert_allclose(y, channels_last(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("flatten", [fnnet.Flatten(), jnp.ravel, lambda x: x.reshape(-1)], ids=["layer", "ravel", "-1"])
@pytest.mark.parametrize("shape", [(5, 3), (4, 5, 3), (2, 3, 4, 5), (1, 1, 3), (4, 4, 1), (6,)], ids=str)
def test_a_dense_layer_after_a_flatten(flatten, shape, x64):
    net = fnnet.Sequential(flatten, fnnet.Dense(7))
    state, x = {"weight": normal(7, int(np.prod(shape))), "bias": normal(7)}, normal(shape[-1], *shape[:-1])
    y = net.apply(interop.from_torch(net, shape, state), channels_last(x))
    np.testing.assert_allclose(y, state["weight"] @ x.ravel() + state["bias"], rtol=1e-12, atol=1e-12)


def test_a_function_that_flattens_channels_first(x64):
    net = fnnet.Sequential(lambda x: jnp.moveaxis(x, -1, 0).ravel(), fnnet.Dense(7))
    state, x = {"weight": normal(7, 24), "bias": normal(7)}, normal(4, 3, 2)
    params = interop.from_torch(net, (3, 2, 4), state)
    np.testing.assert_array_equal(params["dense_1"]["kernel"], state["weight"].T)
    np.testing.assert_allclose(net.apply(params, channels_last(x)), state["weight"] @ x.ravel() + state["bias"], 1e-12)


def test_a_mean_over_the_image_keeps_the_order():
    net = fnnet.Sequential(lambda x: x.mean((0, 1)), fnnet.Dense(7))
    state = {"weight": normal(7, 4), "bias": normal(7)}
    kernel = interop.from_torch(net, (3, 2, 4), state)["dense_1"]["kernel"]
    np.testing.assert_array_equal(kernel, np.float32(state["weight"].T))


BLOCK = fnnet.Residual(
    fnnet.Conv(4, 3, bias=False), fnnet.relu, fnnet.Conv(4, 3, bias=False), shortcut=fnnet.Conv(4, 1, bias=False)
)
RESNET = fnnet.Sequential(fnnet.Conv(2, 3, bias=False), BLOCK, fnnet.Flatten(), fnnet.Dense(3, bias=False))
RESNET_STATE = {
    "stem.weight": normal(2, 1, 3, 3),
    "block.conv1.weight": normal(4, 2, 3, 3),
    "block.conv2.weight": normal(4, 4, 3, 3),
    "block.downsample.weight": normal(4, 2, 1, 1),
    "head.weight": normal(3, 4 * 5 * 6),
}


def resnet(state, x):
    x = correlated(x, state["stem.weight"], None, padding=1)
    body = relu(correlated(x, state["block.conv1.weight"], None, padding=1))
    body = correlated(body, state["block.conv2.weight"], None, padding=1)
    x = correlated(x, state["block.downsample.weight"], None) + body
    return state["head.weight"] @ x.ravel()


def test_nested_layers(x64):
    x = normal(1, 5, 6)
    params = interop.from_torch(RESNET, (5, 6, 1), RESNET_STATE)
    np.testing.assert_allclose(RESNET.apply(params, channels_last(x)), resnet(RESNET_STATE, x), rtol=1e-12)
    other = {name: RESNET_STATE[name] for name in sorted(RESNET_STATE, reverse=True)}
    names = {
        "conv_0": "stem",
        "residual_1/conv_0": "block.conv1",
        "residual_1/conv_2": "block.conv2",
        "residual_1/shortcut": "block.downsample",
        "dense_3": "head",
    }
    named = interop.from_torch(RESNET, (5, 6, 1), other, names=names)
    assert jax.tree.all(jax.tree.map(np.array_equal, params, named))


@pytest.mark.parametrize(
    ("net", "shape", "state"), [(CNN, SHAPE, CNN_STATE), (RESNET, (5, 6, 1), RESNET_STATE)], ids=["cnn", "resnet"]
)
def test_there_and_back(net, shape, state, x64):
    back = interop.to_torch(net, shape, interop.from_torch(net, shape, state), state)
    assert list(back) == list(state)
    assert all(np.array_equal(back[name], state[name]) for name in state)


def test_gradients_are_carried_as_weights_are(x64):
    """A permutation keeps inner products: so the gradient in one layout is the other's, permuted."""
    weights, gradients = ({name: normal(*a.shape) for name, a in CNN_STATE.items()} for _ in range(2))
    ours, theirs = (interop.from_torch(CNN, SHAPE, state) for state in (weights, gradients))
    inner = sum(np.vdot(weights[name], gradients[name]) for name in weights)
    np.testing.assert_allclose(sum(jax.tree.leaves(jax.tree.map(jnp.vdot, ours, theirs))), inner, rtol=1e-12)


def test_dtypes_are_kept():
    half = {name: a.astype(np.float16) for name, a in CNN_STATE.items()}
    params = interop.from_torch(CNN, SHAPE, half)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float16")}
    assert {a.dtype for a in interop.to_torch(CNN, SHAPE, params, CNN_STATE).values()} == {np.dtype("float64")}


def test_what_is_given_is_copied():
    """A model that is trained on must not change the network; aligned, the memory could be JAX's own (`device_put`)."""
    memory = np.zeros(64 + 16, np.float32)
    first = -memory.ctypes.data % 64 // memory.itemsize
    state = {"weight": np.ones((64, 1), np.float32), "bias": memory[first : first + 64]}
    params = interop.from_torch(fnnet.Sequential(fnnet.Dense(64)), (1,), state)
    memory += 1
    np.testing.assert_array_equal(params["dense_0"]["bias"], np.zeros(64))


# Flax.

FLAX = {
    "Conv_0": {"kernel": normal(3, 3, 3, 6), "bias": normal(6)},
    "Conv_10": {"kernel": normal(3, 2, 3, 8)},
    "Dense_0": {"bias": normal(5), "kernel": normal(32, 5)},
    "Dense_1": {"kernel": normal(5, 4)},
}


def test_flax_names_are_ordered_by_their_numbers():
    net = fnnet.Sequential(*[fnnet.Dense(2, bias=False) for _ in range(12)])
    tree = {f"Dense_{n}": {"kernel": np.full((2, 2), n, np.float32)} for n in range(12)}
    params = interop.from_flax(net, (2,), dict(sorted(tree.items())))
    assert [float(params[f"dense_{n}"]["kernel"][0, 0]) for n in range(12)] == list(range(12))


def test_flax_there_and_back(x64):
    params = interop.from_flax(CNN, SHAPE, FLAX)
    np.testing.assert_array_equal(params["conv_2"]["kernel"], FLAX["Conv_10"]["kernel"])
    np.testing.assert_array_equal(params["dense_7"]["kernel"], FLAX["Dense_0"]["kernel"])
    back = interop.to_flax(CNN, SHAPE, params, FLAX)
    assert jax.tree.structure(back) == jax.tree.structure(FLAX)
    assert jax.tree.all(jax.tree.map(np.array_equal, back, FLAX))


def test_flax_under_jit():
    carried = jax.jit(lambda tree: interop.from_flax(CNN, SHAPE, tree))(FLAX)
    assert jax.tree.structure(carried) == jax.tree.structure(CNN.init(jax.random.key(0), SHAPE))


def test_flax_names_without_numbers_do_not_tell_an_order():
    net = fnnet.Sequential(fnnet.Dense(2, bias=False), fnnet.Dense(2, bias=False))
    tree = {"second": {"kernel": np.ones((2, 2))}, "first": {"kernel": np.zeros((2, 2))}}
    with pytest.raises(ValueError, match=r"from_flax: the names 'first', 'second' do not tell the order"):
        interop.from_flax(net, (2,), tree)
    params = interop.from_flax(net, (2,), tree, names={"dense_0": "first", "dense_1": "second"})
    assert float(params["dense_1"]["kernel"][0, 0]) == 1


# What does not fit.


def without(*names):
    return {name: value for name, value in CNN_STATE.items() if name not in names}


def test_everything_that_does_not_fit_is_listed():
    state = without("conv1.bias", "fc.2.weight") | {"fc.0.weight": normal(5, 33), "bn.weight": normal(6)}
    expected = (
        "from_torch: state_dict must fit the network; it has\n"
        "  missing: conv_0/bias, of shape (6,) in 'conv1'\n"
        "  missing: dense_9/kernel, of shape (4, 5)\n"
        "  unexpected: bn.weight (6,)\n"
        "  of another shape: fc.0.weight (5, 33), for dense_7/kernel, must have shape (5, 32)"
    )
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        interop.from_torch(CNN, SHAPE, state)
    assert "conv2" not in str(caught.value)


WRONG = {
    "a module too many": (CNN_STATE | {"fc.4.weight": normal(4, 4)}, ValueError, "unexpected: fc.4.weight (4, 4)"),
    "a bias too many": (CNN_STATE | {"conv2.bias": normal(8)}, ValueError, "unexpected: conv2.bias (8,)"),
    "no gradient": (CNN_STATE | {"fc.0.bias": None}, TypeError, "from_torch: fc.0.bias must be an array, not None"),
    "integers": (CNN_STATE | {"conv1.bias": np.ones(6, int)}, TypeError, "from_torch: conv1.bias of dtype int64"),
    "nothing": ({}, ValueError, "missing: conv_0/kernel, of shape (6, 3, 3, 3)"),
}


@pytest.mark.parametrize(("state", "kind", "message"), list(WRONG.values()), ids=list(WRONG))
def test_wrong_state(state, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        interop.from_torch(CNN, SHAPE, state)


def test_wrong_params_on_the_way_back():
    params = interop.from_torch(CNN, SHAPE, CNN_STATE)
    params["dense_7"].pop("bias")
    params["conv_0"]["scale"] = jnp.ones(3)
    params["conv_2"]["kernel"] = jnp.ones((3, 2, 3, 9))
    message = (
        "to_torch: params must fit the network; it has\n"
        "  missing: dense_7/bias, of shape (5,)\n"
        "  unexpected: conv_0/scale (3,)\n"
        "  of another shape: conv_2/kernel (3, 2, 3, 9) must have shape (3, 2, 3, 8)"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        interop.to_torch(CNN, SHAPE, params, CNN_STATE)


def test_norms_without_a_scale_are_found_without_names():
    """Their first entry is a bias, as every convolution has one, or a statistic."""
    plain, affine = fnnet.BatchNorm(scale=False, bias=False), fnnet.BatchNorm()
    net = fnnet.Sequential(fnnet.BatchNorm(scale=False), fnnet.Conv(2, 3), plain, affine, fnnet.Conv(2, 1))
    state = {"0.bias": normal(3), "0.running_mean": normal(3), "0.running_var": normal(3)}
    state |= {"1.weight": normal(2, 3, 3, 3), "1.bias": normal(2), "2.running_mean": normal(2)}
    state |= {"2.running_var": normal(2), "3.weight": normal(2), "3.bias": normal(2), "3.running_mean": normal(2)}
    state |= {"3.running_var": normal(2), "4.weight": normal(2, 2, 1, 1), "4.bias": normal(2)}
    params = interop.from_torch(net, (5, 5, 3), state)
    for entry, name in {
        "batch_norm_0/bias": "0.bias",
        "conv_1/bias": "1.bias",
        "batch_norm_2/mean": "2.running_mean",
        "batch_norm_3/mean": "3.running_mean",
        "conv_4/bias": "4.bias",
    }.items():
        layer, _, leaf = entry.partition("/")
        np.testing.assert_allclose(params[layer][leaf], state[name], rtol=1e-6)
    net = fnnet.Sequential(fnnet.Dense(4), fnnet.LayerNorm(scale=False))
    dense, norm = {"kernel": normal(3, 4), "bias": normal(4)}, {"bias": normal(4)}
    params = interop.from_flax(net, (3,), {"Dense_0": dense, "LayerNorm_0": norm})
    np.testing.assert_allclose(params["layer_norm_1"]["bias"], norm["bias"], rtol=1e-6)


def test_wrong_names():
    for names in ({"dense_0": "a"}, {"dense_0": "a", "dense_1": "a"}, {"dense_0": "a", "dense_1": "b", "conv_2": "c"}):
        net = fnnet.Sequential(fnnet.Dense(2), fnnet.Dense(2))
        with pytest.raises(ValueError, match="must have a module of its own for each of dense_0, dense_1"):
            interop.from_torch(net, (2,), {}, names=names)


@dataclasses.dataclass(frozen=True, repr=False)
class Scale(Layer):
    @property
    def entries(self):
        return ("scale",)

    def init(self, key, shape, dtype=jnp.float32):
        return {"scale": jnp.ones(shape, dtype)}

    def apply(self, params, x, *, key=None):
        return x * params["scale"]


UNTOLD = {
    "a residual": (
        (fnnet.Flatten(), fnnet.Residual(fnnet.Dense(24))),
        "PyTorch flattens channels first, and residual_1 adds to a flattened image",
    ),
    "split": ((fnnet.Flatten(), lambda x: x[:12], fnnet.Dense(2)), "<lambda>, changes the shape of a flattened image"),
    "scaled": ((lambda x: x.ravel() / 2, fnnet.Dense(2)), "<lambda>, does more than flatten an image; write Flatten()"),
    "unflattened": (
        (fnnet.Flatten(), fnnet.Dense(24), lambda x: x.reshape(2, 3, 4)),
        "<lambda>, makes an image of a vector",
    ),
}


@pytest.mark.parametrize(("layers", "message"), list(UNTOLD.values()), ids=list(UNTOLD))
def test_an_order_that_cannot_be_told(layers, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        interop.from_torch(fnnet.Sequential(*layers), (2, 3, 4), {})


def test_flax_flattens_as_fnnet_does():
    net = fnnet.Sequential(fnnet.Flatten(), fnnet.Residual(fnnet.Dense(24, bias=False)))
    kernel = np.arange(24.0 * 24).reshape(24, 24)
    (carried,) = jax.tree.leaves(interop.from_flax(net, (2, 3, 4), {"Dense_0": {"kernel": kernel}}))
    np.testing.assert_array_equal(carried, kernel)


def test_wrong_networks(unchecked_shapes):
    with pytest.raises(TypeError, match=r"from_torch: net must be a Sequential, .* or Padded, not Dense"):
        interop.from_torch(fnnet.Dense(2), (3,), {})
    with pytest.raises(TypeError, match=r"from_flax: scale_0, Scale\(\), has no layout"):
        interop.from_flax(fnnet.Sequential(Scale()), (3,), {})
