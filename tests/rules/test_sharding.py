"""Eight simulated devices give the gradients of one, however JAX is told to share the work, and never a whole batch."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from devices.collectives import collectives_in
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sampled import one_in
from scaled_tanh import PROOF

import fnnet
from fnnet.core.registration import Rule
from fnnet.proofs import own
from fnnet.proofs.proof import cast

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
    """Entry by entry |a - b| <= 1e-5 (|b| + rms of b)."""
    wanted = jax.tree.leaves_with_path(expected)
    for (path, b), a in zip(wanted, jax.tree.leaves(ours), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        excess = np.abs(a - b) - 1e-5 * (np.abs(b) + np.sqrt(np.mean(b * b)))
        assert (excess <= 0).all(), (jax.tree_util.keystr(path), a.flat[excess.argmax()], b.flat[excess.argmax()])


def test_eight_devices():
    assert len(jax.devices()) == 8


BATCH = 48  # a size that nothing else has: where it is in the result of a gather, the batch has been gathered
CASES = {case.title: case for proof in (*own().values(), PROOF) for case in proof.at_forms()}  # one is of a user's


def some_of(case):
    """Parameters, a floating batch and one of integers; a parameter more is a factor, as if of a layer before."""
    examples = [cast(case.draw(number), "float32") for number in range(BATCH)]
    params = {name: array for name, array in examples[0].items() if name in case.proof.parameters}
    batch = {name: np.stack([one[name] for one in examples]) for name in examples[0] if name not in params}
    xs = {name: array for name, array in batch.items() if array.dtype.kind == "f"}
    integers = {name: array for name, array in batch.items() if name not in xs}
    shape = next(iter(xs.values())).shape[1:] if xs else next(iter(params.values())).shape
    return {**params, "factor": np.random.default_rng(1).uniform(0.5, 1, shape).astype(np.float32)}, xs, integers


PARAMS, XS, INTEGERS = ({title: some_of(case)[part] for title, case in CASES.items()} for part in range(3))
FIRST = {case.proof.page: title for title, case in reversed(CASES.items())}  # of each page


def arguments_of(titles):
    """Parameters, floating batches and integers of these rules."""
    return tuple({title: part[title] for title in titles} for part in (PARAMS, XS, INTEGERS))


def output_of(case, params, batch, is_mapped=True, **options):
    """The rule's output for a batch, under vmap or with the batch axis in front."""
    floating = (name for name in case.arrays if name in batch and jnp.issubdtype(batch[name].dtype, jnp.floating))
    first = next(floating, next(iter(case.arrays)))  # of an embedding, the table
    given = batch | params
    given = given | {first: given[first] * params["factor"]}

    def apply(batch):
        arrays = {name: (given | batch)[name] for name in case.arrays}
        return case.proof.called(case.proof.function, arrays, {**case.configuration.static, **options})

    batch = {name: given[name] for name in batch}
    y = jax.vmap(apply)(batch) if is_mapped else apply(batch)
    return jnp.concatenate([one.reshape(len(one), -1) for one in y], 1) if isinstance(y, tuple) else y


