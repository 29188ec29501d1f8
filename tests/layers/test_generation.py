"""`generate` gives what the whole network gives, computed anew for each token, and compiles once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampled import one_in

import fnnet

KEY = jax.random.key(0)
BLOCK = fnnet.Sequential(
    fnnet.Residual(fnnet.RMSNorm(), fnnet.Attention(4, key_heads=2, causal=True, rotary=True), fnnet.Dropout(0.5)),
    fnnet.Residual(fnnet.LayerNorm(), fnnet.Dense(32), fnnet.gelu, fnnet.Dense(16)),
)
NETS = {
    "gpt": fnnet.Sequential(fnnet.Tied(fnnet.Embedding(11, 16), fnnet.Repeat(BLOCK, 2), fnnet.LayerNorm())),
    "lstm": fnnet.Sequential(fnnet.Embedding(11, 8), fnnet.LSTM(16, recurrent_bias=True), fnnet.Dense(11)),
    "gru": fnnet.Sequential(
        fnnet.Embedding(11, 16), fnnet.Repeat(fnnet.Residual(fnnet.GRU(16)), 2), fnnet.LSTM(8), fnnet.Dense(11)
    ),
}
PROMPT = [3, 1, 4, 1, 5]


def params_of(net):
    """Larger than those drawn, so that the most probable token changes."""
    return jax.tree.map(lambda p: 3 * p, net.init(KEY, (7,)))


def anew(net, params, prompt, length):
    """The most probable tokens, by the whole network, which sees no later token, on all tokens so far."""
    end = len(prompt) + length
    tokens, apply = np.zeros(end, np.int32), jax.jit(net.apply)
    tokens[: len(prompt)] = prompt
    for place in range(len(prompt), end):
        tokens[place] = apply(params, tokens)[place - 1].argmax()
    return tokens[len(prompt) :].tolist()


@pytest.mark.parametrize(("name", "dtype"), one_in(3, [*((name, None) for name in NETS), ("gpt", jnp.bfloat16)]))
def test_it_is_the_whole_network_anew_for_each_token(name, dtype):
    net = fnnet.Sequential(*NETS[name].layers, compute_dtype=dtype)
    params = params_of(net)
    ours = fnnet.generate(net, params, PROMPT, 12, temperature=0)
    assert ours.dtype == jnp.int32
    assert len(set(ours.tolist())) > 1
    assert ours.tolist() == anew(net, params, PROMPT, 12)


@pytest.mark.parametrize("name", NETS)
def test_the_rows_of_all_steps_are_the_networks_output(name):
    net, tokens = NETS[name], jnp.asarray(PROMPT, jnp.int32)
    params = params_of(net)
    shapes = jax.eval_shape(lambda: net.step(params, tokens[0], None, jnp.int32(0), 8))[1]
    cache, rows = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes), []
    for position, token in enumerate(tokens):
        row, cache = net.step(params, token, cache, jnp.int32(position), 8)
        rows.append(row)
    np.testing.assert_allclose(jnp.stack(rows), net.apply(params, tokens), rtol=1e-4, atol=1e-4)


def test_it_compiles_once_for_all_lengths():
    traced = []

    def noted(x):
        traced.append(x)
        return x

    net = fnnet.Sequential(*NETS["lstm"].layers, noted)
    params = net.init(KEY, (7,))
    fnnet.generate(net, params, PROMPT, 20, key=KEY)
    before = len(traced)
    for prompt, length, temperature in (PROMPT[:1], 40, 0.5), (PROMPT, 59, 0.0), (PROMPT * 2, 1, 2.0):
        fnnet.generate(net, params, prompt, length, key=KEY, temperature=temperature)
    assert len(traced) - before <= 3  # the shapes alone, each time


def test_a_step_grows_with_the_length_not_with_its_square():
    net = NETS["gpt"]
    params = net.init(KEY, (7,))

    def flops(size):
        cache = jax.eval_shape(lambda: net.step(params, jnp.int32(0), None, jnp.int32(0), size))[1]
        step = jax.jit(lambda cache: net.step(params, jnp.int32(0), cache, jnp.int32(0), size))
        return step.lower(cache).compile().cost_analysis()["flops"]

    one, two, three = flops(1000), flops(2000), flops(3000)
    assert two - one == pytest.approx(three - two, rel=0.01)


def test_temperature_and_top_k():
    """A network that gives the same logits after every token: their frequencies are the probabilities."""
    logits = jnp.log(jnp.array([0.5, 0.25, 0.125, 0.125]))
    net = fnnet.Sequential(fnnet.Embedding(4, 4))
    params = {"embedding_0": {"embedding": jnp.tile(logits, (4, 1))}}

    def shares(**options):
        return np.bincount(fnnet.generate(net, params, [0], 4000, key=KEY, **options), minlength=4) / 4000

    np.testing.assert_allclose(shares(), [0.5, 0.25, 0.125, 0.125], atol=0.03)
    np.testing.assert_allclose(shares(top_k=2), [2 / 3, 1 / 3, 0, 0], atol=0.03)
    np.testing.assert_allclose(shares(temperature=0.5), np.array([16, 4, 1, 1]) / 22, atol=0.03)
    assert shares(temperature=0).tolist() == shares(top_k=1).tolist() == [1, 0, 0, 0]
    again = fnnet.generate(net, params, [0], 50, key=KEY), fnnet.generate(net, params, [0], 60, key=KEY)
    assert again[0].tolist() == again[1][:50].tolist()


def test_nan_is_said():
    """Of a prompt with tokens that the table has no rows for, and of parameters that are NaN."""
    net = fnnet.Sequential(fnnet.Embedding(3, 4), fnnet.Dense(10))
    params = net.init(KEY, (7,))
    with pytest.raises(ValueError, match="generate: logits are NaN"):
        fnnet.generate(net, params, [7], 2, temperature=0)
    with pytest.raises(ValueError, match="generate: logits are NaN"):
        fnnet.generate(net, jax.tree.map(lambda a: a * jnp.nan, params), [1], 2, key=KEY, top_k=3)


def test_a_step_refuses_parameters_that_apply_refuses():
    taught, net = (fnnet.Sequential(fnnet.Attention(2, causal=True, bias=bias)) for bias in (True, False))
    for own, other, message in ((net, taught, 'params has "key_bias"'), (taught, net, 'params lacks "query_bias"')):
        params = other.init(KEY, (5, 4))
        with pytest.raises(ValueError, match=message):
            own.step(params, jnp.ones(4), None, jnp.int32(0), 8)


def changed(**fields):
    return {"net": NETS["lstm"], "prompt": PROMPT, "length": 3, "key": KEY} | fields


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (changed(prompt=[]), ValueError, r"generate: prompt of shape \(0,\)"),
        (changed(prompt=[1.0]), TypeError, "generate: prompt of dtype float64"),
        (changed(prompt=[11]), ValueError, "generate: prompt has 11 to 11; tokens are 0 to 10"),
        (changed(length=0), ValueError, r"generate: length \(=0\)"),
        (changed(temperature=-1), ValueError, r"generate: temperature \(=-1\)"),
        (changed(top_k=0), ValueError, r"generate: top_k \(=0\)"),
        (changed(key=None), TypeError, "generate: key is needed"),
        *(
            (changed(net=fnnet.Sequential(fnnet.Embedding(11, 8), layer)), ValueError, message)
            for layer, message in [
                (fnnet.Attention(2), r"layer 1, Attention\(2\): .* must be causal"),
                (fnnet.GRU(4, reverse=True), "begins at the end"),
                (fnnet.LayerNorm(axes=(-2, -1)), "cannot go row by row"),
                (fnnet.Flatten(), r"layer 1, Flatten\(\): Flatten: Flatten\(\) cannot go row by row"),
            ]
        ),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_refuses(options, error, message):
    net = options.pop("net")
    params = net.init(KEY, (7,))
    with pytest.raises(error, match=message):
        fnnet.generate(net, params, options.pop("prompt"), options.pop("length"), **options)
