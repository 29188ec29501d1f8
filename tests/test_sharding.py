"""Eight simulated devices give the gradients of one, however JAX is told to share the work."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import fnnet

pytestmark = pytest.mark.cpu  # eight of them

NET = fnnet.Sequential(
    fnnet.Conv(4, 3, stride=2, dilation=1),
    fnnet.relu,
    fnnet.MaxPool(2),
    fnnet.Conv(6, 3, groups=2, padding=1),
    fnnet.leaky_relu,
    fnnet.AvgPool(2, stride=1),
    fnnet.Flatten(),
    fnnet.Dense(5),
    fnnet.gelu,
    fnnet.Dense(3),
)


def loss(params, xs, ys):
    logits = jax.vmap(NET.apply, (None, 0))(params, xs)
    return fnnet.softmax_cross_entropy(logits, ys).mean()


@pytest.fixture(scope="module")
def example():
    keys = jax.random.split(jax.random.key(0), 3)
    params = NET.init(keys[0], (12, 12, 2))
    xs, ys = jax.random.normal(keys[1], (16, 12, 12, 2)), jax.random.randint(keys[2], (16,), 0, 3)
    return params, xs, ys, jax.jit(jax.value_and_grad(loss))(params, xs, ys)


def mesh_of(kind):
    return jax.make_mesh((8,), ("data",), axis_types=(kind,))


def assert_same(ours, expected):
    chex.assert_trees_all_close(
        jax.tree.map(np.asarray, ours), jax.tree.map(np.asarray, expected), rtol=2e-5, atol=1e-6
    )


def test_eight_devices():
    assert len(jax.devices()) == 8


def test_automatic_sharding(example):
    params, xs, ys, expected = example
    mesh = mesh_of(AxisType.Auto)
    params = jax.device_put(params, NamedSharding(mesh, P()))
    xs, ys = jax.device_put((xs, ys), NamedSharding(mesh, P("data")))
    step = jax.jit(jax.value_and_grad(loss))
    assert_same(step(params, xs, ys), expected)


def test_the_batch_is_never_brought_together():
    """Seen for convolutions of one group: with more, XLA's partitioner gathers in the kernel's gradient."""
    net = fnnet.Sequential(fnnet.Conv(4, 3, stride=2), fnnet.relu, fnnet.MaxPool(2), fnnet.Flatten(), fnnet.Dense(3))
    mesh = mesh_of(AxisType.Auto)
    params = jax.device_put(net.init(jax.random.key(0), (12, 12, 2)), NamedSharding(mesh, P()))
    xs = jax.device_put(jnp.ones((16, 12, 12, 2)), NamedSharding(mesh, P("data")))
    step = jax.jit(jax.grad(lambda p, xs: jnp.square(jax.vmap(net.apply, (None, 0))(p, xs)).mean()))
    hlo = step.lower(params, xs).compile().as_text()
    assert "all-reduce" in hlo
    assert "all-gather" not in hlo


FORMS = {  # of convolution, fnnet/formulations: image, kernel, groups
    "winograd": ((64, 14, 12, 32), (3, 3, 32, 64), 1),
    "sums": ((64, 9, 8, 1), (5, 5, 1, 6), 1),
    "patches": ((64, 9, 8, 3), (3, 3, 3, 16), 1),
    "depthwise": ((16, 9, 8, 6), (3, 3, 1, 6), 6),
}


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_convolution(form, kind):
    image, kernel, groups = FORMS[form]
    x, k = (np.random.default_rng(3).normal(size=shape).astype(np.float32) for shape in (image, kernel))
    step = jax.grad(lambda x, k: jnp.square(fnnet.conv(x, k, groups=groups)).mean(), (0, 1))
    expected = jax.jit(step)(x, k)
    with jax.set_mesh(mesh_of(kind)):
        sharded = jax.device_put(x, P("data")), jax.device_put(k, P())
        program = jax.jit(step).lower(*sharded).compile()
        assert_same(program(*sharded), expected)
    if form != "depthwise":  # the scan of its kernel's gradient gathers the batch
        assert "all-gather" not in program.as_text()


@pytest.mark.parametrize("averaged", ["loss", "gradient"])
def test_shard_map_with_checks(example, averaged):
    params, xs, ys, expected = example

    def of_loss(params, xs, ys):
        return jax.value_and_grad(lambda p: jax.lax.pmean(loss(p, xs, ys), "data"))(params)

    def of_gradient(params, xs, ys):
        own = jax.tree.map(lambda p: jax.lax.pcast(p, ("data",), to="varying"), params)
        return jax.lax.pmean(jax.value_and_grad(loss)(own, xs, ys), "data")

    step = of_loss if averaged == "loss" else of_gradient
    mapped = jax.shard_map(step, mesh=mesh_of(AxisType.Auto), in_specs=(P(), P("data"), P("data")), out_specs=P())
    assert_same(jax.jit(mapped)(params, xs, ys), expected)


def test_explicit_axes(example):
    params, xs, ys, expected = example
    with jax.set_mesh(mesh_of(AxisType.Explicit)):
        params = jax.device_put(params, P())
        xs, ys = jax.device_put((xs, ys), P("data"))
        value, params_bar = jax.jit(jax.value_and_grad(loss))(params, xs, ys)
        for leaf in jax.tree.leaves(params_bar):
            assert leaf.sharding.spec == P(*(None,) * leaf.ndim)
        x_bar = jax.jit(jax.grad(lambda xs: loss(params, xs, ys)))(xs)
        assert x_bar.sharding.spec[0] == "data"
    assert_same((value, params_bar), expected)


def test_per_example_gradients_stay_with_their_examples(example):
    params, xs, ys, _ = example
    expected = jax.vmap(jax.grad(loss), (None, 0, 0))(params, xs[:, None], ys[:, None])
    mesh = mesh_of(AxisType.Auto)
    xs, ys = jax.device_put((xs, ys), NamedSharding(mesh, P("data")))
    ours = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(params, xs[:, None], ys[:, None])
    assert_same(ours, expected)
    assert jnp.shape(ours["dense_9"]["kernel"]) == (16, 5, 3)
