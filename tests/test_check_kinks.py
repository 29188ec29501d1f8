"""What is told of a rule at kinks and ties where it agrees with its reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from collection import pooling

import fnnet

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
