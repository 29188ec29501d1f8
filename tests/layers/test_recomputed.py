"""`Recomputed`: the same function, whose backward finds less kept."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from sampled import one_in

import fnnet
from fnnet.layers.recomputation import recomputed
from fnnet.layers.recomputed import with_recomputed_blocks

KEY = jax.random.key(0)
DENSE = fnnet.Residual(fnnet.LayerNorm(), fnnet.Dense(16), fnnet.gelu, fnnet.Dropout(0.5), fnnet.Dense(4))
NORMED = fnnet.Residual(fnnet.Conv(4, 3, bias=False), fnnet.BatchNorm(), fnnet.relu, fnnet.Dropout(0.5))
IMAGES = np.random.default_rng(0).normal(size=(8, 5, 5, 4)).astype(np.float32)
TEXTS = np.random.default_rng(0).integers(0, 7, (8, 6)).astype(np.int32)
WORDS = fnnet.Embedding(7, 4)
NETS = {
    "dropout": (fnnet.Sequential(DENSE, fnnet.Dense(3)), IMAGES),
    "repeat": (fnnet.Tied(WORDS, fnnet.Repeat(fnnet.Residual(fnnet.Attention(2)), 2)), TEXTS),
    "batch norm": (fnnet.Sequential(fnnet.Sequential(NORMED), fnnet.Flatten(), fnnet.Dense(3)), IMAGES),
    "padding": (fnnet.Padded(fnnet.Sequential(WORDS, fnnet.Residual(fnnet.LSTM(4)), fnnet.GlobalMaxPool()), 2), TEXTS),
}


def value_and_gradient(net, params, xs):
    """With statistics; of a mini-batch in training."""

    def objective(params):
        ys, statistics = net.apply_batch(params, xs, keys=jax.random.split(KEY, len(xs)))
        return jnp.sin(ys).mean(), statistics

    return jax.jit(jax.value_and_grad(objective, has_aux=True))(params)


@pytest.mark.parametrize("name", one_in(2, NETS))
def test_blocks_give_what_they_give_without_it(name):
    net, xs = NETS[name]
    again = with_recomputed_blocks(net)
    assert repr(again) != repr(net)
    params = net.init(KEY, xs.shape[1:])
    chex.assert_trees_all_equal(again.init(KEY, xs.shape[1:]), params)
    chex.assert_trees_all_close(
        value_and_gradient(again, params, xs), value_and_gradient(net, params, xs), rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_derivatives_of_gradients_and_gradients_of_examples():
    layer, plain = fnnet.Recomputed(DENSE), DENSE
    params, xs = plain.init(KEY, (4,)), jnp.asarray(IMAGES[:, 0, 0])

    for function in (
        lambda net: jax.jacrev(jax.grad(lambda x: jnp.sin(net.apply(params, x, key=KEY)).sum()))(xs[0]),
        lambda net: jax.vmap(jax.grad(lambda p, x: jnp.sin(net.apply(p, x)).sum()), (None, 0))(params, xs),
    ):
        found = [jax.jit(functools.partial(function, net))() for net in (layer, plain)]
        chex.assert_trees_all_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.cpu
@pytest.mark.parametrize(
    "block", [pytest.param(fnnet.Sequential(*DENSE.layers), marks=pytest.mark.slow), fnnet.Sequential(*NORMED.layers)]
)
def test_temporary_memory_falls(block):
    """On a CPU before jax 0.12 XLA undoes `jax.checkpoint`."""
    sizes = []
    for wrap in (fnnet.Residual, lambda layer: fnnet.Recomputed(fnnet.Residual(layer))):
        net = fnnet.Sequential(*(wrap(block) for _ in range(8)), fnnet.Flatten(), fnnet.Dense(3))
        params, xs = net.init(KEY, (16, 16, 4)), jnp.zeros((16, 16, 16, 4))

        def objective(params, net=net, xs=xs):
            return jnp.sin(net.apply_batch(params, xs, keys=jax.random.split(KEY, 16))[0]).sum()

        program = jax.jit(jax.grad(objective)).lower(params).compile()
        sizes.append(program.memory_analysis().temp_size_in_bytes)
    assert sizes[1] < 0.7 * sizes[0]


def test_fit_trains_the_same_network():
    net, _ = NETS["batch norm"]
    data = IMAGES, np.arange(8) % 3
    options = {"key": 0, "epochs": 3, "batch_size": 4, "progress": False, "validation": data}
    with jax.numpy_dtype_promotion("standard"):  # which optax needs
        params, history = fnnet.fit(net, fnnet.softmax_cross_entropy, "sgd", data, **options)
        other, again = fnnet.fit(net, fnnet.softmax_cross_entropy, "sgd", data, recompute=True, **options)
    chex.assert_trees_all_close(other, params, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose([r["loss"] for r in again], [r["loss"] for r in history], rtol=1e-4)


@pytest.mark.slow
def test_devices_share_a_mini_batch():
    net, _ = NETS["dropout"]
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    data = IMAGES[:, 0, 0], np.arange(8) % 3
    options = {"key": 0, "epochs": 1, "batch_size": 4, "progress": False, "recompute": True}
    found = [fnnet.fit(net, fnnet.softmax_cross_entropy, "sgd", data, mesh=m, **options)[0] for m in (None, mesh)]
    chex.assert_trees_all_close(*found, rtol=1e-4, atol=1e-5)


def test_explicit_mesh_axes():
    net, params, xs = fnnet.Recomputed(DENSE), DENSE.init(KEY, (4,)), jnp.asarray(IMAGES[:, 0, 0])
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])

    def gradient(net, xs):
        return jax.jit(jax.grad(lambda p: jnp.sin(jax.vmap(net.apply, (None, 0))(p, xs)).sum()))(params)

    expected = gradient(DENSE, xs)
    with jax.set_mesh(mesh):
        chex.assert_trees_all_close(gradient(net, jax.device_put(xs, P("data"))), expected, rtol=1e-4, atol=1e-5)


def test_a_trace_shows_the_layers_inside():
    net, xs = fnnet.Sequential(fnnet.Recomputed(DENSE), fnnet.Dense(3)), IMAGES[:, 0, 0]
    trace = fnnet.trace(net, fnnet.softmax_cross_entropy, net.init(KEY, (4,)), xs, np.arange(8) % 3, key=KEY)
    assert [step.name for step in trace][:3] == ["residual_0/layer_norm_0", "residual_0/dense_1", "residual_0/gelu_2"]


def test_a_summary_counts_what_is_kept():
    plain = fnnet.Sequential(DENSE).summary((5, 4))
    once = fnnet.Sequential(fnnet.Recomputed(DENSE)).summary((5, 4))
    assert once.kept_bytes == 5 * 4 * 4 + KEY.nbytes < plain.kept_bytes / 10
    assert (once.flops, once.parameters) == (plain.flops, plain.parameters)


def test_outputs_without_a_gradient_pass():
    def with_place(x):
        return jnp.sin(x), x.argmax()

    def value(function, x):
        y, place = function(x)
        return y[place]

    x = jnp.asarray(IMAGES[0, 0, 0])
    np.testing.assert_allclose(
        jax.grad(functools.partial(value, recomputed(with_place)))(x), jax.grad(functools.partial(value, with_place))(x)
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: fnnet.Recomputed(fnnet.Flatten),
            TypeError,
            r"Recomputed: block \(=Flatten\) is a class; write Flatten\(\.\.\.\)",
        ),
        (
            lambda: fnnet.fit(DENSE, fnnet.squared_error, "sgd", (IMAGES, IMAGES), key=0, recompute="no"),  # type: ignore[arg-type]
            TypeError,
            r"fit: recompute \(='no'\) must be True or False",
        ),
        (
            lambda: fnnet.fit(
                fnnet.Sequential(fnnet.Dense(4)),
                fnnet.squared_error,
                "sgd",
                (IMAGES, IMAGES),
                key=0,
                batch_size=4,
                recompute=True,
            ),
            ValueError,
            r"fit: recompute=True needs a Residual or Repeat in net \(=Sequential\(\.\.\.\)\); put fnnet\.Recomputed",
        ),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()
