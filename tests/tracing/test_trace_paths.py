"""`Trace.follow`: an entry layer by layer to the loss, beside the derivatives of whole networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from tracing.networks import seen

pytestmark = pytest.mark.usefixtures("standard_promotion")


def largest(step, of):
    """The entry with the largest gradient."""
    bar = step.cotangent(of).numbers.array
    return tuple(map(int, np.unravel_index(np.abs(bar).argmax(), bar.shape)))


def test_every_cut_of_the_network_has_the_gradient():
    followed = 0
    for step in seen():
        for one in () if step.is_nested else step.outgoing:
            path = seen().follow(step.name, one.of, largest(step, one.of))
            assert path.gradient == one.numbers.array[path.index]
            assert path.value == one.value.array[path.index]
            assert [path.stages[0].layer, path.stages[-1].layer] == [step.name, "loss"]
            for stage in path.stages:
                if stage.is_whole:
                    assert stage.effect == pytest.approx(path.gradient, rel=2e-5, abs=1e-7), (step.name, one.of, stage)
                    followed += 1
    assert followed > 60


def test_the_ways_of_a_residual_add_up():
    path = seen().follow("relu_0", "x", largest(seen()["relu_0"], "x"))
    stages = {stage.layer.removeprefix("residual_1/"): stage for stage in path.stages}
    assert [name for name, stage in stages.items() if not stage.is_whole] == ["conv_0", "relu_1", "shortcut"]
    parts = stages["relu_1"].effect, stages["shortcut"].effect
    assert all(part != pytest.approx(path.gradient, rel=1e-3) for part in parts)
    assert sum(parts) == pytest.approx(path.gradient, rel=1e-5)
    assert f"({parts[1]:.7g})" in str(path)
    assert str(path).endswith("; a number in brackets is the part of it that goes this way")


def test_the_changes_are_the_derivatives_of_the_network_up_to_there():
    block = fnnet.Residual(fnnet.Dense(4), fnnet.tanh)
    net = fnnet.Sequential(fnnet.Conv(4, 3), fnnet.sigmoid, block, fnnet.Flatten(), fnnet.Dense(3))
    params, x = net.init(jax.random.key(0), (5, 5, 1)), jax.random.normal(jax.random.key(1), (2, 5, 5, 1))
    path = fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, jnp.arange(2)).follow(
        "conv_0", "kernel", (1, -1, 0, 2)
    )
    assert path.index == (1, 2, 0, 2)
    inside = fnnet.Sequential(*net.layers[:3])
    for network, name in ((inside, "residual_2"), (net, "dense_4")):
        own = {layer: params[layer] for layer in network.entries}

        def outputs(entry, own=own, apply=network.apply):
            kernel = own["conv_0"]["kernel"].at[1, 2, 0, 2].set(entry)
            return jax.vmap(apply, (None, 0))(own | {"conv_0": own["conv_0"] | {"kernel": kernel}}, x)

        change = jax.jacrev(outputs)(jnp.float32(path.value))
        (stage,) = (stage for stage in path.stages if stage.layer == name)
        assert (stage.reached, stage.size) == (int((change != 0).sum()), change.size)
        assert stage.at == tuple(map(int, np.unravel_index(jnp.abs(change).argmax(), change.shape)))
        assert stage.largest == pytest.approx(float(change[stage.at]), rel=1e-4)


def test_an_output_and_a_table_too():
    step = seen()["max_pool_2"]
    index = tuple(map(int, np.unravel_index(np.abs(step.incoming.array).argmax(), step.incoming.shape)))
    path = seen().follow("max_pool_2", "y", index)
    assert path.gradient == step.incoming.array[index]
    assert path.stages[0].reached == 1
    assert path.stages[-1].effect == pytest.approx(path.gradient, rel=2e-5)

    net = fnnet.Sequential(fnnet.Embedding(5, 3), fnnet.Flatten(), fnnet.Dense(2))
    params = net.init(jax.random.key(0), (4,))
    x = jnp.array([[0, 3, 1, 3], [4, 4, 2, 0]])
    path = fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, jnp.arange(2)).follow(
        "embedding_0", "embedding", (3, 1)
    )
    assert [stage.reached for stage in path.stages] == [2, 2, 2, 1]
    assert path.stages[-1].effect == pytest.approx(path.gradient, rel=1e-5)


def test_the_table():
    net = fnnet.Sequential(fnnet.Dense(2), fnnet.relu, fnnet.Dense(1))
    params = {
        "dense_0": {"kernel": jnp.array([[1.0, -2.0], [0.5, 1.0]]), "bias": jnp.zeros(2)},
        "dense_2": {"kernel": jnp.array([[3.0], [4.0]]), "bias": jnp.zeros(1)},
    }
    seen = fnnet.trace(net, lambda y, _: y[..., 0], params, jnp.array([2.0, 1.0]), 0.0)
    assert str(seen.follow("dense_0", "kernel", (0, 0))).splitlines() == [
        "dense_0: kernel[0, 0] = 1, followed to the loss",
        "layer    reaches  largest change  times y_bar",
        "---------------------------------------------",
        "dense_0   1 of 2  +2 at y[0]                6",
        "relu_1    1 of 2  +2 at y[0]                6",
        "dense_2   1 of 1  +6 at y[0]                6",
        "loss      1 of 1  +6 at loss                6",
        "kernel_bar[0, 0] = 6",
    ]
    assert "relu_1    0 of 2                            0" in str(seen.follow("dense_0", "bias", (1,)))


def test_what_cannot_be_followed():
    with pytest.raises(ValueError, match=r"residual_1 is made of layers; follow an entry of residual_1/conv_0, resid"):
        seen().follow("residual_1", "x", (0, 0, 0, 0))
    with pytest.raises(ValueError, match=r"follow: index \(9,\) must be an entry of bias, of shape \(3,\)"):
        seen().follow("dense_5", "bias", (9,))
    with pytest.raises(ValueError, match="it is not known how the network puts its layers together"):
        dataclasses.replace(seen(), graph=False).follow("dense_5", "bias", (0,))


def test_a_network_that_is_a_residual_itself():
    net = fnnet.Residual(fnnet.Dense(4), fnnet.tanh)
    seen = fnnet.trace(net, fnnet.softmax_cross_entropy, net.init(jax.random.key(0), (4,)), jnp.ones(4), 2)
    with pytest.raises(
        ValueError, match=r"a network that is a Residual itself; trace Sequential\(net\) with the param"
    ):
        seen.follow("dense_0", "kernel", (0, 0))
