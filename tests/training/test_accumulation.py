"""A mini-batch in chunks: the step of the whole, in less memory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.training import steps

pytestmark = pytest.mark.usefixtures("standard_promotion")


NET = fnnet.Sequential(fnnet.Dense(16), fnnet.relu, fnnet.Dropout(0.5), fnnet.Dense(3))
LOSS = fnnet.softmax_cross_entropy
IGNORING = functools.partial(LOSS, ignore_index=-1, class_weights=jnp.array([1.0, 2.0, 0.5]))
SGD = optax.sgd(0.5)


def examples(number=24, ignored=0, seed=0):
    """Random points and labels, of which the first few do not count."""
    rng = np.random.default_rng(seed)
    xs, ys = rng.normal(size=(number, 4)), rng.integers(0, 3, number)
    ys[:ignored] = -1
    return jnp.asarray(xs, jnp.float32), jnp.asarray(ys, jnp.int32)


def step(loss=LOSS, accumulate=1, data=None, optimizer=SGD):
    xs, ys = examples() if data is None else data
    state = steps.start(NET, optimizer, jax.random.key(1), xs.shape[1:])
    run = functools.partial(steps.train_step, NET, loss, optimizer, accumulate=accumulate)
    return jax.jit(run)(state, xs, ys)


@pytest.mark.parametrize(
    ("chunks", "loss", "ignored"),
    [(3, LOSS, 0), (4, IGNORING, 9), (24, IGNORING, 9)],
    ids=["mean", "weights", "single"],
)
def test_the_step_of_the_whole(chunks, loss, ignored):
    """With 9 ignored examples of 24, whole chunks count nothing: a mean of chunks' means would be another number."""
    data = examples(ignored=ignored)
    (whole, value), (chunked, again) = (step(loss, n, data) for n in (1, chunks))
    chex.assert_trees_all_close(chunked.params, whole.params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again, value, rtol=1e-6)
    assert int(chunked.step) == 1


def test_bf16_is_summed_in_f32():
    """1 and 255 small numbers, each too small for bf16 to add to 1."""
    xs = jnp.full((256, 1), 2.0**-9, jnp.bfloat16).at[0].set(1)
    net = fnnet.Sequential(fnnet.Dense(1, bias=False))
    params = {"dense_0": {"kernel": jnp.zeros((1, 1), jnp.bfloat16)}}
    (value, _), params_bar = steps.chunked_gradient(
        net, lambda z, y: z[:, 0], params, xs, jnp.zeros(256), jax.random.key(0), 256
    )
    assert value == 0
    assert params_bar["dense_0"]["kernel"].dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(params_bar["dense_0"]["kernel"]), (1 + 255 / 512) / 256, rtol=2e-3)


def test_a_step_where_nothing_counts_changes_nothing():
    (state, value), (one, of_one) = (step(IGNORING, chunks, examples(ignored=24)) for chunks in (3, 1))
    assert np.isnan(value)
    assert np.isnan(of_one)
    chex.assert_trees_all_equal(state, one)
    assert int(state.step) == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_fit_in_chunks_compiles_once():
    traces = []

    def loss(logits, labels):
        traces.append(logits.shape)
        return LOSS(logits, labels)

    settings = {"key": jax.random.key(0), "batch_size": 16}
    whole, _ = fnnet.fit(NET, LOSS, SGD, examples(48), epochs=4, **settings)
    fnnet.fit(NET, loss, SGD, examples(48), epochs=1, accumulate=4, **settings)
    once = len(traces)
    chunked, _ = fnnet.fit(NET, loss, SGD, examples(48), epochs=4, accumulate=4, **settings)
    assert {shape[0] for shape in traces[once:]} == {2, 3}  # outside jit, where bad labels and losses are refused
    assert (4, 3) in traces
    chex.assert_trees_all_close(chunked, whole, rtol=1e-4, atol=1e-5)


def test_off_the_program_has_no_loop():
    xs, ys = examples()
    state = steps.start(NET, SGD, jax.random.key(1), xs.shape[1:])
    off, on = (
        str(jax.make_jaxpr(functools.partial(steps.train_step, NET, LOSS, SGD, accumulate=n))(state, xs, ys))
        for n in (1, 2)
    )
    assert ("scan[" in off, "scan[" in on) == (False, True)


@pytest.mark.cpu
def test_temporary_memory_falls():
    net = fnnet.Sequential(fnnet.Conv(8, 3), fnnet.relu, fnnet.MaxPool(2), fnnet.Flatten(), fnnet.Dense(3))
    xs, ys = jnp.zeros((64, 16, 16, 1)), jnp.zeros(64, jnp.int32)
    state = steps.start(net, SGD, jax.random.key(0), xs.shape[1:])
    sizes = []
    for accumulate in (1, 8):
        run = jax.jit(functools.partial(steps.train_step, net, LOSS, SGD, accumulate=accumulate))
        sizes.append(run.lower(state, xs, ys).compile().memory_analysis().temp_size_in_bytes)
    assert sizes[1] < sizes[0] / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 3}, r"fit: accumulate \(=3\) must divide the mini-batch, which has 8 examples"),
        ({"accumulate": 0}, r"fit: accumulate \(=0\) must be an integer of 1 or more"),
        ({"accumulate": 5, "data": [examples(6)]}, r"fit: accumulate \(=5\) must divide .* 6 examples"),
    ],
)
def test_refuses(options, message):
    settings = {"key": jax.random.key(0), "batch_size": 8} | options
    with pytest.raises(ValueError, match=message):
        fnnet.fit(NET, LOSS, SGD, settings.pop("data", examples()), **settings)
