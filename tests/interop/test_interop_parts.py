"""Entries that are packed, apart or repeated elsewhere: attention, recurrent layers, `Repeat`, `Tied`, `Padded`."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet import interop

RANDOM = np.random.default_rng(3)
KEY = jax.random.key(0)
LENGTH, FEATURES = 5, 6


def normal(*shape):
    return RANDOM.normal(size=shape)


BLOCK = fnnet.Sequential(fnnet.Residual(fnnet.Attention(2)), fnnet.LayerNorm(), fnnet.Residual(fnnet.Dense(FEATURES)))
TEXT = fnnet.Sequential(
    fnnet.Embedding(7, FEATURES), fnnet.Repeat(BLOCK, 3), fnnet.LSTM(4), fnnet.Flatten(), fnnet.Dense(2)
)


def torchs_block(prefix):
    """As a module of PyTorch defines its parameters: attention, norm, linear."""
    return {
        f"{prefix}attn.in_proj_weight": normal(3 * FEATURES, FEATURES),
        f"{prefix}attn.in_proj_bias": normal(3 * FEATURES),
        f"{prefix}attn.out_proj.weight": normal(FEATURES, FEATURES),
        f"{prefix}attn.out_proj.bias": normal(FEATURES),
        f"{prefix}norm.weight": normal(FEATURES),
        f"{prefix}norm.bias": normal(FEATURES),
        f"{prefix}fc.weight": normal(FEATURES, FEATURES),
        f"{prefix}fc.bias": normal(FEATURES),
    }


def torchs_text():
    state = {"words.weight": normal(7, FEATURES)}
    for n in range(3):
        state |= torchs_block(f"blocks.{n}.")
    state |= {
        "lstm.weight_ih_l0": normal(16, FEATURES),
        "lstm.weight_hh_l0": normal(16, 4),
        "lstm.bias_ih_l0": normal(16),
    }
    return state | {"head.weight": normal(2, 4 * LENGTH), "head.bias": normal(2)}


def test_a_text_network_of_pytorchs(x64):
    state = torchs_text()
    params = interop.from_torch(TEXT, (LENGTH,), state)
    drawn = TEXT.init(KEY, (LENGTH,))
    chex.assert_trees_all_equal_shapes(params, drawn)
    for n in range(3):
        packed, own = state[f"blocks.{n}.attn.in_proj_weight"], params["repeat_1"]["residual_0"]["attention_0"]
        for part, weight in zip(("query", "key", "value"), np.split(packed, 3), strict=True):
            np.testing.assert_array_equal(own[f"{part}_kernel"][n], weight.T)
        np.testing.assert_array_equal(own["out_kernel"][n], state[f"blocks.{n}.attn.out_proj.weight"].T)
    # The features are last in PyTorch's sequences too: no rows are permuted.
    np.testing.assert_array_equal(params["dense_4"]["kernel"], state["head.weight"].T)
    back = interop.to_torch(TEXT, (LENGTH,), params, state)
    assert all(np.array_equal(back[name], state[name]) for name in state)


def test_four_modules_by_their_names(x64):
    net = fnnet.Sequential(fnnet.Attention(3, key_heads=1, bias=False))
    shapes = {"q": FEATURES, "k": 2, "v": 2, "o": FEATURES}
    state = {f"self.{letter}_proj.weight": normal(size, FEATURES) for letter, size in shapes.items()}
    modules = {"query": "self.q_proj", "key": "self.k_proj", "value": "self.v_proj", "out": "self.o_proj"}
    names = {"attention_0": modules}
    params = interop.from_torch(net, (LENGTH, FEATURES), state, names=names)
    np.testing.assert_array_equal(params["attention_0"]["key_kernel"], state["self.k_proj.weight"].T)
    back = interop.to_torch(net, (LENGTH, FEATURES), params, state, names=names)
    assert all(np.array_equal(back[name], state[name]) for name in state)
    with pytest.raises(ValueError, match=r"missing: attention_0/out_kernel, of shape \(6, 6\) in {'query'"):
        interop.from_torch(net, (LENGTH, FEATURES), state, names={"attention_0": dict(list(modules.items())[:3])})
    with pytest.raises(ValueError, match="must have a module of its own"):
        interop.from_torch(net, (LENGTH, FEATURES), state, names={"attention_0": modules | {"key": "self.q_proj"}})


@pytest.mark.parametrize("layer", [fnnet.Attention(2), fnnet.LSTM(4), fnnet.GRU(4, recurrent_bias="n")], ids=str)
def test_flax_there_and_back(layer, x64):
    shape, net = (LENGTH, FEATURES), fnnet.Sequential(layer, fnnet.Dense(2))
    params = jax.tree.map(lambda p: jnp.asarray(normal(*p.shape)), net.init(KEY, shape))
    own, tree = params[net.entries[0]], {"Dense_0": params["dense_1"]}
    if isinstance(layer, fnnet.Attention):
        heads = {"out": own["out_kernel"].reshape(2, 3, FEATURES)}
        heads |= {part: own[f"{part}_kernel"].reshape(FEATURES, 2, 3) for part in ("query", "key", "value")}
        biases = {part: own[f"{part}_bias"].reshape(-1 if part == "out" else (2, 3)) for part in heads}
        tree["Attention_0"] = {part: {"kernel": heads[part], "bias": biases[part]} for part in heads}
    else:
        gates = "ifgo" if isinstance(layer, fnnet.LSTM) else "rzn"
        parts = {name: jnp.split(array, len(gates), -1) for name, array in own.items() if array.size > 4}
        cell = {f"i{gate}": {"kernel": parts["input_kernel"][n]} for n, gate in enumerate(gates)}
        cell |= {f"h{gate}": {"kernel": parts["recurrent_kernel"][n]} for n, gate in enumerate(gates)}
        for n, gate in enumerate(gates):
            cell[f"{'h' if gates == 'ifgo' else 'i'}{gate}"]["bias"] = parts["bias"][n]
        if gates == "rzn":
            cell["hn"]["bias"] = own["recurrent_bias"]
        tree["Cell_0"] = cell
    chex.assert_trees_all_equal(interop.from_flax(net, shape, tree), params)
    chex.assert_trees_all_equal(interop.to_flax(net, shape, params, tree), tree)


def test_an_lstm_with_two_biases_has_no_place_in_flax():
    net, kernels = fnnet.Sequential(fnnet.LSTM(2, recurrent_bias=True)), {"kernel": jnp.ones((2, 8))}
    tree = {"cell": {"dense_i": kernels, "dense_h": kernels | {"bias": jnp.ones(8)}}}
    with pytest.raises(ValueError, match=r"missing: lstm_0/recurrent_bias, of shape \(8,\)"):
        interop.from_flax(net, (LENGTH, 2), tree)


def test_networks_that_are_made_of_one():
    words = fnnet.Embedding(7, 4)
    nets = (fnnet.Padded(fnnet.Sequential(words, fnnet.Dense(4))), fnnet.Tied(words, fnnet.Dense(4)))
    state = {"words.weight": normal(7, 4), "fc.weight": normal(4, 4), "fc.bias": normal(4)}
    nets += (fnnet.Recomputed(fnnet.Sequential(words, fnnet.Dense(4))),)
    padded, tied, recomputed = (interop.from_torch(net, (LENGTH,), state) for net in nets)
    chex.assert_trees_all_equal(padded, tied)
    chex.assert_trees_all_equal(padded, recomputed)
    chex.assert_trees_all_equal_shapes(padded, nets[1].init(KEY, (LENGTH,)))


def test_repetitions_of_a_layer():
    net = fnnet.Repeat(fnnet.Repeat(fnnet.Dense(4, bias=False), 2), 3)
    state = {f"{n}.weight": normal(4, 4) for n in range(6)}
    params = interop.from_torch(net, (4,), state)
    chex.assert_trees_all_equal_shapes(params, net.init(KEY, (4,)))
    np.testing.assert_allclose(params["kernel"][1, 1], state["3.weight"].T, rtol=1e-6)
    assert interop.to_torch(net, (4,), params, state).keys() == state.keys()


def test_a_gru_with_the_bias_that_n_needs():
    """The second bias of r and z adds to the first."""
    full, short = fnnet.GRU(3), fnnet.GRU(3, recurrent_bias="n")
    x = normal(LENGTH, 2).astype(np.float32)
    params = jax.tree.map(lambda p: p + 0.3, full.init(KEY, x.shape))
    second = params["recurrent_bias"]
    summed = params | {"bias": params["bias"].at[:6].add(second[:6]), "recurrent_bias": second[6:]}
    chex.assert_trees_all_equal_shapes(summed, short.init(KEY, x.shape))
    np.testing.assert_allclose(short.apply(summed, x), full.apply(params, x), rtol=1e-5)
    alone = {name: params[name] for name in ("input_kernel", "recurrent_kernel", "bias")}
    none = alone | {"recurrent_bias": jnp.zeros(9)}
    np.testing.assert_allclose(fnnet.GRU(3, recurrent_bias=False).apply(alone, x), full.apply(none, x), rtol=1e-5)
    with pytest.raises(ValueError, match=r"GRU: recurrent_bias \(='r'\) must be True, False or \"n\""):
        fnnet.GRU(3, recurrent_bias="r")  # type: ignore[arg-type]
