"""The words of a trace's page: its glossary, the loss in words, the answers; beside jax.nn and optax."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.tracing.page.glossary import GLOSSARY
from fnnet.tracing.page.words import ALL, EXAMPLES, MOST, TOKENS, answers, loss_in_words
from tracing.browser import CHROMIUM, Browser

ASKED = """cotangent, y_bar, gradient, residual, Residual, forward, backward, loss, logit, probability, rms, update,
learning rate, kernel, bias, receptive field, tap, stride, mini-batch, dtype, autodiff, finite differences, kink,
attention weights, query, key, value, token, hidden state, normalisation statistics, tangent"""

LABELS = jnp.array([0, 1, 2, 3, 0])
ONE_HOT = jnp.eye(4)[LABELS]
WEIGHTS = jnp.array([1.0, 2.0, 0.5, 3.0])
softmax = fnnet.softmax_cross_entropy
partial = functools.partial


def test_each_word_has_one_short_sentence():
    assert set(GLOSSARY) == set(re.split(r",\s", ASKED))
    for term, sentence in GLOSSARY.items():
        assert re.fullmatch(r"[A-Z][^.]+\.", sentence), term
        assert len(sentence) < 160, term
        assert not sentence.lower().startswith(f"{term.lower()} "), term


def traced(loss, y, features=4, x=None, dtype=None):
    """A dense layer before the loss."""
    x = jax.random.normal(jax.random.key(0), (5, 3)) if x is None else x
    net = fnnet.Sequential(fnnet.Dense(features))
    params = net.init(jax.random.key(1), x.shape[-1:])
    if dtype is not None:
        params, x = jax.tree.map(lambda a: a.astype(dtype), (params, x))
    return fnnet.trace(net, loss, params, x, y)


def read(tokens, loss, labels=None):
    """A table and a dense layer before the loss; the labels are the next tokens."""
    net = fnnet.Sequential(fnnet.Embedding(6, 4), fnnet.Dense(6))
    x, y = tokens[:, :-1], tokens[:, 1:]
    return fnnet.trace(net, loss, net.init(jax.random.key(1), x[0].shape), x, y if labels is None else labels)


def numbers_of(sentence):
    return [float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e-\d+)?", sentence)]


# One class of several.


@pytest.mark.parametrize("loss", [softmax, lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y)])
def test_the_loss_of_a_class(loss):
    seen = traced(loss, LABELS)
    shares = jax.nn.softmax(seen.outputs.array)
    for example, label in enumerate(np.asarray(LABELS)):
        sentence = loss_in_words(seen, example)
        p, most = f"{shares[example, label]:.4g}", int(shares[example].argmax())
        start = f"The network gives class {label}, the right one, a probability of {p}; the loss is -log {p} = "
        end = "" if most == label else f" The most probable class is {most}, with {shares[example, most]:.4g}."
        assert re.fullmatch(re.escape(start) + r"[\d.]+\d\." + re.escape(end), sentence)
        said = float(re.search(r" = ([\d.]+\d)", sentence)[1])
        np.testing.assert_allclose(said, seen.steps[-1].value.array[example], rtol=1e-3)
        np.testing.assert_allclose(said, -np.log(float(p)), rtol=1e-3)
    assert any("most probable" in loss_in_words(seen, example) for example in range(5))
    assert loss_in_words(traced(softmax, ONE_HOT), 1) == loss_in_words(seen, 1)
    assert loss_in_words(seen, -1) == loss_in_words(seen, 4)


def test_what_the_loss_is_given_is_said():
    def said(label, **options):
        return loss_in_words(traced(partial(softmax, **options), LABELS), label)

    assert "With label smoothing 0.1 its target t is 0.925 and that of each other class 0.025" in said(
        1, label_smoothing=0.1
    )
    q = jax.nn.log_softmax(traced(softmax, LABELS).outputs.array)[1]
    smoothed = -(0.9 * q[1] + 0.1 * q.mean())
    assert f"the loss is the sum of -t log p, {smoothed:.4g}." in said(1, label_smoothing=0.1)
    assert f"its class weight is 2, and the loss is 2 times -log {jnp.exp(q[1]):.4g} = {-2 * q[1]:.4g}." in said(
        1, class_weights=WEIGHTS
    )
    assert said(1, ignore_index=1) == "The label 1 is ignored, so the loss is 0."
    both = -WEIGHTS @ ((0.9 * ONE_HOT[1] + 0.025) * q)
    assert said(1, label_smoothing=0.1, class_weights=WEIGHTS) == (
        "The labels, smoothed by 0.1 and times the class weights, give each of 4 classes a weight t; the loss is the "
        f"sum of -t log p, {both:.4g}."
    )
    rows = jnp.full((5, 4), 0.25)
    assert loss_in_words(traced(softmax, rows), 1) == (
        f"The labels give each of 4 classes a weight t; the loss is the sum of -t log p, {-q.mean():.4g}."
    )


@pytest.mark.parametrize(
    ("last", "loss"), [(fnnet.softmax, fnnet.cross_entropy), (fnnet.log_softmax, fnnet.negative_log_likelihood)]
)
def test_probabilities_may_come_from_the_network(last, loss):
    x = jax.random.normal(jax.random.key(0), (5, 3))
    net = fnnet.Sequential(fnnet.Dense(4), last)
    seen = fnnet.trace(net, loss, net.init(jax.random.key(1), (3,)), x, LABELS)
    logits = traced(softmax, LABELS)
    assert [loss_in_words(seen, n) for n in range(5)] == [loss_in_words(logits, n) for n in range(5)]
    shares = [answer["probabilities"] for answer in answers(seen)]
    np.testing.assert_allclose(shares, jax.nn.softmax(logits.outputs.array), rtol=1e-5)


def test_a_probability_near_its_ends_keeps_its_digits():
    net, margins = fnnet.Sequential(fnnet.Dense(2, bias=False)), jnp.array([-800.0, -9.0, 3.0, 12.0, 50.0])
    params, x = {"dense_0": {"kernel": jnp.eye(2)}}, jnp.stack([jnp.zeros(5), margins], 1)
    seen = fnnet.trace(net, softmax, params, x, jnp.ones(5, jnp.int32))
    sentences = [loss_in_words(seen, example).partition(" The most")[0] for example in range(5)]
    assert [sentence.partition("probability of ")[2] for sentence in sentences] == [
        "exp(-800); the loss is -log exp(-800) = 800.",
        "0.0001234; the loss is -log 0.0001234 = 9.",
        "0.95257; the loss is -log 0.95257 = 0.04859.",
        "1 - 6.144e-06; the loss is -log(1 - 6.144e-06) = 6.144e-06.",
        "1; the loss is -log 1 = 0.",
    ]


def test_a_loss_that_is_no_number():
    assert loss_in_words(traced(softmax, LABELS + 1), 3) == "A label is none of the classes 0 to 3, so the loss is NaN."
    x = jax.random.normal(jax.random.key(0), (5, 3)).at[1].set(jnp.nan)
    seen = traced(softmax, LABELS, x=x)
    assert loss_in_words(seen, 1) == "An output is NaN, so the loss is NaN."
    assert loss_in_words(seen, 0).startswith("The network gives class 0")
    assert answers(seen)[1] == {
        **{"example": 1, "token": None, "label": 1, "prediction": None},
        **{"classes": [], "probabilities": []},
    }


# Other losses.


def test_yes_or_no():
    sigmoid, targets = fnnet.sigmoid_binary_cross_entropy, jnp.array([[1], [0], [1], [0], [1]])
    seen = traced(sigmoid, targets, features=1)
    yes = jax.nn.sigmoid(seen.outputs.array)[:, 0]
    for example, word in enumerate(["yes", "no"]):
        p = f"{yes[example] if word == 'yes' else 1 - yes[example]:.4g}"
        sentence = loss_in_words(seen, example)
        assert sentence.startswith(
            f"The network gives the answer {word}, the right one, a probability of {p}; the loss"
        )
        np.testing.assert_allclose(numbers_of(sentence)[-1], seen.steps[-1].value.array[example], rtol=1e-3)
    assert answers(seen)[0]["label"] == [1.0]
    assert answers(seen)[0]["prediction"] == [int(yes[0] > 0.5)]
    np.testing.assert_allclose([answer["probabilities"][0] for answer in answers(seen)], yes, rtol=1e-5)
    weighted = loss_in_words(traced(partial(sigmoid, positive_weights=3.0), targets, features=1))
    assert f"the loss is 3 times -log {yes[0]:.4g} = {-3 * jnp.log(yes[0]):.4g}." in weighted
    several = traced(sigmoid, ONE_HOT)
    right = int(((several.outputs.array > 0) == np.asarray(ONE_HOT))[0].sum())
    assert loss_in_words(several).startswith(f"{right} of 4 yes-or-no answers are right; the loss is the sum of -log p")
    soft = loss_in_words(traced(sigmoid, jnp.full((5, 1), 0.3), features=1))
    assert soft.startswith("A target y is neither 0 nor 1; the loss is -y log p - (1 - y) log(1 - p), ")


def test_squares():
    seen = traced(fnnet.squared_error, ONE_HOT)
    apart = (seen.outputs.array - ONE_HOT)[1]
    *first, last = (f"{one:.4g}" for one in np.asarray(apart, float))
    assert loss_in_words(seen, 1) == (
        f"The outputs differ from their targets by {', '.join(first)} and {last}; the loss is half the sum of the "
        f"squares, {0.5 * (apart**2).sum():.4g}."
    )
    mean = loss_in_words(traced(lambda a, y: ((a - y) ** 2).mean(-1), ONE_HOT), 1)
    assert mean.endswith(f"the loss is the mean of the squares, {(apart**2).mean():.4g}.")
    column = traced(lambda a, y: (a[:, 0] - y) ** 2, jnp.ones(5), features=1)
    a = float(column.outputs.array[0, 0])
    assert loss_in_words(column) == (
        f"The output is {a:.4g} and its target 1; the loss is the square of the difference, "
        f"({a - 1:.4g})^2 = {(a - 1) ** 2:.4g}."
    )
    assert answers(seen) == []


def test_tokens():
    tokens = jax.random.randint(jax.random.key(2), (2, 8), 0, 6)
    seen = read(tokens, lambda z, y: softmax(z, y).mean(-1))
    mean = -np.mean(np.take_along_axis(np.asarray(jax.nn.log_softmax(seen.outputs.array)), tokens[:, 1:, None], -1)[1])
    assert loss_in_words(seen, 1) == (
        f"The network gives the next token a probability of {np.exp(-mean):.4g} in the geometric mean over 7 tokens; "
        f"the loss is the mean of -log p, -log {np.exp(-mean):.4g} = {mean:.4g}."
    )
    summed = loss_in_words(read(tokens, lambda z, y: softmax(z, y).sum(-1)), 1)
    assert summed.endswith(f"the loss is the sum of -log p, 7 times -log {np.exp(-mean):.4g} = {7 * mean:.4g}.")
    other = loss_in_words(read(tokens, lambda z, y: softmax(z, y).mean(-1), labels=tokens[:, :-1]), 1)
    assert other.startswith("The network gives the right class a probability of ")
    ignored = int(tokens[1, 1])
    kept = int((tokens[1, 1:] != ignored).sum())
    some = loss_in_words(read(tokens, fnnet.LinearSoftmaxCrossEntropy(ignore_index=ignored)), 1)
    assert (
        f"over {kept} of 7 tokens (the other labels are ignored); the loss is the sum of -log p, {kept} times" in some
    )
    smooth = loss_in_words(read(tokens, fnnet.LinearSoftmaxCrossEntropy(label_smoothing=0.1)), 1)
    assert smooth.startswith(
        "The labels, smoothed by 0.1, give each class a weight t; the loss is the sum over 7 tokens"
    )
    assert [(answer["example"], answer["token"]) for answer in answers(seen)] == list(np.ndindex(2, 7))
    shares = np.reshape([answer["probabilities"] for answer in answers(seen)], (2, 7, 6))
    np.testing.assert_allclose(shares, jax.nn.softmax(seen.outputs.array), rtol=1e-5)


@pytest.mark.parametrize(
    "loss", [lambda z, y: z[:, 0], lambda z, y: 1.01 * softmax(z, y), lambda z, y: softmax(2 * z, y)]
)
def test_an_unknown_loss_has_no_words(loss):
    seen = traced(loss, LABELS)
    assert loss_in_words(seen, 0) == ""
    outputs = seen.outputs.array
    found = answers(seen)
    assert [answer["prediction"] for answer in found] == outputs.argmax(-1).tolist()
    assert [answer["label"] for answer in found] == LABELS.tolist()
    assert all(answer["probabilities"] == [] for answer in found)


# Answers.


def test_answers_are_short_and_json():
    many = traced(softmax, jnp.arange(EXAMPLES + 1), features=ALL + 1, x=jax.random.normal(jax.random.key(0), (9, 3)))
    found = answers(many)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert len(found) == EXAMPLES
    shares = jax.nn.softmax(many.outputs.array)
    for answer, row in zip(found, shares, strict=False):
        largest = np.argsort(-row)[:MOST].tolist()
        assert answer["prediction"] == largest[0]
        assert answer["classes"] == largest + [answer["label"]] * (answer["label"] not in largest)
        np.testing.assert_allclose(answer["probabilities"], row[np.array(answer["classes"])], rtol=1e-5)
    long = read(jnp.zeros((1, TOKENS + 2), jnp.int32), lambda z, y: softmax(z, y).mean(-1))
    assert [answer["token"] for answer in answers(long)] == list(range(TOKENS))


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")
def test_after_a_change_the_page_gives_the_probabilities_of_all_classes(tmp_path):
    seen = traced(softmax, LABELS, features=ALL + 1)
    bias = jnp.zeros(ALL + 1).at[2].set(1.0)
    shares = jax.nn.softmax(seen.outputs.array[0] + bias)
    with Browser(tmp_path / "profile") as browser:
        browser.open(seen.save(tmp_path / "trace.html"))
        browser.click('[data-layer="loss"]')
        browser.run("change((state) => (state.params[0].bias[2] = 1))")
        shown = browser.run(
            "Array.from(document.querySelectorAll('[data-class]'), (b) => [b.dataset.class, b.textContent])"
        )
        assert len(shown) >= MOST
        for one, said in shown:
            share = float(re.search(rf"^{one}([\d.]+) %", said)[1]) / 100
            np.testing.assert_allclose(share, shares[int(one)], rtol=5e-3)
        assert browser.errors == []


def test_one_example_and_a_coarse_dtype():
    x = jax.random.normal(jax.random.key(0), (5, 3))
    net = fnnet.Sequential(fnnet.Dense(4))
    single = fnnet.trace(net, softmax, net.init(jax.random.key(1), (3,)), x[1], LABELS[1])
    of_batch = traced(softmax, LABELS)
    assert loss_in_words(single) == loss_in_words(of_batch, 1)
    assert answers(single) == [answers(of_batch)[1] | {"example": None}]
    coarse = traced(softmax, LABELS, dtype=jnp.bfloat16)
    assert loss_in_words(coarse).startswith("The network gives class 0, the right one, a probability of 0.47")


@pytest.mark.parametrize("wrong", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize(
    ("loss", "labels"),
    [(softmax, LABELS), (fnnet.squared_error, ONE_HOT), (fnnet.sigmoid_binary_cross_entropy, ONE_HOT)],
)
def test_a_page_of_outputs_that_are_no_numbers(loss, labels, wrong, tmp_path):
    x = jax.random.normal(jax.random.key(0), (5, 3)).at[1, 0].set(wrong)
    seen = traced(loss, labels, x=x)
    assert loss_in_words(seen, 1).startswith("An output is " + ("NaN" if jnp.isnan(wrong) else "infinite"))
    json.dumps(answers(seen), allow_nan=False)
    assert seen.save(tmp_path / "page.html").exists()


@pytest.mark.parametrize("wrong", [jnp.nan, jnp.inf])
def test_targets_that_are_no_numbers(wrong):
    word = "NaN" if jnp.isnan(wrong) else "infinite"
    seen = traced(fnnet.squared_error, ONE_HOT.at[1, 2].set(wrong))
    assert loss_in_words(seen, 1) == f"A target is {word}, so the loss is {word}."
    seen = traced(fnnet.sigmoid_binary_cross_entropy, ONE_HOT.at[1, 2].set(wrong))
    assert loss_in_words(seen, 1) == f"A label is {word}, so the loss is NaN."
    assert answers(seen)[1]["label"] == [0.0, 1.0, None, 0.0]


def test_a_page_of_no_examples(tmp_path):
    seen = traced(softmax, LABELS[:0], x=jnp.zeros((0, 3)))
    assert answers(seen) == []
    assert seen.save(tmp_path / "page.html").exists()
