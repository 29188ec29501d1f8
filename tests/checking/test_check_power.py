"""Power: which inputs tell a function's mutants from it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import fnnet
from fnnet.checking.mutation.mutants import mutants, mutations
from fnnet.checking.mutation.power import power
from fnnet.core.jaxprs import flat_jaxpr

A, V = jax.random.normal(jax.random.key(0), (3, 3)), jnp.array([0.5, -1.5, 2.0])


def gradient_of_relu(x, y_bar):
    return [jnp.where(x > 0, y_bar, 0.0)]


def bias_gradient(y_bar):
    return [y_bar.sum(0)]


def flipped(kernel, y_bar):
    return [jnp.convolve(y_bar, kernel, mode="full")]


def gradient_of_abs(x, y_bar):
    return [y_bar * jnp.sqrt(jnp.abs(x))]


def embedding_gradient(indices, y_bar):
    return [jnp.zeros(3).at[indices].add(y_bar)]


def softmax_gradient(z, p_bar):
    p = jnp.exp(z - z.max())
    p = p / p.sum()
    return [p * (p_bar - p_bar @ p)]


def branching(x, y_bar):
    return [lax.cond(x.sum() > 0, lambda g: -g, lambda g: 2.0 * g, y_bar)]


BLIND = [
    (gradient_of_relu, "gt: made ge", (V, V), (jnp.array([0.0, 1.0, -1.0]), V), "ties and zeros would show it"),
    (bias_gradient, "reduce_sum: made a mean", (A[:1],), (A,), "other shapes could show it"),
    (flipped, "rev: dropped", (jnp.array([1.0, 2.0, 1.0]), V), (V, V), "Gaussian values would show it"),
    (gradient_of_abs, "abs: dropped", (jnp.abs(V), V), (V, V), None),
    (
        embedding_gradient,
        "scatter-add: made scatter, without add",
        (jnp.array([2, 0, 1]), V),
        (jnp.array([2, 0, 2]), V),
        "other whole numbers would show it",
    ),
    (softmax_gradient, "sub: made add", (V, V), (100 * V, V), "values whose exp overflows would show it"),
    (
        branching,
        "cond, branch 1 of cond: neg: dropped",
        (-(A[0] ** 2), V),
        (A[0] ** 2, V),
        "Gaussian values would show it",
    ),
]


@pytest.mark.parametrize(("pull", "key", "blind", "seeing", "hint"), BLIND, ids=[row[0].__name__ for row in BLIND])
def test_a_mutant_that_some_inputs_cannot_see(pull, key, blind, seeing, hint):
    report = power(pull, [blind])
    assert not any(name.startswith(key) for name in report.killed)
    if hint is None:
        return
    assert any(s.mutant.startswith(key) and s.seen_with.startswith(hint) for s in report.survived), str(report)
    assert f"not seen: {key}" in str(report)
    assert report.score < 1
    assert any(name.startswith(key) for name in power(pull, [seeing]).killed)
    assert any(name.startswith(key) for name in power(pull, [blind, seeing]).killed) or hint.startswith("other shapes")


@pytest.mark.usefixtures("x64")
def test_double_precision():
    wide = np.array(V, np.float64)
    report = power(softmax_gradient, [(wide, wide)])
    assert len(report.survived) == 3, str(report)
    assert "float64" in report.killed[0]
    assert mutants(softmax_gradient, wide, wide)[0].function(wide, wide)[0].dtype == jnp.float64


def test_what_changes_nothing_is_no_weakness():
    report = power(lambda x, g: [g * jnp.abs(-x)], [(V, V)])
    assert [name.split(" (")[0] for name in report.equivalent] == ["neg: dropped"]
    assert not report.survived
    assert report.score == 1
    assert "1 more change nothing" in str(report)
    # The axis of one entry is the backward's own, not the data's.
    own = power(lambda g: [g[None].sum(0)], [(V,)])
    assert [name.split(" (")[0] for name in own.equivalent] == ["reduce_sum: made a mean"]


def test_the_comparison_decides():
    pull, inputs = gradient_of_relu, [(V, V), (V, -V)]
    seen = []

    def lenient(n, bars):
        seen.append(n)
        return bool(np.isfinite(bars[0]).all())

    report = power(pull, inputs, lenient)
    assert not report.killed
    assert {"a closer comparison would show it", "ties and zeros would show it"} == {
        s.seen_with for s in report.survived
    }
    assert set(seen) == {0, 1}
    with pytest.raises(ValueError, match=r"compare rejects the cotangents of pull at inputs\[0\]"):
        power(pull, inputs, lambda n, bars: False)
    with pytest.raises(ValueError, match="inputs is empty"):
        power(pull, [])


def test_conv_and_its_random_inputs():
    x, k, y = (
        jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(2, 5, 5, 2), (3, 3, 2, 4), (2, 5, 5, 4)])
    )
    report = power(lambda x, k, y: jax.vjp(fnnet.conv, x, k)[1](y), [(x, k, y), (x, k, -2 * y)])
    assert report.score == 1, str(report)
    assert len(report.killed) > 25


def test_to_rerun_is_to_replace_and_run():
    program = flat_jaxpr(softmax_gradient, V, V[::-1])
    values = program.values(V, V[::-1])
    for mutation in mutations(program):
        (expected,) = program.replaced(mutation.number, mutation.run)(V, V[::-1])
        outs = program.rerun(values, mutation.number, mutation.run)
        np.testing.assert_array_equal(expected if outs is None else outs[0], expected)
    assert program.rerun(values, 0, program.operations[0].run) is None


def test_whole_numbers_have_no_cotangent():
    report = power(jax.vjp(lambda x, i: x[i], V, jnp.array([1, 1]))[1], [(V[:2],)])
    assert report.killed
    assert not report.survived


def test_most():
    report = power(gradient_of_relu, [(V, V)], most=2)
    assert len(report.killed) + len(report.survived) + len(report.equivalent) == 2
    assert report.untried == len(mutants(gradient_of_relu, V, V)) - 2
    assert f"{report.untried} more were not tried" in str(report)
    assert json.loads(json.dumps(dataclasses.asdict(report)))["untried"] == report.untried
