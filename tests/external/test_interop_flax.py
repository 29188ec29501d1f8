"""Flax models, linen's and NNX's, carried into fnnet: the same outputs and gradients in double precision."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_documents import blocks

import fnnet
from external.carried import findings, normal, pulled
from fnnet import interop

nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
linen = pytest.importorskip("flax.linen", reason="Flax is not installed")

SHAPE = (14, 12, 2)
NET = fnnet.Sequential(
    fnnet.Conv(6, 3),
    fnnet.relu,
    fnnet.MaxPool(2),
    fnnet.Conv(8, (3, 2), padding="VALID", stride=(2, 1), groups=2, bias=False),
    fnnet.gelu,
    fnnet.Flatten(),
    fnnet.Dense(9),
    fnnet.relu,
    fnnet.Dense(4),
)


class Linen(linen.Module):  # type: ignore[name-defined]
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Conv(6, (3, 3), param_dtype=jnp.float64)(x))
        x = linen.max_pool(x, (2, 2), (2, 2))
        x = linen.Conv(
            8, (3, 2), (2, 1), padding="VALID", feature_group_count=2, use_bias=False, param_dtype=jnp.float64
        )(x)
        x = linen.gelu(x).reshape(x.shape[0], -1)
        x = linen.relu(linen.Dense(9, param_dtype=jnp.float64)(x))
        return linen.Dense(4, param_dtype=jnp.float64)(x)


class Nnx(nnx.Module):  # type: ignore[name-defined]
    def __init__(self, rngs):
        wide = {"rngs": rngs, "param_dtype": jnp.float64}
        self.conv1 = nnx.Conv(2, 6, (3, 3), **wide)
        self.conv2 = nnx.Conv(6, 8, (3, 2), (2, 1), padding="VALID", feature_group_count=2, use_bias=False, **wide)
        self.fc1, self.fc2 = nnx.Linear(8 * 3 * 5, 9, **wide), nnx.Linear(9, 4, **wide)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.conv1(x)), (2, 2), (2, 2))
        x = nnx.gelu(self.conv2(x))
        return self.fc2(nnx.relu(self.fc1(x.reshape(x.shape[0], -1))))


def test_linen(x64):
    xs, model = normal(5, *SHAPE), Linen()
    variables = model.init(jax.random.key(0), xs)
    ys, pull = jax.vjp(lambda tree, xs: model.apply({"params": tree}, xs), variables["params"], xs)
    cotangent = normal(*ys.shape)
    tree_bar, xs_bar = pull(cotangent)

    params = interop.from_flax(NET, SHAPE, variables["params"])
    ours = pulled(NET, params, xs, cotangent)
    assert findings(ours, (ys, interop.from_flax(NET, SHAPE, tree_bar), xs_bar)) == []
    back = interop.to_flax(NET, SHAPE, params, variables["params"])
    assert jax.tree.all(jax.tree.map(np.array_equal, back, variables["params"]))


def test_nnx(x64):
    xs, model = normal(5, *SHAPE), Nnx(nnx.Rngs(0))
    cotangent = normal(5, 4)
    ys = model(xs)
    state_bar = nnx.grad(lambda model: jnp.vdot(cotangent, model(xs)))(model)
    xs_bar = jax.grad(lambda xs: jnp.vdot(cotangent, model(xs)))(xs)

    params = interop.from_flax(NET, SHAPE, nnx.state(model, nnx.Param))
    assert jax.tree.structure(params) == jax.tree.structure(NET.init(jax.random.key(0), SHAPE))
    ours = pulled(NET, params, xs, cotangent)
    assert findings(ours, (ys, interop.from_flax(NET, SHAPE, state_bar), xs_bar)) == []
    pure = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert jax.tree.all(jax.tree.map(np.array_equal, params, interop.from_flax(NET, SHAPE, pure)))


class Norms(linen.Module):  # type: ignore[name-defined]
    @linen.compact
    def __call__(self, x):
        wide = {"param_dtype": jnp.float64, "force_float32_reductions": False}  # it promotes implicitly
        x = linen.GroupNorm(2, epsilon=1e-5, use_fast_variance=False, name="group", **wide)(x)
        x = linen.LayerNorm(use_fast_variance=False, name="layer", **wide)(x.reshape(x.shape[0], -1))
        x = linen.relu(linen.Dense(5, name="fc", param_dtype=jnp.float64)(x))
        return linen.RMSNorm(name="rms", **wide)(x)


def test_norms(x64):
    net = fnnet.Sequential(
        fnnet.GroupNorm(2),
        fnnet.Flatten(),
        fnnet.LayerNorm(epsilon=1e-6),
        fnnet.Dense(5),
        fnnet.relu,
        fnnet.RMSNorm(epsilon=1e-6),
    )
    xs, model = normal(5, 3, 2, 4), Norms()
    variables = jax.tree.map(lambda leaf: leaf + normal(*leaf.shape), model.init(jax.random.key(0), xs))
    out, pull = jax.vjp(model.apply, variables, xs)
    cotangent = normal(*out.shape)
    gradients, x_bar = pull(jnp.asarray(cotangent))
    names = {"group_norm_0": "group", "layer_norm_2": "layer", "dense_3": "fc", "rms_norm_5": "rms"}
    params, bars = (interop.from_flax(net, (3, 2, 4), tree["params"], names=names) for tree in (variables, gradients))
    assert findings(pulled(net, params, xs, cotangent), (out, bars, x_bar)) == []


def test_an_nnx_model_filled_from_a_network(x64):
    xs, model = normal(5, *SHAPE), Nnx(nnx.Rngs(0))
    params = NET.init(jax.random.key(1), SHAPE, jnp.float64)
    nnx.update(model, interop.to_flax(NET, SHAPE, params, nnx.state(model, nnx.Param)))
    assert findings(jax.vmap(NET.apply, (None, 0))(params, xs), model(xs)) == []


def test_the_documents_examples_run():
    names = {"__name__": "example"}
    with jax.numpy_dtype_promotion("standard"):
        for block in blocks(Path(__file__).parents[2] / "docs" / "interop.md", "python flax"):
            exec(compile(block, "interop.md", "exec"), names)


class Batches(linen.Module):  # type: ignore[name-defined]
    @linen.compact
    def __call__(self, x, train):
        wide = {"param_dtype": jnp.float64, "force_float32_reductions": False, "use_fast_variance": False}
        x = linen.BatchNorm(use_running_average=not train, **wide)(x)
        return linen.Dense(4, param_dtype=jnp.float64)(x)


def test_batch_norm(x64):
    net, xs, cotangent = fnnet.Sequential(fnnet.BatchNorm(), fnnet.Dense(4)), normal(6, 3), normal(6, 4)
    model = Batches()
    variables = model.init(jax.random.key(0), xs, train=False)
    variables = jax.tree.map(lambda leaf: leaf + normal(*leaf.shape) ** 2, variables)
    params = interop.from_flax(net, (3,), variables)
    assert set(params["batch_norm_0"]) == {"scale", "bias", "mean", "variance"}
    ys, pull = jax.vjp(lambda tree, xs: model.apply(tree, xs, train=False), variables, xs)
    tree_bar, xs_bar = pull(jnp.asarray(cotangent))
    tree_bar |= {"batch_stats": jax.tree.map(jnp.zeros_like, variables["batch_stats"])}  # as in PyTorch
    wanted = ys, interop.from_flax(net, (3,), tree_bar), xs_bar
    assert findings(pulled(net, params, xs, cotangent), wanted) == []
    back = interop.to_flax(net, (3,), params, variables)
    assert jax.tree.all(jax.tree.map(np.array_equal, back, variables))
    ys, _ = model.apply(variables, xs, train=True, mutable=["batch_stats"])
    ours, _ = net.apply_batch(params, xs, keys=jax.random.split(jax.random.key(0), 6))
    np.testing.assert_allclose(ours, ys, rtol=1e-10)


def test_batch_norm_of_nnx():
    model = nnx.Sequential(nnx.BatchNorm(3, use_running_average=True, rngs=nnx.Rngs(0)))
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    params = interop.from_flax(fnnet.Sequential(fnnet.BatchNorm()), (3,), state)
    assert params["batch_norm_0"]["variance"].tolist() == [1, 1, 1]
    xs = normal(6, 3).astype(np.float32)
    np.testing.assert_allclose(fnnet.BatchNorm().apply(params["batch_norm_0"], xs), model(xs), rtol=1e-5)


def test_nnx_layers_in_a_list():
    model = nnx.Sequential(*(nnx.Linear(3, 3, rngs=nnx.Rngs(n)) for n in range(12)))
    net = fnnet.Sequential(*(fnnet.Dense(3) for _ in range(12)))
    params = interop.from_flax(net, (3,), nnx.state(model, nnx.Param))
    for n in range(12):
        np.testing.assert_array_equal(params[f"dense_{n}"]["kernel"], model.layers[n].kernel[...])


def test_other_state_is_refused():
    model = nnx.Sequential(nnx.Linear(3, 3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="unexpected: layers/1/"):
        interop.from_flax(fnnet.Sequential(fnnet.Dense(3)), (3,), nnx.state(model))
