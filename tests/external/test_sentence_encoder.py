"""The sentence encoder of fnnet's layers beside transformers' BertModel: embeddings, and every parameter's gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sentence_encoder import encoder

import fnnet

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

PAIRS = [
    ("A dog runs across the yard.", "The animal is running outside."),
    ("Return the sum of two numbers.", "def add(a, b): return a + b"),
    ("It rained all night, and the river rose until the road was under water.", "There was a flood."),
    ("The stock fell.", "Shares lost value on Tuesday."),
]
LENGTH = 24
SMALL = {
    "vocab_size": 60,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}


def small(dtype):
    torch.manual_seed(0)
    bert = transformers.BertModel(transformers.BertConfig(**SMALL), add_pooling_layer=False)
    with torch.no_grad():  # its biases are 0, and its kernels small
        for p in bert.parameters():
            p += 0.3 * torch.randn_like(p)
    ids = np.random.default_rng(0).integers(1, 60, size=(2, 3, 10)).astype(np.int32)
    ids[:, 1, 4:], ids[1, 2, 7:] = 0, 0
    return bert.to(dtype).eval(), encoder.network(SMALL), ids


def trained(dtype):
    model = encoder.folder()
    if model is None:
        pytest.skip(f"{encoder.PACKAGE} is not installed")
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    bert = transformers.BertModel.from_pretrained(str(model), add_pooling_layer=False, dtype=dtype).eval()
    ids = np.stack([encoder.tokens(model, texts, LENGTH) for texts in zip(*PAIRS, strict=True)])
    net, _ = encoder.pretrained(model)
    return bert, net, ids


MODELS = {"small": small, "trained": trained}


def torchs(bert, ids):
    mask = torch.from_numpy(ids != 0)
    hidden = bert(torch.from_numpy(ids).long(), attention_mask=mask.long()).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean, dim=-1)


@pytest.mark.parametrize("name", list(MODELS))
def test_the_embeddings_are_berts(name):
    bert, net, ids = MODELS[name](torch.float32)
    params = encoder.carried(net, bert.state_dict())
    xs = ids.reshape(-1, ids.shape[-1])
    ours = jax.jit(jax.vmap(net.apply, (None, 0)), compiler_options=fnnet.safe_options())(params, xs)
    with torch.no_grad():
        np.testing.assert_allclose(ours, torchs(bert, xs).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list(MODELS))
def test_gradients_of_a_contrastive_loss_are_autograds(name, x64):
    """Each text has to be nearer to its own partner than to the others'."""
    bert, net, ids = MODELS[name](torch.float64)
    one, other = (torchs(bert, texts) for texts in ids)
    loss = torch.nn.functional.cross_entropy(20 * one @ other.T, torch.arange(len(one)))
    loss.backward()
    bars = encoder.carried(net, {name: p.grad for name, p in bert.named_parameters()})

    @jax.jit
    def run(params):
        def ours(params):
            one, other = (jax.vmap(net.apply, (None, 0))(params, jnp.asarray(texts)) for texts in ids)
            labels = jnp.arange(len(one), dtype=jnp.int32)
            return fnnet.mean_loss(fnnet.softmax_cross_entropy, 20 * one @ other.T, labels)

        return jax.value_and_grad(ours)(params)

    value, params_bar = run(encoder.carried(net, bert.state_dict()))
    np.testing.assert_allclose(value, loss.item(), rtol=1e-12)
    chex.assert_trees_all_equal_shapes(params_bar, bars)
    attention = params_bar["repeat_2"]["residual_0"]["attention_0"]
    scale = max(float(abs(leaf).max()) for leaf in jax.tree.leaves(bars))
    assert abs(attention.pop("key_bias")).max() < 1e-12 * scale  # 0: a softmax does not change with it
    bars["repeat_2"]["residual_0"]["attention_0"].pop("key_bias")
    largest = {}
    for (path, ours), theirs in zip(jax.tree.leaves_with_path(params_bar), jax.tree.leaves(bars), strict=True):
        largest[jax.tree_util.keystr(path)] = float(abs(ours - theirs).max() / abs(theirs).max())
    assert max(largest.values()) < 1e-12, largest
