"""Activations against plain formulas, differentiated by JAX."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.checking.contract import compare
from fnnet.rules.activations import gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh

FORMULAS = {
    "relu": (relu, lambda z: jnp.where(z > 0, z, 0)),
    "leaky_relu": (leaky_relu, lambda z: jnp.where(z > 0, z, 0.01 * z)),
    "leaky_relu, slope -0.5": (
        functools.partial(leaky_relu, slope=-0.5),
        lambda z: jnp.where(z > 0, z, -0.5 * z),
    ),
    "sigmoid": (sigmoid, lambda z: 1 / (1 + jnp.exp(-z))),
    "tanh": (tanh, lambda z: (jnp.exp(z) - jnp.exp(-z)) / (jnp.exp(z) + jnp.exp(-z))),
    "softplus": (softplus, lambda z: jnp.log1p(jnp.exp(z))),
    "silu": (silu, lambda z: z / (1 + jnp.exp(-z))),
    "gelu": (gelu, lambda z: z / 2 * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))),
    "gelu, exact": (
        functools.partial(gelu, approximate=False),
        lambda z: z / 2 * (1 + jax.lax.erf(z / math.sqrt(2))),
    ),
}
SHORT = (jnp.float16, jnp.bfloat16, jnp.float32)
CASES = pytest.mark.parametrize(("ours", "formula"), FORMULAS.values(), ids=FORMULAS.keys())


def derivatives(f, z, y_bar, v):
    """Value, gradient, its derivatives by z and by the cotangent, and the same by forward mode."""

    def gradient(z, y_bar):
        return jax.vjp(f, z)[1](y_bar)[0]

    bars = jax.vjp(gradient, z, y_bar)[1](v)
    return f(z), gradient(z, y_bar), *bars, jax.jvp(lambda z: gradient(z, y_bar), (z,), (v,))[1]


def draws(shape, *scales):
    keys = jax.random.split(jax.random.key(3), len(scales))
    return [scale * jax.random.normal(key, shape) for key, scale in zip(keys, scales, strict=True)]


@CASES
def test_every_derivative_agrees_with_the_formula(x64, ours, formula):
    z, y_bar, v = draws((4, 9), 3.0, 1.0, 1.0)

    @jax.jit
    def run(z, y_bar, v):
        single = [a.astype(jnp.float32) for a in (z, y_bar)]
        return (
            derivatives(ours, z, y_bar, v),
            jax.vmap(functools.partial(derivatives, ours))(z, y_bar, v),
            derivatives(formula, z, y_bar, v),
            (ours(single[0]), jax.vjp(ours, single[0])[1](single[1])[0]),
        )

    direct, mapped, expected, in_f32 = run(z, y_bar, v)
    assert in_f32[1].dtype == jnp.float32
    for number, name in enumerate(("value", "gradient", "second", "by the cotangent", "forward over reverse")):
        assert not compare(f"f64, {name}", direct[number], expected[number], 1e-12)
        assert not compare(f"f64, vmap, {name}", mapped[number], expected[number], 1e-12)
    for number, name in enumerate(("value", "gradient")):
        assert not compare(f"f32, {name}", in_f32[number], expected[number], 2e-5)


@CASES
def test_extreme_arguments_take_their_limits(ours, formula):
    """In every short dtype: the limit of the value, a finite slope, NaN for NaN."""
    falls_to = {tanh: -1.0}.get(ours, 0.0)
    low_slope = {leaky_relu: 0.01, FORMULAS["leaky_relu, slope -0.5"][0]: -0.5}.get(ours, 0.0)
    high_slope = 0.0 if ours in (sigmoid, tanh) else 1.0
    points = [-np.inf, -6e4, -1e4, -200.0, 200.0, 1e4, 6e4, np.inf, np.nan]

    @jax.jit
    def run():
        results = []
        for dtype in SHORT:
            z = jnp.array([*points, jnp.finfo(dtype).min, jnp.finfo(dtype).max], dtype)
            y, pullback = jax.vjp(ours, z)
            results.append((z, y, pullback(jnp.ones_like(z))[0]))
        return results

    for dtype, results in zip(SHORT, run(), strict=True):
        assert all(a.dtype == dtype for a in results)
        z, y, slope = (np.asarray(a, np.float64) for a in results)
        finite = z == z
        assert np.isnan(y[~finite]).all()
        z, y, slope = z[finite], y[finite], slope[finite]
        low = low_slope * z if low_slope else np.full_like(z, falls_to)
        np.testing.assert_allclose(y, np.where(z > 0, z if high_slope else 1.0, low), rtol=0.01)
        np.testing.assert_allclose(slope, np.where(z > 0, high_slope, low_slope), rtol=0.01, atol=1e-30)


@CASES
def test_bf16(ours, formula):
    """Within 0.01 of the value and of the cotangent: a slope found from y has y's rounding."""
    z, y_bar = (a.astype(jnp.bfloat16) for a in draws((64,), 2.0, 1.0))

    @jax.jit
    def run(z, y_bar):
        y, pullback = jax.vjp(ours, z)
        expected, expected_pullback = jax.vjp(formula, z.astype(jnp.float32))
        return y, expected, pullback(y_bar)[0], expected_pullback(y_bar.astype(jnp.float32))[0]

    y, expected, bar, expected_bar = (np.asarray(a, np.float64) for a in run(z, y_bar))
    assert not compare("bf16, value", y, expected, 0.01)
    assert (np.abs(bar - expected_bar) <= 0.01 * (np.abs(expected_bar) + np.abs(np.asarray(y_bar, np.float64)))).all()


