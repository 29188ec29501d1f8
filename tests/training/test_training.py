"""`fit` and `evaluate`: what a run is made of, what it repeats, where it stops, and what it refuses."""

import contextlib
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.training import batches, epochs, steps

pytestmark = pytest.mark.usefixtures("standard_promotion")


NET = fnnet.Sequential(fnnet.Dense(16), fnnet.relu, fnnet.Dense(3))
LOSS = fnnet.softmax_cross_entropy
ADAM = optax.adam(1e-2)


def blobs(examples=100, seed=0):
    """Three classes of points in four dimensions, that a line separates."""
    rng = np.random.default_rng(seed)
    ys = rng.integers(0, 3, examples).astype(np.int32)
    centres = np.random.default_rng(1).normal(size=(3, 4))
    return (centres[ys] + 0.3 * rng.normal(size=(examples, 4))).astype(np.float32), ys


def train(**options):
    settings = {"key": jax.random.key(0), "epochs": 3, "batch_size": 8} | options
    return fnnet.fit(NET, LOSS, ADAM, settings.pop("data", blobs()), **settings)


def test_learns_and_reports():
    params, history = train(epochs=10, validation=blobs(seed=5))
    assert [record["epoch"] for record in history] == list(range(1, 11))
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["validation_accuracy"] > 0.9
    scores = fnnet.evaluate(NET, params, LOSS, blobs(seed=5))
    assert scores == {"loss": history[-1]["validation_loss"], "accuracy": history[-1]["validation_accuracy"]}


def test_repeats_its_bits_wherever_the_epoch_is_cut(monkeypatch):
    params, _ = train()
    monkeypatch.setattr(batches, "SECONDS_A_CALL", 1e-9)  # one step a call
    again, _ = train()
    chex.assert_trees_all_equal(params, again)
    other, _ = train(key=jax.random.key(1))
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(params, other)


