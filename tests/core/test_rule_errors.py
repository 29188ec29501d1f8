"""A wrong rule is named before JAX stumbles over it: the rule, the argument, what it is and what it must be."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import fnnet

ONES = jnp.ones(3)


def layer_with(backward, forward=lambda x, k: (x * k, (x, k)), batched=("x",)):
    def layer_fwd(x, k):
        return forward(x, k)

    return fnnet.rule(layer_fwd, backward, batched=batched)


WRONG = {
    "no cotangent": (
        lambda r, bar: (bar * r[1], None),
        ValueError,
        "rule layer: backward gave no cotangent for k, float32[3]; None is for integers",
    ),
    "too few": (
        lambda r, bar: (bar * r[1],),
        ValueError,
        "rule layer: backward must return a tuple of 2 cotangents, for x, k; it returned 1",
    ),
    "too many": (
        lambda r, bar: (bar, bar, bar),
        ValueError,
        "rule layer: backward must return a tuple of 2 cotangents, for x, k; it returned 3",
    ),
    "no tuple": (lambda r, bar: bar, ValueError, "rule layer: backward must return a tuple of 2 cotangents, for x, k"),
    "shape": (
        lambda r, bar: (bar * r[1], (bar * r[0]).sum()),
        ValueError,
        "rule layer: the cotangent of k has shape (); it must have k's shape (3,)",
    ),
    "dtype": (
        lambda r, bar: ((bar * r[1]).astype(jnp.bfloat16), bar * r[0]),
        TypeError,
        "rule layer: the cotangent of x has dtype bfloat16; it must have x's dtype float32",
    ),
    "integers": (
        lambda r, bar: (jnp.ones(3, int), bar * r[0]),
        TypeError,
        "rule layer: the cotangent of x has dtype int32; it must have x's dtype float32",
    ),
    "structure": (lambda r, bar: ({"x": bar}, bar), TypeError, "rule layer: the cotangent of x"),
    "no array": (lambda r, bar: (bar, "no"), TypeError, "rule layer: the cotangent of k"),
}


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(("backward", "kind", "message"), list(WRONG.values()), ids=list(WRONG))
def test_wrong_cotangents(backward, kind, message, wrap):
    layer = layer_with(backward)
    assert layer(ONES, ONES).tolist() == [1, 1, 1]
    with pytest.raises(kind, match=re.escape(message)):
        wrap(jax.grad(lambda x, k: layer(x, k).sum(), (0, 1)))(ONES, ONES)


@pytest.mark.parametrize(("backward", "kind", "message"), list(WRONG.values()), ids=list(WRONG))
def test_wrong_cotangents_under_vmap(backward, kind, message):
    layer = layer_with(backward, batched=())
    with pytest.raises(kind, match=re.escape(message)):
        jax.grad(lambda k: jax.vmap(layer, (0, None))(jnp.ones((2, 3)), k).sum())(ONES)


def test_a_batched_rule_that_forgets_to_sum():
    layer = layer_with(lambda r, bar: (bar * r[1], bar * r[0]))
    with pytest.raises(ValueError, match=re.escape("the cotangent of k has shape (2, 3); it must have k's shape (3,)")):
        jax.grad(lambda k: jax.vmap(layer, (0, None))(jnp.ones((2, 3)), k).sum())(ONES)


def test_the_leaf_of_an_argument_is_named():
    def tree_fwd(params):
        return params["w"][0] * 2, None

    tree = fnnet.rule(tree_fwd, lambda _, bar: ({"w": [bar.sum()]},))
    with pytest.raises(ValueError, match=re.escape("the cotangent of params['w'][0] has shape (); it must have")):
        jax.grad(lambda w: tree({"w": [w]}).sum())(ONES)


def test_a_wrong_structure_inside_an_argument():
    def tree_fwd(params):
        return params["w"] * 2, None

    for bar in ({"v": ONES}, (ONES,), {"w": ONES, "v": ONES}, ONES):
        tree = fnnet.rule(tree_fwd, lambda _, y_bar, bar=bar: (bar,))
        with pytest.raises(ValueError, match="rule tree: the cotangent of params"):
            jax.grad(lambda p, tree=tree: tree(p).sum())({"w": ONES})


def summed_with(output):
    def summed_fwd(x):
        return output(x), x

    return fnnet.rule(summed_fwd, lambda x, bar: (jnp.ones_like(x),), batched=("x",))


UNMAPPED = [
    (lambda x: x.sum(), 4, "rule summed: the output of shape () lacks the batch axis of vmap, of size 4; every output"),
    (lambda x: {"a": x, "b": [x.sum(0)]}, 4, "rule summed: the output['b'][0] of shape (3,) lacks the batch axis"),
    # A batch that happens to be as large as the output.
    (lambda x: x.sum() * ONES, 3, "rule summed: the output has shape () for one example under vmap, and (3,) without"),
]


@pytest.mark.parametrize(("output", "size", "message"), UNMAPPED, ids=["no axis", "one of two", "another axis"])
def test_an_output_without_the_batch_axis(output, size, message):
    layer, xs = summed_with(output), jnp.ones((size, 3))

    def loss(xs):
        return sum(leaf.sum() for leaf in jax.tree.leaves(jax.vmap(layer)(xs)))

    for run in (loss, jax.jit(loss), jax.grad(loss)):
        with pytest.raises(ValueError, match=re.escape(message)):
            run(xs)
    layer(xs)  # known without vmap: the error is the same
    with pytest.raises(ValueError, match=re.escape(message)):
        loss(xs)


def test_a_forward_without_residuals():
    layer = layer_with(lambda r, bar: (bar, bar), forward=lambda x, k: x * k)
    with pytest.raises(TypeError, match=re.escape("rule layer: forward must return the pair (output, residuals)")):
        layer(ONES, ONES)


def test_wrong_registrations():
    def layer_fwd(x):
        return x, None

    def starred_fwd(*xs):
        return xs, None

    def placed_fwd(x, *, out_sharding):
        return x, None

    with pytest.raises(ValueError, match=re.escape("rule: batched names 'y', but the arrays of layer are ('x',)")):
        fnnet.rule(layer_fwd, lambda _, bar: (bar,), batched=("y",))
    with pytest.raises(TypeError, match="rule: starred_fwd must name its arguments"):
        fnnet.rule(starred_fwd, lambda _, bar: bar)
    with pytest.raises(ValueError, match="rule: placed_fwd must not name an argument out_sharding"):
        fnnet.rule(placed_fwd, lambda _, bar: (bar,))


def test_wrong_calls():
    layer = layer_with(lambda r, bar: (bar, bar))
    with pytest.raises(TypeError, match="missing a required argument: 'k'"):
        layer(ONES)
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        layer(ONES, ONES, z=1)


# Collectives: a rule that communicates would be run once for all examples, or once for each, as JAX pleases.

COLLECTIVES = {
    "psum": lambda x: lax.psum(x, "data"),
    "pmean": lambda x: lax.pmean(x, "data"),
    "all_gather": lambda x: lax.all_gather(x, "data").sum(0),
    "ppermute": lambda x: lax.ppermute(x, "data", [(0, 1), (1, 0)]),
    "axis_index": lambda x: x * lax.axis_index("data").astype(x.dtype),
    "inside a scan": lambda x: lax.scan(lambda c, _: (lax.psum(c, "data"), None), x, None, length=2)[0],
}


def doubled_with(forward=lambda x: 2 * x, backward=lambda bar: 2 * bar):
    def doubled_fwd(x):
        return forward(x), None

    def doubled_bwd(_, y_bar):
        return (backward(y_bar),)

    return fnnet.rule(doubled_fwd, doubled_bwd, batched=("x",))


def on_devices(function):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    return jax.shard_map(function, mesh=mesh, in_specs=P("data"), out_specs=P("data"), check_vma=False)(jnp.ones(8))


@pytest.mark.parametrize("collective", list(COLLECTIVES.values()), ids=list(COLLECTIVES))
def test_collectives_between_devices(collective):
    with pytest.raises(ValueError, match=r"rule doubled: its forward runs .*must not communicate"):
        on_devices(doubled_with(forward=collective))
    with pytest.raises(ValueError, match=r"rule doubled: its backward runs .*must not communicate"):
        on_devices(jax.grad(lambda x: doubled_with(backward=collective)(x).sum()))


@pytest.mark.parametrize("collective", list(COLLECTIVES.values()), ids=list(COLLECTIVES))
def test_collectives_over_an_axis_of_vmap(collective):
    with pytest.raises(ValueError, match=r"rule doubled: its forward runs .*must not communicate"):
        jax.vmap(doubled_with(forward=collective), axis_name="data")(jnp.ones(8))


def test_a_collective_in_the_backward_over_an_axis_of_vmap():
    rule = doubled_with(backward=COLLECTIVES["psum"])
    with pytest.raises(ValueError, match=r"rule doubled: its backward .*must not communicate"):
        jax.grad(lambda xs: jax.vmap(rule, axis_name="data")(xs).sum())(jnp.ones(8))
