"""What the page's data say of how each array is drawn."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.tracing.numbers import numbers
from fnnet.tracing.page.drawing import about_inside, way_of_inside, way_of_leaf, way_of_value, which_entry
from fnnet.tracing.page.sampling import ENTRIES, sample
from tracing.networks import seen
from tracing.pages import traced


@pytest.mark.parametrize(
    ("shape", "batched", "is_kernel", "draw"),
    [
        ((), False, False, "number"),
        ((5,), False, False, "bars"),
        ((3,), True, False, "bars"),  # one number an example
        ((3, 5), True, False, "matrix"),
        ((128, 10), False, True, "matrix"),
        ((8, 8, 1), False, False, "image"),
        ((3, 3, 1, 4), False, True, "image"),
        ((3, 8, 8, 4), True, False, "image"),
    ],
)
def test_what_an_array_is_drawn_as(shape, batched, is_kernel, draw):
    assert sample(shape, batched, is_kernel).draw == draw


def test_time_is_the_horizontal_axis_of_a_recurrence():
    way = way_of_value(fnnet.LSTM(4), numbers("x", np.zeros((2, 7, 3), np.float32)), batched=True)
    shown = sample((2, 7, 3), **way)
    assert (shown.draw, shown.roles) == ("time", "rxy")
    assert sample((7, 3), **way_of_value(fnnet.GRU(4), numbers("x", np.zeros((7, 3))), batched=False)).roles == "xy"
    assert sample((5000, 64), meaning="time").said == "sampled: 256 of 5000 on axis 0, 32 of 64 on axis 1"


def test_integers_one_after_another_are_tokens():
    tokens = numbers("x", np.array([[3, 1, 4]]))
    shown = sample((1, 3), **way_of_value(fnnet.Embedding(9, 2), tokens, batched=True))
    assert (shown.draw, shown.roles) == ("tokens", "rc")
    classes = sample((3,), **way_of_value(None, numbers("y", np.array([2, 0, 1])), batched=True))
    assert (classes.draw, classes.roles) == ("tokens", "c")
    picture = numbers("x", np.zeros((1, 8, 8, 1), np.uint8))
    assert sample((1, 8, 8, 1), **way_of_value(None, picture, batched=True)).draw == "image"
    many = sample((32, 512), batched=True, meaning="tokens")
    assert many.said == "sampled: 8 of 32 on axis 0, 64 of 512 on axis 1"


def test_the_rows_that_are_read_are_shown_of_a_large_table():
    trace = traced("attention")
    table = trace["embedding_0"].cotangent("embedding")
    tokens = np.unique(trace["embedding_0"].inputs.array)
    assert way_of_leaf(trace["embedding_0"], table, batched=True) == {"is_kernel": True, "rows": tokens.tolist()}
    assert way_of_leaf(trace["dense_3"], trace["dense_3"].cotangent("kernel"), batched=True)["rows"] is None
    rows = [3, 777, 9998]
    shown = sample((10_000, 64), is_kernel=True, rows=rows)
    assert set(rows) <= set(shown.indices[0].tolist())
    assert np.prod([len(at) for at in shown.indices]) <= ENTRIES
    everything = sample((10_000, 64), is_kernel=True, rows=range(10_000))
    assert len(everything.indices[0]) == len(shown.indices[0])


def test_attention_is_drawn_by_its_weights():
    step = traced("attention")["attention_1"]
    weights = next(one for one in step.insides if one.name == "weights")
    assert weights.shape == (2, 2, 5, 5)
    assert (weights.array[..., np.triu_indices(5, 1)[0], np.triu_indices(5, 1)[1]] == 0).all()  # causal
    shown = sample(weights.shape, **way_of_inside(step.layer, weights, batched=True))
    assert (shown.draw, shown.roles) == ("weights", "rcyx")
    assert "softmax" in about_inside(step.layer, weights)
    norm = traced("attention")["layer_norm_2"]
    assert [(one.name, one.shape) for one in norm.insides] == [("mean", (2, 5)), ("deviation", (2, 5))]
    np.testing.assert_allclose(norm.insides[0].array, norm.inputs.array.mean(-1), atol=1e-6)


def test_flatten_says_which_entry_is_which():
    step = seen()["flatten_3"]
    said = which_entry(step, batched=True)
    left, right = re.fullmatch(r"y\[n, (.*)\] = x\[n, (.*)\]", said).groups()
    for i, j, k in np.ndindex(step.inputs.shape[1:]):
        place = eval(re.sub(r"(\d) (\w)", r"\1 * \2", left), {}, {"i": i, "j": j, "k": k})
        assert step.value.array[1, place] == step.inputs.array[1, i, j, k]
    assert right == "i, j, k"
    assert [which_entry(step, True) for step in seen() if step.name != "flatten_3"] == [""] * (len(seen().steps) - 1)


def test_batch_norm_in_training_shows_the_statistics_of_the_mini_batch():
    net = fnnet.Sequential(fnnet.BatchNorm(), fnnet.Dense(2))
    xs = jax.random.normal(jax.random.key(1), (6, 3)) + 5
    params = net.init(jax.random.key(0), (3,))
    step = fnnet.trace(net, fnnet.squared_error, params, xs, jnp.zeros((6, 2)), key=jax.random.key(2))["batch_norm_0"]
    mean, deviation = step.insides
    np.testing.assert_allclose(mean.array, np.mean(xs, 0), rtol=1e-5)
    np.testing.assert_allclose(deviation.array, np.sqrt(np.var(xs, 0) + 1e-5), rtol=1e-4)
    assert sample(mean.shape, **way_of_inside(step.layer, mean, batched=True)).draw == "bars"
