"""Labels of the categorical losses: PyTorch's documented formulas, what is out of range or ignored, what is refused."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnnet.checking.contract import compare
from fnnet.rules.class_losses import cross_entropy, negative_log_likelihood, softmax_cross_entropy

NAME = operator.attrgetter("__name__")
OVER_CLASSES = pytest.mark.parametrize(
    "loss", [softmax_cross_entropy, cross_entropy, negative_log_likelihood], ids=NAME
)


def normal(stream):
    """Four rows of five classes."""
    return jax.random.normal(jax.random.fold_in(jax.random.key(11), stream), (4, 5))


def pytorchs(log_p, labels, *, label_smoothing=0.0, class_weights=None, ignore_index=None):
    """Loss of each example and its weight in the mean, as ATen's LossNLL.cpp computes them, in numpy."""
    losses, weights = [], []
    w = np.ones(log_p.shape[-1]) if class_weights is None else np.asarray(class_weights, np.float64)
    for q, label in zip(np.asarray(log_p, np.float64), labels, strict=True):
        if label == ignore_index:
            losses.append(0.0)
            weights.append(0.0)
            continue
        smooth = -(q * w).sum() / len(q)
        losses.append((1 - label_smoothing) * -w[label] * q[label] + label_smoothing * smooth)
        weights.append(w[label])
    return np.array(losses), np.array(weights)


KEYWORDS = [
    {},
    {"label_smoothing": 0.1},
    {"class_weights": [0.5, 2.0, 0.0, 1.0, 3.0]},
    {"ignore_index": -100},
    {"label_smoothing": 0.3, "class_weights": [0.5, 2.0, 0.0, 1.0, 3.0], "ignore_index": 1},
    {"class_weights": [0.5, 2.0, 0.0, 1.0, 3.0], "ignore_index": 255},
]


@pytest.mark.parametrize("dtype", ["int32", "uint8"])
@pytest.mark.parametrize("keywords", KEYWORDS, ids=lambda keywords: "+".join(keywords) or "none")
@pytest.mark.parametrize("loss", [softmax_cross_entropy, negative_log_likelihood], ids=NAME)
def test_integer_labels_as_in_pytorch(x64, loss, keywords, dtype):
    keywords, labels = dict(keywords), np.array([0, 4, 1, 2])
    if loss is negative_log_likelihood:
        keywords.pop("label_smoothing", None)
    ignored = keywords.get("ignore_index")
    if ignored is not None and (ignored >= 0 or dtype != "uint8"):
        labels[2] = ignored
    if "class_weights" in keywords:
        keywords["class_weights"] = jnp.array(keywords["class_weights"])
    z = normal(0)
    log_p = jax.nn.log_softmax(z) if loss is softmax_cross_entropy else z
    losses, weights = pytorchs(log_p, labels, **keywords)
    given = jnp.asarray(labels.astype(dtype))
    ours = functools.partial(loss, **keywords)
    assert not compare("labels, loss", ours(z, given), losses, 1e-12)
    assert not compare("labels, weight", functools.partial(loss.weight, **keywords)(z, given), weights, 1e-12)
    bars = jax.jit(jax.grad(lambda z: ours(z, given).sum()))(z)
    if ignored == labels[2]:
        assert (bars[2] == 0).all()
    step = 1e-6 * normal(1)
    difference = ours(z + step, given).sum() - ours(z - step, given).sum()
    np.testing.assert_allclose((bars * 2 * step).sum(), difference, rtol=1e-6)


def test_class_probabilities_as_in_pytorch(x64):
    """ATen: target (1 - e) + e / C, times the class weights; a mean divides by the number of examples."""
    z, y = normal(0), jax.random.uniform(jax.random.key(13), (4, 5))  # rows that do not sum to 1
    w = jnp.array([0.5, 2.0, 0.0, 1.0, 3.0])
    ours = functools.partial(softmax_cross_entropy, label_smoothing=0.2, class_weights=w)
    expected = -((0.8 * y + 0.2 / 5) * w * jax.nn.log_softmax(z)).sum(-1)
    assert not compare("soft labels, loss", ours(z, y), expected, 1e-12)
    weights = softmax_cross_entropy.weight(z, y, label_smoothing=0.2, class_weights=w)
    np.testing.assert_array_equal(weights, np.ones(4))


def test_class_weights_are_constants():
    z, labels = jnp.ones((2, 3)), jnp.array([0, 1])
    bars = jax.grad(lambda w: softmax_cross_entropy(z, labels, class_weights=w).sum())(jnp.ones(3))
    np.testing.assert_array_equal(bars, np.zeros(3))


