"""Losses where the contract does not reach: targets of 0, infinite logits, probabilities 0 and 1, refusals."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnnet.checking.contract import compare
from fnnet.proofs import reference_of
from fnnet.rules.binary_losses import binary_cross_entropy, sigmoid_binary_cross_entropy
from fnnet.rules.class_losses import cross_entropy, negative_log_likelihood, softmax_cross_entropy
from fnnet.rules.squared_error import squared_error

CLASSES = (softmax_cross_entropy, cross_entropy, negative_log_likelihood)
NAME = operator.attrgetter("__name__")
LOSSES = pytest.mark.parametrize(
    "loss", [*CLASSES, sigmoid_binary_cross_entropy, binary_cross_entropy, squared_error], ids=NAME
)
OVER_CLASSES = pytest.mark.parametrize("loss", CLASSES, ids=NAME)


def draws(loss, shape=(4, 5)):
    """A prediction in the loss's range, and targets that do not sum to 1."""
    keys = jax.random.split(jax.random.key(11))
    prediction = jax.random.normal(keys[0], shape)
    if loss in (cross_entropy, binary_cross_entropy):
        prediction = jax.nn.sigmoid(prediction)
    return prediction, jax.random.uniform(keys[1], shape)


@LOSSES
def test_the_whole_hessian_at_a_zero_target(x64, loss):
    """A target of exactly 0 or 1 adds nothing to the loss in places, but its derivatives stand."""
    prediction, _ = draws(loss, (3,))
    target = jnp.array([0.0, 1.0, 0.0])

    @jax.jit
    def run(prediction, target):
        return [jax.hessian(f, argnums=(0, 1))(prediction, target) for f in (loss, reference_of(loss))]

    ours, expected = run(prediction, target)
    for row, expected_row in zip(ours, expected, strict=True):
        for block, expected_block in zip(row, expected_row, strict=True):
            assert not compare("hessian, block", block, expected_block, 1e-12)


@LOSSES
def test_leading_axes_and_empty_batches(loss):
    prediction, target = draws(loss, (2, 3, 5))
    assert loss(prediction, target).shape == (2, 3)
    np.testing.assert_allclose(loss(prediction, target)[1, 2], loss(prediction[1, 2], target[1, 2]), rtol=1e-6)
    assert loss(prediction[:0], target[:0]).shape == (0, 3)
    assert loss.weight(prediction, target).tolist() == [[1.0] * 3] * 2


def test_the_gradient_of_logits_is_p_minus_y():
    z = jnp.array([[1.0, 2.0, 0.5], [1e4, 0.0, -1e4]])
    bars = jax.grad(lambda z: softmax_cross_entropy(z, jnp.array([2, 1])).sum())(z)
    np.testing.assert_allclose(bars, jax.nn.softmax(z) - np.eye(3)[[2, 1]], rtol=1e-5)  # 001 (4) through 004's CCE
    y = jnp.array([[0.0, 1.0, 0.25], [1.0, 0.0, 1.0]])
    bars = jax.grad(lambda z: sigmoid_binary_cross_entropy(z, y).sum())(z)
    np.testing.assert_allclose(bars, jax.nn.sigmoid(z) - y, rtol=1e-5)  # 003 (19)


# Infinite logits, probabilities 0 and 1.


def value_and_gradient(loss, prediction, target):
    return jax.jit(lambda p, t: (loss(p, t), jax.grad(lambda p: loss(p, t).sum())(p)))(prediction, target)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32])
def test_logits_of_any_size(dtype):
    z = jnp.array([[1e4, -1e4, 0], [-6e4, 3e4, 0], [1, -jnp.inf, 1], [-jnp.inf, -jnp.inf, 2]], dtype)
    value, bars = value_and_gradient(softmax_cross_entropy, z, jnp.array([0, 1, 2, 2]))
    np.testing.assert_allclose(np.asarray(value, np.float64), [0, 0, np.log(2), 0], rtol=1e-3)
    np.testing.assert_allclose(bars[2:], [[0.5, 0, -0.5], [0, 0, 0]], rtol=1e-3)
    assert np.isfinite(bars).all()
    value, bars = value_and_gradient(softmax_cross_entropy, z[2:3], jnp.array([1]))
    assert value == np.inf
    np.testing.assert_allclose(bars, [[0.5, -1, 0.5]], rtol=1e-3)


def test_masked_logits_have_finite_second_derivatives():
    z, labels = jnp.array([1.0, -jnp.inf, 0.5]), jnp.array(0)
    hessian = jax.jit(jax.hessian(softmax_cross_entropy))(z, labels)
    p = np.array(jax.nn.softmax(z))
    np.testing.assert_allclose(hessian, np.diag(p) - np.outer(p, p), rtol=1e-5, atol=1e-7)


