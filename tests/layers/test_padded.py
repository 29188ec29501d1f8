"""`Padded`: the padding of a sequence changes nothing, neither outputs nor gradients."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampled import one_in

import fnnet

WORDS = fnnet.Embedding(11, 6)
BLOCK = fnnet.Sequential(fnnet.Residual(fnnet.LayerNorm(), shortcut=fnnet.Attention(2, key_heads=1)), fnnet.LayerNorm())
NETS = {
    "Attention, mean": fnnet.Sequential(WORDS, fnnet.Attention(2), fnnet.GlobalAvgPool()),
    "Repeat, largest": fnnet.Sequential(WORDS, fnnet.Repeat(BLOCK, 2), fnnet.Dense(4), fnnet.GlobalMaxPool()),
    "LSTM, reverse": fnnet.Sequential(WORDS, fnnet.LSTM(5, reverse=True), fnnet.GlobalAvgPool()),
    "GRU": fnnet.Sequential(WORDS, fnnet.Residual(fnnet.GRU(6)), fnnet.GlobalMaxPool()),
}
X = np.array([3, 1, 4, 1, 5], np.int32)
KEY = jax.random.key(0)


@pytest.mark.parametrize("name", one_in(4, NETS))
def test_the_padding_changes_nothing(name, x64):
    net = fnnet.Padded(NETS[name], 9)
    longest = np.concatenate([X, [9, 9, 9]])
    params = jax.tree.map(lambda p: p + 0.1, net.init(KEY, longest.shape, jnp.float64))
    weights = jnp.asarray(np.random.default_rng(1).normal(size=jax.eval_shape(net.apply, params, longest).shape))

    def value_and_gradient(net, x):
        return jax.jit(jax.value_and_grad(lambda params: jnp.vdot(weights, net.apply(params, x))))(params)

    chex.assert_trees_all_close(
        value_and_gradient(net, longest), value_and_gradient(net.net, X), rtol=1e-12, atol=1e-14
    )
    batch = np.stack([np.where(np.arange(8) < n, longest, 9) for n in (0, 5, 8)])  # one of them all padding
    ys = jax.jit(jax.vmap(net.apply, (None, 0)))(params, batch)
    np.testing.assert_allclose(ys[1], jax.jit(net.net.apply)(params, X), rtol=1e-12, atol=1e-14)


def test_an_index_inside_a_sequence_counts():
    net = fnnet.Padded(NETS["GRU"], 1)
    params = net.init(KEY, (5,))
    y, expected = net.apply(params, np.array([1, 2, 1, 3, 1, 1])), net.net.apply(params, np.array([1, 2, 1, 3]))
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_nothing_but_padding_is_zero_or_the_bias(x64):
    params = NETS["Attention, mean"].init(KEY, (3,), jnp.float64)
    y = fnnet.Padded(NETS["Attention, mean"]).apply(params, np.zeros(3, np.int32))
    assert jnp.array_equal(y, jnp.zeros(6))  # a mean over no rows


def test_a_largest_entry_of_nothing_is_zero():
    net = fnnet.Padded(fnnet.Sequential(WORDS, fnnet.GlobalMaxPool()))
    params = net.init(KEY, (3,))
    y, bars = jax.value_and_grad(lambda p: net.apply(p, np.zeros(3, np.int32)).sum())(params)
    assert y == 0
    assert not jnp.any(bars["embedding_0"]["embedding"])


@pytest.mark.parametrize("layer", [fnnet.Attention(2), fnnet.LSTM(3), fnnet.GlobalAvgPool(), fnnet.GlobalMaxPool()])
def test_a_layer_before_it_must_keep_the_number_of_rows(layer):
    net = fnnet.Sequential(WORDS, fnnet.Conv(4, (3,), stride=2), layer)
    params = net.init(KEY, (8,))
    message = r"x of shape \(4, 4\) must have the 8 rows of the sequence in Padded; no layer before it may change"
    with pytest.raises(ValueError, match=message):
        fnnet.Padded(net).apply(params, np.array([1, 2, 3, 4, 1, 2, 3, 4]))


def test_bfloat16_means_are_scaled_in_float32():
    net = fnnet.Padded(fnnet.Sequential(fnnet.Embedding(3, 4), fnnet.GlobalAvgPool()))
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), net.init(KEY, (7,)))
    y = net.apply(params, np.array([1, 2, 1, 0, 0, 0, 0]))
    rows = np.asarray(params["embedding_0"]["embedding"], np.float32)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float32), (2 * rows[1] + rows[2]) / 3, rtol=2**-7)


@pytest.mark.slow
def test_it_trains_and_tells_what_its_network_tells():
    import optax

    net = fnnet.Padded(fnnet.Sequential(WORDS, fnnet.Attention(2), fnnet.GlobalAvgPool(), fnnet.Dense(2)))
    lengths = np.random.default_rng(0).integers(1, 9, size=64)
    xs = np.where(np.arange(8) < lengths[:, None], np.random.default_rng(1).integers(1, 11, size=(64, 8)), 0)
    data = xs.astype(np.int32), (xs == 7).any(-1).astype(np.int32)
    _, history = fnnet.fit(
        net, fnnet.softmax_cross_entropy, optax.sgd(0.5), data, key=KEY, epochs=9, batch_size=16, progress=False
    )
    assert history[-1]["loss"] < 0.2 * history[0]["loss"]
    assert fnnet.decayed(net, (8,), jnp.int32) == fnnet.decayed(net.net, (8,), jnp.int32)
    inside = fnnet.Sequential(WORDS, fnnet.Attention(2), fnnet.GlobalAvgPool(), fnnet.Dense(2)).summary((8,))
    assert fnnet.Sequential(net).summary((8,)).flops == inside.flops


def test_what_is_no_sequence_of_indices_is_refused():
    net = fnnet.Padded(NETS["GRU"])
    params = net.init(KEY, (5,))
    for x in (np.ones(3, np.float32), np.ones((2, 3), np.int32)):
        with pytest.raises(ValueError, match=r"Padded: x of shape .* must be one sequence of integers"):
            net.apply(params, x)
    with pytest.raises(ValueError, match=r"Padded: index \(=-1\) must be 0 or more"):
        fnnet.Padded(net, -1)
    with pytest.raises(ValueError, match="has a BatchNorm, whose statistics would count the padding; LayerNorm and"):
        fnnet.Padded(fnnet.Sequential(WORDS, fnnet.BatchNorm(), fnnet.GlobalAvgPool()))
