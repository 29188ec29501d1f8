"""What a layer computes on the way to its output, beside independent formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet


def drawn(layer, shape, examples=3):
    params = layer.init(jax.random.key(0), shape)
    return params, jax.random.normal(jax.random.key(1), (examples, *shape))


@pytest.mark.parametrize(("causal", "key_heads"), [(False, None), (True, 2)])
def test_attention_gives_its_weights(causal, key_heads):
    layer = fnnet.Attention(4, causal=causal, key_heads=key_heads)
    params, xs = drawn(layer, (5, 8))
    found = layer.insides_batch(params, xs)
    q, k = (jnp.dot(xs, params[f"{name}_kernel"]) + params[f"{name}_bias"] for name in ("query", "key"))
    q, k = q.reshape(3, 5, 4, 2), jnp.repeat(k.reshape(3, 5, -1, 2), 4 // (key_heads or 4), 2)
    scores = jnp.einsum("nihd,njhd->nhij", q, k) / jnp.sqrt(2.0)
    if causal:
        scores = jnp.where(jnp.tri(5, dtype=bool), scores, -jnp.inf)
    np.testing.assert_allclose(found["weights"], jax.nn.softmax(scores), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["query"], q.reshape(3, 5, 8), rtol=1e-5, atol=1e-6)


def test_attention_of_padded_rows_gives_them_no_weight():
    layer = fnnet.Attention(2)
    params, xs = drawn(layer, (5, 4))
    weights = layer.with_length(3, 5).insides(params, xs[0])["weights"]
    assert (np.asarray(weights[:, :, 3:]) == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (fnnet.LayerNorm(), (5, 4), (2,)),
        (fnnet.LayerNorm(axes=(0, 2)), (5, 4, 3), (1, 3)),
        (fnnet.GroupNorm(4), (3, 3, 4), (1, 2)),  # a group is a channel
    ],
)
def test_a_norm_gives_mean_and_deviation(layer, shape, axes):
    params, xs = drawn(layer, shape)
    found = layer.insides_batch(params, xs)
    np.testing.assert_allclose(found["mean"], np.mean(xs, axes), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["deviation"], np.sqrt(np.var(xs, axes) + 1e-5), rtol=1e-5)


def test_a_group_is_normalised_together():
    layer = fnnet.GroupNorm(2)
    params, xs = drawn(layer, (3, 3, 4))
    groups = np.asarray(xs).reshape(3, 9, 2, 2)
    np.testing.assert_allclose(layer.insides_batch(params, xs)["mean"], groups.mean((1, 3)), rtol=1e-5, atol=1e-6)


def test_rms_norm_gives_the_root_of_the_mean_square():
    layer = fnnet.RMSNorm(epsilon=0.1)
    params, xs = drawn(layer, (5, 4))
    expected = np.sqrt(np.mean(np.square(xs), -1) + 0.1)
    np.testing.assert_allclose(layer.insides_batch(params, xs)["rms"], expected, rtol=1e-5)


def test_batch_norm_gives_the_statistics_of_the_mini_batch_in_training_alone():
    layer = fnnet.BatchNorm()
    params, xs = drawn(layer, (2, 2, 4), examples=6)
    assert layer.insides_batch(params, xs) == {}
    found = layer.insides_batch(params, xs, keys=jax.random.split(jax.random.key(2), 6))
    np.testing.assert_allclose(found["mean"], np.mean(xs, (0, 1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["deviation"], np.sqrt(np.var(xs, (0, 1, 2)) + 1e-5), rtol=1e-5)


def test_a_layer_with_another_apply_has_the_defaults():
    class Other(fnnet.Attention):
        def apply(self, params, x, *, key=None):
            return x

    assert fnnet.Dense(3).insides({}, jnp.zeros(2)) == {}
    assert Other(1).insides({}, jnp.zeros((2, 2))) == {}


def test_which_rows_and_which_axis():
    x = jnp.array([[3, 1], [3, 7]])
    assert fnnet.Embedding(9, 2).rows_read("embedding", x).tolist() == [1, 3, 7]
    assert fnnet.Dense(3).rows_read("kernel", jnp.zeros(2)) is None
    assert fnnet.LSTM(3).over_time
    assert fnnet.GRU(3).over_time
    assert not fnnet.Attention(1).over_time
