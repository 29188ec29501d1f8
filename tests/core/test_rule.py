"""`fnnet.rule` under every transformation of JAX, against the same layer left to autodiff.

Each formula below is computed with the dense layer of fnnet and with a reader's own rule for the same layer, once
batched and once without a word on batches, and must be what autodiff makes of a plain product.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sampled import one_in

import fnnet
from fnnet.checking.contract import compare

DEVICES = 8
RNG = np.random.default_rng(0)
W, B, XS = RNG.normal(size=(3, 2)), RNG.normal(size=2), RNG.normal(size=(DEVICES, 3))
WS = np.stack([W, 2 * W])
BARS = RNG.normal(size=(DEVICES, 2))


def affine_fwd(x, params):
    y = x @ params["kernel"]
    return (y if params["bias"] is None else y + params["bias"]), (x, params)


def affine_bwd(residuals, y_bar):
    x, params = residuals
    kernel_bar = jnp.einsum("...i,...o->io", x, y_bar)
    bias_bar = None if params["bias"] is None else y_bar.sum(range(y_bar.ndim - 1))
    return y_bar @ params["kernel"].T, {"kernel": kernel_bar, "bias": bias_bar}


def layer_of(rule):
    return lambda x, kernel, bias=None: rule(x, {"kernel": kernel, "bias": bias})


LAYERS = {
    "dense": fnnet.dense,
    "own rule": layer_of(fnnet.rule(affine_fwd, affine_bwd, batched=("x",))),
    "own rule, example by example": layer_of(fnnet.rule(affine_fwd, affine_bwd)),
}


def plain(x, kernel, bias=None):
    y = jnp.einsum("...i,io->...o", x, kernel)
    return y if bias is None else y + bias


def without_bias(layer):
    """loss(w, x) of one example."""
    return lambda w, x: jnp.sum(jnp.tanh(layer(x, w)) ** 2)


def with_bias(layer):
    """loss((w, b), x) of one example."""
    return lambda wb, x: jnp.sum(jnp.tanh(layer(x, *wb)) ** 2)


def mean(loss):
    """mean(params, xs): over a mini-batch, by vmap."""
    return lambda params, xs: jax.vmap(loss, (None, 0))(params, xs).mean()


FORMULAS = {
    "value": lambda f: f(XS, W, B),
    "value of vmap": lambda f: jax.vmap(f, (0, None, None))(XS, W, B),
    "any leading axes": lambda f: f(XS.reshape(2, 2, 2, 3), W, B),
    "grad": lambda f: jax.grad(without_bias(f), (0, 1))(W, XS[0]),
    "grad of vmap": lambda f: jax.grad(mean(with_bias(f)))((W, B), XS),
    "grad of vmap by inputs too": lambda f: jax.grad(mean(with_bias(f)), (0, 1))((W, B), XS),
    "grad of jit of vmap": lambda f: jax.grad(jax.jit(mean(without_bias(f))))(W, XS),
    "vmap of vmap": lambda f: jax.grad(lambda w: jax.vmap(jax.vmap(lambda x: f(x, w)))(XS.reshape(2, 4, 3)).std())(W),
    "mapped along the last axis": lambda f: jax.grad(lambda w: jax.vmap(without_bias(f), (None, 1))(w, XS.T).sum())(W),
    "vjp of vmap": lambda f: jax.vjp(jax.vmap(f, (0, None, None)), XS, W, B)[1](jnp.asarray(BARS)),
    "vmapped cotangents": lambda f: jax.vmap(jax.vjp(lambda w, b: f(XS[0], w, b), W, B)[1])(BARS),
    "linearised": lambda f: jax.linear_transpose(jax.linearize(lambda w: f(XS, w), W)[1], W)(jnp.asarray(BARS)),
    "per-example gradients": lambda f: jax.vmap(jax.grad(with_bias(f)), (None, 0))((W, B), XS),
    "gradients of many batches": lambda f: jax.vmap(jax.grad(mean(with_bias(f))), (None, 0))((W, B), XS[:, None]),
    "hessian": lambda f: jax.hessian(lambda wb: mean(with_bias(f))(wb, XS))((W, B)),
    "hessian by inputs": lambda f: jax.hessian(lambda x: without_bias(f)(W, x))(XS[0]),
    "per-example hessians": lambda f: jax.vmap(jax.hessian(without_bias(f)), (None, 0))(W, XS),
    "jacrev of jacrev": lambda f: jax.jacrev(jax.jacrev(lambda w: mean(without_bias(f))(w, XS)))(W),
    "Hessian times vector": lambda f: jax.jvp(jax.grad(lambda w: mean(without_bias(f))(w, XS)), (W,), (WS[1],))[1],
    "third order": lambda f: jax.jacrev(jax.hessian(lambda w: mean(without_bias(f))(w, XS)))(W),
    "third order forward": lambda f: jax.jacfwd(jax.hessian(lambda w: without_bias(f)(w, XS[0])))(W),
    "scan": lambda f: jax.grad(
        lambda w: lax.scan(lambda c, x: (jnp.tanh(c + f(x, w)), None), jnp.zeros(2), XS)[0].sum()
    )(W),
    "scan of remat": lambda f: jax.grad(
        lambda w: lax.scan(jax.checkpoint(lambda c, x: (c + without_bias(f)(w, x), None)), 0.0, XS)[0]
    )(W),
    "while loop inside vmap": lambda f: jax.vmap(lambda x: lax.fori_loop(0, 3, lambda _, y: f(f(y, W), W.T), x))(XS),
    "cond": lambda f: jax.vmap(
        jax.grad(lambda x: lax.cond(x[0] > 0, lambda x: f(x, W).std(), lambda x: f(2 * x, W).sum(), x))
    )(XS),
    "remat": lambda f: jax.grad(jax.checkpoint(mean(with_bias(f))))((W, B), XS),
    "remat, products saved": lambda f: jax.grad(
        jax.checkpoint(mean(with_bias(f)), policy=jax.checkpoint_policies.dots_saveable)
    )((W, B), XS),
    "remat of a hessian": lambda f: jax.hessian(jax.checkpoint(lambda w: mean(without_bias(f))(w, XS)))(W),
    "ensemble": lambda f: jax.vmap(jax.grad(mean(without_bias(f))), (0, None))(WS, XS),
    "grad of an ensemble": lambda f: jax.grad(lambda ws: jax.vmap(mean(without_bias(f)), (0, None))(ws, XS).sum())(WS),
    "ensemble, each its own batch": lambda f: jax.grad(
        lambda ws: jax.vmap(mean(without_bias(f)))(ws, XS.reshape(2, 4, 3)).sum()
    )(WS),
    "batch of ensembles": lambda f: jax.grad(
        lambda ws: jax.vmap(lambda x: jax.vmap(without_bias(f), (0, None))(ws, x).sum())(XS).sum()
    )(WS),
    "ensemble by inputs": lambda f: jax.grad(lambda xs: jax.vmap(mean(without_bias(f)), (0, None))(WS, xs).sum())(XS),
    "ensemble of ensembles": lambda f: jax.grad(
        lambda ws: jax.vmap(jax.vmap(mean(without_bias(f)), (0, None)), (0, None))(ws, XS).sum()
    )(np.stack([WS, 3 * WS])),
    "ensemble of biases alone": lambda f: jax.grad(
        lambda bs: jax.vmap(lambda b: mean(with_bias(f))((W, b), XS))(bs).sum()
    )(np.stack([B, 2 * B, 3 * B])),
    "hessians of an ensemble": lambda f: jax.vmap(jax.hessian(mean(without_bias(f))), (0, None))(WS, XS),
    "ensemble in a scan": lambda f: jax.grad(
        lambda ws: lax.scan(lambda c, x: (c + jax.vmap(without_bias(f), (0, None))(ws, x).sum(), None), 0.0, XS)[0]
    )(WS),
}

# Outside jit every operation is a program of its own: a few will do.
EAGER = ("value", "any leading axes", "grad of vmap", "vjp of vmap", "linearised", "per-example gradients", "ensemble")


@pytest.fixture(autouse=True)
def double_precision(x64):
    pass


@functools.cache
def expected_of(formula):
    """Autodiff's answer; set_mesh wants to be outside jit."""
    compiled = formula if formula in SHARDED.values() else jax.jit(formula, static_argnums=0)
    return jax.tree.map(np.asarray, compiled(plain))


