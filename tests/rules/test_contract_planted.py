"""The contract itself: each of its checks finds the error that is planted for it, and finds nothing in a right rule."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import fnnet
from fnnet.checking import contract
from fnnet.proofs import Configuration, own
from fnnet.rules import convolution as conv_page
from fnnet.rules import max_pooling as max_pool_page


def dense_with(backward, forward=None, batched=("x",)):
    """The proof of dense with this backward, of (x, kernel, y_bar), and maybe another forward."""

    def dense_fwd(x, kernel, bias=None):
        y = (forward or jnp.matmul)(x, kernel)
        return (y if bias is None else y + bias), (x, kernel)

    def dense_bwd(residuals, y_bar):
        return backward(*residuals, y_bar)

    return dataclasses.replace(own()["dense"], function=fnnet.rule(dense_fwd, dense_bwd, batched=batched))


def right(x, kernel, y_bar):
    return y_bar @ kernel.T, jnp.einsum("...i,...o->io", x, y_bar), y_bar.sum(tuple(range(y_bar.ndim - 1)))


def changed(by_x=lambda bar, x: bar, by_kernel=lambda bar, x: bar, by_bias=lambda bar, x: bar):
    def backward(x, kernel, y_bar):
        x_bar, kernel_bar, bias_bar = right(x, kernel, y_bar)
        return by_x(x_bar, x), by_kernel(kernel_bar, x), by_bias(bias_bar, x)

    return backward


def in_single_precision(x, kernel):
    return (x.astype("float32") @ kernel.astype("float32")).astype(x.dtype)


def some_findings(check, proof, cases=range(3)):
    return [finding for index in cases for finding in check(proof.case(index))]


VALUES = contract.values_and_gradients
PLANTED = {
    "right": (VALUES, right, ""),
    "right, mapped": (contract.mapped, right, ""),
    "right, second order": (contract.second_order, right, ""),
    "sign": (VALUES, changed(by_x=lambda bar, x: -bar), "gradient of x"),
    "a tenth too much": (
        VALUES,
        changed(by_kernel=lambda bar, x: 1.1 * bar),
        "gradient of kernel",
    ),
    "mean for sum": (
        VALUES,
        changed(by_kernel=lambda bar, x: bar * (x.shape[-1] / max(x.size, 1))),
        "gradient of kernel",
    ),
    "one entry": (
        VALUES,
        changed(by_kernel=lambda bar, x: bar.at[0, 0].set(0)),
        "gradient of kernel",
    ),
    "a hundred millionth": (VALUES, changed(by_x=lambda bar, x: bar * (1 + 1e-8)), "in float64"),
    "another example's": (
        VALUES,
        changed(by_x=lambda bar, x: jnp.roll(bar, 1, 0)),
        "gradient of x",
    ),
    "an axis counted from the front": (contract.mapped, changed(by_x=lambda bar, x: jnp.flip(bar, 0)), "V vmap: x"),
    "a constant": (
        contract.second_order,
        changed(by_kernel=lambda bar, x: bar + lax.stop_gradient(x).sum() - x.sum()),
        "2 second order: x",
    ),
}


@pytest.mark.parametrize(("check", "backward", "told"), list(PLANTED.values()), ids=list(PLANTED))
def test_a_planted_backward(check, backward, told):
    proof = dense_with(backward)
    each = (check(proof.case(number)) for number in range(2))
    if not told:
        assert not any(each)
    else:  # up to the first case that shows it
        assert any(told in finding for findings in each for finding in findings)


def test_a_forward_in_single_precision():
    findings = some_findings(VALUES, dense_with(right, forward=in_single_precision))
    assert {finding.split(":")[0] for finding in findings} == {"value in float64"}


def test_a_forward_of_another_dtype():
    def wide_fwd(x, kernel, bias=None):
        return jnp.matmul(x, kernel).astype("float32"), (x, kernel)

    def wide_bwd(residuals, y_bar):
        return (*(bar.astype(residuals[0].dtype) for bar in right(*residuals, y_bar.astype(residuals[0].dtype))),)

    proof = dataclasses.replace(own()["dense"], function=fnnet.rule(wide_fwd, wide_bwd, batched=("x",)))
    told = {finding.split(",")[0] for finding in contract.structure(proof.case(0))}
    assert told == {"the value in float64", "the value in bfloat16"}


def fresh(name):
    """The proof again: programs are kept by proof, and those of a planted error must be nobody else's."""
    return dataclasses.replace(own()[name])


