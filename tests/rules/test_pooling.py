"""Poolings where the contract table does not reach: indices, which have no gradient, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.proofs import own, windows


def test_a_mean_of_no_tap_is_refused(unchecked_shapes):
    with pytest.raises(ValueError, match=r"avg_pool: window \(2, 2\) dilated by \(2, 2\) has no tap in x of shape"):
        fnnet.avg_pool(jnp.ones((1, 4, 1)), 2, padding=1, dilation=2)


def test_a_window_without_a_tap_in_the_image_is_a_mean_of_padding_or_a_sum():
    x, place = jnp.ones((1, 4, 1)), {"window": 2, "padding": 1, "dilation": 2, "stride": 1}
    assert fnnet.avg_pool(x, **place, count_padding=True).tolist() == [[[0.0], [0.0], [0.0], [0.0]]]
    assert fnnet.avg_pool(x, **place, divisor=1).shape == (1, 4, 1)


def first_maxima(x, window, **keywords):
    """The row-major number of the first entry of each window that no other exceeds, window by window."""
    places = windows.axes(x.shape, window, **keywords)
    image = x.shape[-len(places) - 1 : -1]
    numbers = np.arange(np.prod(image)).reshape(image)
    found = np.empty((*x.shape[: -len(image) - 1], *(len(axis.starts) for axis in places), x.shape[-1]), int)
    for place in np.ndindex(found.shape[-len(image) - 1 : -1]):
        at = []
        for axis, o in zip(places, place, strict=True):
            seen = axis.starts[o] + axis.dilation * np.arange(axis.size)
            at.append(seen[(seen >= 0) & (seen < axis.image)])
        values = x[(..., *np.ix_(*at), slice(None))]
        values = values.reshape(*x.shape[: -len(image) - 1], numbers[np.ix_(*at)].size, x.shape[-1])
        found[(..., *place, slice(None))] = numbers[np.ix_(*at)].ravel()[values.argmax(-2)]
    return found


@pytest.mark.parametrize("index", range(16))
def test_indices_are_those_of_the_first_maxima(index):
    case = own()["max_pool"].case(index)  # half of them with many equal values
    x, keywords = case.arrays["x"].astype(np.float32), dict(case.static)
    expected = first_maxima(x, **keywords)
    for times in (1, 48):  # few channels, whose maxima a CPU finds first, and many
        indices = jax.jit(functools.partial(fnnet.max_pool_indices, **keywords))(np.tile(x, times))
        assert indices.dtype == jnp.int32
        np.testing.assert_array_equal(indices, np.tile(expected, times))


def test_the_entries_at_the_indices_are_the_maxima_under_jit_and_vmap():
    x, place = jax.random.normal(jax.random.key(5), (3, 7, 6, 2)), {"window": (6, 6), "stride": 1, "padding": 2}
    y, indices = jax.jit(jax.vmap(lambda x: (fnnet.max_pool(x, **place), fnnet.max_pool_indices(x, **place))))(x)
    taken = jnp.take_along_axis(x.reshape(3, 42, 2), indices.reshape(3, -1, 2), axis=1)
    np.testing.assert_array_equal(taken.reshape(y.shape), y)


def test_indices_of_nan_of_infinity_and_of_padding():
    x = jnp.array([[-jnp.inf, -jnp.inf, 2.0, jnp.nan, 5.0, jnp.nan]])[..., None]
    for channels in (1, 48):
        x_of_all = jnp.tile(x, channels)
        assert fnnet.max_pool_indices(x_of_all, (1, 2)).tolist() == [[[0] * channels, [3] * channels, [5] * channels]]
        padded = fnnet.max_pool_indices(x_of_all[:, :2], (1, 3), padding=((0, 0), (1, 0)))
        assert padded.tolist() == [[[0] * channels]]
    with pytest.raises(ValueError, match=r"max_pool_indices: window \(2, 2\) dilated by \(2, 2\) has no tap in x"):
        fnnet.max_pool_indices(x, 2, padding=1, dilation=2)


@pytest.mark.cpu
def test_the_index_is_computed_once():
    """And kept, one byte an entry; else XLA finds the maxima again for each entry of each window."""

    def both(x, y_bar):
        y, backward = jax.vjp(lambda x: fnnet.max_pool(x, 3), x)
        return y, backward(y_bar)

    x, y_bar = jnp.ones((2, 12, 12, 8)), jnp.ones((2, 4, 4, 8))
    program = jax.jit(both).lower(x, y_bar).compile().as_text()
    written = [line for line in program.splitlines() if " fusion(" in line and "max_pool.forward" in line]
    assert sum("= s8[2,4,4,8]" in line for line in written) == 1


SIDE_BY_SIDE = [((9,), (2,), "SAME"), ((7, 8), (2, 2), "VALID"), ((9, 7), (3, 2), 1), ((4, 5, 6), (2, 2, 2), "SAME")]


@pytest.mark.parametrize(("image", "window", "padding"), SIDE_BY_SIDE, ids=str)
@pytest.mark.parametrize("rule", ["max", "sum"])
def test_windows_side_by_side_with_many_channels(rule, image, window, padding):
    """Gradients are one loop over windows and their taps there; compared with those of XLA's own windows."""
    sizes = (1, *window, 1)
    pads = [(0, 0), *[(1, 1)] * len(image), (0, 0)] if padding == 1 else padding
    start, combine = (-np.inf, jax.lax.max) if rule == "max" else (0.0, jax.lax.add)
    pool = fnnet.max_pool if rule == "max" else functools.partial(fnnet.avg_pool, divisor=1)

    def ours(x):
        return pool(x, window, padding=padding)

    def theirs(x):
        return jax.lax.reduce_window(x, start, combine, sizes, sizes, pads)

    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(1).normal(size=(3, *image, 48)))
        y, pull = jax.vjp(ours, x)
        expected, pull_theirs = jax.vjp(theirs, x)
        y_bar = jnp.asarray(np.random.default_rng(2).normal(size=y.shape))
        np.testing.assert_allclose(y, expected, rtol=1e-12)
        np.testing.assert_array_equal(pull(y_bar)[0], pull_theirs(y_bar)[0])
        lanes = jax.vmap(lambda x, y_bar: jax.vjp(ours, x)[1](y_bar)[0])(x, y_bar)
        np.testing.assert_array_equal(lanes, pull(y_bar)[0])
