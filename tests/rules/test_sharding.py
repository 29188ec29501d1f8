"""Eight simulated devices give the gradients of one, however JAX is told to share the work, and never a whole batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from devices.collectives import collectives_in
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
    """Entry by entry |a - b| <= 1e-5 (|b| + rms of b)."""
    wanted = jax.tree.leaves_with_path(expected)
    for (path, b), a in zip(wanted, jax.tree.leaves(ours), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        excess = np.abs(a - b) - 1e-5 * (np.abs(b) + np.sqrt(np.mean(b * b)))
        assert (excess <= 0).all(), (jax.tree_util.keystr(path), a.flat[excess.argmax()], b.flat[excess.argmax()])


def test_eight_devices():
    assert len(jax.devices()) == 8


def test_automatic_sharding(example):
    params, xs, ys, expected = example
    mesh = mesh_of(AxisType.Auto)
    params = jax.device_put(params, NamedSharding(mesh, P()))
    xs, ys = jax.device_put((xs, ys), NamedSharding(mesh, P("data")))
    step = jax.jit(jax.value_and_grad(loss))
    assert_same(step(params, xs, ys), expected)


BATCH = 48  # a size that nothing else has: where it is in the result of a gather, the batch has been gathered


def of_every_rule():
    """Functions of parameters and a batch (48, ...) to one number an example, and the parameters of each."""
    rng = np.random.default_rng(1)

    def drawn(*shape):
        return rng.normal(size=shape).astype(np.float32)

    def convolved(**options):
        return lambda p, x: fnnet.conv(x, p, **options)

    rows = {
        "dense": (lambda p, x: fnnet.dense(x, *p), (drawn(16, 8), drawn(8)), (16,)),
        "conv": (lambda p, x: fnnet.conv(x, *p), (drawn(3, 3, 4, 8), drawn(8)), (7, 6, 4)),
        "conv of groups": (convolved(groups=2, stride=2), drawn(3, 3, 2, 8), (7, 6, 4)),
        "conv of many groups": (convolved(groups=40), drawn(2, 2, 2, 80), (3, 4, 80)),
        "conv of one group a channel": (convolved(groups=6), drawn(3, 3, 1, 6), (7, 6, 6)),
        "conv of wide layers": (convolved(), drawn(3, 3, 32, 64), (14, 12, 32)),
        "conv of one channel": (convolved(), drawn(5, 5, 1, 6), (9, 8, 1)),
        "conv of few channels": (convolved(), drawn(3, 3, 3, 16), (9, 11, 3)),
        "conv of few channels, narrow": (convolved(), drawn(3, 3, 3, 16), (9, 8, 3)),
        "conv of many outputs": (convolved(stride=2), drawn(3, 3, 24, 24) / 8, (9, 8, 24)),
        "max_pool": (lambda p, x: fnnet.max_pool(p * x, 2), drawn(1), (6, 6, 3)),
        "max_pool, overlapping": (lambda p, x: fnnet.max_pool(p * x, 3, stride=1), drawn(1), (6, 6, 3)),
        "avg_pool": (lambda p, x: fnnet.avg_pool(p * x, 3, stride=2, padding=1), drawn(1), (6, 6, 3)),
    }
    activations = "softmax log_softmax relu leaky_relu sigmoid tanh softplus silu gelu"
    for name in activations.split():
        rows[name] = (functools.partial(of_sum, getattr(fnnet, name)), drawn(5), (5,))
    losses = {
        "squared_error": lambda p, x: fnnet.squared_error(p * x, x),
        "softmax_cross_entropy": lambda p, x: fnnet.softmax_cross_entropy(p * x, labels(x)),
        "cross_entropy": lambda p, x: fnnet.cross_entropy(fnnet.softmax(p * x), labels(x)),
        "negative_log_likelihood": lambda p, x: fnnet.negative_log_likelihood(fnnet.log_softmax(p * x), labels(x)),
        "sigmoid_binary_cross_entropy": lambda p, x: fnnet.sigmoid_binary_cross_entropy(p * x, jnp.sin(x) ** 2),
        "binary_cross_entropy": lambda p, x: fnnet.binary_cross_entropy(fnnet.sigmoid(p * x), jnp.sin(x) ** 2),
    }
    rows |= {name: (function, drawn(5), (5,)) for name, function in losses.items()}
    return {name: (function, params, drawn(BATCH, *shape)) for name, (function, params, shape) in rows.items()}


def of_sum(function, p, x):
    return function(p + x)


def labels(x):
    return (100 * jnp.abs(x[..., 0])).astype(jnp.int32) % 5


RULES = of_every_rule()
PARAMS, XS = {name: row[1] for name, row in RULES.items()}, {name: row[2] for name, row in RULES.items()}


def test_every_rule_is_among_them():
    public = {name for name, f in vars(fnnet).items() if getattr(f, "__module__", "").startswith("fnnet.rules.")}
    assert public - {"max_pool_indices"} == {name.split(",")[0].split(" of ")[0] for name in RULES}


def scores(params, xs):
    """For each rule the mean over the examples of the squares of its outputs, with weights that none shares."""
    totals = []
    for name, (function, *_) in RULES.items():
        y = function(params[name], xs[name])
        weights = jnp.cos(jnp.arange(y.size // len(y), dtype=y.dtype)).reshape(y.shape[1:])
        totals.append((jnp.square(y) * weights).sum() / BATCH)
    return sum(totals)


@functools.cache
def of_one_device():
    return jax.jit(jax.value_and_grad(scores, (0, 1)))(PARAMS, XS)


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


@pytest.mark.parametrize("parameters", ["replicated", "sharded"])
def test_every_rule_under_automatic_sharding(parameters):
    """Sharded parameters are gathered first, as in FSDP: left to itself, XLA would rather share out the channels."""
    mesh = mesh_of(AxisType.Auto)
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    layout = jax.tree.map(lambda p: NamedSharding(mesh, largest_axis(p) if parameters == "sharded" else P()), PARAMS)

    def of_gathered(params, xs):
        return scores(jax.lax.with_sharding_constraint(params, whole), xs)

    step = jax.jit(jax.value_and_grad(of_gathered, (0, 1)), out_shardings=(whole, (layout, split)))
    program = step.lower(jax.device_put(PARAMS, layout), jax.device_put(XS, split)).compile()
    assert_same(program(jax.device_put(PARAMS, layout), jax.device_put(XS, split)), of_one_device())
    assert [one.kind for one in collectives_in(program.as_text())].count("all-reduce") == 1
    sizes = [leaf.shape for leaf in jax.tree.leaves(PARAMS)] if parameters == "sharded" else []
    assert not [shape for shape in gathered(program.as_text()) if shape not in sizes]


def test_every_rule_under_shard_map():
    """With checks of what varies over the devices; each gradient of a parameter is a sum over them."""
    mesh = mesh_of(AxisType.Auto)
    specs = jax.tree.map(largest_axis, PARAMS)

    def step(params, xs):
        def score(params, xs):
            whole = jax.tree.map(whole_of, params, specs)
            return jax.lax.psum(scores(whole, xs), "data")  # its means are over 48 examples, of which it has 6

        return jax.value_and_grad(score, (0, 1))(params, xs)

    def whole_of(leaf, spec):
        return jax.lax.all_gather(leaf, "data", axis=spec.index("data"), tiled=True) if "data" in spec else leaf

    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=(specs, P("data")), out_specs=(P(), (specs, P("data"))), check_vma=True
    )
    program = jax.jit(mapped).lower(PARAMS, XS).compile()
    assert_same(program(PARAMS, XS), of_one_device())
    shapes = [leaf.shape for leaf in jax.tree.leaves(PARAMS)]
    assert all(c.kind != "all-gather" or set(c.shapes) <= set(shapes) for c in collectives_in(program.as_text()))


@pytest.mark.parametrize("parameters", ["replicated", "sharded"])
def test_conv_and_dense_on_explicit_axes(parameters):
    """With parameters sharded, the output's sharding is asked for: that of x and of the kernel leave it open."""
    names = ["dense", "conv", "conv of groups", "conv of one group a channel"]
    params, xs = ({name: tree[name] for name in names} for tree in (PARAMS, XS))

    def gradients(of_batch, of_one):
        def score(params, xs):
            outputs = [
                fnnet.dense(xs["dense"], *params["dense"], **of_batch),
                fnnet.conv(xs["conv"], *params["conv"], **of_batch),
                fnnet.conv(xs["conv of groups"], params["conv of groups"], groups=2, **of_batch),
                jax.vmap(lambda x, p: fnnet.conv(x, p, groups=6, **of_one), (0, None))(
                    xs["conv of one group a channel"], params["conv of one group a channel"]
                ),
            ]
            return sum(jnp.square(y).sum() for y in outputs) / BATCH

        return jax.jit(jax.value_and_grad(score, (0, 1)))

    expected = gradients({}, {})(params, xs)
    options = [{"out_sharding": P("data")}, {"out_sharding": P()}] if parameters == "sharded" else [{}, {}]
    with jax.set_mesh(mesh_of(AxisType.Explicit)):
        specs = jax.tree.map(largest_axis if parameters == "sharded" else lambda _: P(), params)
        arguments = jax.device_put(params, specs), jax.device_put(xs, P("data"))
        program = gradients(*options).lower(*arguments).compile()
        ours = program(*arguments)
    assert_same(ours, expected)
    for leaf, spec in zip(jax.tree.leaves(ours[1][0]), jax.tree.leaves(specs), strict=True):
        assert leaf.sharding.is_equivalent_to(NamedSharding(leaf.sharding.mesh, spec), leaf.ndim)
    assert not any(BATCH in shape for shape in gathered(program.as_text()))


