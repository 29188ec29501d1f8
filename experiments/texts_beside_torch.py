"""The text networks beside the same networks in PyTorch: the same initial parameters, mini-batches and AdamW.

    OMP_WAIT_POLICY=PASSIVE python experiments/texts_beside_torch.py [--net gpt lstm] [--steps 300]

Prints the loss on the held-out text of both, after the same steps, and the seconds of each. `fit` draws the order; here
PyTorch is given the same one.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import fnnet
from fnnet.cli import presets

LENGTH, BATCH, RATE, DECAY, TOKENS = 256, 8, 2e-3, 1e-2, 256
functional = torch.nn.functional


def turned(x: torch.Tensor) -> torch.Tensor:
    """(batch, heads, length, width) turned by positions, entry i with entry i + width / 2."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


def gpt(p: Any, xs: torch.Tensor) -> torch.Tensor:
    """`presets.gpt`'s logits."""
    tied = p["tied_0"]
    table, repeated = tied["embedding_0"]["embedding"], tied["repeat_1"]
    x = functional.embedding(xs, table)
    for n in range(4):
        first, second = repeated["residual_0"], repeated["residual_1"]
        y, own = normed(x, first["layer_norm_0"], n), first["attention_1"]
        q, k, v = (
            (y @ own[f"{part}_kernel"][n] + own[f"{part}_bias"][n]).unflatten(-1, (4, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        seen = functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
        x = x + seen.transpose(1, 2).flatten(2) @ own["out_kernel"][n] + own["out_bias"][n]
        up, down = second["dense_1"], second["dense_3"]
        y = functional.gelu(normed(x, second["layer_norm_0"], n) @ up["kernel"][n] + up["bias"][n])
        x = x + y @ down["kernel"][n] + down["bias"][n]
    last = tied["layer_norm_2"]
    return functional.layer_norm(x, x.shape[-1:], last["scale"], last["bias"]) @ table.T


def normed(x: torch.Tensor, own: Any, n: int) -> torch.Tensor:
    """The n-th repetition's layer norm."""
    return functional.layer_norm(x, x.shape[-1:], own["scale"][n], own["bias"][n])


def lstm(p: Any, xs: torch.Tensor) -> torch.Tensor:
    """`presets.lstm`'s logits."""
    own, last = p["lstm_1"], p["dense_2"]
    x = functional.embedding(xs, p["embedding_0"]["embedding"])
    zeros = torch.zeros(1, len(xs), own["recurrent_kernel"].shape[0])
    weights = [own["input_kernel"].T, own["recurrent_kernel"].T, own["bias"], torch.zeros_like(own["bias"])]
    hidden, _, _ = torch.lstm(x, (zeros, zeros), weights, True, 1, 0.0, True, False, True)
    return hidden @ last["kernel"] + last["bias"]


def by_torch(forward: Callable, params: Any, batches: list, held_out: tuple) -> tuple[float, float]:
    """The held-out loss after these mini-batches, and the seconds of the training."""
    tree = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf), requires_grad=True), params)
    optimizer = torch.optim.AdamW(jax.tree.leaves(tree), lr=RATE, weight_decay=DECAY)

    def loss(xs: Any, ys: Any) -> torch.Tensor:
        logits = forward(tree, torch.tensor(np.asarray(xs)).long())
        return functional.cross_entropy(logits.flatten(0, -2), torch.tensor(np.asarray(ys)).long().flatten())

    began = time.perf_counter()
    for xs, ys in batches:
        optimizer.zero_grad()
        loss(xs, ys).backward()
        optimizer.step()
    seconds = time.perf_counter() - began
    with torch.no_grad():
        losses = [float(loss(xs[None], ys[None])) for xs, ys in zip(*held_out, strict=True)]
    return float(np.mean(losses)), seconds


def main() -> None:
    """A line for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="*", default=["gpt", "lstm"], choices=("gpt", "lstm"))
    parser.add_argument("--steps", type=int, default=300, help="mini-batches (default: 300)")
    arguments = parser.parse_args()
    text = fnnet.data.text("topics")
    xs, ys = (np.asarray(a) for a in fnnet.data.windows(text.train, LENGTH))
    held_out = tuple(np.asarray(a) for a in fnnet.data.windows(text.test, LENGTH))
    rng = np.random.default_rng(0)
    order = [rng.choice(len(xs), BATCH, replace=False) for _ in range(arguments.steps)]
    batches = [(xs[rows], ys[rows]) for rows in order]
    for name in arguments.net:
        net = presets.NETS[name](TOKENS, (LENGTH,))
        params = net.init(jax.random.key(0), (LENGTH,))
        theirs, torch_seconds = by_torch({"gpt": gpt, "lstm": lstm}[name], params, batches, held_out)
        began = time.perf_counter()
        trained, _ = fnnet.fit(
            net,
            fnnet.LinearSoftmaxCrossEntropy(),
            optax.adamw(RATE, weight_decay=DECAY),
            batches,
            key=jax.random.key(1),
            params=params,
            progress=False,
        )
        jax.block_until_ready(trained)
        seconds = time.perf_counter() - began
        logits = jax.jit(lambda p, xs, net=net: jax.lax.map(lambda x: net.apply(p, x), xs))(trained, held_out[0])
        ours = float(fnnet.softmax_cross_entropy(logits, jnp.asarray(held_out[1])).mean())
        print(
            f"{name}: {arguments.steps} steps; held-out loss {ours:.4f} by fnnet, {theirs:.4f} by PyTorch "
            f"({100 * (ours / theirs - 1):+.2f} %); {seconds:.1f} s with compilation, PyTorch {torch_seconds:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
