"""Every way to write a loss has the mean, the gradient and the weights that a loop over the examples has."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sampled import one_in

import fnnet

RNG = np.random.default_rng(5)
EXAMPLES, CLASSES = 8, 3
XS, KERNEL = RNG.normal(size=(EXAMPLES, 4)), RNG.normal(size=(4, CLASSES))
TARGETS = RNG.normal(size=(EXAMPLES, CLASSES))
LABELS, WITH_IGNORED = np.array([0, 2, 1, 1, 0, 2, 2, 1]), np.array([0, 2, -1, 1, -1, 2, -1, 1])
CLASS_WEIGHTS = np.array([0.5, 2.0, 3.0])

NET = fnnet.Sequential(fnnet.Dense(CLASSES, bias=False))
CROSS_ENTROPY, SQUARES = fnnet.softmax_cross_entropy, fnnet.squared_error
WEIGHTED = functools.partial(CROSS_ENTROPY, class_weights=CLASS_WEIGHTS, ignore_index=-1)
Partial = jax.tree_util.Partial


pytestmark = pytest.mark.usefixtures("standard_promotion")


# The losses of one example, in jax.numpy, and its weight.


def nll(z, y):
    return -jax.nn.log_softmax(z)[y]


def smoothed(z, y):
    return 0.9 * nll(z, y) - 0.1 * jax.nn.log_softmax(z).mean()


def weight(z, y):
    return jnp.where(y < 0, 0, jnp.asarray(CLASS_WEIGHTS)[y])


def squares(p, y):
    return jnp.sum((p - y) ** 2)


def one(z, y):
    return 1.0


class Halved:
    """A class with __call__ that has a `weight` of another meaning."""

    weight = 0.5

    def __call__(self, p, y):
        return self.weight * ((p - y) ** 2).sum(-1)


def pair(z, y):
    return WEIGHTED(z, y), CROSS_ENTROPY.weight(z, y, class_weights=CLASS_WEIGHTS, ignore_index=-1)


def moving_pair(p, y):
    """Weights that depend on the predictions are constants all the same."""
    weights = jnp.exp(p[:, 0])
    return jax.lax.stop_gradient(weights) * ((p - y) ** 2).sum(-1), weights


def masked(z, y):
    return jnp.where(y >= 0, fnnet.negative_log_likelihood(jax.nn.log_softmax(z), jnp.maximum(y, 0)), 0), y >= 0


class Form(NamedTuple):
    """A loss, labels, and the loss and the weight of one example."""

    loss: object
    ys: np.ndarray
    of_one: object
    weight_of_one: object = one


FORMS = {
    "fnnet": Form(CROSS_ENTROPY, LABELS, nll),
    "fnnet, partial": Form(WEIGHTED, WITH_IGNORED, lambda z, y: weight(z, y) * nll(z, y), weight),
    "fnnet, partials in Partials": Form(
        Partial(
            Partial(functools.partial(CROSS_ENTROPY, class_weights=CLASS_WEIGHTS), ignore_index=0), ignore_index=-1
        ),
        WITH_IGNORED,
        lambda z, y: weight(z, y) * nll(z, y),
        weight,
    ),
    "optax, integer labels": Form(optax.softmax_cross_entropy_with_integer_labels, LABELS, nll),
    "optax, l2 and a sum": Form(
        lambda p, y: optax.l2_loss(p, y).sum(-1), TARGETS, lambda p, y: jnp.sum((p - y) ** 2) / 2
    ),
    "lambda": Form(lambda z, y: CROSS_ENTROPY(z, y, label_smoothing=0.1), LABELS, smoothed),
    "vmap": Form(jax.vmap(squares), TARGETS, squares),
    "vmap of a partial": Form(jax.vmap(functools.partial(CROSS_ENTROPY, label_smoothing=0.1)), LABELS, smoothed),
    "vmap with in_axes": Form(lambda p, y: jax.vmap(squares, in_axes=(0, 1))(p, y.T), TARGETS, squares),
    "jit": Form(jax.jit(CROSS_ENTROPY), LABELS, nll),
    "jit of a vmap": Form(jax.jit(jax.vmap(squares)), TARGETS, squares),
    "checkpoint": Form(jax.checkpoint(SQUARES), TARGETS, lambda p, y: squares(p, y) / 2),
    "class": Form(Halved(), TARGETS, lambda p, y: squares(p, y) / 2),
    "pair": Form(pair, WITH_IGNORED, lambda z, y: weight(z, y) * nll(z, y), weight),
    "pair, moving": Form(
        moving_pair,
        TARGETS,
        lambda p, y: jnp.exp(jax.lax.stop_gradient(p[0])) * squares(p, y),
        lambda p, y: jnp.exp(jax.lax.stop_gradient(p[0])),
    ),
    "pair, booleans": Form(
        masked,
        WITH_IGNORED,
        lambda z, y: jnp.where(y < 0, 0, nll(z, y)),
        lambda z, y: jnp.where(y < 0, 0, 1),
    ),
    "vmap of a pair": Form(
        jax.vmap(lambda p, y: (3 * squares(p, y), 3.0)), TARGETS, lambda p, y: 3 * squares(p, y), lambda p, y: 3.0
    ),
}
EACH, SOME = (pytest.mark.parametrize("form", one_in(number, FORMS.values(), FORMS)) for number in (3, 6))


def by_a_loop(form, z):
    """sum_n loss_n / sum_n weight_n, one example after the other."""
    pairs = list(zip(z, jnp.asarray(form.ys), strict=True))
    return sum(form.of_one(*both) for both in pairs) / sum(form.weight_of_one(*both) for both in pairs)


@EACH
def test_mean_loss(x64, form):
    z, ys = jnp.asarray(XS @ KERNEL), jnp.asarray(form.ys)
    value, bars = jax.jit(jax.value_and_grad(functools.partial(by_a_loop, form)))(z)
    means = jax.value_and_grad(lambda z, ys: fnnet.mean_loss(form.loss, z, ys))
    for ours, ours_bars in (means(z, ys), jax.jit(means)(z, ys)):
        np.testing.assert_allclose(ours, value, rtol=1e-12)
        np.testing.assert_allclose(ours_bars, bars, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate": 2}, {"mesh": 2}],
    ids=["one device", "chunks", "mesh"],
)
@SOME
def test_fit(x64, form, options):
    value, kernel_bar = jax.jit(jax.value_and_grad(lambda kernel: by_a_loop(form, XS @ kernel)))(KERNEL)
    if "mesh" in options:
        options = {"mesh": jax.make_mesh((options["mesh"],), ("data",), devices=jax.devices()[:2])}
    params, history = fnnet.fit(
        NET,
        form.loss,
        optax.sgd(1.0),
        (XS, form.ys),
        key=jax.random.key(0),
        batch_size=EXAMPLES,
        params={"dense_0": {"kernel": jnp.asarray(KERNEL)}},
        progress=False,
        **options,
    )
    np.testing.assert_allclose(KERNEL - params["dense_0"]["kernel"], kernel_bar, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(history[0]["loss"], value, rtol=1e-6)


@SOME
def test_evaluate(x64, form):
    params = {"dense_0": {"kernel": jnp.asarray(KERNEL)}}
    value = jax.jit(functools.partial(by_a_loop, form))(XS @ KERNEL)
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    for options in ({"batch_size": 3}, {"batch_size": 3, "mesh": mesh}):
        scores = fnnet.evaluate(NET, params, form.loss, (XS, form.ys), **options)
        np.testing.assert_allclose(scores["loss"], value, rtol=1e-6)
    if form.ys.ndim == 1:
        counted = [n for n, y in enumerate(form.ys) if y >= 0]
        right = (XS @ KERNEL).argmax(1) == form.ys
        assert scores["accuracy"] == pytest.approx(right[counted].mean())


@SOME
def test_norms_and_traces(x64, form):
    """The gradient of each example's loss, not divided by weights; and a trace's losses and mean."""
    params, ys = {"dense_0": {"kernel": jnp.asarray(KERNEL)}}, jnp.asarray(form.ys)
    bars = jax.jit(jax.vmap(jax.grad(lambda kernel, x, y: form.of_one(x @ kernel, y)), (None, 0, 0)))(KERNEL, XS, ys)
    bars = np.asarray(bars)
    norms = np.array([np.sqrt((np.asarray(bar) ** 2).sum()) for bar in bars])
    np.testing.assert_allclose(fnnet.gradient_norms(NET, form.loss, params, XS, ys), norms, rtol=1e-10)
    clipped = fnnet.clipped_gradients(NET, form.loss, params, XS, ys, max_norm=0.5)
    expected = sum(bar * min(1, 0.5 / norm) for bar, norm in zip(bars, norms, strict=True) if norm)
    np.testing.assert_allclose(clipped["dense_0"]["kernel"], expected, rtol=1e-10, atol=1e-13)

    seen = fnnet.trace(NET, form.loss, params, XS, ys)
    value, kernel_bar = jax.jit(jax.value_and_grad(lambda kernel: by_a_loop(form, XS @ kernel)))(KERNEL)
    assert seen.same_bits
    np.testing.assert_allclose(seen.loss, value, rtol=1e-12)
    np.testing.assert_allclose(seen.params_bar["dense_0"]["kernel"], kernel_bar, rtol=1e-11, atol=1e-13)
    z = jnp.asarray(XS @ KERNEL)
    np.testing.assert_allclose(
        seen["loss"].value.array, [form.of_one(*both) for both in zip(z, ys, strict=True)], rtol=1e-12
    )
    if form.loss is not moving_pair:  # finite differences move what stop_gradient holds
        assert seen.first_problem() is None


def test_a_vmapped_loss_is_divided_by_the_examples():
    predictions, labels = jnp.zeros((4, 3)), jnp.ones((4, 3))
    assert fnnet.mean_loss(jax.vmap(squares), predictions, labels) == 3
    assert fnnet.mean_loss(jax.vmap(squares, in_axes=(0, 1)), predictions, labels.T) == 3
    nlls = jax.vmap(CROSS_ENTROPY, in_axes=(0, 1))(jnp.zeros((4, 5, 3)), jnp.zeros((5, 4), int))
    mean = fnnet.mean_loss(jax.vmap(CROSS_ENTROPY, in_axes=(0, 1)), jnp.zeros((4, 5, 3)), jnp.zeros((5, 4), int))
    np.testing.assert_allclose(mean, nlls.mean(), rtol=1e-6)


@functools.wraps(CROSS_ENTROPY)
def copied(z, y):
    """It has CROSS_ENTROPY's attributes, which functools.wraps copies, and hides a call with weights."""
    return WEIGHTED(z, y)


