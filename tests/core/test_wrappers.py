"""Partials are looked into. What any other wrapper or subclass computes is not guessed from what is inside it."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.core.partials import innermost, is_partial
from fnnet.layers.functions import Function
from fnnet.layers.protocol import text
from fnnet.proofs import reference_of
from fnnet.tracing.rule_pages import page_of_words

KEY = jax.random.key(0)
SLOPED = functools.partial(fnnet.leaky_relu, slope=0.2)
Partial = jax.tree_util.Partial


@functools.wraps(fnnet.leaky_relu)
def wrapper(z, **keywords):
    return 2 * fnnet.leaky_relu(z)


@pytest.mark.parametrize(
    "partial",
    [
        SLOPED,
        Partial(SLOPED),
        Partial(Partial(Partial(fnnet.leaky_relu), slope=0.2)),
        functools.partial(Partial(SLOPED)),
    ],
)
def test_partials_in_partials(partial):
    assert is_partial(partial)
    assert innermost(partial) is fnnet.leaky_relu
    assert Function(partial).kind == "leaky_relu"
    assert "leaky_relu" in text(partial)
    known = reference_of(partial)
    assert known is not None
    assert known(-1.0) == np.float32(-0.2)
    assert initial_scale(partial) == pytest.approx(np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("other", [wrapper, jax.jit(SLOPED), jax.vmap(SLOPED), lambda z: SLOPED(z)])
def test_other_wrappers_are_not_looked_into(other):
    assert not is_partial(other)
    assert innermost(other) is other
    assert reference_of(other) is None
    assert initial_scale(other) == pytest.approx(1, rel=0.02)


def initial_scale(after):
    """What the kernel's standard deviation is multiplied with: sqrt(2) by He, 1 by Glorot where the layer is square."""
    kernel = fnnet.Sequential(fnnet.Dense(400), after).init(KEY, (400,))["dense_0"]["kernel"]
    return float(kernel.std() * np.sqrt(400))


def test_a_function_layer_is_its_function():
    assert initial_scale(Function(fnnet.relu)) == pytest.approx(np.sqrt(2), rel=0.02)


def inner(x):
    """Doubled."""
    return 2 * x


@functools.wraps(inner)
def outer(x):
    return inner(inner(x)) + 1


def test_a_page_shows_no_code_but_that_of_the_layer():
    code = "def inner(x):\n    return 2 * x"
    shown = {function: page_of_words(Function(function)) for function in (inner, functools.partial(inner), outer)}
    assert [page.forward for page in shown.values()] == [code, code, ""]
    assert {page.title for page in shown.values()} == {"Doubled."}
    assert page_of_words(Function(jax.jit(inner))).title == "Doubled."
    assert page_of_words(Function(jax.nn.relu)).title == "Rectified linear unit activation function."


@dataclass(frozen=True, repr=False, init=False)
class Tripled(fnnet.Sequential):
    """A network with an `apply` of its own."""

    def apply(self, params, x, *, key=None):
        return 3 * super().apply(params, x, key=key)


@dataclass(frozen=True, repr=False)
class Twice(fnnet.Dense):
    """A layer with an `apply` of its own."""

    def apply(self, params, x, *, key=None):
        return 2 * super().apply(params, x, key=key)


@pytest.mark.slow
def test_a_trace_runs_the_apply_of_a_subclass():
    net = fnnet.Sequential(Tripled(fnnet.Dense(3), fnnet.tanh), Twice(3))
    params, xs, ys = net.init(KEY, (4,)), jax.random.normal(KEY, (5, 4)), jnp.array([0, 1, 2, 0, 1])

    def mean(params):
        return fnnet.mean_loss(fnnet.softmax_cross_entropy, jax.vmap(net.apply, (None, 0))(params, xs), ys)

    seen = fnnet.trace(net, fnnet.softmax_cross_entropy, params, xs, ys)
    value, bars = jax.value_and_grad(mean)(params)
    assert seen.loss == value
    np.testing.assert_array_equal(
        seen.params_bar["tripled_0"]["dense_0"]["kernel"], bars["tripled_0"]["dense_0"]["kernel"]
    )
    assert [step.name for step in seen.steps] == ["tripled_0", "twice_1", "loss"]
    assert seen.first_problem() is None
    assert seen["twice_1"].outgoing[1].agreement.wrong == 0
    assert "dy[0, 0]/dbias[0] (2)" in str(seen.explain("twice_1", "bias", (0,)))


def test_a_trace_refuses_a_network_with_an_apply_of_its_own():
    net = Tripled(fnnet.Dense(3))
    with pytest.raises(TypeError, match=r"^trace: net .* must be a Sequential or a Residual without an `apply` of its"):
        fnnet.trace(net, fnnet.softmax_cross_entropy, net.init(KEY, (4,)), jnp.ones(4), jnp.array(1))
