"""The experiment with differential privacy: its samples, its two ways to one step, its accountant."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import private_mnist
import pytest
from private_mnist import UNCOUNTED, Setting

import fnnet

pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_samples_are_of_poisson_and_none_is_cut_off():
    setting = Setting(batch_size=20, examples=400, noise=1.0, max_norm=1.0)
    drawn = [rows[counts] for rows, counts in private_mnist.samples(np.random.default_rng(0), setting, 500)]
    sizes = np.array([len(rows) for rows in drawn])
    assert all(len(np.unique(rows)) == len(rows) for rows in drawn)
    assert abs(sizes.mean() - 20) < 1
    assert abs(sizes.var() - 19) < 4  # 400 q (1 - q)
    often = np.bincount(np.concatenate(drawn), minlength=400)
    assert 5 < often.min() < often.max() < 50  # 25 each on average


def test_both_ways_take_one_step_and_padding_does_not_count():
    net = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(3))
    xs = np.random.default_rng(0).normal(size=(6, 4, 1)).astype(np.float32)
    ys = np.array([0, 1, 2, 0, UNCOUNTED, UNCOUNTED], np.int32)
    params = net.init(jax.random.key(0), (4, 1))
    setting, optimizer = Setting(4, 6, 0.0, 0.5), optax.sgd(1.0)
    after = {
        (way, kept): private_mnist.make_step(way, net, setting, optimizer)(
            (params, optimizer.init(params)), jax.random.key(1), xs[:kept], ys[:kept]
        )[0]["dense_1"]["kernel"]
        for way in private_mnist.WAYS
        for kept in (4, 6)
    }
    first, *others = after.values()
    assert jnp.abs(first - params["dense_1"]["kernel"]).max() > 0.01
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-5, atol=1e-6)


def test_epsilon_is_the_gaussian_mechanism_without_sampling():
    """One step with every example: sensitivity 1 and noise s are (epsilon, delta) by Balle and Wang (2018)."""
    pytest.importorskip("dp_accounting")
    from scipy.stats import norm

    noise, delta = 1.5, 1e-5
    found = private_mnist.epsilon(Setting(10, 10, noise, 1.0), 1, delta)
    at = norm.cdf(1 / (2 * noise) - found * noise) - np.exp(found) * norm.cdf(-1 / (2 * noise) - found * noise)
    assert at == pytest.approx(delta, rel=0.02)