def test_agrees_with_a_plain_loop():
    """The same mini-batches and keys, through optax and autodiff of a plain forward."""
    xs, ys = blobs()
    params, history = train(epochs=2)
    state = steps.start(NET, ADAM, jax.random.key(0), xs.shape[1:])
    plain, opt_state, losses = state.params, state.opt_state, []

    def loss(params, x, y):
        hidden = jax.nn.relu(x @ params["dense_0"]["kernel"] + params["dense_0"]["bias"])
        logits = hidden @ params["dense_2"]["kernel"] + params["dense_2"]["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    step = jax.jit(jax.value_and_grad(loss))
    for epoch in range(2):
        for rows in steps.epoch_order(state._replace(epoch=jnp.int32(epoch)), len(xs), 8):
            value, grads = step(plain, xs[rows], ys[rows])
            updates, opt_state = ADAM.update(grads, opt_state, plain)
            plain = optax.apply_updates(plain, updates)
            losses.append(float(value))
    chex.assert_trees_all_close(params, plain, rtol=1e-4, atol=1e-5)
    assert history[1]["loss"] == pytest.approx(np.mean(losses[12:]), rel=1e-4)


def test_epoch_is_a_random_order_of_complete_batches():
    state = steps.start(NET, ADAM, jax.random.key(0), (4,))
    first = steps.epoch_order(state, 100, 8)
    second = steps.epoch_order(state._replace(epoch=jnp.int32(1)), 100, 8)
    assert first.shape == (12, 8)
    assert len(np.unique(first)) == 96
    assert not np.array_equal(first, second)


def test_compiles_once():
    traces = []

    def loss(logits, labels):
        traces.append(logits.shape)
        return LOSS(logits, labels)

    fnnet.fit(NET, loss, ADAM, blobs(), key=jax.random.key(0), epochs=1, batch_size=8)
    once = len(traces)
    fnnet.fit(NET, loss, ADAM, blobs(), key=jax.random.key(0), epochs=5, batch_size=8)
    assert {shape[0] for shape in traces[once:]} == {2, 3}  # outside jit, where bad labels and losses are refused


def test_batches_from_an_iterable_are_the_same_steps():
    xs, ys = blobs()
    batches = [(xs[i : i + 8], ys[i : i + 8]) for i in range(0, 100, 8)]  # the last has 4 examples
    params, history = train(data=batches, epochs=2)
    seen = [(x, y) for x, y in batches if len(x) == 8]
    again, _ = train(data=seen, epochs=2)
    chex.assert_trees_all_equal(params, again)
    assert len(history) == 2


def test_starting_parameters_are_not_changed():
    start = NET.init(jax.random.key(3), (4,))
    before = jax.tree.map(np.array, start)
    params, _ = train(params=start, epochs=1)
    chex.assert_trees_all_equal(jax.tree.map(np.array, start), before)
    assert not np.array_equal(params["dense_0"]["kernel"], before["dense_0"]["kernel"])


def test_early_stopping_returns_the_best_epoch():
    xs, ys = blobs(40)
    seen = []

    def callback(record, state):
        seen.append(jax.tree.map(np.array, state.params))

    params, history = fnnet.fit(
        NET,
        LOSS,
        optax.adam(0.3),
        (xs, ys),
        key=jax.random.key(0),
        epochs=200,
        batch_size=8,
        validation=blobs(40, seed=2),
        patience=3,
        callback=callback,
    )
    losses = [record["validation_loss"] for record in history]
    assert len(history) == np.argmin(losses) + 1 + 3
    chex.assert_trees_all_equal(params, seen[int(np.argmin(losses))])


def test_callback_ends_the_training():
    _, history = train(epochs=9, callback=lambda record, state: record["epoch"] == 2)
    assert len(history) == 2


def test_schedules_and_clipping():
    schedule = optax.cosine_decay_schedule(1e-2, 24)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    _, history = fnnet.fit(NET, LOSS, optimizer, blobs(), key=jax.random.key(0), epochs=4, batch_size=8)
    assert history[-1]["loss"] < history[0]["loss"]


def test_dropout_draws_anew_for_each_example_and_step():
    net = fnnet.Sequential(fnnet.Dropout(0.5))
    x, y = jnp.ones((2, 64)), jnp.zeros((2, 64))
    state = steps.start(net, optax.sgd(0.1), jax.random.key(0), (64,))
    outputs = []

    def loss(output, y):
        outputs.append(np.array(output))
        return jnp.zeros(len(output))

    for _ in range(2):
        with jax.disable_jit():
            state, _ = steps.train_step(net, loss, optax.sgd(0.1), state, x, y)
    masks = [row != 0 for output in outputs for row in output]
    assert len({mask.tobytes() for mask in masks}) == 4
    assert all(set(np.unique(output)) == {0.0, 2.0} for output in outputs)


def test_stops_at_a_loss_that_is_not_finite():
    with pytest.raises(fnnet.NonFiniteLossError, match=r"fit: the loss is (nan|inf) in epoch 1, step 2") as caught:
        fnnet.fit(NET, LOSS, optax.sgd(1e30), blobs(), key=jax.random.key(0), epochs=3, batch_size=8)
    assert int(caught.value.state.step) == 1
    chex.assert_tree_all_finite(caught.value.state.params)


def test_a_nan_in_the_data_leaves_the_state_before_it():
    xs, ys = blobs()
    xs[17] = np.nan
    with pytest.raises(fnnet.NonFiniteLossError) as caught:
        train(data=(xs, ys), epochs=1, allow_nonfinite=True)
    state = caught.value.state
    order = steps.epoch_order(state, 100, 8)
    assert int(state.step) == int(np.argmax((order == 17).any(1)))


def test_mean_divides_by_the_weights_that_count():
    xs, ys = blobs()
    ys = np.where(np.arange(100) % 3 == 0, -1, ys)
    loss = functools.partial(LOSS, ignore_index=-1, class_weights=jnp.array([1.0, 2.0, 3.0]))
    params = NET.init(jax.random.key(0), (4,))
    scores = fnnet.evaluate(NET, params, loss, (xs, ys), batch_size=7)
    logits = jax.vmap(NET.apply, (None, 0))(params, xs)
    keep = ys != -1
    weights = np.array([1.0, 2.0, 3.0])[ys[keep]]
    nll = -np.asarray(jax.nn.log_softmax(logits))[keep, ys[keep]]
    assert scores["loss"] == pytest.approx((weights * nll).sum() / weights.sum(), rel=1e-5)
    assert scores["accuracy"] == pytest.approx((np.asarray(logits).argmax(-1) == ys)[keep].mean())
    params_bar = jax.grad(lambda p: steps.batch_loss(NET, loss, p, xs, ys)[0])(params)
    assert jnp.linalg.norm(params_bar["dense_0"]["kernel"]) > 0


def test_evaluation_counts_every_example_whatever_the_batch_size():
    params = NET.init(jax.random.key(0), (4,))
    xs, ys = blobs(101)
    whole = fnnet.evaluate(NET, params, LOSS, (xs, ys), batch_size=101)
    for batch_size in (1, 7, 1000):
        assert fnnet.evaluate(NET, params, LOSS, (xs, ys), batch_size=batch_size) == pytest.approx(whole, rel=1e-5)
    parts = [(xs[:60], ys[:60]), (xs[60:], ys[60:])]
    assert fnnet.evaluate(NET, params, LOSS, parts) == pytest.approx(whole, rel=1e-5)


XS, YS = blobs()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 101}, r"fit: batch_size \(=101\) must be at most the number of examples, 100"),
        ({"batch_size": 0}, r"fit: batch_size \(=0\) must be an integer of 1 or more"),
        ({"epochs": 1.5}, r"fit: epochs \(=1.5\) must be an integer"),
        ({"data": (XS[:0], YS[:0])}, r"fit: data is empty: xs has shape \(0, 4\)"),
        ({"data": (XS, YS[:50])}, r"xs of shape \(100, 4\) and ys of shape \(50,\) must have as many examples"),
        ({"data": []}, r"fit: data is empty"),
        ({"data": iter([(XS, YS)])}, r"fit: data is an iterator"),
        ({"data": [(XS[:8], YS[:8]), (XS[:9], YS[:9])]}, r"a batch of shape \(9, 4\) follows a first one"),
        ({"data": (XS, YS + 1)}, r"softmax_cross_entropy: .*3"),
        ({"patience": 2}, r"fit: patience needs validation data"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_refuses_numbers_that_are_not_finite(wrong):
    xs, ys = blobs()
    xs[17, 2], xs[30] = wrong, wrong
    with pytest.raises(
        ValueError, match=r"fit: xs has 5 numbers that are NaN or infinite, the first in example 17; allow"
    ):
        train(data=(xs, ys))


@pytest.mark.usefixtures("unchecked_shapes")
def test_refuses_labels_of_a_float_type():
    with pytest.raises((TypeError, ValueError), match="softmax_cross_entropy: labels"):
        train(data=(XS, YS.astype(np.float32)))


def test_refuses_a_loss_of_the_whole_batch():
    with pytest.raises(ValueError, match=r"fit: loss must give one number for each of 100 examples, shape \(100,\)"):
        fnnet.fit(NET, lambda z, y: LOSS(z, y).mean(), ADAM, blobs(), key=jax.random.key(0))


def test_the_progress_bar_says_compiling_once(monkeypatch):
    said = []

    class Bar(contextlib.nullcontext):
        n = 0

        def __enter__(self):
            return self

        def update(self, steps):
            self.n += steps

        def set_postfix(self, **values):
            said.append("loss")

        def set_postfix_str(self, text):
            said.append(text)

    monkeypatch.setattr(epochs, "_bar", lambda *_: Bar())
    train(epochs=3)
    assert said[:2] == ["compiling", "loss"]
    assert said.count("compiling") == 1