def test_convolution_that_forgets_to_flip(monkeypatch):
    def unflipped(kernel, y_bar, **static):
        return conv_page.x_gradient(jnp.flip(kernel, range(kernel.ndim - 2)), y_bar, **static)

    monkeypatch.setitem(conv_page.form.derivatives, "x_bar", unflipped)
    told = {finding.split(":")[0] for finding in some_findings(VALUES, fresh("conv"))}
    assert told == {"gradient of x in float64", "gradient of x in float32"}


def test_max_pooling_that_takes_the_last_of_equals():
    def last_of_equals(x, window, *, stride, padding):
        """Along one axis, where the windows cover the whole image: the mirror image of the first of equals."""
        return jnp.flip(fnnet.max_pool(jnp.flip(x, -2), window, stride=stride, padding=padding), -2)

    def x_of(rng):
        return {"x": rng.integers(0, 2, (3, 9, 2)).astype(float)}

    drawn = Configuration(x_of, {"window": (3,), "stride": 2, "padding": "VALID"})
    proof = dataclasses.replace(own()["max_pool"], sample=lambda rng: drawn)
    assert VALUES(proof.case(0)) == []
    wrong = dataclasses.replace(proof, function=last_of_equals)
    assert {finding.split(":")[0] for finding in VALUES(wrong.case(0))} == {
        "gradient of x in float64",
        "gradient of x in float32",
    }


def test_max_pooling_that_routes_to_the_wrong_tap(monkeypatch):
    def to_the_first_tap(y_bar, k, **static):
        return max_pool_page.routed(y_bar, jnp.zeros_like(k), **static)

    monkeypatch.setitem(max_pool_page.form.derivatives, "x_bar", to_the_first_tap)
    assert some_findings(VALUES, fresh("max_pool"))


def test_a_wrong_second_derivative_shows_in_the_hessian(monkeypatch):
    def detached(kernel, y_bar, **static):
        return conv_page.x_gradient(lax.stop_gradient(kernel), 2 * y_bar, **static)

    monkeypatch.setitem(conv_page.form.derivatives, "x_bar", detached)
    assert contract.hessians(fresh("conv").tiny_case())


def test_comparison():
    exact = np.array([1.0, -2.0, 0.0])
    assert contract.compare("w", exact, exact, 0.0) == []
    assert contract.compare("w", exact * (1 + 5e-13), exact, 1e-12) == []
    (finding,) = contract.compare("gradient of x", exact + np.array([0, 1e-3, 0]), exact, 1e-12)
    assert "gradient of x: 1 of 3 entries differ; the worst at (1,)" in str(finding)
    assert contract.compare("w", [0.0, 0.0], [0.0, 1e-30], 1e-12)  # small is not zero
    assert contract.compare("w", [np.inf, np.nan], [np.inf, np.nan], 1e-12) == []
    for wrong in ([np.nan, 1.0], [np.inf, 1.0], [1.0, -np.inf]):
        assert contract.compare("w", wrong, [1.0, 1.0], 1e-12)
        assert contract.compare("w", [1.0, 1.0], wrong, 1e-12)
    assert contract.compare("w", np.ones(3), np.ones((3, 1)), 1.0)
    assert contract.compare("w", np.ones((0, 3)), np.ones((0, 3)), 0.0) == []
    # The size of an array does not help: one wrong entry in a million is seen.
    many = np.random.default_rng(0).normal(size=10**6)
    assert contract.compare("w", np.where(np.arange(10**6) == 7, 1.5 * many, many), many, 1e-12)


def test_cases_are_the_same_every_time():
    for proof in own().values():
        one, two = proof.case(3), proof.case(3)
        assert str(one) == str(two)
        assert jax.tree.all(jax.tree.map(np.array_equal, one.arrays, two.arrays))
