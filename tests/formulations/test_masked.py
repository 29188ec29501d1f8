"""ReLU's gradient in the order of memory that a CPU computes it in: the same entries, whatever the shape."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.formulations.branches import KEEPS_BARRIERS

SHAPES = [(5,), (3, 4, 1), (3, 47), (2, 3, 4, 16), (2, 3, 48), (0, 4, 16)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "slope"), [(jnp.float64, 0.25), (jnp.float32, 0), (jnp.bfloat16, 0)])
def test_every_entry_is_chosen_by_its_own_mask(dtype, slope, shape):
    with jax.enable_x64(dtype == jnp.float64):
        z, y_bar = (np.random.default_rng(seed).normal(size=(2, *shape)) for seed in (0, 1))
        y_bar.ravel()[::3], y_bar.ravel()[1::7] = np.inf, np.nan
        z, y_bar = jnp.asarray(z, dtype), jnp.asarray(y_bar, dtype)
        f = functools.partial(fnnet.leaky_relu, slope=slope) if slope else fnnet.relu
        expected = jnp.where(z > 0, y_bar, slope * y_bar if slope else 0).astype(float)

        def pulled(z, y_bar):
            return jax.vjp(f, z)[1](y_bar)[0].astype(float)

        np.testing.assert_array_equal(jax.jit(pulled)(z, y_bar), expected)
        np.testing.assert_array_equal(jax.jit(jax.vmap(pulled, 1, 1))(z, y_bar), expected)
        np.testing.assert_array_equal(pulled(z[0], y_bar[0]), expected[0])


def test_its_second_derivative():
    z, y_bar, direction = (jnp.asarray(np.random.default_rng(seed).normal(size=(2, 3, 16))) for seed in range(3))

    def pulled(y_bar):
        return jax.vjp(fnnet.relu, z)[1](y_bar)[0]

    _, tangent = jax.jvp(pulled, (y_bar,), (direction,))
    np.testing.assert_array_equal(tangent, jnp.where(z > 0, direction, 0))


@pytest.mark.cpu
@pytest.mark.parametrize(("channels", "chosen"), [(16, "f32[4,8,128]"), (47, "f32[4,8,376]"), (48, "f32[4,8,8,48]")])
def test_few_channels_are_chosen_row_by_row(channels, chosen):
    """A loop over 47 channels or fewer would be unrolled, and jump at each entry."""
    z = y_bar = jnp.ones((4, 8, 8, channels))
    program = jax.jit(lambda z, y_bar: jax.vjp(fnnet.relu, z)[1](y_bar)).lower(z, y_bar).compile().as_text()
    (line,) = [line for line in program.splitlines() if " select(" in line]
    assert f"= {chosen}" in line


@pytest.mark.cpu
@pytest.mark.skipif(not KEEPS_BARRIERS, reason="before jax 0.12 XLA forgets the barrier")
@pytest.mark.parametrize("f", [fnnet.relu, fnnet.leaky_relu])
def test_what_it_is_computed_from_is_computed_once(f):
    """XLA would add up the blocks before once more for each mask and each output: 1 + 2 + 3 + 4 sums, twice."""

    def blocks(x, residuals):
        outputs = []
        for residual in residuals:
            x = f(x + residual)
            outputs.append(fnnet.max_pool(x, 2))
        return outputs

    def gradients(x, residuals):
        y, pulled = jax.vjp(blocks, x, residuals)
        return pulled(y)

    x = jnp.ones((2, 8, 8, 16))
    program = jax.jit(gradients).lower(x, [x] * 4).compile().as_text()
    forward = [line for line in program.splitlines() if " add(" in line and "transpose(" not in line]
    assert len(forward) == 4


@pytest.mark.cpu
@pytest.mark.skipif(not KEEPS_BARRIERS, reason="before jax 0.12 XLA forgets the barrier")
def test_what_is_chosen_from_keeps_its_own_order():
    """Row by row, XLA would divide to find the place of each entry of a padded array."""

    def pulled(z, y_bar):
        return jax.vjp(fnnet.relu, z)[1](jnp.pad(y_bar, ((0, 0), (1, 1), (1, 1), (0, 0))) + 1)

    program = jax.jit(pulled).lower(jnp.ones((4, 8, 8, 16)), jnp.ones((4, 6, 6, 16))).compile().as_text()
    (padded,) = [line for line in program.splitlines() if " fusion(" in line and "jit(pulled)/add" in line]
    assert "= f32[4,8,8,16]" in padded
