"""Norms as layers, and as rules where the contract does not reach: means far from 0, many rows, other libraries."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.proofs import own

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(12, 4, 3, 2)).astype(np.float32)
LABELS = np.arange(12) % 3
LOSS = fnnet.softmax_cross_entropy
NET = fnnet.Sequential(
    fnnet.Conv(6, 3),
    fnnet.GroupNorm(3),
    fnnet.relu,
    fnnet.RMSNorm(axes=(-2, -1), epsilon=0.1),
    fnnet.LayerNorm(bias=False),
    fnnet.Flatten(),
    fnnet.LayerNorm(),
    fnnet.Dense(3),
)


def drawn(net, shape):
    """Parameters far from their initial ones and zeros."""
    params = net.init(jax.random.key(0), shape)
    return jax.tree.map(lambda p: p + 0.3 * jnp.asarray(RNG.normal(size=p.shape), p.dtype), params)


def test_parameters_are_ones_and_zeros_and_not_decayed():
    params = NET.init(jax.random.key(0), (4, 3, 2))
    assert list(params) == ["conv_0", "dense_7", "group_norm_1", "layer_norm_4", "layer_norm_6", "rms_norm_3"]
    assert {key: value.shape for key, value in params["layer_norm_6"].items()} == {"scale": (72,), "bias": (72,)}
    assert params["rms_norm_3"]["scale"].shape == (3, 6)
    assert params["layer_norm_4"]["scale"].tolist() == [1] * 6
    assert params["group_norm_1"]["bias"].tolist() == [0] * 6
    assert not any(one.decayed for one in fnnet.LayerNorm().parameters((5,)).values())


def test_the_network_is_its_rules():
    params = drawn(NET, (4, 3, 2))
    conv, dense, group, inner, last, rms = (params[name] for name in sorted(params))
    y = fnnet.relu(fnnet.group_norm(fnnet.conv(IMAGES[0], **conv), 3, **group))
    y = fnnet.layer_norm(fnnet.rms_norm(y, **rms, axes=(1, 2), epsilon=0.1), **inner)
    y = fnnet.dense(fnnet.layer_norm(y.ravel(), **last), **dense)
    np.testing.assert_allclose(NET.apply(params, IMAGES[0]), y, rtol=1e-6)


def test_the_norms_of_each_examples_gradient():
    params = drawn(NET, (4, 3, 2))
    norms = jax.jit(functools.partial(fnnet.gradient_norms, NET, LOSS))(params, IMAGES, LABELS)
    gradient = jax.grad(lambda params, x, y: LOSS(NET.apply(params, x), y))
    each = jax.jit(jax.vmap(lambda x, y: optax.tree.norm(gradient(params, x, y))))(IMAGES, LABELS)
    np.testing.assert_allclose(norms, each, rtol=1e-5)


@pytest.mark.parametrize("norm", [fnnet.LayerNorm(), fnnet.RMSNorm(), fnnet.GroupNorm(4), fnnet.BatchNorm()])
def test_a_norm_answers_for_what_norms_share(norm):
    """A norm hides the scale of its input, and has the norms of gradients without forming the gradients."""
    kernel = fnnet.Sequential(fnnet.Dense(64), norm, fnnet.relu).init(jax.random.key(0), (64,))["dense_0"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 64), rtol=0.05)  # He's; Glorot's is sqrt(1 / 64)
    x, y_bar = (jnp.asarray(RNG.normal(size=(3, 2, 4)), jnp.float32) for _ in range(2))
    params = norm.init(jax.random.key(0), (2, 4))
    _, pull = jax.vjp(lambda params: jax.vmap(norm.apply, (None, 0))(params, x), params)
    of_one = (pull(jnp.where(jnp.arange(3)[:, None, None] == n, y_bar, 0)) for n in range(3))
    expected = [optax.tree.norm(bars, squared=True) for (bars,) in of_one]
    np.testing.assert_allclose(norm.squared_gradient_norms(params, x, y_bar), expected, rtol=1e-5)


def made(layer: Callable, **fields):
    return layer(**fields)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: made(fnnet.LayerNorm, axes=("x",)),
            TypeError,
            "LayerNorm: axes (=('x',)) must be an integer, or several",
        ),
        (lambda: fnnet.LayerNorm(epsilon=-1), ValueError, "LayerNorm: epsilon (=-1) must be 0 or more"),
        (lambda: made(fnnet.RMSNorm, scale=1), TypeError, "RMSNorm: scale (=1) must be True or False"),
        (lambda: made(fnnet.LayerNorm, axes=True), TypeError, "LayerNorm: axes (=True) must be an integer, or several"),
        (
            lambda: made(fnnet.BatchNorm, axis_name=False),
            TypeError,
            "BatchNorm: axis_name (=False) must be the name of a mesh's axis, or several, or None",
        ),
        (lambda: fnnet.GroupNorm(0), ValueError, "GroupNorm: groups (=0) must be 1 or more"),
        (
            lambda: fnnet.GroupNorm(4).init(jax.random.key(0), (3, 6)),
            ValueError,
            "groups (=4) must divide the last axis",
        ),
        (lambda: fnnet.LayerNorm(axes=2).init(jax.random.key(0), (3, 6)), ValueError, "must be an axis of x"),
        (
            lambda: fnnet.LayerNorm().apply({"scale": jnp.ones(3), "bias": jnp.ones(2)}, jnp.ones((4, 2))),
            ValueError,
            'params["scale"] of shape (3,) must have shape (2,)',
        ),
    ],
)
def test_what_cannot_be(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.slow
def test_trained_resumed_summarised_and_traced(tmp_path):
    fit = functools.partial(fnnet.fit, NET, LOSS, optax.sgd(0.1), (IMAGES, LABELS), batch_size=4, progress=False)
    whole, history = fit(key=jax.random.key(0), epochs=12)
    assert history[-1]["loss"] < history[0]["loss"] / 2
    fit(key=jax.random.key(0), epochs=6, checkpoints=fnnet.Checkpoints(tmp_path))
    resumed, _ = fit(key=jax.random.key(0), epochs=12, checkpoints=fnnet.Checkpoints(tmp_path))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), whole, resumed))
    assert all(name in str(NET.summary((4, 3, 2), batch=8)) for name in ("group_norm_1", "rms_norm_3", "layer_norm_6"))
    traced = fnnet.trace(NET, LOSS, whole, IMAGES[0], LABELS[0])
    assert traced.first_problem() is None


def test_mixed_precision_computes_statistics_in_f32():
    """Of 300 ones and a 0 in bf16 no sum in bf16 has the right mean."""
    x = jnp.ones(3001, jnp.bfloat16).at[0].set(0)
    wanted = fnnet.layer_norm(x.astype(jnp.float32))
    np.testing.assert_allclose(fnnet.layer_norm(x).astype(jnp.float32), wanted, rtol=1e-2)
    assert fnnet.layer_norm(x).dtype == jnp.bfloat16
    _, mean, variance = fnnet.batch_norm(x[:, None], None, None, axes=0)
    assert mean.dtype == variance.dtype == jnp.float32
    np.testing.assert_allclose(mean, [3000 / 3001], rtol=1e-6)


NORMS = {
    "layer": lambda x: fnnet.layer_norm(x),
    "group": lambda x: fnnet.group_norm(x, 1, batch_axes=1),
    "batch": lambda x: fnnet.batch_norm(x.T, None, None, axes=0)[0].T,
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=list(NORMS))
def test_a_mean_far_from_0_costs_no_digits(norm):
    """The variance is 1 beside a squared mean of 10^8, where f32 has steps of 8."""
    x = (1e4 + RNG.normal(size=(3, 512))).astype(np.float32)
    y_bar = RNG.normal(size=x.shape).astype(np.float32)
    exact = x.astype(np.float64)
    with jax.enable_x64(True):
        wanted, pull = jax.vjp(own()["layer_norm"].reference, jnp.asarray(exact))
        (x_bar,) = pull(jnp.asarray(y_bar, jnp.float64))
    y, pull = jax.vjp(norm, x)
    np.testing.assert_allclose(y, wanted, atol=2e-3)  # the mean is rounded to 10^-3
    np.testing.assert_allclose(pull(y_bar)[0], x_bar, atol=4e-3)


@pytest.mark.parametrize(("rows", "scale"), [(33000, np.ones(3)), (4096, np.ones(256)), (33000, RNG.normal(size=3))])
def test_many_rows_and_a_constant_scale_under_a_plain_jit(rows, scale):
    """Where XLA's sums and products of other programs are wrong: docs/xla_faults.md."""
    x, y_bar = RNG.normal(size=(2, rows, len(scale))).astype(np.float32)

    def pulled(norm, scale, x, y_bar):
        x_bar, s_bar = jax.vjp(norm, x, scale)[1](y_bar)
        return x_bar, s_bar, jnp.square(x_bar).sum(-1)

    ours = jax.jit(lambda x, y_bar: pulled(fnnet.layer_norm, jnp.asarray(scale, jnp.float32), x, y_bar))(x, y_bar)
    with jax.enable_x64(True):
        arguments = (jnp.asarray(a, jnp.float64) for a in (scale.astype(np.float32), x, y_bar))
        theirs = pulled(own()["layer_norm"].reference, *arguments)
    for a, b in zip(ours, theirs, strict=True):
        error = np.abs(np.asarray(a, np.float64) - np.asarray(b))
        assert np.quantile(error, 0.99) < 1e-4 * np.sqrt(np.square(b).mean())  # of 3 near entries few digits are right
