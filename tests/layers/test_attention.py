"""`Attention`: against PyTorch's and jax.nn's equations, fewer key heads, rotary, a network that trains, errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet

KEY, LENGTH, FEATURES = jax.random.key(0), 6, 12
X = np.random.default_rng(0).normal(size=(LENGTH, FEATURES)).astype(np.float32)


def by_hand(layer, params, x):
    """By jax.nn, with the parameters in Flax's shapes."""
    rows, width = len(x), FEATURES // layer.heads
    q, k, v = (
        (x @ params[f"{part}_kernel"] + params[f"{part}_bias"]).reshape(rows, -1, width)
        for part in ("query", "key", "value")
    )
    if layer.rotary:  # pairs as complex numbers
        turns = jnp.exp(1j * np.arange(rows)[:, None, None] * 10000.0 ** (-np.arange(width // 2) * 2 / width))

        def turned(a):
            y = (a[..., : width // 2] + 1j * a[..., width // 2 :]) * turns
            return jnp.concatenate([y.real, y.imag], -1).astype(a.dtype)

        q, k = turned(q), turned(k)
    o = jax.nn.dot_product_attention(q, k, v, is_causal=layer.causal)
    return o.reshape(rows, -1) @ params["out_kernel"] + params["out_bias"]


LAYERS = {
    "plain": fnnet.Attention(3, bias_init=jax.nn.initializers.normal()),
    "causal": fnnet.Attention(2, causal=True, bias_init=jax.nn.initializers.normal()),
    "rotary, fewer key heads": fnnet.Attention(
        6, key_heads=2, rotary=True, causal=True, bias_init=jax.nn.initializers.normal()
    ),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=list(LAYERS))
def test_agrees_with_its_equations(layer):
    params = layer.init(KEY, (LENGTH, FEATURES))
    with jax.numpy_dtype_promotion("standard"):
        ours, theirs = (
            jax.jit(jax.value_and_grad(lambda params, x, f=f: jnp.sin(f(params, x)).sum(), (0, 1)))(params, X)
            for f in (layer.apply, lambda params, x: by_hand(layer, params, x))
        )
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


def test_parameters():
    layer = fnnet.Attention(4, key_heads=2, bias=False)
    params = layer.init(KEY, (LENGTH, FEATURES))
    assert tuple(params) == layer.entries == ("query_kernel", "key_kernel", "value_kernel", "out_kernel")
    assert [params[name].shape for name in layer.entries] == [(12, 12), (12, 6), (12, 6), (12, 12)]
    with_biases = fnnet.Attention(4).parameters((LENGTH, FEATURES))
    assert [name for name, one in with_biases.items() if not one.decayed] == [
        f"{part}_bias" for part in ("query", "key", "value", "out")
    ]


def test_a_causal_row_does_not_depend_on_later_ones():
    layer = fnnet.Attention(2, causal=True, rotary=True)
    jacobian = np.abs(jax.jit(jax.jacrev(lambda x: layer.apply(layer.init(KEY, x.shape), x)))(X)).max((1, 3))
    later = np.triu(np.ones((LENGTH, LENGTH), bool), 1)
    assert (jacobian[later] == 0).all()
    assert (jacobian[~later] > 0).all()


def test_the_summary_counts_products():
    layer = fnnet.Attention(3)
    params = layer.init(KEY, X.shape)
    assert layer.products(params, X) == 2 * LENGTH * 4 * FEATURES**2
    assert layer.flops(params, X) > layer.products(params, X) + 4 * LENGTH**2 * FEATURES


def test_a_network_learns_to_look_at_the_marked_row():
    """The label is in the one row whose first entry is 1: only attention can bring it to the first row."""
    random = np.random.default_rng(1)
    marked, labels = random.integers(0, 5, 256), random.integers(0, 2, 256)
    xs = np.zeros((256, 5, 4), np.float32)
    xs[:, :, 1] = random.choice([-1, 1], (256, 5))
    xs[np.arange(256), marked, 0], xs[np.arange(256), marked, 1] = 1, 2 * labels - 1
    net = fnnet.Sequential(fnnet.Attention(2), lambda x: x[0], fnnet.Dense(2))

    def loss(params):
        return fnnet.softmax_cross_entropy(jax.vmap(net.apply, (None, 0))(params, xs), labels).mean()

    @jax.jit
    def trained(params):
        def step(params, _):
            return jax.tree.map(lambda p, g: p - g, params, jax.grad(loss)(params)), None

        return jax.lax.scan(step, params, None, 300)[0]

    params = net.init(KEY, (5, 4))
    assert loss(params) > 0.5
    assert loss(trained(params)) < 0.2


def test_an_exported_network_takes_any_number_of_examples(tmp_path):
    """In blocks of rows, though the number of examples is unknown; and for GPUs and TPUs."""
    net, shape = fnnet.Sequential(fnnet.Attention(2, causal=True, rotary=True)), (70, 8)
    params = net.init(KEY, shape)
    network = fnnet.serving.load(fnnet.serving.export(net, params, shape, tmp_path / "attention.fnnet"))
    for number in (1, 3):
        xs = np.random.default_rng(number).normal(size=(number, *shape)).astype(np.float32)
        wanted = jax.vmap(net.apply, (None, 0))(params, xs)
        np.testing.assert_allclose(network(xs), wanted, rtol=1e-4, atol=1e-5)


WRONG = {
    "heads": (lambda: fnnet.Attention(0), "Attention: heads (=0) must be 1 or more"),
    "key_heads": (lambda: fnnet.Attention(4, key_heads=3), "Attention: key_heads (=3) must divide heads (=4)"),
    "flag": (
        lambda: fnnet.Attention(2, causal=1),  # type: ignore[arg-type]
        "Attention: causal (=1) must be True or False",
    ),
    "features": (lambda: fnnet.Attention(5).init(KEY, (4, 12)), "Attention: heads (=5) must divide the 12 features"),
    "width": (lambda: fnnet.Attention(4, rotary=True).init(KEY, (4, 12)), "Attention: rotary needs heads of an even"),
    "shape": (lambda: fnnet.Attention(2).init(KEY, (4,)), "Attention: x of shape (4,) must have shape (length, feat"),
    "batch": (
        lambda: fnnet.Attention(3).apply(fnnet.Attention(3).init(KEY, X.shape), X[None]),
        "Attention: x of shape (1, 6, 12) must have shape (length, 12); jax.vmap(net.apply",
    ),
    "kernel": (
        lambda: fnnet.Attention(2, key_heads=1).apply(fnnet.Attention(2).init(KEY, X.shape), X),
        'Attention: params["key_kernel"] of shape (12, 12) must have shape (12, 6)',
    ),
}


@pytest.mark.parametrize(("make", "message"), list(WRONG.values()), ids=list(WRONG))
def test_what_cannot_be(make, message, unchecked_shapes):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        make()
