"""The rows of whole steps: loss and gradients of a GPT and of ResNet-20, by functions that can be exchanged."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import fnnet
from rules_timed.rows import RNG, normal, plain_loss, plain_norm, row


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
        functools.partial(plain_norm, axes=(-1,)),
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
    def normed(window: int, inputs: int, outputs: int) -> tuple:
        kernel = normal(window, window, inputs, outputs, scale=(2 / (window * window * inputs)) ** 0.5)
        return kernel, np.ones(outputs, np.float32), np.zeros(outputs, np.float32)

    widths = [16] * 4 + [32] * 3 + [64] * 3
    pairs = list(itertools.pairwise(widths))
    blocks = [
        {"first": normed(3, i, o), "second": normed(3, o, o)} | ({"shortcut": normed(1, i, o)} if i != o else {})
        for i, o in pairs
    ]
    params = {"first": normed(3, 3, 16), "blocks": blocks, "head": normal(64, 10, scale=0.1)}
    xs, labels = normal(batch, 32, 32, 3), RNG.integers(0, 10, batch).astype(np.int32)

    def loss(params: Any, xs: Any, labels: Any, rules: tuple) -> Any:
        convolved, norm, relu, last = rules

        def unit(x: Any, own: tuple, stride: int = 1) -> Any:
            return norm(convolved(x, own[0], stride), *own[1:])

        x = relu(unit(xs, params["first"]))
        for own in params["blocks"]:
            stride = 2 if "shortcut" in own else 1
            inside = unit(relu(unit(x, own["first"], stride)), own["second"])
            x = relu(inside + (unit(x, own["shortcut"], 2) if stride == 2 else x))
        return last(x.mean((1, 2)) @ params["head"], labels)

    def plain_conv(x: Any, kernel: Any, stride: int) -> Any:
        sides = ((kernel.shape[0] // 2,) * 2,) * 2
        dims = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (stride, stride), sides, dimension_numbers=dims)

    def own_conv(x: Any, kernel: Any, stride: int) -> Any:
        one = functools.partial(fnnet.conv, kernel=kernel, stride=stride, padding=kernel.shape[0] // 2)
        return jax.vmap(one)(x)

    def plain_last(logits: Any, labels: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()

    usual = plain_conv, functools.partial(plain_norm, axes=(0, 1, 2)), jax.nn.relu, plain_last
    own = (
        own_conv,
        lambda x, s, b: fnnet.batch_norm(x, s, b, axes=(0, 1, 2))[0],
        fnnet.relu,
        lambda logits, labels: fnnet.softmax_cross_entropy(logits, labels).mean(),
    )
    steps = (jax.value_and_grad(functools.partial(loss, rules=rules)) for rules in (usual, own))
    return *steps, (params, xs, labels), torch and resnet_by_torch(torch, params, xs, labels)


def resnet_by_torch(torch: Any, params: Any, xs: Any, labels: Any) -> Callable:
    functional = torch.nn.functional

    def tensor(a: np.ndarray) -> Any:
        if a.ndim != 4:
            return torch.tensor(a, requires_grad=True)
        moved = torch.tensor(np.moveaxis(a, (3, 2), (0, 1)).copy()).to(memory_format=torch.channels_last)
        return moved.requires_grad_()

    tree = jax.tree.map(tensor, params)
    images = torch.tensor(np.moveaxis(xs, -1, 1).copy()).to(memory_format=torch.channels_last)
    classes = torch.tensor(labels).long()

    def unit(x: Any, own: tuple, stride: int = 1) -> Any:
        y = functional.conv2d(x, own[0], stride=stride, padding=own[0].shape[-1] // 2)
        return functional.batch_norm(y, None, None, *own[1:], training=True)

    def call() -> None:
        for leaf in jax.tree.leaves(tree):
            leaf.grad = None
        x = functional.relu(unit(images, tree["first"]))
        for own in tree["blocks"]:
            stride = 2 if "shortcut" in own else 1
            inside = unit(functional.relu(unit(x, own["first"], stride)), own["second"])
            x = functional.relu(inside + (unit(x, own["shortcut"], 2) if stride == 2 else x))
        functional.cross_entropy(x.mean((2, 3)) @ tree["head"], classes).backward()

    return call
