"""Softmax and log-softmax: the whole Jacobian of the source documents, infinite and large logits, what is kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnnet.checking.contract import compare
from fnnet.rules.softmax import log_softmax, softmax

RULES = pytest.mark.parametrize(("ours", "reference"), [(softmax, jax.nn.softmax), (log_softmax, jax.nn.log_softmax)])


def test_backward_is_the_whole_jacobian_of_the_sources(x64):
    z, p_bar = jax.random.normal(jax.random.key(5), (2, 5))
    p = np.exp(z) / np.exp(z).sum()
    jacobian = p[:, None] * (np.eye(5) - p)  # 001 (4): dp_i / dz_k = p_i (delta_ik - p_k)
    (z_bar,) = jax.vjp(softmax, z)[1](p_bar)
    assert not compare("001, softmax", z_bar, jacobian.T @ p_bar, 1e-12)
    assert compare("000, the diagonal alone", z_bar, p * (1 - p) * p_bar, 1e-2)


@RULES
def test_masked_logits(ours, reference):
    z = jnp.array([[1.0, -jnp.inf, 2.0], [-jnp.inf, -jnp.inf, 0.0]])
    y_bar = jnp.array([[0.3, 0.7, -1.0], [0.5, -0.2, 0.1]])
    y, pullback = jax.vjp(ours, z)
    np.testing.assert_allclose(y, reference(z), rtol=1e-6)
    bars = pullback(jnp.where(jnp.isfinite(y), y_bar, 0))[0]
    assert np.isfinite(bars).all()
    assert (bars[jnp.isinf(z)] == 0).all()
    hessian = jax.jit(jax.hessian(lambda z: jnp.sin(jnp.where(jnp.isfinite(z), ours(z), 0)).sum()))(z)
    assert np.isfinite(hessian).all()


@RULES
def test_a_row_without_any_class_is_nan_as_in_jax_nn(ours, reference):
    z = jnp.array([[-jnp.inf, -jnp.inf], [0.0, 0.0], [jnp.inf, 0.0], [jnp.nan, 0.0]])
    np.testing.assert_array_equal(ours(z), reference(z))
    np.testing.assert_array_equal(np.isnan(ours(z)).all(1), [True, False, True, True])


@RULES
def test_large_logits_do_not_overflow(ours, reference):
    large = [[1e4, 9e3, -6e4], [6e4, -6e4, 6e4], [-1e4, -1e4, -1e4]]
    bar = [[1.0, -1.0, 0.5]] * 3

    @functools.partial(jax.jit, static_argnums=0)
    def run(dtype):
        z = jnp.array(large, dtype)
        y, pullback = jax.vjp(ours, z)
        expected, expected_pullback = jax.vjp(reference, z.astype(jnp.float32))
        return y, pullback(jnp.array(bar, dtype))[0], expected, expected_pullback(jnp.array(bar))[0]

    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        y, z_bar, expected, expected_bar = run(dtype)
        assert (y.dtype, z_bar.dtype) == (dtype, dtype)
        beyond = np.abs(expected) > float(jnp.finfo(dtype).max)  # a log-probability below f16's range is -inf, not NaN
        np.testing.assert_allclose(np.asarray(y, np.float32), np.where(beyond, -np.inf, expected), rtol=4e-3, atol=1e-3)
        np.testing.assert_allclose(np.asarray(z_bar, np.float32), expected_bar, rtol=1e-2, atol=2e-3)


@RULES
def test_only_the_output_is_kept(ours, reference):
    y, pullback = jax.vjp(jax.jit(ours), jnp.ones((7, 3), jnp.bfloat16))
    kept = [leaf for leaf in jax.tree.leaves(pullback) if leaf.size > 1]
    assert [(leaf.shape, leaf.dtype) for leaf in kept] == [(y.shape, y.dtype)]
    np.testing.assert_array_equal(kept[0], y)


@RULES
def test_empty_arrays(ours, reference):
    arrays = [jnp.ones((0, 10)), jnp.ones((10, 0))]
    bars = jax.jit(jax.grad(lambda arrays: sum(ours(z).sum() for z in arrays)))(arrays)
    assert [bar.shape for bar in bars] == [(0, 10), (10, 0)]