@pytest.mark.parametrize("garbage", [jnp.nan, jnp.inf, -jnp.inf])
def test_ignored_examples_are_not_read(garbage):
    z = jnp.array([[garbage] * 3, [0.0, 0.0, 0.0]])
    ours = functools.partial(softmax_cross_entropy, ignore_index=-1)
    value, pullback = jax.vjp(lambda z: ours(z, jnp.array([-1, 0])), z)
    (bars,) = pullback(jnp.ones(2))
    np.testing.assert_allclose(value, [0, np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(bars, [[0, 0, 0], [-2 / 3, 1 / 3, 1 / 3]], rtol=1e-6)


@OVER_CLASSES
@pytest.mark.parametrize(
    ("labels", "place", "value"),
    [
        (np.array([[0, 1], [3, 0]]), r"\[1, 0\]", 3),
        (np.array([[-1, 1], [2, 0]]), r"\[0, 0\]", -1),
        (jnp.array([[0, 1], [2, 255]], jnp.uint8), r"\[1, 1\]", 255),
        (np.array([[0, 2**32 + 1], [2, 0]]), r"\[0, 1\]", 2**32 + 1),
        (np.array([[0, 2**32 - 1], [2, 0]], np.uint32), r"\[0, 1\]", 2**32 - 1),
    ],
)
def test_known_labels_out_of_range_are_refused(unchecked_shapes, loss, labels, place, value):
    message = rf"^{loss.__name__}: labels{place} \(={value}\) must be a class, from 0 to 2"
    for function in (loss, loss.weight):
        with pytest.raises(ValueError, match=message):
            function(jnp.ones((2, 2, 3)), labels)
    with pytest.raises(ValueError, match=message):  # known under jit, if they are no argument
        jax.jit(lambda z: loss(z, labels))(jnp.ones((2, 2, 3)))


@OVER_CLASSES
def test_unknown_labels_out_of_range_give_nan_where_the_cotangent_is_not_zero(loss):
    @jax.jit
    def run(z, labels, loss_bar):
        value, pullback = jax.vjp(lambda z: loss(z, labels), z)
        return value, pullback(loss_bar)[0]

    z = jnp.full((4, 3), 0.3)
    value, bars = run(z, jnp.array([-1, 3, 3, 2]), jnp.array([1.0, 2.0, 0.0, 1.0]))
    assert np.isnan(value).tolist() == [True, True, True, False]
    assert np.isnan(bars).all(1).tolist() == [True, True, False, False]
    assert (bars[2] == 0).all()
    assert np.isfinite(bars[3]).all()


@pytest.mark.parametrize("dtype", ["uint32", "int64", "uint64"])
def test_labels_of_wide_integers_do_not_wrap(x64, dtype):
    """2**32 + 1 would be class 1 in 32 bits, and 2**32 - 100 the ignored -100."""
    held = [1, 2**32 - 100, 0] if dtype == "uint32" else [1, 2**32 - 100, 2**32 + 1]
    labels = jnp.asarray(np.array(held, dtype))
    ours = functools.partial(softmax_cross_entropy, ignore_index=-100)
    value = jax.jit(ours)(jnp.zeros((3, 3)), labels)
    assert np.isnan(value).tolist() == [False, True, dtype != "uint32"]
    with pytest.raises(ValueError, match=r"labels\[1\] \(=4294967196\)"):
        ours(jnp.zeros((3, 3)), labels)


def test_ignored_labels_pass_the_check_of_the_range():
    ours = functools.partial(softmax_cross_entropy, ignore_index=-100)
    np.testing.assert_allclose(ours(jnp.zeros((2, 3)), jnp.array([-100, 1])), [0, np.log(3)], rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"labels\[0\] \(=-99\) must be a class, from 0 to 2, or ignore_index \(=-100\)"
    ):
        ours(jnp.zeros((2, 3)), jnp.array([-99, 1]))


def test_labels_as_lists_numbers_and_numpy_arrays(unchecked_shapes):
    z = jnp.array([[0.0, 1.0], [2.0, 0.0]])
    expected = softmax_cross_entropy(z, jnp.array([1, 0]))
    for labels in ([1, 0], np.array([1, 0]), np.array([1, 0], np.uint8), np.array([[0.0, 1.0], [1.0, 0.0]])):
        np.testing.assert_array_equal(softmax_cross_entropy(z, labels), expected)
        assert softmax_cross_entropy.weight(z, labels).tolist() == [1, 1]
    np.testing.assert_array_equal(softmax_cross_entropy(np.array([0.0, 1.0]), 1), expected[0])


FAULTS = [
    (np.array([0.0, 1.0]), TypeError, r"labels of dtype float64 and shape \(2,\) must be integers of shape \(2,\), or"),
    (np.array([True, False]), TypeError, "labels of dtype bool"),
    (np.array(["a", "b"]), TypeError, "labels of dtype <U1"),
    (
        np.zeros((2, 1), int),
        ValueError,
        r"labels of shape \(2, 1\) and dtype int64 must have shape \(2,\), one class an",
    ),
    (np.zeros((2, 3), int), ValueError, "class probabilities must be floating"),
    (np.zeros((3,), int), ValueError, r"must have shape \(2,\)"),
    (np.zeros((2, 4)), ValueError, r"labels of shape \(2, 4\) and dtype float64 must have shape \(2, 3\)"),
]


@OVER_CLASSES
@pytest.mark.parametrize(("labels", "error", "message"), FAULTS)
def test_labels_of_a_wrong_kind_are_refused(unchecked_shapes, loss, labels, error, message):
    for function in (loss, loss.weight):
        with pytest.raises(error, match=f"^{loss.__name__}: .*{message}"):
            function(jnp.ones((2, 3)), labels)


def test_ignore_index_needs_integer_labels():
    with pytest.raises(ValueError, match=r"ignore_index \(=0\) needs integer labels"):
        softmax_cross_entropy(jnp.ones((2, 3)), jnp.ones((2, 3)), ignore_index=0)


@OVER_CLASSES
def test_a_prediction_needs_classes(unchecked_shapes, loss):
    for shape in ((), (3, 0)):
        with pytest.raises(ValueError, match=f"^{loss.__name__}: .*must have a last axis"):
            loss(jnp.ones(shape), jnp.zeros(shape[:-1], int))
