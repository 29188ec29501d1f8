"""Norms of each example's gradient, and clipped sums, against vmap(grad) of the same network in plain jax.lax."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import fnnet
from fnnet.layers import gram_norms
from fnnet.layers.protocol import Layer

KEY = jax.random.key(7)
EXAMPLES = 5


@dataclass(frozen=True, repr=False)
class Scale(Layer):
    """A user's own layer, used twice in its own formula."""

    @property
    def entries(self):
        return ("scale",)

    def init(self, key, shape, dtype=jnp.float32):
        return {"scale": jax.random.normal(key, shape[-1:], dtype)}

    def apply(self, params, x, *, key=None):
        return x * params["scale"] + jnp.sin(params["scale"])


def plain(net, params, x):
    """The network in jax.lax and jax.numpy."""
    for position, layer in enumerate(net.layers):
        own = next((p for name, p in params.items() if name.endswith(f"_{position}")), {})
        x = plain_layer(layer, own, x)
    return x


def plain_layer(layer, own, x):
    match layer:
        case fnnet.Dense():
            y = jnp.einsum("...i,io->...o", x, own["kernel"])
            return y + own["bias"] if layer.bias else y
        case fnnet.Conv():
            rank = x.ndim - 1
            axes = "DHW"[3 - rank :]
            y = lax.conv_general_dilated(
                x[None],
                own["kernel"],
                np.broadcast_to(layer.stride, rank),
                layer.padding,
                rhs_dilation=np.broadcast_to(layer.dilation, rank),
                dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
                feature_group_count=layer.groups,
            )[0]
            return y + own["bias"] if layer.bias else y
        case fnnet.MaxPool():
            size = (*np.broadcast_to(layer.window, x.ndim - 1), 1)
            return lax.reduce_window(x, -jnp.inf, lax.max, size, size, "VALID")
        case fnnet.Residual():
            shortcut = x if layer.shortcut is None else plain_layer(layer.shortcut, own["shortcut"], x)
            return shortcut + plain(layer, {k: v for k, v in own.items() if k != "shortcut"}, x)
        case fnnet.Flatten():
            return x.reshape(-1)
        case Scale():
            return x * own["scale"] + jnp.sin(own["scale"])
        case _:
            return {fnnet.tanh: jnp.tanh, fnnet.silu: jax.nn.silu}[layer](x)


def drawn(seed):
    """A network with each kind of layer that counts, and the shape of its examples."""
    rng = np.random.default_rng(seed)
    pick = lambda *choices: choices[rng.integers(len(choices))]  # noqa: E731
    rank = pick(1, 2)
    first = fnnet.Conv(
        pick(2, 4),
        (pick(1, 2, 3),) * rank,
        stride=pick(1, 2),
        dilation=pick(1, 2),
        padding=pick("SAME", "VALID"),
        bias=pick(0, 1) == 1,
    )
    body = fnnet.Conv(first.features, (3,) * rank, groups=pick(1, 2)), fnnet.tanh
    residual = fnnet.Residual(*body, shortcut=pick(None, fnnet.Conv(first.features, (1,) * rank), Scale()))
    head = (fnnet.Dense(pick(2, 6)), fnnet.silu) if pick(0, 1) else (fnnet.MaxPool((2,) * rank),)
    net = fnnet.Sequential(first, pick(fnnet.tanh, Scale()), residual, *head, fnnet.Flatten(), fnnet.Dense(3))
    return net, (*(9, 7)[:rank], 2)


VECTORS = fnnet.Sequential(fnnet.Dense(6, bias=False), fnnet.tanh, Scale(), fnnet.Dense(3)), (4,)
NESTED = fnnet.Sequential(fnnet.Residual(fnnet.Residual(fnnet.Dense(4)), shortcut=fnnet.Dense(4)), fnnet.Dense(3)), (4,)
CASES = {"vectors": VECTORS, "nested": NESTED} | {f"drawn-{seed}": drawn(seed) for seed in range(6)}


