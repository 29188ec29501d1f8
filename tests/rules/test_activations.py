"""Activations where the contract does not reach: their limits, the slope at 0, NaN, what is kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.rules.activations import gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh

FUNCTIONS = {
    **{f.__name__: f for f in (relu, leaky_relu, sigmoid, tanh, softplus, silu, gelu)},
    "leaky_relu, slope -0.5": functools.partial(leaky_relu, slope=-0.5),
    "gelu, exact": functools.partial(gelu, approximate=False),
}
SHORT = (jnp.float16, jnp.bfloat16, jnp.float32)
CASES = pytest.mark.parametrize("ours", FUNCTIONS.values(), ids=FUNCTIONS)


@CASES
def test_extreme_arguments_take_their_limits(ours):
    """In every short dtype: the limit of the value, a finite slope, NaN for NaN."""
    falls_to = {tanh: -1.0}.get(ours, 0.0)
    low_slope = {leaky_relu: 0.01, FUNCTIONS["leaky_relu, slope -0.5"]: -0.5}.get(ours, 0.0)
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
def test_one_array_is_kept(request, ours):
    """Of z's size and dtype, or a comparison; beside the output nothing more."""
    z = jnp.ones((7, 3), jnp.bfloat16)
    _, pullback = jax.vjp(jax.jit(ours), z)
    kept = [leaf for leaf in jax.tree.leaves(pullback) if leaf.size > 1]
    of_two_slopes = "relu" in request.node.callspec.id
    assert [(leaf.shape, leaf.dtype) for leaf in kept] == [(z.shape, jnp.bool_ if of_two_slopes else z.dtype)]


@pytest.mark.cpu
@pytest.mark.parametrize(("channels", "kept"), [(8, "pred[2,12,96]"), (48, "pred[2,12,12,48]")])
def test_a_comparison_is_kept_in_memory(channels, kept):
    """One byte an entry; else XLA keeps the array for its sign, which before a pooling nothing else reads."""

    def loss(x):
        return (fnnet.max_pool(relu(jnp.cos(x)), 2) ** 2).sum()

    program = jax.jit(jax.grad(loss)).lower(jnp.ones((2, 12, 12, channels))).compile().as_text()
    written = [line for line in program.splitlines() if " fusion(" in line]
    assert any(f"= {kept}" in line for line in written)
