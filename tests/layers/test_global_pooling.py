"""Global pooling: one number a channel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampled import one_in

import fnnet

PAIRS = [(fnnet.GlobalAvgPool(), jnp.mean), (fnnet.GlobalMaxPool(), jnp.max)]


@pytest.mark.parametrize("shape", [(5, 3), (4, 6, 3), (2, 3, 4, 5), (1, 1, 2)])
@pytest.mark.parametrize(("layer", "reference"), PAIRS, ids=["mean", "max"])
def test_values_and_gradients(layer, reference, shape, x64):
    x = np.random.default_rng(0).normal(size=(3, *shape))

    def both(function):
        y, pull = jax.vjp(jax.vmap(function), x)
        return y, pull(np.cos(np.arange(y.size)).reshape(y.shape))[0]

    ours = jax.jit(both, static_argnums=0)(lambda x: layer.apply({}, x))
    expected = jax.jit(both, static_argnums=0)(lambda x: reference(x, axis=tuple(range(x.ndim - 1))))
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("layer", one_in(2, [layer for layer, _ in PAIRS]))
def test_in_a_network(layer):
    net = fnnet.Sequential(fnnet.Conv(4, 3), layer, fnnet.relu, fnnet.Dense(2))
    params = net.init(jax.random.key(0), (8, 8, 1))
    assert params["dense_3"]["kernel"].shape == (4, 2)
    assert net.summary((8, 8, 1)).rows[1].shape == (4,)
    xs = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    trace = fnnet.trace(net, fnnet.softmax_cross_entropy, params, xs, np.zeros(4, np.int32))
    assert trace.same_bits


def test_refuses_a_mini_batch():
    with pytest.raises(ValueError, match=r"GlobalAvgPool: x of shape \(2, 3, 4, 5, 6\) must be one image"):
        fnnet.GlobalAvgPool().apply({}, jnp.ones((2, 3, 4, 5, 6)))
