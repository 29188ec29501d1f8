"""`Trace.first_problem`: fifteen planted troubles, each named; and silence over healthy networks."""

import functools

import jax
import numpy as np
import optax
import pytest

import fnnet
from tracing.troubles import PLANTED, TROUBLES

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in TROUBLES else [pytest.mark.slow]) for n in PLANTED])
def test_a_planted_trouble_is_named(name):
    planted = PLANTED[name]
    args, keywords = planted.make()
    problem = fnnet.trace(*args, **keywords).first_problem()
    assert problem is not None
    assert problem.kind == planted.kind, problem
    assert planted.words in str(problem)
    assert str(problem).startswith(f"{problem.layer}: ")
    if planted.layer:
        assert problem.layer == planted.layer, problem


@functools.cache
def digits():
    xs, ys = fnnet.data.digits().train
    return np.asarray(xs), np.asarray(ys)


def healthy(seed):
    """A small network of the usual kinds, its optimiser, and a batch of real digits; untrained, or after some steps."""
    d, r = fnnet.Dense, fnnet.relu
    block = fnnet.Residual(d(24), fnnet.silu, d(24))
    nets = (
        (fnnet.Sequential(fnnet.Conv(8, 3), r, fnnet.MaxPool(2), fnnet.Flatten(), d(10)), optax.adamw(2e-3)),
        (fnnet.Sequential(fnnet.Flatten(), d(32), fnnet.tanh, d(16), fnnet.sigmoid, d(10)), optax.sgd(0.1)),
        (fnnet.Sequential(fnnet.Flatten(), d(32), r, d(10)), optax.adam(1e-3)),
        (fnnet.Sequential(fnnet.Flatten(), d(24), fnnet.gelu, block, d(10)), optax.sgd(0.03, momentum=0.9)),
    )  # fmt: skip
    net, optimizer = nets[seed % 4]
    xs, ys = digits()
    rows = np.random.default_rng(seed).choice(len(xs), 256, replace=False)
    params = net.init(jax.random.key(seed), xs.shape[1:])
    if seed % 2 == seed // 4 % 2:
        data = xs[rows], ys[rows]
        params, _ = fnnet.fit(
            net, fnnet.softmax_cross_entropy, optimizer, data, params=params, key=jax.random.key(seed), epochs=5,
            batch_size=32, progress=False,
        )  # fmt: skip
    return net, params, xs[rows[:32]], ys[rows[:32]], optimizer


@functools.cache
def letters():
    """Windows of Python's help, and the bytes that follow."""
    text = np.asarray(fnnet.data.text("topics").train)[:6_000]
    return text[: 24 * 240].reshape(240, 24), text[1 : 24 * 240 + 1].reshape(240, 24)


