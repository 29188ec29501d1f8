"""`ConvTranspose`: sizes, parameters, PyTorch's layout, errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet import interop

RANDOM = np.random.default_rng(3)


def laid(x, weight, bias, stride, padding, output_padding, dilation, groups):
    """By PyTorch's documentation: x (channels, *image), weight (in, out / groups, *window), one number an axis."""
    inputs, outputs, *window = weight.shape
    full = [(n - 1) * stride + dilation * (k - 1) + 1 for n, k in zip(x.shape[1:], window, strict=True)]
    y = np.zeros((outputs * groups, *(n + output_padding for n in full)))
    for channel in range(inputs):
        group = channel // (inputs // groups)
        for place in np.ndindex(*x.shape[1:]):
            for tap in np.ndindex(*window):
                at = tuple(stride * i + dilation * t for i, t in zip(place, tap, strict=True))
                rows = slice(group * outputs, (group + 1) * outputs)
                y[(rows, *at)] += x[(channel, *place)] * weight[(channel, slice(None), *tap)]
    cut = tuple(slice(padding, n - padding + output_padding) for n in full)
    return y[(slice(None), *cut)] + bias.reshape(-1, *[1] * len(window))


CASES = {
    "1-D": ((5, 3), (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "2-D": ((3, 4, 2), (2, 3, 3, 2), {"stride": 3, "dilation": 2}),
    "3-D": ((2, 3, 2, 2), (2, 3, 2, 1, 2), {"padding": 0}),
    "groups": ((3, 4, 6), (6, 2, 2, 2), {"stride": 2, "groups": 3, "padding": 1}),
    "output padding of a stride": ((3, 2, 2), (2, 3, 2, 2), {"dilation": 3, "output_padding": 2}),
}


@pytest.mark.parametrize(("shape", "weight", "fields"), list(CASES.values()), ids=list(CASES))
def test_pytorchs_weights_give_pytorchs_outputs(shape, weight, fields, x64):
    features = weight[1] * fields.get("groups", 1)
    net = fnnet.Sequential(fnnet.ConvTranspose(features, weight[2:], **fields))
    state = {"0.weight": RANDOM.normal(size=weight), "0.bias": RANDOM.normal(size=features)}
    x = RANDOM.normal(size=(shape[-1], *shape[:-1]))
    params = interop.from_torch(net, shape, state)
    keywords = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1} | fields
    expected = np.moveaxis(laid(x, state["0.weight"], state["0.bias"], **keywords), 0, -1)
    np.testing.assert_allclose(net.apply(params, np.moveaxis(x, 0, -1)), expected, rtol=1e-12, atol=1e-12)
    drawn = net.init(jax.random.key(0), shape)
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, params)
    back = interop.to_torch(net, shape, params, state)
    assert all(np.array_equal(back[name], state[name]) for name in state)


def test_it_stands_among_convolutions_in_the_order_of_the_modules(x64):
    net = fnnet.Sequential(fnnet.Conv(4, 3), fnnet.ConvTranspose(2, 2, stride=2), fnnet.Conv(1, 1))
    shapes = {"down.weight": (4, 2, 3, 3), "up.weight": (4, 2, 2, 2), "last.weight": (1, 2, 1, 1)}
    shapes |= {"down.bias": (4,), "up.bias": (2,), "last.bias": (1,)}
    state = {name: RANDOM.normal(size=shape) for name, shape in shapes.items()}
    params = interop.from_torch(net, (4, 5, 2), state)
    np.testing.assert_array_equal(params["conv_transpose_1"]["bias"], state["up.bias"])
    np.testing.assert_array_equal(params["conv_2"]["bias"], state["last.bias"])
    assert net.apply(params, jnp.ones((4, 5, 2))).shape == (8, 10, 1)


def test_flax_keeps_it_in_another_order():
    net = fnnet.Sequential(fnnet.ConvTranspose(2, 2))
    with pytest.raises(TypeError, match="from_flax: conv_transpose_0 has no layout in flax"):
        interop.from_flax(net, (3, 3, 1), {"ConvTranspose_0": {"kernel": np.ones((2, 2, 1, 2)), "bias": np.ones(2)}})


def test_the_summary_counts_taps_that_fall_into_the_output():
    layer, x = fnnet.ConvTranspose(3, 3, padding=1), jnp.ones((4, 4, 2))
    taps = 4 * 9 + 8 * 6 + 4 * 4  # corners have 4 taps inside, edges 6, the rest all 9
    params = layer.init(jax.random.key(0), x.shape)
    assert layer.products(params, x) == 2 * taps * 2 * 3
    assert layer.flops(params, x) == layer.products(params, x) + 16 * 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnnet.ConvTranspose(3, 2, groups=2), "ConvTranspose: groups (=2) must divide features (=3)"),
        (lambda: fnnet.ConvTranspose(3, 2, output_padding=1), "ConvTranspose: output_padding (=1) must be less than"),
        (
            lambda: fnnet.ConvTranspose(3, 2, padding=-1),
            "ConvTranspose: padding (=-1) must be 0 or more",
        ),
        (lambda: fnnet.ConvTranspose(3, (2,) * 4), "ConvTranspose: window (=(2, 2, 2, 2)) must have 1 to 3 entries"),
        (
            lambda: fnnet.ConvTranspose(4, 2, groups=2).init(jax.random.key(0), (3, 3, 3)),
            "ConvTranspose: groups (=2) must divide x's 3 channels, x of shape (3, 3, 3)",
        ),
        (
            lambda: fnnet.ConvTranspose(4, 2).apply(
                {"kernel": jnp.ones((2, 2, 1, 4)), "bias": jnp.ones(4)}, jnp.ones(3)
            ),
            "ConvTranspose: x of shape (3,) must have shape (height, width, 1)",
        ),
    ],
)
def test_what_cannot_be(make, message, unchecked_shapes):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        make()