def scaled_fwd(x, scale):
    normed = jnp.tanh(x)
    return normed * scale, (normed, scale)


def scaled_bwd(residuals, y_bar):
    normed, scale = residuals
    return y_bar * scale * (1 - normed**2), (y_bar * normed).sum(tuple(range(y_bar.ndim - scale.ndim)))


SCALED = fnnet.rule(scaled_fwd, scaled_bwd, batched=("x",))


def test_a_rule_of_your_own_on_explicit_axes():
    """Its residuals are computed, and its parameter is sharded over the axis of the examples."""
    xs, scale = XS["dense"], PARAMS["dense"][0][:, 0]

    def gradients(**options):
        return jax.jit(jax.value_and_grad(lambda scale, xs: jnp.square(SCALED(xs, scale, **options)).sum(), (0, 1)))

    expected = gradients()(scale, xs)
    with jax.set_mesh(mesh_of(AxisType.Explicit)):
        arguments = jax.device_put((scale, xs), P("data"))
        program = gradients(out_sharding=P("data")).lower(*arguments).compile()
        ours = program(*arguments)
    assert_same(ours, expected)
    assert [bar.sharding.spec[0] for bar in ours[1]] == ["data", "data"]
    assert gathered(program.as_text())
    assert not any(BATCH in shape for shape in gathered(program.as_text()))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (P(None, None, "data"), ValueError, r"has 3 axes; the output has 2"),
        ("data", TypeError, r"must be a PartitionSpec or a NamedSharding"),
    ],
)
def test_refuses_an_out_sharding(spec, error, message, unchecked_shapes):
    x, kernel = XS["dense"], PARAMS["dense"][0]
    with jax.set_mesh(mesh_of(AxisType.Explicit)), pytest.raises(error, match=message):
        fnnet.dense(x, kernel, out_sharding=spec)


