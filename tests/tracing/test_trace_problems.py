"""`Trace.first_problem`: ten planted troubles, each named; and silence over healthy networks."""

import functools

import jax
import numpy as np
import optax
import pytest

import fnnet
from tracing.troubles import PLANTED, VARIANTS

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in VARIANTS else []) for n in PLANTED])
def test_a_planted_trouble_is_named(name):
    planted = PLANTED[name]
    args, keywords = planted.make()
    problem = fnnet.trace(*args, **keywords).first_problem()
    assert problem is not None
    assert problem.kind == planted.kind, problem
    assert planted.words in str(problem)
    assert str(problem).startswith(f"{problem.layer}: ")
    if planted.layer:
        assert problem.layer == planted.layer, problem


@functools.cache
def digits():
    xs, ys = fnnet.data.digits().train
    return np.asarray(xs), np.asarray(ys)


def healthy(seed):
    """A small network of the usual kinds, its optimiser, and a batch of real digits; untrained, or after some steps."""
    d, r = fnnet.Dense, fnnet.relu
    block = fnnet.Residual(d(24), fnnet.silu, d(24))
    nets = (
        (fnnet.Sequential(fnnet.Conv(8, 3), r, fnnet.MaxPool(2), fnnet.Flatten(), d(10)), optax.adamw(2e-3)),
        (fnnet.Sequential(fnnet.Flatten(), d(32), fnnet.tanh, d(16), fnnet.sigmoid, d(10)), optax.sgd(0.1)),
        (fnnet.Sequential(fnnet.Flatten(), d(32), r, d(10)), optax.adam(1e-3)),
        (fnnet.Sequential(fnnet.Flatten(), d(24), fnnet.gelu, block, d(10)), optax.sgd(0.03, momentum=0.9)),
    )  # fmt: skip
    net, optimizer = nets[seed % 4]
    xs, ys = digits()
    rows = np.random.default_rng(seed).choice(len(xs), 256, replace=False)
    params = net.init(jax.random.key(seed), xs.shape[1:])
    if seed % 2 == seed // 4 % 2:
        data = xs[rows], ys[rows]
        params, _ = fnnet.fit(
            net, fnnet.softmax_cross_entropy, optimizer, data, params=params, key=jax.random.key(seed), epochs=5,
            batch_size=32, progress=False,
        )  # fmt: skip
    return net, params, xs[rows[:32]], ys[rows[:32]], optimizer


def problem_of(seed):
    net, params, xs, ys, optimizer = healthy(seed)
    return fnnet.trace(net, fnnet.softmax_cross_entropy, params, xs, ys, optimizer=optimizer).first_problem()


@pytest.mark.parametrize("seed", [pytest.param(s, marks=[pytest.mark.slow] if s != 1 else []) for s in range(24)])
def test_a_healthy_network_has_none(seed):
    assert problem_of(seed) is None