@pytest.mark.parametrize(("f", "slope"), [(relu, 0.0), (leaky_relu, 0.01)])
def test_slope_at_zero(f, slope):
    zeros = jnp.array([0.0, -0.0])
    np.testing.assert_allclose(jax.vjp(f, zeros)[1](jnp.array([2.0, -3.0]))[0], [2 * slope, -3 * slope])

    def weight_gradient(
        z,
    ):  # of a layer after f: it is f(z) itself, so that the outer gradient goes through the forward
        return jax.grad(lambda z, w: (f(z) * w).sum(), argnums=(0, 1))(z, jnp.ones(2))[1].sum()

    np.testing.assert_allclose(jax.grad(weight_gradient)(zeros), [slope, slope])


@pytest.mark.parametrize(("f", "passed"), [(relu, 5.0), (leaky_relu, 0.05)])
def test_gradient_of_nan_is_not_dropped(f, passed):
    np.testing.assert_allclose(jax.vjp(f, jnp.array(jnp.nan))[1](jnp.array(5.0))[0], passed)


@CASES
def test_one_array_is_kept(request, ours, formula):
    """Of z's size and dtype, or a comparison; beside the output nothing more."""
    z = jnp.ones((7, 3), jnp.bfloat16)
    _, pullback = jax.vjp(jax.jit(ours), z)
    kept = [leaf for leaf in jax.tree.leaves(pullback) if leaf.size > 1]
    of_two_slopes = "relu" in request.node.callspec.id
    assert [(leaf.shape, leaf.dtype) for leaf in kept] == [(z.shape, jnp.bool_ if of_two_slopes else z.dtype)]


@pytest.mark.cpu
def test_a_comparison_is_kept_in_memory():
    """One byte an entry; else XLA keeps the array for its sign, which before a pooling nothing else reads."""

    def loss(x):
        return (fnnet.max_pool(relu(jnp.cos(x)), 2) ** 2).sum()

    program = jax.jit(jax.grad(loss)).lower(jnp.ones((2, 12, 12, 8))).compile().as_text()
    branches = [line for line in program.splitlines() if " conditional(" in line]
    assert sum("pred[2,12,12,8]" in branch for branch in branches) == 1


@CASES
def test_scalars_and_empty_arrays(ours, formula):
    arrays = [jnp.zeros(shape) for shape in ((), (0, 3), (2, 0))]
    bars = jax.jit(jax.grad(lambda arrays: sum(ours(z).sum() for z in arrays)))(arrays)
    assert [bar.shape for bar in bars] == [z.shape for z in arrays]


@CASES
def test_other_arrays_are_refused(unchecked_shapes, ours, formula):
    for wrong in (jnp.arange(3), jnp.array([True]), jnp.ones(2, jnp.complex64), "z"):
        with pytest.raises(TypeError, match=r"\w+: z .*must"):
            ours(wrong)


def test_wrong_options_are_refused(unchecked_shapes):
    with pytest.raises(TypeError, match=r"gelu: approximate \(='none'\)"):
        gelu(jnp.ones(2), "none")
    with pytest.raises(TypeError, match="leaky_relu: the static argument slope is an array"):
        leaky_relu(jnp.ones(2), jnp.ones(()))