def test_refuses_an_out_sharding_of_several_outputs():
    pair = fnnet.rule(lambda x: ((x, x), None), lambda _, bars: (bars[0] + bars[1],), batched=("x",))
    with pytest.raises(ValueError, match=r"is for a rule with one output, not 2"):
        pair(XS["dense"], out_sharding=P("data"))


def test_refuses_an_out_sharding_without_explicit_axes():
    with pytest.raises(ValueError, match=r"conv: out_sharding .* is for explicit mesh axes"):
        fnnet.conv(XS["conv"], PARAMS["conv"][0], out_sharding=P("data"))


FORMS = {  # of convolution, fnnet/formulations: image, kernel, groups
    "winograd": ((64, 14, 12, 32), (3, 3, 32, 64), 1),
    "sums": ((64, 9, 8, 1), (5, 5, 1, 6), 1),
    "bands": ((64, 9, 8, 3), (3, 3, 3, 16), 1),
    "patches": ((64, 9, 11, 3), (3, 3, 3, 16), 1),
    "canonical": ((64, 9, 8, 24), (3, 3, 24, 24), 1),
    "depthwise": ((16, 9, 8, 6), (3, 3, 1, 6), 6),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_convolution_on_explicit_axes(form):
    image, kernel, groups = FORMS[form]
    x, k = (np.random.default_rng(3).normal(size=shape).astype(np.float32) for shape in (image, kernel))
    step = jax.grad(lambda x, k: jnp.square(fnnet.conv(x, k, groups=groups)).mean(), (0, 1))
    expected = jax.jit(step)(x, k)
    with jax.set_mesh(mesh_of(AxisType.Explicit)):
        sharded = jax.device_put(x, P("data")), jax.device_put(k, P())
        program = jax.jit(step).lower(*sharded).compile()
        assert_same(program(*sharded), expected)
    assert not gathered(program.as_text())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_convolution_in_shard_map(form):
    image, kernel, groups = FORMS[form]
    images = 2 * image[0], *image[1:]  # each device chooses a form by its own share
    x, k = (np.random.default_rng(3).normal(size=shape).astype(np.float32) for shape in (images, kernel))

    def loss(x, k):
        return jnp.square(fnnet.conv(x, k, groups=groups)).mean()

    step = jax.grad(lambda x, k: jax.lax.pmean(loss(x, k), "data"), (0, 1))
    specs = P("data"), P()
    mapped = jax.shard_map(step, mesh=mesh_of(AxisType.Auto), in_specs=specs, out_specs=specs)
    assert_same(jax.jit(mapped)(x, k), jax.jit(jax.grad(loss, (0, 1)))(x, k))


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
