"""Attention and recurrent layers of PyTorch and Flax, carried into fnnet and back: the same outputs and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from external.carried import findings, normal, pulled
from fnnet import interop

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
linen = pytest.importorskip("flax.linen", reason="Flax is not installed")

SHAPE = (5, 6)
XS = normal(3, *SHAPE)
gelu = functools.partial(fnnet.gelu, approximate=False)


def feed_forward():
    return fnnet.Residual(fnnet.Dense(16), gelu, fnnet.Dense(6))


BLOCKS = {  # torch.nn.TransformerEncoderLayer's two kinds
    "norms last": fnnet.Sequential(
        fnnet.Residual(fnnet.Attention(2)), fnnet.LayerNorm(), feed_forward(), fnnet.LayerNorm()
    ),
    "norms first": fnnet.Sequential(
        fnnet.Residual(fnnet.LayerNorm(), fnnet.Attention(2)),
        fnnet.Residual(fnnet.LayerNorm(), fnnet.Dense(16), gelu, fnnet.Dense(6)),
    ),
}


class Recurrent(torch.nn.Module):  # type: ignore[name-defined]
    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(6, 4, batch_first=True)
        self.gru = torch.nn.GRU(4, 3, batch_first=True)
        self.head = torch.nn.Linear(3 * SHAPE[0], 2)

    def forward(self, x):
        return self.head(self.gru(self.lstm(x)[0])[0].flatten(1))


def torchs(name):
    torch.manual_seed(0)
    if name == "recurrent":
        return Recurrent().double()
    layer = torch.nn.TransformerEncoderLayer(
        6, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=name == "norms first"
    )
    model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double()
    with torch.no_grad():  # the same for both layers and all biases 0, unless they are changed
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
    return model


NETS = {name: fnnet.Sequential(fnnet.Repeat(block, 2)) for name, block in BLOCKS.items()}
NETS["recurrent"] = fnnet.Sequential(fnnet.LSTM(4, recurrent_bias=True), fnnet.GRU(3), fnnet.Flatten(), fnnet.Dense(2))


@pytest.mark.parametrize("name", list(NETS))
def test_pytorchs_outputs_and_gradients(name, x64):
    net, model = NETS[name], torchs(name)
    xs = torch.from_numpy(XS).requires_grad_()
    ys = model(xs)
    cotangent = normal(*ys.shape)
    ys.backward(torch.from_numpy(cotangent))
    bars = {name: p.grad for name, p in model.named_parameters()}

    params, params_bar = (interop.from_torch(net, SHAPE, state) for state in (model.state_dict(), bars))
    agree(pulled(net, params, XS, cotangent), (ys.detach().numpy(), params_bar, xs.grad.numpy()))
    back = interop.to_torch(net, SHAPE, params, model.state_dict())
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())


class Linen(linen.Module):  # type: ignore[name-defined]
    cells: tuple

    @linen.compact
    def __call__(self, x):
        lstm, gru = (cell(size, param_dtype=jnp.float64) for cell, size in zip(self.cells, (4, 6), strict=True))
        x = linen.RNN(gru)(linen.RNN(lstm, reverse=True, keep_order=True)(x))
        x = linen.MultiHeadDotProductAttention(2, param_dtype=jnp.float64)(x)
        return linen.Dense(3, param_dtype=jnp.float64)(x)


def attended(q, k, v, *_, **__):
    """In f64: the softmax of jax.nn.dot_product_attention is in f32."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)


class Nnx(nnx.Module):  # type: ignore[name-defined]
    def __init__(self, cell, rngs):
        wide = {"param_dtype": jnp.float64, "rngs": rngs}
        self.lstm = nnx.RNN(cell(6, 4, **wide), reverse=True, keep_order=True)
        self.gru = nnx.RNN(nnx.GRUCell(4, 6, **wide))
        self.attention = nnx.MultiHeadAttention(2, 6, decode=False, attention_fn=attended, **wide)
        self.head = nnx.Linear(6, 3, **wide)

    def __call__(self, x):
        x = self.gru(self.lstm(x, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
        return self.head(self.attention(x))


def flaxs(recurrent_bias):
    return fnnet.Sequential(
        fnnet.LSTM(4, reverse=True), fnnet.GRU(6, recurrent_bias=recurrent_bias), fnnet.Attention(2), fnnet.Dense(3)
    )


def moved(tree):
    """No bias is 0 then."""
    return jax.tree.map(lambda leaf: leaf + 0.1 * normal(*leaf.shape), tree)


@pytest.mark.parametrize("lstm", [linen.LSTMCell, linen.OptimizedLSTMCell], ids=lambda cell: cell.__name__)
def test_linens_outputs_and_gradients(lstm, x64):
    model, net = Linen((lstm, linen.GRUCell)), flaxs("n")
    tree = moved(model.init(jax.random.key(0), XS)["params"])
    compare(net, lambda tree, xs: model.apply({"params": tree}, xs), tree)


@pytest.mark.parametrize("lstm", [nnx.LSTMCell, nnx.OptimizedLSTMCell], ids=lambda cell: cell.__name__)
def test_nnxs_outputs_and_gradients(lstm, x64):
    graph, state, rest = nnx.split(Nnx(lstm, nnx.Rngs(0)), nnx.Param, ...)
    # NNX's two kinds of cells have parameters of the same names.
    names = {"lstm_0": "lstm/cell", "gru_1": "gru/cell", "attention_2": "attention", "dense_3": "head"}
    compare(flaxs(False), lambda tree, xs: nnx.merge(graph, tree, rest)(xs), moved(state), names)


def compare(net, forward, tree, names=None):
    ys, pull = jax.vjp(forward, tree, XS)
    cotangent = normal(*ys.shape)
    tree_bar, xs_bar = pull(jnp.asarray(cotangent))
    params, params_bar = (interop.from_flax(net, SHAPE, one, names=names) for one in (tree, tree_bar))
    agree(pulled(net, params, XS, cotangent), (ys, params_bar, xs_bar))
    back = interop.to_flax(net, SHAPE, params, tree, names=names)
    assert jax.tree.all(jax.tree.map(np.array_equal, back, tree))


def agree(ours, theirs):
    """A softmax does not change with the keys' bias, whose gradient is rounding alone."""

    def without_rounding(path, leaf):
        is_zero = "key_bias" in jax.tree_util.keystr(path) and (abs(leaf) < 1e-14).all()
        return jnp.zeros_like(leaf) if is_zero else leaf

    assert findings(*(jax.tree_util.tree_map_with_path(without_rounding, tree) for tree in (ours, theirs))) == []
