"""`fnnet.trace`: the cotangents are those of `jax.grad`, bit for bit; measures, saved arrays, comparisons, chains."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.cli.presets import cnn, resnet
from fnnet.core.reduction import mean_loss
from fnnet.layers.containers import Container
from fnnet.tracing.numbers import numbers
from fnnet.training.steps import batch_loss
from tracing.networks import image_network, images, loss, seen


@functools.cache
def small():
    """A network and one example."""
    net = fnnet.Sequential(fnnet.Conv(2, 3), fnnet.relu, fnnet.Flatten(), fnnet.Dense(3))
    x = jax.random.normal(jax.random.key(1), (4, 4, 1))
    return net, net.init(jax.random.key(0), x.shape), x, jnp.array(1)


def same(ours, theirs):
    return np.asarray(ours).tobytes() == np.asarray(theirs).tobytes() and ours.shape == theirs.shape


# The table.


def test_the_table_leaves_out_columns_that_are_empty_in_every_row():
    net, params, x, y = small()
    header = str(fnnet.trace(net, loss, params, x, y)).splitlines()[1]
    with jax.numpy_dtype_promotion("standard"):
        updated = str(fnnet.trace(net, loss, params, x, y, optimizer=optax.sgd(0.1))).splitlines()[1]
    assert "rms of y" in header
    assert "update" not in header
    assert updated.endswith("update / weight")


# The bits.


def test_the_gradient_has_the_bits_of_jax_grad():
    net, params, x, y = images()
    expected = jax.grad(lambda params: batch_loss(net, loss, params, x, y, jax.random.key(2))[0])(params)
    for step in seen():
        own = functools.reduce(lambda tree, key: tree.get(key, {}), step.name.split("/"), expected)
        for one in step.parameters:
            assert same(one.numbers.array, own[one.of]), (step.name, one.of)
    assert sum(len(step.parameters) for step in seen()) == len(jax.tree.leaves(params))
    assert seen().same_bits


def test_each_cotangent_has_the_bits_of_jax_grad_from_its_layer_on():
    """By the output of each layer of the row, of the layers after it: without a tap, and without this module."""
    net, params, x, y = images()
    keys = jax.random.split(jax.random.key(2), len(x))

    def tail(position, h):
        def one(h, key):
            for place in range(position + 1, len(net.layers)):
                name, layer = list(net.members.items())[place]
                h = layer.apply(params.get(name, {}), h, key=jax.random.fold_in(key, place))
            return h

        return mean_loss(loss, jax.vmap(one)(h, keys), y)

    for position, (name, _) in enumerate(net.members.items()):
        step = seen()[name]
        expected = jax.grad(functools.partial(tail, position))(jnp.asarray(step.value.array))
        assert same(step.incoming.array, expected), name
        if position and position + 1 < len(net.layers):
            assert same(step.outgoing[0].numbers.array, seen()[list(net.members)[position - 1]].incoming.array)


def test_the_layers_inside_a_residual_too():
    """The rule of each layer, called by itself on what came in, gives what went out."""
    for name in ("residual_1/conv_0", "residual_1/relu_1", "residual_1/shortcut"):
        step = seen()[name]
        own = {one.of: jnp.asarray(one.value.array) for one in step.outgoing}
        layer = step.layer

        def run(x, params, layer=layer):
            return jax.vmap(layer.apply, (None, 0))(params, x)

        x_bar, params_bar = jax.vjp(run, own.pop("x"), own)[1](jnp.asarray(step.incoming.array))
        assert same(step.cotangent("x").numbers.array, x_bar)
        assert all(same(step.cotangent(of).numbers.array, bar) for of, bar in params_bar.items())
    block = seen()["residual_1"]
    parts = [seen()[f"residual_1/{name}"].cotangent("x").numbers.array for name in ("conv_0", "shortcut")]
    assert same(block.outgoing[0].numbers.array, np.asarray(parts[0] + parts[1]))


def test_one_example_is_not_a_batch_of_one():
    net, params, x, y = small()
    one = fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, y)
    expected = jax.grad(lambda params: fnnet.softmax_cross_entropy(net.apply(params, x), y))(params)
    assert one.batch is None
    assert one["conv_0"].value.shape == (4, 4, 2)
    assert same(one["dense_3"].cotangent("kernel").numbers.array, expected["dense_3"]["kernel"])
    assert one.same_bits


def test_a_planted_difference_of_the_last_bit_is_seen(monkeypatch):
    from fnnet.tracing import probes

    nudged = jax.custom_vjp(lambda value, probe: value)
    nudged.defvjp(lambda value, probe: (value, None), lambda _, bar: (jnp.nextafter(bar, 2 * bar), bar))
    monkeypatch.setattr(probes, "tap", nudged)
    net, params, x, y = small()
    assert not fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, y).same_bits


# What stands beside the arrays.


def test_every_layer_of_a_right_network_agrees():
    assert isinstance(image_network(), Container)
    for step in seen():
        if step.is_nested:
            continue
        for one in step.outgoing:
            assert one.agreement is not None
            assert not one.agreement.wrong, (step.name, one)
            assert one.agreement.largest < 1e-5
            assert one.slope is None or not one.slope.is_wrong, (step.name, one.slope)
    conclusive = [one.slope.difference.conclusive for step in seen() for one in step.outgoing if one.slope is not None]
    assert np.mean(conclusive) > 0.9
    assert seen().first_problem() is None


def test_saved_arrays_are_the_rules_residuals():
    def what(name):
        return [(one.what, one.numbers.dtype) for one in seen()[name].saved]

    assert what("residual_1/conv_0") == [("x, the layer's input", "float32"), ("kernel", "float32")]
    assert what("relu_0") == [("of its own", "bool")]
    assert what("max_pool_2") == [("of its own", "int8")]
    assert what("flatten_3") == []
    assert seen()["max_pool_2"].saved_bytes == 3 * 3 * 3 * 2
    assert seen()["residual_1/conv_0"].saved_bytes == 0


def test_one_example_saves_what_a_batch_of_one_does():
    """Three products of attention save x; outside of a jaxpr JAX lists it three times."""
    net, x = fnnet.Sequential(fnnet.Attention(1)), jax.random.normal(jax.random.key(0), (1, 3, 4))
    params = net.init(jax.random.key(1), (3, 4))
    batch, one = (
        fnnet.trace(net, lambda y, t: fnnet.squared_error(y, t).sum(-1), params, example, 0 * example)["attention_0"]
        for example in (x, x[0])
    )
    assert [(s.what, s.numbers.bytes) for s in one.saved] == [(s.what, s.numbers.bytes) for s in batch.saved]
    assert one.saved[0].what == "x, the layer's input"


def test_a_saved_output_is_named():
    net, x = fnnet.Sequential(fnnet.Dense(3), fnnet.tanh), jnp.ones((2, 4))
    params = net.init(jax.random.key(0), (4,))
    (saved,) = fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, jnp.arange(2))["tanh_1"].saved
    assert saved.what == "y, the layer's output"


def test_updates_are_the_optimisers():
    one = seen()["dense_5"].cotangent("kernel")
    np.testing.assert_allclose(one.update.array, -0.1 * one.numbers.array, rtol=1e-6)
    assert one.ratio == pytest.approx(one.update.rms / one.value.rms)
    assert seen().loss_after < seen().loss


def test_measures_count_what_is_not_finite():
    array = np.array([[0.0, 3.0, np.nan], [-4.0, np.inf, 0.0]], np.float32)
    measured = numbers("a", array)
    assert (measured.rms, measured.low, measured.high) == (2.5, -4.0, 3.0)
    assert np.isnan(measured.whole_rms)
    assert numbers("a", np.float32([1, np.inf])).whole_rms == np.inf
    assert (measured.zeros, measured.nans, measured.infinities, measured.largest) == (1 / 3, 1, 1, 4.0)
    assert numbers("tiny", np.float32([1e-30, 1e-30])).rms == pytest.approx(1e-30)
    assert numbers("nothing", np.zeros((0, 2))).rms == 0.0


def test_chains_add_up_to_their_entry():
    rng = np.random.default_rng(3)
    named = 0
    for step in seen():
        for one in () if step.is_nested else step.outgoing:
            flat = int(np.abs(one.numbers.array).argmax())
            for entry in {flat, int(rng.integers(one.numbers.array.size))}:
                index = [int(i) for i in np.unravel_index(entry, one.numbers.shape)]
                chain = seen().explain(step.name, one.of, index, most=10_000)
                size = sum(abs(term.product) for term in chain.terms)
                assert abs(chain.total - chain.value) <= 1e-5 * (size + one.numbers.rms), (step.name, one.of, index)
                assert sum(term.product for term in chain.terms) == pytest.approx(chain.total, rel=1e-9, abs=1e-12)
                for term in chain.terms[:5]:
                    if "[" in term.name:  # the factor that is named is the entry of that name
                        name, at = term.name.rstrip("]").split("[")
                        array = step.inputs.array if name == "x" else step.cotangent(name).value.array
                        assert array[tuple(map(int, at.split(",")))] == pytest.approx(term.factor), term
                        named += 1
    assert named > 12


def test_a_rule_of_the_readers_takes_a_layers_place():
    net = fnnet.Sequential(fnnet.Dense(4), fnnet.relu, fnnet.Dense(3))
    params = net.init(jax.random.key(0), (2,))

    def fwd(z):
        """z^2.

        forward     y = z^2                (1)
        backward    z_bar = 2 z y_bar      (2)
        """
        return z * z, z  # (1)

    def bwd(z, y_bar):
        return (2 * z * y_bar,)  # (2)

    square = fnnet.rule(fwd, bwd, batched=("z",))
    x, y = jnp.array([[1.0, -2.0], [0.5, 1.5]]), jnp.array([1, 0])
    for other in (square, lambda x: x * x):
        traced = fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, y, replace={"relu_1": other})
        np.testing.assert_array_equal(traced["relu_1"].value.array, traced["relu_1"].inputs.array ** 2)
        assert traced.first_problem() is None
    page = fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, y, replace={"relu_1": square})["relu_1"].pages[0]
    assert [(e.number, e.side, e.formula, e.code) for e in page.equations] == [
        (1, "forward", "y = z^2", ("return z * z, z",)),
        (2, "backward", "z_bar = 2 z y_bar", ("return (2 * z * y_bar,)",)),
    ]
    with pytest.raises(ValueError, match=r"replace has \['relu_7'\]; the layers are dense_0"):
        fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, y, replace={"relu_7": square})


def test_two_moments(tmp_path):
    net, params, x, y = small()
    moved = jax.tree.map(lambda leaf: 1.5 * leaf, params)
    then, now = (fnnet.trace(net, fnnet.softmax_cross_entropy, p, x, y) for p in (params, moved))
    change = then.diff(now)
    rows = {(row.layer, row.of): row for row in change.rows}
    assert rows["conv_0", "kernel"].moved == pytest.approx(0.5)
    assert rows["conv_0", "y"].value[1] == pytest.approx(1.5 * rows["conv_0", "y"].value[0], rel=1e-5)
    assert change.loss == (then.loss, now.loss)
    assert then.diff(then).rows[1].cosine == pytest.approx(1)
    smaller = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(3))
    other = fnnet.trace(smaller, fnnet.softmax_cross_entropy, smaller.init(jax.random.key(0), (4, 4, 1)), x, y)
    with pytest.raises(ValueError, match="must be of one network"):
        then.diff(other)
    page = now.save(tmp_path / "page.html", moments={"epoch 0": then, "epoch 1": now}).read_text(encoding="utf-8")
    assert [page.count(f'"label":"{label}"') for label in ("epoch 0", "epoch 1")] == [1, 1]
    with pytest.raises(ValueError, match="save: moment 'epoch 0': the traces must be of one network"):
        now.save(tmp_path / "page.html", moments={"epoch 0": other})


def test_bad_questions():
    with pytest.raises(TypeError, match=r"net .* must be a Sequential or a Residual"):
        fnnet.trace(fnnet.Dense(3), loss, {}, jnp.zeros(2), 0)
    with pytest.raises(KeyError, match="no layer 'conv_9'"):
        seen()["conv_9"]
    with pytest.raises(ValueError, match="no cotangent of 'weights'"):
        seen().explain("dense_5", "weights", (0,))
    with pytest.raises(ValueError, match="must be an entry of bias_bar"):
        seen().explain("dense_5", "bias", (3,))
    pair = fnnet.Sequential(lambda x: (x, x), fnnet.Dense(2))
    params = {"dense_1": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}}
    with pytest.raises(TypeError, match="must give one array"):
        fnnet.trace(pair, fnnet.softmax_cross_entropy, params, jnp.zeros(2), 0)


def test_the_table_says_nan():
    net, params, x, y = small()
    x, optimizer = jnp.full_like(x, jnp.nan), optax.sgd(0.1)
    trace = fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, y, optimizer=optimizer)
    row = next(line.split() for line in str(trace).splitlines() if line.startswith("dense_3"))
    assert row[2:4] == ["nan", "nan"]
    kernel = next(line for line in str(trace).splitlines() if line.lstrip().startswith("kernel"))
    assert kernel.split()[1:] == ["nan", "nan", "nan", "nan"]
    assert "rms nan" in repr(trace["dense_3"].value)


def test_statistics_are_not_compared_with_finite_differences():
    """The output depends on them, but they have no gradient: training does not move them."""
    net, x = fnnet.Sequential(fnnet.BatchNorm(), fnnet.Dense(3)), jax.random.normal(jax.random.key(1), (4, 2))
    traced = fnnet.trace(net, loss, net.init(jax.random.key(0), (2,)), x, jnp.arange(4) % 3)
    without = [one.of for one in traced["batch_norm_0"].outgoing if one.slope is None]
    assert without == ["mean", "variance"]
    assert traced.first_problem() is None


@pytest.mark.slow
def test_resnet(tmp_path):
    """Its arrays are sampled, so a larger batch makes no larger page."""
    net = resnet(10, (28, 28, 1))
    params = net.init(jax.random.key(0), (28, 28, 1))
    x, y = jax.random.uniform(jax.random.key(1), (4, 28, 28, 1)), jnp.arange(4)
    traced = fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, y)
    assert traced.graph
    assert traced.first_problem() is None
    assert traced.save(tmp_path / "resnet.html").stat().st_size < 5e6


@pytest.mark.slow
def test_cnn_with_a_batch_of_32(tmp_path):
    """As large as the docs say; its gradient under jit is the same up to rounding."""
    net = cnn(10, (28, 28, 1))
    params = net.init(jax.random.key(0), (28, 28, 1))
    x, y = jax.random.uniform(jax.random.key(1), (32, 28, 28, 1)), jnp.arange(32) % 10
    traced = fnnet.trace(net, fnnet.softmax_cross_entropy, params, x, y)
    assert traced.same_bits
    assert traced.first_problem() is None
    assert traced.save(tmp_path / "cnn.html").stat().st_size < 5e6
    of_params = functools.partial(batch_loss, net, fnnet.softmax_cross_entropy)
    jitted, _ = jax.jit(jax.grad(of_params, has_aux=True))(params, x, y)
    for ours, theirs in zip(jax.tree.leaves(traced.params_bar), jax.tree.leaves(jitted), strict=True):
        assert jnp.abs(ours - theirs).max() <= 1e-5 * jnp.sqrt(jnp.mean(theirs**2))
