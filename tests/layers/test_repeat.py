"""`Repeat` is its block as often as said, one after the other, and compiles as one."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet

BLOCK = fnnet.Residual(fnnet.Dense(8), fnnet.tanh, fnnet.Dropout(0.5), fnnet.Dense(8))
DEEP = fnnet.Sequential(fnnet.Dense(8), fnnet.Repeat(BLOCK, 3), fnnet.Dense(2))
ROW = fnnet.Sequential(fnnet.Dense(8), BLOCK, BLOCK, BLOCK, fnnet.Dense(2))
KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=4).astype(np.float32)


def in_a_row(params):
    """The parameters of DEEP for ROW."""
    blocks = {f"residual_{i + 1}": jax.tree.map(lambda p, i=i: p[i], params["repeat_1"]) for i in range(3)}
    return {"dense_0": params["dense_0"], **blocks, "dense_4": params["dense_2"]}


@pytest.fixture
def params():
    return DEEP.init(KEY, (4,))


def test_it_is_its_blocks_in_a_row(params):
    def squares(net):
        return jax.jit(jax.value_and_grad(lambda p: (net.apply(p, X) ** 2).sum()))

    (value, bars), (expected, expected_bars) = squares(DEEP)(params), squares(ROW)(in_a_row(params))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    chex.assert_trees_all_close(in_a_row(bars), expected_bars, rtol=1e-5, atol=1e-6)


def test_each_repetition_has_draws_of_its_own(params):
    kernels = params["repeat_1"]["dense_0"]["kernel"]
    assert kernels.shape == (3, 8, 8)
    assert len(np.unique(kernels)) == kernels.size
    alone = BLOCK.init(jax.random.fold_in(KEY, 1), (8,))["dense_0"]["kernel"]
    np.testing.assert_allclose(kernels.std(), alone.std(), rtol=0.3)  # of the block's own variance
    dropped = fnnet.Repeat(fnnet.Dropout(0.5), 8).apply({}, jnp.ones(4096), key=KEY)
    assert 4 < (dropped != 0).sum() < 40  # 16 are expected where no two masks are equal


def test_its_kernels_are_drawn_for_the_layer_after_it():
    kernel = fnnet.Sequential(fnnet.Repeat(fnnet.Dense(64), 2), fnnet.relu).init(KEY, (64,))["repeat_0"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 64), rtol=0.05)  # He's; Glorot's is sqrt(1 / 64)


def test_checkpointed_it_has_the_same_gradient_and_keeps_inputs_alone(params):
    again = fnnet.Sequential(fnnet.Dense(8), fnnet.Repeat(BLOCK, 3, checkpoint=True), fnnet.Dense(2))

    def gradient(net):
        return jax.jit(jax.grad(lambda p: (net.apply(p, X, key=KEY) ** 2).sum()))(params)

    chex.assert_trees_all_close(gradient(again), gradient(DEEP), rtol=1e-6)

    def kept(block):
        _, pull = jax.vjp(lambda p, x: block.apply(p, x, key=KEY), params["repeat_1"], jnp.ones(8))
        return sum(leaf.size for leaf in jax.tree.leaves(pull) if jnp.issubdtype(leaf.dtype, jnp.floating))

    parameters = sum(leaf.size for leaf in jax.tree.leaves(params["repeat_1"]))
    assert kept(again.layers[1]) <= parameters + 3 * 8 < kept(DEEP.layers[1])


@pytest.mark.parametrize("batch", [None, 16])
def test_its_summary_counts_every_repetition(batch):
    options = {} if batch is None else {"batch": batch}
    block = fnnet.Residual(fnnet.Dense(8), fnnet.tanh, fnnet.Dense(8))  # a dropout's draws are counted by XLA alone
    nets = fnnet.Repeat(block, 3), fnnet.Sequential(block, block, block)
    deep, row = (fnnet.Sequential(fnnet.Dense(8), net).summary((4,), **options) for net in nets)
    if batch is None:
        assert (deep.flops, deep.parameters) == (row.flops, row.parameters)
    else:
        assert deep.flops == pytest.approx(row.flops, rel=0.1)


def test_a_deep_network_is_no_longer_a_program():
    """Compilation follows the program's size, which does not depend on the repetitions."""

    def lines(times):
        net = fnnet.Sequential(fnnet.Dense(8), fnnet.Repeat(BLOCK, times), fnnet.Dense(2))
        params = jax.eval_shape(lambda key: net.init(key, (4,)), KEY)
        step = jax.jit(jax.grad(lambda p: (net.apply(p, X) ** 2).sum()))
        return len(step.lower(params).as_text().splitlines())

    assert lines(24) == lines(2)