def problem(net, shape, dtype=jnp.float64):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: net.init(key, shape), KEY)
    params = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape) / 2, dtype), shapes)
    return params, jnp.asarray(rng.normal(size=(EXAMPLES, *shape)), dtype), jnp.asarray(rng.integers(0, 3, EXAMPLES))


@functools.partial(jax.jit, static_argnums=0, static_argnames="loss")
def both(net, params, xs, ys, max_norm, key=None, *, loss=fnnet.softmax_cross_entropy):
    given = net, loss, params, xs, ys
    norms = fnnet.gradient_norms(*given, key=key)
    return norms, fnnet.clipped_gradients(*given, max_norm=max_norm, key=key)


def expected(net, params, xs, ys, max_norm):
    def loss(params, x, y):
        return -jax.nn.log_softmax(plain(net, params, x))[y]

    bars = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(params, xs, ys)
    norms = np.sqrt(sum(np.square(bar).reshape(EXAMPLES, -1).sum(1) for bar in jax.tree.leaves(bars)))
    factors = np.minimum(1, max_norm / norms)
    return norms, jax.tree.map(lambda bar: np.einsum("n,n...->...", factors, bar), bars)


def close(a, b, tol=1e-11):
    rms = np.sqrt(np.mean(np.square(b)))
    assert a.shape == b.shape
    assert (np.abs(a - b) <= tol * (np.abs(b) + rms)).all()


WAYS = ("rule", "gram", "gradient")
QUICK = {("nested", "gram"), ("drawn-1", "rule")}


@pytest.mark.parametrize(
    ("case", "way"),
    [pytest.param(case, way, marks=() if (case, way) in QUICK else pytest.mark.slow) for case in CASES for way in WAYS],
)
@pytest.mark.usefixtures("x64")
def test_against_a_plain_forward(case, way, monkeypatch):
    if way != "rule":
        monkeypatch.setattr(gram_norms, "gram_is_cheaper", lambda *sizes: way == "gram")
    net, shape = CASES[case]
    params, xs, ys = problem(net, shape)
    middle = float(np.median(expected(net, params, xs, ys, 1)[0]))  # some are clipped and some are not
    both.clear_cache()  # of the other ways
    norms, clipped = both(net, params, xs, ys, middle)
    wanted, wanted_clipped = expected(net, params, xs, ys, middle)
    close(norms, wanted)
    assert jax.tree.structure(clipped) == jax.tree.structure(params)
    jax.tree.map(close, clipped, wanted_clipped)


@pytest.mark.usefixtures("x64")
def test_an_example_has_the_dropout_key_that_fit_gives_it():
    net = fnnet.Sequential(fnnet.Dense(8), fnnet.Dropout(0.5), Scale(), fnnet.Dropout(0.3), fnnet.Dense(3))
    params, xs, ys = problem(net, (4,))

    def loss(params, x, y, key):
        return fnnet.softmax_cross_entropy(net.apply(params, x, key=key), y)

    bars = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0, 0)))(params, xs, ys, jax.random.split(KEY, EXAMPLES))
    norms = np.sqrt(sum(np.square(bar).reshape(EXAMPLES, -1).sum(1) for bar in jax.tree.leaves(bars)))
    found, total = both(net, params, xs, ys, 2 * norms.max(), KEY)
    close(found, norms)
    jax.tree.map(lambda a, b: close(a, b.sum(0)), total, bars)


def test_windows_of_a_text_are_examples():
    net = fnnet.Sequential(fnnet.Embedding(256, 2), fnnet.Dense(256))
    params, windows = net.init(jax.random.key(0), (4,)), fnnet.data.windows("to be or not", 4)
    loss = fnnet.LinearSoftmaxCrossEntropy()
    norms = [fnnet.gradient_norms(net, loss, params, *pair) for pair in (windows, map(np.asarray, windows))]
    np.testing.assert_array_equal(*norms)