def score(y):
    """The mean over the examples of the squares of the outputs, with weights that none shares."""
    weights = jnp.cos(jnp.arange(y.size // len(y), dtype=y.dtype)).reshape(y.shape[1:])
    return (jnp.square(y) * weights).sum() / BATCH


def scores(params, xs, integers):
    """The sum of the scores of every rule."""
    return sum(score(output_of(CASES[name], params[name], xs[name] | integers[name])) for name in params)


@functools.cache
def of_one_device(titles=tuple(CASES)):
    """The sum of the scores of these rules, and its gradients."""
    return jax.jit(jax.value_and_grad(scores, (0, 1)))(*arguments_of(titles))


def largest_axis(leaf):
    """P with the axis "data" at the largest axis that eight devices can share."""
    fitting = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % 8 == 0]
    if not fitting:
        return P()
    largest = max(fitting, key=lambda axis: leaf.shape[axis])
    return P(*("data" if axis == largest else None for axis in range(leaf.ndim)))


def gathered(hlo):
    """The results of operations that bring together what lies on several devices."""
    return [shape for found in collectives_in(hlo) if found.kind != "all-reduce" for shape in found.shapes]


@pytest.mark.parametrize(
    ("parameters", "titles"),
    one_in(3, [("replicated", list(FIRST.values())), ("replicated", list(CASES)), ("sharded", list(CASES))]),
    ids=["replicated, one rule a page", "replicated", "sharded"],
)
def test_every_rule_under_automatic_sharding(parameters, titles):
    """Sharded parameters are gathered first, as in FSDP: left to itself, XLA would rather share out the channels."""
    mesh = mesh_of(AxisType.Auto)
    params, xs, integers = arguments_of(titles)
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    layout = jax.tree.map(lambda p: NamedSharding(mesh, largest_axis(p) if parameters == "sharded" else P()), params)

    def of_gathered(params, xs, integers):
        return scores(jax.lax.with_sharding_constraint(params, whole), xs, integers)

    step = jax.jit(jax.value_and_grad(of_gathered, (0, 1)), out_shardings=(whole, (layout, split)))
    arguments = jax.device_put(params, layout), *jax.device_put((xs, integers), split)
    program = step.lower(*arguments).compile()
    assert_same(program(*arguments), of_one_device(tuple(titles)))
    # The gradients of all parameters together; and a kernel's as Winograd's products, before they are transformed.
    sums = 1 + ("conv, Winograd" in titles)
    assert [one.kind for one in collectives_in(program.as_text())].count("all-reduce") == sums
    sizes = [leaf.shape for leaf in jax.tree.leaves(params)] if parameters == "sharded" else []
    assert not [shape for shape in gathered(program.as_text()) if shape not in sizes]


@pytest.mark.slow
def test_every_rule_under_shard_map():
    """With checks of what varies over the devices; each gradient of a parameter is a sum over them."""
    mesh = mesh_of(AxisType.Auto)
    specs = jax.tree.map(largest_axis, PARAMS)

    def step(params, xs, integers):
        def total(params, xs):
            whole = jax.tree.map(whole_of, params, specs)
            return jax.lax.psum(scores(whole, xs, integers), "data")  # its means are over 48 examples; it has 6

        return jax.value_and_grad(total, (0, 1))(params, xs)

    def whole_of(leaf, spec):
        return jax.lax.all_gather(leaf, "data", axis=spec.index("data"), tiled=True) if "data" in spec else leaf

    split, outputs = P("data"), (P(), (specs, P("data")))
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(specs, split, split), out_specs=outputs, check_vma=True)
    program = jax.jit(mapped).lower(PARAMS, XS, INTEGERS).compile()
    assert_same(program(PARAMS, XS, INTEGERS), of_one_device())
    shapes = [leaf.shape for leaf in jax.tree.leaves(PARAMS)]
    assert all(c.kind != "all-gather" or set(c.shapes) <= set(shapes) for c in collectives_in(program.as_text()))


@pytest.mark.parametrize(
    ("parameters", "titles"),
    one_in(3, [("sharded", list(FIRST.values())), ("sharded", list(CASES)), ("replicated", list(CASES))]),
    ids=["sharded, one rule a page", "sharded", "replicated"],
)
def test_every_rule_on_explicit_axes(parameters, titles):
    """A rule with sharded parameters is told how to shard its output: x and the parameters leave that open."""
    is_sharded, (params, xs, integers) = parameters == "sharded", arguments_of(titles)
    specs = jax.tree.map(largest_axis if is_sharded else lambda _: P(), params)

    def output(case, params, batch):
        function = case.proof.function
        if not isinstance(function, Rule) and "out_sharding" not in inspect.signature(function).parameters:
            return output_of(case, jax.sharding.reshard(params, P()), batch)
        params = params | {"factor": jax.sharding.reshard(params["factor"], P())}
        of_one, of_batch = ({"out_sharding": spec} if is_sharded else {} for spec in (P(), P("data")))
        return (
            output_of(case, params, batch, **of_one) + output_of(case, params, batch, is_mapped=False, **of_batch)
        ) / 2

    def total(params, xs, integers):
        return sum(score(output(CASES[name], params[name], xs[name] | integers[name])) for name in params)

    with jax.set_mesh(mesh_of(AxisType.Explicit)):
        arguments = jax.device_put(params, specs), *jax.device_put((xs, integers), P("data"))
        program = jax.jit(jax.grad(total, (0, 1))).lower(*arguments).compile()
        ours = program(*arguments)
    assert_same(ours, of_one_device(tuple(titles))[1])
    for leaf, spec in zip(jax.tree.leaves(ours[0]), jax.tree.leaves(specs), strict=True):
        assert leaf.sharding.is_equivalent_to(NamedSharding(leaf.sharding.mesh, spec), leaf.ndim)
    assert {leaf.sharding.spec[0] for leaf in jax.tree.leaves(ours[1])} == {"data"}
    # Of a convolution of more groups than are split XLA gathers the batch; on explicit axes it is left to XLA.
    many_groups = (BATCH, *CASES["conv, many groups"].arrays["x"].shape)
    assert {shape for shape in gathered(program.as_text()) if BATCH in shape} <= {many_groups}


