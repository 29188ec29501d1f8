"""Each layer alone: its parameters, its output against NumPy, lax or its function, its errors."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fnnet.layers.convolution import Conv
from fnnet.layers.dense import Dense
from fnnet.layers.dropout import Dropout
from fnnet.layers.flatten import Flatten
from fnnet.layers.functions import Function
from fnnet.layers.pooling import AvgPool, MaxPool
from fnnet.layers.protocol import Layer
from fnnet.layers.transposed_convolution import ConvTranspose
from fnnet.rules.average_pooling import avg_pool
from fnnet.rules.max_pooling import max_pool

KEY = jax.random.key(3)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_dense_is_a_matrix_product():
    x, params = draw(5), {"kernel": draw(5, 3, seed=1), "bias": draw(3, seed=2)}
    np.testing.assert_allclose(Dense(3).apply(params, x), x @ params["kernel"] + params["bias"], rtol=2e-6)
    no_bias = Dense(3, bias=False).apply({"kernel": params["kernel"]}, x)
    np.testing.assert_allclose(no_bias, x @ params["kernel"], rtol=2e-6)


@pytest.mark.parametrize(
    ("layer", "shape", "kernel", "names"),
    [
        (Conv(4, 3), (7, 6, 2), (3, 3, 2, 4), ("NHWC", "HWIO", "NHWC")),
        (
            Conv(4, (2, 3), stride=(2, 1), padding="VALID", dilation=2),
            (7, 6, 2),
            (2, 3, 2, 4),
            ("NHWC", "HWIO", "NHWC"),
        ),
        (Conv(4, 3, groups=2, padding=1), (7, 6, 2), (3, 3, 1, 4), ("NHWC", "HWIO", "NHWC")),
        (Conv(4, (3,)), (7, 2), (3, 2, 4), ("NWC", "WIO", "NWC")),
        (Conv(4, (2, 2, 2), bias=False), (3, 4, 5, 2), (2, 2, 2, 2, 4), ("NDHWC", "DHWIO", "NDHWC")),
    ],
)
def test_conv_is_laxs_convolution(layer, shape, kernel, names):
    params = layer.init(KEY, shape)
    assert {name: leaf.shape for name, leaf in params.items()} == {
        "kernel": kernel,
        **({"bias": (4,)} if layer.bias else {}),
    }
    assert tuple(params) == layer.entries
    params = {name: draw(*leaf.shape, seed=i) for i, (name, leaf) in enumerate(params.items())}
    x, rank = draw(*shape, seed=9), len(shape) - 1
    padding = [(layer.padding,) * 2] * rank if isinstance(layer.padding, int) else layer.padding
    strides, dilation = (v if isinstance(v, tuple) else (v,) * rank for v in (layer.stride, layer.dilation))
    expected = lax.conv_general_dilated(
        x[None], params["kernel"], strides, padding, None, dilation, names, feature_group_count=layer.groups
    )[0]
    np.testing.assert_allclose(layer.apply(params, x), expected + params.get("bias", 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 2), (9, 8, 2), (4, 5, 6, 2)])
def test_pools_take_as_many_axes_as_the_window_has(shape):
    x, window = draw(*shape), (2,) * (len(shape) - 1)
    np.testing.assert_array_equal(MaxPool(window).apply({}, x), max_pool(x, window))
    np.testing.assert_array_equal(AvgPool(window).apply({}, x), avg_pool(x, window))


@pytest.mark.parametrize("layer", [Conv(4, 3), ConvTranspose(4, 3), MaxPool(3), AvgPool(3)])
@pytest.mark.parametrize(
    ("shape", "meant"),
    [
        ((8, 8), ", such as (8, 8, 1), which x[..., None] has; window=(3,) is for a sequence (length, channels)"),
        ((6, 8, 8, 2), "; jax.vmap(net.apply, (None, 0)) takes a mini-batch, and window=(3, 3, 3) is for a volume"),
        ((64,), ", such as (8, 8, 1)"),
        ((63,), ""),
    ],
)
def test_an_integer_window_is_for_images(layer, shape, meant, unchecked_shapes):
    with pytest.raises(ValueError, match="must have shape") as caught:
        jax.eval_shape(lambda x: layer.apply(layer.init(KEY, shape), x), jax.ShapeDtypeStruct(shape, jnp.float32))
    name = type(layer).__name__
    assert str(caught.value) == f"{name}: x of shape {shape} must have shape (height, width, channels){meant}"


def test_pools_pass_their_fields_on():
    x = draw(9, 8, 2)
    fields = {"stride": (1, 2), "padding": ((1, 0), 1), "dilation": (1, 2), "ceil_mode": True}
    np.testing.assert_array_equal(MaxPool((3, 2), **fields).apply({}, x), max_pool(x, (3, 2), **fields))
    for own in ({"count_padding": True}, {"divisor": 5}):
        pooled = AvgPool((3, 2), **fields, **own).apply({}, x)
        np.testing.assert_array_equal(pooled, avg_pool(x, (3, 2), **fields, **own))
        assert not np.array_equal(pooled, avg_pool(x, (3, 2), **fields))


def test_flatten_is_row_major():
    x = draw(2, 3, 4)
    np.testing.assert_array_equal(Flatten().apply({}, x), x.ravel())


def test_dropout_without_a_key_is_the_identity():
    x = jnp.asarray(draw(100))
    assert Dropout(0.5).apply({}, x) is x
    assert Dropout(0.0).apply({}, x, key=KEY) is x


def test_dropout_with_a_key_drops_and_scales():
    x = jnp.asarray(draw(4000) + 5)
    y = Dropout(0.3).apply({}, x, key=KEY)
    kept = np.asarray(y != 0)
    np.testing.assert_allclose(y[kept], x[kept] / 0.7, rtol=1e-6)
    assert abs(kept.mean() - 0.7) < 4 * math.sqrt(0.3 * 0.7 / 4000)
    np.testing.assert_array_equal(y, Dropout(0.3).apply({}, x, key=KEY))
    assert not np.array_equal(y, Dropout(0.3).apply({}, x, key=jax.random.key(4)))
    y_bar = draw(4000, seed=1)
    (x_bar,) = jax.vjp(lambda x: Dropout(0.3).apply({}, x, key=KEY), x)[1](y_bar)
    np.testing.assert_allclose(x_bar, np.where(kept, y_bar / 0.7, 0), rtol=1e-6)


def test_dropout_keeps_the_dtype():
    x = jnp.ones(7, jnp.bfloat16)
    assert Dropout(0.5).apply({}, x, key=KEY).dtype == jnp.bfloat16


def test_parameters_have_the_dtype_asked_for_and_bias_starts_at_zero():
    for layer, shape in [(Dense(3), (5,)), (Conv(3, 3), (5, 5, 2))]:
        params = layer.init(KEY, shape, jnp.bfloat16)
        assert {leaf.dtype for leaf in params.values()} == {jnp.dtype(jnp.bfloat16)}
        assert not params["bias"].any()
        assert params["kernel"].any()


def test_given_initialisers_are_used():
    layer = Conv(3, 1, kernel_init=jax.nn.initializers.constant(2.0), bias_init=jax.nn.initializers.ones)
    params = layer.init(KEY, (4, 4, 2))
    np.testing.assert_array_equal(params["kernel"], np.full((1, 1, 2, 3), 2.0))
    np.testing.assert_array_equal(params["bias"], np.ones(3))


def test_layers_without_parameters_have_none():
    for layer in (MaxPool(2), AvgPool(2), Flatten(), Dropout(0.5), Function(jnp.tanh)):
        assert layer.init(KEY, (4, 4, 2)) == {}
        assert layer.entries == ()


@pytest.mark.parametrize(
    ("layer", "written"),
    [
        (Dense(10), "Dense(10)"),
        (Dense(10, bias=False), "Dense(10, bias=False)"),
        (Dense(10, kernel_init=jax.nn.initializers.ones), "Dense(10, kernel_init=ones)"),
        (Conv(32, 3), "Conv(32, 3)"),
        (Conv(32, (3, 5), stride=2, padding="VALID"), "Conv(32, (3, 5), stride=2, padding='VALID')"),
        (MaxPool(2), "MaxPool(2)"),
        (MaxPool(3, stride=2, ceil_mode=True), "MaxPool(3, stride=2, ceil_mode=True)"),
        (AvgPool((2, 2), count_padding=True), "AvgPool((2, 2), count_padding=True)"),
        (Flatten(), "Flatten()"),
        (Dropout(0.5), "Dropout(0.5)"),
        (Function(jnp.tanh), "tanh"),
        (Function(jax.tree_util.Partial(jnp.clip, max=6.0)), "partial(clip, max=6.0)"),
    ],
)
def test_a_layer_reads_as_it_was_written(layer, written):
    assert repr(layer) == written


def test_layers_compare_and_hash_by_value():
    assert Conv(8, 3, stride=2) == Conv(8, 3, stride=2)
    assert hash(Conv(8, 3, stride=2)) == hash(Conv(8, 3, stride=2))
    assert Conv(8, 3) != Conv(8, 3, stride=2)
    with pytest.raises(AttributeError):
        Dense(3).features = 4


def test_lists_and_numpys_integers_become_hashable(unchecked_shapes):
    listed = Conv(np.int64(8), [3, 3], stride=[np.int32(1), 2], padding=[[0, 1], 2])
    assert listed == Conv(8, (3, 3), stride=(1, 2), padding=((0, 1), 2))
    assert hash(listed) == hash(Conv(8, (3, 3), stride=(1, 2), padding=((0, 1), 2)))
    assert hash(MaxPool([2, 2], dilation=[1, 1])) == hash(MaxPool((2, 2), dilation=(1, 1)))
    assert hash(AvgPool([2, 2], padding=[1, 1])) == hash(AvgPool((2, 2), padding=(1, 1)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Dense(0), ValueError, "Dense: features (=0) must be 1 or more"),
        (lambda: Dense(2.5), TypeError, "Dense: features (=2.5) must be an integer"),  # type: ignore[arg-type]
        (lambda: Conv(0, 3), ValueError, "Conv: features (=0) must be 1 or more"),
        (lambda: Conv(4, 0), ValueError, "Conv: window (=0) must be 1 or more"),
        (lambda: Conv(4, (3, 0)), ValueError, "Conv: window (=(3, 0)) must be 1 or more"),
        (lambda: Conv(4, (1, 1, 1, 1)), ValueError, "Conv: window (=(1, 1, 1, 1)) must have 1 to 3 entries"),
        (lambda: Conv(4, 2.5), TypeError, "Conv: window (=2.5) must be an integer"),  # type: ignore[arg-type]
        (lambda: Conv(4, 3, stride=0), ValueError, "Conv: stride (=0) must be 1 or more"),
        (lambda: Conv(4, (3, 3), stride=(1, 1, 1)), ValueError, "Conv: stride (=(1, 1, 1)) must have 2 entries"),
        (lambda: Conv(4, 3, dilation=0), ValueError, "Conv: dilation (=0) must be 1 or more"),
        (
            lambda: Conv(4, 3, padding="FULL"),
            ValueError,
            "Conv: padding (='FULL') must be 'SAME', 'SAME_LOWER', 'VALID'",
        ),
        (lambda: Conv(4, 3, padding=-1), ValueError, "Conv: padding (=-1) must be 0 or more"),
        (lambda: Conv(4, 3, groups=3), ValueError, "Conv: groups (=3) must divide features (=4)"),
        (lambda: Conv(4, 3, groups=0), ValueError, "Conv: groups (=0) must be 1 or more"),
        (lambda: MaxPool(0), ValueError, "MaxPool: window (=0) must be 1 or more"),
        (lambda: MaxPool(2, stride=0), ValueError, "MaxPool: stride (=0) must be 1 or more"),
        (lambda: MaxPool(2, padding=2), ValueError, "MaxPool: padding (=2) must be less than what the window"),
        (lambda: AvgPool((2, 2), stride=(1,)), ValueError, "AvgPool: stride (=(1,)) must have 2 entries"),
        (lambda: AvgPool(2, padding="FULL"), ValueError, "AvgPool: padding (='FULL') must be"),
        (lambda: Dropout(1), ValueError, "Dropout: rate (=1.0) must be 0 or more and less than 1"),
        (lambda: Dropout(-0.1), ValueError, "Dropout: rate (=-0.1) must be 0 or more and less than 1"),
        (lambda: Dropout(math.nan), ValueError, "Dropout: rate (=nan) must be 0 or more and less than 1"),
        (lambda: Dropout("half"), TypeError, "Dropout: rate (='half') must be a number"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_refused_at_once(make, error, message, unchecked_shapes):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("layer", "shape", "error", "message"),
    [
        (Dense(3), (), ValueError, "Dense: x of shape () must have one axis or more"),
        (Dense(3), 5, TypeError, "Dense: shape (=5) must be one example's shape, such as (28, 28, 1)"),
        (Dense(3), (5, 0), ValueError, "Dense: shape (=(5, 0)) must have sizes of 1 or more"),
        (Conv(3, 3), (5,), ValueError, "Conv: x of shape (5,) must have shape (height, width, channels)"),
        (
            Conv(3, (3, 3)),
            (5, 4),
            ValueError,
            "Conv: x of shape (5, 4) must have rank 3, (height, width, channels), as window (3, 3) says, such as "
            "(5, 4, 1), which x[..., None] has",
        ),
        (Conv(4, 3, groups=2), (5, 5, 3), ValueError, "Conv: groups (=2) must divide x's 3 channels"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_by_init(layer, shape, error, message, unchecked_shapes):
    with pytest.raises(error) as caught:
        layer.init(KEY, shape)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("layer", "params", "x", "error", "message"),
    [
        (Dense(3), {"kernel": (5, 3)}, (5,), ValueError, 'Dense: params lacks "bias"'),
        (
            Dense(3, bias=False),
            {"kernel": (5, 3), "bias": (3,)},
            (5,),
            ValueError,
            'Dense: params has "bias"; it takes "kernel"',
        ),
        (
            Dense(3),
            {"kernel": (5, 4), "bias": (3,)},
            (5,),
            ValueError,
            'params["kernel"] of shape (5, 4) must have shape (inputs, 3)',
        ),
        (
            Dense(3),
            {"kernel": (5, 3), "bias": (4,)},
            (5,),
            ValueError,
            'params["bias"] of shape (4,) must have shape (3,)',
        ),
        (Dense(3), {"kernel": (5, 3), "bias": (3,)}, (6,), ValueError, "dense: x of shape (6,) must end in 5"),
        (
            Conv(3, 3),
            {"kernel": (5, 5, 1, 3), "bias": (3,)},
            (6, 6, 1),
            ValueError,
            'Conv: params["kernel"] of shape (5, 5, 1, 3) must have shape (3, 3, inputs / groups, 3)',
        ),
        (
            Conv(3, 3),
            {"kernel": (3, 3, 3), "bias": (3,)},
            (6, 6, 1),
            ValueError,
            'Conv: params["kernel"] of shape (3, 3, 3) must have shape (3, 3, inputs / groups, 3)',
        ),
        (
            Conv(3, 3),
            {"kernel": (3, 3, 2, 3), "bias": (3,)},
            (6, 6, 1),
            ValueError,
            "conv: x of shape (6, 6, 1) has 1 channels",
        ),
        (Flatten(), {"kernel": (1,)}, (2, 2), ValueError, 'Flatten: params has "kernel"; it takes no parameters'),
        (MaxPool(2), {}, (5,), ValueError, "MaxPool: x of shape (5,) must have shape (height, width, channels)"),
        (MaxPool((2, 2)), {}, (1, 5, 5, 2), ValueError, "MaxPool: x of shape (1, 5, 5, 2) must have rank 3"),
        (
            Conv(3, (3, 3)),
            {"kernel": (3, 1, 3), "bias": (3,)},
            (6, 6, 1),
            ValueError,
            'Conv: params["kernel"] of shape (3, 1, 3) must have shape (3, 3, inputs / groups, 3)',
        ),
        (AvgPool(9), {}, (5, 5, 2), ValueError, "avg_pool: window (9, 9) does not fit"),
    ],
)
def test_parameters_and_examples_that_do_not_fit_are_refused_by_apply(
    layer, params, x, error, message, unchecked_shapes
):
    with pytest.raises(error) as caught:
        layer.apply({name: jnp.ones(shape) for name, shape in params.items()}, jnp.ones(x))
    assert message in str(caught.value)


def test_parameters_must_be_a_dictionary(unchecked_shapes):
    with pytest.raises(TypeError, match=r"^Dense: params must be a dictionary of parameters, not list$"):
        Dense(3).apply([jnp.ones((5, 3))], jnp.ones(5))
    with pytest.raises(TypeError, match=r'^Dense: params\["kernel"\] must be an array, not dict$'):
        Dense(3, bias=False).apply({"kernel": {}}, jnp.ones(5))


def test_a_layer_names_its_kind():
    kinds = [layer.kind for layer in (Conv(1, 1), MaxPool(2), Function(jnp.tanh), Function(lambda x: x))]
    assert kinds == ["conv", "max_pool", "tanh", "function"]


def test_a_layer_has_to_say_how_it_is_applied():
    with pytest.raises(NotImplementedError):
        Layer().apply({}, jnp.ones(3))


@dataclasses.dataclass(frozen=True, repr=False)
class Doubled(Dense):
    """A subclass that computes something else."""

    def apply(self, params, x, *, key=None):
        return 2 * super().apply(params, x, key=key)


def test_a_subclass_with_an_apply_of_its_own_answers_by_the_defaults():
    params, x = Doubled(3).init(KEY, (5,)), draw(5)
    assert Doubled(3).call(params, x) is None
    assert Doubled(3).products(params, x) == 0
    assert Doubled(3).factor("kernel", (0, 0), (0,), (5,)) is None
    assert Doubled(3).squared_gradient_norms(params, x[None], draw(1, 3)) is None
    assert Doubled(3).layout is Dense.layout  # the parameters are where they were
    np.testing.assert_allclose(Doubled(3).apply(params, x), 2 * Dense(3).apply(params, x), rtol=1e-6)


@pytest.mark.parametrize("layer", [Dense(3), Conv(4, 3), Conv(4, (2, 3), stride=2, dilation=2, groups=2, padding=1)])
def test_the_derivative_of_a_linear_layer_is_the_entry_that_it_names(layer):
    shape = (5,) if isinstance(layer, Dense) else (7, 8, 2)
    params, x = layer.init(KEY, shape), draw(*shape)
    arrays = {"x": x, **params}

    def apply(of, value):
        merged = {**arrays, of: value}
        return layer.apply({name: merged[name] for name in params}, merged["x"])

    rng = np.random.default_rng(1)
    for of in arrays:
        jacobian = np.asarray(jax.jacrev(lambda value, of=of: apply(of, value))(arrays[of]))
        outputs = jacobian.shape[: jacobian.ndim - np.ndim(arrays[of])]
        places = np.argwhere(jacobian)
        for at in places[rng.choice(len(places), min(20, len(places)), replace=False)]:
            out, index = tuple(map(int, at[: len(outputs)])), tuple(map(int, at[len(outputs) :]))
            factor = layer.factor(of, index, out, shape)
            assert jacobian[tuple(at)] == (arrays[factor[0]][factor[1]] if factor else 1), (of, index, out)


def test_parameters_are_drawn_as_they_say():
    told = Dense(3).parameters((5,))
    assert {name: one.shape for name, one in told.items()} == {"kernel": (5, 3), "bias": (3,)}
    assert [one.decayed for one in told.values()] == [True, False]
    of_kernel, _ = jax.random.split(KEY)
    np.testing.assert_array_equal(
        Dense(3).init(KEY, (5,))["kernel"], jax.nn.initializers.glorot_uniform()(of_kernel, (5, 3))
    )
