"""The summary: numbers derived by hand, XLA's own count of operations, and the arrays that JAX really keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnnet.formulations import convolution
from fnnet.layers.batch_norm import BatchNorm
from fnnet.layers.convolution import Conv
from fnnet.layers.dense import Dense
from fnnet.layers.dropout import Dropout
from fnnet.layers.flatten import Flatten
from fnnet.layers.pooling import AvgPool, MaxPool
from fnnet.layers.repeat import Repeat
from fnnet.layers.residual import Residual
from fnnet.layers.sequential import Sequential
from fnnet.rules.activations import gelu, relu, sigmoid, tanh

KEY = jax.random.key(3)


@pytest.fixture
def no_sums(monkeypatch):
    """Convolution as one: the sums that a CPU makes of few taps multiply the padding too, and XLA counts that."""
    monkeypatch.setattr(convolution, "FEW_TAPS", 0)


def xla_flops(net, shape):
    params = jax.eval_shape(lambda key: net.init(key, shape), KEY)
    compiled = jax.jit(net.apply).lower(params, jax.ShapeDtypeStruct(shape, jnp.float32)).compile()
    return compiled.cost_analysis()["flops"]


def by_name(net, shape, **options):
    return {row.name: row for row in net.summary(shape, **options).rows}


def test_statistics_are_told_apart():
    shown = "12 of the parameters are statistics of mini-batches, which are not trained"
    summary = Sequential(Conv(2, 3), Repeat(BatchNorm(), 3)).summary((5, 5, 1))
    assert [(row.parameters, row.statistics) for row in summary.rows] == [(20, 0), (3 * 8, 3 * 4)]
    assert str(summary).endswith(f"\n{shown}")
    assert summary._repr_html_().endswith(f"<p>{shown}</p>")
    assert "statistics" not in str(Sequential(Conv(2, 3)).summary((5, 5, 1)))


def test_numbers_by_hand():
    net = Sequential(Conv(4, 3), relu, MaxPool(2), Flatten(), Dense(5), tanh, Dense(2, bias=False))
    rows = by_name(net, (6, 4, 2))
    inside = (3 * 6 - 2) * (3 * 4 - 2)  # of 3 taps at each of n places, the first and the last lose one
    assert [(name, row.shape, row.parameters, row.kept_bytes) for name, row in rows.items()] == [
        ("conv_0", (6, 4, 4), 3 * 3 * 2 * 4 + 4, 4 * 6 * 4 * 2),  # x; the kernel is a parameter
        ("relu_1", (6, 4, 4), 0, 6 * 4 * 4),  # a comparison, one byte an entry
        ("max_pool_2", (3, 2, 4), 0, 3 * 2 * 4),  # an index of one byte
        ("flatten_3", (24,), 0, 0),
        ("dense_4", (5,), 24 * 5 + 5, 4 * 24),  # x
        ("tanh_5", (5,), 0, 4 * 5),  # y
        ("dense_6", (2,), 5 * 2, 0),  # its x is tanh's y, kept already
    ]
    assert rows["conv_0"].flops == 2 * inside * 2 * 4 + 6 * 4 * 4
    assert rows["dense_4"].flops == 2 * 24 * 5 + 5
    assert rows["dense_6"].flops == 2 * 5 * 2
    assert rows["relu_1"].flops == 6 * 4 * 4
    assert rows["flatten_3"].flops == 0
    summary = net.summary((6, 4, 2))
    assert summary.parameters == 76 + 125 + 10
    assert summary.kept_bytes == 192 + 96 + 24 + 96 + 20
    assert summary.flops == sum(row.flops for row in rows.values())


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv(6, 3), (9, 8, 4)),
        (Conv(6, (4, 2), stride=(2, 3)), (9, 8, 4)),
        (Conv(6, 3, padding="VALID", dilation=2), (9, 8, 4)),
        (Conv(6, 3, stride=3, padding=2, dilation=2), (9, 8, 4)),
        (Conv(6, 3, groups=2, bias=False), (9, 8, 4)),
        (Conv(8, 3, groups=4, padding=((0, 3), (1, 0))), (9, 8, 4)),
        (Conv(6, 5), (3, 3, 4)),  # a window that is larger than the image
        (Conv(3, (5,), stride=2), (20, 2)),
        (Conv(3, (2, 2, 2)), (4, 5, 6, 2)),
        (Dense(7), (9,)),
        (Dense(7, bias=False), (2, 3, 9)),
    ],
)
@pytest.mark.usefixtures("no_sums")
def test_flops_are_xlas(layer, shape):
    assert Sequential(layer).summary(shape).flops == xla_flops(Sequential(layer), shape)


@pytest.mark.cpu
@pytest.mark.parametrize(
    "net",
    [
        Sequential(Conv(6, 5), relu, MaxPool(2), Conv(16, 5, padding="VALID"), relu, MaxPool(2), Flatten(), Dense(10)),
        Sequential(Conv(8, 3), sigmoid, AvgPool(3, stride=2, padding=1), Dropout(0.5), Flatten(), Dense(10), gelu),
        Sequential(
            Residual(Conv(8, 3), relu, Conv(4, 3, stride=2), shortcut=Conv(4, 1, stride=2)), relu, Sequential(Dense(3))
        ),
    ],
)
@pytest.mark.usefixtures("no_sums")
def test_flops_of_a_network_are_xlas(net):
    total = net.summary((16, 16, 1)).flops
    assert abs(total / xla_flops(net, (16, 16, 1)) - 1) < 0.03


def test_nested_layers_have_rows():
    net = Sequential(Residual(Dense(4), relu, shortcut=Dense(4, bias=False)), Sequential(Dense(2)))
    rows = by_name(net, (3,))
    assert [(row.name, row.shape, row.parameters, row.flops) for row in rows.values()] == [
        ("residual_0/dense_0", (4,), 16, 28),
        ("residual_0/relu_1", (4,), 0, 4),
        ("residual_0/shortcut", (4,), 12, 24),
        ("residual_0", (4,), 0, 4),
        ("sequential_1/dense_0", (2,), 10, 18),
        ("sequential_1", (2,), 0, 0),
    ]
    kept = [row.kept_bytes for row in rows.values()]
    assert kept == [12, 4, 0, 0, 16, 0]  # the shortcut's x is the body's


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        (lambda x: 2 * x, 0),
        (lambda x: x + 1, 0),
        (jnp.sin, 4 * 6),  # its cosine
        (lambda x: x * x, 4 * 6),
        (lambda x: jnp.where(x > 0, x, 0), 6),  # the choice; a zero is no array
        (lambda x: x.reshape(3, 2) * x.reshape(3, 2), 4 * 6),
        (lambda x: jnp.arange(6.0) * x, 0),  # a constant
    ],
)
def test_what_autodiff_keeps_of_a_function(function, kept):
    assert Sequential(function).summary((6,)).kept_bytes == kept


def test_dropout_keeps_its_mask():
    assert Sequential(Dropout(0.5)).summary((6, 4)).kept_bytes == 24


def test_kept_bytes_follow_the_dtype():
    rows = by_name(Sequential(Dense(4), tanh), (6,), dtype=jnp.bfloat16)
    assert [row.kept_bytes for row in rows.values()] == [12, 8]


def test_kept_bytes_are_those_of_the_arrays_that_jax_keeps():
    body = Residual(Conv(4, 3), relu, Dense(4))
    net, shape = Sequential(Conv(4, 3), relu, MaxPool(2), body, tanh, Flatten(), Dense(2)), (6, 4, 2)
    params = net.init(KEY, shape)
    backward = jax.vjp(net.apply, params, jax.random.normal(KEY, shape))[1]
    arrays = {leaf.tobytes(): leaf.nbytes for leaf in map(np.asarray, jax.tree.leaves(backward)) if leaf.ndim}
    for leaf in jax.tree.leaves(params):
        arrays.pop(np.asarray(leaf).tobytes(), None)
    assert net.summary(shape).kept_bytes == sum(arrays.values())


def test_the_table():
    lines = str(Sequential(Conv(32, 3), relu, Flatten(), Dense(10)).summary((28, 28, 1))).splitlines()
    assert [line.split() for line in lines if "-" not in line] == [
        ["layer", "output", "parameters", "FLOPs", "kept", "bytes"],
        ["conv_0", "28", "x", "28", "x", "32", "320", "455,424", "3,136"],
        ["relu_1", "28", "x", "28", "x", "32", "0", "25,088", "25,088"],
        ["flatten_2", "25088", "0", "0", "0"],
        ["dense_3", "10", "250,890", "501,770", "100,352"],
        ["total", "251,210", "982,282", "128,576"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_a_scalar_has_a_shape_too():
    summary = Sequential(lambda x: jnp.sum(x)).summary((3,))
    assert summary.rows[0].shape == ()
    assert np.isfinite(summary.flops)
