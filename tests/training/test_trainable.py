"""`fit(..., trainable=...)`: a part is trained as if it were all, and the rest keeps its bits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.training import steps
from fnnet.training.trainable import PartlyTrained, flags_of

pytestmark = pytest.mark.usefixtures("standard_promotion")


NET = fnnet.Sequential(fnnet.Dense(16), fnnet.tanh, fnnet.Residual(fnnet.Dense(16)), fnnet.Dense(3))
LAST = fnnet.Sequential(fnnet.Dense(3))
LOSS = fnnet.softmax_cross_entropy
OPTIMIZER = optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(1e-2))
RNG = np.random.default_rng(0)
XS, YS = RNG.normal(size=(40, 4)).astype(np.float32), RNG.integers(0, 3, 40).astype(np.int32)
PARAMS = NET.init(jax.random.key(1), (4,))
PARAMS["dense_0"]["bias"] = PARAMS["dense_0"]["bias"].at[0].set(-0.0)  # -0.0 + 0.0 would be 0.0


def fit(net=NET, data=(XS, YS), params=PARAMS, **options):
    settings = {"key": jax.random.key(0), "epochs": 3, "batch_size": 8, "progress": False} | options
    return fnnet.fit(net, LOSS, OPTIMIZER, data, params=params, **settings)[0]


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


WAYS = {
    "tree": {"dense_0": False, "residual_2": False, "dense_3": True},
    "whole tree": jax.tree.map(lambda _: False, PARAMS) | {"dense_3": {"kernel": True, "bias": True}},
    "function": lambda name: name.startswith("dense_3/"),
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_the_last_layer_is_trained_as_if_it_were_all(way, accumulate):
    """Its input is then data. The same clipping, moments and decay: nothing of the others gets into them."""
    ours = fit(trainable=WAYS[way], accumulate=accumulate)
    kept = {name: own for name, own in ours.items() if name != "dense_3"}
    assert bits(kept) == bits({name: PARAMS[name] for name in kept})
    body = fnnet.Sequential(*NET.layers[:-1])
    features = jax.vmap(body.apply, (None, 0))({name: PARAMS[name] for name in kept}, XS)
    alone = fit(LAST, (features, YS), {"dense_0": PARAMS["dense_3"]}, accumulate=accumulate)
    chex.assert_trees_all_close(ours["dense_3"], alone["dense_0"], rtol=1e-4, atol=1e-6)
    assert not np.array_equal(ours["dense_3"]["kernel"], PARAMS["dense_3"]["kernel"])


def test_on_eight_devices():
    options = {"mesh": jax.make_mesh((8,), ("data",)), "shard_parameters": True, "trainable": WAYS["tree"]}
    ours = fit(**options)
    chex.assert_trees_all_close(ours, fit(trainable=WAYS["tree"]), rtol=1e-4, atol=1e-6)
    assert bits(ours["residual_2"]) == bits(PARAMS["residual_2"])


def test_what_is_not_trained_has_neither_gradient_nor_moments():
    flags = flags_of(WAYS["tree"], PARAMS)
    net = PartlyTrained(NET, flags)
    gradient = jax.make_jaxpr(jax.grad(lambda p: steps.batch_loss(net, LOSS, p, XS[:8], YS[:8])[0]))(PARAMS)
    backwards = [eqn for eqn in gradient.eqns if "dot_general" in str(eqn) and eqn.outvars[0].aval.shape == (16, 16)]
    assert not backwards
    held = []
    fit(trainable=WAYS["tree"], callback=lambda _, state: held.append(jax.tree.map(jnp.shape, state.opt_state)))
    shapes = jax.tree.leaves(held[0], is_leaf=lambda leaf: isinstance(leaf, tuple) and all(map(np.isscalar, leaf)))
    assert (16, 16) not in shapes
    assert shapes.count((16, 3)) == 2


def test_resumed(tmp_path):
    whole = fit(trainable=WAYS["tree"])
    with pytest.raises(KeyboardInterrupt):
        fit(trainable=WAYS["tree"], checkpoints=fnnet.Checkpoints(tmp_path), callback=_interrupt)
    assert bits(fit(trainable=WAYS["tree"], checkpoints=fnnet.Checkpoints(tmp_path))) == bits(whole)
    with pytest.raises(ValueError, match="checkpoint"):
        fit(checkpoints=fnnet.Checkpoints(tmp_path))


def _interrupt(record, state):
    if record["epoch"] == 2:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("trainable", "error", "message"),
    [
        ({"dense_0": True}, ValueError, "fit: trainable must be a tree of booleans like the parameters"),
        ({"dense_0": 1, "residual_2": 0, "dense_3": 0}, TypeError, "must give True or False for each parameter, not 1"),
        (lambda name: None, TypeError, "must give True or False for each parameter, not None"),
        (lambda name: False, ValueError, "must name at least one parameter; there are dense_0/bias, dense_0/kernel"),
    ],
)
def test_refuses(trainable, error, message):
    with pytest.raises(error, match=message):
        fit(trainable=trainable)
