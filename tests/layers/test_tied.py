"""`Tied` is its embedding, its layers and the product with the table's transpose; its gradient sums both uses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet

BLOCK = fnnet.Residual(fnnet.LayerNorm(), fnnet.Attention(2, causal=True), fnnet.Dropout(0.5))
TIED = fnnet.Tied(fnnet.Embedding(11, 8), fnnet.Repeat(BLOCK, 2), fnnet.LayerNorm())
NET = fnnet.Sequential(TIED)
LOOSE = fnnet.Sequential(*TIED.body.layers, fnnet.Dense(11, bias=False))
KEY = jax.random.key(0)
TEXTS = np.random.default_rng(0).integers(0, 11, (24, 6))
NEXT = np.roll(TEXTS, 1, -1)


def loss(logits, labels):
    return fnnet.softmax_cross_entropy(logits, labels).mean(-1)


@pytest.fixture
def params():
    return NET.init(KEY, (6,))


def loosened(params):
    own = params["tied_0"]
    return {**own, "dense_3": {"kernel": own["embedding_0"]["embedding"].T}}


def test_one_table_has_the_gradients_of_both_uses(params):
    def mean(net):
        outputs = jax.vmap(lambda p, x: net.apply(p, x), (None, 0))
        return lambda p: loss(outputs(p, TEXTS), NEXT).mean()

    np.testing.assert_allclose(mean(NET)(params), mean(LOOSE)(loosened(params)), rtol=1e-6)
    ours, apart = jax.grad(mean(NET))(params)["tied_0"], jax.grad(mean(LOOSE))(loosened(params))
    apart["embedding_0"]["embedding"] += apart.pop("dense_3")["kernel"].T
    chex.assert_trees_all_close(ours, apart, rtol=1e-5, atol=1e-7)


def test_it_is_drawn_summarised_and_decayed_as_its_layers(params):
    chex.assert_trees_all_equal(TIED.init(KEY, (6,)), TIED.body.init(KEY, (6,)))
    assert TIED.body.layers[0].example_dtype == NET.example_dtype
    tied, loose = NET.summary((6,)), LOOSE.summary((6,))
    assert tied.flops == loose.flops
    assert tied.parameters == sum(leaf.size for leaf in jax.tree.leaves(params)) == loose.parameters - 88
    assert NET.summary((6,), batch=4).flops > 0
    flags = fnnet.decayed(NET, (6,), jnp.int32)
    chex.assert_trees_all_equal_structs(flags, params)
    expected = fnnet.decayed(LOOSE, (6,), jnp.int32)
    del expected["dense_3"]
    assert flags["tied_0"] == expected


@pytest.mark.slow
def test_it_trains_and_is_traced(params):
    with jax.numpy_dtype_promotion("standard"):  # optax's own arithmetic
        options = {"key": KEY, "epochs": 30, "batch_size": 8, "progress": False}
        trained, history = fnnet.fit(NET, loss, optax.adam(1e-2), (TEXTS, NEXT), **options)
    assert history[-1]["loss"] < history[0]["loss"]
    seen = fnnet.trace(NET, loss, trained, TEXTS[:4], NEXT[:4], optimizer=optax.sgd(0.5))
    assert seen.first_problem() is None
    names = [step.name for step in seen if not step.is_nested]
    assert (names[0], names[-2]) == ("tied_0/embedding_0", "tied_0/dense_3")
    assert "tied_0/repeat_1/residual_1/attention_1" in names
    (of_kernel,) = (one for one in seen["tied_0/dense_3"].outgoing if one.of == "kernel")
    (of_table,) = (one for one in seen["tied_0/embedding_0"].outgoing if one.of == "embedding")
    both = of_kernel.numbers.array.T + of_table.numbers.array  # the two uses move as one
    np.testing.assert_allclose(of_table.update.array, -0.5 * both, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(of_kernel.update.array, of_table.update.array.T)
    norms = fnnet.gradient_norms(NET, loss, params, TEXTS[:4], NEXT[:4])
    gradient = jax.grad(lambda p, x, y: loss(NET.apply(p, x), y))
    each = jax.vmap(lambda x, y: optax.tree.norm(gradient(params, x, y)))(jnp.asarray(TEXTS[:4]), jnp.asarray(NEXT[:4]))
    np.testing.assert_allclose(norms, each, rtol=1e-5)


def test_a_batch_norm_inside_takes_the_statistics_of_the_mini_batch():
    tied = fnnet.Tied(fnnet.Embedding(11, 8), fnnet.BatchNorm())
    net = fnnet.Sequential(tied, compute_dtype=jnp.bfloat16)
    params = net.init(KEY, (6,))
    assert net.of_batch
    flags = net.statistics(params)["tied_0"]
    assert flags["batch_norm_1"] == {"scale": False, "bias": False, "mean": True, "variance": True}
    assert not flags["embedding_0"]["embedding"]
    own, keys = params["tied_0"], jax.random.split(KEY, 24)
    ys, taken = tied.apply_batch(own, TEXTS, keys=keys)
    rows, of_body = tied.body.apply_batch(own, TEXTS, keys=keys)
    np.testing.assert_allclose(ys, rows @ own["embedding_0"]["embedding"].T, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_equal(taken, of_body)
    options = {"key": KEY, "epochs": 2, "batch_size": 8, "progress": False}
    trained, history = fnnet.fit(net, loss, optax.sgd(0.1), (TEXTS, NEXT), **options)
    assert history[-1]["loss"] < history[0]["loss"]
    assert jnp.any(trained["tied_0"]["batch_norm_1"]["mean"])
    assert (net.summary((6,)).parameters, net.summary((6,)).statistics) == (11 * 8 + 4 * 8, 2 * 8)


def test_mixed_precision(params):
    net = fnnet.Sequential(*NET.layers, compute_dtype=jnp.bfloat16)
    assert net.apply(params, TEXTS[0]).dtype == jnp.float32
    np.testing.assert_allclose(net.apply(params, TEXTS[0]), NET.apply(params, TEXTS[0]), atol=0.1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fnnet.Tied(fnnet.Dense(3)), TypeError, r"Tied: embedding \(=Dense\(3\)\) must be an Embedding"),  # type: ignore[arg-type]
        (lambda: fnnet.Tied(fnnet.Embedding(3, 2), fnnet.Dense), TypeError, "layer 1 .* is a class; write Dense"),
        (
            lambda: fnnet.Sequential(fnnet.Tied(fnnet.Embedding(3, 2), fnnet.Dense(4))).init(KEY, (5,)),
            ValueError,
            r"layer 0, Tied\(Embedding\(3, 2\), Dense\(4\)\): Tied: the layers' output of shape \(5, 4\) must end in 2",
        ),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()