class Called:
    """A class that hides a loss."""

    def __call__(self, z, y):
        return WEIGHTED(z, y)


@jax.custom_vjp
def own_rule(z, y):
    return WEIGHTED(z, y)


own_rule.defvjp(lambda z, y: (WEIGHTED(z, y), z), lambda z, bar: (z * bar[:, None], None))
LOG_LIKELIHOOD = functools.partial(fnnet.negative_log_likelihood, class_weights=CLASS_WEIGHTS)
HIDDEN = {
    "lambda": (lambda z, y: WEIGHTED(z, y), "softmax_cross_entropy"),
    "class weights": (
        lambda z, y: CROSS_ENTROPY(z, jnp.maximum(y, 0), class_weights=CLASS_WEIGHTS),
        "softmax_cross_entropy",
    ),
    "ignored labels": (lambda z, y: CROSS_ENTROPY(z, y, ignore_index=-1), "softmax_cross_entropy"),
    "log-likelihood": (
        lambda z, y: LOG_LIKELIHOOD(jax.nn.log_softmax(z), jnp.maximum(y, 0)),
        "negative_log_likelihood",
    ),
    "jit": (jax.jit(WEIGHTED), "softmax_cross_entropy"),
    "partial of a jit": (
        functools.partial(jax.jit(CROSS_ENTROPY, static_argnames="ignore_index"), ignore_index=-1),
        "softmax_cross_entropy",
    ),
    "vmap": (jax.vmap(WEIGHTED), "softmax_cross_entropy"),
    "checkpoint": (jax.checkpoint(WEIGHTED), "softmax_cross_entropy"),
    "functools.wraps": (copied, "softmax_cross_entropy"),
    "class": (Called(), "softmax_cross_entropy"),
    "custom_vjp": (own_rule, "softmax_cross_entropy"),
    "map": (lambda z, y: jax.lax.map(lambda both: WEIGHTED(*both), (z, y)), "softmax_cross_entropy"),
    "cond": (
        lambda z, y: jax.lax.cond(z.sum() > 0, WEIGHTED, lambda z, y: jnp.zeros(len(z)), z, y),
        "softmax_cross_entropy",
    ),
    "grad": (
        lambda z, y: jax.grad(lambda z: WEIGHTED(z, y).sum())(z).sum(-1),
        "softmax_cross_entropy",
    ),
}