def test_infinite_binary_logits():
    z, y = jnp.array([[jnp.inf, -jnp.inf, 1e4, -1e4]]), jnp.array([[1.0, 0.0, 1.0, 0.0]])
    value, bars = value_and_gradient(sigmoid_binary_cross_entropy, z, y)
    assert value == 0
    assert (bars == 0).all()
    value, bars = value_and_gradient(sigmoid_binary_cross_entropy, z, 1 - y)
    assert value == np.inf
    np.testing.assert_array_equal(bars, [[1, -1, 1, -1]])


def test_probabilities_zero_and_one():
    p = jnp.array([[0.0, 0.25, 0.75], [0.0, 0.0, 1.0]])
    value, bars = value_and_gradient(cross_entropy, p, jnp.array([1, 0]))
    np.testing.assert_allclose(value, [np.log(4), np.inf], rtol=1e-6)
    np.testing.assert_array_equal(bars, [[0, -4, 0], [-np.inf, 0, 0]])
    y = jnp.array([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    value, bars = value_and_gradient(binary_cross_entropy, p, y)
    np.testing.assert_allclose(value, [np.log(4) + np.log(4 / 3), np.inf], rtol=1e-6)
    np.testing.assert_allclose(bars, [[1, -4, -4 / 3], [1, 1, np.inf]], rtol=1e-6)


@OVER_CLASSES
def test_nan_is_not_hidden(loss):
    value, bars = value_and_gradient(loss, jnp.array([[jnp.nan] * 3, [0.2, 0.3, 0.5]]), jnp.array([1, 1]))
    assert np.isnan(value).tolist() == [True, False]
    if loss is not negative_log_likelihood:  # whose gradient does not depend on its input
        assert np.isnan(bars[0]).any()


# Rows of targets.

ROWS = pytest.mark.parametrize("loss", [sigmoid_binary_cross_entropy, binary_cross_entropy, squared_error], ids=NAME)


@ROWS
def test_leading_axes_are_broadcast(loss):
    prediction, target = draws(loss)
    one = jnp.broadcast_to(target[0], target.shape)
    np.testing.assert_array_equal(loss(prediction, target[0]), loss(prediction, one))
    bar = jax.grad(lambda t: loss(prediction, t).sum())(target[0])
    np.testing.assert_allclose(bar, jax.grad(lambda t: loss(prediction, t).sum())(one).sum(0), rtol=1e-5)
    assert loss.weight(prediction[0], target).shape == (4,)


@ROWS
def test_integer_and_boolean_targets_are_numbers(loss):
    prediction, target = draws(loss)
    for dtype in (jnp.uint8, jnp.bool_):
        held = (target > 0.5).astype(dtype)
        expected = loss(prediction, held.astype(jnp.float32))
        np.testing.assert_array_equal(loss(prediction, held), expected)


@ROWS
def test_rows_that_do_not_go_together_are_refused(unchecked_shapes, loss):
    a, y = jnp.ones((4, 10)), jnp.ones(4)
    with pytest.raises(
        ValueError, match=rf"^{loss.__name__}: \w+ of shape \(4, 10\) and \w+ of shape \(4,\) must have eq"
    ):
        loss(a, y)
    with pytest.raises(ValueError, match=rf"^{loss.__name__}: .* must have leading axes that broadcast"):
        loss(a, jnp.ones((3, 10)))
    with pytest.raises(ValueError, match=rf"^{loss.__name__}: \w+ of shape \(\) must have a last axis"):
        loss(a[0, 0], y[0])
    with pytest.raises(TypeError, match=rf"^{loss.__name__}: \w+ of dtype int32"):
        loss(jnp.arange(3), jnp.ones(3))


def test_positive_weights_weigh_the_positive_answers():
    z, y = jnp.array([[2.0, -1.0, 0.5], [jnp.inf, -jnp.inf, jnp.inf]]), jnp.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    loss = functools.partial(sigmoid_binary_cross_entropy, z, y)
    terms = -jnp.array([3.0 * jax.nn.log_sigmoid(2.0), jax.nn.log_sigmoid(1.0), 0.5 * jax.nn.log_sigmoid(0.5)])
    np.testing.assert_allclose(loss(positive_weights=jnp.array([3.0, 7.0, 0.5])), [terms.sum(), jnp.inf], rtol=1e-6)
    np.testing.assert_array_equal(loss(positive_weights=1), loss())
