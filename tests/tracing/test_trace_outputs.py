"""`Trace.explain` of an entry of a layer's output: a sum over the input, or slopes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from tracing.networks import seen

pytestmark = pytest.mark.usefixtures("standard_promotion")

SUMS = {"relu_0", "residual_1/conv_0", "residual_1/relu_1", "residual_1/shortcut", "max_pool_2", "flatten_3"}
SUMS |= {"dropout_4", "dense_5"}


def entry_of(array, index):
    return array[tuple(index)]


@functools.cache
def text():
    """Words, so that the first x are integers; then layers that are no sum, and a BatchNorm with its stored numbers."""
    net = fnnet.Sequential(fnnet.Embedding(5, 4), fnnet.Attention(2), fnnet.BatchNorm(), fnnet.sigmoid, fnnet.Dense(3))
    params = net.init(jax.random.key(0), (4,))
    stored = {"mean": jnp.array([0.5, 0.0, -1.0, 2.0]), "variance": jnp.array([1.0, 4.0, 0.25, 2.0])}
    params = params | {"batch_norm_2": params["batch_norm_2"] | stored}
    x, y = jnp.array([[0, 3, 1, 3], [4, 4, 2, 0]]), jnp.array([[0, 1, 2, 0], [2, 2, 1, 0]])
    with jax.numpy_dtype_promotion("standard"):
        return fnnet.trace(net, lambda z, y: fnnet.softmax_cross_entropy(z, y).mean(-1), params, x, y)


def test_outputs_of_affine_layers_are_sums():
    rng, named = np.random.default_rng(5), 0
    for step in seen():
        if step.is_nested or step.name == "loss":
            continue
        for _ in range(3):
            index = [int(rng.integers(n)) for n in step.value.shape]
            found = seen().explain(step.name, "y", index, most=10_000)
            assert found.is_sum == (step.name in SUMS)
            assert found.value == entry_of(step.value.array, index)
            assert found.total == pytest.approx(found.value, rel=1e-5, abs=1e-6)
            assert sum(term.product for term in found.terms) + found.rest == pytest.approx(found.total, abs=1e-12)
            assert found.count == len(found.terms)
            for term in found.terms:
                assert term.value == entry_of(step.inputs.array, term.index)
                if term.name:
                    of, at = term.name.rstrip("]").split("[")
                    weight = entry_of(step.cotangent(of).value.array, map(int, at.split(",")))
                    assert weight == pytest.approx(term.slope)
                    named += 1
    assert named > 20


def test_the_words_of_a_sum_and_its_bias():
    net = fnnet.Sequential(fnnet.Dense(1), fnnet.relu)
    params = {"dense_0": {"kernel": jnp.array([[-3.0], [-1.0], [2.0]]), "bias": jnp.array([1.0])}}
    neuron = fnnet.trace(net, lambda y, _: y[..., 0], params, jnp.array([1.0, -2.0, 3.0]), 0.0)
    assert str(neuron.explain("dense_0", "y", (-1,), most=2)).splitlines() == [
        "dense_0: y[0] = 6, the sum of 3 products and bias",
        "  +6 = x[2] (3) * kernel[2, 0] (2)",
        "  -3 = x[0] (1) * kernel[0, 0] (-3)",
        "  +2 = the other 1",
        "  +1 = bias[0]",
        "  +6 in all",
    ]
    assert str(neuron.explain("relu_1", "y", (0,))).splitlines()[:2] == [
        "relu_1: y[0] = 6, one product",
        "  +6 = x[0] (6) * dy[0]/dx[0] (1)",
    ]
    assert str(neuron.explain("loss", "y", ())).startswith("loss: loss = 6, one product\n  +6 = outputs[0] (6) *")


def test_an_embeddings_output_is_an_entry_of_its_table():
    found = text().explain("embedding_0", "y", (1, 2, 3))
    (term,) = found.terms
    assert found.is_sum
    assert (term.of, term.index, term.slope) == ("embedding", (2, 3), 1)
    assert found.total == pytest.approx(found.value)


def test_what_is_added_without_a_bias_is_said():
    """Stored statistics make BatchNorm affine; what it gives for an input of 0 is no entry of a parameter."""
    found = text().explain("batch_norm_2", "y", (0, 1, 3))
    assert found.is_sum
    assert found.constant is None
    assert found.rest == pytest.approx(-2 / np.sqrt(2 + 1e-5))
    assert f"  {found.rest:+.7g} = y[0, 1, 3] where the input is 0" in str(found).splitlines()


def test_other_layers_list_slopes():
    found = text().explain("sigmoid_3", "y", (0, 1, 2))
    (term,) = found.terms
    assert not found.is_sum
    assert np.isnan(found.total)
    assert term.slope == pytest.approx(found.value * (1 - found.value))
    assert str(found).splitlines()[0] == f"sigmoid_3: y[0, 1, 2] = {found.value:.7g}, no sum over its input; one slope"

    step = text()["attention_1"]
    found = text().explain("attention_1", "y", (1, 2, 3), most=3)
    params = {one.of: jnp.asarray(one.value.array) for one in step.parameters}
    expected = jax.grad(lambda x: step.layer.apply(params, x)[2, 3])(jnp.asarray(step.inputs.array[1]))
    largest = np.sort(np.abs(np.asarray(expected)).ravel())[::-1][:3]
    np.testing.assert_allclose([abs(term.slope) for term in found.terms], largest, rtol=1e-4)
    assert found.count == 16
    assert str(found).splitlines()[-1] == "  and 13 smaller"


def test_bad_entries():
    with pytest.raises(ValueError, match=r"explain: index \(4,\) must be an entry of y, of shape \(3, 3\)"):
        seen().explain("dense_5", "y", (4,))


@pytest.mark.parametrize("shortcut", [None, fnnet.Dense(4)])
def test_a_container_is_the_sum_of_its_parts(shortcut):
    block = fnnet.Residual(fnnet.Residual(fnnet.Dense(4), fnnet.tanh), fnnet.tanh, shortcut=shortcut)
    net = fnnet.Sequential(block, fnnet.Dense(5))
    seen = fnnet.trace(net, fnnet.softmax_cross_entropy, net.init(jax.random.key(0), (4,)), jnp.arange(4.0), 2)
    for name in ("residual_0", "residual_0/residual_0"):
        for of in ("y", "x"):
            found = seen.explain(name, of, (-1,))
            assert found.index == (3,)
            assert len(found.terms) == 2
            assert found.total == pytest.approx(found.value, rel=1e-5)
    last = ("the example", "x") if shortcut is None else ("residual_0/shortcut", "y")
    assert [term[:2] for term in seen.explain("residual_0", "y", (0,)).terms] == [("residual_0/tanh_1", "y"), last]
    lines = str(seen.explain("residual_0/residual_0", "x", (3,))).splitlines()
    assert ", the sum of 2 cotangents" in lines[0]
    assert lines[1].endswith(" = residual_0/residual_0/dense_0: x_bar[3]")
    assert lines[2].endswith(" = residual_0/residual_0: y_bar[3]")


def test_an_array_that_a_container_has_not():
    with pytest.raises(
        ValueError, match="residual_1 is made of layers; explain an entry of residual_1/conv_0, residual"
    ):
        seen().explain("residual_1", "kernel", (0,))
