"""`embedding` where the contract does not reach, and networks whose examples are integers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet

TEXTS = np.random.default_rng(0).integers(0, 11, (24, 6))
NET = fnnet.Sequential(fnnet.Embedding(11, 4), fnnet.Flatten(), fnnet.Dense(3))
LABELS = TEXTS[:, 0] % 3
LOSS = fnnet.softmax_cross_entropy


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32])
def test_an_index_out_of_range_under_jit(dtype):
    table = jnp.arange(6.0).reshape(3, 2)
    wrong = jnp.array([1, -1, 3, 127], dtype)

    @jax.jit
    def run(table, indices):
        return jax.vjp(lambda table: fnnet.embedding(table, indices), table)

    y, backward = run(table, wrong)
    assert y[0].tolist() == [2, 3]
    assert jnp.isnan(y[1:]).all()
    assert jax.jit(backward)(jnp.ones((4, 2)))[0].tolist() == [[0, 0], [1, 1], [0, 0]]


def test_indices_of_64_bits_do_not_wrap_round(x64):
    y = jax.jit(fnnet.embedding)(jnp.ones((3, 2)), jnp.array([2**32 + 1, -(2**32) + 1]))
    assert jnp.isnan(y).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_repeated_indices_are_summed_in_f32(dtype):
    """300 ones in bf16 are 256, one after the other."""
    table, indices = jnp.zeros((2, 1), dtype), jnp.ones(3000, jnp.int32)
    bar = jax.jit(jax.grad(lambda table: fnnet.embedding(table, indices).astype(jnp.float32).sum()))(table)
    assert bar.dtype == dtype
    assert bar[1, 0] == jnp.asarray(3000, dtype)


@pytest.mark.parametrize("features", [4, 64])
def test_the_norms_of_each_examples_gradient(features):
    """By pairs of places, and by the gradient: 36 pairs, and 11 or 704 entries."""
    net = fnnet.Sequential(fnnet.Embedding(11 if features > 4 else 2, features), fnnet.Flatten(), fnnet.Dense(3))
    texts = TEXTS % 2 if features == 4 else TEXTS
    params = net.init(jax.random.key(0), (6,))
    norms = jax.jit(functools.partial(fnnet.gradient_norms, net, LOSS))(params, texts, LABELS)
    gradient = jax.grad(lambda params, x, y: LOSS(net.apply(params, x), y))
    each = jax.jit(jax.vmap(lambda x, y: optax.tree.norm(gradient(params, x, y))))(texts, LABELS)
    np.testing.assert_allclose(norms, each, rtol=2e-6)


@pytest.mark.slow
def test_a_network_of_integers_is_summarised_trained_and_traced():
    assert NET.summary((6,)).rows[0].kept_bytes == 24  # the indices
    assert NET.summary((6,), batch=8).flops > 0
    for net in (NET, fnnet.Sequential(fnnet.Sequential(*NET.layers), compute_dtype=jnp.bfloat16)):
        params, history = fnnet.fit(
            net, LOSS, optax.sgd(0.5), (TEXTS, LABELS), key=jax.random.key(1), epochs=20, batch_size=8, progress=False
        )
        assert history[-1]["loss"] < 0.3
        assert fnnet.evaluate(net, params, LOSS, (TEXTS, LABELS))["accuracy"] > 0.9
    trace = fnnet.trace(NET, LOSS, NET.init(jax.random.key(0), (6,)), TEXTS, LABELS)
    assert trace.first_problem() is None
    assert "embedding" in str(trace)


def test_pytorchs_embeddings_and_linear_modules_are_told_apart_by_their_order():
    params = NET.init(jax.random.key(0), (6,))
    state = {"0.weight": np.zeros((11, 4)), "2.weight": np.zeros((3, 24)), "2.bias": np.zeros(3)}
    theirs = fnnet.interop.to_torch(NET, (6,), params, state)
    np.testing.assert_array_equal(theirs["0.weight"], params["embedding_0"]["embedding"])
    np.testing.assert_array_equal(theirs["2.weight"], params["dense_2"]["kernel"].T)
    jax.tree.map(np.testing.assert_array_equal, fnnet.interop.from_torch(NET, (6,), theirs), params)


def test_what_an_embedding_refuses(unchecked_shapes):
    with pytest.raises(TypeError, match="indices of dtype float32 must be integers"):
        NET.apply(NET.init(jax.random.key(0), (6,)), jnp.ones(6))
    with pytest.raises(ValueError, match=r"indices\[1\] \(=11\) must be a row of the table, from 0 to 10"):
        NET.apply(NET.init(jax.random.key(0), (6,)), jnp.array([0, 11, 0, 0, 0, 0]))
    with pytest.raises(ValueError, match="vocabulary"):
        fnnet.Embedding(0, 4)