@pytest.mark.parametrize(("loss", "name"), one_in(5, HIDDEN.values(), HIDDEN))
def test_hidden_weights_are_refused(loss, name):
    z, ys = jnp.asarray(XS @ KERNEL, jnp.float32), jnp.asarray(WITH_IGNORED)
    says = (
        rf": loss calls {name} with class_weights or ignore_index, but hides its weights.* give "
        rf"functools\.partial\({name}, \.\.\.\), or return the pair \(losses, weights\), such as lambda z, y: "
        rf"\({name}\(z, y, ignore_index=-1\), {name}\.weight\(z, y, ignore_index=-1\)\)"
    )
    loss(z, ys)  # jit and checkpoint keep a trace of it from here on
    for _ in range(2):
        with pytest.raises(ValueError, match="^mean_loss" + says):
            fnnet.mean_loss(loss, z, ys)
        with pytest.raises(ValueError, match="^mean_loss" + says):
            jax.jit(jax.grad(lambda z: fnnet.mean_loss(loss, z, ys)))(z)
    data, mesh = (XS.astype(np.float32), WITH_IGNORED), jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    settings = {"key": jax.random.key(0), "batch_size": EXAMPLES, "progress": False}
    for options in ({}, {"accumulate": 2}, {"mesh": mesh}):
        with pytest.raises(ValueError, match="^fit" + says):
            fnnet.fit(NET, loss, optax.sgd(1.0), data, **settings, **options)
    params = {"dense_0": {"kernel": jnp.asarray(KERNEL, jnp.float32)}}
    for options in ({}, {"mesh": mesh}):
        with pytest.raises(ValueError, match="^evaluate" + says):
            fnnet.evaluate(NET, params, loss, data, **options)
    with pytest.raises(ValueError, match="^trace" + says):
        fnnet.trace(NET, loss, params, *data)


