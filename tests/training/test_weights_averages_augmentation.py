"""`sample_weight`, `average` and `augment` of `fit`, each against the same thing done by hand."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.training.augmented import FOLD, Augmented
from fnnet.training.averaging import average_of, averaging

RNG = np.random.default_rng(0)
XS, YS = RNG.normal(size=(24, 4)).astype(np.float32), RNG.integers(0, 3, 24).astype(np.int32)
WEIGHTS = np.arange(24) % 3
NET = fnnet.Sequential(fnnet.Dense(3))
LOSS = fnnet.softmax_cross_entropy
SGD = optax.sgd(0.1)


pytestmark = pytest.mark.usefixtures("standard_promotion")


def fit(data=(XS, YS), net=NET, loss=LOSS, optimizer=SGD, **options):
    return fnnet.fit(net, loss, optimizer, data, **{"key": 0, "batch_size": 24, "progress": False} | options)


def test_a_weight_counts_an_example_so_often():
    many = XS.repeat(WEIGHTS, 0), YS.repeat(WEIGHTS)
    params, history = fit(sample_weight=WEIGHTS, epochs=2)
    repeated, other = fit(many, batch_size=len(many[0]), epochs=2)
    chex.assert_trees_all_close(params, repeated, rtol=1e-5, atol=1e-6)
    assert history[-1]["loss"] == pytest.approx(other[-1]["loss"], rel=1e-5)
    chunked, _ = fit(sample_weight=WEIGHTS, epochs=2, accumulate=3)
    chex.assert_trees_all_close(chunked, params, rtol=1e-5, atol=1e-6)
    scores = fnnet.evaluate(NET, params, LOSS, (XS, YS), sample_weight=WEIGHTS, batch_size=7)
    assert scores["loss"] == pytest.approx(fnnet.evaluate(NET, params, LOSS, many)["loss"], rel=1e-5)
    kept = fnnet.evaluate(NET, params, LOSS, (XS[WEIGHTS > 0], YS[WEIGHTS > 0]))
    assert scores["accuracy"] == pytest.approx(kept["accuracy"])


def test_a_weight_of_zero_silences_a_loss_that_is_infinite():
    def loss(outputs, ys):
        return jnp.where(ys == 0, jnp.inf, 1.0) + 0 * outputs.sum(-1)

    assert fnnet.evaluate(NET, NET.init(0, (4,)), loss, (XS, YS), sample_weight=YS > 0)["loss"] == 1


def test_a_weight_of_zero_silences_a_derivative_that_is_infinite():
    def loss(outputs, ys):
        return jnp.sqrt(jnp.square(outputs - jax.nn.one_hot(ys, 3)).sum(-1))  # NaN at 0

    params = {"dense_0": {"kernel": jnp.zeros((4, 3)), "bias": jax.nn.one_hot(1, 3)}}
    trained, _ = fit(params=params, loss=loss, sample_weight=YS != 1)
    kept = XS[YS != 1], YS[YS != 1]
    wanted, _ = fit(kept, params=params, loss=loss, batch_size=len(kept[0]))
    chex.assert_trees_all_close(trained, wanted, rtol=1e-5, atol=1e-6)


def test_a_mini_batch_without_a_weight_is_a_step_without_an_effect():
    weights = np.zeros(24)
    weights[3] = 2
    options = {"batch_size": 12, "optimizer": optax.adam(0.1), "average": 0.5}
    params, history = fit(sample_weight=weights, **options)
    alone, other = fit((XS[3:4], YS[3:4]), **options | {"batch_size": 1})
    chex.assert_trees_all_close(params, alone, rtol=1e-5, atol=1e-6)
    assert history[0]["loss"] == pytest.approx(other[0]["loss"], rel=1e-5)
    ignoring = functools.partial(LOSS, ignore_index=0)
    with pytest.raises(fnnet.NonFiniteLossError, match=r"fit: all examples of epoch 1 have weight 0"):
        fit((XS, 0 * YS), loss=ignoring)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones((24, 1)), ValueError, r"fit: sample_weight of shape \(24, 1\) must have shape \(24,\)"),
        (np.where(WEIGHTS == 1, -2, 1), ValueError, r"fit: sample_weight\[1\] \(=-2.0\) must be 0 or more"),
        (np.full(24, np.nan), ValueError, r"fit: sample_weight\[0\] \(=nan\) must be 0 or more"),
        (np.zeros(24), ValueError, r"fit: some sample_weight must be more than 0"),
        ("balanced", TypeError, r"fit: sample_weight must be numbers, not 'balanced'"),
    ],
)
def test_refuses_weights(weights, error, message):
    with pytest.raises(error, match=message):
        fit(sample_weight=weights)


def test_the_average_is_that_of_the_steps():
    seen = []
    params, history = fit(
        epochs=5,
        average=0.8,
        validation=(XS, YS),
        callback=lambda record, state: seen.append(jax.tree.map(np.array, state.params)),
    )
    shares = 0.8 ** np.arange(4, -1, -1)
    wanted = jax.tree.map(lambda *steps: np.tensordot(shares / shares.sum(), np.stack(steps), 1), *seen)
    chex.assert_trees_all_close(params, wanted, rtol=1e-5, atol=1e-6)
    assert history[-1]["validation_loss"] == fnnet.evaluate(NET, params, LOSS, (XS, YS))["loss"]
    plain, _ = fit(epochs=5)
    chex.assert_trees_all_equal(plain, seen[-1])  # the steps are as without it


def test_the_average_leaves_statistics_and_goes_on_from_a_checkpoint(tmp_path):
    net = fnnet.Sequential(fnnet.Dense(4), fnnet.BatchNorm(), fnnet.Dense(3))
    options = {"net": net, "average": 0.5, "batch_size": 12}
    seen = []
    whole, _ = fit(epochs=2, callback=lambda _, state: seen.append(jax.tree.map(np.array, state.params)), **options)
    np.testing.assert_array_equal(whole["batch_norm_1"]["mean"], seen[-1]["batch_norm_1"]["mean"])
    assert not np.array_equal(whole["batch_norm_1"]["scale"], seen[-1]["batch_norm_1"]["scale"])
    fit(epochs=1, checkpoints=fnnet.Checkpoints(tmp_path), **options)
    resumed, _ = fit(epochs=2, checkpoints=fnnet.Checkpoints(tmp_path), **options)
    chex.assert_trees_all_equal(resumed, whole)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_average_of_parameters_that_stay_is_their_bits(dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), NET.init(1, (4,)))
    optimizer = averaging(NET, optax.sgd(0.0), 0.999)
    step = jax.jit(lambda state: optimizer.update(params, state, params)[1])
    state = optimizer.init(params)
    for _ in range(400):
        state = step(state)
    chex.assert_trees_all_equal(average_of(params, state), params)


def test_the_average_leaves_parameters_that_are_not_trained():
    net = fnnet.Sequential(fnnet.Dense(4), fnnet.Dense(3))
    params = net.init(2, (4,))
    trained, _ = fit(net=net, params=params, trainable=lambda name: "dense_1" in name, average=0.9, epochs=4)
    chex.assert_trees_all_equal(trained["dense_0"], params["dense_0"])
    assert not np.array_equal(trained["dense_1"]["kernel"], params["dense_1"]["kernel"])


def test_an_average_goes_on_with_its_own_decay(tmp_path):
    fit(average=0.5, checkpoints=fnnet.Checkpoints(tmp_path))
    words = r"the checkpoint does not fit: (optimizer/\S+ is \w+; ){6}and \d+ more$"
    with pytest.raises(ValueError, match=words):
        fit(epochs=2, optimizer=optax.adam(0.1), checkpoints=fnnet.Checkpoints(tmp_path))
    with pytest.raises(ValueError, match=r"fit: the checkpoint was trained with average=0.5, not 0.9$"):
        fit(average=0.9, epochs=2, checkpoints=fnnet.Checkpoints(tmp_path))


def moved(key, x):
    return x + jax.random.normal(key, x.shape)


def test_augmentation_has_a_key_of_each_example_and_none_in_evaluation():
    net, params = Augmented(NET, moved), NET.init(0, (4,))
    keys = jax.random.split(jax.random.key(1), 2)
    for key in keys:
        wanted = NET.apply(params, moved(jax.random.fold_in(key, FOLD), XS[0]))
        np.testing.assert_allclose(net.apply(params, XS[0], key=key), wanted, rtol=1e-6)
    np.testing.assert_array_equal(net.apply(params, XS[0]), NET.apply(params, XS[0]))
    outputs, statistics = net.apply_batch(params, XS[[0, 0]], keys=keys)
    assert statistics == {}
    assert not np.allclose(outputs[0], outputs[1])


@pytest.mark.parametrize(
    ("net", "loss"),
    [
        (NET, LOSS),
        (NET, fnnet.LinearSoftmaxCrossEntropy()),
        (fnnet.Sequential(fnnet.Dense(4), fnnet.BatchNorm(), fnnet.Dense(3)), LOSS),
    ],
)
def test_every_way_to_a_loss_takes_augmented_examples(net, loss):
    """Examples of nothing but zeros give log 3, since biases are 0 at first."""
    _, history = fit(net=net, loss=loss, optimizer=optax.sgd(0.0), augment=lambda key, x: 0 * x)
    assert history[0]["loss"] == pytest.approx(np.log(3), rel=1e-5)


def test_augmentation_goes_on_with_the_same_bits(tmp_path):
    whole, _ = fit(epochs=2, augment=moved, batch_size=8)
    fit(epochs=1, augment=moved, batch_size=8, checkpoints=fnnet.Checkpoints(tmp_path))
    resumed, _ = fit(epochs=2, augment=moved, batch_size=8, checkpoints=fnnet.Checkpoints(tmp_path))
    chex.assert_trees_all_equal(resumed, whole)
    other, _ = fit(epochs=2, batch_size=8)
    assert not np.allclose(whole["dense_0"]["kernel"], other["dense_0"]["kernel"])
