"""Metrics: scikit-learn's numbers, whatever the mini-batches and devices; the accuracy of the training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics as sklearn

import fnnet
from fnnet.training import resumption, steps

RNG = np.random.default_rng(0)
LABELS = RNG.choice([0, 1, 2, 4], 101).astype(np.int32)  # no label 3
LOGITS = (RNG.normal(size=(101, 5)) + 1.5 * np.eye(5)[LABELS]).astype(np.float32)
ANSWERS = LOGITS.argmax(-1)
LOSS = fnnet.softmax_cross_entropy


def identity(x):
    return x


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, outputs, ys):
        return outputs


NET = fnnet.Sequential(identity)
OF_CLASSES = ["accuracy", "top_2", "precision", "recall", "f1", "confusion"]


pytestmark = pytest.mark.usefixtures("standard_promotion")


def scores(ys=LABELS, outputs=LOGITS, metrics=OF_CLASSES, loss=LOSS, **options):
    return fnnet.evaluate(NET, {}, loss, (outputs, ys), metrics=metrics, **options)


def expected():
    macro = {"average": "macro", "zero_division": 0}
    return {
        "accuracy": sklearn.accuracy_score(LABELS, ANSWERS),
        "top_2": sklearn.top_k_accuracy_score(LABELS, LOGITS, k=2, labels=range(5)),
        "precision": sklearn.precision_score(LABELS, ANSWERS, **macro),
        "recall": sklearn.recall_score(LABELS, ANSWERS, **macro),
        "f1": sklearn.f1_score(LABELS, ANSWERS, **macro),
        "confusion": sklearn.confusion_matrix(LABELS, ANSWERS, labels=range(5)),
    }


def assert_same(found, wanted):
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("batch_size", [16, 256])
def test_they_are_scikit_learns(batch_size):
    found = scores(batch_size=batch_size)
    assert list(found) == ["loss", *OF_CLASSES]
    assert_same(found, expected())
    assert found["confusion"].dtype.kind == "i"


def test_pieces_of_an_iterable_and_devices_add_up():
    pieces = [(LOGITS[:60], LABELS[:60]), (LOGITS[60:], LABELS[60:])]
    assert_same(fnnet.evaluate(NET, {}, LOSS, pieces, metrics=OF_CLASSES), expected())
    assert_same(scores(mesh=jax.make_mesh((4,), ("data",))), expected())


def test_rows_of_probabilities_have_the_class_of_the_largest():
    found = scores(ys=np.eye(5, dtype=np.float32)[LABELS], metrics=["accuracy", "confusion"])
    assert_same(found, {name: expected()[name] for name in ("accuracy", "confusion")})


def test_of_equal_outputs_the_first_is_the_answer():
    outputs, ys = np.zeros((3, 4), np.float32), np.array([0, 1, 3], np.int32)
    found = scores(ys, outputs, ["top_2", "top-4"])
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["top_2"] == pytest.approx(2 / 3)
    assert found["top-4"] == 1


def test_a_network_that_gives_nan_is_never_right():
    right, counted = jax.jit(steps.answers)(jnp.full((3, 4), jnp.nan), jnp.arange(3), jnp.ones(3))
    assert (float(right), float(counted)) == (0, 3)


def test_ignored_labels_do_not_count():
    ys = np.where(np.arange(101) % 3 == 0, -1, LABELS)
    found = scores(ys, loss=functools.partial(LOSS, ignore_index=-1))
    keep = ys != -1
    assert_same(found, {"confusion": sklearn.confusion_matrix(ys[keep], ANSWERS[keep], labels=range(5))})
    assert found["accuracy"] == pytest.approx((ys == ANSWERS)[keep].mean())


def test_positions_count_each_and_form_the_outputs():
    ys = np.where(RNG.uniform(size=(6, 4)) < 0.3, -1, RNG.integers(0, 5, (6, 4))).astype(np.int32)
    net = fnnet.Sequential(fnnet.Embedding(5, 8), fnnet.Dense(5))
    params, xs = net.init(0, (4,)), RNG.integers(0, 5, (6, 4)).astype(np.int32)
    loss = fnnet.LinearSoftmaxCrossEntropy(ignore_index=-1)
    found = fnnet.evaluate(net, params, loss, (xs, ys), metrics="accuracy")
    answers = np.asarray(jax.vmap(net.apply, (None, 0))(params, xs)).argmax(-1)
    assert found["accuracy"] == pytest.approx((answers == ys)[ys >= 0].mean())
    without = fnnet.evaluate(net, params, loss, (xs, ys))
    assert list(without) == ["loss"]
    assert without["loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_functions_give_a_number_or_an_array_for_each_example():
    def largest(outputs, ys):
        return outputs.max(-1)

    found = scores(metrics={"most": largest, "rows": lambda outputs, ys: outputs, "right": "accuracy"}, batch_size=10)
    assert found["most"] == pytest.approx(LOGITS.max(-1).mean(), rel=1e-5)
    np.testing.assert_allclose(found["rows"], LOGITS.mean(0), rtol=1e-4, atol=1e-5)
    assert found["right"] == found["accuracy"]
    assert scores(metrics=largest)["largest"] == pytest.approx(found["most"], rel=1e-6)


def test_functions_get_ignored_labels_as_they_are():
    ys = np.where(np.arange(101) % 3 == 0, 9, LABELS)
    loss = functools.partial(LOSS, ignore_index=9)
    found = scores(ys, loss=loss, metrics={"labels": lambda outputs, ys: ys.astype(jnp.float32), "right": "accuracy"})
    assert found["labels"] == pytest.approx(ys[ys != 9].mean(), rel=1e-6)
    ys_of_positions = np.array([[1, 9], [2, 3]], np.int32)
    several = np.zeros((2, 2, 5), np.float32)
    loss = fnnet.LinearSoftmaxCrossEntropy(ignore_index=9)
    found = scores(ys_of_positions, several, {"rows": lambda outputs, ys: ys}, loss)
    np.testing.assert_array_equal(found["rows"], [1.5, 6])


def test_bytes_as_labels_can_be_ignored():
    """255 is a class of 256; -1 would be one, too, as a byte."""
    loss = fnnet.LinearSoftmaxCrossEntropy(ignore_index=3)
    ys = np.array([[3, 255], [3, 3]], np.uint8)
    right, counted = steps.answers(np.eye(256)[ys].astype(np.float32), steps.labels_that_count(loss, ys), jnp.ones(2))
    assert (float(right), float(counted)) == (1, 1)


def test_one_output_is_a_number_and_no_class():
    data = LOGITS[:96], np.zeros(96, np.int32)
    net = fnnet.Sequential(fnnet.Dense(1))

    def loss(outputs, ys):
        return jnp.square(outputs[:, 0] - ys)

    _, history = fnnet.fit(net, loss, "sgd", data, key=0, batch_size=96, validation=data, progress=False)
    assert list(history[0]) == ["epoch", "loss", "validation_loss", "seconds"]
    with pytest.raises(ValueError, match=r"evaluate: metric accuracy needs outputs \(\.\.\., classes\), of 2 or more"):
        fnnet.evaluate(net, net.init(0, (5,)), loss, data, metrics="accuracy")


def test_errors_of_numbers():
    targets = RNG.normal(size=(101, 5)).astype(np.float32)
    names = ["mean_absolute_error", "mean_squared_error"]
    found = scores(targets, metrics=names, loss=fnnet.squared_error)
    wanted = sklearn.mean_absolute_error(targets, LOGITS), sklearn.mean_squared_error(targets, LOGITS)
    assert_same(found, dict(zip(names, wanted, strict=True)))


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("f2", r"evaluate: there is no metric 'f2'; did you mean f1\?"),
        (["f1", "f1"], r"evaluate: metrics need names of their own; write \{\"another name\": \.\.\.\} for 'f1'"),
        ({"loss": "f1"}, r"evaluate: metrics need names of their own"),
        ("top_0", r"evaluate: metric 'top_0' must have a number of 1 or more, as in top_5"),
        ("top_99", r"evaluate: metric top_99 needs at least 99 classes, and outputs have 5"),
        ({"a": 3}, r"evaluate: metrics must be names or functions of outputs and ys, not 3"),
        (Unhashable(), r"evaluate: metrics must be hashable, since compiled programs are kept by it"),
        ([3], r"evaluate: metrics must be names or functions of outputs and ys, not 3"),
        ("mean_squared_error", r"evaluate: metric mean_squared_error needs ys of the outputs' shape \(101, 5\), not"),
        (lambda outputs, ys: outputs.mean(), r"must give one number, or one array, for each of 101 examples; it gave"),
    ],
)
def test_refuses(metrics, message):
    with pytest.raises((TypeError, ValueError), match=message):
        scores(metrics=metrics)


def test_refuses_classes_of_numbers():
    with pytest.raises(ValueError, match=r"evaluate: metric f1 needs outputs \(\.\.\., classes\), of 2 or more"):
        scores(
            np.ones((101, 2), np.float32), LOGITS[:, :2].sum(-1, keepdims=True), "f1", lambda z, y: z[:, 0] - y[:, 0]
        )


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"mesh": jax.make_mesh((4,), ("data",))}])
def test_the_history_has_the_accuracy_of_the_training(options):
    """Of parameters that stay as they are, and an epoch that takes every example."""
    net, pair = fnnet.Sequential(fnnet.Dense(5)), (LOGITS[:96], LABELS[:96])
    params, history = fnnet.fit(net, LOSS, optax.sgd(0.0), pair, key=0, batch_size=24, progress=False, **options)
    assert history[0]["accuracy"] == fnnet.evaluate(net, params, LOSS, pair)["accuracy"]
    assert list(history[0]) == ["epoch", "loss", "accuracy", "seconds"]


def test_a_history_with_arrays_outlives_a_checkpoint():
    history = [{"epoch": 1, "validation_confusion": np.arange(4).reshape(2, 2), "validation_f1": np.inf}]
    moment = resumption.Moment(None, None, history)  # type: ignore[arg-type]
    (record,) = resumption.checked_training(None, resumption.record_of(moment))["history"]  # type: ignore[arg-type]
    np.testing.assert_array_equal(record["validation_confusion"], [[0, 1], [2, 3]])
    assert record["validation_f1"] == np.inf


def test_fit_measures_the_validation_data():
    pair = LOGITS[:96], LABELS[:96]
    net = fnnet.Sequential(fnnet.Dense(5))
    params, history = fnnet.fit(
        net, LOSS, "sgd", pair, key=0, batch_size=24, validation=pair, metrics=["confusion"], progress=False
    )
    found = fnnet.evaluate(net, params, LOSS, pair, metrics=["confusion"])
    np.testing.assert_array_equal(history[-1]["validation_confusion"], found["confusion"])
    assert found["confusion"].sum() == 96
