"""`BatchNorm` in networks: statistics of the mini-batch in training, running averages of them in evaluation."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.layers.batch_norm import STATISTICS

RNG = np.random.default_rng(0)
XS = (3 + 2 * RNG.normal(size=(32, 4, 4, 3))).astype(np.float32)
YS = np.arange(32) % 3
KEY = jax.random.key(0)
LOSS = fnnet.softmax_cross_entropy
BLOCK = fnnet.Residual(fnnet.Conv(3, 3, bias=False), fnnet.BatchNorm())
NET = fnnet.Sequential(fnnet.BatchNorm(), fnnet.Repeat(BLOCK, 2), fnnet.relu, fnnet.Flatten(), fnnet.Dense(3))
RATE = 0.01


pytestmark = pytest.mark.usefixtures("standard_promotion")


def params_of(net=NET):
    return net.init(KEY, (4, 4, 3))


@jax.jit
def by_hand(params, xs):
    """The network in training by jnp alone: outputs, and the means and variances that it took."""
    taken = []

    def norm(x, own):
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        taken.append((mean, x.var((0, 1, 2), ddof=1)))
        return (x - mean) / jnp.sqrt(variance + 1e-5) * own["scale"] + own["bias"]

    x = norm(xs, params["batch_norm_0"])
    for n in range(2):
        own = jax.tree.map(lambda a, n=n: a[n], params["repeat_1"])
        dims = ("NHWC", "HWIO", "NHWC")
        image = jax.lax.conv_general_dilated(x, own["conv_0"]["kernel"], (1, 1), "SAME", dimension_numbers=dims)
        x = x + norm(image, own["batch_norm_1"])
    x = jax.nn.relu(x).reshape(len(xs), -1)
    return x @ params["dense_4"]["kernel"] + params["dense_4"]["bias"], taken


@jax.jit
@jax.grad
def gradient_by_hand(params, xs, ys):
    outputs, _ = by_hand(params, xs)
    return optax.softmax_cross_entropy_with_integer_labels(outputs, ys).mean()


def test_training_takes_the_statistics_of_the_batch():
    params = params_of()
    ys, statistics = NET.apply_batch(params, XS, keys=jax.random.split(KEY, 32))
    outputs, ((mean, variance), *others) = by_hand(params, XS)
    np.testing.assert_allclose(ys, outputs, rtol=2e-4, atol=2e-5)
    chex.assert_trees_all_close(statistics["batch_norm_0"], {"mean": mean, "variance": variance}, rtol=1e-4)
    inner = statistics["repeat_1"]["batch_norm_1"]
    for n, (mean, variance) in enumerate(others):
        np.testing.assert_allclose(inner["mean"][n], mean, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(inner["variance"][n], variance, rtol=1e-3)
    assert statistics.keys() == {"batch_norm_0", "repeat_1"}


def test_with_the_batchs_own_statistics_evaluation_gives_trainings_outputs():
    """Evaluation takes each example alone."""
    params = params_of()
    stored = fnnet.batch_statistics(NET, params, XS, key=KEY, batch_size=32)
    m = 32 * 16
    biased = jax.tree.map_with_path(lambda path, a: a * ((m - 1) / m if path[-1].key == "variance" else 1), stored)
    trained, _ = NET.apply_batch(params, XS, keys=jax.random.split(KEY, 32))
    evaluated, nothing = NET.apply_batch(biased, XS)
    np.testing.assert_allclose(evaluated, trained, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(NET.apply(biased, XS[3]), trained[3], rtol=1e-4, atol=1e-4)
    assert nothing == {}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_fit_trains_by_the_batch_and_averages_its_statistics(accumulate):
    params, steps = params_of(), 11
    ours, _ = fnnet.fit(
        NET, LOSS, optax.sgd(RATE), [(XS, YS)] * steps, key=KEY, params=params, accumulate=accumulate, progress=False
    )
    chunks = [slice(k, None, accumulate) for k in range(accumulate)]
    average = (0, 0)
    for step in range(steps):
        share = max(0.1, 1 / (step + 1))
        taken = [by_hand(params, XS[at])[1][0] for at in chunks]
        taken = [sum(each) / accumulate for each in zip(*taken, strict=True)]
        average = [old + share * (new - old) for old, new in zip(average, taken, strict=True)]
        bars = [gradient_by_hand(params, XS[at], YS[at]) for at in chunks]
        params = jax.tree.map(lambda p, *each: p - RATE * sum(each) / accumulate, params, *bars)
    expected = dict(zip(STATISTICS, average, strict=True))
    chex.assert_trees_all_close({name: ours["batch_norm_0"][name] for name in STATISTICS}, expected, rtol=1e-3)
    for layer, entry in (("batch_norm_0", "scale"), ("batch_norm_0", "bias"), ("dense_4", "kernel")):
        np.testing.assert_allclose(ours[layer][entry], params[layer][entry], rtol=1e-3, atol=1e-4)
    kernels = (tree["repeat_1"]["conv_0"]["kernel"] for tree in (ours, params))
    np.testing.assert_allclose(*kernels, rtol=1e-2, atol=1e-4)


@pytest.mark.slow
def test_devices_take_the_statistics_of_their_parts_or_of_all():
    """With axis_name two devices train as one; without, as one that takes two chunks."""
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    halves = np.arange(32).reshape(2, 16).T.ravel()  # a chunk takes every other example, a device those that follow

    def trained(axis_name=None, rows=slice(None), **options):
        block = fnnet.Residual(fnnet.Conv(3, 3, bias=False), fnnet.BatchNorm(axis_name=axis_name))
        norm = fnnet.BatchNorm(axis_name=axis_name)
        net = fnnet.Sequential(norm, fnnet.Repeat(block, 2), *NET.layers[2:])
        data = [(XS[rows], YS[rows])] * 2
        return fnnet.fit(net, LOSS, optax.sgd(RATE), data, key=KEY, params=params_of(), progress=False, **options)[0]

    chex.assert_trees_all_close(trained("data", mesh=mesh), trained(), rtol=2e-3, atol=2e-4)
    alone = trained(mesh=mesh)
    chex.assert_trees_all_close(alone, trained(rows=halves, accumulate=2), rtol=2e-3, atol=2e-4)
    assert not np.allclose(alone["batch_norm_0"]["scale"], trained()["batch_norm_0"]["scale"], rtol=1e-6, atol=0)


def test_statistics_that_are_not_named_keep_their_bits():
    def trained(name):
        options = {"key": KEY, "params": params_of(), "progress": False, "trainable": name}
        return fnnet.fit(NET, LOSS, optax.adam(RATE), [(XS, YS)] * 3, **options)[0]

    last = trained(lambda name: name.startswith("dense_4/"))
    chex.assert_trees_all_equal({**last, "dense_4": params_of()["dense_4"]}, params_of())
    with_mean = trained(lambda name: name.startswith("dense_4/") or name == "batch_norm_0/mean")
    assert not np.array_equal(with_mean["batch_norm_0"]["mean"], params_of()["batch_norm_0"]["mean"])
    np.testing.assert_array_equal(with_mean["batch_norm_0"]["variance"], params_of()["batch_norm_0"]["variance"])


def test_mixed_precision_leaves_the_statistics_alone():
    dtypes = []

    class Seen(fnnet.BatchNorm):
        def apply(self, params, x, *, key=None):
            dtypes.append({name: value.dtype.name for name, value in params.items()} | {"x": x.dtype.name})
            return fnnet.BatchNorm.apply(self, params, x, key=key)

    net = fnnet.Sequential(fnnet.Residual(Seen()), compute_dtype=jnp.bfloat16)
    net.apply(params_of(net), XS[0])
    narrow, wide = dict.fromkeys(("scale", "bias", "x"), "bfloat16"), dict.fromkeys(STATISTICS, "float32")
    assert dtypes[-1] == narrow | wide


@pytest.mark.slow
def test_a_trace_with_a_key_shows_the_training_step():
    net = fnnet.Sequential(fnnet.Conv(3, 3), fnnet.BatchNorm(), fnnet.relu, fnnet.Flatten(), fnnet.Dense(3))
    params = params_of(net)
    trace = fnnet.trace(net, LOSS, params, XS[:8], YS[:8], key=KEY)
    assert trace.same_bits
    assert trace.first_problem() is None
    (step,) = [step for step in trace.steps if step.name == "batch_norm_1"]
    images = jax.vmap(net.layers[0].apply, (None, 0))(params["conv_0"], XS[:8])
    np.testing.assert_allclose(step.value.array, fnnet.batch_norm(images, axes=(0, 1, 2))[0], rtol=1e-4, atol=1e-5)
    assert "Batch and group normalisation" in str(step.pages)


def test_an_axis_of_one_device_changes_nothing():
    """A network of many devices is trained, summarised and given statistics on one."""
    own, shared = (fnnet.Sequential(fnnet.BatchNorm(axis_name=name), fnnet.Dense(3)) for name in (None, "data"))
    xs, params = XS[:, 0, 0], own.init(KEY, (3,))
    outputs = [net.apply_batch(params, xs, keys=jax.random.split(KEY, 32)) for net in (own, shared)]
    chex.assert_trees_all_close(*outputs, rtol=1e-5)
    chex.assert_trees_all_close(*(fnnet.batch_statistics(n, params, xs, key=KEY, batch_size=16) for n in (own, shared)))
    assert shared.summary((3,)).parameters == own.summary((3,)).parameters
    mesh = jax.make_mesh((1,), ("data",))
    _, history = fnnet.fit(shared, LOSS, optax.sgd(0.1), (xs, YS), key=KEY, mesh=mesh)
    assert np.isfinite(history[0]["loss"])


def test_a_second_training_keeps_the_statistics_of_the_first():
    net = fnnet.Sequential(fnnet.BatchNorm(), fnnet.Dense(3))
    xs, params = XS[:, 0, 0], net.init(KEY, (3,))
    params["batch_norm_0"]["mean"] = jnp.full(3, 5.0)
    trained, _ = fnnet.fit(net, LOSS, optax.sgd(0.0), (xs, YS), key=KEY, params=params)
    np.testing.assert_allclose(trained["batch_norm_0"]["mean"], 0.9 * 5 + 0.1 * xs.mean(0), rtol=1e-5)


def test_computed_statistics_keep_their_dtype():
    params = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params_of())
    new = fnnet.batch_statistics(NET, params, XS, key=KEY, batch_size=16)
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} == {jnp.dtype(jnp.bfloat16)}


def test_refuses():
    net, params = NET, params_of()
    with pytest.raises(ValueError, match=r"layer 0, BatchNorm\(\): BatchNorm: in training it needs the whole mini"):
        net.apply(params, XS[0], key=KEY)
    with pytest.raises(ValueError, match="gradient_norms: with a key, BatchNorm makes each loss depend on all"):
        fnnet.gradient_norms(net, LOSS, params, XS, YS, key=KEY)
    with pytest.raises(ValueError, match=r"batch_statistics: batch_size .=64. must be at most the 32 examples"):
        fnnet.batch_statistics(net, params, XS, key=KEY, batch_size=64)
    with pytest.raises(ValueError, match="batch_statistics: net must have a BatchNorm"):
        fnnet.batch_statistics(fnnet.Sequential(fnnet.Dense(3)), {}, XS, key=KEY)
    with pytest.raises(ValueError, match="trainable names statistics of BatchNorm alone"):
        fnnet.fit(NET, LOSS, optax.sgd(0.1), (XS, YS), key=KEY, trainable=lambda name: name == "batch_norm_0/mean")
    misspelt = functools.partial(fnnet.BatchNorm(axis_name="dat").apply_batch, params["batch_norm_0"])
    shared = jax.shard_map(
        lambda xs, keys: misspelt(xs, keys=keys)[0],
        mesh=jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)),
        in_specs=jax.P("data"),
        out_specs=jax.P("data"),
    )
    with pytest.raises(ValueError, match=r"axis_name .='dat'. must be of the mesh: .'data'"):
        shared(XS, jax.random.split(KEY, 32))
    with pytest.raises(TypeError, match=r"axis_name .=3. must be the name"):
        fnnet.BatchNorm(axis_name=3)
    with pytest.raises(ValueError, match=r"x of shape .. must have channels"):
        fnnet.BatchNorm().init(KEY, ())
    assert fnnet.gradient_norms(net, LOSS, params, XS, YS).shape == (32,)
