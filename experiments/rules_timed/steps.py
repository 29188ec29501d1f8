"""The rows of whole steps: loss and gradients of a GPT, whose functions can be exchanged, and of ResNet-20."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.carry import carried
from benchmarks.contestants.hand_written import HandWritten
from benchmarks.contestants.plain_lax import PlainLax, normalised
from benchmarks.inputs import batches
from benchmarks.nets import NETS, Net
from benchmarks.tasks import nested

import fnnet
from rules_timed.rows import RNG, normal, plain_loss, row


@row("GPT step: width 256, 4 heads, 4 layers, 256 tokens, batch 16, vocabulary 8192")
def gpt(torch: Any) -> tuple:
    layers, width, heads, length, batch, vocabulary = 4, 256, 4, 256, 16, 8192

    def norm_params() -> tuple:
        return np.ones(width, np.float32), np.zeros(width, np.float32)

    def block() -> dict:
        kernels = {
            name: normal(*shape, scale=0.02)
            for name, shape in {
                "qkv": (width, 3 * width),
                "out": (width, width),
                "up": (width, 4 * width),
                "down": (4 * width, width),
            }.items()
        }
        return kernels | {"norm_1": norm_params(), "norm_2": norm_params()}

    params = {
        "rows": normal(vocabulary, width, scale=0.02),
        "places": normal(length, width, scale=0.02),
        "head": normal(width, vocabulary, scale=0.02),
        "norm": norm_params(),
        "blocks": [block() for _ in range(layers)],
    }
    tokens, labels = (RNG.integers(0, vocabulary, (batch, length)).astype(np.int32) for _ in range(2))

    def loss(params: Any, tokens: Any, labels: Any, rules: tuple) -> Any:
        embedding, norm, attention, gelu, last = rules
        x = embedding(params["rows"], tokens) + params["places"]
        for own in params["blocks"]:
            q, k, v = jnp.split(norm(x, *own["norm_1"]) @ own["qkv"], 3, -1)
            q, k, v = (a.reshape(*a.shape[:-1], heads, -1) for a in (q, k, v))
            x = x + attention(q, k, v).reshape(x.shape) @ own["out"]
            x = x + gelu(norm(x, *own["norm_2"]) @ own["up"]) @ own["down"]
        return last(norm(x, *params["norm"]).reshape(-1, width), params["head"], labels.reshape(-1))

    usual = (
        lambda table, indices: table[indices],
        functools.partial(normalised, axes=(-1,)),
        functools.partial(jax.nn.dot_product_attention, is_causal=True, implementation="xla"),
        jax.nn.gelu,
        plain_loss,
    )
    own = (
        fnnet.embedding,
        fnnet.layer_norm,
        functools.partial(fnnet.attention, causal=True),
        functools.partial(fnnet.gelu, approximate=True),
        functools.partial(fnnet.linear_softmax_cross_entropy, reduction="mean"),
    )
    steps = (jax.value_and_grad(functools.partial(loss, rules=rules)) for rules in (usual, own))
    return *steps, (params, tokens, labels), torch and gpt_by_torch(torch, params, tokens, labels, heads)


def gpt_by_torch(torch: Any, params: Any, tokens: Any, labels: Any, heads: int) -> Callable:
    functional = torch.nn.functional
    tree = jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), params)
    width, (batch, length) = params["head"].shape[0], tokens.shape
    tokens, labels = (torch.tensor(a).long() for a in (tokens, labels))

    def normed(x: Any, own: tuple) -> Any:
        return functional.layer_norm(x, (width,), *own)

    def call() -> None:
        for leaf in jax.tree.leaves(tree):
            leaf.grad = None
        x = functional.embedding(tokens, tree["rows"]) + tree["places"]
        for own in tree["blocks"]:
            qkv = (normed(x, own["norm_1"]) @ own["qkv"]).chunk(3, -1)
            several = (a.view(batch, length, heads, -1).transpose(1, 2) for a in qkv)
            seen = functional.scaled_dot_product_attention(*several, is_causal=True)
            x = x + seen.transpose(1, 2).reshape(batch, length, width) @ own["out"]
            x = x + functional.gelu(normed(x, own["norm_2"]) @ own["up"], approximate="tanh") @ own["down"]
        logits = normed(x, tree["norm"]) @ tree["head"]
        functional.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1)).backward()

    return call


@row("ResNet-20 step: batch 128, 32 x 32 x 3")
def resnet(torch: Any) -> tuple:
    return resnet_step(torch, 128)


@row("ResNet-20 step: batch 32")
def small_resnet(torch: Any) -> tuple:
    return resnet_step(torch, 32)


def resnet_step(torch: Any, batch: int) -> tuple:
    """That of the benchmarks, without Adam; all gradients have the names that fnnet gives the parameters."""
    net = NETS["resnet"]
    (xs,), (ys,) = batches(net, 1, batch)
    params = carried("autodiff", net, {})

    def ours(params: Any, xs: Any, ys: Any) -> Any:
        return HandWritten().model(net, {}).loss(nested(params), xs, ys)

    steps = (jax.value_and_grad(loss) for loss in (PlainLax("reshape").model(net, {}).loss, ours))
    return *steps, (params, xs, ys), torch and resnet_by_torch(net, xs, ys)


def resnet_by_torch(net: Net, xs: Any, ys: Any) -> Callable:
    from benchmarks.contestants.pytorch import PyTorch
    from benchmarks.contestants.torch_programs import loss_and_gradients

    library = PyTorch(channels_last=True)
    model = library.model(net, carried("torch-channels-last", net, library.shapes(net)))
    return functools.partial(loss_and_gradients, model, library.images(xs), library.images(ys))
