"""`linear_softmax_cross_entropy` where the contract does not reach: memory, products, labels, means, training."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from devices.collectives import collectives_in
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import fnnet
from fnnet.rules.linear_class_loss import rows_at_once

LOSS = fnnet.linear_softmax_cross_entropy
REDUCTIONS = pytest.mark.parametrize("reduction", ["none", "mean"])


def draw(rows, features, classes):
    random = np.random.default_rng(rows)
    x, kernel = random.normal(size=(rows, features)), random.normal(size=(features, classes))
    return *(jnp.asarray(a, jnp.float32) for a in (x, kernel)), jnp.asarray(
        random.integers(0, classes, rows), jnp.int32
    )


def mean_of(reduction, **options):
    """The mean over the rows, in both ways."""

    def mean(x, kernel, labels):
        return LOSS(x, kernel, labels, reduction=reduction, **options).mean()

    return mean


def plain(x, kernel, labels):
    z = x @ kernel
    return (jax.nn.logsumexp(z, -1) - jnp.take_along_axis(z, labels[:, None], -1)[:, 0]).mean()


@pytest.mark.cpu
@REDUCTIONS
@pytest.mark.parametrize("classes", [8192, 50257])
def test_a_tenth_of_the_memory(reduction, classes):
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4096, 256), (256, classes))]
    labels = jax.ShapeDtypeStruct((4096,), jnp.int32)

    def temporary(loss):
        program = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*shapes, labels).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporary(mean_of(reduction)) < 0.1 * temporary(plain)


@pytest.mark.parametrize(("reduction", "products"), [("none", 4), ("mean", 3)])
def test_the_mean_takes_three_products(reduction, products):
    arguments = draw(4, 3, 5)
    jaxpr = str(jax.make_jaxpr(jax.value_and_grad(mean_of(reduction), (0, 1)))(*arguments))
    assert len(re.findall(r"= dot_general", jaxpr)) == products


def test_no_gradient_of_the_kernel_for_each_example_under_vmap():
    x, kernel, labels = draw(4, 3, 5)

    def loss(x, kernel):
        return jax.vmap(functools.partial(LOSS, reduction="mean"), (0, None, 0))(x, kernel, labels.reshape(2, 2)).sum()

    jaxpr = str(jax.make_jaxpr(jax.grad(loss, (0, 1)))(x.reshape(2, 2, 3), kernel))
    assert "f32[2,3,5]" not in jaxpr


@REDUCTIONS
def test_rows_left_over_count_once(reduction, x64):
    """Of 1,100 rows 220 are in each of five blocks, of 1,103 three are left over."""
    for rows in (1100, 1103):
        arguments = [a.astype(jnp.float64) if a.dtype == jnp.float32 else a for a in draw(rows, 2, 9000)]
        assert rows_at_once(arguments[1]) < rows
        ours, expected = jax.jit(
            lambda *arguments: [jax.value_and_grad(f, (0, 1))(*arguments) for f in (mean_of(reduction), plain)]
        )(*arguments)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-14), ours, expected)


@pytest.mark.cpu
@REDUCTIONS
@pytest.mark.parametrize("way", ["automatic", "shard_map", "explicit"])
def test_blocks_of_rows_that_eight_devices_share(reduction, way):
    """Each device keeps its own rows, 130 of them in five blocks; the gradient is that of one device."""
    arguments = draw(1040, 2, 8)
    step = jax.jit(jax.value_and_grad(mean_of(reduction), (0, 1)))
    expected = step(*arguments)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit if way == "explicit" else AxisType.Auto,))
    shared, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    with jax.set_mesh(mesh):
        if way == "shard_map":

            def of_device(x, kernel, labels):
                loss = lambda x, kernel: jax.lax.pmean(mean_of(reduction)(x, kernel, labels), "data")  # noqa: E731
                return jax.value_and_grad(loss, (0, 1))(x, kernel)

            split = P("data")
            step = jax.jit(jax.shard_map(of_device, in_specs=(split, P(), split), out_specs=(P(), (split, P()))))
        program = step.lower(*jax.device_put(arguments, (shared, whole, shared))).compile()
        ours = program(*jax.device_put(arguments, (shared, whole, shared)))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7), ours, expected)
    assert {one.kind for one in collectives_in(program.as_text())} == {"all-reduce"}


@REDUCTIONS
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ignored_rows_are_not_read(reduction, smoothing):
    x, kernel, labels = draw(4, 3, 5)
    options = {"ignore_index": -1, "label_smoothing": smoothing, "reduction": reduction}
    labels, spoilt = labels.at[2].set(-1), x.at[2].set(jnp.nan)

    def total(x, kernel):
        return LOSS(x, kernel, labels, **options).sum()

    value, (x_bar, kernel_bar) = jax.value_and_grad(total, (0, 1))(spoilt, kernel)
    assert not x_bar[2].any()
    expected = jax.value_and_grad(total, (0, 1))(x, kernel)
    jax.tree.map(np.testing.assert_array_equal, (value, (x_bar, kernel_bar)), expected)


def test_labels_out_of_range(unchecked_shapes):
    x, kernel, labels = draw(3, 3, 5)
    wrong = labels.at[1].set(5)
    with pytest.raises(ValueError, match=r"linear_softmax_cross_entropy: labels\[1\] \(=5\) must be a class"):
        LOSS(x, kernel, wrong)
    unknown = jax.jit(lambda x, labels: LOSS(x, kernel, labels, ignore_index=-1))
    loss, backward = jax.vjp(lambda x: unknown(x, wrong), x)
    assert jnp.isnan(loss).tolist() == [False, True, False]
    assert jnp.isnan(backward(jnp.ones(3))[0]).any(-1).tolist() == [False, True, False]
    assert not jnp.isnan(backward(jnp.array([1.0, 0, 1]))[0]).any()
    with pytest.raises(TypeError, match="labels of dtype float32 must be integers"):
        LOSS(x, kernel, jnp.ones((3, 5)))


def test_the_mean_is_that_of_mean_loss():
    x, kernel, labels = draw(6, 3, 5)
    options = {"ignore_index": 1, "class_weights": jnp.arange(1.0, 6), "label_smoothing": 0.2, "soft_cap": 3.0}
    labels = labels.at[0].set(1)
    mean = LOSS(x, kernel, labels, reduction="mean", **options)

    def pair(x, labels):
        return LOSS(x, kernel, labels, **options), LOSS.weight(x, kernel, labels, **options)

    np.testing.assert_allclose(fnnet.mean_loss(pair, x, labels), mean, rtol=1e-6)
    assert pair(x, labels)[1][0] == 0
    with pytest.raises(ValueError, match="hides its weights"):
        fnnet.mean_loss(lambda x, labels: pair(x, labels)[0], x, labels)
    no_cap = options | {"soft_cap": None}
    logits = (3 * jnp.tanh(x @ kernel / 3)) @ jnp.eye(5)
    expected = fnnet.softmax_cross_entropy(logits, labels, **{k: v for k, v in no_cap.items() if k != "soft_cap"})
    np.testing.assert_allclose(pair(x, labels)[0], expected, rtol=2e-6)


class NextWord(fnnet.layers.Layer):
    """The mean loss of a text's next words, each from the word before."""

    entries = ("embedding", "kernel")

    def init(self, key, shape, dtype=jnp.float32):
        return {"embedding": jax.random.normal(key, (7, 4)), "kernel": jnp.zeros((4, 7))}

    def apply(self, params, x, *, key=None):
        rows = fnnet.embedding(params["embedding"], x[:-1])
        return LOSS(rows, params["kernel"], x[1:]).mean()


def test_fit_trains_a_network_that_ends_in_its_loss():
    texts = (np.arange(6) + np.arange(24)[:, None]) % 7
    _, history = fnnet.fit(
        NextWord(),
        lambda losses, _: losses,
        optax.sgd(1.0),
        (texts, np.zeros(24, np.int32)),
        key=jax.random.key(0),
        epochs=30,
        batch_size=8,
        progress=False,
    )
    assert history[0]["loss"] > 1 > 0.1 > history[-1]["loss"]