def test_who_wants_to_divide_by_all_examples_says_so():
    z, ys = jnp.asarray(XS @ KERNEL, jnp.float32), jnp.asarray(WITH_IGNORED)
    mean = fnnet.mean_loss(lambda z, y: (WEIGHTED(z, y), jnp.ones(len(z))), z, ys)
    np.testing.assert_allclose(mean, WEIGHTED(z, ys).sum() / EXAMPLES, rtol=1e-6)


def test_class_probabilities_have_weight_1_with_class_weights_too():
    """So a loss that hides them loses nothing."""
    z, y = jnp.asarray(XS @ KERNEL, jnp.float32), jax.nn.softmax(jnp.asarray(TARGETS, jnp.float32))
    weighted = functools.partial(CROSS_ENTROPY, class_weights=CLASS_WEIGHTS)
    assert fnnet.mean_loss(lambda z, y: weighted(z, y), z, y) == fnnet.mean_loss(weighted, z, y)


WRONG = {
    "one number": (lambda p, y: squares(p, y), r"\(\)"),
    "a mean": (lambda p, y: ((p - y) ** 2).mean(), r"\(\)"),
    "one of one example": (lambda p, y: squares(p, y)[None], r"\(1,\)"),
    "a sum over the batch": (lambda p, y: ((p - y) ** 2).sum(0), rf"\({CLASSES},\)"),
    "a pair with one number": (lambda p, y: (squares(p, y), 1.0), r"\(\)"),
}