def test_what_does_not_count_has_norm_0():
    net, shape = VECTORS
    params, xs, ys = problem(net, shape, dtype=jnp.float32)
    loss = functools.partial(fnnet.softmax_cross_entropy, ignore_index=-1)
    norms, _ = both(net, params, xs, ys.at[2].set(-1), 1.0, loss=loss)
    assert np.flatnonzero(np.asarray(norms) == 0).tolist() == [2]
    norms, bars = both(net, params, xs, jnp.full_like(ys, -1), 1.0, loss=loss)
    assert all(np.all(np.asarray(bar) == 0) for bar in [norms, *jax.tree.leaves(bars)])
    assert fnnet.gradient_norms(fnnet.Sequential(fnnet.tanh), loss, {}, xs, ys).tolist() == [0] * EXAMPLES


def test_bf16_norms_are_summed_in_f32():
    net = fnnet.Sequential(fnnet.Dense(3, bias=False))
    params = {"dense_0": {"kernel": jnp.zeros((4096, 3), jnp.bfloat16)}}
    xs = jnp.ones((2, 4096), jnp.bfloat16).at[1].set(0)
    ys = jnp.zeros((2, 3), jnp.bfloat16).at[:, 0].set(-1)
    norms = fnnet.gradient_norms(net, fnnet.squared_error, params, xs, ys)
    assert norms.dtype == jnp.float32
    assert norms.tolist() == [64, 0]  # |x| |y_bar|


@pytest.mark.cpu
def test_no_array_of_examples_times_parameters():
    """A dense layer with one and with some places, and a convolution of few places and many channels."""
    net = fnnet.Sequential(
        fnnet.Conv(64, 3), fnnet.tanh, fnnet.Dense(128), fnnet.tanh, fnnet.Flatten(), fnnet.Dense(256)
    )
    shape, examples = (3, 3, 64), 64
    params = jax.eval_shape(lambda key: net.init(key, shape), KEY)
    sizes = sum(leaf.size for leaf in jax.tree.leaves(params))
    xs, ys = jax.ShapeDtypeStruct((examples, *shape), jnp.float32), jax.ShapeDtypeStruct((examples,), jnp.int32)
    for function in (
        functools.partial(fnnet.gradient_norms, net, fnnet.softmax_cross_entropy),
        functools.partial(fnnet.clipped_gradients, net, fnnet.softmax_cross_entropy, max_norm=1.0),
    ):
        memory = jax.jit(function).lower(params, xs, ys).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 4 * examples * sizes / 10


def test_the_rule_takes_the_fewer_multiplications_and_never_more_memory():
    for places in (2, 5, 9, 30, 200):
        for inputs, outputs in ((1, 64), (9, 32), (64, 64), (288, 64), (512, 10)):
            chosen = gram_norms.gram_is_cheaper(places, inputs, outputs)
            assert chosen == (places**2 * (inputs + outputs) < places * inputs * outputs)
            if chosen:
                assert 2 * places**2 < inputs * outputs


@pytest.mark.usefixtures("unchecked_shapes")
def test_refuses():
    net, shape = VECTORS
    params, xs, ys = problem(net, shape, dtype=jnp.float32)
    with pytest.raises(TypeError, match=r"gradient_norms: net \(=Dense\) must be a Sequential or a Residual"):
        fnnet.gradient_norms(fnnet.Dense(3), fnnet.squared_error, {}, xs, ys)
    with pytest.raises(ValueError, match=r"clipped_gradients: xs of shape .* must have as many examples"):
        fnnet.clipped_gradients(net, fnnet.softmax_cross_entropy, params, xs, ys[:3], max_norm=1.0)
    with pytest.raises(ValueError, match=r"clipped_gradients: max_norm \(=0.0\) must be a positive number"):
        fnnet.clipped_gradients(net, fnnet.softmax_cross_entropy, params, xs, ys, max_norm=0.0)
    with pytest.raises(ValueError, match=r"gradient_norms: loss must give one number for each of 5 examples"):
        fnnet.gradient_norms(net, lambda z, y: z.sum(), params, xs, ys)