def test_explicit_axes_of_the_arrays_alone(example):
    """Without `jax.set_mesh`, where `jax.lax` works too: a network's gradients, and rules', which are traced."""
    mesh = mesh_of(AxisType.Explicit)
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    params, xs, ys, expected = example
    ours = jax.jit(jax.value_and_grad(loss))(jax.device_put(params, whole), *jax.device_put((xs, ys), split))
    assert_same(ours, expected)

    params, xs, integers = arguments_of(FIRST.values())
    arguments = jax.device_put(params, whole), *jax.device_put((xs, integers), split)
    of_params, of_xs = jax.eval_shape(jax.jit(jax.grad(scores, (0, 1))), *arguments)
    assert {leaf.sharding.spec for leaf in jax.tree.leaves(of_xs)} >= {P("data", None)}
    assert all(leaf.sharding.spec[0] == "data" for leaf in jax.tree.leaves(of_xs))
    assert not any(any(leaf.sharding.spec) for leaf in jax.tree.leaves(of_params))
    y = fnnet.dense(arguments[1]["dense"]["x"], jnp.ones((16, 2)), out_sharding=P("data"))
    assert jax.typeof(y).sharding.spec == P("data", None)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (P(None, None, "data"), ValueError, r"has 3 axes; the output has 2"),
        ("data", TypeError, r"must be a PartitionSpec or a NamedSharding"),
    ],
)
def test_refuses_an_out_sharding(spec, error, message, unchecked_shapes):
    x, kernel = XS["dense"]["x"], PARAMS["dense"]["kernel"]
    with jax.set_mesh(mesh_of(AxisType.Explicit)), pytest.raises(error, match=message):
        fnnet.dense(x, kernel, out_sharding=spec)


def test_refuses_an_out_sharding_of_several_outputs():
    pair = fnnet.rule(lambda x: ((x, x), None), lambda _, bars: (bars[0] + bars[1],), batched=("x",))
    with pytest.raises(ValueError, match=r"is for a rule with one output, not 2"):
        pair(XS["dense"]["x"], out_sharding=P("data"))


def test_refuses_an_out_sharding_without_explicit_axes():
    with pytest.raises(ValueError, match=r"conv: out_sharding .* is for explicit mesh axes"):
        fnnet.conv(jnp.ones((2, 6, 5, 4)), jnp.ones((3, 3, 4, 8)), out_sharding=P("data"))


@pytest.mark.parametrize("averaged", one_in(2, ["gradient", "loss"]))
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


def test_per_example_gradients_stay_with_their_examples(example):
    params, xs, ys, _ = example
    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))
    expected = each(params, xs[:, None], ys[:, None])
    mesh = mesh_of(AxisType.Auto)
    xs, ys = jax.device_put((xs, ys), NamedSharding(mesh, P("data")))
    ours = each(params, xs[:, None], ys[:, None])
    assert_same(ours, expected)
    assert jnp.shape(ours["dense_9"]["kernel"]) == (16, 5, 3)
