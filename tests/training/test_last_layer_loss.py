"""`LinearSoftmaxCrossEntropy` trains as the same loss of logits does, and holds none."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.training.sample_weights import WeightedLabels, WeightedLoss
from fnnet.training.steps import batch_loss

LOSS = fnnet.LinearSoftmaxCrossEntropy(ignore_index=0, label_smoothing=0.1)
BODY = fnnet.Residual(fnnet.LayerNorm(), fnnet.Attention(2, causal=True), fnnet.Dropout(0.1))
NETS = {
    "dense": fnnet.Sequential(fnnet.Embedding(12, 8), BODY, fnnet.Dense(12)),
    "tied": fnnet.Sequential(fnnet.Tied(fnnet.Embedding(12, 8), fnnet.Repeat(BODY, 2))),
    "nested": fnnet.Sequential(fnnet.Embedding(12, 8), fnnet.Sequential(BODY, fnnet.Dense(12, bias=False))),
    "bf16": fnnet.Sequential(fnnet.Embedding(12, 8), BODY, fnnet.Dense(12), compute_dtype=jnp.bfloat16),
    "no product": fnnet.Sequential(fnnet.Embedding(12, 8), BODY, fnnet.Dense(12), fnnet.tanh),
}
RNG = np.random.default_rng(0)
PAIR = RNG.integers(0, 12, (32, 6)), RNG.integers(0, 12, (32, 6))
KEY = jax.random.key(0)


def by_logits(logits, labels):
    return LOSS(logits, labels)


pytestmark = pytest.mark.usefixtures("standard_promotion")


SLOW = ("nested", "bf16", "no product")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NETS])
def test_the_loss_and_gradient_of_a_step(name):
    net = NETS[name]
    params = net.init(KEY, (6,))
    tolerance = 2e-2 if name == "bf16" else 1e-5

    def step(loss):
        return jax.jit(jax.value_and_grad(lambda p: batch_loss(net, loss, p, *map(jnp.asarray, PAIR), KEY)[0]))(params)

    chex.assert_trees_all_close(step(LOSS), step(by_logits), rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate": 2},
        pytest.param({"mesh": 2}, marks=pytest.mark.slow),
        pytest.param({"trainable": lambda name: "dense_2" in name}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_training(options):
    if "mesh" in options:
        options = options | {"mesh": jax.make_mesh((options["mesh"],), ("data",))}
    net = NETS["dense"]
    settings = {"key": KEY, "epochs": 2, "batch_size": 8, "validation": PAIR, "progress": False} | options
    (ours, history), (expected, of_logits) = (
        fnnet.fit(net, loss, optax.sgd(0.1), PAIR, **settings) for loss in (LOSS, by_logits)
    )
    chex.assert_trees_all_close(ours, expected, rtol=1e-4, atol=1e-5)
    for record, wanted in zip(history, of_logits, strict=True):
        assert record["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
        assert record["validation_loss"] == pytest.approx(wanted["validation_loss"], rel=1e-5)
        assert "validation_accuracy" not in record


def test_no_logits_are_held():
    net = fnnet.Sequential(fnnet.Embedding(8192, 64), fnnet.LayerNorm(), fnnet.Dense(8192, bias=False))
    params = jax.eval_shape(lambda: net.init(KEY, (256,)))
    tokens = jax.ShapeDtypeStruct((16, 256), jnp.int32)

    def held(loss, labels=tokens):
        step = jax.jit(jax.value_and_grad(lambda p, x, y: batch_loss(net, loss, p, x, y)[0]))
        return step.lower(params, tokens, labels).compile().memory_analysis().temp_size_in_bytes

    logits, weighted = 4 * 16 * 256 * 8192, WeightedLabels(tokens, jax.ShapeDtypeStruct((16,), jnp.float32))
    assert held(LOSS) < 0.25 * logits < logits <= held(by_logits)
    assert held(WeightedLoss(LOSS), weighted) < 0.25 * logits


def test_weights_of_examples():
    net, weights = NETS["dense"], jnp.array([0.0, 2, 1, 3])
    params, (xs, ys) = net.init(KEY, (6,)), (jnp.asarray(a[:4]) for a in PAIR)

    def step(loss):
        return jax.value_and_grad(lambda p: batch_loss(net, WeightedLoss(loss), p, xs, WeightedLabels(ys, weights))[0])

    chex.assert_trees_all_close(jax.jit(step(LOSS))(params), jax.jit(step(by_logits))(params), rtol=1e-5, atol=1e-6)


def test_ignored_labels_are_no_wrong_answers():
    """With logits, as for a network that ends in no product."""
    net = fnnet.Sequential(fnnet.Embedding(3, 3), fnnet.relu)
    xs, ys = jnp.array([[1, 2, 2]] * 2), jnp.array([[1, 0, 0]] * 2)
    loss, params = fnnet.LinearSoftmaxCrossEntropy(ignore_index=0), {"embedding_0": {"embedding": 9 * jnp.eye(3)}}
    assert fnnet.evaluate(net, params, loss, (xs, ys))["accuracy"] == 1
    _, history = fnnet.fit(net, loss, optax.sgd(0.0), (xs, ys), key=KEY, params=params, batch_size=2)
    assert history[0]["accuracy"] == 1


@pytest.mark.parametrize("options", [{"ignore_index": "x"}, {"label_smoothing": 7}])
def test_refuses(options):
    with pytest.raises((TypeError, ValueError), match=r"LinearSoftmaxCrossEntropy: (ignore_index|label_smoothing) "):
        fnnet.LinearSoftmaxCrossEntropy(**options)


@pytest.mark.slow
def test_it_is_traced():
    params = NETS["dense"].init(KEY, (6,))
    trace = fnnet.trace(NETS["dense"], LOSS, params, PAIR[0][:4], PAIR[1][:4])
    assert trace.first_problem() is None