@pytest.mark.parametrize(("loss", "shape"), WRONG.values(), ids=WRONG)
def test_losses_that_are_not_one_number_per_example_are_refused(loss, shape):
    params = {"dense_0": {"kernel": jnp.asarray(KERNEL, jnp.float32)}}
    xs, ys = jnp.asarray(XS, jnp.float32), jnp.asarray(TARGETS, jnp.float32)

    def says(function, examples):
        return pytest.raises(
            ValueError,
            match=rf"^{function}: loss must give one number for each of {examples} examples, shape \({examples},\); it "
            rf"gave shape {shape} \((leave out a mean over the batch; )?jax.vmap makes a loss of one example into one "
            r"of a batch\)",
        )

    with says("mean_loss", 8):
        fnnet.mean_loss(loss, xs @ params["dense_0"]["kernel"], ys)
    with says("gradient_norms", 8):
        fnnet.gradient_norms(NET, loss, params, xs, ys)
    with says("clipped_gradients", 8):
        fnnet.clipped_gradients(NET, loss, params, xs, ys, max_norm=1.0)
    for data in ((xs, ys), [(xs, ys)]):
        with says("fit", 8):
            fnnet.fit(NET, loss, optax.sgd(1.0), data, key=jax.random.key(0), batch_size=8)
        with says("evaluate", 8):
            fnnet.evaluate(NET, params, loss, data)


@pytest.mark.parametrize("outputs", [2, 3, 8])
def test_a_sum_over_the_batch_is_refused_whatever_the_number_of_outputs(outputs):
    """With 2, 3 or 8 outputs its shape is that of the losses of 2, 3 or 8 examples."""
    net = fnnet.Sequential(fnnet.Dense(outputs))
    data = XS.astype(np.float32), np.zeros((EXAMPLES, outputs), np.float32)
    params, loss = net.init(jax.random.key(0), (4,)), lambda p, y: ((p - y) ** 2).sum(0)
    wrong = 2 if outputs == EXAMPLES else EXAMPLES
    says = rf": loss must give one number for each of {wrong} examples, shape \({wrong},\); it gave shape \({outputs},"
    with pytest.raises(ValueError, match="^fit" + says):
        fnnet.fit(net, loss, optax.sgd(1.0), data, key=jax.random.key(0), batch_size=EXAMPLES)
    with pytest.raises(ValueError, match="^evaluate" + says):
        fnnet.evaluate(net, params, loss, data)


def test_fit_refuses_losses_of_positions_which_mean_loss_takes():
    z, ys = jnp.zeros((4, 5, 3)), jnp.zeros((4, 5), int)
    np.testing.assert_allclose(fnnet.mean_loss(CROSS_ENTROPY, z, ys), np.log(3), rtol=1e-6)
    with pytest.raises(ValueError, match=r"^fit: loss must give .* it gave shape \(4, 5\)"):
        fnnet.fit(NET, CROSS_ENTROPY, optax.sgd(1.0), (jnp.ones((4, 5, 4)), ys), key=jax.random.key(0), batch_size=4)


def test_pairs_that_are_none_are_refused():
    z, y = jnp.zeros((4, 3)), jnp.zeros(4, int)
    with pytest.raises(ValueError, match=r"^mean_loss: loss gave weights of shape \(\); they must have the losses' sh"):
        fnnet.mean_loss(lambda z, y: (CROSS_ENTROPY(z, y), jnp.ones(())), z, y)
    with pytest.raises(ValueError, match=r"^mean_loss: loss must return the losses, or the pair .*, not a tuple of 3"):
        fnnet.mean_loss(lambda z, y: (CROSS_ENTROPY(z, y), 1, 2), z, y)
    with pytest.raises(TypeError, match=r"^mean_loss: the second of the pair \(losses, weights\) must be an array, no"):
        fnnet.mean_loss(lambda z, y: (CROSS_ENTROPY(z, y), {}), z, y)
    with pytest.raises(TypeError, match=r"^mean_loss: what loss returns must be an array, not dict"):
        fnnet.mean_loss(lambda z, y: {"loss": CROSS_ENTROPY(z, y)}, z, y)


def test_lists_and_trees_of_predictions(unchecked_shapes):
    assert fnnet.mean_loss(CROSS_ENTROPY, [[0.0, 0.0], [0.0, 0.0]], [0, 1]) == np.float32(np.log(2))
    both = {"a": jnp.zeros((4, 3)), "b": jnp.ones((4, 2))}
    assert fnnet.mean_loss(lambda p, y: p["a"].sum(-1) + p["b"].sum(-1), both, jnp.zeros(4)) == 2
