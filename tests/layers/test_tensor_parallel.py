"""Transformer blocks whose heads and hidden width are split over a second mesh axis, the batch over the first."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from devices.collectives import collectives_in
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import fnnet

pytestmark = pytest.mark.cpu  # eight of them

BLOCKS, BATCH, LENGTH, FEATURES = 2, 4, 72, 32  # longer than what attention computes at once
BLOCK = (
    fnnet.Residual(fnnet.LayerNorm(), fnnet.Attention(heads=4, causal=True, rotary=True)),
    fnnet.Residual(fnnet.LayerNorm(), fnnet.Dense(64), fnnet.gelu, fnnet.Dense(FEATURES)),
)
NET = fnnet.Sequential(*BLOCK * BLOCKS)
SPLIT: dict[Any, P] = {  # as in Megatron: the first products by columns, the second ones by rows
    **{f"{part}_kernel": P(None, "model") for part in ("query", "key", "value")},
    **{f"{part}_bias": P("model") for part in ("query", "key", "value")},
    "out_kernel": P("model", None),
    (FEATURES, 64): P(None, "model"),
    (64,): P("model"),
    (64, FEATURES): P("model", None),
}


def spec(path, leaf):
    return SPLIT.get(path[-1].key, SPLIT.get(leaf.shape, P()))


def loss(params, xs):
    ys = jax.vmap(NET.apply, (None, 0))(params, xs)
    return jnp.square(ys).mean()


def of_activations(hlo):
    """The collectives of arrays with a row for each place of a sequence; the others are gradients' and the loss's."""
    return [one.kind for one in collectives_in(hlo) if any(LENGTH in shape for shape in one.shapes)]


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_two_sums_a_block_and_direction(direction):
    function = loss if direction == "forward" else jax.value_and_grad(loss)
    params = NET.init(jax.random.key(0), (LENGTH, FEATURES))
    xs = np.random.default_rng(0).normal(size=(BATCH, LENGTH, FEATURES)).astype(np.float32)
    expected = jax.jit(function)(params, xs)

    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    layout = jax.tree.map_with_path(lambda path, leaf: NamedSharding(mesh, spec(path, leaf)), params)
    assert sum(any(leaf.spec) for leaf in jax.tree.leaves(layout)) == BLOCKS * 10
    whole = NamedSharding(mesh, P())
    outputs = whole if direction == "forward" else (whole, layout)
    arguments = jax.device_put(params, layout), jax.device_put(xs, NamedSharding(mesh, P("data")))
    program = jax.jit(function, out_shardings=outputs).lower(*arguments).compile()
    for one, other in zip(jax.tree.leaves(program(*arguments)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    directions = 1 if direction == "forward" else 2
    found = of_activations(program.as_text())
    assert set(found) == {"all-reduce"}
    assert len(found) <= 2 * BLOCKS * directions
