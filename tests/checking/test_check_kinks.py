"""What is said of a rule at kinks and ties, of empty arguments, and of gradients that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from collection import pooling
from sampled import one_in

import fnnet
from fnnet import check

X = np.random.default_rng(3).normal(size=(2, 3)).astype(np.float32)


def own_gradient(primal):
    """The function with autodiff's own gradient as its rule: they agree everywhere."""
    f = jax.custom_vjp(primal)
    f.defvjp(lambda x: (primal(x), x), lambda x, y_bar: jax.vjp(primal, x)[1](y_bar))
    return f


SHARED = {
    "the slope from the left": jax.nn.relu,
    "their mean": lambda x: jnp.maximum(x, 0),
    "the slope from the right": lambda x: jnp.where(x >= 0, x, 0),
    "the first of the tied entries takes it all": lambda x: jnp.take_along_axis(x, x.argmax(-1)[..., None], -1),
    "each of the tied entries takes the same": lambda x: x.max(-1),
}


@pytest.mark.parametrize("taken", SHARED)
def test_what_rule_and_reference_do(taken):
    report = fnnet.check(own_gradient(SHARED[taken]), X, checks="E")
    assert report.verdict == "right", report
    assert [line.startswith(f"x: {taken}, as in the reference") for line in report.shared_conventions] == [True]
    assert "at kinks and ties" in str(report)


def test_the_last_of_the_tied():
    def last(x):
        at = x.shape[-1] - 1 - x[..., ::-1].argmax(-1)
        return jnp.take_along_axis(x, at[..., None], -1)

    (line,) = fnnet.check(own_gradient(last), X, checks="E").shared_conventions
    assert "the last of the tied entries takes it all" in line


def test_a_smooth_function_has_none():
    assert fnnet.check(own_gradient(jnp.sin), X, checks="E").shared_conventions == ()


def test_a_convention_that_differs_is_not_told_as_shared():
    (case,) = (case for case in pooling.CASES if case.name == "max-pooling: last maximum")
    report = fnnet.check(case.f, *case.args(), static=case.static, reference=case.reference, checks="E")
    assert report.verdict == "convention differs"
    assert report.shared_conventions == ()


def relu_of_slope_one():
    relu = jax.custom_vjp(jax.nn.relu)  # slope 1 at 0, a valid subgradient
    relu.defvjp(lambda x: (jax.nn.relu(x), x >= 0), lambda m, g: (jnp.where(m, g, 0),))
    return relu


@pytest.mark.parametrize("seed", one_in(3, range(6)))
def test_second_order_knows_a_kink(seed):
    """Case F: by some seeds both zeros are nudged to the side on which the reference's slope does not change."""
    report = check(relu_of_slope_one(), jnp.array([-1.0, 0.0, 2.0, 0.0]), reference=jax.nn.relu, seed=seed)
    assert report.verdict == "convention differs", report
    same = "takes the slope from the left, the reference takes the slope from the left"
    assert not [convention for convention in report.conventions if same in convention]


def sorting(in_order):
    def forward(x):
        places = jnp.argsort(x) if in_order else x.shape[0] - 1 - jnp.argsort(x[::-1])  # equals the other way round
        return x[places], places

    f = jax.custom_vjp(lambda x: jnp.sort(x))
    f.defvjp(forward, lambda places, g: (jnp.zeros_like(g).at[places].set(g),))
    return f


@pytest.mark.parametrize("x", one_in(3, [[1.0, 1.0, 2.0, 1.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0], [0.3, -1.0, 2.0]]))
def test_another_order_of_equal_entries_is_a_convention(x):
    assert check(sorting(True), jnp.array(x), reference=jnp.sort, checks="SPRE").verdict == "right"
    report = check(sorting(False), jnp.array(x), reference=jnp.sort)
    assert report.verdict == "convention differs", report
    assert any("another order of equal entries" in line for line in report.conventions)
    strict = check(sorting(False), jnp.array(x), reference=jnp.sort, ties="reference", checks="RE")
    assert strict.verdict == "wrong", strict


def test_another_order_is_an_error_where_there_is_no_tie():
    def forward(x):
        return (x * jnp.arange(4).astype(x.dtype)).sum()

    f = jax.custom_vjp(forward)
    f.defvjp(lambda x: (forward(x), None), lambda _, g: (g * jnp.arange(4)[::-1].astype(g.dtype),))
    assert check(f, jnp.ones(4), checks="RE").verdict == "wrong"


def test_nothing_to_compare():
    wrong = jax.custom_vjp(lambda x: jnp.sin(x))
    wrong.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (3 * g,))
    report = check(wrong, jnp.zeros((0, 3)), reference=jnp.sin)
    assert report.verdict == "inconclusive", report
    assert "nothing was compared of x: it has no entries" in report.notes
    both = jax.custom_vjp(lambda x, y: (x, y))
    both.defvjp(lambda x, y: ((x, y), None), lambda _, g: g)
    report = check(both, jnp.zeros((0, 3)), jnp.ones(3), checks="SPRF")
    assert report.verdict == "right", report
    assert "nothing was compared of x: it has no entries" in report.notes


def test_a_gradient_that_is_not_finite_where_the_function_is():
    norm = jax.custom_vjp(lambda x: jnp.sqrt((x * x).sum()))
    norm.defvjp(lambda x: (norm(x), x), lambda x, g: (g * x / jnp.sqrt((x * x).sum()),))
    report = check(norm, jnp.zeros(3), checks="SPR")
    assert report.verdict == "right", report
    (note,) = (note for note in report.notes if "the function is finite, its gradient is not" in note)
    assert note.startswith("R reference: x, the example: ")
    assert note.endswith("rule nan, reference nan at [0]")
    assert not any("is not" in note for note in check(norm, jnp.ones(3), checks="SPR").notes)