@pytest.mark.slow
def test_it_trains_and_is_traced(tmp_path):
    xs = np.random.default_rng(1).normal(size=(64, 4)).astype(np.float32)
    data = xs, (xs[:, 0] > 0).astype(np.int32)
    with jax.numpy_dtype_promotion("standard"):  # optax's own arithmetic
        options = {"key": KEY, "epochs": 20, "progress": False}
        loss = fnnet.softmax_cross_entropy
        params, history = fnnet.fit(DEEP, loss, optax.adam(1e-2), data, **options)
        for epochs in (1, 20):
            options |= {"epochs": epochs, "checkpoints": fnnet.Checkpoints(tmp_path)}
            resumed, _ = fnnet.fit(DEEP, loss, optax.adam(1e-2), data, **options)
    assert history[-1]["loss"] < history[0]["loss"] / 2
    chex.assert_trees_all_equal(resumed, params)
    trace = fnnet.trace(DEEP, loss, params, xs[:8], data[1][:8])
    assert trace.first_problem() is None
    paths = [f"repeat_1/residual_{i}" for i in range(3)]
    inside = ["dense_0", "tanh_1", "dropout_2", "dense_3"]
    blocks = [name for path in paths for name in (*(f"{path}/{layer}" for layer in inside), path)]
    assert [step.name for step in trace] == ["dense_0", *blocks, "repeat_1", "dense_2", "loss"]
    norms = jax.jit(functools.partial(fnnet.gradient_norms, DEEP, loss))(params, xs[:8], data[1][:8])
    each = jax.jit(jax.vmap(jax.grad(lambda p, x, y: loss(DEEP.apply(p, x), y)), (None, 0, 0)))
    squares = [np.square(g).reshape(8, -1).sum(1) for g in jax.tree.leaves(each(params, xs[:8], data[1][:8]))]
    np.testing.assert_allclose(norms, np.sqrt(sum(squares)), rtol=1e-4)


def test_mixed_precision(params):
    net = fnnet.Sequential(*DEEP.layers, compute_dtype=jnp.bfloat16)
    assert net.apply(params, X).dtype == jnp.float32
    np.testing.assert_allclose(net.apply(params, X), DEEP.apply(params, X), atol=0.05)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fnnet.Repeat(fnnet.Dense, 2), TypeError, r"Repeat: block \(=Dense\) is a class; write Dense"),
        (lambda: fnnet.Repeat(BLOCK, 0), ValueError, "Repeat: times"),
        (
            lambda: fnnet.Repeat(BLOCK, 2, checkpoint="no"),  # type: ignore[arg-type]
            TypeError,
            r"Repeat: checkpoint \(='no'\) must be True or False",
        ),
        (
            lambda: fnnet.Repeat(BLOCK, 2).step(DEEP.init(KEY, (4,))["repeat_1"], jnp.ones(8), None, jnp.int32(0), 4),
            ValueError,
            "must have 2 repetitions along its first axis",
        ),
        (
            lambda: fnnet.Sequential(fnnet.Repeat(fnnet.Dense(3), 2)).init(KEY, (4,)),
            ValueError,
            r"layer 0, Repeat\(Dense\(3\), 2\): Repeat: the block's output of shape \(3,\), float32 must be like",
        ),
        (
            lambda: fnnet.Repeat(BLOCK, 2).apply(DEEP.init(KEY, (4,))["repeat_1"], jnp.ones(8)),
            ValueError,
            "Repeat: dense_0/bias of shape .3, 8. must have 2 repetitions along its first axis",
        ),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()