def sentences(seed, examples=240, length=12):
    """Numbers from 1 to 9 of different lengths, filled up with 0; the labels say which are more than the one before."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 10, (examples, length))
    x[np.arange(length) >= rng.integers(2, length + 1, (examples, 1))] = 0
    labels = np.where(x > np.roll(x, 1, axis=1), 2, 1)
    return x, np.where(x == 0, 0, labels)


def mean_of_real(logits, labels):
    """The mean over the tokens that are no padding."""
    losses = fnnet.softmax_cross_entropy(logits, labels, ignore_index=0)
    weights = fnnet.softmax_cross_entropy.weight(logits, labels, ignore_index=0)
    return losses.sum(-1) / weights.sum(-1), weights.sum(-1)


def mean_of_bytes(logits, labels):
    return fnnet.softmax_cross_entropy(logits, labels).mean(-1)


def healthy_reader(seed):
    """A network of texts or of images with BatchNorm, its loss, and a batch; untrained, or after some steps."""
    d, s, r = fnnet.Dense, fnnet.Sequential, fnnet.Residual
    see, table = fnnet.Attention(2, causal=True, rotary=True), fnnet.Embedding(256, 16)
    wide = r(fnnet.LayerNorm(), d(32), fnnet.gelu, d(16))
    both = fnnet.Padded(s(fnnet.Embedding(10, 16), fnnet.Attention(4), fnnet.LSTM(8, reverse=True), d(3)))
    norm = r(fnnet.Conv(6, 3), fnnet.BatchNorm(), fnnet.relu, fnnet.Conv(6, 3), fnnet.BatchNorm())
    kinds = (
        (s(table, r(fnnet.LayerNorm(), see), wide, fnnet.LayerNorm(), d(256)), mean_of_bytes, letters),
        (s(fnnet.Tied(table, r(fnnet.RMSNorm(), see), fnnet.RMSNorm())), mean_of_bytes, letters),
        (s(table, fnnet.LSTM(24), d(256)), mean_of_bytes, letters),
        (s(table, fnnet.GRU(24), fnnet.LayerNorm(), d(256)), mean_of_bytes, letters),
        (s(both), mean_of_real, functools.partial(sentences, seed)),
        (s(fnnet.Embedding(10, 16), see, fnnet.GRU(8), d(3)), mean_of_real, functools.partial(sentences, seed)),
        (s(fnnet.Conv(6, 3), norm, fnnet.relu, fnnet.GlobalAvgPool(), d(10)), fnnet.softmax_cross_entropy, digits),
    )
    net, loss, data = kinds[seed % len(kinds)]
    xs, ys = data()
    xs, ys = (a[np.random.default_rng(seed).permutation(len(xs))[:240]] for a in (xs, ys))
    params, optimizer = net.init(jax.random.key(seed), xs.shape[1:]), optax.adam(3e-3)
    if seed // len(kinds) % 2:
        params, _ = fnnet.fit(
            net, loss, optimizer, (xs, ys), params=params, key=jax.random.key(seed), epochs=4 if seed % 4 else 40,
            batch_size=24, progress=False,
        )  # fmt: skip
    return net, loss, params, xs[:12], ys[:12], {"optimizer": optimizer, "key": jax.random.key(seed)}


def problem_of(seed):
    net, params, xs, ys, optimizer = healthy(seed)
    return fnnet.trace(net, fnnet.softmax_cross_entropy, params, xs, ys, optimizer=optimizer).first_problem()


@pytest.mark.parametrize("seed", [pytest.param(s, marks=[pytest.mark.slow] if s != 1 else []) for s in range(24)])
def test_a_healthy_network_has_none(seed):
    assert problem_of(seed) is None


@pytest.mark.parametrize("seed", [pytest.param(s, marks=[pytest.mark.slow] if s != 4 else []) for s in range(28)])
def test_a_healthy_network_of_texts_or_with_statistics_has_none(seed):
    *args, keywords = healthy_reader(seed)
    assert fnnet.trace(*args, **keywords).first_problem() is None


def test_attention_to_one_token_is_no_problem_where_the_answers_are_right():
    (net, loss, params, x, y), _ = PLANTED["saturated attention"].make()
    answers = np.asarray(jax.vmap(net.apply, (None, 0))(params, x)).argmax(-1)
    assert fnnet.trace(net, loss, params, x, y).first_problem().kind == "saturated attention"
    assert fnnet.trace(net, loss, params, x, answers).first_problem() is None


def test_a_bias_that_is_nearly_0_may_move_by_more_than_itself():
    net = fnnet.Sequential(fnnet.Embedding(9, 8), fnnet.Attention(2, causal=True), fnnet.Dense(9))
    params = net.init(jax.random.key(0), (10,))
    params["attention_1"]["key_bias"] += 1e-6
    x = np.random.default_rng(0).integers(0, 9, (4, 11))
    traced = fnnet.trace(net, mean_of_bytes, params, x[:, :-1], x[:, 1:], optimizer=optax.adam(1e-3))
    assert traced["attention_1"].cotangent("key_bias").ratio > 2
    assert traced.first_problem() is None


def test_units_that_are_negative_for_one_example_are_not_dead():
    net = fnnet.Sequential(fnnet.Residual(fnnet.Dense(4), fnnet.relu), fnnet.Dense(5))
    params = net.init(jax.random.key(0), (4,))
    params["residual_0"]["dense_0"]["bias"] -= 9
    seen = fnnet.trace(net, fnnet.softmax_cross_entropy, params, np.ones(4, np.float32), 2)
    assert not seen["residual_0/relu_1"].value.array.any()
    assert seen.first_problem() is None


def test_a_batch_of_zeros_is_blamed_on_the_data():
    net = fnnet.Sequential(fnnet.Dense(6), fnnet.relu, fnnet.Dense(3))
    params = net.init(jax.random.key(0), (4,))
    x = np.zeros((8, 4), np.float32)
    problem = fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, np.arange(8) % 3).first_problem()
    assert "the input of the network is all zeros, so that nearly no gradient passes: look at the data" in str(problem)


def test_labels_that_are_the_previous_tokens_as_well_are_no_leak():
    net = fnnet.Sequential(fnnet.Embedding(9, 8), fnnet.Attention(2), fnnet.Dense(9))
    x = np.array([np.arange(6) % 2 + 1 + 2 * (row % 3) for row in range(8)])
    params = net.init(jax.random.key(0), (6,))
    assert fnnet.trace(net, mean_of_bytes, params, x, np.roll(x, 1, 1)).first_problem() is None
