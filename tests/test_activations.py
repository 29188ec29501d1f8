"""Activations against plain formulas, differentiated by JAX."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.comparison import compare

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
SMALL = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-6}
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
        assert not compare("f64", name, direct[number], expected[number], 1e-12)
        assert not compare("f64, vmap", name, mapped[number], expected[number], 1e-12)
    for number, name in enumerate(("value", "gradient")):
        assert not compare("f32", name, in_f32[number], expected[number], 2e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@CASES
def test_extreme_arguments_take_their_limits(ours, formula, dtype):
    z = jnp.array([-jnp.inf, -6e4, -1e4, -200, 200, 1e4, 6e4, jnp.inf, jnp.finfo(dtype).max, jnp.finfo(dtype).min], dtype)
    y, pullback = jax.vjp(ours, z)
    slope = pullback(jnp.ones_like(z))[0]
    assert (y.dtype, slope.dtype) == (dtype, dtype)
    rising, squashed = ours(jnp.asarray(200.0, dtype)) > 1, ours is tanh
    name = next(name for name, row in FORMULAS.items() if row[0] is ours)
    low_slope = {"leaky_relu": 0.01, "leaky_relu, slope -0.5": -0.5}.get(name, 0.0)
    low, z = float(-1 if squashed else 0), np.asarray(z, np.float64)
    expected = np.where(z > 0, z if rising else 1.0, np.multiply(low_slope, z) if low_slope else low)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=SMALL[dtype.__name__])
    slopes = np.where(z > 0, float(rising), low_slope)
    np.testing.assert_allclose(np.asarray(slope, np.float64), slopes, rtol=SMALL[dtype.__name__], atol=1e-30)


@CASES
def test_sixteen_bits_are_rounded_once_or_twice(ours, formula):
    """bf16 within 3 units in the last place of the formula, in the sense of entry plus rms."""
    z, y_bar = draws((64,), 2.0, 1.0)
    z, y_bar = z.astype(jnp.bfloat16), y_bar.astype(jnp.bfloat16)
    y, pullback = jax.vjp(ours, z)
    expected, expected_pullback = jax.vjp(formula, z.astype(jnp.float32))
    assert not compare("bf16", "value", y.astype(jnp.float32), expected, 0.012)
    bars = pullback(y_bar)[0], expected_pullback(y_bar.astype(jnp.float32))[0]
    assert not compare("bf16", "gradient", bars[0].astype(jnp.float32), bars[1], 0.012)


@pytest.mark.parametrize(("f", "slope"), [(relu, 0.0), (leaky_relu, 0.01)])
def test_slope_at_zero(f, slope):
    zeros = jnp.array([0.0, -0.0])
    np.testing.assert_allclose(jax.vjp(f, zeros)[1](jnp.array([2.0, -3.0]))[0], [2 * slope, -3 * slope])

    def weight_gradient(z):  # of a layer after f: it is f(z) itself, so that the outer gradient goes through the forward
        return jax.grad(lambda z, w: (f(z) * w).sum(), argnums=(0, 1))(z, jnp.ones(2))[1].sum()

    np.testing.assert_allclose(jax.grad(weight_gradient)(zeros), [slope, slope])


@CASES
def test_nan_stays_nan(ours, formula):
    assert np.isnan(ours(jnp.array([0.0, jnp.nan]))[1])


@pytest.mark.parametrize(("f", "passed"), [(relu, 5.0), (leaky_relu, 0.05)])
def test_gradient_of_nan_is_not_dropped(f, passed):
    np.testing.assert_allclose(jax.vjp(f, jnp.array(jnp.nan))[1](jnp.array(5.0))[0], passed)


@CASES
def test_one_array_is_kept(ours, formula):
    """Of z's size and dtype; beside the output nothing more."""
    z = jnp.ones((7, 3), jnp.bfloat16)
    _, pullback = jax.vjp(jax.jit(ours), z)
    kept = [leaf for leaf in jax.tree.leaves(pullback) if leaf.size > 1]
    assert [(leaf.shape, leaf.dtype) for leaf in kept] == [(z.shape, z.dtype)]


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 0)])
@CASES
def test_scalars_and_empty_arrays(ours, formula, shape):
    assert jax.grad(lambda z: ours(z).sum())(jnp.zeros(shape)).shape == shape


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