def assert_same(formula, ours):
    expected = expected_of(formula)
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert compare("", a, b, 1e-12, rounding=1e-15) == []


@pytest.mark.parametrize("layer", one_in(2, LAYERS.values(), LAYERS))
@pytest.mark.parametrize("formula", list(FORMULAS.values()), ids=list(FORMULAS))
def test_transformations(formula, layer):
    assert_same(formula, jax.jit(lambda: formula(layer))())


@pytest.mark.parametrize("layer", one_in(2, LAYERS.values(), LAYERS))
@pytest.mark.parametrize("name", EAGER)
def test_transformations_outside_jit(name, layer):
    assert_same(FORMULAS[name], FORMULAS[name](layer))


def mesh_of(kind):
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,))


def mapped_over_devices(derivative, loss, params):
    """A derivative of the mean loss, each device having its part of the examples; the checks of shard_map are on."""

    def per_device(params, xs):
        return derivative(lambda params: lax.pmean(mean(loss)(params, xs), "data"))(params)

    mesh = mesh_of(AxisType.Auto)
    return jax.jit(jax.shard_map(per_device, mesh=mesh, in_specs=(P(), P("data")), out_specs=P()))(params, XS)


def own_gradients(loss, params):
    """Gradients that stay on their devices: the parameters are cast to varying by hand, and nothing is summed."""

    def per_device(params, xs):
        mine = jax.tree.map(lambda a: lax.pcast(a, "data", to="varying"), params)
        return jax.tree.map(lambda a: a[None], jax.grad(mean(loss))(mine, xs))

    mesh = mesh_of(AxisType.Auto)
    return jax.shard_map(per_device, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"))(params, XS)


def on_explicit_axes(derivative, params, axis="data"):
    with jax.set_mesh(mesh_of(AxisType.Explicit)):
        return derivative(jax.device_put(params, P()), jax.device_put(XS, P(axis)))


def on_automatic_axes(derivative, params):
    mesh = mesh_of(AxisType.Auto)
    return derivative(
        jax.device_put(params, NamedSharding(mesh, P())), jax.device_put(XS, NamedSharding(mesh, P("data")))
    )


SHARDED = {
    "shard_map": lambda f: mapped_over_devices(jax.grad, without_bias(f), W),
    "shard_map with a bias": lambda f: mapped_over_devices(jax.grad, with_bias(f), (W, B)),
    "shard_map, hessian": lambda f: mapped_over_devices(jax.hessian, with_bias(f), (W, B)),
    "shard_map, gradients by device": lambda f: own_gradients(with_bias(f), (W, B)),
    "automatic axes": lambda f: on_automatic_axes(jax.jit(jax.grad(mean(with_bias(f)))), (W, B)),
    "automatic axes, hessian": lambda f: on_automatic_axes(jax.jit(jax.hessian(mean(without_bias(f)))), W),
    "explicit axes": lambda f: on_explicit_axes(jax.jit(jax.grad(mean(with_bias(f)), (0, 1))), (W, B)),
    "explicit axes, eager": lambda f: on_explicit_axes(jax.grad(mean(with_bias(f))), (W, B)),
    "explicit axes, replicated": lambda f: on_explicit_axes(jax.jit(jax.grad(mean(with_bias(f)))), (W, B), None),
    "explicit axes, per example": lambda f: on_explicit_axes(
        jax.jit(jax.vmap(jax.grad(with_bias(f)), (None, 0))), (W, B)
    ),
}


@pytest.mark.parametrize("layer", one_in(2, LAYERS.values(), LAYERS))
@pytest.mark.parametrize("formula", list(SHARDED.values()), ids=list(SHARDED))
def test_eight_devices(formula, layer):
    assert_same(formula, formula(layer))


def test_forward_mode_is_refused():
    for forward in (lambda f: jax.jvp(f, (W,), (W,)), lambda f: jax.jacfwd(f)(W), lambda f: jax.linearize(f, W)[1](W)):
        with pytest.raises(TypeError, match="forward-mode"):
            forward(lambda w: fnnet.dense(XS, w))
    with pytest.raises(TypeError, match=r"^dense has no forward-mode derivative \(jax.jvp, .* use grad, vjp or jacrev"):
        jax.jacfwd(lambda w: fnnet.dense(XS, w))(W)
